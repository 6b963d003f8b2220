"""A peer of the draft that listens: an aiohttp server with a certificate of its own, called by a whole node.

Notes on DRiP, 1.2, 1.6 and 4.14.
"""

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from literals import DraftPeer, committed_in, header
from voting import claim

from waypost import Node
from waypost.config import Coap, Coaps, Config, Drip02, Http, Peers
from waypost.drip import calls
from waypost.drip.calls import COMPLETE, COUNTER, TYPE, Outgoing
from waypost.identity.jwt import Tokens
from waypost.record import roster_in

FREE = ("127.0.0.1:0",)


class Bell:
    """`status` is what it answers next; `called` is what was called, `stored` what the draft makes of it."""

    def __init__(self, node: Node, bound: socket.socket, folder: Path, name: str) -> None:
        self.called: list[Outgoing] = []
        self.tokens: list[tuple[str, bytes]] = []
        self.stored = DraftPeer()
        self.status = 200
        self._node = node
        self._bound = bound
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(folder / "ca.crt")
        self._context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.pem")
        self._client = ssl.create_default_context(cafile=folder / "ca.crt")
        self._client.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.pem")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Bell"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, self._bound, ssl_context=self._context).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        drip = tuple((name, value) for name, value in request.headers.items() if name.startswith("DRiP-"))
        call = Outgoing(request.method, request.path, drip, await request.read())
        self.tokens.append((request.headers["Authorization"], call.body))
        self.called.append(call)
        self.stored.receive(call)
        return web.Response(status=self.status)

    async def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"https://{self._node.listeners['peers']}{path}"
        async with (
            aiohttp.ClientSession(headers=given) as session,
            session.request(method, url, data=body, ssl=self._client) as answer,
        ):
            return answer.status

    async def until(self, condition: Callable[["Bell"], object]) -> None:
        async with asyncio.timeout(20):
            while not condition(self):
                await asyncio.sleep(0.01)

    def commits(self) -> list[Outgoing]:
        return [call for call in self.called if call.path == "/commit"]

    def paths(self) -> list[str]:
        return [call.path for call in self.called]


@asynccontextmanager
async def a_bell(folder: Path, name: str = "bell") -> AsyncIterator[tuple[Node, Bell]]:
    """A node that is to call `bell`, and who is there, with a certificate of that `name`."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{bound.getsockname()[1]}"
        config = Config(
            dir=folder / "state",
            coap=Coap(listen=FREE),
            coaps=Coaps(listen=FREE),
            http=Http(listen=FREE),
            peers=Peers(listen=FREE, drip_02=(Drip02(name="bell", url=url),)),
        )
        async with Node(config) as node:
            line = ["ca", "issue", name, "--role", "peer", "--san", "127.0.0.1", "--out", str(folder / name)]
            await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "waypost", *line, "--dir", str(folder / "state")],
                check=True,
                capture_output=True,
            )
            async with Bell(node, bound, folder / name, name).listening() as bell:
                yield node, bell


def test_each_call_has_a_token_of_the_node_for_it(tmp_path: Path) -> None:
    """Whoever has the roster has the key of it.  Notes, 5.1."""

    async def story() -> None:
        async with a_bell(tmp_path) as (node, bell):
            await bell.until(lambda bell: bell.called)
            assert await bell.call("PUT", "/sync/node/bell") == 200
            await bell.until(lambda bell: bell.stored.complete)
            (voter,) = roster_in(committed_in(bell.commits()[0]).record).voters
            tokens = Tokens("bell", {node.name: bytes.fromhex(voter.key)})
            for text, body in bell.tokens:
                claims = tokens.take(text, time.time_ns() // 1_000_000)
                assert claims.iss == node.name
                assert claims.digest is not None
                assert claims.covers(body)
            assert len(bell.tokens) == len(bell.called) >= 3

    asyncio.run(story())


def test_it_is_told_everything_and_then_what_changes(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_bell(tmp_path) as (node, bell):
            first = await claim(node, "lamp", "on")
            await bell.until(lambda bell: bell.called)
            assert bell.called[0].path == calls.declared_call(node.name, is_active=False).path
            assert bell.commits() == []
            assert await bell.call("PUT", "/sync/node/bell") == 200
            await bell.until(lambda bell: bell.stored.complete)
            assert calls.declared_call(node.name, is_active=True).path in bell.paths()
            told = bell.commits()
            assert committed_in(told[-1]) == first
            assert (header(told[-1], TYPE), header(told[-1], COMPLETE)) == ("sync", "true")
            second = await claim(node, "lamp", "off", first)
            await bell.until(lambda bell: bell.stored.store.get(("names", "lamp")) == 2)
            assert committed_in(bell.commits()[-1]) == second
            assert header(bell.commits()[-1], TYPE) == "update"
            assert bell.stored.dropped == 0
            await bell.until(lambda bell: f"/heartbeat/node/{node.name}" in bell.paths())

    asyncio.run(story())


def test_a_commit_is_called_until_it_has_arrived(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_bell(tmp_path) as (node, bell):
            assert await bell.call("PUT", "/sync/node/bell") == 200
            await bell.until(lambda bell: bell.stored.complete)
            bell.status = 500
            await claim(node, "lamp", "on")
            await bell.until(lambda bell: bell.stored.dropped == 2)
            bell.status = 200
            lamp = [call for call in bell.commits() if header(call, TYPE) == "update"]
            assert len(lamp) >= 3
            assert {(header(call, COUNTER), call.body) for call in lamp} == {(header(lamp[0], COUNTER), lamp[0].body)}

    asyncio.run(story())


def test_its_voting_is_answered_no(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_bell(tmp_path) as (_, bell):
            assert await bell.call("POST", "/voting", b"{}", DRiP_Node_ID="far", DRiP_Node_Counter="1") == 200
            await bell.until(lambda bell: "/votingphase/node/far/response/no" in bell.paths())

    asyncio.run(story())


def test_whoever_else_is_there_is_told_nothing(tmp_path: Path) -> None:
    """It has the role peer, but another name."""

    async def story() -> None:
        async with a_bell(tmp_path, "other") as (_, other):
            await asyncio.sleep(2.5)
            assert other.called == []

    asyncio.run(story())


@pytest.mark.parametrize("path", ["/state", "/commit"])
def test_a_certificate_of_nobody_configured_is_refused(tmp_path: Path, path: str) -> None:
    async def story() -> None:
        async with a_bell(tmp_path, "other") as (_, other):
            assert await other.call("GET" if path == "/state" else "POST", path, b"{}") == 403

    asyncio.run(story())
