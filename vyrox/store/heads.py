"""The newest entry of each of several audit chains, in one statement (see `chain.writer`)."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection

from vyrox.store.sqlite import ROWS_PER_STATEMENT, execute_sqlite

# The statements go to the drivers without SQLAlchemy: for a batch of many chains, building a
# statement costs SQLAlchemy more than running it costs the database.
_SQLITE: Final = """
SELECT head.tenant_id, head.stream, head.sequence, head.hash, head.timestamp
FROM (VALUES {}) AS chain
CROSS JOIN audit_log AS head
ON head.tenant_id = chain.column1 AND head.stream = chain.column2 AND head.sequence = (
    SELECT max(sequence) FROM audit_log
    WHERE tenant_id = chain.column1 AND stream = chain.column2
)
"""
_POSTGRES: Final = """
SELECT chain.tenant_id, chain.stream, head.sequence, head.hash, head.timestamp
FROM unnest($1::text[], $2::text[]) AS chain (tenant_id, stream)
CROSS JOIN LATERAL (
    SELECT sequence, hash, timestamp FROM audit_log
    WHERE tenant_id = chain.tenant_id AND stream = chain.stream
    ORDER BY sequence DESC LIMIT 1
) AS head
"""


def read_heads(
    connection: Connection, chains: Sequence[tuple[str, str]]
) -> Iterable[Sequence[Any]]:
    """Return tenant, stream, sequence, hash and timestamp of each chain's newest entry.

    Args:
        chains: Tenant and stream of each. A chain without entries is not in the result.
    """
    if connection.dialect.name == "postgresql":
        from vyrox.store.postgres import execute_postgres  # imports asyncpg

        columns = [list(column) for column in zip(*chains, strict=True)]
        return execute_postgres(connection, _POSTGRES, columns)
    rows: list[Sequence[Any]] = []
    for first in range(0, len(chains), ROWS_PER_STATEMENT):
        some = chains[first : first + ROWS_PER_STATEMENT]
        values = [part for chain in some for part in chain]
        rows.extend(execute_sqlite(connection, _sqlite_statement(len(some)), values))
    return rows


@lru_cache(ROWS_PER_STATEMENT)
def _sqlite_statement(chains: int) -> str:
    return _SQLITE.format(", ".join(["(?, ?)"] * chains))
