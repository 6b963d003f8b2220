"""Quorum reads: what is committed now, whoever committed it.

Q voters that have joined one term answer.  If none of them has accepted anything above the highest version among the
answers, that version is the newest; otherwise the open vote is closed first.  A voter that is sealed answers no more in
its old epoch, so that a read never misses what a later epoch committed.

Source: notes on DRiP, 4.4 (reads); invariant I6.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from waypost.drip.book import Book
from waypost.drip.messages import Read, ReadAnswer
from waypost.drip.outbox import Outbox
from waypost.drip.outcome import Outcome, Reading, State
from waypost.drip.proposer import Proposer, Timers
from waypost.drip.roster import Electorate
from waypost.drip.rules import Rules
from waypost.engine import Deadlines
from waypost.record import Place

READS_MAX: Final = 10_000


@dataclass(slots=True)
class Pending:
    """`fresh`: the attempt that closes the vote began for this read, so what it does not find was not there.

    `about`: version and txid of a transaction, if that is what is asked.
    """

    id: int
    place: Place
    epoch: int
    deadline: float
    about: tuple[int, str] | None = None
    answers: dict[str, tuple[int, bool]] = field(default_factory=dict)  # version, and whether a vote is open above it
    best: int = 0
    closing: bool = False
    fresh: bool = False


class Reader:
    """`age` is how long ago a quorum was heard; see engine.py."""

    def __init__(
        self,
        book: Book,
        electorate: Electorate,
        proposer: Proposer,
        rules: Rules,
        timers: Timers,
        rng: Random,
        outbox: Outbox,
        *,
        heard: Callable[[float], int],
        age: Callable[[float], float | None],
    ) -> None:
        self._book = book
        self._electorate = electorate
        self._proposer = proposer
        self._rules = rules
        self._timers = timers
        self._rng = rng
        self._outbox = outbox
        self._heard = heard
        self._age = age
        self._pending: dict[int, Pending] = {}  # by a nonce: an answer may come after a restart
        self._deadlines: Deadlines[int] = Deadlines()

    def __len__(self) -> int:
        return len(self._pending)

    def local(self, place: Place, now: float) -> Reading:
        """At once, from this node's own copy: as old as `age_s` says, or older."""
        return Reading(True, self._book.committed.get(place), self._age(now))

    def read(self, place: Place, id: int, now: float, about: tuple[int, str] | None = None) -> None:
        """Answered under `id` with a Reading, or with the Outcome of the transaction that it is about."""
        pending = Pending(id, place, self._electorate.term, now + self._timers.deadline_s, about)
        if len(self._pending) >= READS_MAX:
            self._outbox.answer(id, self._result(pending, now, is_known=False))
            return
        nonce = self._rng.getrandbits(52)
        self._pending[nonce] = pending
        self._ask(nonce, now)

    def receive_answer(self, node: str, answer: ReadAnswer, now: float) -> None:
        """The engine has learnt the committed record."""
        pending = self._pending.get(answer.id)
        if pending is None or pending.closing or answer.epoch != pending.epoch:
            return
        roster = self._electorate.known(pending.epoch)
        if roster is None or roster.voter(node) is None:
            return
        held, version = self._book.version(pending.place), 0
        if answer.committed is not None:
            if answer.committed.record.place != pending.place:
                return
            version = answer.committed.record.version
        if version > held:
            return  # it could not be verified
        pending.answers[node] = (version, answer.open)
        if len(pending.answers) >= self._rules.quorum(roster, self._heard(now)):
            self._conclude(answer.id, pending, now)

    def closed(self, place: Place, is_known: bool, now: float) -> None:
        """An attempt for a key is over; `is_known`: the book has its version, or nothing was accepted."""
        for nonce, pending in list(self._pending.items()):
            if not pending.closing or pending.place != place:
                continue
            pending.closing = False
            if self._book.version(place) > pending.best or (is_known and pending.fresh):
                self._answer(nonce, now, is_known=True)
            else:
                self._ask(nonce, now)

    def new_term(self, now: float) -> None:
        for nonce, pending in list(self._pending.items()):
            if not pending.closing:
                self._ask(nonce, now)

    def handle_timer(self, now: float) -> None:
        for nonce in self._deadlines.pop_due(now):
            pending = self._pending[nonce]
            if now >= pending.deadline:
                self._answer(nonce, now, is_known=False)
            elif pending.closing:
                self._deadlines.set(nonce, pending.deadline)
            else:
                self._ask(nonce, now)

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def _ask(self, nonce: int, now: float) -> None:
        pending = self._pending[nonce]
        pending.epoch, pending.answers = self._electorate.term, {}
        for member in self._electorate.roster.voters:
            self._outbox.tell_now(member.name, Read(nonce, *pending.place, pending.epoch))
        self._deadlines.set(nonce, min(now + self._timers.vote_s * self._rng.uniform(1.0, 1.25), pending.deadline))

    def _conclude(self, nonce: int, pending: Pending, now: float) -> None:
        held = self._book.version(pending.place)
        best = max(version for version, _ in pending.answers.values())
        if held == best and any(open for version, open in pending.answers.values() if version == best):
            pending.closing, pending.best = True, best
            pending.fresh = self._proposer.recover(pending.place, now)
        else:
            self._answer(nonce, now, is_known=True)

    def _answer(self, nonce: int, now: float, *, is_known: bool) -> None:
        pending = self._pending.pop(nonce)
        self._deadlines.clear(nonce)
        self._outbox.answer(pending.id, self._result(pending, now, is_known=is_known))

    def _result(self, pending: Pending, now: float, *, is_known: bool) -> Reading | Outcome:
        current = self._book.committed.get(pending.place)
        if pending.about is None:
            return Reading(is_known, current, self._age(now))
        reason = "no record of that version is committed" if is_known else "no quorum of voters answered in time"
        return self._proposer.status(pending.place, *pending.about) or Outcome(State.UNKNOWN, current, reason)
