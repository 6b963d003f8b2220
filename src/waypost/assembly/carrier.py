"""The embedded carrier: announcements made durable on this node, each one a change of its feed.

Source: design, Contracts, 3 and 5.
"""

from random import Random
from typing import Final

from waypost.engine import Apply, Commit, Effect, Put, Rows
from waypost.rd.questions import Announce, Busy
from waypost.record import Change, HlcClock
from waypost.record.feed import Feed

ROOM: Final = "rd"
RECORDS: Final = "directory"
WAITING_MAX: Final = 2_048  # announcements on their way to the disk, well below what the writer takes
BUSY_RETRY: Final = 1  # seconds


class Carrier:
    def __init__(self, rng: Random) -> None:
        self._feed = Feed(rng)
        self._clock = HlcClock()
        self._wall_ms = 0
        self._read_at = 0.0  # when the wall clock was read, on the caller's clock
        self._waiting: dict[int, int] = {}  # change -> question
        self._effects: list[Effect] = []
        self.durable = 0  # the last change that is on disk

    @property
    def feed_id(self) -> bytes:
        return self._feed.id

    @property
    def seq(self) -> int:
        """Of the last change."""
        return self._feed.seq

    def restore(self, rows: Rows) -> None:
        """Raises StoreError if the feed cannot be read."""
        puts, last = self._feed.restore(rows)
        self.durable = self._feed.seq
        if puts:
            self._effects.append(Commit(puts=puts))
        if last is not None:
            self._clock.observe(last)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._read_at, self._wall_ms = now, wall_ms

    def announce(self, id: int, announce: Announce, now: float) -> Busy | None:
        """Busy at once, or None: applied() will name the question once the change is durable and applied."""
        if len(self._waiting) >= WAITING_MAX:
            return Busy(BUSY_RETRY, "the disk is behind: come back later")
        wall_ms = self._wall_ms + round((now - self._read_at) * 1000)
        change, puts = self._feed.add(ROOM, announce.key, self._clock.tick(wall_ms), announce.value, wall_ms)
        self._waiting[change.seq] = id
        record = Put(RECORDS, announce.key, announce.value)
        self._effects.append(Commit(puts=(record, *puts), then=(Apply(change),)))
        return None

    def applied(self, change: Change) -> int:
        """The question that `change` answers, for it is durable."""
        self.durable = change.seq
        return self._waiting.pop(change.seq)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def __len__(self) -> int:
        """Announcements on their way to the disk."""
        return len(self._waiting)
