"""Where versions of voted records, and statements, are in this node's log, by its rows; and which version stood when.

Source: ledger/index.py; notes on the ledger, 5.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from waypost.api.logged import Version
from waypost.api.paging import ReadRows
from waypost.drip.book import HISTORY, row_key
from waypost.ledger.index import TABLE, Row, of_commit, of_statement
from waypost.record import Committed, Place

VERSION_BITS: Final = 53
BATCH: Final = 100  # rows that are read in one go
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIME: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)
NUMBER: Final = re.compile(r"[0-9]{1,16}", re.ASCII)

_committed: Final = msgspec.json.Decoder(Committed)


@dataclass(frozen=True, slots=True)
class Logged:
    """A version is the entry `index`, written at `wall_ms`."""

    version: int
    index: int
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Just after the entry `index`, or at a time: one of them is None."""

    index: int | None
    wall_ms: int | None

    def has(self, logged: Logged) -> bool:
        if self.index is not None:
            return logged.index <= self.index
        assert self.wall_ms is not None
        return logged.wall_ms <= self.wall_ms


def moment(text: str) -> Moment | None:
    """An index, or a time as ISO 8601 has it, in UTC if it does not say; None if it is neither."""
    if NUMBER.fullmatch(text):
        return Moment(int(text), None)
    if not TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return Moment(None, ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1))


async def logged(rows: ReadRows, place: Place, first: int) -> Logged | None:
    """The first version from `first` on that is in the log.  Raises StoreError."""
    found = await _logged(rows, place, first, 1)
    return found[0] if found else None


async def newest(rows: ReadRows, place: Place) -> Logged | None:
    """The last version that is in the log.  Raises StoreError."""
    return await _last(rows, place, lambda _: True)


async def is_known(rows: ReadRows, place: Place, version: int) -> bool:
    """Whether this node knows that version, or where that is 0, any.  Raises StoreError."""
    start = row_key(place) + b"\0"
    read = await rows(HISTORY, start + b"%016d" % max(0, version - 1), 1)
    return any(key == start + b"%016d" % version if version else key.startswith(start) for key, _ in read)


async def stated(rows: ReadRows, statement: bytes) -> int | None:
    """The entry that a statement is already.  Raises StoreError."""
    wanted = of_statement(statement)
    before = (int.from_bytes(wanted, "big") - 1).to_bytes(len(wanted), "big")
    found = await rows(TABLE, before, 1)
    return next((Row.decode(value).index for key, value in found if key == wanted), None)


async def with_index(rows: ReadRows, versions: Sequence[Committed]) -> tuple[Version, ...]:
    """Each of those versions of one key, in their order, with the entry that it is.  Raises StoreError."""
    entries: dict[int, Logged] = {}
    if versions:
        place, first, last = versions[0].record.place, versions[0].record.version, versions[-1].record.version
        while first <= last and (some := await _logged(rows, place, first, BATCH)):
            entries |= {each.version: each for each in some}
            first = some[-1].version + 1
    return tuple(_version(committed, entries.get(committed.record.version)) for committed in versions)


async def standing(rows: ReadRows, place: Place, moment: Moment) -> Version | None:
    """The last version that was in the log at that moment.  Raises StoreError."""
    found = await _last(rows, place, moment.has)
    if found is None:
        return None
    start = row_key(place) + b"\0"
    history = await rows(HISTORY, start + b"%016d" % (found.version - 1), 1)
    if not history or history[0][0] != start + b"%016d" % found.version:
        return None
    return _version(_committed.decode(history[0][1]), found)


async def _last(rows: ReadRows, place: Place, holds: Callable[[Logged], bool]) -> Logged | None:
    """The last version for which it holds, if it holds for all before it: by halves."""
    found: Logged | None = None
    least, most = 1, 1 << VERSION_BITS  # it is `found`, or from `least` on and below `most`
    while least < most:
        middle = (least + most) // 2
        entry = await logged(rows, place, middle)
        if entry is not None and holds(entry):
            found, least = entry, entry.version + 1
        else:
            most = middle
    return found


async def _logged(rows: ReadRows, place: Place, first: int, count: int) -> list[Logged]:
    start = row_key(place) + b"\0"
    read = await rows(TABLE, of_commit(row_key(place), first - 1), count)
    found = [(key, Row.decode(value)) for key, value in read if key.startswith(start) and len(key) == len(start) + 8]
    return [Logged(int.from_bytes(key[-8:], "big"), row.index, row.wall_ms) for key, row in found]


def _version(committed: Committed, entry: Logged | None) -> Version:
    index, wall_ms = (entry.index, entry.wall_ms) if entry else (None, None)
    return Version(committed.record, committed.certificate, index, wall_ms)
