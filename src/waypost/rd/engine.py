"""The directory: who is registered, until when, and what it takes to make that last.

Nothing is stored here.  A registration, update or removal becomes an Announce to the carrier; the
index changes when apply() brings the change, and the client hears of it when answered() says so.
What is stored expires half a lifetime after what the client was told, so a refresh that changes
nothing seldom needs the carrier, and a crash never shortens a lifetime that was acknowledged.

For each (d, ep) one announcement is under way at a time; what else concerns that name waits in
order and is judged by what the directory holds then.

Two timers (RFC 9176, 5.3 and 5.1): after its lifetime a registration is hidden, and can be revived at
its location; after a grace it is forgotten.  Both are announced.  An announcement of our own that
the carrier refuses stays owed and is made later.

Times are seconds on the caller's monotonic clock, stored expiries milliseconds of the wall clock.
A step of the wall clock moves no deadline; it only makes stored expiries owed again.

Source: RFC 9176, 5; design, Contracts, 5.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from random import Random
from typing import Final, assert_never

from waypost.coap import links as linkformat
from waypost.engine import Answer, Ask, Deadlines, Effect, Rows
from waypost.errors import StoreError, WireError
from waypost.rd.admission import Admission
from waypost.rd.index import Index, Registration, parse_limited
from waypost.rd.lookup import Search
from waypost.rd.parameters import require_registration, require_update
from waypost.rd.questions import (
    Announce,
    Announced,
    Attributes,
    Busy,
    Lookup,
    Outcome,
    Question,
    Read,
    Reason,
    Refused,
    Register,
    Registered,
    Remove,
    Removed,
    Renew,
    Renewed,
)
from waypost.rd.record import Record, decode, key_of
from waypost.record import Change

TABLE: Final = "directory"
ROOM: Final = "rd"

REGISTRATIONS_MAX: Final = 1_000_000
DOCUMENT_OCTETS_MAX: Final = 64 << 10  # of one registration's links
OCTETS_MAX: Final = 1 << 30  # of all distinct documents
RATE: Final = 200.0  # registrations a second of one source
BURST: Final = 2_000
GRACE: Final = 86_400.0  # seconds that an expired registration can be revived
SLACK: Final = 0.5  # of a lifetime, by which the stored expiry is later
MARGIN: Final = 0.25  # of a lifetime, that a refresh leaves of the slack: a wall clock may be off after a restart
WAITING_MAX: Final = 4_096  # questions waiting for an announcement about the same name
OWED_UNDER_WAY_MAX: Final = 256  # announcements of our own at a time
OWED_RETRY: Final = 2.0  # seconds after the carrier was busy
DUE_MAX: Final = 100  # deadlines of one handle_timer()
SLICE: Final = 500  # links that a lookup looks at in one go
UNCHECKED_STEP: Final = 500  # names looked at in one handle_timer() after a step of the wall clock
SEARCHES_MAX: Final = 64  # lookups under way
FULL_RETRY: Final = 60  # seconds
BUSY_RETRY: Final = 1  # seconds
ROUNDING: Final = 0.002  # seconds that two readings of the clocks may differ: stored expiries are whole milliseconds
FULL_CHECK_EVERY: Final = 16  # calls of check()


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits; `registrations_per_second` of one source, 0 for no quota; `default_sector` where `d` is not given."""

    registrations_max: int = REGISTRATIONS_MAX
    registrations_per_second: float = RATE
    burst: int = BURST
    grace_s: float = GRACE
    document_octets_max: int = DOCUMENT_OCTETS_MAX
    octets_max: int = OCTETS_MAX
    default_sector: str | None = None


@dataclass(slots=True)
class UnderWay:
    """An announcement whose answer is awaited; `id` None: our own, that nobody asked for.

    `told` is the expiry that the client will be told; `parsed` are the links, not yet interned.
    """

    key: bytes
    id: int | None
    outcome: Outcome
    counter: str
    record: Record | None = None
    value: bytes | None = None
    told: float = 0.0
    parsed: list[linkformat.Link] | None = None
    creates: bool = False
    waiting: deque[tuple[int, Register | Renew | Remove]] = field(default_factory=deque)


class Directory:
    def __init__(self, rng: Random, ids: Iterator[int], settings: Settings) -> None:
        self._rng = rng
        self._ids = ids
        self._settings = settings
        self._index = Index()
        self._by_key: dict[bytes, Registration] = {}
        self._deadlines: Deadlines[Registration] = Deadlines()  # to hide what is visible, to forget what is hidden
        self._admission = Admission(settings.registrations_per_second, settings.burst)
        self._under_way: dict[bytes, UnderWay] = {}
        self._asked: dict[int, UnderWay] = {}
        self._owed: dict[bytes, None] = {}  # names whose registration must be announced as it is
        self._owed_under_way = 0
        self._owed_after: float | None = None  # the carrier was busy
        self._creating = 0
        self._waiting = 0
        self._searches: deque[tuple[int, Search]] = deque()
        self._restored: dict[bytes, Record] = {}  # until the wall clock is known
        self._wall_offset = 0.0  # wall clock less ours, seconds
        self._has_clock = False
        self._unchecked: list[bytes] = []  # names to look at since the wall clock stepped
        self._now = 0.0
        self._checks = 0
        self._effects: list[Effect] = []
        self._counters = dict.fromkeys(
            (
                "lookups",
                "registered",
                "refreshed",
                "renewed",
                "removed",
                "expired",
                "forgotten",
                "restated",
                "refused",
                "busy",
            ),
            0,
        )

    # the engine's calls

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError for a row that cannot be read."""
        self._now = now
        for key, value in rows.scan(TABLE):
            self._restored[key] = decode(key, value)

    def ask(self, id: int, question: Question, now: float) -> Outcome | None:
        """The outcome, or None: then Answer(id, outcome) follows."""
        self._now = now
        if isinstance(question, Lookup):
            return self._count(self._look_up(id, question, now))
        if isinstance(question, Read):
            return self._count(self._read(question, now))
        outcome = self._change(id, question, now)
        return None if outcome is None else self._count(outcome)

    def answered(self, id: int, result: object, now: float) -> None:
        """`result` is Announced, and apply() has brought the change; or Busy, and nothing has changed."""
        self._now = now
        done = self._asked.pop(id)
        del self._under_way[done.key]
        self._creating -= done.creates
        if done.id is None:
            self._owed_under_way -= 1
        if isinstance(result, Busy):
            if done.id is None:
                self._owed_after = now + OWED_RETRY
            else:
                self._answer(done.id, result)
        else:
            assert isinstance(result, Announced)
            self._counters[done.counter] += 1
            if done.id is not None:
                self._answer(done.id, done.outcome)
        self._go_on(done, now)
        self._owe(done.key, now)
        self._pay(now)

    def apply(self, change: Change, now: float) -> None:
        """Raises StoreError for a record that cannot be read."""
        self._now = now
        under_way = self._under_way.get(change.key)
        own = under_way if under_way is not None and under_way.value == change.value else None
        if change.value is None:
            registration = self._by_key.get(change.key)
            if registration is not None:
                self._forget(registration)
        elif own is not None and own.record is not None:
            self._put(change.key, own.record, own.parsed, own.told, now)
        else:
            record = decode(change.key, change.value)
            self._put(change.key, record, None, self._expiry(record, now), now)
        self._owe(change.key, now)

    def handle_timer(self, now: float) -> None:
        self._now = now
        for registration in self._deadlines.pop_due(now, DUE_MAX):
            if registration.visible:
                self._index.hide(registration)
                self._counters["expired"] += 1
                self._deadlines.set(registration, registration.expires + self._settings.grace_s)
            self._owe(registration.key, now)
        for _ in range(min(len(self._unchecked), UNCHECKED_STEP)):
            self._owe(self._unchecked.pop(), now)
        if self._searches:
            id, search = self._searches.popleft()
            if search.step(SLICE, now):
                assert search.outcome is not None
                self._answer(id, search.outcome)
            else:
                self._searches.append((id, search))
        if self._owed_after is not None and now >= self._owed_after:
            self._owed_after = None
        self._pay(now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        """At start this is when what was restored becomes visible."""
        self._now = now
        offset = wall_ms / 1000 - now
        stepped = self._has_clock and abs(offset - self._wall_offset) > ROUNDING
        self._wall_offset, self._has_clock = offset, True
        restored, self._restored = self._restored, {}
        for key, record in restored.items():
            try:
                self._put(key, record, None, self._expiry(record, now), now)
            except WireError as error:
                raise StoreError(f"the stored registration {key!r} cannot be read: {error}") from error
        if stepped:
            self._unchecked = list(self._by_key)

    def next_timer(self) -> float | None:
        if self._searches or self._unchecked:
            return self._now
        deadline = self._deadlines.next()
        if self._owed_after is None:
            return deadline
        return self._owed_after if deadline is None else min(deadline, self._owed_after)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def counters(self) -> Mapping[str, int]:
        return self._counters

    def gauges(self) -> Mapping[str, int]:
        return {
            "registrations": len(self._index.visible),
            "registrations_hidden": len(self._by_key) - len(self._index.visible),
            "links": len(self._index.links),
            "documents": len(self._index.documents),
            "document_octets": self._index.octets,
            "announcements_under_way": len(self._asked),
            "lookups_under_way": len(self._searches),
        }

    def check(self) -> None:
        """Its cheap invariants each time, all of them now and then."""
        assert len(self._under_way) == len(self._asked)
        assert self._waiting == sum(len(under_way.waiting) for under_way in self._asked.values())
        assert self._creating == sum(under_way.creates for under_way in self._asked.values())
        assert self._owed_under_way == sum(under_way.id is None for under_way in self._asked.values())
        assert len(self._by_key) == len(self._index.by_location)
        self._checks += 1
        if self._checks % FULL_CHECK_EVERY == 1 or len(self._by_key) <= FULL_CHECK_EVERY:
            self.check_all()

    def check_all(self) -> None:
        """Assert that index, deadlines and debts agree with the registrations; takes time in proportion to them."""
        self._index.check(self._by_key.values())
        for key, registration in self._by_key.items():
            assert registration.key == key == key_of(registration.d, registration.ep)
            assert self._index.by_location[registration.location] is registration
            if registration.visible:
                assert self._stored(registration) + ROUNDING >= registration.expires or self._is_owed(key)
            elif self._owes(registration, self._now):
                assert self._is_owed(key)
        visible = len(self._index.visible)
        assert visible <= len(self._deadlines) <= len(self._by_key)

    # lookups

    def _look_up(self, id: int, lookup: Lookup, now: float) -> Outcome | None:
        self._counters["lookups"] += 1
        try:
            search = Search(self._index, lookup)
        except WireError as error:
            return Refused(Reason.BAD_REQUEST, str(error))
        if search.step(SLICE, now):
            return search.outcome
        if len(self._searches) >= SEARCHES_MAX:
            return Busy(BUSY_RETRY, "too many large lookups are under way: come back, or ask for less")
        self._searches.append((id, search))
        return None

    def _read(self, question: Read, now: float) -> Outcome:
        registration = self._index.at(question.location)
        if registration is None:
            return _unknown(question.location)
        return registration.entry(now, tuple(link.entry(registration) for link in registration.document.links))

    # changes

    def _change(self, id: int, question: Register | Renew | Remove, now: float) -> Outcome | None:
        if isinstance(question, Register):
            try:
                key = key_of(self._sector(question), question.ep)
            except (ValueError, OverflowError):  # a lone surrogate, or too long a sector: the sentence comes from there
                key = b""
        else:
            registration = self._index.by_location.get(question.location)
            if registration is None:
                return _unknown(question.location)
            key = registration.key
        before = self._under_way.get(key)
        if before is not None:
            if self._waiting >= WAITING_MAX:
                return Busy(BUSY_RETRY, "too many changes are waiting for the disk")
            before.waiting.append((id, question))
            self._waiting += 1
            return None
        match question:
            case Register():
                return self._register(id, key, question, now)
            case Renew():
                return self._renew(id, self._by_key[key], question, now)
            case Remove():
                self._announce(UnderWay(key, id, Removed(), "removed"), 0)
                return None
            case _:
                assert_never(question)

    def _register(self, id: int, key: bytes, question: Register, now: float) -> Outcome | None:
        """RFC 9176, 5: the same (d, ep) keeps its location, and all else is replaced."""
        registration = self._by_key.get(key)
        explicit = question.base is not None
        base = question.implicit_base if question.base is None else question.base
        if (
            registration is not None
            and registration.document.payload == question.links
            and registration.base == base
            and registration.explicit == explicit
            and registration.attributes == question.attributes
            and self._refresh(registration, question.lt, now)
        ):
            return Registered(registration.location, created=False)
        try:
            require_registration(question)
            refused = self._admit(question, registration is None, now)
            if refused is not None:
                return refused
            parsed = self._parse(question.links)
        except WireError as error:
            return Refused(Reason.BAD_REQUEST, str(error))
        location = self._location() if registration is None else registration.location
        record = Record(
            attributes=question.attributes,
            base=base,
            d=self._sector(question),
            ep=question.ep,
            expires_ms=self._expires_ms(now, question.lt),
            explicit=explicit,
            links=question.links.decode(),
            location=location,
            lt=question.lt,
        )
        new = registration is None
        under_way = UnderWay(key, id, Registered(location, new), "registered", record, creates=new, parsed=parsed)
        self._announce_record(under_way, now + question.lt)
        return None

    def _renew(self, id: int, registration: Registration, question: Renew, now: float) -> Outcome | None:
        """RFC 9176, 5.3.1."""
        lt = registration.lt if question.lt is None else question.lt
        base, explicit = registration.base, registration.explicit
        if question.base is not None:
            base, explicit = question.base, True
        elif question.implicit_base is not None and not explicit:
            base = question.implicit_base
        attributes = overwritten(registration.attributes, question.attributes)
        same = base == registration.base and explicit == registration.explicit
        if same and attributes == registration.attributes and self._refresh(registration, lt, now):
            return Renewed()
        try:
            require_update(replace(question, attributes=attributes))
        except WireError as error:
            return Refused(Reason.BAD_REQUEST, str(error))
        retry_s = self._admission.take(question.source, now)
        if retry_s:
            return Busy(retry_s, "too many changes from your address")
        record = Record(
            attributes=attributes,
            base=base,
            d=registration.d,
            ep=registration.ep,
            expires_ms=self._expires_ms(now, lt),
            explicit=explicit,
            links=registration.document.payload.decode(),
            location=registration.location,
            lt=lt,
        )
        self._announce_record(UnderWay(registration.key, id, Renewed(), "renewed", record), now + lt)
        return None

    def _refresh(self, registration: Registration, lt: int, now: float) -> bool:
        """Move the deadline, if what is stored lasts long enough."""
        expires = now + lt
        if not registration.visible or lt != registration.lt or expires + lt * MARGIN > self._stored(registration):
            return False
        registration.expires = expires
        self._deadlines.set(registration, expires)
        self._counters["refreshed"] += 1
        return True

    def _parse(self, payload: bytes) -> list[linkformat.Link] | None:
        """None if the document is known.  Raises WireError."""
        if payload in self._index.documents:
            return None
        if len(payload) > self._settings.document_octets_max:
            raise WireError(f"the links have more than {self._settings.document_octets_max} octets: register fewer")
        return parse_limited(payload)

    def _admit(self, question: Register, new: bool, now: float) -> Busy | None:
        if new and len(self._by_key) + self._creating >= self._settings.registrations_max:
            return Busy(FULL_RETRY, "the directory is full")
        if question.links not in self._index.documents and (
            self._index.octets + len(question.links) > self._settings.octets_max
        ):
            return Busy(FULL_RETRY, "the directory holds as many links as it may")
        retry_s = self._admission.take(question.source, now)
        return Busy(retry_s, "too many registrations from your address") if retry_s else None

    def _announce_record(self, under_way: UnderWay, told: float) -> None:
        assert under_way.record is not None
        under_way.value = under_way.record.encode()
        under_way.told = told
        self._announce(under_way, under_way.record.expires_ms)

    def _announce(self, under_way: UnderWay, expires_ms: int) -> None:
        id = next(self._ids)
        self._asked[id] = self._under_way[under_way.key] = under_way
        self._creating += under_way.creates
        self._effects.append(Ask(id, Announce(under_way.key, under_way.value, expires_ms)))

    def _go_on(self, done: UnderWay, now: float) -> None:
        """Put the questions that waited, until one is under way again."""
        while done.waiting:
            id, question = done.waiting.popleft()
            self._waiting -= 1
            outcome = self._change(id, question, now)
            if outcome is not None:
                self._answer(id, outcome)
                continue
            under_way = self._under_way.get(done.key)
            if under_way is not None and not under_way.waiting:
                under_way.waiting, done.waiting = done.waiting, deque()

    # what is held

    def _put(
        self, key: bytes, record: Record, parsed: list[linkformat.Link] | None, expires: float, now: float
    ) -> None:
        registration = self._by_key.get(key)
        payload = record.links.encode()
        if registration is None:
            registration = Registration()
            registration.key, registration.d, registration.ep = key, record.d, record.ep
            registration.document = self._index.acquire(payload, parsed)
            self._by_key[key] = registration
        else:
            document = self._index.acquire(payload, parsed)
            if registration.visible:
                self._index.hide(registration)
            self._index.release(registration.document)
            registration.document = document
            del self._index.by_location[registration.location]
        self._index.by_location[record.location] = registration
        registration.location = record.location
        registration.base = record.base
        origin = linkformat.origin(record.base)
        registration.origin = record.base if origin == record.base else origin
        registration.explicit = record.explicit
        registration.attributes = record.attributes
        registration.lt = record.lt
        registration.stored_ms = record.expires_ms
        registration.expires = expires
        registration.visible = False
        if expires > now:
            self._index.show(registration)
            self._deadlines.set(registration, expires)
        else:
            self._deadlines.set(registration, expires + self._settings.grace_s)

    def _forget(self, registration: Registration) -> None:
        if registration.visible:
            self._index.hide(registration)
        self._index.release(registration.document)
        del self._index.by_location[registration.location], self._by_key[registration.key]
        self._deadlines.clear(registration)

    # announcements of our own

    def _owe(self, key: bytes, now: float) -> None:
        registration = self._by_key.get(key)
        if registration is not None and key not in self._under_way and self._owes(registration, now):
            self._owed[key] = None

    def _owes(self, registration: Registration, now: float) -> bool:
        """What is stored is not what should be: it is to be forgotten, lasts too long, or not long enough."""
        if not registration.visible:
            return self._is_past(registration, now) or self._stored(registration) > registration.expires + ROUNDING
        return self._stored(registration) < registration.expires - ROUNDING

    def _pay(self, now: float) -> None:
        """Announce what is owed, a bounded number at a time."""
        while self._owed and self._owed_after is None and self._owed_under_way < OWED_UNDER_WAY_MAX:
            key = next(iter(self._owed))
            del self._owed[key]
            registration = self._by_key.get(key)
            if registration is None or key in self._under_way or not self._owes(registration, now):
                continue
            self._owed_under_way += 1
            if not registration.visible and self._is_past(registration, now):
                self._announce(UnderWay(key, None, Removed(), "forgotten"), 0)
                continue
            ends = registration.expires + (registration.lt * SLACK if registration.visible else 0.0)
            record = Record(
                attributes=registration.attributes,
                base=registration.base,
                d=registration.d,
                ep=registration.ep,
                expires_ms=self._to_wall_ms(ends),
                explicit=registration.explicit,
                links=registration.document.payload.decode(),
                location=registration.location,
                lt=registration.lt,
            )
            self._announce_record(UnderWay(key, None, Renewed(), "restated", record), registration.expires)

    def _is_owed(self, key: bytes) -> bool:
        return key in self._owed or key in self._under_way or bool(self._unchecked)

    def _is_past(self, registration: Registration, now: float) -> bool:
        return now >= registration.expires + self._settings.grace_s

    # clocks

    def _to_wall_ms(self, when: float) -> int:
        return ceil((when + self._wall_offset) * 1000)

    def _expires_ms(self, now: float, lt: int) -> int:
        return self._to_wall_ms(now + lt * (1 + SLACK))

    def _stored(self, registration: Registration) -> float:
        """When what is stored expires, on our clock."""
        return registration.stored_ms / 1000 - self._wall_offset

    def _expiry(self, record: Record, now: float) -> float:
        """What a record of unknown history promises; a wrong wall clock cannot make it longer than it ever was."""
        return min(record.expires_ms / 1000 - self._wall_offset, now + record.lt * (1 + SLACK))

    # small parts

    def _sector(self, question: Register) -> str | None:
        sector = self._settings.default_sector if question.d is None else question.d
        return sector or None

    def _location(self) -> str:
        """A random UUID (RFC 9562, 5.4)."""
        number = self._rng.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _answer(self, id: int, outcome: Outcome) -> None:
        self._count(outcome)
        self._effects.append(Answer(id, outcome))

    def _count(self, outcome: Outcome | None) -> Outcome | None:
        if isinstance(outcome, Refused):
            self._counters["refused"] += 1
        elif isinstance(outcome, Busy):
            self._counters["busy"] += 1
        return outcome


def overwritten(old: Attributes, new: Attributes) -> Attributes:
    """`old` with the values of `new` for each name that it has (RFC 9176, 5.3.1: overwritten, never removed)."""
    if not new:
        return old
    given: dict[str, list[str | None]] = {}
    for name, value in new:
        given.setdefault(name, []).append(value)
    attributes: list[tuple[str, str | None]] = []
    done: dict[str, None] = {}
    for name, value in old + new:
        if name not in given:
            attributes.append((name, value))
        elif name not in done:
            done[name] = None
            attributes.extend((name, item) for item in given[name])
    return tuple(attributes)


def _unknown(location: str) -> Refused:
    return Refused(Reason.NOT_FOUND, f"there is no registration {location[:64]}: register again")
