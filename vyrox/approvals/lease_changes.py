"""The steps of a lease, each in one transaction with its event and its notice (contract 68)."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import lease_rows
from vyrox.approvals.events import draft
from vyrox.approvals.lease_rows import Lease
from vyrox.approvals.lease_steps import (
    ALERT_S,
    ASK_S,
    MAX_AHEAD_S,
    POSTPONE_S,
    Facts,
    Step,
    mended,
    next_step,
    retry_after_s,
)
from vyrox.approvals.telling import tell
from vyrox.chain.entry import Scalar
from vyrox.chain.writer import append
from vyrox.containment.contained import IS_CONTAINMENT, is_device_contained
from vyrox.notify.messages import NoticeKind
from vyrox.store.agenda import Moment
from vyrox.store.locks import lock
from vyrox.store.tables import confirmations, leases
from vyrox.tenants.freezes import frozen_since
from vyrox.triage.recent import has_recent_alert

NOT_CONFIRMED: Final = "an earlier attempt is not known to have lifted it"

_l: Final = leases.c
_c: Final = confirmations.c


class Taken(msgspec.Struct, frozen=True):
    """A step that was taken, and the lease as it is now, or was at its end."""

    step: Step
    lease: Lease
    reason: str | None = None


def find_due(connection: Connection, now: float) -> Sequence[str]:
    """Return the proposals of leases for which something may be to do, the oldest ends first."""
    return [
        each.proposal_id
        for each in lease_rows.select(connection, _may_be_due(now))
        if next_step(each, read_facts(connection, each, now), now) is not None
    ]


def is_any_due(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that `find_due` may find something."""
    return sa.exists().where(_may_be_due(now))


def _may_be_due(now: Moment) -> sa.ColumnElement[bool]:
    is_contained = sa.exists().where(
        _c.tenant_id == _l.tenant_id,
        _c.vendor == _l.vendor,
        _c.device_id == _l.device_id,
        IS_CONTAINMENT,
    )
    return sa.or_(
        _l.ends_at <= now,
        sa.and_(_l.asked_at.is_(None), _l.ends_at <= now + ASK_S),
        _l.began_at > now + MAX_AHEAD_S,
        ~is_contained,
    )


def read_facts(connection: Connection, lease: Lease, now: float) -> Facts:
    """Return what the database shows about the device of the lease."""
    place = (lease.tenant_id, lease.vendor, lease.device_id)
    can_be_postponed = lease.postponed_at is None and lease.ends_at <= now
    return Facts(
        is_contained=is_device_contained(connection, *place),
        is_renewed=is_renewed(connection, lease),
        is_frozen=frozen_since(connection, lease.tenant_id) is not None,
        is_lift_checked=_has_later(
            connection, lease, _c.target == "lifted", ~_c.is_settled, _c.is_sent.is_not(None)
        ),
        has_alert=can_be_postponed
        and has_recent_alert(connection, *place, lease.hostname, now - ALERT_S),
    )


def is_renewed(connection: Connection, lease: Lease) -> bool:
    """Return whether a later containment of the device is in progress, or may have succeeded."""
    return _has_later(connection, lease, _c.target == "contained")


def _has_later(connection: Connection, lease: Lease, *conditions: sa.ColumnElement[bool]) -> bool:
    query = sa.select(sa.literal(1)).where(
        _c.tenant_id == lease.tenant_id,
        _c.vendor == lease.vendor,
        _c.device_id == lease.device_id,
        _c.token > lease.token,
        *conditions,
    )
    return connection.execute(query.limit(1)).first() is not None


def take_step(
    connection: Connection, proposal_id: str, now: float, attempt_s: float
) -> Taken | None:
    """Take the next step of a lease, or return None if there is nothing to do any more.

    The step `lift` reserves the lift for this container for `attempt_s`; the caller begins it.
    """
    lock(connection, "containments")
    lease = lease_rows.find(connection, proposal_id)
    step = None if lease is None else next_step(lease, read_facts(connection, lease, now), now)
    if lease is None or step is None:
        return None
    match step:
        case "mend":
            lease_rows.change(connection, proposal_id, **mended(lease, now))
        case "over":
            return _end(connection, lease, _why_over(lease), now)
        case "ask":
            lease_rows.change(connection, proposal_id, asked_at=now)
            _record(connection, lease, "lease.ending", _ASKED, now)
        case "postpone":
            ends_at = now + POSTPONE_S
            lease = msgspec.structs.replace(lease, ends_at=ends_at)
            lease_rows.change(
                connection, proposal_id, ends_at=ends_at, postponed_at=now, asked_at=None
            )
            _record(connection, lease, "lease.postponed", _POSTPONED, now)
        case "wait":
            lease_rows.change(connection, proposal_id, waits_since=now)
            _record(connection, lease, "lease.waiting", _WAITS, now, reason="frozen")
        case "lift":
            return _reserve(connection, lease, now, attempt_s)
    return Taken(step, lease)


_ASKED: Final = (
    "{name} is contained until {end}. Then it is lifted, unless it is extended before (vyrox lease "
    "extend)"
)
_POSTPONED: Final = (
    "{name} has an alert of the last 30 minutes in an open incident: it stays contained until "
    "{end}. This happens once"
)
_WAITS: Final = (
    "the containment of {name} is over since {end}, and the tenant is frozen: it is lifted when "
    "the freeze ends, unless somebody extends it"
)
_FAILED: Final = "{name} is still contained: its containment is over since {end}"


def _why_over(lease: Lease) -> str:
    return "lifted" if lease.attempts else "the device is not, or no longer, contained by Vyrox"


def _end(connection: Connection, lease: Lease, reason: str, now: float) -> Taken:
    lease_rows.delete(connection, lease.proposal_id)
    _append(connection, lease, "lease.ended", now, reason=reason)
    return Taken("over", lease, reason)


def _reserve(connection: Connection, lease: Lease, now: float, attempt_s: float) -> Taken:
    if lease.attempts and lease.last_error is None:
        _fail(connection, lease, NOT_CONFIRMED, now)
    values = {
        "attempts": lease.attempts + 1,
        "next_at": now + attempt_s,
        "waits_since": None,
        "last_error": None,
    }
    lease_rows.change(connection, lease.proposal_id, **values)
    return Taken("lift", msgspec.structs.replace(lease, **values))


def settle_attempt(
    connection: Connection,
    proposal_id: str,
    attempt: int,
    error: str | None,
    now: float,
) -> bool:
    """Store how an attempt at the lift has ended, and when the next one may begin.

    Args:
        error: None: the vendor has accepted the lift.

    Returns:
        Whether the approvers are alarmed: the lift has failed, and the lease was not extended
        meanwhile, is not over and does not wait.
    """
    lock(connection, "containments")
    lease = lease_rows.find(connection, proposal_id)
    if lease is None or lease.attempts != attempt:
        return False
    facts = read_facts(connection, lease, now)
    step = next_step(msgspec.structs.replace(lease, next_at=now), facts, now)
    if error is not None and step != "lift":
        # If the lift may have been sent, the check at the vendor comes first, then the alarm.
        error = None if facts.is_lift_checked else error
        lease_rows.change(connection, proposal_id, next_at=now, last_error=error)
        return False
    next_at = now + retry_after_s(attempt)
    lease_rows.change(connection, proposal_id, next_at=next_at, last_error=error)
    if error is None:
        return False
    _fail(connection, lease, error, now)
    return True


def abandon(connection: Connection, proposal_id: str, reason: str, now: float) -> None:
    """End a lease whose device Vyrox may not lift, and alarm the approvers."""
    lock(connection, "containments")
    lease = lease_rows.find(connection, proposal_id)
    if lease is not None:
        _fail(connection, lease, reason, now)
        _end(connection, lease, reason, now)


def _fail(connection: Connection, lease: Lease, reason: str, now: float) -> None:
    members: dict[str, Scalar] = {"reason": reason, "attempts": lease.attempts}
    _record(connection, lease, "lease.failed", f"{_FAILED}, and {{reason}}", now, **members)


def _record(
    connection: Connection,
    lease: Lease,
    kind: NoticeKind,
    text: str,
    now: float,
    **members: Scalar,
) -> None:
    """Write the event, and inform the approvers in every channel."""
    _append(connection, lease, kind, now, ends_at=int(lease.ends_at), **members)
    said = text.format(name=lease.name, end=lease_rows.utc(lease.ends_at), **members)
    path = f"/approvals/{lease.proposal_id}"
    tell(connection, lease.tenant_id, kind, said, path, now)


def _append(connection: Connection, lease: Lease, kind: str, now: float, **members: Scalar) -> None:
    event = draft(
        kind,
        lease.tenant_id,
        None,
        proposal_id=lease.proposal_id,
        device_id=lease.device_id,
        **members,
    )
    append(connection, [event], now)
