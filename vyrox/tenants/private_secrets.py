"""The secrets that sign requests to the private listener, and when each was last used (85).

The last use of the previous secret shows whether it can be taken away. It is noted in memory, and
stored at most once a minute.
"""

import secrets
from hashlib import sha256
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.crypto import verify
from vyrox.store.database import Database
from vyrox.store.rows import insert_rows
from vyrox.store.tables import secret_uses

USED_INTERVAL_S: Final = 60.0
"""How often it is stored that a secret is in use."""

_DIGITS: Final = 16
"""Hexadecimal digits of a SHA-256 that name a secret in the database."""

_u: Final = secret_uses.c


class PrivateSecrets:
    """Which secrets a request may be signed with."""

    def __init__(
        self, database: Database, current: str, previous: str | None, read: str | None
    ) -> None:
        """Create it; `read` signs reads only."""
        self._database = database
        # A random one replaces what is not set: the time shows nothing of the settings.
        self._current = current
        self._previous = previous or secrets.token_hex(32)
        self._read = read or secrets.token_hex(32)
        self._noted: dict[str, float] = {}
        self._to_store: dict[str, float] = {}

    def has_signed(
        self, message: bytes, signature: bytes, now: float, *, is_read: bool
    ) -> str | None:
        """Return which secret has signed: `current`, `previous` or `read`; None: not one of them.

        Args:
            now: Unix seconds.
            is_read: Whether the request changes nothing.
        """
        found = [
            name
            for name, secret in (
                ("current", self._current),
                ("previous", self._previous),
                ("read", self._read),
            )
            if verify(message, signature, secret) and (is_read or name != "read")
        ]
        if not found:
            return None
        if found[0] == "previous":
            self._note(self._previous, now)
        return found[0]

    def _note(self, secret: str, now: float) -> None:
        if now >= self._noted.get(secret, 0.0) + USED_INTERVAL_S:
            self._noted[secret] = self._to_store[secret] = now

    async def store_uses(self) -> None:
        """Store what was noted. Raises DatabaseUnavailableError; then it is stored later."""
        if not self._to_store:
            return
        noted = dict(self._to_store)
        await self._database.write(_record, {name_of(each): at for each, at in noted.items()})
        self._to_store = {each: at for each, at in self._to_store.items() if at != noted.get(each)}


def name_of(secret: str) -> str:
    """Return what names a secret in the database; the secret cannot be found from it."""
    return sha256(secret.encode()).hexdigest()[:_DIGITS]


def last_use(connection: Connection, secret: str) -> float | None:
    """Return when a request was last signed with a previous secret, in Unix seconds, or None.

    It is exact to USED_INTERVAL_S.
    """
    query = sa.select(_u.used_at).where(_u.name == name_of(secret))
    return connection.execute(query).scalar_one_or_none()


def _record(connection: Connection, uses: dict[str, float]) -> None:
    rows = sorted(uses.items())
    later = "ON CONFLICT (name) DO UPDATE SET used_at = excluded.used_at"
    insert_rows(connection, secret_uses, rows, later)
