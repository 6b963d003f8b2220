"""Cables between the demonstration's nodes: TCP forwarded, told apart by the addresses of both ends, and cut.

Each node speaks from a loopback address of its own, and is reached at a port of ours.  A cable that is cut says so at
once to whoever uses it.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Final

CHUNK: Final = 1 << 16

Address = tuple[str, int]


class Cables:
    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._ends: dict[int, Address] = {}  # our port -> where it leads
        self._pairs: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._cut_off: frozenset[str] = frozenset()

    async def lay(self, host: str) -> Address:
        """An address of ours that leads to whoever is at `host`, once it is known at which port."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._servers.append(server)
        address: Address = server.sockets[0].getsockname()
        self._ends[address[1]] = (host, 0)
        return address

    def lead(self, ours: Address, there: Address) -> None:
        self._ends[ours[1]] = there

    def cut_off(self, hosts: Collection[str]) -> None:
        """From the others, and these from them; no hosts mends all."""
        self._cut_off = frozenset(hosts)
        for task, (source, target) in self._pairs.items():
            if self._is_cut(source, target):
                task.cancel()

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._pairs:
            task.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    def _is_cut(self, source: str, target: str) -> bool:
        return (source in self._cut_off) != (target in self._cut_off)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (source, *_), (_, port, *_) = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        there = self._ends[port]
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = source, there[0]
        try:
            if not self._is_cut(source, there[0]):
                await _join(reader, writer, *await asyncio.open_connection(*there))
        except (OSError, asyncio.CancelledError):
            pass  # one end has gone, or the cable
        finally:
            del self._pairs[task]
            writer.transport.abort()


async def _join(
    here: asyncio.StreamReader,
    to_here: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    to_there: asyncio.StreamWriter,
) -> None:
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_carry(here, to_there))
            both.create_task(_carry(there, to_here))
    finally:
        to_there.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
