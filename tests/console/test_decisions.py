"""A person enrols, signs in and decides; nothing but a passkey decides (contract 66)."""

import json
from typing import Final

import msgspec
import pytest
from sqlalchemy import Connection

from tests.approvals.authenticator import UP
from tests.console.running import KILL, TENANT, Running, unb64
from tests.polling import until
from tests.triage.stored import judged, new
from tests.vendor import AID, COMPOSITE_ID, add_alert, give_credentials
from vyrox.approvals import approvers, drills, rules
from vyrox.approvals.shown import list_proposals
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.console.pages import outcome_words
from vyrox.store.tables import proposals
from vyrox.tenants.policy import set_frozen


async def states(opened: Running) -> list[str]:
    found = await opened.database.read(
        lambda c: list_proposals(c, TENANT, wall_clock(), 100, only_open=False)
    )
    return [each.state for each in found]


async def test_a_person_enrols_signs_in_and_approves_contract_66(opened: Running) -> None:
    browser = await opened.person("ann")
    proposal = await opened.propose()
    home = await browser.get("/")
    assert f"/approvals/{proposal.proposal_id}" in home.text
    page = await browser.get(f"/approvals/{proposal.proposal_id}")
    assert page.status_code == 200
    assert f"SHA-256: {proposal.proposal_sha256}" in page.text
    answer = await browser.decide(proposal.proposal_id, comment="<b>I called her</b>")
    assert (answer.status_code, answer.json()) == (200, {"state": "approved", "is_drill": False})
    page = await browser.get(f"/approvals/{proposal.proposal_id}")
    assert "&lt;b&gt;I called her&lt;/b&gt;" in page.text

    async def acted() -> bool:
        return bool(opened.vendor.asked)

    await until(acted)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [(None, "approved and begun"), ("confirmed", "approved and done"), ("failed", "it failed")],
)
async def test_what_is_done_is_not_shown_as_only_begun_contract_66(
    opened: Running, outcome: str | None, words: str
) -> None:
    ann = await opened.person("ann")
    alert = new(0.0, "xmrig.exe -o stratum+tcp://pool.example:3333 -u 4A", **DEVICE)
    await judged(opened.database, alert)
    proposed = await opened.propose(msgspec.structs.replace(KILL, alert_id=alert.id))

    def dispatched(connection: Connection) -> None:
        now = wall_clock()
        row = proposals.update().where(proposals.c.id == proposed.proposal_id)
        done = {"state": "dispatched", "approved_at": now, "ended_at": now}
        connection.execute(row.values(**done))
        members = {"execution": proposed.proposal_id, "entry": "0" * 64, "outcome": outcome}
        if outcome is not None:
            append(connection, [event("execute.outcome", TENANT, None, **members)], now)

    await opened.database.write(dispatched)
    for path in ("/", f"/incidents/{TENANT}-1", f"/approvals/{proposed.proposal_id}"):
        page = (await ann.get(path)).text
        assert words in page, path
        assert ("approved and begun" in page) == (outcome is None), path


async def test_the_version_of_a_proposals_page_has_the_evidence_contract_66(
    opened: Running,
) -> None:
    """A new alert of the same incident is shown before the person decides."""
    ann = await opened.person("ann")
    alert = new(0.0, "xmrig.exe -o stratum+tcp://pool.example:3333 -u 4A", **DEVICE)
    await judged(opened.database, alert)
    proposed = await opened.propose(msgspec.structs.replace(KILL, alert_id=alert.id))
    path = f"/approvals/{proposed.proposal_id}"
    version = (await ann.get(path)).text.partition('data-version="')[2].partition('"')[0]
    known = {"if-none-match": f'"{version}"'}
    assert (await ann.get(path, **known)).status_code == 304
    await judged(opened.database, new(9.0, "vssadmin delete shadows /all /quiet", **DEVICE))
    assert (await ann.get(path, **known)).status_code == 200


async def test_a_drill_is_below_what_is_real_contract_66(opened: Running) -> None:
    ann = await opened.person("ann")
    drill = await opened.database.write(drills.start, TENANT, "ann", wall_clock() - 60)
    proposal = await opened.propose()
    home = (await ann.get("/")).text
    assert 0 < home.index(proposal.proposal_id) < home.index(drill.proposal_id)


async def test_who_opens_a_proposal_learns_of_the_freeze_contract_66(opened: Running) -> None:
    """A link from a message leads past the first page, which says it as well."""
    ann = await opened.person("ann")
    path = f"/approvals/{(await opened.propose()).proposal_id}"
    assert "is frozen" not in (await ann.get(path)).text
    now = wall_clock()
    await opened.database.write(lambda c: set_frozen(c, TENANT, now, frozen=True))
    assert f"{TENANT} is frozen" in (await ann.get(path)).text


async def test_who_cannot_decide_reads_why_and_who_can_contract_66(opened: Running) -> None:
    """No button that would be refused: what two persons approve, the one who asked may not."""
    ann = await opened.person("ann")
    wanted = msgspec.structs.replace(
        KILL, action_type="HOST_ISOLATION", requested_by="ann", lease_s=0
    )
    path = f"/approvals/{(await opened.propose(wanted)).proposal_id}"
    page = (await ann.get(path)).text
    assert "You have asked for this, so 2 other persons must decide." in page
    assert "May decide: nobody." in page
    assert f"vyrox approver add {TENANT} NAME" in page
    assert 'data-decision="approve"' not in page
    bob = await opened.person("bob")
    page = (await bob.get(path)).text
    assert "May decide: bob." in page
    assert "That is too few: it takes 2." in page
    assert 'data-decision="approve"' in page
    theirs = msgspec.structs.replace(wanted, host="workstation-02", requested_by="vyrox")
    page = (await ann.get(f"/approvals/{(await opened.propose(theirs)).proposal_id}")).text
    assert "May decide: ann, bob." in page
    assert "too few" not in page
    own = msgspec.structs.replace(KILL, requested_by="ann")
    page = (await ann.get(f"/approvals/{(await opened.propose(own)).proposal_id}")).text
    assert 'data-decision="approve"' in page


async def test_a_changed_proposal_is_shown_as_changed_contract_66(opened: Running) -> None:
    ann = await opened.person("ann")
    proposal = await opened.propose()
    changed = proposals.update().values(text=b"{}")
    await opened.database.write(lambda c: c.execute(changed).rowcount)
    page = await ann.get(f"/approvals/{proposal.proposal_id}")
    assert page.status_code == 409
    assert "the proposal was changed in the database" in page.text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("confirmed", "confirmed: the vendor shows that it is done"),
        ("unknown", "unknown: look at the vendor's console"),
        (None, "not known yet"),
    ],
)
def test_outcomes_are_words_contract_66(outcome: str | None, words: str) -> None:
    assert outcome_words(outcome) == words


async def test_a_rejection_ends_it_and_a_late_decision_learns_that_contract_66(
    opened: Running,
) -> None:
    ann, bob = await opened.person("ann"), await opened.person("bob")
    proposal = await opened.propose()
    issued = await bob.statements(proposal.proposal_id)
    answer = await ann.decide(proposal.proposal_id, "reject")
    assert answer.json()["state"] == "rejected"
    path = f"/approvals/{proposal.proposal_id}"
    late = await bob.post(path, bob.answered(issued["approve"]))
    assert late.status_code == 409
    assert "rejected (ann: reject)" in late.json()["message"]
    page = await bob.get(path)
    assert "<strong>ann</strong> rejected" in page.text
    assert "data-decision" not in page.text
    assert opened.vendor.asked == []


@pytest.mark.parametrize("comment", ["a\0b", "\u202e\x1b[31m", "\U0001f600" * 500])
async def test_any_comment_rejects_contract_66(opened: Running, comment: str) -> None:
    """PostgreSQL cannot store every character."""
    ann = await opened.person("ann")
    proposal = await opened.propose()
    answer = await ann.decide(proposal.proposal_id, "reject", comment)
    assert (answer.status_code, answer.json()["state"]) == (200, "rejected")
    assert (await ann.get(f"/approvals/{proposal.proposal_id}")).status_code == 200


async def test_nothing_but_a_signature_decides_contract_66(opened: Running) -> None:
    """A session reads. So does a GET of any page, as link scanners send it (A15)."""
    ann, bob = await opened.person("ann"), await opened.person("bob")
    proposal = await opened.propose()
    path = f"/approvals/{proposal.proposal_id}"
    for each in (path, f"{path}?decision=approve", f"{path}/statements"):
        await ann.get(each)
    issued = (await ann.statements(proposal.proposal_id))["approve"]
    right = ann.answered(issued)
    again = (await ann.statements(proposal.proposal_id))["approve"]
    wrong = [
        ann.answered(issued, flags=UP),
        {**right, "statement": right["statement"].replace("approve", "reject")},
        {**right, "response": bob.answered(issued)["response"]},
        {**right, "response": ann.answered(again)["response"]},
        {**right, "response": {}},
        {**right, "statement": ""},
    ]
    for content in wrong:
        answer = await ann.post(path, content)
        assert (answer.status_code, answer.json()) == (401, {"detail": "unauthorized"})
    nobody = opened.browser()
    assert (await nobody.post(path, right)).status_code == 401
    assert await states(opened) == ["pending"]


async def test_a_statement_has_the_comment_and_both_decisions_contract_66(opened: Running) -> None:
    ann = await opened.person("ann")
    proposal = await opened.propose()
    issued = await ann.statements(proposal.proposal_id, "ruhig \u2713")
    for decision in ("approve", "reject"):
        statement = json.loads(issued[decision]["statement"])
        assert (statement["decision"], statement["comment"]) == (decision, "ruhig \u2713")
        assert statement["approver"] == "ann"
        options = issued[decision]["options"]
        assert options["userVerification"] == "required"
        assert [unb64(each["id"]) for each in options["allowCredentials"]] == [b"key-of-ann"]
    too_long = await ann.post(
        f"/approvals/{proposal.proposal_id}/statements", {"comment": "x" * 1001}
    )
    assert too_long.status_code == 400


async def test_a_person_sees_one_tenant_only_contract_66(opened: Running) -> None:
    """A page of another tenant is one that does not exist."""
    ann = await opened.person("ann")
    await give_credentials(opened.database, ["initech"])
    await add_alert(opened.database, "initech", "alt_other")
    other = await opened.propose(
        msgspec.structs.replace(KILL, tenant_id="initech", alert_id="alt_other")
    )
    path = f"/approvals/{other.proposal_id}"
    assert (await ann.get(path)).status_code == 404
    assert (await ann.post(f"{path}/statements", {"comment": ""})).status_code == 404
    assert other.proposal_id not in (await ann.get("/")).text


@pytest.mark.parametrize(
    "path",
    [
        "/approvals/x",
        "/approvals/%00",
        "/propose/initech-1",
        "/propose/x",
        "/changes/x",
        "/nothing",
    ],
)
async def test_what_does_not_exist_is_404_contract_66(opened: Running, path: str) -> None:
    ann = await opened.person("ann")
    answer = await ann.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


DEVICE: Final = {
    "tenant_id": TENANT,
    "hostname": "workstation-01",
    "device_id": AID,
    "raw_id": COMPOSITE_ID,
}

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'\u202e\u200bgnp"


async def test_text_of_an_attacker_stays_text_contract_66(opened: Running) -> None:
    """Names, users and command lines are chosen by an attacker; so are the reasons of a caller."""
    ann = await opened.person("ann")
    names = {"hostname": HOSTILE[:60], "username": HOSTILE}
    await judged(opened.database, new(0.0, f"mimikatz {HOSTILE}", **{**DEVICE, **names}))
    wanted = msgspec.structs.replace(
        KILL, host=HOSTILE, hostname=HOSTILE[:60], requested_by=HOSTILE[:90], reason=HOSTILE
    )
    proposal = await opened.propose(wanted)
    for path in ("/", f"/approvals/{proposal.proposal_id}", f"/propose/{TENANT}-1"):
        page = await ann.get(path)
        assert page.status_code == 200
        assert "onerror" in page.text or path == "/"
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert not {"\u202e", "\u200b"} & set(page.text)


async def test_a_page_is_sent_again_only_if_it_has_changed_contract_66(opened: Running) -> None:
    ann = await opened.person("ann")
    proposal = await opened.propose()
    path = f"/approvals/{proposal.proposal_id}"
    page = await ann.get(path)
    version = page.text.partition('data-version="')[2].partition('"')[0]
    assert (await ann.get(path, **{"if-none-match": f'"{version}"'})).status_code == 304
    await ann.decide(proposal.proposal_id, "reject")
    assert (await ann.get(path, **{"if-none-match": f'"{version}"'})).status_code == 200


async def test_an_approver_proposes_and_decides_contract_66(opened: Running) -> None:
    """Opening the page proposes nothing. The person then decides on the text, with a passkey."""
    ann = await opened.person("ann")
    miner = new(0.0, "xmrig.exe -o stratum+tcp://pool.example:3333 -u 4A", **DEVICE)
    await judged(opened.database, miner)
    page = await ann.get(f"/propose/{TENANT}-1")
    assert "Propose this" in page.text
    assert "You may approve it yourself with your passkey" in page.text
    assert await states(opened) == []
    assert f'action="/incidents/{TENANT}-1/propose"' in page.text
    answer = await ann.send(f"/incidents/{TENANT}-1/propose", action="suggested")
    assert "Asked by: ann" in (await ann.get(answer.headers["location"])).text
    assert await states(opened) == ["pending"]


async def test_an_incident_that_suggests_nothing_says_so_contract_66(opened: Running) -> None:
    ann = await opened.person("ann")
    await judged(opened.database, new(0.0, "whoami", **{**DEVICE, "device_id": None}))
    page = await ann.get(f"/propose/{TENANT}-1")
    assert "suggests no action" in page.text
    assert "Propose this" not in page.text
    answer = await ann.send(f"/incidents/{TENANT}-1/propose", action="suggested")
    assert answer.status_code == 409
    assert "suggests no action" in answer.text


async def test_who_would_have_to_approve_is_said_before_contract_66(opened: Running) -> None:
    """The person who asks never counts with the rule four-eyes."""
    ann = await opened.person("ann")
    miner = new(0.0, "xmrig.exe -o stratum+tcp://pool.example:3333 -u 4A", **DEVICE)
    await judged(opened.database, miner)
    await opened.person("bob")
    write, now = opened.database.write, wall_clock()
    await write(rules.add_rule, TENANT, rules.FOUR_EYES, "operator", now)
    page = (await ann.get(f"/propose/{TENANT}-1")).text
    assert "You cannot approve it yourself: another person must. May approve: bob." in page
    await write(approvers.remove, TENANT, "bob", "operator", now)
    page = (await ann.get(f"/propose/{TENANT}-1")).text
    assert "You cannot approve it yourself, and nobody else can yet" in page
    assert f"vyrox approver add {TENANT} NAME" in page
