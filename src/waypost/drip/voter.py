"""A voter: promises, votes and the answers to reads, each on disk before it leaves.

Source: notes on DRiP, 4.4 (voter, rules 1 to 4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from waypost.drip.book import Book, Instance
from waypost.drip.citing import Citing
from waypost.drip.judge import Judge, follows
from waypost.drip.messages import (
    Nack,
    No,
    Poll,
    Promise,
    Proposal,
    Read,
    ReadAnswer,
    Reason,
    VoteCall,
    Yes,
    place_of,
)
from waypost.drip.outbox import Outbox
from waypost.drip.roster import Electorate
from waypost.drip.rules import Rules
from waypost.errors import WireError
from waypost.record import NEVER, ROSTER, Ballot, Cited, Committed, Matter, Place, Record, Sign, Verify, Vote, roster_in
from waypost.record.vote import cast

SKEW_MAX_MS: Final = 30_000  # how far a record's clock may be ahead of a voter's (notes, 4.5)
ROUND_JUMP_MAX: Final = 1 << 20  # rounds that one ballot may be above the last: nobody uses them all up
INSTANCES_MAX: Final = 200_000  # votes under way that one voter has a part in
OPENED_MAX: Final = INSTANCES_MAX // 4  # of these, by the ballots of one node: nobody fills them all


@dataclass(frozen=True, slots=True)
class Credentials:
    """`network` is its id; `sign` signs with the node's key of the roster."""

    network: str
    sign: Sign
    verify: Verify


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a record must not become the next version of its key: `final`, nor ever.

    It cannot be judged before what it `lacks` is here.
    """

    reason: Reason
    detail: str
    final: bool = False
    lacks: tuple[Cited, ...] = ()


class Voter:
    """`wall_ms` is told by the engine; `on_accept` is called with the place of each vote."""

    def __init__(
        self,
        book: Book,
        electorate: Electorate,
        credentials: Credentials,
        judge: Judge,
        rules: Rules,
        outbox: Outbox,
        on_accept: Callable[[Place], None],
    ) -> None:
        self.wall_ms = 0
        self.citing = Citing(book, outbox)
        self._book = book
        self._electorate = electorate
        self._credentials = credentials
        self._judge = judge
        self._rules = rules
        self._outbox = outbox
        self._on_accept = on_accept

    def receive_poll(self, node: str, poll: Poll) -> None:
        place = place_of(poll)
        if poll.ballot.round == 0 or not self._may_answer(node, place, poll.version, poll.ballot, poll.base):
            return
        instance = self._book.instance(place)
        if not self._rules.may_promise(poll.ballot, instance.promised):
            self._outbox.tell_now(node, Nack(*place, poll.version, poll.ballot, instance.promised))
            return
        self._book.save(place, msgspec.structs.replace(instance, promised=poll.ballot))
        promise = Promise(*place, poll.version, poll.ballot, self._electorate.count(), instance.accepted)
        self._outbox.tell(node, promise)

    def receive_vote(self, node: str, call: VoteCall) -> None:
        record, ballot = call.record, call.ballot
        if not self._may_answer(node, record.place, record.version, ballot, call.base):
            return
        instance = self._book.instance(record.place)
        if instance.accepted == Proposal(ballot, record) and instance.mark:  # the same vote again
            matter = Matter.of(record, ballot, self._credentials.network)
            self._outbox.tell(node, Yes(Vote(matter, instance.mark)))
            return
        objection = self.objection(record)
        if objection is not None and objection.lacks:  # nothing is said until it has come: the initiator asks again
            self.citing.ask(objection.lacks, node)
        elif objection is not None:
            no = self._no(record.place, record.version, ballot, objection.reason, objection.detail)
            # What makes it final is on disk first.
            tell = self._outbox.tell if objection.final else self._outbox.tell_now
            tell(node, msgspec.structs.replace(no, final=objection.final))
        elif not self._may_accept(instance, record, ballot):
            self._outbox.tell_now(node, Nack(*record.place, record.version, ballot, instance.promised))
        else:
            self._accept(node, record, ballot, instance)

    def objection(self, record: Record) -> Objection | None:
        """Why a record must not become the next version of its key, whoever asks; None if it may.

        What was accepted here, or by who told this voter before it joined, was judged when it was: that a grant has
        moved on since does not matter (notes, 5.3).
        """
        credentials = self._credentials
        old = self._book.record(record.place)
        if record.prev != self._book.hash(record.place):
            return Objection("invalid", "it does not follow the committed version")
        author, signature = bytes.fromhex(record.author), bytes.fromhex(record.signature)
        if not credentials.verify(author, signature, record.to_sign(credentials.network)):
            return Objection("invalid", "it is not signed by its author")
        if record.taken and not self._is_taken(old, record):
            return Objection("invalid", "it is not signed by its new holder")
        if record.hlc.wall_ms > self.wall_ms + SKEW_MAX_MS:
            return Objection("invalid", "its clock is ahead")
        if record.place == ROSTER:
            try:
                sound = follows(self._electorate.roster, roster_in(record))
            except WireError:
                sound = False
            if not sound:
                return Objection("invalid", "it is no roster that may follow")
        elif record.namespace.startswith("_"):
            return Objection("invalid", "the namespace is the network's own")
        accepted = self._book.instance(record.place).accepted
        if accepted is not None and accepted.record == record:
            return None
        gone, lacking = self.citing.gone(record), self.citing.lacking(record)
        if gone:
            return Objection("entitlement", gone[:255], final=True)
        if lacking:
            return Objection("entitlement", "what it relies on is not known here", lacks=lacking)
        cited = {ROSTER: self._book.committed[ROSTER].record} | self.citing.cited(record)
        verdict = self._judge.judge(old, record, cited, self.wall_ms)
        return None if verdict.allowed else Objection("entitlement", verdict.reason[:255])

    def _is_taken(self, old: Record | None, record: Record) -> bool:
        if old is None or old.holder == record.holder:
            return False
        taker, signature = bytes.fromhex(record.holder), bytes.fromhex(record.taken)
        return self._credentials.verify(
            taker, signature, record.transfer(old.holder).to_sign(self._credentials.network)
        )

    def drop(self, record: Record) -> None:
        """What this voter accepted can never have a quorum: the vote is open no longer.  The promise holds."""
        instance = self._book.instance(record.place)
        if instance.accepted is not None and instance.accepted.record == record:
            self._book.save(record.place, msgspec.structs.replace(instance, accepted=None, mark=None))

    def receive_read(self, node: str, read: Read) -> None:
        """Only who votes in the reader's epoch answers, and only with what is on disk."""
        place, electorate = place_of(read), self._electorate
        if read.epoch > electorate.term:
            electorate.ask_for_rosters(node)
        elif read.epoch < electorate.term:
            version = self._book.version(place) + 1
            self._outbox.tell_now(node, self._no(place, version, Ballot(read.epoch, 0, ""), "epoch", ""))
        elif electorate.may_vote(read.epoch):
            is_open = self._book.instance(place).accepted is not None
            self._outbox.tell(node, ReadAnswer(read.id, read.epoch, self._book.committed.get(place), is_open))

    def _may_answer(self, node: str, place: Place, version: int, ballot: Ballot, base: Committed | None) -> bool:
        """Rules 1 and 2; the engine has learnt what the question brought with it."""
        electorate, book = self._electorate, self._book
        last_term = electorate.known(ballot.epoch) if ballot.epoch < electorate.term else None
        if ballot.node != node or not (node in last_term.nodes if last_term else electorate.is_node(node)):
            return False
        if ballot.epoch > electorate.term:
            electorate.ask_for_rosters(node)
            return False
        if not self._rules.may_vote_in(ballot.epoch, electorate.term):
            self._outbox.tell_now(node, self._no(place, version, ballot, "epoch", ""))
            return False
        if book.version(place) >= version:
            self._outbox.tell_now(node, self._no(place, version, ballot, "stale", ""))
            return False
        if book.version(place) < version - 1:
            if base is None and electorate.may_vote(ballot.epoch):  # whoever asks has it, and asks again with it
                self._outbox.tell_now(node, No(*place, version, ballot, "stale", "", None, ()))
            return False
        if place in book.stopped:
            self._outbox.tell_now(node, self._no(place, version, ballot, "stopped", "a voter signed two records"))
            return False
        instance = book.instances.get(place)
        if instance is None and (len(book.instances) >= INSTANCES_MAX or book.opened[node] >= OPENED_MAX):
            self._outbox.tell_now(node, self._no(place, version, ballot, "busy", "too many votes are under way"))
            return False
        promised = instance.promised if instance else NEVER
        last = promised.round if promised.epoch == ballot.epoch else 0
        return electorate.may_vote(ballot.epoch) and ballot.round <= last + ROUND_JUMP_MAX

    def _may_accept(self, instance: Instance, record: Record, ballot: Ballot) -> bool:
        if instance.accepted and instance.accepted.ballot == ballot and instance.accepted.record != record:
            return False  # the initiator cannot be honest
        return self._rules.may_accept(ballot, instance.promised, instance.accepted_ballot)

    def _accept(self, node: str, record: Record, ballot: Ballot, instance: Instance) -> None:
        place, network = record.place, self._credentials.network
        if ballot.round == 0 and not self._rules.may_use_round_zero(node, self._home(place, ballot.epoch)):
            self._outbox.tell_now(node, self._no(place, record.version, ballot, "invalid", "not the home"))
            return
        matter, me = Matter.of(record, ballot, network), self._electorate.me
        assert me is not None
        counter = self._electorate.count()
        mark = cast(matter, self._electorate.name, me.incarnation, counter, network, self._credentials.sign)
        promised = max(instance.promised, ballot)
        self._book.save(place, Instance(record.version, promised, Proposal(ballot, record), mark))
        self._outbox.tell(node, Yes(Vote(matter, mark)))
        self._on_accept(place)

    def _home(self, place: Place, epoch: int) -> str:
        held, roster = self._book.record(place), self._electorate.known(epoch)
        assert roster is not None
        if place == ROSTER:
            return ""  # rosters have none: whoever proposes one asks for promises
        return held.home if held else roster.home(place)

    def _no(self, place: Place, version: int, ballot: Ballot, reason: Reason, detail: str) -> No:
        committed = self._book.committed.get(place) if reason == "stale" else None
        sealed_by = self._electorate.successor(ballot.epoch) if reason == "epoch" else None
        rosters = self._electorate.after(sealed_by - 1) if sealed_by else ()
        return No(*place, version, ballot, reason, detail, committed, rosters)
