"""Rows read beside the writer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from waypost.codec import u64
from waypost.engine import Commit, Put
from waypost.errors import StoreError
from waypost.storage import Reader, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path, durable=False)
    yield store
    store.close()


def put(store: Store, *numbers: int) -> None:
    store.commit([Commit(puts=tuple(Put("feed", u64(number), b"%d" % number) for number in numbers))])


def test_rows_are_read_as_soon_as_they_are_committed_and_in_order(store: Store, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert reader.after("feed", u64(0), 10) == []
    put(store, 1, 256, 2)
    assert reader.after("feed", u64(0), 2) == [(u64(1), b"1"), (u64(2), b"2")]
    put(store, 3)
    assert reader.after("feed", u64(2), 10) == [(u64(3), b"3"), (u64(256), b"256")]
    reader.close()


def test_a_reader_never_holds_up_the_writer(store: Store, tmp_path: Path) -> None:
    """sqlite.org/wal.html: readers and the writer do not wait for each other."""
    reader = Reader(tmp_path)
    for number in range(1, 300):
        put(store, number)
        assert len(reader.after("feed", u64(0), 1000)) == number
    reader.close()


def test_a_reader_writes_nothing_and_opens_nothing_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        Reader(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_reader_says_so(store: Store, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.close()
    with pytest.raises(StoreError, match="cannot read"):
        reader.after("feed", b"", 1)
