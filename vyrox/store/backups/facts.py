"""What is compared between a database and its backup: row counts and the heads of the chains."""

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox.errors import OperatorError
from vyrox.store.encrypted import ENCRYPTED
from vyrox.store.heads import read_heads
from vyrox.store.tables import audit_log
from vyrox.store.version import HEAD, read_version


class ChainHead(msgspec.Struct, frozen=True):
    """The newest entry of one audit chain."""

    tenant_id: str
    stream: str
    entries: int
    sequence: int
    hash: str


class Facts(msgspec.Struct, frozen=True):
    """What two copies of a database have in common.

    Attributes:
        schema: The newest migration that has run.
        tables: The number of rows of each table.
        secrets: The number of encrypted secrets.
    """

    schema: str
    tables: dict[str, int]
    chains: list[ChainHead]
    secrets: int


def read_facts(connection: Connection) -> Facts:
    """Return the facts of a database of this version or of an earlier one.

    Raises:
        OperatorError: It is not a database of Vyrox, or one of a later version.
    """
    schema = read_version(connection)
    if schema is None:
        raise OperatorError("the database is not Vyrox's: it has no schema")
    if schema > HEAD:
        raise OperatorError(
            f"a later version of vyrox made this database (schema {schema}, this version has "
            f"{HEAD}): use that version"
        )
    names = sorted(set(sa.inspect(connection).get_table_names()) - {"alembic_version"})
    return Facts(
        schema=schema,
        tables={name: _count(connection, name) for name in names},
        chains=_heads(connection),
        secrets=sum(1 for _ in _secrets(connection)),
    )


def _count(connection: Connection, table: str) -> int:
    query = sa.select(sa.func.count()).select_from(sa.table(table))
    return int(connection.execute(query).scalar_one())


def _heads(connection: Connection) -> list[ChainHead]:
    c = audit_log.c
    query = (
        sa.select(c.tenant_id, c.stream, sa.func.count())
        .group_by(c.tenant_id, c.stream)
        .order_by(c.tenant_id, c.stream)
    )
    entries = {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}
    found = {(row[0], row[1]): row for row in read_heads(connection, list(entries))}
    return [
        ChainHead(*chain, number, int(found[chain][2]), str(found[chain][3]))
        for chain, number in entries.items()
    ]


def missing_chains(connection: Connection, chains: list[ChainHead]) -> list[ChainHead]:
    """Return those of `chains` whose newest entry is not in the database as it was."""
    c = audit_log.c
    return [
        chain
        for chain in chains
        if connection.execute(
            sa.select(c.hash).where(
                c.tenant_id == chain.tenant_id,
                c.stream == chain.stream,
                c.sequence == chain.sequence,
            )
        ).scalar()
        != chain.hash
    ]


def count_readable(connection: Connection, vault: MultiFernet) -> int:
    """Return how many of the encrypted secrets the keys of `vault` decrypt."""
    return sum(_is_readable(vault, secret) for secret in _secrets(connection))


def _is_readable(vault: MultiFernet, secret: str) -> bool:
    try:
        vault.decrypt(secret)
    except InvalidToken:
        return False
    return True


def _secrets(connection: Connection) -> Iterator[str]:
    inspector = sa.inspect(connection)
    for name, columns in ENCRYPTED.items():
        if not inspector.has_table(name):
            continue  # an earlier version had none
        present = {column["name"] for column in inspector.get_columns(name)}
        chosen: list[sa.ColumnClause[str | None]] = [
            sa.column(column) for column in columns if column in present
        ]
        for row in connection.execute(sa.select(*chosen).select_from(sa.table(name))):
            yield from (secret for secret in row if secret is not None)
