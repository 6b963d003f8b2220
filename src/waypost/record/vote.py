"""Votes, and certificates made of them: anybody can check who committed what, without asking.

    a ballot       which attempt at a version it is; later ones compare higher
    a matter       what is voted on: one record, at one ballot
    a mark         one voter's signature of the matter, with its incarnation and its count of votes and promises
    a vote         a matter and one mark
    a certificate  a matter and a quorum of marks: proof that the record is committed
    a proof        two certificates, or two votes of one voter, that cannot both be honest

A roster that the operator forces has one mark, by the operator, at the ballot (epoch before, 0, ""): no node casts it.

`counter` only grows on a voter's disk: one that comes back lower was restored from an old copy (design, Contracts 7).

Source: notes on DRiP, 4.2, 4.4 (rule 5) and 4.8.
"""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from waypost.errors import WireError
from waypost.record.record import Place, Record, Sign
from waypost.record.roster import ROSTER, VOTERS_MAX, Roster, first_record, roster_in
from waypost.record.wire import (
    Count,
    Hash,
    MaybeHash,
    Name,
    Namespace,
    NodeName,
    Signature,
    Version,
    decode,
    encode,
)

Verify = Callable[[bytes, bytes, bytes], bool]  # public key, signature, message: identity.keys.verifies, or a stand-in

CERTIFICATE_MAX: Final = 16 << 10  # octets in canonical JSON


class Ballot(Struct, frozen=True, order=True, array_like=True, gc=False):
    """Compared in this order.  Round 0 belongs to the record's home; NEVER is below all that are cast.

    `epoch` is the first of those with one electorate: a roster with the same voters goes on with their ballots.
    """

    epoch: Count
    round: Count
    node: Annotated[str, Meta(pattern=r"\A(?:[A-Za-z0-9][A-Za-z0-9._-]{0,62})?\Z")]


NEVER: Final = Ballot(0, 0, "")
OPERATOR: Final = "operator"  # who marks what is forced


class Matter(Struct, frozen=True, gc=False):
    namespace: Namespace
    key: Name
    version: Version
    prev: MaybeHash
    hash: Hash
    ballot: Ballot

    @property
    def place(self) -> Place:
        return self.namespace, self.key

    @property
    def is_forced(self) -> bool:
        return self.ballot.node == ""

    @classmethod
    def of(cls, record: Record, ballot: Ballot, network: str) -> "Matter":
        return cls(record.namespace, record.key, record.version, record.prev, record.hash(network), ballot)


class Mark(Struct, frozen=True, gc=False):
    voter: NodeName
    incarnation: Version
    counter: Count
    signature: Signature


class Vote(Struct, frozen=True, gc=False):
    matter: Matter
    mark: Mark


class Certificate(Struct, frozen=True, gc=False):
    """Marks by distinct voters of the ballot's epoch, ordered by voter."""

    matter: Matter
    marks: Annotated[tuple[Mark, ...], Meta(min_length=1, max_length=VOTERS_MAX)]

    def encode(self) -> bytes:
        return encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "Certificate":
        return decode(data, _decoder, CERTIFICATE_MAX)


class Committed(Struct, frozen=True, gc=False):
    """A record and why it holds.  Only a network's first roster has no certificate."""

    record: Record
    certificate: Certificate | None

    def encode(self) -> bytes:
        return encode(self)


class Proof(Struct, frozen=True, gc=False):
    first: Certificate
    second: Certificate


_decoder: Final = msgspec.json.Decoder(Certificate)


def to_sign(matter: Matter, voter: str, incarnation: int, counter: int, network: str) -> bytes:
    return _to_sign(encode(matter), voter, incarnation, counter, network)


def _to_sign(matter: bytes, voter: str, incarnation: int, counter: int, network: str) -> bytes:
    """What signed_bytes() makes of the four; the matter is spelled once for all its marks."""
    value = b'{"counter":%d,"incarnation":%d,"matter":%b,"voter":%b}' % (counter, incarnation, matter, encode(voter))
    return b'waypost signature v1 vote\n{"network":%b,"value":%b}' % (encode(network), value)


def cast(matter: Matter, voter: str, incarnation: int, counter: int, network: str, sign: Sign) -> Mark:
    signature = sign(to_sign(matter, voter, incarnation, counter, network))
    return Mark(voter, incarnation, counter, signature.hex())


def is_marked(
    matter: Matter, mark: Mark, roster: Roster, network: str, verify: Verify, spelled: bytes | None = None
) -> bool:
    """Whether a voter of the ballot's roster signed it, in its present incarnation; or the operator, what is forced.

    `spelled` is the matter's canonical JSON, where it is known.
    """
    if matter.is_forced:
        return _is_forced(matter, mark, roster, network, verify)
    member = roster.voter(mark.voter)
    if member is None or member.incarnation != mark.incarnation or roster.epoch != matter.ballot.epoch:
        return False
    message = _to_sign(spelled or encode(matter), mark.voter, mark.incarnation, mark.counter, network)
    return verify(bytes.fromhex(member.key), bytes.fromhex(mark.signature), message)


def _is_forced(matter: Matter, mark: Mark, roster: Roster, network: str, verify: Verify) -> bool:
    if matter.place != ROSTER or matter.ballot != Ballot(roster.epoch, 0, "") or matter.version != roster.epoch + 1:
        return False
    message = to_sign(matter, OPERATOR, 1, 1, network)
    is_its = (mark.voter, mark.incarnation, mark.counter) == (OPERATOR, 1, 1)
    return is_its and verify(bytes.fromhex(roster.policy.operator), bytes.fromhex(mark.signature), message)


def is_certified(certificate: Certificate, roster: Roster, network: str, verify: Verify, quorum: int) -> bool:
    """Whether `quorum` distinct voters marked it, and nobody else did.

    More marks than a quorum are refused, so nobody is made to verify more than that.  What is forced has one.
    """
    if certificate.matter.is_forced:
        quorum = 1
    matter, voters = certificate.matter, [mark.voter for mark in certificate.marks]
    if len(voters) != quorum or voters != sorted(set(voters)):
        return False
    spelled = encode(matter)
    return all(is_marked(matter, mark, roster, network, verify, spelled) for mark in certificate.marks)


def require_committed(committed: Committed, roster: Roster, network: str, verify: Verify, quorum: int) -> None:
    """Raises WireError unless the record is what the certificate certifies; `roster` is of the ballot's epoch."""
    record, certificate = committed.record, committed.certificate
    if certificate is None:
        raise WireError("there is no certificate")
    if certificate.matter != Matter.of(record, certificate.matter.ballot, network):
        raise WireError("the certificate is of another record")
    if record.place == ROSTER and certificate.matter.ballot.epoch >= record.version:
        raise WireError("a roster is voted on by one before it")
    if not is_certified(certificate, roster, network, verify, quorum):
        raise WireError("the certificate has no quorum of valid votes")
    if certificate.matter.is_forced:
        _require_forced(record, roster, network, verify)


def _require_forced(record: Record, before: Roster, network: str, verify: Verify) -> None:
    operator, signature = before.policy.operator, bytes.fromhex(record.signature)
    if record.author != operator or not verify(bytes.fromhex(operator), signature, record.to_sign(network)):
        raise WireError("a forced roster is signed by the operator")
    if roster_in(record).forced is None:
        raise WireError("a forced roster says that it is")


def founding(first: Roster) -> Committed:
    """The network's first roster."""
    return Committed(first_record(first), None)


def forced(record: Record, network: str, sign: Sign) -> Committed:
    """A roster that says it is forced, by the operator that signed it: no voter is asked."""
    matter = Matter.of(record, Ballot(record.version - 1, 0, ""), network)
    return Committed(record, Certificate(matter, (cast(matter, OPERATOR, 1, 1, network, sign),)))


def is_proof(proof: Proof, rosters: "Callable[[int], Roster | None]", network: str, verify: Verify) -> bool:
    """Whether two certificates contradict each other, or one voter marked two records at one ballot.

    They do when they are of one version, or when the later does not follow the earlier.
    """
    first, second = proof.first.matter, proof.second.matter
    same_version = first.version == second.version and first.hash != second.hash
    forked = second.version == first.version + 1 and second.prev != first.hash
    if first.place != second.place or not (same_version or forked):
        return False
    for certificate in (proof.first, proof.second):
        roster = rosters(certificate.matter.ballot.epoch)
        if roster is None or not all(
            is_marked(certificate.matter, mark, roster, network, verify) for mark in certificate.marks
        ):
            return False
    seconds = {(mark.voter, mark.incarnation) for mark in proof.second.marks}
    if same_version and first.ballot == second.ballot:
        return any((mark.voter, mark.incarnation) in seconds for mark in proof.first.marks)
    return all(_has_quorum(certificate, rosters) for certificate in (proof.first, proof.second))


def _has_quorum(certificate: Certificate, rosters: "Callable[[int], Roster | None]") -> bool:
    roster = rosters(certificate.matter.ballot.epoch)
    if certificate.matter.is_forced:
        return True
    return roster is not None and len({mark.voter for mark in certificate.marks}) >= roster.quorum
