"""Every question and every CoAP resource, by everybody: the engine's part of the matrix."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
from rights import ASKERS, RIGHTS, SECTORS, THINGS, may, policy
from speaking import Device, Node

from waypost.assembly import questions as whole
from waypost.coap.message import Message
from waypost.coap.numbers import Code, Option
from waypost.identity import OPERATOR, Identity, token
from waypost.identity.policy import Action
from waypost.rd import interface
from waypost.rd.questions import (
    Evict,
    Evicted,
    Evictions,
    Export,
    Found,
    Import,
    Kind,
    Located,
    Locations,
    Lookup,
    Page,
    Probe,
    Question,
    Read,
    Readmit,
    Refused,
    Register,
    Remove,
    Renew,
)

SECTOR_OF = SECTORS | {"lantern": "mine"}
OBSERVE = [(int(Option.OBSERVE), b"")]


class House:
    """A node with the three things in it, and where they are."""

    def __init__(self) -> None:
        self.policy = policy()
        self.node = Node(policy=self.policy)
        self.locations: dict[str, str] = {}
        for number, name in enumerate(sorted(THINGS)):
            who = OPERATOR if name == "safe" else ASKERS[name]
            device = self.node.device(f"2001:db8::{number + 1:x}", who=who)
            self.locations[name] = device.register(f"/rd?ep={name}&d={SECTORS[name]}", f"</{name}>;rt=thing")[5:]

    def ask(self, question: Any) -> Any:
        """By whom the question says; the fetch that a simple registration begins counts as its outcome."""
        id = self.node.assembly.ask(question, self.node.now)
        return self.node.carry_out().get(id)

    def device(self, asker: str) -> Device:
        return self.node.device("2001:db8::99", who=ASKERS[asker])


def register(house: House, thing: str, who: Identity) -> Register:
    return Register(thing, SECTORS[thing], 600, "coap://h", "coap://h", (), b"</n>", "2001:db8::99", who)


def load(house: House, thing: str, who: Identity) -> Import:
    house.ask(Remove(house.locations[thing], who=OPERATOR))
    return Import(register(house, thing, who), None, 60.0, who=who)


def probe(house: House, thing: str, who: Identity) -> Probe:
    return Probe(register(house, thing, who), house.node.device("2001:db8::99", who=who).path, True)


def readmit(house: House, thing: str, who: Identity) -> Readmit:
    house.ask(Evict(house.locations[thing], 60, OPERATOR))
    return Readmit(house.locations[thing], who)


# Questions about one thing: what they are to the policy, and how they are asked.
ONE: dict[type, tuple[str, Callable[[House, str, Identity], Any]]] = {
    Register: ("register", register),
    Probe: ("register", probe),
    Renew: ("renew", lambda house, thing, who: Renew(house.locations[thing], 70, None, None, (), "2001:db8::99", who)),
    Remove: ("remove", lambda house, thing, who: Remove(house.locations[thing], "2001:db8::99", who)),
    Read: ("read", lambda house, thing, who: Read(house.locations[thing], who=who)),
    Import: ("import", load),
    Evict: ("evict", lambda house, thing, who: Evict(house.locations[thing], 60, who)),
    Readmit: ("evict", readmit),
}


def exported(house: House, who: Identity) -> Export:
    return Export(tuple(house.locations.values()), (), who)


def evicted(house: House, who: Identity) -> Evictions:
    for location in house.locations.values():
        house.ask(Evict(location, 60, OPERATOR))
    return Evictions(who)


# Questions about a range.
RANGE: dict[type, tuple[str, Callable[[House, Identity], Any]]] = {
    Lookup: ("look-up", lambda house, who: Lookup(Kind.ENDPOINTS, (), structured=True, who=who)),
    Locations: ("export", lambda house, who: Locations(who)),
    Export: ("export", exported),
    Evictions: ("evict", evicted),
}
# Nobody outside puts these: a route asks the policy before it does, or the node's own process.
INSIDE = {whole.Status, whole.Follow, whole.Review}
# The tokens' own organ decides these: tests/identity/test_tokens.py.
OF_TOKENS = set(get_args(token.TokenQuestion))


def names(house: House, outcome: Any) -> frozenset[str] | None:
    by_location = {location: name for name, location in house.locations.items()}
    match outcome:
        case Refused():
            return None
        case Located(locations=locations):
            return frozenset(by_location[location] for location in locations)
        case Found(entries=entries) | Page(entries=entries) | Evicted(evictions=entries):
            return frozenset(entry.ep for entry in entries)  # type: ignore[union-attr]
        case _:
            raise AssertionError(outcome)


def test_every_question_and_every_action_has_a_row() -> None:
    assert set(get_args(Question)) == {*ONE, *RANGE}
    asked = {each for each in vars(whole).values() if isinstance(each, type) and each.__module__ == whole.__name__}
    assert asked - {whole.Followed, whole.Report} == INSIDE
    assert {action.value for action in Action} == set(RIGHTS)
    assert len(OF_TOKENS) == 6


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("kind", ONE)
def test_a_question_about_one_thing(kind: type, asker: str) -> None:
    action, ask = ONE[kind]
    for thing in THINGS:
        house = House()
        outcome = house.ask(ask(house, thing, ASKERS[asker]))
        assert isinstance(outcome, Refused) != (thing in may(asker, action)), (thing, outcome)


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("kind", RANGE)
def test_a_question_about_a_range(kind: type, asker: str) -> None:
    action, ask = RANGE[kind]
    house = House()
    assert names(house, house.ask(ask(house, ASKERS[asker]))) == (may(asker, action) or None)


# CoAP: a method at a resource, and what it is to the policy; what is not here is not done for anybody.
COAP: dict[tuple[str, Code], str] = {
    ("/.well-known/core", Code.GET): "discover",
    ("/.well-known/core", Code.POST): "register",
    ("/.well-known/rd", Code.POST): "register",
    ("/rd", Code.POST): "register",
    ("/rd-group", Code.POST): "register",
    ("/reg/{}", Code.GET): "read",
    ("/reg/{}", Code.POST): "renew",
    ("/reg/{}", Code.DELETE): "remove",
    ("/rd-lookup/ep", Code.GET): "look-up",
    ("/rd-lookup/res", Code.GET): "look-up",
    ("/rd-lookup/gp", Code.GET): "groups",
}
METHODS: list[Any] = [Code.GET, Code.POST, Code.PUT, Code.DELETE, 5, 6, 7]  # and FETCH, PATCH, iPATCH (RFC 8132)
REFUSED = {Code.FORBIDDEN, Code.NOT_FOUND}


def test_every_resource_has_a_row_and_no_other_method_does_anything() -> None:
    assert {link.href for link in interface.RESOURCES} <= {path for path, _ in COAP}
    house = House()
    device = house.device("operator")
    for path in {path for path, _ in COAP} | {"/", "/v1", "/reg", "/status", "/rd-lookup", "/.well-known"}:
        for method in METHODS:
            if (path, method) not in COAP:
                answer = device.ask(method, path.format(house.locations["lamp"]))
                assert answer.code in (Code.METHOD_NOT_ALLOWED, Code.NOT_FOUND), (path, method)


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize(
    ("path", "method"), [row for row in COAP if COAP[row] not in ("look-up", "groups", "discover")]
)
def test_a_method_at_one_thing_over_coap(path: str, method: Code, asker: str) -> None:
    action = COAP[path, method]
    for thing in THINGS:
        house = House()
        device = house.device(asker)
        name = f"ep={thing}" if path != "/rd-group" else f"gp={thing}"
        if path == "/rd-group":
            house.ask(Remove(house.locations[thing], who=OPERATOR))
        uri = path.format(house.locations[thing]) if "{}" in path else f"{path}?{name}&d={SECTORS[thing]}"
        device.put(device.message(method, uri))
        (answer,) = device.inbox
        allowed = thing in may(asker, action)
        if path == "/rd-group" and asker == "impostor":
            allowed = thing == "lamp"  # its name is free: the lamp is gone
        fetched = answer.code == Code.GET  # a simple registration: the directory asks back
        assert (fetched or answer.code < Code.BAD_REQUEST) == allowed, (thing, answer)
        assert allowed or answer.code in REFUSED


@pytest.mark.parametrize("asker", ASKERS)
def test_discovery_over_coap(asker: str) -> None:
    answer = House().device(asker).ask(Code.GET, "/.well-known/core")
    assert answer.code == (Code.CONTENT if may(asker, "discover") else Code.FORBIDDEN)


@pytest.mark.parametrize("asker", ASKERS)
def test_groups_over_coap_are_for_those_who_see_all(asker: str) -> None:
    for uri in ("/rd-lookup/gp", "/rd-lookup/ep?gp=*", "/rd-lookup/res?gp=x"):
        answer = House().device(asker).ask(Code.GET, uri)
        assert answer.code == (Code.CONTENT if may(asker, "look-up") == THINGS else Code.FORBIDDEN)


def shown(answer: Message) -> frozenset[str] | None:
    if answer.code != Code.CONTENT:
        assert answer.code == Code.FORBIDDEN
        return None
    return frozenset(name for name in SECTOR_OF if name.encode() in answer.payload)


RANGES: dict[str, tuple[str, Callable[[str, str], bool]]] = {
    "exact": ("ep={}", lambda name, thing: name == thing),
    "prefix": ("ep={:.2}*", lambda name, thing: name[:2] == thing[:2]),
    "open": ("rt=thing", lambda name, thing: True),
    "everything": ("", lambda name, thing: True),
    "by sector": ("d=mine", lambda name, thing: SECTOR_OF[name] == "mine"),
    "page": ("count=9&page=0", lambda name, thing: True),
}


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("path", [path for path, _ in COAP if COAP.get((path, Code.GET)) == "look-up"])
@pytest.mark.parametrize("form", RANGES)
def test_a_lookup_over_coap_and_from_memory(form: str, path: str, asker: str) -> None:
    """Each is asked again after it was asked by one who sees all, and by one who sees a part."""
    query, meets = RANGES[form]
    house = House()
    for thing in THINGS:
        uri = f"{path}?{query.format(thing)}"
        expected = frozenset(name for name in may(asker, "look-up") if meets(name, thing))
        for before in (None, "operator", "tenant", "operator", asker):
            if before is not None:
                house.device(before).ask(Code.GET, uri)
            told = shown(house.device(asker).ask(Code.GET, uri))
            assert told == (expected if may(asker, "look-up") else None), (before, uri)


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("path", ["/rd-lookup/ep", "/rd-lookup/res"])
def test_an_observed_lookup_over_coap(path: str, asker: str) -> None:
    """To observe is to watch all that one sees; news are of that alone."""
    house = House()
    device = house.device(asker)
    first = device.ask(Code.GET, f"{path}?rt=thing", more=OBSERVE)
    sees, watches = may(asker, "look-up"), may(asker, "watch")
    observes = bool(sees) and sees == watches
    assert (Option.OBSERVE in dict(first.options)) == observes
    told = set()
    for name in ("safe", "door", "lamp"):
        device.inbox.clear()
        changed = Register(name, SECTORS[name], 600, "coap://moved", "", (), b"</moved>;rt=thing", "", OPERATOR)
        house.ask(changed)
        house.node.advance(3)
        for news in device.inbox:
            told.add(name)
            assert b"moved" in news.payload
            assert not any(hidden.encode() in news.payload for hidden in THINGS - watches)
    assert told == (watches if observes else set())
