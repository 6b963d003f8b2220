"""Logs and witnesses with fixed keys, for stories of notes and checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.identity import mldsa
from waypost.ledger.checkpoint import Head, cosign
from waypost.ledger.note import Algorithm, Key


@dataclass(frozen=True)
class Signer:
    key: Key
    sign: Callable[[bytes], bytes]


def signer(name: str, number: int, algorithm: Algorithm = Algorithm.ED25519) -> Signer:
    """The key of that number: its seed is 32 octets of it."""
    seed = bytes([number]) * 32
    if algorithm == Algorithm.MLDSA_44:
        return Signer(Key(name, algorithm, mldsa.public_of(seed)), lambda message: mldsa.sign(seed, message))
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return Signer(Key(name, algorithm, private.public_key().public_bytes_raw()), private.sign)


def witness(name: str, number: int) -> Signer:
    return signer(name, number, Algorithm.COSIGNATURE)


def cosigned(head: Head, *witnesses: Signer, time_s: int) -> Head:
    for each in witnesses:
        head = replace(head, note=head.note.signed(cosign(head, each.key, each.sign, time_s)))
    return head


LOG = signer("waypost/anna", 1)
WITNESSES = tuple(witness(f"w{number}", 10 + number) for number in range(1, 5))
