"""A whole node and the devices that speak to it, in message bytes; its disk is a dict."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final

from waypost.assembly.carrier import RECORDS
from waypost.assembly.engine import Assembly
from waypost.assembly.questions import Report, Review, Status
from waypost.coap.links import Link, parse
from waypost.coap.message import Message, Options, decode, uint
from waypost.coap.numbers import LINK_FORMAT, Code, Option, Type
from waypost.engine import Answer, Apply, Commit, Endpoint, Path, Send
from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.policy import Policy
from waypost.rd.engine import Settings
from waypost.rd.questions import Evict, Evictions, Export, Import, Locations, Outcome, Question, Readmit
from waypost.record.feed import FEED, META

WALL_MS: Final = 1_800_000_000_000
NODE: Final = Endpoint("2001:db8::ff", 5683)


class Disk:
    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {FEED: {}, META: {}, RECORDS: {}}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables[table].get(key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        yield from sorted(row for row in self.tables[table].items() if row[0] > after)


OPEN: Final = Policy.read({"allow": [{"who": ["anyone"], "do": ["*"]}]}, "open")


def as_operator(question: Question) -> Question:
    """What only operators may ask is asked by one."""
    if isinstance(question, Import | Locations | Export | Evict | Evictions | Readmit):
        return replace(question, who=OPERATOR)
    return question


class Node:
    """Time is what the test says: `now`, which advance() moves."""

    def __init__(
        self, settings: Settings | None = None, disk: Disk | None = None, policy: Policy | None = None
    ) -> None:
        self.now = 1.0
        self.disk = disk or Disk()
        self.assembly = Assembly(Random(1), settings or Settings(), (policy or OPEN).decide)
        self.devices: dict[Endpoint, Device] = {}
        self.assembly.restore(self.disk, self.now)
        self.assembly.handle_clock(self.now, WALL_MS)
        self.carry_out()

    def device(
        self,
        host: str = "2001:db8::1",
        port: int = 5683,
        scope: int = 0,
        *,
        transport: str = "udp",
        validated: bool = True,
        local: Endpoint = NODE,
        who: Identity = ANONYMOUS,
    ) -> "Device":
        path = Path(transport, Endpoint(host, port, scope), local, 1, who, validated)
        device = self.devices[path.peer] = Device(self, path)
        return device

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.assembly.next_timer()) is not None and when <= until:
            self.now = max(self.now, when)
            self.assembly.handle_timer(self.now)
            self.carry_out()
        self.now = until

    def ask(self, question: Question) -> Outcome:
        """As the local API does."""
        id = self.assembly.ask(as_operator(question), self.now)
        outcomes = self.carry_out()
        return outcomes[id]

    def review(self) -> None:
        """The policy has changed."""
        self.assembly.ask(Review(), self.now)
        self.carry_out()

    def gauges(self) -> dict[str, int]:
        return dict(self._report().gauges)

    def counters(self) -> dict[str, int]:
        return dict(self._report().counters)

    def _report(self) -> Report:
        id = self.assembly.ask(Status(), self.now)
        report = self.carry_out()[id]
        assert isinstance(report, Report)
        return report

    def carry_out(self) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        while effects := self.assembly.take_effects():
            for effect in effects:
                if isinstance(effect, Send):
                    device = self.devices.get(effect.path.peer)
                    if device is not None:
                        device.receive(effect.data)
                elif isinstance(effect, Commit):
                    self._commit(effect)
                    outcomes |= {e.id: e.result for e in effect.then if isinstance(e, Answer)}  # type: ignore[misc]
                else:
                    outcomes[effect.id] = effect.result  # type: ignore[union-attr, assignment]
        self.assembly.check()
        return outcomes

    def _commit(self, commit: Commit) -> None:
        for put in commit.puts:
            if put.value is None:
                self.disk.tables[put.table].pop(put.key, None)
            else:
                self.disk.tables[put.table][put.key] = put.value
        for effect in commit.then:
            if isinstance(effect, Apply):
                self.assembly.apply(effect.change, self.now)


class Device:
    """What came for it is in `inbox`, the octets of each in `sizes`."""

    def __init__(self, node: Node, path: Path) -> None:
        self.node = node
        self.path = path
        self.inbox: list[Message] = []
        self.received = 0  # octets
        self.sent = 0
        self._ids = itertools.count(100)

    def receive(self, data: bytes) -> None:
        self.received += len(data)
        self.inbox.append(decode(data))

    def put(self, message: Message) -> None:
        data = message.encode()
        self.sent += len(data)
        self.node.assembly.receive_datagram(data, self.path, self.node.now)
        self.node.carry_out()

    def message(
        self,
        code: Code,
        uri: str,
        payload: bytes | str = b"",
        *,
        content_format: int | None = None,
        accept: int | None = None,
        more: Options | None = None,
        token: bytes = b"tk",
    ) -> Message:
        """`uri` is a path and perhaps a query."""
        payload = payload.encode() if isinstance(payload, str) else payload
        path, _, query = uri.partition("?")
        options: Options = [(int(Option.URI_PATH), part.encode()) for part in path.removeprefix("/").split("/")]
        options += [(int(Option.URI_QUERY), part.encode()) for part in query.split("&") if part]
        if content_format is None and payload:
            content_format = LINK_FORMAT
        if content_format is not None:
            options.append((int(Option.CONTENT_FORMAT), uint(content_format)))
        if accept is not None:
            options.append((int(Option.ACCEPT), uint(accept)))
        options.sort(key=lambda option: option[0])
        return Message(
            Type.CON, code, next(self._ids), token, sorted(options + (more or []), key=lambda o: o[0]), payload
        )

    def ask(
        self,
        code: Code,
        uri: str,
        payload: bytes | str = b"",
        *,
        content_format: int | None = None,
        accept: int | None = None,
        more: Options | None = None,
    ) -> Message:
        """The one answer, at once."""
        self.inbox.clear()
        self.put(self.message(code, uri, payload, content_format=content_format, accept=accept, more=more))
        (answer,) = self.inbox
        return answer

    def post(
        self, uri: str, payload: bytes | str = b"", *, content_format: int | None = None, more: Options | None = None
    ) -> Message:
        return self.ask(Code.POST, uri, payload, content_format=content_format, more=more)

    def register(self, uri: str, payload: bytes | str = b"") -> str:
        """The location's path."""
        answer = self.post(uri, payload)
        assert answer.code == Code.CREATED, answer
        return location(answer)

    def get(self, uri: str, *, accept: int | None = None, more: Options | None = None) -> list["Shown"]:
        answer = self.ask(Code.GET, uri, accept=accept, more=more)
        assert answer.code == Code.CONTENT, answer
        return shown(answer.payload)

    def serve(self, payload: bytes | str, code: Code = Code.CONTENT, *options: tuple[int, bytes]) -> None:
        """Answer the request that lies in the inbox."""
        request = self.inbox.pop(0)
        body = payload.encode() if isinstance(payload, str) else payload
        formats = [(int(Option.CONTENT_FORMAT), uint(LINK_FORMAT))] if code == Code.CONTENT and not options else []
        self.put(Message(Type.ACK, code, request.id, request.token, formats + list(options), body))


Shown = tuple[str, frozenset[tuple[str, str | None]]]


def shown(payload: bytes | str) -> list[Shown]:
    """The links in order; how they are quoted and the order of their attributes do not matter."""
    document = payload.encode() if isinstance(payload, str) else payload
    return [_shown(link) for link in parse(document)]


def _shown(link: Link) -> Shown:
    return link.href, frozenset(link.attributes)


def location(answer: Message) -> str:
    return "/" + "/".join(value.decode() for number, value in answer.options if number == Option.LOCATION_PATH)


def option(answer: Message, number: int) -> bytes | None:
    return dict(answer.options).get(number)
