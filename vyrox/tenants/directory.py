"""Tenants and their webhook credentials: looked up in memory, kept in SQL (contract 8).

The whole table is held in memory and brought up to date from the rows whose `version` is new. So a
look-up costs no round trip, takes the same path for tenants that exist and tenants that do not,
and a stranger's invented names are stored nowhere.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet

from vyrox import log
from vyrox.errors import OperatorError
from vyrox.models import FieldMap, Vendor
from vyrox.store.database import Database
from vyrox.store.encryption import MisplacedSecretError, decrypt_secret
from vyrox.tenants.records import changed_since, decode_field_map, record_previous_used


class Credentials(msgspec.Struct, frozen=True):
    """What may prove to be `tenant_id` at one vendor's webhook, at one moment.

    Attributes:
        secrets: At most two: the present one, and during a rotation the previous one.
        onboarded: Whether the tenant has a row for any vendor, disabled ones included.
    """

    tenant_id: str
    secrets: tuple[bytes, ...]
    onboarded: bool
    field_map: FieldMap | None = None


class _Row(msgspec.Struct, frozen=True):
    """What proves to be a tenant at one vendor; `overlapping` until `overlap_until`."""

    secrets: tuple[bytes, ...] = ()
    overlapping: tuple[bytes, ...] = ()
    overlap_until: float = 0.0
    field_map: FieldMap | None = None


_NO_ROW: Final = _Row()


class TenantDirectory:
    """The credentials in memory, as of the last `refresh`."""

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
        self._version = 0
        self._previous_used: dict[tuple[str, Vendor], float] = {}

    def look_up(self, tenant_id: str, vendor: Vendor, now: float) -> Credentials:
        """Return what may prove to be `tenant_id`; no secrets where nothing may.

        A tenant without any row falls back to the vendor's default secret, unless
        REQUIRE_ONBOARDING; a disabled row is a row.
        """
        # The same steps for everybody: the time must not tell who is a tenant (contract 3).
        rows = self._rows.get(tenant_id, self._not_onboarded)
        row = rows.get(vendor, _NO_ROW)
        secrets = row.overlapping if now < row.overlap_until else row.secrets
        return Credentials(tenant_id, secrets, rows is not self._not_onboarded, row.field_map)

    def refuse_secret(self, secret: bytes, now: float) -> None:
        """Return if `secret` proves to be no onboarded tenant.

        Raises:
            OperatorError: It does; the text names the tenant, and how to change that.
        """
        for tenant_id, rows in self._rows.items():
            for vendor, row in rows.items():
                if secret in (row.overlapping if now < row.overlap_until else row.secrets):
                    raise OperatorError(
                        f"the secret of {tenant_id} for {vendor} is VYROX_HMAC_SECRET, which signs "
                        f"containment: vyrox tenant rotate {tenant_id} --vendor {vendor} "
                        "--overlap 0"
                    )

    def note_previous_used(self, tenant_id: str, vendor: Vendor, now: float) -> None:
        """Remember that the previous secret still works for somebody; `refresh` writes it down."""
        self._previous_used[tenant_id, vendor] = now

    async def refresh(self) -> None:
        """Take over what has changed since the last call; a changed row is in force from then on.

        Raises:
            DatabaseUnavailableError: What is in memory stays in force.
        """
        for row in await self._database.read(changed_since, self._version):
            self._rows[row.tenant_id][row.vendor] = self._decrypted(row)
            self._version = row.version
        if used := self._previous_used.copy():
            await self._database.write(record_previous_used, used)
            self._previous_used = {
                key: at for key, at in self._previous_used.items() if at != used.get(key)
            }

    def _decrypted(self, row: sa.Row[tuple[object, ...]]) -> _Row:
        secret = self._decrypt(row, "secret", logging.ERROR)
        # No error: a key may be retired while what expired long ago is still encrypted with it.
        previous = self._decrypt(row, "previous_secret", logging.WARNING)
        if secret is None:
            return _NO_ROW
        return _Row(
            secrets=(secret,),
            overlapping=(secret,) if previous is None else (secret, previous),
            overlap_until=row.previous_expires_at or 0.0,
            field_map=decode_field_map(row.field_map),
        )

    def _decrypt(self, row: sa.Row[tuple[object, ...]], column: str, level: int) -> bytes | None:
        encrypted: str | None = row._mapping[column]
        if encrypted is None:
            return None
        try:
            return decrypt_secret(self._vault, encrypted, row.tenant_id, row.vendor, "webhook")
        except MisplacedSecretError:
            # Fail closed: it is a secret that another tenant knows.
            log.event(
                "tenant.secret_misplaced",
                logging.ERROR,
                tenant=row.tenant_id,
                vendor=row.vendor,
                column=column,
            )
            return None
        except InvalidToken:
            # Fail closed for this secret alone, and say so: the key that encrypted it is gone.
            log.event(
                "tenant.undecryptable",
                level,
                tenant=row.tenant_id,
                vendor=row.vendor,
                column=column,
            )
            return None
