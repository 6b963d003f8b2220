"""A node: the assembly with sockets and files around it.

    async with Node("state") as node:
        print(node.listeners)
        await node.wait()

Starting opens the state directory, restores what it holds and then opens the listeners, so whoever
reaches one gets whole answers.  Stopping closes the listeners, makes durable what was taken, and
lets go of the directory.
"""

import asyncio
import gc
import os
from contextlib import AsyncExitStack
from pathlib import Path
from random import SystemRandom
from typing import Final, Self

from waypost.api.server import application
from waypost.assembly.engine import Assembly
from waypost.config import Config, listen_address
from waypost.engine import Endpoint
from waypost.rd.engine import Settings
from waypost.runtime.host import Host
from waypost.runtime.http import serve
from waypost.runtime.tcp import open_tcp
from waypost.runtime.udp import open_udp
from waypost.runtime.websocket import WebSockets
from waypost.runtime.writer import Writer
from waypost.storage import Reader, Store

# A directory of many small objects that stay: the old are looked at seldom, and the young in portions that keep
# nobody waiting, 1 ms for the first generation and 10 ms for the second.
GC_THRESHOLDS: Final = (20_000, 10, 1_000)


class Node:
    """`name` and `listeners` are there once it runs.

    The keys are "coap", "coap+tcp", "http", "coap+ws", then "coap2", …; a value is as "127.0.0.1:5683".
    """

    def __init__(self, config: Config | str | os.PathLike[str]) -> None:
        self._config = config if isinstance(config, Config) else Config(dir=Path(config))
        self.name = ""
        self.listeners: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        """Raises ConfigError for a directory or an address that cannot be had, StoreError for a broken disk."""
        async with AsyncExitStack() as undo:
            await self._start(undo)
            self._undo = undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._undo.aclose()

    @property
    def url(self) -> str:
        """Of the HTTP API."""
        return f"http://{self.listeners['http']}"

    async def ask(self, question: object) -> object:
        """The outcome of a question, as the rooms define them.  Raises StateError once the node has stopped."""
        return await self._host.ask(question)

    async def wait(self) -> None:
        """Until the node has stopped; raises what made it fail."""
        await self._host.wait()

    async def _start(self, undo: AsyncExitStack) -> None:
        config = self._config
        store = await asyncio.to_thread(Store.open, config.dir)
        undo.callback(store.close)
        assembly = Assembly(
            SystemRandom(),
            Settings(
                registrations_max=config.rd.registrations_max,
                registrations_per_second=config.rd.registrations_per_second,
                burst=config.rd.registrations_burst,
                grace_s=config.rd.grace_s,
                document_octets_max=config.rd.document_octets_max,
                default_sector=config.rd.default_sector or None,
                policy=config.rd.policy,
                simple=config.rd.simple == "on",
                freshness=config.rd.freshness,
            ),
        )
        self._host = Host(assembly, Writer(store))
        listeners = await undo.enter_async_context(AsyncExitStack())  # after the host: what was taken is still answered
        undo.push_async_callback(self._host.stop)
        await self._host.start(store)
        self.name = assembly.name
        await self._listen_to_coap(listeners)
        await self._listen_to_http(undo)

    async def _listen_to_coap(self, undo: AsyncExitStack) -> None:
        transports = self._config.coap.transports
        for number, address in enumerate(map(listen_address, self._config.coap.listen), 1):
            if "udp" in transports:
                driver = open_udp(self._host, address.host, address.port, interfaces=self._config.coap.multicast)
                undo.callback(driver.close)
                self._listening("coap", number, driver.address)
            if "tcp" in transports:
                server = await open_tcp(self._host, address.host, address.port)
                undo.push_async_callback(server.close)
                self._listening("coap+tcp", number, server.address)

    async def _listen_to_http(self, undo: AsyncExitStack) -> None:
        config = self._config
        reader = Reader(config.dir)
        undo.callback(reader.close)
        app = application(self.ask, self._ready, rows=reader, hosts=config.http.hosts)
        over_websocket = "ws" in config.coap.transports
        if over_websocket:
            WebSockets(self._host).serve_in(app)
        for number, address in enumerate(map(listen_address, config.http.listen), 1):
            server = await serve(app, address.host, address.port)
            undo.push_async_callback(server.close)
            self._listening("http", number, server.address)
            if over_websocket:
                self._listening("coap+ws", number, server.address)

    def _ready(self) -> dict[str, bool]:
        return {"store": self._host.running, "listeners": True}

    def _listening(self, kind: str, number: int, address: Endpoint) -> None:
        host = f"[{address.host}]" if ":" in address.host else address.host
        self.listeners[kind if number == 1 else f"{kind}{number}"] = f"{host}:{address.port}"


def settle_memory() -> None:
    """For a process that is a node and nothing else, and has started with the collector off.

    What was restored stays: no collection looks at it.  To look even once takes seconds with a million registrations.
    """
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
