"""A voted record: one version of one key, signed by its author.

Whoever holds a key is a public key; the author signs all fields but the signature, with the network's id.  A record
with value None is a tombstone: a version like any other, for keys are never forgotten.

A key changes hands with two signatures: the taker signs the Transfer, at any time while the version before it stands,
and the giver the record, which says the same and has the taker's signature in it.

Source: notes on DRiP, 4.2 and 5.4; design, Contracts 6 and 7.
"""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from waypost.errors import WireError
from waypost.record.hlc import Hlc
from waypost.record.wire import (
    Count,
    MaybeHash,
    MaybeKey,
    MaybeSignature,
    Name,
    Namespace,
    NodeName,
    PublicKey,
    TransactionId,
    Version,
    decode,
    encode,
    hash_of,
    signed_bytes,
)

Sign = Callable[[bytes], bytes]  # 64 octets for a message: Ed25519PrivateKey.sign, or a stand-in
Place = tuple[str, str]  # namespace and key: what is voted on

ROSTER: Final[Place] = ("_network", "roster")

RECORD_MAX: Final = 32 << 10  # octets of a record in canonical JSON
SURELY_FITS: Final = 4 << 10  # characters of a value: each has six octets at most, and so have those of a key
ROSTER_RECORD_MAX: Final = 52 << 10  # the same of a roster: with 31 votes for it, it still fits an entry of a log
CITED_MAX: Final = 16


class Stamp(Struct, frozen=True, gc=False):
    """A time of the author's hybrid logical clock, for people and audits: safety never rests on it."""

    count: Annotated[int, Meta(ge=0, le=65_535)]
    wall_ms: Count

    @classmethod
    def of(cls, time: Hlc) -> "Stamp":
        return cls(time.count, time.wall_ms)


class Cited(Struct, frozen=True, gc=False):
    """A version of another key that a record relies on."""

    namespace: Namespace
    key: Name
    version: Version


class Transfer(Struct, frozen=True):
    """A key goes from one holder to another, in this version, after the one whose hash is `prev`, and in no other."""

    namespace: Namespace
    key: Name
    version: Version
    prev: MaybeHash
    giver: PublicKey
    taker: PublicKey

    def to_sign(self, network: str) -> bytes:
        return signed_bytes("transfer", network, self)


class Record(Struct, frozen=True, omit_defaults=True, gc=False):
    """`holder` may change it next; `home` is the node that may propose the next version in one round trip.

    `prev` is the hash of the version before, "" for the first.  `taken` is a new holder's signature of the Transfer;
    where the holder stays it is "", and not in the record's bytes, as it was not before there was such a thing.
    """

    namespace: Namespace
    key: Name
    version: Version
    prev: MaybeHash
    holder: PublicKey
    home: NodeName
    value: str | None
    author: MaybeKey
    hlc: Stamp
    txid: TransactionId
    cites: Annotated[tuple[Cited, ...], Meta(max_length=CITED_MAX)]
    signature: MaybeSignature
    taken: MaybeSignature = ""

    @property
    def place(self) -> Place:
        return self.namespace, self.key

    def hash(self, network: str) -> str:
        """Names this version in votes and in the `prev` of the next."""
        return hash_of("record", network, self)

    def to_sign(self, network: str) -> bytes:
        return signed_bytes("record", network, msgspec.structs.replace(self, signature=""))

    def transfer(self, giver: str) -> Transfer:
        """From the holder of the version before."""
        return Transfer(self.namespace, self.key, self.version, self.prev, giver, self.holder)

    def signed(self, network: str, sign: Sign) -> "Record":
        return msgspec.structs.replace(self, signature=sign(self.to_sign(network)).hex())

    def encode(self) -> bytes:
        return encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "Record":
        record = decode(data, _decoder, ROSTER_RECORD_MAX)
        record.require_sound()
        return record

    def require_sound(self) -> None:
        """Raises WireError for what the types of the fields cannot say."""
        if (self.version == 1) != (self.prev == ""):
            raise WireError("a first version has no version before it, and every other has")
        if not self.cites and len(self.value or "") <= SURELY_FITS:
            return
        most = ROSTER_RECORD_MAX if self.place == ROSTER else RECORD_MAX
        if len(encode(self)) > most:
            raise WireError(f"a record has {most} octets at most")


_decoder: Final = msgspec.json.Decoder(Record)
