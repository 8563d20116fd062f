"""Proposing and deciding: who may, who counts, what ends a proposal (contract 62; A5 to A18)."""

import asyncio

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import audit
from tests.approvals.decided import (
    KILL,
    NAMES,
    PROPOSAL,
    WANTED,
    Said,
    change_text,
    prepared,
    proposed,
    say,
)
from tests.audit import NOW, TENANT
from vyrox.approvals import approvers, proposing, rows, rules
from vyrox.approvals.deciding import decide, is_quorum
from vyrox.approvals.proposal import Process, canonical, digest, parse
from vyrox.approvals.proposing import Wanted, withdraw
from vyrox.approvals.rows import Decision, ProofKind, StoredDecision
from vyrox.approvals.rules import FOUR_EYES
from vyrox.approvals.shown import show
from vyrox.chain.writer import append
from vyrox.errors import (
    InvalidRequestError,
    NotFoundError,
    NotPossibleError,
    UnauthorizedError,
)
from vyrox.store.database import Database


@pytest.fixture
async def opened(database: Database) -> Database:
    return await prepared(database)


async def kinds(database: Database) -> list[object]:
    found = await audit.events(database)
    return [entry["kind"] for entry in found if str(entry["kind"]).startswith("approval.")]


async def test_two_persons_approve_what_the_log_can_prove_contract_62(opened: Database) -> None:
    """A34: the events hold the whole text and the whole proof, beyond 256 characters."""
    wanted = msgspec.structs.replace(WANTED, reason="r" * 900)
    proposal = await proposed(opened, wanted)
    one = await say(opened, proposal, "ann")
    assert one.stored_state == "pending"
    two = await say(opened, proposal, "bob", kind="discord")
    assert (two.stored_state, two.approved_at) == ("approved", NOW)
    assert await kinds(opened) == ["approval.proposed", "approval.decided", "approval.decided"]
    [made] = await audit.events(opened, kind="approval.proposed")
    text = str(made["proposal"]).encode()
    assert digest(text) == made["proposal_sha256"] == proposal.proposal_sha256
    assert parse(text).reason == "r" * 900
    first, second = await audit.events(opened, kind="approval.decided")
    assert (first["approver"], first["proof"], first["decision"]) == ("ann", "webauthn", "approve")
    assert first["signature"] == "x" * 300
    decided = await opened.read(rows.decisions_on, proposal.proposal_id)
    assert [each.entry_hash for each in decided] == [first["hash"], second["hash"]]


@pytest.mark.parametrize(
    ("approver", "sha256", "kind"),
    [
        pytest.param("dan", None, "not_an_approver", id="unknown"),
        pytest.param("cyd", None, "not_an_approver", id="removed"),
        pytest.param("Ann", None, "not_an_approver", id="other_case"),
        pytest.param("bob", None, "requester", id="requester"),
        pytest.param("ann", "0" * 64, "other_proposal", id="other_proposal"),
    ],
)
async def test_decision_without_the_right_is_refused_contract_62(
    opened: Database, approver: str, sha256: str | None, kind: str
) -> None:
    """A5 to A7. One error for all, and nothing is written."""
    await opened.write(approvers.remove, TENANT, "cyd", "operator", NOW)
    proposal = await proposed(opened, msgspec.structs.replace(WANTED, requested_by=" BOB"))
    proof = Said(sha256 or proposal.proposal_sha256, approver)
    with pytest.raises(UnauthorizedError) as caught:
        await opened.write(decide, TENANT, proposal.proposal_id, proof, NOW)
    assert caught.value.kind == kind
    assert await kinds(opened) == ["approval.proposed"]


async def test_proof_counts_once_and_for_its_tenant_contract_62(opened: Database) -> None:
    one = await proposed(opened)
    other = await proposed(opened, msgspec.structs.replace(WANTED, host="workstation-02"))
    used = Said(one.proposal_sha256, "ann", key="k")
    await opened.write(decide, TENANT, one.proposal_id, used, NOW)
    again = Said(other.proposal_sha256, "bob", key="k")
    with pytest.raises(UnauthorizedError):
        await opened.write(decide, TENANT, other.proposal_id, again, NOW)
    with pytest.raises(NotFoundError):
        await opened.write(decide, "initech", one.proposal_id, Said("", "bob"), NOW)


async def test_decisions_are_final_and_late_ones_learn_them_contract_62(opened: Database) -> None:
    """A9: one rejection ends it."""
    proposal = await proposed(opened)
    await say(opened, proposal, "ann")
    with pytest.raises(NotPossibleError, match="ann has decided already: approve"):
        await say(opened, proposal, "ann", "reject")
    rejected = await say(opened, proposal, "bob", "reject", "discord")
    assert (rejected.stored_state, rejected.end_reason) == ("rejected", "by bob")
    with pytest.raises(NotPossibleError, match=r"is rejected .*ann: approve.*bob: reject"):
        await say(opened, proposal, "cyd")
    assert (await kinds(opened))[-1] == "approval.ended"


async def test_expiry_counts_without_any_task_contract_62(opened: Database) -> None:
    """A10: nothing has run since; the database still says `pending`."""
    proposal = await proposed(opened)
    with pytest.raises(NotPossibleError, match="is expired"):
        await say(opened, proposal, "ann", now=NOW + 900)
    with pytest.raises(NotPossibleError, match="is expired"):
        await opened.write(withdraw, TENANT, proposal.proposal_id, "ann", NOW + 900)


async def test_a_proof_that_an_auditor_would_refuse_is_not_stored_contract_62(
    opened: Database,
) -> None:
    """A36: the time of the event must lie within the proposal's life."""
    proposal = await proposed(opened)
    await opened.write(append, [audit.noted(1)], NOW + 901)  # from a clock that was ahead
    with pytest.raises(NotPossibleError, match="newest event"):
        await say(opened, proposal, "ann")


async def test_five_decisions_at_once_are_one_quorum_contract_62(opened: Database) -> None:
    proposal = await proposed(opened)
    people = ("ann", "bob", "ann", "bob", "cyd")
    results = await asyncio.gather(
        *(say(opened, proposal, name) for name in people), return_exceptions=True
    )
    done = [each for each in results if not isinstance(each, BaseException)]
    assert sorted(each.stored_state for each in done) == ["approved", "pending"]
    assert len(await opened.read(rows.decisions_on, proposal.proposal_id)) == 2


@pytest.mark.parametrize(
    ("kind", "rule", "state"),
    [
        pytest.param("webauthn", None, "approved", id="passkey"),
        pytest.param("discord", None, None, id="discord"),
        pytest.param("webauthn", FOUR_EYES, None, id="four_eyes"),
        pytest.param("webauthn", "tag:tier0", None, id="two_persons"),
    ],
)
async def test_one_person_alone_contract_62(
    opened: Database, kind: ProofKind, rule: str | None, state: str | None
) -> None:
    """A7 and A18: who asked may approve with a passkey what needs one person."""
    if rule is not None:
        await opened.write(rules.add_rule, TENANT, rule, "operator", NOW)
    proposal = await proposed(opened, msgspec.structs.replace(KILL, requested_by="ann"))
    if state is None:
        with pytest.raises(UnauthorizedError):
            await say(opened, proposal, "ann", kind=kind)
        return
    assert (await say(opened, proposal, "ann", kind=kind)).stored_state == state
    [event] = await audit.events(opened, kind="approval.decided")
    assert event["by_requester"] is True


_decisions = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cyd", "vyrox"]),
        st.sampled_from(["approve", "reject"]),
        st.sampled_from(["webauthn", "discord"]),
    ),
    max_size=5,
)


_TWICE = [("ann", "approve", "webauthn"), ("ann", "approve", "discord")]


@example(_TWICE, 2, "vyrox", False)
@given(_decisions, st.integers(1, 2), st.sampled_from(["vyrox", "ann", "ANN"]), st.booleans())
def test_quorum_is_enough_distinct_persons_contract_62(
    said: list[tuple[str, Decision, ProofKind]], required: int, requester: str, has_four_eyes: bool
) -> None:
    """A7, A9 and A18, against a direct count. `cyd` has another key by now."""
    proposal = msgspec.structs.replace(PROPOSAL, required=required, requested_by=requester)
    decided = [StoredDecision(*each, NOW, "hash", each[0]) for each in said]
    means = {"ann": {"ann"}, "bob": {"bob"}, "cyd": {"another"}}
    if not is_quorum(proposal, decided, means, has_four_eyes=has_four_eyes):
        return
    approvals = [each for each in decided if each.approver in {"ann", "bob"}]
    assert all(each.decision == "approve" for each in decided)
    others = {each.approver for each in approvals if each.approver != requester.lower()}
    if required == 2:
        assert len(others) == 2
        assert any(each.proof == "webauthn" for each in approvals)
    else:
        own = any(each.proof == "webauthn" for each in approvals) and not has_four_eyes
        assert others or own


async def test_a_repeat_adds_to_the_count_contract_62(opened: Database) -> None:
    """A13: one open proposal for each device and action. The device id ignores case."""
    first = await proposed(opened)
    assert await proposed(opened, msgspec.structs.replace(WANTED, host="WORKSTATION-01")) == first
    other = await proposed(opened, KILL)
    assert other.proposal_id != first.proposal_id
    shown = await opened.read(show, TENANT, first.proposal_id, NOW)
    assert shown.repeats == 1
    await opened.write(withdraw, TENANT, first.proposal_id, "ann", NOW)
    assert (await proposed(opened)).proposal_id != first.proposal_id


async def test_open_proposals_are_bounded_contract_62(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposing, "MAX_OPEN", 1)
    await proposed(opened)
    with pytest.raises(NotPossibleError, match="1 open"):
        await proposed(opened, KILL)
    await proposed(opened, KILL, NOW + 900)  # the first one has expired


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tenant_id": "nobody"}, NotFoundError),
        ({"vendor": "defender"}, InvalidRequestError),
        ({"action_type": "PROCESS_KILL", "lease_s": 3600}, InvalidRequestError),
        ({"lease_s": -1}, InvalidRequestError),
        ({"process": Process("a.exe")}, InvalidRequestError),
        ({"action_type": "PROCESS_KILL", "process": Process("a.exe", "7")}, InvalidRequestError),
        ({"action_type": "PROCESS_KILL", "process": Process("a.exe")}, InvalidRequestError),
        ({"expires_at": int(NOW)}, InvalidRequestError),
        ({"host": "\u20ac" * 256}, InvalidRequestError),
        ({"reason": "\udc80"}, InvalidRequestError),
    ],
)
async def test_what_cannot_be_kept_is_not_proposed_contract_62(
    opened: Database, changes: dict[str, object], error: type[Exception]
) -> None:
    """A1: a person must not read and approve what Vyrox would not do."""
    wanted: Wanted = msgspec.structs.replace(WANTED, **changes)
    with pytest.raises(error):
        await proposed(opened, wanted)
    assert await kinds(opened) == []


async def test_approvers_are_stable_names_contract_62(opened: Database) -> None:
    """A5: a name is not used again, and an account belongs to one approver."""
    await opened.write(approvers.remove, TENANT, "cyd", "operator", NOW)
    for name, account in (("cyd", None), ("vyrox", None), ("Dan", None), ("d" * 41, None)):
        with pytest.raises((InvalidRequestError, NotPossibleError)):
            await opened.write(approvers.add, TENANT, name, "operator", NOW, account)
    number = "1" * 18
    await opened.write(approvers.add, TENANT, "dan", "operator", NOW, number)
    with pytest.raises(NotPossibleError, match="account"):
        await opened.write(approvers.add, TENANT, "eve", "operator", NOW, number)
    added = await audit.events(opened, kind="approver.added")
    assert [entry["approver"] for entry in added] == [*NAMES, "dan"]
    assert added[-1]["discord_user_id"] == number


async def test_a_rule_that_locks_the_tenant_out_is_refused_contract_62(opened: Database) -> None:
    """A8: without the one who asks, enough approvers must remain."""
    await opened.write(approvers.remove, TENANT, "cyd", "operator", NOW)
    with pytest.raises(NotPossibleError, match="fewer than 3"):
        await opened.write(rules.add_rule, TENANT, "host:dc-*", "operator", NOW)
    await opened.write(rules.add_rule, TENANT, FOUR_EYES, "operator", NOW)
    await opened.write(approvers.remove, TENANT, "bob", "operator", NOW)
    assert await opened.read(rules.list_rules, TENANT) == [FOUR_EYES]


@pytest.mark.parametrize(
    ("hostname", "required"),
    [("ws-1", 1), ("dc-1.corp.local", 2), (None, 2)],
    ids=["other", "matches", "not_known"],
)
async def test_two_person_rules_apply_to_devices_contract_62(
    opened: Database, hostname: str | None, required: int
) -> None:
    """A18: what is not known of a device does not spare it the rule."""
    await opened.write(rules.add_rule, TENANT, "host:dc-*", "operator", NOW)
    proposal = await proposed(opened, msgspec.structs.replace(KILL, hostname=hostname))
    shown = await opened.read(show, TENANT, proposal.proposal_id, NOW)
    assert shown.required == required


async def test_a_changed_text_is_not_decided_on_contract_62(opened: Database) -> None:
    proposal = await proposed(opened)
    changed = canonical(msgspec.structs.replace(PROPOSAL, host="another"))
    await opened.write(change_text, changed)
    with pytest.raises(NotPossibleError, match="not what was hashed"):
        await say(opened, proposal, "ann")
