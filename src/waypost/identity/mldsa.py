"""ML-DSA-44, a signature that also withstands quantum computers: checked wherever the library has it.

cryptography has it from 48 on, and only over a library that has it too; without it, `AVAILABLE` is False and no
signature verifies.

Source: FIPS 204; C2SP tlog-cosignature 1.1.0-rc.1.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

try:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

    MLDSA44PrivateKey.from_seed_bytes(bytes(32))
    AVAILABLE = True
except (ImportError, UnsupportedAlgorithm):
    AVAILABLE = False

PUBLIC_SIZE: Final = 1_312  # octets
SIGNATURE_SIZE: Final = 2_420


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether it is a signature of `message` by the octets of a key.  For any octets at all."""
    if not AVAILABLE:
        return False
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: a key of another size
        return False
    return True


def public_of(seed: bytes) -> bytes:
    """The key of a private one, whose seed has 32 octets.  Only where it is AVAILABLE."""
    return MLDSA44PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def sign(seed: bytes, message: bytes) -> bytes:
    """Likewise.  Two signatures of one message differ."""
    return MLDSA44PrivateKey.from_seed_bytes(seed).sign(message)
