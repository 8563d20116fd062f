"""Verify a tenant's chains in the database.

The entries are verified in the same way as an export. The other columns of each row are compared
with the entry too: the service reads a chain's head from them, so a wrong hash there would break
the next link.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Scalar, Sealed, Stream, check_sealed
from vyrox.chain.verify import Chain, Report, TamperedError
from vyrox.errors import EntryError
from vyrox.store.database import Database
from vyrox.store.tables import audit_log

PAGE: Final = 1000
"""How many rows one transaction reads. It is short, so that it blocks nothing."""

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
    after = -(2**63)  # the writer never uses a number below 1, so one is found as a gap is
    while page := await database.read(_rows_after, tenant_id, stream, after):
        await asyncio.to_thread(_add, chain, page, tenant_id, stream)
        after = page[-1].sequence
        yield chain.entries


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
        try:
            check_sealed(Sealed(row.entry, row.hash, row.timestamp))
        except EntryError as exc:
            raise TamperedError(row.sequence, str(exc)) from exc
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
    return [_Row(*row) for row in connection.execute(query)][::-1]


def _add(chain: Chain, page: Sequence[_Row], tenant_id: str, stream: Stream) -> None:
    for row in page:
        chain.add(row.entry)
        _check_row(row, chain.entries, tenant_id, stream)


def _rows_after(connection: Connection, tenant_id: str, stream: Stream, after: int) -> list[_Row]:
    c = audit_log.c
    query = (
        sa.select(c.sequence, c.kind, c.timestamp, c.hash, c.entry)
        .where(c.tenant_id == tenant_id, c.stream == stream, c.sequence > after)
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
