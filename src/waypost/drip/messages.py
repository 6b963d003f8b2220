"""What nodes of the ballot profile say to one another about voted records, in canonical JSON.

On the wire they are items of an array, {"type": "poll", …}: parcel.py.

    poll, promise, nack          phase one of a round above 0: who may propose what
    vote, yes, no                DRiP's vote: a record to vote on, and the signed answer
    commit                       DRiP's commit: a record with the proof that it holds
    read, read-answer            what is committed, asked of a quorum
    roster-request, roster-news  epochs that somebody lacks
    seal-request, seal-snapshot  what a voter of the last epoch had accepted when it stopped voting there
    seal-walk, seal-part         what it knows is committed, where that differs
    history-request, history     older versions of keys, with the proof that each holds
    alarm, restored              proof that a voter signed two records, or forgot what it had signed
    admit                        let me into the roster
    tally-request, tally         who voted what on the votes under way

Source: notes on DRiP, 4.3; draft-wendt-modern-drip, which leaves bodies open.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from waypost.drip.merkle import PAGE_MAX
from waypost.drip.rumours import SPACES_MAX, Branch, Digest, Prefix
from waypost.record import Ballot, Certificate, Committed, Mark, Matter, Member, Place, Proof, Record, Vote
from waypost.record.roster import VOTERS_MAX
from waypost.record.wire import Count, Hash, MaybeSignature, Name, Namespace, NodeName, Version

PARCEL_MAX: Final = 1 << 20  # octets
MESSAGES_MAX: Final = 256  # in one parcel
ROSTERS_MAX: Final = 8  # in one message: the rest is asked for again
ENTRIES_MAX: Final = 256  # of a snapshot's page
WANTED_MAX: Final = 64  # gaps in one question about older versions
VERSIONS_MAX: Final = 128  # in one answer to it
TALLY: Final = "tally"  # the capability of nodes that are asked for one
PARTS_MAX: Final = 128  # votes under way, of those that one voter tells of at once
CALLS_MAX: Final = 32  # of those that it calls for

After = tuple[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=255)]]  # a key, or before all
Reason = Literal["stale", "entitlement", "epoch", "invalid", "stopped", "busy"]


class Proposal(Struct, frozen=True, gc=False):
    """A record and the highest ballot at which a voter accepted it."""

    ballot: Ballot
    record: Record


class Poll(Struct, frozen=True, tag="poll", gc=False):
    """Promise me this ballot for a version; `base` is the version before it."""

    namespace: Namespace
    key: Name
    version: Version
    ballot: Ballot
    base: Committed | None


class Promise(Struct, frozen=True, tag="promise", gc=False):
    """No lower ballot from now on.  `counter` as in a vote's mark."""

    namespace: Namespace
    key: Name
    version: Version
    ballot: Ballot
    counter: Count
    accepted: Proposal | None


class Nack(Struct, frozen=True, tag="nack", gc=False):
    """A no for the ballot's sake: `promised` is higher, or round 0 is spent."""

    namespace: Namespace
    key: Name
    version: Version
    ballot: Ballot
    promised: Ballot


class VoteCall(Struct, frozen=True, tag="vote", gc=False):
    record: Record
    ballot: Ballot
    base: Committed | None


class Yes(Struct, frozen=True, tag="yes", gc=False):
    vote: Vote


class No(Struct, frozen=True, tag="no", omit_defaults=True, gc=False):
    """`committed` is what made the version stale, None where it is the voter that lacks the version before.

    `rosters` are those after the ballot's epoch.

    `final`: this voter has not accepted the record that it was asked about, and in this term never will.
    """

    namespace: Namespace
    key: Name
    version: Version
    ballot: Ballot
    reason: Reason
    detail: Annotated[str, Meta(max_length=255)]
    committed: Committed | None
    rosters: Annotated[tuple[Committed, ...], Meta(max_length=ROSTERS_MAX)]
    final: bool = False


class Commit(Struct, frozen=True, tag="commit", gc=False):
    committed: Committed


class Read(Struct, frozen=True, tag="read"):
    """`id` is the reader's."""

    id: Count
    namespace: Namespace
    key: Name
    epoch: Version


class ReadAnswer(Struct, frozen=True, tag="read-answer"):
    """`open`: something is accepted for the version after the committed one."""

    id: Count
    epoch: Version
    committed: Committed | None
    open: bool


class RosterRequest(Struct, frozen=True, tag="roster-request"):
    after: Version


class RosterNews(Struct, frozen=True, tag="roster-news"):
    """In the order of their epochs."""

    rosters: Annotated[tuple[Committed, ...], Meta(max_length=ROSTERS_MAX)]


class SealRequest(Struct, frozen=True, tag="seal-request", omit_defaults=True):
    """Of a voter of `epoch`: everything after the key `after`.  `successor` is the roster that sealed the epoch.

    `brief`: what was accepted is enough, for trees will tell what else differs.  Nodes of before tell everything.
    """

    epoch: Version
    successor: Committed
    after: After
    brief: bool = False


class Entry(Struct, frozen=True):
    committed: Committed | None
    accepted: Proposal | None


class SealSnapshot(Struct, frozen=True, tag="seal-snapshot", omit_defaults=True):
    """`after` repeats the request; `next` is where to go on, or None at the end.

    `roots`, of a brief one: those of each namespace's tree, as the page was made.
    """

    epoch: Version
    after: After
    entries: Annotated[tuple[Entry, ...], Meta(max_length=ENTRIES_MAX)]
    next: After | None
    roots: Annotated[dict[Namespace, Hash], Meta(max_length=SPACES_MAX)] | None = None


class SealWalk(Struct, frozen=True, tag="seal-walk"):
    """To a sealed voter that told roots: summaries of nodes of a tree, and records by the digests of their keys."""

    id: Count
    epoch: Version
    namespace: Namespace
    prefixes: Annotated[tuple[Prefix, ...], Meta(max_length=PAGE_MAX)]
    digests: Annotated[tuple[Digest, ...], Meta(max_length=ENTRIES_MAX)]


class SealPart(Struct, frozen=True, tag="seal-part"):
    """The first of the records that fit into a message."""

    id: Count
    epoch: Version
    branches: Annotated[tuple[Branch, ...], Meta(max_length=PAGE_MAX)]
    commits: Annotated[tuple[Committed, ...], Meta(max_length=ENTRIES_MAX)]


class Wanted(Struct, frozen=True):
    """Versions of a key, from `high` down to `low`."""

    namespace: Namespace
    key: Name
    high: Version
    low: Version

    @property
    def place(self) -> Place:
        return self.namespace, self.key


class Past(Struct, frozen=True):
    """A version; `record` is None where its value was dropped, and the certificate says which it was."""

    certificate: Certificate
    record: Record | None


class HistoryRequest(Struct, frozen=True, tag="history-request"):
    """Of a node whose heartbeats have the capability `history`; `id` is the asker's."""

    id: Count
    wanted: Annotated[tuple[Wanted, ...], Meta(min_length=1, max_length=WANTED_MAX)]


class History(Struct, frozen=True, tag="history"):
    """As many as fit of what was wanted, in order: of each key from the highest down, as far as there is no gap."""

    id: Count
    versions: Annotated[tuple[Past, ...], Meta(max_length=VERSIONS_MAX)]


class Alarm(Struct, frozen=True, tag="alarm"):
    proof: Proof


class Restored(Struct, frozen=True, tag="restored"):
    """To a voter: you signed this vote, and do not know it any more."""

    vote: Vote


class Admit(Struct, frozen=True, tag="admit"):
    """To a voter, from the node itself: let me in as this.

    `signature` is by its node's key: who has told its keys for TLS is held to it.
    """

    member: Member
    signature: MaybeSignature = ""


class TallyRequest(Struct, frozen=True, tag="tally-request"):
    """`id` is the asker's."""

    id: Count


class Part(Struct, frozen=True):
    """A voter's, of a vote under way: `matter` is what it accepted, and `mark` its vote unless a merge brought that."""

    namespace: Namespace
    key: Name
    version: Version
    promised: Ballot
    matter: Matter | None
    mark: Mark | None


class Called(Struct, frozen=True):
    """A vote that the teller calls for: who said yes to `matter`, and who no, each with its reason."""

    namespace: Namespace
    key: Name
    version: Version
    ballot: Ballot
    matter: Matter | None
    yes: Annotated[tuple[Mark, ...], Meta(max_length=VOTERS_MAX)]
    no: Annotated[tuple[tuple[NodeName, Annotated[str, Meta(max_length=255)]], ...], Meta(max_length=VOTERS_MAX)]


class TallyAnswer(Struct, frozen=True, tag="tally"):
    """`total` is of the votes under way, of which `parts` has the first."""

    id: Count
    parts: Annotated[tuple[Part, ...], Meta(max_length=PARTS_MAX)]
    calls: Annotated[tuple[Called, ...], Meta(max_length=CALLS_MAX)]
    total: Count


Message = (
    Poll | Promise | Nack | VoteCall | Yes | No | Commit | Read | ReadAnswer
    | RosterRequest | RosterNews | SealRequest | SealSnapshot | SealWalk | SealPart
    | HistoryRequest | History | Alarm | Restored | Admit | TallyRequest | TallyAnswer
)  # fmt: skip


def place_of(message: Poll | Promise | Nack | No | Read) -> Place:
    return message.namespace, message.key


def records_in(message: Struct) -> list[Record]:
    """Those that a voter would keep."""
    held: list[Committed | Proposal | None]
    match message:
        case VoteCall():
            return [message.record] + ([message.base.record] if message.base else [])
        case Poll():
            held = [message.base]
        case Promise():
            held = [message.accepted]
        case No():
            held = [message.committed, *message.rosters]
        case Commit() | ReadAnswer():
            held = [message.committed]
        case RosterNews():
            held = [*message.rosters]
        case SealRequest():
            held = [message.successor]
        case SealSnapshot():
            held = [item for entry in message.entries for item in (entry.committed, entry.accepted)]
        case SealPart():
            held = [*message.commits]
        case History():
            return [past.record for past in message.versions if past.record is not None]
        case _:
            return []
    return [item.record for item in held if item is not None]
