"""Who votes: the roster of one epoch, and the network that the first of them founds.

A roster is itself a voted record, of the key ROSTER, whose version is the epoch and whose value is the roster in
canonical JSON.  The first has no votes: the network's id is its hash, so whoever knows the id knows it.

A roster that would not fit a record so is packed: "deflate:" and the base64 of the JSON, compressed (RFC 1951).  So
hundreds of members have room, and it goes wherever a record goes: into a message, a log, a call of the draft.

Nodes whose wire version is below DETAILED read neither what a member says of itself past its organisation nor what is
packed: they take no JSON but the one that they would write.  A roster has neither before all of its members read both.
From then on fields that are not known here are passed over, so that the next ones do not need this again.

Source: notes on DRiP, 4.2, 4.4 and 4.9; the home of a new key by highest random weight (Thaler and Ravishankar, 1998).
"""

import base64
import zlib
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from waypost.canonical import parse_canonical
from waypost.errors import WireError
from waypost.record.record import RECORD_MAX, Place, Record, Stamp
from waypost.record.record import ROSTER as ROSTER
from waypost.record.wire import Hash, Namespace, NodeName, PublicKey, Version, encode

VOTERS_MAX: Final = 31
LEARNERS_MAX: Final = 256
CREATORS_MAX: Final = 64
CAPABILITIES_MAX: Final = 16  # of one member
TLS_KEYS_MAX: Final = 2  # the one that it has, and the next or the last
ROSTER_MAX: Final = 256 << 10  # octets in canonical JSON
PLAIN_MAX: Final = RECORD_MAX - 1_024  # octets of the JSON as text in a record; a longer one is packed
PACKED: Final = "deflate:"
DETAILED: Final = 2  # the wire version from which a node reads details and packed rosters

Capability = Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,32}\Z")]


class Member(Struct, frozen=True, omit_defaults=True):
    """A node, from one installation to the next: one that lost its disk comes back as another `incarnation`.

    Its details: what of our wire it speaks, and the SHA-256 of the SubjectPublicKeyInfo of its keys for TLS; without
    any it is known by the name in its certificate.
    """

    name: NodeName
    incarnation: Version
    key: PublicKey  # of the node, which signs its votes
    url: Annotated[str, Meta(max_length=255)]
    organisation: Annotated[str, Meta(max_length=64)]
    wire: Version = 1
    capabilities: Annotated[tuple[Capability, ...], Meta(max_length=CAPABILITIES_MAX)] = ()
    tls: Annotated[tuple[Hash, ...], Meta(max_length=TLS_KEYS_MAX)] = ()

    @property
    def plain(self) -> "Member":
        """Without details."""
        return msgspec.structs.replace(self, wire=1, capabilities=(), tls=())


class Creator(Struct, frozen=True):
    """Whoever has `key` may make new keys of the namespace that begin with `prefix`."""

    namespace: Namespace
    prefix: Annotated[str, Meta(max_length=255)]
    key: PublicKey


class Policy(Struct, frozen=True):
    """`quorum`: how many votes commit; less than a majority, as 0, means a majority.

    `operator` holds the first roster and may make any key.
    """

    operator: PublicKey
    quorum: Annotated[int, Meta(ge=0, le=VOTERS_MAX)]
    creators: Annotated[tuple[Creator, ...], Meta(max_length=CREATORS_MAX)]


class Forced(Struct, frozen=True):
    """The operator's word where no quorum of the last voters is left: what they had committed may be lost.

    Before a voter of this roster votes, it is told by all the `sources`, nodes of the last one, what they have.
    """

    sources: Annotated[tuple[NodeName, ...], Meta(max_length=VOTERS_MAX)]


class Roster(Struct, frozen=True, omit_defaults=True):
    """`forced` is of this epoch alone: the next roster is voted on again."""

    epoch: Version
    voters: Annotated[tuple[Member, ...], Meta(min_length=1, max_length=VOTERS_MAX)]
    learners: Annotated[tuple[Member, ...], Meta(max_length=LEARNERS_MAX)]
    policy: Policy
    forced: Forced | None = None

    @property
    def quorum(self) -> int:
        """Any two of so many voters have one in common."""
        return max(len(self.voters) // 2 + 1, self.policy.quorum)

    @property
    def members(self) -> tuple[Member, ...]:
        return self.voters + self.learners

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    @property
    def has_details(self) -> bool:
        """So every one of its members reads them."""
        return any(member.wire > 1 or member.capabilities or member.tls for member in self.members)

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    def voter(self, name: str) -> Member | None:
        for member in self.voters:  # every mark asks
            if member.name == name:
                return member
        return None

    def votes_on(self, after: "Roster") -> bool:
        """Whether the next one has the same voters, in any order, and policy: it goes on with the votes of this one."""
        voters, others = ({(each.name, each.incarnation, each.key) for each in it.voters} for it in (self, after))
        return voters == others and self.policy == after.policy and after.forced is None

    def home(self, place: Place) -> str:
        """Of a key that does not exist yet."""
        text = "/".join(place).encode()
        return max(self.voters, key=lambda member: sha256(member.name.encode() + b"\n" + text).digest()).name

    def encode(self) -> bytes:
        return encode(self)

    @property
    def text(self) -> str:
        """The value of its record."""
        data = self.encode()
        text = data.decode()
        return text if len(encode(text)) <= PLAIN_MAX else PACKED + _packed(data)

    @property
    def is_packed(self) -> bool:
        return self.text.startswith(PACKED)

    @classmethod
    def decode(cls, data: bytes) -> "Roster":
        """Of canonical JSON, with fields in it that are not known here, perhaps.  Raises WireError."""
        if len(data) > ROSTER_MAX:
            raise WireError(f"a roster has {ROSTER_MAX} octets at most")
        try:
            roster = _decoder.decode(data)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise WireError("the bytes are not of the format") from error
        if roster.encode() != data:
            parse_canonical(data)
        roster.require_sound()
        return roster

    @classmethod
    def of(cls, text: str) -> "Roster":
        """The value of a record.  Raises WireError."""
        return cls.decode(_unpacked(text) if text.startswith(PACKED) else text.encode(errors="surrogatepass"))

    def require_sound(self) -> None:
        """Raises WireError for what the types of the fields cannot say."""
        if len(set(self.nodes)) != len(self.nodes):
            raise WireError("a roster names each node once")
        if len({member.key for member in self.voters}) != len(self.voters):
            raise WireError("no two voters have the same key")
        if self.policy.quorum > len(self.voters):
            raise WireError("the quorum is larger than the electorate")
        if self.forced is not None and len(set(self.forced.sources)) != len(self.forced.sources):
            raise WireError("a forced roster names each source once")


_decoder: Final = msgspec.json.Decoder(Roster)


@lru_cache(maxsize=16)
def _decoded(value: str) -> Roster:
    """The same few rosters are looked at for every new key.  Most members are as they were in the epoch before."""
    roster = Roster.of(value)
    voters, learners = (tuple(map(_known, members)) for members in (roster.voters, roster.learners))
    return msgspec.structs.replace(roster, voters=voters, learners=learners)


@lru_cache(maxsize=2 * (VOTERS_MAX + LEARNERS_MAX))
def _known(member: Member) -> Member:
    """An equal one, which other rosters have: a node keeps those of all epochs."""
    return member


def _packed(data: bytes) -> str:
    deflate = zlib.compressobj(9, wbits=-15)
    return base64.b64encode(deflate.compress(data) + deflate.flush()).decode()


def _unpacked(text: str) -> bytes:
    """As many octets as a roster may have, whatever it says.  Raises WireError."""
    inflate = zlib.decompressobj(wbits=-15)
    try:
        data = inflate.decompress(base64.b64decode(text.removeprefix(PACKED), validate=True), ROSTER_MAX + 1)
    except (ValueError, zlib.error) as error:  # base64's errors are ValueErrors
        raise WireError("the roster is not packed as it must be") from error
    if not inflate.eof or inflate.unused_data:
        raise WireError("the packed roster is too large, or cut short, or goes on")
    return data


def network_of(first: Roster) -> str:
    """The network's id: 64 hexadecimal digits that name its first roster."""
    return sha256(b"waypost network v1\n" + encode(first)).hexdigest()


def first_record(first: Roster) -> Record:
    """The record of a network's first roster: nobody signs it, for the network's id vouches for it."""
    namespace, key = ROSTER
    return Record(
        namespace=namespace,
        key=key,
        version=1,
        prev="",
        holder=first.policy.operator,
        home=first.voters[0].name,
        value=first.text,
        author="",
        hlc=Stamp(0, 0),
        txid="0" * 32,
        cites=(),
        signature="",
    )


def roster_in(record: Record) -> Roster:
    """The roster that a record of the key ROSTER holds.  Raises WireError."""
    if record.place != ROSTER or record.value is None:
        raise WireError("the record holds no roster")
    roster = _decoded(record.value)
    if roster.epoch != record.version:
        raise WireError("a roster's epoch is the version of its record")
    return roster
