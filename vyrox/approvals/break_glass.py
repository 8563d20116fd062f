"""Break glass: an action without an approval, by name and with a reason (contract 69, A16).

It is recorded with the action's entry, every channel has a notice of it, and it stays open until an
approver acknowledges it with a passkey. Guard rails and freezes hold.
"""

import os
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from webauthn.helpers import bytes_to_base64url

from vyrox.approvals import statements
from vyrox.approvals.approvers import present
from vyrox.approvals.ceremonies import Options
from vyrox.approvals.events import draft
from vyrox.approvals.passkeys import STATEMENT_LIFE_S, RelyingParty
from vyrox.approvals.proofs import verify_statement
from vyrox.approvals.telling import tell
from vyrox.chain.entry import Draft
from vyrox.chain.writer import append
from vyrox.containment.attempt import DeviceLease, Sent
from vyrox.errors import NotFoundError, UnauthorizedError
from vyrox.models import BreakGlass, Device
from vyrox.store.locks import lock
from vyrox.store.rows import insert_rows
from vyrox.store.tables import break_glass

SEND_S: Final = 60.0
"""After the request, no changing call leaves later than this, as after a quorum."""

MAX_LISTED: Final = 1000

_DOMAIN: Final = b"vyrox-break-glass-v1\n"
_STATEMENT_DOMAIN: Final = b"vyrox-acknowledgement-v1\n"
_NONCE_BYTES: Final = 16

_b: Final = break_glass.c


class Used(msgspec.Struct, frozen=True):
    """A break glass that was used.

    Attributes:
        text: The `BreakGlass` as canonical JSON, which the acknowledgement names by its digest.
    """

    id: str
    tenant_id: str
    text: bytes
    sha256: str
    at: float
    acknowledged_at: float | None
    acknowledged_by: str | None

    @property
    def asked(self) -> BreakGlass:
        """What was asked for. Raises ValueError if the text was changed in the database."""
        if digest(self.text) != self.sha256:
            raise ValueError("the record is not what was hashed")
        return _decoder.decode(self.text)


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an approver signs. The challenge is SHA-256 of _STATEMENT_DOMAIN and the text."""

    v: Literal[1] = 1
    tenant_id: str
    break_glass_sha256: str
    approver: str
    issued_at: int
    nonce: str


_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder(BreakGlass)


class BrokenGlass:
    """A break glass that an attempt carries out, as `containment` asks it (`attempt.Approval`)."""

    def __init__(self, asked: BreakGlass, now: float) -> None:
        """Create it. `now` is of the clock of leases."""
        self._asked = asked
        self.until = now + SEND_S

    def find_objection(
        self,
        connection: Connection,
        sent: Sent,
        now: float,
        *,
        is_begun: bool,  # noqa: ARG002  (of the protocol)
    ) -> str | None:
        """Return why `sent` may not be sent. No approval is asked for; guard rails are."""
        if sent.request != self._asked.request:
            return "this is not what was asked for"
        earlier = _find(connection, self._asked.request_id)
        if earlier is not None and not _is_repeat(earlier, self._asked):
            return "its id was used for another break glass"
        return "it was asked for too long ago" if now >= self.until else None

    def begin(self, connection: Connection, now: float) -> Draft:
        """Record it, with a notice by every channel, in the transaction of the claim."""
        asked = self._asked
        # A repeat of an attempt that was not carried out has the text of the first.
        earlier = _find(connection, asked.request_id)
        text = _encoder.encode(asked) if earlier is None else earlier.text
        row = (asked.request_id, asked.tenant_id, text, digest(text), now)
        if insert_rows(connection, break_glass, [row], "ON CONFLICT (id) DO NOTHING"):
            # The reason comes last: the text is cut.
            said = (
                f"{asked.by[:40]} acts without an approval: {asked.action_type} of "
                f"{asked.host[:80]}: {asked.reason}"
            )
            path = f"/break-glass/{asked.request_id}"
            tell(connection, asked.tenant_id, "break_glass.used", said, path, now)
        event = draft(
            "break_glass.used",
            asked.tenant_id,
            None,
            break_glass_id=asked.request_id,
            break_glass_sha256=digest(text),
            break_glass=text.decode(),
            by=asked.by,
            reason=asked.reason,
        )
        return Draft(event.tenant_id, event.stream, event.kind, event.members, "action_hash")

    def note_device(
        self, connection: Connection, lease: DeviceLease, device: Device, now: float
    ) -> None:
        """Store nothing: a break glass has no lease."""


def digest(text: bytes) -> str:
    """Return what identifies a break glass in an acknowledgement."""
    return sha256(_DOMAIN + text).hexdigest()


def open_ones(connection: Connection, tenant_id: str | None) -> Sequence[Used]:
    """Return those that no approver has acknowledged, newest first; of one tenant or of all."""
    return _open(connection, *([] if tenant_id is None else [_b.tenant_id == tenant_id]))


def open_of(connection: Connection, tenant_ids: Collection[str]) -> Sequence[Used]:
    """Return those of some tenants that no approver has acknowledged, newest first."""
    return _open(connection, _b.tenant_id.in_(tenant_ids))


def _open(connection: Connection, *conditions: sa.ColumnElement[bool]) -> Sequence[Used]:
    query = (
        sa.select(break_glass)
        .where(_b.acknowledged_at.is_(None), *conditions)
        .order_by(_b.at.desc(), _b.id)
        .limit(MAX_LISTED)
    )
    return [Used(*row) for row in connection.execute(query)]


def require(connection: Connection, tenant_id: str, break_glass_id: str) -> Used:
    """Return one of the tenant.

    Raises:
        NotFoundError: The tenant has none with this id.
    """
    found = None if "\0" in break_glass_id else _find(connection, break_glass_id)
    if found is None or found.tenant_id != tenant_id:
        raise NotFoundError(f"{tenant_id} has no break glass {break_glass_id[:64]}")
    return found


def issue(
    connection: Connection, tenant_id: str, break_glass_id: str, approver: str, now: float
) -> tuple[str, Options]:
    """Return a statement that acknowledges a break glass, and what signs it.

    Raises:
        NotFoundError: The tenant has none with this id.
        NotPossibleError: The approver has no confirmed passkey.
    """
    used = require(connection, tenant_id, break_glass_id)
    statement = Acknowledgement(
        tenant_id=tenant_id,
        break_glass_sha256=used.sha256,
        approver=approver,
        issued_at=int(now),
        nonce=bytes_to_base64url(os.urandom(_NONCE_BYTES)),
    )
    text = _encoder.encode(statement).decode()
    until = now + STATEMENT_LIFE_S
    subject = _subject(break_glass_id)
    allowed = statements.keep(connection, tenant_id, subject, approver, text, now, until)
    return text, statements.options(_challenge(text), allowed)


def acknowledge(
    connection: Connection,
    tenant_id: str,
    break_glass_id: str,
    statement: str,
    response: str,
    relying_party: RelyingParty,
    now: float,
) -> Used:
    """Record a signed acknowledgement, with an event. Later ones of it change nothing.

    Raises:
        NotFoundError: The tenant has none with this id.
        UnauthorizedError: The statement is not valid, or not one for this.
    """
    lock(connection, "containments")
    used = require(connection, tenant_id, break_glass_id)
    subject, approver, members = verify_statement(
        connection, tenant_id, statement, response, relying_party, _challenge(statement), now
    )
    if subject != _subject(break_glass_id) or approver not in present(connection, tenant_id):
        raise UnauthorizedError("another_statement", tenant_id)
    if used.acknowledged_at is not None:
        return used
    event = draft(
        "break_glass.acknowledged",
        tenant_id,
        None,
        break_glass_id=break_glass_id,
        break_glass_sha256=used.sha256,
        **members,
    )
    append(connection, [event], now)
    changed = break_glass.update().where(_b.id == break_glass_id)
    connection.execute(changed.values(acknowledged_at=now, acknowledged_by=approver))
    return require(connection, tenant_id, break_glass_id)


def _find(connection: Connection, break_glass_id: str) -> Used | None:
    row = connection.execute(sa.select(break_glass).where(_b.id == break_glass_id)).one_or_none()
    return None if row is None else Used(*row)


def _is_repeat(earlier: Used, asked: BreakGlass) -> bool:
    """Return whether the same was asked for before, at whatever time."""
    try:
        return msgspec.structs.replace(earlier.asked, at=asked.at) == asked
    except ValueError:
        return False


def _subject(break_glass_id: str) -> str:
    return f"break-glass {break_glass_id}"


def _challenge(text: str) -> bytes:
    return sha256(_STATEMENT_DOMAIN + text.encode("utf-8", "replace")).digest()
