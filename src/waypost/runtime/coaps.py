"""CoAP over DTLS, and over TLS, with one set of credentials.

DTLS: the UDP driver below, a host above, associations between.

An association is a link of the host, and its peer an endpoint of its own: what is remembered of one is not found by
another at the same address, and what it observes ends with it.

Source: RFC 7252, 9.1; RFC 8323, 9.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import SystemRandom

from waypost.engine import Path, Send
from waypost.errors import ConfigError
from waypost.identity.anchors import Revoked
from waypost.identity.credentials import Credentials
from waypost.runtime.associations import Associations, Ended, Failed, Limits, Opened, Received, Session
from waypost.runtime.connection import ConnectionReceiver
from waypost.runtime.host import Sender, wall_clock_ms
from waypost.runtime.secure import Acceptor, psk_trouble
from waypost.runtime.tcp import TcpServer, open_tcp
from waypost.runtime.udp import open_udp

log = logging.getLogger(__name__)


class DtlsDriver:
    """`udp` has the address, and the figures of the socket; `associations` those of the handshakes."""

    def __init__(
        self, host: ConnectionReceiver, credentials: Callable[[], Credentials], address: str, port: int, limits: Limits
    ) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._paths: dict[Session, Path] = {}
        self.associations = Associations(
            Acceptor(credentials, wall_clock_ms, datagrams=True).accept, SystemRandom(), limits
        )
        self.udp = open_udp(self, address, port)

    def revoke(self, revoked: Revoked) -> None:
        """End the associations of whose certificates one is revoked."""
        self.associations.revoke(revoked)
        self._carry_out()

    def close(self) -> None:
        self.associations.close()
        self._carry_out()
        if self._timer is not None:
            self._timer.cancel()
        self.udp.close()

    # what the UDP driver calls

    def link(self, send: Sender) -> int:
        self._send_datagram = send
        return 0

    def unlink(self, number: int) -> None:
        pass

    def receive(self, datagrams: Sequence[tuple[bytes, Path]]) -> None:
        now = self._loop.time()
        for data, path in datagrams:
            self.associations.receive_datagram(data, path, now)
        self._carry_out()

    # what the host calls

    def _send(self, session: Session, _: Path, data: bytes) -> None:
        self.associations.send(session, data, self._loop.time())
        self._carry_out()

    def _carry_out(self) -> None:
        """The effects in order, what is for the host together; then arm the one timer."""
        batch: list[tuple[bytes, Path]] = []
        for effect in self.associations.take_effects():
            match effect:
                case Send():
                    self._send_datagram(effect.path, effect.data)
                case Received(session, data):
                    path = self._paths.get(session)
                    if path is not None:  # else it ended while the host answered what came before
                        batch.append((data, path))
                case Opened(session):
                    self._open(session)
                case Failed(path, detail):
                    log.debug("handshake of %s failed: %s", path.peer.host, detail)
                case Ended(session):
                    self._deliver(batch)
                    batch = []
                    self._host.closed(self._paths.pop(session))
        self._deliver(batch)
        self._arm()

    def _deliver(self, batch: Sequence[tuple[bytes, Path]]) -> None:
        if batch:
            self._host.receive(batch)

    def _open(self, session: Session) -> None:
        who = session.who
        assert who is not None
        link = self._host.link(partial(self._send, session))
        peer = session.path.peer._replace(session=link)
        self._paths[session] = replace(session.path, transport="dtls", peer=peer, link=link, who=who, validated=True)

    def _arm(self) -> None:
        """An earlier deadline moves the timer; a later one is seen when the timer fires."""
        when = self.associations.next_timer()
        if when is None:
            return
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        # The loop may call a hair early: never hand on a time before the deadline.
        self.associations.handle_timer(max(self._timer_at, self._loop.time()))
        self._carry_out()


def require_keys() -> None:
    """Raises ConfigError where pre-shared keys do not work: a node must not start to refuse its devices."""
    trouble = psk_trouble()
    if trouble is not None:
        raise ConfigError(
            f"pre-shared keys do not work: {trouble}", hint="install pyopenssl 26, or set coaps.listen = []"
        )


def open_dtls(
    host: ConnectionReceiver, credentials: Callable[[], Credentials], address: str, port: int, limits: Limits
) -> DtlsDriver:
    """Listen on a numeric address; port 0 takes a free one.  Raises ConfigError as open_udp does."""
    return DtlsDriver(host, credentials, address, port, limits)


async def open_tls(
    host: ConnectionReceiver, credentials: Callable[[], Credentials], address: str, port: int
) -> TcpServer:
    """Likewise, over TLS (RFC 8323, 9)."""
    accept = Acceptor(credentials, wall_clock_ms, datagrams=False).accept
    return await open_tcp(host, address, port, accept=accept)
