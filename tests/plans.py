"""The plans of a transaction's queries, on both databases."""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import Connection


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
