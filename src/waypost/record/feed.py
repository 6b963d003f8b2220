"""The node's change feed: every change of its records, numbered without a gap.

A change is numbered when its commit is made.  Commits are carried out first in, first out, and a failed one stops the
node, so this is the number it has in its transaction.

A value that the same commit writes into a row that is never written again is not stored twice: the feed's row names
that one (Kind.KEPT), as its table, a zero octet and its key.

Source: design, Contracts, 3.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Final

from waypost.codec import u64
from waypost.engine import Put, Rows
from waypost.errors import StoreError, WireError
from waypost.record.change import Change, Kind
from waypost.record.hlc import Hlc

FEED: Final = "feed"
META: Final = "meta"
FEED_ID: Final = b"feed id"
FEED_MAX: Final = 100_000  # changes kept for followers that resume; an older cursor gets a snapshot

Row = tuple[str, bytes]  # its table and key
Get = Callable[[str, bytes], bytes | None]


def read(seq: int, data: bytes, get: Get) -> Change:
    """The change of a row of the feed, as it was added; `get` reads other rows.  Raises WireError."""
    change = Change.decode(seq, data)
    if change.kind is not Kind.KEPT:
        return change
    table, key = kept_in(change)
    value = get(table, key)
    if value is None:
        raise WireError("what it names is not there")
    return replace(change, kind=Kind.PUT, value=value)


def kept_in(change: Change) -> Row:
    """The row that has the value of a change that is KEPT.  Raises WireError."""
    try:
        table, key = (change.value or b"").split(b"\0", 1)
        return table.decode("ascii"), key
    except ValueError as error:
        raise WireError("it names no row") from error


class Feed:
    """One for all rooms of a node: `seq` is the last change's, `id` the feed's from restore() on."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.id = b""
        self.seq = 0

    def restore(self, rows: Rows) -> tuple[tuple[Put, ...], Hlc | None]:
        """What is to be written first, and the time of the last change that has one.

        Raises StoreError if the last change of a room cannot be read.
        """
        found = rows.get(META, FEED_ID)
        self.id = self._rng.randbytes(16) if found is None else found
        puts = (Put(META, FEED_ID, self.id),) if found is None else ()
        last: dict[bytes, tuple[bytes, bytes]] = {}  # by room, as it stands in front of each
        for key, value in rows.scan(FEED):
            last[value[1 : 2 + sum(value[1:2])]] = key, value
        versions = []
        for key, value in last.values():
            seq = int.from_bytes(key, "big")
            self.seq = max(self.seq, seq)
            try:
                versions.append(Change.decode(seq, value).version)
            except WireError as error:
                raise StoreError(f"change {seq} of the feed cannot be read: {error}") from error
        return puts, max((version for version in versions if isinstance(version, Hlc)), default=None)

    def since(self, rows: Rows, room: str, seq: int) -> Iterator[Change]:
        """The room's changes after number `seq` that are still kept.  Raises StoreError if one cannot be read."""
        name = room.encode()
        for key, value in rows.scan(FEED, u64(seq)):
            if value[2 : 2 + value[1]] != name:
                continue
            number = int.from_bytes(key, "big")
            try:
                yield read(number, value, rows.get)
            except WireError as error:
                raise StoreError(f"change {number} of the feed cannot be read: {error}") from error

    def add(
        self, room: str, key: bytes, version: int | Hlc, value: bytes | None, wall_ms: int, kept: Row | None = None
    ) -> tuple[Change, tuple[Put, ...]]:
        """The next change, and the rows to write with it; `kept` is where the value is written by the same commit."""
        self.seq += 1
        kind = Kind.REMOVE if value is None else Kind.PUT
        change = Change(self.seq, kind, room, key, version, value, wall_ms, cause=b"")
        row = change
        if kept is not None:
            table, place = kept
            row = replace(change, kind=Kind.KEPT, value=b"%b\0%b" % (table.encode(), place))
        put = Put(FEED, u64(self.seq), row.encode())
        if self.seq > FEED_MAX:
            return change, (put, Put(FEED, u64(self.seq - FEED_MAX), None))
        return change, (put,)
