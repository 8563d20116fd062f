"""The audit log in the console: read, verify, download (contract 80)."""

import asyncio
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest

from tests.audit import change_entry, events
from tests.console.running import KILL, TENANT, Running
from tests.polling import until
from tests.triage.stored import judged, new
from vyrox.chain import archive, live
from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.console import audit_checks, streamed
from vyrox.store.database import Database
from vyrox.triage.totals_log import LogTotals

HOSTILE: Final = "<script>alert(1)</script>'\"\u202e{{7*7}}"

ACTION: Final[dict[str, Scalar]] = {
    "action_type": "PROCESS_KILL",
    "host": HOSTILE,
    "approved_by": HOSTILE,
    "dry_run": False,
}


async def write(database: Database, *drafts: Draft) -> None:
    await database.write(append, drafts, wall_clock())


async def test_what_happened_is_said_in_plain_words_contract_80(opened: Running) -> None:
    ann = await opened.person("ann")
    await write(
        opened.database,
        event("tenant.changed", TENANT, None, source=None, change="frozen"),
        event("incident.closed", TENANT, None, incident=f"{TENANT}-1", by="ann", resolution="x"),
        event("incident.reopened", TENANT, None, incident=f"{TENANT}-2", by="ann"),
        event("incident.reopened", TENANT, None, incident=f"{TENANT}-3"),
        event("alert.accepted", TENANT, "r", alert_id="a-1", source="defender"),
    )
    page = (await ann.get("/audit")).text
    assert "A setting was changed: frozen" in page
    assert f"ann closed incident {TENANT}-1 as x" in page
    assert f"Incident {TENANT}-2 was opened again by ann" in page
    assert f"Incident {TENANT}-3 was opened again<" in page.replace("\n", "<")
    assert "An alert came in" not in page
    assert (
        "An alert came in from defender: a-1" in (await ann.get("/audit?kind=alert.accepted")).text
    )
    only = (await ann.get("/audit?text=frozen&stream=events")).text
    assert "A setting was changed" in only
    assert "closed incident" not in only
    assert "Nothing here with these filters" in (await ann.get("/audit?until=1999-01-01")).text


async def test_the_entry_of_an_approved_action_says_who_approved_it_contract_80(
    opened: Running,
) -> None:
    ann = await opened.person("ann")
    proposed = await opened.propose()
    assert (await ann.decide(proposed.proposal_id)).status_code == 200

    async def is_done() -> bool:
        kinds = {each["kind"] for each in await events(opened.database, TENANT)}
        return "execute.outcome" in kinds

    await until(is_done)
    await LogTotals(opened.database).run()
    page = (await ann.get("/audit?stream=actions")).text
    assert "Approved by ann (passkey)" in page
    assert f'href="/approvals/{proposed.proposal_id}"' in page
    entry = (await ann.get(f"/audit/{TENANT}/actions/1")).text
    assert "End a process: workstation-01" in entry
    assert "Approved by ann (passkey)" in entry
    decided = (await ann.get("/audit?kind=approval.decided")).text
    path = decided.partition(f'href="/audit/{TENANT}/events/')[2].partition('"')[0]
    entry = (await ann.get(f"/audit/{TENANT}/events/{path}")).text
    assert f'<a href="/approvals/{proposed.proposal_id}">' in entry
    # Whatever names only the proposal says what it is about, with a link.
    about = f'<a href="/approvals/{proposed.proposal_id}">End a process, workstation-01</a>'
    assert about in decided
    assert about in entry
    page = (await ann.get("/audit?stream=events")).text
    kinds = ("execute.outcome", "approval.dispatched", "approval.decided")
    written = [each["kind"] for each in await events(opened.database, TENANT)]
    assert page.count(about) == sum(written.count(each) for each in kinds)
    checked = (await ann.send("/audit/verify", tenant=TENANT)).text
    assert "1 action is proven by the persons who approved, 0 are not" in checked


async def test_a_host_is_found_by_its_name_contract_80(opened: Running) -> None:
    """An action's entry has only the id at the vendor, a proposal's event the name in its text."""
    ann = await opened.person("ann")
    await judged(opened.database, new(0.0, "whoami", hostname="srv-7", device_id="ab-12"))
    proposed = await opened.propose(
        msgspec.structs.replace(KILL, host="ab-12", hostname="srv-7", reason="x srv-8")
    )
    action = {**ACTION, "action_type": "HOST_ISOLATION"}
    await write(
        opened.database,
        *(
            Draft(TENANT, "actions", "HOST_ISOLATION", {**action, "host": each})
            for each in ("ab-12", "ab12", "ab-13")
        ),
    )
    found = (await ann.get("/audit?text=srv-7")).text
    assert "Proposed: End a process, srv-7" in found
    assert "Isolate a host from the network: ab-12" in found
    assert "Isolate a host from the network: ab12" in found
    assert "ab-13" not in found
    assert "Nothing here" in (await ann.get("/audit?text=srv-8")).text  # only whole values
    assert proposed.proposal_id in (await ann.get(f"/audit?text={proposed.proposal_id}")).text


async def test_nothing_in_an_entry_is_markup_contract_80(opened: Running) -> None:
    ann = await opened.person("ann")
    await write(
        opened.database,
        Draft(TENANT, "actions", "PROCESS_KILL", ACTION),
        event(HOSTILE, TENANT, HOSTILE, by=HOSTILE),
        event("incident.closed", TENANT, None, by=HOSTILE, incident="{0}", resolution="{by}"),
    )
    paths = ("/audit", "/audit?text=%3Cscript%3E&kind=%27%22%3Cb%3E", f"/audit/{TENANT}/actions/1")
    for path in paths:
        answer = await ann.get(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "\u202e" not in answer.text
        assert "<b>" not in answer.text
    assert (
        "No approval is recorded. The caller named: &lt;script&gt;"
        in (await ann.get("/audit")).text
    )


@pytest.mark.parametrize("path", ["/audit?tenant=other", "/audit/other/actions/1"])
async def test_another_tenants_log_is_not_there_contract_80(opened: Running, path: str) -> None:
    ann = await opened.person("ann")
    await write(opened.database, Draft("other", "actions", "PROCESS_KILL", ACTION))
    answer = await ann.get(path)
    missing = await ann.get(path.replace("other", "nobody"))
    assert (answer.status_code, missing.status_code) == (404, 404)
    assert answer.text == missing.text
    for work in ("verify", "download"):
        assert (await ann.send(f"/audit/{work}", tenant="other")).status_code == 404
        assert (await opened.browser().send(f"/audit/{work}", tenant="other")).status_code == 303


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/audit?after=xyz", 404),
        ("/audit?after=WyJhIiwiYiJd", 404),
        ("/audit?stream=other", 400),
        ("/audit?since=yesterday", 400),
        ("/audit?until=9999-12-31", 400),
        ("/audit?text=%00", 400),
        (f"/audit/{TENANT}/actions/0", 404),
        (f"/audit/{TENANT}/actions/{10**30}", 404),
        (f"/audit/{TENANT}/other/1", 404),
    ],
)
async def test_an_address_that_cannot_be_is_refused_contract_80(
    opened: Running, path: str, status: int
) -> None:
    ann = await opened.person("ann")
    assert (await ann.get(path)).status_code == status


async def test_a_list_goes_on_with_older_contract_80(opened: Running) -> None:
    ann = await opened.person("ann")
    await write(opened.database, *[event(f"kind.{n}", TENANT, None) for n in range(120)])
    path: str | None = "/audit"
    found: list[str] = []
    while path is not None:
        page = (await ann.get(path)).text
        found += [line for line in page.splitlines() if line.startswith("<td>kind.")]
        _, is_more, rest = page.partition('rel="next" href="')
        path = rest.partition('"')[0].replace("&amp;", "&") if is_more else None
    assert [each.split("<")[1] for each in found] == [f"td>kind.{n}" for n in reversed(range(120))]


async def test_verify_shows_the_first_entry_that_was_changed_contract_80(
    opened: Running,
) -> None:
    ann = await opened.person("ann")
    await write(opened.database, *[event(f"kind.{n}", TENANT, None) for n in range(20)])
    page = (await ann.send("/audit/verify", tenant=TENANT)).text
    assert "Done: all entries hold" in page
    assert page.rstrip().endswith("</html>")
    await opened.database.write(change_entry, "events", 5, b'{"broken')
    page = (await ann.send("/audit/verify", tenant=TENANT)).text
    assert "Done: the log was tampered with" in page
    assert f'href="/audit/{TENANT}/events/5"' in page
    # The pages still show the rest.
    assert (await ann.get(f"/audit/{TENANT}/events/5")).status_code == 200
    assert (await ann.get("/audit")).status_code == 200


async def test_one_person_verifies_once_at_a_time_contract_80(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await opened.person("ann"), await opened.person("bob")
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def paused(*_: object) -> object:
        began.set()
        await goes_on.wait()
        yield 1

    monkeypatch.setattr(live, "verifying", paused)
    first = asyncio.create_task(ann.send("/audit/verify", tenant=TENANT))
    await began.wait()
    second = await ann.send("/audit/verify", tenant=TENANT)
    assert (second.status_code, "still in progress" in second.text) == (409, True)
    others = asyncio.create_task(bob.send("/audit/download", tenant=TENANT))
    assert (await others).status_code == 200
    goes_on.set()
    assert (await first).status_code == 200
    assert (await ann.send("/audit/verify", tenant=TENANT)).status_code == 200
    assert not streamed._working


async def test_verify_ends_with_the_service_and_by_itself_contract_80(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await opened.person("ann")
    opened.app.state.console_app.state.is_stopping = True
    page = (await ann.send("/audit/verify", tenant=TENANT)).text
    assert "Not finished" in page
    assert "The service shuts down." in page
    opened.app.state.console_app.state.is_stopping = False
    monkeypatch.setattr(audit_checks, "MAX_S", 0.0)
    page = (await ann.send("/audit/verify", tenant=TENANT)).text
    assert "This log is too long for a page." in page
    assert "Done" not in page.partition("grows until")[2].partition("<div")[2]


async def test_the_download_verifies_without_vyrox_contract_80(
    opened: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vyrox.chain.export.PAGE", 7)
    ann = await opened.person("ann")
    await write(
        opened.database,
        Draft(TENANT, "actions", "PROCESS_KILL", {**ACTION, "host": "ws-1"}),
        *[event(f"kind.{n}", TENANT, None) for n in range(20)],
    )
    answer = await ann.send("/audit/download", tenant=TENANT)
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="vyrox-audit-{TENANT}.zip"'
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as whole:
        assert whole.testzip() is None
        whole.extractall(tmp_path)
    signed = {"checkpoint-actions.txt", "checkpoint-events.txt"}
    has_key = opened.console.checkpoints is not None  # with PostgreSQL, only if it is set
    assert set(os.listdir(tmp_path)) == {
        "README.txt", "verify_audit.py", "actions.ndjson", "events.ndjson", "keys.json",
        *(signed if has_key else ()),
    }  # fmt: skip
    commands = [
        line.split()[1:] for line in archive.README.splitlines() if line.startswith("    python3")
    ]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, check=False)  # noqa: ASYNC221
        assert done.returncode == (0 if has_key else 3)
    assert ("Verified." in (tmp_path / "report.html").read_text()) == has_key
    await opened.console.events.flush()
    exported = [e for e in await events(opened.database, TENANT) if e["kind"] == "audit.exported"]
    assert [each["by"] for each in exported] == ["ann"]


async def test_a_change_needs_a_post_of_the_own_page_contract_80(opened: Running) -> None:
    ann = await opened.person("ann")
    assert (await ann.get("/audit/download")).status_code == 405
    other: httpx.Response = await ann.client.post(
        "/audit/download", data={"tenant": TENANT}, headers={"sec-fetch-site": "cross-site"}
    )
    assert other.status_code == 403


async def test_a_tenant_sees_the_refused_requests_that_named_it_contract_80(
    opened: Running,
) -> None:
    """They are in the service's chain, and those of other tenants beside them are not shown."""
    ann = await opened.person("ann")
    mention = f'"resolved_tenant":"{TENANT}"'
    for name, source in ((TENANT, "own-source"), ("other", "their-source"), ("other", mention)):
        refused = event("auth.failed", "", None, resolved_tenant=name, source=source, failure="x")
        await write(opened.database, refused)
    page = (await ann.get("/audit?stream=refused")).text
    assert "own-source" in page
    assert page.count("A request could not prove who sent it") == 1
    assert "their-source" not in page
    assert "own-source" not in (await ann.get("/audit")).text
    assert (await ann.get("/audit?stream=refused&tenant=other")).status_code == 404
