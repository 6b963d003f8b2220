"""CoAP over TLS on real sockets: the same driver as for TCP, and before it a handshake."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from connections import Answering, Talker
from OpenSSL import SSL
from secured import LAMP, OTHER_LAMP, Authority, authority, holding

from waypost.coap.message import Message
from waypost.identity import Identity, keys
from waypost.identity.anchors import Revoked
from waypost.identity.certificates import read_certificate
from waypost.identity.credentials import Credentials
from waypost.runtime.coaps import open_tls
from waypost.runtime.host import wall_clock_ms
from waypost.runtime.secure import PROTOCOL, Channel, connect
from waypost.runtime.tcp import Limits, TcpServer, open_tcp


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


@asynccontextmanager
async def serving(host: Answering, credentials: Credentials) -> AsyncIterator[TcpServer]:
    server = await open_tls(host, lambda: credentials, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(20):
            yield server
    finally:
        await server.close()
        assert host.links == {}
        assert server.places.taken == 0


class Client:
    """A peer on a socket; `channel` is its end of TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, credentials: Credentials) -> None:
        self.reader = reader
        self.writer = writer
        self.channel = connect(credentials, wall_clock_ms, datagrams=False)
        self.talker = Talker(0.0)

    async def handshake(self) -> Channel:
        """Until it is done, or the server has ended it."""
        while True:
            self.talker.read(b"".join(self.channel.step()))
            self.writer.write(self.channel.take())
            if self.channel.who is not None or self.channel.ended is not None:
                return self.channel
            self.channel.feed(await self.read())

    async def read(self) -> bytes:
        data = await self.reader.read(1 << 16)
        if not data:
            self.channel.ended = self.channel.ended or "closed"
        return data

    def ask(self, token: bytes) -> None:
        self.channel.write(self.talker.ask(token))
        self.writer.write(self.channel.take())

    async def answer(self) -> Message:
        messages: list[Message] = []
        while not messages:
            messages = self.talker.read(b"".join(self.channel.step()))
            if not messages:
                self.channel.feed(await self.read())
                assert self.channel.ended is None
        return messages[0]

    async def end(self) -> str:
        """Until the server has ended it."""
        while self.channel.ended is None:
            self.channel.feed(await self.read())
            self.talker.read(b"".join(self.channel.step()))
        return self.channel.ended


@asynccontextmanager
async def connected(server: TcpServer, credentials: Credentials) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*server.address[:2])
    try:
        yield Client(reader, writer, credentials)
    finally:
        writer.close()


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("shown", ["psk", "certificate"])
def test_requests_come_with_who_asks(ours: Authority, shown: str, version: int) -> None:
    async def story() -> None:
        host = Answering()
        client_has = holding(lamp=LAMP) if shown == "psk" else ours.certify("device", "lamp")
        async with (
            serving(host, ours.certify("peer", "node", lamp=LAMP)) as server,
            connected(server, client_has) as client,
        ):
            client.channel = limited(client_has, version)
            assert (await client.handshake()).who is not None
            client.ask(b"a")
            assert (await client.answer()).token == b"a"
            (path,) = host.paths
            assert path.who == Identity(shown, "lamp", ("device",))
            assert (path.transport, path.validated) == ("tls", True)
            assert client.channel.connection.get_protocol_version() == version
            assert client.channel.connection.get_alpn_proto_negotiated() == PROTOCOL
            assert server.done == 1

    asyncio.run(story())


def limited(credentials: Credentials, version: int) -> Channel:
    """A client's end that speaks this version and no other."""
    channel = connect(credentials, wall_clock_ms, datagrams=False)
    channel.connection.set_options({SSL.TLS1_2_VERSION: 0x2000_0000, SSL.TLS1_3_VERSION: 0x0800_0000}[version])
    return channel


def test_a_node_whose_own_key_is_ed25519_is_believed(ours: Authority) -> None:
    async def story() -> None:
        node = ours.certify("peer", "node", key=keys.make_ed25519())
        async with serving(Answering(), node) as server, connected(server, ours.certify("device", "lamp")) as client:
            assert (await client.handshake()).who == Identity("certificate", "node", ("peer",))

    asyncio.run(story())


def expired(ours: Authority) -> Credentials:
    return ours.certify("device", "lamp", days_ago=60)


def foreign(ours: Authority) -> Credentials:
    return replace(authority().certify("device", "lamp"), trust=ours.trust)


def nothing(ours: Authority) -> Credentials:
    return replace(ours.certify("device", "lamp"), chain=b"", key=b"")


def wrong_key(_: Authority) -> Credentials:
    return holding(lamp=OTHER_LAMP)


def unknown_name(_: Authority) -> Credentials:
    return holding(lamb=LAMP)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (expired, "certificate"),
        (foreign, "certificate"),
        (nothing, "certificate"),
        (wrong_key, "key"),
        (unknown_name, "key"),
    ],
)
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_who_cannot_show_who_they_are_is_refused(
    ours: Authority, shown: Callable[[Authority], Credentials], reason: str, version: int
) -> None:
    """A name of a key alone is nothing, also where TLS 1.3 would go on without it."""

    async def story() -> None:
        host = Answering()
        async with serving(host, ours.certify("peer", "node", lamp=LAMP)) as server:
            async with connected(server, holding()) as client:
                client.channel = limited(shown(ours), version)
                await client.handshake()
                await client.end()
            while server.places.taken:
                await asyncio.sleep(0)
            assert sum(server.failed.values()) == 1
            assert server.failed[reason] == 1 or version == SSL.TLS1_3_VERSION
            assert (server.done, host.paths) == (0, [])

    asyncio.run(story())


def test_plain_coap_is_not_answered(ours: Authority) -> None:
    async def story() -> None:
        host = Answering()
        async with serving(host, holding(lamp=LAMP)) as server, connected(server, holding()) as client:
            client.writer.write(client.talker.ask(b"a"))
            while await client.reader.read(1 << 16):
                pass
            assert server.failed == {"protocol": 1}
            assert host.paths == []

    asyncio.run(story())


def test_a_peer_that_leaves_in_its_handshake_is_counted_and_forgotten() -> None:
    async def story() -> None:
        async with serving(Answering(), holding(lamp=LAMP)) as server:
            async with connected(server, holding(lamp=LAMP)) as client:
                client.channel.step()
                client.writer.write(client.channel.take()[:40])
                await client.writer.drain()
                while not server.places.taken:
                    await asyncio.sleep(0)
            while server.places.taken:
                await asyncio.sleep(0)
            assert server.failed == {"closed": 1}

    asyncio.run(story())


def test_a_peer_that_does_not_finish_its_handshake_is_dropped() -> None:
    async def story() -> None:
        server = await open_tcp(Answering(), "127.0.0.1", 0, Limits(handshake_s=0.05), accept=refused)
        async with asyncio.timeout(20), connected(server, holding(lamp=LAMP)) as client:
            while await client.reader.read(1 << 16):
                pass
            assert server.failed == {"deadline": 1}
        await server.close()

    asyncio.run(story())


def test_connections_of_one_source_are_limited_before_a_handshake() -> None:
    async def story() -> None:
        server = await open_tcp(Answering(), "127.0.0.1", 0, Limits(8, 1), accept=refused)
        async with asyncio.timeout(20):
            _, first = await asyncio.open_connection(*server.address[:2])
            while not server.connections:
                await asyncio.sleep(0)
            reader, second = await asyncio.open_connection(*server.address[:2])
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert server.places.refused == 1
            for writer in (first, second):
                writer.close()
            await server.close()

    asyncio.run(story())


def refused() -> Channel:
    """An end that never gets anywhere."""
    return connect(holding(lamp=LAMP), wall_clock_ms, datagrams=False)


def test_the_end_of_tls_ends_the_connection(ours: Authority) -> None:
    async def story() -> None:
        host = Answering()
        async with serving(host, holding(lamp=LAMP)) as server, connected(server, holding(lamp=LAMP)) as client:
            await client.handshake()
            client.ask(b"a")
            await client.answer()
            client.channel.close()
            client.writer.write(client.channel.take())
            while await client.reader.read(1 << 16):
                pass
            assert len(host.closed_paths) == 1

    asyncio.run(story())


def test_a_connection_ends_when_its_certificate_is_revoked(ours: Authority) -> None:
    async def story() -> None:
        host, lamp = Answering(), ours.certify("device", "lamp")
        revoked = Revoked(certificates=frozenset({read_certificate(lamp.chain).serial}))
        async with serving(host, ours.certify("peer", "node")) as server, connected(server, lamp) as client:
            await client.handshake()
            client.ask(b"a")
            await client.answer()
            server.revoke(Revoked(certificates=frozenset({"1"})))
            client.ask(b"b")
            await client.answer()
            server.revoke(revoked)
            assert await client.end() == "closed"
            assert "revoked" in (client.talker.ended or "")

    asyncio.run(story())


def test_a_node_that_stops_says_so(ours: Authority) -> None:
    async def story() -> None:
        host = Answering()
        async with serving(host, holding(lamp=LAMP)) as server, connected(server, holding(lamp=LAMP)) as client:
            await client.handshake()
            client.ask(b"a")
            await client.answer()
            closing = asyncio.ensure_future(server.close())
            assert await client.end() == "closed"
            assert client.talker.ended is not None
            client.writer.close()
            await closing

    asyncio.run(story())


def test_large_answers_come_whole(ours: Authority) -> None:
    async def story() -> None:
        host = Answering(size=50_000)
        async with serving(host, holding(lamp=LAMP)) as server, connected(server, holding(lamp=LAMP)) as client:
            await client.handshake()
            client.ask(b"a")
            assert len((await client.answer()).payload) == 50_000

    asyncio.run(story())
