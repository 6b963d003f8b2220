"""One security context of OSCORE at work: aiocoap's keys and nonces, a replay window, and sequence numbers.

Sequence numbers are used in blocks: those below `durable` were promised to the disk before, and after a restart the
first is the one after them.  Which requests came before a restart is not known after it, so the window is closed
until one of them proves to be fresh.

Source: RFC 8613, 3.2, 5, 7 and appendix B.1.
"""

from functools import cached_property
from hashlib import blake2s
from typing import Any, Final

from aiocoap import oscore
from aiocoap.numbers import POST

from waypost.codec import opaque
from waypost.errors import WireError
from waypost.identity.oscore import SALT_MAX, SecurityContext

WINDOW: Final = 32  # sequence numbers (RFC 8613, 3.2.2: the default)
BLOCK: Final = 1024  # sequence numbers that one commit reserves
SEQUENCE_MAX: Final = (1 << 40) - 1  # RFC 8613, 7.2.1
TAG_SIZE: Final = 8  # octets that AES-CCM-16-64-128 adds


class Context:
    """`number` tells it from the others of this node."""

    def __init__(self, settings: SecurityContext, number: int) -> None:
        self.who = settings.who
        self.number = number
        self.sender_id = settings.sender_id
        self.recipient_id = settings.recipient_id
        self.id_context = settings.id_context
        self._settings = settings
        self._window: Any = oscore.ReplayWindow(WINDOW, _nothing)
        self.next = 0  # the sequence number to use next
        self.durable = 0  # those below may be used
        self.reserved = 0  # those below are promised once the disk has said so

    @property
    def fingerprint(self) -> bytes:
        """By which its sequence numbers are remembered: equal if, and only if, nonces would collide; 32 octets."""
        settings = self._settings
        parts = (
            settings.master_secret,
            settings.master_salt.ljust(SALT_MAX, b"\0"),  # so HMAC takes it
            settings.sender_id,
            b"" if settings.id_context is None else b"\1" + settings.id_context,
        )
        return blake2s(b"".join(opaque(1, part) for part in parts), person=b"oscore").digest()

    @cached_property
    def _keys(self) -> Any:
        """Derived when they are needed first: most contexts sleep."""
        settings = self._settings
        keys = oscore.SecurityContextUtils()
        keys.alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]
        keys.hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]
        keys.sender_id, keys.recipient_id = settings.sender_id, settings.recipient_id
        keys.id_context = settings.id_context
        keys.derive_keys(settings.master_salt, settings.master_secret)
        return keys

    # sequence numbers

    def restore(self, used: int | None) -> None:
        """`used`: sequence numbers below it may have been used before; None if this context is new here."""
        self.next = self.durable = self.reserved = used or 0
        if used is None:
            self._window.initialize_empty()

    @property
    def ready(self) -> bool:
        """There are numbers left that were reserved since the start, so a restart would be noticed."""
        return self.durable > self.next

    @property
    def reserving(self) -> bool:
        """A block is on its way to the disk."""
        return self.reserved > self.durable

    @property
    def wants_more(self) -> bool:
        """It is time to reserve the next block."""
        return not self.reserving and self.durable - self.next < BLOCK // 2 and self.durable <= SEQUENCE_MAX

    def reserve(self) -> int:
        """The number to make durable: all below it are reserved then."""
        self.reserved = min(self.durable + BLOCK, SEQUENCE_MAX + 1)
        return self.reserved

    def take(self) -> int:
        """A sequence number, used by this; only when it is ready."""
        assert self.ready
        self.next += 1
        return self.next - 1

    # the replay window

    @property
    def open(self) -> bool:
        """Requests can be told from replays."""
        return bool(self._window.is_initialized())

    def open_at(self, number: int) -> None:
        """A request of that number is fresh: it is taken, and none before it will be."""
        self._window.initialize_from_freshlyseen(number)

    def unused(self, number: int) -> bool:
        return bool(self._window.is_valid(number))

    def strike_out(self, number: int) -> None:
        self._window.strike_out(number)

    # encryption

    def encrypt(self, plaintext: bytes, aad: bytes, nonce: bytes) -> bytes:
        return bytes(self._keys.alg_aead.encrypt(plaintext, aad, self._keys.sender_key, nonce))

    def decrypt(self, ciphertext: bytes, aad: bytes, nonce: bytes) -> bytes:
        """One octet at least.  Raises WireError if it was not encrypted with this context for this purpose."""
        if len(ciphertext) <= TAG_SIZE:
            raise WireError("the ciphertext is too short")
        try:
            return bytes(self._keys.alg_aead.decrypt(ciphertext, aad, self._keys.recipient_key, nonce))
        except oscore.ProtectionInvalid as error:
            raise WireError("the ciphertext is not authentic") from error

    def nonce(self, partial_iv: bytes, id: bytes) -> bytes:
        """Of the message that the owner of `id` numbered so (RFC 8613, 5.2)."""
        return bytes(self._keys._construct_nonce(partial_iv, id, self._keys.alg_aead))

    def aad(self, kid: bytes, partial_iv: bytes) -> bytes:
        """Of a request and all its answers (RFC 8613, 5.4)."""
        request = oscore.RequestIdentifiers(kid, partial_iv, False, POST)
        external = self._keys._extract_external_aad(None, request, True)
        return bytes(oscore.SymmetricEncryptionAlgorithm._build_encrypt0_structure({}, external))


def _nothing() -> None:
    """aiocoap's window tells when it changes; ours is not kept."""
