"""The rooms joined: from a datagram to a durable change and back, call by call."""

from collections.abc import Iterator
from random import Random

import pytest

from waypost.assembly.carrier import FEED, FEED_MAX, META, RECORDS, WAITING_MAX
from waypost.assembly.engine import Assembly
from waypost.assembly.questions import Report, Status
from waypost.coap.message import Message, decode
from waypost.coap.numbers import LINK_FORMAT, Code, Option, Type
from waypost.codec import u64
from waypost.engine import Answer, Apply, Commit, Effect, Endpoint, Path, Send
from waypost.identity import ANONYMOUS
from waypost.rd.engine import Settings
from waypost.rd.questions import Busy, Found, Kind, Lookup, Register, Registered
from waypost.record import Change, Hlc

ANNA = Path("udp", Endpoint("2001:db8::a", 4000), Endpoint("2001:db8::1", 5683), 1, ANONYMOUS, validated=True)
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

    def scan(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        yield from sorted(self.tables[table].items())

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
    def __init__(self, settings: Settings | None = None, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.assembly = Assembly(Random(1), settings or Settings())
        self.assembly.restore(self.disk, 0.0)
        self.assembly.handle_clock(0.0, WALL_MS)
        self.disk.carry_out(self.assembly, 0.0)
        self._id = 0

    def send(self, code: Code, path: str, *query: str, payload: bytes = b"", now: float = 1.0) -> list[Message]:
        """The answers to one confirmable request."""
        self._id += 1
        options: list[tuple[int, bytes]] = [(Option.URI_PATH, part.encode()) for part in path.split("/")]
        if payload:
            options.append((Option.CONTENT_FORMAT, bytes([LINK_FORMAT])))
        options += [(Option.URI_QUERY, part.encode()) for part in query]
        data = Message(Type.CON, code, self._id, b"t", options, payload).encode()
        self.assembly.receive_datagram(data, ANNA, now)
        return self.answers(now)

    def answers(self, now: float = 1.0) -> list[Message]:
        self.disk.carry_out(self.assembly, now)
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


@pytest.fixture
def setup() -> Setup:
    return Setup()


def location(answer: Message) -> str:
    return "/".join(value.decode() for number, value in answer.options if number == Option.LOCATION_PATH)


LINKS = b'</t>;rt="temperature"'


def test_a_registration_is_answered_only_when_it_is_on_disk_and_can_be_found(setup: Setup) -> None:
    """Design, Contracts, 1 and 5."""
    setup.disk.stuck = True
    assert setup.send(Code.POST, "rd", "ep=a", payload=LINKS) == []
    (nothing,) = setup.send(Code.GET, "rd-lookup/res", "ep=a")
    assert (nothing.code, nothing.payload) == (Code.CONTENT, b""), "and a lookup does not wait for the disk"
    (commit,) = setup.disk.held
    setup.disk.commit(commit, setup.assembly, 1.0)
    (created,) = setup.answers()
    assert created.code == Code.CREATED
    setup.disk.stuck = False
    (found,) = setup.send(Code.GET, "rd-lookup/res", "ep=a")
    assert found.payload == b'<coap://[2001:db8::a]:4000/t>;rt="temperature"'


def test_what_was_registered_is_there_after_a_restart(setup: Setup) -> None:
    (created,) = setup.send(Code.POST, "rd", "ep=a", payload=LINKS)
    (gone,) = setup.send(Code.POST, "rd", "ep=b")
    setup.send(Code.DELETE, location(gone))
    again = Setup(disk=setup.disk)
    (found,) = again.send(Code.GET, "rd-lookup/ep")
    assert found.payload.startswith(f'</{location(created)}>;ep="a"'.encode())
    assert b'ep="b"' not in found.payload
    assert again.assembly.name == setup.assembly.name


def test_the_feed_is_dense_and_goes_on_after_a_restart(setup: Setup) -> None:
    """Design, Contracts, 3."""
    for ep in "abc":
        setup.send(Code.POST, "rd", f"ep={ep}")
    again = Setup(disk=setup.disk)
    again.send(Code.POST, "rd", "ep=d")
    changes = again.feed()
    assert [change.seq for change in changes] == [1, 2, 3, 4]
    versions = [change.version for change in changes]
    assert all(isinstance(version, Hlc) for version in versions)
    assert len({*versions}) == 4
    assert changes[-1].version == max(version for version in versions if isinstance(version, Hlc))


def test_the_feed_keeps_a_bounded_past(setup: Setup) -> None:
    setup.disk.tables[FEED] = {u64(n): setup_change(n) for n in range(FEED_MAX - 1, FEED_MAX + 1)}
    setup.disk.tables[FEED][u64(1)] = setup_change(1)
    again = Setup(disk=setup.disk)
    again.send(Code.POST, "rd", "ep=a")
    assert [change.seq for change in again.feed()] == [FEED_MAX - 1, FEED_MAX, FEED_MAX + 1]


def setup_change(seq: int) -> bytes:
    first = Setup()
    first.send(Code.POST, "rd", "ep=a")
    return first.feed()[0].encode()


def test_a_disk_that_is_behind_refuses_new_work_and_still_answers_lookups() -> None:
    setup = Setup(Settings(registrations_per_second=0))
    setup.disk.stuck = True
    for number in range(WAITING_MAX):
        assert setup.send(Code.POST, "rd", f"ep={number}") == []
    (busy,) = setup.send(Code.POST, "rd", "ep=one more")
    assert busy.code == Code.SERVICE_UNAVAILABLE
    assert dict(busy.options)[Option.MAX_AGE] == b"\x01"
    (found,) = setup.send(Code.GET, "rd-lookup/ep")
    assert found.code == Code.CONTENT
    setup.disk.stuck = False
    for commit in setup.disk.held:
        setup.disk.commit(commit, setup.assembly, 1.0)
    assert len(setup.answers()) == WAITING_MAX


def test_the_same_questions_come_from_outside(setup: Setup) -> None:
    register = Register("a", None, 60, "coap://h", "", (), LINKS, "127.0.0.1")
    registered = setup.ask(register)
    assert isinstance(registered, Registered)
    found = setup.ask(Lookup(Kind.RESOURCES, (("rt", "temperature"),)))
    assert isinstance(found, Found)
    assert found.body == b'<coap://h/t>;rt="temperature"'
    report = setup.ask(Status())
    assert isinstance(report, Report)
    assert report.gauges["registrations"] == 1
    assert report.counters["registered"] == 1


def test_over_the_quota_is_busy_for_devices_and_programs_alike() -> None:
    setup = Setup(Settings(registrations_per_second=1, burst=2))
    codes = [setup.send(Code.POST, "rd", f"ep={n}")[0].code for n in range(3)]
    assert codes == [Code.CREATED, Code.CREATED, Code.SERVICE_UNAVAILABLE]
    register = Register("x", None, 60, "coap://h", "", (), b"", ANNA.peer.host)
    assert isinstance(setup.ask(register), Busy)


@pytest.mark.parametrize(
    ("query", "payload"),
    [("?rt=core.rd*", 3), ("?rt=core.rd", 1), ("?rt=core.rd-lookup-*", 2), ("?rt=other", 0), ("", 3)],
)
def test_discovery_is_filtered(setup: Setup, query: str, payload: int) -> None:
    """RFC 9176, 4.3; RFC 6690, 4.1."""
    (answer,) = setup.send(Code.GET, ".well-known/core", *([query[1:]] if query else []))
    assert answer.code == Code.CONTENT
    assert answer.payload.count(b"<") == payload


def test_discovery_is_read_only(setup: Setup) -> None:
    (answer,) = setup.send(Code.PUT, ".well-known/core")
    assert answer.code == Code.METHOD_NOT_ALLOWED
