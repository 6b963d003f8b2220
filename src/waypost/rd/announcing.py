"""Announcements under way, one for each name, and the questions that wait behind them in order.

So each question is judged by what the directory holds, never by what it may come to hold.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from waypost.coap.links import Link
from waypost.rd.admission import Holdings
from waypost.rd.questions import Announce, Import, Outcome, Register, Remove, Renew
from waypost.rd.record import Record

WAITING_MAX: Final = 4_096  # questions waiting behind announcements

Change = Register | Renew | Remove | Import


@dataclass(slots=True)
class UnderWay:
    """An announcement whose answer is awaited; `id` None: our own, that nobody asked for.

    `record` None: the name is to be forgotten.  `told` is the expiry that the client will be told;
    `parsed` are the links if their document is new.  `restates` and `said_ms` are as of Announce.
    """

    key: bytes
    id: int | None
    outcome: Outcome
    counter: str
    record: Record | None = None
    value: bytes | None = None
    told: float = 0.0
    parsed: list[Link] | None = None
    creates: bool = False
    restates: bytes | None = None
    said_ms: int = 0
    waiting: deque[tuple[int, Change]] = field(default_factory=deque)


class Announcements:
    """`creating` registrations are new, and count for their `holdings`; `own` announcements nobody asked for.

    `waiting` questions wait.  Carriers may forget a record `keep_s` seconds after its stored expiry.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_ms = ceil(keep_s * 1000)
        self._by_key: dict[bytes, UnderWay] = {}
        self._by_id: dict[int, UnderWay] = {}
        self._locations: Counter[str] = Counter()  # of the records under way
        self._coming: Counter[bytes] = Counter()
        self.creating = 0
        self.holdings = Holdings()  # of the new registrations
        self.own = 0
        self.waiting = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, key: bytes) -> UnderWay | None:
        return self._by_key.get(key)

    def comes(self, key: bytes) -> None:
        """A change that others made is on its way to the disk."""
        self._coming[key] += 1

    def has_come(self, key: bytes) -> None:
        if self._coming[key] <= 1:
            del self._coming[key]
        else:
            self._coming[key] -= 1

    def is_coming(self, key: bytes) -> bool:
        return key in self._coming

    def begin(self, id: int, under_way: UnderWay) -> Announce:
        assert under_way.key not in self._by_key, "one at a time"
        self._by_id[id] = self._by_key[under_way.key] = under_way
        self.creating += under_way.creates
        self.own += under_way.id is None
        record = under_way.record
        if record is None:
            return Announce(under_way.key, None, 0)
        self._locations[record.location] += 1
        if under_way.creates:
            self.holdings.add(record.holder)
        under_way.value = value = record.encode()
        expires_ms = record.expires_ms + self._keep_ms
        restates, said_ms = under_way.restates, under_way.said_ms
        return Announce(under_way.key, value, expires_ms, record.is_local, restates, said_ms)

    def end(self, id: int) -> UnderWay:
        under_way = self._by_id.pop(id)
        del self._by_key[under_way.key]
        if under_way.record is not None:
            self._locations[under_way.record.location] -= 1
            if not self._locations[under_way.record.location]:
                del self._locations[under_way.record.location]
            if under_way.creates:
                self.holdings.remove(under_way.record.holder)
        self.creating -= under_way.creates
        self.own -= under_way.id is None
        self.waiting -= len(under_way.waiting)
        return under_way

    def uses(self, location: str) -> bool:
        """A record that is under way has the location."""
        return location in self._locations

    def wait(self, under_way: UnderWay, id: int, question: Change) -> bool:
        """False if too many wait already."""
        if self.waiting >= WAITING_MAX:
            return False
        self.waiting += 1
        under_way.waiting.append((id, question))
        return True

    def check(self) -> None:
        assert len(self._by_key) == len(self._by_id)
        assert self._locations.total() == sum(under_way.record is not None for under_way in self._by_id.values())
        assert self.waiting == sum(len(under_way.waiting) for under_way in self._by_id.values())
        assert self.creating == sum(under_way.creates for under_way in self._by_id.values())
        new = (under_way.record for under_way in self._by_id.values() if under_way.creates)
        self.holdings.check(record.holder for record in new if record is not None)
        assert self.own == sum(under_way.id is None for under_way in self._by_id.values())
