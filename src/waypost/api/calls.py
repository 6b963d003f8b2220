"""What the clients send and how they read the answer; who carries it is their affair.

Sources: RFC 9110 (HTTP), RFC 9457 (problem documents); the routes are those of `routes.py`.
"""

import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import NoneType
from typing import Final, Generic, Literal, Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec

from waypost import __version__
from waypost.api.schemas import (
    JSON,
    JSONL,
    TEXT,
    Endpoint,
    Endpoints,
    Evictions,
    Exported,
    GivenToken,
    Imported,
    Link,
    Links,
    NodeStatus,
    Problem,
    Registered,
    Tokens,
)
from waypost.errors import ConfigError, RemoteError, UnreachableError

TIMEOUT_S: Final = 10.0
COUNT: Final = 100  # entries of a page
ANSWER_MAX: Final = 64 << 20  # octets
LINE_MAX: Final = 1 << 20  # octets of one line of an export
CHUNK: Final = 1 << 16  # octets of an export, read at once
PROBLEM_MAX: Final = 1 << 16  # octets of a refusal

_line: Final = msgspec.json.Decoder(Exported)

Found = Literal["endpoints", "links"]
Pairs = Iterable[tuple[str, str | None]]
T = TypeVar("T")


class RefusedError(RemoteError):
    """The node refuses: `document` is the problem document as it came, `retry_s` when another try may be worth it."""

    def __init__(self, message: str, *, code: int, retry_s: int | None, document: bytes) -> None:
        super().__init__(message, code=code, hint=None if retry_s is None else f"try again in {retry_s} s")
        self.retry_s = retry_s
        self.document = document


class Page(Protocol):
    """`next` is the following one's URL."""

    @property
    def next(self) -> str | None: ...


P = TypeVar("P", bound=Page)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and the type of its answer's body; `repeatable` if it may be made twice as well as once.

    `slow_s` is how long the node may take, beside what any call takes.
    """

    method: str
    target: str  # path and query
    answer: type[T]
    body: bytes | None = None
    media: str = JSON  # of the body
    repeatable: bool = True
    slow_s: float = 0.0
    prefer: str = ""  # RFC 7240

    @property
    def headers(self) -> dict[str, str]:
        accept = TEXT if self.answer is str else f"{JSON}, {JSONL}"
        headers = {"Accept": accept, "User-Agent": f"waypost/{__version__}"}
        if self.prefer:
            headers["Prefer"] = self.prefer
        return headers if self.body is None else headers | {"Content-Type": self.media}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the node is."""

    secure: bool
    host: str
    port: int
    socket: str = ""  # the path of a socket on this machine, in place of host and port

    @property
    def url(self) -> str:
        """That of requests; a socket has no other name than localhost."""
        return "http://localhost" if self.socket else self.text

    @property
    def text(self) -> str:
        """For people."""
        if self.socket:
            return f"unix://{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


def origin(url: str) -> Origin:
    """Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme == "unix" and parts.path and not (parts.netloc or parts.query or parts.fragment):
        return Origin(False, "localhost", 80, unquote(parts.path))
    more = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
    if parts.scheme not in ("http", "https") or not parts.hostname or more:
        raise ConfigError(
            f"{url!r} is not the URL of a node", hint="write it like http://127.0.0.1:8480 or unix:///PATH"
        )
    secure = parts.scheme == "https"
    return Origin(secure, parts.hostname, port or (443 if secure else 80))


def context(ca: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """For a node that one of the roots in `ca` certifies, or one of the system's.  Raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{ca} cannot be read as certificates in PEM") from error


def headers(call: Call[T], origin: Origin, token: str | None) -> dict[str, str]:
    """Those of the call, and the token's.  Raises ConfigError for a token that others could read on its way."""
    if token is None:
        return call.headers
    if not (origin.secure or origin.socket or _is_loopback(origin.host)):
        raise ConfigError("a token is not sent over plain HTTP to another machine", hint="use https://")
    return call.headers | {"Authorization": f"Bearer {token}"}


def register(
    ep: str,
    *,
    base: str,
    links: Iterable[Link] = (),
    lt: int | None = None,
    d: str | None = None,
    attributes: Pairs = (),
) -> Call[Registered]:
    body = {"ep": ep, "base": base, "links": tuple(links), "lt": lt, "d": d, "attributes": tuple(attributes)}
    return Call("POST", "/v1/endpoints", Registered, _json(body))


def renew(id: str, *, lt: int | None = None, base: str | None = None, attributes: Pairs = ()) -> Call[Endpoint]:
    return Call("PATCH", _path(id), Endpoint, _json({"lt": lt, "base": base, "attributes": tuple(attributes)}))


def unregister(id: str) -> Call[None]:
    return Call("DELETE", _path(id), NoneType)


def evict(id: str, for_s: int) -> Call[None]:
    return Call("DELETE", f"{_path(id)}?for_s={for_s}", NoneType)


def evictions() -> Call[Evictions]:
    return Call("GET", "/v1/evictions", Evictions)


def readmit(id: str) -> Call[None]:
    return Call("DELETE", f"/v1/evictions/{quote(id, safe='')}", NoneType)


def take(lines: bytes, *, dry_run: bool) -> Call[Imported]:
    return Call("POST", "/v1/import" + "?dry_run" * dry_run, Imported, lines, JSONL)


def export(criteria: Pairs) -> Call[Exported]:
    """Answered by many, a line each: see Lines."""
    return Call("GET", f"/v1/export?{query_text(criteria)}", Exported)


class Lines:
    """The answer to an export, put together from its chunks."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Exported]:
        """The lines that are whole now.  Raises UnreachableError for what is none of a node's."""
        whole, _, self._rest = (self._rest + chunk).rpartition(b"\n")
        if len(self._rest) > LINE_MAX:
            raise UnreachableError(f"what answered sends a line of more than {LINE_MAX} octets")
        try:
            return [_line.decode(line) for line in whole.split(b"\n") if line]
        except msgspec.DecodeError as error:
            raise UnreachableError(f"what answered is not a node: {error}") from error


def get(id: str) -> Call[Endpoint]:
    return Call("GET", _path(id), Endpoint)


def create_token(
    name: str,
    *,
    roles: Iterable[str],
    expires_s: int | None,
    actions: Iterable[str],
    sectors: Iterable[str],
    join: bool,
    hosts: Iterable[str],
) -> Call[GivenToken]:
    body = {
        "name": name,
        "roles": tuple(roles),
        "expires_s": expires_s,
        "actions": tuple(actions),
        "sectors": tuple(sectors),
        "join": join,
        "hosts": tuple(hosts),
    }
    return Call("POST", "/v1/tokens", GivenToken, _json(body), repeatable=False)


def tokens() -> Call[Tokens]:
    return Call("GET", "/v1/tokens", Tokens)


def revoke_token(id: str) -> Call[None]:
    return Call("DELETE", f"/v1/tokens/{quote(id, safe='')}", NoneType)


def status() -> Call[NodeStatus]:
    return Call("GET", "/v1/status", NodeStatus)


def metrics() -> Call[str]:
    return Call("GET", "/metrics", str)


def endpoints(criteria: Pairs, count: int) -> Call[Endpoints]:
    return Call("GET", _lookup("/v1/endpoints", criteria, count), Endpoints)


def links(criteria: Pairs, count: int) -> Call[Links]:
    return Call("GET", _lookup("/v1/links", criteria, count), Links)


def following(call: Call[P], page: P) -> Call[P] | None:
    """The call for the page after `page`, the answer to `call`."""
    if page.next is None:
        return None
    if not page.next.startswith("/v1/"):  # never to another host
        raise RemoteError(f"the node names {page.next!r} as the next page", code=200)
    return Call("GET", page.next, call.answer)


def query_text(pairs: Pairs) -> str:
    """`pairs` as they stand in a URL; a value of None has no "="."""
    return "&".join(
        quote(name, safe="") if value is None else f"{quote(name, safe='')}={quote(value, safe='*/:')}"
        for name, value in pairs
    )


def read(call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> T:
    """The answer to `call`.  `headers` by name in any case.  Raises RemoteError or UnreachableError."""
    if len(body) > ANSWER_MAX:
        raise UnreachableError(f"what answered sends more than {ANSWER_MAX} octets")
    if not 200 <= status < 300:
        raise _refusal(status, {name.lower(): value for name, value in headers.items()}, body)
    try:
        if call.answer is str:
            return msgspec.convert(body.decode(), call.answer)
        return msgspec.json.decode(body or b"null", type=call.answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # also a body of the wrong shape
        raise UnreachableError(f"what answered is not a node: {error}") from error


def unreachable(origin: Origin, error: Exception) -> UnreachableError:
    if isinstance(error, TimeoutError):
        sentence = "it takes too long"
    elif isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        sentence = os.strerror(error.errno).lower()
    else:
        sentence = str(error) or type(error).__name__
    return UnreachableError(f"no answer from {origin.text}: {sentence}", hint="is the node running?  `waypost run`")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> RefusedError:
    retry = headers.get("retry-after", "")
    retry_s = int(retry) if retry.isascii() and retry.isdigit() else None
    try:
        problem = msgspec.json.decode(body, type=Problem)
        sentence = problem.detail or problem.title
    except (msgspec.DecodeError, UnicodeDecodeError):
        sentence = f"the node answered with status {status}"
    return RefusedError(sentence, code=status, retry_s=retry_s, document=body)


def _path(id: str) -> str:
    return f"/v1/endpoints/{quote(id, safe='')}"


def _lookup(path: str, criteria: Pairs, count: int) -> str:
    return f"{path}?{query_text([*criteria, ('count', str(count))])}"


def _json(body: Mapping[str, object]) -> bytes:
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})
