"""The client's end of one DTLS association, on a UDP socket of its own.

Source: RFC 7252, 9.1; RFC 6347, 4.2.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from waypost.engine import Endpoint, Path
from waypost.errors import DeniedError, UnreachableError
from waypost.identity import ANONYMOUS
from waypost.identity.credentials import Credentials
from waypost.runtime.associations import HANDSHAKE_S
from waypost.runtime.dtls import Association
from waypost.runtime.host import Sender, wall_clock_ms
from waypost.runtime.secure import CERTIFICATE, KEY, connect
from waypost.runtime.udp import Receiver, open_udp


class Caller(Receiver, Protocol):
    """Who asks, and is told what the server says."""

    def closed(self, path: Path) -> None:
        """The association is no more."""
        ...


class DtlsDialer:
    """The handshake begins at once; opened() waits for its end.  `path` leads to the server."""

    def __init__(self, caller: Caller, local: str, server: Endpoint, credentials: Credentials) -> None:
        self._caller = caller
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._opened = asyncio.Event()  # or failed
        self._association = Association(connect(credentials, wall_clock_ms, datagrams=True))
        self._udp = open_udp(self, local, 0)
        self._way = self._udp.path(server)
        link = caller.link(self._send)
        self.path = Path("dtls", server, self._udp.address, link, ANONYMOUS, validated=True)
        self._association.start(self._loop.time())
        self._settle()

    async def opened(self) -> None:
        """Raises DeniedError if one of both ends does not believe the other, UnreachableError if there is no answer."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await self._opened.wait()
        except TimeoutError:
            raise UnreachableError("the server does not answer the handshake: is the key the right one?") from None
        channel = self._association.channel
        if channel.who is None:
            refused = channel.ended in (CERTIFICATE, KEY)
            raise (DeniedError if refused else UnreachableError)(f"the handshake failed: {channel.detail}")

    def close(self) -> None:
        self._association.close()
        self._settle()
        self._udp.close()

    # what the UDP driver calls

    def link(self, send: Sender) -> int:
        self._send_datagram = send
        return 0

    def unlink(self, number: int) -> None:
        pass

    def receive(self, datagrams: Sequence[tuple[bytes, Path]]) -> None:
        said: list[bytes] = []
        for data, path in datagrams:
            if path.peer == self._way.peer:
                said += self._association.receive(data, self._loop.time())
        self._settle()
        if said:
            self._caller.receive([(each, self.path) for each in said])

    # what the caller calls

    def _send(self, _: Path, data: bytes) -> None:
        self._association.send(data)
        self._settle()

    def _settle(self) -> None:
        """Send what is to be sent, tell what has become of it, arm the timer."""
        for datagram in self._association.take_output():
            self._send_datagram(self._way, datagram)
        channel = self._association.channel
        was_open = self._opened.is_set()
        if channel.who is not None or channel.ended is not None:
            self._opened.set()
        if was_open and channel.ended is not None:
            self._caller.closed(self.path)
        if self._timer is not None:
            self._timer.cancel()
        when = self._association.next_timer()
        self._timer = None if when is None else self._loop.call_at(when, self._on_timer, when)

    def _on_timer(self, when: float) -> None:
        self._timer = None
        self._association.handle_timer(max(when, self._loop.time()))
        self._settle()
