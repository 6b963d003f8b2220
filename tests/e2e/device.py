"""A device on a socket of its own, by default UDP: the messages are ours to choose, well formed or not."""

import socket
from random import Random
from types import TracebackType
from typing import Protocol

from running import HOST

from waypost.coap.message import Message, block, decode, read_block, uint
from waypost.coap.numbers import LINK_FORMAT, Code, Option, Type

ANSWER_S = 5.0
PING = b"\x40\x00\xff\xff"
PONG = b"\x70\x00\xff\xff"


class Socket(Protocol):
    """What a device needs of one: each send() and recv() is one message in the form of a datagram."""

    def send(self, data: bytes, /) -> object: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float, /) -> None: ...
    def close(self) -> None: ...


def udp_socket(port: int) -> socket.socket:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.connect((HOST, port))
    own.settimeout(ANSWER_S)
    return own


class Device:
    """Remembers an Echo value and brings it back, as RFC 9175, 2.3 asks of a client."""

    def __init__(self, port: int, seed: int = 1, own: Socket | None = None) -> None:
        self.socket = own or udp_socket(port)
        self.rng = Random(seed)
        self.echo = b""
        self.count = self.rng.getrandbits(15)

    def __enter__(self) -> "Device":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def message(
        self,
        code: int,
        path: str,
        *query: str,
        payload: bytes = b"",
        content_format: int | None = None,
        more: tuple[tuple[int, bytes], ...] = (),
        type: int = Type.CON,
    ) -> Message:
        """`path` as in a URI; `more` are further options, in any order."""
        self.count = self.count + 1 & 0xFFFF
        options = [(int(Option.URI_PATH), segment.encode()) for segment in path.strip("/").split("/")]
        options += [(int(Option.URI_QUERY), part.encode()) for part in query]
        if content_format is not None:
            options.append((Option.CONTENT_FORMAT, uint(content_format)))
        if self.echo:
            options.append((Option.ECHO, self.echo))
            self.echo = b""
        token = self.count.to_bytes(2, "big")
        return Message(type, code, self.count, token, sorted([*options, *more], key=lambda option: option[0]), payload)

    def ask(self, message: Message) -> Message:
        """The answer, also if it comes apart from its acknowledgement."""
        self.socket.send(message.encode())
        return self.answer(message.token)

    def answer(self, token: bytes) -> Message:
        while (answer := self.receive()).token != token:
            pass
        return answer

    def receive(self) -> Message:
        """The next answer to whichever request."""
        while True:
            answer = decode(self.socket.recv(65_536))
            if answer.type == Type.CON:
                self.socket.send(Message(Type.ACK, Code.EMPTY, answer.id, b"", []).encode())
            if answer.code:
                self.echo = option(answer, Option.ECHO) or self.echo
                return answer

    def get(self, path: str, *query: str) -> Message:
        """The whole answer, all its blocks joined in the payload (RFC 7959, 2.4)."""
        first = answer = self.ask(self.message(Code.GET, path, *query))
        body = answer.payload
        while (value := option(answer, Option.BLOCK2)) is not None:
            _, another, exponent = read_block(value)
            if not another:
                break
            wanted = block(len(body) >> exponent + 4, False, exponent)
            answer = self.ask(self.message(Code.GET, path, *query, more=((Option.BLOCK2, wanted),)))
            assert answer.code == Code.CONTENT
            assert option(answer, Option.ETAG) == option(first, Option.ETAG)
            body += answer.payload
        first.payload = body
        return first

    def register(self, *query: str, links: bytes = b"</t>;rt=temperature") -> Message:
        message = self.message(Code.POST, "rd", *query, payload=links, content_format=LINK_FORMAT if links else None)
        return self.ask(message)

    def raw(self, data: bytes, at_least: int = 0) -> list[bytes]:
        """All that comes back until the node has answered a ping sent after `data`; `at_least` so many datagrams."""
        self.socket.send(data)
        self.socket.send(PING)
        answers: list[bytes] = []
        alive = False
        while not alive or len(answers) < at_least:
            answer = self.socket.recv(65_536)
            if answer == PONG:
                alive = True
            else:
                answers.append(answer)
        return answers


def option(message: Message, number: int) -> bytes | None:
    return next((value for found, value in message.options if found == number), None)


def location(message: Message) -> str:
    assert message.code == Code.CREATED, (Code(message.code), message.payload)
    return "/" + "/".join(value.decode() for number, value in message.options if number == Option.LOCATION_PATH)
