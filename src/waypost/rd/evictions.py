"""Names that an operator keeps out for a while.

They lie in the table "meta", so a restart lets nobody back in.  One row for each name: "evicted " and the name's key.
Where several nodes hold the directory each tells the others, and the rows of all are on all.  The registration that was
evicted stays barred for BARRED_S longer: a node that had not heard of it may have gone on with it.

Source: design, Operators (evict one registration); RFC 7252, 5.9.2.4 (4.03).
"""

from math import ceil
from typing import Final

import msgspec

from waypost.engine import Put, Rows
from waypost.errors import StoreError, WireError
from waypost.identity.policy import View
from waypost.rd.clocks import Clocks
from waypost.rd.questions import Busy, Cause, Evicted, Eviction, Exclude, Reason, Refused
from waypost.rd.record import key_of
from waypost.record import canonical

TABLE: Final = "meta"
PREFIX: Final = b"evicted "
ROOM: Final = "evicted"  # of what nodes tell each other of them
EVICTIONS_MAX: Final = 1_000  # names kept out at once, of those that are evicted here
ROWS_MAX: Final = 10_000
BARRED_S: Final = 86_400.0
FULL_RETRY: Final = 60  # seconds
UNTIL_MAX: Final = 1 << 53  # milliseconds


class Row(msgspec.Struct, frozen=True):
    """One of them.  `id` is what the registration had; `until_ms` wall clock."""

    d: str | None
    ep: str
    id: str
    until_ms: int

    def encode(self) -> bytes:
        return canonical({"d": self.d, "ep": self.ep, "id": self.id, "until_ms": self.until_ms})


def exclusion(key: bytes, row: Row | None) -> Exclude:
    """For the other nodes; None: it is over."""
    if row is None:
        return Exclude(key, None, 0)
    return Exclude(key, row.encode(), row.until_ms + round(BARRED_S * 1000))


def is_sound(key: bytes, value: bytes) -> bool:
    """Whether it is what another node may say, the same on every node."""
    try:
        row = msgspec.json.decode(value, type=Row)
        return key_of(row.d, row.ep) == key and row.encode() == value and 0 < row.until_ms < UNTIL_MAX
    except (ValueError, OverflowError, WireError):
        return False


class Evictions:
    def __init__(self, clocks: Clocks, *, is_alone: bool) -> None:
        self._clocks = clocks
        self._barred_s = 0.0 if is_alone else BARRED_S
        self._kept: dict[bytes, Row] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def restore(self, rows: Rows) -> None:
        """Raises StoreError for a row that cannot be read."""
        for key, value in rows.scan(TABLE):
            if key.startswith(PREFIX):
                try:
                    self._kept[key.removeprefix(PREFIX)] = msgspec.json.decode(value, type=Row)
                except ValueError as error:
                    raise StoreError(f"the stored eviction {key!r} cannot be read") from error

    def keep(self, key: bytes, kept: Row, now: float) -> tuple[Put, ...] | Busy:
        """What makes the name stay out; a later word replaces the earlier."""
        gone = self._expired(now)
        if key not in self._kept and sum(self._left(row, now) > 0 for row in self._kept.values()) >= EVICTIONS_MAX:
            return Busy(FULL_RETRY, f"{EVICTIONS_MAX} names are kept out already: let one back in", Cause.FULL)
        self._kept[key] = kept
        return (*gone, *self._beyond(), Put(TABLE, PREFIX + key, kept.encode()))

    def told(self, key: bytes, value: bytes | None) -> tuple[Put, ...]:
        """Some node keeps the name out, perhaps this one, or lets it back in."""
        if value is None:
            return () if self._kept.pop(key, None) is None else (Put(TABLE, PREFIX + key, None),)
        row = msgspec.json.decode(value, type=Row)
        if self._kept.get(key) == row:
            return ()
        self._kept[key] = row
        return (*self._beyond(), Put(TABLE, PREFIX + key, value))

    def bars(self, key: bytes, location: str) -> bool:
        """Whether that registration was evicted: what it became since nobody asked for."""
        kept = self._kept.get(key)
        return kept is not None and kept.id == location

    def rows(self) -> dict[bytes, Row]:
        return dict(self._kept)

    def find(self, id: str) -> Row | None:
        return next((kept for kept in self._kept.values() if kept.id == id), None)

    def readmit(self, id: str) -> tuple[Put, ...]:
        """What lets the name back in; empty if nobody is kept out under `id`."""
        for key, kept in self._kept.items():
            if kept.id == id:
                del self._kept[key]
                return (Put(TABLE, PREFIX + key, None),)
        return ()

    def refusal(self, key: bytes, now: float) -> Refused | None:
        """What a device hears that may not come back yet."""
        kept = self._kept.get(key)
        if kept is None or (left := self._left(kept, now)) <= 0:
            return None
        return Refused(Reason.FORBIDDEN, "an operator evicted this name: come back later", retry_s=ceil(left))

    def listed(self, view: View | None, now: float) -> Evicted:
        """Those that `view` shows."""
        kept = [kept for kept in self._kept.values() if view is None or view.shows(kept.d, kept.ep)]
        entries = (Eviction(row.id, row.ep, row.d, self._left(row, now)) for row in kept)
        return Evicted(tuple(entry for entry in entries if entry.remaining_s > 0))

    def _left(self, kept: Row, now: float) -> float:
        return self._clocks.from_wall_ms(kept.until_ms) - now

    def _beyond(self) -> tuple[Put, ...]:
        """Those over first make room."""
        many = len(self._kept) - ROWS_MAX
        over = sorted(self._kept, key=lambda key: self._kept[key].until_ms)[:many] if many > 0 else []
        for key in over:
            del self._kept[key]
        return tuple(Put(TABLE, PREFIX + key, None) for key in over)

    def _expired(self, now: float) -> tuple[Put, ...]:
        over = [key for key, kept in self._kept.items() if self._left(kept, now) <= -self._barred_s]
        for key in over:
            del self._kept[key]
        return tuple(Put(TABLE, PREFIX + key, None) for key in over)
