"""Pages of voted records agree with a dumb filter over all rows, and none costs more than it may."""

import asyncio
from bisect import bisect_right
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lone import made

from waypost.api import paging
from waypost.drip.book import row_key
from waypost.identity.policy import ALL, Scope, Span, View
from waypost.record import Committed, Place

RECORD: Final = Committed(made("x"), None).encode()
NAMES = st.text(st.sampled_from("ab/ÿ\U0001f600 ~"), max_size=4)
PLACES = st.tuples(st.sampled_from(["a", "ab", "b", "_n"]), NAMES.filter(bool))


class Rows:
    """In the order of their keys; `asked` counts how often."""

    def __init__(self, keys: list[bytes], value: bytes = RECORD) -> None:
        self._keys = sorted(keys)
        self._value = value
        self.asked = 0

    async def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        self.asked += 1
        start = bisect_right(self._keys, key)
        return [(found, self._value) for found in self._keys[start : start + limit]]


def pages(rows: Rows, start: bytes, count: int, view: View | None = None) -> tuple[int, list[Place]]:
    """How many pages there are, and the last place of each row that is shown, one by one where `count` is 1."""
    places: list[Place] = []
    after: bytes | None = None
    for number in range(1, 1_000):
        page = asyncio.run(paging.read(rows.after, "t", start, after, count, view))
        places += [page.last] * len(page.items)
        assert len(page.items) <= count
        if not page.more:
            return number, places
        after = row_key(page.last)
    raise AssertionError("there is no end")


@settings(deadline=None)
@given(st.sets(PLACES, max_size=20), st.none() | PLACES, st.integers(1, 5))
def test_what_begins_so_is_on_some_page_and_on_one_only(places: set[Place], start: Place | None, count: int) -> None:
    begins = b"" if start is None else row_key(start)
    rows = Rows(list(map(row_key, places)))
    expected = sorted(row_key(place) for place in places if row_key(place).startswith(begins))
    assert len(pages(rows, begins, count)[1]) == len(expected)
    assert [row_key(place) for place in pages(rows, begins, 1)[1]] == expected


@given(st.binary(max_size=3), st.text(max_size=4))
def test_before_a_key_is_less_and_leaves_no_text_between(key: bytes, text: str) -> None:
    try:
        key.decode()
    except UnicodeError:
        return
    assert paging.before(key) < key or not key
    assert not paging.before(key) < text.encode() < key


def test_a_page_of_hidden_rows_ends_and_says_that_there_is_more() -> None:
    keys = [row_key(("names", f"{number:05}")) for number in range(2 * paging.SCANNED_MAX)]
    rows = Rows([*keys, row_key(("names", "z"))])
    view = View((Scope(ALL, Span("z")),))
    page = asyncio.run(paging.read(rows.after, "t", b"names\0", None, 10, view))
    assert (page.items, page.more, page.last) == ((), True, ("names", f"{paging.SCANNED_MAX - 1:05}"))
    assert rows.asked <= paging.SCANNED_MAX // paging.BATCH + 1
    assert pages(rows, b"names\0", 10, view) == (3, [("names", "z")])


@pytest.mark.parametrize("count", [1, 7, 1_000])
def test_a_page_that_is_large_enough_ends(count: int) -> None:
    large = Committed(made("x" * 30_000), None).encode()
    rows = Rows([row_key(("names", f"{number:03}")) for number in range(50)], large)
    page = asyncio.run(paging.read(rows.after, "t", b"", None, count, None))
    assert len(page.items) == min(count, -(-paging.OCTETS_MAX // len(large)))
    assert page.more
