"""Who acts on a request, and with which credentials (contract 25 and 38)."""

import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, get_args

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox import log
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.edr.client import VendorClient
from vyrox.edr.vendors import Credentials
from vyrox.errors import OperatorError, VendorError
from vyrox.models import ContainmentRequest, EdrVendor, NormalizedAlert
from vyrox.store.encryption import MisplacedSecretError, decrypt_secret
from vyrox.store.tables import alerts, edr_credentials

MakeClient = Callable[[Credentials], VendorClient]
"""Raises VendorError where the credentials are incomplete, or must not be sent to the base URL."""

EDR_VENDORS: Final[tuple[EdrVendor, ...]] = get_args(EdrVendor)

_t: Final = edr_credentials.c
_ALERTS: Final = sa.select(alerts.c.id, alerts.c.tenant_id, alerts.c.alert).where(
    alerts.c.id.in_(sa.bindparam("ids", expanding=True))
)
_CREDENTIALS: Final = sa.select(edr_credentials).where(
    _t.tenant_id.in_(sa.bindparam("tenants", expanding=True))
)
_decoder: Final = msgspec.json.Decoder(NormalizedAlert)


class Stored(msgspec.Struct, frozen=True):
    """A tenant's credentials at one vendor, as they stand in the database: `secret` is encrypted.

    Attributes:
        version: Another one after each change.
    """

    tenant_id: str
    vendor: EdrVendor
    client_id: str | None
    azure_tenant: str | None
    base_url: str
    secret: str
    version: str


class Responsible(msgspec.Struct, frozen=True):
    """Who acts on a request. None where nobody is known, or nothing is."""

    vendor: EdrVendor | None = None
    alert: NormalizedAlert | None = None
    credentials: Stored | None = None


def responsible_for(
    connection: Connection, requests: Sequence[ContainmentRequest]
) -> list[Responsible]:
    """Return who acts on each request, in order.

    That is the vendor from which the alert came that the request names, else the tenant's only
    vendor with credentials, else nobody.
    """
    # PostgreSQL's text cannot hold the NUL that a request's alert id may; no alert has one.
    ids = {request.alert_id for request in requests if "\0" not in request.alert_id}
    found = connection.execute(_ALERTS, {"ids": sorted(ids)}) if ids else ()
    alert_of = {(row.tenant_id, row.id): row.alert for row in found}
    stored_of: dict[str, dict[EdrVendor, Stored]] = defaultdict(dict)
    if requests:
        tenants = sorted({request.tenant_id for request in requests})
        for row in connection.execute(_CREDENTIALS, {"tenants": tenants}):
            stored = Stored(*row)
            stored_of[stored.tenant_id][stored.vendor] = stored
    return [
        _responsible(
            alert_of.get((request.tenant_id, request.alert_id)), stored_of[request.tenant_id]
        )
        for request in requests
    ]


def _responsible(encoded: bytes | None, stored: dict[EdrVendor, Stored]) -> Responsible:
    alert = None if encoded is None else _decoder.decode(encoded)
    if alert is not None and alert.source != "generic":
        vendor: EdrVendor | None = alert.source
    else:
        vendor = next(iter(stored)) if len(stored) == 1 else None
    return Responsible(vendor, alert, None if vendor is None else stored.get(vendor))


class EdrClients:
    """A client for each tenant and vendor: it keeps its token between actions."""

    def __init__(self, vault: MultiFernet, make_client: MakeClient) -> None:
        self._vault = vault
        self._make_client = make_client
        self._clients: dict[tuple[str, EdrVendor], tuple[str, VendorClient]] = {}

    def client(self, stored: Stored) -> VendorClient:
        """Return the client that acts with `stored`.

        Raises:
            VendorError: The secret cannot be decrypted, the credentials are incomplete, or must not
                be sent to the base URL.
        """
        key = (stored.tenant_id, stored.vendor)
        version, client = self._clients.get(key, (None, None))
        if client is None or version != stored.version:
            client = self._make(stored)
            self._clients[key] = (stored.version, client)
        return client

    def report_undecryptable(self, all_stored: Sequence[Stored]) -> None:
        """Log each secret that no key decrypts, before an action needs it."""
        for stored in all_stored:
            try:
                self._decrypt(stored)
            except VendorError as exc:
                misplaced = isinstance(exc.__cause__, MisplacedSecretError)
                log.event(
                    "tenant.secret_misplaced" if misplaced else "tenant.undecryptable",
                    logging.ERROR,
                    tenant=stored.tenant_id,
                    vendor=stored.vendor,
                    column="vendor credentials",
                )

    def _decrypt(self, stored: Stored) -> str:
        try:
            return decrypt_secret(
                self._vault, stored.secret, stored.tenant_id, stored.vendor, "vendor"
            ).decode()
        except MisplacedSecretError as exc:
            raise VendorError("the stored secret is of another tenant, vendor or kind") from exc
        except InvalidToken as exc:
            raise VendorError("the key that encrypted the vendor's secret is gone") from exc

    def _make(self, stored: Stored) -> VendorClient:
        secret = self._decrypt(stored)
        return self._make_client(
            Credentials(
                vendor=stored.vendor,
                client_id=stored.client_id,
                secret=secret,
                azure_tenant=stored.azure_tenant,
                base_url=stored.base_url,
            )
        )


def set_credentials(connection: Connection, stored: Stored, now: float) -> None:
    """Store a tenant's credentials at a vendor in the place of those that are there."""
    connection.execute(edr_credentials.delete().where(_is(stored.tenant_id, stored.vendor)))
    connection.execute(edr_credentials.insert().values(**msgspec.structs.asdict(stored)))
    _tell(connection, stored.tenant_id, stored.vendor, "vendor credentials set", now)


def remove_credentials(
    connection: Connection, tenant_id: str, vendor: EdrVendor, now: float
) -> None:
    """Forget a tenant's credentials at a vendor.

    Raises:
        OperatorError: There are none.
    """
    deleted = connection.execute(edr_credentials.delete().where(_is(tenant_id, vendor)))
    if deleted.rowcount == 0:
        raise OperatorError(f"{tenant_id} has no credentials for {vendor}")
    _tell(connection, tenant_id, vendor, "vendor credentials removed", now)


def list_credentials(connection: Connection, tenant_id: str | None = None) -> list[Stored]:
    """Return the credentials of a tenant, or of all, in order of name."""
    query = sa.select(edr_credentials).order_by(_t.tenant_id, _t.vendor)
    if tenant_id is not None:
        query = query.where(_t.tenant_id == tenant_id)
    return [Stored(*row) for row in connection.execute(query)]


def new_version() -> str:
    """Return what tells these credentials from all others."""
    return secrets.token_hex(8)


def _is(tenant_id: str, vendor: EdrVendor) -> sa.ColumnElement[bool]:
    return sa.and_(_t.tenant_id == tenant_id, _t.vendor == vendor)


def _tell(
    connection: Connection, tenant_id: str, vendor: EdrVendor, change: str, now: float
) -> None:
    append(
        connection,
        [event("tenant.changed", tenant_id, None, source=vendor, change=change)],
        now,
    )
