"""What can be asked of the mesh from outside: claims, reads, and who and what is there.

A Claim and a Settle are answered with an Outcome, a Consult with a Reading, the rest as they say.

Source: notes on DRiP, 4.4 (client contract) and 4.7.
"""

from dataclasses import dataclass
from typing import Final, Literal

from waypost.drip.rumours import State
from waypost.record import Ballot, Committed, Member, Place, Proof, Record, Roster, Vote

OPEN_MAX: Final = 1_000  # votes under way that are told of at once


@dataclass(frozen=True, slots=True)
class Claim:
    """Have a signed record become the next version of its key.  To send the same record again is safe.

    `keeps`: without a quorum in reach it is to wait at this node.  Answered with Unkept where it cannot.
    """

    record: Record
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Unkept:
    """A record is not kept waiting.

    taken: another waits to be the same version; order: it does not follow what is here; author, node: there is no room;
    denied: it may not be voted on.
    """

    cause: Literal["taken", "order", "author", "node", "denied"]
    detail: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Let a record go that waits at this node.

    Answered with its Outcome, which is another than cancelled if something was sent; with None if it is not known here.
    """

    place: Place
    version: int
    txid: str


@dataclass(frozen=True, slots=True)
class Queued:
    """A record that waits at this node; `is_sent`: its voting has begun, and may have come to something."""

    place: Place
    version: int
    txid: str
    author: str
    since_ms: int
    until_ms: int
    is_sent: bool


@dataclass(frozen=True, slots=True)
class Consult:
    """What is committed: as this node knows it, or as a quorum of voters does."""

    place: Place
    quorum: bool


@dataclass(frozen=True, slots=True)
class Settle:
    """What became of a transaction: its vote is closed first, if a quorum can be reached."""

    place: Place
    version: int
    txid: str


@dataclass(frozen=True, slots=True)
class Force:
    """Go by a roster that the operator has forced, where no quorum is left.  Answered with an Outcome."""

    roster: Committed


@dataclass(frozen=True, slots=True)
class Seen:
    """A node of the roster as this one sees it; None is not known (yet), and of itself.

    `heard_s` is how long ago something came from it, `rtt_s` a round trip, `skew_ms` its wall clock less ours.
    """

    member: Member
    is_voter: bool
    state: State | None
    heard_s: float | None
    rtt_s: float | None
    skew_ms: int | None
    wire: int | None
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShowPeers:
    """Who is in the network?  Answered with Peers."""


@dataclass(frozen=True, slots=True)
class Peers:
    """`roster` is what the last `committed` roster says; `name` and `incarnation` are this node's.

    `has_quorum`: so many voters seem to be in reach that what is claimed here may be committed.

    `applicants` have come and may not be let in without the operator, as a voter with a new disk.  `restored` are
    voters that came back with an old disk, each with a vote that it forgot.  `age_s` is how long ago a quorum of
    voters was last heard, None: never.
    """

    network: str
    name: str
    incarnation: int
    state: State
    is_voting: bool
    has_quorum: bool
    committed: Committed
    roster: Roster
    seen: tuple[Seen, ...]
    applicants: tuple[Member, ...]
    restored: dict[str, Vote]
    age_s: float | None


@dataclass(frozen=True, slots=True)
class VoterSaid:
    """A voter's part in a vote under way; `vote` is signed, None if a merge brought what it accepted, or none was."""

    node: str
    promised: Ballot
    accepted: Ballot
    hash: str
    vote: Vote | None


@dataclass(frozen=True, slots=True)
class Open:
    """A vote under way, as this voter knows it; `hash` is of the record that it has accepted, "" if none.

    Where this node calls for the votes, or has asked, `yes` are the voters that have voted so, and `no` those that
    refused, each with its reason; `said` is what each voter told.
    """

    place: Place
    version: int
    promised: Ballot
    accepted: Ballot
    hash: str
    record: Record | None
    yes: tuple[str, ...] = ()
    no: tuple[tuple[str, str], ...] = ()
    said: tuple[VoterSaid, ...] = ()


@dataclass(frozen=True, slots=True)
class ShowVotes:
    """Which votes are under way, and on which keys has voting stopped?  `asks`: of the voters.  Answered with Votes."""

    asks: bool = False


@dataclass(frozen=True, slots=True)
class Votes:
    """`total` counts those under way, of which `open` has the first OPEN_MAX; `alarms` say why a key has stopped.

    `queued` are the first OPEN_MAX of `waiting` records that wait at this node.  `asked` are the nodes that told of
    their votes, and `silent` those that did not answer.
    """

    open: tuple[Open, ...]
    total: int
    alarms: dict[Place, Proof]
    queued: tuple[Queued, ...] = ()
    waiting: int = 0
    asked: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
