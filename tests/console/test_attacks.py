"""What a person, or the sender of alerts, may try against the console (contracts 76 to 80)."""

import asyncio
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Message

from tests.console.running import KILL, TENANT, Browser, Running
from tests.console.telling import tell
from tests.console.test_quarantine import quarantined
from tests.vendor import add_alert, give_credentials
from vyrox.approvals import approvers
from vyrox.clock import wall_clock
from vyrox.console import audit_checks, incident_steps, links, people_commands, streamed
from vyrox.console.application import create_routes
from vyrox.console.paging import cursor
from vyrox.console.sessions import Person
from vyrox.errors import NotPossibleError, UnavailableError
from vyrox.settings import Settings
from vyrox.store.encryption import open_vault
from vyrox.store.tables import alerts, audit_log, suppressions
from vyrox.triage import timeline

PATH = f"/incidents/{TENANT}-1"
OTHER = "beta-org"
Answer = tuple[int, str]

LARGE = 300_000
"""Bytes of an alert that lists and cards do not read."""


async def viewer(opened: Running, name: str) -> tuple[Browser, str]:
    """Return the browser of a new viewer, and the secret of a link that is not used yet."""
    now = wall_clock()
    write = opened.database.write
    await write(people_commands.add, TENANT, name, None, "operator", now)
    secret, _ = await write(people_commands.link, name, (), now)
    browser = opened.browser()
    assert (await browser.send("/link", secret=secret)).status_code == 303
    secret, _ = await write(people_commands.link, name, (), now)
    return browser, secret


@pytest.mark.parametrize("later", ["viewer", "approver"])
async def test_a_removed_viewer_stays_out_when_the_name_comes_back_contract_76(
    opened: Running, later: str
) -> None:
    browser, secret = await viewer(opened, "vic")
    write, now = opened.database.write, wall_clock()
    await write(people_commands.remove, TENANT, "vic", "operator", now)
    if later == "viewer":
        await write(people_commands.add, TENANT, "vic", None, "operator", now)
    else:
        await write(approvers.add, TENANT, "vic", "operator", now)
    assert (await browser.get("/keys")).status_code == 303
    assert (await opened.browser().send("/link", secret=secret)).status_code == 409


async def test_a_removed_approver_does_not_look_as_a_later_viewer_contract_76(
    opened: Running,
) -> None:
    write, now = opened.database.write, wall_clock()
    ann = await opened.person("ann")
    secret, _ = await write(links.make, "ann", (), now)
    by_link = opened.browser()
    await by_link.send("/link", secret=secret)
    assert (await by_link.get("/keys")).status_code == 200
    await write(approvers.remove, TENANT, "ann", "operator", now)
    await write(people_commands.add, TENANT, "ann", None, "operator", now)
    assert (await by_link.get("/keys")).status_code == 303
    assert (await ann.get("/keys")).status_code == 303


async def test_a_new_right_ends_no_session_elsewhere_contract_76(opened: Running) -> None:
    """Only sessions by link that see the tenant end; those with a passkey end with the key."""
    ann = await opened.person("ann")
    browser, _ = await viewer(opened, "vic")
    now = wall_clock()
    await opened.database.write(approvers.add, "other", "ann", "operator", now)
    await opened.database.write(links.forget, "other", "vic")
    await opened.database.write(links.forget, TENANT, "ann")
    assert (await browser.get("/keys")).status_code == 200
    assert (await ann.get("/keys")).status_code == 200


@pytest.mark.parametrize("value", [-1e300, -1.0, 1e300, 2.0**62 + 2.0**11])
async def test_a_forged_place_in_the_log_is_not_found_contract_80(
    opened: Running, value: float
) -> None:
    ann = await opened.person("ann")
    assert (await ann.get(f"/audit?after={cursor(value, '1')}")).status_code == 404


async def test_a_button_pressed_twice_hides_once_contract_56(opened: Running) -> None:
    """With two, ending one would leave the alerts hidden."""
    ann = await opened.person("ann")
    first, *_ = await tell(opened)
    page = (await ann.get(f"{PATH}/benign?alert={first.id}")).text
    [seen] = re.findall(r'name="seen" value="([0-9a-f]{64})"', page)
    fields = {"alert": first.id, "note": "ours", "days": "30", "seen": seen}
    for _ in range(2):
        assert (await ann.send(f"{PATH}/suppress", **fields)).status_code == 303
    number = sa.select(sa.func.count()).select_from(suppressions)
    count = await opened.database.read(lambda c: c.execute(number).scalar_one())
    assert count == 1
    await ann.send(f"{PATH}/suppress", **{**fields, "note": "another reason"})
    assert await opened.database.read(lambda c: c.execute(number).scalar_one()) == 2


async def test_only_a_verdict_takes_an_alert_off_the_queue_contract_78(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    async def note(_console: object, _tenant: str, alert_id: str) -> None:
        removed.append(alert_id)

    monkeypatch.setattr(incident_steps, "remove_entry", note)
    ann = await opened.person("ann")
    first, *_ = await tell(opened)
    fields = {"note": "hello", "verdict": "benign", "alert": first.id}
    assert (await ann.send(f"{PATH}/comment", **fields)).status_code == 303
    assert removed == []
    assert (await ann.send(f"{PATH}/verdict", **fields)).status_code == 303
    assert removed == [first.id]


def test_one_tenant_does_not_take_all_places_contract_80(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four viewers who read a download a byte at a time would keep everybody else from one."""
    monkeypatch.setattr(streamed, "_working", set())

    async def body() -> AsyncIterator[bytes]:
        yield b""

    def begin(tenant_id: str, name: str) -> None:
        person = Person(
            tenant_id=tenant_id,
            approver=name,
            credential_id=None,
            session="",
            is_due=False,
            tenants=(tenant_id,),
            acts_for=(),
        )
        streamed.Streamed(person, body(), "text/csv")

    begin("a", "one")
    begin("a", "two")
    with pytest.raises(NotPossibleError, match="too many"):
        begin("a", "three")
    begin("b", "one")
    begin("c", "one")
    with pytest.raises(NotPossibleError, match="too many"):
        begin("d", "one")


def test_verifications_share_half_of_a_core_contract_80(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each works for one part of its time; four persons at once leave as much for alerts as one."""
    for persons in (1, 2, 4):
        monkeypatch.setattr(streamed, "_working", {("a", str(each)) for each in range(persons)})
        share = 0.2 / (0.2 + audit_checks.pause_s(0.2))
        assert share * persons == pytest.approx(0.5)


def enlarged(connection: Connection, alert_id: str) -> None:
    query = sa.select(alerts.c.alert).where(alerts.c.id == alert_id)
    alert = msgspec.json.decode(connection.execute(query).scalar_one())
    alert["process_cmdline"] += " x" * (LARGE // 2)
    large = alerts.update().where(alerts.c.id == alert_id)
    connection.execute(
        large.values(
            alert=msgspec.json.encode(alert), hostname="the-large-one", received_at=wall_clock()
        )
    )


async def test_large_alerts_make_no_page_large_and_hide_no_others_contract_78(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who runs a command decides how long it is, up to the body's limit, and how often."""
    monkeypatch.setattr(timeline, "MAX_BYTES", LARGE // 2)
    ann = await opened.person("ann")
    first, dump, shadows = await tell(opened)
    await opened.database.write(enlarged, dump.id)
    story = (await ann.get(PATH)).text
    assert "vssadmin.exe" in story
    assert f'id="alert-{shadows.id}"' in story
    assert f'id="alert-{dump.id}"' not in story
    assert f"/alerts/{dump.id}" in (await ann.get(f"{PATH}/alerts")).text
    for path in (f"{PATH}/alerts", f"/devices/{TENANT}/1", f"/alerts?id={dump.id}"):
        page = (await ann.get(path)).text
        assert "the-large-one" in page
        assert "x x x" not in page
    preview = (await ann.get(f"{PATH}/benign?alert={first.id}")).text
    assert "very large ones were not read" in preview
    assert (await ann.get(f"/alerts/{dump.id}")).status_code == 200


async def test_another_tenants_ids_are_as_those_that_are_not_contract_76(
    opened: Running, settings: Settings
) -> None:
    """Each route, also those to come, with ids that another tenant has, and with the like."""
    vault = open_vault(settings.encryption_keys, settings.data_dir)
    await give_credentials(opened.database, [OTHER], vault=vault)
    await add_alert(opened.database, OTHER, "alt_of_beta", hostname="their-host")
    ann = await opened.person("ann")
    kept = await quarantined(opened, b"theirs", tenant_id=OTHER)
    proposal = await opened.propose(
        msgspec.structs.replace(KILL, tenant_id=OTHER, alert_id="alt_of_beta")
    )
    ids = {
        "alert_id": "alt_of_beta",
        "quarantine_id": kept.id,
        "proposal_id": proposal.proposal_id,
        "incident_id": f"{OTHER}-1",
    }
    before = await entries(opened)
    for route in create_routes():
        assert isinstance(route, Route)
        if "{" not in route.path or route.path.startswith("/static/"):
            continue
        theirs = next((ids[each] for each in ids if each in route.path), "their-host")
        own = await tried(ann, route, OTHER, theirs)
        missing = await tried(ann, route, "no-such-org", f"x{theirs[1:]}")
        assert own == missing, route.path
        assert {status for status, _ in own} <= {400, 404}, route.path
    assert await entries(opened) == before


async def tried(browser: Browser, route: Route, tenant_id: str, row_id: str) -> list[Answer]:
    path = re.sub("{tenant_id}", tenant_id, route.path)
    path = re.sub("{sequence:int}", "1", path.replace("{stream}", "events"))
    path = re.sub(r"{[^}]*}", row_id, path)
    if "GET" in (route.methods or ()):
        answers = [await browser.get(path), await browser.get(path, **{"if-none-match": '"x"'})]
    else:
        answers = [await browser.send(path, tenant=tenant_id), await browser.post(path, {})]
    return [(each.status_code, each.text) for each in answers]


async def entries(opened: Running) -> int:
    own = sa.select(sa.func.count()).select_from(audit_log).where(audit_log.c.tenant_id == OTHER)
    return await opened.database.read(lambda c: c.execute(own).scalar_one())


async def test_a_download_that_is_read_slowly_ends_with_the_service_contract_80(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends without its last part, so the browser knows that something is missing."""
    monkeypatch.setattr(streamed, "END_S", 0.0)
    monkeypatch.setattr(streamed, "POLL_S", 0.01)
    monkeypatch.setattr(streamed, "_working", set())
    app, began, sent = Starlette(), asyncio.Event(), []
    person = Person(
        tenant_id="a", approver="ann", credential_id=None, session="", is_due=False,
        tenants=("a",), acts_for=(),
    )  # fmt: skip

    async def body() -> AsyncIterator[bytes]:
        yield b"part"

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body"):
            began.set()
            await asyncio.Event().wait()  # a browser that reads no more

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope = {"type": "http", "app": app, "asgi": {"spec_version": "2.3"}}
    response = streamed.Streamed(person, body(), "text/csv")
    sending = asyncio.create_task(response(scope, receive, send))
    await began.wait()
    app.state.is_stopping = True
    with pytest.raises(UnavailableError):
        await sending
    assert not any(each.get("more_body") is False for each in sent)
    assert streamed.at_work() == 0
