"""What shows a stranger that a log, a witness or a signer has lied, and what does not.

A key of type 0x01 accuses the log whose origin is the key's name; one of type 0x04 or 0x06 the witness that cosigned
both heads, whoever's log it is (proof 4).  The file tells which keys it is about, and whoever checks it must trust each
of them from elsewhere: a vkey in the file itself vouches for nothing.  A statement names its signer, who is accused.

A link was entered after its cosigner signed it.  The log's own cosigner is believed against it; of others as many
are wanted as make a quorum, and the earliest of their times counts.  An honest log holds no link with a time by anybody
but its own cosigner, and takes no statement that is older than its links say (statement.py), so nobody frames it.

A failed proof, silence, and a head of no entries show nothing.

Source: notes on the ledger, 0 (L3, L7) and 5 (proofs 1 to 5; SOUND-EVIDENCE).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Protocol

from waypost.errors import ProofError, WireError
from waypost.ledger import entry, exhibit
from waypost.ledger.checkpoint import Head, cosigned_at, read_head, require_signed
from waypost.ledger.entry import Kind
from waypost.ledger.exhibit import BackDating, Doubled, Evidence, Growth, Leaf, Leaves, OfHeads, Placed, SameSize
from waypost.ledger.note import Algorithm, Key, Line, Note, Verify
from waypost.ledger.policy import is_own
from waypost.ledger.statement import SKEW_S, Statement
from waypost.ledger.statement import require_signed as require_stated
from waypost.ledger.tree import leaf_hash, verify_consistency, verify_inclusion


class Fault(Enum):
    SAME_SIZE = "same size"
    GROWTH = "inconsistent growth"
    DOUBLE_STATEMENT = "double statement"
    WITNESS = "witness fault"
    BACK_DATING = "back-dating"


@dataclass(frozen=True, slots=True)
class Found:
    """What was proved.  `accused` is a vkey, or of a double statement the signer's key in hexadecimal.

    `origin` is the log's, "" of a double statement.  Heads of it that are smaller than `conflict` are not in dispute.
    """

    fault: Fault
    accused: str
    origin: str
    conflict: int
    digest: str


class Tree(Protocol):
    """As tree.Tree."""

    def root(self, size: int | None = None) -> bytes: ...
    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]: ...
    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]: ...


def of_heads(key: Key, one: Head, other: Head, tree: Tree | None) -> OfHeads | None:
    """Of two heads with signatures by `key` that cannot both be honest; `tree` is that of the larger one.

    None if they can.  One of them must be no larger than the tree.
    """
    first, second = sorted((by_alone(one, (key,)), by_alone(other, (key,))), key=_order)
    if first.size == second.size:
        return SameSize(key, first, second) if first.root != second.root else None
    assert tree is not None
    prefix = tree.root(first.size)
    if first.size == 0 or prefix == first.root:
        return None
    return Growth(key, first, second, prefix, tree.consistency(first.size, second.size))


def of_leaves(key: Key, index: int, one: tuple[Head, Leaf], other: tuple[Head, Leaf]) -> Leaves:
    """Of two heads, each with the proof that a leaf is at that index."""
    (first, leaf), (second, another) = sorted((one, other), key=lambda each: _order(each[0]))
    return Leaves(key, by_alone(first, (key,)), by_alone(second, (key,)), index, leaf, another)


def of_statements(one: Statement, other: Statement) -> Doubled:
    first, second = sorted((one, other), key=lambda each: each.hash)
    return Doubled(first, second)


def of_date(
    key: Key, cosigners: Sequence[Key], head: Head, tree: Tree, link: tuple[int, bytes], statement: tuple[int, bytes]
) -> BackDating:
    """Of a link and a statement, each with its index, in the tree of that head."""
    before, after = (Placed(index, tree.inclusion(index, head.size), data) for index, data in (link, statement))
    return BackDating(key, tuple(cosigners), by_alone(head, (key,)), before, after)


def by_alone(head: Head, keys: Iterable[Key]) -> Head:
    """With one signature by each of these keys that has signed it, and no other."""
    first: dict[tuple[str, bytes], Line] = {}
    for line in head.note.lines:
        first.setdefault((line.name, line.id), line)
    lines = (first.get((key.name, key.id)) for key in keys)
    return Head(head.checkpoint, Note(head.note.text, tuple(line for line in lines if line is not None)))


def keys_of(evidence: Evidence) -> tuple[Key, ...]:
    """Which must be trusted for it to prove anything; none of statements, which name their signer."""
    match evidence:
        case Doubled():
            return ()
        case BackDating(key, cosigners):
            return (key, *cosigners)
        case SameSize(key) | Growth(key) | Leaves(key):
            return (key,)


def digest_of(data: bytes) -> str:
    """Names a file: 64 hexadecimal digits."""
    return sha256(data).hexdigest()


def check(data: bytes, keys: Collection[Key], verify: Verify, quorum: int) -> Found:
    """What the file proves to somebody who trusts those `keys`.

    `quorum` is how many cosigners, other than the log's own, are believed when they agree on a time.  Raises WireError
    if it is no evidence, ProofError if it proves nothing.
    """
    evidence = exhibit.decode(data)
    try:
        return _judge(evidence, digest_of(data), keys, verify, quorum)
    except WireError as error:
        raise ProofError(str(error)) from error


# What is so.  Everything that costs little comes before signatures, and signatures before nothing.


def _judge(evidence: Evidence, digest: str, keys: Collection[Key], verify: Verify, quorum: int) -> Found:
    for key in keys_of(evidence):
        _require(key in keys, f"the key {key.name}+{key.id.hex()} is not one of those that are trusted")
    match evidence:
        case Doubled(first, second):
            _require_doubled(first, second, verify)
            return Found(Fault.DOUBLE_STATEMENT, first.signer, "", 0, digest)
        case BackDating(key, _, head, _, statement):
            _require_back_dated(evidence, verify, quorum)
            return Found(Fault.BACK_DATING, key.encode(), head.origin, statement.index + 1, digest)
        case SameSize(key, one, other):
            fault, conflict = Fault.SAME_SIZE, one.size
            _require(one.size == other.size and one.root < other.root, "the heads are not two of one size, in order")
        case Growth(key, one, other):
            fault, conflict = Fault.GROWTH, one.size
            _require_grown(evidence)
        case Leaves(key, one, other):
            fault, conflict = Fault.GROWTH, evidence.index + 1
            _require_leaves(evidence)
    _require(one.origin == other.origin, "the heads are of two logs")
    _require(one.size > 0, "a head of no entries shows nothing")
    for head in (one, other):
        _require_by(head, key, verify)
    is_log = key.name == one.origin
    return Found(fault if is_log else Fault.WITNESS, key.encode(), one.origin, conflict, digest)


def _require_grown(evidence: Growth) -> None:
    old, new = evidence.old, evidence.new
    _require(old.size < new.size, "the new tree is not larger than the old one")
    _require(evidence.prefix != old.root, "the new tree begins with the old one")
    begins = verify_consistency(old.size, new.size, evidence.prefix, new.root, evidence.proof)
    _require(begins, "the proof does not show what the new tree begins with")


def _require_leaves(evidence: Leaves) -> None:
    _require(_order(evidence.first) < _order(evidence.second), "the heads are not two, in order")
    _require(evidence.one.hash != evidence.other.hash, "the leaves are one")
    for head, leaf in ((evidence.first, evidence.one), (evidence.second, evidence.other)):
        is_there = verify_inclusion(evidence.index, head.size, leaf.hash, leaf.path, head.root)
        _require(is_there, "the proof does not show that the leaf is there")


def _require_doubled(first: Statement, second: Statement, verify: Verify) -> None:
    _require(first.hash < second.hash, "the statements are not two, in order")
    _require((first.signer, first.prev) == (second.signer, second.prev), "each has a place of its own")
    for statement in (first, second):
        require_stated(statement, verify)


def _require_back_dated(evidence: BackDating, verify: Verify, quorum: int) -> None:
    key, head, link, placed = evidence.key, evidence.head, evidence.link, evidence.statement
    _require(key.algorithm == Algorithm.ED25519, "it is not the key of a log")
    _require(link.index < placed.index, "the link does not come before the statement")
    for each in (link, placed):
        is_there = verify_inclusion(each.index, head.size, leaf_hash(each.data), each.path, head.root)
        _require(is_there, "the proof does not show that the entry is there")
    linked, statement = entry.decode(link.data), Statement.decode(placed.data)
    _require(linked.kind is Kind.PEER_HEAD, "it is no head of another log")
    _require_by(head, key, verify)
    require_stated(statement, verify)
    time_s = link_time(read_head(linked.body), key, evidence.cosigners, verify, quorum)
    _require(time_s is not None, "nobody who is believed says when the link was made")
    _require(time_s is not None and is_before(statement, time_s), "the statement is not older than is allowed")


def link_time(link: Head, key: Key, cosigners: Sequence[Key], verify: Verify, quorum: int) -> int | None:
    """When, in POSIX time, a link in the log of `key` was made at the earliest: what all these cosigners say.

    None if they are too few, or one of them has not signed it.  Raises WireError if a signature is wrong.
    """
    is_enough = len(cosigners) >= quorum or any(is_own(key, cosigner) for cosigner in cosigners)
    if not is_enough or len({cosigner.public for cosigner in cosigners}) < len(cosigners):
        return None
    times = [cosigned_at(link, cosigner, verify) for cosigner in cosigners]
    said = [time_s for time_s in times if time_s is not None]
    return min(said) if said and len(said) == len(times) else None


def is_before(statement: Statement, time_s: int) -> bool:
    """Whether it is dated before that POSIX time by more than is allowed."""
    return statement.at_ms < (time_s - SKEW_S) * 1000


def _require_by(head: Head, key: Key, verify: Verify) -> None:
    """A signature by it, and no other."""
    _require(len(head.note.lines) == 1, "a head has one signature")
    if key.algorithm == Algorithm.ED25519:
        # A log signs other notes as well, and no key speaks for two logs.
        _require(key.name == head.origin, f"the key of {key.name} does not speak for {head.origin}")
        require_signed(head, key, verify)
    else:
        _require(cosigned_at(head, key, verify) is not None, f"{key.name} has not cosigned it")


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise ProofError(otherwise)


def _order(head: Head) -> tuple[int, bytes]:
    return head.size, head.root
