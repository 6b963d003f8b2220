"""The index agrees with a plain list, whatever happens."""

from dataclasses import dataclass
from random import Random
from typing import Final

import pytest
from carried import Carried, register, renew

from waypost.coap.links import Attributes, Link, parse
from waypost.rd.engine import Settings
from waypost.rd.questions import Found, Kind, Lookup, Registered, Remove

CHANGES: Final = 45_000
SEEDS: Final = 9
GRACE: Final = 300.0  # seconds
LOCATION: Final = "/reg/"
TYPES: Final = ("t", "temp", "temperature", "hum", "t hum", "light core.a", "core.rd-x")
TARGETS: Final = ("/t", "/t/1", "/h", "/l", "coap://far/t", "coap://h1/t", "urn:x")
ANCHORS: Final = ("/t", "coap://far/y", "urn:y")
QUERIES: Final = (
    *("ep=n1", "ep=n1*", "ep=*", "ep=n2", "ep", "d=x", "d=*", "d=none", "rt=t", "rt=t*", "rt=temperature", "rt=hum"),
    *("rt=core.rd-ep", "rt=core*", "rt=*", "if=s", "if=*", "if", "obs", "obs=", "et=a", "et=b", "et=*", "sz=1", "x=y"),
    *("href=coap://h1/t", "href=coap://h1/*", "href=coap://h*", "href=coap:*", "href=coap://far/t", "href=urn:x"),
    *("href=/*", "href=/reg/*", "href", "anchor=coap://h2/t", "anchor=coap://far/y", "anchor=*", "anchor=urn:*"),
    *("base=coap://h1", "base=coap://h*", "base=coap://h3/p", "href=coap://h3/t", "href=coap://h3*", "ep=nobody"),
)


@dataclass
class Listed:
    """What a registration said, as a list would keep it."""

    ep: str
    d: str | None
    lt: int
    base: str
    attributes: Attributes
    links: list[Link]
    location: str
    expires: float


class PlainList:
    """Lookups as the specification words them: try everything."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str | None], Listed] = {}

    def find(self, kind: Kind, query: tuple[str, ...], now: float) -> list[object]:
        live = [item for item in self.items.values() if item.expires > now]
        if kind is Kind.ENDPOINTS:
            return [
                (item.ep, item.d, item.base)
                for item in live
                if all(
                    endpoint_matches(item, one, kind) or any(link_matches(item, link, one) for link in item.links)
                    for one in query
                )
            ]
        return [
            resolved(item, link)
            for item in live
            for link in item.links
            if all(endpoint_matches(item, one, kind) or link_matches(item, link, one) for one in query)
        ]


def uri(item: Listed, reference: str) -> str:
    return item.base.removesuffix("/p") + reference if reference.startswith("/") else reference


def resolved(item: Listed, link: Link) -> Link:
    return Link(
        uri(item, link.href),
        tuple((name, uri(item, value or "") if name == "anchor" else value) for name, value in link.attributes),
    )


def link_matches(item: Listed, link: Link, one: str) -> bool:
    shown = resolved(item, link)
    return matches((("href", shown.href), *shown.attributes), one)


def endpoint_matches(item: Listed, one: str, kind: Kind) -> bool:
    own: Attributes = (("ep", item.ep), ("base", item.base), ("href", LOCATION + item.location))
    if item.d is not None:
        own = (*own, ("d", item.d))
    if kind is Kind.ENDPOINTS:
        own = (*own, ("rt", "core.rd-ep"))
    return matches(own + item.attributes, one)


def matches(attributes: Attributes, one: str) -> bool:
    wanted, equals, text = one.partition("=")
    for name, value in attributes:
        items = (value or "").split(" ") if name in ("rt", "if", "rel") else [value or ""]
        if name == wanted and (
            not equals or any(item.startswith(text[:-1]) if text.endswith("*") else item == text for item in items)
        ):
            return True
    return False


def some_links(rng: Random) -> list[Link]:
    links: dict[Link, None] = {}
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        attributes: list[tuple[str, str | None]] = [("rt", rng.choice(TYPES))]
        if rng.random() < 0.4:
            attributes.append(("if", rng.choice(("s", "a s"))))
        if rng.random() < 0.3:
            attributes.append(("obs", None))
        if rng.random() < 0.2:
            attributes.append(("anchor", rng.choice(ANCHORS)))
        if rng.random() < 0.2:
            attributes.append(("sz", str(rng.randrange(30))))
        links[Link(rng.choice(TARGETS), tuple(attributes))] = None
    return list(links)


def text_of(links: list[Link]) -> bytes:
    return ",".join(
        f"<{link.href}>"
        + "".join(f";{name}" if value is None else f';{name}="{value}"' for name, value in link.attributes)
        for link in links
    ).encode()


def change(rng: Random, carried: Carried, plain: PlainList, now: float) -> None:
    known = list(plain.items.values())
    chance = rng.random()
    if chance < 0.55 or not known:
        ep, d = f"n{rng.randrange(40)}", rng.choice((None, None, "x", "y"))
        lt, base, links = (
            rng.choice((10, 60, 400)),
            rng.choice(("coap://h1", "coap://h2", "coap://h3/p")),
            some_links(rng),
        )
        attributes: Attributes = rng.choice(((), (("et", "a"),), (("et", "a"), ("et", "b")), (("rt2", None),)))
        old = plain.items.get((ep, d))
        if old is not None and rng.random() < 0.3:
            base, links, attributes = old.base, old.links, old.attributes
        outcome = carried.ask(register(ep, text_of(links), d=d, lt=lt, base=base, attributes=attributes), now)
        assert isinstance(outcome, Registered)
        assert outcome.created == (old is None)
        assert old is None or old.location == outcome.location
        plain.items[ep, d] = Listed(ep, d, lt, base, attributes, links, outcome.location, now + lt)
    elif chance < 0.85:
        item = rng.choice(known)
        if rng.random() < 0.3:
            item.base = rng.choice(("coap://h1", "coap://h2"))
            carried.ask(renew(item.location, base=item.base), now)
        else:
            carried.ask(renew(item.location), now)
        item.expires = now + item.lt
    else:
        item = rng.choice(known)
        carried.ask(Remove(item.location), now)
        del plain.items[item.ep, item.d]


def compare(rng: Random, carried: Carried, plain: PlainList, now: float) -> None:
    kind = rng.choice((Kind.ENDPOINTS, Kind.RESOURCES))
    query = tuple(rng.sample(QUERIES, rng.choice((0, 1, 1, 1, 2, 2, 3))))
    if plain.items and rng.random() < 0.1:
        query = (*query, f"href={LOCATION}{rng.choice(list(plain.items.values())).location}")
    expected = plain.find(kind, query, now)
    found = shown(carried, kind, query, now)
    assert sorted(map(repr, found)) == sorted(map(repr, expected)), (kind, query)
    if rng.random() < 0.2:
        count = rng.randint(1, 7)
        pages = [shown(carried, kind, query, now, count, page) for page in range(len(expected) // count + 1)]
        assert [one for page in pages for one in page] == found, (kind, query, count)


def remember(rng: Random, said: list[tuple[Lookup, Found]], carried: Carried, now: float) -> None:
    """An answer that claims to be good until its `fresh` has ended."""
    criteria = tuple(tuple(one.split("=")) for one in rng.sample(QUERIES, rng.choice((1, 1, 2))) if "=" in one)
    lookup = Lookup(rng.choice((Kind.ENDPOINTS, Kind.RESOURCES)), tuple((name, text) for name, text in criteria))
    found = carried.ask(lookup, now)
    assert isinstance(found, Found)
    if found.fresh is not None:
        said.append((lookup, found))
    if found.others is not None:
        ((name, _),) = lookup.criteria
        for value in (text for other, _, text in (one.partition("=") for one in QUERIES) if other == name):
            body = found.others(value)
            if body is not None:
                searched = carried.ask(Lookup(lookup.kind, ((name, value),), count=100), now)
                assert isinstance(searched, Found)
                assert searched.body == body, (name, value)


def repeat(said: list[tuple[Lookup, Found]], carried: Carried, now: float) -> None:
    """What is still fresh is what a search finds."""
    said[:] = [(lookup, found) for lookup, found in said if found.fresh is not None and not found.fresh.ended]
    for lookup, found in said:
        assert carried.ask(lookup, now) == found, lookup


def shown(
    carried: Carried, kind: Kind, query: tuple[str, ...], now: float, count: int | None = None, page: int = 0
) -> list[object]:
    criteria = tuple((name, text if equals else None) for name, equals, text in (one.partition("=") for one in query))
    outcome = carried.ask(Lookup(kind, criteria, page, count), now)
    assert isinstance(outcome, Found), outcome
    links = parse(outcome.body)
    if kind is Kind.RESOURCES:
        return list(links)
    return [
        (attributes["ep"], attributes.get("d"), attributes["base"])
        for attributes in (dict(link.attributes) for link in links)
    ]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_index_agrees_with_a_plain_list(seed: int) -> None:
    """RFC 9176, 6.2: 45,000 random changes in all, and what is found between them."""
    rng = Random(seed)
    carried, plain, now = Carried(Settings(registrations_per_second=0, grace_s=GRACE)), PlainList(), 0.0
    said: list[tuple[Lookup, Found]] = []
    for step in range(CHANGES // SEEDS):
        now += rng.choice((0.0, 0.5, 1.0, 2.0)) if step % 500 else 500.0
        carried.run(now)
        if step % 20 == 10:
            repeat(said, carried, now)
        plain.items = {key: item for key, item in plain.items.items() if item.expires + GRACE > now}
        change(rng, carried, plain, now)
        if step % 4 == 0:
            compare(rng, carried, plain, now)
            remember(rng, said, carried, now)
        if step % 1000 == 999:
            carried.directory.check_all()
    assert carried.directory.counters()["expired"] > 10
