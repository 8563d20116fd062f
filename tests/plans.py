"""The plans of a transaction's queries, on both databases."""

import re
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.database import Database


def plans_of(connection: Connection, transaction: Callable[[Connection], object]) -> list[str]:
    """Run `transaction`, and return the database's plan of each of its queries."""
    seen: list[tuple[str, object]] = []

    def note(_1: object, _2: object, query: str, parameters: object, *_: object) -> None:
        seen.append((query, parameters))

    sa.event.listen(connection, "before_cursor_execute", note)
    transaction(connection)
    sa.event.remove(connection, "before_cursor_execute", note)
    explain = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    return [
        "\n".join(
            str(row[-1])
            for row in connection.exec_driver_sql(f"{explain} {query}", parameters)  # type: ignore[arg-type]
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
