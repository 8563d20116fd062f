"""Which columns hold encrypted secrets, and encrypting all of them again (contract 104)."""

from typing import Final

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox.store.tables import metadata

ENCRYPTED: Final = {
    "tenant_credentials": ("secret", "previous_secret", "kept_secret"),
    "edr_credentials": ("secret",),
    "notify_targets": ("url", "secret"),
    "audit_readers": ("secret",),
}
"""The columns of each table that hold encrypted secrets."""


class Again(msgspec.Struct, frozen=True):
    """What was encrypted again.

    Attributes:
        unreadable: How many secrets no key decrypts; they are as they were.
    """

    encrypted: int
    unreadable: int


def encrypt_again(connection: Connection, vault: MultiFernet) -> Again:
    """Encrypt every stored secret with the first key. The secrets and their versions stay."""
    encrypted = unreadable = 0
    for name, columns in ENCRYPTED.items():
        table = metadata.tables[name]
        key = list(table.primary_key.columns)
        for row in connection.execute(sa.select(*key, *(table.c[each] for each in columns))).all():
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
    return Again(encrypted, unreadable)
