"""Statements: what the holder of a key says, dated, and chained to what he said before.

    waypost/statement@v1 newline
    {"at_ms":…,"body":{…},"kind":"…","prev":"…","signer":"…"} newline      canonical JSON
    signature, 128 hexadecimal digits, newline

Signed are the first two lines without the newline at the end, and their SHA-256 is the statement's name.  `prev` names
the last statement that the same signer signed, entered or not, "" before the first: who signs two with one `prev` has
said two things at once, and the two together prove it, whichever logs they are in.  Whoever was refused sends the same
octets again, or goes on from them; to date them anew is to sign twice.

A log takes a statement that is dated at most SKEW_S from its own clock, and from what its own links show to be later:
so no honest log can be shown to hold one that was dated back.

Source: notes on the ledger, 0 (L9), 5 (proofs 3 and 5) and 6 (statement).
"""

from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from waypost.canonical import canonical, parse_canonical
from waypost.errors import ProofError, WireError
from waypost.ledger.entry import Kind
from waypost.ledger.note import Sign, Verify
from waypost.record.wire import Count, MaybeHash, MaybeSignature, PublicKey, encode

STATEMENT_MAX: Final = 24 << 10  # octets: two of them fit into evidence, which is an entry itself
SKEW_S: Final = 3_600  # between the date of a statement and the clocks of others

StatementKind = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._/@-]{0,63}\Z")]


class Statement(Struct, frozen=True):
    """`at_ms` is wall-clock time, `signer` an Ed25519 key, `signature` "" until it is signed."""

    at_ms: Count
    body: dict[str, object]
    kind: StatementKind
    prev: MaybeHash
    signer: PublicKey
    signature: MaybeSignature = ""

    @property
    def to_sign(self) -> bytes:
        return Kind.STATEMENT.line + encode(self._fields())

    @property
    def hash(self) -> str:
        """What the signer's next statement has as `prev`."""
        return sha256(self.to_sign).hexdigest()

    def signed(self, sign: Sign) -> "Statement":
        """Raises ValueError if the body has no canonical form."""
        canonical(self._fields())
        return msgspec.structs.replace(self, signature=sign(self.to_sign).hex())

    def encode(self) -> bytes:
        """An entry of a log as it is.  Raises WireError if it is too long."""
        assert self.signature, "a statement leaves signed"
        return _bounded(self.to_sign + b"\n" + self.signature.encode() + b"\n")

    def _fields(self) -> dict[str, object]:
        return {"at_ms": self.at_ms, "body": self.body, "kind": self.kind, "prev": self.prev, "signer": self.signer}

    @classmethod
    def decode(cls, data: bytes) -> "Statement":
        """Raises WireError, and nothing else, for any other octets.  The signature is not verified."""
        lines = _bounded(data).split(b"\n")
        if len(lines) != 4 or lines[0] + b"\n" != Kind.STATEMENT.line or lines[3]:
            raise WireError("a statement has three lines")
        _, fields, signature, _ = lines
        value = parse_canonical(fields)
        if not isinstance(value, dict) or len(value) != 5 or len(signature) != 128:
            raise WireError("it is no statement")
        try:
            return msgspec.convert({**value, "signature": signature.decode()}, cls)
        except ValueError as error:  # msgspec's errors are, and Unicode's
            raise WireError("it is no statement") from error


def is_signed(statement: Statement, verify: Verify) -> bool:
    """Whether its signer signed it."""
    return verify(bytes.fromhex(statement.signer), bytes.fromhex(statement.signature), statement.to_sign)


def require_signed(statement: Statement, verify: Verify) -> None:
    """Raises ProofError unless its signer signed it."""
    if not is_signed(statement, verify):
        raise ProofError("the signature of the statement is wrong")


def _bounded(data: bytes) -> bytes:
    if len(data) > STATEMENT_MAX:
        raise WireError(f"the statement has {len(data)} octets, {STATEMENT_MAX} at most")
    return data
