"""Logs that tell one thing to some and another to others, and what honest ones have to show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from keeping import public_of, sign_as, verify

from waypost.ledger import entry, exhibit
from waypost.ledger.checkpoint import Checkpoint, Head, cosign, sign_head
from waypost.ledger.entry import Kind
from waypost.ledger.evidence import Found, check
from waypost.ledger.exhibit import Evidence
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.statement import Statement
from waypost.ledger.tree import Tree

__all__ = ["Branch", "Signer", "cosigner", "found", "link", "log_key", "signer_of", "stated", "verify"]


@dataclass(frozen=True)
class Signer:
    key: Key

    def sign(self, message: bytes) -> bytes:
        return sign_as(self.key.public, message)


def log_key(origin: str) -> Signer:
    return Signer(Key(origin, Algorithm.ED25519, public_of(origin)))


def cosigner(node: str) -> Signer:
    name = f"waypost/{node}/witness"
    return Signer(Key(name, Algorithm.COSIGNATURE, public_of(name)))


@dataclass
class Branch:
    """One history of a log."""

    entries: list[bytes]
    log: Signer = field(default_factory=lambda: log_key("waypost/anna"))
    tree: Tree = field(default_factory=Tree)

    def __post_init__(self) -> None:
        self.tree.extend(self.entries)

    def head(
        self, size: int | None = None, *cosigners: Signer, time_s: int = 1, extensions: Sequence[str] = ()
    ) -> Head:
        size = len(self.entries) if size is None else size
        checkpoint = Checkpoint(self.log.key.name, size, self.tree.root(size), tuple(extensions))
        return cosigned(sign_head(checkpoint, self.log.key, self.log.sign), *cosigners, time_s=time_s)


def cosigned(head: Head, *cosigners: Signer, time_s: int = 1) -> Head:
    note = head.note
    for each in cosigners:
        note = note.signed(cosign(head, each.key, each.sign, time_s))
    return Head(head.checkpoint, note)


def link(head: Head) -> bytes:
    return entry.encode(Kind.PEER_HEAD, head.note.encode())


def signer_of(name: str) -> str:
    return public_of(name).hex()


def stated(name: str, at_s: int, prev: str = "", **body: object) -> Statement:
    statement = Statement(at_s * 1000, body, "claim", prev, signer_of(name))
    return statement.signed(lambda message: sign_as(public_of(name), message))


def found(evidence: Evidence, keys: Iterable[Signer], quorum: int = 1) -> Found:
    return check(exhibit.encode(evidence), [each.key for each in keys], verify, quorum)
