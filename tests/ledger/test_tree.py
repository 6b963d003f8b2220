"""The tree against the plain recursive definition of RFC 6962, against others' vectors, and with its tiles on disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.ledger.tree import EMPTY, Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion

ENTRIES = [b"entry %d" % number for number in range(1_300)]
HASHES = [leaf_hash(entry) for entry in ENTRIES]


def plain_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1."""
    if len(hashes) < 2:
        return hashes[0] if hashes else EMPTY
    left = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(plain_root(hashes[:left]), plain_root(hashes[left:]))


def plain_inclusion(index: int, hashes: list[bytes]) -> tuple[bytes, ...]:
    """RFC 6962, 2.1.1."""
    if len(hashes) == 1:
        return ()
    left = 1 << (len(hashes) - 1).bit_length() - 1
    if index < left:
        return (*plain_inclusion(index, hashes[:left]), plain_root(hashes[left:]))
    return (*plain_inclusion(index - left, hashes[left:]), plain_root(hashes[:left]))


def plain_consistency(old: int, hashes: list[bytes], *, known: bool = True) -> tuple[bytes, ...]:
    """RFC 6962, 2.1.2."""
    if old == len(hashes):
        return () if known else (plain_root(hashes),)
    left = 1 << (len(hashes) - 1).bit_length() - 1
    if old <= left:
        return (*plain_consistency(old, hashes[:left], known=known), plain_root(hashes[left:]))
    return (*plain_consistency(old - left, hashes[left:], known=False), plain_root(hashes[:left]))


@pytest.fixture(scope="module")
def tree() -> Tree:
    whole = Tree()
    whole.extend(ENTRIES)
    return whole


sizes = st.integers(1, len(ENTRIES))


@given(sizes)
def test_a_root_is_that_of_the_definition(tree: Tree, size: int) -> None:
    assert tree.root(size) == plain_root(HASHES[:size])


@given(sizes, st.data())
def test_an_inclusion_proof_is_that_of_the_definition_and_verifies(tree: Tree, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion(index, size)
    assert proof == plain_inclusion(index, HASHES[:size])
    assert verify_inclusion(index, size, HASHES[index], proof, tree.root(size))


@given(sizes, st.data())
def test_a_consistency_proof_is_that_of_the_definition_and_verifies(tree: Tree, new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = tree.consistency(old, new)
    assert proof == plain_consistency(old, HASHES[:new])
    assert verify_consistency(old, new, tree.root(old), tree.root(new), proof)


@given(st.lists(st.integers(0, 300), max_size=8))
def test_leaves_come_one_by_one_or_in_batches_or_as_hashes(tree: Tree, batches: list[int]) -> None:
    grown = Tree()
    for number, count in enumerate(batches):
        start, stop = grown.size, min(grown.size + count, len(ENTRIES))
        if number % 3 == 0:
            grown.extend(ENTRIES[start:stop])
        elif number % 3 == 1:
            grown.extend_hashes(HASHES[start:stop])
        else:
            for entry in ENTRIES[start:stop]:
                grown.append(entry)
        assert grown.size == stop
        assert grown.root() == tree.root(stop)


class Disk:
    """The full tiles that a tree had, and how often they were read."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def read(self, level: int, index: int) -> bytes:
        self.reads += 1
        return self.tiles[level, index]

    def settle(self, tree: Tree) -> None:
        for level in range(2):
            for index in range(tree.size >> 8 * (level + 1)):
                self.tiles[level, index] = tree.tile(level, index, 256)
        tree.settle(tree.size)


@given(st.integers(1, 1_300), st.integers(0, 1_300), st.integers(0, 3), st.data())
def test_with_its_tiles_on_disk_a_tree_says_the_same(
    tree: Tree, first: int, more: int, expanded_max: int, data: st.DataObject
) -> None:
    disk = Disk()
    other = Tree(disk.read, expanded_max)
    other.extend(ENTRIES[:first])
    disk.settle(other)
    other.extend(ENTRIES[first : first + more])
    size = other.size
    index = data.draw(st.integers(0, size - 1))
    assert other.root() == tree.root(size)
    assert other.inclusion(index) == tree.inclusion(index, size)
    assert other.consistency(index) == tree.consistency(index, size)
    assert other.tile(0, index // 256, index % 256 + 1) == tree.tile(0, index // 256, index % 256 + 1)


@given(sizes)
def test_a_tree_restores_from_its_tiles_and_the_tail(tree: Tree, size: int) -> None:
    disk = Disk()
    disk.tiles = {(0, index): tree.tile(0, index, 256) for index in range(5)}
    restored = Tree(disk.read)
    restored.restore(size, HASHES[size // 256 * 256 : size])
    assert disk.reads == size // 256
    assert restored.root() == tree.root(size)
    restored.extend(ENTRIES[size:])
    assert restored.root() == tree.root()
