"""CoAP over WebSocket, as a route of the HTTP listener.

A page of another origin in somebody's browser must not speak to the node in their name: a request with an Origin
is taken only from the node's own.  The listener holds Host to the node's names before that, and limits connections.

Source: RFC 8323, 4 and 8; RFC 6455, 4.2.2 and 10.2 (origin).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from waypost.coap.stream import MESSAGE_MAX, Stream
from waypost.errors import WaypostError
from waypost.identity import ANONYMOUS, Identity
from waypost.runtime.connection import LINGER_S, SEND_BUFFER_HIGH, SEND_BUFFER_MAX, Connection, ConnectionReceiver
from waypost.runtime.udp import endpoint

WELL_KNOWN: Final = "/.well-known/coap"  # RFC 8323, 8.3
SUBPROTOCOL: Final = "coap"
AGAIN_EVERY_S: Final = 2.0  # between two looks at who asks


Identify = Callable[[web.Request], Awaitable[Identity]]
Again = Callable[[], Awaitable[Identity]]


class WebSockets:
    """`identify` says who asks, or raises what its application makes a refusal of; without it, strangers."""

    def __init__(
        self, host: ConnectionReceiver, identify: Identify | None = None, again_every_s: float = AGAIN_EVERY_S
    ) -> None:
        self._again_every_s = again_every_s
        self._host = host
        self._identify = identify
        self._sessions: dict[_Session, None] = {}

    def serve_in(self, app: web.Application) -> None:
        app.router.add_get(WELL_KNOWN, self._handle)
        app.on_shutdown.append(self._release)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise web.HTTPUpgradeRequired(reason="here is CoAP over WebSocket", headers={"Upgrade": "websocket"})
        offered = [word.strip() for word in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if SUBPROTOCOL not in offered:
            raise web.HTTPBadRequest(reason="offer the subprotocol coap")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
            raise web.HTTPForbidden(reason="a page of another origin has no access")
        peer = request.get_extra_info("peername")
        if not isinstance(peer, tuple):
            raise web.HTTPNotFound(reason="CoAP has no place on the node's own socket")
        who = ANONYMOUS if self._identify is None else await self._identify(request)
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), max_msg_size=MESSAGE_MAX, compress=False)
        await socket.prepare(request)
        session = _Session(self._host, request, socket, who)
        self._sessions[session] = None
        try:
            again = None if self._identify is None or who == ANONYMOUS else partial(self._identify, request)
            await session.run(again, self._again_every_s)
        finally:
            del self._sessions[session]
        return socket

    async def _release(self, _: web.Application) -> None:
        for session in list(self._sessions):
            session.release()


class _Session:
    """One connection: the handler's own task reads, another writes."""

    def __init__(
        self, host: ConnectionReceiver, request: web.Request, socket: web.WebSocketResponse, who: Identity
    ) -> None:
        self._who = who
        self._socket = socket
        self._transport = request.transport
        self._stream = Stream(asyncio.get_running_loop().time(), sized=False)
        self._waiting: deque[bytes] = deque()
        self._size = 0  # octets waiting
        self._moved = asyncio.Event()  # something is to be written, or was
        peer, local = (endpoint(request.get_extra_info(name)) for name in ("peername", "sockname"))
        self._connection = Connection(host, self._stream, "ws", peer, local, who, self._write, self._end)

    def release(self) -> None:
        self._stream.release()
        self._connection.flush()

    async def run(self, again: Again | None, every_s: float) -> None:
        """`again` asks anew who asks."""
        try:
            self._connection.flush()
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(self._read()), group.create_task(self._look_again(again, every_s))]
                await self._send()
                for task in others:
                    task.cancel()
        finally:
            self._connection.lost()

    async def _look_again(self, again: Again | None, every_s: float) -> None:
        """A token or a certificate may be revoked while the connection stands."""
        while again is not None and self._stream.ended is None:
            await asyncio.sleep(every_s)
            try:
                same = await again() == self._who
            except (WaypostError, web.HTTPException):
                same = False
            if not same:
                self._stream.abort("what you have shown is not good any more")
                self._connection.flush()

    async def _read(self) -> None:
        """A peer that does not read its answers is not read either."""
        loop = asyncio.get_running_loop()
        async for message in self._socket:
            if message.type == WSMsgType.BINARY:
                self._connection.deliver(self._stream.receive_frame(message.data, loop.time()))
            else:
                self._stream.abort("a message is a binary frame")  # RFC 8323, 4.2
                self._connection.flush()
            while (self._stream.full or self._size > SEND_BUFFER_HIGH) and self._stream.ended is None:
                self._moved.clear()
                await self._moved.wait()
        self._stream.end("closed by the peer")
        self._moved.set()

    async def _send(self) -> None:
        """Until the stream has ended and its last words are sent."""
        while self._waiting or self._stream.ended is None:
            if not self._waiting:
                self._moved.clear()
                await self._moved.wait()
                continue
            data = self._waiting.popleft()
            try:
                await self._socket.send_bytes(data)
            except ConnectionError:
                return
            self._size -= len(data)
            self._moved.set()
        try:
            async with asyncio.timeout(LINGER_S):
                await self._socket.close()
        except TimeoutError:
            pass

    def _write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        self._moved.set()
        if self._size > SEND_BUFFER_MAX:
            self._stream.end("the peer does not read")
            self._abort()

    def _end(self) -> None:
        self._moved.set()
        asyncio.get_running_loop().call_later(LINGER_S, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
