"""Proposals and decisions for tests, without a channel: the proof is whatever the test says."""

import itertools
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from tests.audit import NOW, TENANT
from tests.vendor import add_alert, give_credentials
from vyrox.approvals import approvers
from vyrox.approvals.deciding import Verified, decide
from vyrox.approvals.keys import Key
from vyrox.approvals.proposal import Proposal
from vyrox.approvals.proposing import Proposed, Wanted, propose
from vyrox.approvals.rows import Decision, ProofKind, StoredProposal
from vyrox.approvals.states import DECIDE_S
from vyrox.chain.entry import Scalar
from vyrox.store.database import Database
from vyrox.store.tables import passkeys, proposals

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
    lease_s=0,
)
"""A containment without an end, so two persons are needed."""

LEASED: Final = msgspec.structs.replace(WANTED, lease_s=14_400)
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
        credential_id: str | None = None,
    ) -> None:
        key = f"key-{next(_keys)}" if key is None else key
        used = credential_id or key_of(approver)
        members: dict[str, Scalar] = {"signature": "x" * 300, "credential_id": used}
        self._verified = Verified(kind, approver, sha256, decision, key, members)

    def verify(self, connection: Connection, tenant_id: str, now: float) -> Verified:
        return self._verified


def key_of(name: str) -> str:
    """Return the id of the passkey that `add_approvers` gives a person."""
    return f"key-of-{name}"


def account_of(name: str) -> str:
    """Return the account at Discord that `add_approvers` gives a person."""
    return str(10**17 + zlib.crc32(name.encode()))


def add_able(connection: Connection, name: str) -> None:
    """Put a person on the list who can decide with a passkey and in Discord."""
    approvers.add(connection, TENANT, name, "operator", NOW, account_of(name))
    add_key(connection, name, key_of(name))


def add_key(connection: Connection, name: str, credential_id: str) -> None:
    """Give a person a confirmed passkey, without its numbers."""
    key = Key(
        credential_id=credential_id,
        tenant_id=TENANT,
        approver=name,
        members={"rp_id": "localhost", "origin": "http://localhost:8002"},
        thumbprint=f"thumbprint-of-{credential_id}",
        sign_count=0,
        vouched_by=None,
        added_at=NOW,
        confirmed_at=NOW,
        removed_at=None,
    )
    values = {**msgspec.structs.asdict(key), "members": msgspec.json.encode(key.members)}
    connection.execute(passkeys.insert().values(values))


async def add_approvers(database: Database, names: Sequence[str] = NAMES) -> None:
    for name in names:
        await database.write(add_able, name)


async def prepared(database: Database, people: Sequence[str] = NAMES) -> Database:
    """Give the tenant credentials, an alert of CrowdStrike and, normally, three approvers."""
    await give_credentials(database, [TENANT])
    await add_alert(database, TENANT, "alt_abc123")
    await add_approvers(database, people)
    return database


def change_text(connection: Connection, text: bytes) -> None:
    """Change the text of all proposals, as an attacker with the database may."""
    connection.execute(proposals.update().values(text=text))


async def proposed(database: Database, wanted: Wanted = WANTED, now: float = NOW) -> Proposed:
    return await database.write(propose, wanted, now, DECIDE_S)


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
