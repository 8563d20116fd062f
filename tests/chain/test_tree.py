"""The Merkle tree, its proofs, and the published vectors (contract 93 and 94)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.chain.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_holds,
    consistency_ranges,
    fold,
    inclusion_holds,
    inclusion_ranges,
    leaf_hash,
    root_of,
    subtrees,
)

LEAVES = [hashlib.sha256(b"%d" % number).digest() for number in range(300)]


def naive_root(leaves: list[bytes]) -> bytes:
    """Return MTH of RFC 6962, 2.1, by its recursive definition."""
    if len(leaves) < 2:
        return hashlib.sha256(b"\0" + leaves[0] if leaves else b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = naive_root(leaves[:split]), naive_root(leaves[split:])
    return hashlib.sha256(b"\1" + left + right).digest()


def range_root(start: int, end: int) -> bytes:
    """Return the root of a range, from its complete subtrees."""
    parts = subtrees(start, end)
    assert sum(1 << each.level for each in parts) == end - start
    assert parts[0].index << parts[0].level == start
    return fold(
        [
            naive_root(LEAVES[part.index << part.level : (part.index + 1) << part.level])
            for part in parts
        ]
    )


def inclusion(index: int, size: int) -> list[bytes]:
    """Return the proof, each range by the recursive definition."""
    return [naive_root(LEAVES[start:end]) for start, end in inclusion_ranges(index, size)]


def consistency(old: int, new: int) -> list[bytes]:
    """Return the proof, each range by the recursive definition."""
    return [naive_root(LEAVES[start:end]) for start, end in consistency_ranges(old, new)]


def test_a_growing_tree_has_the_recursive_root_at_every_size_of_contract_93() -> None:
    """RFC 6962, 2.1, for 0 to 300 leaves; a frontier can be stored and continued."""
    frontier = Frontier()
    for size in range(len(LEAVES) + 1):
        assert frontier.root() == naive_root(LEAVES[:size])
        assert frontier.size == size
        assert len(frontier.peaks()) == len(subtrees(0, size)) <= 9
        frontier = Frontier(size, frontier.peaks())
        if size < len(LEAVES):
            frontier.append(LEAVES[size])
    assert root_of([]) == EMPTY_ROOT


def test_the_published_roots_of_certificate_transparency() -> None:
    """The eight leaves and the roots of the reference implementation of RFC 6962.

    Here the leaf's data are those of the vectors, not a hash of 32 bytes.
    """
    data = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
    data.append("606162636465666768696a6b6c6d6e6f")
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    frontier = Frontier()
    for leaf, root in zip(data, roots, strict=True):
        frontier.append(bytes.fromhex(leaf))
        assert frontier.root().hex() == root


@given(st.data())
def test_every_proof_verifies_and_no_other_does(data: st.DataObject) -> None:
    """Contract 94: RFC 9162, 2.1.3 and 2.1.4. One changed value makes a proof false."""
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    root, proof = naive_root(LEAVES[:size]), inclusion(index, size)
    assert inclusion_holds(index, size, LEAVES[index], proof, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda each: each != index or size == 1))
    if size > 1:
        assert not inclusion_holds(other, size, LEAVES[index], proof, root)
        assert not inclusion_holds(index, size, LEAVES[other], proof, root)
        assert not inclusion_holds(index, size, LEAVES[index], proof[:-1], root)
        assert not inclusion_holds(index, size, LEAVES[index], [*proof[:-1], root], root)
    assert not inclusion_holds(index, size, LEAVES[index], [*proof, root], root)
    assert not inclusion_holds(size, size, LEAVES[index], proof, root)

    old = data.draw(st.integers(0, size))
    old_root, extends = naive_root(LEAVES[:old]), consistency(old, size)
    assert consistency_holds(old, size, old_root, root, extends)
    wrong = leaf_hash(b"another tree")
    assert not consistency_holds(old, size, wrong, root, extends)
    assert old == 0 or not consistency_holds(old, size, old_root, wrong, extends)
    assert not consistency_holds(old, size, old_root, root, [*extends, wrong])
    assert not extends or not consistency_holds(old, size, old_root, root, extends[1:])
    assert not consistency_holds(size + 1, size, root, root, [])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300])
def test_ranges_are_made_of_complete_subtrees(size: int) -> None:
    """So the store of complete subtrees is enough for every proof of contract 94."""
    ranges = {each for index in range(size) for each in inclusion_ranges(index, size)}
    ranges |= {each for old in range(size) for each in consistency_ranges(old, size)}
    for start, end in ranges | {(0, size)}:
        assert range_root(start, end) == naive_root(LEAVES[start:end])
