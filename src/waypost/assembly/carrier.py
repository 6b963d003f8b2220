"""The embedded carrier: announcements made durable on this node, each one a change of its feed.

Source: design, Contracts, 3 and 5.
"""

from typing import Final

from waypost.engine import Apply, Commit, Effect, Put
from waypost.rd.questions import Announce, Busy, Exclude
from waypost.record import Change, Hlc, HlcClock
from waypost.record.feed import Feed

ROOM: Final = "rd"
RECORDS: Final = "directory"
WAITING_MAX: Final = 2_048  # announcements on their way to the disk, well below what the writer takes
BUSY_RETRY: Final = 1  # seconds


class Carrier:
    def __init__(self, feed: Feed) -> None:
        """`feed` is restored before, by its owner."""
        self._feed = feed
        self._clock = HlcClock()
        self._wall_ms = 0
        self._read_at = 0.0  # when the wall clock was read, on the caller's clock
        self._waiting: dict[int, int] = {}  # change -> question
        self._effects: list[Effect] = []

    def restore(self, last: Hlc | None) -> None:
        """`last` is the time of the last change."""
        if last is not None:
            self._clock.observe(last)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._read_at, self._wall_ms = now, wall_ms

    def announce(self, id: int, announce: Announce | Exclude, now: float) -> Busy | None:
        """Busy at once, or None: applied() will name the question once the change is durable and applied."""
        if isinstance(announce, Exclude):
            return None  # there are no others
        if len(self._waiting) >= WAITING_MAX:
            return Busy(BUSY_RETRY, "the disk is behind: come back later")
        wall_ms = self._wall_ms + round((now - self._read_at) * 1000)
        change, puts = self._feed.add(ROOM, announce.key, self._clock.tick(wall_ms), announce.value, wall_ms)
        self._waiting[change.seq] = id
        record = Put(RECORDS, announce.key, announce.value)
        self._effects.append(Commit(puts=(record, *puts), then=(Apply(change),)))
        return None

    def applied(self, change: Change, now: float) -> int | None:
        """The question that `change` answers, for it is durable."""
        return self._waiting.pop(change.seq)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
