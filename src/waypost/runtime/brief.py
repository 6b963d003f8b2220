"""Requests of one form, answered without aiohttp: what nodes say to each other, many times a second.

A connection begins here.  A request to post something, with no header fields but those of FIELDS, that comes with its
whole head at once and that `take` answers, is done with.  The first that is anything else goes on to aiohttp as it
came, with all that follows on its connection: only there is said what is wrong with a request.

Source: RFC 9112, 2 to 6.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

HEAD_MAX: Final = 2_048  # octets
BODY_MAX: Final = 1 << 20

# Those that nodes send, and those that change nothing about what is asked.
FIELDS: Final = frozenset(
    (
        "host",
        "content-type",
        "content-length",
        "waypost-network",
        "waypost-wire",
        "drip-node-id",
        "drip-node-counter",
        "drip-node-counter-reset",
        "drip-transaction-type",
        "accept",
        "accept-encoding",
        "user-agent",
    )
)
LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """Of a request; the names of `fields` are in small letters."""

    path: str
    fields: Mapping[str, str]
    size: int  # octets of its body

    @classmethod
    def read(cls, data: bytes) -> "Head | None":
        """Without the empty line at its end; None for one of another form."""
        try:
            first, *lines = data.decode("ascii").split("\r\n")
        except UnicodeDecodeError:
            return None
        method, _, rest = first.partition(" ")
        path, _, version = rest.partition(" ")
        if method != "POST" or version != "HTTP/1.1":
            return None
        fields: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or name not in FIELDS or name in fields or not value.isprintable():
                return None
            fields[name] = value.strip(" ")
        size = fields.get("content-length", "")
        if "host" not in fields or not 1 <= len(size) <= 9 or not size.isdigit():
            return None
        return cls(path, fields, int(size))


Take = Callable[[Head, bytes], bytes | None]  # the answer; None, aiohttp gives it


class Brief:
    """One connection, until a request comes that is not of this form; `receive` then gives back what aiohttp reads.

    A request has `idle_s` to begin, from the answer before, and its body `body_s` to come.
    """

    def __init__(self, transport: asyncio.Transport, take: Take, *, idle_s: float, body_s: float) -> None:
        self._transport = transport
        self._take = take
        self._idle_s = idle_s
        self._body_s = body_s
        self._head: Head | None = None
        self._head_size = 0
        self._parts: list[bytes] = []  # of the request whose body is not whole, head and all
        self._missing = 0  # octets
        self._loop = asyncio.get_running_loop()
        self._until = self._timer_at = self._loop.time() + idle_s
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)

    def close(self) -> None:
        self._timer.cancel()

    def receive(self, data: bytes) -> bytes | None:
        """What is not for us, and ends this; else None."""
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return None
            data = b"".join(self._parts)
            self._parts.clear()
        while data:
            if self._head is None:
                end = data.find(b"\r\n\r\n", 0, HEAD_MAX)
                self._head = Head.read(data[:end]) if end > 0 else None
                if self._head is None or self._head.size > BODY_MAX:
                    return self._leave(data)
                self._head_size = end + 4
            whole = self._head_size + self._head.size
            if len(data) < whole:
                self._parts.append(data)
                self._missing = whole - len(data)
                self._until_in(self._body_s)
                return None
            answer = self._take(self._head, data[self._head_size : whole])
            if answer is None:
                return self._leave(data)
            self._transport.write(answer)
            self._head, data = None, data[whole:]
        self._until = self._loop.time() + self._idle_s
        return None

    def _leave(self, data: bytes) -> bytes:
        self.close()
        return data

    def _until_in(self, seconds: float) -> None:
        self._until = self._loop.time() + seconds
        if self._until < self._timer_at:
            self._timer.cancel()
            self._arm()

    def _on_timer(self) -> None:
        if self._loop.time() < self._until:  # something has come meanwhile
            self._arm()
            return
        if self._parts:
            self._transport.write(LATE)
        self._transport.close()

    def _arm(self) -> None:
        self._timer_at = self._until
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)
