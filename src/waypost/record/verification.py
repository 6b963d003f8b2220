"""Signatures verified once: those that were good are remembered, up to a bound.

The same votes come again in certificates, in what is asked before voting and from every peer; to remember 32 octets is
a hundredfold cheaper than to verify.  Bad signatures are not remembered: whoever sends one pays with its own.
"""

from hashlib import sha256
from typing import Final

from waypost.record.record import Sign
from waypost.record.vote import Verify

REMEMBERED_MAX: Final = 65_536  # signatures; the older half is forgotten at once


class Remembering:
    """A Verify that asks another one only about what it has not seen."""

    def __init__(self, verify: Verify, remembered_max: int = REMEMBERED_MAX) -> None:
        self.asked = 0
        self._verify = verify
        self._remembered_max = remembered_max
        self._good: dict[bytes, None] = {}

    def signing(self, public: bytes, sign: Sign) -> Sign:
        """What `sign` makes with the key of `public` is good, and need not be verified when it comes back."""

        def signed(message: bytes) -> bytes:
            signature = sign(message)
            self._remember(_claim(public, signature, message))
            return signature

        return signed

    def __call__(self, public: bytes, signature: bytes, message: bytes) -> bool:
        claim = _claim(public, signature, message)
        if claim in self._good:
            return True
        self.asked += 1
        if not self._verify(public, signature, message):
            return False
        self._remember(claim)
        return True

    def _remember(self, claim: bytes) -> None:
        if len(self._good) >= self._remembered_max:
            for old in list(self._good)[: self._remembered_max // 2 + 1]:
                del self._good[old]
        self._good[claim] = None


def _claim(public: bytes, signature: bytes, message: bytes) -> bytes:
    """No two triples have the same."""
    sizes = len(public).to_bytes(2, "big"), len(signature).to_bytes(2, "big")
    return sha256(sizes[0] + public + sizes[1] + signature + message).digest()
