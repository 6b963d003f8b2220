"""Records of DTLS 1.2 after the handshake, without OpenSSL's object for it, which takes fifty times the memory.

struct { uint8 type; uint16 version; uint16 epoch; uint48 sequence; opaque fragment<0..2^16-1>; } Record;

A server takes an association over from OpenSSL once the peer has said something: then the handshake is done for both,
and nothing of it will be sent again.  Keys are derived as OpenSSL derived them, and numbers go on where it stopped, so
that no nonce is used twice.  There is one epoch, no renegotiation, and only suites with authenticated encryption.

What does not verify, or came before, is dropped in silence (4.1.2.6 and 4.1.2.7).

Source: RFC 6347, 4.1; RFC 5246, 5, 6.2.3.3 and 6.3; RFC 5288, RFC 6655, RFC 7905 (nonces).
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from waypost.codec import Reader, opaque, u8, u16, u64
from waypost.errors import WireError

ALERT: Final = 21
APPLICATION_DATA: Final = 23
DTLS_1_2: Final = 0xFEFD
EPOCH: Final = 1  # the one that a handshake begins
WINDOW: Final = 64  # records before the latest that may still come
SEQUENCE_MAX: Final = (1 << 48) - 1
NONCE_SIZE: Final = 12
CLOSE_NOTIFY: Final = bytes((1, 0))


class Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Suite:
    """`iv_size` is 4 where each record says 8 octets of its nonce, else NONCE_SIZE."""

    make: Callable[[bytes], Aead]
    key_size: int
    iv_size: int
    hash: str


def _ccm_8(key: bytes) -> Aead:
    return AESCCM(key, tag_length=8)


SUITES: Final = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": Suite(AESGCM, 16, 4, "sha256"),
    "ECDHE-ECDSA-AES256-GCM-SHA384": Suite(AESGCM, 32, 4, "sha384"),
    "ECDHE-ECDSA-CHACHA20-POLY1305": Suite(ChaCha20Poly1305, 32, NONCE_SIZE, "sha256"),
    "ECDHE-ECDSA-AES128-CCM": Suite(AESCCM, 16, 4, "sha256"),
    "ECDHE-ECDSA-AES128-CCM8": Suite(_ccm_8, 16, 4, "sha256"),
    "ECDHE-PSK-CHACHA20-POLY1305": Suite(ChaCha20Poly1305, 32, NONCE_SIZE, "sha256"),
    "PSK-AES128-GCM-SHA256": Suite(AESGCM, 16, 4, "sha256"),
    "PSK-AES256-GCM-SHA384": Suite(AESGCM, 32, 4, "sha384"),
    "PSK-CHACHA20-POLY1305": Suite(ChaCha20Poly1305, 32, NONCE_SIZE, "sha256"),
    "PSK-AES128-CCM": Suite(AESCCM, 16, 4, "sha256"),
    "PSK-AES128-CCM8": Suite(_ccm_8, 16, 4, "sha256"),
}


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What a handshake has agreed on; never shown."""

    suite: str  # in OpenSSL's words
    master: bytes
    client_random: bytes
    server_random: bytes

    def __repr__(self) -> str:
        return f"Secrets(of {self.suite})"


class Records:
    """The server's end.  `sent` and `received` are the highest numbers of the epoch so far.

    `closed` says that the peer has ended it.
    """

    __slots__ = (
        "_client_iv",
        "_client_key",
        "_latest",
        "_seen",
        "_sent",
        "_server_iv",
        "_server_key",
        "_suite",
        "closed",
    )

    def __init__(self, secrets: Secrets, sent: int, received: int) -> None:
        self._suite = suite = SUITES[secrets.suite]
        block = Reader(_expanded(secrets, 2 * (suite.key_size + suite.iv_size)))
        self._client_key, self._server_key = block.take(suite.key_size), block.take(suite.key_size)
        self._client_iv, self._server_iv = block.take(suite.iv_size), block.take(suite.iv_size)
        self._sent = sent
        self._latest = received
        self._seen = (1 << WINDOW) - 1  # bit n: the record n before the latest; none of those is waited for
        self.closed = False

    def open(self, datagram: bytes) -> list[bytes]:
        """What the peer says in it."""
        said: list[bytes] = []
        reader = Reader(datagram)
        try:
            while reader.remaining() and not self.closed:
                kind, version, epoch = reader.u8(), reader.u16(), reader.u16()
                sequence, fragment = int.from_bytes(reader.take(6), "big"), reader.opaque(2)
                if version == DTLS_1_2 and epoch == EPOCH:
                    self._read(kind, sequence, fragment, said)
        except WireError:
            pass  # what is left is no record
        return said

    def seal(self, data: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """One record, one datagram."""
        self._sent += 1
        assert self._sent <= SEQUENCE_MAX
        number = u64(EPOCH << 48 | self._sent)
        nonce, explicit = self._nonce(self._server_iv, number), b"" if self._suite.iv_size == NONCE_SIZE else number
        head = u8(kind) + u16(DTLS_1_2)
        sealed = self._suite.make(self._server_key).encrypt(nonce, data, number + head + u16(len(data)))
        return head + number + opaque(2, explicit + sealed)

    def close(self) -> bytes:
        self.closed = True
        return self.seal(CLOSE_NOTIFY, ALERT)

    def _read(self, kind: int, sequence: int, fragment: bytes, said: list[bytes]) -> None:
        age = self._latest - sequence
        if age >= WINDOW or (age >= 0 and self._seen >> age & 1):
            return
        number = u64(EPOCH << 48 | sequence)
        explicit = b"" if self._suite.iv_size == NONCE_SIZE else fragment[:8]
        sealed = fragment[len(explicit) :]
        aead = self._suite.make(self._client_key)
        nonce = self._nonce(self._client_iv, explicit or number)
        size = len(sealed) - (8 if self._suite.make is _ccm_8 else 16)
        if size < 0 or len(nonce) != NONCE_SIZE:
            return
        try:
            data = aead.decrypt(nonce, sealed, number + u8(kind) + u16(DTLS_1_2) + u16(size))
        except InvalidTag:
            return
        if age < 0:
            self._latest = sequence
            self._seen = (self._seen << -age | 1) & ((1 << WINDOW) - 1) if -age < WINDOW else 1
        else:
            self._seen |= 1 << age
        if kind == APPLICATION_DATA and data:
            said.append(data)
        elif kind == ALERT:
            self.closed = True  # a close_notify, or worse: either way it is over

    def _nonce(self, iv: bytes, number: bytes) -> bytes:
        if self._suite.iv_size == NONCE_SIZE:
            return bytes(a ^ b for a, b in zip(iv, bytes(4) + number, strict=True))  # RFC 7905, 2
        return iv + number


def _expanded(secrets: Secrets, size: int) -> bytes:
    """RFC 5246, 6.3: the key block."""
    name = SUITES[secrets.suite].hash
    seed = b"key expansion" + secrets.server_random + secrets.client_random
    block, chained = b"", seed
    while len(block) < size:
        chained = hmac.digest(secrets.master, chained, name)
        block += hmac.digest(secrets.master, chained + seed, name)
    return block[:size]
