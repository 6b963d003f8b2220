"""How nodes come into the roster: a voter lets them in, and this node has itself let in.

A node that the roster does not name as it is sends Admit to one voter after another until it does.  The voter claims
the next roster with its node's key; who may not come in so, as a voter with another disk, is an applicant and waits for
the operator.
A voter whose URL changed, or what else it says of itself, needs nobody: it claims the roster itself.

The roster has members' details once all of them read such a roster, as they say when they come, in the roster, or in
their heartbeats.  Who does not read them comes in no more then.  What a member with keys for TLS says of itself is
taken from itself alone: its Admit is signed with its node's key, or the authority vouches for another installation.

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
from waypost.record.roster import DETAILED, PACKED
from waypost.record.wire import signed_bytes

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
        self._wires: dict[str, int] = {}  # of members, as their heartbeats say
        self._sought: Member | None = None
        self._contacts: tuple[str, ...] = ()
        self._asked = 0
        self._ask_at: float | None = None
        self._wait_s = SEEK_MIN_S

    @property
    def applicants(self) -> tuple[Member, ...]:
        """Who has come and may not be let in without the operator."""
        return tuple(self._applicants.values())

    def admit(self, member: Member, now: float, signature: str = "", *, is_vouched: bool = False) -> bool:
        """Whether it is in, or a vote on it has begun.  `is_vouched`: it is no impostor, as somebody knows."""
        roster = self._electorate.roster
        if member in roster.members:
            return True
        is_read = self._is_read(member, roster)
        stated = member if is_read else member.plain
        if stated in roster.members and not roster.has_details:
            return True
        if not self._is_voter():
            return False
        if _is_moved(stated, roster):
            if not _shares_a_key(stated, roster):
                self._apply(stated)  # nobody hears its votes: the operator has to say that it is the one
            return False
        is_itself = is_vouched or self._is_itself(member, signature, roster)
        others = tuple(each for each in roster.learners if each.name != member.name)
        record = None
        if is_itself and (is_read or not roster.has_details):
            voters = self._voters_with_me(roster) if is_read else roster.voters
            record = self._amendment(
                msgspec.structs.replace(roster, voters=voters, learners=(*others, stated)), is_read
            )
        if record is None:
            self._apply(stated)
            return False
        self._let_in = {name: when for name, when in self._let_in.items() if now < when + AGAIN_S}
        if member.name in self._let_in or len(self._let_in) >= LET_IN_MAX or not self._claim(record, now):
            return False
        self._let_in[member.name] = now
        return True

    def move(self, url: str, organisation: str, now: float) -> bool:
        """Give this voter another URL and organisation: whether it has them, or a vote on it has begun."""
        me = self._electorate.roster.voter(self._electorate.name)
        return me is not None and self._restate(msgspec.structs.replace(me, url=url, organisation=organisation), now)

    def speaks(self, name: str, wire: int, now: float) -> None:
        """A member's heartbeat says what of our wire it speaks."""
        if self._wires.get(name, 1) != wire and name in self._electorate.roster.nodes:
            self._wires[name] = wire
            if self._sought is not None and self._ask_at is None and not self._is_named(self._sought):
                self._ask_at = now

    def seek(self, member: Member, contacts: Iterable[str], now: float) -> None:
        """Until the roster names this node as `member`.  `contacts` are asked as well who votes by now.

        And again where it names it otherwise later, for an Admit from before may be late; not where it is put out.
        """
        self._sought, self._asked, self._contacts = member, self._rng.getrandbits(16), tuple(contacts)
        self._wait_s, self._ask_at = SEEK_MIN_S, now

    def learnt(self, now: float) -> None:
        """There is a new roster: who is in, in this installation or a later one, needs the operator no more."""
        roster, sought = self._electorate.roster, self._sought
        self._wires = {name: wire for name, wire in self._wires.items() if name in roster.nodes}
        for member in roster.members:
            applicant = self._applicants.get(member.name)
            if applicant is not None and applicant.incarnation <= member.incarnation:
                del self._applicants[member.name]
            is_me = sought is not None and (sought.name == member.name and sought.incarnation >= member.incarnation)
            if is_me and sought is not None and not self._is_named(sought) and self._ask_at is None:
                self._ask_at = now

    def handle_timer(self, now: float) -> None:
        if self._ask_at is None or self._ask_at > now or self._sought is None:
            return
        roster, sought = self._electorate.roster, self._sought
        if self._is_named(sought):
            self._ask_at, self._wait_s = None, SEEK_MIN_S
            return
        self._ask_at = now + self._wait_s * self._rng.uniform(0.75, 1.25)
        self._wait_s = min(2 * self._wait_s, SEEK_MAX_S)
        if _is_moved(sought, roster):
            self._restate(self._stated(sought), now)
            if _shares_a_key(sought, roster):
                return
        known = dict.fromkeys((*(voter.name for voter in roster.voters), *self._contacts))
        others = [name for name in known if name != sought.name]
        if others:
            self._asked += 1
            node = others[self._asked % len(others)]
            signature = self._credentials.sign(self._claimed(sought)).hex() if sought.tls else ""
            self._outbox.tell_now(node, Admit(sought, signature))
            self._electorate.ask_for_rosters(node)  # it may be in already

    def next_timer(self) -> float | None:
        return self._ask_at

    def check(self) -> None:
        assert len(self._applicants) <= APPLICANTS_MAX
        assert len(self._let_in) <= LET_IN_MAX
        assert self._wires.keys() <= set(self._electorate.roster.nodes)

    def _is_voter(self) -> bool:
        return self._electorate.is_voter(self._electorate.term)

    def _is_read(self, member: Member, roster: Roster) -> bool:
        """Whether all would read the roster with details in it, `member` among them."""
        return member.wire >= DETAILED and (
            roster.has_details
            or all(
                max(each.wire, self._wires.get(each.name, 1)) >= DETAILED
                for each in roster.members
                if each.name not in (member.name, self._electorate.name)
            )
        )

    def _stated(self, sought: Member) -> Member:
        """As the roster should name it by now; who is alone has nobody to tell its details to."""
        roster = self._electorate.roster
        is_told = roster.has_details or len(roster.members) > 1
        return sought if is_told and self._is_read(sought, roster) else sought.plain

    def _is_named(self, sought: Member) -> bool:
        return self._electorate.roster.member(sought.name) == self._stated(sought)

    def _is_itself(self, member: Member, signature: str, roster: Roster) -> bool:
        """Whether nobody else can have said this of the member, or its name was never held to a key."""
        held = roster.member(member.name)
        if held is None or not held.tls:
            return True
        key, signed = bytes.fromhex(held.key), bytes.fromhex(signature)
        return bool(signed) and self._credentials.verify(key, signed, self._claimed(member))

    def _claimed(self, member: Member) -> bytes:
        """What is signed of an Admit."""
        return signed_bytes("admit", self._credentials.network, member)

    def _voters_with_me(self, roster: Roster) -> tuple[Member, ...]:
        """This voter tells its details by the way, where it has told all but them."""
        sought = self._sought
        if sought is None:
            return roster.voters
        return tuple(sought if voter.plain == sought.plain else voter for voter in roster.voters)

    def _restate(self, member: Member, now: float) -> bool:
        """Have the roster name this voter so: whether it does, or a vote on it has begun."""
        roster = self._electorate.roster
        if not self._is_voter() or not _is_moved(member, roster):
            return False
        if member in roster.voters:
            return True
        voters = tuple(member if voter.name == member.name else voter for voter in roster.voters)
        record = self._amendment(msgspec.structs.replace(roster, voters=voters), self._is_read(member, roster))
        return record is not None and self._claim(record, now)

    def _amendment(self, roster: Roster, is_read: bool) -> Record | None:
        """The next roster, signed by this voter; None: it is for the operator to make, or for nobody.

        `is_read`: also with details in it, and packed.
        """
        old, me = self._book.committed[ROSTER].record, self._electorate.member(self._electorate.term)
        assert me is not None
        new = msgspec.structs.replace(roster, epoch=roster.epoch + 1, forced=None)
        text = new.text
        if text.startswith(PACKED) and not (is_read or roster.has_details):
            return None
        record = msgspec.structs.replace(
            old,
            version=new.epoch,
            prev=self._book.hash(ROSTER),
            value=text,
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


def _shares_a_key(member: Member, roster: Roster) -> bool:
    """For TLS, with what the roster says of it; who is known by name has all."""
    held = roster.member(member.name)
    return held is None or not held.tls or not set(held.tls).isdisjoint(member.tls)


def _is_moved(member: Member, roster: Roster) -> bool:
    """Whether it is a voter as it is, but for its URL and organisation."""
    voter = roster.voter(member.name)
    return voter is not None and (voter.incarnation, voter.key) == (member.incarnation, member.key)
