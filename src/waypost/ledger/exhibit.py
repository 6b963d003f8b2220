"""Files of evidence, as they are written; what they prove is in evidence.py.

    waypost/evidence@v1
    same-size               key, first, second                    two heads of one size and two roots
    inconsistent-growth     key, old, new, prefix, proof          the new tree begins with another than the old one
    different-leaves        key, first, second, index,            two heads that have two leaves at one index
                            leaf, path, leaf, path
    double-statement        first, second                         one signer, one `prev`, two statements
    back-dating             key, [key]..., head,                  a log took a statement that is dated more than
                            index, path, link,                    SKEW_S before a head of another log, which is
                            index, path, statement                an entry that comes before it

The second line is the form; then come the fields, in this order and no other, one on a line:

    key <vkey>              whom it accuses; of back-dating, then those whose times it relies on
    index <number>          of a leaf
    prefix|leaf <base64>    a hash
    proof|path [<base64>]…  hashes, as in RFC 6962
    first|second|old|new|head|link|statement <number of octets>
                            and behind that line so many octets: heads are notes with no signature but those that
                            count; a link and a statement are the entries themselves

Of halves that could be told in either order one order alone is accepted, and of each file one spelling: a proof has
one digest.

Source: notes on the ledger, 5 (proofs of misbehaviour).
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from waypost.errors import WireError
from waypost.ledger import entry
from waypost.ledger.checkpoint import Head, read_hash, read_head, read_size
from waypost.ledger.entry import ENTRY_MAX, Kind
from waypost.ledger.note import Key, to_base64
from waypost.ledger.statement import Statement

EVIDENCE_MAX: Final = ENTRY_MAX  # octets: it is an entry
KEYS_MAX: Final = 32  # the log's, and cosigners' whose times are relied on
HASHES_MAX: Final = 64  # of a proof


@dataclass(frozen=True, slots=True)
class SameSize:
    key: Key
    first: Head
    second: Head


@dataclass(frozen=True, slots=True)
class Growth:
    """`prefix` is the root that the first `old.size` leaves of the new tree have."""

    key: Key
    old: Head
    new: Head
    prefix: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A hash, and how it leads to the root of a head."""

    hash: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Leaves:
    key: Key
    first: Head
    second: Head
    index: int
    one: Leaf
    other: Leaf


@dataclass(frozen=True, slots=True)
class Doubled:
    first: Statement
    second: Statement


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry, and how it leads to the root of a head."""

    index: int
    path: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class BackDating:
    """`cosigners` are those of the link whose times are relied on."""

    key: Key
    cosigners: tuple[Key, ...]
    head: Head
    link: Placed
    statement: Placed


OfHeads: TypeAlias = SameSize | Growth | Leaves
Evidence: TypeAlias = OfHeads | Doubled | BackDating


def encode(evidence: Evidence) -> bytes:
    """Raises WireError if it is too long for a log."""
    match evidence:
        case SameSize(key, first, second):
            fields = [b"same-size\n", _key(key), _head("first", first), _head("second", second)]
        case Growth(key, old, new, prefix, proof):
            fields = [b"inconsistent-growth\n", _key(key), _head("old", old), _head("new", new)]
            fields += [_hashes("prefix", prefix), _hashes("proof", *proof)]
        case Leaves(key, first, second, index, one, other):
            fields = [b"different-leaves\n", _key(key), _head("first", first), _head("second", second), _index(index)]
            for leaf in (one, other):
                fields += [_hashes("leaf", leaf.hash), _hashes("path", *leaf.path)]
        case Doubled(one, other):
            fields = [b"double-statement\n", _block("first", one.encode()), _block("second", other.encode())]
        case BackDating(key, cosigners, head, link, statement):
            fields = [b"back-dating\n", *map(_key, (key, *cosigners)), _head("head", head)]
            for name, placed in (("link", link), ("statement", statement)):
                fields += [_index(placed.index), _hashes("path", *placed.path), _block(name, placed.data)]
    return entry.encode(Kind.EVIDENCE, b"".join(fields))


def decode(data: bytes) -> Evidence:
    """What a file says, which is not yet what is so.  Raises WireError."""
    if len(data) > EVIDENCE_MAX:
        raise WireError(f"the evidence has {len(data)} octets, {EVIDENCE_MAX} at most")
    read = entry.decode(data)
    if read.kind is not Kind.EVIDENCE:
        raise WireError("it is no evidence")
    fields = _Fields(read.body)
    evidence = _read(fields)
    if encode(evidence) != data:  # so nothing comes behind it either
        raise WireError("the evidence is not in its one spelling")
    return evidence


# How it is written.


def _key(key: Key) -> bytes:
    return f"key {key.encode()}\n".encode()


def _index(index: int) -> bytes:
    return b"index %d\n" % index


def _hashes(name: str, *hashes: bytes) -> bytes:
    return (" ".join((name, *map(to_base64, hashes))) + "\n").encode()


def _head(name: str, head: Head) -> bytes:
    return _block(name, head.note.encode())


def _block(name: str, data: bytes) -> bytes:
    return f"{name} {len(data)}\n".encode() + data


class _Fields:
    """Reads what is left; each method raises WireError."""

    def __init__(self, rest: bytes) -> None:
        self.rest = rest

    def line(self) -> list[str]:
        line, newline, self.rest = self.rest.partition(b"\n")
        if not newline:
            raise WireError("the evidence ends within a line")
        try:
            return line.decode().split(" ")
        except UnicodeDecodeError as error:
            raise WireError("the evidence is not text") from error

    def words(self, name: str) -> list[str]:
        found, *words = self.line()
        if found != name:
            raise WireError(f"{name} is missing")
        return words

    def word(self, name: str) -> str:
        words = self.words(name)
        if len(words) != 1:
            raise WireError(f"{name} is one word")
        return words[0]

    def key(self) -> Key:
        return Key.decode(self.word("key"))

    def keys(self) -> tuple[Key, ...]:
        """Those behind the first one."""
        keys: list[Key] = []
        while self.rest.startswith(b"key ") and len(keys) < KEYS_MAX - 1:
            keys.append(self.key())
        return tuple(keys)

    def index(self) -> int:
        return read_size(self.word("index"))

    def hash(self, name: str) -> bytes:
        return read_hash(self.word(name))

    def hashes(self, name: str) -> tuple[bytes, ...]:
        words = self.words(name)
        if len(words) > HASHES_MAX:
            raise WireError(f"a proof has {HASHES_MAX} hashes at most")
        return tuple(map(read_hash, words))

    def block(self, name: str) -> bytes:
        size = read_size(self.word(name))
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def head(self, name: str) -> Head:
        return read_head(self.block(name))

    def leaf(self) -> Leaf:
        return Leaf(self.hash("leaf"), self.hashes("path"))

    def placed(self, name: str) -> Placed:
        return Placed(self.index(), self.hashes("path"), self.block(name))


def _read(fields: _Fields) -> Evidence:
    match fields.line():
        case ["same-size"]:
            return SameSize(fields.key(), fields.head("first"), fields.head("second"))
        case ["inconsistent-growth"]:
            key, old, new = fields.key(), fields.head("old"), fields.head("new")
            return Growth(key, old, new, fields.hash("prefix"), fields.hashes("proof"))
        case ["different-leaves"]:
            key, first, second = fields.key(), fields.head("first"), fields.head("second")
            return Leaves(key, first, second, fields.index(), fields.leaf(), fields.leaf())
        case ["double-statement"]:
            return Doubled(Statement.decode(fields.block("first")), Statement.decode(fields.block("second")))
        case ["back-dating"]:
            key, cosigners, head = fields.key(), fields.keys(), fields.head("head")
            return BackDating(key, cosigners, head, fields.placed("link"), fields.placed("statement"))
        case _:
            raise WireError("no such form of evidence is known")
