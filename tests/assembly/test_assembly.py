"""The rooms joined: from a datagram to a durable change and back, call by call."""

import pytest
from joined import ANNA, Setup, location

from waypost.assembly.carrier import WAITING_MAX
from waypost.assembly.questions import Report, Status
from waypost.coap.numbers import Code, Option
from waypost.codec import u64
from waypost.rd.engine import Settings
from waypost.rd.questions import Busy, Found, Kind, Lookup, Register, Registered
from waypost.record import Hlc
from waypost.record.feed import FEED, FEED_MAX


@pytest.fixture
def setup() -> Setup:
    return Setup()


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
    [("?rt=core.rd*", 5), ("?rt=core.rd", 1), ("?rt=core.rd-lookup-*", 3), ("?rt=other", 0), ("", 5)],
)
def test_discovery_is_filtered(setup: Setup, query: str, payload: int) -> None:
    """RFC 9176, 4.3; RFC 6690, 4.1."""
    (answer,) = setup.send(Code.GET, ".well-known/core", *([query[1:]] if query else []))
    assert answer.code == Code.CONTENT
    assert answer.payload.count(b"<") == payload


def test_discovery_is_read_only(setup: Setup) -> None:
    (answer,) = setup.send(Code.PUT, ".well-known/core")
    assert answer.code == Code.METHOD_NOT_ALLOWED
