"""The embedded carrier: announcements made durable on this node, each one a change of its feed.

A change is numbered when its commit is made.  Commits are carried out first in, first out, and a
failed one stops the node, so this is the number it has in its transaction: dense, without a gap.

Source: design, Contracts, 3 and 5.
"""

from random import Random
from typing import Final

from waypost.codec import u64
from waypost.engine import Apply, Commit, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.rd.questions import Announce, Busy
from waypost.record import Change, HlcClock, Kind

ROOM: Final = "rd"
RECORDS: Final = "directory"
FEED: Final = "feed"
META: Final = "meta"
FEED_ID: Final = b"feed id"
FEED_MAX: Final = 100_000  # changes kept for followers that resume; an older cursor gets a snapshot
WAITING_MAX: Final = 2_048  # announcements on their way to the disk, well below what the writer takes
BUSY_RETRY: Final = 1  # seconds


class Carrier:
    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._clock = HlcClock()
        self._wall_ms = 0
        self._read_at = 0.0  # when the wall clock was read, on the caller's clock
        self._waiting: dict[int, int] = {}  # change -> question
        self._effects: list[Effect] = []
        self.feed_id = b""
        self.seq = 0  # of the last change
        self.durable = 0  # the last one that is on disk

    def restore(self, rows: Rows) -> None:
        """Raises StoreError if the feed cannot be read."""
        feed_id = rows.get(META, FEED_ID)
        if feed_id is None:
            feed_id = self._rng.randbytes(16)
            self._effects.append(Commit(puts=(Put(META, FEED_ID, feed_id),)))
        self.feed_id = feed_id
        last = None
        for last in rows.scan(FEED):  # noqa: B007 -- the last one is what we want
            pass
        if last is not None:
            self.seq = self.durable = int.from_bytes(last[0], "big")
            try:
                version = Change.decode(self.seq, last[1]).version
            except WireError as error:
                raise StoreError(f"change {self.seq} of the feed cannot be read: {error}") from error
            if not isinstance(version, int):
                self._clock.observe(version)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._read_at, self._wall_ms = now, wall_ms

    def announce(self, id: int, announce: Announce, now: float) -> Busy | None:
        """Busy at once, or None: applied() will name the question once the change is durable and applied."""
        if len(self._waiting) >= WAITING_MAX:
            return Busy(BUSY_RETRY, "the disk is behind: come back later")
        self.seq += 1
        wall_ms = self._wall_ms + round((now - self._read_at) * 1000)
        kind = Kind.REMOVE if announce.value is None else Kind.PUT
        change = Change(
            self.seq, kind, ROOM, announce.key, self._clock.tick(wall_ms), announce.value, wall_ms, cause=b""
        )
        puts = [Put(RECORDS, announce.key, announce.value), Put(FEED, u64(self.seq), change.encode())]
        if self.seq > FEED_MAX:
            puts.append(Put(FEED, u64(self.seq - FEED_MAX), None))
        self._waiting[self.seq] = id
        self._effects.append(Commit(puts=tuple(puts), then=(Apply(change),)))
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
