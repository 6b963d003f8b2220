"""Between one connection and a host, whatever carries it.

A driver reads octets into `stream` and calls deliver() with each message; what is to be written goes to its
`write`, and `close` is called once when the stream has ended.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from waypost.coap.stream import Stream
from waypost.engine import Endpoint, Path
from waypost.identity import Identity
from waypost.runtime.udp import Receiver

SEND_BUFFER_MAX: Final = 4 << 20  # octets that wait for a peer to read; past that it is dropped
SEND_BUFFER_HIGH: Final = 64 << 10  # octets that wait for a peer to read; past that no more of its requests are read
LINGER_S: Final = 2.0  # for the last words to leave
MESSAGES_AT_ONCE: Final = 64  # of one connection, until the others have their turn

log = logging.getLogger(__name__)


class ConnectionReceiver(Receiver, Protocol):
    """What a driver of connections needs of a Host."""

    def closed(self, path: Path) -> None: ...


class Connection:
    """`transport` is the scheme's ("tcp", "tls", "ws"), `who` what the peer has shown."""

    def __init__(
        self,
        host: ConnectionReceiver,
        stream: Stream,
        transport: str,
        peer: Endpoint,
        local: Endpoint,
        who: Identity,
        write: Callable[[bytes], None],
        close: Callable[[], None],
    ) -> None:
        self.stream = stream
        self._host = host
        self._write = write
        self._close = close
        self._loop = asyncio.get_running_loop()
        link = host.link(self._send)
        self._path = Path(transport, peer._replace(session=link), local, link, who, validated=True, message_max=0)
        self._closing = False
        self._arm()

    def deliver(self, datagram: bytes) -> None:
        """What the stream has read, if it is for the engine; then send what is to be sent."""
        if datagram:
            assert self.stream.message_max is not None
            if self._path.message_max != self.stream.message_max:
                self._path = replace(self._path, message_max=self.stream.message_max)
            if not self._host.receive([(datagram, self._path)]):
                self.stream.abort("too busy: come back later")  # a connection that lost a request would be a lie
        self.flush()

    def flush(self) -> None:
        for data in self.stream.take_output():
            self._write(data)
        if self.stream.ended is not None and not self._closing:
            self._closing = True
            log.debug("connection of %s ended: %s", self._path.peer.host, self.stream.ended)
            self._close()

    def lost(self) -> None:
        """It is closed, whoever did it."""
        self._closing = True
        self._timer.cancel()
        self._host.closed(self._path)

    def _send(self, path: Path, data: bytes) -> None:
        self.stream.send(data)
        self.flush()

    def _on_timer(self) -> None:
        self.stream.handle_timer(max(self._timer_at, self._loop.time()))
        self.flush()
        if not self._closing:
            self._arm()

    def _arm(self) -> None:
        self._timer_at = self.stream.next_timer()
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)
