"""One CoAP message on the wire.

 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
|Ver| T |  TKL  |      Code     |          Message ID           |
|   Token (TKL octets) ... | Options ... |1 1 1 1 1 1 1 1| Payload ...

Source: RFC 7252, section 3; option values, 3.2; block values, RFC 7959, 2.2
and RFC 8323, 6.
"""

from typing import Final

from waypost.coap.numbers import Type
from waypost.errors import WireError

Options = list[tuple[int, bytes]]  # in order of their numbers

TOKEN_MAX: Final = 8
BERT: Final = 7  # block size exponent of several blocks in one message, on connections alone (RFC 8323, 6)
_MARKER: Final = 0xFF


class Message:
    """A plain class: one is made for every datagram.  `type`, `code` and option numbers are as registered."""

    __slots__ = ("code", "id", "options", "payload", "token", "type")

    def __init__(self, type: int, code: int, id: int, token: bytes, options: Options, payload: bytes = b"") -> None:
        self.type = type
        self.code = code
        self.id = id
        self.token = token
        self.options = options
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and all(
            getattr(self, name) == getattr(other, name) for name in Message.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # its options are a list

    def __repr__(self) -> str:
        return (
            f"Message({Type(self.type).name} {self.code >> 5}.{self.code & 31:02d} id={self.id}"
            f" token={self.token.hex()} options={self.options} payload={self.payload!r})"
        )

    def encode(self) -> bytes:
        head = bytes((0x40 | self.type << 4 | len(self.token), self.code, self.id >> 8, self.id & 0xFF))
        parts = [head, self.token]
        last = 0
        for number, value in self.options:
            delta, size = number - last, len(value)
            last = number
            if 0 <= delta < 13 and size < 13:
                parts += (_SHORT[delta << 4 | size], value)
            else:
                parts += (_long(delta, size), value)
        if self.payload:
            parts += (b"\xff", self.payload)
        return b"".join(parts)


_SHORT: Final = tuple(bytes((value,)) for value in range(256))


def _long(delta: int, size: int) -> bytes:
    """Head of an option whose delta or length needs the extended form (RFC 7252, 3.1)."""
    if delta < 0:
        raise OverflowError("options must be in the order of their numbers")
    delta_nibble, delta_tail = _extended(delta)
    size_nibble, size_tail = _extended(size)
    return bytes((delta_nibble << 4 | size_nibble,)) + delta_tail + size_tail


def _extended(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, (value - 13).to_bytes(1, "big")
    return 14, (value - 269).to_bytes(2, "big")


def decode(data: bytes) -> Message:
    """Raises WireError, and nothing else, for any bytes at all; decode(data).encode() == data."""
    end = len(data)
    if end < 4:
        raise WireError(f"a message has 4 octets at least, here are {end}")
    first = data[0]
    if first >> 6 != 1:
        raise WireError(f"version {first >> 6} is not 1")
    pos = 4 + (first & 15)
    if pos > 4 + TOKEN_MAX or pos > end:
        raise WireError("the token is longer than 8 octets or than the message")
    code = data[1]
    if code == 0 and end > 4:
        raise WireError("an empty message has octets after its id")  # RFC 7252, 4.1
    options: Options = []
    number = 0
    payload = b""
    try:
        while pos < end:
            byte = data[pos]
            pos += 1
            if byte == _MARKER:
                payload = data[pos:]
                if not payload:
                    raise WireError("a payload marker without payload")
                break
            delta = byte >> 4
            size = byte & 15
            if delta > 12:
                delta, pos = _extension(data, delta, pos)
            if size > 12:
                size, pos = _extension(data, size, pos)
            number += delta
            start, pos = pos, pos + size
            options.append((number, data[start:pos]))
    except IndexError as error:
        raise WireError("an option's head runs past the message") from error
    if pos > end:
        raise WireError("an option runs past the message")
    if number > 0xFFFF:
        raise WireError(f"option number {number} does not exist")
    return Message(first >> 4 & 3, code, data[2] << 8 | data[3], data[4 : 4 + (first & 15)], options, payload)


def _extension(data: bytes, nibble: int, pos: int) -> tuple[int, int]:
    if nibble == 13:
        return 13 + data[pos], pos + 1
    if nibble == 14:
        return 269 + (data[pos] << 8 | data[pos + 1]), pos + 2
    raise WireError("15 is reserved in an option's head")


def uint(value: int) -> bytes:
    """An option value of format uint: no leading zeros, and nothing at all for 0."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def block(number: int, more: bool, exponent: int) -> bytes:
    """The value of Block1 or Block2; a block has block_size(exponent) octets."""
    return uint(number << 4 | more << 3 | exponent)


def block_size(exponent: int) -> int:
    """Octets; BERT's blocks are any number of these (RFC 8323, 6)."""
    return 1 << min(exponent, BERT - 1) + 4


def read_block(value: bytes, *, bert: bool = False) -> tuple[int, bool, int]:
    """(number, more, exponent).  Raises WireError for more than 3 octets, or for exponent 7 where it is not BERT's."""
    if len(value) > 3:
        raise WireError(f"a block option of {len(value)} octets")
    raw = int.from_bytes(value, "big")
    if raw & 7 == BERT and not bert:
        raise WireError("block size exponent 7 is reserved")
    return raw >> 4, bool(raw & 8), raw & 7
