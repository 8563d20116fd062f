"""The plans of a transaction's queries, on both databases."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.database import Database

WAYS = ("seqscan", "bitmapscan", "sort")


def plans_of(
    connection: Connection, transaction: Callable[[Connection], object], ways: Sequence[str] = WAYS
) -> list[str]:
    """Run `transaction`, and return the database's plan of each of its queries.

    Args:
        ways: What PostgreSQL may not do. Of a small table it would read and sort everything.
    """
    seen: list[tuple[str, Any]] = []

    def note(
        _1: object,
        _2: object,
        query: str,
        parameters: Any,  # noqa: ANN401
        _3: object,
        executemany: bool,
    ) -> None:
        seen.append((query, parameters[0] if executemany else parameters))

    if connection.dialect.name == "postgresql":
        for way in ways:
            connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
    sa.event.listen(connection, "before_cursor_execute", note)
    transaction(connection)
    sa.event.remove(connection, "before_cursor_execute", note)
    explain = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    return [
        "\n".join(
            str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {query}", parameters)
        )
        for query, parameters in seen
    ]


def analyse(connection: Connection) -> None:
    """Let PostgreSQL know how many rows there are: of an empty table it reads no index."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE")


async def scanned(database: Database, read: Callable[[Connection], object]) -> set[str]:
    """Return the tables that `read` would read from their beginning to their end.

    PostgreSQL's planner must avoid that if it can: otherwise it reads each small table so.
    """

    def run(connection: Connection) -> list[str]:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return plans_of(connection, read)

    plans = await database.read(run)
    assert plans
    steps = [step for plan in plans for step in plan.splitlines()]
    return {name for step in steps for name in _scanned(step)}


def _scanned(step: str) -> list[str]:
    if match := re.search(r"Seq Scan on (\w+)", step):
        return [match[1]]
    match = re.match(r"SCAN (\w+)", step)
    return [match[1]] if match and "USING" not in step else []
