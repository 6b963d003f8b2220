"""Limits around an aiohttp application: what a stranger may keep open, and for how long.

A connection has `idle_s` to send the whole head of a request, counted from its beginning and again from
each answer: aiohttp's keep-alive timer does not care how much of a head has come.  A body has
`body_s` from there, and the application's `client_max_size` octets; it is whole before the
application sees the request.  Bodies are not decompressed.

A connection past the limits is told 503 and closed before a byte of it is read; one that would be secured is closed.
Handshakes have `handshake_s`, and count among the connections.

Source: RFC 9110, 15.5.9 (408) and 15.6.4 (503); RFC 8446.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from waypost.errors import ConfigError
from waypost.identity.admission import Buckets
from waypost.runtime import local
from waypost.runtime.brief import Brief, Take
from waypost.runtime.places import Places, source_of
from waypost.runtime.udp import endpoint


@dataclass(frozen=True, slots=True)
class Limits:
    handshake_s: float = 10.0
    idle_s: float = 30.0  # for the head of a request
    body_s: float = 30.0
    linger_s: float = 2.0  # for a body that is not wanted, so that its sender sees the answer
    shutdown_s: float = 5.0  # for requests under way when the server closes
    connections: int = 512  # half of the files that a process may open where nobody raised the number
    connections_per_source: int = 128
    line_size: int = 8190  # octets of the request line, longest lookup included
    field_size: int = 8190  # octets of one header field
    fields: int = 64


LIMITS: Final = Limits()
BACKLOG: Final = 256  # connections that the kernel has accepted and we have not
OUT_OF: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
AGAIN_S: Final = 1.0  # until connections are taken again, after one of those
NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

Secured = Callable[[], ssl.SSLContext]
Begin = Callable[[asyncio.BaseTransport], Take]  # for each connection

log = logging.getLogger(__name__)
# A request that is malformed is its sender's business: no lines of the log for strangers to fill.
log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))


class HttpServer:
    """`address` has the real port, or is the path of a socket in a directory; `places` counts the connections."""

    def __init__(
        self, runner: web.AppRunner, limits: Limits, secured: Secured | None, begin: Begin | None = None
    ) -> None:
        self._runner = runner
        self._limits = limits
        self._begin = begin
        self._brief: set[_Connection] = set()  # those that aiohttp knows nothing of
        self._secured = secured
        self._handshakes: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None  # of a listener that is not secured
        self._again: asyncio.TimerHandle | None = None
        self.places = Places(limits.connections, limits.connections_per_source)
        self._lines = Buckets(1.0, 20)  # of the log, a second and at once
        self.done = 0  # handshakes
        self.failed: Counter[str] = Counter()  # by reason

    async def listen(self, host: str, port: int) -> None:
        if self._secured is None:
            self._server = await self._loop.create_server(self._connection, host, port, backlog=BACKLOG)
            self.address = endpoint(self._server.sockets[0].getsockname())
            return
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=NUMERIC)[0]
        self._listening = socket.create_server(address, family=family, backlog=BACKLOG)
        self._listening.setblocking(False)
        self.address = endpoint(self._listening.getsockname())
        self._go_on()

    async def listen_on(self, bound: socket.socket) -> None:
        self._server = await self._loop.create_unix_server(self._connection, sock=bound, backlog=BACKLOG)

    async def close(self) -> None:
        """Take no connections, finish the requests under way, end."""
        if self._server is not None:
            self._server.close()
        else:
            if self._again is not None:
                self._again.cancel()
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()
        for connection in tuple(self._brief):
            connection.close()
        for handshake in self._handshakes:
            handshake.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        await self._runner.cleanup()

    def _connection(self) -> asyncio.Protocol:
        return _Connection(self, self._made())

    def _made(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return self._runner.server()

    def _accept(self) -> None:
        """What has come to a secured listener: each has a place before its handshake begins."""
        for _ in range(BACKLOG):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF:
                    raise
                log.error("no connection can be taken: %s", error.strerror)
                self._loop.remove_reader(self._listening.fileno())
                self._again = self._loop.call_later(AGAIN_S, self._go_on)
                return
            accepted.setblocking(False)
            connection = _Connection(self, self._made())
            if connection.admit(address):
                task = self._loop.create_task(self._handshake(accepted, connection, address))
                self._handshakes.add(task)
                task.add_done_callback(self._handshakes.discard)
            else:
                accepted.close()

    def _go_on(self) -> None:
        self._loop.add_reader(self._listening.fileno(), self._accept)

    async def _handshake(self, accepted: socket.socket, connection: "_Connection", address: Sequence[str]) -> None:
        assert self._secured is not None
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._secured(), ssl_handshake_timeout=self._limits.handshake_s
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError is an OSError
            self._note(error, address[0])
            accepted.close()
            connection.gone()
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self.done += 1

    def read_briefly(self, transport: asyncio.Transport, connection: "_Connection") -> Brief | None:
        """What reads a connection before aiohttp does; connection.forget() follows."""
        if self._begin is None:
            return None
        self._brief.add(connection)
        return Brief(transport, self._begin(transport), idle_s=self._limits.idle_s, body_s=self._limits.body_s)

    def forget(self, connection: "_Connection") -> None:
        self._brief.discard(connection)

    def _note(self, error: BaseException, source: str) -> None:
        """Count it, and say what was wrong with a certificate: the peer hears no more than that it is let go."""
        reason = reason_of(error)
        self.failed[reason] += 1
        if reason == "certificate" and not self._lines.take("all", asyncio.get_running_loop().time()):
            detail = getattr(error, "verify_message", "") or getattr(error, "reason", "")
            log.warning("refused the certificate of %s: %s", source, detail)


class _Connection(asyncio.Protocol):
    """Stands before aiohttp's protocol, which sees nothing of a connection that is refused."""

    def __init__(self, server: HttpServer, inner: asyncio.Protocol) -> None:
        self._server = server
        self._inner: asyncio.Protocol | None = inner
        self._begun = False  # the inner one knows of the connection
        self._brief: Brief | None = None  # reads before the inner one does
        self._transport: asyncio.Transport | None = None  # that HTTP goes over
        self._source: bytes | None = None  # under which a place is taken

    def admit(self, address: Any) -> bool:
        """Whether there is a place for it; gone() gives it back."""
        source = source_of(address)
        if self._server.places.admit(source):
            self._source = source
            return True
        self._inner = None
        return False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """What comes from now on is HTTP; a secured one has a place since before its handshake."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and does not say so
        if self._source is None and not self.admit(transport.get_extra_info("peername")):
            self._transport.write(FULL)
            self._transport.close()
            return
        self._brief = self._server.read_briefly(self._transport, self)
        if self._brief is None:
            self._begin()

    def close(self) -> None:
        """Of one that the inner one does not know."""
        if self._transport is not None:
            self._transport.close()

    def _begin(self) -> None:
        assert self._inner is not None
        assert self._transport is not None
        self._begun = True
        self._inner.connection_made(self._transport)

    def _end_brief(self) -> None:
        if self._brief is not None:
            self._brief.close()
            self._brief = None
            self._server.forget(self)

    def gone(self) -> None:
        """Give the place back, once."""
        if self._source is not None:
            self._server.places.leave(self._source)
            self._source = None

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            return
        if self._brief is not None:
            left = self._brief.receive(data)
            if left is None:
                return
            self._end_brief()
            self._begin()
            data = left
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone()
        self._end_brief()
        inner, self._inner = self._inner, None
        if inner is not None and self._begun:
            inner.connection_lost(error)


def reason_of(error: BaseException) -> str:
    """Why a handshake failed, in one of few words."""
    match error:
        case ssl.SSLError() if "certificate" in str(error).lower() or "unknown ca" in str(error).lower():
            return "certificate"
        case ssl.SSLError():
            return "protocol"
        case ConnectionAbortedError():  # as asyncio tells its deadline
            return "deadline"
        case _:
            return "closed"


async def serve(
    app: web.Application,
    host: str,
    port: int,
    limits: Limits = LIMITS,
    secured: Secured | None = None,
    begin: Begin | None = None,
) -> HttpServer:
    """Listen on a numeric address; port 0 takes a free one.  An app that is served already keeps its `body_s`.

    `secured` gives the context for each handshake; without it there is none.  `begin` gives what answers brief requests
    of a connection itself.  Raises ConfigError if the address is
    none of this machine's or the port is taken.
    """
    runner = await _runner(app, limits)
    server = HttpServer(runner, limits, secured, begin)
    try:
        await server.listen(host, port)
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"http {host} port {port}: {error.strerror}") from error
    return server


async def serve_locally(app: web.Application, path: Path, limits: Limits = LIMITS) -> HttpServer:
    """Listen on a socket in a directory that is the caller's alone.  Raises ConfigError if it cannot be made there."""
    runner = await _runner(app, limits)
    server = HttpServer(runner, limits, None)
    try:
        await server.listen_on(local.bind(path))
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"{path}: {error.strerror}") from error
    return server


async def _runner(app: web.Application, limits: Limits) -> web.AppRunner:
    if not app.frozen:
        app.middlewares.append(_whole_body(limits.body_s))
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=log,
        auto_decompress=False,
        keepalive_timeout=limits.idle_s,
        lingering_time=limits.linger_s,
        shutdown_timeout=limits.shutdown_s,
        max_line_size=limits.line_size,
        max_field_size=limits.field_size,
        max_headers=limits.fields,
    )
    await runner.setup()
    return runner


def _whole_body(seconds: float) -> Middleware:
    @web.middleware
    async def whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.can_read_body:
            try:
                async with asyncio.timeout(seconds):
                    await request.read()
            except TimeoutError as error:
                raise web.HTTPRequestTimeout(reason="the body took too long") from error
            except (web.RequestPayloadError, ClientPayloadError, HttpProcessingError, ConnectionError) as error:
                raise web.HTTPBadRequest(reason="the body does not arrive whole") from error
        return await handler(request)

    return whole_body
