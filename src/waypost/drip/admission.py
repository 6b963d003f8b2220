"""How nodes come into the roster: a voter lets them in, and this node has itself let in.

A node that the roster does not name as it is sends Admit to one voter after another until it does.  The voter claims
the next roster with its node's key; who may not come in so, as a voter with another disk, is an applicant and waits for
the operator.
A voter whose URL changed needs nobody: it claims the roster itself.

Times are seconds of the caller's monotonic clock.  Whatever cannot be now is asked for again by whoever seeks.

Source: notes on DRiP, 4.9 (rules 1 and 6) and 4.11.
"""

from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec

from waypost.drip.book import Book
from waypost.drip.judge import amends
from waypost.drip.messages import Admit
from waypost.drip.outbox import Outbox
from waypost.drip.proposer import Proposer
from waypost.drip.roster import Electorate
from waypost.drip.voter import Credentials, Voter
from waypost.errors import WireError
from waypost.record import ROSTER, Hlc, Member, Record, Roster, Stamp, roster_in

APPLICANTS_MAX: Final = 64
LET_IN_MAX: Final = 64  # nodes that one voter lets in within AGAIN_S
AGAIN_S: Final = 5.0  # until a voter lets the same node in again: each time costs a vote
SEEK_MIN_S: Final = 1.0  # between two voters that are asked, at first
SEEK_MAX_S: Final = 60.0


class Admission:
    def __init__(
        self,
        book: Book,
        electorate: Electorate,
        credentials: Credentials,
        voter: Voter,
        proposer: Proposer,
        rng: Random,
        outbox: Outbox,
    ) -> None:
        self._book = book
        self._electorate = electorate
        self._credentials = credentials
        self._voter = voter
        self._proposer = proposer
        self._rng = rng
        self._outbox = outbox
        self._applicants: dict[str, Member] = {}  # the last to come is the last
        self._let_in: dict[str, float] = {}
        self._sought: Member | None = None
        self._contacts: tuple[str, ...] = ()
        self._asked = 0
        self._ask_at: float | None = None
        self._wait_s = SEEK_MIN_S

    @property
    def applicants(self) -> tuple[Member, ...]:
        """Who has come and may not be let in without the operator."""
        return tuple(self._applicants.values())

    def admit(self, member: Member, now: float) -> bool:
        """Whether it is in, or a vote on it has begun."""
        roster = self._electorate.roster
        if member in roster.voters + roster.learners:
            return True
        if not self._is_voter() or _is_moved(member, roster):
            return False
        others = tuple(each for each in roster.learners if each.name != member.name)
        record = self._amendment(msgspec.structs.replace(roster, learners=(*others, member)))
        if record is None:
            self._apply(member)
            return False
        self._let_in = {name: when for name, when in self._let_in.items() if now < when + AGAIN_S}
        if member.name in self._let_in or len(self._let_in) >= LET_IN_MAX or not self._claim(record, now):
            return False
        self._let_in[member.name] = now
        return True

    def move(self, url: str, organisation: str, now: float) -> bool:
        """Give this voter another URL and organisation: whether it has them, or a vote on it has begun."""
        roster = self._electorate.roster
        me = roster.voter(self._electorate.name)
        if me is None or not self._is_voter():
            return False
        moved = msgspec.structs.replace(me, url=url, organisation=organisation)
        voters = tuple(moved if voter is me else voter for voter in roster.voters)
        record = self._amendment(msgspec.structs.replace(roster, voters=voters))
        return moved == me or (record is not None and self._claim(record, now))

    def seek(self, member: Member, contacts: Iterable[str], now: float) -> None:
        """Until the roster names this node as `member`.  `contacts` are asked as well who votes by now.

        And again where it names it otherwise later, for an Admit from before may be late; not where it is put out.
        """
        self._sought, self._asked, self._contacts = member, self._rng.getrandbits(16), tuple(contacts)
        self._wait_s, self._ask_at = SEEK_MIN_S, now

    def learnt(self, now: float) -> None:
        """There is a new roster: who is in, in this installation or a later one, needs the operator no more."""
        roster, sought = self._electorate.roster, self._sought
        for member in roster.voters + roster.learners:
            applicant = self._applicants.get(member.name)
            if applicant is not None and applicant.incarnation <= member.incarnation:
                del self._applicants[member.name]
            is_me = sought is not None and (sought.name == member.name and sought.incarnation >= member.incarnation)
            if is_me and sought != member and self._ask_at is None:
                self._ask_at = now

    def handle_timer(self, now: float) -> None:
        if self._ask_at is None or self._ask_at > now or self._sought is None:
            return
        roster, sought = self._electorate.roster, self._sought
        if sought in roster.voters + roster.learners:
            self._ask_at, self._wait_s = None, SEEK_MIN_S
            return
        self._ask_at = now + self._wait_s * self._rng.uniform(0.75, 1.25)
        self._wait_s = min(2 * self._wait_s, SEEK_MAX_S)
        if _is_moved(sought, roster):
            self.move(sought.url, sought.organisation, now)
            return
        known = dict.fromkeys((*(voter.name for voter in roster.voters), *self._contacts))
        others = [name for name in known if name != sought.name]
        if others:
            self._asked += 1
            node = others[self._asked % len(others)]
            self._outbox.tell_now(node, Admit(sought))
            self._electorate.ask_for_rosters(node)  # it may be in already

    def next_timer(self) -> float | None:
        return self._ask_at

    def check(self) -> None:
        assert len(self._applicants) <= APPLICANTS_MAX
        assert len(self._let_in) <= LET_IN_MAX

    def _is_voter(self) -> bool:
        return self._electorate.is_voter(self._electorate.term)

    def _amendment(self, roster: Roster) -> Record | None:
        """The next roster, signed by this voter; None: it is for the operator to make, or for nobody."""
        old, me = self._book.committed[ROSTER].record, self._electorate.member(self._electorate.term)
        assert me is not None
        new = msgspec.structs.replace(roster, epoch=roster.epoch + 1, forced=None)
        record = msgspec.structs.replace(
            old,
            version=new.epoch,
            prev=self._book.hash(ROSTER),
            value=new.encode().decode(),
            author=me.key,
            hlc=Stamp.of(Hlc(self._voter.wall_ms, 0)),
            txid=f"{self._rng.getrandbits(128):032x}",
            cites=(),
        ).signed(self._credentials.network, self._credentials.sign)
        try:
            record.require_sound()
            roster_in(record)
        except WireError:
            return None
        return record if amends(self._electorate.roster, new, me.key) else None

    def _apply(self, member: Member) -> None:
        self._applicants.pop(member.name, None)
        if len(self._applicants) >= APPLICANTS_MAX:
            del self._applicants[next(iter(self._applicants))]
        self._applicants[member.name] = member

    def _claim(self, record: Record, now: float) -> bool:
        """At most one at a time: False if another is under way here."""
        if self._proposer.is_trying(ROSTER):
            return False
        self._proposer.propose(record, None, now)
        return True


def _is_moved(member: Member, roster: Roster) -> bool:
    """Whether it is a voter as it is, but for its URL and organisation."""
    voter = roster.voter(member.name)
    return voter is not None and (voter.incarnation, voter.key) == (member.incarnation, member.key)
