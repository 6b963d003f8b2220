"""The UDP driver on real sockets, in front of a host that sends everything back."""

import asyncio
import socket
from collections.abc import Sequence

import pytest

from waypost.engine import Endpoint, Path
from waypost.runtime.host import Sender
from waypost.runtime.udp import Address, open_udp


class Echo:
    """Stands where a Host stands; an empty datagram is not sent back but ends the wait."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.batches: list[int] = []
        self.finished = asyncio.Event()

    def link(self, send: Sender) -> int:
        self.send = send
        return 7

    def unlink(self, number: int) -> None:
        assert number == 7

    def receive(self, datagrams: Sequence[tuple[bytes, Path]]) -> None:
        self.batches.append(len(datagrams))
        for data, path in datagrams:
            self.paths.append(path)
            if data:
                self.send(path, data)
            else:
                self.finished.set()


class Client:
    """A peer with a blocking socket; the kernel keeps what it is sent."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes, address: str, port: int) -> None:
        self.socket.sendto(data, (address, port))

    async def receive(self) -> tuple[bytes, Address]:
        self.socket.setblocking(False)
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recvfrom(self.socket, 65536)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_answer_goes_back_to_whoever_asked(address: str) -> None:
    async def story() -> None:
        echo = Echo()
        driver = open_udp(echo, address, 0)
        with Client(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
            client.send(b"hello", address, driver.address.port)
            data, (host, port, *_) = await client.receive()
            assert (data, host, port) == (b"hello", address, driver.address.port)
            assert echo.paths[0].peer == Endpoint(address, client.socket.getsockname()[1])
            assert echo.paths[0].local == driver.address
            assert echo.paths[0].link == 7
            assert not echo.paths[0].validated
        driver.close()

    asyncio.run(story())


def test_a_wildcard_socket_answers_from_the_address_that_was_asked() -> None:
    async def story() -> None:
        echo = Echo()
        driver = open_udp(echo, "0.0.0.0", 0)
        with Client() as client:
            for asked in ("127.0.0.2", "127.0.0.1", "127.0.0.2"):
                client.send(b"hello", asked, driver.address.port)
                _, address = await client.receive()
                assert address[:2] == (asked, driver.address.port)
        assert [path.local.host for path in echo.paths] == ["127.0.0.2", "127.0.0.1", "127.0.0.2"]
        driver.close()

    asyncio.run(story())


def test_an_ipv6_wildcard_socket_tells_which_address_was_asked() -> None:
    async def story() -> None:
        echo = Echo()
        driver = open_udp(echo, "::", 0)
        with Client(socket.AF_INET6) as client:
            client.send(b"hello", "::1", driver.address.port)
            _, address = await client.receive()
            assert address[:2] == ("::1", driver.address.port)
        assert echo.paths[0].local == Endpoint("::1", driver.address.port)
        driver.close()

    asyncio.run(story())
