"""What approvers do on the page of an incident, and that viewers cannot (contract 78)."""

import re
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.console.running import TENANT, Browser, Running
from tests.console.telling import tell
from tests.triage.stored import judged, new
from tests.vendor import AID
from vyrox.approvals import rows
from vyrox.approvals.proposal import Proposal
from vyrox.clock import wall_clock
from vyrox.console import sessions
from vyrox.console.sessions import Person
from vyrox.models import NormalizedAlert
from vyrox.store.tables import alerts, audit_log
from vyrox.triage import suppressions
from vyrox.triage.incident_ids import IncidentKey, find
from vyrox.triage.incidents import Incident
from vyrox.triage.life import Actor
from vyrox.triage.regrouping import merge

KEY = IncidentKey(TENANT, 1)
PATH = f"/incidents/{KEY.id}"
SCOPE = ("any_host", "any_user", "days")


async def incident(opened: Running) -> Incident:
    return await opened.database.read(find, KEY)


async def last_event(opened: Running) -> dict[str, object]:
    """Return the newest event of the tenant about what people, or triage, did."""
    c = audit_log.c
    kinds = [c.kind.startswith(each) for each in ("incident.", "suppression.", "alert.verdict")]
    query = sa.select(c.entry).where(c.tenant_id == TENANT, sa.or_(*kinds))

    def read(connection: Connection) -> bytes:
        newest = query.order_by(c.sequence.desc()).limit(1)
        found: bytes = connection.execute(newest).scalar_one()
        return found

    event: dict[str, object] = msgspec.json.decode(await opened.database.read(read))
    return event


async def test_steps_are_those_of_the_commands_contract_78(opened: Running) -> None:
    """Each is an event with the person's name, and the page says that it was done."""
    ann = await opened.person("ann")
    await tell(opened)
    for step, fields, kind, said in (
        ("acknowledge", {}, "incident.acknowledged", "ann is on it"),
        ("comment", {"note": "asked the owner"}, "incident.commented", "comment is recorded"),
        ("close", {"resolution": "malicious"}, "incident.closed", "The incident is closed"),
        ("reopen", {"note": "too early"}, "incident.reopened", "open again"),
    ):
        answer = await ann.send(f"{PATH}/{step}", **fields)
        assert answer.status_code == 303, answer.text
        page = await ann.get(answer.headers["location"])
        assert said in page.text
        event = await last_event(opened)
        assert (event["kind"], event["by"]) == (kind, "ann")
    assert (await incident(opened)).assignee == "ann"


@pytest.mark.parametrize(
    ("step", "fields", "status", "words"),
    [
        ("close", {"resolution": "benign_expected"}, 400, "needs a note"),
        ("close", {"resolution": "merged", "note": "x"}, 400, "no such resolution"),
        ("close", {"note": "x"}, 400, "no resolution"),
        ("reopen", {"note": "x"}, 409, "is not closed"),
        ("comment", {"note": "  "}, 400, "empty"),
        ("comment", {"note": "x" * 1001}, 400, "at most 1000"),
        ("verdict", {"alert": "nothing", "verdict": "benign"}, 404, ""),
        ("verdict", {"alert": "x", "verdict": "nice"}, 400, "no such verdict"),
        ("propose", {"alert": "nothing", "action": "HOST_ISOLATION"}, 404, ""),
        ("propose", {"alert": "x", "action": "REBOOT"}, 400, "no such action"),
        ("suppress", {"alert": "nothing", "note": "x", "seen": "x"}, 404, ""),
        ("confirm", {"suppression": "sup-000000000000"}, 404, ""),
    ],
)
async def test_what_cannot_be_done_is_a_page_that_says_why_contract_78(
    opened: Running, step: str, fields: dict[str, str], status: int, words: str
) -> None:
    ann = await opened.person("ann")
    await tell(opened)
    answer = await ann.send(f"{PATH}/{step}", **fields)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert words in answer.text


async def proposed(opened: Running, browser: Browser, **fields: str) -> Proposal:
    answer = await browser.send(f"{PATH}/propose", **fields)
    assert answer.status_code == 303, answer.text
    proposal_id = answer.headers["location"].partition("?")[0].rpartition("/")[2]
    stored = await opened.database.read(rows.require, TENANT, proposal_id)
    return stored.proposal


async def test_an_exact_action_on_an_exact_device_is_proposed_contract_78(
    opened: Running,
) -> None:
    ann = await opened.person("ann")
    first, *_ = await tell(opened)
    chosen = {"alert": first.id, "reason": "she called", "lease_s": "3600"}
    for action in ("HOST_ISOLATION", "LIFT_HOST_ISOLATION", "PROCESS_KILL"):
        proposal = await proposed(opened, ann, action=action, **chosen)
        assert (proposal.action_type, proposal.host, proposal.alert_id) == (action, AID, first.id)
        assert (proposal.requested_by, proposal.reason) == ("ann", "she called")
        assert proposal.lease_s == (3600 if action == "HOST_ISOLATION" else 0)
    assert opened.vendor.asked == []


async def test_an_alert_of_another_incident_proposes_nothing_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    await tell(opened)
    answer = await ann.send(f"{PATH}/propose", alert="alt_abc123", action="HOST_ISOLATION")
    assert answer.status_code == 404
    assert await opened.database.read(rows.count_open, TENANT, wall_clock()) == 0


async def test_a_verdict_of_a_person_is_recorded_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    first, *_ = await tell(opened)
    answer = await ann.send(f"{PATH}/verdict", alert=first.id, verdict="malicious", note="ours?")
    assert "Your verdict is recorded" in (await ann.get(answer.headers["location"])).text
    query = sa.select(alerts.c.verdict, alerts.c.verdict_by).where(alerts.c.id == first.id)
    row = await opened.database.read(lambda c: c.execute(query).one())
    assert tuple(row) == ("malicious", "ann")


async def send_as_shown(browser: Browser, alert_id: str, **fields: str) -> httpx.Response:
    """Send the form of the page "this is normal here", as the page has it."""
    asked = {"alert": alert_id} | {name: fields[name] for name in SCOPE if name in fields}
    page = await browser.get(f"{PATH}/benign?{urlencode(asked)}")
    for seen in re.findall(r'name="seen" value="([0-9a-f]{64})"', page.text):
        fields["seen"] = seen
    return await browser.send(f"{PATH}/suppress", alert=alert_id, note="ours", **fields)


async def suppressed(
    opened: Running, browser: Browser, alert: NormalizedAlert, **fields: str
) -> suppressions.Suppression:
    answer = await send_as_shown(browser, alert.id, **fields)
    assert answer.status_code == 303, answer.text
    now = wall_clock()
    found = await opened.database.read(suppressions.read_living, TENANT, now)
    return found[-1]


async def test_a_dangerous_suppression_waits_for_a_second_person_contract_78(
    opened: Running,
) -> None:
    ann, bob = await opened.person("ann"), await opened.person("bob")
    _, dump, _ = await tell(opened)
    page = await ann.get(f"{PATH}/benign?alert={dump.id}")
    assert "it reads passwords" in page.text  # no name of a family alone
    assert "A second approver must confirm it" in page.text
    assert "It would have hidden" not in page.text
    made = await suppressed(opened, ann, dump, days="7")
    assert (made.author, made.state(wall_clock())) == ("ann", "unconfirmed")
    assert round((made.expires_at - made.created_at) / 86_400) == 7
    assert "Confirm as the second person" not in (await ann.get(PATH)).text
    assert (await ann.send(f"{PATH}/confirm", suppression=made.id)).status_code == 409
    assert "Confirm as the second person" in (await bob.get(PATH)).text
    assert (await bob.send(f"{PATH}/confirm", suppression=made.id)).status_code == 303
    [known] = await opened.database.read(suppressions.read_holding, TENANT, wall_clock())
    assert known[0] == made.id
    assert (await bob.send(f"{PATH}/unsuppress", suppression=made.id)).status_code == 303
    assert await opened.database.read(suppressions.read_living, TENANT, wall_clock()) == []


async def test_benign_closes_the_incident_too_if_it_is_asked_for_contract_78(
    opened: Running,
) -> None:
    ann = await opened.person("ann")
    first, *_ = await tell(opened)
    shown = await ann.get(f"{PATH}/benign?alert={first.id}&any_host=1")
    assert "every host" in shown.text
    made = await suppressed(opened, ann, first, any_host="1", any_user="1", close="1")
    assert (made.scope.host, made.scope.username) == (None, None)
    assert (await incident(opened)).resolution == "benign_expected"


async def test_a_malicious_alert_of_the_scope_makes_no_suppression_contract_78(
    opened: Running,
) -> None:
    """Nothing is half done: the incident stays open as well."""
    ann = await opened.person("ann")
    first, *_ = await tell(opened)
    await ann.send(f"{PATH}/verdict", alert=first.id, verdict="malicious")
    answer = await send_as_shown(ann, first.id, close="1")
    assert answer.status_code == 409
    assert "found alert" in answer.text
    assert (await incident(opened)).status == "open"


async def test_a_person_who_only_looks_has_no_button_and_does_nothing_contract_78(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await opened.person("ann")
    first, *_ = await tell(opened)
    before = await last_event(opened)
    found = sessions.find

    def looking(connection: Connection, session_id: str, now: float) -> Person | None:
        person = found(connection, session_id, now)
        return None if person is None else msgspec.structs.replace(person, acts_for=())

    monkeypatch.setattr(sessions, "find", looking)
    for path in (PATH, f"/devices/{TENANT}/1", "/incidents"):
        page = await ann.get(path)
        assert page.status_code == 200
        forms = page.text.split("<form")[1:]
        assert [each for each in forms if 'method="post"' in each and "/sign-out" not in each] == []
    assert (await ann.get(f"{PATH}/benign?alert={first.id}")).status_code == 409
    for step in (
        "acknowledge",
        "close",
        "reopen",
        "comment",
        "verdict",
        "suppress",
        "confirm",
        "unsuppress",
        "propose",
    ):
        fields = {"alert": first.id, "verdict": "benign", "note": "x", "action": "suggested"}
        answer = await ann.send(f"{PATH}/{step}", **fields)
        assert answer.status_code == 409, step
        assert "an approver of acme-corp" in answer.text
    assert await last_event(opened) == before


async def test_only_the_scope_that_was_shown_is_hidden_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    first, *_ = await tell(opened)
    page = (await ann.get(f"{PATH}/benign?alert={first.id}")).text
    [seen] = re.findall(r'name="seen" value="([0-9a-f]{64})"', page)
    fields = {"alert": first.id, "note": "ours", "days": "30", "seen": seen}
    for changed in ({"any_host": "1"}, {"days": "180"}, {"any_user": "1"}, {"seen": "0" * 64}):
        answer = await ann.send(f"{PATH}/suppress", **(fields | changed))
        assert answer.status_code == 409
        assert "not any more what the page has shown" in answer.text
    del fields["seen"]
    assert (await ann.send(f"{PATH}/suppress", **fields)).status_code == 400
    assert await opened.database.read(suppressions.read_living, TENANT, wall_clock()) == []


@pytest.mark.parametrize(
    "step",
    ["acknowledge", "close", "reopen", "comment", "verdict", "suppress", "unsuppress", "propose"],
)
async def test_a_merged_incident_takes_no_step_contract_78(opened: Running, step: str) -> None:
    """The refusal names the incident that has its alerts now."""
    ann = await opened.person("ann")
    await tell(opened)
    other = new(0.0, "whoami", hostname="other", device_id="other")
    await judged(opened.database, other)
    actor = Actor("ann", wall_clock())
    await opened.database.write(merge, KEY, IncidentKey(TENANT, 2), actor)
    answer = await ann.send(
        f"/incidents/{TENANT}-2/{step}",
        alert=other.id,
        verdict="benign",
        resolution="unclear",
        action="suggested",
        suppression="sup-000000000000",
        seen="x",
        note="x",
    )
    assert answer.status_code == 409
    assert f"merged into {KEY.id}: use that id" in answer.text
