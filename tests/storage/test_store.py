"""The store, rule by rule, on a real disk."""

import errno
import os
import sqlite3
import stat
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.engine import Answer, Commit, Put, PutFile
from waypost.errors import StoreError
from waypost.storage import Store
from waypost.storage.schema import Connection
from waypost.storage.store import connect


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


@pytest.mark.parametrize("count", [1, 3, 4, 17, 85, 200])
def test_a_batch_of_any_size_is_written_whole(store: Store, count: int) -> None:
    rows = {b"%03d" % number: b"v%d" % number for number in range(count)}
    store.commit([put(key, value, table) for table in ("directory", "feed") for key, value in rows.items()])
    assert dict(store.scan("directory")) == dict(store.scan("feed")) == rows
    store.commit([put(key, b"new" if number % 2 else None) for number, key in enumerate(rows)])
    assert dict(store.scan("directory")) == dict.fromkeys(list(rows)[1::2], b"new")
    assert dict(store.scan("feed")) == rows


def test_a_large_batch_takes_few_statements(tmp_path: Path) -> None:
    """After each statement the thread that writes waits for its turn among the threads."""
    statements: list[str] = []

    def counting(database: Path) -> Connection:
        connection = connect(database)
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(statements.append)
        return connection

    with closing(Store.open(tmp_path, connect=counting)) as store:
        statements.clear()
        store.commit([put(b"%d" % number, b"value") for number in range(100)])
        assert len(statements) <= 10


def test_scan_is_ordered_by_the_octets_of_the_key(store: Store) -> None:
    keys = [b"", b"\x00", b"\x00\x00", b"\x7f", b"\x80", b"\xff", b"\xff\x00"]
    store.commit([put(key, b"") for key in reversed(keys)])
    assert [key for key, _ in store.scan("directory")] == keys
    assert [key for key, _ in store.scan("directory", after=b"\x7f")] == keys[4:]
    assert list(store.scan("directory", after=keys[-1])) == []


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


def small(database: Path) -> Connection:
    """A database that is full at 50 pages."""
    connection = connect(database)
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA max_page_count = 50")
    return connection


def test_a_full_disk_is_named_and_the_store_refuses_further_work(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path, connect=small)) as store:
        store.commit([put(b"key", b"value")])
        with pytest.raises(StoreError, match="the disk is full") as full:
            store.commit([put(b"key", bytes(1_000_000))])
        assert isinstance(full.value.__cause__, sqlite3.OperationalError)
        assert full.value.hint == "make room and start the node again; no acknowledged write is lost"
        for refused in (
            lambda: store.commit([put(b"key", b"small")]),
            lambda: store.commit([]),
            lambda: store.get("directory", b"key"),
            lambda: list(store.scan("directory")),
        ):
            with pytest.raises(StoreError, match="closed or has failed"):
                refused()
    with closing(Store.open(tmp_path)) as store:
        assert list(store.scan("directory")) == [(b"key", b"value")]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EIO, "Input/output error")],
)
def test_a_file_that_cannot_be_synced_fails_the_batch(tmp_path: Path, number: int, sentence: str) -> None:
    def sync(descriptor: int) -> None:
        if any(tmp_path.glob("tiles/.*")):
            raise OSError(number, os.strerror(number))

    with closing(Store.open(tmp_path, sync=sync)) as store:
        with pytest.raises(StoreError, match=sentence):
            store.commit([Commit(files=(PutFile("tiles/0", b"tile"),), puts=(Put("meta", b"key", b"value"),))])
        with pytest.raises(StoreError, match="closed or has failed"):
            store.commit([])
    with closing(Store.open(tmp_path)) as store:
        assert store.get("meta", b"key") is None


def test_a_closed_store_refuses_and_closing_twice_is_once(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed or has failed"):
        store.commit([])


def test_the_thread_that_commits_need_not_be_the_one_that_opened(store: Store) -> None:
    with ThreadPoolExecutor(1) as writer:
        writer.submit(store.commit, [put(b"key", b"value")]).result()
    assert store.get("directory", b"key") == b"value"


def test_scan_reads_as_it_is_asked_for(store: Store) -> None:
    store.commit([put(b"%04d" % i, bytes(1000)) for i in range(5000)])
    tracemalloc.start()
    rows = store.scan("directory")
    assert next(rows) == (b"0000", bytes(1000))
    assert sum(1 for _ in rows) == 4999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000  # octets, of five million


def test_the_log_does_not_grow_with_what_was_written(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path, durable=False)) as store:
        for round in range(60):
            store.commit([put(b"%d" % key, bytes([round]) * 10_000) for key in range(100)])
            assert (tmp_path / "waypost.db-wal").stat().st_size < 12 * 2**20
        store.commit([put(b"%d" % key, bytes(1_000_000)) for key in range(40)])
        store.commit([put(b"%d" % key, None) for key in range(40)])
        store.commit([put(b"key", b"value")])
        assert (tmp_path / "waypost.db-wal").stat().st_size <= 16 * 2**20
    assert not (tmp_path / "waypost.db-wal").exists()


def test_a_row_that_is_not_bytes_is_not_stored(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot store TEXT value in BLOB column"):
        store.commit([Commit(puts=(Put("meta", "text", b""),))])  # type: ignore[arg-type]


tables = st.sampled_from(["meta", "feed", "directory"])
keys = st.binary(max_size=3) | st.sampled_from([b"a", b"b", b"c"])
puts = st.builds(Put, tables, keys, st.none() | st.binary(max_size=20))
batches = st.lists(st.builds(Commit, puts=st.lists(puts, max_size=5).map(tuple)), max_size=5)


@settings(deadline=None)
@given(st.lists(batches, max_size=8), st.integers(0, 8))
def test_any_batches_leave_what_a_dict_says_also_after_opening_again(written: list[list[Commit]], reopen: int) -> None:
    model: dict[str, dict[bytes, bytes]] = {"meta": {}, "feed": {}, "directory": {}}
    with TemporaryDirectory() as directory, ExitStack() as stack:
        store = stack.enter_context(closing(Store.open(Path(directory), durable=False)))
        for number, batch in enumerate(written):
            store.commit(batch)
            for of_batch in (of_commit for commit in batch for of_commit in commit.puts):
                model[of_batch.table].pop(of_batch.key, None)
                if of_batch.value is not None:
                    model[of_batch.table][of_batch.key] = of_batch.value
            if number == reopen:
                store.close()
                store = stack.enter_context(closing(Store.open(Path(directory), durable=False)))
            for table, rows in model.items():
                assert list(store.scan(table)) == sorted(rows.items())
                assert all(store.get(table, key) == rows.get(key) for key in [*rows, b"a", b"b", b"c"])


class TestExpecting:
    """A commit that says which rows it builds on."""

    def test_a_row_as_it_is_expected_is_written(self, store: Store) -> None:
        store.commit([Commit(puts=(Put("directory", b"head", b"1"),), expects=(Put("directory", b"head", None),))])
        store.commit([Commit(puts=(Put("directory", b"head", b"2"),), expects=(Put("directory", b"head", b"1"),))])
        assert store.get("directory", b"head") == b"2"

    @pytest.mark.parametrize("expected", [None, b"other", b""])
    def test_where_it_is_another_nothing_of_the_batch_happens(self, tmp_path: Path, expected: bytes | None) -> None:
        with closing(Store.open(tmp_path)) as store:
            store.commit([put(b"head", b"1")])
            batch = [
                put(b"before", b""),
                Commit((PutFile("tiles/one", b"1"),), expects=(Put("directory", b"head", expected),)),
            ]
            with pytest.raises(StoreError, match="directory"):
                store.commit(batch)
            with pytest.raises(StoreError, match="failed"):
                store.commit([put(b"after", b"")])
        assert not (tmp_path / "tiles").exists()
        with closing(Store.open(tmp_path)) as store:
            assert list(store.scan("directory")) == [(b"head", b"1")]

    def test_what_the_same_batch_wrote_before_counts(self, store: Store) -> None:
        def onwards(before: bytes | None, after: bytes) -> Commit:
            return Commit(puts=(Put("directory", b"head", after),), expects=(Put("directory", b"head", before),))

        store.commit([onwards(None, b"1"), onwards(b"1", b"2")])
        assert store.get("directory", b"head") == b"2"
        with pytest.raises(StoreError):
            store.commit([onwards(b"2", b"3"), onwards(b"2", b"4")])
