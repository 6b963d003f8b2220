"""A log on disk: full tiles and full bundles are files, what the last bundle has so far are rows.

    <folder>/tile/<level>/<index>    as tiles.py names them, written in the Commit before the rows
    prefix + "size"  -> uint64       how many entries there are
    prefix + uint16  -> uint16 n, n entries, each with its length in two octets before it: what one commit brought, from
                                     that place of the bundle that is not full; where none begins after the one before
                                     it, what is left of another bundle, and no part of the log

Where no such row begins, an entry may have a row of its own, prefix + uint8: so it was written once.

So a commit costs a row, and each 256th entry a few files.  Partial tiles are made from memory when they are asked for.
Only what settle() was told of is served: it is on disk.  Files without rows are those of a commit that failed; they
are written again, with the same octets or others.

Source: C2SP tlog-tiles 0.1.0; notes on the ledger, 2 and 5 (STORE-FIRST).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from waypost.codec import u8, u16, u64
from waypost.engine import Put, PutFile, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger.questions import ReadFile
from waypost.ledger.tiles import ENTRIES, LEVELS, WIDTH, Tile, decode_bundle, encode_bundle
from waypost.ledger.tree import Tree, leaf_hash

SIZE: Final = b"size"


class Archive:
    """The log below `folder`, the rows of which begin with `prefix` in `table`.  `read` gives its files."""

    def __init__(self, folder: str, table: str, prefix: bytes, read: ReadFile) -> None:
        self.durable = 0  # entries that are on disk
        self.tree = Tree(self._read_tile)
        self._folder = folder
        self._table = table
        self._prefix = prefix
        self._read = read
        self._tail: list[bytes] = []  # entries of the last bundle, while it is not full
        self._under_way: dict[Tile, bytes] = {}  # what a commit writes

    def restore(self, rows: Rows) -> None:
        """Raises StoreError if something is missing; whoever knows the root compares it."""
        size, self._tail = read_tail(lambda key: rows.get(self._table, self._prefix + key))
        if len(self._tail) < size % WIDTH:
            raise StoreError(f"entry {size - size % WIDTH + len(self._tail)} of {self._folder} is missing")
        self.tree.restore(size, [leaf_hash(entry) for entry in self._tail])
        self.settle(size)

    @property
    def size(self) -> int:
        """Entries, also those that are on their way to the disk."""
        return self.tree.size

    def extend(
        self, entries: Sequence[bytes], leaves: Sequence[bytes] | None = None
    ) -> tuple[tuple[PutFile, ...], tuple[Put, ...]]:
        """What to write, in one Commit; settle() once it is durable.  Each entry has ENTRY_MAX octets at most.

        `leaves` are their hashes, where somebody has them already.
        """
        old = self.size
        if leaves is None:
            self.tree.extend(entries)
        else:
            self.tree.extend_hashes(leaves)
        files = {}
        for index, (start, stop) in enumerate(_bundles(old, self.size), old // WIDTH):
            bundle = [*self._tail, *entries[max(start, old) - old : stop - old]]
            files[Tile(ENTRIES, index, WIDTH)] = encode_bundle(bundle)
            self._tail = []
        self._tail += entries[max(self.size - self.size % WIDTH, old) - old :]
        for level in range(LEVELS):
            for index in range(old >> 8 * (level + 1), self.size >> 8 * (level + 1)):
                files[Tile(level, index, WIDTH)] = self.tree.tile(level, index, WIDTH)
        self._under_way |= files
        first = max(old - (self.size - self.size % WIDTH), 0)
        puts = [self._put(SIZE, u64(self.size))]
        if brought := self._tail[first:]:
            puts.append(self._put(u16(first), u16(len(brought)) + encode_bundle(brought)))
        return tuple(PutFile(self._name(tile), data) for tile, data in files.items()), tuple(puts)

    def settle(self, size: int) -> None:
        """The first `size` entries are on disk."""
        self.durable = size
        self.tree.settle(size)
        for tile in [tile for tile in self._under_way if tile.is_within(size)]:
            del self._under_way[tile]

    def entry(self, index: int) -> bytes:
        """Raises StoreError if the disk has another."""
        return self.entries(index, index + 1)[0]

    def entries(self, start: int, stop: int) -> list[bytes]:
        """Raises StoreError if the disk has others."""
        assert 0 <= start <= stop <= self.size
        found: list[bytes] = []
        for index in range(start // WIDTH, -(-stop // WIDTH)):
            first = index * WIDTH
            found += self._bundle(index)[max(start - first, 0) : stop - first]
        return found

    def serve(self, path: str) -> bytes | None:
        """A tile or a bundle as it was at any size so far; None, there is none of that name.  Raises StoreError."""
        try:
            tile = Tile.decode(path)
        except WireError:
            return None
        if not tile.is_within(self.durable):
            return None
        if tile.level == ENTRIES:
            return encode_bundle(self._bundle(tile.index)[: tile.width])
        return self.tree.tile(tile.level, tile.index, tile.width)

    def _bundle(self, index: int) -> list[bytes]:
        """What there is of it, as the tree has it."""
        if index == self.size // WIDTH:
            return self._tail
        tile = Tile(ENTRIES, index, WIDTH)
        try:
            entries = decode_bundle(self._file(tile), WIDTH)
        except WireError as error:
            raise self._damaged(tile) from error
        if b"".join(map(leaf_hash, entries)) != self.tree.tile(0, index, WIDTH):
            raise self._damaged(tile)
        return entries

    def _read_tile(self, level: int, index: int) -> bytes:
        return self._file(Tile(level, index, WIDTH))

    def _file(self, tile: Tile) -> bytes:
        data = self._under_way.get(tile) or self._read(self._name(tile))
        if data is None:
            raise StoreError(f"{self._name(tile)} is missing", hint="put back a backup")
        return data

    def _damaged(self, tile: Tile) -> StoreError:
        return StoreError(f"{self._name(tile)} is damaged", hint="put back a backup")

    def _name(self, tile: Tile) -> str:
        return f"{self._folder}/{tile.path}"

    def _put(self, key: bytes, value: bytes) -> Put:
        return Put(self._table, self._prefix + key, value)


def read_tail(get: Callable[[bytes], bytes | None]) -> tuple[int, list[bytes]]:
    """The size of a log, and the entries of its last bundle, as `get` has its rows: fewer where one is damaged."""
    size = int.from_bytes(get(SIZE) or b"", "big")
    tail: list[bytes] = []
    while len(tail) < size % WIDTH and (found := _brought(get, len(tail))):
        tail += found
    return size, tail[: size % WIDTH]


def _brought(get: Callable[[bytes], bytes | None], place: int) -> list[bytes]:
    row = get(u16(place))
    if row is None:
        entry = get(u8(place))
        return [] if entry is None else [entry]
    try:
        return decode_bundle(row[2:], int.from_bytes(row[:2], "big"))
    except WireError:
        return []


def _bundles(old: int, new: int) -> list[tuple[int, int]]:
    """First entry and end of those that become full."""
    return list(pairwise(range(old - old % WIDTH, new + 1, WIDTH)))
