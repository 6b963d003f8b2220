"""The tree against the plain recursive definition of RFC 6962, against others' vectors, and with its tiles on disk."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import StoreError
from waypost.ledger.tree import EMPTY, Tree, leaf_hash, node_hash, prefix_root, verify_consistency, verify_inclusion

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


@settings(deadline=None)
@given(sizes)
def test_a_root_is_that_of_the_definition(tree: Tree, size: int) -> None:
    assert tree.root(size) == plain_root(HASHES[:size])


@settings(deadline=None)
@given(sizes, st.data())
def test_an_inclusion_proof_is_that_of_the_definition_and_verifies(tree: Tree, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion(index, size)
    assert proof == plain_inclusion(index, HASHES[:size])
    assert verify_inclusion(index, size, HASHES[index], proof, tree.root(size))


@settings(deadline=None)
@given(sizes, st.data())
def test_a_consistency_proof_is_that_of_the_definition_and_verifies(tree: Tree, new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = tree.consistency(old, new)
    assert proof == plain_consistency(old, HASHES[:new])
    assert verify_consistency(old, new, tree.root(old), tree.root(new), proof)


@settings(deadline=None)
@given(st.integers(1, 1_300), st.data())
def test_a_consistency_proof_says_itself_where_the_new_tree_begins(tree: Tree, new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = tree.consistency(old, new)
    is_held = old.bit_count() > 1 and old < new  # of a complete tree the root is not in the proof
    assert prefix_root(old, new, tree.root(new), proof) == (tree.root(old) if is_held else None)
    for altered in alterations(proof, data):
        assert prefix_root(old, new, tree.root(new), altered) in (None, tree.root(old))
    assert prefix_root(old, new, flipped(tree.root(new), 0), proof) is None


@settings(deadline=None)
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


# Proofs that are wrong.


@settings(deadline=None)
@given(sizes, st.data())
def test_an_altered_inclusion_proof_is_refused(tree: Tree, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, leaf, root = tree.inclusion(index, size), HASHES[index], tree.root(size)
    for altered in alterations(proof, data):
        assert not verify_inclusion(index, size, leaf, altered, root)
    other = data.draw(st.integers(-1, size).filter(lambda other: other != index))
    assert not verify_inclusion(other, size, leaf, proof, root)
    assert not verify_inclusion(index, size, flipped(leaf, 0), proof, root)
    assert not verify_inclusion(index, size, leaf, proof, flipped(root, 0))


@settings(deadline=None)
@given(sizes, st.data())
def test_an_altered_consistency_proof_is_refused(tree: Tree, new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof, before, after = tree.consistency(old, new), tree.root(old), tree.root(new)
    for altered in alterations(proof, data):
        assert not verify_consistency(old, new, before, after, altered)
    assert not verify_consistency(old, new, flipped(before, 0), after, proof)
    assert not verify_consistency(old, new, before, flipped(after, 0), proof)
    assert not verify_consistency(new + 1, new, before, after, proof)
    assert not verify_consistency(0, new, EMPTY, after, proof)


def alterations(proof: tuple[bytes, ...], data: st.DataObject) -> list[tuple[bytes, ...]]:
    """One octet another one, one hash more, one less, one moved over into the next."""
    found = [(*proof, EMPTY), (EMPTY, *proof)]
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        before, hash, after = proof[:place], proof[place], proof[place + 1 :]
        octet = data.draw(st.integers(0, 31))
        found += [(*before, flipped(hash, octet), *after), (*before, *after), (*before, hash[:31], *after)]
    return found


def flipped(hash: bytes, octet: int) -> bytes:
    return hash[:octet] + bytes([hash[octet] ^ 1]) + hash[octet + 1 :]


def test_a_proof_for_a_tree_of_another_size_is_refused_though_its_hashes_fit(tree: Tree) -> None:
    """Whoever made up a root could say so of a tree of a size that it cannot have."""
    leaf, other = HASHES[:2]
    assert verify_inclusion(1, 2, other, (leaf,), node_hash(leaf, other))
    assert not verify_inclusion(1, 1, other, (leaf,), node_hash(leaf, other))
    before, after, beside = tree.root(300), tree.root(700), HASHES[0]
    longer = (*tree.inclusion(5, 300), beside)
    assert not verify_inclusion(5, 300, HASHES[5], longer, node_hash(beside, before))
    longer = (*tree.consistency(300, 700), beside)
    assert not verify_consistency(300, 700, node_hash(beside, before), node_hash(beside, after), longer)


def test_a_proof_is_made_of_hashes() -> None:
    leaf, long = HASHES[0], bytes(40)
    assert not verify_inclusion(0, 2, leaf, (long,), node_hash(leaf, long))
    assert not verify_consistency(1, 2, leaf, node_hash(leaf, long), (long,))


def test_leaves_of_no_tree_have_no_hash_of_nothing() -> None:
    assert not verify_inclusion(0, 1, b"", (), b"")


def test_a_tree_without_leaves_has_the_hash_of_nothing(tree: Tree) -> None:
    assert Tree().root() == tree.root(0) == EMPTY
    assert tree.consistency(0) == ()


# Tiles, in memory and on disk.


class Disk:
    """The full tiles that a tree had, and how often they were read."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def read(self, level: int, index: int) -> bytes:
        self.reads += 1
        return self.tiles[level, index]

    def settle(self, tree: Tree, size: int) -> None:
        for level in range(2):
            for index in range(size >> 8 * (level + 1)):
                self.tiles[level, index] = tree.tile(level, index, 256)
        tree.settle(size)


@settings(deadline=None)
@given(st.integers(1, 1_300), st.integers(0, 1_300), st.integers(0, 1_300), st.integers(0, 3), st.data())
def test_with_its_tiles_on_disk_a_tree_says_the_same(
    tree: Tree, first: int, settled: int, more: int, expanded_max: int, data: st.DataObject
) -> None:
    disk = Disk()
    other = Tree(disk.read, expanded_max)
    other.extend(ENTRIES[:first])
    disk.settle(other, min(first, settled))
    other.extend(ENTRIES[first : first + more])
    size = other.size
    index = data.draw(st.integers(0, size - 1))
    assert other.root() == tree.root(size)
    assert other.root(index) == tree.root(index)
    assert other.inclusion(index) == tree.inclusion(index, size)
    assert other.consistency(index) == tree.consistency(index, size)
    width = data.draw(st.integers(1, min(256, size - index // 256 * 256)))
    assert other.tile(0, index // 256, width) == b"".join(HASHES[index // 256 * 256 :][:width])


def test_a_tile_is_asked_for_only_once_it_is_on_disk() -> None:
    disk = Disk()
    tree = Tree(disk.read)
    tree.extend(ENTRIES)
    tree.inclusion(7)
    tree.settle(255)
    tree.inclusion(7)
    assert disk.reads == 0
    disk.settle(tree, 256)
    tree.inclusion(7)
    assert disk.reads == 1
    tree.inclusion(300)
    assert disk.reads == 1


def test_the_tile_used_least_recently_is_read_again() -> None:
    disk = Disk()
    tree = Tree(disk.read, expanded_max=2)
    tree.extend(ENTRIES)
    disk.settle(tree, len(ENTRIES))
    for index in (0, 1, 256, 0, 512, 0):
        tree.inclusion(index)
    assert disk.reads == 3  # 512 took the place of 256
    tree.inclusion(256)
    assert disk.reads == 4


@settings(deadline=None)
@given(st.integers(0, 8191))
def test_a_tile_that_comes_back_altered_makes_no_proof(tree: Tree, octet: int) -> None:
    disk = Disk()
    other = Tree(disk.read)
    other.extend(ENTRIES)
    disk.settle(other, len(ENTRIES))
    disk.tiles[0, 1] = flipped(disk.tiles[0, 1], octet)
    with pytest.raises(StoreError, match="tile/0/001 is damaged"):
        other.inclusion(300)
    with pytest.raises(StoreError, match="tile/0/001 is damaged"):
        other.tile(0, 1, 9)
    assert other.inclusion(600) == tree.inclusion(600)


def test_a_tile_that_comes_back_short_makes_no_proof() -> None:
    disk = Disk()
    tree = Tree(disk.read)
    tree.extend(ENTRIES)
    disk.settle(tree, len(ENTRIES))
    disk.tiles[0, 1] = disk.tiles[0, 1][:-32]
    with pytest.raises(StoreError, match="tile/0/001 has 8160 octets"):
        tree.consistency(300)


@settings(deadline=None)
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


# The log of 70,000 entries of the notes, and its tiles on three levels.


@pytest.fixture(scope="module")
def large() -> Tree:
    tree = Tree()
    tree.extend([b"%d" % number for number in range(70_000)])
    return tree


def test_a_large_tree_restores_with_255_reads_of_each_level_at_most(large: Tree) -> None:
    disk = Disk()
    disk.settle(large, 70_000)
    restored = Tree(disk.read)
    restored.restore(70_000, [leaf_hash(b"%d" % number) for number in range(69_888, 70_000)])
    assert disk.reads == 17 + 1
    assert restored.root() == large.root()
    for index in (0, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999):
        assert restored.inclusion(index) == large.inclusion(index)
        assert restored.consistency(index) == large.consistency(index)


def test_a_tile_of_a_large_tree_is_checked_by_the_one_above_it(large: Tree) -> None:
    disk = Disk()
    disk.settle(large, 70_000)
    disk.tiles[1, 0] = flipped(disk.tiles[1, 0], 0)
    restored = Tree(disk.read)
    restored.restore(70_000, [leaf_hash(b"%d" % number) for number in range(69_888, 70_000)])
    assert restored.root() != large.root()  # the hash above was made of it
    large_again = Tree(disk.read)
    large_again.extend([b"%d" % number for number in range(70_000)])
    large_again.settle(70_000)
    with pytest.raises(StoreError, match="tile/1/000 is damaged"):
        large_again.inclusion(1)
    assert large_again.inclusion(69_000) == large.inclusion(69_000)


def test_every_hash_of_a_tile_is_the_root_of_256_of_the_level_below(large: Tree) -> None:
    assert large.tile(2, 0, 1) == large.root(65_536)
    assert large.tile(1, 0, 256)[:32] == large.root(256)
    assert large.tile(1, 1, 17)[-32:] == plain_root(cut(large.tile(0, 272, 256)))
    assert large.tile(0, 273, 112)[-32:] == leaf_hash(b"69999")


def cut(tile: bytes) -> list[bytes]:
    return [tile[place : place + 32] for place in range(0, len(tile), 32)]
