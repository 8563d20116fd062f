"""Read the entries of the audit chains page by page, in constant memory (contract 26)."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.archived import archived_up_to
from vyrox.chain.entry import SERVICE, Stream
from vyrox.chain.nodes import length
from vyrox.chain.reading import first_at
from vyrox.errors import DatabaseUnavailableError
from vyrox.store.database import Database
from vyrox.store.tables import audit_log

PAGE: Final = 1000
"""How many entries one transaction reads. It is short, so a slow reader keeps none open."""


class _Naming(msgspec.Struct):
    resolved_tenant: str | None = None


_naming_decoder: Final = msgspec.json.Decoder(_Naming)

# Jumps from tenant to tenant along the key, so the number of entries does not matter.
_LAST_EVENTS: Final = sa.text("""
WITH RECURSIVE tenant (id) AS (
    SELECT min(tenant_id) FROM audit_log
    UNION ALL
    SELECT (SELECT min(tenant_id) FROM audit_log WHERE tenant_id > tenant.id)
    FROM tenant WHERE tenant.id IS NOT NULL
)
SELECT id, (SELECT max(sequence) FROM audit_log WHERE tenant_id = id AND stream = 'events')
FROM tenant WHERE id IS NOT NULL
""")


class Part(msgspec.Struct, frozen=True):
    """Which entries of a chain: from `first` to `last`, counted from 1. None if `last` is less."""

    first: int
    last: int


async def find_part(database: Database, tenant_id: str, stream: Stream, since: int = 0) -> Part:
    """Return which entries have a time of `since` or later, of those that are committed now.

    Raises:
        DatabaseUnavailableError: The chain cannot be read.
    """
    return await database.read(_part, tenant_id, stream, since)


async def pages(
    database: Database, tenant_id: str, stream: Stream, part: Part | None = None
) -> AsyncIterator[list[bytes]]:
    """Yield a part of one chain as JSON, page by page; without `part`, all that is committed.

    Entries are only appended, so the number of the last one at the start is the limit. No page is
    empty. Even if somebody has deleted a thousand rows in sequence, the export has the remaining
    entries, and a verifier reports what is missing.

    Raises:
        DatabaseUnavailableError: The export is incomplete.
    """
    if part is None:
        part = await find_part(database, tenant_id, stream)
    for after in range(part.first - 1, part.last, PAGE):
        page = await database.read(_page, tenant_id, stream, after, min(after + PAGE, part.last))
        if stream == "events" and await database.read(archived_up_to, tenant_id) >= part.first:
            raise DatabaseUnavailableError(
                "events went into an archive in the meantime: export again"
            )
        if page:
            yield page


def read_parts(
    connection: Connection, tenant_id: str, streams: Iterable[Stream], since: int
) -> dict[Stream, Part]:
    """Return the part of each stream as of one moment: an action and its events are both there."""
    return {stream: _part(connection, tenant_id, stream, since) for stream in streams}


def _part(connection: Connection, tenant_id: str, stream: Stream, since: int) -> Part:
    first = first_at(connection, tenant_id, stream, since) if since else 1
    if stream == "events":
        # What the database still has of those before is no chain: see `chain.archived`.
        first = max(first, archived_up_to(connection, tenant_id) + 1)
    return Part(first, length(connection, (tenant_id, stream)))


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
    """A filter for events. None accepts all; `since` is Unix seconds.

    The events of a tenant are those of its chain, and those of the service's chain that name it as
    their `resolved_tenant` (contract 47).
    """

    tenant_id: str | None
    kind: str | None
    since: int


async def events(
    database: Database, wanted: Wanted, seen: dict[str, int]
) -> AsyncIterator[list[bytes]]:
    """Yield the events of all chains as JSON, page by page, in order of time.

    Only events that were committed at the start are yielded. Without that limit, an event that is
    committed between two pages could be lost: its second may be before the page, while the next
    event of its chain is after it.

    Args:
        seen: Per tenant, the sequence of the last event that was yielded. Events up to it are left
            out. It is updated, so that a later call yields only newer events.
    """
    last, until = await database.read(_last_events)
    after = (wanted.since, "", 0)
    while page := await database.read(_events_after, wanted, after, until):
        after = page[-1][:3]
        new = [row for row in page if seen.get(row[1], 0) < row[2] <= last.get(row[1], 0)]
        yield [entry for _, chain, _, entry in new if _concerns(entry, chain, wanted.tenant_id)]
        seen.update((tenant_id, sequence) for _, tenant_id, sequence, _ in new)


async def newest_events(
    database: Database, wanted: Wanted, most: int, last: Mapping[str, int]
) -> list[bytes]:
    """Return the newest events as JSON, in order of time.

    Args:
        last: Per chain, the sequence of the last event that is read, as `last_events` returns it.
    """
    found: list[bytes] = []
    before: tuple[int, str, int] | None = None
    while len(found) < most and (page := await database.read(_events_before, wanted, before)):
        before = page[-1][:3]
        found += [
            entry
            for _, chain, sequence, entry in page
            if sequence <= last.get(chain, 0) and _concerns(entry, chain, wanted.tenant_id)
        ]
    return found[:most][::-1]


def last_events(connection: Connection) -> dict[str, int]:
    """Return the sequence of each chain's last event."""
    return {row[0]: row[1] or 0 for row in connection.execute(_LAST_EVENTS)}


def _concerns(entry: bytes, chain: str, tenant_id: str | None) -> bool:
    if tenant_id is None or chain == tenant_id:
        return True
    try:
        return _naming_decoder.decode(entry).resolved_tenant == tenant_id
    except ValueError:
        return True  # somebody changed it: the reader must see it


def _last_events(connection: Connection) -> tuple[dict[str, int], int]:
    """Return the sequence of each chain's last event, and the time of the latest."""
    last = last_events(connection)
    latest = sa.select(sa.func.max(audit_log.c.timestamp)).where(audit_log.c.stream == "events")
    return last, connection.execute(latest).scalar() or 0


def _events_after(
    connection: Connection, wanted: Wanted, after: tuple[int, str, int], until: int
) -> list[tuple[int, str, int, bytes]]:
    c = audit_log.c
    place = (c.timestamp, c.tenant_id, c.sequence)
    query = _events(wanted).where(c.timestamp <= until, sa.tuple_(*place) > after)
    rows = connection.execute(query.order_by(*place).limit(PAGE))
    return [(row.timestamp, row.tenant_id, row.sequence, row.entry) for row in rows]


def _events_before(
    connection: Connection, wanted: Wanted, before: tuple[int, str, int] | None
) -> list[tuple[int, str, int, bytes]]:
    c = audit_log.c
    place = (c.timestamp, c.tenant_id, c.sequence)
    query = _events(wanted).where(c.timestamp >= wanted.since)
    if before is not None:
        query = query.where(sa.tuple_(*place) < before)
    newest_first = (each.desc() for each in place)
    rows = connection.execute(query.order_by(*newest_first).limit(PAGE))
    return [(row.timestamp, row.tenant_id, row.sequence, row.entry) for row in rows]


def _events(wanted: Wanted) -> sa.Select[Any]:
    c = audit_log.c
    query = sa.select(c.timestamp, c.tenant_id, c.sequence, c.entry).where(c.stream == "events")
    if wanted.tenant_id is not None:
        query = query.where(c.tenant_id.in_({wanted.tenant_id, SERVICE}))
    if wanted.kind is not None:
        query = query.where(c.kind == wanted.kind)
    return query


def newest_event(connection: Connection) -> int:
    """Return the time of the newest event of any chain, in Unix seconds; 0 without events."""
    c = audit_log.c
    query = sa.select(sa.func.max(c.timestamp)).where(c.stream == "events")
    return connection.execute(query).scalar() or 0
