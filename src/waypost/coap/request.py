"""What a resource sees of a CoAP request, and what it answers."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

Block = tuple[int, bool, int]  # number, more, exponent (RFC 7959, 2.2)


@dataclass(slots=True)
class Transfer:
    """How a request is carried, which is the server's concern and not the resource's."""

    block1: Block | None = None
    block2: Block | None = None
    echo: bytes | None = None
    no_response: int = 0  # bits of the response classes that are not wanted (RFC 7967, 2.1)
    tag: bytes = b""


class Request:
    """A request with its options read and its payload whole.

    `host` is what the client calls this server; None if it says nothing.
    `verified`: it brought back an Echo value of ours.

    A plain class: one is made for every datagram.  `observe` is 0 to register, 1 to deregister,
    None without the option; `content_format` and `accept` are the registered numbers or None.
    """

    __slots__ = (
        "accept",
        "content_format",
        "host",
        "id",
        "method",
        "observe",
        "path",
        "payload",
        "query",
        "transfer",
        "verified",
    )

    def __init__(
        self,
        id: int,
        method: int,
        path: tuple[str, ...],
        query: tuple[str, ...],
        payload: bytes = b"",
        content_format: int | None = None,
        accept: int | None = None,
        observe: int | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        self.id = id
        self.method = method
        self.path = path
        self.query = query
        self.payload = payload
        self.content_format = content_format
        self.accept = accept
        self.observe = observe
        self.transfer = transfer
        self.host: str | None = None
        self.verified = False


class Fresh:
    """Goes along with an answer that may be given again; `ended` once it may be another."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False


Others = Callable[[str], bytes | None]


@dataclass(slots=True)
class Response:
    """An answer.  Not frozen: one is made for every datagram, and freezing costs four times as much.

    `payload` is the whole representation, however large: the server cuts it into blocks.
    `max_age` is seconds.  `observe` names what the client would be observing if it asked to; the
    resource later tells the server that this name has changed.  With `fresh` a 2.05 in link-format answers every
    equal request, of whoever may share answers, until that has ended.  `others` answers requests with another value of
    their only query argument: the payload of such a 2.05, or None to be asked with the whole request.
    """

    code: int
    payload: bytes = b""
    content_format: int | None = None
    location: tuple[str, ...] = ()
    max_age: int | None = None
    observe: Hashable | None = None
    fresh: Fresh | None = field(compare=False, default=None)
    others: Others | None = field(compare=False, default=None)


def diagnostic(code: int, sentence: str, max_age: int | None = None) -> Response:
    """An error with its reason in words for people (RFC 7252, 5.5.2)."""
    return Response(code, sentence.encode(), max_age=max_age)
