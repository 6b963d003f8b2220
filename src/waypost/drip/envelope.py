"""What a node says to one that it cannot reach, for others to pass on; signed, for they need not be trusted.

    envelope  messages about votes, from `sender` in its `incarnation` to `target`

`count` only grows, and `sent_ms` is wall-clock time: who has heard an envelope does not hear it again.  An envelope
holds no other.

Source: notes on DRiP, 1.9 (G8) and 4.3.
"""

from dataclasses import dataclass
from typing import Annotated, Final, get_args

import msgspec
from msgspec import Meta, Struct

from waypost.drip.messages import (
    MESSAGES_MAX,
    PARCEL_MAX,
    Nack,
    No,
    Poll,
    Promise,
    Read,
    ReadAnswer,
    Restored,
    RosterNews,
    RosterRequest,
    SealRequest,
    SealSnapshot,
    VoteCall,
    Yes,
)
from waypost.record import Sign
from waypost.record.wire import Count, MaybeSignature, NodeName, Version, signed_bytes

ENVELOPE_MAX: Final = PARCEL_MAX - 1_024  # octets of its messages

Relayed = (
    Poll | Promise | Nack | VoteCall | Yes | No | Read | ReadAnswer
    | RosterRequest | RosterNews | SealRequest | SealSnapshot | Restored
)  # fmt: skip
RELAYED: Final = frozenset(get_args(Relayed))


class Envelope(Struct, frozen=True, tag="envelope"):
    sender: NodeName
    incarnation: Version
    target: NodeName
    count: Count
    sent_ms: Count
    messages: Annotated[tuple[Relayed, ...], Meta(min_length=1, max_length=MESSAGES_MAX)]
    signature: MaybeSignature

    def to_sign(self, network: str) -> bytes:
        return signed_bytes("envelope", network, msgspec.structs.replace(self, signature=""))

    def signed(self, network: str, sign: Sign) -> "Envelope":
        return msgspec.structs.replace(self, signature=sign(self.to_sign(network)).hex())


@dataclass(frozen=True, slots=True)
class Pass:
    """Asked of the peers' transport: bring `envelope` to `node`, its target or who is to pass it on; it may be lost."""

    node: str
    envelope: Envelope
