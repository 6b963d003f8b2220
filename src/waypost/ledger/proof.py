"""A proof that an entry is in a log, whole: with it and a policy, nobody has to be asked.

    c2sp.org/tlog-proof@v1 newline
    extra SP base64(octets) newline               if there are any; nothing proves them
    index SP decimal newline
    base64(hash) newline                          for each hash of the inclusion proof, from the leaf upwards
    newline
    checkpoint

What waypost writes has the entry itself as its extra octets.

Source: C2SP tlog-proof; notes on the ledger, 2.
"""

from dataclasses import dataclass
from typing import Final

from waypost.errors import ProofError, WireError
from waypost.ledger.checkpoint import CHECKPOINT_MAX, Head, read_hash, read_head, read_size
from waypost.ledger.note import Verify, from_base64, to_base64
from waypost.ledger.policy import Policy, Verdict
from waypost.ledger.tree import leaf_hash, verify_inclusion

HEADER: Final = "c2sp.org/tlog-proof@v1"
EXTRA_MAX: Final = 65_535  # octets: an entry
HASHES_MAX: Final = 63
PROOF_MAX: Final = CHECKPOINT_MAX + (EXTRA_MAX + 2) // 3 * 4 + (HASHES_MAX + 1) * 45 + 64  # octets


@dataclass(frozen=True, slots=True)
class ProofFile:
    index: int
    proof: tuple[bytes, ...]
    head: Head
    extra: bytes = b""

    def encode(self) -> bytes:
        extra = (f"extra {to_base64(self.extra)}",) if self.extra else ()
        lines = (HEADER, *extra, f"index {self.index}", *map(to_base64, self.proof), "")
        return "".join(f"{line}\n" for line in lines).encode() + self.head.note.encode()

    @classmethod
    def decode(cls, data: bytes) -> "ProofFile":
        """Raises WireError."""
        if len(data) > PROOF_MAX:
            raise WireError("the proof is too large")
        before, separator, checkpoint = data.partition(b"\n\n")
        if not separator or not before.isascii():
            raise WireError("a proof comes before an empty line, and a checkpoint after it")
        header, *lines = before.decode().split("\n")
        if header != HEADER:
            raise WireError(f"the first line is not {HEADER}")
        extra = from_base64(_after("extra ", lines)) if lines and lines[0].startswith("extra ") else None
        if extra is not None and not 0 < len(extra) <= EXTRA_MAX:
            raise WireError(f"the extra octets are none, or more than {EXTRA_MAX}")
        index = read_size(_after("index ", lines))
        if len(lines) > HASHES_MAX:
            raise WireError(f"a proof has {HASHES_MAX} hashes at most")
        return cls(index, tuple(map(read_hash, lines)), read_head(checkpoint), extra or b"")


def verify_proof(
    file: ProofFile, entry: bytes, policy: Policy, verify: Verify, now_s: int, age_max_s: int | None = None
) -> Verdict:
    """How a log of the policy and its witnesses vouch that the log has this entry at that index; POSIX time.

    Raises ProofError if they do not.
    """
    verdict = policy.check(file.head, verify, now_s, age_max_s)
    if not verify_inclusion(file.index, file.head.size, leaf_hash(entry), file.proof, file.head.root):
        raise ProofError(f"the entry is not number {file.index} of the log {file.head.origin}")
    verdict.require()
    return verdict


def _after(word: str, lines: list[str]) -> str:
    """The rest of the first line, which is taken away."""
    if not lines or not lines[0].startswith(word):
        raise WireError(f"a line is missing: {word.rstrip()}")
    return lines.pop(0).removeprefix(word)
