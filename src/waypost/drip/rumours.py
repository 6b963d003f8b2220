"""What nodes say to one another beside votes: gossiped records, how they spread, who is there, and what they lack.

A parcel carries messages of one network: {"messages": [{"type": "spread", …}, …], "network": "<64 digits>"}.

    spread, have, graft, prune      Plumtree: records along the tree, their ids beside it
    beat                            DRiP's heartbeat, and its answer
    probe, probed                   ask another to look whether a node is there
    roots-request, roots            Merkle roots of the namespaces
    page-request, page              summaries of nodes of a tree
    pull, pulled                    records by the digests of their keys

Octets are base64 in the JSON.

Source: notes on DRiP, 4.3; draft-wendt-modern-drip, which leaves bodies open.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from waypost.drip.merkle import BUCKET_MAX, DIGEST_SIZE, LEAF_SIZE, PAGE_MAX
from waypost.errors import WireError
from waypost.record.gossiped import Gossiped, Moment
from waypost.record.wire import Count, Hash, Namespace, NodeName, decode, encode

WIRE: Final = 1  # the version of these messages
PARCEL_MAX: Final = 1 << 20  # octets
MESSAGES_MAX: Final = 256  # in one parcel
RECORDS_MAX: Final = 512  # in one message
IDS_MAX: Final = 1_024  # in one message
NAMESPACES_MAX: Final = 64

State = Literal["active", "sync", "inactive"]
Id = Annotated[bytes, Meta(min_length=16, max_length=16)]  # of a record: the beginning of its hash
Digest = Annotated[bytes, Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)]
Prefix = Annotated[str, Meta(pattern=r"\A[0-9a-f]{0,64}\Z")]
Records = Annotated[tuple[Gossiped, ...], Meta(max_length=RECORDS_MAX)]
Ids = Annotated[tuple[Id, ...], Meta(max_length=IDS_MAX)]


class Spread(Struct, frozen=True, tag="spread"):
    records: Records


class Have(Struct, frozen=True, tag="have"):
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
    roots: Annotated[dict[Namespace, Hash], Meta(max_length=NAMESPACES_MAX)]


class PageRequest(Struct, frozen=True, tag="page-request"):
    id: Count
    namespace: Namespace
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
    namespace: Namespace
    digests: Annotated[tuple[Digest, ...], Meta(max_length=RECORDS_MAX)]


class Pulled(Struct, frozen=True, tag="pulled"):
    """The first of them that fit into a message; those that are not known any more are left out."""

    id: Count
    records: Records


Rumour = (
    Spread | Have | Graft | Prune | Beat | Probe | Probed
    | RootsRequest | Roots | PageRequest | Page | Pull | Pulled
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Whisper:
    """Asked of the peers' transport: bring `messages` to the node of that name.  Any answer is ignored."""

    node: str
    messages: tuple[Rumour, ...]


class _Parcel(Struct, frozen=True):
    messages: Annotated[tuple[Rumour, ...], Meta(max_length=MESSAGES_MAX)]
    network: Hash


_decoder: Final = msgspec.json.Decoder(_Parcel)


def encode_parcel(network: str, messages: tuple[Rumour, ...]) -> bytes:
    return encode(_Parcel(messages, network))


def decode_parcel(network: str, data: bytes) -> tuple[Rumour, ...]:
    """Raises WireError, and nothing else, for bytes that are no parcel, or of another network."""
    parcel = decode(data, _decoder, PARCEL_MAX)
    if parcel.network != network:
        raise WireError("the parcel is of another network")
    return parcel.messages
