"""Names that an operator keeps out for a while.

They are this node's own and lie in the table "meta", so a restart lets nobody back in.  One row for
each name: "evicted " and the name's key.

Source: design, Operators (evict one registration); RFC 7252, 5.9.2.4 (4.03).
"""

from math import ceil
from typing import Final

import msgspec

from waypost.engine import Put, Rows
from waypost.errors import StoreError
from waypost.identity.policy import View
from waypost.rd.clocks import Clocks
from waypost.rd.questions import Busy, Cause, Evicted, Eviction, Reason, Refused
from waypost.record import canonical

TABLE: Final = "meta"
PREFIX: Final = b"evicted "
EVICTIONS_MAX: Final = 1_000  # names kept out at once
FULL_RETRY: Final = 60  # seconds


class Row(msgspec.Struct, frozen=True):
    """One of them.  `id` is what the registration had; `until_ms` wall clock."""

    d: str | None
    ep: str
    id: str
    until_ms: int


class Evictions:
    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
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
        if key not in self._kept and len(self._kept) >= EVICTIONS_MAX:
            return Busy(FULL_RETRY, f"{EVICTIONS_MAX} names are kept out already: let one back in", Cause.FULL)
        self._kept[key] = kept
        row = canonical({"d": kept.d, "ep": kept.ep, "id": kept.id, "until_ms": kept.until_ms})
        return (*gone, Put(TABLE, PREFIX + key, row))

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

    def _expired(self, now: float) -> tuple[Put, ...]:
        over = [key for key, kept in self._kept.items() if self._left(kept, now) <= 0]
        for key in over:
            del self._kept[key]
        return tuple(Put(TABLE, PREFIX + key, None) for key in over)
