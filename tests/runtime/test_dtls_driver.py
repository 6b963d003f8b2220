"""CoAP over DTLS from socket to socket: the driver before a real engine, and our own client."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import cast

import pytest
from connections import Answering
from secured import LAMP, OTHER_LAMP, Authority, authority, holding, shared

from waypost.coap.message import Message, decode
from waypost.coap.numbers import Code, Option, Type
from waypost.coap.peer import Peer
from waypost.coap.request import Request, Response
from waypost.engine import Endpoint, Path, Send
from waypost.errors import DeniedError, UnreachableError
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.credentials import Credentials
from waypost.runtime.associations import Limits
from waypost.runtime.coap import CoapClient
from waypost.runtime.coaps import DtlsDriver, open_dtls, require_keys


@asynccontextmanager
async def serving(host: Answering, credentials: Credentials, limits: Limits | None = None) -> AsyncIterator[DtlsDriver]:
    driver = open_dtls(host, lambda: credentials, "127.0.0.1", 0, limits or Limits())
    try:
        async with asyncio.timeout(20):
            yield driver
    finally:
        driver.close()
        assert host.links == {}


def client(driver: DtlsDriver, credentials: Credentials) -> CoapClient:
    return CoapClient("127.0.0.1", driver.udp.address.port, credentials)


class Numbering(Answering):
    """Answers each request, confirmable ones in their acknowledgement, with how many it has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.count = itertools.count(1)

    def receive(self, datagrams: object) -> bool:
        for data, path in datagrams:  # type: ignore[attr-defined]
            self.paths.append(path)
            asked = decode(data)
            body = b"%d" % next(self.count)
            answer = Message(Type.ACK, Code.CONTENT, asked.id, asked.token, [], body)
            self.links[path.link](path, answer.encode())
        return True


def test_a_request_carries_who_asks() -> None:
    async def story() -> None:
        host, has = Numbering(), holding(lamp=LAMP)
        async with serving(host, has) as driver, client(driver, has) as lamp:
            assert (await lamp.request(Code.GET, ("x",))).payload == b"1"
            assert (await lamp.request(Code.GET, ("x",))).payload == b"2"
            path = host.paths[0]
            assert (path.transport, path.validated, path.message_max) == ("dtls", True, None)
            assert path.who == Identity("psk", "lamp", ("device",))
            assert (path.peer.session, path.local) == (path.link, driver.udp.address)
            assert host.paths[1] is path

    asyncio.run(story())


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


def test_a_certificate_is_believed_by_both(ours: Authority) -> None:
    async def story() -> None:
        host = Numbering()
        async with (
            serving(host, ours.certify("peer", "node")) as driver,
            client(driver, ours.certify("device", "lamp")) as lamp,
        ):
            assert (await lamp.request(Code.GET, ("x",))).payload == b"1"
            assert host.paths[0].who == Identity("certificate", "lamp", ("device",))

    asyncio.run(story())


def test_the_client_says_why_it_was_refused(ours: Authority) -> None:
    async def story() -> None:
        async with serving(Numbering(), ours.certify("peer", "node", lamp=LAMP)) as driver:
            with pytest.raises(DeniedError, match="unknown psk identity"):
                async with client(driver, holding(lamb=LAMP)):
                    pass
            with pytest.raises(DeniedError, match="certificate verify failed"):
                async with client(driver, authority().certify("device", "lamp")):
                    pass

    asyncio.run(story())


def test_an_association_that_ends_ends_its_requests_and_its_link() -> None:
    async def story() -> None:
        host, has = Answering(silent=True), holding(lamp=LAMP)
        async with serving(host, has, Limits(idle_s=0.1)) as driver, client(driver, has) as lamp:
            with pytest.raises(UnreachableError, match="closed"):
                await lamp.request(Code.GET, ("x",))
            assert host.closed_paths == [host.paths[0]]
            assert driver.associations.ended == {"idle": 1}

    asyncio.run(story())


def test_what_is_remembered_of_one_is_not_found_by_another_at_the_same_address() -> None:
    """RFC 7252, 4.5: the same message id from the same address, but of another association, is another message."""
    served: list[Path] = []

    def serve(_: Request, path: Path, __: float) -> Response:
        served.append(path)
        return Response(Code.CHANGED, b"for " + path.who.name.encode())

    peer = Peer(Random(1), serve, itertools.count(1))
    ask = Message(Type.CON, Code.POST, 77, b"t", [(Option.URI_PATH, b"x")], b"").encode()
    address, local = Endpoint("192.0.2.1", 4000), Endpoint("192.0.2.9", 5684)

    def answered(name: str, session: int) -> bytes:
        who = Identity("psk", name)
        path = Path("dtls", address._replace(session=session), local, session, who, validated=True)
        peer.receive_datagram(ask, path, 0.0)
        (effect,) = peer.take_effects()
        assert isinstance(effect, Send)
        return decode(effect.data).payload

    assert answered("lamp", 1) == b"for lamp"
    assert answered("lamp", 1) == b"for lamp"
    assert len(served) == 1
    assert answered("door", 2) == b"for door"
    peer.receive_datagram(ask, Path("udp", address, local, 9, ANONYMOUS, validated=False), 0.0)
    for effect in peer.take_effects():  # a forger at the same address, without an association
        assert isinstance(effect, Send)
        assert not decode(effect.data).payload.startswith(b"for lamp")


def test_two_at_one_address_one_after_the_other_have_two_links() -> None:
    """A device that restarts with its port; what it observed has ended."""

    async def story() -> None:
        host = Numbering()
        has = Credentials(b"", b"", holding().trust, shared(lamp=LAMP, door=OTHER_LAMP))
        async with serving(host, has) as driver:
            for name, key in (("lamp", LAMP), ("door", OTHER_LAMP)):
                async with client(driver, holding(**{name: key})) as device:
                    await device.request(Code.GET, ("x",))
            assert [path.who.name for path in host.paths] == ["lamp", "door"]
            assert host.paths[0].link != host.paths[1].link

    asyncio.run(story())


def test_random_datagrams_do_no_harm() -> None:
    async def story() -> None:
        host, has, rng = Numbering(), holding(lamp=LAMP), Random(1)
        async with serving(host, has) as driver, client(driver, has) as lamp:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for _ in range(500):
                    noise = bytes([rng.choice((20, 21, 22, 23, 64))]) + rng.randbytes(rng.randrange(200))
                    stranger.sendto(noise, driver.udp.address[:2])
            assert (await lamp.request(Code.GET, ("x",))).payload == b"1"
            assert len(host.paths) == 1

    asyncio.run(story())


class Lossy(asyncio.DatagramProtocol):
    """Between one client and a server: loses the first datagram of each way that `loses` names, by its 14th octet."""

    def __init__(self, server: Endpoint, loses: set[int]) -> None:
        self.server = server[:2]
        self.loses = loses
        self.client: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if address != self.server:
            self.client = address
        kind = data[13] if data[3:5] == bytes(2) else -1
        if kind in self.loses:
            self.loses.remove(kind)
        elif self.client is not None:
            self.transport.sendto(data, self.client if address == self.server else self.server)


@pytest.mark.parametrize("lost", [{1}, {3}, {2}, {16}], ids=["hello", "cookie", "server's", "client's"])
def test_what_is_lost_of_a_handshake_is_sent_again(lost: set[int]) -> None:
    """RFC 6347, 4.2.4: after a second, by whoever waits for the next flight."""

    async def story() -> None:
        host, has = Numbering(), holding(lamp=LAMP)
        async with serving(host, has) as driver:
            between, proxy = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: Lossy(driver.udp.address, lost), local_addr=("127.0.0.1", 0)
            )
            port = between.get_extra_info("sockname")[1]
            async with CoapClient("127.0.0.1", port, has) as lamp:
                assert (await lamp.request(Code.GET, ("x",))).payload == b"1"
            assert proxy.loses == set()
            between.close()

    asyncio.run(story())


def test_pre_shared_keys_work_with_this_library() -> None:
    require_keys()
