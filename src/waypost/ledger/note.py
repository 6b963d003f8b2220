"""Signed notes: a text, and lines that sign it.

    text, ends in a newline
    (one empty line)
    U+2014 SP key name SP base64(key ID + signature) newline        once for each signature

Source: C2SP signed-note 1.0.0, tlog-cosignature 1.0.1 and 1.1.0-rc.1; notes on the ledger, 2.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import Final

from waypost.errors import WireError
from waypost.identity import mldsa

NOTE_MAX: Final = 1 << 20  # octets
LINES_MAX: Final = 100
AGAIN_MAX: Final = 4  # lines of one key that are verified
DASH: Final = "\u2014"
ID_SIZE: Final = 4
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_ODD: Final = re.compile(r"[+\s\x00-\x1f\ud800-\udfff]")  # in a name

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes, bytes], bool]  # of Ed25519: public key, signature, message


class Algorithm(IntEnum):
    """The type octet of a key."""

    ED25519 = 0x01  # over the text
    COSIGNATURE = 0x04  # Ed25519, with a time: checkpoint.py
    MLDSA_44 = 0x06  # likewise


# Octets of a key.
SIZES: Final[dict[int, int]] = {
    Algorithm.ED25519: 32,
    Algorithm.COSIGNATURE: 32,
    Algorithm.MLDSA_44: mldsa.PUBLIC_SIZE,
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key that verifies; two with one `name` and `id` cannot be told apart by what they signed."""

    name: str
    algorithm: Algorithm
    public: bytes
    id: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        octets = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public
        # Once: each line of each note is held against it.
        object.__setattr__(self, "id", sha256(octets).digest()[:ID_SIZE])

    def encode(self) -> str:
        """The vkey: name+ID+base64(type and key)."""
        return f"{self.name}+{self.id.hex()}+{to_base64(bytes([self.algorithm]) + self.public)}"

    @classmethod
    def decode(cls, text: str) -> "Key":
        """Raises WireError."""
        name, id, rest = [*text.split("+", 2), "", ""][:3]  # base64 may hold a plus, a name may not
        octets = from_base64(rest)
        if not is_name(name) or not octets:
            raise WireError("a key is written as name+ID+key")
        if SIZES.get(octets[0]) != len(octets) - 1:
            raise WireError(f"the key of {name} is of no type that we verify, or of another size")
        key = cls(name, Algorithm(octets[0]), octets[1:])
        if key.id.hex() != id:
            raise WireError(f"the ID of the key of {name} is not {id}")
        return key


@dataclass(frozen=True, slots=True)
class Line:
    """A signature by the key of that name and ID; what its octets are is the key's type to say."""

    name: str
    id: bytes
    signature: bytes

    def encode(self) -> str:
        return f"{DASH} {self.name} {to_base64(self.id + self.signature)}\n"

    @classmethod
    def decode(cls, text: str) -> "Line":
        """Of a line without its newline.  Raises WireError."""
        dash, name, octets = [*text.split(" "), "", ""][:3]
        decoded = from_base64(octets)
        if dash != DASH or text.count(" ") != 2 or not is_name(name) or len(decoded) <= ID_SIZE:
            raise WireError("a signature line is wrong")
        return cls(name, decoded[:ID_SIZE], decoded[ID_SIZE:])

    def is_by(self, key: Key) -> bool:
        """Whether it says so."""
        return self.name == key.name and self.id == key.id


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    lines: tuple[Line, ...]

    def encode(self) -> bytes:
        return f"{self.text}\n{''.join(line.encode() for line in self.lines)}".encode()

    @classmethod
    def decode(cls, data: bytes) -> "Note":
        """Raises WireError."""
        if len(data) > NOTE_MAX:
            raise WireError("the note is too large")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise WireError("the note is not UTF-8") from error
        if _CONTROL.search(whole):
            raise WireError("the note has control characters")
        text, separator, lines = whole.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise WireError("the note has no signatures")
        signatures = lines[:-1].split("\n")
        if len(signatures) > LINES_MAX:
            raise WireError(f"the note has more than {LINES_MAX} signatures")
        return cls(text + "\n", tuple(map(Line.decode, signatures)))

    def signed(self, line: Line) -> "Note":
        return Note(self.text, (*self.lines, line))

    def all_by(self, key: Key) -> tuple[Line, ...]:
        """The lines that say to be by `key`, each once; what they cost to verify is not the sender's to say.

        Raises WireError if they are more than AGAIN_MAX.
        """
        lines = tuple(dict.fromkeys(line for line in self.lines if line.is_by(key)))
        if len(lines) > AGAIN_MAX:
            raise WireError(f"{key.name} has signed the note more than {AGAIN_MAX} times")
        return lines

    def by(self, key: Key) -> Line | None:
        """The line that says to be by `key`."""
        return next((line for line in self.lines if line.is_by(key)), None)


def sign(text: str, key: Key, signing: Sign) -> Line:
    """With an Ed25519 key."""
    assert key.algorithm == Algorithm.ED25519
    return Line(key.name, key.id, signing(text.encode()))


def signers(note: Note, keys: Sequence[Key], verify: Verify) -> tuple[Key, ...]:
    """Those of the Ed25519 `keys` that have signed it.

    Raises WireError if a line is by one of them and does not verify, or by two of them: that spoils the whole note.
    """
    found = []
    for key in keys:
        assert key.algorithm == Algorithm.ED25519
        lines = note.all_by(key)
        if not all(verify(key.public, line.signature, note.text.encode()) for line in lines):
            raise WireError(f"the signature of {key.name} is wrong")
        if lines and sum((other.name, other.id) == (key.name, key.id) for other in keys) > 1:
            raise WireError(f"two keys have the name {key.name} and one ID")
        if lines:
            found.append(key)
    return tuple(found)


def is_name(text: str) -> bool:
    """No Unicode space, no plus, and nothing that a note may not hold."""
    return bool(text) and not _ODD.search(text)


def to_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def from_base64(text: str) -> bytes:
    """Standard and padded, and the only spelling of its octets.  Raises WireError."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("that is not base64") from error
    if to_base64(octets) != text:
        raise WireError("that is not the one spelling in base64")
    return octets
