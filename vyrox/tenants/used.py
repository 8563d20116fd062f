"""When a tenant's webhook secrets were last used, in SQL (contract 75)."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.models import Vendor
from vyrox.store.tables import tenant_credentials

Used = tuple[str, Vendor, bool]
"""A secret: the tenant, the vendor, and whether it is the previous one."""

_table: Final = tenant_credentials.c


def record_used(connection: Connection, used: Mapping[Used, float], version: int) -> None:
    """Store when secrets were last used (Unix seconds), except of rows newer than `version`."""
    # Sorted: two containers that lock the same rows in different orders deadlock.
    for (tenant_id, vendor, is_previous), at in sorted(used.items()):
        column = _table.previous_used_at if is_previous else _table.used_at
        # A newer row may have another secret. Another container may have noted a later use.
        connection.execute(
            tenant_credentials.update()
            .where(_table.tenant_id == tenant_id, _table.vendor == vendor)
            .where(_table.version <= version, sa.or_(column.is_(None), column < at))
            .values({column: at})
        )
