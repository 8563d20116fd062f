"""What the operator does with quarantined payloads: list, read, dismiss, replay (contract 16)."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import StoredAlert, delivery, store
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import NotFoundError, OperatorError
from vyrox.models import NormalizedAlert, Vendor
from vyrox.store.locks import lock
from vyrox.store.tables import quarantine

_table: Final = quarantine.c


class Quarantined(msgspec.Struct, frozen=True):
    """One quarantined payload. Times are Unix seconds.

    Attributes:
        deliveries: How often these bytes were received.
        alert_id: The alert that the replay made of it, or None.
        only_counted: There was no room for the bodies; the row has their number and the last
            reason.
    """

    id: str
    tenant_id: str
    source: Vendor
    reason: str
    size_bytes: int
    deliveries: int
    first_received_at: float
    last_received_at: float
    replayed_at: float | None
    alert_id: str | None
    dismissed_at: float | None = None
    only_counted: bool = False


def dismiss(
    connection: Connection,
    tenant_id: str,
    quarantine_ids: Sequence[str],
    now: float,
    by: str | None = None,
) -> int:
    """Mark payloads that need no replay; they are deleted when space is needed.

    Args:
        by: The person who asked for it at the console.

    Returns:
        How many were not marked yet.

    Raises:
        OperatorError: The tenant has no payload with one of the ids; nothing was changed.
    """
    lock(connection, "quarantine")
    query = sa.select(_table.id).where(_table.tenant_id == tenant_id, _table.id.in_(quarantine_ids))
    known = set(connection.execute(query).scalars())
    if unknown := [each for each in quarantine_ids if each not in known]:
        raise unknown_payload(tenant_id, *unknown)
    new = _table.id.in_(quarantine_ids), _table.dismissed_at.is_(None)
    count = connection.execute(quarantine.update().where(*new).values(dismissed_at=now)).rowcount
    if count:
        change = f"quarantine: {count} dismissed{'' if by is None else f' by {by}'}"
        changed = event("tenant.changed", tenant_id, None, source=None, change=change)
        append(connection, [changed], now)
    return count


def unknown_payload(tenant_id: str, *quarantine_ids: str) -> OperatorError:
    """Return the error for ids that are not in the tenant's quarantine."""
    return OperatorError(
        f"{tenant_id} has no quarantined payload {', '.join(quarantine_ids)}; "
        f"see: vyrox queue quarantine list {tenant_id} --all"
    )


def list_quarantined(connection: Connection, tenant_id: str) -> list[Quarantined]:
    """Return the tenant's quarantined payloads, oldest first, including replayed ones."""
    query = (
        sa.select(*_SHOWN)
        .where(_table.tenant_id == tenant_id)
        .order_by(_table.first_received_at, _table.id)
    )
    return [_shown(row) for row in connection.execute(query).mappings()]


def tenant_of_payload(connection: Connection, quarantine_id: str) -> str:
    """Return whose payload it is.

    Raises:
        NotFoundError: There is no payload with this id.
    """
    query = sa.select(_table.tenant_id).where(_table.id == quarantine_id)
    is_possible = quarantine_id.isascii() and quarantine_id.isprintable()
    tenant_id = connection.execute(query).scalar() if is_possible else None
    if tenant_id is None:
        raise NotFoundError("no such payload")
    return str(tenant_id)


def list_payloads(connection: Connection, quarantine_ids: Sequence[str]) -> list[Quarantined]:
    """Return the payloads with these ids that still exist, in the order of the ids."""
    query = sa.select(*_SHOWN).where(_table.id.in_(quarantine_ids))
    rows = {row["id"]: _shown(row) for row in connection.execute(query).mappings()}
    return [rows[each] for each in quarantine_ids if each in rows]


def read_quarantined(
    connection: Connection, tenant_id: str, quarantine_id: str
) -> tuple[Quarantined, bytes]:
    """Return one quarantined payload and its bytes as received.

    Raises:
        OperatorError: The tenant has no payload with this id, or its body was not kept.
    """
    query = sa.select(*_SHOWN, _table.raw).where(
        _table.tenant_id == tenant_id, _table.id == quarantine_id
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise unknown_payload(tenant_id, quarantine_id)
    if row["only_counted"]:
        raise OperatorError(
            f"{quarantine_id} has no body: the tenant's quarantine was full "
            "(QUARANTINE_MAX_BYTES), so its payloads were only counted"
        )
    return _shown(row), bytes(row["raw"])


def find_quarantined(connection: Connection, quarantine_id: str) -> tuple[Quarantined, bytes]:
    """Return one quarantined payload of any tenant, and its bytes as received.

    Raises:
        OperatorError: There is no payload with this id, or its body was not kept.
    """
    query = sa.select(_table.tenant_id).where(_table.id == quarantine_id)
    tenant_id = connection.execute(query).scalar_one_or_none()
    if tenant_id is None:
        raise OperatorError(
            f"no tenant has a quarantined payload {quarantine_id}; see: vyrox queue quarantine list"
        )
    return read_quarantined(connection, tenant_id, quarantine_id)


def replay_all(
    connection: Connection,
    quarantined: Quarantined,
    alerts: Sequence[tuple[NormalizedAlert, bytes]],
    now: float,
    by: str | None = None,
) -> list[StoredAlert]:
    """Do as `replay` for each of the alerts, the first one last: the payload names that one."""
    stored = [
        replay(connection, quarantined, raw, alert, now, by) for alert, raw in reversed(alerts)
    ]
    return stored[::-1]


def replay(
    connection: Connection,
    quarantined: Quarantined,
    raw: bytes,
    alert: NormalizedAlert,
    now: float,
    by: str | None = None,
) -> StoredAlert:
    """Store `alert`, which was made of `raw`, and mark the payload as replayed.

    If the same bytes became an alert earlier, return that alert, however old: the vendor may have
    sent them again after the payload was quarantined, or it was replayed before.
    """
    lock(connection, "quarantine")  # before the lock of the chain, as in `keep`
    [stored] = store(connection, [delivery(alert, raw, now)], window_s=math.inf)
    if not stored.redelivery:
        accepted = event(
            "alert.accepted",
            alert.tenant_id,
            None,
            alert_id=stored.alert_id,
            source=alert.source,
            replayed=quarantined.id,
            **({} if by is None else {"by": by}),
        )
        append(connection, [accepted], now)
    connection.execute(
        quarantine.update()
        .where(_table.id == quarantined.id)
        .values(replayed_at=now, alert_id=stored.alert_id)
    )
    return stored


def store_reason(connection: Connection, quarantine_id: str, reason: str) -> None:
    """Store why a payload was refused again."""
    connection.execute(quarantine.update().where(_table.id == quarantine_id).values(reason=reason))


def count_quarantined(connection: Connection) -> dict[str, int]:
    """Return how many payloads of each tenant are neither replayed nor dismissed."""
    query = (
        sa.select(_table.tenant_id, sa.func.count())
        .where(_table.replayed_at.is_(None), _table.dismissed_at.is_(None))
        .group_by(_table.tenant_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _shown(row: sa.RowMapping) -> Quarantined:
    return msgspec.convert({key: row[key] for key in Quarantined.__struct_fields__}, Quarantined)


_SHOWN: Final[Sequence[sa.ColumnElement[object]]] = (
    _table.id,
    _table.tenant_id,
    _table.source,
    _table.reason,
    sa.func.length(_table.raw).label("size_bytes"),
    _table.deliveries,
    _table.first_received_at,
    _table.last_received_at,
    _table.replayed_at,
    _table.alert_id,
    _table.dismissed_at,
    sa.func.coalesce(_table.only_counted, sa.false()).label("only_counted"),
)
