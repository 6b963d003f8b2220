"""What the feed's rows say, read beside the loop: also where the value lies in another row."""

import asyncio
from random import Random

import pytest

from waypost.api.changes import VOTED, Changes
from waypost.drip.book import HISTORY, history_key, row_key
from waypost.engine import Put
from waypost.errors import WireError
from waypost.record import Committed, Record, Stamp
from waypost.record.feed import Feed

HOLDER = "ab" * 32


def committed(version: int) -> Committed:
    prev = "" if version == 1 else "cd" * 32
    signed = ("ef" * 16, (), "01" * 64)
    return Committed(Record("names", "lamp", version, prev, HOLDER, "anna", "on", HOLDER, Stamp(0, 1), *signed), None)


class Rows:
    """A feed that names versions of the history, of which there are these."""

    def __init__(self, named: int, *there: int) -> None:
        of = committed(named)
        place = of.record.place
        _, self._feed = Feed(Random(1)).add(
            VOTED, row_key(place), named, of.encode(), 7, kept=(HISTORY, history_key(place, named))
        )
        self._history = [
            Put(HISTORY, history_key(place, version), committed(version).encode()) for version in sorted(there)
        ]

    def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        puts = (*self._feed, *self._history)
        return [(put.key, put.value or b"") for put in puts if put.table == table and put.key > key][:limit]


async def read(rows: Rows) -> list[Committed | None]:
    changes = Changes(rows)
    try:
        return [seen.committed for seen in await changes.after(0)]
    finally:
        await changes.close()


def test_a_change_has_the_version_that_the_feed_names_and_no_other() -> None:
    assert asyncio.run(read(Rows(9, 8, 9, 10))) == [committed(9)]


@pytest.mark.parametrize("there", [(), (8,), (10,), (8, 10)])
def test_a_version_that_is_not_there_is_told_and_its_neighbour_is_not_taken_for_it(there: tuple[int, ...]) -> None:
    with pytest.raises(WireError, match="what it names is not there"):
        asyncio.run(read(Rows(9, *there)))
