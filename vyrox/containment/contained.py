"""Which devices Vyrox has contained (contract 34).

A row in `confirmations` with the target `contained` means: the action has contained its device, or
may have, or is in progress. The row is deleted when the action fails or a lift is confirmed.
"""

from collections.abc import Iterable
from typing import Final, get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.edr.actions import comment_start
from vyrox.models import Device, EdrVendor, normal_host
from vyrox.store.tables import confirmations, devices

_c: Final = confirmations.c
_d: Final = devices.c

IS_CONTAINMENT: Final = sa.and_(_c.target == "contained", _c.is_sent.is_not(False))
"""The condition for the rows of actions that have contained their device, or may have."""


def is_device_contained(
    connection: Connection, tenant_id: str, vendor: EdrVendor, device_id: str
) -> bool:
    """Return whether Vyrox has contained the device with this id, or may have."""
    query = sa.select(sa.literal(1)).where(
        _c.tenant_id == tenant_id, _c.vendor == vendor, _c.device_id == device_id, IS_CONTAINMENT
    )
    return connection.execute(query).first() is not None


def is_host_contained(
    connection: Connection, tenant_id: str, vendor: EdrVendor | None, host: str
) -> bool:
    """Return whether Vyrox has contained the device with this name or id, or may have."""
    name = normal_host(host)
    query = sa.select(sa.literal(1)).where(
        _d.tenant_id == tenant_id,
        _d.vendor == vendor,
        sa.or_(_d.device_id == name, _d.hostname == name),
        _has_containment(),
    )
    # PostgreSQL's text cannot store a NUL, and no vendor's identifier contains one.
    return "\0" not in host and connection.execute(query).first() is not None


def list_contained(connection: Connection, tenant_id: str) -> list[tuple[str, str, str | None]]:
    """Return (vendor, device id, host name) of each device that Vyrox may have contained."""
    query = (
        sa.select(_d.vendor, _d.device_id, _d.hostname)
        .where(_d.tenant_id == tenant_id, _has_containment())
        .order_by(_d.vendor, _d.device_id)
    )
    return [(row.vendor, row.device_id, row.hostname) for row in connection.execute(query)]


def contained_of(
    connection: Connection, tenant_id: str, device_ids: Iterable[str]
) -> set[tuple[str, str]]:
    """Return (vendor, device id) of those of these devices that Vyrox may have contained."""
    possible = sorted({form for each in device_ids for form in (each, normal_host(each))})
    query = sa.select(_c.vendor, _c.device_id).where(
        _c.tenant_id == tenant_id,
        _c.vendor.in_(get_args(EdrVendor)),
        _c.device_id.in_([each for each in possible if "\0" not in each]),
        IS_CONTAINMENT,
    )
    return {(row.vendor, row.device_id) for row in connection.execute(query)}


def is_contained_by_others(
    connection: Connection, tenant_id: str, vendor: EdrVendor | None, device: Device
) -> bool:
    """Return whether other clients contain a device that Vyrox has contained too.

    `device.contained_by` is the vendor's record. Vyrox recognises its own actions by their
    references. If the vendor's response was lost, the reference is unknown, and Vyrox recognises
    the action by its comment. Rows that were migrated from an older release have neither.
    """
    query = sa.select(_c.reference, _c.execution).where(
        _c.tenant_id == tenant_id,
        _c.vendor == vendor,
        _c.device_id == device.id,
        IS_CONTAINMENT,
    )
    rows = connection.execute(query).all()
    references = {row.reference for row in rows}
    comments = tuple(comment_start(row.execution.decode()) for row in rows if row.reference is None)
    return bool(rows) and any(
        each.reference not in references and not (each.comment or "").startswith(comments)
        for each in device.contained_by
    )


def _has_containment() -> sa.ColumnElement[bool]:
    return sa.exists().where(
        _c.tenant_id == _d.tenant_id,
        _c.vendor == _d.vendor,
        _c.device_id == _d.device_id,
        IS_CONTAINMENT,
    )
