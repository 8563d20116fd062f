"""Moving old events into an archive: what may go, the record of it, and the removal (contract 103).

The order makes it safe to be killed anywhere. The archive is written and verified first. One
transaction then says in the chain that it exists, and allows the removal. The rows go last, a few
at a time. Each step can be run again.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.archived import (
    BLOCK,
    IS_REMOVED,
    KIND,
    RetainedDigest,
    archived_up_to,
    read_archived_hashes,
    read_retained,
)
from vyrox.chain.entry import SERVICE, Draft, Receipt
from vyrox.chain.events import event
from vyrox.chain.export import last_events
from vyrox.chain.nodes import BrokenChainError, length, read_entry_hashes
from vyrox.chain.reading import first_at
from vyrox.chain.writer import append
from vyrox.errors import DatabaseBusyError, OperatorError
from vyrox.store.database import Database
from vyrox.store.locks import lock_chains
from vyrox.store.rows import insert_rows
from vyrox.store.tables import archived_hashes, audit_archives, audit_log, totals_places

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PATIENCE_S: Final = 30.0
"""How long a write is tried while the database is locked."""

RETRY_S: Final = 0.05

PAGE: Final = 1000
"""Rows that one transaction reads or removes."""

BLOCKS: Final = 16
"""Blocks of hashes that one transaction stores."""

_log: Final = audit_log.c
_place: Final = totals_places.c


class Plan(msgspec.Struct, frozen=True):
    """Which events of a tenant an archive would have: none if `last` is less than `first`."""

    tenant_id: str
    first: int
    last: int


class Size(msgspec.Struct, frozen=True):
    """What the removal of a plan's events would free: rows, and the bytes of their entries."""

    rows: int
    size_bytes: int


def list_chains(connection: Connection) -> list[str]:
    """Return the tenants that have events, and SERVICE if it has."""
    return sorted(name for name, last in last_events(connection).items() if last)


def list_ends(connection: Connection, tenant_id: str) -> list[int]:
    """Return the number of the last event of each of a tenant's archives, in order."""
    c = audit_archives.c
    query = sa.select(c.last).where(c.tenant_id == tenant_id).order_by(c.last)
    return list(connection.execute(query).scalars())


def plan(connection: Connection, tenant_id: str, before: float) -> Plan:
    """Return which events with a time before `before` are not in an archive yet.

    Events that the daily totals do not have yet are left, and at most BLOCK - 1 others, so that the
    archive ends where a block of hashes does.
    """
    first = archived_up_to(connection, tenant_id) + 1
    last = min(
        first_at(connection, tenant_id, "events", before) - 1,
        length(connection, (tenant_id, "events")),
    )
    if tenant_id != SERVICE:
        last = min(last, _counted(connection, tenant_id))
    return Plan(tenant_id, first, last - last % BLOCK)


def _counted(connection: Connection, tenant_id: str) -> int:
    """Return up to which event the daily totals have what the chain says."""
    place = sa.select(_place.sequence).where(
        _place.tenant_id == tenant_id, _place.stream == "events"
    )
    query = sa.select(sa.func.min(_log.sequence)).where(
        _log.tenant_id == tenant_id,
        _log.stream == "events",
        _log.sequence > (connection.execute(place).scalar() or 0),
        _log.kind != "alert.accepted",
    )
    waiting = connection.execute(query).scalar()
    return length(connection, (tenant_id, "events")) if waiting is None else waiting - 1


async def measure(database: Database, planned: Plan) -> Size:
    """Return what the removal would free. Raises DatabaseUnavailableError."""
    rows = size_bytes = 0
    for first in range(planned.first, planned.last + 1, PAGE):
        last = min(first + PAGE - 1, planned.last)
        found = await database.read(_measure, planned.tenant_id, first, last)
        rows, size_bytes = rows + found[0], size_bytes + found[1]
    return Size(rows, size_bytes)


def _measure(connection: Connection, tenant_id: str, first: int, last: int) -> tuple[int, int]:
    query = sa.select(sa.func.count(), sa.func.sum(sa.func.length(_log.entry))).where(
        _log.tenant_id == tenant_id,
        _log.stream == "events",
        _log.sequence.between(first, last),
        IS_REMOVED,
    )
    row = connection.execute(query).one()
    return row[0], int(row[1] or 0)


async def record(
    database: Database, planned: Plan, last_hash: str, root: bytes, now: float
) -> Receipt:
    """Store the hashes of the archive's events, and say in the chain that it exists.

    Args:
        last_hash: Of the last event in the archive.
        root: Of the tree of the chain's events up to that one.

    Raises:
        OperatorError: Another archive was made in the meantime.
        BrokenChainError: Rows are missing or were changed.
        DatabaseUnavailableError: It is not recorded, or not known to be.
    """
    tenant_id = planned.tenant_id
    for start in range(planned.first - 1, planned.last, BLOCKS * BLOCK):
        end = min(start + BLOCKS * BLOCK, planned.last)
        await _write(database, _store_hashes, tenant_id, start, end)
    digest = RetainedDigest()
    after = 0
    while page := await database.read(read_retained, tenant_id, after, planned.last, PAGE):
        for each in page:
            digest.add(each.sequence, each.hash)
        after = page[-1].sequence
    draft = event(
        KIND,
        tenant_id,
        None,
        first=planned.first,
        last=planned.last,
        last_hash=last_hash,
        root=b64encode(root).decode(),
        retained=digest.number,
        retained_sha256=digest.hexdigest(),
    )
    return await _write(database, _record, planned, draft, now)


def _store_hashes(connection: Connection, tenant_id: str, start: int, end: int) -> None:
    hashes = read_entry_hashes(connection, (tenant_id, "events"), start, end)
    rows: list[tuple[object, ...]] = [
        (tenant_id, (start + at) // BLOCK, b"".join(hashes[at : at + BLOCK]))
        for at in range(0, len(hashes), BLOCK)
    ]
    insert_rows(connection, archived_hashes, rows, "ON CONFLICT DO NOTHING")
    # Somebody may have put others there.
    if read_archived_hashes(connection, tenant_id, start, end) != hashes:
        raise BrokenChainError(
            f"tenant {tenant_id!a}: archived_hashes has other hashes than the events from "
            f"{start + 1} to {end}"
        )


def _record(connection: Connection, planned: Plan, draft: Draft, now: float) -> Receipt:
    lock_chains(connection, [(planned.tenant_id, "events")])
    if archived_up_to(connection, planned.tenant_id) != planned.first - 1:
        raise OperatorError("another archive was made in the meantime: run it again")
    [receipt] = append(connection, [draft], now)
    connection.execute(
        audit_archives.insert().values(tenant_id=planned.tenant_id, last=planned.last)
    )
    return receipt


async def remove(database: Database, tenant_id: str) -> int:
    """Remove the rows of a tenant that are in archives; return how many it were.

    Raises:
        DatabaseUnavailableError: Some are left; the next call goes on there.
    """
    last = await database.read(archived_up_to, tenant_id)
    removed = after = 0
    while (first := await database.read(first_removable, tenant_id, after, last)) is not None:
        after = min(first + PAGE - 1, last)
        removed += await _write(database, _remove, tenant_id, first, after)
    return removed


async def _write(database: Database, transaction: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
    """Write as `database.write`, in turn with a running service, which goes first.

    A database that is locked is tried again. After a write this waits as long as the write took.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        began = time.monotonic()
        try:
            written = await database.write(transaction, *args)
        except DatabaseBusyError:
            if began > deadline:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            await asyncio.sleep(min(time.monotonic() - began, PATIENCE_S))
            return written


def first_removable(connection: Connection, tenant_id: str, after: int, last: int) -> int | None:
    """Return the first event after `after` up to `last` that could be removed."""
    query = (
        sa.select(_log.sequence)
        .where(
            _log.tenant_id == tenant_id,
            _log.stream == "events",
            _log.sequence > after,
            _log.sequence <= last,
            IS_REMOVED,
        )
        .order_by(_log.sequence)
        .limit(1)
    )
    return connection.execute(query).scalar()


def _remove(connection: Connection, tenant_id: str, first: int, last: int) -> int:
    statement = audit_log.delete().where(
        _log.tenant_id == tenant_id,
        _log.stream == "events",
        _log.sequence.between(first, last),
        IS_REMOVED,
    )
    return connection.execute(statement).rowcount
