"""Since when each contained device is contained, by whose approval and for which alert (86).

The approval is in the audit entry. The alert is in the lease if the containment has an end, in the
claim while it is kept, and in the event of the outcome.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.contained import Contained, list_contained
from vyrox.containment.contained import IS_CONTAINMENT
from vyrox.store.tables import audit_log, claims, confirmations, leases

MAX_READ: Final = 5000
"""The newest outcomes of a tenant among which the alerts are searched."""

State = Literal["contained", "unconfirmed", "waiting", "begun", "lifting"]
"""`unconfirmed`: the vendor never showed that it is contained. `waiting`: the vendor accepted the
containment, and the device is read back. `begun`: the vendor has not responded yet."""

_a: Final = audit_log.c
_c: Final = confirmations.c

# Literally the condition of the index `audit_log_outcomes`, so that both databases use it.
_IS_OUTCOME: Final = sa.text("kind IN ('execute.outcome', 'execute.refused')")

_Device = tuple[str, str, str]


class WhyContained(msgspec.Struct, frozen=True, kw_only=True):
    """A contained device, with what is known of its newest containment. Times are Unix seconds.

    Attributes:
        request_id: Of the containment.
        ends_at: The end of its lease; None: it has no end.
        trouble: Why the end did not work, or waits.
    """

    tenant_id: str
    vendor: str
    device_id: str
    hostname: str | None
    state: State
    since: int | None
    action_type: str | None
    approved_by: str | None
    alert_id: str | None
    request_id: str
    ends_at: float | None
    trouble: str | None


class _Row(NamedTuple):
    entry_hash: str
    execution: bytes
    is_sent: bool | None
    is_settled: bool


class _Action(msgspec.Struct):
    timestamp: int
    action_type: str
    approved_by: str


class _Outcome(msgspec.Struct):
    entry: str | None = None
    alert_id: str | None = None


_action: Final = msgspec.json.Decoder(_Action)
_outcome: Final = msgspec.json.Decoder(_Outcome)


def list_why(connection: Connection, tenant_ids: Sequence[str], limit: int) -> list[WhyContained]:
    """Return the contained devices of some tenants, the newest first."""
    devices = list_contained(connection, tenant_ids, limit)
    tenants = sorted({each.tenant_id for each in devices})
    newest = _newest(connection, tenants)
    lifting = _lifting(connection, tenants)
    hashes = {newest[_place(each)].entry_hash for each in devices}
    actions = _actions(connection, tenants, hashes)
    alerts = _alerts(connection, tenants, hashes)
    found = [
        _why(each, newest[_place(each)], _place(each) in lifting, actions, alerts)
        for each in devices
    ]
    return sorted(found, key=lambda each: -(each.since or 0))


def count_waiting(connection: Connection) -> tuple[int, int]:
    """Return how many containments and how many lifts wait until a device is read back."""
    sent = [~_c.is_settled, _c.is_sent.is_not(False)]
    query = sa.select(_c.target, sa.func.count()).where(*sent).group_by(_c.target)
    found = {row[0]: row[1] for row in connection.execute(query)}
    return found.get("contained", 0), found.get("lifted", 0)


def _place(each: Contained) -> _Device:
    return (each.tenant_id, each.vendor, each.device_id)


def _why(
    device: Contained,
    row: _Row,
    is_lifting: bool,
    actions: Mapping[str, _Action],
    alerts: Mapping[str, str],
) -> WhyContained:
    action = actions.get(row.entry_hash)
    return WhyContained(
        tenant_id=device.tenant_id,
        vendor=device.vendor,
        device_id=device.device_id,
        hostname=device.hostname,
        state="lifting" if is_lifting else _state(row),
        since=None if action is None else action.timestamp,
        action_type=None if action is None else action.action_type,
        approved_by=None if action is None else action.approved_by,
        alert_id=alerts.get(row.entry_hash),
        request_id=row.execution.decode(errors="replace"),
        ends_at=device.ends_at,
        trouble=device.trouble,
    )


def _state(row: _Row) -> State:
    if row.is_settled:
        return "contained" if row.is_sent else "unconfirmed"
    return "waiting" if row.is_sent else "begun"


def _newest(connection: Connection, tenant_ids: Sequence[str]) -> dict[_Device, _Row]:
    """Return the newest containment of each device."""
    device = (_c.tenant_id, _c.vendor, _c.device_id)
    values = (_c.entry_hash, _c.execution, _c.is_sent, _c.is_settled)
    query = sa.select(*device, *values).where(_c.tenant_id.in_(tenant_ids), IS_CONTAINMENT)
    rows = connection.execute(query.order_by(_c.token))
    return {(row[0], row[1], row[2]): _Row(*row[3:]) for row in rows}


def _lifting(connection: Connection, tenant_ids: Sequence[str]) -> set[_Device]:
    query = sa.select(_c.tenant_id, _c.vendor, _c.device_id).where(
        _c.tenant_id.in_(tenant_ids), _c.target == "lifted", ~_c.is_settled
    )
    return {(row[0], row[1], row[2]) for row in connection.execute(query)}


def _actions(
    connection: Connection, tenant_ids: Sequence[str], hashes: set[str]
) -> dict[str, _Action]:
    query = sa.select(_a.hash, _a.entry).where(
        _a.tenant_id.in_(tenant_ids), _a.stream == "actions", _a.hash.in_(hashes)
    )
    found = {}
    for entry_hash, entry in connection.execute(query):
        try:
            found[entry_hash] = _action.decode(entry)
        except ValueError:
            continue  # somebody changed it, which `vyrox audit verify` reports
    return found


def _alerts(connection: Connection, tenant_ids: Sequence[str], hashes: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for c in (leases.c, claims.c):
        query = sa.select(c.entry_hash, c.alert_id).where(c.entry_hash.in_(hashes))
        for entry_hash, alert_id in connection.execute(query.where(c.alert_id.is_not(None))):
            found[entry_hash] = alert_id.decode(errors="replace")
    for tenant_id in tenant_ids:
        if not hashes <= found.keys():
            _add_from_events(connection, tenant_id, hashes, found)
    return found


def _add_from_events(
    connection: Connection, tenant_id: str, hashes: set[str], found: dict[str, str]
) -> None:
    query = (
        sa.select(_a.entry)
        .where(_a.tenant_id == tenant_id, _IS_OUTCOME)
        .order_by(_a.sequence.desc())
        .limit(MAX_READ)
    )
    for entry in connection.execute(query).scalars():
        try:
            outcome = _outcome.decode(entry)
        except ValueError:
            continue
        if outcome.entry in hashes and outcome.alert_id is not None:
            found.setdefault(outcome.entry, outcome.alert_id)
