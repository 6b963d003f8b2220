"""A node of a real network that lies: it has the keys, the place and the certificate of one that ran before.

What it says is a Rogue's to say (tests/ledger); here that goes over mutual TLS, as all nodes speak.
"""

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from daemons import Daemon
from rogues import Rogue

from waypost.assembly.installation import Reach
from waypost.config.opening import open_log
from waypost.config.settling import load
from waypost.engine import Ask
from waypost.ledger.archive import read_tail
from waypost.ledger.checkpoint import read_head
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.questions import Call, Reply, Serve
from waypost.ledger.tiles import ENTRIES, WIDTH, Tile, decode_bundle
from waypost.runtime.logs import Logs
from waypost.runtime.nodes import NODE_ID
from waypost.runtime.tls import server_context
from waypost.sim.histories import History
from waypost.storage.keyring import Keyring

ANSWER_S: Final = 10.0
CLOSING_S: Final = 0.5  # in which TLS says goodbye
ROWS: Final = "SELECT key, value FROM {} ORDER BY key"


def rows_of(directory: Path, table: str) -> dict[bytes, bytes]:
    with closing(sqlite3.connect(f"file:{directory / 'waypost.db'}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(ROWS.format(table)))


def log_of(directory: Path) -> list[bytes]:
    """The entries of a node's own log, as they are on its disk."""
    rows = rows_of(directory, "ledger_tail")
    size, tail = read_tail(rows.get)
    found: list[bytes] = []
    for index in range(size // WIDTH):
        path = directory / "tiles" / "log" / Tile(ENTRIES, index, WIDTH).path
        found += decode_bundle(path.read_bytes(), WIDTH)
    return found + tail


class Liar:
    """In the place of a daemon that was stopped; `urls` say where the others are."""

    def __init__(self, daemon: Daemon, network: str, urls: Mapping[str, str]) -> None:
        assert daemon.node is None
        self.name = daemon.name
        self._network, self._urls = network, urls
        self._host, _, port = daemon.peers.rpartition(":")
        self._port = int(port)
        keyring = Keyring.open_made(daemon.directory)
        self._credentials = keyring.credentials(time.time_ns() // 1_000_000)
        notary = open_log(load({}, {"WAYPOST_DIR": str(daemon.directory)}), keyring, daemon.name)
        own = Key(daemon.name, Algorithm.ED25519, keyring.node.public_key().public_bytes_raw())
        history = History(notary.key, notary.sign, log_of(daemon.directory))
        self.rogue = Rogue(notary, own, history, now_s=lambda: int(time.time()))
        for value in rows_of(daemon.directory, "ledger_witness").values():
            if value.startswith(b"waypost/"):
                head = read_head(value)
                self.rogue.cosigned[head.origin] = head
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready: Future[None] = Future()
        self._ids = itertools.count(1)
        self._waiting: dict[int, Future[object]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(ANSWER_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(2 * ANSWER_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)
        self._loop.close()

    def submit(self, *nodes: str) -> None:
        """It has its head cosigned by those, or tries to."""
        for node in nodes:
            again = True
            while again:
                call = self.rogue.submit(node)
                again = self.rogue.heard(node, call, self.call(call))

    def call(self, call: Call) -> Reply | None:
        waiting: Future[object] = Future()

        def begin() -> None:
            id = next(self._ids)
            self._waiting[id] = waiting
            self._logs.outside(Ask(id, call))

        self._loop.call_soon_threadsafe(begin)
        reply = waiting.result(2 * ANSWER_S)
        assert reply is None or isinstance(reply, Reply)
        return reply

    def _answered(self, id: int, result: object) -> None:
        self._waiting.pop(id).set_result(result)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._begin())
        except BaseException as error:
            self._ready.set_exception(error)
            raise
        self._ready.set_result(None)
        self._loop.run_forever()

    async def _begin(self) -> None:
        self._logs = Logs(self.name, lambda: self._credentials, self._answered)
        self._logs.outside(Ask(0, Reach(self._network, self._urls)))
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/log/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        context = server_context(self._credentials)
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=context, reuse_address=True).start()

    async def _end(self) -> None:
        await self._logs.close()
        await self._runner.cleanup()
        await asyncio.sleep(CLOSING_S)

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        node = request.headers.get(NODE_ID, "")
        reply = self.rogue.serve(Serve(request.method, request.match_info["path"], body, node))
        return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.media})
