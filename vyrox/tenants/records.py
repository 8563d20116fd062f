"""The tenants' webhook credentials in SQL: add, rotate, remove, list (contract 8)."""

from collections.abc import Callable, Collection
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import OperatorError
from vyrox.models import FieldMap, Vendor
from vyrox.store.locks import lock
from vyrox.store.tables import (
    audit_readers,
    edr_credentials,
    notify_targets,
    tenant_credentials,
)
from vyrox.tenants import guard_rails
from vyrox.tenants.bindings import check_spelling, check_unbound
from vyrox.tenants.webhook_options import (
    DEFAULT,
    WebhookOptions,
    decode_options,
    encode_options,
)

_table: Final = tenant_credentials.c


class TenantRow(msgspec.Struct, frozen=True):
    """One pair of tenant and vendor, for `vyrox tenant list`. Times are Unix seconds.

    Attributes:
        secret_at: When the present secret was set; None: by a version that did not note it.
        removed_at: None if it is enabled.
        keeps_secret: It was removed, and its secret is kept: the removal can be undone.
    """

    tenant_id: str
    vendor: Vendor
    enabled: bool
    created_at: float
    previous_expires_at: float | None
    previous_used_at: float | None
    field_map: FieldMap | None
    webhook: WebhookOptions = DEFAULT
    used_at: float | None = None
    secret_at: float | None = None
    removed_at: float | None = None
    keeps_secret: bool = False


def add_tenant(
    connection: Connection,
    tenant_id: str,
    vendor: Vendor,
    encrypted_secret: str,
    field_map: FieldMap | None,
    now: float,
    options: WebhookOptions = DEFAULT,
) -> bool:
    """Onboard `tenant_id` at `vendor`, or enable the row that `removal` disabled.

    A new tenant gets the guard rail that refuses hosts other than the alert's host (contract 35).

    Returns:
        Whether the tenant is new: it had no row for any vendor.

    Raises:
        OperatorError: The tenant is already onboarded and enabled, also under another spelling of
            the same identifier, or another one has one of its customer ids.
    """
    present = find_row(connection, tenant_id, vendor)
    if present is not None and present.disabled_at is None:
        raise OperatorError(
            f"{tenant_id} is onboarded for {vendor} already; for a new secret use: "
            f"vyrox tenant rotate {tenant_id} --vendor {vendor}"
        )
    values = {
        "secret": encrypted_secret,
        "kept_secret": None,
        "previous_secret": None,
        "previous_expires_at": None,
        "previous_used_at": None,
        "used_at": None,
        "field_map": _encode_field_map(field_map),
        "webhook_options": encode_options(options),
        "created_at": now,
        "secret_at": now,
        "disabled_at": None,
        "version": next_version(connection),
    }
    check_spelling(connection, tenant_id, vendor)
    check_unbound(connection, tenant_id, vendor, options)
    is_new = has_no_row(connection, tenant_id)
    if present is None:
        insert = tenant_credentials.insert().values(tenant_id=tenant_id, vendor=vendor, **values)
        connection.execute(insert)
    else:
        connection.execute(
            tenant_credentials.update().where(is_row(tenant_id, vendor)).values(**values)
        )
    append_tenant_changed(connection, tenant_id, vendor, "added", now)
    if is_new:
        guard_rails.refuse_other_hosts(connection, tenant_id, now)
    return is_new


def rotate_tenant(
    connection: Connection,
    tenant_id: str,
    vendor: Vendor,
    encrypted_secret: str,
    overlap_s: int,
    now: float,
    force: bool,
    bind: Callable[[str], str] = str,
) -> None:
    """Make `encrypted_secret` the tenant's secret; the present one stays valid for `overlap_s`.

    Args:
        force: Rotate even during the overlap of an earlier rotation: the oldest secret then
            becomes invalid at once.
        bind: Encrypts the present secret again, in the form that is used now.

    Raises:
        OperatorError: Not onboarded, or in the overlap of an earlier rotation without `force`.
    """
    row = require_enabled(connection, tenant_id, vendor)
    if row.previous_secret and row.previous_expires_at > now and not force:
        raise OperatorError(
            f"{tenant_id} is still in the overlap of an earlier rotation; its oldest secret would "
            "stop working now. Wait for it to end, or pass --force"
        )
    connection.execute(
        tenant_credentials.update()
        .where(is_row(tenant_id, vendor))
        .values(
            secret=encrypted_secret,
            previous_secret=bind(row.secret),
            previous_expires_at=now + overlap_s,
            previous_used_at=None,
            used_at=None,
            secret_at=now,
            version=next_version(connection),
        )
    )
    append_tenant_changed(connection, tenant_id, vendor, "rotated", now)


def set_field_map(
    connection: Connection, tenant_id: str, vendor: Vendor, field_map: FieldMap, now: float
) -> None:
    """Replace the tenant's field map.

    Raises:
        OperatorError: Not onboarded.
    """
    require_enabled(connection, tenant_id, vendor)
    connection.execute(
        tenant_credentials.update()
        .where(is_row(tenant_id, vendor))
        .values(field_map=_encode_field_map(field_map), version=next_version(connection))
    )
    append_tenant_changed(connection, tenant_id, vendor, "field map changed", now)


def set_options(
    connection: Connection,
    tenant_id: str,
    vendor: Vendor,
    change: Callable[[WebhookOptions, str], WebhookOptions],
    now: float,
) -> WebhookOptions:
    """Change the tenant's options; return them.

    Args:
        change: Takes the present options and the encrypted secret; returns the new options.

    Raises:
        OperatorError: Not onboarded, or another tenant has one of the customer ids.
    """
    row = require_enabled(connection, tenant_id, vendor)
    options = change(decode_options(row.webhook_options), row.secret)
    check_unbound(connection, tenant_id, vendor, options)
    connection.execute(
        tenant_credentials.update()
        .where(is_row(tenant_id, vendor))
        .values(webhook_options=encode_options(options), version=next_version(connection))
    )
    append_tenant_changed(connection, tenant_id, vendor, "webhook options changed", now)
    return options


def field_map_of(connection: Connection, tenant_id: str, vendor: Vendor) -> FieldMap | None:
    """Return the tenant's field map, or None."""
    query = sa.select(_table.field_map).where(is_row(tenant_id, vendor))
    return decode_field_map(connection.execute(query).scalar())


def list_tenants(
    connection: Connection, tenant_ids: Collection[str] | None = None
) -> list[TenantRow]:
    """Return every (tenant, vendor), or those of some tenants, in order of name."""
    query = sa.select(tenant_credentials).order_by(_table.tenant_id, _table.vendor)
    if tenant_ids is not None:
        query = query.where(_table.tenant_id.in_(tenant_ids))
    return [
        TenantRow(
            tenant_id=row.tenant_id,
            vendor=row.vendor,
            enabled=row.disabled_at is None,
            created_at=row.created_at,
            previous_expires_at=row.previous_expires_at if row.previous_secret else None,
            previous_used_at=row.previous_used_at,
            field_map=decode_field_map(row.field_map),
            webhook=decode_options(row.webhook_options),
            used_at=row.used_at,
            secret_at=row.secret_at,
            removed_at=row.disabled_at,
            keeps_secret=row.kept_secret is not None,
        )
        for row in connection.execute(query)
    ]


def holds_secrets(connection: Connection) -> bool:
    """Return whether the database has an encrypted secret of any kind."""
    columns = (_table.secret, _table.previous_secret, _table.kept_secret)
    has_secret = sa.or_(*(each.is_not(None) for each in columns))
    query = sa.select(
        sa.or_(
            sa.exists().where(has_secret),
            sa.exists().select_from(edr_credentials),
            sa.exists().where(notify_targets.c.removed_at.is_(None)),
            sa.exists().select_from(audit_readers),
        )
    )
    return bool(connection.execute(query).scalar())


def append_tenant_changed(
    connection: Connection, tenant_id: str, vendor: Vendor, change: str, now: float
) -> None:
    """Append the event of a change."""
    changed = event("tenant.changed", tenant_id, None, source=vendor, change=change)
    append(connection, [changed], now)


def is_row(tenant_id: str, vendor: Vendor) -> sa.ColumnElement[bool]:
    """Return the condition for the row of a tenant at a vendor."""
    return sa.and_(_table.tenant_id == tenant_id, _table.vendor == vendor)


def find_row(
    connection: Connection, tenant_id: str, vendor: Vendor
) -> sa.Row[tuple[object, ...]] | None:
    """Return the row, also a disabled one, and lock the table for the transaction."""
    lock(connection, "tenants")
    query = sa.select(tenant_credentials).where(is_row(tenant_id, vendor))
    return connection.execute(query).one_or_none()


def has_no_row(connection: Connection, tenant_id: str) -> bool:
    """Return whether the tenant was never onboarded, at any vendor."""
    query = sa.select(sa.literal(1)).where(_table.tenant_id == tenant_id).limit(1)
    return connection.execute(query).first() is None


def require_enabled(
    connection: Connection, tenant_id: str, vendor: Vendor
) -> sa.Row[tuple[object, ...]]:
    """Return the row. Raises OperatorError if the tenant is not onboarded there."""
    row = find_row(connection, tenant_id, vendor)
    if row is None or row.disabled_at is not None:
        raise OperatorError(f"{tenant_id} is not onboarded for {vendor}; see: vyrox tenant list")
    return row


def next_version(connection: Connection) -> int:
    """Return the version of a row that is changed now."""
    highest = connection.execute(sa.select(sa.func.max(_table.version))).scalar()
    return (highest or 0) + 1


def changed_since(connection: Connection, version: int) -> list[sa.Row[tuple[object, ...]]]:
    """Return the rows that were changed after `version`, in order of change."""
    query = sa.select(tenant_credentials).where(_table.version > version).order_by(_table.version)
    return list(connection.execute(query))


def _encode_field_map(field_map: FieldMap | None) -> str | None:
    return None if field_map is None else msgspec.json.encode(field_map).decode()


def decode_field_map(text: str | None) -> FieldMap | None:
    """Return the field map that is stored as `text`, or None."""
    return None if text is None else msgspec.json.decode(text, type=FieldMap)
