"""Observed group lookups of draft -12: told of what groups say, and of what their members say."""

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
from waypost.rd.groups import MEMBERS_MAX
from waypost.rd.observation import MEMBERS_FILED_MAX

LIGHT, POWER = b'</l>;rt="light"', b'</p>;rt="power"'


@pytest.fixture
def setup() -> Setup:
    return Setup(Settings(registrations_per_second=0))


def observer(number: int) -> Path:
    host = f"2001:db8:{number // OBSERVATIONS_PER_SOURCE_MAX:x}::b"
    return Path("udp", Endpoint(host, 4000 + number % 1000), HERE, 1, ANONYMOUS, validated=True)


def watch(setup: Setup, kind: str, *query: str, now: float = 1.0, number: int = 1) -> Message:
    (first,) = setup.send(
        Code.GET, f"rd-lookup/{kind}", *query, observe=0, sender=observer(number), token=b"w", now=now
    )
    return first


def is_observed(message: Message) -> bool:
    return any(number == Option.OBSERVE for number, _ in message.options)


def register(setup: Setup, ep: str, *query: str, links: bytes = LIGHT, now: float = 1.0) -> str:
    answers = setup.send(Code.POST, "rd", f"ep={ep}", *query, payload=links, now=now)
    return location(next(answer for answer in answers if answer.token == b"t"))


def group(setup: Setup, name: str, *members: str, sector: str = "", now: float = 1.0) -> str:
    links = ",".join(f"</{member}>" for member in members).encode()
    answers = setup.send(Code.POST, "rd-group", f"gp={name}", f"d={sector}", payload=links, now=now)
    return location(next(answer for answer in answers if answer.token == b"t"))


def report(setup: Setup) -> Report:
    status = setup.ask(Status())
    assert isinstance(status, Report)
    return status


def searches(setup: Setup) -> int:
    return report(setup).counters["lookups_searched_anew"]


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("gp", ()),
        ("gp", ("gp=g",)),
        ("gp", ("gp=g*",)),
        ("gp", ("ep=a",)),
        ("gp", ("rt=light",)),
        ("gp", ("rt=lig*",)),
        ("gp", ("gp=g", "rt=lig*")),
        ("gp", ("rt=core.rd-ep",)),
        ("gp", ("href=coap://[2001:db8::a]:4000/l", "et=core.rd-group")),
        ("ep", ("gp=g",)),
        ("ep", ("gp=g*", "rt=light")),
        ("ep", ("gp=g", "rt=light")),
        ("res", ("gp=g",)),
        ("res", ("gp", "rt=light")),
        ("res", ("gp=g*",)),
    ],
)
def test_every_form_of_group_lookup_can_be_observed(setup: Setup, kind: str, query: tuple[str, ...]) -> None:
    """draft -12, 7.3 and 7.4: the member comes first, then the group that makes it one."""
    assert is_observed(watch(setup, kind, *query))
    member = register(setup, "a", now=2.0)
    setup.pass_time(4.0)
    group(setup, "g", member, now=5.0)
    told = setup.pass_time(8.0)[-1]
    (found,) = setup.send(Code.GET, f"rd-lookup/{kind}", *query, now=8.0)
    assert told.payload == found.payload != b""


@pytest.mark.parametrize(("kind", "query"), [("gp", "rt=power"), ("ep", "gp=g"), ("res", "gp=g"), ("res", "gp=*")])
def test_a_member_that_changes_is_told_to_who_observes_its_group(setup: Setup, kind: str, query: str) -> None:
    group(setup, "g", register(setup, "a"), register(setup, "b"))
    watch(setup, kind, query)
    setup.pass_time(4.0)
    register(setup, "b", "et=new", links=POWER, now=5.0)
    (told,) = setup.pass_time(8.0)
    (found,) = setup.send(Code.GET, f"rd-lookup/{kind}", query, now=8.0)
    assert told.payload == found.payload != b""


@pytest.mark.parametrize("kind", ["ep", "res"])
def test_who_joins_a_group_is_heard_of_from_then_on(setup: Setup, kind: str) -> None:
    """And who has left is not."""
    a, b = register(setup, "a"), register(setup, "b", links=POWER)
    group(setup, "g", a)
    watch(setup, kind, "gp=g")
    setup.pass_time(4.0)
    group(setup, "g", b, now=5.0)
    assert len(setup.pass_time(8.0)) == 1
    register(setup, "b", "et=new", links=LIGHT, now=10.0)
    (told,) = setup.pass_time(14.0)
    (found,) = setup.send(Code.GET, f"rd-lookup/{kind}", "gp=g", now=14.0)
    assert told.payload == found.payload != b""
    before = searches(setup)
    register(setup, "a", "et=new", links=POWER, now=15.0)
    assert setup.pass_time(18.0) == []
    assert searches(setup) == before


def test_a_member_that_comes_back_is_told(setup: Setup) -> None:
    """RFC 9176, 5.3: it keeps its location past its lifetime, and so its place in the group."""
    member = register(setup, "a", "lt=60")
    group(setup, "g", member)
    watch(setup, "ep", "gp=g")
    (gone,) = setup.pass_time(90.0)
    assert gone.payload == b""
    setup.send(Code.POST, member, now=90.0)
    (back,) = setup.pass_time(95.0)
    assert b'ep="a"' in back.payload


@pytest.mark.parametrize(
    ("kind", "query"),
    [("gp", ()), ("gp", ("gp=g",)), ("gp", ("rt=light",)), ("ep", ("gp=g",)), ("res", ("gp=g", "rt=light"))],
)
def test_who_is_in_no_group_costs_who_observes_groups_nothing(setup: Setup, kind: str, query: tuple[str, ...]) -> None:
    """It is filed under rarer pairs than what everybody has."""
    group(setup, "g", register(setup, "a"))
    watch(setup, kind, *query)
    setup.pass_time(4.0)
    before = searches(setup)
    for number in range(20):
        register(setup, f"other-{number}", links=POWER, now=5.0 + number)
    assert setup.pass_time(30.0) == []
    assert searches(setup) == before


def test_changes_of_a_group_that_come_together_are_told_once(setup: Setup) -> None:
    members = [register(setup, f"e{number}") for number in range(10)]
    watch(setup, "ep", "gp=g")
    setup.pass_time(5.0)
    for number in range(1, 11):
        group(setup, "g", *members[:number], now=6.0 + number / 1000)
    (told,) = setup.pass_time(6.5)
    assert told.payload.count(b"ep=") == 10


def test_a_lookup_by_more_members_than_a_group_may_have_is_answered_and_not_observed(setup: Setup) -> None:
    """Groups of one name in several sectors have them together."""
    members = [register(setup, f"e{number}") for number in range(MEMBERS_MAX + 1)]
    group(setup, "g", *members[1:], sector="one")
    assert is_observed(watch(setup, "ep", "gp=g", "count=1"))
    setup.send(Code.POST, "rd-group", "gp=g", "d=two", payload=f"</{members[0]}>".encode(), now=2.0)
    (ended,) = [message for message in setup.pass_time(4.0) if message.token == b"w"]
    assert (ended.code, is_observed(ended)) == (Code.SERVICE_UNAVAILABLE, False), "RFC 7641, 4.2: an error is the last"
    assert report(setup).gauges["lookups_observed"] == 0
    again = watch(setup, "ep", "gp=g", "count=1", now=5.0)
    assert (again.code, is_observed(again)) == (Code.CONTENT, False)
    assert is_observed(watch(setup, "ep", "gp=g", "rt=light", "count=1", now=6.0)), "another criterion finds them"


def test_what_is_filed_for_the_sake_of_members_is_bounded(setup: Setup) -> None:
    group(setup, "g", *[register(setup, f"e{number}") for number in range(MEMBERS_MAX)])
    firsts = [watch(setup, "ep", "gp=g", "count=1", f"page={number}", number=number) for number in range(256)]
    assert sum(map(is_observed, firsts)) == MEMBERS_FILED_MAX // (MEMBERS_MAX + 2) < 256
    assert {first.code for first in firsts} == {Code.CONTENT}


QUERIES = [
    *(("gp",), ("gp", "gp=g"), ("gp", "ep=a"), ("gp", "rt=light"), ("gp", "rt=light", "ep=b"), ("gp", "rt=p*")),
    *(("gp", "gp=g", "rt=p*"), ("gp", "et=x"), ("gp", "d=hall"), ("gp", "rt=core.rd-ep"), ("gp", "gp=h", "et=x")),
    *(("ep", "gp=g"), ("ep", "gp=g*"), ("ep", "gp=g", "rt=light"), ("ep", "gp=g", "gp=h"), ("ep", "gp", "et=x")),
    *(("res", "gp=g"), ("res", "gp=h", "rt=power"), ("res", "gp"), ("res", "gp=g", "count=1", "page=1")),
]
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("register", "change", "remove")), st.sampled_from("abc"), st.sampled_from("lp")),
        st.tuples(st.sampled_from(("group", "group in hall")), st.sampled_from("gh"), st.sampled_from(("a", "ab", ""))),
        st.tuples(st.sampled_from(("disband", "rename", "wait")), st.sampled_from("gh"), st.just("")),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS, st.integers(0, 1000))
def test_what_an_observer_of_groups_was_told_last_is_what_a_lookup_answers(
    actions: list[tuple[str, str, str]], seed: int
) -> None:
    rng = Random(seed)
    setup, now = Setup(Settings(registrations_per_second=0)), 1.0
    known: dict[bytes, bytes] = {}
    places: dict[str, str] = {}

    def hear(messages: list[Message]) -> None:
        for message in messages:
            if message.token in known:
                known[message.token] = message.payload
                if message.type == Type.CON:
                    data = Message(Type.ACK, Code.EMPTY, message.id, b"", []).encode()
                    setup.assembly.receive_datagram(data, ANNA, now)
            if message.code == Code.CREATED:
                places[name] = location(message)

    for number, (kind, *query) in enumerate(QUERIES):
        (first,) = setup.send(Code.GET, f"rd-lookup/{kind}", *query, observe=0, token=bytes([number]), now=now)
        assert is_observed(first)
        known[bytes([number])] = first.payload
    for action, name, detail in actions:
        now += rng.choice((0.01, 0.3, 2.0))
        lines: list[Message] = []
        match action:
            case "register":
                links = LIGHT if detail == "l" else POWER
                lines = setup.send(Code.POST, "rd", f"ep={name}", "lt=6", payload=links, now=now)
            case "group" | "group in hall":
                members = ",".join(f"</{places[ep]}>" for ep in detail if ep in places).encode()
                sector = ["d=hall"] if action == "group in hall" else []
                lines = setup.send(Code.POST, "rd-group", f"gp={name}", *sector, payload=members, now=now)
            case "change" if name in places:
                lines = setup.send(Code.POST, places[name], rng.choice(("et=x", "et=y", "lt=7")), now=now)
            case "rename" if name in places:  # it is a group no longer
                lines = setup.send(Code.POST, places[name], "et=x", now=now)
            case "remove" | "disband" if name in places:
                lines = setup.send(Code.DELETE, places.pop(name), now=now)
            case _:
                now += 3.0
        hear(lines)
        hear(setup.pass_time(now))
    hear(setup.pass_time(now + 20.0))
    for number, (kind, *query) in enumerate(QUERIES):
        (found,) = setup.send(Code.GET, f"rd-lookup/{kind}", *query, now=now + 20.0)
        assert known[bytes([number])] == found.payload, (kind, query)
