"""Announcements that nobody asked for, and the directory owes: what it holds is not what is stored.

A lifetime has ended, a grace is over, the wall clock has stepped; or other nodes have not been told yet what is on this
one alone, which is done at a pace that leaves clients their share.

Source: design, Contracts, 5.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from waypost.rd.announcing import Announcements, UnderWay
from waypost.rd.index import Registration
from waypost.rd.questions import Removed, Renewed
from waypost.rd.record import Record
from waypost.rd.registrations import Registrations

OWED_MAX: Final = 256  # announcements of our own under way
OWED_RETRY: Final = 2.0  # seconds after the carrier was busy
UNCHECKED_STEP: Final = 500  # names looked at in one handle_timer() after a step of the wall clock
SAY_STEP: Final = 100  # names said to others at once, when they are there for the first time
SAY_EVERY: Final = 0.1  # seconds
ROUNDING_MS: Final = 2  # that what was said may seem later than it was: it must not seem so


Overruled = tuple[bytes, bytes | None, int]  # key, the value that others know, and when that was said, in milliseconds


class Debts:
    """`record_octets_max` is what the carrier brings to other nodes; 0, any number.

    `is_barred`: the registration was evicted, and this node is to say so, for it went on with it.
    """

    def __init__(
        self,
        registrations: Registrations,
        announcements: Announcements,
        record_octets_max: int,
        is_barred: Callable[[Registration], bool],
    ) -> None:
        self.record_octets_max = record_octets_max
        self._is_barred = is_barred
        self._registrations = registrations
        self._announcements = announcements
        self._owed: dict[bytes, None] = {}  # names whose registration must be announced as it is
        self._owed_after: float | None = None  # the carrier was busy
        self._unchecked: list[bytes] = []  # names to look at since the wall clock stepped
        self._unsaid: dict[bytes, None] = {}  # names whose registration is to be brought to others
        self._overruled: dict[bytes, tuple[bytes, int]] = {}  # names, what overruled the client's word, and when it was
        self._saying: deque[bytes] = deque()  # those whose turn has not come
        self._say_at = 0.0

    def __len__(self) -> int:
        return len(self._owed)

    @property
    def is_looking(self) -> bool:
        return bool(self._unchecked)

    def knows(self, key: bytes) -> bool:
        return key in self._owed

    def say(self, keys: Iterable[bytes], overruled: Iterable[Overruled]) -> None:
        """Bring them to others, as far as that can be: they are on this node alone.

        And those that had `overruled` what others say, before this start.
        """
        for key, value, said_ms in overruled:
            if self.fits(self._as_stored(self._registrations.by_key[key])):
                self._overruled[key] = value or b"", said_ms
                self._saying.append(key)
        for key in keys:
            registration = self._registrations.by_key[key]
            registration.node = ""
            if self.fits(self._as_stored(registration)):
                self._unsaid[key] = None
        self._saying.extend(self._unsaid)

    def said(self, key: bytes) -> None:
        """Somebody has said something of it, and all know."""
        self._unsaid.pop(key, None)
        self._overruled.pop(key, None)

    def overrules(self, key: bytes, value: bytes | None, said_ms: int) -> bool:
        """Whether `value`, said elsewhere at `said_ms`, is older than a client's word that only this node knows.

        Then it is owed to the client that others know it, too.
        """
        if not self.knows_later(key, said_ms):
            return False
        refreshed_ms = self._registrations.refreshed_ms(self._registrations.by_key[key])
        self._overruled[key] = value or b"", refreshed_ms
        return True

    def knows_later(self, key: bytes, said_ms: int) -> bool:
        registration = self._registrations.by_key.get(key)
        if registration is None or self._announcements.get(key) is not None or self._is_barred(registration):
            return False
        return self._registrations.refreshed_ms(registration) > said_ms

    def fits(self, record: Record) -> bool:
        """The carrier can bring it to other nodes."""
        kept = self._registrations.kept(record)
        return bool(kept.node) and (not self.record_octets_max or len(kept.encode()) <= self.record_octets_max)

    def look_at_all(self) -> None:
        """The wall clock has stepped."""
        self._unchecked = list(self._registrations.by_key)

    def owe(self, key: bytes, now: float) -> None:
        """If there is something to announce."""
        if self._owes(key, now):
            self._owed[key] = None

    def put_off(self, now: float) -> None:
        """The carrier is busy."""
        self._owed_after = now + OWED_RETRY

    def handle_timer(self, now: float) -> None:
        for _ in range(min(len(self._unchecked), UNCHECKED_STEP)):
            self.owe(self._unchecked.pop(), now)
        if self._saying and now >= self._say_at:
            self._say_at = now + SAY_EVERY
            for _ in range(min(len(self._saying), SAY_STEP)):
                self.owe(self._saying.popleft(), now)
        if self._owed_after is not None and now >= self._owed_after:
            self._owed_after = None

    def next_timer(self, now: float) -> float | None:
        if self._unchecked:
            return now
        times = (self._owed_after, self._say_at if self._saying else None)
        return min((when for when in times if when is not None), default=None)

    def pay(self, now: float) -> Iterator[UnderWay]:
        """What to announce, a bounded number at a time.  What is under way is looked at when it is answered."""
        while self._owed and self._owed_after is None and self._announcements.own < OWED_MAX:
            key = next(iter(self._owed))
            del self._owed[key]
            registration = self._owes(key, now)
            if registration is None or self._announcements.get(key):
                continue
            if self._is_barred(registration):
                yield UnderWay(key, None, Removed(), "removed")
            elif self._registrations.is_past(registration, now):
                yield UnderWay(key, None, Removed(), "forgotten")
            else:
                yield self._restated(key, registration, now)

    def _restated(self, key: bytes, registration: Registration, now: float) -> UnderWay:
        stored = self._as_stored(registration)
        restates, said_ms = stored.encode(), stored.said_ms - ROUNDING_MS
        record = self._registrations.restated(registration)
        if key in self._overruled:
            restates, said_ms = self._overruled[key]
        elif not self._registrations.owes(registration, now):
            record = self._registrations.kept(stored)
        told = registration.expires
        return UnderWay(key, None, Renewed(), "restated", record, told=told, restates=restates, said_ms=max(1, said_ms))

    def _owes(self, key: bytes, now: float) -> Registration | None:
        registration = self._registrations.by_key.get(key)
        if registration is None:
            return None
        owes = key in self._unsaid or key in self._overruled or self._registrations.owes(registration, now)
        return registration if owes or self._is_barred(registration) else None

    def _as_stored(self, registration: Registration) -> Record:
        return self._registrations.record(registration, registration.stored_ms)
