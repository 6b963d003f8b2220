"""The change feed: dense numbers, what is kept, and where a restart goes on."""

from collections.abc import Iterable, Iterator
from random import Random

import pytest

from waypost.engine import Put
from waypost.errors import StoreError
from waypost.record import Hlc, Kind
from waypost.record.feed import FEED, FEED_ID, FEED_MAX, META, Feed


class Disk:
    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(row for row in self.tables.get(table, {}).items() if row[0] > after))

    def write(self, puts: Iterable[Put]) -> None:
        for put in puts:
            if put.value is None:
                self.tables[put.table].pop(put.key, None)
            else:
                self.tables.setdefault(put.table, {})[put.key] = put.value


def started(disk: Disk, seed: int = 1) -> tuple[Feed, Hlc | None]:
    feed = Feed(Random(seed))
    puts, last = feed.restore(disk)
    disk.write(puts)
    return feed, last


def test_changes_are_numbered_without_a_gap_also_over_a_restart() -> None:
    disk = Disk()
    feed, last = started(disk)
    assert last is None
    for number in range(1, 4):
        change, puts = feed.add("rd", b"lamp", Hlc(number, 0), b"on", 7)
        assert (change.seq, change.kind, change.wall_ms) == (number, Kind.PUT, 7)
        disk.write(puts)
    again, last = started(disk, seed=2)
    assert again.id == feed.id == disk.get(META, FEED_ID)
    assert last == Hlc(3, 0)
    change, _ = again.add("names", b"lamp", 1, None, 7)
    assert (change.seq, change.kind) == (4, Kind.REMOVE)


def test_only_so_many_changes_are_kept() -> None:
    disk = Disk()
    feed, _ = started(disk)
    feed.seq = FEED_MAX - 1
    disk.write(feed.add("rd", b"a", 1, b"", 0)[1])
    assert len(disk.tables[FEED]) == 1
    feed.seq = 2 * FEED_MAX - 1
    disk.write(feed.add("rd", b"b", 1, b"", 0)[1])
    assert [int.from_bytes(key, "big") for key in disk.tables[FEED]] == [2 * FEED_MAX]


def test_a_feed_that_cannot_be_read_is_told() -> None:
    disk = Disk()
    disk.write([Put(FEED, bytes(7) + b"\x05", b"rubbish")])
    with pytest.raises(StoreError, match="change 5"):
        started(disk)


def test_the_changes_of_a_room_are_read_from_a_number_on() -> None:
    disk = Disk()
    feed, _ = started(disk)
    for number, room in enumerate(("rd", "voted", "rd", "voted", "voted"), 1):
        disk.write(feed.add(room, b"lamp", number, b"on", 7)[1])
    assert [change.seq for change in feed.since(disk, "voted", 0)] == [2, 4, 5]
    assert [change.seq for change in feed.since(disk, "voted", 4)] == [5]
    disk.tables[FEED][bytes(7) + b"\6"] = b"\1\5voted"
    with pytest.raises(StoreError, match="change 6"):
        list(feed.since(disk, "voted", 5))
