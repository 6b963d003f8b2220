"""An initiator: brings a record to a vote, or closes a vote that somebody else left open.

One attempt at a time for each key; more wait their turn.  An attempt without a record of its own, to recover what is in
doubt, adopts what it finds accepted and ends if it finds nothing.

Times are seconds of the caller's monotonic clock.

Source: notes on DRiP, 4.4 (initiator, 1 to 5; client contract), 4.5 (timers).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import msgspec

from waypost.drip.attempt import Attempt
from waypost.drip.bases import Bases
from waypost.drip.book import Book
from waypost.drip.citing import AGAIN_S
from waypost.drip.counting import Counting
from waypost.drip.messages import Nack, No, Promise, VoteCall, Yes, place_of
from waypost.drip.outbox import Outbox
from waypost.drip.outcome import Outcome, State
from waypost.drip.roster import Electorate
from waypost.drip.rules import Rules
from waypost.drip.unjudged import Unjudged
from waypost.drip.voter import ROUND_JUMP_MAX, SKEW_MAX_MS, Credentials, Voter
from waypost.engine import Deadlines
from waypost.record import ROSTER, Ballot, Certificate, Committed, Matter, Place, Proof, Record, Roster, Vote
from waypost.record.vote import is_marked

ATTEMPTS_MAX: Final = 4096  # keys
WAITING_MAX: Final = 16  # records for one key


@dataclass(frozen=True, slots=True)
class Timers:
    """Seconds (notes, 4.5)."""

    vote_s: float = 2.0
    backoff_min_s: float = 0.05
    backoff_max_s: float = 2.0
    deadline_s: float = 10.0


class Proposer:
    """`heard` counts the voters of an epoch that answer; `on_commit` takes what was voted; `on_close` tells that an
    attempt for a place is over, and whether it found out what is committed."""

    def __init__(
        self,
        book: Book,
        electorate: Electorate,
        credentials: Credentials,
        voter: Voter,
        rules: Rules,
        timers: Timers,
        rng: Random,
        outbox: Outbox,
        *,
        heard: Callable[[float], int],
        on_commit: Callable[[Committed, float], None],
        on_close: Callable[[Place, bool, float], None],
        on_alarm: Callable[[Proof], None],
    ) -> None:
        self._counting = Counting(electorate, outbox)
        self._book = book
        self._electorate = electorate
        self._credentials = credentials
        self._voter = voter
        self._rules = rules
        self._timers = timers
        self._rng = rng
        self._outbox = outbox
        self._heard = heard
        self._on_commit = on_commit
        self._on_close = on_close
        self._on_alarm = on_alarm
        self._attempts: dict[Place, Attempt] = {}
        self._waiting: dict[Place, list[tuple[Record, int | None, float, bool]]] = {}
        self._unjudged = Unjudged()
        self._deadlines: Deadlines[Place] = Deadlines()
        self._bases = Bases(book)

    def __len__(self) -> int:
        return len(self._attempts)

    # Commands

    @property
    def restored(self) -> dict[str, Vote]:
        """Voters that forgot a vote, and which."""
        return self._counting.restored

    def is_trying(self, place: Place) -> bool:
        return place in self._attempts

    def propose(self, record: Record, id: int | None, now: float, *, was_kept: bool = False) -> None:
        """Answered under `id` with an Outcome; None: nobody asks.  One that `was_kept` may be of long ago."""
        self._queue(record, id, now + self._timers.deadline_s, now, was_kept=was_kept)

    def recover(self, place: Place, now: float) -> bool:
        """Close the open vote of a key; False if an attempt was under way already, or there are too many."""
        if place in self._attempts or len(self._attempts) >= ATTEMPTS_MAX or place in self._book.stopped:
            return False
        version = self._book.version(place) + 1
        self._attempts[place] = Attempt(version, None, None, None, now + self._timers.deadline_s)
        self._poll(place, now)
        return True

    def status(self, place: Place, version: int, txid: str) -> Outcome | None:
        """What became of a transaction; None: nothing is known of that version."""
        was = self._book.past(place, version)
        if was is None:
            return None
        return Outcome(State.COMMITTED if was[1] == txid else State.LOST, self._book.committed.get(place))

    @property
    def attempts(self) -> Mapping[Place, Attempt]:
        """The votes that this node calls for."""
        return self._attempts

    def learnt(self, place: Place, now: float) -> None:
        """The book has a newer version of a key."""
        self._bases.learnt(place, now)
        attempt = self._attempts.get(place)
        if attempt is not None and self._book.version(place) >= attempt.version:
            self._settle(place, attempt, now)
        self._unjudged.learnt(place, now)

    def new_term(self, now: float) -> None:
        """Ballots of an older term are worth nothing any more."""
        for place, attempt in list(self._attempts.items()):
            attempt.finals = {}
            if attempt.ballot.epoch < self._electorate.term:
                self._retry(place, attempt, now)

    # Answers

    def receive_promise(self, node: str, promise: Promise, now: float) -> None:
        place = place_of(promise)
        attempt = self._awaiting(place, promise.version, promise.ballot, node)
        if attempt is None or attempt.value is not None or attempt.is_backing_off:
            return
        if not self._counting.is_fresh(node, None, promise.counter, attempt.counters):
            return
        accepted = promise.accepted
        if accepted and (accepted.record.place, accepted.record.version) != (place, promise.version):
            return
        attempt.promises[node] = accepted
        if len(attempt.promises) < self._quorum(attempt, now):
            return
        alive = (item for item in attempt.promises.values() if item and not self._is_dead(attempt, item.record, now))
        value = self._rules.adopt(alive, attempt.record)
        if value is not None:
            self._call(place, attempt, value, now)
        else:
            is_out = attempt.about is not None and attempt.about in attempt.finals  # who accepted it may yet find a way
            state = State.UNKNOWN if is_out else State.DENIED
            outcome = Outcome(state, self._book.committed.get(place), attempt.barred)
            self._finish(place, attempt, outcome, now, is_known=True)

    def receive_yes(self, node: str, yes: Yes, now: float) -> None:
        matter, mark = yes.vote.matter, yes.vote.mark
        attempt = self._awaiting(matter.place, matter.version, matter.ballot, node)
        if attempt is None or attempt.value is None or mark.voter != node:
            return
        roster, credentials = self._electorate.known(matter.ballot.epoch), self._credentials
        if roster is None or not is_marked(matter, mark, roster, credentials.network, credentials.verify):
            return
        if not self._counting.is_fresh(node, mark.incarnation, mark.counter, attempt.counters):
            return
        self._counting.note(yes.vote)
        first = attempt.votes.setdefault(node, yes.vote)
        if first.matter.hash != matter.hash:
            certificates = (Certificate(vote.matter, (vote.mark,)) for vote in (first, yes.vote))
            self._on_alarm(Proof(*certificates))
            return
        votes = [vote for _, vote in sorted(attempt.votes.items()) if vote.matter == attempt.matter]
        if len(votes) >= self._quorum(attempt, now):
            marks = tuple(vote.mark for vote in votes)
            self._on_commit(Committed(attempt.value, Certificate(matter, marks)), now)

    def receive_nack(self, node: str, nack: Nack, now: float) -> None:
        place = place_of(nack)
        attempt = self._awaiting(place, nack.version, nack.ballot, node)
        if attempt is None:
            return
        if nack.promised.epoch == attempt.ballot.epoch:
            attempt.seen = max(attempt.seen, min(nack.promised.round, attempt.ballot.round + ROUND_JUMP_MAX))
        if nack.promised != attempt.ballot or attempt.ballot.round == 0:
            self._refused(node, place, attempt, now)

    def receive_no(self, node: str, no: No, now: float) -> None:
        """The engine has learnt what the answer brought with it."""
        place = place_of(no)
        attempt = self._awaiting(place, no.version, no.ballot, node)
        if attempt is None or no.reason in ("stale", "epoch"):
            lacked = self._bases.lacked(place, attempt, node, no) if attempt else None
            if attempt and lacked:
                self._outbox.tell_now(node, attempt.question(place, lacked))
            return
        attempt.denial = no.detail or no.reason
        if attempt.value is not None and no.reason != "busy":
            attempt.denials[node] = attempt.denial
        if attempt.value is not None and no.final and attempt.ballot.epoch == self._electorate.term:
            attempt.finals.setdefault(attempt.value, {})[node] = None
            if self._is_dead(attempt, attempt.value, now):
                self._died(place, attempt, now)
                return
        self._refused(node, place, attempt, now)

    # Timers

    def handle_timer(self, now: float) -> None:
        self._unjudged.handle_timer(now)
        for place in self._deadlines.pop_due(now):
            attempt = self._attempts.get(place)
            if attempt is None:
                continue
            if now >= attempt.deadline:
                self._finish(place, attempt, self._unknown(place, attempt), now)
            elif attempt.is_backing_off:
                self._poll(place, now)
            else:
                self._retry(place, attempt, now)

    def next_timer(self) -> float | None:
        timers = self._deadlines.next(), self._unjudged.next_timer()
        return min((when for when in timers if when is not None), default=None)

    def check(self) -> None:
        for place, attempt in self._attempts.items():
            assert attempt.version == self._book.version(place) + 1, f"{place}: an attempt at a version that is over"
        assert len(self._attempts) <= ATTEMPTS_MAX
        self._unjudged.check()

    # What follows

    def _queue(
        self,
        record: Record,
        id: int | None,
        deadline: float,
        now: float,
        *,
        was_kept: bool,
        judged_by: float | None = None,
    ) -> None:
        place = record.place
        if place not in self._attempts:
            self._begin(record, id, deadline, now, was_kept=was_kept, judged_by=judged_by)
            return
        queue = self._waiting.setdefault(place, [])
        if len(queue) < WAITING_MAX:
            queue.append((record, id, deadline, was_kept))
        else:
            self._answer(id, Outcome(State.DENIED, self._book.committed.get(place), "busy"))

    def _begin(
        self,
        record: Record,
        id: int | None,
        deadline: float,
        now: float,
        *,
        was_kept: bool,
        judged_by: float | None = None,
    ) -> None:
        """`judged_by`: until when what it relies on is waited for, once it has been asked for."""
        place, held = record.place, self._book.committed.get(record.place)
        version = self._book.version(place)
        if record.version <= version:
            self._answer(id, self._book.became(record))
        elif record.version > version + 1:
            self._answer(id, Outcome(State.DENIED, held, "the version before it is not committed here"))
        elif place in self._book.stopped:
            self._answer(id, Outcome(State.DENIED, held, "a voter signed two records: voting has stopped"))
        elif len(self._attempts) >= ATTEMPTS_MAX or deadline <= now:
            self._answer(id, Outcome(State.DENIED, held, "busy"))
        else:
            objection = self._voter.objection(record)
            if objection is not None and objection.lacks:
                until = judged_by or min(deadline, now + 2 * self._timers.vote_s)
                again = partial(self._queue, record, id, deadline, was_kept=was_kept, judged_by=until)
                self._voter.citing.ask(objection.lacks, self._electorate.name)
                if now < until and self._unjudged.add(record, min(until, now + AGAIN_S), again):
                    return
            if objection is not None and not objection.final:  # nobody has heard of it: that is final
                self._answer(id, Outcome(State.DENIED, held, objection.detail))
                return
            is_late = self._voter.wall_ms - record.hlc.wall_ms > SKEW_MAX_MS and not was_kept
            barred = objection.detail if objection is not None else "its clock is behind" if is_late else ""
            own = None if barred else record
            self._attempts[place] = Attempt(record.version, own, record, id, deadline, barred=barred)
            if barred:  # it may have been proposed before: what is open is closed, and nothing begun
                self._poll(place, now)
            else:
                self._open(place, now)

    def _open(self, place: Place, now: float) -> None:
        """Rule 1: the home uses round 0 once for a version and term, remembered on disk; anybody else asks first.

        And so does a home that came back with another disk in this term: what it proposed at round 0 before may be
        committed, and other voters would accept another record at the same ballot.
        """
        attempt, epoch, me = self._attempts[place], self._electorate.term, self._electorate.name
        held, rounds = self._book.record(place), self._book.rounds(place, epoch)
        home = held.home if held else self._electorate.roster.home(place)
        is_used = rounds.zero or rounds.round or not self._electorate.remembers_its_ballots()
        if place == ROSTER or is_used or not self._rules.may_use_round_zero(me, home):
            self._poll(place, now)
            return
        self._book.save_rounds(place, msgspec.structs.replace(rounds, zero=True))
        attempt.ballot = Ballot(epoch, 0, me)
        assert attempt.record is not None
        self._call(place, attempt, attempt.record, now)
        self._arm(place, attempt, now + self._vote_s())

    def _poll(self, place: Place, now: float) -> None:
        """The next round: nobody, this node included, has used it."""
        attempt, epoch = self._attempts[place], self._electorate.term
        rounds = self._book.rounds(place, epoch)
        if not rounds.round and not self._electorate.remembers_its_ballots():  # a late promise may be another disk's
            rounds = msgspec.structs.replace(rounds, round=self._rng.randrange(ROUND_JUMP_MAX // 2))
        number = max(rounds.round, attempt.seen if attempt.ballot.epoch == epoch else 0) + 1
        self._book.save_rounds(place, msgspec.structs.replace(rounds, round=number))
        attempt.ballot = Ballot(epoch, number, self._electorate.name)
        attempt.value, attempt.matter, attempt.is_backing_off = None, None, False
        attempt.promises, attempt.refusals = {}, {}
        attempt.counters = self._counting.counters()
        others = self._others(self._electorate.roster)
        poll = attempt.poll(place, self._bases.along(place, attempt, others, now))
        for name in others:
            self._outbox.tell(name, poll)
        self._voter.receive_poll(self._electorate.name, poll)
        self._arm(place, attempt, now + self._vote_s())

    def _call(self, place: Place, attempt: Attempt, value: Record, now: float) -> None:
        """Rule 2: the vote.

        A ballot is on disk before it leaves: round 0 together with this node's own vote, others since their poll.
        """
        attempt.value, attempt.matter = value, Matter.of(value, attempt.ballot, self._credentials.network)
        attempt.votes, attempt.denials, attempt.refusals = {}, {}, {}
        attempt.calls += 1
        attempt.counters = self._counting.counters()
        roster = self._electorate.known(attempt.ballot.epoch)
        assert roster is not None
        others = self._others(roster)
        call = VoteCall(value, attempt.ballot, self._bases.along(place, attempt, others, now))
        tell = self._outbox.tell_now if attempt.ballot.round else self._outbox.tell
        for name in others:
            tell(name, call)
        self._voter.receive_vote(self._electorate.name, call)

    def _others(self, roster: Roster) -> list[str]:
        return [voter.name for voter in roster.voters if voter.name != self._electorate.name]

    def _refused(self, node: str, place: Place, attempt: Attempt, now: float) -> None:
        """Rule 4: once no quorum can be had at this ballot, another round, after a while."""
        attempt.refusals[node] = None
        roster = self._electorate.known(attempt.ballot.epoch)
        assert roster is not None
        if len(attempt.denials) == len(roster.voters) and attempt.calls == 1 and attempt.value == attempt.record:
            held = self._book.committed.get(place)  # every voter refused the only vote that there was: that is final
            self._finish(place, attempt, Outcome(State.DENIED, held, next(iter(attempt.denials.values()))), now)
        elif len(roster.voters) - len(attempt.refusals) < roster.quorum and not attempt.is_backing_off:
            self._retry(place, attempt, now)

    def _is_dead(self, attempt: Attempt, record: Record, now: float) -> bool:
        """Whether it cannot be what is committed: of so many voters none has accepted it, and none will.

        So it need not be adopted, and neither need what was accepted at lower ballots: whoever proposed it found
        nothing else that could be committed.  That is so in this term: voters of the next, who are told what was
        accepted and not what was refused, may commit it.
        """
        roster, finals = self._electorate.known(attempt.ballot.epoch), attempt.finals.get(record)
        assert roster is not None
        return finals is not None and self._rules.is_dead(roster, len(finals), self._heard(now))

    def _died(self, place: Place, attempt: Attempt, now: float) -> None:
        """What is voted on: it is proposed no more, and forgotten by who accepted it and finds that out."""
        value, roster = attempt.value, self._electorate.known(attempt.ballot.epoch)
        assert value is not None
        assert roster is not None
        self._voter.drop(value)
        if attempt.record == value:
            attempt.record, attempt.barred = None, attempt.denial
        if attempt.about == value and len(attempt.finals[value]) == len(roster.voters):  # nobody has accepted it
            self._finish(place, attempt, Outcome(State.DENIED, self._book.committed.get(place), attempt.barred), now)
        elif not attempt.is_backing_off:
            self._retry(place, attempt, now)

    def _retry(self, place: Place, attempt: Attempt, now: float) -> None:
        attempt.tries += 1
        attempt.is_backing_off = True
        longest = min(self._timers.backoff_min_s * 2 ** min(attempt.tries, 16), self._timers.backoff_max_s)
        held = self._book.record(place)
        if held is not None and held.home == self._electorate.name:
            longest /= 2
        self._arm(place, attempt, now + self._rng.uniform(0, longest))

    def _arm(self, place: Place, attempt: Attempt, when: float) -> None:
        self._deadlines.set(place, min(when, attempt.deadline))

    def _vote_s(self) -> float:
        return self._timers.vote_s * self._rng.uniform(1.0, 1.25)

    def _settle(self, place: Place, attempt: Attempt, now: float) -> None:
        outcome = self._book.became(attempt.about) if attempt.about else self._unknown(place, attempt)
        self._finish(place, attempt, outcome, now, is_known=True)

    def _finish(self, place: Place, attempt: Attempt, outcome: Outcome, now: float, *, is_known: bool = False) -> None:
        del self._attempts[place]
        self._deadlines.clear(place)
        self._answer(attempt.id, outcome)
        self._on_close(place, is_known, now)
        queue = self._waiting.pop(place, [])
        while queue and place not in self._attempts:
            record, id, deadline, was_kept = queue.pop(0)
            self._begin(record, id, deadline, now, was_kept=was_kept)
        if queue:
            self._waiting[place] = queue

    def _answer(self, id: int | None, outcome: Outcome) -> None:
        if id is not None:
            self._outbox.answer(id, outcome)

    def _unknown(self, place: Place, attempt: Attempt) -> Outcome:
        reason = attempt.denial or "no quorum of voters answered in time"
        return Outcome(State.UNKNOWN, self._book.committed.get(place), reason)

    def _quorum(self, attempt: Attempt, now: float) -> int:
        roster = self._electorate.known(attempt.ballot.epoch)
        assert roster is not None
        return self._rules.quorum(roster, self._heard(now))

    def _awaiting(self, place: Place, version: int, ballot: Ballot, node: str) -> Attempt | None:
        """The attempt that a voter's answer is for, unless it is over or has gone on."""
        attempt = self._attempts.get(place)
        if attempt is None or attempt.version != version or attempt.ballot != ballot:
            return None
        roster = self._electorate.known(ballot.epoch)
        return attempt if roster and roster.voter(node) else None
