"""The only writer of the audit chains (contract 27, 30 to 33).

An entry is committed in the transaction of what it records: the claim of a `request_id`, or the row
of an alert. So callers submit work, a function that takes a connection and returns its result and
the drafts of its entries. The writer gathers the waiting work, runs it, seals the drafts and
commits all of it together.

The transaction that appends to a chain first locks it and reads its head. The lock ends with the
transaction. So there is no state to repair after a failure, a restart or beside a second writer.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log, metrics
from vyrox.chain.entry import GENESIS, SERVICE, Draft, Receipt, seal
from vyrox.clock import Clock
from vyrox.errors import UnavailableError
from vyrox.store.database import Database
from vyrox.store.group_commit import GroupCommit
from vyrox.store.heads import read_heads
from vyrox.store.locks import lock_chains
from vyrox.store.rows import insert_rows
from vyrox.store.tables import audit_log

Item = TypeVar("Item")
Result = TypeVar("Result")

ATTEMPTS: Final = 3
"""How often a transaction is run if a writer without the lock keeps taking its place in a chain."""

GATHER_S: Final = 0.002
"""Longest that a commit waits for callers who may come: little, compared with the commit itself."""

CLOCK_TOLERANCE_S: Final = 2
"""How far the clock may be behind a chain before that is logged. The clocks of containers differ a
little, so a chain is often one second ahead."""


class WorkResult(msgspec.Struct, Generic[Result], frozen=True):
    """The result of a piece of work, and the entries that record it.

    Attributes:
        after_append: For work that stores the hash of an entry. It is called in the same
            transaction with the receipts of `drafts`. It returns a statement, the same object for
            every item, which is executed once for the whole batch, and the parameters of this item.
    """

    result: Result
    drafts: tuple[Draft, ...] = ()
    after_append: Callable[[tuple[Receipt, ...]], tuple[sa.Update, dict[str, object]]] | None = None


class Committed(msgspec.Struct, Generic[Result], frozen=True):
    """A result that is on disk, with the receipts of its drafts, in their order."""

    result: Result
    receipts: tuple[Receipt, ...]


Work = Callable[[Connection, Sequence[Item]], Sequence[WorkResult[Result]]]
"""Does the same work for many items in one transaction; returns one result per item, in order."""


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
    """Whether a transaction has reached its commit, which may or may not have happened then."""

    is_reached: bool = False


class ChainWriter:
    """Commits work and its entries, in batches, while `run` runs."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        follow: Callable[[Sequence[Receipt]], None] | None = None,
    ) -> None:
        """Create it. `follow` is called with the receipts of what was committed."""
        self._database = database
        self._clock = clock
        self._follow = follow
        self._commits = GroupCommit[_Waiting, Committed[object] | Exception](
            self._write,
            lambda waiting: waiting.size_bytes,
            lambda waiting: waiting.owner,
            GATHER_S,
        )

    async def run(self) -> None:
        """Commit the work that is submitted to `commit`, until cancelled."""
        await self._commits.run()

    async def commit(
        self,
        work: Work[Item, Result],
        item: Item,
        size_bytes: int = 0,
        *,
        owner: str = SERVICE,
    ) -> Committed[Result]:
        """Return the result of `work` for `item`, once it and its entries are on disk.

        Args:
            work: A function that gets all waiting items of its own in one call. After a rollback it
                may be called again, with fewer items.
            item: The input of `work`.
            owner: The tenant of the item, or SERVICE: tenants take turns in the writer's queue.
            size_bytes: The memory that `item` takes, if that is much.

        Raises:
            UnavailableError: Not committed, or not known to be.
            EntryError: A draft is not a valid entry; nothing of this item was committed.
            Exception: What `work` raised for this item; nothing of this item was committed.
        """
        waiting = _Waiting(cast("Work[object, object]", work), item, owner, size_bytes)
        committed = await self._commits.submit(waiting)
        if isinstance(committed, Exception):
            raise committed
        return cast("Committed[Result]", committed)

    async def _write(self, batch: Sequence[_Waiting]) -> list[Committed[object] | Exception]:
        results: list[Committed[object] | Exception] = []
        parts = [(batch, ATTEMPTS)]  # the next part last
        while parts:
            part, attempts = parts.pop()
            state = _CommitState()
            try:
                with metrics.COMMIT.timed():
                    written = await self._database.write(
                        _write_batch, part, self._clock(), state, pause=len(part) > 1
                    )
            except Exception as exc:  # noqa: BLE001  (every error goes to the callers)
                # A commit that failed, or may have failed, is not tried again. The next batch reads
                # what is in the chains and continues from there (contract 32).
                if isinstance(exc, UnavailableError) or state.is_reached:
                    results += [exc] * len(part)
                elif isinstance(exc, sa.exc.IntegrityError) and attempts > 1:
                    # Another writer has taken a place in a chain: read the heads again.
                    parts.append((part, attempts - 1))
                elif len(part) == 1:
                    results.append(exc)
                else:
                    # One item cannot be written, and all was rolled back. The other callers, who
                    # may belong to other tenants, must not fail with it.
                    half = len(part) // 2
                    parts += [(part[half:], ATTEMPTS), (part[:half], ATTEMPTS)]
            else:
                results += written
                if self._follow is not None:
                    self._follow([each for done in written for each in done.receipts])
        return results


def append(connection: Connection, drafts: Sequence[Draft], now: float) -> list[Receipt]:
    """Append `drafts` to their chains in this transaction; return their receipts in order.

    The receipts prove nothing until the transaction has committed.

    Args:
        now: Unix seconds. An entry gets this timestamp, or the timestamp of the entry before it if
            the clock was set back (contract 33).
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
        if draft.names_previous is not None:
            members[draft.names_previous] = receipts[-1].hash
        sealed = seal(members, head.hash, max(int(now), head.timestamp))
        heads[chain] = head = _Head(head.sequence + 1, sealed.hash, sealed.timestamp)
        place = (*chain, head.sequence)
        rows.append((*place, draft.kind, sealed.timestamp, sealed.hash, sealed.json))
        receipts.append(Receipt(*place, sealed.hash))
    insert_rows(connection, audit_log, rows)
    return receipts


def _write_batch(
    connection: Connection, batch: Sequence[_Waiting], now: float, state: _CommitState
) -> list[Committed[object]]:
    by_work: dict[Work[object, object], list[int]] = {}
    for index, waiting in enumerate(batch):
        by_work.setdefault(waiting.work, []).append(index)
    results: dict[int, WorkResult[object]] = {}
    # In order of name, and all work before the first chain is locked: containers that lock in
    # different orders would deadlock.
    for work, indexes in sorted(by_work.items(), key=lambda pair: _name(pair[0])):
        done = work(connection, [batch[index].item for index in indexes])
        results.update(zip(indexes, done, strict=True))
    drafts = [draft for index in range(len(batch)) for draft in results[index].drafts]
    receipts = iter(append(connection, drafts, now))
    committed: list[Committed[object]] = []
    updates: dict[sa.Update, list[dict[str, object]]] = {}
    for index in range(len(batch)):
        result = results[index]
        own = tuple(next(receipts) for _ in result.drafts)
        if result.after_append is not None:
            statement, parameters = result.after_append(own)
            updates.setdefault(statement, []).append(parameters)
        committed.append(Committed(result.result, own))
    for statement, all_parameters in updates.items():
        connection.execute(statement, all_parameters)
    state.is_reached = True
    return committed


def _name(work: Work[object, object]) -> tuple[str, str]:
    function = work.func if isinstance(work, partial) else work
    return function.__module__, function.__qualname__


def _lock_and_read_heads(
    connection: Connection, chains: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], _Head]:
    lock_chains(connection, chains)
    # A statement of its own: it sees what was committed while this transaction waited for the lock.
    rows = read_heads(connection, chains)
    return {(row[0], row[1]): _Head(*row[2:]) for row in rows}


def _report_clock(heads: dict[tuple[str, str], _Head], now: float) -> None:
    behind_s = max((head.timestamp for head in heads.values()), default=0) - int(now)
    if behind_s > CLOCK_TOLERANCE_S:
        log.event("audit.clock_behind", logging.WARNING, behind_s=behind_s)
