"""The voted class of the mesh, in one engine: voter, initiator and reader of one node.

Commands are claim(), read() and status(), answered under the id that they return; local() answers at once.  What comes
from a node of the roster is handed to hear(); learn() takes a committed record from wherever it comes, gossip and
repair included.  Every sentence to another node is an Ask with a Tell, and what everybody should know one with a
Spread: outbox.py.

Times are seconds of the caller's monotonic clock, wall-clock times milliseconds since 1970.  Whatever does not decode,
is of another network or does not verify is counted in `dropped`.

Source: notes on DRiP, 4.2 to 4.6 and 4.9 to 4.12.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from waypost.drip.admission import Admission
from waypost.drip.alarms import Alarms
from waypost.drip.book import Book, Instance
from waypost.drip.history import ALONE, Historian, Sources
from waypost.drip.judge import Judge
from waypost.drip.merging import Merging
from waypost.drip.messages import (
    ROSTERS_MAX,
    Admit,
    Alarm,
    Commit,
    History,
    HistoryRequest,
    Message,
    Nack,
    No,
    Poll,
    Promise,
    Read,
    ReadAnswer,
    Restored,
    RosterNews,
    RosterRequest,
    SealPart,
    SealRequest,
    SealSnapshot,
    SealWalk,
    TallyAnswer,
    TallyRequest,
    VoteCall,
    Yes,
)
from waypost.drip.outbox import Outbox
from waypost.drip.outcome import Outcome, Reading, State
from waypost.drip.presence import NONE, Presence
from waypost.drip.proposer import Proposer, Timers
from waypost.drip.reader import Reader
from waypost.drip.roster import Electorate
from waypost.drip.rules import Rules
from waypost.drip.tally import Tally
from waypost.drip.voter import Credentials, Voter
from waypost.engine import Deadlines, Effect, Rows
from waypost.errors import WireError
from waypost.record import ROSTER, Committed, Member, Place, Proof, Record, Roster, Vote
from waypost.record.vote import require_committed

NOT_FORCED: Final = "it is not the operator's, or does not follow the roster that is known here"


@dataclass(frozen=True, slots=True)
class Setup:
    """`name` in the roster; `founding` is the network's first roster; `credentials` are of this installation."""

    name: str
    founding: Committed
    credentials: Credentials
    judge: Judge
    timers: Timers
    rules: Rules
    sources: Sources = ALONE


class DripEngine:
    """`ids` numbers what is asked and answered, uniquely in this process."""

    def __init__(self, setup: Setup, rng: Random, ids: Iterator[int]) -> None:
        self.dropped = 0
        self._setup = setup
        self._credentials = setup.credentials
        self._rng = rng
        self._ids = ids
        self._wall_ms = 0
        self._now = self._read_at = 0.0  # on the caller's clock; and when the wall clock was read
        self._told_at: float | None = None  # which moment the organs know of
        self._presence = Presence(setup.name)
        self._doubts: Deadlines[Place] = Deadlines()
        outbox, rules, timers = Outbox(ids), setup.rules, setup.timers
        self._outbox = outbox
        self._book = Book(self._credentials.network, outbox, setup.sources.read)
        self.shelf = self._book.shelf
        self._electorate = Electorate(setup.name, setup.founding, rules, outbox)
        self._voter = Voter(
            self._book, self._electorate, self._credentials, setup.judge, rules, outbox, self._on_accept
        )
        self._merging = Merging(
            self._book, self._electorate, outbox, rng, timers.vote_s, learn=self.learn, on_accept=self._on_accept
        )
        self._alarms = Alarms(self._book, self._electorate, self._credentials, outbox)
        self.history = Historian(
            self._book, self._electorate, self._credentials, self._alarms, setup.sources, rng, outbox
        )
        self._proposer = Proposer(
            self._book,
            self._electorate,
            self._credentials,
            self._voter,
            rules,
            timers,
            rng,
            outbox,
            heard=self.heard,
            on_commit=self._on_commit,
            on_close=self._on_close,
            on_alarm=self._alarms.stop,
        )
        self._reader = Reader(
            self._book, self._electorate, self._proposer, rules, timers, rng, outbox, heard=self.heard, age=self.age
        )
        self.tally = Tally(self._book, self._electorate, self._credentials, self._proposer, timers.vote_s, rng, outbox)
        self._admission = Admission(
            self._book, self._electorate, self._credentials, self._voter, self._proposer, rng, outbox
        )

    # Life

    def restore(self, rows: Rows, now: float) -> None:
        self._now = now
        self._book.restore(rows, instances=self._setup.rules.remembers())
        for committed in self._book.rosters(rows):
            self._electorate.learn(committed)
        self._book.found(self._setup.founding)
        self._electorate.restore(rows)
        self.history.restore(rows, now)
        for place in self._book.instances:
            self._on_accept(place)
        self._merging.begin(now)

    def begin(self, incarnation: int, now: float) -> None:
        """Once, on an empty disk: which installation of the node this is.  It votes when a roster names it."""
        self._now = now
        self._electorate.begin(incarnation)
        self._merging.begin(now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._read_at, self._wall_ms, self._told_at = now, wall_ms, None
        self._tell_time(now)

    def handle_timer(self, now: float) -> None:
        self._tell_time(now)
        for organ in (self._proposer, self._reader, self._admission, self._merging, self.history, self.tally):
            organ.handle_timer(now)
        for place in self._doubts.pop_due(now):
            if self._book.instance(place).accepted and place not in self._book.stopped:
                self._proposer.recover(place, now)  # notes, 4.4, initiator 5
                if self._electorate.may_vote(self._electorate.term):
                    self._on_accept(place)

    def next_timer(self) -> float | None:
        organs = (self._proposer, self._reader, self._admission, self._merging, self.history, self.tally)
        timers = (*(organ.next_timer() for organ in organs), self._doubts.next())
        return min((when for when in timers if when is not None), default=None)

    def take_effects(self) -> list[Effect]:
        return self._outbox.take()

    def check(self) -> None:
        voting = (self._book, self._electorate, self._voter.citing, self._proposer)
        for organ in (*voting, self._admission, self.history, self.tally):
            organ.check()

    # Commands

    def claim(self, record: Record, now: float, *, was_kept: bool = False) -> int:
        """Have a signed record become the next version of its key: answered with an Outcome.

        To send the same record again, here or elsewhere, is safe: it is committed once or never.
        """
        self._tell_time(now)
        id = next(self._ids)
        try:
            record.require_sound()
        except WireError as error:
            self._outbox.answer(id, Outcome(State.DENIED, self._book.committed.get(record.place), str(error)))
        else:
            self._proposer.propose(record, id, now, was_kept=was_kept)
        return id

    def read(self, place: Place, now: float) -> int:
        """What is committed, as a quorum knows it: answered with a Reading."""
        self._tell_time(now)
        id = next(self._ids)
        self._reader.read(place, id, now)
        return id

    def local(self, place: Place, now: float) -> Reading:
        return self._reader.local(place, now)

    def status(self, place: Place, version: int, txid: str, now: float) -> int:
        """What became of a transaction: answered with an Outcome, once its vote is closed if a quorum can be reached.

        Unknown still: nobody has it, or the version is too long ago.  To claim the record again decides it.
        """
        self._tell_time(now)
        id = next(self._ids)
        known = self.outcome(place, version, txid)
        if known is not None:
            self._outbox.answer(id, known)
        else:
            self._reader.read(place, id, now, about=(version, txid))
        return id

    def outcome(self, place: Place, version: int, txid: str) -> Outcome | None:
        """What became of a transaction, if this node knows it by itself."""
        return self._proposer.status(place, version, txid)

    def force(self, committed: Committed, now: float) -> int:
        """Go by a roster that the operator forces, and tell everybody: answered with an Outcome."""
        id = next(self._ids)
        self.learn(committed, now)
        current = self._book.committed[ROSTER]
        if current == committed:
            self._outbox.spread(committed)
            self._outbox.answer(id, Outcome(State.COMMITTED, current))
        else:
            self._outbox.answer(id, Outcome(State.DENIED, current, NOT_FORCED))
        return id

    def admit(self, member: Member, now: float, signature: str = "", *, is_vouched: bool = False) -> bool:
        """Let a node in as a learner, as a voter: whether it is in, or a vote on it has begun."""
        self._tell_time(now)
        return self._admission.admit(member, now, signature, is_vouched=is_vouched)

    def speaks(self, node: str, wire: int, now: float) -> None:
        """A node of the roster says in its heartbeat which version of our wire it speaks."""
        self._admission.speaks(node, wire, now)

    def move(self, url: str, organisation: str, now: float) -> bool:
        """Give this voter another URL and organisation: whether it has them, or a vote on it has begun."""
        self._tell_time(now)
        return self._admission.move(url, organisation, now)

    def seek(self, member: Member, contacts: Iterable[str], now: float) -> None:
        """Have this node let in, as often as it takes until the roster names it as `member`.

        `contacts` are nodes that may know who votes, beside the voters that this one knows of.
        """
        self._tell_time(now)
        self._admission.seek(member, contacts, now)

    # What others may know

    @property
    def epoch(self) -> int:
        return self._electorate.epoch

    @property
    def roster(self) -> Roster:
        return self._electorate.roster

    @property
    def incarnation(self) -> int | None:
        """Of this installation; None: it has not begun."""
        return self._electorate.me.incarnation if self._electorate.me else None

    def known(self, epoch: int) -> Roster | None:
        return self._electorate.known(epoch)

    @property
    def places(self) -> tuple[Place, ...]:
        """Keys of which a version is known."""
        return tuple(self._book.committed)

    @property
    def is_voting(self) -> bool:
        return self._electorate.may_vote(self._electorate.term)

    @property
    def applicants(self) -> tuple[Member, ...]:
        """Nodes that have come and may not be let in without the operator, as a voter with a new disk."""
        return self._admission.applicants

    @property
    def restored(self) -> dict[str, Vote]:
        """Voters that came back with an old disk, each with a vote that it forgot."""
        return self._proposer.restored

    @property
    def alarms(self) -> dict[Place, Proof]:
        """Keys on which voting has stopped, and why."""
        return self._book.stopped

    def rosters_after(self, epoch: int) -> tuple[Committed, ...]:
        """Some of those that follow an epoch, in order."""
        return self._electorate.after(epoch)

    def committed(self, place: Place) -> Committed | None:
        return self._book.committed.get(place)

    def votes(self) -> dict[Place, Instance]:
        """Votes under way that this voter has a part in."""
        return self._book.instances

    def heard(self, now: float, missed: Mapping[str, float] = NONE) -> int:
        """Voters heard of late, and since they were `missed`; this node included."""
        return self._presence.heard(self._electorate.roster, now, missed)

    def age(self, now: float) -> float | None:
        """Seconds since a quorum of voters was last heard; None: never."""
        return self._presence.age(self._electorate.roster, now)

    # From others

    def hear(self, node: str, messages: tuple[Message, ...], now: float) -> None:
        """What a node says: whoever carries it vouches for the name."""
        self._tell_time(now)
        if self._electorate.is_node(node):
            self._presence.hear(node, now)
        for message in messages:
            self._receive(node, message, now)

    def answered(self, id: int, result: object, now: float) -> None:
        """Nothing that is asked here has an answer."""

    def learn(self, committed: Committed, now: float, source: str | None = None) -> None:
        """A committed record from anywhere: taken if it verifies and is newer."""
        self._tell_time(now)
        record, held = committed.record, self._book.committed.get(committed.record.place)
        if held is not None and (held.record.version > record.version or held.record == record):
            return
        certificate = committed.certificate
        epoch = certificate.matter.ballot.epoch if certificate else 0
        roster = self._electorate.known(epoch)
        if roster is None or (record.place == ROSTER and record.version > self._electorate.epoch + 1):
            if source is not None and epoch > 0:
                self._electorate.ask_for_rosters(source)
            return
        if not self._electorate.may_be_committed(committed):
            self.dropped += 1
            return
        try:
            network, verify = self._credentials.network, self._credentials.verify
            quorum = self._setup.rules.quorum(roster, self.heard(now))
            require_committed(committed, roster, network, verify, quorum)
        except WireError:
            self.dropped += 1
            return
        assert certificate is not None
        self._alarms.look_for_own(certificate)
        is_newer = held is None or held.record.version < record.version
        if (held is None or not self._alarms.contradicts(held, certificate)) and is_newer:
            self._take(committed, now)

    def _receive(self, node: str, message: Message, now: float) -> None:
        match message:
            case Poll():
                self._learn_all((message.base,), node, now)
                self._voter.receive_poll(node, message)
            case VoteCall():
                self._learn_all((message.base,), node, now)
                self._voter.receive_vote(node, message)
            case Promise():
                self._proposer.receive_promise(node, message, now)
            case Yes():
                self._proposer.receive_yes(node, message, now)
            case Nack():
                self._proposer.receive_nack(node, message, now)
            case No():
                self._learn_all((*message.rosters, message.committed), node, now)
                self._proposer.receive_no(node, message, now)
            case Commit():
                self.learn(message.committed, now, node)
            case Read():
                self._voter.receive_read(node, message)
            case ReadAnswer():
                self._learn_all((message.committed,), node, now)
                self._reader.receive_answer(node, message, now)
            case RosterRequest():
                rosters = self._electorate.after(message.after)
                if rosters:
                    self._outbox.tell_now(node, RosterNews(rosters))
            case RosterNews():
                before = self._electorate.epoch
                self._learn_all(message.rosters, node, now)
                if self._electorate.epoch - before == ROSTERS_MAX:
                    self._electorate.ask_for_rosters(node)
            case SealRequest():
                self._learn_all((message.successor,), node, now)
                self._merging.receive_request(node, message)
            case SealSnapshot() | SealWalk() | SealPart():
                self._merging.receive(node, message, now)
            case HistoryRequest() | History():
                self.history.receive(node, message, now)
            case Alarm():
                if message.proof.first.matter.place not in self._book.stopped:
                    self._alarms.receive(message.proof)
            case Restored():
                self._alarms.receive_own(message.vote)
            case TallyRequest() | TallyAnswer():
                self.tally.receive(node, message)
            case Admit():
                if message.member.name == node:
                    self._admission.admit(message.member, now, message.signature)

    # Inside

    def _tell_time(self, now: float) -> None:
        if now != self._told_at:  # nearly always it is that of the message before
            self._now = self._told_at = self._voter.citing.now = now
            self._voter.wall_ms = self._wall_ms + round((now - self._read_at) * 1000)

    def _learn_all(self, many: "tuple[Committed | None, ...]", node: str, now: float) -> None:
        for committed in many:
            if committed is not None:
                self.learn(committed, now, node)

    def _take(self, committed: Committed, now: float) -> None:
        """A verified version that is newer."""
        place, term = committed.record.place, self._electorate.term
        self._book.take(committed)
        self.history.wake(now)
        self._doubts.clear(place)
        if place == ROSTER:
            self._electorate.learn(committed)
            self._admission.learnt(now)
            self._merging.begin(now)
        self._proposer.learnt(place, now)
        if self._electorate.term != term:
            self._proposer.new_term(now)
            self._reader.new_term(now)

    def _on_commit(self, committed: Committed, now: float) -> None:
        """Our own attempt has its quorum."""
        self._outbox.spread(committed)
        self._take(committed, now)

    def _on_close(self, place: Place, is_known: bool, now: float) -> None:
        self._reader.closed(place, is_known, now)

    def _on_accept(self, place: Place) -> None:
        """T_doubt: whatever is accepted and not committed by then is brought to an end."""
        vote_s = self._setup.timers.vote_s
        self._doubts.set(place, self._now + 2 * vote_s + self._rng.uniform(0, vote_s))
