"""The change feed: dense numbers, what is kept, and where a restart goes on."""

from collections.abc import Iterable, Iterator
from random import Random

import pytest

from waypost.codec import u64
from waypost.engine import Put
from waypost.errors import StoreError, WireError
from waypost.record import Change, Hlc, Kind
from waypost.record.feed import FEED, FEED_ID, FEED_MAX, META, Feed, read


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


def test_a_value_that_lies_in_another_row_is_stored_once_and_read_as_it_was_added() -> None:
    disk = Disk()
    feed, _ = started(disk)
    value = b"x" * 1_000
    change, puts = feed.add("voted", b"names\0lamp", 5, value, 7, kept=("history", b"names\0lamp\0005"))
    assert (change.kind, change.value) == (Kind.PUT, value), "whoever is told of it is told all"
    disk.write(puts)
    assert len(disk.tables[FEED][u64(1)]) < 100
    disk.write([Put("history", b"names\0lamp\0005", value)])
    assert list(feed.since(disk, "voted", 0)) == [change]
    assert read(1, disk.tables[FEED][u64(1)], disk.get) == change
    again, _ = started(disk)
    assert again.seq == 1


def test_a_value_that_is_not_where_the_feed_says_is_told() -> None:
    disk = Disk()
    feed, _ = started(disk)
    disk.write(feed.add("voted", b"lamp", 1, b"on", 7, kept=("history", b"lamp"))[1])
    with pytest.raises(StoreError, match="change 1 of the feed cannot be read: what it names is not there"):
        list(feed.since(disk, "voted", 0))


@pytest.mark.parametrize("named", [b"", b"history", b"hist\xf6ry\0lamp", None])
def test_a_row_that_names_no_other_is_told(named: bytes | None) -> None:
    row = Change(3, Kind.KEPT, "voted", b"lamp", 1, named, 7, b"").encode()
    with pytest.raises(WireError, match="it names no row"):
        read(3, row, Disk().get)
