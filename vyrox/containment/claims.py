"""Claims: one containment per `request_id` (contract 19, 21, 22, 24, 25, 27, 34 and 35).

A claim is committed together with its audit entry, before the vendor is called. It holds a random
token that only its owner, one attempt, knows.

    (none) --claim--> in flight --record--> done      replayed for RESULT_KEPT_S
                          |--------------> (none)     failed: nothing happened, a retry may act
                          `--------------> unknown    the action may have happened

A claim also becomes `unknown` when its lease expires, as after a crash of its owner. A retry may
then act again, except for PROCESS_KILL: a second kill could hit another process.
"""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Draft, Receipt
from vyrox.chain.writer import WorkResult
from vyrox.containment import devices, events
from vyrox.containment.admission import Admission, Claimed, Refused, admit_attempt
from vyrox.containment.attempt import Attempt, AttemptResult
from vyrox.containment.lease_limit import MAX_AHEAD_S, is_over, is_over_in_sql
from vyrox.containment.responder import Responder, find_responders
from vyrox.models import ContainmentRequest, normal_host
from vyrox.store.locks import lock
from vyrox.store.tables import claims
from vyrox.tenants import device_names, guard_rails
from vyrox.tenants.guard_rails import GuardRails

RESULT_KEPT_S: Final = 600
"""How long a result is replayed, and a kill with an unknown outcome is refused."""

_NOT_REPEATABLE: Final = frozenset({"PROCESS_KILL"})

State = Literal["in_flight", "done", "unknown"]


class InFlight(msgspec.Struct, frozen=True):
    """Another attempt is in progress, or the outcome of a kill is unknown."""


class Reused(msgspec.Struct, frozen=True):
    """The `request_id` was used for another tenant, alert, action or host."""


class Replayed(msgspec.Struct, frozen=True):
    """The request was carried out before. `dry_run` is that of the first response."""

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


def claim(connection: Connection, attempts: Sequence[Attempt]) -> list[WorkResult[ClaimResult]]:
    """Claim each request that may be carried out, and draft its audit entry.

    The checks run in the order of contract 19: an earlier claim with this id, then the vendor's
    abilities, then the guard rails. If one of them fails, only a refusal's event is written.
    """
    lock(connection, "containments")
    before = _find(connection, {_key(each.request) for each in attempts})
    rows = dict(before)
    responders = find_responders(connection, [each.request for each in attempts])
    tenant_ids = [each.request.tenant_id for each in attempts]
    rails = GuardRails(connection, tenant_ids, max(each.now for each in attempts))
    results = [
        _claim(connection, rows, rails, each, responder)
        for each, responder in zip(attempts, responders, strict=True)
    ]
    _store(connection, before, rows)
    rails.store_begun()
    return results


def record(connection: Connection, results: Sequence[AttemptResult]) -> list[WorkResult[bool]]:
    """Record how attempts ended, in their claims and as events.

    The result is False if the attempt has no claim: the claim was never committed, or its lease has
    expired and another attempt has claimed the id. The outcome of an entry becomes an event anyway.
    """
    lock(connection, "containments")
    before = _find(connection, {_key(each.attempt.request) for each in results})
    rows = dict(before)
    recorded = [_record(connection, rows, each) for each in results]
    _store(connection, before, rows)
    return recorded


def mark_lapsed_unknown(connection: Connection, times: Sequence[float]) -> list[WorkResult[int]]:
    """Turn each claim whose lease has expired into `unknown`, with its event; return how many.

    Args:
        times: The present, one for each call that waits.
    """
    lock(connection, "containments")
    c, now = claims.c, max(times)
    mark = (
        claims.update()
        .where(c.state == "in_flight", is_over_in_sql(c.lease_until, now))
        .values(state="unknown")
        .returning(claims)
    )
    rows = [_Row(*row) for row in connection.execute(mark)]
    # A claim that a wrong clock has stored is kept for RESULT_KEPT_S from now.
    too_late = claims.update().where(c.expires_at > now + MAX_AHEAD_S + RESULT_KEPT_S)
    connection.execute(too_late.values(expires_at=now + RESULT_KEPT_S))
    drafts = tuple(_unknown_event(row) for row in rows)
    return [WorkResult(len(rows), drafts), *(WorkResult(0) for _ in times[1:])]


def delete_expired(connection: Connection, now: float) -> int:
    """Delete the claims that no retry needs any more; return how many.

    A claim in flight stays, even after its lease, until its outcome is an event.
    """
    lock(connection, "containments")
    guard_rails.forget_begun(connection, now)
    expired = claims.delete().where(claims.c.expires_at <= now, claims.c.state != "in_flight")
    return connection.execute(expired).rowcount


def fingerprint(request: ContainmentRequest) -> bytes:
    """Return 32 bytes that identify the tenant, the alert, the action and the host.

    A retry is signed again, so `approved_at` and `approved_by` may differ (contract 21).
    """
    identity = [request.tenant_id, request.alert_id, request.action_type, request.host]
    return sha256(msgspec.json.encode(identity)).digest()


def _existing(row: _Row | None, attempt: Attempt) -> ClaimResult | None:
    """Return the result of an earlier claim with this id, or None."""
    if row is None or row.expires_at <= attempt.now:
        return None
    if row.fingerprint != fingerprint(attempt.request):
        return Reused()
    if row.state == "done":
        return Replayed(row.dry_run)
    lapsed = row.state == "unknown" or is_over(row.lease_until, attempt.now)
    return None if lapsed and row.action_type not in _NOT_REPEATABLE else InFlight()


def _key(request: ContainmentRequest) -> bytes:
    # Bytes, because a request id may contain a NUL, which PostgreSQL's text cannot store.
    return request.request_id.encode()


def _find(connection: Connection, keys: set[bytes]) -> _Rows:
    rows = connection.execute(_FIND, {"keys": list(keys)})
    return {row.request_id: _Row(*row) for row in rows}


def _store(connection: Connection, before: _Rows, after: _Rows) -> None:
    """Write the rows that differ, with one DELETE and one INSERT."""
    gone = [key for key, row in before.items() if after.get(key) != row]
    if gone:
        connection.execute(_DELETE, {"keys": gone})
    new = [row for key, row in after.items() if before.get(key) != row]
    if new:
        connection.execute(_INSERT, [msgspec.structs.asdict(row) for row in new])


def _claim(
    connection: Connection, rows: _Rows, rails: GuardRails, attempt: Attempt, responder: Responder
) -> WorkResult[ClaimResult]:
    request = attempt.request
    key = _key(request)
    row = rows.get(key)
    _remember_names(connection, attempt, responder)
    result = _existing(row, attempt) or admit_attempt(connection, rails, attempt, responder)
    if isinstance(result, Refused):
        return WorkResult(result, (events.refusal_event(attempt, result.rule, result.known),))
    if not isinstance(result, Claimed):
        return WorkResult(result)
    drafts = [events.action_entry(attempt)]
    if attempt.approval is not None:
        drafts.append(attempt.approval.begin(connection, attempt.now))
    if row is not None and row.state == "in_flight":
        drafts.append(_unknown_event(row))
    rows[key] = _Row(
        request_id=key,
        tenant_id=request.tenant_id,
        fingerprint=fingerprint(request),
        action_type=request.action_type,
        owner=attempt.owner,
        state="in_flight",
        lease_until=attempt.lease_until,
        expires_at=attempt.lease_until + RESULT_KEPT_S,
        dry_run=attempt.dry_run,
        entry_hash=None,
        alert_id=request.alert_id.encode(),
        force=request.force,
    )
    return WorkResult(result, tuple(drafts), partial(_remember_entry, key))


def _remember_names(connection: Connection, attempt: Attempt, responder: Responder) -> None:
    """Store the names of a device that the vendor has named: the vendor's and the alert's."""
    device, alert = attempt.device, responder.alert
    if device is None or responder.vendor is None:
        return
    names = [device.hostname]
    if alert is not None and normal_host(alert.device_id or "") == normal_host(device.id):
        names.insert(0, alert.hostname)
    for name in names:
        device_names.remember(
            connection, attempt.request.tenant_id, responder.vendor, device.id, name
        )


def _remember_entry(
    key: bytes, receipts: tuple[Receipt, ...]
) -> tuple[sa.Update, dict[str, object]]:
    return _REMEMBER_ENTRY, {"key": key, "its_entry": receipts[0].hash}


def _record(connection: Connection, rows: _Rows, result: AttemptResult) -> WorkResult[bool]:
    attempt = result.attempt
    key = _key(attempt.request)
    row = rows.get(key)
    if row is not None and row.owner != attempt.owner:
        row = None
    _end_device_lease(connection, result, result.entry_hash if row is None else row.entry_hash)
    if row is None:
        return WorkResult(False, _result_events(result, result.entry_hash))
    if row.state == "done":
        return WorkResult(True)  # recorded before, with a commit that the attempt has not seen
    unknown = result.outcome == "outcome_unknown"
    if result.outcome == "failed" or (unknown and row.action_type not in _NOT_REPEATABLE):
        del rows[key]
    else:
        rows[key] = msgspec.structs.replace(
            row, state="unknown" if unknown else "done", expires_at=result.now + RESULT_KEPT_S
        )
    return WorkResult(True, _result_events(result, row.entry_hash))


def _end_device_lease(
    connection: Connection, result: AttemptResult, entry_hash: str | None
) -> None:
    if result.lease is not None:
        outcome, reference, changed = result.outcome, result.reference, result.changed
        devices.release(connection, result.lease, outcome, reference, changed, result.now)
    elif result.outcome == "failed" and entry_hash is not None:
        tenant_id = result.attempt.request.tenant_id
        devices.abandon(connection, tenant_id, result.attempt.owner, entry_hash)


def _result_events(result: AttemptResult, entry_hash: str | None) -> tuple[Draft, ...]:
    return () if entry_hash is None else (events.result_event(result, entry_hash),)


def _unknown_event(row: _Row) -> Draft:
    return events.outcome_event(
        row.tenant_id,
        None,
        row.request_id.decode(),
        row.entry_hash,
        "outcome_unknown",
        "the lease expired before a result was recorded",
        alert_id=None if row.alert_id is None else row.alert_id.decode(),
        force=row.force,
    )
