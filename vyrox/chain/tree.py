"""The Merkle tree over a chain's entries: roots and proofs. Pure (contract 93 and 94).

The leaves are the 32 bytes of each entry's `hash`, in the order of the chain. A proof names ranges
of leaves, and each range is made of complete subtrees. So the roots of complete subtrees are
enough to make every root and every proof.

Source: RFC 6962, 2.1 (hashes), and RFC 9162, 2.1.3 and 2.1.4 (how proofs are verified).
"""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

HASH_BYTES: Final = 32


class Subtree(msgspec.Struct, frozen=True):
    """A complete subtree: the leaves from `index << level` on, `1 << level` of them."""

    level: int
    index: int


def leaf_hash(entry_hash: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\0" + entry_hash).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with two children."""
    return hashlib.sha256(b"\1" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a range of leaves, from the roots of its `subtrees`, left to right."""
    return functools.reduce(lambda right, left: node_hash(left, right), reversed(hashes))


class Frontier:
    """The right edge of a growing tree: the root of each complete subtree that it consists of."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        """Continue a tree of `size` leaves, whose `subtrees(0, size)` have the roots `peaks`."""
        self.size = size
        self._peaks = list(peaks)

    def append(self, entry_hash: bytes) -> None:
        """Add the next leaf."""
        node = hashlib.sha256(b"\0" + entry_hash).digest()
        size = self.size
        while size & 1:
            node = hashlib.sha256(b"\1" + self._peaks.pop() + node).digest()
            size >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        return fold(self._peaks) if self._peaks else EMPTY_ROOT

    def peaks(self) -> tuple[bytes, ...]:
        """Return the roots of `subtrees(0, size)`."""
        return tuple(self._peaks)


def root_of(entry_hashes: Iterable[bytes]) -> bytes:
    """Return the root of a tree with these leaves."""
    frontier = Frontier()
    for each in entry_hashes:
        frontier.append(each)
    return frontier.root()


def subtrees(start: int, end: int) -> list[Subtree]:
    """Return the complete subtrees that the leaves from `start` to before `end` consist of.

    `start` is 0 or where a subtree of a proof begins, so the subtrees get smaller to the right.
    """
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append(Subtree(level, start >> level))
        start += 1 << level
    return found


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the ranges whose roots prove that leaf `index` (from 0) is in a tree of `size`."""
    found = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return found[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """Return the ranges whose roots prove that the tree of size `old` is how `new` began."""
    if old in {0, new}:
        return []
    found = []
    start, end = 0, new
    while old < end:
        middle = start + _split(end - start)
        if old <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    if start:  # else the verifier has this root: it is that of the old tree
        found.append((start, end))
    return found[::-1]


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_holds(
    index: int, size: int, entry_hash: bytes, proof: Sequence[bytes], root: bytes
) -> bool:
    """Return whether the proof shows leaf `index` in the tree with this root.

    Source: RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf_hash(entry_hash)
    for each in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(each, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, each)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == root


def consistency_holds(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Return whether the proof shows that the old tree is how the new one began.

    Source: RFC 9162, 2.1.4.2. Every tree begins with the tree of size 0.
    """
    if not 0 <= old <= new:
        return False
    if old in {0, new}:
        expected = EMPTY_ROOT if old == 0 else new_root
        return not proof and old_root == expected
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    return bool(path) and _two_roots(old - 1, new - 1, path) == (old_root, new_root)


def _two_roots(fn: int, sn: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return the roots of the old and the new tree that a path leads to; None if it is too long."""
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for each in path[1:]:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            first, second = node_hash(each, first), node_hash(each, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, each)
        fn, sn = fn >> 1, sn >> 1
    return (first, second) if sn == 0 else None
