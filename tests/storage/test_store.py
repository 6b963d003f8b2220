"""The store, rule by rule, on a real disk."""

import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from waypost.engine import Answer, Commit, Put, PutFile
from waypost.storage import Store


def put(key: bytes, value: bytes | None, table: str = "directory") -> Commit:
    return Commit(puts=(Put(table, key, value),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "state")) as store:
        yield store


def test_a_row_is_there_after_its_commit_and_after_opening_again(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        store.commit([put(b"key", b"value")])
        assert store.get("directory", b"key") == b"value"
    with closing(Store.open(tmp_path)) as store:
        assert store.get("directory", b"key") == b"value"
        assert store.get("directory", b"other") is None
        assert store.get("feed", b"key") is None


def test_a_put_of_none_removes_the_row(store: Store) -> None:
    store.commit([put(b"key", b"value")])
    store.commit([put(b"key", None), put(b"never there", None)])
    assert list(store.scan("directory")) == []


def test_puts_of_a_batch_take_effect_in_order(store: Store) -> None:
    store.commit([put(b"a", b"1"), put(b"b", b"1"), Commit(), put(b"a", None), put(b"b", None), put(b"b", b"2")])
    assert list(store.scan("directory")) == [(b"b", b"2")]


def test_scan_is_ordered_by_the_octets_of_the_key(store: Store) -> None:
    keys = [b"", b"\x00", b"\x00\x00", b"\x7f", b"\x80", b"\xff", b"\xff\x00"]
    store.commit([put(key, b"") for key in reversed(keys)])
    assert [key for key, _ in store.scan("directory")] == keys


def test_a_commit_of_nothing_is_a_barrier_that_writes_nothing(tmp_path: Path) -> None:
    synced: list[int] = []
    with closing(Store.open(tmp_path, sync=synced.append)) as store:
        synced.clear()
        before = (tmp_path / "waypost.db-wal").stat()
        store.commit([])
        store.commit([Commit(), Commit(then=(Answer(1, None),))])
        after = (tmp_path / "waypost.db-wal").stat()
        assert (before.st_size, before.st_mtime_ns, synced) == (after.st_size, after.st_mtime_ns, [])


def test_an_unknown_table_is_a_bug_and_writes_nothing(store: Store) -> None:
    with pytest.raises(KeyError):
        store.commit([put(b"key", b"value"), put(b"key", b"value", "no such table")])
    assert list(store.scan("directory")) == []


@pytest.mark.parametrize("durable", [True, False])
def test_rows_and_files_are_for_nobody_else(tmp_path: Path, durable: bool) -> None:
    with closing(Store.open(tmp_path / "a" / "state", durable=durable)) as store:
        store.commit([Commit(files=(PutFile("tiles/0/x001", b"tile"),), puts=(Put("meta", b"key", b"value"),))])
        state = tmp_path / "a" / "state"
        modes = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
        assert {str(path) for path, mode in modes.items() if mode == 0o700} == {
            "a",
            "a/state",
            "a/state/tiles",
            "a/state/tiles/0",
        }
        assert {path.name for path, mode in modes.items() if mode == 0o600} == {
            "x001",
            "waypost.db",
            "waypost.db-wal",
            "waypost.db-shm",
            "waypost.lock",
        }
        assert (state / "tiles/0/x001").read_bytes() == b"tile"
