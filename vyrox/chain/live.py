"""Verify a tenant's chains in the database.

The entries are verified in the same way as an export. The other columns of each row are compared
with the entry too: the service reads a chain's head from them, so a wrong hash there would break
the next link.
"""

import asyncio
import itertools
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.archived import (
    BLOCK,
    archived_up_to,
    is_removed,
    read_archived_hashes,
)
from vyrox.chain.entry import Scalar, Sealed, Stream, check_sealed
from vyrox.chain.tree import Frontier
from vyrox.chain.verify import Chain, Report, TamperedError
from vyrox.errors import DatabaseUnavailableError, EntryError
from vyrox.store.database import Database
from vyrox.store.tables import audit_log

PAGE: Final = 1000
"""How many rows one transaction reads. It is short, so that it blocks nothing."""

WINDOW: Final = 64 * BLOCK
"""Events in an archive whose hashes are read together."""

LOWEST: Final = -(2**63)
"""The writer never uses a number below 1, so a row with one is found."""

END: Final = 2**62
"""Above every number."""

STREAMS: Final[tuple[Stream, ...]] = ("actions", "events")

Result = Report | TamperedError

_decoder: Final = msgspec.json.Decoder(dict[str, Scalar])


class _Row(msgspec.Struct, frozen=True):
    sequence: int
    kind: str
    timestamp: int
    hash: str
    entry: bytes


async def verify_tenant(database: Database, tenant_id: str) -> dict[Stream, Result]:
    """Return a report of each of the tenant's chains that has entries, or its first problem.

    Raises:
        DatabaseUnavailableError: The database could not be read to the end.
    """
    found: dict[Stream, Result] = {}
    for stream in STREAMS:
        try:
            report = await _verify(database, tenant_id, stream)
        except TamperedError as exc:
            found[stream] = exc
        else:
            if report.entries:
                found[stream] = report
    return found


async def _verify(database: Database, tenant_id: str, stream: Stream) -> Report:
    chain = Chain()
    async with aclosing(verifying(database, tenant_id, stream, chain)) as pages:
        async for _ in pages:
            pass
    return chain.report()


async def verifying(
    database: Database, tenant_id: str, stream: Stream, chain: Chain
) -> AsyncGenerator[int]:
    """Add a tenant's chain to `chain`, page by page; yield after each how many entries it has.

    The work is done in another thread, so that the event loop goes on.

    Raises:
        TamperedError: This is the first problem of the chain.
        DatabaseUnavailableError: The database could not be read to the end.
    """
    archived = 0
    if stream == "events":
        archived = await database.read(archived_up_to, tenant_id)
    try:
        root = await _before(database, tenant_id, archived, chain) if archived else None
        after = archived or LOWEST
        while page := await database.read(_rows_after, tenant_id, stream, after):
            await asyncio.to_thread(_add, chain, page, tenant_id, stream)
            after = page[-1].sequence
            yield chain.entries
        if root is not None:
            _check_archived(chain, root)
    except TamperedError as exc:
        if stream == "events" and archived != await database.read(archived_up_to, tenant_id):
            raise DatabaseUnavailableError(
                "events went into an archive in the meantime: verify again"
            ) from exc
        raise


async def _before(database: Database, tenant_id: str, archived: int, chain: Chain) -> bytes:
    """Check what is left of the events in archives; return the root of all of them."""
    frontier = Frontier()
    hashes: list[bytes] = []
    chain.begin_retained()
    after = LOWEST
    for start in range(0, archived, WINDOW):
        end = min(start + WINDOW, archived)
        hashes = await database.read(read_archived_hashes, tenant_id, start, end)
        if len(hashes) != end - start:
            raise TamperedError(start + 1, "its hash is not with those of the archive")
        while rows := await database.read(_rows_after, tenant_id, "events", after, end):
            await asyncio.to_thread(_retain, chain, rows, tenant_id, start, hashes)
            after = rows[-1].sequence
        await asyncio.to_thread(_grow, frontier, hashes)
    chain.begin_after(archived, hashes[-1].hex())
    return frontier.root()


def _grow(frontier: Frontier, hashes: Sequence[bytes]) -> None:
    for each in hashes:
        frontier.append(each)


def _retain(
    chain: Chain, rows: Sequence[_Row], tenant_id: str, start: int, hashes: Sequence[bytes]
) -> None:
    for row in rows:
        if row.sequence <= start or hashes[row.sequence - start - 1].hex() != row.hash:
            raise TamperedError(row.sequence, "the archive has another entry in its place")
        if is_removed(row.kind):
            _check_alone(row)  # its removal is not over
        else:
            chain.retain(row.sequence, row.entry)
        _check_row(row, row.sequence, tenant_id, "events")


def _check_archived(chain: Chain, root: bytes) -> None:
    if chain.archived is None:
        raise TamperedError(1, "it is missing, and no event says that it is in an archive")
    number, event = chain.archived
    if event.get("root") != b64encode(root).decode():
        raise TamperedError(number, "it says that the archive has other entries")
    chain.check_retained()


async def verify_newest(
    database: Database, tenant_id: str, stream: Stream, number: int = PAGE
) -> int:
    """Return how many of the chain's newest entries are linked as they should be, up to `number`.

    What is before them is not read, so this is no proof of the whole chain.

    Raises:
        TamperedError: One of them was changed, or one is missing between them.
        DatabaseUnavailableError: The database cannot be read.
    """
    rows = await database.read(_newest, tenant_id, stream, number)
    for before, row in itertools.pairwise((None, *rows)):
        assert row is not None  # noqa: S101  (only the first is)
        _check_alone(row)
        _check_row(row, row.sequence, tenant_id, stream)
        previous = _decoder.decode(row.entry)["previous_hash"]
        if before and (before.sequence + 1, before.hash) != (row.sequence, previous):
            raise TamperedError(row.sequence, "it does not follow the entry before it")
    return len(rows)


def _newest(connection: Connection, tenant_id: str, stream: Stream, number: int) -> list[_Row]:
    c = audit_log.c
    query = (
        sa.select(c.sequence, c.kind, c.timestamp, c.hash, c.entry)
        .where(c.tenant_id == tenant_id, c.stream == stream)
        .order_by(c.sequence.desc())
        .limit(number)
    )
    if stream == "events":
        query = query.where(c.sequence > archived_up_to(connection, tenant_id))
    return [_Row(*row) for row in connection.execute(query)][::-1]


def _check_alone(row: _Row) -> None:
    try:
        check_sealed(Sealed(row.entry, row.hash, row.timestamp))
    except EntryError as exc:
        raise TamperedError(row.sequence, str(exc)) from exc


def _add(chain: Chain, page: Sequence[_Row], tenant_id: str, stream: Stream) -> None:
    for row in page:
        chain.add(row.entry)
        _check_row(row, chain.next_number() - 1, tenant_id, stream)


def _rows_after(
    connection: Connection, tenant_id: str, stream: Stream, after: int, last: int = END
) -> list[_Row]:
    c = audit_log.c
    query = (
        sa.select(c.sequence, c.kind, c.timestamp, c.hash, c.entry)
        .where(
            c.tenant_id == tenant_id,
            c.stream == stream,
            c.sequence > after,
            c.sequence <= last,
        )
        .order_by(c.sequence)
        .limit(PAGE)
    )
    return [_Row(*row) for row in connection.execute(query)]


def _check_row(row: _Row, number: int, tenant_id: str, stream: Stream) -> None:
    entry = _decoder.decode(row.entry)
    for name, in_row, in_entry in (
        ("place", row.sequence, number),
        ("tenant", tenant_id, entry["tenant_id"]),
        ("kind", row.kind, entry.get("action_type" if stream == "actions" else "kind")),
        ("timestamp", row.timestamp, entry["timestamp"]),
        ("hash", row.hash, entry["hash"]),
    ):
        if in_row != in_entry:
            raise TamperedError(number, f"its row has a different {name} from the entry itself")
