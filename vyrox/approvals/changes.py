r"""Changes of who may decide: when one needs an approver's agreement, and what it does (A17).

An operator asks for a change on the command line. While fewer than two persons have had a passkey,
it is made at once. From then on it waits until another approver has endorsed it in the console.
Without anybody who could endorse it, it is made at once: else a tenant whose keys are all lost
could never decide again. Ending a rule that asks for two persons always needs two.
"""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import approvers, keys, rules
from vyrox.approvals.approvers import Approver
from vyrox.approvals.events import draft
from vyrox.approvals.telling import tell
from vyrox.chain.writer import append
from vyrox.errors import NotFoundError, NotPossibleError
from vyrox.ids import new_id
from vyrox.store.locks import lock
from vyrox.store.tables import approver_changes, change_endorsements

CHANGE_S: Final = 86_400
"""How long a change waits."""

TWO: Final = 2

_DOMAIN: Final = b"vyrox-change-v1\n"
_c: Final = approver_changes.c
_e: Final = change_endorsements.c


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed.

    Attributes:
        approver: Whose means to decide change; null for a rule.
        subject: The thumbprint of the key, the account at Discord, or the rule.
    """

    v: Literal[1] = 1
    kind: Literal["confirm_key", "bind_discord", "end_rule"]
    tenant_id: str
    approver: str | None
    subject: str


class PendingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change that waits.

    Attributes:
        text: The change as canonical JSON.
        needed: How many persons must endorse it.
    """

    id: str
    text: str
    needed: int
    asked_by: str
    asked_at: float
    expires_at: float
    endorsed_by: tuple[str, ...] = ()

    @property
    def change(self) -> Change:
        """The change itself."""
        return _decoder.decode(self.text)


_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder(Change)
_COLUMNS: Final = (_c.id, _c.text, _c.needed, _c.asked_by, _c.asked_at, _c.expires_at)


def ask(
    connection: Connection, change: Change, by: str, now: float, *, is_vouched: bool = False
) -> int:
    """Make a change, or let it wait, with an event. Return how many persons it waits for.

    Args:
        is_vouched: A passkey of the same person has signed that it should be made.

    Raises:
        NotPossibleError: It ends a rule, and two persons who could endorse that do not exist.
    """
    lock(connection, "containments")
    needed = _needed(connection, change, now, is_vouched=is_vouched)
    if needed == 0:
        _make(connection, change, by, now)
        return 0
    text = _encoder.encode(change).decode()
    for waiting in list_open(connection, change.tenant_id, now):
        if waiting.text == text:
            return waiting.needed - len(waiting.endorsed_by)
    pending = PendingChange(
        id=new_id(),
        text=text,
        needed=needed,
        asked_by=by,
        asked_at=now,
        expires_at=now + CHANGE_S,
    )
    values = msgspec.structs.asdict(pending)
    del values["endorsed_by"]
    connection.execute(approver_changes.insert().values(tenant_id=change.tenant_id, **values))
    asked = draft(
        "approver.change_asked",
        change.tenant_id,
        None,
        change_id=pending.id,
        change=text,
        change_sha256=digest(text),
        needed=needed,
        by=by,
    )
    append(connection, [asked], now)
    notice = f"{by} asks approvers to endorse {shown(change)}."
    tell(connection, change.tenant_id, "approvers.changed", notice, f"/changes/{pending.id}", now)
    return needed


def shown(change: Change) -> str:
    """Return what a change is about, in words."""
    return {
        "confirm_key": f"{change.approver}'s new passkey {change.subject}",
        "bind_discord": f"{change.approver}'s account {change.subject} at Discord",
        "end_rule": f"the end of the rule {change.subject}",
    }[change.kind]


def tenants_with_open(connection: Connection, tenant_ids: Collection[str], now: float) -> list[str]:
    """Return those of the tenants for which a change may wait."""
    query = sa.select(_c.tenant_id).where(
        _c.tenant_id.in_(tenant_ids), _c.expires_at > now, _c.done_at.is_(None)
    )
    return list(connection.execute(query.distinct().order_by(_c.tenant_id)).scalars())


def list_open(connection: Connection, tenant_id: str, now: float) -> list[PendingChange]:
    """Return the changes that wait, oldest first. The endorsements are those that count.

    A reset ends the changes that wait for the person: an attacker with a code or a link that the
    person has lost may have asked for them.
    """
    query = (
        sa.select(*_COLUMNS)
        .where(_c.tenant_id == tenant_id, _c.expires_at > now, _c.done_at.is_(None))
        .order_by(_c.asked_at, _c.id)
    )
    present = approvers.present(connection, tenant_id)
    found = [PendingChange(**row) for row in connection.execute(query).mappings()]
    return [
        _with_endorsements(connection, each, now) for each in found if _can_be_made(each, present)
    ]


def _can_be_made(pending: PendingChange, present: Mapping[str, Approver]) -> bool:
    """Return whether the person whom it is about is on the list, and was not reset meanwhile."""
    name = pending.change.approver
    if name is None:
        return True
    person = present.get(name)
    return person is not None and (person.reset_at is None or person.reset_at <= pending.asked_at)


def require_open(
    connection: Connection, tenant_id: str, change_id: str, now: float
) -> PendingChange:
    """Return a change that waits. Raises NotFoundError."""
    for each in list_open(connection, tenant_id, now):
        if each.id == change_id:
            return each
    raise NotFoundError(f"{tenant_id} has no change {change_id[:64]} that waits")


def endorsers(connection: Connection, change: Change, now: float) -> set[str]:
    """Return who may endorse a change: other approvers with a passkey, not reset of late."""
    present = approvers.present(connection, change.tenant_id)
    return {
        name
        for name in approvers.with_passkeys(connection, change.tenant_id)
        if name != change.approver and not present[name].is_reset(now)
    }


def note_endorsed(connection: Connection, pending: PendingChange, approver: str, now: float) -> int:
    """Store an endorsement whose signature is checked. Return for how many it still waits.

    The last one makes the change.

    Raises:
        NotPossibleError: The approver has endorsed it already, or it cannot be made any more.
    """
    is_mine = sa.and_(_e.change_id == pending.id, _e.approver == approver)
    if connection.execute(sa.select(_e.at).where(is_mine)).first() is not None:
        raise NotPossibleError(f"{approver} has endorsed this already")
    row = {"change_id": pending.id, "approver": approver, "at": now}
    connection.execute(change_endorsements.insert().values(row))
    remaining = pending.needed - len(_counting(connection, pending, now))
    if remaining <= 0:
        is_it = _c.id == pending.id
        connection.execute(approver_changes.update().where(is_it).values(done_at=now))
        _make(connection, pending.change, pending.asked_by, now)
    return max(0, remaining)


def digest(text: str) -> str:
    """Return the `change_sha256` of a change's text."""
    return sha256(_DOMAIN + text.encode()).hexdigest()


def _needed(connection: Connection, change: Change, now: float, *, is_vouched: bool) -> int:
    able = len(endorsers(connection, change, now))
    if change.kind == "end_rule":
        if able < TWO:
            raise NotPossibleError(
                "ending this rule needs two approvers with a passkey, none of them reset within "
                "a day"
            )
        return TWO
    if is_vouched or able == 0:
        return 0
    had = {
        each.approver
        for each in keys.list_keys(connection, change.tenant_id)
        if each.confirmed_at is not None
    }
    return 1 if len(had) >= TWO else 0


def _with_endorsements(connection: Connection, pending: PendingChange, now: float) -> PendingChange:
    names = tuple(_counting(connection, pending, now))
    return msgspec.structs.replace(pending, endorsed_by=names)


def _counting(connection: Connection, pending: PendingChange, now: float) -> Sequence[str]:
    """Return who has endorsed it and still may."""
    query = sa.select(_e.approver).where(_e.change_id == pending.id).order_by(_e.at, _e.approver)
    able = endorsers(connection, pending.change, now)
    return [name for name in connection.execute(query).scalars() if name in able]


def _make(connection: Connection, change: Change, by: str, now: float) -> None:
    tenant_id, name, subject = change.tenant_id, change.approver, change.subject
    if name is None:
        rules.end_rule(connection, tenant_id, subject, by, now)
    elif change.kind == "bind_discord":
        approvers.bind_account(connection, tenant_id, name, subject, by, now)
    else:
        for key in keys.keys_of(connection, tenant_id, name):
            if key.thumbprint == subject and key.confirmed_at is None:
                keys.confirm(connection, key, by, now)
                return
        raise NotPossibleError(f"{name} has no key with this thumbprint that waits any more")
