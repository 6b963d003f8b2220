"""A CoAP client on a UDP socket of its own, over DTLS if it is given something to show.

async with CoapClient("127.0.0.1", 5683) as client:
    response = await client.request(Code.GET, ("rd-lookup", "ep"))
"""

import asyncio
import itertools
import socket
from collections.abc import Sequence
from random import SystemRandom
from typing import Final, Self, cast

from waypost.coap.peer import Peer, serve_nothing
from waypost.coap.request import Response
from waypost.coap.transfer import Call, Failure
from waypost.engine import Answer, Path, Send
from waypost.errors import StateError, UnreachableError
from waypost.identity.credentials import Credentials
from waypost.runtime.dialing import DtlsDialer
from waypost.runtime.host import Sender
from waypost.runtime.udp import Address, UdpDriver, endpoint, open_udp

ANSWER_MAX: Final = 8 << 20  # octets of one answer, all blocks together


class CoapClient:
    """For one server.  Requests wait for each other: CoAP allows one at a time (RFC 7252, 4.7)."""

    def __init__(self, host: str, port: int, credentials: Credentials | None = None) -> None:
        """`credentials` have one pre-shared key, or a certificate and whom to trust."""
        self._host = host
        self._port = port
        self._credentials = credentials
        self._url = f"{'coap' if credentials is None else 'coaps'}://{host}:{port}"
        self._peer = Peer(SystemRandom(), serve_nothing, itertools.count(1), answer_max=ANSWER_MAX)
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Raises UnreachableError if the host has no address, or no way leads there.

        Over DTLS also if it does not answer, and DeniedError if one end does not believe the other.
        """
        self._loop = asyncio.get_running_loop()
        try:
            found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            family, server = found[0][0], cast(Address, found[0][4])
            local = _local_address(family, server)
        except OSError as error:
            raise UnreachableError(f"{self._url}: {error.strerror}") from error
        if self._credentials is None:
            self._driver: UdpDriver | DtlsDialer = open_udp(self, local, 0)
            self._path = self._driver.path(endpoint(server))
            return self
        dialer = self._driver = DtlsDialer(self, local, endpoint(server), self._credentials)
        self._path = dialer.path
        try:
            await dialer.opened()
        except BaseException:
            dialer.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._driver.close()
        if self._timer is not None:
            self._timer.cancel()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(StateError("the client is closed"))

    async def request(
        self,
        method: int,
        path: tuple[str, ...],
        query: tuple[str, ...] = (),
        *,
        payload: bytes = b"",
        content_format: int | None = None,
        accept: int | None = None,
    ) -> Response:
        """The server's response, whatever its code.  Raises UnreachableError if there is none."""
        call = Call(method, path, query, payload, content_format, accept)
        id = self._peer.client.request(call, self._path, self._loop.time())
        answer = self._waiting[id] = self._loop.create_future()
        self._flush()
        try:
            outcome = await answer
        except asyncio.CancelledError:
            self._peer.client.cancel(id, self._loop.time())
            self._flush()
            raise
        finally:
            self._waiting.pop(id, None)
        if isinstance(outcome, Failure):
            raise UnreachableError(f"{self._url}: {outcome.value}")
        assert isinstance(outcome, Response)
        return outcome

    # what the driver calls

    def link(self, send: Sender) -> int:
        self._send = send
        return 1

    def unlink(self, number: int) -> None:
        pass

    def receive(self, datagrams: Sequence[tuple[bytes, Path]]) -> None:
        now = self._loop.time()
        for data, path in datagrams:
            self._peer.receive_datagram(data, path, now)
        self._flush()

    def closed(self, path: Path) -> None:
        self._peer.closed(path, self._loop.time())
        self._flush()

    def _flush(self) -> None:
        """Carry out the effects in order, then arm the one timer."""
        for effect in self._peer.take_effects():
            match effect:
                case Send():
                    self._send(effect.path, effect.data)
                case Answer():
                    answer = self._waiting.get(effect.id)
                    if answer is not None and not answer.done():
                        answer.set_result(effect.result)
                case _:
                    raise AssertionError(f"a client does not want {effect!r}")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        when = self._peer.next_timer()
        if when is not None:
            self._timer = self._loop.call_at(when, self._on_timer, when)

    def _on_timer(self, when: float) -> None:
        # The loop may call a hair early: never hand the engine a time before its deadline.
        self._timer = None
        self._peer.handle_timer(max(when, self._loop.time()))
        self._flush()


def _local_address(family: int, server: Address) -> str:
    """The address of ours that leads to `server`; nothing is sent to find out."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(server)
        local = endpoint(probe.getsockname())
    return f"{local.host}%{local.scope}" if local.scope else local.host
