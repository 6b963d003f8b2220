"""Days: what each brought to a log, and the hash of the day before, so that nothing is left out between them.

    waypost/day@v1 newline
    {"before":…,"counts":{…},"date":…,"gossiped":{…},"origin":…,"root":…,"start":…,"stop":…,"voted":{…}} newline

is the text of a note that the log's key signs and that is an entry of the log itself.  Entries `start` to `stop`, of
which `counts` says how many are of which kind, came since the day before; `root` is the log's at `stop`; `before` is
the SHA-256 of the text of the day before, "" of the first.  All that can be worked out again from the log (DAY-CHAIN).
`voted` and `gossiped` are state roots (state.py), of what this node held: of gossip, what was told by the end of the
day.  They are for comparing nodes, and prove nothing against any.

A node publishes at midnight UTC and GRACE_MS, so that what is under way arrives; what it missed while it was off is in
the next day that it publishes, if anything came.

Source: notes on the ledger, 5 (daily publication; DAY-CHAIN, SAME-STATE).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from waypost.errors import ProofError, StoreError, WireError
from waypost.ledger import entry, note
from waypost.ledger.entry import ENTRY_MAX, Kind
from waypost.ledger.log import Log
from waypost.ledger.note import Key, Note, Verify
from waypost.ledger.questions import Held, Notary
from waypost.ledger.state import Rooting, State, told_by
from waypost.record.wire import Count, Hash, MaybeHash, decode, encode

FIRST_LINE: Final = "waypost/day@v1\n"
DAY_MS: Final = 86_400_000
GRACE_MS: Final = 60_000
STEP_S: Final = 0.005  # between two portions of work
RETRY_S: Final = 60.0  # while the log may not sign
PORTION: Final = 256  # entries that are counted at once
OTHER: Final = "other"


class Told(Struct, frozen=True):
    """A state root, in hexadecimal, of `size` records."""

    root: Hash
    size: Count


class Day(Struct, frozen=True):
    before: MaybeHash
    counts: dict[str, Count]
    date: Annotated[str, Meta(pattern=r"\A[0-9]{4,6}-[0-9]{2}-[0-9]{2}\Z")]
    gossiped: Told
    origin: str
    root: Hash
    start: Count
    stop: Count
    voted: Told

    @property
    def text(self) -> str:
        return FIRST_LINE + encode(self).decode() + "\n"

    @property
    def hash(self) -> str:
        """What the next day has as `before`."""
        return sha256(self.text.encode()).hexdigest()


_decoder: Final = msgspec.json.Decoder(Day)
_LINES: Final[dict[Kind | None, bytes]] = {None: b"", **{kind: kind.line for kind in Kind}}


def read_day(body: bytes, key: Key, verify: Verify) -> Day:
    """Of the entry without its first line.  Raises WireError unless the log's key has signed it."""
    read = Note.decode(body)
    if not note.signers(read, (key,), verify):
        raise WireError(f"the day is not signed by {key.name}")
    if not read.text.startswith(FIRST_LINE):
        raise WireError("it is no day")
    return decode(read.text.removeprefix(FIRST_LINE)[:-1].encode(), _decoder, ENTRY_MAX)


def count_kinds(entries: Iterable[bytes]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for octets in entries:
        kind = entry.decode(octets).kind
        name = OTHER if kind is None else kind.name.lower().replace("_", "-")
        counts[name] = counts.get(name, 0) + 1
    return counts


def verify_day(before: Day | None, day: Day, entries: Sequence[bytes], root: bytes) -> None:
    """Whether it is what the log says: `entries` are those from its start to its stop, `root` is the log's at stop.

    Raises ProofError.
    """
    if day.before != (before.hash if before else ""):
        raise ProofError(f"the day {day.date} does not follow the one before it")
    if before is not None and (day.origin != before.origin or day.date <= before.date):
        raise ProofError(f"the day {day.date} cannot come after {before.date}")
    if day.start != (before.stop if before else 0) or day.stop - day.start != len(entries):
        raise ProofError(f"the day {day.date} leaves out entries, or has some twice")
    if day.counts != count_kinds(entries):
        raise ProofError(f"the day {day.date} counts other entries than the log has")
    if day.root != root.hex():
        raise ProofError(f"the day {day.date} is of another log")


class Chain:
    """Follows a log, entry by entry, and checks each of its days.  `root_at` is the root of the log at a size."""

    def __init__(self, key: Key, verify: Verify, root_at: Callable[[int], bytes]) -> None:
        self.last: Day | None = None
        self._key = key
        self._verify = verify
        self._root_at = root_at
        self._lines: list[bytes] = []  # which entries came since the last day, as far as days tell

    def take(self, octets: bytes) -> Day | None:
        """The next entry: the day, if it is one.  Raises ProofError if it is not as it should be."""
        read = entry.decode(octets)
        day = None
        if read.kind == Kind.DAY:
            day = self._check(read.body)
        self._lines.append(_LINES[read.kind])
        return day

    def _check(self, body: bytes) -> Day:
        try:
            day = read_day(body, self._key, self._verify)
        except WireError as error:
            raise ProofError(f"a day in the log cannot be read: {error}") from error
        size = max(day.stop - day.start, 0)
        if size > len(self._lines):
            raise ProofError(f"the day {day.date} has entries that come after it")
        verify_day(self.last, day, self._lines[:size], self._root_at(day.stop))
        del self._lines[:size]
        self.last = day
        return day


@dataclass(slots=True)
class _Work:
    """A day that is being made.  `counted` entries are in `counts`."""

    date: str
    start: int
    stop: int
    root: bytes
    before: str
    voted: Rooting
    gossiped: Rooting
    counted: int
    counts: dict[str, int] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)


class Days:
    """take_entries() has the days that are to be entered.  The engine calls restore() after that of the log."""

    def __init__(self, notary: Notary, log: Log, held: Held) -> None:
        self._notary = notary
        self._log = log
        self._held = held
        self._wall_ms = 0
        self._read_at = 0.0
        self._when: float | None = None
        self._had = 0  # entries at the start
        self._is_first = True  # of the looks at the clock
        self._work: _Work | None = None
        self._entries: list[bytes] = []
        self._published = 0

    def restore(self, now: float) -> None:
        """Raises StoreError."""
        self._had = self._log.size
        self._last()

    @property
    def date(self) -> str:
        """Of the last day that was published, "" if none was."""
        last = self._last()
        return last.date if last else ""

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._wall_ms, self._read_at = wall_ms, now
        is_late = self._is_first and wall_ms % DAY_MS >= GRACE_MS
        self._is_first = False
        if is_late and self._has_news():
            self._when = now
        elif self._work is None:
            self._wait(now)

    def handle_timer(self, now: float) -> None:
        if self._when is None or now < self._when:
            return
        if self._work is not None:
            self._go_on(self._work, now)
        elif not self._log.may_sign:
            self._when = now + RETRY_S
        else:
            self._begin(now)

    def next_timer(self) -> float | None:
        return self._when

    def take_entries(self) -> list[bytes]:
        entries, self._entries = self._entries, []
        return entries

    def counters(self) -> dict[str, int]:
        return {"ledger_days": self._published}

    def _has_news(self) -> bool:
        """Whether more came since the last day than that day itself."""
        last = self._last()
        return self._had > (last.stop + 1 if last else 0)

    def _wait(self, now: float) -> None:
        """For midnight, and what is still under way then."""
        into_ms = (self._wall(now) - GRACE_MS) % DAY_MS
        self._when = now + (DAY_MS - into_ms) / 1000

    def _begin(self, now: float) -> None:
        midnight = self._wall(now) // DAY_MS * DAY_MS
        date, last, head = date_of(midnight - 1), self._last(), self._log.head
        if head is None or (last is not None and date <= last.date):
            self._wait(now)
            return
        start = last.stop if last else 0
        gossiped = told_by(self._held.gossiped(), midnight, midnight + GRACE_MS)
        self._work = _Work(
            date,
            start,
            head.size,
            head.root,
            last.hash if last else "",
            Rooting(self._held.voted()),
            Rooting(gossiped),
            start,
        )
        self._when = now

    def _go_on(self, work: _Work, now: float) -> None:
        """A portion."""
        if work.counted < work.stop:
            counted = min(work.counted + PORTION, work.stop)
            entries = self._log.entries(work.counted, counted) or ()  # a log that is damaged publishes nothing
            for kind, number in count_kinds(entries).items():
                work.counts[kind] = work.counts.get(kind, 0) + number
            work.counted = counted
        else:
            state = (work.gossiped if work.states else work.voted).step()
            if state is not None:
                work.states.append(state)
        if len(work.states) < 2:
            self._when = now + STEP_S
            return
        self._work = None
        last = self._last()
        if self._log.may_sign and work.before == (last.hash if last else ""):
            self._publish(work)
            self._wait(now)
        else:  # days were taken back from others meanwhile
            self._when = now + RETRY_S

    def _publish(self, work: _Work) -> None:
        notary = self._notary
        voted, gossiped = (Told(state.root.hex(), state.size) for state in work.states)
        day = Day(
            work.before, work.counts, work.date, gossiped, notary.origin, work.root.hex(), work.start, work.stop, voted
        )
        signed = Note(day.text, (note.sign(day.text, notary.key, notary.sign),))
        self._entries.append(entry.encode(Kind.DAY, signed.encode()))
        self._published += 1

    def _last(self) -> Day | None:
        octets = self._log.day
        if octets is None:
            return None
        try:
            return read_day(entry.decode(octets).body, self._notary.key, self._notary.verify)
        except WireError as error:
            raise StoreError(f"the last day of this node's log cannot be read: {error}") from error

    def _wall(self, now: float) -> int:
        return self._wall_ms + int((now - self._read_at) * 1000)


def date_of(wall_ms: int) -> str:
    """In UTC.  The calendar's days, counted from 1 March of the year 0, in cycles of 400 years."""
    cycle, day = divmod(wall_ms // DAY_MS + 719_468, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    return f"{cycle * 400 + year + (month > 9):04}-{(month + 2) % 12 + 1:02}-{day + 1:02}"
