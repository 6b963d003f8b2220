"""This node's own log: what is on disk when, and what it refuses to go on with."""

import copy
from collections.abc import Callable
from functools import partial
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import WALL_MS, Kept, notary

from waypost.codec import u8, u16
from waypost.engine import Answer, Apply, Commit, Effect, Put
from waypost.errors import StoreError, WireError
from waypost.ledger import entry, index
from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.log import (
    ADOPTED,
    BATCH_MAX,
    BATCH_OCTETS_MAX,
    GATHER_S,
    HEAD,
    NODE,
    TAIL,
    WAITING_MAX,
    WAITING_OCTETS_MAX,
    Log,
)
from waypost.ledger.tiles import ENTRIES, ENTRY_MAX, Tile, bundles, encode_bundle, tiles
from waypost.ledger.tree import Tree
from waypost.record import Committed, Record, Stamp
from waypost.record.wire import encode
from waypost.sim import Disk as SimulatedDisk


def root_of(entries: list[bytes]) -> bytes:
    tree = Tree()
    tree.extend(entries)
    return tree.root()


def entered(number: int, start: int = 0) -> list[bytes]:
    return [b"entry %d" % index for index in range(start, start + number)]


@pytest.mark.parametrize("number", [1, 2, 255, 256, 257, 511, 512, 700, 66_000])
def test_what_was_entered_is_there_after_a_restart(number: int) -> None:
    kept = Kept()
    entries = entered(number)
    kept.enter(*entries)
    for log in (kept.log, kept.again().log):
        assert log.head is not None
        assert (log.size, log.head.size, log.head.root) == (number, number, root_of(entries))
        assert log.entries(0, number) == entries
        assert log.entry(number - 1) == entries[-1]
        assert log.entry(number) is None


def test_what_comes_while_the_disk_works_goes_under_one_signature() -> None:
    kept = Kept()
    kept.log.add(b"first")
    (first,) = kept.log.take_effects(WALL_MS, 0.0)
    for each in entered(100):
        kept.log.add(each)
    assert kept.log.take_effects(WALL_MS, 0.0) == [], "one commit at a time"
    kept.carry(first)
    (second,) = kept.log.take_effects(WALL_MS, 0.0)
    kept.carry(second)
    assert kept.log.size == 101
    assert kept.log.take_effects(WALL_MS, 0.0) == []


def test_a_commit_has_a_limit_of_entries_and_of_octets() -> None:
    kept = Kept()
    for _ in range(BATCH_MAX + 1):
        kept.log.add(b"small")
    (commit,) = kept.log.take_effects(WALL_MS, 0.0)
    kept.carry(commit)
    assert kept.log.size == BATCH_MAX
    kept.settle()
    for _ in range(200):
        kept.log.add(bytes(ENTRY_MAX))
    (commit,) = kept.log.take_effects(WALL_MS, 0.0)
    kept.carry(commit)
    assert kept.log.size == BATCH_MAX + 1 + BATCH_OCTETS_MAX // ENTRY_MAX


@pytest.mark.parametrize("before", [1, 200, 255, 256, 300])
@pytest.mark.parametrize("numbers", [(1,) * 20, (40,) * 20, (100, 3, 150, 1, 2, 254, 1), (600, 1)])
def test_each_commit_leaves_a_row_of_entries_and_what_another_bundle_left_is_passed_over(
    before: int, numbers: tuple[int, ...]
) -> None:
    kept = Kept()
    kept.enter(*entered(before))
    entries = entered(before)
    for number in numbers:
        rows = set(kept.disk.tables[TAIL].items())
        kept.enter(*(more := entered(number, len(entries))))
        entries += more
        assert len(set(kept.disk.tables[TAIL].items()) - rows) <= 2
        log = kept.again().log
        assert log.entries(0, log.size) == entries


def test_a_log_that_has_a_row_for_each_entry_goes_on() -> None:
    kept = Kept()
    kept.enter(*entered(300))
    rows = kept.disk.tables[TAIL]
    del rows[u16(0)]
    rows.update((u8(place), b"entry %d" % (256 + place)) for place in range(44))
    rows.update((u8(place), b"of another bundle") for place in range(44, 256))
    entries = entered(300)
    for number in (1, 60, 100, 50, 3):
        kept = kept.again()
        assert kept.log.entries(0, kept.log.size) == entries
        kept.enter(*(more := entered(number, len(entries))))
        entries += more
    assert kept.again().log.size == 514


def test_a_row_that_is_damaged_is_a_missing_entry() -> None:
    for damaged in (b"", b"\0\0", b"\0\x09", u16(9) + bytes(17), None):
        kept = Kept()
        kept.enter(*entered(300))
        kept.enter(*entered(9, 300))
        if damaged is None:
            del kept.disk.tables[TAIL][u16(44)]
        else:
            kept.disk.tables[TAIL][u16(44)] = damaged
        with pytest.raises(StoreError, match="entry 300 of tiles/log is missing"):
            kept.again()


def test_what_nobody_waits_for_gathers() -> None:
    kept = Kept()
    kept.log.add(b"alone", hurries=False)
    (commit,) = kept.log.take_effects(WALL_MS, 5.0)
    for each in entered(9):
        kept.log.add(each, hurries=False)
    assert kept.log.next_timer() is None, "one commit at a time"
    kept.carry(commit)
    assert kept.log.next_timer() == 5.0 + GATHER_S
    assert kept.log.take_effects(WALL_MS, 5.0 + GATHER_S / 2) == []
    (commit,) = kept.log.take_effects(WALL_MS, 5.0 + GATHER_S)
    kept.carry(commit)
    assert kept.log.size == 10
    assert kept.log.next_timer() is None


def test_what_somebody_waits_for_takes_along_what_gathers() -> None:
    kept = Kept()
    kept.log.add(b"alone", hurries=False)
    kept.settle()
    kept.log.add(b"nobody's", hurries=False)
    assert kept.log.take_effects(WALL_MS, 0.0) == []
    kept.log.add(b"somebody's")
    kept.log.add(b"nobody's", hurries=False)
    kept.settle()
    assert kept.log.entries(0, 9) == [b"alone", b"nobody's", b"somebody's", b"nobody's"]
    kept.log.add(b"nobody's", hurries=False)
    assert kept.log.take_effects(WALL_MS, 0.0) == []


def test_what_is_enough_for_a_commit_gathers_no_longer() -> None:
    kept = Kept()
    kept.log.add(b"alone", hurries=False)
    kept.settle()
    for each in entered(BATCH_MAX):
        assert kept.log.take_effects(WALL_MS, 0.0) == []
        kept.log.add(each, hurries=False)
    kept.settle()
    assert kept.log.size == 1 + BATCH_MAX


def test_what_is_to_be_read_is_given_once_it_is_durable() -> None:
    kept = Kept()
    kept.enter(*entered(255), b"read one")
    for each in (b"another", b"read two"):
        kept.log.add(each)
    (commit,) = kept.log.take_effects(WALL_MS, 0.0)
    assert kept.log.take_read() == [(255, b"read one")]
    kept.carry(commit)
    assert kept.log.take_read() == [(257, b"read two")]
    assert kept.log.take_read() == []
    assert kept.again().log.take_read() == [(255, b"read one"), (257, b"read two")], "it is not known who read it"
    kept.enter(*entered(BATCH_MAX - 2))
    assert kept.again().log.take_read() == [(257, b"read two")], "what is older was read"


def test_a_log_that_may_not_sign_keeps_what_comes_and_says_when_it_is_too_much() -> None:
    kept = Kept()
    kept.log.may_sign = False
    for _ in range(WAITING_MAX):
        assert not kept.log.is_full
        kept.log.add(b"")
    assert kept.log.is_full
    kept.settle()
    assert kept.log.size == 0
    kept.log.may_sign = True
    kept.settle()
    assert kept.log.size == WAITING_MAX
    assert not kept.log.is_full
    while not kept.log.is_full:
        kept.log.add(bytes(ENTRY_MAX))
    kept.settle()
    assert kept.log.size - WAITING_MAX == -(-WAITING_OCTETS_MAX // ENTRY_MAX)


def test_an_entry_has_as_many_octets_as_a_bundle_can_say() -> None:
    kept = Kept()
    with pytest.raises(WireError, match="65536"):
        kept.log.add(bytes(ENTRY_MAX + 1))
    kept.enter(*[bytes(ENTRY_MAX)] * 257)
    assert kept.again().log.entry(3) == bytes(ENTRY_MAX)


def test_whoever_enters_is_told_where_it_is_and_under_which_head() -> None:
    kept = Kept()
    kept.enter(b"before")
    told: list[tuple[int, Head]] = []

    def puts(index: int) -> tuple[Put, ...]:
        return (Put("ledger_index", b"key", b"%d" % index),)

    def then(index: int, head: Head) -> tuple[Effect, ...]:
        told.append((index, head))
        return (Answer(7, index),)

    kept.log.add(b"one")
    kept.log.add(b"two", puts, then)
    (commit,) = kept.log.take_effects(WALL_MS, 0.0)
    assert isinstance(commit, Commit)
    kept.carry(commit)
    assert told == [(2, kept.log.head)]
    assert kept.seen == [Answer(7, 2)]
    assert kept.disk.get("ledger_index", b"key") == b"2"


def test_nothing_of_a_head_is_seen_before_it_is_durable() -> None:
    kept = Kept()
    kept.enter(*entered(300))
    head = kept.log.head
    kept.log.add(b"more")
    (commit,) = kept.log.take_effects(WALL_MS, 0.0)
    assert isinstance(commit, Commit), "no signature outside of a commit"
    assert (kept.log.head, kept.log.size) == (head, 300)
    assert kept.log.entry(300) is None
    assert kept.log.entries(299, 301) == [b"entry 299"]
    assert kept.log.serve("tile/0/001.p/45") is None
    assert kept.log.serve("tile/entries/001.p/45") is None
    assert isinstance(commit.then[0], Apply), "first the log knows, then whoever asked"
    kept.carry(commit)
    assert kept.log.serve("tile/entries/001.p/45") == encode_bundle([*entered(44, 256), b"more"])


def test_tiles_are_written_once_they_are_full_and_before_the_rows() -> None:
    kept = Kept()
    kept.enter(*entered(255))
    assert kept.disk.files == {}
    kept.enter(b"last")
    assert sorted(kept.disk.files) == ["tiles/log/tile/0/000", "tiles/log/tile/entries/000"]
    kept.enter(*entered(65_536 - 256))
    names = [Tile(level, index, 256).path for level in (ENTRIES, 0) for index in range(256)]
    assert sorted(kept.disk.files) == sorted(f"tiles/log/{name}" for name in [*names, "tile/1/000"])


def test_full_tiles_leave_memory_once_they_are_on_disk() -> None:
    kept = Kept()
    kept.enter(*entered(600))
    served = [kept.log.serve(f"tile/{level}/000") for level in ("0", "entries")]
    assert None not in served
    kept.disk.files.clear()
    for level in ("0", "entries"):
        with pytest.raises(StoreError, match="missing"):
            kept.again()
        assert kept.log.serve(f"tile/{level}/001") is None
        assert "missing" in kept.log.damage


@given(st.lists(st.integers(1, 600), max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_every_tile_is_served_as_it_was_at_any_size(sizes: list[int], rng: Random) -> None:
    kept = Kept()
    whole = Tree()
    entries: list[bytes] = []
    for number in sizes:
        new = entered(number, len(entries))
        entries += new
        kept.enter(*new)
        whole.extend(new)
        kept = kept.again() if rng.random() < 0.3 else kept
        size = rng.randint(1, len(entries))
        for tile in (*tiles(0, size), *bundles(0, size)):
            served = kept.log.serve(tile.path)
            if tile.level == ENTRIES:
                assert served == encode_bundle(entries[tile.index * 256 :][: tile.width])
            else:
                assert served == whole.tile(tile.level, tile.index, tile.width)
    assert kept.log.tree.root() == whole.root()
    for path in ("checkpoint", "tile/0/999", "tile/entries/999", "tile/0/000.p/0", "tile/0/../0", "tile/8/000", ""):
        assert kept.log.serve(path) is None


class TestOneHead:
    """Two that have one disk, or a disk that is not the one that was left (ONE-HEAD)."""

    def test_of_two_that_write_to_one_disk_the_second_is_stopped_and_leaves_nothing(self) -> None:
        first = Kept()
        first.enter(*entered(10))
        second = first.again()
        first.enter(b"first")
        before = copy.deepcopy(first.disk.__dict__)
        with pytest.raises(StoreError, match="not as this node left it"):
            second.enter(*entered(256))
        assert first.disk.__dict__ == before
        assert second.log.size == 10, "its head did not leave"
        assert second.seen == []

    def test_of_two_that_begin_at_once_one_is_stopped(self) -> None:
        first = Kept()
        second = first.again()
        second.enter(b"one")
        with pytest.raises(StoreError):
            first.enter(b"other")

    @pytest.mark.parametrize("table", [NODE, TAIL])
    @pytest.mark.parametrize("size", [1, 100, 256, 300])
    def test_rows_of_another_moment_are_refused(self, table: str, size: int) -> None:
        kept = Kept()
        kept.enter(*entered(size))
        rows = copy.deepcopy(kept.disk.tables)
        kept.enter(*entered(7, size))
        kept.disk.tables[table] = rows[table]
        with pytest.raises(StoreError, match=r"head|missing"):
            kept.again()

    @pytest.mark.parametrize("name", ["tiles/log/tile/0/000", "tiles/log/tile/0/001"])
    @pytest.mark.parametrize("data", [None, bytes(8192), bytes(10)])
    def test_tiles_that_do_not_give_the_root_are_refused(self, name: str, data: bytes | None) -> None:
        kept = Kept()
        kept.enter(*entered(700))
        if data is None:
            del kept.disk.files[name]
        else:
            kept.disk.files[name] = data
        with pytest.raises(StoreError, match=r"head|missing|octets"):
            kept.again()

    def test_a_head_without_tiles_and_rows_is_refused(self) -> None:
        kept = Kept()
        kept.enter(*entered(3))
        kept.disk.tables[TAIL].clear()
        with pytest.raises(StoreError, match=r"has 0 entries .* head of size 3"):
            kept.again()

    @pytest.mark.parametrize("octets", [b"", b"no note", b"waypost/anna\n0\n\n\n"])
    def test_a_head_that_cannot_be_read_is_refused(self, octets: bytes) -> None:
        kept = Kept()
        kept.enter(b"entry")
        kept.disk.tables[NODE][HEAD] = octets
        with pytest.raises(StoreError, match="cannot be read"):
            kept.again()

    def test_the_head_of_another_is_refused(self) -> None:
        kept = Kept()
        kept.enter(b"entry")
        with pytest.raises(StoreError, match="not signed by waypost/berta"):
            Kept(kept.disk, "berta")
        own = notary(kept.disk.read)
        head = sign_head(Checkpoint("waypost/old", 1, kept.log.tree.root()), own.key, own.sign)
        kept.disk.tables[NODE][HEAD] = head.note.encode()
        with pytest.raises(StoreError, match="waypost/old"):
            kept.again()

    def test_an_entry_that_the_disk_altered_is_not_shown(self) -> None:
        kept = Kept()
        kept.enter(*entered(600))
        name = "tiles/log/tile/entries/001"
        kept.disk.files[name] = kept.disk.files[name].replace(b"entry 300", b"entry 301")
        assert kept.log.entry(0) == b"entry 0"
        assert kept.log.may_sign
        assert kept.log.entry(256) is None
        assert "tiles/log/tile/entries/001 is damaged: `waypost log fsck`" in kept.log.damage
        assert kept.log.entries(0, 600) is None
        assert kept.log.serve("tile/entries/001") is None
        assert kept.log.serve("tile/entries/000") == encode_bundle(entered(256)), "what is whole is served"

    @pytest.mark.parametrize("damage", [bytes(8192), b"short", None])
    def test_a_log_whose_disk_altered_a_tile_proves_nothing_by_it_and_signs_no_more(self, damage: bytes | None) -> None:
        whole = Kept()
        whole.enter(*entered(2000))
        reads: list[Callable[[Log], object]] = [
            lambda log: log.root(200),
            lambda log: log.inclusion(3, 2000),
            lambda log: log.consistency(3, 2000),
            lambda log: log.serve("tile/0/000.p/9"),
        ]
        for read in reads:
            kept = Kept(copy.deepcopy(whole.disk))
            assert read(kept.log) is not None
            kept = Kept(copy.deepcopy(whole.disk))
            if damage is None:
                del kept.disk.files["tiles/log/tile/0/000"]
            else:
                kept.disk.files["tiles/log/tile/0/000"] = damage
            assert read(kept.log) is None
            assert "tile/0/000" in kept.log.damage
            kept.log.add(b"one more")
            assert kept.log.take_effects(WALL_MS, 0.0) == []


def test_files_of_a_commit_that_failed_are_written_over() -> None:
    kept = Kept()
    kept.enter(*entered(250))
    crashed = kept.again()
    for each in entered(10, 900):
        crashed.log.add(each)
    (commit,) = crashed.log.take_effects(WALL_MS, 0.0)
    assert isinstance(commit, Commit)
    kept.disk.write(Commit(commit.files))
    again = kept.again()
    assert again.log.entries(0, 250) == entered(250)
    again.enter(*entered(10, 250))
    assert again.again().log.entries(0, 260) == entered(260)


def torn(seed: int, sync: bool) -> bool:
    """A log on a disk that forgets what was not synced, cut between two steps or within a batch: is all still there?"""
    rng = Random(seed)
    disk = SimulatedDisk(rng, sync=sync)
    told = 0
    for _ in range(8):
        log = Log(notary(disk.read_file))
        try:
            log.restore(disk)
        except StoreError:
            return False
        log.may_sign = True
        if log.size < told or log.entries(0, log.size) != entered(log.size):
            return False
        for _ in range(rng.randint(0, 4)):
            for each in entered(rng.choice((1, 100, 256, 300)), log.size):
                log.add(each)
            (commit,) = log.take_effects(WALL_MS, 0.0)
            assert isinstance(commit, Commit)
            disk.begin([commit])
            if rng.random() < 0.3:
                break
            disk.finish()
            assert isinstance(commit.then[0], Apply)
            log.applied(commit.then[0].change)
            told = log.size
        rng.choice((disk.cut_power, disk.kill))()
        disk.recover()
    return True


def test_wherever_a_node_ends_what_was_told_is_there_and_nothing_else() -> None:
    assert all(torn(seed, sync=True) for seed in range(40))
    assert not all(torn(seed, sync=False) for seed in range(40)), "the control"


class TestAdopted:
    """What was taken back and comes once more."""

    def adopting(self) -> Kept:
        """Three commits of version 1 to 3 were taken back, of a log that had two other entries."""
        whole = Kept()
        whole.enter(b"a", b"b", *(commit(version) for version in (1, 2, 3)))
        kept = Kept()
        kept.enter(b"a", b"b")
        kept.log.may_sign = False
        assert whole.log.head is not None
        kept.log.adopt([commit(version) for version in (1, 2, 3)], whole.log.head)
        kept.settle()
        kept.log.may_sign = True
        return kept

    def test_it_is_found_by_place_and_version(self) -> None:
        kept = self.adopting()
        row = index.Row.decode(kept.disk.get(index.TABLE, index.of_commit(b"names\0lamp", 2)) or b"")
        assert (row.index, row.wall_ms) == (3, 1_000), "when its author says, for this node does not know"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_it_is_not_entered_twice_and_the_cursor_goes_on(self, restarted: bool) -> None:
        kept = self.adopting()
        kept = kept.again() if restarted else kept
        for seq, version in enumerate((2, 3, 4), 70):
            key = index.of_commit(b"names\0lamp", version)
            kept.log.add(commit(version), partial(at, seq, key), once=key)
        kept.settle()
        assert kept.log.size == 6
        assert kept.log.entry(5) == commit(4)
        assert kept.disk.get(NODE, b"cursor") == b"72"
        found = [
            index.Row.decode(kept.disk.get(index.TABLE, index.of_commit(b"names\0lamp", version)) or b"").index
            for version in (1, 2, 3, 4)
        ]
        assert found == [2, 3, 4, 5]
        left = [key for key, _ in kept.disk.scan(NODE) if key.startswith(ADOPTED)]
        assert left == [ADOPTED + index.of_commit(b"names\0lamp", 1)], "the feed has not brought that one"

    def test_where_nothing_is_new_nothing_is_signed(self) -> None:
        kept = self.adopting()
        head = kept.log.head
        key = index.of_commit(b"names\0lamp", 1)
        kept.log.add(commit(1), partial(at, 70, key), lambda index, head: (Answer(index, head),), once=key)
        kept.settle()
        assert kept.log.head == head
        assert kept.seen == [Answer(2, head)]
        assert kept.disk.get(NODE, b"cursor") == b"70"


def commit(version: int) -> bytes:
    record = Record("names", "lamp", version, "", "0" * 64, "anna", None, "", Stamp(0, 1_000), "0" * 32, (), "")
    if version > 1:
        record = msgspec.structs.replace(record, prev="0" * 64)
    return entry.commit("0" * 64, encode(Committed(record, None)))


def at(seq: int, key: bytes, place: int) -> tuple[Put, ...]:
    return Put(NODE, b"cursor", b"%d" % seq), index.Row(place, WALL_MS).put(key)
