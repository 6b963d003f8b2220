"""The client for programs without an event loop, on the standard library alone."""

from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import TracebackType
from typing import Literal, TypeVar, assert_never, overload

from waypost.api import calls
from waypost.api.calls import COUNT, TIMEOUT_S, Call, Pairs
from waypost.api.schemas import Endpoint, Endpoints, Link, Links, NodeStatus, Registered

T = TypeVar("T")
P = TypeVar("P", Endpoints, Links)


class SyncClient:
    """Talks to the node at `url`, as in http://127.0.0.1:8480.

    Methods raise UnreachableError if nothing answers within `timeout_s` (for each read and write),
    and RemoteError, with the HTTP status as `code`, if the node refuses.  One thread at a time.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._origin = calls.origin(url)
        kind = HTTPSConnection if self._origin.secure else HTTPConnection
        self._connection = kind(self._origin.host, self._origin.port, timeout=timeout_s)

    def __enter__(self) -> "SyncClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def register(
        self,
        ep: str,
        *,
        base: str,
        links: Iterable[Link] = (),
        lt: int | None = None,
        d: str | None = None,
        attributes: Pairs = (),
    ) -> Registered:
        """Register `ep`, or replace what it stands for.  `lt` seconds."""
        return self._call(calls.register(ep, base=base, links=links, lt=lt, d=d, attributes=attributes))

    def renew(self, id: str, *, lt: int | None = None, base: str | None = None, attributes: Pairs = ()) -> Endpoint:
        """Start the lifetime anew, and change what is given."""
        return self._call(calls.renew(id, lt=lt, base=base, attributes=attributes))

    def unregister(self, id: str) -> None:
        self._call(calls.unregister(id))

    def get(self, id: str) -> Endpoint:
        return self._call(calls.get(id))

    def status(self) -> NodeStatus:
        return self._call(calls.status())

    @overload
    def find(
        self, kind: Literal["endpoints"] = ..., criteria: Pairs = ..., *, count: int = ..., **named: str
    ) -> Iterator[Endpoint]: ...
    @overload
    def find(
        self, kind: Literal["links"], criteria: Pairs = ..., *, count: int = ..., **named: str
    ) -> Iterator[Link]: ...
    def find(
        self, kind: calls.Found = "endpoints", criteria: Pairs = (), *, count: int = COUNT, **named: str
    ) -> Iterator[Endpoint] | Iterator[Link]:
        """What meets all criteria, read page by page, `count` at a time, as the iterator is drawn."""
        wanted = (*criteria, *named.items())
        match kind:
            case "endpoints":
                return (entry for page in self._pages(calls.endpoints(wanted, count)) for entry in page.endpoints)
            case "links":
                return (link for page in self._pages(calls.links(wanted, count)) for link in page.links)
            case _:
                assert_never(kind)

    def _pages(self, call: Call[P]) -> Iterator[P]:
        next: Call[P] | None = call
        while next is not None:
            page = self._call(next)
            yield page
            next = calls.following(next, page)

    def _call(self, call: Call[T]) -> T:
        kept = self._connection.sock is not None
        try:
            self._connection.request(call.method, call.target, call.body, call.headers)
            response = self._connection.getresponse()
            body = response.read(calls.ANSWER_MAX + 1)
        except (OSError, HTTPException) as error:
            self._connection.close()
            if kept and isinstance(error, ConnectionError):
                # The node closed the idle connection; every call of ours may be made twice.
                return self._call(call)
            raise calls.unreachable(self._origin, error) from error
        return calls.read(call, response.status, dict(response.headers), body)
