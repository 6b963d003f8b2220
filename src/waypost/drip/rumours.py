"""What nodes say to one another beside votes: gossiped records, how they spread, who is there, and what they lack.

On the wire they are items of an array, {"type": "spread", …}: parcel.py.

    spread, have, graft, prune      Plumtree: news along the tree, its ids beside it
    beat                            DRiP's heartbeat, and its answer
    probe, probed                   ask another to look whether a node is there
    roots-request, roots            Merkle roots of the namespaces
    page-request, page              summaries of nodes of a tree
    pull, pulled                    records by the digests of their keys

Octets are base64 in the JSON.

Source: notes on DRiP, 4.3; draft-wendt-modern-drip, which leaves bodies open.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from waypost.drip.merkle import BUCKET_MAX, DIGEST_SIZE, LEAF_SIZE, PAGE_MAX
from waypost.record import Committed, Proof
from waypost.record.gossiped import Gossiped, Moment
from waypost.record.wire import Count, Hash, NodeName, encode

WIRE: Final = 2  # the version of these messages, and of what the roster says: from 2 on it has details (roster.py)
RECORDS_MAX: Final = 512  # in one message
IDS_MAX: Final = 1_024  # in one message
SPACES_MAX: Final = 256
PROOFS_MAX: Final = 16  # in one message

State = Literal["active", "sync", "inactive"]
Id = Annotated[bytes, Meta(min_length=16, max_length=16)]  # of a record: the beginning of its hash
Digest = Annotated[bytes, Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)]
Prefix = Annotated[str, Meta(pattern=r"\A[0-9a-f]{0,64}\Z")]
Records = Annotated[tuple[Gossiped, ...], Meta(max_length=RECORDS_MAX)]
Commits = Annotated[tuple[Committed, ...], Meta(max_length=RECORDS_MAX)]
Space = Annotated[str, Meta(pattern=r"\A(gossiped|voted)/[a-z0-9_][a-z0-9._-]{0,63}\Z")]  # a namespace of either class
News = Gossiped | Committed | Proof
Ids = Annotated[tuple[Id, ...], Meta(max_length=IDS_MAX)]


class Spread(Struct, frozen=True, tag="spread", gc=False):
    """Gossiped records, DRiP's commits, and proofs that a voter signed two records."""

    records: Records
    commits: Commits
    proofs: Annotated[tuple[Proof, ...], Meta(max_length=PROOFS_MAX)]


class Have(Struct, frozen=True, tag="have", gc=False):
    ids: Ids


class Graft(Struct, frozen=True, tag="graft"):
    """Send me these, and from now on whatever is new."""

    ids: Ids


class Prune(Struct, frozen=True, tag="prune"):
    """I hear it from somebody else sooner: tell me only what you have."""


class Beat(Struct, frozen=True, tag="beat"):
    """`count` is the asker's; an answer repeats it.  `root` is over the roots of all namespaces."""

    count: Count
    answer: bool
    state: State
    incarnation: Count
    epoch: Count
    wall_ms: Count
    hlc: Moment
    root: Hash
    wire: Count
    capabilities: Annotated[tuple[Annotated[str, Meta(max_length=32)], ...], Meta(max_length=32)]


class Probe(Struct, frozen=True, tag="probe"):
    target: NodeName


class Probed(Struct, frozen=True, tag="probed"):
    """It answers me."""

    target: NodeName


class RootsRequest(Struct, frozen=True, tag="roots-request"):
    id: Count


class Roots(Struct, frozen=True, tag="roots"):
    id: Count
    roots: Annotated[dict[Space, Hash], Meta(max_length=SPACES_MAX)]


class PageRequest(Struct, frozen=True, tag="page-request"):
    id: Count
    space: Space
    prefixes: Annotated[tuple[Prefix, ...], Meta(max_length=PAGE_MAX)]


class Branch(Struct, frozen=True):
    """merkle.Summary on the wire."""

    prefix: Prefix
    leaves: Annotated[bytes, Meta(max_length=BUCKET_MAX * LEAF_SIZE)]
    children: Annotated[bytes, Meta(max_length=16 * DIGEST_SIZE)]


class Page(Struct, frozen=True, tag="page"):
    id: Count
    branches: Annotated[tuple[Branch, ...], Meta(max_length=PAGE_MAX)]


class Pull(Struct, frozen=True, tag="pull"):
    id: Count
    space: Space
    digests: Annotated[tuple[Digest, ...], Meta(max_length=RECORDS_MAX)]


class Pulled(Struct, frozen=True, tag="pulled"):
    """The first of them that fit into a message; those that are not known any more are left out."""

    id: Count
    records: Records
    commits: Commits


Rumour = (
    Spread | Have | Graft | Prune | Beat | Probe | Probed
    | RootsRequest | Roots | PageRequest | Page | Pull | Pulled
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Whisper:
    """Asked of the peers' transport: bring `messages` to the node of that name.  Any answer is ignored."""

    node: str
    messages: tuple[Rumour, ...]


def spread_of(news: Iterable[News]) -> Spread:
    news = tuple(news)
    return Spread(
        tuple(each for each in news if isinstance(each, Gossiped)),
        tuple(each for each in news if isinstance(each, Committed)),
        tuple(each for each in news if isinstance(each, Proof)),
    )


def size_of(news: News) -> int:
    """Octets of its JSON, about, and not less."""
    if isinstance(news, Gossiped):
        return 512 + 4 * (len(news.key) + len(news.value or b"")) // 3
    return len(encode(news))
