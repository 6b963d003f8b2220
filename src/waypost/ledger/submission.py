"""A checkpoint as it is handed to a witness.

    old SP size of the checkpoint that the witness cosigned last newline
    base64(hash) newline                          for each hash of the consistency proof
    newline
    checkpoint

Source: C2SP tlog-witness, add-checkpoint; notes on the ledger, 2.
"""

from dataclasses import dataclass
from typing import Final

from waypost.errors import WireError
from waypost.ledger.checkpoint import CHECKPOINT_MAX, Head, read_hash, read_head, read_size
from waypost.ledger.note import to_base64

PATH: Final = "add-checkpoint"
SIZE_MEDIA: Final = "text/x.tlog.size"  # of the answer 409: the size that the witness holds
PROOF_MAX: Final = 63  # hashes
SUBMISSION_MAX: Final = CHECKPOINT_MAX + (4 << 10)  # octets


@dataclass(frozen=True, slots=True)
class Submission:
    old: int
    proof: tuple[bytes, ...]
    head: Head

    def encode(self) -> bytes:
        lines = (f"old {self.old}", *map(to_base64, self.proof), "")
        return "".join(f"{line}\n" for line in lines).encode() + self.head.note.encode()

    @classmethod
    def decode(cls, data: bytes) -> "Submission":
        """Raises WireError."""
        if len(data) > SUBMISSION_MAX:
            raise WireError("the request is too large")
        before, separator, note = data.partition(b"\n\n")
        if not separator or not before.isascii():
            raise WireError("an old size and a proof come before an empty line, and a checkpoint after it")
        old, *hashes = before.decode().split("\n")
        if not old.startswith("old "):
            raise WireError("the first line says which size is old")
        if len(hashes) > PROOF_MAX:
            raise WireError(f"a proof has {PROOF_MAX} hashes at most")
        return cls(read_size(old.removeprefix("old ")), tuple(map(read_hash, hashes)), read_head(note))
