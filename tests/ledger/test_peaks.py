"""Peaks: to go on from the end of a tree, and to connect it to a larger one."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.ledger.peaks import Peaks, places
from waypost.ledger.tiles import Tile
from waypost.ledger.tree import Tree, leaf_hash

SIZES = (0, 1, 2, 3, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537, 70_000)


def tree_of(size: int) -> Tree:
    tree = Tree()
    tree.extend([b"%d" % number for number in range(size)])
    return tree


def test_leaf_by_leaf_peaks_have_the_root_of_the_tree() -> None:
    peaks, tree = Peaks(0), tree_of(600)
    for number in range(600):
        assert peaks.root() == tree.root(number)
        peaks.push(leaf_hash(b"%d" % number))
    assert peaks.size == 600
    assert peaks.root() == tree.root()


@pytest.mark.parametrize("size", SIZES)
def test_peaks_of_any_size_are_read_from_its_tiles(size: int) -> None:
    tree = tree_of(size)
    assert Peaks.read(size, tree.tile).root() == tree.root()


@pytest.mark.parametrize("size", [256, 700, 65_536, 70_000])
def test_what_is_missing_of_a_larger_tree_comes_from_few_of_its_tiles(size: int) -> None:
    tree, rng = tree_of(size), Random(size)
    for start in {0, 256, size, *(rng.randrange(0, size, 256) for _ in range(20))}:
        peaks = Peaks.read(start, tree.tile)
        held: dict[Tile, bytes] = {}
        for place in places(start, size):
            tile = place.tile(size)
            assert tile.is_within(size)
            held.setdefault(tile, tree.tile(tile.level, tile.index, tile.width))
            peaks.push(place.root(held[tile]), place.level)
        assert peaks.root() == tree.root()
        assert len(held) <= 6


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_places_lie_side_by_side_from_start_to_stop(one: int, other: int) -> None:
    at, stop = sorted((one, other))
    for place in places(at, stop):
        assert place.index << place.level == at
        at += 1 << place.level
    assert at == stop
