"""Removing a tenant at a vendor, undoing that, and deleting the secret that was kept (contract 88).

The secret moves to a column that no part of the service reads. So its deliveries get 401 from any
version of Vyrox, and the sender need not be set up again if the removal is undone.
"""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import OperatorError
from vyrox.models import Vendor
from vyrox.store.locks import lock
from vyrox.store.tables import tenant_credentials
from vyrox.tenants.bindings import check_spelling, check_unbound
from vyrox.tenants.records import (
    append_tenant_changed,
    find_row,
    is_row,
    next_version,
    require_enabled,
)
from vyrox.tenants.webhook_options import decode_options

_table: Final = tenant_credentials.c


def remove_tenant(
    connection: Connection, tenant_id: str, vendor: Vendor, now: float, *, purge: bool = False
) -> None:
    """Disable the tenant at `vendor`; keep its secret, unless `purge`.

    The row stays (contract 8). A tenant without an enabled row gets no new containment
    (contract 35).

    Raises:
        OperatorError: Not onboarded.
    """
    # With this lock, no claim that has read the enabled row can commit after this transaction.
    lock(connection, "containments")
    row = require_enabled(connection, tenant_id, vendor)
    connection.execute(
        tenant_credentials.update()
        .where(is_row(tenant_id, vendor))
        .values(
            secret=None,
            previous_secret=None,
            kept_secret=None if purge else row.secret,
            disabled_at=now,
            version=next_version(connection),
        )
    )
    append_tenant_changed(connection, tenant_id, vendor, "removed", now)


def purge_tenant(connection: Connection, tenant_id: str, vendor: Vendor, now: float) -> None:
    """Delete the kept secret of a removed tenant.

    Raises:
        OperatorError: None is kept.
    """
    _require_kept(connection, tenant_id, vendor)
    purged = tenant_credentials.update().where(is_row(tenant_id, vendor))
    connection.execute(purged.values(kept_secret=None))
    append_tenant_changed(connection, tenant_id, vendor, "purged", now)


def restore_tenant(
    connection: Connection,
    tenant_id: str,
    vendor: Vendor,
    check: Callable[[str], None],
    now: float,
) -> None:
    """Accept the alerts of a removed tenant again, with the secret that was kept.

    Args:
        check: Takes the encrypted secret; raises OperatorError if it cannot be used any more.

    Raises:
        OperatorError: No secret is kept, another tenant has taken its name in another spelling or
            one of its customer ids, or as `check`.
    """
    row = _require_kept(connection, tenant_id, vendor)
    check(row.kept_secret)
    check_spelling(connection, tenant_id, vendor)
    check_unbound(connection, tenant_id, vendor, decode_options(row.webhook_options))
    connection.execute(
        tenant_credentials.update()
        .where(is_row(tenant_id, vendor))
        .values(
            secret=row.kept_secret,
            kept_secret=None,
            disabled_at=None,
            version=next_version(connection),
        )
    )
    append_tenant_changed(connection, tenant_id, vendor, "restored", now)


def kept_vendors(connection: Connection, tenant_id: str) -> list[Vendor]:
    """Return the vendors at which a removal of the tenant can be undone."""
    query = sa.select(_table.vendor).where(
        _table.tenant_id == tenant_id, _table.kept_secret.is_not(None)
    )
    return list(connection.execute(query.order_by(_table.vendor)).scalars())


def _require_kept(
    connection: Connection, tenant_id: str, vendor: Vendor
) -> sa.Row[tuple[object, ...]]:
    row = find_row(connection, tenant_id, vendor)
    if row is None or row.kept_secret is None:
        raise OperatorError(
            f"{tenant_id} has no kept secret for {vendor}; see: vyrox tenant show {tenant_id}"
        )
    return row
