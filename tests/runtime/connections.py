"""What the tests of the drivers of connections share: who stands where a Host stands, and messages to send it."""

from collections.abc import Sequence

from waypost.coap.message import Message, decode
from waypost.coap.numbers import Code, Type
from waypost.coap.stream import Stream
from waypost.engine import Path
from waypost.runtime.host import Sender


class Answering:
    """Answers each request at once with `size` octets, unless it is `silent`; takes nothing while `full`."""

    def __init__(self, *, size: int = 3, silent: bool = False) -> None:
        self.size = size
        self.silent = silent
        self.full = False
        self.links: dict[int, Sender] = {}
        self.paths: list[Path] = []
        self.closed_paths: list[Path] = []

    def link(self, send: Sender) -> int:
        number = len(self.paths) + len(self.links) + 1
        self.links[number] = send
        return number

    def unlink(self, number: int) -> None:
        del self.links[number]

    def closed(self, path: Path) -> None:
        self.unlink(path.link)
        self.closed_paths.append(path)

    def receive(self, datagrams: Sequence[tuple[bytes, Path]]) -> bool:
        if self.full:
            return False
        for data, path in datagrams:
            self.paths.append(path)
            if not self.silent:
                self.answer(path, decode(data).token)
        return True

    def answer(self, path: Path, token: bytes) -> None:
        self.links[path.link](path, Message(Type.NON, Code.CONTENT, 0, token, [], bytes(self.size)).encode())


class Talker(Stream):
    """The client's end of a connection; it writes requests and reads what comes."""

    def put(self, token: bytes) -> None:
        self.send(Message(Type.NON, Code.GET, 0, token, []).encode())

    def ask(self, token: bytes) -> bytes:
        self.put(token)
        return b"".join(self.take_output())

    def read(self, data: bytes) -> list[Message]:
        self.feed(data)
        messages = []
        while (datagram := self.next_message(0.0)) is not None:
            if datagram:
                messages.append(decode(datagram))
        return messages

    def read_frame(self, frame: bytes) -> list[Message]:
        datagram = self.receive_frame(frame, 0.0)
        return [decode(datagram)] if datagram else []
