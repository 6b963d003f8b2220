"""The API as an aiohttp application: the rules that hold for every request, whatever the route.

Every answer that is not a success is a problem document.  What broke is in the log, with the number
that the problem carries, and never in the answer.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from msgspec import Struct

from waypost.api import openapi, reading
from waypost.api.asking import Identify, is_local, shown_by
from waypost.api.changes import Rows
from waypost.api.joining import Joining
from waypost.api.metrics import Metrics
from waypost.api.moving import Ask
from waypost.api.operations import Measure, Operations, Ready
from waypost.api.problem import Refusal, problem
from waypost.api.request import Reply, Request
from waypost.api.route import Route
from waypost.api.routes import ROUTES
from waypost.api.schemas import PROBLEM_JSON
from waypost.api.watching import Feed
from waypost.errors import StateError
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.admission import Gate
from waypost.identity.policy import Decide, View
from waypost.identity.token import redacted
from waypost.runtime.figures import Figures

BODY_MAX: Final = 1 << 18  # octets; a registration's links are a quarter of it at most
BUSY_RETRY_S: Final = 1
STALL_S: Final = 30.0  # for the reader of a stream to take some of it
# Answers age at once, a browser takes none for a script or a page, and none says what it was made with.
HEADERS: Final = {"Cache-Control": "no-store", "Server": "waypost", "X-Content-Type-Options": "nosniff"}

SAFE: Final = ("GET", "HEAD", "OPTIONS")  # RFC 9110, 9.2.1

Admitted = tuple[Identity, View | None]

METRICS: Final = web.AppKey("metrics", Metrics)
HOSTS: Final = web.AppKey("hosts", frozenset[str])

log = logging.getLogger(__name__)


def application(
    ask: Ask,
    ready: Ready,
    identify: Identify,
    decide: Decide,
    gate: Gate,
    measure: Measure = Figures,
    *,
    routes: Sequence[Route] = ROUTES,
    joining: Joining | None = None,
    rows: Rows | None = None,
    hosts: Collection[str] = (),
    stall_s: float = STALL_S,
    body_max: int = BODY_MAX,
) -> web.Application:
    """`identify` says who asks, and `decide` whether they may, before anything else is done with a request.

    `joining` has the node's keys; without it nobody joins.

    `rows` are those of the change feed; without them there is nothing to watch.

    `hosts` are names that a request's Host may have beside the loopback's and the address it came to.
    Who reads a stream takes some of it within `stall_s`, or is let go.
    """
    metrics = Metrics()
    feed = Feed(ask, rows, decide)
    operations = Operations(ask, ready, decide, measure, feed, metrics, openapi.text(), joining)
    names = frozenset(host.lower() for host in hosts)
    app = web.Application(middlewares=[_guard(metrics, names)], client_max_size=body_max)
    app[METRICS], app[HOSTS] = metrics, names
    app.on_shutdown.append(lambda _: feed.close())  # or the server would wait for those who watch
    for route in routes:
        handler = _handler(route, operations, _Door(identify, decide, gate), stall_s)
        path = route.path.replace("{key}", "{key:[^/]+}")  # braces too
        if route.method == "GET":
            app.router.add_get(path, handler)  # and HEAD
        else:
            app.router.add_route(route.method, path, handler)
    return app


class _Door:
    """Says who asks, and whether they may; again for each piece of an answer that is streamed."""

    def __init__(self, identify: Identify, decide: Decide, gate: Gate) -> None:
        self._identify = identify
        self._decide = decide
        self._gate = gate

    async def admit(self, request: web.Request, route: Route) -> Admitted:
        """Raises Refusal."""
        who = await self._identify(request)
        retry_s = self._gate.take(who, request.remote or "", asyncio.get_running_loop().time())
        if retry_s:
            raise Refusal(429, "too many requests: come back later", retry_s=retry_s)
        return who, self._view(who, route)

    async def still(self, request: web.Request, who: Identity) -> bool:
        """Whether it is who asked: what is revoked or narrowed ends at once, streams that are open too.

        What the policy says now, whoever makes a stream asks for each piece, and can say so at its end.
        """
        try:
            return await self._identify(request) == who
        except Refusal:
            return False

    def _view(self, who: Identity, route: Route) -> View | None:
        decision = self._decide(who, *route.asks)
        if not decision.allowed:
            raise Refusal(401 if who == ANONYMOUS else 403, decision.reason)
        return decision.view


def _handler(route: Route, operations: Operations, door: _Door, stall_s: float) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        admitted = await door.admit(request, route)
        wanted = await _read(request, route, *admitted)
        reply = await route.operation(operations, wanted)
        if isinstance(reply.body, AsyncGenerator):
            still = partial(door.still, request, wanted.who)
            return await _stream(request, reply.body, wanted.media, still, stall_s)
        return _write(reply, reply.body, wanted.media)

    return handle


async def _read(request: web.Request, route: Route, who: Identity, view: View | None) -> Request:
    accept = ",".join(request.headers.getall("Accept", ["*/*"]))
    media = reading.chosen(accept, route.media) if route.media else ""
    body, body_media = b"", ""
    if route.bodies and (route.body_required or request.body_exists):
        headers = request.headers
        body_media = reading.content_type(
            headers.get("Content-Type"), headers.get("Content-Encoding"), tuple(route.bodies)
        )
        try:
            body = await request.read()
        except (web.RequestPayloadError, ClientPayloadError, HttpProcessingError) as error:
            raise Refusal(400, "the body does not arrive whole") from error
    path, _, query = request.raw_path.partition("?")
    return Request(
        path=path,
        query=reading.pairs(query),
        id=request.match_info.get("id", ""),
        media=media,
        body_media=body_media,
        body=body,
        source=request.remote or "",
        who=who,
        view=view,
        confidential=is_local(request) or request.secure,
        certificate=shown_by(request),
        last_event=request.headers.get("Last-Event-ID"),
        if_match=request.headers.get("If-Match"),
        if_none_match=request.headers.get("If-None-Match"),
        prefer=",".join(request.headers.getall("Prefer", ())),
    )


async def _stream(
    request: web.Request,
    chunks: AsyncGenerator[bytes, None],
    media: str,
    still: Callable[[], Awaitable[bool]],
    stall_s: float,
) -> web.StreamResponse:
    """What breaks off ends without the last chunk, so that nobody takes it for the whole (RFC 9112, 8)."""
    response = web.StreamResponse(headers={"Content-Type": media, **HEADERS})
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                if not await still():
                    raise StateError("who reads this may not any more")
                async with asyncio.timeout(stall_s):
                    await response.write(chunk)
        await response.write_eof()
    except Exception as error:
        if not isinstance(error, ConnectionError | TimeoutError | StateError):
            log.error("request %s %r broke off", request.method, redacted(request.path), exc_info=error)
        if request.transport is not None:
            request.transport.abort()
    return response


def _write(reply: Reply, content: Struct | bytes, media: str) -> web.Response:
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    named = {"Content-Type": media + "; charset=utf-8" if media.startswith("text/") else media} if media else {}
    return web.Response(status=reply.status, body=body, headers={**named, **reply.headers})


def _guard(metrics: Metrics, hosts: Collection[str]) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        start = time.perf_counter()
        try:
            if not is_local(request):
                _require_ours(request, hosts)
            response = await handler(request)
        except Exception as error:
            response = _problem(request, error)
        streamed = response.prepared
        if not streamed:
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
        resource = request.match_info.route.resource
        route = None if resource is None else resource.canonical
        # What was streamed took as long as its reader liked.
        metrics.count(request.method, route, response.status, None if streamed else time.perf_counter() - start)
        return response

    return guard


def is_served(host: str, hosts: Collection[str], sockname: Sequence[str]) -> bool:
    """Whether a Host field is one of this node's, for a request that came to that address."""
    return reading.served(host, (*hosts, sockname[0]))


def _require_ours(request: web.Request, hosts: Collection[str]) -> None:
    """That the request was meant for this node, and that no page of another origin made a browser send it.

    Such a page reads no answer (there is no CORS), and changes nothing: RFC 6454, 7; RFC 9110, 7.2.
    """
    host = ",".join(request.headers.getall("Host", []))
    if not is_served(host, hosts, request.get_extra_info("sockname", ("",))):
        raise Refusal(421, "the Host of the request is none of this node's names")
    origins = request.headers.getall("Origin", [])
    if request.method not in SAFE and any(not reading.is_own(origin, host) for origin in origins):
        raise Refusal(403, "a page of another origin may change nothing here")


def _problem(request: web.Request, error: Exception) -> web.Response:
    number, headers = None, {}
    more: Mapping[str, object] = {}
    match error:
        case Refusal(code=status, retry_s=retry_s):
            detail, more = str(error), error.more
            if retry_s is not None:
                headers["Retry-After"] = str(retry_s)
            if status == 401:
                headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 11.6.1
        case StateError():
            status, detail = 503, str(error)
            headers["Retry-After"] = str(BUSY_RETRY_S)
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            status, detail = 405, f"the methods here are {allowed}"
            headers["Allow"] = allowed
        case web.HTTPNotFound():
            status, detail = 404, "there is no such path; /v1/openapi.json lists those there are"
        case web.HTTPRequestEntityTooLarge():
            status, detail = 413, f"the body has more than {request.client_max_size} octets"
        case web.HTTPException():
            status, detail = error.status, error.reason
        case _:
            number = secrets.token_hex(8)
            status, detail = 500, "the node could not do this; its log says why, under the number of the request"
            log.error("request %s: %s %r failed", number, request.method, redacted(request.path), exc_info=error)
    # What was asked for is told back, but for a token: answers are logged and passed on.
    path = redacted(request.raw_path.partition("?")[0]).encode("utf-8", "surrogateescape")
    document = problem(status, redacted(detail), quote(path, safe="/%:@!$&'()*+,;=~"), request=number)
    body = msgspec.json.encode({**msgspec.to_builtins(document), **more})
    return web.Response(status=status, body=body, headers={"Content-Type": PROBLEM_JSON, **headers})
