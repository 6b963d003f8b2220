"""The directory: who is registered, until when, and what it takes to make that last.

Nothing is stored here.  A registration, update or removal becomes an Announce to the carrier; the
index changes when apply() brings the change, and the client hears of it when answered() says so.
What is stored expires half a lifetime after what the client was told, so a refresh that changes
nothing seldom needs the carrier, and a crash never shortens a lifetime that was acknowledged.

Two timers: after its lifetime a registration is hidden, and can be revived at its location; after a
grace it is forgotten.  Both are announced.  An announcement of our own that cannot be made now is
owed, and made later.

Where the carrier brings the same registrations to several nodes, only the one that accepted a registration last
announces its end, and what anybody has said since is the last word.  What is forgotten each forgets for itself.

Times are seconds on the caller's monotonic clock, stored expiries milliseconds of the wall clock.
A step of the wall clock moves no deadline; it may only leave stored expiries that are owed anew.

Source: RFC 9176, 5; design, Contracts, 5.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Final, assert_never

from waypost.engine import Answer, Ask, Commit, Effect, Rows
from waypost.errors import WireError
from waypost.identity.policy import Decide
from waypost.rd import questions
from waypost.rd.access import absent, decide_at, decide_members, decide_one
from waypost.rd.announcing import Announcements, UnderWay
from waypost.rd.announcing import Change as Wanted
from waypost.rd.brake import Brake
from waypost.rd.changes import Changes, Settings
from waypost.rd.clocks import Clocks
from waypost.rd.debts import Debts, Overruled
from waypost.rd.evictions import Evictions, Row, exclusion
from waypost.rd.index import Registration
from waypost.rd.observation import NOTHING, Plans
from waypost.rd.parameters import require_registration
from waypost.rd.questions import (
    Announced,
    Busy,
    Cause,
    Evict,
    Export,
    Import,
    Locations,
    Lookup,
    Outcome,
    Probe,
    Question,
    Read,
    Readmit,
    Reason,
    Refused,
    Register,
    Remove,
    Removed,
    Renew,
)
from waypost.rd.reading import Reading
from waypost.rd.record import decode, key_of
from waypost.rd.registrations import Registrations
from waypost.rd.simple import Simple
from waypost.record import Change, Hlc

__all__ = ["Directory", "Settings"]

TABLE: Final = "directory"

DUE_MAX: Final = 100  # deadlines of one handle_timer()
BUSY_RETRY: Final = 1  # seconds
KEEP_MORE: Final = 120.0  # seconds that a carrier keeps what is forgotten: its clock may be another
CHECK_ALL_EVERY: Final = 16  # calls of check()

COUNTERS: Final = (
    "registered",
    "imported",
    "renewed",
    "removed",
    "expired",
    "held",
    "forgotten",
    "restated",
    "refused",
    *(f"busy_{cause.value}" for cause in Cause),
)


class Directory:
    """`plans` are the observed lookups; whoever knows the observers tells them, and takes what has changed.

    `decide` is asked about every question, before anything else is.
    """

    def __init__(self, rng: Random, ids: Iterator[int], settings: Settings, decide: Decide) -> None:
        self._decide = decide
        self._ids = ids
        self._clocks = Clocks()
        self._registrations = Registrations(self._clocks, settings.grace_s, settings.node)
        self._brake = Brake(settings.brake_share, settings.brake_hold_s)
        self._announcements = Announcements(max(settings.grace_s, self._brake.longest()) + KEEP_MORE)
        self._evictions = Evictions(self._clocks, is_alone=not settings.node)
        self._changes = Changes(rng, settings, self._registrations, self._announcements)
        self._simple = Simple(ids, settings.document_octets_max) if settings.simple else None
        self._reading = Reading(self._registrations.index, self._evictions, decide)
        self.plans = Plans(self._registrations.index)
        self._node = settings.node
        self._debts = Debts(self._registrations, self._announcements, settings.record_octets_max, self._is_barred)
        self._placed = False  # what was restored waits for the wall clock
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._now = 0.0
        self._checks = 0
        self._effects: list[Effect] = []

    # the engine's calls

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError for a row that cannot be read."""
        self._now = now
        self._evictions.restore(rows)
        for key, value in rows.scan(TABLE):
            self._registrations.restore(key, decode(key, value))

    def say(self, keys: Iterable[bytes], overruled: Iterable[Overruled], is_told: Callable[[bytes], bool]) -> None:
        """After restore(): what is on this node alone is brought to others; and evictions, unless each `is_told`."""
        self._debts.say(keys, overruled)
        for key, row in self._evictions.rows().items():
            if not is_told(key):
                self._exclude(key, row)

    def ask(self, id: int, question: Question, now: float) -> Outcome | None:
        """The outcome, or None: then Answer(id, outcome) follows."""
        self._now = now
        match question:
            case Lookup():
                outcome = self._reading.look_up(id, question, now)
            case Read():
                outcome = self._reading.read(question, now)
            case Probe():
                outcome = self._probe(id, question, now)
            case Locations() | Export() | questions.Evictions():
                outcome = self._reading.listed(question, now)
            case Evict():
                outcome = self._evict(id, question, now)
            case Readmit():
                outcome = self._readmit(id, question)
            case _:
                outcome = self._change(id, question, now)
        if outcome is not None:
            self._count(outcome)
        return outcome

    def answered(self, id: int, result: object, now: float) -> None:
        """`result` is Announced, and apply() has brought the change; or Busy, and nothing has changed.

        Of a fetch it is a Response or a Failure.
        """
        self._now = now
        if self._simple is not None and self._simple.waits_for(id):
            for waiting_id, fetched in self._simple.answered(id, result, now):
                following = self._change(waiting_id, fetched, now) if isinstance(fetched, Register) else fetched
                if following is not None:
                    self._answer(waiting_id, following)
            return
        done = self._announcements.end(id)
        outcome = done.outcome
        if isinstance(result, Busy):
            outcome = result
            if done.id is None:
                self._debts.put_off(now)
        else:
            assert isinstance(result, Announced), f"{result!r} is no answer to an announcement"
            self._counters[done.counter] += 1
        if done.id is not None:
            self._answer(done.id, outcome)
        for waiting_id, question in done.waiting:
            following = self._change(waiting_id, question, now)
            if following is not None:
                self._answer(waiting_id, following)
        self._debts.owe(done.key, now)
        self._pay(now)

    def apply(self, change: Change, now: float) -> None:
        """Raises StoreError for a record that cannot be read."""
        self._now = now
        self._announcements.has_come(change.key)
        self._debts.said(change.key)
        if isinstance(change.version, Hlc) and self._debts.overrules(change.key, change.value, change.version.wall_ms):
            self._debts.owe(change.key, now)
            self._pay(now)
            return
        old = self._registrations.by_key.get(change.key)
        before, visible = self.plans.view(old), old is not None and old.visible
        self._apply(change, now)
        new = self._registrations.by_key.get(change.key)
        if visible and new is not None and not new.visible:
            self._brake.count(now, len(self._registrations.index.visible) + 1)
        self.plans.compare(before, self.plans.view(new), now)
        self._debts.owe(change.key, now)

    def keeps(self, change: Change) -> bool:
        """Whether a change on its way to the disk is older than a client's word here, whose row stays as it is."""
        self._announcements.comes(change.key)
        return isinstance(change.version, Hlc) and self._debts.knows_later(change.key, change.version.wall_ms)

    def excluded(self, change: Change, now: float) -> None:
        """Some node keeps a name out, or lets it back in: it is durable."""
        self._now = now
        self._effects += [Commit(puts=puts)] if (puts := self._evictions.told(change.key, change.value)) else []
        self._debts.owe(change.key, now)
        self._pay(now)

    def review(self) -> None:
        """The policy has changed: lookups under way are decided anew.  Changes that wait are, when they go on."""
        for id, outcome in self._reading.review():
            self._answer(id, outcome)

    def handle_timer(self, now: float) -> None:
        self._now = now
        for registration in self._registrations.deadlines.pop_due(now, DUE_MAX):
            if registration.visible:
                if self._hold(registration, now):
                    continue
                self._counters["expired"] += 1
                before = self.plans.view(registration)
                self._registrations.hide(registration)
                self.plans.compare(before, NOTHING, now)
            elif self._registrations.is_carried(registration) and self._registrations.is_past(registration, now):
                self._counters["forgotten"] += 1
                self._registrations.forget(registration.key)
            self._debts.owe(registration.key, now)
        self._debts.handle_timer(now)
        found = self._reading.step(now)
        if found is not None:
            self._answer(*found)
        self._pay(now)
        self.plans.handle_timer(now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        """At start this is when what was restored becomes visible."""
        self._now = now
        if self._clocks.set(now, wall_ms):
            self._debts.look_at_all()
        if not self._placed:
            self._placed = True
            self._registrations.place(now)

    def next_timer(self) -> float | None:
        if self._reading.under_way:
            return self._now
        times = (self._registrations.deadlines.next(), self._debts.next_timer(self._now), self.plans.next_timer())
        return min((when for when in times if when is not None), default=None)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        if self._simple is not None:
            effects += self._simple.take_effects()
        return effects

    def counters(self) -> Mapping[str, int]:
        own = {"lookups": self._reading.lookups, "refreshed": self._changes.refreshed}
        return {**self._counters, **own, **self.plans.counters()}

    def gauges(self) -> Mapping[str, int]:
        index = self._registrations.index
        return {
            "registrations": len(index.visible),
            "registrations_hidden": len(self._registrations.by_key) - len(index.visible),
            "registrations_held": len(self._registrations.held),
            "evictions": len(self._evictions),
            "links": index.links,
            "documents": len(index.documents),
            "document_octets": index.octets,
            "announcements_under_way": len(self._announcements),
            "announcements_owed": len(self._debts),
            "lookups_under_way": self._reading.under_way,
            "lookups_observed": len(self.plans),
            **self._changes.gauges(),
            **(self._simple.gauges() if self._simple is not None else {}),
        }

    def check(self) -> None:
        """Assert the cheap invariants each time; and all of them while there is little, or now and then."""
        self._announcements.check()
        if self._simple is not None:
            self._simple.check()
        self._reading.check()
        self._checks += 1
        if self._checks % CHECK_ALL_EVERY == 1 or len(self._registrations.by_key) <= CHECK_ALL_EVERY:
            self.check_all()

    def check_all(self) -> None:
        """Takes time in proportion to the registrations."""
        self._registrations.check()
        self.plans.check()
        due = self._registrations.deadlines.next()
        if self._debts.is_looking or (due is not None and due <= self._now):
            return  # what is owed shows when handle_timer() has caught up
        for key, registration in self._registrations.by_key.items():
            if self._registrations.owes(registration, self._now):
                assert self._debts.knows(key) or self._announcements.get(key) is not None, (
                    "a debt is known or under way"
                )

    # questions

    def _hold(self, registration: Registration, now: float) -> bool:
        """It may not expire yet: too many are about to."""
        held = self._registrations.held
        if registration in held:
            return False  # its turn has come
        until = self._brake.until(now, len(self._registrations.index.visible), len(held))
        if until is None:
            return False
        self._counters["held"] += 1
        self._registrations.hold(registration, until)
        return True

    def _probe(self, id: int, question: Probe, now: float) -> Outcome | None:
        """Nothing is fetched for what would be refused anyhow."""
        if self._simple is None:
            return Refused(Reason.FORBIDDEN, "simple registration is turned off here: POST your links to /rd")
        register = question.register
        try:
            require_registration(register)
        except WireError as error:
            return Refused(Reason.BAD_REQUEST, str(error))
        key = self._changes.key(register)
        assert key is not None
        refused = self._refuse(key, register, now)
        if refused is not None:
            return refused
        full = self._changes.full(key, register)
        if full is not None:
            return full
        ready = self._simple.probe(id, question, now)
        return self._change(id, ready, now) if isinstance(ready, Register) else ready

    def _change(self, id: int, question: Wanted, now: float) -> Outcome | None:
        key = self._changes.key(question)
        refused = self._refuse(key, question, now)
        if refused is not None:
            return refused
        assert key is not None
        before = self._announcements.get(key)
        if before is not None:
            if self._announcements.wait(before, id, question):
                return None
            return Busy(BUSY_RETRY, "too many changes are waiting for the disk: come back later")
        match question:
            case Register():
                result = self._changes.register(id, key, question, now)
            case Renew():
                result = self._changes.renew(id, key, question, now)
            case Import():
                result = self._changes.load(id, key, question, now)
            case Remove():
                result = self._changes.remove(id, key)
            case _:
                assert_never(question)
        if not isinstance(result, UnderWay):
            return result
        if result.record is not None:
            result.record = self._registrations.kept(result.record)
            most = self._debts.record_octets_max
            if result.record.node and not self._debts.fits(result.record):
                return Refused(Reason.BAD_REQUEST, f"it takes more than {most} octets to store: register fewer links")
        self._announce(result)
        return None

    def _refuse(self, key: bytes | None, question: Wanted, now: float) -> Refused | None:
        """The policy comes first: only who might come in hears who is kept out."""
        registration = None if key is None else self._registrations.by_key.get(key)
        if not isinstance(question, Register | Import):
            return decide_at(self._decide, question, registration)
        assert key is not None
        refused = decide_one(self._decide, question, *self._changes.name(question), registration)
        if refused is None:
            refused = self._evictions.refusal(key, now)
        if refused is None and isinstance(question, Register) and question.members:
            refused = decide_members(self._decide, question, map(self._registrations.index.at, question.members))
        return refused

    def _evict(self, id: int, question: Evict, now: float) -> Outcome | None:
        """The name is kept out from before its registration is gone."""
        registration = self._registrations.index.by_location.get(question.location)
        refused = decide_at(self._decide, question, registration)
        if refused is not None:
            return refused
        assert registration is not None
        until_ms = self._clocks.to_wall_ms(now + question.for_s)
        row = Row(registration.d, registration.ep, question.location, until_ms)
        puts = self._evictions.keep(registration.key, row, now)
        if isinstance(puts, Busy):
            return puts
        self._effects.append(Commit(puts=puts))
        self._exclude(registration.key, row)
        return self._change(id, Remove(question.location, who=question.who, evicts=True), now)

    def _readmit(self, id: int, question: Readmit) -> Outcome | None:
        kept = self._evictions.find(question.id)
        if kept is None or decide_one(self._decide, question, kept.d, kept.ep, None) is not None:
            return absent(self._decide, question, f"nobody is kept out under {question.id[:64]}")
        self._exclude(key_of(kept.d, kept.ep), None)
        puts = self._evictions.readmit(question.id)
        self._effects.append(Commit(puts=puts, then=(Answer(id, Removed()),)))
        return None

    def _exclude(self, key: bytes, row: Row | None) -> None:
        if self._node:  # there are others
            self._effects.append(Ask(next(self._ids), exclusion(key, row)))

    def _is_barred(self, registration: Registration) -> bool:
        """It was evicted, and is this node's to end."""
        ours = self._node != "" and registration.node == self._node
        return ours and self._evictions.bars(registration.key, registration.location)

    def _announce(self, under_way: UnderWay) -> None:
        id = next(self._ids)
        self._effects.append(Ask(id, self._announcements.begin(id, under_way)))

    def _apply(self, change: Change, now: float) -> None:
        if change.value is None:
            self._registrations.forget(change.key)
            return
        own = self._announcements.get(change.key)
        if own is not None and own.record is not None and own.value == change.value:
            self._registrations.put(change.key, own.record, own.parsed, own.told, now)
        else:
            record = decode(change.key, change.value)
            expires = self._registrations.expiry(record.expires_ms, record.lt, now)
            self._registrations.put(change.key, record, None, expires, now)

    def _pay(self, now: float) -> None:
        for under_way in self._debts.pay(now):
            self._announce(under_way)

    # small parts

    def _answer(self, id: int, outcome: Outcome) -> None:
        self._count(outcome)
        self._effects.append(Answer(id, outcome))

    def _count(self, outcome: Outcome) -> None:
        if isinstance(outcome, Refused):
            self._counters["refused"] += 1
        elif isinstance(outcome, Busy):
            self._counters[f"busy_{outcome.cause.value}"] += 1
