"""An audit of anybody's log: every tile and every entry of it, against its head, and that against the head before.

    audit = Audit(checkpoint, keys, verify, seen)       # WireError: it says nothing, or none of the keys signed it
    while paths := audit.wanted():                      # AHEAD of them at most; ask for all of them at once
        for path in paths:
            audit.took(path, data)                      # None: there is no such file
    audit.faults                                        # a sentence each; () and audit.head is the next one's `seen`

From the top down: the tiles at the right edge make the root of the head, or do not; each hash in a tile is the root
of a tile below, and each in a tile at the bottom is the hash of an entry.  So what does not fit is known by its path.
With `seen`, the head of an audit before, the new head must have its root over its entries, and only what came since is
read; `whole` reads all of it nevertheless.  In memory there are the tiles of one way down and what was asked for, never
the log.

A log that keeps full tiles alone, such as ours on its disk, has no partial ones to look at: edge() makes them.

Source: C2SP tlog-tiles 0.1.0 (a partial tile may have given way to the full one), tlog-checkpoint 1.0.0; notes on the
ledger, 1 (fsck) and 5.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from waypost.errors import StoreError, WireError
from waypost.ledger.checkpoint import Head, read_head
from waypost.ledger.note import Key, Verify, signers
from waypost.ledger.peaks import Peaks, places
from waypost.ledger.tiles import ENTRIES, LEVELS, WIDTH, Tile, bundles, decode_bundle
from waypost.ledger.tree import EMPTY, HASH_SIZE, TILE_SIZE, Tree, leaf_hash, tile_root

AHEAD: Final = 16  # files asked for at once; a bundle of the largest entries has 16 MiB
FAULTS_MAX: Final = 100  # told one by one; there is no end to what a bad log may have

ReadPath = Callable[[str], bytes | None]  # below the log's prefix


@dataclass(frozen=True, slots=True)
class _Due:
    """A file to look at: `says` is what it must hash to, a root, or the hashes of its entries."""

    tile: Tile
    says: bytes


class Audit:
    """`entries` and `tiles` count what was looked at; `more` the faults past FAULTS_MAX."""

    def __init__(
        self, checkpoint: bytes, keys: Sequence[Key], verify: Verify, seen: Head | None = None, *, whole: bool = False
    ) -> None:
        self.head: Final = read_head(checkpoint)
        if not signers(self.head.note, keys, verify):
            raise WireError("the checkpoint is not signed by the log")
        self.faults: list[str] = []
        self.more = 0
        self.entries = 0
        self.tiles = 0
        self._seen = seen
        self._start = seen.size if seen is not None and not whole else 0
        self._due: list[_Due] = []  # the next one is last
        self._asked: dict[str, _Due] = {}
        self._edge = dict.fromkeys(edge_tiles(self.head.size), b"")
        self._before: dict[Tile, bytes] = {}  # that have the peaks of `seen`
        self._sound = False  # the edge has the root of the head
        if self._may_begin():
            self._due = [_Due(tile, b"") for tile in self._edge]
            self._before = {place.tile(self.head.size): b"" for place in places(0, seen.size if seen else 0)}

    def wanted(self) -> list[str]:
        """The files to get next, those that were not taken yet again; none when the audit is over."""
        while self._due and len(self._asked) < AHEAD:
            due = self._due.pop()
            self._asked[due.tile.path] = due
        return list(self._asked)

    def took(self, path: str, data: bytes | None) -> None:
        """What is not wanted is ignored."""
        due = self._asked.pop(path, None)
        if due is None:
            return
        tile = due.tile
        if data is None and path != tile.full.path:
            self._asked[tile.full.path] = due  # tlog-tiles: the log has grown, and dropped the partial one
        elif data is None:
            self._tell(f"{tile.path} is missing")
        elif tile.level == ENTRIES:
            self._take_bundle(due, data, width=tile.width if path == tile.path else WIDTH)
        else:
            self._take_hashes(due, data, width=tile.width if path == tile.path else WIDTH)

    def _may_begin(self) -> bool:
        """Whether there is something to look at, once the heads alone have been compared."""
        head, seen = self.head, self._seen
        if seen is not None and seen.origin != head.origin:
            self._tell(f"this is a log of {head.origin}, and what was seen before one of {seen.origin}")
        elif seen is not None and seen.size > head.size:
            self._tell(f"the log has {head.size} entries, and had {seen.size} before")
        elif seen is not None and seen.size == head.size and seen.root != head.root:
            self._tell(f"the log shows two roots for its {head.size} entries")
        elif head.size == 0 and head.root != EMPTY:
            self._tell("the log has no entries, and not the root of none")
        return not self.faults and self._start < head.size

    def _take_hashes(self, due: _Due, data: bytes, width: int) -> None:
        tile = due.tile
        if len(data) != width * HASH_SIZE:
            self._tell(f"{tile.path} is damaged: it has {len(data)} octets")
            return
        hashes = data[: tile.width * HASH_SIZE]
        if tile in self._edge:
            self._edge[tile] = hashes
            if all(self._edge.values()):
                self._begin_below()
        elif tile_root(hashes) == due.says:
            self._accept(tile, hashes)
        else:
            self._tell_of(tile, "it has another hash")

    def _begin_below(self) -> None:
        """The edge is complete.  If it is damaged, what lies below still fits together or does not."""
        edge = {(tile.level, tile.index): hashes for tile, hashes in self._edge.items()}
        peaks = Peaks.read(self.head.size, lambda level, index, _: edge[level, index])
        self._sound = peaks.root() == self.head.root
        if not self._sound:
            self._tell(f"the head has another root than its tiles: {', '.join(tile.path for tile in self._edge)}")
        for tile, hashes in self._edge.items():
            self._accept(tile, hashes)

    def _accept(self, tile: Tile, hashes: bytes) -> None:
        """The tile is what it should be; what it tells of is due."""
        self.tiles += 1
        if tile in self._before:
            self._before[tile] = hashes
            if self._sound and all(self._before.values()):
                self._compare()
        if tile.level == 0:
            self._due.append(_Due(Tile(ENTRIES, tile.index, tile.width), hashes))
            return
        for column in reversed(range(tile.width)):
            below = Tile(tile.level - 1, tile.index * WIDTH + column, WIDTH)
            if (below.index + 1) << 8 * tile.level > self._start:
                self._due.append(_Due(below, hashes[column * HASH_SIZE : (column + 1) * HASH_SIZE]))

    def _compare(self) -> None:
        """Every tile is there that has a part of the tree that was seen before."""
        assert self._seen is not None
        before = {(tile.level, tile.index): hashes for tile, hashes in self._before.items()}
        peaks = Peaks.read(self._seen.size, lambda level, index, _: before[level, index])
        if peaks.root() != self._seen.root:
            self._tell(
                f"the log was rewritten: it does not begin with the {self._seen.size} entries that it had before"
            )

    def _take_bundle(self, due: _Due, data: bytes, width: int) -> None:
        tile = due.tile
        try:
            entries = decode_bundle(data, width)[: tile.width]
        except WireError as error:
            self._tell(f"{tile.path} is damaged: {error}")
            return
        hashes = [leaf_hash(entry) for entry in entries]
        self.entries += len(hashes)
        if b"".join(hashes) != due.says:
            said = (due.says[place : place + HASH_SIZE] for place in range(0, len(due.says), HASH_SIZE))
            column = next(column for column, hash in enumerate(said) if hash != hashes[column])
            self._tell_of(tile, f"entry {tile.index * WIDTH + column} is another one")

    def _tell_of(self, tile: Tile, what: str) -> None:
        index = tile.index if tile.level == ENTRIES else tile.index // WIDTH
        level = tile.level + 1
        above = Tile(level, index, min(WIDTH, (self.head.size >> 8 * level) - index * WIDTH))
        guilt = f"{tile.path} is damaged" if self._sound else f"{tile.path} and {above.path} do not fit"
        self._tell(f"{guilt}: {what}")

    def _tell(self, sentence: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(sentence)
        else:
            self.more += 1


def edge_tiles(size: int) -> list[Tile]:
    """The partial hash tiles of a log, those of the leaves first: all of its peaks are in them."""
    found = []
    for level in range(LEVELS):
        index, width = divmod(size >> 8 * level, WIDTH)
        if width:
            found.append(Tile(level, index, width))
    return found


def edge(head: Head, read: ReadPath) -> dict[str, bytes]:
    """The partial hash tiles, by path, of a log that keeps its full tiles and its bundles alone.

    Made of the full tiles if that gives the root of the head; else one of those is damaged, and the entries tell.
    Raises StoreError if the last bundle, of which there is no tile, is damaged.
    """
    last = Tile(ENTRIES, head.size // WIDTH, head.size % WIDTH)
    try:
        tail = decode_bundle(read(last.path) or b"", last.width) if last.width else []
    except WireError as error:
        raise StoreError(f"{last.path} is damaged: {error}") from error
    tree = _from_tiles(head.size, tail, read)
    if tree.root() != head.root:
        whole = _from_entries(head.size, tail, read)
        tree = whole if whole is not None and whole.root() == head.root else tree
    return {tile.path: tree.tile(tile.level, tile.index, tile.width) for tile in edge_tiles(head.size)}


def _from_tiles(size: int, tail: Sequence[bytes], read: ReadPath) -> Tree:
    def full(level: int, index: int) -> bytes:
        data = read(Tile(level, index, WIDTH).path)
        return data if data is not None and len(data) == TILE_SIZE else bytes(TILE_SIZE)

    tree = Tree(full)
    tree.restore(size, [leaf_hash(entry) for entry in tail])
    return tree


def _from_entries(size: int, tail: Sequence[bytes], read: ReadPath) -> Tree | None:
    tree = Tree(lambda level, index: b"")  # the edge is all that is asked of it
    try:
        for bundle in bundles(0, size - size % WIDTH):
            tree.extend(decode_bundle(read(bundle.path) or b"", WIDTH))
            tree.settle(tree.size)
    except WireError:
        return None
    tree.extend(tail)
    return tree
