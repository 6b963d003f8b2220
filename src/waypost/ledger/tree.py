"""A Merkle tree that only grows, and proofs about it.

    hash(no leaves) = SHA-256("")
    hash(leaf)      = SHA-256(0x00 || entry)
    hash(node)      = SHA-256(0x01 || left || right)        the left one has the largest power of two of leaves

A tree of n leaves is a row of perfect trees, one for each bit of n, largest first: its peaks.  Every proof is made of
nodes of perfect trees, and at most one hash over the last few peaks.

Nodes lie in tiles of eight levels.  What the last tile of each level has is in memory, row by row; full tiles are kept
with all their nodes, numbered as in a heap (children of n: 2n and 2n + 1), until settle() says that they can be read.
They come back through a cache, each checked against the hash above it, so that a damaged disk never makes a proof.

Source: RFC 6962, 2.1; RFC 9162, 2.1.3 and 2.1.4 (verification); notes on the ledger, 2 and 4 (the layout).
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from waypost.errors import StoreError
from waypost.ledger.tiles import LEVELS, WIDTH, Tile

HASH_SIZE: Final = 32  # octets
EMPTY: Final = sha256(b"").digest()
EXPANDED_MAX: Final = 64  # tiles that were read, 16 KiB each: a megabyte for each log that is mirrored
CHUNK: Final = 1 << 16  # leaves that extend() takes at once
TILE_SIZE: Final = WIDTH * HASH_SIZE

# Where the siblings of node n of a tile lie in it, and those of the nodes above n.
_SLOTS: Final = [slice((node - 2) * HASH_SIZE, (node - 1) * HASH_SIZE) for node in range(2 * WIDTH)]
_SIBLINGS: Final = [[_SLOTS[(node >> row) ^ 1] for row in range(node.bit_length() - 1)] for node in range(2 * WIDTH)]

ReadTile = Callable[[int, int], bytes]  # level, index -> the full tile; raises StoreError


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the `proof` shows the leaf at `index` in the tree of that size and root."""
    if not 0 <= index < size or not _are_hashes(leaf_hash, root, *proof):
        return False
    inner = (index ^ (size - 1)).bit_length()
    if len(proof) != inner + (index >> inner).bit_count():
        return False
    return _climb(index, inner, leaf_hash, proof) == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the `proof` shows that the tree of size `new` begins with the leaves of the old one.

    Of an old tree without leaves it says no: whoever asks that has nothing to compare.
    """
    if old == new:
        return old > 0 and not proof and old_root == new_root
    return _prefix(old, new, old_root, new_root, proof) == old_root


def prefix_root(old: int, new: int, new_root: bytes, proof: Sequence[bytes]) -> bytes | None:
    """Which root the `proof` gives the first `old` leaves of the tree of size `new`; None if it proves nothing.

    None also where `old` is a power of two, for no proof holds the root then: whoever checks it has that.
    """
    return _prefix(old, new, None, new_root, proof)


def _prefix(old: int, new: int, old_root: bytes | None, new_root: bytes, proof: Sequence[bytes]) -> bytes | None:
    if not 0 < old < new or not _are_hashes(*proof):
        return None
    shift = (old & -old).bit_length() - 1  # height of the smallest peak of the old tree
    index = (old - 1) >> shift  # of that peak
    seed, path = (proof[0], proof[1:]) if index and proof else (old_root, proof)
    inner = (index ^ ((new - 1) >> shift)).bit_length()
    if seed is None or len(path) != inner + (index >> inner).bit_count():
        return None
    older = [hash for level, hash in enumerate(path) if level >= inner or index >> level & 1]
    return _fold([seed, *older]) if _climb(index, inner, seed, path) == new_root else None


class Tree:
    """Without `read` every node stays in memory, 64 octets for each leaf.

    Whoever gives `read` writes the full tiles (tile() has them), then calls settle().
    """

    def __init__(self, read: ReadTile | None = None, expanded_max: int = EXPANDED_MAX) -> None:
        self.size = 0
        self._read = read
        self._expanded_max = expanded_max
        self._rows = [bytearray() for _ in range(8 * LEVELS)]  # the last tile of each level, by level of nodes
        self._settled = [0] * LEVELS  # full tiles that can be read
        self._kept: list[list[bytes]] = [[] for _ in range(LEVELS)]  # full tiles that come after those
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()  # the one used last is last
        self._topped = 0  # the size of the tree that _tops are of: proofs come in many for one head
        self._tops: dict[int, list[bytes]] = {}

    def restore(self, size: int, tail: Sequence[bytes]) -> None:
        """The tree of `size` leaves, whose full tiles can be read; `tail`: the hashes of the leaves past those.

        Reads 255 tiles of each level at most; whoever knows the root compares it.  Raises StoreError.
        """
        assert self.size == 0
        assert len(tail) == size % WIDTH
        self.size = size
        hashes = list(tail)
        for level in range(LEVELS):
            for row in self._rows[8 * level : 8 * level + 8]:
                row += b"".join(hashes)
                hashes = pairs(hashes)
            full = self._settled[level] = size >> 8 * (level + 1)
            hashes = [_expand(self._full(level, index))[1] for index in range(full // WIDTH * WIDTH, full)]

    def append(self, entry: bytes) -> None:
        rows = self._rows
        index = self.size
        self.size = index + 1
        level = 0
        rows[0] += sha256(b"\x00" + entry).digest()
        while index & 1:
            hash = sha256(b"\x01" + rows[level][-64:]).digest()
            index >>= 1
            level += 1
            rows[level] += hash
        if level >= 8:
            self._keep(level)

    def extend(self, entries: Sequence[bytes]) -> None:
        for start in range(0, len(entries), CHUNK):
            self._add([sha256(b"\x00" + entry).digest() for entry in entries[start : start + CHUNK]])

    def extend_hashes(self, hashes: Sequence[bytes]) -> None:
        """Leaves by their hashes."""
        for start in range(0, len(hashes), CHUNK):
            self._add(hashes[start : start + CHUNK])

    def settle(self, size: int) -> None:
        """The full tiles of the first `size` leaves can be read from now on, and leave memory."""
        if self._read is None:
            return
        for level in range(LEVELS):
            new = min(size, self.size) >> 8 * (level + 1)
            if new > self._settled[level]:
                del self._kept[level][: new - self._settled[level]]
                self._settled[level] = new

    def root(self, size: int | None = None) -> bytes:
        size = self._had(size)
        return _fold([self._node(height, (size >> height) - 1) for height in _bits(size)]) if size else EMPTY

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """That the leaf at `index` is in the tree of `size` leaves: hashes from the leaf upwards."""
        size = self._had(size)
        assert 0 <= index < size
        return tuple(self._path(0, index, size))

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """That the tree of size `new` begins with that of size `old`; of size 0 there is nothing to say."""
        new = self._had(new)
        assert 0 <= old <= new
        if old in (0, new):
            return ()
        level = (old & -old).bit_length() - 1
        last = (old >> level) - 1
        seed = [self._node(level, last)] if last else []
        return (*seed, *self._path(level, last, new))

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The hash tile as it was or is; `Tile(level, index, width).is_within(size)` says whether there is one.

        Raises StoreError, as do root() and the proofs, if the disk has another.
        """
        assert Tile(level, index, width).is_within(self.size)
        if index < self.size >> 8 * (level + 1):
            return self._expanded(level, index)[-TILE_SIZE:][: width * HASH_SIZE]
        return bytes(self._rows[8 * level][: width * HASH_SIZE])

    def _had(self, size: int | None) -> int:
        if size is None:
            return self.size
        assert 0 <= size <= self.size
        return size

    def _add(self, hashes: Sequence[bytes]) -> None:
        """Level by level: a pair that is there already has its parent."""
        self.size += len(hashes)
        level = 0
        while hashes:
            row = self._rows[level]
            lone = [bytes(row[-HASH_SIZE:])] if len(row) & HASH_SIZE else []
            row += b"".join(hashes)
            hashes = pairs([*lone, *hashes])
            level += 1
        self._keep(level)

    def _keep(self, levels: int) -> None:
        """Cut the full tiles off the rows below that level."""
        for level in range(levels // 8 + 1):
            rows = self._rows[8 * level : 8 * level + 8]
            for _ in range(len(rows[0]) // TILE_SIZE):
                heap = b"".join([rows[height][: TILE_SIZE >> height] for height in range(7, -1, -1)])
                for height, row in enumerate(rows):
                    del row[: TILE_SIZE >> height]
                self._kept[level].append(heap)

    def _path(self, level: int, index: int, size: int) -> list[bytes]:
        """From the node at that level and index up to the root of the tree of `size` leaves."""
        height = ((index << level) ^ size).bit_length() - 1  # of the peak above it
        path: list[bytes] = []
        while level < height:
            tile_level, row = divmod(level, 8)
            tile, column = divmod(index, WIDTH >> row)
            if tile < self.size >> 8 * (tile_level + 1):
                siblings = _SIBLINGS[(WIDTH >> row) + column][: height - level]
                path += map(self._expanded(tile_level, tile).__getitem__, siblings)
                level, index = 8 * (tile_level + 1), tile
            else:
                place = (column ^ 1) * HASH_SIZE
                path.append(bytes(self._rows[level][place : place + HASH_SIZE]))
                level, index = level + 1, index >> 1
        if self._topped != size:
            self._topped, self._tops = size, self._tops_of(size)
        return path + self._tops[height]

    def _tops_of(self, size: int) -> dict[int, list[bytes]]:
        """How the way up ends from each peak, by height: the hash over all smaller peaks, then each larger one."""
        heights = _bits(size)
        peaks = [self._node(height, (size >> height) - 1) for height in heights]
        tops = {}
        smaller: list[bytes] = []
        for place, height in enumerate(heights):
            tops[height] = smaller + peaks[place + 1 :]
            smaller = [_fold([*smaller, peaks[place]])]
        return tops

    def _node(self, level: int, index: int) -> bytes:
        """The root of the perfect tree of 2^level leaves at that index of its level."""
        tile_level, row = divmod(level, 8)
        width = WIDTH >> row
        tile, column = divmod(index, width)
        if tile < self.size >> 8 * (tile_level + 1):
            place = (width + column - 2) * HASH_SIZE
            return self._expanded(tile_level, tile)[place : place + HASH_SIZE]
        return bytes(self._rows[level][column * HASH_SIZE : (column + 1) * HASH_SIZE])

    def _expanded(self, level: int, index: int) -> bytes:
        """Nodes 2 to 511 of a full tile."""
        place = index - self._settled[level]
        if place >= 0:
            return self._kept[level][place]
        heap = self._cache.get((level, index))
        if heap is not None:
            self._cache.move_to_end((level, index))
            return heap
        heap, root = _expand(self._full(level, index))
        if root != self._node(8 * (level + 1), index):
            raise StoreError(f"{Tile(level, index, WIDTH).path} is damaged")
        self._cache[level, index] = heap
        if len(self._cache) > self._expanded_max:
            self._cache.popitem(last=False)
        return heap

    def _full(self, level: int, index: int) -> bytes:
        assert self._read is not None
        data = self._read(level, index)
        if len(data) != TILE_SIZE:
            raise StoreError(f"{Tile(level, index, WIDTH).path} has {len(data)} octets")
        return data


def tile_root(hashes: bytes) -> bytes:
    """Of a full tile: the hash that stands for it in the tile above."""
    return _expand(hashes)[1]


def _expand(tile: bytes) -> tuple[bytes, bytes]:
    """The nodes 2 to 511 of a full tile, and node 1."""
    rows = [[tile[place : place + HASH_SIZE] for place in range(0, TILE_SIZE, HASH_SIZE)]]
    while len(rows[-1]) > 1:
        rows.append(pairs(rows[-1]))
    return b"".join([b"".join(row) for row in rows[-2::-1]]), rows[-1][0]


def pairs(hashes: Sequence[bytes]) -> list[bytes]:
    """The node above each pair; one that is left over has none yet."""
    each = iter(hashes)
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(each, each, strict=False)]


def _fold(peaks: Sequence[bytes]) -> bytes:
    """The hash over peaks, smallest first."""
    root = peaks[0]
    for peak in peaks[1:]:
        root = node_hash(peak, root)
    return root


def _are_hashes(*hashes: bytes) -> bool:
    return set(map(len, hashes)) <= {HASH_SIZE}


def _climb(index: int, inner: int, hash: bytes, proof: Sequence[bytes]) -> bytes:
    """Up `inner` levels as the bits of `index` say, and then from the right edge."""
    for level, other in enumerate(proof):
        hash = node_hash(other, hash) if level >= inner or index >> level & 1 else node_hash(hash, other)
    return hash


def _bits(number: int) -> list[int]:
    """Which are set, lowest first."""
    return [bit for bit in range(number.bit_length()) if number >> bit & 1]
