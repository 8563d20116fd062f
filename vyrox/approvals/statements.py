"""Statements that were shown to be signed: each is used once, and lives for minutes (A2, A28).

The text of a statement goes to the browser and comes back. Here is only its hash.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import keys, passkeys, rows
from vyrox.approvals.ceremonies import Options, request_options
from vyrox.approvals.keys import Key
from vyrox.approvals.passkeys import STATEMENT_LIFE_S
from vyrox.approvals.rows import Decision
from vyrox.chain.verify import RefusedProofError
from vyrox.errors import InvalidRequestError, NotPossibleError, UnauthorizedError
from vyrox.store.tables import statements

MAX_COMMENT: Final = 1000
"""Characters of a comment."""

MAX_OPEN: Final = 200
"""Of one approver: a page asks for two with each comment. With one more, the oldest ends."""

_s: Final = statements.c


def issue(
    connection: Connection,
    tenant_id: str,
    proposal_id: str,
    approver: str,
    decision: Decision,
    comment: str,
    now: float,
) -> tuple[str, Options]:
    """Return a new statement, and what `navigator.credentials.get()` takes to sign it.

    Raises:
        NotFoundError: The tenant has no such proposal.
        NotPossibleError: It is not pending, or the approver has no confirmed passkey.
        InvalidRequestError: The comment is too long, or cannot be signed.
    """
    stored = rows.require(connection, tenant_id, proposal_id)
    state = stored.state_at(now)
    if state != "pending":
        raise NotPossibleError(f"the proposal is {state}")
    if len(comment) > MAX_COMMENT:
        raise InvalidRequestError(f"a comment has at most {MAX_COMMENT} characters")
    try:
        text = passkeys.new_statement(stored.sha256, decision, approver, comment, int(now))
    except RefusedProofError as exc:
        raise InvalidRequestError(str(exc)) from exc
    expires_at = min(now + STATEMENT_LIFE_S, stored.expires_at)
    allowed = keep(connection, tenant_id, proposal_id, approver, text, now, expires_at)
    return text, options(passkeys.challenge(text), allowed)


def keep(
    connection: Connection,
    tenant_id: str,
    subject: str,
    approver: str,
    text: str,
    now: float,
    expires_at: float,
) -> list[Key]:
    """Store that a statement was shown, and return the keys that may sign it.

    Raises:
        NotPossibleError: The approver has no confirmed passkey.
    """
    allowed = keys.confirmed_of(connection, tenant_id, approver)
    if not allowed:
        raise NotPossibleError(f"{approver} has no confirmed passkey of {tenant_id}")
    own = sa.and_(_s.tenant_id == tenant_id, _s.approver == approver)
    newest = sa.select(_s.hash).where(own).order_by(_s.expires_at.desc()).limit(MAX_OPEN - 1)
    kept = list(connection.execute(newest).scalars())
    is_over = sa.or_(_s.expires_at <= now, sa.and_(own, _s.hash.not_in(kept)))
    connection.execute(statements.delete().where(is_over))
    connection.execute(
        statements.insert().values(
            hash=hash_of(text),
            tenant_id=tenant_id,
            subject=subject,
            approver=approver,
            expires_at=expires_at,
        )
    )
    return allowed


def options(challenge: bytes, allowed: Sequence[Key]) -> Options:
    """Return what `navigator.credentials.get()` takes: the newest key names the RP ID."""
    rp_id = str(allowed[-1].members["rp_id"])
    same = [each.credential_id for each in allowed if each.members["rp_id"] == rp_id]
    return request_options(rp_id, challenge, same)


def use(connection: Connection, tenant_id: str, text: str, now: float) -> tuple[str, str]:
    """Use a statement up, and return its subject and its approver.

    Raises:
        UnauthorizedError: It was not shown to this tenant, was used, or is too old.
    """
    which = (_s.hash == hash_of(text), _s.tenant_id == tenant_id, _s.expires_at > now)
    row = connection.execute(sa.select(_s.subject, _s.approver).where(*which)).first()
    if row is None or not connection.execute(statements.delete().where(*which)).rowcount:
        raise UnauthorizedError("statement_not_open", tenant_id)
    return row[0], row[1]


def hash_of(text: str) -> str:
    """Return what identifies a statement. It is unique, as a statement has a nonce."""
    return sha256(text.encode("utf-8", "replace")).hexdigest()
