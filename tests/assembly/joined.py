"""The rooms joined, over a disk of dicts: what is sent, asked and stored, call by call."""

from collections.abc import Iterator
from random import Random

from waypost.assembly.carrier import RECORDS
from waypost.assembly.engine import Assembly
from waypost.coap.message import Message, decode
from waypost.coap.numbers import LINK_FORMAT, Code, Option, Type
from waypost.engine import Answer, Apply, Commit, Effect, Endpoint, Path, Send
from waypost.identity import ANONYMOUS
from waypost.identity.policy import default
from waypost.rd.engine import Settings
from waypost.record import Change
from waypost.record.feed import FEED, META

HERE = Endpoint("2001:db8::1", 5683)
ANNA = Path("udp", Endpoint("2001:db8::a", 4000), HERE, 1, ANONYMOUS, validated=True)
WALL_MS = 1_800_000_000_000


class Disk:
    """Rows in a dict, and the driver that carries effects out at once."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {FEED: {}, META: {}, RECORDS: {}}
        self.outside: list[Effect] = []
        self.held: list[Commit] = []
        self.stuck = False

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables[table].get(key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        yield from sorted(row for row in self.tables[table].items() if row[0] > after)

    def carry_out(self, assembly: Assembly, now: float) -> None:
        while effects := assembly.take_effects():
            for effect in effects:
                match effect:
                    case Commit() if self.stuck:
                        self.held.append(effect)
                    case Commit():
                        self.commit(effect, assembly, now)
                    case _:
                        self.outside.append(effect)

    def commit(self, commit: Commit, assembly: Assembly, now: float) -> None:
        for put in commit.puts:
            if put.value is None:
                self.tables[put.table].pop(put.key, None)
            else:
                self.tables[put.table][put.key] = put.value
        for effect in commit.then:
            assert isinstance(effect, Apply)
            assembly.apply(effect.change, now)


class Setup:
    def __init__(self, settings: Settings | None = None, disk: Disk | None = None, *, checked: bool = True) -> None:
        self._checked = checked
        self.disk = disk or Disk()
        self.assembly = Assembly(Random(1), settings or Settings(), default().decide)
        self.assembly.restore(self.disk, 0.0)
        self.assembly.handle_clock(0.0, WALL_MS)
        self.disk.carry_out(self.assembly, 0.0)
        self._id = 0

    def send(
        self,
        code: Code,
        path: str,
        *query: str,
        payload: bytes = b"",
        now: float = 1.0,
        observe: int | None = None,
        sender: Path = ANNA,
        token: bytes = b"t",
    ) -> list[Message]:
        """The answers to one confirmable request."""
        self._id += 1
        options: list[tuple[int, bytes]] = (
            [] if observe is None else [(Option.OBSERVE, bytes([observe] * bool(observe)))]
        )
        options += [(Option.URI_PATH, part.encode()) for part in path.split("/")]
        if payload:
            options.append((Option.CONTENT_FORMAT, bytes([LINK_FORMAT])))
        options += [(Option.URI_QUERY, part.encode()) for part in query]
        data = Message(Type.CON, code, self._id & 0xFFFF, token, options, payload).encode()
        self.assembly.receive_datagram(data, sender, now)
        return self.answers(now)

    def pass_time(self, until: float) -> list[Message]:
        """What is sent until then."""
        sent: list[Message] = []
        while (when := self.assembly.next_timer()) is not None and when <= until:
            self.assembly.handle_timer(when)
            sent += self.answers(when)
        return sent

    def answers(self, now: float = 1.0) -> list[Message]:
        self.disk.carry_out(self.assembly, now)
        if self._checked:
            self.assembly.check()
        sent, self.disk.outside = self.disk.outside, []
        return [decode(effect.data) for effect in sent if isinstance(effect, Send)]

    def ask(self, question: object, now: float = 1.0) -> object:
        id = self.assembly.ask(question, now)
        self.disk.carry_out(self.assembly, now)
        (answer,) = [e for e in self.disk.outside if isinstance(e, Answer) and e.id == id]
        self.disk.outside.remove(answer)
        return answer.result

    def feed(self) -> list[Change]:
        return [Change.decode(int.from_bytes(key, "big"), data) for key, data in self.disk.scan(FEED)]


def location(answer: Message) -> str:
    return "/".join(value.decode() for number, value in answer.options if number == Option.LOCATION_PATH)
