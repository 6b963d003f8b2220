"""An HTTP/1.1 client that does little: one connection, one request at a time, bodies of a known length."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from load.servers import HOST
from waypost.record.wire import encode


class Web:
    """Made by connect().  It takes a few dozen microseconds for a request, where a whole client takes hundreds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self._reader, self._writer = reader, writer
        self._fixed = f" HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\nContent-Length: "

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> "Web":
        return cls(*await asyncio.open_connection(HOST, port, ssl=tls), port)

    async def ask(self, method: str, path: str, body: bytes = b"", fields: str = "") -> tuple[int, bytes]:
        """Status and body of the answer; each of `fields` ends its line."""
        self._writer.write(f"{method} {path}{self._fixed}{len(body)}\r\n{fields}\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        return int(head[9:12]), await self._reader.readexactly(int(length))

    async def get(self, path: str) -> Any:
        """The answer in JSON, which must be 200."""
        return self._good(path, *await self.ask("GET", path))

    async def post(self, path: str, asked: object) -> Any:
        return self._good(path, *await self.ask("POST", path, json.dumps(asked).encode()))

    async def put(self, path: str, struct: Struct) -> Any:
        """In the one spelling of records."""
        return self._good(path, *await self.ask("PUT", path, encode(struct)))

    def _good(self, path: str, status: int, body: bytes) -> Any:
        if status != 200:
            raise RuntimeError(f"{path} was answered with {status}: {body[:500].decode(errors='replace')}")
        return json.loads(body)

    async def lines(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Each line of an answer that goes on for ever, in JSON; its chunks are whole lines."""
        self._writer.write(f"GET {path}{self._fixed}0\r\nAccept: application/jsonl\r\n\r\n".encode())
        await self._reader.readuntil(b"\r\n\r\n")
        while True:
            line = await self._reader.readline()
            if line.startswith(b"{"):
                yield json.loads(line)

    def close(self) -> None:
        self._writer.close()
