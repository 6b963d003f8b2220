"""Messages of OSCORE: what its option says, and which part of a message lies inside and which outside.

The value of the option:

 0 1 2 3 4 5 6 7 <------------- n bytes -------------->
|0 0 0|h|k|  n  |       Partial IV (if any) ...
 <- 1 byte -> <----- s bytes ------>
| s (if any) | kid context (if any) | kid (if any) ... |

Inside are the code, the options that are for the other end, and the payload; the ciphertext of these is the payload
of the message outside.  Nothing here knows a key.

Source: RFC 8613, 4 (what lies where), 5.3 (plaintext), 6.1 (the option).
"""

from typing import Final, NamedTuple

from waypost.coap.message import Message, Options, decode
from waypost.coap.numbers import Option
from waypost.errors import WireError

_OUTER: Final = frozenset(  # what a proxy may read stays outside (figure 5, class U)
    map(int, (Option.URI_HOST, Option.URI_PORT, Option.HOP_LIMIT, Option.PROXY_URI, Option.PROXY_SCHEME))
)
_PARTIAL_IV_SIZE: Final = 0b00000111
_KID: Final = 0b00001000
_KID_CONTEXT: Final = 0b00010000
_RESERVED: Final = 0b11100000


class Head(NamedTuple):
    """What the OSCORE option says; an empty Partial IV is none."""

    partial_iv: bytes = b""
    kid: bytes | None = None
    kid_context: bytes | None = None

    def encode(self) -> bytes:
        flags = len(self.partial_iv)
        context = b""
        if self.kid_context is not None:
            flags |= _KID_CONTEXT
            context = bytes((len(self.kid_context),)) + self.kid_context
        if self.kid is not None:
            flags |= _KID
        return bytes((flags,)) + self.partial_iv + context + (self.kid or b"") if flags else b""


def read_head(value: bytes) -> Head:
    """Raises WireError, and nothing else, for any octets at all."""
    if not value:
        return Head()
    flags = value[0]
    size = flags & _PARTIAL_IV_SIZE
    if flags & _RESERVED or size > 5:
        raise WireError("the OSCORE option uses what is reserved")
    position = 1 + size
    partial_iv = value[1:position]
    kid_context = None
    if flags & _KID_CONTEXT:
        if position >= len(value):
            raise WireError("the OSCORE option ends before its kid context")
        position += 1
        kid_context = value[position : position + value[position - 1]]
        position += value[position - 1]
    if position > len(value) or (position < len(value) and not flags & _KID):
        raise WireError("the OSCORE option is shorter or longer than it says")
    return Head(partial_iv, value[position:] if flags & _KID else None, kid_context)


def partial_iv(number: int) -> bytes:
    """Without leading zeros, but for the number 0 (RFC 8613, 5)."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def carries(data: bytes, option: int) -> bool:
    """Has the message that option?  One with a low number comes early, and few are before it."""
    position, number, end = 4 + (data[0] & 15), 0, len(data)
    while position < end:
        number += data[position] >> 4
        if number >= option:
            return number == option  # longer steps and the payload marker are beyond it as well: they are 13 and more
        size = data[position] & 15
        position += 1
        if size == 13 and position < end:
            size += data[position]
            position += 1
        elif size > 12:
            return False  # longer than any of those before it may be, or broken
        position += size
    return False


def answer_head(message: Message) -> Head:
    """What the option of an answer says.  Raises WireError."""
    values = [value for number, value in message.options if number == Option.OSCORE]
    if len(values) != 1:
        raise WireError("the OSCORE option is repeated")
    return read_head(values[0])


def request_head(message: Message) -> Head:
    """What the option of a request says.  Raises WireError."""
    head = answer_head(message)
    if not head.partial_iv or head.kid is None:
        raise WireError("a request has a Partial IV and a kid")
    return head


def unwrap(message: Message, plaintext: bytes) -> Message:
    """What was protected, in the message that carried it.  Raises WireError if `plaintext`, not empty, is no message.

    Of what stands outside only that is taken which proxies need; the rest anybody may have put there (8.2).
    """
    start = bytes((0x40 | message.type << 4 | len(message.token), plaintext[0], message.id >> 8, message.id & 0xFF))
    inner = decode(start + message.token + plaintext[1:])
    inner.options += [(number, value) for number, value in message.options if number in _OUTER]
    inner.options.sort(key=_number)  # stable: segments keep their order
    return inner


def wrap(data: bytes, code: int, head: Head) -> tuple[Message, bytes]:
    """The message around `data`, without its payload, and what is to be its plaintext.

    A notification's Observe goes outside, and inside is empty: Partial IVs tell their order (4.1.3.5.2).
    """
    start = 4 + (data[0] & 15)
    outer: Options = [(Option.OSCORE, head.encode())]
    plaintext = data[1:2] + data[start:]
    if carries(data, Option.OBSERVE):
        inner = decode(data)
        outer = [option for option in inner.options if option[0] == Option.OBSERVE] + outer
        inner.options = [(number, b"" if number == Option.OBSERVE else value) for number, value in inner.options]
        plaintext = data[1:2] + inner.encode()[start:]
    return Message(data[0] >> 4 & 3, code, data[2] << 8 | data[3], data[4:start], outer), plaintext


def _number(option: tuple[int, bytes]) -> int:
    return option[0]
