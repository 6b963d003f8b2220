"""CoAP over WebSocket on a real listener."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from connections import Answering, Talker

from waypost.coap.message import Message
from waypost.coap.stream import MESSAGE_MAX, OPEN_MAX
from waypost.engine import Endpoint
from waypost.identity import ANONYMOUS, Identity
from waypost.runtime.http import HttpServer, serve, serve_locally
from waypost.runtime.websocket import AGAIN_EVERY_S, WELL_KNOWN, Identify, WebSockets

LAMP = Identity("token", "lamp", ("device",))


class Client:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.talker = Talker(0.0, sized=False)
        self.messages: list[Message] = []

    async def ask(self, *tokens: bytes) -> None:
        """Each message is a frame of its own."""
        for token in tokens:
            self.talker.put(token)
        for frame in self.talker.take_output():
            await self.socket.send_bytes(frame)

    async def read(self, wanted: int) -> list[Message]:
        while len(self.messages) < wanted:
            self.messages += self.talker.read_frame(await self.socket.receive_bytes())
        return self.messages

    async def end(self) -> str | None:
        """Wait until the server closes; why it did."""
        async for message in self.socket:
            self.talker.read_frame(message.data)
        return self.talker.ended


@asynccontextmanager
async def serving(
    host: Answering, identify: Identify | None = None, again_every_s: float = AGAIN_EVERY_S
) -> AsyncIterator[HttpServer]:
    app = web.Application()
    WebSockets(host, identify, again_every_s).serve_in(app)
    server = await serve(app, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(20):
            yield server
    finally:
        await server.close()
        assert host.links == {}


def address(server: HttpServer) -> str:
    return f"http://127.0.0.1:{server.address.port}"


@asynccontextmanager
async def connected(server: HttpServer, **headers: str) -> AsyncIterator[Client]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(address(server) + WELL_KNOWN, protocols=("coap",), headers=headers) as socket,
    ):
        yield Client(socket)


def test_requests_come_with_their_path_and_are_answered() -> None:
    """RFC 8323, 4 and 8.3."""

    async def story() -> None:
        host = Answering(size=50_000)
        async with serving(host) as server, connected(server) as client:
            assert client.socket.protocol == "coap"
            await client.ask(b"a", b"b")
            assert [message.token for message in await client.read(2)] == [b"a", b"b"]
            path = host.paths[0]
            assert (path.transport, path.validated, path.message_max) == ("ws", True, MESSAGE_MAX)
            assert path.local == Endpoint("127.0.0.1", server.address.port)

    asyncio.run(story())


def test_a_connection_is_whose_its_first_request_says() -> None:
    async def identify(request: web.Request) -> Identity:
        if request.headers.get("Authorization") != "Bearer wp_lamp":
            raise web.HTTPUnauthorized
        return LAMP

    async def story() -> None:
        host = Answering()
        async with serving(host, identify) as server:
            async with connected(server, Authorization="Bearer wp_lamp") as client:
                await client.ask(b"a")
                await client.read(1)
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                async with connected(server, Authorization="Bearer wp_door"):
                    pass
        assert [path.who for path in host.paths] == [LAMP]

    asyncio.run(story())


def test_a_connection_ends_when_what_it_showed_is_good_no_more() -> None:
    good = True

    async def identify(_: web.Request) -> Identity:
        if not good:
            raise web.HTTPUnauthorized
        return LAMP

    async def story() -> None:
        nonlocal good
        async with serving(Answering(), identify, again_every_s=0.02) as server, connected(server) as client:
            await client.ask(b"a")
            await client.read(1)
            await asyncio.sleep(0.1)
            await client.ask(b"b")
            await client.read(1)
            good = False
            assert "not good any more" in (await client.end() or "")

    asyncio.run(story())


def test_without_anybody_to_say_it_is_a_strangers() -> None:
    async def story() -> None:
        host = Answering()
        async with serving(host) as server, connected(server) as client:
            await client.ask(b"a")
            await client.read(1)
        assert [path.who for path in host.paths] == [ANONYMOUS]

    asyncio.run(story())


def test_the_nodes_own_socket_has_no_coap(tmp_path: Path) -> None:
    async def story() -> None:
        app = web.Application()
        WebSockets(Answering()).serve_in(app)
        server = await serve_locally(app, tmp_path / "socket")
        try:
            connector = aiohttp.UnixConnector(str(tmp_path / "socket"))
            async with aiohttp.ClientSession(connector=connector) as session:
                with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
                    await session.ws_connect("http://localhost" + WELL_KNOWN, protocols=("coap",))
        finally:
            await server.close()

    asyncio.run(story())


def test_a_page_of_this_node_may_connect() -> None:
    """RFC 6455, 10.2."""

    async def story() -> None:
        async with serving(Answering()) as server, connected(server, Origin=address(server)) as client:
            await client.ask(b"a")
            await client.read(1)

    asyncio.run(story())


REFUSED = {
    "a page of another origin": (403, {"Origin": "https://evil.example"}),
    "a page of another port": (403, {"Origin": "http://127.0.0.1:1"}),
    "a page without an origin": (403, {"Origin": "null"}),
    "another subprotocol": (400, {"Sec-WebSocket-Protocol": "mqtt"}),
    "no upgrade": (426, {"Upgrade": ""}),
}


@pytest.mark.parametrize(("status", "headers"), REFUSED.values(), ids=REFUSED)
def test_who_may_not_connect_is_told_why(status: int, headers: dict[str, str]) -> None:
    async def story() -> None:
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol": "coap",
        }
        host = Answering()
        async with (
            serving(host) as server,
            aiohttp.ClientSession() as session,
            session.get(address(server) + WELL_KNOWN, headers=upgrade | headers) as answer,
        ):
            assert answer.status == status
        assert host.paths == []

    asyncio.run(story())


@pytest.mark.parametrize("frame", [b"", b"\x21\x01", b"\x00\xff", b"\x0f\x01" + bytes(20)])
def test_a_frame_that_is_no_message_ends_the_connection(frame: bytes) -> None:
    async def story() -> None:
        async with serving(Answering()) as server, connected(server) as client:
            await client.ask(b"a")
            await client.socket.send_bytes(frame)
            assert (await client.end() or "").startswith("the peer aborted: ")

    asyncio.run(story())


def test_text_is_no_message() -> None:
    async def story() -> None:
        async with serving(Answering()) as server, connected(server) as client:
            await client.socket.send_str("GET")
            assert "binary" in (await client.end() or "")

    asyncio.run(story())


def test_a_frame_that_is_too_large_closes_the_connection() -> None:
    async def story() -> None:
        async with serving(Answering()) as server, connected(server) as client:
            await client.socket.send_bytes(bytes(MESSAGE_MAX + 1))
            while (message := await client.socket.receive()).type == WSMsgType.BINARY:
                pass
            assert message.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

    asyncio.run(story())


def test_only_so_many_requests_wait_for_their_answer() -> None:
    async def story() -> None:
        host = Answering(silent=True)
        async with serving(host) as server, connected(server) as client:
            await client.ask(*(number.to_bytes(2, "big") for number in range(OPEN_MAX + 1)))
            while len(host.paths) < OPEN_MAX:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert len(host.paths) == OPEN_MAX
            for number in range(OPEN_MAX):
                host.answer(host.paths[number], number.to_bytes(2, "big"))
            while len(host.paths) == OPEN_MAX:
                await asyncio.sleep(0)

    asyncio.run(story())


def test_who_does_not_read_is_dropped() -> None:
    async def story() -> None:
        host = Answering(size=100_000)
        async with serving(host) as server, connected(server) as client:
            await client.ask(b"a")
            while not host.paths:
                await asyncio.sleep(0)
            while host.links:
                host.answer(host.paths[0], b"a")
                await asyncio.sleep(0)
            assert host.closed_paths == host.paths

    asyncio.run(story())


def test_a_node_that_stops_releases_its_connections_at_once() -> None:
    async def story() -> None:
        async with serving(Answering()) as server, connected(server) as client:
            await client.ask(b"a")
            await client.read(1)
            closing = asyncio.create_task(server.close())
            assert await client.end() == "the peer released the connection"
            async with asyncio.timeout(2):
                await closing

    asyncio.run(story())
