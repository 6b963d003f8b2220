"""What a log is made of: octets whose first line says of which kind they are, then a body.

    waypost/statement@v1   a signed statement (statement.py)
    waypost/commit@v1      canonical JSON {"committed": a record and its certificate, "network": its id}
    waypost/peer-head@v1   a checkpoint of another log, verbatim, that this node's witness has verified
    waypost/day@v1         a note: what a day brought, and the hash of the day before
    waypost/evidence@v1    that a log, a witness or a signer has lied (evidence.py)
    waypost/key@v1         a note: the log was opened or resumed, or which keys were pinned

Statements and evidence are the same octets in a log and out of it: their own first line is the entry's.  Logs of
others may hold anything: what is of no kind that we know is an entry all the same.

Source: notes on the ledger, 2 (an entry is at most 65,535 octets) and 5 (entry kinds).
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec
from msgspec import Struct

from waypost.errors import WireError
from waypost.record import Committed
from waypost.record.wire import Hash
from waypost.record.wire import decode as decode_json

ENTRY_MAX: Final = 65_535  # octets: its length in a bundle is a uint16


class Kind(Enum):
    STATEMENT = "waypost/statement@v1"
    COMMIT = "waypost/commit@v1"
    PEER_HEAD = "waypost/peer-head@v1"
    DAY = "waypost/day@v1"
    EVIDENCE = "waypost/evidence@v1"
    KEY = "waypost/key@v1"

    @property
    def line(self) -> bytes:
        return self.value.encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """`kind` is None for octets that begin with none of our lines; the body is all of them then."""

    kind: Kind | None
    body: bytes

    def encode(self) -> bytes:
        return self.body if self.kind is None else self.kind.line + self.body


class Commit(Struct, frozen=True):
    """The body of a commit."""

    committed: Committed
    network: Hash


_KINDS: Final = {kind.line: kind for kind in Kind}
_COMMIT: Final = Kind.COMMIT.line + b'{"committed":%b,"network":"%b"}'
_commit_decoder: Final = msgspec.json.Decoder(Commit)


def encode(kind: Kind, body: bytes) -> bytes:
    """Raises WireError if it is too long for a log."""
    return _bounded(kind.line + body)


def decode(data: bytes) -> Entry:
    """Of any octets: raises nothing."""
    line, newline, body = data.partition(b"\n")
    kind = _KINDS.get(line + newline)
    return Entry(None, data) if kind is None else Entry(kind, body)


def commit(network: str, committed: bytes) -> bytes:
    """The entry of a record and its certificate, in the canonical JSON of Committed."""
    return _bounded(_COMMIT % (committed, network.encode()))


def _bounded(entry: bytes) -> bytes:
    if len(entry) > ENTRY_MAX:
        raise WireError(f"the entry has {len(entry)} octets, {ENTRY_MAX} at most")
    return entry


def read_commit(body: bytes) -> Commit:
    """Raises WireError.  Nothing is verified."""
    return decode_json(body, _commit_decoder, ENTRY_MAX)
