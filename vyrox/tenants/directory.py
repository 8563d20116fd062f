"""The tenants' webhook credentials in memory, loaded from SQL (contract 8).

The whole table is in memory; `refresh` loads the rows with a new `version`. So a look-up needs no
query, takes the same steps for known and unknown tenants, and stores no name that an
unauthenticated client has invented.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from itertools import islice
from typing import Final, get_args

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet

from vyrox import log
from vyrox.crypto import standard_key
from vyrox.errors import OperatorError
from vyrox.ids import normal_customer_id
from vyrox.models import FieldMap, Vendor
from vyrox.store.database import Database
from vyrox.store.encryption import MisplacedSecretError, decrypt_secret
from vyrox.store.tables import tenant_credentials
from vyrox.tenants.bindings import Bindings
from vyrox.tenants.records import changed_since, decode_field_map
from vyrox.tenants.used import Used, record_used
from vyrox.tenants.webhook_options import DEFAULT, WebhookOptions, decode_options

USED_INTERVAL_S: Final = 60.0
"""How often it is stored that a secret is in use."""

MAX_USED_TOGETHER: Final = 100
"""Secrets in one transaction of `refresh`: alerts wait for it."""


class Credentials(msgspec.Struct, frozen=True):
    """The secrets that authenticate `tenant_id` at one vendor's webhook now.

    Attributes:
        secrets: At most two: the present one and, during a rotation, the previous one.
        onboarded: Whether the tenant has a row for any vendor, even a disabled one.
    """

    tenant_id: str
    secrets: tuple[bytes, ...]
    onboarded: bool
    field_map: FieldMap | None = None
    options: WebhookOptions = DEFAULT


class _Row(msgspec.Struct, frozen=True):
    """A tenant's secrets at one vendor: `overlapping` until `overlap_until`, then `secrets`."""

    secrets: tuple[bytes, ...] = ()
    overlapping: tuple[bytes, ...] = ()
    overlap_until: float = 0.0
    field_map: FieldMap | None = None
    options: WebhookOptions = DEFAULT


_NO_ROW: Final = _Row()


class TenantDirectory:
    """All credentials, as they were at the last `refresh`."""

    def __init__(
        self,
        database: Database,
        vault: MultiFernet,
        default_secrets: Mapping[Vendor, bytes],
        *,
        require_onboarding: bool,
    ) -> None:
        self._database = database
        self._vault = vault
        defaults = {} if require_onboarding else default_secrets
        self._not_onboarded: dict[Vendor, _Row] = {
            vendor: _Row((secret,)) for vendor, secret in defaults.items()
        }
        self._rows: dict[str, dict[Vendor, _Row]] = defaultdict(dict)
        self._bindings: dict[Vendor, Bindings] = {}
        self._spelled: dict[tuple[Vendor, str], str] = {}
        """The tenant with an identifier in its normal spelling, at each vendor."""
        self._index()
        self._version = 0
        self._noted: dict[Used, float] = {}
        self._to_store: dict[Used, float] = {}

    def look_up(self, tenant_id: str, vendor: Vendor, now: float) -> Credentials:
        """Return the credentials of `tenant_id`, which may have no secrets.

        If the tenant was onboarded under another spelling of the vendor's own identifier, that is
        the name which is returned.

        A tenant without any row, even a disabled one, has the vendor's default secret, unless
        REQUIRE_ONBOARDING is set.
        """
        # Always the same steps: the time must not show whether the tenant exists (contract 3).
        spelled = self._spelled.get((vendor, normal_customer_id(vendor, tenant_id)), tenant_id)
        tenant_id = tenant_id if tenant_id in self._rows else spelled
        rows = self._rows.get(tenant_id, self._not_onboarded)
        row = rows.get(vendor, _NO_ROW)
        secrets = row.overlapping if now < row.overlap_until else row.secrets
        is_onboarded = rows is not self._not_onboarded
        return Credentials(tenant_id, secrets, is_onboarded, row.field_map, row.options)

    def bindings(self, vendor: Vendor) -> Bindings:
        """Return whose the vendor's customer ids are."""
        return self._bindings[vendor]

    def refuse_secret(self, secret: bytes, variable: str, now: float) -> None:
        """Return if no onboarded tenant has `secret`, which is the value of `variable`.

        Raises:
            OperatorError: A tenant has it; the text names the tenant, and how to change it.
        """
        for tenant_id, rows in self._rows.items():
            for vendor, row in rows.items():
                if secret in (row.overlapping if now < row.overlap_until else row.secrets):
                    raise OperatorError(
                        f"the secret of {tenant_id} for {vendor} is {variable}, a secret of the "
                        f"private listener: vyrox tenant rotate {tenant_id} --vendor {vendor} "
                        "--overlap 0"
                    )

    def note_used(self, tenant_id: str, vendor: Vendor, slot: int, now: float) -> None:
        """Note that a sender has used a secret; `refresh` stores it, at most once a minute.

        Args:
            slot: 0 is the present secret, 1 the previous one.
        """
        used = (tenant_id, vendor, slot > 0)
        # Only of onboarded tenants: with a default secret, a sender can invent any name.
        if tenant_id in self._rows and now >= self._noted.get(used, 0.0) + USED_INTERVAL_S:
            self._noted[used] = self._to_store[used] = now

    def is_stale(self) -> sa.ColumnElement[bool]:
        """Return the condition that `refresh` has work; `parameters` has its parameters."""
        is_new = tenant_credentials.c.version > sa.bindparam("tenants_version", type_=sa.BigInteger)
        return sa.or_(sa.exists().where(is_new), sa.bindparam("has_used_secrets", type_=sa.Boolean))

    def parameters(self) -> dict[str, object]:
        """Return the parameters of `is_stale`."""
        return {"tenants_version": self._version, "has_used_secrets": bool(self._to_store)}

    async def refresh(self) -> None:
        """Load the rows that have changed since the last call.

        Raises:
            DatabaseUnavailableError: The credentials in memory stay valid.
        """
        changed = await self._database.read(changed_since, self._version)
        for row in changed:
            self._rows[row.tenant_id][row.vendor] = self._decrypted(row)
            for is_previous in (False, True):  # what was noted may be of another secret
                self._noted.pop((row.tenant_id, row.vendor, is_previous), None)
                self._to_store.pop((row.tenant_id, row.vendor, is_previous), None)
            self._version = row.version
        if changed:
            self._index()
        if used := dict(islice(self._to_store.items(), MAX_USED_TOGETHER)):
            await self._database.write(record_used, used, self._version)
            self._to_store = {key: at for key, at in self._to_store.items() if at != used.get(key)}

    def _index(self) -> None:
        """Derive from the rows what look-ups by a vendor's own identifiers need."""
        vendors: tuple[Vendor, ...] = get_args(Vendor)
        at = {
            vendor: {name: rows[vendor] for name, rows in self._rows.items() if vendor in rows}
            for vendor in vendors
        }
        self._bindings = {
            vendor: Bindings(
                {name: row.options for name, row in rows.items()},
                {name for name, row in rows.items() if row.secrets},
            )
            for vendor, rows in at.items()
        }
        self._spelled = {
            (vendor, normal_customer_id(vendor, tenant_id)): tenant_id
            for vendor, bindings in self._bindings.items()
            for tenant_id in sorted(self._rows, key=bindings.is_enabled)  # the last one counts
        }

    def _decrypted(self, row: sa.Row[tuple[object, ...]]) -> _Row:
        secret = self._decrypt(row, "secret", logging.ERROR)
        # Only a warning: an operator may remove a key that only expired secrets are encrypted with.
        previous = self._decrypt(row, "previous_secret", logging.WARNING)
        options = decode_options(row.webhook_options)
        if options.signature == "standard":
            secret, previous = (each and standard_key(each) for each in (secret, previous))
        if secret is None:
            # Its ids stay bound, so that its alerts do not become those of another tenant.
            return _Row(options=WebhookOptions(vendor_ids=options.vendor_ids))
        return _Row(
            secrets=(secret,),
            overlapping=(secret,) if previous is None else (secret, previous),
            overlap_until=row.previous_expires_at or 0.0,
            field_map=decode_field_map(row.field_map),
            options=options,
        )

    def _decrypt(self, row: sa.Row[tuple[object, ...]], column: str, level: int) -> bytes | None:
        encrypted: str | None = row._mapping[column]
        if encrypted is None:
            return None
        try:
            return decrypt_secret(self._vault, encrypted, row.tenant_id, row.vendor, "webhook")
        except MisplacedSecretError:
            # Reject it: another tenant knows this secret.
            log.event(
                "tenant.secret_misplaced",
                logging.ERROR,
                tenant=row.tenant_id,
                vendor=row.vendor,
                column=column,
            )
            return None
        except InvalidToken:
            # The key that encrypted this secret was removed. Other secrets stay valid.
            log.event(
                "tenant.undecryptable",
                level,
                tenant=row.tenant_id,
                vendor=row.vendor,
                column=column,
            )
            return None
