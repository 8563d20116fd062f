"""Which columns hold encrypted secrets, and encrypting all of them again (contract 104)."""

from typing import Final

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox.store.database import Database
from vyrox.store.tables import metadata

Key = tuple[object, ...]

ENCRYPTED: Final = {
    "tenant_credentials": ("secret", "previous_secret", "kept_secret"),
    "edr_credentials": ("secret",),
    "notify_targets": ("url", "secret"),
    "audit_readers": ("secret",),
}
"""The columns of each table that hold encrypted secrets."""


PAGE: Final = 100
"""Rows of one transaction: a running service must not wait for those of thousands of tenants."""


class Again(msgspec.Struct, frozen=True):
    """What was encrypted again.

    Attributes:
        unreadable: How many secrets no key decrypts; they are as they were.
    """

    encrypted: int
    unreadable: int


async def encrypt_again(database: Database, vault: MultiFernet) -> Again:
    """Encrypt every stored secret with the first key. The secrets and their versions stay.

    Raises:
        DatabaseUnavailableError: Some are not, or not known to be. It can be run again.
    """
    encrypted = unreadable = 0
    for name in ENCRYPTED:
        after: Key | None = ()
        while after is not None:
            done, after = await database.write(encrypt_page, vault, name, after)
            encrypted, unreadable = encrypted + done.encrypted, unreadable + done.unreadable
    return Again(encrypted, unreadable)


def encrypt_page(
    connection: Connection, vault: MultiFernet, name: str, after: Key
) -> tuple[Again, Key | None]:
    """Encrypt the secrets of the next rows of a table; return the last one's key, if any is left.

    Args:
        after: The primary key of a row; () at the beginning.
    """
    table, columns = metadata.tables[name], ENCRYPTED[name]
    key = list(table.primary_key.columns)
    query = sa.select(*key, *(table.c[each] for each in columns)).order_by(*key).limit(PAGE)
    if after:
        query = query.where(sa.tuple_(*key) > sa.tuple_(*after))
    encrypted = unreadable = 0
    rows = connection.execute(query).all()
    for row in rows:
        place = sa.and_(
            *(column == part for column, part in zip(key, row[: len(key)], strict=True))
        )
        for column in columns:
            secret = getattr(row, column)
            if secret is None:
                continue
            try:
                again = vault.rotate(secret).decode()
            except InvalidToken:
                unreadable += 1
                continue
            # Unless a command has changed the secret in the meantime.
            same = sa.and_(place, table.c[column] == secret)
            connection.execute(table.update().where(same).values({column: again}))
            encrypted += 1
    last = tuple(rows[-1][: len(key)]) if len(rows) == PAGE else None
    return Again(encrypted, unreadable), last
