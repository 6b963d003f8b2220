"""The TCP driver on real sockets, with clients that keep to no rule."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from connections import Answering, Talker

from waypost.coap.message import Message
from waypost.coap.stream import MESSAGE_BASE, OPEN_MAX
from waypost.engine import Endpoint
from waypost.errors import ConfigError
from waypost.runtime.connection import SEND_BUFFER_MAX
from waypost.runtime.tcp import LIMITS, Limits, TcpServer, open_tcp

PING = b"\x00\xe2"
PONG = b"\x00\xe3"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.talker = Talker(0.0)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(*self.writer.get_extra_info("sockname"))

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def messages(self, wanted: int) -> list[Message]:
        """So many answers."""
        messages: list[Message] = []
        while len(messages) < wanted:
            data = await self.reader.read(1 << 16)
            assert data, self.talker.ended
            messages += self.talker.read(data)
        return messages

    async def end(self) -> str:
        """Wait until the server closes; why it did."""
        try:
            while data := await self.reader.read(1 << 16):
                self.talker.read(data)
        except ConnectionResetError:
            return "reset"
        return self.talker.ended or "closed"


@asynccontextmanager
async def serving(host: Answering, limits: Limits = LIMITS) -> AsyncIterator[TcpServer]:
    server = await open_tcp(host, "127.0.0.1", 0, limits)
    try:
        async with asyncio.timeout(20):
            yield server
    finally:
        await server.close()
        assert host.links == {}
        assert server.places.taken == 0


@asynccontextmanager
async def connected(server: TcpServer) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*server.address[:2])
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def until_left(server: TcpServer) -> None:
    while server.places.taken:
        await asyncio.sleep(0)


def test_requests_come_with_their_path_and_are_answered() -> None:
    async def story() -> None:
        host = Answering()
        async with serving(host) as server, connected(server) as client:
            client.write(client.talker.ask(b"a") + client.talker.ask(b"b"))
            assert [message.token for message in await client.messages(2)] == [b"a", b"b"]
            path = host.paths[0]
            assert (path.transport, path.validated, path.message_max) == ("tcp", True, client.talker.message_max)
            assert (path.peer, path.local) == (client.endpoint._replace(session=path.link), server.address)
            assert host.paths[1] is path

    asyncio.run(story())


def test_a_message_comes_in_any_pieces() -> None:
    async def story() -> None:
        async with serving(Answering()) as server, connected(server) as client:
            for octet in client.talker.ask(b"slow"):
                client.write(bytes((octet,)))
                await client.writer.drain()
                await asyncio.sleep(0)
            assert [message.token for message in await client.messages(1)] == [b"slow"]

    asyncio.run(story())


def test_the_host_learns_that_a_connection_is_closed() -> None:
    async def story() -> None:
        host = Answering()
        async with serving(host) as server:
            async with connected(server) as client:
                client.write(client.talker.ask(b"a"))
                await client.messages(1)
            await until_left(server)
            assert host.closed_paths == host.paths

    asyncio.run(story())


def test_who_has_said_all_still_gets_the_answers() -> None:
    """A connection closed for writing alone; the answer comes later."""

    async def story() -> None:
        host = Answering(silent=True)
        async with serving(host) as server, connected(server) as client:
            client.write(client.talker.ask(b"a"))
            client.writer.write_eof()
            while not host.paths:
                await asyncio.sleep(0)
            host.answer(host.paths[0], b"a")
            assert len(await client.messages(1)) == 1
            assert await client.end() == "closed"

    asyncio.run(story())


def test_a_server_that_closes_releases_its_connections() -> None:
    """RFC 8323, 5.5."""

    async def story() -> None:
        async with serving(Answering()) as server, connected(server) as client:
            client.write(client.talker.ask(b"a"))
            await client.messages(1)
            await server.close()
            assert await client.end() == "the peer released the connection"

    asyncio.run(story())


@pytest.mark.parametrize("limits", [Limits(connections=1), Limits(connections_per_source=1)])
def test_there_are_only_so_many_connections(limits: Limits) -> None:
    async def story() -> None:
        async with serving(Answering(), limits) as server:
            async with connected(server) as first:
                first.write(first.talker.ask(b"a"))
                await first.messages(1)
                async with connected(server) as second:
                    assert "too many connections" in await second.end()
                assert server.places.refused == 1
            await until_left(server)
            async with connected(server) as third:
                third.write(third.talker.ask(b"a"))
                await third.messages(1)

    asyncio.run(story())


def test_a_connection_that_would_lose_a_request_is_aborted() -> None:
    async def story() -> None:
        host = Answering()
        host.full = True
        async with serving(host) as server, connected(server) as client:
            client.write(client.talker.ask(b"a"))
            assert "too busy" in await client.end()

    asyncio.run(story())


def test_who_does_not_read_the_answers_is_not_read_either() -> None:
    """The answers wait in the kernel and in a bounded buffer; all come once they are read."""

    async def story() -> None:
        host = Answering(size=60_000)
        async with serving(host) as server, connected(server) as client:
            client.write(b"".join(client.talker.ask(number.to_bytes(2, "big")) for number in range(1000)))
            await asyncio.sleep(0.1)
            assert 0 < len(host.paths) < 500
            assert len(await client.messages(1000)) == len(host.paths) == 1000

    asyncio.run(story())


def test_who_leaves_without_its_answers_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        host = Answering()
        async with serving(host) as server:
            async with connected(server) as client:
                client.write(b"".join(client.talker.ask(number.to_bytes(2, "big")) for number in range(20_000)))
                await client.messages(1)
                client.writer.transport.abort()
            await until_left(server)

    asyncio.run(story())
    assert caplog.records == []


def test_only_so_many_requests_wait_for_their_answer() -> None:
    async def story() -> None:
        host = Answering(silent=True)
        async with serving(host) as server, connected(server) as client:
            client.write(b"".join(client.talker.ask(number.to_bytes(2, "big")) for number in range(OPEN_MAX + 1)))
            while len(host.paths) < OPEN_MAX:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert len(host.paths) == OPEN_MAX
            host.answer(host.paths[0], b"\x00\x00")
            while len(host.paths) == OPEN_MAX:
                await asyncio.sleep(0)

    asyncio.run(story())


def test_who_lets_notifications_pile_up_is_dropped() -> None:
    async def story() -> None:
        host = Answering(size=100_000)
        async with serving(host) as server, connected(server) as client:
            client.write(client.talker.ask(b"a"))
            while not host.paths:
                await asyncio.sleep(0)
            sent = 0
            while host.links:
                host.answer(host.paths[0], b"a")
                sent += host.size
                await asyncio.sleep(0)
            assert SEND_BUFFER_MAX < sent < 4 * SEND_BUFFER_MAX  # the kernel keeps some, too

    asyncio.run(story())


def test_a_flood_of_pings_is_answered_in_turns() -> None:
    async def story() -> None:
        async with serving(Answering()) as server, connected(server) as flooding, connected(server) as other:
            flooding.write(flooding.talker.ask(b"") + PING * 50_000)
            other.write(other.talker.ask(b"a"))
            await other.messages(1)
            answers = b""
            while answers.count(PONG) < 50_000:
                answers += await flooding.reader.read(1 << 20)

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(20))
def test_noise_ends_its_own_connection_and_no_other(seed: int) -> None:
    async def story() -> None:
        host = Answering()
        async with serving(host) as server, connected(server) as noisy, connected(server) as other:
            noisy.write((b"\x00\xe1" if seed % 2 else b"") + Random(seed).randbytes(3000) + b"\xf9" + bytes(8))
            assert await noisy.end() != "closed"
            other.write(other.talker.ask(b"a"))
            await other.messages(1)

    asyncio.run(story())


def test_a_peer_that_says_nothing_of_it_takes_the_base_size() -> None:
    """RFC 8323, 5.3.1."""

    async def story() -> None:
        host = Answering()
        async with serving(host) as server, connected(server) as client:
            client.write(b"\x00\xe1\x01\x01a")
            await client.messages(1)
            assert host.paths[0].message_max == MESSAGE_BASE

    asyncio.run(story())


def test_an_address_that_is_taken_is_a_fault_of_the_configuration() -> None:
    async def story() -> None:
        async with serving(Answering()) as server:
            with pytest.raises(ConfigError, match=r"tcp 127\.0\.0\.1 port"):
                await open_tcp(Answering(), *server.address[:2])

    asyncio.run(story())
