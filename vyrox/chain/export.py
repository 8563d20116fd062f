"""Stream a tenant's entries, oldest first, in constant memory (contract 26)."""

from collections.abc import AsyncIterator
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.writer import Stream
from vyrox.db import Database, audit_log

PAGE: Final = 1000
"""Entries read by one short transaction, so that a slow reader holds none open."""


async def pages(database: Database, tenant_id: str, stream: Stream) -> AsyncIterator[list[bytes]]:
    """Yield the entries that were committed when this began, as JSON, a page at a time.

    Entries are only ever appended, so the number of the last one is as good as a snapshot. No page
    is empty, not even where somebody has deleted a thousand rows on end: what is left is still an
    export, and whoever verifies it is told what is missing.

    Raises:
        DatabaseUnavailableError: The export ends in the middle.
    """
    last = await database.read(_length, tenant_id, stream)
    for after in range(0, last, PAGE):
        page = await database.read(_page, tenant_id, stream, after, min(after + PAGE, last))
        if page:
            yield page


def _length(connection: Connection, tenant_id: str, stream: Stream) -> int:
    c = audit_log.c
    query = sa.select(sa.func.max(c.sequence)).where(c.tenant_id == tenant_id, c.stream == stream)
    return connection.execute(query).scalar() or 0


def _page(
    connection: Connection, tenant_id: str, stream: Stream, after: int, last: int
) -> list[bytes]:
    c = audit_log.c
    query = (
        sa.select(c.entry)
        .where(c.tenant_id == tenant_id, c.stream == stream, c.sequence.between(after + 1, last))
        .order_by(c.sequence)
    )
    return list(connection.execute(query).scalars())


class Wanted(msgspec.Struct, frozen=True):
    """Which events; None is any. `since` is Unix seconds."""

    tenant_id: str | None
    kind: str | None
    since: int


async def events(
    database: Database, wanted: Wanted, seen: dict[str, int]
) -> AsyncIterator[list[bytes]]:
    """Yield the events of all chains in order of time, as JSON, a page at a time.

    Args:
        seen: Per tenant, the sequence of the last event given. Events up to it are left out, and it
            is brought up to date, so that a later call gives what has come since.
    """
    after = (wanted.since, "", 0)
    while page := await database.read(_events_after, wanted, after):
        after = page[-1][:3]
        yield [entry for _, tenant_id, sequence, entry in page if sequence > seen.get(tenant_id, 0)]
        seen.update((tenant_id, sequence) for _, tenant_id, sequence, _ in page)


def _events_after(
    connection: Connection, wanted: Wanted, after: tuple[int, str, int]
) -> list[tuple[int, str, int, bytes]]:
    c = audit_log.c
    query = sa.select(c.timestamp, c.tenant_id, c.sequence, c.entry).where(
        c.stream == "events", sa.tuple_(c.timestamp, c.tenant_id, c.sequence) > after
    )
    if wanted.tenant_id is not None:
        query = query.where(c.tenant_id == wanted.tenant_id)
    if wanted.kind is not None:
        query = query.where(c.kind == wanted.kind)
    rows = connection.execute(query.order_by(c.timestamp, c.tenant_id, c.sequence).limit(PAGE))
    return [(row.timestamp, row.tenant_id, row.sequence, row.entry) for row in rows]
