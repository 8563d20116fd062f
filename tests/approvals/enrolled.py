"""Passkeys enrolled and used as the console does it (contract 65)."""

from typing import Final

from tests.approvals.authenticator import Authenticator
from tests.audit import NOW, TENANT
from vyrox.approvals import enrolment, passkeys, statements
from vyrox.approvals.keys import Key
from vyrox.approvals.proofs import SignedByPasskey
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.rows import Decision
from vyrox.store.database import Database

PARTY: Final = passkeys.RelyingParty("localhost", "http://localhost:8002")


async def register(
    database: Database, name: str, authenticator: Authenticator, now: float = NOW
) -> Key:
    """Enrol a passkey with a link. It waits to be confirmed."""
    secret = await database.write(enrolment.new_code, TENANT, name, "passkey", now)
    opened = await database.read(enrolment.open_link, secret, now)
    response = authenticator.create(opened.challenge)
    return await database.write(enrolment.register, secret, response, PARTY, now)


async def confirm(database: Database, key: Key, now: float = NOW) -> int:
    return await database.write(
        enrolment.confirm, TENANT, key.approver, key.thumbprint, "operator", now
    )


async def enrol(
    database: Database, name: str, authenticator: Authenticator, now: float = NOW
) -> Key:
    """Enrol and confirm a passkey of an approver."""
    key = await register(database, name, authenticator, now)
    assert await confirm(database, key, now) == 0
    return key


async def sign(
    database: Database,
    proposal: Proposed,
    name: str,
    authenticator: Authenticator,
    decision: Decision = "approve",
    comment: str = "",
    now: float = NOW,
) -> SignedByPasskey:
    """Return the proof of a decision, as the browser sends it."""
    text, _ = await database.write(
        statements.issue, TENANT, proposal.proposal_id, name, decision, comment, now
    )
    return SignedByPasskey(text, authenticator.get(passkeys.challenge(text)), PARTY)
