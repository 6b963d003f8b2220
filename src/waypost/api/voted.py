"""The bodies of the HTTP API that are about voted records, who votes, and what is voted on.

Records, certificates, rosters and proofs are the mesh's own, so that whoever reads them can check them: `record/`.

Source: notes on DRiP, 4.2, 4.4 (client contract) and 4.7.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from waypost.api.schemas import Problem
from waypost.record import Ballot, Certificate, Committed, Member, Proof, Record, Roster, Vote

RESPOND_ASYNC: Final = "respond-async"  # of a Prefer header (RFC 7240, 4.1)
TRANSACTION: Final = "A transaction is the txid of a record, of 32 hexadecimal digits."

State = Literal["committed", "lost", "denied", "unknown", "pending", "expired", "cancelled"]
RecordEventKind = Literal["put", "reset", "synced", "heartbeat"]
Seconds = Annotated[float | None, Meta(description="Since a quorum of voters was last heard; null: never.")]


class Next(Struct, frozen=True):
    """What is needed to make the next version of a key.

    `prev` is the hash of the version before it, empty for the first.  `home` is the node that may bring what follows
    to a vote in one round trip; any voter will do.
    """

    network: str
    version: int
    prev: str
    home: str


class Standing(Struct, frozen=True):
    """A voted record as it stands, and by whose votes; only a network's first roster has no certificate.

    A record whose value is null is a tombstone: the key is known, and has nothing.
    """

    record: Record
    certificate: Certificate | None
    age_s: Seconds
    next: Next


class Claimed(Struct, frozen=True, omit_defaults=True):
    """What became of a record that was to be the next version of its key.

    committed: it is; lost: another is, or it never can be; denied: it may not be; unknown: it may yet be, and `status`
    is where to ask.  pending: the node keeps it until a quorum is in reach; expired, cancelled: it kept it, and never
    sent it.  `expires_ms` is when one of which nothing was sent expires, milliseconds since 1970.  `current` is what is
    committed as far as the node knows.
    """

    state: State
    namespace: str
    key: str
    version: int
    txid: str
    reason: str = ""
    status: str = ""
    current: Committed | None = None
    expires_ms: int | None = None


class Contested(Problem, frozen=True, omit_defaults=True):
    """A problem with a voted record: `current` stands in its place, and `next` is what a next version needs."""

    state: State | None = None
    current: Committed | None = None
    next: Next | None = None


class Records(Struct, frozen=True):
    """A page of records or of versions; `next` is the following one's URL, or null."""

    records: tuple[Committed, ...]
    next: str | None


class RecordEvent(Struct, frozen=True, omit_defaults=True):
    """A line of the feed of voted records; `token` resumes after it.

    put: `record` is committed, by this `certificate`; reset: forget what you have, a snapshot follows; synced: you have
    all there is; heartbeat: nothing has happened.
    """

    event: RecordEventKind
    token: str | None = None
    record: Record | None = None
    certificate: Certificate | None = None
    detail: str | None = None


class PeerSeen(Struct, frozen=True):
    """A node of the roster as this one sees it; null is not known, and of the node itself.

    `heard_s` is how long ago something came from it, `rtt_s` a round trip, `skew_ms` its wall clock less ours.
    """

    name: str
    organisation: str
    url: str
    incarnation: int
    voter: bool
    state: str | None
    heard_s: float | None
    rtt_s: float | None
    skew_ms: int | None
    wire: int | None
    capabilities: tuple[str, ...]


class Peers(Struct, frozen=True):
    """The network as this node, `name`, sees it; `roster` is what the `committed` record says.

    `has_quorum`: so many voters seem to be in reach that what is claimed here may be committed.
    `applicants` have come and may not be let in without the operator.  `restored` are voters that came back with an old
    disk, each with a vote that it forgot.
    """

    network: str
    name: str
    incarnation: int
    state: str
    is_voting: bool
    has_quorum: bool
    age_s: Seconds
    roster: Roster
    committed: Committed
    peers: tuple[PeerSeen, ...]
    applicants: tuple[Member, ...]
    restored: dict[str, Vote]


class VoterSaid(Struct, frozen=True):
    """What a voter tells of its part in a vote under way: what it promised, and which record it accepted.

    `vote` is signed by the voter; null where it accepted nothing, or was told what to when it came to vote.
    """

    name: str
    promised: Ballot
    accepted: Ballot
    hash: str
    vote: Vote | None


class OpenVote(Struct, frozen=True):
    """A vote under way as this voter knows it: what it promised, and whose record it accepted at which ballot.

    `hash` is of the record accepted, and empty with a ballot of zeros where none is.  Where this node calls for the
    votes, or has asked the voters, `yes` are those that have voted so, and `no` those that refused, each with its
    reason; `voters` is what each told.
    """

    namespace: str
    key: str
    version: int
    promised: Ballot
    accepted: Ballot
    hash: str
    record: Record | None
    yes: tuple[str, ...] = ()
    no: tuple[tuple[str, str], ...] = ()
    voters: tuple[VoterSaid, ...] = ()


class Alarm(Struct, frozen=True):
    """Voting on a key has stopped, for voters have signed two records, as the `proof` shows."""

    namespace: str
    key: str
    proof: Proof


class Intent(Struct, frozen=True):
    """A record that waits at this node until a quorum is in reach.

    It came at `since_ms`, and expires at `expires_ms` unless it was `sent`: then it is brought to an end.  Milliseconds
    since 1970.
    """

    namespace: str
    key: str
    version: int
    txid: str
    author: str
    since_ms: int
    expires_ms: int
    sent: bool


class Votes(Struct, frozen=True):
    """`total` counts those under way, of which `open` has the first; `queued` are the first of `waiting` records.

    If the voters were asked, `asked` are the nodes that told of their votes, and `silent` those that did not answer.
    """

    open: tuple[OpenVote, ...]
    total: int
    alarms: tuple[Alarm, ...]
    queued: tuple[Intent, ...] = ()
    waiting: int = 0
    asked: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
