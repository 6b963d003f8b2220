"""The UDP driver on real sockets, in front of a host that sends everything back."""

import asyncio
import errno
import socket
import struct
from collections.abc import Sequence

import pytest

from waypost.engine import Endpoint, Path
from waypost.errors import ConfigError
from waypost.runtime.host import Sender
from waypost.runtime.udp import DRAIN_MAX, GROUPS_IPV4, Address, Ancillary, UdpDriver, open_udp


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

    async def ended(self) -> None:
        async with asyncio.timeout(5):
            await self.finished.wait()


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


class FaultySocket:
    """A real socket whose next sends or receives fail with the given error numbers, or come cut short."""

    def __init__(self, address: str, *, sends: Sequence[int] = (), receives: Sequence[int] = (), cut: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((address, 0))
        self._sends = list(sends)
        self._receives = list(receives)
        self._cut = cut
        self.family = self._socket.family
        self.fileno = self._socket.fileno
        self.getsockname = self._socket.getsockname
        self.getsockopt = self._socket.getsockopt
        self.close = self._socket.close

    def recvfrom(self, size: int, /) -> tuple[bytes, Address]:
        if self._receives:
            raise OSError(self._receives.pop(0), "injected")
        return self._socket.recvfrom(size)

    def recvmsg(self, size: int, space: int, /) -> tuple[bytes, Ancillary, int, Address]:
        return self._socket.recvmsg(self._cut or size, space)

    def sendto(self, data: bytes, address: Address, /) -> int:
        if self._sends:
            raise OSError(self._sends.pop(0), "injected")
        return self._socket.sendto(data, address)

    def sendmsg(self, parts: tuple[bytes], ancillary: Ancillary, flags: int, address: Address, /) -> int:
        return self._socket.sendmsg(parts, ancillary, flags, address)


ERRORS = (
    errno.EPERM,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EMSGSIZE,
    errno.ENOBUFS,
    errno.ECONNREFUSED,
    errno.EAGAIN,
)


def test_no_error_of_a_send_ends_the_driver() -> None:
    async def story() -> None:
        sock = FaultySocket("127.0.0.1", sends=ERRORS)
        driver = UdpDriver(Echo(), sock)
        with Client() as client:
            for _ in ERRORS:
                client.send(b"lost", "127.0.0.1", driver.address.port)
            client.send(b"answered", "127.0.0.1", driver.address.port)
            assert (await client.receive())[0] == b"answered"
        assert driver.errors == {errno.errorcode[number]: 1 for number in ERRORS}
        driver.close()

    asyncio.run(story())


def test_no_error_of_a_receive_ends_the_driver() -> None:
    async def story() -> None:
        driver = UdpDriver(Echo(), FaultySocket("127.0.0.1", receives=[errno.ECONNREFUSED, errno.ENOMEM]))
        with Client() as client:
            client.send(b"answered", "127.0.0.1", driver.address.port)
            assert (await client.receive())[0] == b"answered"
        assert driver.errors == {"ECONNREFUSED": 1, "ENOMEM": 1}
        driver.close()

    asyncio.run(story())


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_message_too_large_for_a_datagram_is_counted(address: str) -> None:
    async def story() -> None:
        echo = Echo()
        driver = open_udp(echo, address, 0)
        with Client() as client:
            client.send(b"", "127.0.0.1", driver.address.port)
            await echo.ended()
        echo.send(echo.paths[0], bytes(70_000))
        assert driver.errors == {"EMSGSIZE": 1}
        driver.close()

    asyncio.run(story())


def test_a_datagram_cut_short_is_dropped() -> None:
    async def story() -> None:
        echo = Echo()
        sock = FaultySocket("0.0.0.0", cut=8)
        driver = UdpDriver(echo, sock)
        with Client() as client:
            client.send(b"longer than eight octets", "127.0.0.1", driver.address.port)
            client.send(b"", "127.0.0.1", driver.address.port)
            await echo.ended()
        assert (driver.dropped, len(echo.paths)) == (1, 1)
        driver.close()

    asyncio.run(story())


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_burst_of_1024_datagrams_is_received_whole(address: str) -> None:
    async def story() -> None:
        echo = Echo()
        driver = open_udp(echo, address, 0)
        with Client() as client:
            for _ in range(1023):
                client.send(bytes(100), "127.0.0.1", driver.address.port)
            client.send(b"", "127.0.0.1", driver.address.port)
            await echo.ended()
        assert sum(echo.batches) == 1024
        assert max(echo.batches) == DRAIN_MAX
        assert len(set(map(id, echo.paths))) == 1  # one peer, one Path
        driver.close()

    asyncio.run(story())


@pytest.mark.parametrize("group", GROUPS_IPV4)
def test_a_group_that_was_joined_is_answered_from_our_own_address(group: str) -> None:
    """RFC 7252, 8.2."""

    async def story() -> None:
        echo = Echo()
        driver = open_udp(echo, "0.0.0.0", 0, interfaces=["lo"])
        with Client() as client:
            interface = struct.pack("8xi", socket.if_nametoindex("lo"))
            client.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            client.send(b"anybody", group, driver.address.port)
            client.send(b"", "127.0.0.1", driver.address.port)
            await echo.ended()
            assert await client.receive() == (b"anybody", ("127.0.0.1", driver.address.port))
        assert [path.group for path in echo.paths] == [True, False]
        assert echo.paths[0].local == Endpoint("127.0.0.1", driver.address.port)
        driver.close()

    asyncio.run(story())


def test_a_group_that_was_not_joined_is_not_heard() -> None:
    async def story() -> None:
        echo = Echo()
        driver = open_udp(echo, "0.0.0.0", 0)
        with Client() as client:
            interface = struct.pack("8xi", socket.if_nametoindex("lo"))
            client.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            client.send(b"anybody", GROUPS_IPV4[0], driver.address.port)
            client.send(b"", "127.0.0.1", driver.address.port)
            await echo.ended()
        assert [path.group for path in echo.paths] == [False]
        driver.close()

    asyncio.run(story())


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_an_interface_that_is_missing_is_a_fault_of_the_configuration(address: str) -> None:
    async def story() -> None:
        with pytest.raises(ConfigError, match="multicast on 'no-such'"):
            open_udp(Echo(), address, 0, interfaces=["no-such"])

    asyncio.run(story())


def test_a_datagram_to_a_broadcast_address_is_dropped() -> None:
    """Answering a group needs leisure (RFC 7252, 8.2)."""

    async def story() -> None:
        echo = Echo()
        driver = open_udp(echo, "0.0.0.0", 0)
        with Client() as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.send(b"everybody", "127.255.255.255", driver.address.port)
            client.send(b"", "127.0.0.1", driver.address.port)
            await echo.ended()
        assert (driver.dropped, len(echo.paths)) == (1, 1)
        driver.close()

    asyncio.run(story())


def test_ipv4_and_ipv6_share_a_port() -> None:
    async def story() -> None:
        first = open_udp(Echo(), "::", 0)
        second = open_udp(Echo(), "0.0.0.0", first.address.port)
        assert second.address == Endpoint("0.0.0.0", first.address.port)
        first.close()
        second.close()

    asyncio.run(story())


@pytest.mark.parametrize("address", ["localhost", "192.0.2.1", "no address"])
def test_an_address_that_is_not_ours_is_a_mistake_in_the_configuration(address: str) -> None:
    async def story() -> None:
        with pytest.raises(ConfigError):
            open_udp(Echo(), address, 0)

    asyncio.run(story())
