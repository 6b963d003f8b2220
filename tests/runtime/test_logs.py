"""Calls to other logs and witnesses, on real connections: each answered once, whatever the other side does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest
from aiohttp import web
from secured import authority

from waypost.assembly.installation import Reach
from waypost.engine import Ask
from waypost.identity.certificates import Subject, issue
from waypost.identity.credentials import Credentials
from waypost.identity.keys import make_ed25519, make_p256, write_private
from waypost.identity.requests import Message, Signatures
from waypost.ledger.questions import Call, Reply
from waypost.runtime.host import wall_clock_ms
from waypost.runtime.logs import CALL_S, WAITING_MAX, Logs
from waypost.runtime.nodes import CONNECTIONS_MAX
from waypost.runtime.tls import server_context

NETWORK: Final = "ab" * 32
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def checkpoint(_: web.Request) -> web.StreamResponse:
    return web.Response(text="a checkpoint\n")


@dataclass
class Other:
    """A log made by hand, of the node `name`, or of nobody's; `handle` says what it answers."""

    handle: Handle = checkpoint
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    shown: list[bytes | None] = field(default_factory=list)
    at_once: int = 0
    most: int = 0

    @asynccontextmanager
    async def serving(self, credentials: Credentials | None = None) -> AsyncIterator[str]:
        """Its URL."""
        server = web.Server(self._serve)
        loop = asyncio.get_running_loop()
        tls = None if credentials is None else server_context(credentials)
        listening = await loop.create_server(server, "127.0.0.1", 0, ssl=tls)
        port = listening.sockets[0].getsockname()[1]
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        finally:
            listening.close()
            await server.shutdown(0)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        self.requests.append((request.method, request.raw_path, await request.read()))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        tls = request.get_extra_info("ssl_object")
        self.shown.append(tls and tls.getpeercert(binary_form=True))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            return await self.handle(request)  # type: ignore[arg-type]
        finally:
            self.at_once -= 1


class Home:
    """The node that calls, anna; `answers` are what it was told, by the number of the call."""

    def __init__(self) -> None:
        self.authority = authority()
        self.credentials = self.authority.certify("peer", "anna")
        self.key = make_ed25519()
        self.answers: dict[int, object] = {}
        self._news = asyncio.Event()

    def berta(self) -> Credentials:
        return self.authority.certify("peer", "berta")

    def _answered(self, id: int, result: object) -> None:
        assert id not in self.answers, "each is answered once"
        self.answers[id] = result
        self._news.set()

    @asynccontextmanager
    async def calling(self, *, is_signing: bool = False, call_s: float = CALL_S, **urls: str) -> AsyncIterator[Logs]:
        sign = self.key.sign if is_signing else None
        logs = Logs("anna", lambda: self.credentials, self._answered, sign=sign, call_s=call_s)
        logs.outside(Ask(0, Reach(NETWORK, urls)))
        try:
            async with asyncio.timeout(30):
                yield logs
        finally:
            await logs.close()

    async def answer(self, id: int) -> object:
        while id not in self.answers:
            self._news.clear()
            await self._news.wait()
        return self.answers[id]

    async def asks(self, logs: Logs, call: Call, id: int = 1) -> object:
        logs.outside(Ask(id, call))
        assert id not in self.answers, "whoever asks is done with asking first"
        return await self.answer(id)


def test_a_node_is_asked_below_its_log_by_the_certificates_of_both() -> None:
    async def story() -> None:
        home, other = Home(), Other()
        async with other.serving(home.berta()) as url, home.calling(berta=url) as logs:
            reply = await home.asks(logs, Call("berta", "GET", "checkpoint"))
            assert reply == Reply(200, b"a checkpoint\n", "text/plain; charset=utf-8")
            assert await home.asks(logs, Call("berta", "POST", "add-checkpoint", b"old 0\n"), 2) == reply
        assert other.requests == [("GET", "/log/checkpoint", b""), ("POST", "/log/add-checkpoint", b"old 0\n")]
        assert other.shown[0] is not None
        assert other.headers[0]["waypost-network"] == NETWORK
        assert logs.counters() == {"ledger_calls_answered": 2, "ledger_calls_failed": 0, "ledger_calls_overflowed": 0}

    asyncio.run(story())


def test_what_is_refused_is_an_answer_too() -> None:
    async def conflict(_: web.Request) -> web.StreamResponse:
        return web.Response(status=409, body=b"7\n", content_type="text/x.tlog.size")

    async def story() -> None:
        home = Home()
        async with Other(conflict).serving(home.berta()) as url, home.calling(berta=url) as logs:
            call = Call("berta", "POST", "add-checkpoint", b"old 3\n")
            assert await home.asks(logs, call) == Reply(409, b"7\n", "text/x.tlog.size")

    asyncio.run(story())


def test_a_witness_that_is_no_node_is_asked_as_its_url_says_and_told_nothing_of_the_network() -> None:
    async def story() -> None:
        home, other = Home(), Other()
        async with other.serving() as url, home.calling() as logs:
            for number, given in enumerate((f"{url}/prefix", f"{url}/prefix/"), 1):
                assert await home.asks(logs, Call("", "POST", "add-checkpoint", b"old 0\n", given), number) is not None
        assert [path for _, path, _ in other.requests] == ["/prefix/add-checkpoint"] * 2
        assert not any(name.startswith(("waypost", "drip")) for headers in other.headers for name in headers)

    asyncio.run(story())


def test_who_shows_the_certificate_of_another_node_is_asked_nothing() -> None:
    async def story() -> None:
        home, other = Home(), Other()
        async with other.serving(home.authority.certify("peer", "carla")) as url, home.calling(berta=url) as logs:
            assert await home.asks(logs, Call("berta", "GET", "checkpoint")) is None
        assert other.requests == []

    asyncio.run(story())


def test_who_is_of_another_authority_is_asked_nothing() -> None:
    async def story() -> None:
        home, other = Home(), Other()
        async with other.serving(authority().certify("peer", "berta")) as url, home.calling(berta=url) as logs:
            assert await home.asks(logs, Call("berta", "GET", "checkpoint")) is None
        assert other.requests == []

    asyncio.run(story())


def test_a_witness_without_a_certificate_that_the_world_vouches_for_is_asked_nothing() -> None:
    async def story() -> None:
        home, other = Home(), Other()
        async with other.serving(home.berta()) as url, home.calling() as logs:
            assert await home.asks(logs, Call("", "POST", "add-checkpoint", b"x", url)) is None
        assert other.requests == []

    asyncio.run(story())


def test_a_node_that_is_not_known_or_not_there_has_no_answer() -> None:
    async def story() -> None:
        home = Home()
        async with Other().serving(home.berta()) as url:
            pass
        async with home.calling(berta=url) as logs:
            assert await home.asks(logs, Call("berta", "GET", "checkpoint")) is None
            assert await home.asks(logs, Call("carla", "GET", "checkpoint"), 2) is None
        assert logs.counters()["ledger_calls_failed"] == 2

    asyncio.run(story())


def test_nobody_is_sent_elsewhere() -> None:
    async def story() -> None:
        home, elsewhere = Home(), Other()
        async with elsewhere.serving(home.berta()) as there:

            async def redirect(_: web.Request) -> web.StreamResponse:
                return web.Response(status=302, headers={"Location": f"{there}/log/checkpoint"})

            async with Other(redirect).serving(home.berta()) as url, home.calling(berta=url) as logs:
                reply = await home.asks(logs, Call("berta", "GET", "checkpoint"))
        assert isinstance(reply, Reply)
        assert reply.status == 302
        assert elsewhere.requests == []

    asyncio.run(story())


@pytest.mark.parametrize("is_told", [True, False], ids=["Content-Length", "chunks"])
def test_an_answer_has_so_many_octets_and_no_more(is_told: bool) -> None:
    sent = 0

    async def large(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        size = int(request.headers["content-length"] and (await request.read()).decode())
        response = web.StreamResponse()
        if is_told:
            response.content_length = size
        await response.prepare(request)
        while sent < size:
            await response.write(bytes(min(1 << 16, size - sent)))
            sent += min(1 << 16, size - sent)
        return response

    async def story() -> None:
        nonlocal sent
        home = Home()
        async with Other(large).serving(home.berta()) as url, home.calling(berta=url) as logs:
            for number, (size, is_answered) in enumerate(((100_000, True), (100_001, False), (256 << 20, False))):
                sent = 0
                call = Call("berta", "POST", "heads", str(size).encode(), octets_max=100_000)
                reply = await home.asks(logs, call, number)
                assert (reply == Reply(200, bytes(size), "application/octet-stream")) == is_answered
                assert is_answered or reply is None
        assert sent < 64 << 20, "what is too long is not read to its end"

    asyncio.run(story())


def test_an_answer_that_breaks_off_is_none() -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def story() -> None:
        home = Home()
        async with Other(broken).serving(home.berta()) as url, home.calling(berta=url) as logs:
            assert await home.asks(logs, Call("berta", "GET", "checkpoint")) is None

    asyncio.run(story())


@pytest.mark.parametrize("is_node", [True, False])
def test_who_answers_drop_by_drop_is_not_waited_for_and_holds_nobody_up(is_node: bool) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.01)

    async def story() -> None:
        home = Home()
        tls = home.berta() if is_node else None
        async with Other(drip).serving(tls) as url, home.calling(call_s=0.3, berta=url) as logs:
            call = Call("berta", "GET", "checkpoint") if is_node else Call("", "POST", "add-checkpoint", b"x", url)
            for id in range(CONNECTIONS_MAX + 1):
                logs.outside(Ask(id, call))
            assert [await home.answer(id) for id in range(CONNECTIONS_MAX + 1)] == [None] * (CONNECTIONS_MAX + 1)
            assert logs.gauges() == {"ledger_calls_waiting": 0}

    asyncio.run(story())


def test_nothing_is_unpacked() -> None:
    """It is what was sent, and no more: RFC 9110, 8.4."""

    async def packed(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x1f\x8bwhatever", headers={"Content-Encoding": "gzip"})

    async def story() -> None:
        home, other = Home(), Other(packed)
        async with other.serving(home.berta()) as url, home.calling(berta=url) as logs:
            reply = await home.asks(logs, Call("berta", "GET", "checkpoint"))
        assert isinstance(reply, Reply)
        assert reply.body == b"\x1f\x8bwhatever"
        assert other.headers[0]["accept-encoding"] == "identity"

    asyncio.run(story())


def test_only_so_many_calls_go_to_one_node_at_once_and_the_others_wait() -> None:
    async def story() -> None:
        home, release = Home(), asyncio.Event()

        async def wait(_: web.Request) -> web.StreamResponse:
            await release.wait()
            return web.Response(text="done")

        slow, quick = Other(wait), Other()
        calls = 3 * CONNECTIONS_MAX
        async with (
            slow.serving(home.berta()) as berta,
            quick.serving(home.authority.certify("peer", "carla")) as carla,
            home.calling(berta=berta, carla=carla) as logs,
        ):
            for id in range(calls):
                logs.outside(Ask(id, Call("berta", "GET", f"tile/0/{id:03}")))
            assert logs.gauges() == {"ledger_calls_waiting": calls}
            assert await home.asks(logs, Call("carla", "GET", "checkpoint"), 1_000) is not None
            release.set()
            for id in range(calls):
                assert isinstance(await home.answer(id), Reply)
            assert logs.gauges() == {"ledger_calls_waiting": 0}
        assert slow.most == CONNECTIONS_MAX

    asyncio.run(story())


def test_the_largest_answers_are_not_read_all_at_once() -> None:
    async def story() -> None:
        home, release = Home(), asyncio.Event()

        async def wait(_: web.Request) -> web.StreamResponse:
            await release.wait()
            return web.Response(text="done")

        other = Other(wait)
        async with other.serving(home.berta()) as url, home.calling(berta=url) as logs:
            for id in range(6):
                logs.outside(Ask(id, Call("berta", "GET", f"tile/entries/{id:03}", octets_max=16 << 20)))
            logs.outside(Ask(6, Call("berta", "GET", "tile/entries/006", octets_max=64 << 20)))
            while other.at_once < 2:
                await asyncio.sleep(0)
            release.set()
            for id in range(7):
                assert isinstance(await home.answer(id), Reply)
            release.clear()
            for id in (7, 8):
                logs.outside(Ask(id, Call("berta", "GET", f"tile/entries/{id:03}", octets_max=16 << 20)))
            while other.at_once < 2:  # there is room again
                await asyncio.sleep(0)
            release.set()
            for id in (7, 8):
                assert isinstance(await home.answer(id), Reply)
        assert other.most == 2

    asyncio.run(story())


def test_so_many_calls_wait_and_no_more() -> None:
    async def story() -> None:
        home = Home()

        async def never(_: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        async with Other(never).serving(home.berta()) as url, home.calling(berta=url) as logs:
            room = WAITING_MAX + CONNECTIONS_MAX
            for id in range(room + 2):
                logs.outside(Ask(id, Call("berta", "GET", "checkpoint")))
            assert await home.answer(room) is None
            assert await home.answer(room + 1) is None
            assert set(home.answers) == {room, room + 1}
            assert logs.counters()["ledger_calls_overflowed"] == 2

    asyncio.run(story())


def test_a_node_that_moves_is_asked_where_it_is_and_what_waited_has_no_answer() -> None:
    async def story() -> None:
        home, new = Home(), Other()

        async def never(_: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        async with (
            Other(never).serving(home.berta()) as before,
            new.serving(home.berta()) as after,
            home.calling(berta=before) as logs,
        ):
            calls = CONNECTIONS_MAX + 3
            for id in range(calls):
                logs.outside(Ask(id, Call("berta", "GET", "checkpoint")))
            logs.outside(Ask(0, Reach(NETWORK, {"berta": after})))
            assert [await home.answer(id) for id in range(calls)] == [None] * calls
            assert await home.asks(logs, Call("berta", "GET", "checkpoint"), 100) is not None
            logs.outside(Ask(0, Reach(NETWORK, {})))
            assert await home.asks(logs, Call("berta", "GET", "checkpoint"), 101) is None
        assert len(new.requests) == 1

    asyncio.run(story())


def test_a_place_that_is_no_origin_is_no_place() -> None:
    """A node says where it is, and may say anything."""

    async def story() -> None:
        home, plain, other = Home(), Other(), Other()
        async with (
            plain.serving() as http,
            other.serving(home.authority.certify("peer", "carla")) as https,
            home.calling(berta=http, carla=f"{https}/elsewhere") as logs,
        ):
            assert await home.asks(logs, Call("berta", "GET", "checkpoint")) is None
            assert await home.asks(logs, Call("carla", "GET", "checkpoint"), 2) is None
        assert plain.requests == other.requests == []

    asyncio.run(story())


def test_a_request_to_a_node_that_may_be_behind_a_proxy_is_signed_for_it() -> None:
    async def story() -> None:
        home, other = Home(), Other()
        key, subject = make_p256(), Subject("peer", "berta", ("127.0.0.1",), days=30)
        named = issue(home.authority.key, home.authority.root, subject, key.public_key(), wall_clock_ms())
        berta = Credentials(named.pem, write_private(key), home.authority.trust, {})
        taken = Signatures({"anna": home.key.public_key().public_bytes_raw()}.get)
        async with other.serving(berta) as url, home.calling(is_signing=True, berta=url) as logs:
            for id, call in enumerate(
                (Call("berta", "POST", "evidence", b"proof"), Call("berta", "GET", "checkpoint"))
            ):
                assert isinstance(await home.asks(logs, call, id), Reply)
                method, path, body = other.requests[id]
                message = Message(method, path, other.headers[id])
                assert taken.take(message, body, wall_clock_ms() // 1_000) == "anna"
                assert other.headers[id]["waypost-to"] == "berta"

    asyncio.run(story())
