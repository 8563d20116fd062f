"""What approvers sign beside decisions: endorsements, and a further key of their own (A17, A39)."""

import os
from hashlib import sha256
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection
from webauthn.helpers import bytes_to_base64url

from vyrox.approvals import changes, codes, statements
from vyrox.approvals.ceremonies import Options
from vyrox.approvals.events import draft
from vyrox.approvals.passkeys import STATEMENT_LIFE_S, RelyingParty
from vyrox.approvals.proofs import verify_statement
from vyrox.chain.writer import append
from vyrox.errors import UnauthorizedError
from vyrox.store.locks import lock

DOMAIN: Final = b"vyrox-endorsement-v1\n"

_NONCE_BYTES: Final = 16
_OWN_KEY: Final = "own-key"
"""The subject of a statement by which a person asks for a further key."""


class ChangeStatement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an approver signs. The challenge is `SHA-256(DOMAIN + text)`.

    Attributes:
        change_sha256: Of the change's text. Empty, if the person asks for a further key.
    """

    v: Literal[1] = 1
    kind: Literal["endorse", "own_key"]
    tenant_id: str
    change_sha256: str
    approver: str
    issued_at: int
    nonce: str


_encoder: Final = msgspec.json.Encoder(order="sorted")


def issue(
    connection: Connection, tenant_id: str, change_id: str, approver: str, now: float
) -> tuple[str, Options]:
    """Return a statement that endorses a change, and what signs it.

    Raises:
        NotFoundError: The tenant has no such change that waits.
        NotPossibleError: The approver has no confirmed passkey.
    """
    pending = changes.require_open(connection, tenant_id, change_id, now)
    sha256 = changes.digest(pending.text)
    return _issue(connection, tenant_id, change_id, "endorse", sha256, approver, now)


def issue_own_key(
    connection: Connection, tenant_id: str, approver: str, now: float
) -> tuple[str, Options]:
    """Return a statement by which an approver asks for a further key, and what signs it.

    Raises:
        NotPossibleError: The approver has no confirmed passkey.
    """
    return _issue(connection, tenant_id, _OWN_KEY, "own_key", "", approver, now)


def endorse(
    connection: Connection,
    tenant_id: str,
    statement: str,
    response: str,
    relying_party: RelyingParty,
    now: float,
) -> int:
    """Record a signed endorsement, with an event. Return for how many the change still waits.

    The last one makes the change.

    Raises:
        UnauthorizedError: It is not valid, or the person may not endorse this change.
        NotFoundError: The change does not wait any more.
        NotPossibleError: The person has endorsed it already.
    """
    lock(connection, "containments")
    subject, approver, members = verify_statement(
        connection, tenant_id, statement, response, relying_party, _challenge(statement), now
    )
    pending = changes.require_open(connection, tenant_id, subject, now)
    if approver not in changes.endorsers(connection, pending.change, now):
        raise UnauthorizedError("may_not_endorse", tenant_id)
    event = draft(
        "approver.change_endorsed",
        tenant_id,
        None,
        change_id=subject,
        change_sha256=changes.digest(pending.text),
        **members,
    )
    append(connection, [event], now)
    return changes.note_endorsed(connection, pending, approver, now)


def link_by_key(
    connection: Connection,
    tenant_id: str,
    statement: str,
    response: str,
    relying_party: RelyingParty,
    now: float,
) -> str:
    """Return the secret of a link with which the person enrols a further key, with an event.

    The operator still compares its thumbprint, but no other approver is asked.

    Raises:
        UnauthorizedError: The statement is not valid.
    """
    lock(connection, "containments")
    subject, approver, members = verify_statement(
        connection, tenant_id, statement, response, relying_party, _challenge(statement), now
    )
    if subject != _OWN_KEY:
        raise UnauthorizedError("another_statement", tenant_id)
    append(connection, [draft("approver.key_asked", tenant_id, None, **members)], now)
    vouched_by = str(members["credential_id"])
    return codes.make(connection, tenant_id, approver, "passkey", now, vouched_by=vouched_by)


def _issue(
    connection: Connection,
    tenant_id: str,
    subject: str,
    kind: Literal["endorse", "own_key"],
    change_sha256: str,
    approver: str,
    now: float,
) -> tuple[str, Options]:
    statement = ChangeStatement(
        kind=kind,
        tenant_id=tenant_id,
        change_sha256=change_sha256,
        approver=approver,
        issued_at=int(now),
        nonce=bytes_to_base64url(os.urandom(_NONCE_BYTES)),
    )
    text = _encoder.encode(statement).decode()
    allowed = statements.keep(
        connection, tenant_id, subject, approver, text, now, now + STATEMENT_LIFE_S
    )
    return text, statements.options(_challenge(text), allowed)


def _challenge(text: str) -> bytes:
    return sha256(DOMAIN + text.encode("utf-8", "replace")).digest()
