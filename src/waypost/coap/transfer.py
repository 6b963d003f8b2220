"""One request and its answer, each in as many blocks as it takes.

The server decides how large the blocks are.  An answer whose ETag changes on the way is fetched again from its
beginning, RESTARTS_MAX times at most; its blocks are never mixed.

Source: RFC 7959, 2 and 3; Echo and Request-Tag, RFC 9175, 2 and 3.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from waypost.coap.message import BERT, Message, Options, block, block_size, read_block, uint
from waypost.coap.numbers import BLOCK_EXPONENT_MAX, Code, Option
from waypost.coap.request import Block, Response
from waypost.errors import WireError

RESTARTS_MAX: Final = 3  # of one request, because its answer changed or its blocks were forgotten
ECHOES_MAX: Final = 4  # times one request is sent again with an Echo value


@dataclass(frozen=True, slots=True)
class Call:
    """What a client asks; the payload is whole."""

    method: int
    path: tuple[str, ...]
    query: tuple[str, ...] = ()
    payload: bytes = b""
    content_format: int | None = None
    accept: int | None = None


class Failure(Enum):
    """Why there is no response; the value is the sentence for people."""

    TIMEOUT = "no answer came in time"
    RESET = "the peer rejected the message"
    UNUSABLE = "the answer breaks the rules"
    TOO_LARGE = "the answer is too large"
    UNSTABLE = "the answer changed while it was fetched"
    BUSY = "too many requests are open"
    CLOSED = "the connection is closed"


@dataclass(slots=True)
class Reply:
    """One response message; `response` has the payload of this message alone."""

    response: Response
    etag: bytes | None = None
    block1: Block | None = None
    block2: Block | None = None
    echo: bytes | None = None


def read_reply(message: Message, *, bert: bool) -> Reply:
    """Raises WireError for an option that is critical and unknown, or malformed."""
    reply = Reply(Response(message.code, message.payload))
    response = reply.response
    for number, value in message.options:
        match number:
            case Option.LOCATION_PATH:
                try:
                    response.location += (value.decode(),)
                except UnicodeDecodeError as error:
                    raise WireError("the location is not UTF-8") from error
            case Option.CONTENT_FORMAT:
                response.content_format = int.from_bytes(value, "big")
            case Option.MAX_AGE:
                response.max_age = int.from_bytes(value, "big")
            case Option.ETAG:
                reply.etag = value
            case Option.BLOCK1:
                reply.block1 = read_block(value, bert=bert)
            case Option.BLOCK2:
                reply.block2 = read_block(value, bert=bert)
            case Option.ECHO if 1 <= len(value) <= 40:  # RFC 9175, 2.2.1
                reply.echo = value
            case _ if number & 1:  # RFC 7252, 5.4.1
                raise WireError(f"option {number} is critical and unknown here")
            case _:
                pass
    return reply


class Transfer:
    """Alternate message() and advance() until there is an outcome."""

    def __init__(self, call: Call, tag: bytes, body_max: int) -> None:
        self._call = call
        self._tag = tag
        self._body_max = body_max
        self._exponent = BLOCK_EXPONENT_MAX  # of the blocks we send
        self._restarts = 0
        self._echoes = 0
        self._begin()

    def message(self, type: int, id: int, token: bytes, echo: bytes | None) -> Message:
        """What to send next."""
        call = self._call
        options: Options = [(Option.URI_PATH, segment.encode()) for segment in call.path]
        options += [(Option.URI_QUERY, argument.encode()) for argument in call.query]
        payload = b""
        if self._wanted is None:
            payload, sending = self._next_block()
            if sending is not None:
                options += [(Option.BLOCK1, block(*sending)), (Option.REQUEST_TAG, self._tag)]
        for number, value in (Option.CONTENT_FORMAT, call.content_format), (Option.ACCEPT, call.accept):
            if value is not None:
                options.append((number, uint(value)))
        if self._wanted is not None:
            options.append((Option.BLOCK2, block(*self._wanted)))
        if echo is not None:
            options.append((Option.ECHO, echo))
        options.sort(key=_number)  # stable: segments keep their order
        return Message(type, call.method, id, token, options, payload)

    def advance(self, reply: Reply) -> Response | Failure | None:
        """The outcome, or None: send message()."""
        code = reply.response.code
        if code == Code.UNAUTHORIZED and reply.echo is not None and self._echoes < ECHOES_MAX:
            self._echoes += 1
            return None  # RFC 9175, 2.3: the same again, with the Echo value
        if self._wanted is not None:
            return self._collect(reply)
        if code == Code.CONTINUE:
            return self._continue(reply)
        if code == Code.REQUEST_ENTITY_TOO_LARGE and reply.block1 is not None and reply.block1[2] < self._exponent:
            self._exponent = reply.block1[2]  # RFC 7959, 2.9.3: smaller blocks would do
            self._begin()
            return None
        if code == Code.REQUEST_ENTITY_INCOMPLETE and self._sent:
            return self._restart()
        if reply.block2 is None:
            return reply.response
        return self._collect(reply)

    def _begin(self) -> None:
        self._sent = 0  # octets of our payload that the server has
        self._body = bytearray()  # what we have of the answer
        self._wanted: Block | None = None  # the block of the answer that we ask for, after the first
        self._etag: bytes | None = None

    def _restart(self) -> Failure | None:
        self._restarts += 1
        if self._restarts > RESTARTS_MAX:
            return Failure.UNSTABLE
        self._begin()
        return None

    def _next_block(self) -> tuple[bytes, Block | None]:
        payload, size = self._call.payload, 1 << self._exponent + 4
        if len(payload) <= size:
            return payload, None
        end = self._sent + size
        return payload[self._sent : end], (self._sent // size, end < len(payload), self._exponent)

    def _continue(self, reply: Reply) -> Failure | None:
        """RFC 7959, 2.5: the server has the block; from now on no larger ones than it says."""
        _, sent = self._next_block()
        if sent is None or not sent[1] or reply.block1 is None:
            return Failure.UNUSABLE
        self._sent += 1 << self._exponent + 4
        self._exponent = min(self._exponent, reply.block1[2])
        return None

    def _collect(self, reply: Reply) -> Response | Failure | None:
        response, payload = reply.response, reply.response.payload
        safe = self._call.method == Code.GET  # asked again without harm
        if self._wanted is not None and (response.code >= 0x80 or reply.etag != self._etag or reply.block2 is None):
            return self._restart() if safe else Failure.UNSTABLE
        assert reply.block2 is not None
        number, more, exponent = reply.block2
        size = block_size(exponent)
        odd = len(payload) % size if exponent == BERT else len(payload) != size
        if (
            number * size != len(self._body)
            or (more and (odd or not payload))
            or (len(payload) > size and exponent < BERT)
        ):
            return Failure.UNUSABLE
        if more and reply.echo is not None and not self._echoes and exponent < BLOCK_EXPONENT_MAX and safe:
            self._echoes += 1
            self._begin()
            return None  # once it knows that we are here it may send larger blocks
        self._body += payload
        if len(self._body) > self._body_max:
            return Failure.TOO_LARGE
        if more:
            self._etag = reply.etag
            self._wanted = (len(self._body) // size, False, exponent)
            return None
        response.payload = bytes(self._body)
        return response


def _number(option: tuple[int, bytes]) -> int:
    return option[0]
