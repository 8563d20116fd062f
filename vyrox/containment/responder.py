"""Which vendor acts on a request, and the client for it (contract 25 and 38)."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox import log
from vyrox.edr.client import VendorClient
from vyrox.edr.vendors import Credentials
from vyrox.errors import VendorError
from vyrox.models import ContainmentRequest, EdrVendor, NormalizedAlert
from vyrox.store.encryption import MisplacedSecretError, decrypt_secret
from vyrox.store.tables import alerts, edr_credentials
from vyrox.tenants.edr_credentials import EdrCredentials

T = TypeVar("T")

MakeClient = Callable[[Credentials], VendorClient]
"""Raises VendorError if the credentials are incomplete, or must not be sent to the base URL."""

_ALERTS: Final = sa.select(alerts.c.id, alerts.c.tenant_id, alerts.c.alert).where(
    alerts.c.id.in_(sa.bindparam("ids", expanding=True))
)
_CREDENTIALS: Final = sa.select(edr_credentials).where(
    edr_credentials.c.tenant_id.in_(sa.bindparam("tenants", expanding=True))
)
_decoder: Final = msgspec.json.Decoder(NormalizedAlert)


class Responder(msgspec.Struct, frozen=True):
    """The vendor that acts on a request, with the alert and the credentials, as far as known."""

    vendor: EdrVendor | None = None
    alert: NormalizedAlert | None = None
    credentials: EdrCredentials | None = None


def find_responders(
    connection: Connection, requests: Sequence[ContainmentRequest]
) -> list[Responder]:
    """Return the responder of each request, in order.

    The vendor is the source of the request's alert. If that is unknown, it is the tenant's only
    vendor with credentials, or None.
    """
    # An alert id in a request may contain a NUL, which PostgreSQL's text cannot store.
    ids = {_stored_form(each.alert_id) for each in requests if "\0" not in each.alert_id}
    found = connection.execute(_ALERTS, {"ids": sorted(ids)}) if ids else ()
    alert_of = {(row.tenant_id, row.id): row.alert for row in found}
    stored_of: dict[str, dict[EdrVendor, EdrCredentials]] = defaultdict(dict)
    if requests:
        tenants = sorted({request.tenant_id for request in requests})
        for row in connection.execute(_CREDENTIALS, {"tenants": tenants}):
            stored = EdrCredentials(*row)
            stored_of[stored.tenant_id][stored.vendor] = stored
    return [
        _responder(
            alert_of.get((request.tenant_id, _stored_form(request.alert_id))),
            stored_of[request.tenant_id],
        )
        for request in requests
    ]


def _stored_form(alert_id: str) -> str:
    """Return an alert id as it is stored: a UUID in another spelling names the same alert."""
    try:
        return str(UUID(alert_id.strip()))
    except ValueError:
        return alert_id


def _responder(encoded: bytes | None, stored: dict[EdrVendor, EdrCredentials]) -> Responder:
    alert = None if encoded is None else _decoder.decode(encoded)
    if alert is not None and alert.source != "generic":
        vendor: EdrVendor | None = alert.source
    else:
        vendor = next(iter(stored)) if len(stored) == 1 else None
    return Responder(vendor, alert, None if vendor is None else stored.get(vendor))


class ClientsOf(Generic[T]):
    """One client for each tenant and vendor. A client keeps its token between its uses."""

    def __init__(self, vault: MultiFernet, make_client: Callable[[Credentials], T]) -> None:
        self._vault = vault
        self._make_client = make_client
        self._clients: dict[tuple[str, EdrVendor], tuple[str, T]] = {}

    def client(self, stored: EdrCredentials) -> T:
        """Return the client for `stored`.

        Raises:
            VendorError: The secret cannot be decrypted, or the credentials are incomplete, or they
                must not be sent to the base URL.
        """
        key = (stored.tenant_id, stored.vendor)
        version, client = self._clients.get(key, (None, None))
        if client is None or version != stored.version:
            client = self._make(stored)
            self._clients[key] = (stored.version, client)
        return client

    def report_undecryptable(self, all_stored: Sequence[EdrCredentials]) -> None:
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

    def _decrypt(self, stored: EdrCredentials) -> str:
        try:
            return decrypt_secret(
                self._vault, stored.secret, stored.tenant_id, stored.vendor, "vendor"
            ).decode()
        except MisplacedSecretError as exc:
            raise VendorError(
                "the stored secret belongs to another tenant, vendor or kind: set it again"
            ) from exc
        except InvalidToken as exc:
            raise VendorError(
                "no key decrypts the vendor's secret: restore the key or set the secret again"
            ) from exc

    def _make(self, stored: EdrCredentials) -> T:
        secret = self._decrypt(stored)
        return self._make_client(
            Credentials(
                vendor=stored.vendor,
                client_id=stored.client_id,
                secret=secret,
                azure_tenant=stored.azure_tenant,
                base_url=stored.base_url,
                member_cid=stored.member_cid,
            )
        )


class EdrClients(ClientsOf[VendorClient]):
    """The clients with which Vyrox acts at the vendors."""
