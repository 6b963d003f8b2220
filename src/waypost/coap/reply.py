"""An answer made into one message that may be sent.

To a source that is not validated at most `limit` octets go out.  A representation is then cut into
smaller blocks, and an Echo value goes along where it fits: a client that returns it gets large
blocks, one that ignores it follows the small ones.

Source: RFC 7252, 5; RFC 7959, 2.4; RFC 8323, 6; RFC 9175, 2.3; design, "UDP answers at most three times".
"""

from dataclasses import dataclass

from waypost.coap.block import etag
from waypost.coap.message import BERT, Message, Options, block, block_size, uint
from waypost.coap.numbers import BLOCK_EXPONENT_MAX, LINK_FORMAT, Code, Option
from waypost.coap.request import Block, Response, diagnostic

BLOCK_MAX = 1 << BLOCK_EXPONENT_MAX + 4  # octets
_LINK_FORMAT = bytes((Option.CONTENT_FORMAT << 4 | 1, LINK_FORMAT))  # the option
BERT_HEAD = 64  # octets of the longest message around a payload, without the token
ECHO_EXPONENT_MIN = 1  # blocks below 32 octets are not made smaller yet for the sake of an Echo value


@dataclass(slots=True)
class Head:
    """What the message around the answer is to be; its code comes with the answer."""

    type: int
    id: int
    token: bytes
    observe: int | None = None  # the notification's sequence number
    block1: Block | None = None  # of the request's last block, to be acknowledged


def whole(head: Head, response: Response, echo: bytes | None = None) -> bytes:
    """`response` in one message, with an Echo value if one is given."""
    if (
        response.content_format == LINK_FORMAT
        and head.observe is None
        and head.block1 is None
        and echo is None
        and response.max_age is None
        and not response.location
    ):  # the answer to most requests, without building a list of options: 2 us less
        start = bytes((0x40 | head.type << 4 | len(head.token), response.code, head.id >> 8, head.id & 0xFF))
        return start + head.token + link_format(response.payload)
    options: Options = []
    if head.observe is not None:
        options.append((Option.OBSERVE, uint(head.observe)))
    for segment in response.location:
        options.append((Option.LOCATION_PATH, segment.encode()))
    if response.content_format is not None:
        options.append((Option.CONTENT_FORMAT, uint(response.content_format)))
    if response.max_age is not None:
        options.append((Option.MAX_AGE, uint(response.max_age)))
    if head.block1 is not None:
        options.append((Option.BLOCK1, block(*head.block1)))
    if echo is not None:
        options.append((Option.ECHO, echo))
    return Message(head.type, response.code, head.id, head.token, options, response.payload).encode()


def link_format(payload: bytes) -> bytes:
    """What follows the token of an answer that is `payload` in link-format, and nothing else."""
    return _LINK_FORMAT + b"\xff" + payload if payload else _LINK_FORMAT


def one_block(
    head: Head,
    response: Response,
    tag: bytes,
    offset: int,
    exponent: int,
    echo: bytes | None = None,
    *,
    count: int = 1,
) -> bytes:
    """The block that begins at `offset`, a multiple of its size; with BERT so many of them."""
    size = block_size(exponent)
    end = offset + count * size
    options: Options = [(Option.ETAG, tag)]
    if head.observe is not None:
        options.append((Option.OBSERVE, uint(head.observe)))
    if response.content_format is not None:
        options.append((Option.CONTENT_FORMAT, uint(response.content_format)))
    if response.max_age is not None:
        options.append((Option.MAX_AGE, uint(response.max_age)))
    options.append((Option.BLOCK2, block(offset // size, end < len(response.payload), exponent)))
    if head.block1 is not None:
        options.append((Option.BLOCK1, block(*head.block1)))
    if offset == 0 and exponent >= BLOCK_EXPONENT_MAX:  # a small block has no octets to spare for it
        options.append((Option.SIZE2, uint(len(response.payload))))
    if echo is not None:
        options.append((Option.ECHO, echo))
    return Message(head.type, response.code, head.id, head.token, options, response.payload[offset:end]).encode()


def fitted_block(
    head: Head, response: Response, tag: bytes | None, asked: Block | None, limit: int | None, echo: bytes | None
) -> bytes | None:
    """The largest block, no larger than asked for, whose message has at most `limit` octets; None if none fits.

    A block number past the end is answered with 4.00.
    """
    number, _, wanted = asked or (0, False, BLOCK_EXPONENT_MAX)
    offset = number * block_size(wanted)
    if offset and offset >= len(response.payload):
        response = diagnostic(Code.BAD_REQUEST, "there is no such block")
        return cut(head, response, limit)
    tag = tag or etag(response.payload)
    if wanted == BERT:
        assert limit is not None  # a connection has one
        count = (limit - BERT_HEAD - len(head.token)) // BLOCK_MAX
        if count > 0:
            return one_block(head, response, tag, offset, BERT, count=count)
        wanted = BLOCK_EXPONENT_MAX
    if limit is None:
        return one_block(head, response, tag, offset, wanted)
    for value, smallest in ((echo, min(ECHO_EXPONENT_MIN, wanted)), (None, 0)):
        for exponent in range(wanted, smallest - 1, -1):
            data = one_block(head, response, tag, offset, exponent, value)
            if len(data) <= limit:
                return data
    return None


def cut(head: Head, response: Response, limit: int | None) -> bytes:
    """An answer whose payload is words for people: as many of them as `limit` octets hold."""
    limit = min(limit or BLOCK_MAX, BLOCK_MAX)
    data = whole(head, response)
    if len(data) <= limit:
        return data
    keep = max(0, len(response.payload) - (len(data) - limit))
    words = response.payload[:keep].decode(errors="ignore").encode()
    short = whole(head, Response(response.code, words, response.content_format, (), response.max_age))
    return short if len(short) <= limit else Message(head.type, response.code, head.id, head.token, []).encode()
