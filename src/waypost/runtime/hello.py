"""The first two datagrams of a DTLS handshake, answered without keeping anything.

struct { uint8 type; uint16 version; uint16 epoch; uint48 sequence; opaque fragment<0..2^16-1>; } Record;
struct { uint8 type; uint24 length; uint16 sequence; uint24 fragment_offset; uint24 fragment_length; } Handshake;
struct { uint16 version; opaque random[32]; opaque session<0..32>; opaque cookie<0..2^8-1>; … } ClientHello;
struct { uint16 version; opaque cookie<0..2^8-1>; } HelloVerifyRequest;

A datagram's source can be forged.  A cookie is a keyed hash of the source, the client's random and the time, so
handing one out keeps nothing; who brings it back has received what we sent there.  The answer, 44 octets, is smaller
than any ClientHello.

Source: RFC 6347, 4.2.1 and 4.3.2; RFC 5246, 7.4.1.2.
"""

from dataclasses import dataclass
from hashlib import blake2s
from hmac import compare_digest
from random import Random
from typing import Final

from waypost.codec import Reader, opaque, u8, u16, u32
from waypost.engine import Endpoint
from waypost.errors import WireError

HANDSHAKE: Final = 22
CLIENT_HELLO: Final = 1
HELLO_VERIFY_REQUEST: Final = 3
DTLS_1_0: Final = 0xFEFF  # RFC 6347, 4.2.1: the version of a HelloVerifyRequest, whatever is spoken then
COOKIE_SIZE: Final = 16  # octets
COOKIE_LIFETIME: Final = 30.0  # seconds that a cookie is good for, at least; twice as long at most
TAIL_LEAST: Final = 6  # octets of the shortest list of suites and of compression methods


@dataclass(frozen=True, slots=True)
class ClientHello:
    """`sequence` is its record's; the rest of it is OpenSSL's to read."""

    sequence: bytes
    random: bytes
    session: bytes
    cookie: bytes

    @classmethod
    def read(cls, datagram: bytes) -> "ClientHello":
        """Raises WireError for whatever is not a whole ClientHello that begins a handshake."""
        reader = Reader(datagram)
        if not is_client_hello(datagram):
            raise WireError("the datagram begins no handshake")
        reader.take(5)
        sequence = reader.take(6)
        record = reader.block(2)
        record.take(1)
        length = record.take(3)
        record.take(2)
        if (
            record.take(3) != bytes(3)
            or record.take(3) != length
            or record.remaining() != int.from_bytes(length, "big")
        ):
            raise WireError("the ClientHello comes in pieces")
        record.take(2)
        hello = cls(sequence, record.take(32), record.opaque(1), record.opaque(1))
        if len(hello.session) > 32 or record.remaining() < TAIL_LEAST:
            raise WireError("the ClientHello is cut short")
        return hello


def is_client_hello(datagram: bytes) -> bool:
    """Of epoch 0, by its first octets."""
    return len(datagram) > 13 and datagram[0] == HANDSHAKE and datagram[13] == CLIENT_HELLO and datagram[3:5] == b"\0\0"


def verify_request(hello: ClientHello, cookie: bytes) -> bytes:
    """RFC 6347, 4.2.1: the record has the number of the client's."""
    body = u16(DTLS_1_0) + opaque(1, cookie)
    length = u32(len(body))[1:]
    message = u8(HELLO_VERIFY_REQUEST) + length + u16(0) + bytes(3) + length + body
    return u8(HANDSHAKE) + u16(DTLS_1_0) + u16(0) + hello.sequence + opaque(2, message)


class Cookies:
    def __init__(self, rng: Random) -> None:
        self._secret = rng.randbytes(32)

    def make(self, peer: Endpoint, hello: ClientHello, now: float) -> bytes:
        return self._hash(peer, hello, int(now // COOKIE_LIFETIME))

    def accepts(self, peer: Endpoint, hello: ClientHello, now: float) -> bool:
        window = int(now // COOKIE_LIFETIME)
        return any(compare_digest(hello.cookie, self._hash(peer, hello, w)) for w in (window, window - 1))

    def _hash(self, peer: Endpoint, hello: ClientHello, window: int) -> bytes:
        text = f"{peer.host} {peer.port} {peer.scope} {window} ".encode()
        return blake2s(text + hello.random + hello.session, key=self._secret, digest_size=COOKIE_SIZE).digest()
