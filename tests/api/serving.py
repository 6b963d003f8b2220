"""The API on loopback, its event loop in a thread, so that tests ask like any program does."""

import asyncio
import http.client
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from waypost.api.asking import Identify
from waypost.api.changes import Rows
from waypost.api.route import Route
from waypost.api.routes import ROUTES
from waypost.api.server import STALL_S, application
from waypost.identity import OPERATOR, Identity
from waypost.identity.admission import Gate
from waypost.identity.policy import Decide, default
from waypost.runtime.figures import Figures
from waypost.runtime.http import serve

JSON = {"Content-Type": "application/json"}
LINKS = {"Content-Type": "application/link-format"}
JSONL = {"Content-Type": "application/jsonl"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def problem(self) -> Any:
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.json["status"] == self.status
        return self.json


@dataclass(frozen=True)
class Api:
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def stream(self, target: str, lines: int, headers: Mapping[str, str] | None = None) -> tuple[Answer, list[str]]:
        """The head of an answer that does not end, and its first lines."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request("GET", target, headers=dict(headers or {}))
            response = connection.getresponse()
            read = [response.readline().decode().removesuffix("\n") for _ in range(lines)]
            return Answer(response.status, dict(response.headers), b""), read
        finally:
            connection.close()


Ask = Callable[[object], Awaitable[object]]


async def operator(_: web.Request) -> Identity:
    """Whoever asks is the operator, as on the node's own socket."""
    return OPERATOR


@contextmanager
def serving(
    ask: Ask,
    ready: Callable[[], Mapping[str, bool]] = lambda: {"store": True},
    *,
    rows: Rows | None = None,
    hosts: Collection[str] = (),
    stall_s: float = STALL_S,
    identify: Identify = operator,
    decide: Decide | None = None,
    routes: Sequence[Route] = ROUTES,
    measure: Callable[[], Figures] = Figures,
) -> Iterator[Api]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    app = application(
        ask,
        ready,
        identify,
        decide or default().decide,
        Gate(0, 1),
        measure,
        routes=routes,
        rows=rows,
        hosts=hosts,
        stall_s=stall_s,
    )
    server = asyncio.run_coroutine_threadsafe(serve(app, "127.0.0.1", 0), loop).result()
    try:
        yield Api(server.address.host, server.address.port)
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
