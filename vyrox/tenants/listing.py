"""The list of tenants with their credentials and guard rails, for `vyrox tenant list`."""

import msgspec
from sqlalchemy import Connection

from vyrox.models import FieldMap, Vendor
from vyrox.tenants import guard_rails, records
from vyrox.tenants.webhook_options import DEFAULT, WebhookOptions


class Listed(msgspec.Struct, frozen=True):
    """One pair of tenant and vendor, or one tenant that is not onboarded. Times are Unix seconds.

    `frozen_at` is the time of the tenant's own freeze, or else `all_frozen_at`: the time of the
    freeze of all tenants.
    """

    tenant_id: str
    vendor: Vendor | None = None
    enabled: bool | None = None
    created_at: float | None = None
    previous_expires_at: float | None = None
    previous_used_at: float | None = None
    field_map: FieldMap | None = None
    webhook: WebhookOptions = DEFAULT
    used_at: float | None = None
    secret_at: float | None = None
    removed_at: float | None = None
    keeps_secret: bool = False
    frozen_at: float | None = None
    all_frozen_at: float | None = None
    per_hour: int = 0
    other_hosts: guard_rails.OtherHosts = "allow"


def list_all(connection: Connection) -> list[Listed]:
    """Return all pairs of tenant and vendor, and other tenants with guard rails, by name."""
    rows = [Listed(**msgspec.structs.asdict(row)) for row in records.list_tenants(connection)]
    others, stored = guard_rails.list_all(connection)
    rows += [Listed(tenant_id) for tenant_id in stored.keys() - {row.tenant_id for row in rows}]
    return [
        msgspec.structs.replace(
            row,
            frozen_at=rails.all_frozen_at if rails.frozen_at is None else rails.frozen_at,
            all_frozen_at=rails.all_frozen_at,
            per_hour=rails.per_hour,
            other_hosts=rails.other_hosts,
        )
        for row in sorted(rows, key=lambda row: (row.tenant_id, row.vendor or ""))
        for rails in [stored.get(row.tenant_id, others)]
    ]
