"""Epochs: which rosters this node knows, in which it may vote, and how it comes to vote in the next.

A term is a run of epochs with the same voters and policy, as where a learner was let in; its number is that of the
first, and the `epoch` of ballots is the term.  A voter that learns of the next term is sealed: it never votes in the
old one again.  A voter of the new term votes once it has merged what Q sealed voters of the last had committed and
accepted; then it has joined.  Any set of voters may replace any other.

Where no quorum is left to vote or to tell, the operator forces a roster, which begins a term: all the sources that it
names are merged, and every voter has merged the same, so round 0 is as safe as ever.  What only others knew is lost, or
contradicts what is committed since, which is an alarm.

Why a term, and not every epoch its own ballots with the promises carried over: round 0 asks for no promises, so it is
safe only as the lowest ballot that the electorate can have accepted.  In an epoch of its own it would outrank what a
quorum had accepted in the epoch before, on a voter that was not of that quorum and merged nothing.  Within a term
nothing changes for a vote: the voters, Q and the order of ballots are those of one fixed electorate.

    drip_node  "self"    Self: who this node is, in which installation
    drip_node  "epochs"  the terms that it has joined, the last JOINED_MAX
    drip_node  "past"    the last incarnation that this disk had before it was restored from a backup, a number

A node knows its incarnation from begin(), once on an empty disk.  One that lost its disk begins as another, which a
roster must name before it votes; one that was restored from an old copy notices it by a vote that it has signed and
does not remember, and votes no more in that incarnation.

Source: notes on DRiP, 4.9; design, Contracts 7.
"""

from typing import Final

import msgspec
from msgspec import Struct

from waypost.drip.judge import keeps_installations
from waypost.drip.messages import ROSTERS_MAX, RosterRequest, SealRequest
from waypost.drip.outbox import Outbox
from waypost.drip.rules import Rules
from waypost.engine import Rows
from waypost.errors import WireError
from waypost.record import ROSTER, Committed, Member, Roster, roster_in
from waypost.record.wire import encode

NODE: Final = "drip_node"
SELF: Final = b"self"
EPOCHS: Final = b"epochs"
PAST: Final = b"past"
JOINED_MAX: Final = 64


class Self(Struct, frozen=True, gc=False):
    """`counter` counts this incarnation's promises and votes; `forgot`: it was restored from an old copy."""

    incarnation: int
    counter: int = 0
    forgot: bool = False


class Electorate:
    def __init__(self, name: str, founding: Committed, rules: Rules, outbox: Outbox) -> None:
        self.name = name
        self.me: Self | None = None
        self._rules = rules
        self._outbox = outbox
        self._committed: dict[int, Committed] = {}
        self._rosters: dict[int, Roster] = {}
        self._terms: dict[int, int] = {}  # of each epoch
        self.term = 0  # of the last one
        self._nodes: frozenset[str] = frozenset()  # of the last roster: nearly every message asks
        self._joined: dict[int, None] = {}
        self._past = 0
        self._named: dict[int, None] = {}  # the incarnations in which rosters of this term name this node
        self.learn(founding)

    def restore(self, rows: Rows) -> None:
        data = rows.get(NODE, SELF)
        self.me = msgspec.json.decode(data, type=Self) if data else None
        data = rows.get(NODE, EPOCHS)
        self._joined = dict.fromkeys(msgspec.json.decode(data, type=list[int])) if data else {}
        data = rows.get(NODE, PAST)
        self._past = msgspec.json.decode(data, type=int) if data else 0

    def begin(self, incarnation: int) -> None:
        """On an empty disk.  Who is of the network's first roster may vote at once: there is nothing to merge.

        On one that was restored from a backup, the incarnation is a later one than before, whatever the clock says.
        """
        assert self.me is None
        self._save(Self(max(incarnation, self._past + 1)))
        if self.epoch == 1 and self.is_voter(1):
            self._join(1)

    # Rosters

    @property
    def epoch(self) -> int:
        """The last one that is known."""
        return len(self._rosters)

    @property
    def roster(self) -> Roster:
        return self._rosters[self.epoch]

    def known(self, epoch: int) -> Roster | None:
        return self._rosters.get(epoch)

    def is_node(self, name: str) -> bool:
        return name in self._nodes

    def term_of(self, epoch: int) -> int | None:
        return self._terms.get(epoch)

    def successor(self, term: int) -> int | None:
        """The term that sealed one."""
        return next((later for later in self._terms.values() if later > term), None)

    def learn(self, committed: Committed) -> None:
        """A verified roster: the next."""
        roster = roster_in(committed.record)
        assert roster.epoch == self.epoch + 1
        self._committed[roster.epoch] = committed
        goes_on = roster.epoch > 1 and self.roster.votes_on(roster)
        self._terms[roster.epoch] = self.term = self.term if goes_on else roster.epoch
        self._rosters[roster.epoch] = roster
        self._nodes = frozenset(roster.nodes)
        if not goes_on:
            self._named = {}
        for member in roster.voters + roster.learners:
            if member.name == self.name:
                self._named[member.incarnation] = None
        if goes_on:
            return
        nothing_left = roster.forced is not None and not roster.forced.sources
        must_merge = self._rules.must_merge() and not nothing_left
        if not must_merge and roster.epoch > 1 and self.is_voter(roster.epoch):
            self._join(roster.epoch)

    def may_be_committed(self, committed: Committed) -> bool:
        """Whether anybody may have voted at its ballot: of a term, and for a roster of the term before it.

        A forced roster is of the epoch before it, and keeps to what any roster does.
        """
        assert committed.certificate is not None
        record, matter = committed.record, committed.certificate.matter
        if record.place != ROSTER:
            return self.term_of(matter.ballot.epoch) == matter.ballot.epoch
        try:
            roster = roster_in(record)
        except WireError:
            return False
        if roster.forced is None or not matter.is_forced:
            return roster.forced is None and self.term_of(record.version - 1) == matter.ballot.epoch
        before = self.known(record.version - 1)
        return (
            before is not None
            and set(roster.forced.sources) <= set(before.nodes)
            and keeps_installations(before, roster)
        )

    def after(self, epoch: int) -> tuple[Committed, ...]:
        """The rosters after an epoch, as many as go into one message."""
        until = min(self.epoch, epoch + ROSTERS_MAX)
        return tuple(self._committed[number] for number in range(epoch + 1, until + 1))

    def ask_for_rosters(self, node: str) -> None:
        self._outbox.tell_now(node, RosterRequest(self.epoch))

    # Voting

    def member(self, term: int) -> Member | None:
        """This node among the voters of a term, in its present incarnation."""
        roster = self._rosters.get(term)
        member = roster.voter(self.name) if roster else None
        return member if member and self.me and member.incarnation == self.me.incarnation else None

    def is_voter(self, term: int) -> bool:
        return self.member(term) is not None

    def is_sound_voter(self, term: int) -> bool:
        """And it remembers all that it signed."""
        return self.is_voter(term) and self.me is not None and not self.me.forgot

    def remembers_its_ballots(self) -> bool:
        """No other installation of this node can have used a ballot of this term."""
        return self.me is not None and list(self._named) == [self.me.incarnation]

    def has_joined(self, term: int) -> bool:
        return term in self._joined

    def may_vote(self, term: int) -> bool:
        return self._rules.may_vote_in(term, self.term) and self.is_sound_voter(term) and self.has_joined(term)

    def count(self) -> int:
        """The number of the next promise or vote: on disk before it leaves."""
        assert self.me is not None
        self._save(msgspec.structs.replace(self.me, counter=self.me.counter + 1))
        return self.me.counter

    def forget(self) -> None:
        """This installation is a copy of an older state: it votes no more."""
        assert self.me is not None
        self._save(msgspec.structs.replace(self.me, forgot=True))

    # Merging

    def is_waiting(self) -> bool:
        """A voter of this term that has not joined it yet."""
        return self.is_voter(self.term) and not self.has_joined(self.term) and self.term > 1

    def is_merging(self, term: int) -> bool:
        """And what it waits for is told by sealed voters of that one."""
        return self.is_waiting() and self.term_of(self.term - 1) == term

    def sources(self) -> tuple[str, ...]:
        """Who tells what was accepted in the last term: its voters, or whom the operator names instead."""
        forced = self._rosters[self.term].forced
        return forced.sources if forced else tuple(voter.name for voter in self._rosters[self.term - 1].voters)

    def seal_request(self, after: tuple[str, str], *, brief: bool) -> SealRequest:
        """To one of them."""
        return SealRequest(self._terms[self.term - 1], self._committed[self.term], after, brief)

    def merged(self, done: int) -> bool:
        """So many of them have told all: whether that is enough.  Then this voter has joined."""
        forced, last = self._rosters[self.term].forced, self._rosters[self._terms[self.term - 1]]
        is_enough = done >= (len(forced.sources) if forced else self._rules.quorum(last, done))
        if is_enough:
            self._join(self.term)
        return is_enough

    def check(self) -> None:
        assert list(self._rosters) == list(range(1, self.epoch + 1)), "an epoch is missing"
        assert len(self._joined) <= JOINED_MAX

    def _join(self, term: int) -> None:
        self._joined[term] = None
        while len(self._joined) > JOINED_MAX:
            del self._joined[min(self._joined)]
        self._outbox.put(NODE, EPOCHS, encode(list(self._joined)))

    def _save(self, me: Self) -> None:
        self.me = me
        self._outbox.put(NODE, SELF, encode(me))
