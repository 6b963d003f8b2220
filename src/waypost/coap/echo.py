"""Which sources have shown to be at their address.

A datagram's source can be forged.  An Echo value is a keyed hash of the source and the time, so
handing one out keeps nothing; a source that brings it back has received what we sent there, and is
remembered as validated for a while.

Source: RFC 9175, 2.2 to 2.4 and appendix A, item 2.
"""

from hashlib import blake2s
from hmac import compare_digest
from random import Random
from typing import Final

from waypost.coap.numbers import ECHO_LIFETIME, VALIDATED_LIFETIME, VALIDATED_MAX
from waypost.engine import Endpoint

VALUE_SIZE: Final = 8  # octets


class Sources:
    def __init__(self, rng: Random) -> None:
        self._secret = rng.randbytes(32)
        self._until: dict[Endpoint, float] = {}  # oldest first: all live equally long

    def value(self, peer: Endpoint, now: float) -> bytes:
        """The Echo value to hand to `peer`; VALUE_SIZE octets."""
        return self._hash(peer, int(now // ECHO_LIFETIME))

    def accept(self, peer: Endpoint, value: bytes, now: float) -> bool:
        """True, and `peer` is validated from now on, if `value` is one we handed it lately."""
        window = int(now // ECHO_LIFETIME)
        if not any(compare_digest(value, self._hash(peer, w)) for w in (window, window - 1)):
            return False
        self.validate(peer, now)
        return True

    def validate(self, peer: Endpoint, now: float) -> None:
        """`peer` has shown to be at its address."""
        self._until.pop(peer, None)
        if len(self._until) >= VALIDATED_MAX:
            del self._until[next(iter(self._until))]
        self._until[peer] = now + VALIDATED_LIFETIME

    def validated(self, peer: Endpoint, now: float) -> bool:
        until = self._until.get(peer)
        if until is None:
            return False
        if until <= now:
            del self._until[peer]
            return False
        return True

    def __len__(self) -> int:
        return len(self._until)

    def _hash(self, peer: Endpoint, window: int) -> bytes:
        text = f"{peer.host} {peer.port} {peer.scope} {window}"
        return blake2s(text.encode(), key=self._secret, digest_size=VALUE_SIZE).digest()
