"""The console's pages about alerts (contract 79)."""

import html
import json
import re
import uuid
from urllib.parse import urlencode

import msgspec
import pytest
from sqlalchemy import Connection

from tests.alerts.test_searching import finish
from tests.console.running import TENANT, Running
from tests.sample_alerts import NOW, WINDOW_S
from tests.triage.stored import judged, new
from tests.vendor import AID
from vyrox.alerts.intake import delivery, store
from vyrox.alerts.listing import show_alert
from vyrox.console import sessions
from vyrox.models import NormalizedAlert
from vyrox.store.tables import alerts, incidents, verdicts

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202egnp.exe{{7*7}}\x00=cmd|"


def made(number: int, tenant_id: str = TENANT, **fields: object) -> NormalizedAlert:
    members = {
        "id": str(uuid.UUID(int=number + 1)),
        "tenant_id": tenant_id,
        "source": "crowdstrike",
        "raw_id": f"evt:{number}",
        "timestamp": NOW,
        "hostname": f"ws-{number}",
        **fields,
    }
    return NormalizedAlert(**members)  # type: ignore[arg-type]


async def add(
    opened: Running, *alerts: NormalizedAlert, raw: bytes = b"{}", at: float = NOW
) -> None:
    deliveries = [delivery(each, raw + b" " * number, at) for number, each in enumerate(alerts)]
    await opened.database.write(store, deliveries, WINDOW_S)


def links(text: str) -> list[str]:
    """Return the ids of the alerts that a list shows, in order."""
    return re.findall(r'<td><a href="/alerts/([^"]+)">', text)


def judge(connection: Connection, alert_id: str) -> None:
    verdict = {
        "score": 91.2,
        "band": "urgent",
        "own_band": "urgent",
        "families": {"encoded": 0.9},
        "reasons": [
            {"signal": "powershell.encoded", "family": "encoded", "weight": 0.9, "text": EVIL}
        ],
        "lowered": [],
        "version": "1",
    }
    connection.execute(
        verdicts.insert().values(
            alert_id=alert_id,
            tenant_id=TENANT,
            incident=7,
            score=91.2,
            band="urgent",
            happened_at=NOW,
            judged_at=NOW,
            fingerprint=b"f",
            verdict=msgspec.json.encode(verdict),
        )
    )


async def test_a_search_is_an_address_and_shows_whole_pages_contract_79(opened: Running) -> None:
    jane = await opened.person("jane")
    # All at one time, as the alerts of one delivery are.
    await add(opened, *(made(number, hostname="ws-1") for number in range(120)))
    await add(opened, made(500, "other-tenant", hostname="ws-1"))
    # Its index has them when they are finished, and until then the page says so.
    waiting = (await jane.get("/alerts?host=WS-*")).text
    assert links(waiting) == []
    assert "Some alerts wait to be judged" in waiting
    await opened.database.write(finish)
    found: list[str] = []
    path: str | None = "/alerts?host=WS-*"
    while path is not None:
        page = (await jane.get(path)).text
        found += links(page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = None if older is None else html.unescape(older[1])
        assert path is None or "host=WS" in path
        assert "wait to be judged" not in page
    assert found == [made(number).id for number in reversed(range(120))]
    assert "other-tenant" not in (await jane.get("/alerts")).text


async def test_a_filter_that_is_not_valid_is_said_to_be_contract_79(opened: Running) -> None:
    jane = await opened.person("jane")
    for asked, status in (
        ("since=tomorrow", 400),
        ("band=worst", 400),
        ("source=me", 400),
        ("host=*", 400),
        ("user=%00", 400),
        ("id=ab*", 409),
        ("before=nonsense", 404),
        ("before=WyJhIiwiYiJd", 404),
        ("tenant=other-tenant", 404),
    ):
        page = await jane.get(f"/alerts?{asked}")
        assert page.status_code == status, asked
        assert "<h1>" in page.text
    for text in ("%00*", "a\0*", "é*", "\ud7ff", EVIL):
        page = await jane.get(f"/alerts?{urlencode({'host': text, 'user': text, 'hash': text})}")
        assert page.status_code == 200, text


async def test_an_alert_has_its_verdict_its_body_and_its_history_contract_79(
    opened: Running,
) -> None:
    jane = await opened.person("jane")
    alert = made(
        1, process_cmdline="powershell -enc AAAA", technique="T1059", notes=("1 x U+FFFD",)
    )
    await add(opened, alert, raw=b'{"detect_id":"evt:1","deep":{"a":[1,2]}}')
    await opened.database.write(judge, alert.id)
    page = (await jane.get(f"/alerts/{alert.id}")).text
    for text in (
        "powershell -enc AAAA",
        "<strong>encoded</strong>",
        '<span class="hint">encoded</span>',
        ">90<",
        "T1059 Command and Scripting Interpreter",
        "urgent 91 of 100",
        f"/incidents/{TENANT}-7",
        "1 x U+FFFD",
        "&#34;deep&#34;: {",
    ):
        assert text in page, text
    sent = await jane.send(f"/alerts/{alert.id}/verdict", verdict="malicious", note="a <b>test</b>")
    assert sent.status_code == 303
    assert sent.headers["location"] == f"/alerts/{alert.id}?done=verdict"
    shown = await show_alert(opened.database, opened.console.entries.taken, TENANT, alert.id)
    assert (shown.verdict, shown.verdict_by, shown.delivery) == ("malicious", "jane", "done")
    again = (await jane.get(f"/alerts/{alert.id}?done=verdict")).text
    assert "<strong>jane</strong>: malicious" in again
    assert "a &lt;b&gt;test&lt;/b&gt;" in again
    assert "Your verdict is recorded" in again


@pytest.mark.parametrize(
    "form", [{"note": ""}, {"verdict": "good"}, {"verdict": "benign", "note": "x" * 1001}]
)
async def test_a_verdict_that_is_not_valid_changes_nothing_contract_79(
    opened: Running, form: dict[str, str]
) -> None:
    jane = await opened.person("jane")
    alert = made(1)
    await add(opened, alert)
    sent = await jane.send(f"/alerts/{alert.id}/verdict", **form)
    assert sent.status_code == 400
    assert "<h1>" in sent.text
    shown = await show_alert(opened.database, opened.console.entries.taken, TENANT, alert.id)
    assert shown.verdict is None


async def test_the_body_is_saved_under_a_safe_name_and_never_shown_as_a_page_contract_79(
    opened: Running,
) -> None:
    jane = await opened.person("jane")
    raw = b"<html><script>alert(1)</script>\xff\x00"
    name = 'x"; filename=evil.html'
    alert = made(1, id=name)
    await add(opened, alert, raw=raw)
    response = await jane.get(f"/alerts/{name}/raw")
    assert response.content == raw
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["content-disposition"] == (
        'attachment; filename="alert-x-filename-evil-html.txt"'
    )
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_what_an_attacker_wrote_is_text_on_both_pages_contract_79(opened: Running) -> None:
    jane = await opened.person("jane")
    texts = ("hostname", "username", "process_name", "process_cmdline", "technique", "sha256")
    alert = made(1, **dict.fromkeys(texts, EVIL), vendor_group=EVIL, device_id=EVIL, notes=(EVIL,))
    body = json.dumps({"a": EVIL, EVIL: "\u202e"}, ensure_ascii=False).encode()
    await add(opened, alert, raw=body)
    await opened.database.write(judge, alert.id)
    for path in ("/alerts", f"/alerts?{urlencode({'host': EVIL})}", f"/alerts/{alert.id}"):
        page = await jane.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "\u202e" not in page.text
        assert "49" not in re.sub(r"\d{2}:\d{2}:\d{2}|data-now=\S+", "", page.text)
        assert "onerror=alert(1)&gt;" in page.text


@pytest.mark.parametrize(
    "raw",
    [b"\xff\xfe\x00<b>", b"[" * 30_000, b'{"a":' * 400 + b"1" + b"}" * 400, b"x" * 200_000, b""],
    ids=["bytes", "deep", "indented", "long", "empty"],
)
async def test_any_body_is_shown_in_bounds_contract_79(opened: Running, raw: bytes) -> None:
    jane = await opened.person("jane")
    await add(opened, made(1), raw=raw)
    page = await jane.get(f"/alerts/{made(1).id}")
    assert page.status_code == 200
    assert len(page.content) < 200_000
    assert "<b>" not in page.text
    assert f"{len(raw)} bytes" in page.text


async def test_another_tenants_alert_is_not_there_and_a_viewer_only_looks_contract_79(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    jane = await opened.person("jane")
    await add(opened, made(1), made(2, "other-tenant"))
    own, other = f"/alerts/{made(1).id}", f"/alerts/{made(2).id}"
    missing = f"/alerts/{made(3).id}"
    for path in (other, missing, f"{other}/raw", f"{missing}/raw", "/alerts/%00"):
        assert (await jane.get(path)).status_code == 404, path
    for path in (other, missing):
        assert (await jane.send(f"{path}/verdict", verdict="benign")).status_code == 404, path
    assert "Record the verdict" in (await jane.get(own)).text
    look_only(monkeypatch)
    assert "Record the verdict" not in (await jane.get(own)).text
    assert (await jane.send(f"{own}/verdict", verdict="benign")).status_code == 409
    shown = await show_alert(opened.database, opened.console.entries.taken, TENANT, made(1).id)
    assert shown.verdict is None


def look_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every session look, and do nothing, as one that a link has begun."""
    find = sessions.find

    def find_viewer(connection: Connection, session_id: str, now: float) -> sessions.Person | None:
        person = find(connection, session_id, now)
        return None if person is None else msgspec.structs.replace(person, acts_for=())

    monkeypatch.setattr(sessions, "find", find_viewer)


@pytest.mark.parametrize("at", [253_402_300_800.0, 1e18, -1e15])
async def test_a_time_that_no_date_can_show_is_no_error_contract_79(
    opened: Running, at: float
) -> None:
    """No vendor can send one, but a row may have been written by something else."""
    jane = await opened.person("jane")
    [alert] = [new(0.0, "vssadmin delete shadows /all", device_id=AID, hostname="ws-01")]
    await judged(opened.database, alert)

    def break_times(connection: Connection) -> None:
        broken = msgspec.json.encode(msgspec.structs.replace(alert, timestamp=at))
        connection.execute(alerts.update().values(received_at=at, alert=broken))
        connection.execute(verdicts.update().values(happened_at=at, judged_at=at))
        times = ("opened_at", "first_at", "last_at", "updated_at")
        connection.execute(incidents.update().values(dict.fromkeys(times, at)))

    await opened.database.write(break_times)
    for path in (
        "/", "/alerts", f"/alerts/{alert.id}", "/incidents", f"/incidents/{TENANT}-1",
        f"/incidents/{TENANT}-1/alerts", f"/devices/{TENANT}/1", f"/propose/{TENANT}-1", "/reports",
    ):  # fmt: skip
        page = await jane.get(path)
        assert page.status_code == 200, path
    assert f"Unix time {at}" in (await jane.get(f"/alerts/{alert.id}")).text
