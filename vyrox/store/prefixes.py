"""Which rows have an id that begins so: people type the first characters (contract 87)."""

from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import alerts, notify_targets, proposals, quarantine, suppressions

Kind = Literal["alert", "payload", "proposal", "suppression", "target"]

_COLUMNS: Final[dict[Kind, sa.Column[str]]] = {
    "alert": alerts.c.id,
    "payload": quarantine.c.id,
    "proposal": proposals.c.id,
    "suppression": suppressions.c.id,
    "target": notify_targets.c.id,
}


def find_ids(connection: Connection, kind: Kind, beginning: str, most: int) -> list[str]:
    """Return the ids of a kind that begin so, in order, at most so many; the id itself alone."""
    column = _COLUMNS[kind]
    if connection.execute(sa.select(column).where(column == beginning)).first() is not None:
        return [beginning]
    query = sa.select(column).where(
        # For the index: ids are hexadecimal digits and hyphens, in the order of any language.
        column >= beginning,
        column < f"{beginning}z",
        sa.func.substr(column, 1, len(beginning)) == beginning,
    )
    return list(connection.execute(query.order_by(column).limit(most)).scalars())
