"""Limits around an aiohttp application: what a stranger may keep open, and for how long.

A connection has `idle_s` to send the whole head of a request, counted from its beginning and again from
each answer: aiohttp's keep-alive timer does not care how much of a head has come.  A body has
`body_s` from there, and the application's `client_max_size` octets; it is whole before the
application sees the request.  Bodies are not decompressed.

A connection past the limits is told 503 and closed before a byte of it is read.

Source: RFC 9110, 15.5.9 (408) and 15.6.4 (503).
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from waypost.errors import ConfigError
from waypost.runtime.places import Places, source_of
from waypost.runtime.udp import endpoint


@dataclass(frozen=True, slots=True)
class Limits:
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
FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

log = logging.getLogger(__name__)
# A request that is malformed is its sender's business: no lines of the log for strangers to fill.
log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))


class HttpServer:
    """`address` has the real port; `places` counts the connections."""

    def __init__(self, runner: web.AppRunner, limits: Limits) -> None:
        self._runner = runner
        self.places = Places(limits.connections, limits.connections_per_source)

    async def listen(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, host, port, backlog=BACKLOG)
        self.address = endpoint(self._server.sockets[0].getsockname())

    async def close(self) -> None:
        """Take no connections, finish the requests under way, end."""
        self._server.close()
        await self._runner.cleanup()

    def _connection(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return _Connection(self, self._runner.server())


class _Connection(asyncio.Protocol):
    """Stands before aiohttp's protocol, which sees nothing of a connection that is refused."""

    def __init__(self, server: HttpServer, inner: asyncio.Protocol) -> None:
        self._server = server
        self._inner: asyncio.Protocol | None = inner
        self._source = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        assert self._inner is not None
        self._source = source_of(transport.get_extra_info("peername"))
        if self._server.places.admit(self._source):
            self._inner.connection_made(transport)
            return
        self._inner = None
        transport.write(FULL)
        transport.close()

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
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
        if self._inner is not None:
            self._server.places.leave(self._source)
            self._inner.connection_lost(error)


async def serve(app: web.Application, host: str, port: int, limits: Limits = LIMITS) -> HttpServer:
    """Listen on a numeric address; port 0 takes a free one.  An app that is served already keeps its `body_s`.

    Raises ConfigError if the address is none of this machine's or the port is taken.
    """
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
    server = HttpServer(runner, limits)
    try:
        await server.listen(host, port)
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"http {host} port {port}: {error.strerror}") from error
    return server


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
