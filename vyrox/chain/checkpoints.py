"""Checkpoints and proofs of every chain: the growing trees in memory (contract 93 and 94).

A tree needs the roots of at most 63 subtrees. For actions it grows with each commit; another
container's entries, and events, are read from the rows when a checkpoint is wanted. Nothing here is
state of its own: all of it comes from committed rows.
"""

import asyncio
import logging
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from vyrox import log
from vyrox.chain import nodes
from vyrox.chain.entry import Receipt, Stream
from vyrox.chain.identity import Signer
from vyrox.chain.nodes import BrokenChainError, Chain
from vyrox.chain.notes import Note
from vyrox.chain.tree import Frontier, consistency_ranges, inclusion_ranges
from vyrox.clock import Clock
from vyrox.errors import NotFoundError
from vyrox.store.database import Database

MAX_TREES: Final = 4096
"""Trees in memory, those used last. Each takes at most 4 kB, and can be read again."""

READ_ON: Final = 1024
"""Entries that are added to a tree one by one. If more are missing, it is read from the subtrees.
"""

MAX_WAIT_S: Final = 0.5
"""How long an answer waits for its checkpoint; it waits only if entries must be read first."""


class Inclusion(msgspec.Struct, frozen=True):
    """The proof that an entry is in the tree of the first `size` entries. Counted from 1."""

    kind: str
    tenant_id: str
    stream: Stream
    entry: int
    hash: str
    size: int
    root: str
    proof: list[str]


class Consistency(msgspec.Struct, frozen=True):
    """The proof that the first `old_size` of `size` entries are those of the older tree."""

    kind: str
    tenant_id: str
    stream: Stream
    old_size: int
    old_root: str
    size: int
    root: str
    proof: list[str]


class _Tree:
    """The tree of one chain, as far as it was read."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.lock = asyncio.Lock()
        self.signed: tuple[int, str] = (-1, "")


class Checkpoints:
    """The checkpoints of all chains of a log."""

    def __init__(self, database: Database, clock: Clock, signer: Signer) -> None:
        """Begin without a tree in memory. `followers` are called as `follow` is."""
        self._database = database
        self._clock = clock
        self._trees: OrderedDict[Chain, _Tree] = OrderedDict()
        self._reading: set[asyncio.Task[None]] = set()
        self.signer = signer
        self.followers: list[Callable[[Sequence[Receipt]], None]] = []

    def follow(self, receipts: Sequence[Receipt]) -> None:
        """Add committed actions to their trees. What does not follow is read when it is needed."""
        for follower in self.followers:
            follower(receipts)
        for receipt in receipts:
            if receipt.stream == "actions":
                chain = (receipt.tenant_id, receipt.stream)
                tree = self._tree(chain) if receipt.sequence == 1 else self._trees.get(chain)
                if tree is not None and tree.frontier.size == receipt.sequence - 1:
                    tree.frontier.append(bytes.fromhex(receipt.hash))

    async def header(self, tenant_id: str, at_least: int) -> str | None:
        """Return a signed checkpoint of the actions for an answer, in base64.

        None if it took longer than MAX_WAIT_S, or the database cannot be read: an answer must not
        wait for that. The reading goes on, for the next answer.

        Args:
            at_least: The size that it must cover.
        """
        chain: Chain = (tenant_id, "actions")
        tree = self._tree(chain)
        if tree.frontier.size < max(at_least, 1):
            task = asyncio.create_task(self._catch_up(chain, tree, max(at_least, 1)))
            self._reading.add(task)
            task.add_done_callback(self._read)
            await asyncio.wait([task], timeout=MAX_WAIT_S)
            if tree.frontier.size < at_least:
                log.event("checkpoint.late", logging.WARNING, tenant=tenant_id)
                return None
        size = tree.frontier.size
        if tree.signed[0] != size:
            note = self.signer.sign(tenant_id, "actions", size, tree.frontier.root())
            tree.signed = (size, b64encode(note.encode()).decode())
        return tree.signed[1]

    async def current(self, tenant_id: str, stream: Stream) -> Note:
        """Return a checkpoint of all committed entries, with a signed time.

        Raises:
            BrokenChainError: The chain has fewer entries than it had, or rows are missing.
            DatabaseUnavailableError: The entries cannot be read.
        """
        chain = (tenant_id, stream)
        tree = self._tree(chain)
        await self._catch_up(chain, tree)
        frontier = tree.frontier
        now = int(self._clock())
        return self.signer.sign(tenant_id, stream, frontier.size, frontier.root(), now)

    async def at(self, tenant_id: str, stream: Stream, size: int) -> Note:
        """Return a checkpoint of exactly the first `size` entries, which are committed."""
        root = await self._root_at((tenant_id, stream), size)
        return self.signer.sign(tenant_id, stream, size, root, int(self._clock()))

    async def length(self, tenant_id: str, stream: Stream) -> int:
        """Return how many entries the chain has."""
        return await self._database.read(nodes.length, (tenant_id, stream))

    async def inclusion(self, tenant_id: str, stream: Stream, entry: int, size: int) -> Inclusion:
        """Return the proof of one entry. Raises NotFoundError, and as `current`."""
        if not 1 <= entry <= size:
            raise NotFoundError("no such entry")
        chain = (tenant_id, stream)
        root = await self._root_at(chain, size)
        hashes, proof = await self._database.read(_entry_and_path, chain, entry, size)
        return Inclusion(
            "inclusion", *chain, entry, hashes[0].hex(), size, _text(root), [*map(_text, proof)]
        )

    async def consistency(
        self, tenant_id: str, stream: Stream, old_size: int, size: int
    ) -> Consistency:
        """Return the proof that a tree extends an older one. Raises as `inclusion`."""
        if not 0 <= old_size <= size:
            raise NotFoundError("no such size")
        chain = (tenant_id, stream)
        root, old_root = await self._root_at(chain, size), await self._root_at(chain, old_size)
        ranges = consistency_ranges(old_size, size)
        proof = await self._database.read(nodes.read_roots, chain, ranges)
        return Consistency(
            "consistency",
            *chain,
            old_size,
            _text(old_root),
            size,
            _text(root),
            [*map(_text, proof)],
        )

    async def _root_at(self, chain: Chain, size: int) -> bytes:
        if size > await self._database.read(nodes.length, chain):
            raise NotFoundError("the chain has fewer entries")
        await nodes.fill(self._database, chain, size)
        return (await self._database.read(nodes.read_frontier, chain, size)).root()

    def _tree(self, chain: Chain) -> _Tree:
        tree = self._trees.get(chain)
        if tree is None:
            tree = self._trees[chain] = _Tree()
            if len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        else:
            self._trees.move_to_end(chain)
        return tree

    def _read(self, task: asyncio.Task[None]) -> None:
        self._reading.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.event("checkpoint.failed", logging.ERROR, reason=str(error))

    async def _catch_up(self, chain: Chain, tree: _Tree, enough: int | None = None) -> None:
        """Read what was committed since, unless the tree has `enough` by now.

        Raises as `current`.
        """
        async with tree.lock:
            if enough is not None and tree.frontier.size >= enough:
                return  # another caller has read them
            size = await self._database.read(nodes.length, chain)
            if size < tree.frontier.size:
                raise BrokenChainError(
                    f"tenant {chain[0]!a}, stream {chain[1]} has {size} entries, and had "
                    f"{tree.frontier.size}: somebody has deleted rows"
                )
            if size - tree.frontier.size > READ_ON:
                await nodes.fill(self._database, chain, size)
                frontier = await self._database.read(nodes.read_frontier, chain, size)
                if frontier.size > tree.frontier.size:
                    tree.frontier = frontier
                return
            before = tree.frontier.size
            hashes = await self._database.read(nodes.read_entry_hashes, chain, before, size)
            # In the meantime `follow` may have added some of them.
            for each in hashes[tree.frontier.size - before :]:
                tree.frontier.append(each)


def _entry_and_path(
    connection: Connection, chain: Chain, entry: int, size: int
) -> tuple[list[bytes], list[bytes]]:
    ranges = inclusion_ranges(entry - 1, size)
    found = nodes.read_entry_hashes(connection, chain, entry - 1, entry)
    return found, nodes.read_roots(connection, chain, ranges)


def _text(value: bytes) -> str:
    return b64encode(value).decode()
