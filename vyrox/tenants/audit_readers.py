"""Keys with which a tenant's audit log can be read, and nothing else done (contract 94)."""

import re
import secrets
from typing import Final

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.crypto import verify
from vyrox.errors import OperatorError
from vyrox.store.database import Database
from vyrox.store.encryption import decrypt_secret, encrypt_secret
from vyrox.store.tables import audit_readers
from vyrox.tenants.known import require_known

MAX_READERS: Final = 20
"""Keys of one tenant: each is tried for a request that another key has signed."""

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_c: Final = audit_readers.c


class Reader(msgspec.Struct, frozen=True):
    """A key that was given out. The secret itself is not shown again."""

    tenant_id: str
    name: str
    added_at: float
    added_by: str


class AuditReaders:
    """Says whether a reader has signed a request."""

    def __init__(self, database: Database, vault: MultiFernet) -> None:
        """`vault` decrypts the keys."""
        self._database = database
        self._vault = vault

    async def have_signed(self, tenant_id: str, message: bytes, signature: bytes) -> bool:
        """Return whether a reader of the tenant has signed `message`. A removed one has not.

        Raises:
            DatabaseUnavailableError: The keys cannot be read.
        """
        rows = await self._database.read(_secrets, tenant_id)
        keys = [self._key(tenant_id, name, secret) for name, secret in rows]
        return any(key is not None and verify(message, signature, key) for key in keys)

    def _key(self, tenant_id: str, name: str, secret: str) -> bytes | None:
        try:
            return decrypt_secret(self._vault, secret, tenant_id, name, "audit reader")
        except InvalidToken:
            return None


def add_reader(
    connection: Connection, vault: MultiFernet, tenant_id: str, name: str, by: str, now: float
) -> str:
    """Store a new key and return it.

    Raises:
        OperatorError: The tenant is unknown or has MAX_READERS keys, or the name is used.
    """
    require_known(connection, tenant_id)
    existing = list_readers(connection, tenant_id)
    if any(each.name == name for each in existing):
        raise OperatorError(f"{tenant_id} has a reader {name} already: remove it first")
    if len(existing) >= MAX_READERS:
        raise OperatorError(f"{tenant_id} has {MAX_READERS} readers, the largest number")
    secret = secrets.token_hex(32)
    sealed = encrypt_secret(vault, secret.encode(), tenant_id, name, "audit reader")
    values = {"name": name, "secret": sealed, "added_at": now, "added_by": by}
    connection.execute(audit_readers.insert().values(tenant_id=tenant_id, **values))
    append(connection, [event("audit.reader_added", tenant_id, None, name=name, by=by)], now)
    return secret


def remove_reader(connection: Connection, tenant_id: str, name: str, by: str, now: float) -> None:
    """Accept the key no longer, from the next request on.

    Raises:
        OperatorError: No reader has this name.
    """
    named = sa.and_(_c.tenant_id == tenant_id, _c.name == name)
    if connection.execute(audit_readers.delete().where(named)).rowcount == 0:
        raise OperatorError(
            f"{tenant_id} has no reader {name}; see: vyrox audit reader {tenant_id} --list"
        )
    append(connection, [event("audit.reader_removed", tenant_id, None, name=name, by=by)], now)


def list_readers(connection: Connection, tenant_id: str | None) -> list[Reader]:
    """Return the readers of one tenant, or of all, in order of name."""
    query = sa.select(_c.tenant_id, _c.name, _c.added_at, _c.added_by)
    if tenant_id is not None:
        query = query.where(_c.tenant_id == tenant_id)
    return [Reader(*row) for row in connection.execute(query.order_by(_c.tenant_id, _c.name))]


def _secrets(connection: Connection, tenant_id: str) -> list[tuple[str, str]]:
    query = sa.select(_c.name, _c.secret).where(_c.tenant_id == tenant_id).order_by(_c.name)
    return [(row.name, row.secret) for row in connection.execute(query)]
