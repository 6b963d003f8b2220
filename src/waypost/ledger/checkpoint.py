"""Checkpoints: the head of a log as a signed note, and what witnesses add to it.

    origin newline
    size, decimal newline
    base64(root hash) newline
    extension lines                               none of ours

A cosignature says: at that time this was the largest consistent tree that I had seen of this origin.

Source: C2SP tlog-checkpoint 1.0.0, tlog-cosignature 1.0.1 and 1.1.0-rc.1; notes on the ledger, 2.
"""

import re
from dataclasses import dataclass
from typing import Final

from waypost.codec import opaque, u64
from waypost.errors import WireError
from waypost.identity import mldsa
from waypost.ledger import note
from waypost.ledger.note import Algorithm, Key, Line, Note, Sign, Verify, from_base64, to_base64

CHECKPOINT_MAX: Final = 64 << 10  # octets, with all its signatures
SIZE_MAX: Final = (1 << 63) - 1
TIME_MAX: Final = (1 << 63) - 1  # seconds since 1970
NAME_MAX: Final = 255  # octets
HASH_SIZE: Final = 32  # octets of SHA-256
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`size` leaves, whose tree has this `root`, 32 octets."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in (self.origin, self.size, to_base64(self.root), *self.extensions))

    @classmethod
    def decode(cls, text: str) -> "Checkpoint":
        """Raises WireError."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise WireError("a checkpoint has an origin, a size and a root hash")
        origin, size, root, *extensions = lines[:-1]
        return cls(origin, read_size(size), read_hash(root), tuple(extensions))


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint, and the note that it was read from: whole, for that is what can be shown to others."""

    checkpoint: Checkpoint
    note: Note

    @property
    def size(self) -> int:
        return self.checkpoint.size

    @property
    def root(self) -> bytes:
        return self.checkpoint.root

    @property
    def origin(self) -> str:
        return self.checkpoint.origin


def sign_head(checkpoint: Checkpoint, key: Key, signing: Sign) -> Head:
    text = checkpoint.text
    return Head(checkpoint, Note(text, (note.sign(text, key, signing),)))


def read_head(data: bytes) -> Head:
    """Whoever may have signed it.  Raises WireError."""
    if len(data) > CHECKPOINT_MAX:
        raise WireError("the checkpoint is too large")
    read = Note.decode(data)
    return Head(Checkpoint.decode(read.text), read)


def require_signed(head: Head, key: Key, verify: Verify) -> None:
    """Raises WireError unless the log's key has signed it, be it as a cosigner does."""
    if key.algorithm == Algorithm.ED25519:
        signed = bool(note.signers(head.note, (key,), verify))
    else:
        signed = cosigned_at(head, key, verify) is not None
    if not signed:
        raise WireError(f"the checkpoint is not signed by {key.name}")


def cosign(head: Head, key: Key, signing: Sign, time_s: int) -> Line:
    """A witness's line; `time_s` is POSIX time."""
    return Line(key.name, key.id, u64(time_s) + signing(to_cosign(head, key, time_s)))


def cosigned_at(head: Head, key: Key, verify: Verify) -> int | None:
    """When the witness did, in POSIX time, the latest if it did so twice; None, it did not.

    An ML-DSA-44 key did not, where that cannot be verified.  Raises WireError if a line that says to be by it does
    not verify.
    """
    if key.algorithm == Algorithm.MLDSA_44 and not mldsa.AVAILABLE:
        return None
    times = [_time_of(head, line, key, verify) for line in head.note.all_by(key)]
    return max(times, default=None)


def to_cosign(head: Head, key: Key, time_s: int) -> bytes:
    """What a cosigner's key signs.

    struct {
        uint8 label[12] = "subtree/v1\\n\\0"; opaque cosigner_name<1..2^8-1>; uint64 timestamp;
        opaque log_origin<1..2^8-1>; uint64 start; uint64 end; uint8 hash[32];
    } cosigned_message;                           of ML-DSA-44: it has no extension lines

    Raises WireError if the key is of another type, or does not fit.
    """
    if key.algorithm == Algorithm.COSIGNATURE:
        return f"cosignature/v1\ntime {time_s}\n{head.note.text}".encode()
    if key.algorithm != Algorithm.MLDSA_44:
        raise WireError(f"the key of {key.name} is no cosigner's")
    name, origin = key.name.encode(), head.origin.encode()
    if max(len(name), len(origin)) > NAME_MAX:
        raise WireError(f"a cosigner's name and an origin have {NAME_MAX} octets at most")
    tree = u64(0) + u64(head.size) + head.root
    return b"subtree/v1\n\0" + opaque(1, name) + u64(time_s) + opaque(1, origin) + tree


def cosigner_of(origin: str) -> str:
    """The key name of a node's own cosigner, by which a log's witness is known as its own."""
    return f"{origin}/witness"


def read_size(text: str) -> int:
    """Raises WireError."""
    if not _DECIMAL.fullmatch(text) or int(text) > SIZE_MAX:
        raise WireError("a size is decimal, without leading zeros")
    return int(text)


def read_hash(text: str) -> bytes:
    """Raises WireError."""
    octets = from_base64(text)
    if len(octets) != HASH_SIZE:
        raise WireError(f"a hash has {HASH_SIZE} octets")
    return octets


def _time_of(head: Head, line: Line, key: Key, verify: Verify) -> int:
    check = mldsa.verifies if key.algorithm == Algorithm.MLDSA_44 else verify
    time_s, signature = int.from_bytes(line.signature[:8], "big"), line.signature[8:]
    if time_s > TIME_MAX or not check(key.public, signature, to_cosign(head, key, time_s)):
        raise WireError(f"the cosignature of {key.name} is wrong")
    return time_s
