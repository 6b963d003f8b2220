"""What of a tree is enough to go on from its end: the roots of the complete subtrees that it is made of.

A tree of any size is a row of complete subtrees, each smaller than the one before.  Whoever holds their roots can add
leaves, or whole subtrees, and say the root of the larger tree; so entries that nobody has vouched for are checked
against a signed head before anything is kept of them.

Source: RFC 6962, 2.1; C2SP tlog-tiles (which tile holds the root of a subtree).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from waypost.ledger.tiles import WIDTH, Tile
from waypost.ledger.tree import EMPTY, HASH_SIZE, node_hash, pairs

HEIGHT: Final = 8  # levels of the tree in one tile


@dataclass(frozen=True, slots=True)
class Place:
    """The complete subtree over 2^level leaves, the index-th of its level."""

    level: int
    index: int

    def tile(self, size: int) -> Tile:
        """Which holds its root or what that is made of, as it is in a tree of `size` leaves."""
        level, within = divmod(self.level, HEIGHT)
        index = (self.index << within) // WIDTH
        return Tile(level, index, min(WIDTH, (size >> HEIGHT * level) - index * WIDTH))

    def root(self, tile: bytes) -> bytes:
        within = self.level % HEIGHT
        start = (self.index << within) % WIDTH * HASH_SIZE
        return _root([tile[at : at + HASH_SIZE] for at in range(start, start + (HASH_SIZE << within), HASH_SIZE)])


def places(start: int, stop: int) -> Iterator[Place]:
    """The complete subtrees over the leaves from `start` to `stop`, as few as can be."""
    while start < stop:
        level = (stop - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield Place(level, start >> level)
        start += 1 << level


class Peaks:
    """Of a tree of `size` leaves."""

    def __init__(self, size: int, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)

    @classmethod
    def read(cls, size: int, tile: Callable[[int, int, int], bytes]) -> "Peaks":
        """Of a tree whose tile of a level, index and width is at hand."""
        asked = [(place, place.tile(size)) for place in places(0, size)]
        return cls(size, [place.root(tile(held.level, held.index, held.width)) for place, held in asked])

    def push(self, root: bytes, level: int = 0) -> None:
        """A complete subtree more, of 2^level leaves; `size` is a multiple of that."""
        assert self.size % (1 << level) == 0
        self.size += 1 << level
        while not self.size >> level & 1:
            root = node_hash(self._roots.pop(), root)
            level += 1
        self._roots.append(root)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Leaves more, by their hashes."""
        first = self.size
        for place in places(first, first + len(leaves)):
            start = (place.index << place.level) - first
            self.push(_root(leaves[start : start + (1 << place.level)]), place.level)

    def root(self) -> bytes:
        if not self._roots:
            return EMPTY
        *others, root = self._roots
        for left in reversed(others):
            root = node_hash(left, root)
        return root


def _root(hashes: Sequence[bytes]) -> bytes:
    """Of a complete subtree."""
    while len(hashes) > 1:
        hashes = pairs(hashes)
    return hashes[0]
