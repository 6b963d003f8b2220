"""A gossiped record: what one node accepted, signed with that node's key; the last writer wins.

Order: by (hlc, node), and for a node that signed two records at one time, by hash, so that all agree on one of them.
A record with value None is a tombstone.  Past `expires_ms`, wall-clock time, everybody forgets it, tombstones alike.

Source: design, Contracts 5 and 7; notes on DRiP, 0 (point 9) and 4.10.
"""

from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from waypost.record.hlc import Hlc
from waypost.record.record import Sign
from waypost.record.wire import Count, MaybeSignature, Namespace, NodeName, Version, signed_bytes

KEY_MAX: Final = 1_024  # octets
VALUE_MAX: Final = 64 << 10  # octets
WALL_MAX: Final = (1 << 47) - 1  # milliseconds since 1970, so that an Hlc packs into 64 bits

Order = tuple[int, str, bytes]


class Moment(Struct, frozen=True, gc=False):
    """A time of the node's hybrid logical clock."""

    count: Annotated[int, Meta(ge=0, le=65_535)]
    wall_ms: Annotated[int, Meta(ge=0, le=WALL_MAX)]

    @classmethod
    def of(cls, time: Hlc) -> "Moment":
        return cls(time.count, time.wall_ms)

    @property
    def hlc(self) -> Hlc:
        return Hlc(self.wall_ms, self.count)


class Gossiped(Struct, frozen=True, gc=False):
    """`node`, in this `incarnation`, accepted it.  Octets are base64 in the JSON."""

    namespace: Namespace
    key: Annotated[bytes, Meta(max_length=KEY_MAX)]
    value: Annotated[bytes, Meta(max_length=VALUE_MAX)] | None
    expires_ms: Count
    hlc: Moment
    node: NodeName
    incarnation: Version
    signature: MaybeSignature

    def to_sign(self, network: str) -> bytes:
        return signed_bytes("gossip", network, msgspec.structs.replace(self, signature=""))

    def signed(self, network: str, sign: Sign) -> "Gossiped":
        return msgspec.structs.replace(self, signature=sign(self.to_sign(network)).hex())


def hash_of(to_sign: bytes) -> bytes:
    """Names a record, from what its node signs: 32 octets."""
    return sha256(to_sign).digest()
