"""The tenants' credentials for the vendors' response APIs, in SQL (contract 25 and 38)."""

import secrets
from typing import Final, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import OperatorError
from vyrox.models import EdrVendor
from vyrox.store.tables import edr_credentials
from vyrox.tenants.known import NEW_HINT, require_known

EDR_VENDORS: Final[tuple[EdrVendor, ...]] = get_args(EdrVendor)

_t: Final = edr_credentials.c


class EdrCredentials(msgspec.Struct, frozen=True):
    """A tenant's credentials at one vendor, as stored: `secret` is encrypted.

    Attributes:
        azure_tenant: The directory of Microsoft's application.
        version: A random text that is new after each change.
        member_cid: In Falcon Flight Control, the child that the token is for.
    """

    tenant_id: str
    vendor: EdrVendor
    client_id: str | None
    azure_tenant: str | None
    base_url: str
    secret: str
    version: str
    member_cid: str | None = None


def set_credentials(
    connection: Connection, stored: EdrCredentials, now: float, is_new: bool = True
) -> None:
    """Store a tenant's credentials at a vendor, and replace the existing ones.

    Args:
        is_new: Whether the tenant may be unknown.

    Raises:
        OperatorError: The tenant is unknown.
    """
    if not is_new:
        require_known(connection, stored.tenant_id, NEW_HINT)
    connection.execute(edr_credentials.delete().where(_is(stored.tenant_id, stored.vendor)))
    connection.execute(edr_credentials.insert().values(**msgspec.structs.asdict(stored)))
    _append_tenant_changed(
        connection, stored.tenant_id, stored.vendor, "vendor credentials set", now
    )


def remove_credentials(
    connection: Connection, tenant_id: str, vendor: EdrVendor, now: float
) -> None:
    """Delete a tenant's credentials at a vendor.

    Raises:
        OperatorError: The tenant has no credentials at this vendor.
    """
    deleted = connection.execute(edr_credentials.delete().where(_is(tenant_id, vendor)))
    if deleted.rowcount == 0:
        raise OperatorError(
            f"{tenant_id} has no credentials for {vendor}; see: vyrox tenant edr list"
        )
    _append_tenant_changed(connection, tenant_id, vendor, "vendor credentials removed", now)


def list_credentials(connection: Connection, tenant_id: str | None = None) -> list[EdrCredentials]:
    """Return the credentials of one tenant, or of all tenants, in order of name."""
    query = sa.select(edr_credentials).order_by(_t.tenant_id, _t.vendor)
    if tenant_id is not None:
        query = query.where(_t.tenant_id == tenant_id)
    return [EdrCredentials(*row) for row in connection.execute(query)]


def new_version() -> str:
    """Return a random version for changed credentials."""
    return secrets.token_hex(8)


def _is(tenant_id: str, vendor: EdrVendor) -> sa.ColumnElement[bool]:
    return sa.and_(_t.tenant_id == tenant_id, _t.vendor == vendor)


def _append_tenant_changed(
    connection: Connection, tenant_id: str, vendor: EdrVendor, change: str, now: float
) -> None:
    append(
        connection,
        [event("tenant.changed", tenant_id, None, source=vendor, change=change)],
        now,
    )
