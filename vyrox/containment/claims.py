"""Claims: one containment per `request_id` (contract 19, 21, 22, 24, 25, 27, 34 and 35).

A claim is committed together with its audit entry, before the vendor is called, and carries a token
that only its owner knows.

    (none) --claim--> in flight --record--> done      kept KEPT_S, replayed
                          |--------------> (none)     failed: nothing happened, a retry may act
                          `--------------> unknown    it may have happened; the event log says so

`unknown` is also where a claim ends whose owner died, when its lease is over. A retry may then act
again, but for PROCESS_KILL, which could hit another process the second time.
"""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Draft, Receipt, Scalar
from vyrox.chain.events import event
from vyrox.chain.writer import WorkResult
from vyrox.containment import devices
from vyrox.containment.admission import Admission, Claimed, Known, Refused, admit
from vyrox.containment.attempt import Attempt, AttemptResult
from vyrox.containment.devices import outcome_event
from vyrox.containment.lease_limit import MAX_AHEAD_S, is_over, is_over_in_sql
from vyrox.containment.responder import Responder, find_responders
from vyrox.errors import RefusedByPolicyError
from vyrox.models import ContainmentRequest, normal_host
from vyrox.store.locks import lock
from vyrox.store.tables import claims
from vyrox.tenants import device_names, guard_rails
from vyrox.tenants.guard_rails import GuardRails

KEPT_S: Final = 600
"""How long an answer is replayed, and an unknown kill is refused."""

LEASE_MARGIN_S: Final = 30
"""By which a lease outlasts the vendor's deadline: for the commits before and after the call."""

_NOT_REPEATABLE: Final = frozenset({"PROCESS_KILL"})

State = Literal["in_flight", "done", "unknown"]


class InFlight(msgspec.Struct, frozen=True):
    """Another attempt is at it, or nobody knows whether a kill happened."""


class Reused(msgspec.Struct, frozen=True):
    """The `request_id` stands for another tenant, alert, action or host."""


class Replayed(msgspec.Struct, frozen=True):
    """It was done before; `dry_run` is the first answer's."""

    dry_run: bool


ClaimResult = Admission | InFlight | Reused | Replayed


class _Row(msgspec.Struct, frozen=True):
    request_id: bytes
    tenant_id: str
    fingerprint: bytes
    action_type: str
    owner: str
    state: State
    lease_until: float
    expires_at: float
    dry_run: bool
    entry_hash: str | None
    alert_id: bytes | None
    force: bool | None


_Rows = dict[bytes, _Row]
"""By request id, as it is stored."""

# Made once: making a statement costs more than running it.
_ARE_KEYS: Final = claims.c.request_id.in_(sa.bindparam("keys", expanding=True))
_FIND: Final = sa.select(claims).where(_ARE_KEYS)
_DELETE: Final = claims.delete().where(_ARE_KEYS)
_INSERT: Final = claims.insert()
_REMEMBER_ENTRY: Final = (
    claims.update()
    .where(claims.c.request_id == sa.bindparam("key"))
    .values(entry_hash=sa.bindparam("its_entry"))
)


def claim(connection: Connection, wanted: Sequence[Attempt]) -> list[WorkResult[ClaimResult]]:
    """Claim what may be carried out, and draft its audit entry: one for each attempt.

    In the order of contract 19: what stands for the id comes first, then whether the vendor can do
    the action, then the guard rails. Without all of them nothing is written but a refusal's event.
    """
    lock(connection, "containments")
    before = _find(connection, {_key(each.request) for each in wanted})
    rows = dict(before)
    responsible = find_responders(connection, [each.request for each in wanted])
    rails = GuardRails(
        connection, (each.request.tenant_id for each in wanted), max(each.now for each in wanted)
    )
    outcomes = [
        _claim(connection, rows, rails, each, who)
        for each, who in zip(wanted, responsible, strict=True)
    ]
    _store(connection, before, rows)
    rails.store_begun()
    return outcomes


def record(connection: Connection, answers: Sequence[AttemptResult]) -> list[WorkResult[bool]]:
    """Record how attempts ended, in their claims and as events.

    The result is False where there is no such claim: it was never committed, or its lease was too
    short and it has become another attempt's. The event tells the outcome of an entry all the same.
    """
    lock(connection, "containments")
    before = _find(connection, {_key(answer.claim.request) for answer in answers})
    rows = dict(before)
    outcomes = [_record(connection, rows, answer) for answer in answers]
    _store(connection, before, rows)
    return outcomes


def give_up_lapsed(connection: Connection, times: Sequence[float]) -> list[WorkResult[int]]:
    """Turn claims whose lease is over into `unknown`, each with its event; return how many.

    Args:
        times: The present, once for each call that waits.
    """
    lock(connection, "containments")
    c, now = claims.c, max(times)
    give_up = (
        claims.update()
        .where(c.state == "in_flight", is_over_in_sql(c.lease_until, now))
        .values(state="unknown")
        .returning(claims)
    )
    rows = [_Row(*row) for row in connection.execute(give_up)]
    _shorten_expiry(connection, now)
    events = tuple(_unknown_event(row) for row in rows)
    return [WorkResult(len(rows), events), *(WorkResult(0) for _ in times[1:])]


def _shorten_expiry(connection: Connection, now: float) -> None:
    """Keep a claim that was stored by a wrong clock for KEPT_S from now."""
    c = claims.c
    too_late = claims.update().where(c.expires_at > now + MAX_AHEAD_S + KEPT_S)
    connection.execute(too_late.values(expires_at=now + KEPT_S))


def delete_expired(connection: Connection, now: float) -> int:
    """Forget the claims that stand for nothing any more; return how many.

    One that nobody has given up yet stays until its event tells what became of it.
    """
    lock(connection, "containments")
    c = claims.c
    guard_rails.forget_begun(connection, now)
    expired = claims.delete().where(c.expires_at <= now, c.state != "in_flight")
    return connection.execute(expired).rowcount


def fingerprint(request: ContainmentRequest) -> bytes:
    """Return 32 bytes for what would be done, to what, for whom; not for when and by whom.

    A retry is signed anew, so `approved_at` and `approved_by` may differ (contract 21).
    """
    done = [request.tenant_id, request.alert_id, request.action_type, request.host]
    return sha256(msgspec.json.encode(done)).digest()


def _existing(row: _Row | None, wanted: Attempt) -> ClaimResult | None:
    """Return what the id stands for already; None where it is free."""
    if row is None or row.expires_at <= wanted.now:
        return None
    if row.fingerprint != fingerprint(wanted.request):
        return Reused()
    if row.state == "done":
        return Replayed(row.dry_run)
    lapsed = row.state == "unknown" or is_over(row.lease_until, wanted.now)
    return None if lapsed and row.action_type not in _NOT_REPEATABLE else InFlight()


def _key(request: ContainmentRequest) -> bytes:
    # Bytes, because PostgreSQL's text cannot hold the NUL that a request id may.
    return request.request_id.encode()


def _find(connection: Connection, keys: set[bytes]) -> _Rows:
    rows = connection.execute(_FIND, {"keys": list(keys)})
    return {row.request_id: _Row(*row) for row in rows}


def _store(connection: Connection, before: _Rows, after: _Rows) -> None:
    """Write what differs, in one statement for each verb however many there are."""
    gone = [key for key, row in before.items() if after.get(key) != row]
    if gone:
        connection.execute(_DELETE, {"keys": gone})
    new = [row for key, row in after.items() if before.get(key) != row]
    if new:
        connection.execute(_INSERT, [msgspec.structs.asdict(row) for row in new])


def _claim(
    connection: Connection, rows: _Rows, rails: GuardRails, wanted: Attempt, who: Responder
) -> WorkResult[ClaimResult]:
    key = _key(wanted.request)
    row = rows.get(key)
    _remember_names(connection, wanted, who)
    result = _existing(row, wanted) or admit(
        connection, rails, wanted.request, who, wanted.device, dry_run=wanted.dry_run
    )
    if isinstance(result, Refused):
        return WorkResult(result, (_refusal(wanted, result),))
    if not isinstance(result, Claimed):
        return WorkResult(result)
    drafts = [_entry(wanted)]
    if row is not None and row.state == "in_flight":
        drafts.append(_unknown_event(row))
    lease_until = wanted.now + wanted.lease_s
    rows[key] = _Row(
        request_id=key,
        tenant_id=wanted.request.tenant_id,
        fingerprint=fingerprint(wanted.request),
        action_type=wanted.request.action_type,
        owner=wanted.owner,
        state="in_flight",
        lease_until=lease_until,
        expires_at=lease_until + KEPT_S,
        dry_run=wanted.dry_run,
        entry_hash=None,
        alert_id=wanted.request.alert_id.encode(),
        force=wanted.request.force,
    )
    return WorkResult(result, tuple(drafts), partial(_remember_entry, key))


def _remember_names(connection: Connection, wanted: Attempt, who: Responder) -> None:
    """Store the names of a device that was looked up: the vendor's now, and the alert's."""
    device, alert, tenant_id = wanted.device, who.alert, wanted.request.tenant_id
    if device is None or who.vendor is None:
        return
    names = [device.hostname]
    if alert is not None and normal_host(alert.device_id or "") == normal_host(device.id):
        names.insert(0, alert.hostname)
    for name in names:
        device_names.remember(connection, tenant_id, who.vendor, device.id, name)


def _remember_entry(
    key: bytes, receipts: tuple[Receipt, ...]
) -> tuple[sa.Update, dict[str, object]]:
    return _REMEMBER_ENTRY, {"key": key, "its_entry": receipts[0].hash}


def _record(connection: Connection, rows: _Rows, answer: AttemptResult) -> WorkResult[bool]:
    key = _key(answer.claim.request)
    row = rows.get(key)
    is_mine = row is not None and row.owner == answer.claim.owner
    entry_hash = row.entry_hash if row is not None and is_mine else answer.entry_hash
    if answer.held is not None and answer.outcome != "dry_run":
        devices.release(
            connection,
            answer.held,
            answer.outcome,
            answer.reference,
            answer.changed,
            answer.now,
        )
    elif answer.outcome == "failed" and entry_hash is not None:
        request = answer.claim.request
        devices.abandon(connection, request.tenant_id, answer.claim.owner, entry_hash)
    if row is None or not is_mine:
        return WorkResult(False, _outcome_events(answer, answer.entry_hash))
    if row.state == "done":
        return WorkResult(True)  # recorded before, by a call that did not see its commit
    unknown = answer.outcome == "outcome_unknown"
    if answer.outcome == "failed" or (unknown and row.action_type not in _NOT_REPEATABLE):
        del rows[key]
    else:
        rows[key] = msgspec.structs.replace(
            row, state="unknown" if unknown else "done", expires_at=answer.now + KEPT_S
        )
    return WorkResult(True, _outcome_events(answer, row.entry_hash))


def _entry(wanted: Attempt) -> Draft:
    request = wanted.request
    return Draft(
        tenant_id=request.tenant_id,
        stream="actions",
        kind=request.action_type,
        members={
            "action_type": request.action_type,
            "host": request.host,
            "approved_by": request.approved_by,
            "dry_run": wanted.dry_run,
        },
    )


def _refusal(wanted: Attempt, refused: Refused) -> Draft:
    request = wanted.request
    return event(
        "execute.refused",
        request.tenant_id,
        wanted.trace_id,
        execution=request.request_id,
        status=RefusedByPolicyError.status,
        reason=RefusedByPolicyError.detail,
        rule=refused.rule,
        action_type=request.action_type,
        host=request.host,
        alert_id=request.alert_id,
        force=request.force,
        **_members(refused.known),
    )


def _outcome_events(answer: AttemptResult, entry_hash: str | None) -> tuple[Draft, ...]:
    if entry_hash is None:
        return ()
    request = answer.claim.request
    return (
        outcome_event(
            request.tenant_id,
            answer.claim.trace_id,
            request.request_id,
            entry_hash,
            answer.outcome,
            answer.reason,
            alert_id=request.alert_id,
            force=request.force,
            **_members(answer.known),
        ),
    )


def _members(known: Known | None) -> dict[str, Scalar]:
    """Return the members that an event has for `known`. Without a value, a member is left out."""
    if known is None:
        return {}
    members: dict[str, Scalar] = msgspec.structs.asdict(known)
    return {name: value for name, value in members.items() if value is not None}


def _unknown_event(row: _Row) -> Draft:
    return outcome_event(
        row.tenant_id,
        None,
        row.request_id.decode(),
        row.entry_hash,
        "outcome_unknown",
        "the lease ended without an answer",
        alert_id=None if row.alert_id is None else row.alert_id.decode(),
        force=row.force,
    )
