"""What is left of a tenant after its row for a vendor was disabled (contract 35)."""

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.containment.contained import list_contained
from vyrox.errors import OperatorError
from vyrox.models import EdrVendor, Vendor
from vyrox.store.tables import alerts, edr_credentials, quarantine, tenant_credentials
from vyrox.tenants import edr_credentials as edr_credentials_rows
from vyrox.tenants import removal


class Remains(msgspec.Struct, frozen=True):
    """What is left of a tenant.

    Attributes:
        vendors: Those at which it is still onboarded.
        contained: (vendor, device id, host name) of each device that Vyrox may have contained.
        edr_vendors: Those for which it has credentials.
        unfinished: Alerts that no consumer has finished.
        quarantined: Payloads in quarantine that were not replayed.
    """

    vendors: tuple[str, ...]
    contained: tuple[tuple[str, str, str | None], ...]
    edr_vendors: tuple[str, ...]
    unfinished: int
    quarantined: int


def remove_tenant(
    connection: Connection, tenant_id: str, vendor: Vendor, now: float, purge: bool
) -> Remains:
    """Disable the tenant at `vendor`, without its secret if `purge`; return what remains of it.

    Raises:
        OperatorError: The tenant is not onboarded there.
    """
    removal.remove_tenant(connection, tenant_id, vendor, now, purge=purge)
    return list_remains(connection, tenant_id)


def remove_edr_credentials(
    connection: Connection, tenant_id: str, vendor: EdrVendor, now: float, force: bool
) -> None:
    """Delete the tenant's credentials at a vendor.

    Raises:
        OperatorError: There are none; or, without `force`, Vyrox has contained a host with them.
    """
    contained = [
        device_id if hostname is None else f"{device_id} ({hostname})"
        for place, device_id, hostname in list_contained(connection, tenant_id)
        if place == vendor
    ]
    if contained and not force:
        more = f" and {len(contained) - 1} more" if len(contained) > 1 else ""
        raise OperatorError(
            f"{contained[0]}{more} is contained at {vendor}, and without the credentials Vyrox "
            "cannot lift that: use vyrox lift first, or pass --force"
        )
    edr_credentials_rows.remove_credentials(connection, tenant_id, vendor, now)


def list_remains(connection: Connection, tenant_id: str) -> Remains:
    """Return what is left of a tenant, in the transaction that removes it."""

    def texts(column: sa.Column[str], *conditions: sa.ColumnElement[bool]) -> tuple[str, ...]:
        query = sa.select(column).where(*conditions).order_by(column)
        return tuple(connection.execute(query).scalars())

    def count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(table).where(*conditions)
        return connection.execute(query).scalar_one()

    a, q, e, t = alerts.c, quarantine.c, edr_credentials.c, tenant_credentials.c
    return Remains(
        vendors=texts(t.vendor, t.tenant_id == tenant_id, t.disabled_at.is_(None)),
        contained=tuple(list_contained(connection, tenant_id)),
        edr_vendors=texts(e.vendor, e.tenant_id == tenant_id),
        unfinished=count(alerts, a.tenant_id == tenant_id, a.finished_at.is_(None)),
        quarantined=count(quarantine, q.tenant_id == tenant_id, q.replayed_at.is_(None)),
    )
