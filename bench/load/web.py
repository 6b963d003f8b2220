"""An HTTP/1.1 client that does little: one connection, one request at a time, bodies of a known length."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

from load.servers import HOST


class Web:
    """Made by connect().  It takes a few dozen microseconds for a request, where a whole client takes hundreds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self._reader, self._writer = reader, writer
        self._fixed = f" HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\nContent-Length: "

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> "Web":
        return cls(*await asyncio.open_connection(HOST, port, ssl=tls), port)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._writer.write(f"{method} {path}{self._fixed}{len(body)}\r\n\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        return int(head[9:12]), await self._reader.readexactly(int(length))

    async def post(self, path: str, asked: object) -> dict[str, Any]:
        """The answer to a question in JSON, which must be 200."""
        status, body = await self.ask("POST", path, json.dumps(asked).encode())
        if status != 200:
            raise SystemExit(f"{path} was answered with {status}: {body[:500].decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(body)
        return answer

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
