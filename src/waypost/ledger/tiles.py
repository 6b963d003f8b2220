"""Tiles: how a log is cut into files, and what the files are called.

    tile/<level>/<index>[.p/<width>]        hashes; hash i of level L is the root of 256^L leaves
    tile/entries/<index>[.p/<width>]        a bundle: entries, each with its length in two octets before it

A full tile has 256 and never changes; a partial one ends where the log did.  An index is written in groups of three
digits, all but the last with an x before them: 1234067 is x001/x234/067.

Source: C2SP tlog-tiles 0.1.0; notes on the ledger, 2.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from waypost.errors import WireError

WIDTH: Final = 256  # hashes in a full tile, entries in a full bundle
ENTRY_MAX: Final = 65_535  # octets: its length has two
LEVELS: Final = 8  # of hash tiles, for any size below 2^63
ENTRIES: Final = -1  # the level of entry bundles
_PATH: Final = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class Tile:
    """One file of a log; `level` is ENTRIES for a bundle, `width` how many of the 256 it has."""

    level: int
    index: int
    width: int

    @property
    def path(self) -> str:
        """Below the log's prefix."""
        digits = f"{self.index:03}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[place : place + 3] for place in range(0, len(digits), 3)]
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join([*('x' + group for group in groups[:-1]), groups[-1]])}{partial}"

    @classmethod
    def decode(cls, path: str) -> "Tile":
        """Raises WireError."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise WireError("that is no path of a tile")
        level, index, width = match.groups()
        number = int(index.replace("/", "").replace("x", ""))
        tile = cls(ENTRIES if level == "entries" else int(level), number, int(width or WIDTH))
        if tile.path != path or tile.width > WIDTH:
            raise WireError("that is not how the path of a tile is written")
        return tile

    @property
    def full(self) -> "Tile":
        """The full tile that takes its place one day."""
        return Tile(self.level, self.index, WIDTH)

    def is_within(self, size: int) -> bool:
        """Whether a log of that size has, or had, it."""
        return self.index * WIDTH + self.width <= size >> 8 * max(self.level, 0)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Each has ENTRY_MAX octets at most."""
    return b"".join([part for entry in entries for part in (len(entry).to_bytes(2, "big"), entry)])


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """The `width` entries of it.  Raises WireError.

    Not through a Reader, which takes four times as long: each entry of each log comes this way once.
    """
    entries, at = [], 0
    for _ in range(width):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
    if at != len(data):  # or past it
        raise WireError(f"the bundle has no {width} entries, or more")
    return entries


def tiles(old: int, new: int) -> Iterator[Tile]:
    """The hash tiles of a log of size `new` that it did not have at size `old`, level by level from the leaves up."""
    for level in range(LEVELS):
        yield from _level(level, old >> 8 * level, new >> 8 * level)


def bundles(old: int, new: int) -> Iterator[Tile]:
    """Likewise its entry bundles."""
    return _level(ENTRIES, old, new)


def _level(level: int, old: int, new: int) -> Iterator[Tile]:
    if old < new:
        for index in range(old // WIDTH, -(-new // WIDTH)):
            yield Tile(level, index, min(WIDTH, new - index * WIDTH))
