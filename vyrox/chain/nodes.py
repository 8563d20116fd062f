"""The Merkle tree of a chain in the database: stored subtrees, and what is read for a proof.

The root of every complete subtree of 256, 65,536, ... leaves is stored, once it is needed. All
other roots are made from at most 255 of those, or of entries. So a proof in a tree of n entries
reads at most 2 * 255 hashes for each level of log256(n): about 1,500 for a million entries.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.archived import archived_up_to, read_archived_hashes
from vyrox.chain.entry import Stream
from vyrox.chain.tree import HASH_BYTES, Frontier, Subtree, fold, leaf_hash, node_hash, subtrees
from vyrox.errors import VyroxError
from vyrox.store.database import Database
from vyrox.store.rows import insert_rows
from vyrox.store.tables import audit_log, audit_tree

STEP: Final = 8
"""The roots of every eighth level are stored."""

BLOCK: Final = 1 << STEP

BLOCKS: Final = 16
"""How many stored roots are made at a time: a transaction reads 4,096 hashes."""

MAX_LEVEL: Final = 32

Chain = tuple[str, Stream]
"""The tenant and the stream."""

_log: Final = audit_log.c
_tree: Final = audit_tree.c


class BrokenChainError(VyroxError):
    """Rows of a chain are missing or have no hash: somebody has changed the database."""


def length(connection: Connection, chain: Chain) -> int:
    """Return how many entries the chain has."""
    query = sa.select(sa.func.max(_log.sequence)).where(
        _log.tenant_id == chain[0], _log.stream == chain[1]
    )
    return connection.execute(query).scalar() or 0


def read_entry_hashes(connection: Connection, chain: Chain, start: int, end: int) -> list[bytes]:
    """Return the hashes of the entries after `start` to `end`, counted from 1.

    Those of events in an archive are stored apart.

    Raises:
        BrokenChainError: They are not all there.
    """
    found: list[bytes] = []
    after = start
    if chain[1] == "events":
        archived = min(archived_up_to(connection, chain[0]), end)
        if start < archived:
            found = read_archived_hashes(connection, chain[0], start, archived)
            after = archived
    return _checked(chain, found + _read_row_hashes(connection, chain, after, end), end - start)


def _read_row_hashes(connection: Connection, chain: Chain, after: int, end: int) -> list[bytes]:
    if after >= end:
        return []
    query = (
        sa.select(_log.hash)
        .where(
            _log.tenant_id == chain[0],
            _log.stream == chain[1],
            _log.sequence.between(after + 1, end),
        )
        .order_by(_log.sequence)
    )
    try:
        return [bytes.fromhex(text) for text in connection.execute(query).scalars()]
    except ValueError:
        return []


def read_roots(
    connection: Connection, chain: Chain, ranges: Sequence[tuple[int, int]]
) -> list[bytes]:
    """Return the root of each range of leaves. Their subtrees must have been stored by `fill`.

    Raises:
        BrokenChainError: Rows are missing.
    """
    return [
        fold([_subtree_root(connection, chain, part) for part in subtrees(start, end)])
        for start, end in ranges
    ]


def read_frontier(connection: Connection, chain: Chain, size: int) -> Frontier:
    """Return the right edge of the tree of the first `size` entries. Raises as `read_roots`."""
    parts = subtrees(0, size)
    return Frontier(size, [_subtree_root(connection, chain, part) for part in parts])


async def fill(database: Database, chain: Chain, size: int) -> None:
    """Store the roots of all complete subtrees within the first `size` entries.

    It hashes each entry once for all time, in another thread, and a few thousand for each
    transaction. So neither the event loop nor the writer waits for it.

    Raises:
        BrokenChainError: Rows are missing.
        DatabaseUnavailableError: Some are not stored; the next call goes on there.
    """
    for level in range(STEP, MAX_LEVEL + 1, STEP):
        wanted = size >> level
        if not wanted:
            return
        done = await database.read(_stored, chain, level)
        while done < wanted:
            end = min(done + BLOCKS, wanted)
            children = await database.read(_hashes, chain, level - STEP, done * BLOCK, end * BLOCK)
            roots = await asyncio.to_thread(_block_roots, children)
            rows = [(*chain, level, done + number, root) for number, root in enumerate(roots)]
            await database.write(insert_rows, audit_tree, rows, "ON CONFLICT DO NOTHING")
            done = end


def _stored(connection: Connection, chain: Chain, level: int) -> int:
    query = sa.select(sa.func.max(_tree.position)).where(
        _tree.tenant_id == chain[0], _tree.stream == chain[1], _tree.level == level
    )
    last = connection.execute(query).scalar()
    return 0 if last is None else last + 1


def _subtree_root(connection: Connection, chain: Chain, part: Subtree) -> bytes:
    level = part.level // STEP * STEP
    count = 1 << part.level - level
    return _reduce(_hashes(connection, chain, level, part.index * count, (part.index + 1) * count))


def _hashes(connection: Connection, chain: Chain, level: int, start: int, end: int) -> list[bytes]:
    if level == 0:
        return [leaf_hash(each) for each in read_entry_hashes(connection, chain, start, end)]
    query = (
        sa.select(_tree.hash)
        .where(
            _tree.tenant_id == chain[0],
            _tree.stream == chain[1],
            _tree.level == level,
            _tree.position.between(start, end - 1),
        )
        .order_by(_tree.position)
    )
    return _checked(chain, list(connection.execute(query).scalars()), end - start)


def _checked(chain: Chain, hashes: list[bytes], count: int) -> list[bytes]:
    if len(hashes) != count or any(len(each) != HASH_BYTES for each in hashes):
        raise BrokenChainError(
            f"tenant {chain[0]!a}, stream {chain[1]}: rows are missing. See which: "
            "vyrox audit verify --live"
        )
    return hashes


def _block_roots(children: Sequence[bytes]) -> list[bytes]:
    return [_reduce(children[start : start + BLOCK]) for start in range(0, len(children), BLOCK)]


def _reduce(hashes: Sequence[bytes]) -> bytes:
    """Return the root above hashes of which there are a power of two."""
    while len(hashes) > 1:
        hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]
