"""A condition on bytes that both databases understand."""

import sqlalchemy as sa
from sqlalchemy import Connection


def contains(
    connection: Connection, column: sa.ColumnElement[bytes], part: bytes
) -> sa.ColumnElement[bool]:
    """Return the condition that the bytes in `column` have `part` somewhere."""
    wanted = sa.literal(part, sa.LargeBinary)
    if connection.dialect.name == "postgresql":
        return sa.func.position(wanted.op("IN")(column)) > 0
    return sa.func.instr(column, wanted) > 0
