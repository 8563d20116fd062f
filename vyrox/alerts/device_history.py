"""What Vyrox was asked to do on the device of an alert, and what became of it (contract 50)."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Scalar
from vyrox.models import NormalizedAlert, normal_host
from vyrox.store.tables import audit_log, confirmations

MAX_READ: Final = 1000
"""The newest actions, and the newest outcomes, of a tenant that are read for one alert."""

_decode: Final = msgspec.json.Decoder(dict[str, Scalar]).decode

_Entry = Mapping[str, Scalar]

# Literally the condition of the index `audit_log_outcomes`, so that both databases use it.
_IS_OUTCOME: Final = sa.text("kind IN ('execute.outcome', 'execute.refused')")


class DeviceAction(msgspec.Struct, frozen=True):
    """An action on the device, or for the alert.

    Attributes:
        at: Unix seconds.
        approved_by: None if the request was refused; so is `dry_run`.
        outcome: As in the newest `execute.outcome` event; `refused`; or None: not known yet.
        reason: Why, if there is a reason.
        for_this_alert: The request named this alert, and not only the same device.
    """

    at: int
    action_type: str
    host: str
    approved_by: str | None
    dry_run: bool | None
    outcome: str | None
    reason: str | None
    for_this_alert: bool


def read_history(connection: Connection, alert: NormalizedAlert) -> list[DeviceAction]:
    """Return the actions on the alert's device and those that name the alert, oldest first."""
    hosts = [name for name in (alert.device_id, alert.hostname) if name]
    return history_of(connection, alert.tenant_id, hosts, [alert.id])


def history_of(
    connection: Connection,
    tenant_id: str,
    hosts: Iterable[str],
    alert_ids: Iterable[str],
    most: int = MAX_READ,
) -> list[DeviceAction]:
    """Return the actions on these devices and those that name one of the alerts, oldest first.

    Args:
        hosts: Ids or names of devices.
        most: The newest actions, and the newest outcomes, of the tenant that are read.
    """
    c = audit_log.c
    named = {normal_host(each) for each in alert_ids}
    outcomes = _newest(connection, tenant_id, _IS_OUTCOME, most)
    actions = _newest(connection, tenant_id, c.stream == "actions", most)
    own = {normal_host(name) for name in hosts}
    of_entry: dict[Scalar, list[_Entry]] = {}
    for event in outcomes:
        of_entry.setdefault(event.get("entry"), []).append(event)
    found = [_refused(event) for event in of_entry.pop(None, []) if _names(event, named)]
    for entry in actions:
        events = of_entry.get(entry["hash"], [])
        is_for_it = any(_names(event, named) for event in events)
        if is_for_it or normal_host(str(entry["host"])) in own:
            found.append(_done(entry, events, is_for_it=is_for_it))
    return sorted(found, key=lambda action: action.at)


def is_contained(connection: Connection, alert: NormalizedAlert) -> bool:
    """Return whether Vyrox has contained the alert's device, or may have (contract 34)."""
    if alert.device_id is None:
        return False
    c = confirmations.c
    query = sa.select(sa.literal(1)).where(
        c.tenant_id == alert.tenant_id,
        c.vendor == alert.source,
        # PostgreSQL stores no NUL, and no vendor's identifier contains one.
        c.device_id.in_({alert.device_id.replace("\0", ""), normal_host(alert.device_id)}),
        c.target == "contained",
        c.is_sent.is_not(False),
    )
    return "\0" not in alert.device_id and connection.execute(query).first() is not None


def _newest(
    connection: Connection,
    tenant_id: str,
    condition: sa.ColumnElement[bool] | sa.TextClause,
    most: int,
) -> list[_Entry]:
    """Return the newest entries of a tenant that meet the condition, oldest first."""
    c = audit_log.c
    query = (
        sa.select(c.entry)
        .where(c.tenant_id == tenant_id, condition)
        .order_by(c.sequence.desc())
        .limit(most)
    )
    return [_decode(entry) for entry in reversed(connection.execute(query).scalars().all())]


def _names(event: _Entry, alert_ids: AbstractSet[str]) -> bool:
    """Return whether the event's request named one of the alerts, in any spelling of its id."""
    return normal_host(str(event.get("alert_id")).strip()) in alert_ids


def _refused(event: _Entry) -> DeviceAction:
    return DeviceAction(
        at=_whole(event["timestamp"]),
        action_type=_text(event.get("action_type")) or "",
        host=_text(event.get("host")) or "",
        approved_by=None,
        dry_run=None,
        outcome="refused",
        reason=_text(event.get("rule")) or _text(event.get("reason")),
        for_this_alert=True,
    )


def _done(entry: _Entry, events: Iterable[_Entry], *, is_for_it: bool) -> DeviceAction:
    last: _Entry = {}
    for last in events:  # noqa: B007  (the newest is the last)
        pass
    return DeviceAction(
        at=_whole(entry["timestamp"]),
        action_type=str(entry["action_type"]),
        host=str(entry["host"]),
        approved_by=_text(entry["approved_by"]),
        dry_run=bool(entry["dry_run"]),
        outcome=_text(last.get("outcome")),
        reason=_text(last.get("reason")),
        for_this_alert=is_for_it,
    )


def _whole(value: Scalar) -> int:
    return value if isinstance(value, int) else 0


def _text(value: Scalar) -> str | None:
    return value if isinstance(value, str) else None
