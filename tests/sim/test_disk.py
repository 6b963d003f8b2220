"""The simulated disk: what was acknowledged survives, and without syncing it does not."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.engine import Commit, Put, PutFile
from waypost.errors import StoreError
from waypost.sim import Disk

Rows = dict[bytes, bytes]


def put(key: bytes, value: bytes | None) -> Commit:
    return Commit(puts=(Put("t", key, value),))


def commit(disk: Disk, *commits: Commit) -> None:
    disk.begin(commits)
    disk.finish()


def rows(disk: Disk) -> Rows:
    return dict(disk.scan("t"))


def test_a_finished_batch_survives_a_power_cut_and_one_under_way_is_whole_or_absent() -> None:
    outcomes = set()
    for seed in range(100):
        disk = Disk(Random(seed))
        commit(disk, put(b"a", b"1"))
        disk.begin([put(b"a", b"2"), put(b"b", bytes(10_000)), put(b"c", b"3")])
        disk.cut_power()
        disk.recover()
        assert rows(disk) in ({b"a": b"1"}, {b"a": b"2", b"b": bytes(10_000), b"c": b"3"})
        outcomes.add(len(rows(disk)))
    assert outcomes == {1, 3}


def test_without_syncing_acknowledged_rows_are_lost() -> None:
    lost = 0
    for seed in range(100):
        disk = Disk(Random(seed), sync=False)
        commit(disk, put(b"a", b"1"))
        disk.cut_power()
        disk.recover()
        lost += rows(disk) == {}
    assert lost > 50


def test_a_process_that_dies_keeps_what_it_wrote_even_unsynced() -> None:
    disk = Disk(Random(1), sync=False)
    commit(disk, put(b"a", b"1"))
    disk.begin([put(b"b", b"2")])
    disk.kill()
    disk.recover()
    assert rows(disk)[b"a"] == b"1"


def test_recovery_makes_durable_what_it_read() -> None:
    """Else an answer could rest on a row that the next power cut takes."""
    for seed in range(50):
        disk = Disk(Random(seed))
        disk.begin([put(b"a", b"1")])
        disk.kill()
        disk.recover()
        read = rows(disk)
        disk.cut_power()
        disk.recover()
        assert rows(disk) == read


@pytest.mark.parametrize("happened", [False, True])
def test_a_failed_batch_raises_whether_or_not_it_happened(happened: bool) -> None:
    disk = Disk(Random(1))
    disk.fail(happened=happened)
    disk.begin([put(b"a", b"1")])
    with pytest.raises(StoreError):
        disk.finish()
    disk.cut_power()
    disk.recover()
    assert rows(disk) == ({b"a": b"1"} if happened else {})


def test_a_full_disk_fails_until_there_is_room() -> None:
    disk = Disk(Random(1))
    disk.full = True
    disk.begin([put(b"a", b"1")])
    with pytest.raises(StoreError):
        disk.finish()
    disk.full = False
    commit(disk, put(b"b", b"2"))
    assert rows(disk) == {b"b": b"2"}


def test_a_slow_disk_takes_its_factor_longer() -> None:
    disk = Disk(Random(1), commit_min=0.001, commit_max=0.001)
    disk.slow = 50.0
    assert disk.begin([put(b"a", b"1")]) == pytest.approx(0.05)


def test_files_are_durable_no_later_than_the_rows_beside_them() -> None:
    outcomes = set()
    for seed in range(100):
        disk = Disk(Random(seed))
        disk.begin([Commit(files=(PutFile("tiles/0", bytes(5000)),), puts=(Put("t", b"size", b"1"),))])
        disk.cut_power()
        disk.recover()
        assert disk.files.get("tiles/0", bytes(5000)) == bytes(5000)
        outcomes.add((len(disk.files), len(rows(disk))))
    assert outcomes == {(0, 0), (1, 0), (1, 1)}


def test_rows_are_scanned_in_the_order_of_their_keys() -> None:
    disk = Disk(Random(1))
    commit(disk, put(b"b", b"2"), put(b"a", b"1"), put(b"c", b"3"), put(b"b", None))
    assert list(disk.scan("t")) == [(b"a", b"1"), (b"c", b"3")]
    assert disk.get("t", b"c") == b"3"
    assert disk.get("t", b"b") is None
    assert disk.get("u", b"c") is None


def test_the_log_does_not_grow_with_what_is_written_over_and_over() -> None:
    disk = Disk(Random(1))
    for number in range(2000):
        commit(disk, put(b"a", number.to_bytes(1024, "big")), Commit(files=(PutFile("f", bytes(100)),)))
    assert disk.size < 1 << 20
    disk.cut_power()
    disk.recover()
    assert rows(disk) == {b"a": (1999).to_bytes(1024, "big")}
    assert disk.files == {"f": bytes(100)}


keys = st.sampled_from([b"a", b"b", b"c"])
batches = st.lists(st.builds(put, keys, st.none() | st.binary(max_size=9000)), min_size=1, max_size=4)
happenings = st.sampled_from(["commit", "commit", "fails", "fails, yet happens", "power", "kill"])


@given(st.integers(), st.lists(st.tuples(happenings, batches), max_size=30))
def test_the_disk_agrees_with_a_dict_through_every_sequence_of_faults(
    seed: int, steps: list[tuple[str, list[Commit]]]
) -> None:
    disk = Disk(Random(seed))
    known: Rows = {}
    for happening, batch in steps:
        after = dict(known)
        for row in (row for one in batch for row in one.puts):
            if row.value is None:
                after.pop(row.key, None)
            else:
                after[row.key] = row.value
        disk.begin(batch)
        match happening:
            case "commit":
                disk.finish()
            case "power":
                disk.cut_power()
                disk.recover()
            case "kill":
                disk.kill()
                disk.recover()
            case _:
                disk.fail(happened=happening == "fails, yet happens")
                with pytest.raises(StoreError):
                    disk.finish()
                disk.recover()
        expected = {"commit": [after], "fails": [known], "fails, yet happens": [after]}
        assert rows(disk) in expected.get(happening, [known, after])
        known = rows(disk)


def test_a_batch_that_expects_another_row_does_not_happen() -> None:
    disk = Disk(Random(1))
    commit(disk, Commit(puts=(Put("t", b"head", b"1"),), expects=(Put("t", b"head", None),)))
    for expected in (None, b"2"):
        disk.begin([put(b"a", b"1"), Commit((PutFile("f", b"1"),), expects=(Put("t", b"head", expected),))])
        with pytest.raises(StoreError):
            disk.finish()
        disk.recover()
        assert (rows(disk), disk.read_file("f")) == ({b"head": b"1"}, None)
    commit(disk, Commit((PutFile("f", b"1"),), expects=(Put("t", b"head", b"1"),)))
    assert disk.read_file("f") == b"1"
    assert list(disk.scan("t", after=b"head")) == []
    assert list(disk.scan("t", after=b"hea")) == [(b"head", b"1")]
