"""CoAP over TCP and over TLS: one listener, its connections, and what a stranger may keep open.

A peer that does not read its answers is not read either; one that lets what it is sent by itself pile up is dropped.
On TLS a connection is nothing to the host until its handshake is done, which has a deadline.

Source: RFC 8323, 3 and 9; limits of time and size are those of coap.stream.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from waypost.coap.stream import Stream
from waypost.errors import ConfigError
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.anchors import Revoked
from waypost.runtime.connection import (
    LINGER_S,
    MESSAGES_AT_ONCE,
    SEND_BUFFER_HIGH,
    SEND_BUFFER_MAX,
    Connection,
    ConnectionReceiver,
)
from waypost.runtime.places import Places, source_of
from waypost.runtime.secure import CLOSED, DEADLINE, Channel
from waypost.runtime.udp import endpoint

BACKLOG: Final = 256  # connections that the kernel has accepted and we have not


@dataclass(frozen=True, slots=True)
class Limits:
    connections: int = 512
    connections_per_source: int = 64
    handshake_s: float = 15.0  # for TLS


LIMITS: Final = Limits()

log = logging.getLogger(__name__)


class TcpServer:
    """`address` has the real port; `places` counts the connections, `done` and `failed` the handshakes of TLS.

    `accept` makes one end of TLS, None where it is plain TCP.
    """

    def __init__(self, host: ConnectionReceiver, limits: Limits, accept: Callable[[], Channel] | None) -> None:
        self.host = host
        self.limits = limits
        self.accept = accept
        self.done = 0
        self.failed: Counter[str] = Counter()
        self.places = Places(limits.connections, limits.connections_per_source)
        self.connections: dict[_Protocol, None] = {}

    async def listen(self, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Protocol(self), address, port, backlog=BACKLOG)
        self.address = endpoint(self._server.sockets[0].getsockname())

    def revoke(self, revoked: Revoked) -> None:
        """End the connections of whose certificates one is revoked."""
        for protocol in list(self.connections):
            protocol.revoke(revoked)

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
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._writable = True
        self._scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one, and does not say so
        transport.set_write_buffer_limits(high=SEND_BUFFER_HIGH)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if peer is None or local is None:  # it has left already
            transport.abort()
            return
        self._peer, self._local = endpoint(peer), endpoint(local)
        self._server.connections[self] = None
        asked = source_of(peer)
        admitted = self._server.places.admit(asked)
        if admitted:
            self._source = asked
        if self._server.accept is None:
            self._begin("tcp", ANONYMOUS, admitted=admitted)
        elif admitted:
            self._channel = self._server.accept()
            self._deadline = self._loop.call_later(
                self._server.limits.handshake_s, self._fail, DEADLINE, "the handshake took too long"
            )
        else:
            transport.abort()  # a handshake would cost more than the word is worth

    def _begin(self, transport: str, who: Identity, *, admitted: bool) -> None:
        self._stream = Stream(self._loop.time())
        self._connection = Connection(
            self._server.host, self._stream, transport, self._peer, self._local, who, self._write, self._close
        )
        if not admitted:
            self._stream.abort("too many connections: come back later")
        self._connection.flush()

    def data_received(self, data: bytes) -> None:
        channel = self._channel
        if channel is not None:
            data = self._decrypted(channel, data)
        if self._connection is not None:
            self._stream.feed(data)
            self._pump()
            if channel is not None and channel.ended is not None:
                self._stream.end(channel.detail)
                self._connection.flush()

    def eof_received(self) -> bool:
        if self._connection is None or self._channel is not None:  # TLS says itself that it ends
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
        elif self._channel is not None:
            self._fail(CLOSED, "the peer left in the middle of its handshake")
        self._server.connections.pop(self, None)
        if self._source is not None:
            self._server.places.leave(self._source)
        self.ended.set_result(None)

    def release(self) -> None:
        if self._connection is None:
            self._transport.abort()
            return
        self._stream.release()
        self._connection.flush()

    # TLS

    def revoke(self, revoked: Revoked) -> None:
        if self._connection is not None and self._channel is not None and revoked.names(self._channel.marks):
            self._stream.abort("the certificate is revoked")
            self._connection.flush()

    def _decrypted(self, channel: Channel, data: bytes) -> bytes:
        """What the peer says; the connection is one from the moment that the handshake is done."""
        channel.feed(data)
        said = b"".join(channel.step())
        if self._connection is None and channel.who is not None:
            self._forget_deadline()
            self._server.done += 1
            self._begin("tls", channel.who, admitted=True)
        self._flush(channel)
        if self._connection is None and channel.ended is not None:
            self._fail(channel.ended, channel.detail)
        return said

    def _fail(self, reason: str, detail: str) -> None:
        """The handshake has, and is counted once."""
        if self._deadline is None:
            return
        self._forget_deadline()
        self._server.failed[reason] += 1
        log.debug("handshake of %s failed: %s", self._peer.host, detail)
        self._close()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _flush(self, channel: Channel) -> None:
        octets = channel.take()
        if octets and not self._transport.is_closing():
            self._transport.write(octets)

    # the stream

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
        if self._channel is None:
            self._transport.write(data)
        else:
            self._channel.write(data)
            self._flush(self._channel)
        if self._transport.get_write_buffer_size() > SEND_BUFFER_MAX:
            self._stream.end("the peer does not read")
            self._transport.abort()
        elif not self._transport.is_reading():
            self._schedule()  # an answer may have made room

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._flush(self._channel)
        self._transport.close()
        self._loop.call_later(LINGER_S, self._transport.abort)


async def open_tcp(
    host: ConnectionReceiver,
    address: str,
    port: int,
    limits: Limits = LIMITS,
    *,
    accept: Callable[[], Channel] | None = None,
) -> TcpServer:
    """Listen on a numeric address; port 0 takes a free one.

    Raises ConfigError if the address is none of this machine's or the port is taken.
    """
    server = TcpServer(host, limits, accept)
    try:
        await server.listen(address, port)
    except OSError as error:
        raise ConfigError(f"{'tls' if accept else 'tcp'} {address} port {port}: {error.strerror}") from error
    return server
