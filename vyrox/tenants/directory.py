"""Tenants and their webhook credentials: looked up in memory, kept in SQL (contract 8).

The whole table is held in memory and brought up to date from the rows whose `version` is new. So a
look-up costs no round trip, takes the same path for tenants that exist and tenants that do not,
and a stranger's invented names are stored nowhere.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox import log
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.containment import devices
from vyrox.errors import OperatorError
from vyrox.models import FieldMap, Vendor
from vyrox.store.database import Database
from vyrox.store.encryption import MisplacedSecretError, decrypt_secret
from vyrox.store.tables import alerts, edr_credentials, quarantine, tenant_credentials
from vyrox.tenants import guard_rails

_table: Final = tenant_credentials.c

_ADVISORY_LOCK: Final = 7261948
"""Held by whoever changes the table, so that versions become visible in order. Ours alone."""


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


class TenantRow(msgspec.Struct, frozen=True):
    """One (tenant, vendor) as `vyrox tenant list` shows it. Times are Unix seconds."""

    tenant_id: str
    vendor: Vendor
    enabled: bool
    created_at: float
    previous_expires_at: float | None
    previous_used_at: float | None
    field_map: FieldMap | None


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
        for row in await self._database.read(_changed_since, self._version):
            self._rows[row.tenant_id][row.vendor] = self._decrypted(row)
            self._version = row.version
        if used := self._previous_used.copy():
            await self._database.write(_record_previous_used, used)
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
            field_map=_decode_field_map(row.field_map),
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


def add_tenant(
    connection: Connection,
    tenant_id: str,
    vendor: Vendor,
    encrypted_secret: str,
    field_map: FieldMap | None,
    now: float,
) -> bool:
    """Onboard `tenant_id` at `vendor`, or enable again what `remove_tenant` disabled.

    A new tenant begins with the guard rail that refuses other hosts than the alert's (contract 35).

    Returns:
        Whether the tenant is new: it had no row for any vendor.

    Raises:
        OperatorError: It is onboarded and enabled already.
    """
    present = _find(connection, tenant_id, vendor)
    if present is not None and present.disabled_at is None:
        raise OperatorError(
            f"{tenant_id} is onboarded for {vendor} already; for a new secret use: "
            f"vyrox tenant rotate {tenant_id} --vendor {vendor}"
        )
    values = {
        "secret": encrypted_secret,
        "previous_secret": None,
        "previous_expires_at": None,
        "previous_used_at": None,
        "field_map": _encode_field_map(field_map),
        "created_at": now,
        "disabled_at": None,
        "version": _next_version(connection),
    }
    is_new = _has_no_row(connection, tenant_id)
    if present is None:
        insert = tenant_credentials.insert().values(tenant_id=tenant_id, vendor=vendor, **values)
        connection.execute(insert)
    else:
        connection.execute(
            tenant_credentials.update().where(_is(tenant_id, vendor)).values(**values)
        )
    _tell(connection, tenant_id, vendor, "added", now)
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
        bind: Gives the present one, encrypted, the form in which secrets are stored now.

    Raises:
        OperatorError: Not onboarded; or an earlier rotation's overlap still runs and not `force`
            (the oldest secret would stop working at once).
    """
    row = _enabled(connection, tenant_id, vendor)
    if row.previous_secret and row.previous_expires_at > now and not force:
        raise OperatorError(
            f"{tenant_id} is still in the overlap of an earlier rotation; its oldest secret would "
            "stop working now. Wait for it to end, or pass --force"
        )
    connection.execute(
        tenant_credentials.update()
        .where(_is(tenant_id, vendor))
        .values(
            secret=encrypted_secret,
            previous_secret=bind(row.secret),
            previous_expires_at=now + overlap_s,
            previous_used_at=None,
            version=_next_version(connection),
        )
    )
    _tell(connection, tenant_id, vendor, "rotated", now)


class Remains(msgspec.Struct, frozen=True):
    """What is left of a tenant whose row for one vendor was disabled.

    Attributes:
        vendors: At which it is still onboarded.
        contained: (vendor, device id, host name) of what Vyrox has contained, or may have.
        edr_vendors: At which it has credentials.
        unfinished: Alerts that no consumer has finished.
        quarantined: Payloads in quarantine that were not replayed.
    """

    vendors: tuple[str, ...]
    contained: tuple[tuple[str, str, str | None], ...]
    edr_vendors: tuple[str, ...]
    unfinished: int
    quarantined: int


def remove_tenant(connection: Connection, tenant_id: str, vendor: Vendor, now: float) -> Remains:
    """Disable the tenant at `vendor`, forget its secrets, and return what remains.

    The row stays (contract 8); without another one that is enabled, no new action is carried out
    for the tenant (contract 35).

    Raises:
        OperatorError: Not onboarded.
    """
    # So no claim that has seen the row enabled commits later.
    devices.lock(connection)
    _enabled(connection, tenant_id, vendor)
    connection.execute(
        tenant_credentials.update()
        .where(_is(tenant_id, vendor))
        .values(
            secret=None,
            previous_secret=None,
            disabled_at=now,
            version=_next_version(connection),
        )
    )
    _tell(connection, tenant_id, vendor, "removed", now)
    return _remains(connection, tenant_id)


def _remains(connection: Connection, tenant_id: str) -> Remains:
    def texts(column: sa.Column[str], *conditions: sa.ColumnElement[bool]) -> tuple[str, ...]:
        query = sa.select(column).where(*conditions).order_by(column)
        return tuple(connection.execute(query).scalars())

    def count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(table).where(*conditions)
        return connection.execute(query).scalar_one()

    a, q, e = alerts.c, quarantine.c, edr_credentials.c
    return Remains(
        vendors=texts(_table.vendor, _table.tenant_id == tenant_id, _table.disabled_at.is_(None)),
        contained=tuple(devices.list_contained(connection, tenant_id)),
        edr_vendors=texts(e.vendor, e.tenant_id == tenant_id),
        unfinished=count(alerts, a.tenant_id == tenant_id, a.finished_at.is_(None)),
        quarantined=count(quarantine, q.tenant_id == tenant_id, q.replayed_at.is_(None)),
    )


def set_field_map(
    connection: Connection, tenant_id: str, vendor: Vendor, field_map: FieldMap, now: float
) -> None:
    """Replace the tenant's field map.

    Raises:
        OperatorError: Not onboarded.
    """
    _enabled(connection, tenant_id, vendor)
    connection.execute(
        tenant_credentials.update()
        .where(_is(tenant_id, vendor))
        .values(field_map=_encode_field_map(field_map), version=_next_version(connection))
    )
    _tell(connection, tenant_id, vendor, "field map changed", now)


def field_map_of(connection: Connection, tenant_id: str, vendor: Vendor) -> FieldMap | None:
    """Return the tenant's field map, or None where it has none."""
    query = sa.select(_table.field_map).where(_is(tenant_id, vendor))
    return _decode_field_map(connection.execute(query).scalar())


def list_tenants(connection: Connection) -> list[TenantRow]:
    """Return every (tenant, vendor), in order of name."""
    query = sa.select(tenant_credentials).order_by(_table.tenant_id, _table.vendor)
    return [
        TenantRow(
            tenant_id=row.tenant_id,
            vendor=row.vendor,
            enabled=row.disabled_at is None,
            created_at=row.created_at,
            previous_expires_at=row.previous_expires_at if row.previous_secret else None,
            previous_used_at=row.previous_used_at,
            field_map=_decode_field_map(row.field_map),
        )
        for row in connection.execute(query)
    ]


def holds_secrets(connection: Connection) -> bool:
    """Return whether the database holds a webhook's or a vendor's secret, which a key encrypts."""
    kept = sa.or_(_table.secret.is_not(None), _table.previous_secret.is_not(None))
    query = sa.select(sa.or_(sa.exists().where(kept), sa.exists().select_from(edr_credentials)))
    return bool(connection.execute(query).scalar())


def _tell(connection: Connection, tenant_id: str, vendor: Vendor, change: str, now: float) -> None:
    told = event("tenant.changed", tenant_id, None, source=vendor, change=change)
    append(connection, [told], now)


def _is(tenant_id: str, vendor: Vendor) -> sa.ColumnElement[bool]:
    return sa.and_(_table.tenant_id == tenant_id, _table.vendor == vendor)


def _find(
    connection: Connection, tenant_id: str, vendor: Vendor
) -> sa.Row[tuple[object, ...]] | None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    query = sa.select(tenant_credentials).where(_is(tenant_id, vendor))
    return connection.execute(query).one_or_none()


def _has_no_row(connection: Connection, tenant_id: str) -> bool:
    query = sa.select(sa.literal(1)).where(_table.tenant_id == tenant_id).limit(1)
    return connection.execute(query).first() is None


def _enabled(connection: Connection, tenant_id: str, vendor: Vendor) -> sa.Row[tuple[object, ...]]:
    row = _find(connection, tenant_id, vendor)
    if row is None or row.disabled_at is not None:
        raise OperatorError(f"{tenant_id} is not onboarded for {vendor}; see: vyrox tenant list")
    return row


def _next_version(connection: Connection) -> int:
    highest = connection.execute(sa.select(sa.func.max(_table.version))).scalar()
    return (highest or 0) + 1


def _changed_since(connection: Connection, version: int) -> list[sa.Row[tuple[object, ...]]]:
    query = sa.select(tenant_credentials).where(_table.version > version).order_by(_table.version)
    return list(connection.execute(query))


def _record_previous_used(connection: Connection, used: Mapping[tuple[str, Vendor], float]) -> None:
    # Sorted: two containers that lock the same rows in different orders would deadlock.
    for (tenant_id, vendor), at in sorted(used.items()):
        connection.execute(
            tenant_credentials.update().where(_is(tenant_id, vendor)).values(previous_used_at=at)
        )


def _encode_field_map(field_map: FieldMap | None) -> str | None:
    return None if field_map is None else msgspec.json.encode(field_map).decode()


def _decode_field_map(text: str | None) -> FieldMap | None:
    return None if text is None else msgspec.json.decode(text, type=FieldMap)
