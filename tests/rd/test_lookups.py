"""Lookups, rule by rule (RFC 9176, 6)."""

import pytest
from carried import Carried, register, renew

from waypost.rd.lookup import ENTRIES_MAX, OCTETS_MAX
from waypost.rd.questions import (
    Busy,
    Entry,
    Found,
    Kind,
    LinkEntry,
    Lookup,
    Reason,
    Refused,
    Remove,
)
from waypost.rd.reading import SEARCHES_MAX

EP, RES = Kind.ENDPOINTS, Kind.RESOURCES


@pytest.fixture
def house() -> Carried:
    """Three endpoints, as in RFC 9176, 10.1."""
    carried = Carried()
    carried.ask(
        register(
            "lamp",
            b'</l>;rt="light core.x";if="actuator",</t>;rt="temperature";if="sensor";obs',
            d="up",
            base="coap://[2001:db8::1]",
            attributes=(("et", "tag:a"), ("et", "tag:b")),
        )
    )
    carried.ask(
        register("meter", b'</t>;rt="temperature";if="sensor",</p>;rt="power"', d="down", base="coap://h2/path")
    )
    carried.ask(
        register("proxy", b'<coap://[2001:db8::7]/t>;rt="temperature";anchor="/room",</x>;anchor="coap://far/y"')
    )
    return carried


def test_all_criteria_must_match(house: Carried) -> None:
    """RFC 9176, 6.2; L1: where others answer for the last criterion only."""
    assert house.find(RES, "ep=lamp", "rt=temperature") == house.find(RES, "rt=temperature", "ep=lamp")
    assert house.find(RES, "ep=lamp", "rt=temperature") == ['<coap://[2001:db8::1]/t>;rt="temperature";if="sensor";obs']
    assert house.names("rt=light", "rt=temperature") == ["lamp"]
    assert house.find(RES, "rt=light", "rt=temperature") == []
    assert house.names("ep=lamp", "ep=meter") == []


@pytest.mark.parametrize(
    "criteria", [(("ep", "lamp"), ("", "x")), (("ep", "lamp"), ("rt", "x" * 2_000)), (("ep", "lamp"),) * 17]
)
def test_what_cannot_be_is_refused_beside_a_name_that_is_held(
    house: Carried, criteria: tuple[tuple[str, str | None], ...]
) -> None:
    assert isinstance(house.ask(Lookup(RES, criteria)), Refused)


def test_an_answer_to_several_criteria_ends_with_what_it_lists(house: Carried) -> None:
    found = house.ask(Lookup(RES, (("ep", "lamp"), ("rt", "power"))))
    assert isinstance(found, Found)
    assert (found.body, found.fresh is not None and found.fresh.ended) == (b"", False)
    house.ask(register("lamp", b'</p>;rt="power"', d="up"))
    assert found.fresh is not None
    assert found.fresh.ended


def test_a_value_matches_exactly_or_by_prefix(house: Carried) -> None:
    """RFC 9176, 6.2; L1."""
    assert house.names("ep=lam") == []
    assert house.names("ep=lam*") == ["lamp"]
    assert house.names("ep=*") == ["lamp", "meter", "proxy"]
    assert house.names("d=*") == ["meter", "lamp"]  # by value
    assert len(house.find(RES, "rt=*")) == 5
    assert house.names("base=coap://h*") == ["meter"]


def test_lists_match_by_any_of_their_items(house: Carried) -> None:
    """RFC 9176, 6.2; RFC 6690, 3.1; L2."""
    assert house.names("rt=light") == house.names("rt=core.x") == house.names("rt=core.x*") == ["lamp"]
    assert house.names("rt=light core.x") == []


def test_a_repeated_attribute_matches_by_any_of_its_values_and_is_not_split(house: Carried) -> None:
    """RFC 9176, 6.2: et; L2."""
    assert house.names("et=tag:a") == house.names("et=tag:b") == house.names("et=tag*") == ["lamp"]
    house.ask(register("odd", b"", attributes=(("et", "x y"),)))
    assert house.names("et=x") == []
    assert house.names("et=x y") == ["odd"]


def test_links_match_by_their_endpoint_and_endpoints_by_their_links(house: Carried) -> None:
    """RFC 9176, 6.2; L3."""
    assert house.find(RES, "d=down") == [
        '<coap://h2/t>;rt="temperature";if="sensor"',
        '<coap://h2/p>;rt="power"',
    ]
    assert house.names("if=sensor") == ["lamp", "meter"]
    assert house.names("rt=temperature", "d=up") == ["lamp"]
    assert house.names("obs") == ["lamp"]


def test_nothing_is_listed_twice(house: Carried) -> None:
    house.ask(register("twin", b'</1>;rt="a1 a2",</2>;rt="a2 a3"', attributes=(("rel", "a1 a9"),)))
    assert house.names("rt=a*") == ["twin"]
    assert len(house.find(RES, "rt=a*")) == 2
    house.ask(register("both", b"</1>;foo=x,</2>;foo=x,</2>;foo=x,</3>", attributes=(("foo", "x"), ("foo", "xx"))))
    assert house.names("foo=x") == house.names("foo=x*") == ["both"]
    assert len(house.find(RES, "foo=x")) == len(house.find(RES, "foo=*")) == 3


def test_href_finds_resolved_targets_in_both_lookups(house: Carried) -> None:
    """RFC 9176, 6.2, href; L4."""
    assert house.names("href=coap://[2001:db8::1]/t") == ["lamp"]
    assert house.find(RES, "href=coap://h2/p") == ['<coap://h2/p>;rt="power"']
    assert house.find(RES, "href=coap://h2") == house.find(RES, "href=/t") == []
    assert len(house.find(RES, "href=coap://h2/*")) == 2
    assert len(house.find(RES, "href=coap://[2001:db8::*")) == 4
    assert len(house.find(RES, "href=coap:*")) == 6
    assert house.names("href=coap://[2001:db8::7]/*") == ["proxy"]
    assert house.names("href=coap://[2001:db8::7]/t", "rt=temperature") == ["proxy"]


def test_href_finds_registrations_by_their_path(house: Carried) -> None:
    """RFC 9176, 6.2, href; L4."""
    location = house.location(house.ask(register("lamp2", b"</only>")))
    assert house.names(f"href=/reg/{location}") == ["lamp2"]
    assert house.find(RES, f"href=/reg/{location}") == ["<coap://[2001:db8::1]/only>"]
    assert house.names("href=/*") == house.names("href=/reg/*") == ["lamp", "meter", "proxy", "lamp2"]
    assert len(house.find(RES, "href=/*")) == 7
    assert house.names("href=/reg/nothing") == house.names("href=/else*") == []


def test_anchors_are_searched_as_uris(house: Carried) -> None:
    """RFC 9176, 6.2, anchor; L4."""
    assert house.names("anchor=coap://[2001:db8::1]/room") == ["proxy"]
    assert house.find(RES, "anchor=coap://far/y") == ['<coap://[2001:db8::1]/x>;anchor="coap://far/y"']
    assert len(house.find(RES, "anchor=coap:*")) == 2
    assert house.names("anchor=/room") == []


def test_a_resource_lookup_shows_absolute_targets_and_given_anchors(house: Carried) -> None:
    """RFC 9176, 6.1; L5."""
    assert house.find(RES, "ep=proxy") == [
        '<coap://[2001:db8::7]/t>;rt="temperature";anchor="coap://[2001:db8::1]/room"',
        '<coap://[2001:db8::1]/x>;anchor="coap://far/y"',
    ]


def test_an_endpoint_lookup_shows_everything_but_the_lifetime(house: Carried) -> None:
    """RFC 9176, 6.4; L5."""
    (line,) = house.find(EP, "ep=lamp")
    assert line.startswith("</reg/")
    assert line.partition(">")[2] == (
        ';ep="lamp";d="up";base="coap://[2001:db8::1]";et="tag:a";et="tag:b";rt="core.rd-ep"'
    )


def test_every_registration_has_the_resource_type_of_registrations(house: Carried) -> None:
    """RFC 9176, 6.4; L5."""
    assert house.names("rt=core.rd-ep") == house.names("rt=core.rd*") == ["lamp", "meter", "proxy"]
    assert house.names("rt=core.rd-ep", "if=sensor") == ["lamp", "meter"]
    assert house.find(RES, "rt=core.rd-ep") == []


def test_pages_follow_each_other_and_end(house: Carried) -> None:
    """RFC 9176, 6.2, page and count; L6."""
    everything = house.find(RES)
    pages = [house.find(RES, count=2, page=page) for page in range(4)]
    assert pages[0] + pages[1] + pages[2] == everything
    assert pages[3] == []
    first = house.ask(Lookup(EP, (), 0, 2, structured=True))
    last = house.ask(Lookup(EP, (), 1, 2, structured=True))
    assert isinstance(first, Found)
    assert isinstance(last, Found)
    assert (len(first.entries), first.more, len(last.entries), last.more) == (2, True, 1, False)


def test_nothing_found_is_an_empty_list(house: Carried) -> None:
    """RFC 9176, 6.1; L7."""
    assert house.ask(Lookup(RES, (("rt", "none"),))) == Found(b"")


def test_an_empty_value_is_found_as_such_and_a_bare_name_by_any_value(house: Carried) -> None:
    house.ask(register("e", b"</a>;x,</b>;x=1", attributes=(("z", ""),)))
    assert house.find(RES, "x=") == ["<coap://[2001:db8::1]/a>;x"]
    assert len(house.find(RES, "x")) == len(house.find(RES, "x=*")) == 2
    assert house.names("z") == house.names("z=") == ["e"]


def test_structured_answers_say_the_same(house: Carried) -> None:
    endpoints = house.ask(Lookup(EP, (("ep", "lamp"),), structured=True), 1.0)
    resources = house.ask(Lookup(RES, (("ep", "proxy"),), structured=True))
    assert isinstance(endpoints, Found)
    assert isinstance(resources, Found)
    (lamp,) = endpoints.entries
    assert isinstance(lamp, Entry)
    assert (lamp.ep, lamp.d, lamp.lt, lamp.expires_in, lamp.links) == ("lamp", "up", 100, 99.0, None)
    assert resources.entries == (
        LinkEntry("coap://[2001:db8::7]/t", "coap://[2001:db8::1]/room", (("rt", "temperature"),)),
        LinkEntry("coap://[2001:db8::1]/x", "coap://far/y", ()),
    )


def test_a_large_lookup_goes_on_in_slices_while_things_change() -> None:
    carried = Carried()
    locations = [carried.location(carried.ask(register(f"n{i}", b'</t>;rt="t"'))) for i in range(1200)]
    id = carried.put(Lookup(EP, (("rt", "t"), ("ep", "n*"))))
    assert id not in carried.outcomes
    assert carried.directory.next_timer() == 0.0
    carried.directory.handle_timer(0.0)
    carried.ask(Remove(locations[-1]))
    carried.ask(renew(locations[-2], base="coap://moved"))
    carried.ask(register("late", b'</t>;rt="t"'))
    carried.run(0.0)
    found = carried.outcomes[id]
    assert isinstance(found, Found)
    lines = found.body.decode().split(",")
    assert len(lines) == 1199
    assert sum('base="coap://moved"' in line for line in lines) == 1


def test_an_answer_over_the_limit_is_refused_with_advice() -> None:
    carried = Carried()
    link = b'</a>;title="' + b"x" * 1000 + b'"'
    for i in range(OCTETS_MAX // 1000 + 1):
        carried.put(register(f"n{i}", link))
        carried.settle()
    outcome = carried.ask(Lookup(RES, ()))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.TOO_LARGE
    assert "count" in outcome.detail
    assert len(carried.find(RES, count=10, page=3)) == 10
    many = b",".join(b"</%d>" % i for i in range(1000))
    for i in range(ENTRIES_MAX // 1000):
        carried.put(register(f"m{i}", many))
        carried.settle()
    assert isinstance(carried.ask(Lookup(RES, (), structured=True)), Refused)


def test_only_so_many_large_lookups_run_at_a_time() -> None:
    carried = Carried()
    for i in range(600):
        carried.ask(register(f"n{i}", b""))
    ids = [carried.put(Lookup(EP, ())) for _ in range(SEARCHES_MAX + 1)]
    assert isinstance(carried.outcomes[ids[-1]], Busy)
    carried.run(0.0)
    assert all(isinstance(carried.outcomes[id], Found) for id in ids[:-1])
