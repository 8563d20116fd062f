"""Drills show who can decide, and do nothing (contract 65)."""

import pytest

from tests import audit
from tests.approvals.decided import Said, add_approvers, prepared
from tests.approvals.test_dispatch import dispatching
from tests.audit import NOW, TENANT
from vyrox.approvals import approvers, drills, rules
from vyrox.approvals.deciding import decide
from vyrox.approvals.dispatch import end_overdue, request_of
from vyrox.approvals.drills import DrillAnswer, ShownDrill
from vyrox.approvals.rows import Decision, ProofKind, require
from vyrox.approvals.rules import FOUR_EYES
from vyrox.errors import NotPossibleError
from vyrox.store.database import Database


async def answer(
    database: Database,
    drill: ShownDrill,
    name: str,
    decision: Decision = "approve",
    kind: ProofKind = "webauthn",
    now: float = NOW,
) -> str:
    proof = Said(drill.proposal_sha256, name, decision, kind)
    stored = await database.write(decide, TENANT, drill.proposal_id, proof, now)
    return stored.stored_state


async def test_all_answer_and_nothing_follows_contract_65(database: Database) -> None:
    """Neither a rejection nor an approval ends it, and the one who asked answers too."""
    await prepared(database)
    await database.write(rules.add_rule, TENANT, FOUR_EYES, "operator", NOW)
    await database.write(approvers.add, TENANT, "dan", "operator", NOW)
    drill = await database.write(drills.start, TENANT, "ann", NOW)
    assert await database.write(drills.start, TENANT, "bob", NOW + 1) == drill
    assert not drill.is_complete
    assert await answer(database, drill, "ann", "reject", "discord", NOW + 5) == "pending"
    assert await answer(database, drill, "bob", "approve", "webauthn", NOW + 6) == "pending"
    assert await answer(database, drill, "cyd", now=NOW + 7) == "pending"
    with pytest.raises(NotPossibleError, match="has decided already"):
        await answer(database, drill, "cyd")
    shown = await database.read(drills.show_drill, TENANT, drill.proposal_id, NOW + 8)
    began = int(NOW)
    assert shown.answers == (
        DrillAnswer("ann", True, "discord", NOW + 5 - began),
        DrillAnswer("bob", True, "webauthn", NOW + 6 - began),
        DrillAnswer("cyd", True, "webauthn", NOW + 7 - began),
        DrillAnswer("dan", False, None, None),
    )
    assert (shown.state, shown.is_complete) == ("pending", True)
    async with dispatching(database) as each:
        await each.run()
        assert each.vendor.asked == []
        assert each.vendor.did == []
    assert await audit.events(database, kind="approval.dispatched") == []
    stored = await database.read(require, TENANT, drill.proposal_id)
    with pytest.raises(ValueError, match="a drill is not carried out"):
        request_of(stored, [])


async def test_a_drill_ends_by_time_contract_65(database: Database) -> None:
    await prepared(database, ())
    with pytest.raises(NotPossibleError, match="has no approvers"):
        await database.write(drills.start, TENANT, "ann", NOW)
    await add_approvers(database)
    drill = await database.write(drills.start, TENANT, "ann", NOW)
    with pytest.raises(NotPossibleError, match="is expired"):
        await answer(database, drill, "ann", now=NOW + 900)
    await database.write(end_overdue, NOW + 900)
    [ended] = await audit.events(database, kind="approval.ended")
    assert ended["state"] == "expired"
    another = await database.write(drills.start, TENANT, "ann", NOW + 900)
    assert another.proposal_id != drill.proposal_id
