"""What went wrong, for programs and for people (RFC 9457).

A problem's `type` points into the API description, at the answer of that name.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from waypost.api.schemas import Problem
from waypost.errors import RemoteError


class Kind(NamedTuple):
    """`name` is its entry under components/responses of the API description."""

    name: str
    title: str


KINDS: Final = {
    400: Kind("BadRequest", "The request is wrong"),
    401: Kind("Unauthorized", "Say who you are"),
    403: Kind("Forbidden", "Not allowed"),
    404: Kind("NotFound", "There is nothing here"),
    405: Kind("MethodNotAllowed", "The method does not apply here"),
    406: Kind("NotAcceptable", "No acceptable media type"),
    408: Kind("RequestTimeout", "The request took too long to arrive"),
    409: Kind("Conflict", "Another record was voted for"),
    412: Kind("PreconditionFailed", "Another version is committed"),
    413: Kind("TooLarge", "The request or its answer is too large"),
    415: Kind("UnsupportedMediaType", "The body's media type is not understood"),
    422: Kind("Unprocessable", "It is no record for this key"),
    421: Kind("MisdirectedRequest", "The request is for another host"),
    429: Kind("TooManyRequests", "Too many requests"),
    500: Kind("InternalError", "A fault in the node"),
    503: Kind("Unavailable", "Not possible now"),
    507: Kind("Full", "There is no room for it"),
}
TYPE_PREFIX: Final = "/v1/openapi.json#/components/responses/"


class Refusal(RemoteError):
    """An answer other than success; `code` is the HTTP status, `retry_s` seconds to wait before another try.

    `more` are members of the problem document beside its own (RFC 9457, 3.2).
    """

    def __init__(
        self, code: int, message: str, *, retry_s: int | None = None, more: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry_s = retry_s
        self.more = more or {}


def problem(status: int, detail: str, instance: str, *, request: str | None = None) -> Problem:
    kind = KINDS.get(status)
    if kind is None:  # of aiohttp's own making; RFC 9457, 4.2.1: the status says it all
        return Problem("about:blank", HTTPStatus(status).phrase, status, detail, instance, request)
    return Problem(TYPE_PREFIX + kind.name, kind.title, status, detail, instance, request)
