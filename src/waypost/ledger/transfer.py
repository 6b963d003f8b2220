"""Entries of a log on their way to somebody who trusts nobody but the log's head.

A chunk of bundles is fetched with the few tiles of hashes that connect it to the head, and only if together they have
the head's root is anything of it worth keeping.

Source: C2SP tlog-tiles; notes on the ledger, L4.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from waypost.errors import WireError
from waypost.ledger.checkpoint import Head
from waypost.ledger.peaks import Peaks, Place, places
from waypost.ledger.questions import Call
from waypost.ledger.tiles import ENTRIES, ENTRY_MAX, WIDTH, Tile, decode_bundle
from waypost.ledger.tree import HASH_SIZE, leaf_hash

CHUNK_BUNDLES: Final = 8  # fetched, checked and written together
CHUNK_OCTETS: Final = 2 << 20  # of entries, after which a chunk has no further bundle
BUNDLE_OCTETS_MAX: Final = WIDTH * (2 + ENTRY_MAX)


@dataclass(slots=True)
class Transfer:
    """A chunk on its way: `entries` from leaf `first` on, up to leaf `stop` at most, and what connects it to `head`.

    `asked` is the tile under way, in one width or another; `source` is the node that is asked.
    """

    origin: str
    head: Head
    first: int
    stop: int
    peaks: Peaks
    source: str
    prefix: str
    entries: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)  # their hashes
    octets: int = 0
    hashes: dict[Tile, bytes] = field(default_factory=dict)
    asked: Tile | None = None

    @property
    def at(self) -> int:
        return self.first + len(self.entries)

    def next(self) -> Tile | None:
        """What is missing, of the width that it has under the head; None if nothing is."""
        if self.at < self.stop:
            index = self.at // WIDTH
            return Tile(ENTRIES, index, min(WIDTH, self.head.size - index * WIDTH))
        tiles = (place.tile(self.head.size) for place in self.rest())
        return next((tile for tile in tiles if tile not in self.hashes), None)

    def rest(self) -> Iterator[Place]:
        return places(self.at, self.head.size)

    def ask(self, tile: Tile) -> Call:
        self.asked = tile
        octets = BUNDLE_OCTETS_MAX if tile.level == ENTRIES else WIDTH * HASH_SIZE
        return Call(self.source, "GET", self.prefix + tile.path, octets_max=octets)

    def took(self, wanted: Tile, body: bytes) -> None:
        """Raises WireError."""
        assert self.asked is not None
        if wanted.level == ENTRIES:
            self._took_entries(decode_bundle(body, self.asked.width)[self.at % WIDTH : wanted.width])
            return
        if len(body) != self.asked.width * HASH_SIZE:
            raise WireError("a tile has another width than its name says")
        self.hashes[wanted] = body[: wanted.width * HASH_SIZE]

    def is_of_head(self) -> bool:
        """All is there: has it the head's root?"""
        for place in self.rest():
            self.peaks.push(place.root(self.hashes[place.tile(self.head.size)]), place.level)
        return self.peaks.root() == self.head.root

    def _took_entries(self, entries: list[bytes]) -> None:
        leaves = [leaf_hash(entry) for entry in entries]
        self.peaks.extend(leaves)
        self.octets += sum(map(len, entries))
        self.entries += entries
        self.leaves += leaves
        if self.octets >= CHUNK_OCTETS:
            self.stop = self.at
