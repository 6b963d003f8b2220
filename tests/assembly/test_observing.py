"""Observed lookups (RFC 9176, 6.2; RFC 7641): who is told, when, and what it costs the others."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joined import ANNA, HERE, Setup, location

from waypost.assembly.questions import Report, Status
from waypost.coap.message import Message
from waypost.coap.numbers import OBSERVATIONS_PER_SOURCE_MAX, Code, Option, Type
from waypost.engine import Endpoint, Path
from waypost.identity import ANONYMOUS
from waypost.rd.engine import Settings
from waypost.rd.observation import EVERY_S, FILED_MAX, GATHER_S

LINKS = b'</t>;rt="temperature";if="sensor core.a",</h>;rt="humidity"'
UNLIMITED = Settings(registrations_per_second=0)


def observer(number: int) -> Path:
    host = f"2001:db8:{number // OBSERVATIONS_PER_SOURCE_MAX:x}::b"
    return Path("udp", Endpoint(host, 4000 + number % 1000), HERE, 1, ANONYMOUS, validated=True)


@pytest.fixture
def setup() -> Setup:
    return Setup(UNLIMITED)


def report(setup: Setup) -> Report:
    status = setup.ask(Status())
    assert isinstance(status, Report)
    return status


def searches(setup: Setup) -> int:
    return report(setup).counters["lookups_searched_anew"]


def watch(setup: Setup, kind: str, *query: str, now: float = 1.0, number: int = 1, token: bytes = b"w") -> Message:
    (first,) = setup.send(
        Code.GET, f"rd-lookup/{kind}", *query, observe=0, sender=observer(number), token=token, now=now
    )
    return first


def is_observed(message: Message) -> bool:
    return any(number == Option.OBSERVE for number, _ in message.options)


def test_the_lookups_say_that_they_can_be_observed(setup: Setup) -> None:
    """RFC 9176, 4.1 and 6.2: a server that supports observation says so."""
    (core,) = setup.send(Code.GET, ".well-known/core", "rt=core.rd-lookup*")
    assert core.payload.count(b";obs") == 3


def test_an_observer_is_told_when_the_answer_is_another(setup: Setup) -> None:
    assert watch(setup, "res", "rt=temperature").payload == b""
    (created,) = setup.send(Code.POST, "rd", "ep=a", payload=LINKS, now=2.0)
    (told,) = setup.pass_time(3.0)
    assert is_observed(told)
    assert told.token == b"w"
    (found,) = setup.send(Code.GET, "rd-lookup/res", "rt=temperature", now=3.0)
    assert told.payload == found.payload != b""
    setup.send(Code.DELETE, location(created), now=4.0)
    (told,) = setup.pass_time(5.0)
    assert told.payload == b""


def test_an_observer_is_told_of_an_expiry_and_of_a_revival(setup: Setup) -> None:
    """RFC 9176, 5.3: it leaves the lookups, and comes back at its location."""
    (created,) = setup.send(Code.POST, "rd", "ep=a", "lt=60", payload=LINKS)
    first = watch(setup, "ep", "ep=a")
    assert b'ep="a"' in first.payload
    (gone,) = setup.pass_time(90.0)
    assert gone.payload == b""
    setup.send(Code.POST, location(created), now=90.0)
    (back,) = setup.pass_time(95.0)
    assert back.payload == first.payload


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("res", ("rt=temperature",)),
        ("res", ("if=core.a", "ep=a")),
        ("res", ("href=coap://[2001:db8::a]:4000/t",)),
        ("res", ("href=/reg/*", "rt=humidity")),
        ("res", ()),
        ("res", ("count=1",)),
        ("res", ("rt=temp*",)),
        ("ep", ("rt=temperature",)),
        ("ep", ("rt=core.rd-ep",)),
        ("ep", ("base=coap://[2001:db8::a]:4000",)),
        ("ep", ("et",)),
        ("ep", ("d=hall", "rt=core.rd-ep")),
        ("ep", ("href=coap://[2001:db8::a]:4000/h",)),
    ],
)
def test_every_form_of_lookup_can_be_observed(setup: Setup, kind: str, query: tuple[str, ...]) -> None:
    """RFC 9176, 6.2."""
    assert is_observed(watch(setup, kind, *query))
    setup.send(Code.POST, "rd", "ep=a", "d=hall", "et=lamp", payload=LINKS, now=2.0)
    (told,) = setup.pass_time(4.0)
    (found,) = setup.send(Code.GET, f"rd-lookup/{kind}", *query, now=4.0)
    assert told.payload == found.payload != b""


def test_what_is_at_a_location_is_observed(setup: Setup) -> None:
    (created,) = setup.send(Code.POST, "rd", "ep=a", payload=LINKS)
    watch(setup, "ep", f"href=/{location(created)}")
    setup.send(Code.POST, location(created), "et=lamp", now=2.0)
    (told,) = setup.pass_time(4.0)
    assert b'et="lamp"' in told.payload


def test_a_refresh_that_changes_nothing_tells_nobody_and_searches_nothing(setup: Setup) -> None:
    """Also not when it has to be stored anew."""
    (created,) = setup.send(Code.POST, "rd", "ep=a", "lt=60", payload=LINKS)
    watch(setup, "res")
    watch(setup, "res", "rt=temperature", token=b"2")
    setup.pass_time(10.0)
    before, stored = searches(setup), len(setup.feed())
    for now in range(20, 200, 20):
        setup.send(Code.POST, location(created), now=float(now))
        setup.send(Code.POST, "rd", "ep=a", "lt=60", payload=LINKS, now=now + 1.0)
        assert setup.pass_time(now + 10.0) == []
    assert len(setup.feed()) > stored
    assert searches(setup) == before


def test_ten_thousand_idle_observers_cost_a_registration_no_search_and_get_no_notification() -> None:
    """Work is counted, not time: whoever observes another lookup adds nothing to do."""
    setup = Setup(UNLIMITED, checked=False)  # that takes time for each observer
    for number in range(10_000):
        first = watch(setup, "res", f"rt=type-{number}", number=number)
        assert is_observed(first)
    setup.pass_time(60.0)
    assert report(setup).gauges["lookups_observed"] == 10_000
    before = searches(setup)
    for number in range(100):
        (created,) = setup.send(Code.POST, "rd", f"ep={number}", payload=LINKS, now=60.0 + number)
        assert created.code == Code.CREATED
        assert setup.pass_time(60.5 + number) == []
    assert searches(setup) == before


def test_one_search_serves_all_observers_of_a_lookup(setup: Setup) -> None:
    for number in range(50):
        watch(setup, "res", "rt=temperature", number=number)
    setup.pass_time(5.0)
    before = searches(setup)
    setup.send(Code.POST, "rd", "ep=a", payload=LINKS, now=6.0)
    told = setup.pass_time(8.0)
    assert len(told) == 50
    assert searches(setup) == before + 1


def test_changes_that_come_together_are_told_once_and_at_most_once_a_second(setup: Setup) -> None:
    watch(setup, "res", "rt=temperature")
    setup.pass_time(5.0)
    for number in range(10):
        setup.send(Code.POST, "rd", f"ep={number}", payload=LINKS, now=6.0 + number * GATHER_S / 20)
    assert len(setup.pass_time(6.0 + GATHER_S * 1.5)) == 1
    setup.send(Code.POST, "rd", "ep=late", payload=LINKS, now=6.2)
    assert setup.pass_time(6.0 + EVERY_S) == []
    assert len(setup.pass_time(6.5 + EVERY_S)) == 1


def test_the_last_observer_takes_the_plan_along(setup: Setup) -> None:
    for number in range(2):
        watch(setup, "res", "rt=temperature", number=number)
    for number, left in ((0, 1), (1, 0)):
        query = ("rt=temperature",)
        setup.send(Code.GET, "rd-lookup/res", *query, observe=1, sender=observer(number), token=b"w")
        assert report(setup).gauges["lookups_observed"] == left
    setup.send(Code.POST, "rd", "ep=a", payload=LINKS, now=2.0)
    assert setup.pass_time(4.0) == []


def test_an_observer_that_has_vanished_is_forgotten_with_its_plan(setup: Setup) -> None:
    """RFC 7641, 4.5."""
    watch(setup, "ep")
    now = 1.0
    for number in range(25):
        now += 5.0
        setup.send(Code.POST, "rd", f"ep={number}", now=now)
        setup.pass_time(now + 2.0)
    setup.pass_time(now + 120.0)
    assert report(setup).gauges["coap_observations"] == report(setup).gauges["lookups_observed"] == 0


def test_one_source_observes_a_bounded_number_of_lookups(setup: Setup) -> None:
    """Past it a request is answered and not observed (RFC 7641, 4.1)."""
    firsts = [
        setup.send(Code.GET, "rd-lookup/res", f"rt={n}", observe=0, token=n.to_bytes(2))[0] for n in range(10_000)
    ]
    assert sum(map(is_observed, firsts)) == OBSERVATIONS_PER_SOURCE_MAX
    assert {first.code for first in firsts} == {Code.CONTENT}
    assert report(setup).gauges["lookups_observed"] == OBSERVATIONS_PER_SOURCE_MAX


def test_lookups_that_every_change_concerns_are_few(setup: Setup) -> None:
    firsts = [watch(setup, "res", f"rt={number}*", number=number) for number in range(FILED_MAX + 5)]
    assert sum(map(is_observed, firsts)) == FILED_MAX


def test_a_large_lookup_is_told_though_it_changes_while_it_is_searched(setup: Setup) -> None:
    for number in range(600):
        setup.send(Code.POST, "rd", f"ep={number}", payload=LINKS)
    setup.send(Code.GET, "rd-lookup/ep", observe=0, token=b"w")
    setup.pass_time(1.0)
    for number in range(20):
        setup.send(Code.POST, "rd", f"ep={number}", "et=new", payload=LINKS, now=2.0 + number / 10)
        setup.pass_time(2.0 + number / 10)
    told = setup.pass_time(10.0)
    (found,) = setup.send(Code.GET, "rd-lookup/ep", now=11.0) or setup.pass_time(11.0)
    assert told[-1].payload == found.payload, "the first block"


ACTIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["register", "change", "remove", "wait"])), max_size=12
)


@settings(max_examples=60)
@given(ACTIONS, st.integers(0, 1000))
def test_what_an_observer_was_told_last_is_what_a_lookup_answers(actions: list[tuple[str, str]], seed: int) -> None:
    rng = Random(seed)
    queries = [("res",), ("ep",), ("res", "rt=temperature"), ("ep", "et=x"), ("res", "ep=a", "count=1"), ("ep", "e*")]
    setup, now = Setup(UNLIMITED), 1.0
    known: dict[bytes, bytes] = {}
    places: dict[str, str] = {}

    def hear(messages: list[Message]) -> None:
        for message in messages:
            if message.token in known:
                known[message.token] = message.payload
                if message.type == Type.CON:
                    data = Message(Type.ACK, Code.EMPTY, message.id, b"", []).encode()
                    setup.assembly.receive_datagram(data, ANNA, now)

    for number, (kind, *query) in enumerate(queries):
        (first,) = setup.send(Code.GET, f"rd-lookup/{kind}", *query, observe=0, token=bytes([number]), now=now)
        known[bytes([number])] = first.payload
    for ep, action in actions:
        now += rng.choice((0.01, 0.3, 2.0))
        match action:
            case "register":
                lines = setup.send(Code.POST, "rd", f"ep={ep}", "lt=4", payload=rng.choice((LINKS, b"</u>")), now=now)
                places[ep] = location(next(line for line in lines if line.token == b"t"))
            case "change" if ep in places:
                lines = setup.send(Code.POST, places[ep], rng.choice(("et=x", "et=y", "lt=5")), now=now)
            case "remove" if ep in places:
                lines = setup.send(Code.DELETE, places.pop(ep), now=now)
            case _:
                now += 3.0
                lines = []
        hear(lines)
        hear(setup.pass_time(now))
    hear(setup.pass_time(now + 20.0))
    for number, (kind, *query) in enumerate(queries):
        (found,) = setup.send(Code.GET, f"rd-lookup/{kind}", *query, now=now + 20.0)
        assert known[bytes([number])] == found.payload, (kind, query)
