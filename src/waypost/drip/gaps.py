"""Which older versions of keys this node does not have, on disk: a node that came late or was away learns the newest.

    drip_gap   uint64 number   Gap, the oldest first
    drip_gap   no octets       what is in drip_history is to be looked through for gaps, once

A gap is noted in the commit that makes it, so nothing has to be looked for after a restart.  In memory are HELD_MAX of
them, the oldest; the others are read when these are closed.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
from msgspec import Struct

from waypost.codec import u64
from waypost.drip.outbox import Outbox
from waypost.engine import Rows
from waypost.errors import WireError
from waypost.record import ROSTER, Committed, Place
from waypost.record.wire import encode

GAPS: Final = "drip_gap"
HELD_MAX: Final = 4_096
NUMBER_SIZE: Final = 8  # octets
UNSEARCHED: Final = b""
ROSTERS: Final = "\0".join(ROSTER).encode()

ReadRows = Callable[[str, bytes, int], Sequence[tuple[bytes, bytes]]]  # the first so many rows of a table past a key


class Gap(Struct, frozen=True):
    """Versions `low` to `high` of a key.

    `hash` is that of `high`, as the version after it says; `base` is that of the version before `low`, "" for none.
    """

    namespace: str
    key: str
    low: int
    high: int
    hash: str
    base: str

    @property
    def place(self) -> Place:
        return self.namespace, self.key


_decoder: Final = msgspec.json.Decoder(Gap)


def read_row(key: bytes, value: bytes) -> Gap:
    """Raises WireError or msgspec's for what is no gap."""
    gap = _decoder.decode(value)
    if len(key) != NUMBER_SIZE or not 1 <= gap.low <= gap.high:
        raise WireError("it is no gap")
    return gap


class Gaps:
    """`missing` versions are known of, in `count` gaps."""

    def __init__(self, outbox: Outbox) -> None:
        self.count = 0
        self.missing = 0
        self._outbox = outbox
        self._held: dict[int, Gap] = {}
        self._last = 0  # number of a gap
        self._held_to = 0  # the highest number that is held, or was

    def restore(self, rows: Rows, history: str) -> None:
        """`history` is the table of all versions."""
        is_unsearched = False
        for key, value in rows.scan(GAPS):
            if key == UNSEARCHED:
                is_unsearched = True
                continue
            gap, self._last = read_row(key, value), int.from_bytes(key, "big")
            self._count(gap)
            if len(self._held) < HELD_MAX:
                self._hold(self._last, gap)
        if is_unsearched:
            self._outbox.put(GAPS, UNSEARCHED, None)
            for gap in _gaps_in(rows, history):
                self.note(gap)

    def note(self, gap: Gap) -> None:
        self._last += 1
        self._outbox.put(GAPS, u64(self._last), encode(gap))
        if self.count == len(self._held) < HELD_MAX:
            self._hold(self._last, gap)
        self._count(gap)

    def oldest(self, count: int, read: ReadRows) -> list[tuple[int, Gap]]:
        """Some of those that were not put off, with their numbers."""
        if len(self._held) < min(self.count, HELD_MAX // 2):
            for key, value in read(GAPS, u64(self._held_to), HELD_MAX // 2):
                self._hold(int.from_bytes(key, "big"), read_row(key, value))
        return list(islice(self._held.items(), count))

    def get(self, number: int) -> Gap:
        return self._held[number]

    def put_off(self, number: int) -> None:
        """The others come first."""
        self._held[number] = self._held.pop(number)

    def fill(self, number: int, prev: str) -> bool:
        """Its highest version is here, and follows one with the hash `prev`; whether that closes the gap."""
        gap = self._held[number]
        self.missing -= 1
        if gap.high == gap.low:
            del self._held[number]
            self.count -= 1
            self._outbox.put(GAPS, u64(number), None)
            return True
        left = msgspec.structs.replace(gap, high=gap.high - 1, hash=prev)
        self._held[number] = left
        self._outbox.put(GAPS, u64(number), encode(left))
        return False

    def check(self) -> None:
        assert len(self._held) <= min(self.count, HELD_MAX)
        assert self.missing >= self.count

    def _hold(self, number: int, gap: Gap) -> None:
        self._held[number] = gap
        self._held_to = number

    def _count(self, gap: Gap) -> None:
        self.count += 1
        self.missing += gap.high - gap.low + 1


def _gaps_in(rows: Rows, history: str) -> Iterator[Gap]:
    """What is between two versions of one key, or before the first."""
    last: tuple[bytes, int, bytes] = b"", 0, b""
    for key, value in rows.scan(history):
        place, _, number = key.rpartition(b"\0")
        version = int(number)
        known, held = (last[1], last[2]) if last[0] == place else (0, b"")
        last = place, version, value
        if version > known + 1 and place != ROSTERS:  # which are learnt one after the other, and the first is founding
            record = msgspec.json.decode(value, type=Committed).record
            before = msgspec.json.decode(held, type=Committed) if held else None
            base = before.certificate.matter.hash if before and before.certificate else ""
            yield Gap(*record.place, known + 1, version - 1, record.prev, base)
