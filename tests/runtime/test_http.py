"""The limits around an HTTP application, with clients that keep to none of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from waypost.errors import ConfigError
from waypost.runtime.http import HttpServer, Limits, serve

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
SHORT = Limits(idle_s=0.2, body_s=0.2, linger_s=0.2)


def application() -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read() or b"nothing")

    app = web.Application(client_max_size=1000)
    app.router.add_get("/", echo)
    app.router.add_post("/", echo)
    return app


@asynccontextmanager
async def serving(limits: Limits, host: str = "127.0.0.1") -> AsyncIterator[HttpServer]:
    server = await serve(application(), host, 0, limits)
    try:
        async with asyncio.timeout(10):
            yield server
    finally:
        await server.close()


class Client:
    """A connection that says what it is told, in the pieces it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> int:
        """The status of the next answer; its body is read, too."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = next(int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        await self._reader.readexactly(size)
        return int(head.split()[1])

    async def closed(self) -> bytes:
        """Wait until the server closes; what it said until then."""
        try:
            return await self._reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def connected(server: HttpServer, *, local: str = "127.0.0.1") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*server.address[:2], local_addr=(local, 0))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def test_a_request_is_answered_and_the_connection_stays() -> None:
    async def story() -> None:
        async with serving(Limits()) as server, connected(server) as client:
            for _ in range(3):
                client.send(GET)
                assert await client.answer() == 200

    asyncio.run(story())


def test_ipv6_is_served_and_counted() -> None:
    async def story() -> None:
        limits = Limits(connections_per_source=1)
        async with serving(limits, "::1") as server, connected(server, local="::1") as client:
            client.send(GET)
            assert await client.answer() == 200
            async with connected(server, local="::1") as second:
                assert await second.answer() == 503

    asyncio.run(story())


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: local"], ids=["nothing", "half a head"])
def test_a_head_that_does_not_come_ends_the_connection(said: bytes) -> None:
    async def story() -> None:
        async with serving(SHORT) as server, connected(server) as client:
            client.send(said)
            assert await client.closed() == b""

    asyncio.run(story())


def test_a_head_that_comes_drop_by_drop_ends_the_connection() -> None:
    async def story() -> None:
        async with serving(SHORT) as server, connected(server) as client:
            client.send(b"GET / HTTP/1.1\r\n")
            closed = asyncio.create_task(client.closed())
            while not closed.done():
                client.send(b"X: y\r\n")
                await asyncio.sleep(0.02)
            assert closed.result() == b""

    asyncio.run(story())


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: local"], ids=["nothing", "half a head"])
def test_a_connection_that_is_idle_after_an_answer_ends(said: bytes) -> None:
    async def story() -> None:
        async with serving(SHORT) as server, connected(server) as client:
            client.send(GET)
            assert await client.answer() == 200
            client.send(said)
            assert await client.closed() == b""

    asyncio.run(story())


@pytest.mark.parametrize("said", [b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf"])
def test_a_body_that_does_not_come_is_answered_408(said: bytes) -> None:
    """RFC 9110, 15.5.9."""

    async def story() -> None:
        async with serving(SHORT) as server, connected(server) as client:
            client.send(POST + said)
            assert await client.answer() == 408
            assert await client.closed() == b""

    asyncio.run(story())


@pytest.mark.parametrize(
    "said",
    [
        b"Content-Length: 1001\r\n\r\n" + bytes(1001),
        b"Transfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + bytes(256) + b"\r\n" + b"400\r\n" + bytes(1024),
    ],
    ids=["said before", "in chunks"],
)
def test_a_body_that_is_too_large_is_answered_413(said: bytes) -> None:
    """RFC 9110, 15.5.14."""

    async def story() -> None:
        async with serving(SHORT) as server, connected(server) as client:
            client.send(POST + said)
            assert await client.answer() == 413

    asyncio.run(story())


@pytest.mark.parametrize("chunk", [b"not a size\r\n", b"3\r\nfour\r\n"])
def test_a_broken_body_is_refused(chunk: bytes) -> None:
    """At once, or when its time is up: aiohttp's parser tells whoever waits for the body only now and then."""

    async def story() -> None:
        async with serving(SHORT) as server, connected(server) as client:
            client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhal\r\n")
            await asyncio.sleep(0.05)  # what comes with the head would break the head
            client.send(chunk)
            assert await client.answer() in (400, 408)

    asyncio.run(story())


def test_whoever_leaves_in_the_middle_of_a_body_is_forgotten() -> None:
    async def story() -> None:
        async with serving(Limits()) as server:
            async with connected(server) as client:
                client.send(POST + b"Content-Length: 100\r\n\r\nhalf")
                await asyncio.sleep(0.05)
                assert server.places.taken == 1
            while server.places.taken:
                await asyncio.sleep(0.01)

    asyncio.run(story())


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 70 + b"\r\n",
    ],
    ids=["line", "field", "fields"],
)
def test_a_head_that_is_too_large_is_refused_and_not_logged(head: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with serving(SHORT) as server, connected(server) as client:
            client.send(head)
            assert (await client.closed()).startswith(b"HTTP/1.0 400")

    asyncio.run(story())
    assert caplog.text == ""


def test_a_compressed_body_stays_compressed() -> None:
    async def story() -> None:
        async with serving(SHORT) as server, connected(server) as client:
            client.send(POST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbomb")
            assert await client.answer() == 200

    asyncio.run(story())


def test_one_source_has_only_so_many_connections() -> None:
    """RFC 9110, 15.6.4; another source is still served, and a place that is left can be taken."""

    async def story() -> None:
        async with serving(Limits(connections_per_source=2)) as server:
            async with connected(server) as first, connected(server) as second:
                for client in (first, second):
                    client.send(GET)
                    assert await client.answer() == 200
                async with connected(server) as third:
                    assert (await third.closed()).startswith(b"HTTP/1.1 503")
                async with connected(server, local="127.0.0.2") as other:
                    other.send(GET)
                    assert await other.answer() == 200
                assert server.places.refused == 1
            while server.places.taken:
                await asyncio.sleep(0.01)
            async with connected(server) as again:
                again.send(GET)
                assert await again.answer() == 200

    asyncio.run(story())


def test_there_are_only_so_many_connections_in_all() -> None:
    async def story() -> None:
        async with serving(Limits(connections=1)) as server, connected(server) as first:
            first.send(GET)
            assert await first.answer() == 200
            async with connected(server, local="127.0.0.2") as second:
                assert (await second.closed()).startswith(b"HTTP/1.1 503")

    asyncio.run(story())


def test_a_closing_server_finishes_the_request_under_way() -> None:
    async def story() -> None:
        begun, free = asyncio.Event(), asyncio.Event()

        async def slow(_: web.Request) -> web.Response:
            begun.set()
            await free.wait()
            return web.Response(body=b"done")

        app = web.Application()
        app.router.add_get("/", slow)
        server = await serve(app, "127.0.0.1", 0)
        async with asyncio.timeout(10), connected(server) as client:
            client.send(GET)
            await begun.wait()
            closing = asyncio.create_task(server.close())
            await asyncio.sleep(0)
            free.set()
            assert await client.answer() == 200
            await closing

    asyncio.run(story())


def test_one_application_can_be_served_on_several_addresses() -> None:
    async def story() -> None:
        app = application()
        for server in (await serve(app, "127.0.0.1", 0), await serve(app, "::1", 0)):
            async with asyncio.timeout(10), connected(server, local=server.address.host) as client:
                client.send(GET)
                assert await client.answer() == 200
            await server.close()

    asyncio.run(story())


def test_a_port_that_is_taken_is_a_mistake_in_the_configuration() -> None:
    async def story() -> None:
        async with serving(Limits()) as server:
            with pytest.raises(ConfigError):
                await serve(application(), "127.0.0.1", server.address.port)

    asyncio.run(story())
