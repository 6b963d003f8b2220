"""Reading the options of a request.

An option that is unknown, too long, too short or repeated where it must not be is critical or not
by its number: a critical one refuses the request, the others are passed over.

Source: RFC 7252, 5.4 and 5.10; RFC 7959, 2.2; RFC 7967, 2; RFC 9175, 2.2 and 3.2.
"""

from typing import Final

from waypost.coap.message import Message, read_block
from waypost.coap.numbers import Code, Option
from waypost.coap.request import Request, Transfer
from waypost.errors import RemoteError, WireError

SEGMENTS_MAX: Final = 16  # path segments of one request
CRITERIA_MAX: Final = 64  # query arguments of one request

_URI_PATH: Final = int(Option.URI_PATH)
_URI_QUERY: Final = int(Option.URI_QUERY)

# option -> shortest and longest value in octets; what is not here is unknown to this server
_SIZES: Final[dict[int, tuple[int, int]]] = {
    Option.URI_HOST: (1, 255),
    Option.ETAG: (1, 8),
    Option.OBSERVE: (0, 3),
    Option.URI_PORT: (0, 2),
    Option.CONTENT_FORMAT: (0, 2),
    Option.HOP_LIMIT: (1, 1),
    Option.ACCEPT: (0, 2),
    Option.BLOCK2: (0, 3),
    Option.BLOCK1: (0, 3),
    Option.SIZE2: (0, 4),
    Option.PROXY_URI: (1, 1034),
    Option.PROXY_SCHEME: (1, 255),
    Option.SIZE1: (0, 4),
    Option.ECHO: (1, 40),
    Option.NO_RESPONSE: (0, 1),
    Option.REQUEST_TAG: (0, 8),
}


def read_request(message: Message, id: int, *, bert: bool) -> Request:
    """The request that `message` makes; `bert` says that it came on a connection.

    Raises RemoteError with the code to answer: 4.02 for an option, 4.00 for text that is not UTF-8.
    """
    path: list[str] = []
    query: list[str] = []
    others: list[tuple[int, bytes]] | None = None
    try:
        for number, value in message.options:
            if number == _URI_PATH:
                path.append(value.decode())
            elif number == _URI_QUERY:
                query.append(value.decode())
            elif others is None:
                others = [(number, value)]
            else:
                others.append((number, value))
    except UnicodeDecodeError as error:
        raise RemoteError("the path and the query must be UTF-8", code=Code.BAD_REQUEST) from error
    if len(path) > SEGMENTS_MAX or len(query) > CRITERIA_MAX:
        raise RemoteError(
            f"at most {SEGMENTS_MAX} path segments and {CRITERIA_MAX} query arguments", code=Code.BAD_OPTION
        )
    request = Request(id, message.code, tuple(path), tuple(query), message.payload)
    if others is not None:
        _read_others(request, others, bert=bert)
    return request


def _read_others(request: Request, options: list[tuple[int, bytes]], *, bert: bool) -> None:
    last = -1
    for number, value in options:
        sizes = _SIZES.get(number)
        repeated, last = number == last, number  # they come in the order of their numbers
        if sizes is None or repeated or not sizes[0] <= len(value) <= sizes[1]:
            if number & 1:  # RFC 7252, 5.4.1: odd numbers are critical
                fault = "repeated" if repeated else "unknown here" if sizes is None else f"{len(value)} octets long"
                raise RemoteError(f"option {number} is {fault}", code=Code.BAD_OPTION)
            continue
        match number:
            case Option.CONTENT_FORMAT:
                request.content_format = int.from_bytes(value, "big")
            case Option.ACCEPT:
                request.accept = int.from_bytes(value, "big")
            case Option.OBSERVE:
                request.observe = int.from_bytes(value, "big")
            case Option.PROXY_URI | Option.PROXY_SCHEME:
                raise RemoteError("this server is no proxy", code=Code.PROXYING_NOT_SUPPORTED)
            case Option.URI_HOST:
                request.host = value.decode(errors="replace").lower()  # RFC 7252, 6.4: as it was written, but for case
            case Option.BLOCK1 | Option.BLOCK2 | Option.ECHO | Option.NO_RESPONSE | Option.REQUEST_TAG:
                _read_transfer(request, number, value, bert=bert)
            case _:
                pass  # Uri-Port: one server, whatever its port; ETag, Hop-Limit, sizes: of no use to us


def _read_transfer(request: Request, number: int, value: bytes, *, bert: bool) -> None:
    transfer = request.transfer = request.transfer or Transfer()
    try:
        match number:
            case Option.BLOCK1:
                transfer.block1 = read_block(value, bert=bert)
            case Option.BLOCK2:
                transfer.block2 = read_block(value, bert=bert)
            case Option.ECHO:
                transfer.echo = value
            case Option.NO_RESPONSE:
                transfer.no_response = int.from_bytes(value, "big")
            case _:  # Request-Tag
                transfer.tag = value
    except WireError as error:
        raise RemoteError(str(error), code=Code.BAD_REQUEST) from error  # RFC 7959, 2.2: exponent 7 is 4.00
