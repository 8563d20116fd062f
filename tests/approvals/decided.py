"""Proposals and decisions for tests, without a channel: the proof is whatever the test says."""

import itertools
from typing import Final

import msgspec
from sqlalchemy import Connection

from tests.audit import NOW, TENANT
from tests.vendor import add_alert, give_credentials
from vyrox.approvals import approvers
from vyrox.approvals.deciding import Verified, decide
from vyrox.approvals.proposal import Proposal
from vyrox.approvals.proposing import Proposed, Wanted, propose
from vyrox.approvals.rows import Decision, ProofKind, StoredProposal
from vyrox.store.database import Database
from vyrox.store.tables import proposals

NAMES: Final = ("ann", "bob", "cyd")
_keys = itertools.count()

PROPOSAL: Final = Proposal(
    id="550e8400-e29b-41d4-a716-446655440000",
    tenant_id=TENANT,
    alert_id="alt_abc123",
    vendor="crowdstrike",
    action_type="HOST_ISOLATION",
    host="workstation-01",
    hostname=None,
    process=None,
    device_state=None,
    lease_s=0,
    requested_by="vyrox",
    reason="live intrusion",
    created_at=int(NOW),
    expires_at=int(NOW) + 900,
    required=2,
    nonce="AAAAAAAAAAAAAAAAAAAAAA",
)

WANTED: Final = Wanted(
    tenant_id=TENANT,
    alert_id="alt_abc123",
    action_type="HOST_ISOLATION",
    host="workstation-01",
    requested_by="vyrox",
    reason="live intrusion",
)
KILL: Final = msgspec.structs.replace(WANTED, action_type="PROCESS_KILL")


class Said:
    """A proof that a test asserts."""

    def __init__(
        self,
        sha256: str,
        approver: str,
        decision: Decision = "approve",
        kind: ProofKind = "webauthn",
        key: str | None = None,
    ) -> None:
        key = f"key-{next(_keys)}" if key is None else key
        self._verified = Verified(kind, approver, sha256, decision, key, {"signature": "x" * 300})

    def verify(self, connection: Connection, tenant_id: str) -> Verified:
        return self._verified


async def add_approvers(database: Database, *names: str) -> None:
    for name in names or NAMES:
        await database.write(approvers.add, TENANT, name, "operator", NOW)


async def prepared(database: Database) -> Database:
    """Give the tenant credentials, an alert of CrowdStrike and three approvers."""
    await give_credentials(database, [TENANT])
    await add_alert(database, TENANT, "alt_abc123")
    await add_approvers(database)
    return database


def change_text(connection: Connection, text: bytes) -> None:
    """Change the text of all proposals, as an attacker with the database may."""
    connection.execute(proposals.update().values(text=text))


async def proposed(database: Database, wanted: Wanted = WANTED, now: float = NOW) -> Proposed:
    return await database.write(propose, wanted, now)


async def say(
    database: Database,
    proposal: Proposed,
    approver: str,
    decision: Decision = "approve",
    kind: ProofKind = "webauthn",
    now: float = NOW,
) -> StoredProposal:
    """Record what a person says about a proposal."""
    proof = Said(proposal.proposal_sha256, approver, decision, kind)
    return await database.write(decide, TENANT, proposal.proposal_id, proof, now)


async def approved(database: Database, wanted: Wanted = WANTED, now: float = NOW) -> StoredProposal:
    """Return a proposal that has its quorum."""
    proposal = await proposed(database, wanted, now)
    first = await say(database, proposal, "ann", now=now)
    return (
        first
        if first.stored_state == "approved"
        else await say(database, proposal, "bob", kind="discord", now=now)
    )
