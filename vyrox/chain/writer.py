"""The only writer of the audit chains (contract 27, 30 to 33).

An entry is written in the transaction of what it tells: the claim of a `request_id`, the row of an
alert. So work comes here as a function over a connection that returns what happened and the drafts
that tell it; the writer gathers what waits, runs it, seals the drafts and commits all at once.

A chain's head is read in the transaction that appends to it, under a lock that only the end of the
transaction releases, so there is nothing to forget after a failure, a restart or a second writer.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final, Generic, TypeVar, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.chain.entry import GENESIS, SERVICE, Draft, Receipt, Stream, seal
from vyrox.clock import Clock
from vyrox.errors import UnavailableError
from vyrox.store.database import Database
from vyrox.store.group_commit import GroupCommit
from vyrox.store.postgres import execute_postgres, insert_postgres
from vyrox.store.sqlite import ROWS_AT_ONCE, execute_sqlite, insert_sqlite

Item = TypeVar("Item")
Result = TypeVar("Result")

ATTEMPTS: Final = 3
"""Of one transaction that lost a race for a place in a chain to a writer that holds no lock."""

GATHER_S: Final = 0.002
"""How long a commit may be held back for callers who are expected: little beside what it takes."""

CLOCK_TOLERANCE_S: Final = 2
"""How far the clock may be behind a chain before it is logged: containers' clocks differ a little,
and each second that one of them began a moment earlier is no news."""

# Handed to the driver as they are: for a batch of many chains, building the statements costs
# SQLAlchemy more than running them costs the database.
_SQLITE_HEADS: Final = """
SELECT head.tenant_id, head.stream, head.sequence, head.hash, head.timestamp
FROM (VALUES {}) AS chain
CROSS JOIN audit_log AS head
ON head.tenant_id = chain.column1 AND head.stream = chain.column2 AND head.sequence = (
    SELECT max(sequence) FROM audit_log
    WHERE tenant_id = chain.column1 AND stream = chain.column2
)
"""
_POSTGRES_HEADS: Final = """
SELECT chain.tenant_id, chain.stream, head.sequence, head.hash, head.timestamp
FROM unnest($1::text[], $2::text[]) AS chain (tenant_id, stream)
CROSS JOIN LATERAL (
    SELECT sequence, hash, timestamp FROM audit_log
    WHERE tenant_id = chain.tenant_id AND stream = chain.stream
    ORDER BY sequence DESC LIMIT 1
) AS head
"""
_POSTGRES_LOCK: Final = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::int8[]) AS key"
_INTO: Final = "audit_log (tenant_id, stream, sequence, kind, timestamp, hash, entry)"
_POSTGRES_INSERT: Final = f"""
INSERT INTO {_INTO}
SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::text[], $5::int8[], $6::text[],
                     $7::bytea[])
"""  # noqa: S608  (our own text)


class WorkResult(msgspec.Struct, Generic[Result], frozen=True):
    """What a piece of work came to, and the entries that tell it.

    Attributes:
        then: For work that stores an entry's hash: called with the receipts of `drafts`, in the
            same transaction. Returns a statement made once, which is executed for the whole batch
            together, and its parameters for this item.
    """

    result: Result
    drafts: tuple[Draft, ...] = ()
    then: Callable[[tuple[Receipt, ...]], tuple[sa.Update, dict[str, object]]] | None = None


class Committed(msgspec.Struct, Generic[Result], frozen=True):
    """A result that is on disk, with the receipts of its drafts, in their order."""

    result: Result
    receipts: tuple[Receipt, ...]


Work = Callable[[Connection, Sequence[Item]], Sequence[WorkResult[Result]]]
"""Does the same piece of work for many items in one transaction; an outcome per item, in order."""


class _Head(msgspec.Struct, frozen=True):
    sequence: int
    hash: str
    timestamp: int


class _Waiting(msgspec.Struct, frozen=True):
    work: Work[object, object]
    item: object
    owner: str
    size_bytes: int


class _CommitState(msgspec.Struct):
    """How far a transaction got: `commit` is set when nothing but the commit is left to do."""

    commit: bool = False


class ChainWriter:
    """Commits work and its entries, many at a time, while `run` runs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = asyncio.Lock()
        self._commits = GroupCommit[_Waiting, Committed[object] | Exception](
            self._write,
            lambda waiting: waiting.size_bytes,
            lambda waiting: waiting.owner,
            GATHER_S,
        )

    async def run(self) -> None:
        """Commit what `commit` hands in, until cancelled."""
        await self._commits.run()

    async def commit(
        self,
        work: Work[Item, Result],
        item: Item,
        size_bytes: int = 0,
        *,
        owner: str = SERVICE,
    ) -> Committed[Result]:
        """Return what `work` came to for `item`, once it and its entries are on disk.

        Args:
            work: Waiting items of one function are worked on together. It may be called again,
                with fewer items, for a transaction that was rolled back.
            item: Its input.
            owner: The tenant it is for, or SERVICE: tenants take turns in the writer's queue.
            size_bytes: What `item` weighs in memory, where that is worth counting.

        Raises:
            UnavailableError: Not committed, or not known to be.
            EntryError: A draft makes no entry; nothing of this item was committed.
            Exception: What `work` raised for this item; nothing of it was committed.
        """
        waiting = _Waiting(cast("Work[object, object]", work), item, owner, size_bytes)
        committed = await self._commits.submit(waiting)
        if isinstance(committed, Exception):
            raise committed
        return cast("Committed[Result]", committed)

    async def _write(self, batch: Sequence[_Waiting]) -> list[Committed[object] | Exception]:
        # The batch is written in the task of `run`, so a caller that hangs up frees no lock.
        async with self._lock:
            return await self._write_or_split(batch)

    async def _write_or_split(
        self, batch: Sequence[_Waiting]
    ) -> list[Committed[object] | Exception]:
        tried = _CommitState()
        try:
            return [*await self._write_together(batch, tried)]
        except Exception as exc:  # noqa: BLE001  (whatever it is, it belongs to these callers)
            # A commit that failed, or may have, is not tried again: the next batch reads what is
            # there and goes on from that (contract 32).
            if isinstance(exc, UnavailableError) or tried.commit or len(batch) == 1:
                return [exc] * len(batch)
        # An item that cannot be written, found before the commit: nothing of the batch is left. The
        # other callers, who may be of other tenants, must not pay for it.
        half = len(batch) // 2
        return [
            *await self._write_or_split(batch[:half]),
            *await self._write_or_split(batch[half:]),
        ]

    async def _write_together(
        self, batch: Sequence[_Waiting], tried: _CommitState
    ) -> list[Committed[object]]:
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._database.write(_write_batch, batch, self._clock(), tried)
            except sa.exc.IntegrityError:
                # A place in a chain was taken. All of it was rolled back; the next reads anew.
                if tried.commit:
                    raise
        return await self._database.write(_write_batch, batch, self._clock(), tried)


def append(connection: Connection, drafts: Sequence[Draft], now: float) -> list[Receipt]:
    """Append `drafts` to their chains in the present transaction; return their receipts in order.

    The receipts are proof only once the transaction has committed.

    Args:
        now: Unix seconds; an entry's timestamp is this or, after the clock went back, its
            predecessor's (contract 33).
    """
    if not drafts:
        return []
    heads = _lock_and_read_heads(connection, sorted({(d.tenant_id, d.stream) for d in drafts}))
    _report_clock(heads, now)
    rows: list[tuple[object, ...]] = []
    receipts: list[Receipt] = []
    for draft in drafts:
        chain = (draft.tenant_id, draft.stream)
        head = heads.get(chain, _Head(0, GENESIS, 0))
        members = {**draft.members, "tenant_id": draft.tenant_id}
        sealed = seal(members, head.hash, max(int(now), head.timestamp))
        heads[chain] = head = _Head(head.sequence + 1, sealed.hash, sealed.timestamp)
        place = (*chain, head.sequence)
        rows.append((*place, draft.kind, sealed.timestamp, sealed.hash, sealed.json))
        receipts.append(Receipt(*place, sealed.hash))
    _insert(connection, rows)
    return receipts


def _write_batch(
    connection: Connection, batch: Sequence[_Waiting], now: float, tried: _CommitState
) -> list[Committed[object]]:
    by_work: dict[Work[object, object], list[int]] = {}
    for index, waiting in enumerate(batch):
        by_work.setdefault(waiting.work, []).append(index)
    outcomes: dict[int, WorkResult[object]] = {}
    # In order of name, and all of it before the first chain is locked: containers that take their
    # locks in different orders would deadlock.
    for work, indexes in sorted(by_work.items(), key=lambda pair: _name(pair[0])):
        done = work(connection, [batch[index].item for index in indexes])
        outcomes.update(zip(indexes, done, strict=True))
    drafts = [draft for index in range(len(batch)) for draft in outcomes[index].drafts]
    receipts = iter(append(connection, drafts, now))
    committed: list[Committed[object]] = []
    thens: dict[sa.Update, list[dict[str, object]]] = {}
    for index in range(len(batch)):
        outcome = outcomes[index]
        own = tuple(next(receipts) for _ in outcome.drafts)
        if outcome.then is not None:
            statement, parameters = outcome.then(own)
            thens.setdefault(statement, []).append(parameters)
        committed.append(Committed(outcome.result, own))
    for statement, parameters_of_all in thens.items():
        connection.execute(statement, parameters_of_all)
    tried.commit = True
    return committed


def _name(work: Work[object, object]) -> tuple[str, str]:
    function = work.func if isinstance(work, partial) else work
    return function.__module__, function.__qualname__


def _lock_and_read_heads(
    connection: Connection, chains: Sequence[tuple[str, Stream]]
) -> dict[tuple[str, Stream], _Head]:
    rows: list[sa.Row[str, Stream, int, str, int]] = []
    if connection.dialect.name == "postgresql":
        keys = [_lock_key(*chain) for chain in chains]
        execute_postgres(connection, _POSTGRES_LOCK, (keys,))
        # A statement of its own, which sees what was committed while the lock was waited for.
        columns = [list(column) for column in zip(*chains, strict=True)]
        rows.extend(execute_postgres(connection, _POSTGRES_HEADS, columns))
    else:
        # SQLite's writing transaction is exclusive already.
        for first in range(0, len(chains), ROWS_AT_ONCE):
            some = chains[first : first + ROWS_AT_ONCE]
            values = [part for chain in some for part in chain]
            rows.extend(execute_sqlite(connection, _sqlite_heads(len(some)), values))
    return {(row[0], row[1]): _Head(*row[2:]) for row in rows}


@lru_cache(ROWS_AT_ONCE)
def _sqlite_heads(chains: int) -> str:
    return _SQLITE_HEADS.format(", ".join(["(?, ?)"] * chains))


def _report_clock(heads: dict[tuple[str, Stream], _Head], now: float) -> None:
    behind_s = max((head.timestamp for head in heads.values()), default=0) - int(now)
    if behind_s > CLOCK_TOLERANCE_S:
        log.event("audit.clock_behind", logging.WARNING, behind_s=behind_s)


def _lock_key(tenant_id: str, stream: Stream) -> int:
    digest = sha256(f"vyrox\0{stream}\0{tenant_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _insert(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    if connection.dialect.name == "postgresql":
        insert_postgres(connection, _POSTGRES_INSERT, rows)
    else:
        insert_sqlite(connection, _INTO, rows)
