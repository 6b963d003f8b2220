"""CoAP over TCP: one listener, its connections, and what a stranger may keep open.

A peer that does not read its answers is not read either; one that lets what it is sent by itself pile up is dropped.

Source: RFC 8323, 3; limits of time and size are those of coap.stream.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from waypost.coap.stream import Stream
from waypost.errors import ConfigError
from waypost.identity import ANONYMOUS
from waypost.runtime.connection import (
    LINGER_S,
    MESSAGES_AT_ONCE,
    SEND_BUFFER_HIGH,
    SEND_BUFFER_MAX,
    Connection,
    ConnectionReceiver,
)
from waypost.runtime.places import Places, source_of
from waypost.runtime.udp import endpoint

BACKLOG: Final = 256  # connections that the kernel has accepted and we have not


@dataclass(frozen=True, slots=True)
class Limits:
    connections: int = 512
    connections_per_source: int = 64


LIMITS: Final = Limits()


class TcpServer:
    """`address` has the real port; `places` counts the connections."""

    def __init__(self, host: ConnectionReceiver, limits: Limits) -> None:
        self.host = host
        self.places = Places(limits.connections, limits.connections_per_source)
        self.connections: dict[_Protocol, None] = {}

    async def listen(self, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Protocol(self), address, port, backlog=BACKLOG)
        self.address = endpoint(self._server.sockets[0].getsockname())

    async def close(self) -> None:
        """Take no connections, release those there are."""
        self._server.close()
        ending = list(self.connections)
        for protocol in ending:
            protocol.release()
        await asyncio.gather(*(protocol.ended for protocol in ending))


class _Protocol(asyncio.Protocol):
    def __init__(self, server: TcpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.ended = self._loop.create_future()
        self._source: bytes | None = None  # if it has a place
        self._writable = True
        self._scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=SEND_BUFFER_HIGH)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._connection: Connection | None = None
        if peer is None or local is None:  # it has left already
            transport.abort()
            return
        self._stream = Stream(self._loop.time())
        self._connection = Connection(
            self._server.host, self._stream, "tcp", endpoint(peer), endpoint(local), ANONYMOUS, self._write, self._close
        )
        self._server.connections[self] = None
        asked = source_of(peer)
        if self._server.places.admit(asked):
            self._source = asked
        else:
            self._stream.abort("too many connections: come back later")
        self._connection.flush()

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._stream.feed(data)
            self._pump()

    def eof_received(self) -> bool:
        if self._connection is None:
            return False
        self._stream.finish()
        self._connection.flush()
        return True  # _close() follows when nothing is owed any more

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._schedule()

    def connection_lost(self, error: Exception | None) -> None:
        if self._connection is not None:
            self._connection.lost()
            del self._server.connections[self]
        if self._source is not None:
            self._server.places.leave(self._source)
        self.ended.set_result(None)

    def release(self) -> None:
        assert self._connection is not None
        self._stream.release()
        self._connection.flush()

    def _pump(self) -> None:
        """Read messages while their answers find room; then no more is read until they do."""
        assert self._connection is not None
        self._scheduled = False
        for _ in range(MESSAGES_AT_ONCE):
            if self._transport.is_closing():
                return
            if not self._writable or self._stream.full or self._stream.ended is not None:
                self._transport.pause_reading()
                return
            datagram = self._stream.next_message(self._loop.time())
            self._connection.deliver(datagram or b"")
            if datagram is None:
                self._transport.resume_reading()
                return
        self._transport.pause_reading()
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return  # the peer has left; the loop would log each further word to it
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > SEND_BUFFER_MAX:
            self._stream.end("the peer does not read")
            self._transport.abort()
        elif not self._transport.is_reading():
            self._schedule()  # an answer may have made room

    def _close(self) -> None:
        self._transport.close()
        self._loop.call_later(LINGER_S, self._transport.abort)


async def open_tcp(host: ConnectionReceiver, address: str, port: int, limits: Limits = LIMITS) -> TcpServer:
    """Listen on a numeric address; port 0 takes a free one.

    Raises ConfigError if the address is none of this machine's or the port is taken.
    """
    server = TcpServer(host, limits)
    try:
        await server.listen(address, port)
    except OSError as error:
        raise ConfigError(f"tcp {address} port {port}: {error.strerror}") from error
    return server
