"""Registrations read by an export, and taken from one (design, Operators)."""

from dataclasses import replace
from itertools import islice

import pytest
from carried import UNLIMITED, WALL_MS, Carried, register, renew
from hypothesis import given
from hypothesis import strategies as st

from waypost.identity.policy import default
from waypost.rd.questions import (
    Busy,
    Export,
    Exported,
    Import,
    Imported,
    Kept,
    Located,
    Locations,
    Outcome,
    Page,
    Reason,
    Refused,
    Registered,
    Remove,
    Renewed,
)

ID = "6f1d3c62-6a3b-4f6e-9d53-0f5f0f4b6c11"


def export(carried: Carried, *criteria: tuple[str, str], now: float = 0.0) -> list[Exported]:
    located = carried.ask(Locations(), now)
    assert isinstance(located, Located)
    page = carried.ask(Export(located.locations, criteria), now)
    assert isinstance(page, Page)
    return list(page.entries)


def load(carried: Carried, entry: Exported, now: float = 0.0) -> Outcome:
    base = entry.base if entry.explicit else None
    wanted = replace(
        register(entry.ep, entry.links.encode(), d=entry.d, lt=entry.lt, base=base, sender=entry.base),
        attributes=entry.attributes,
        source="",
    )
    wanted = replace(wanted, members=entry.members)
    return carried.ask(Import(wanted, entry.location, entry.expires_in, entry.owner), now)


def test_another_node_holds_the_same_after_an_import() -> None:
    old, new = Carried(), Carried(seed=2)
    old.ask(register("a", d="cellar", attributes=(("et", "lamp"),), base="coap://[2001:db8::9]"))
    old.ask(register("b"))
    exported = export(old, now=30.0)
    assert [entry.expires_in for entry in exported] == [70.0, 70.0]
    for entry in exported:
        assert load(new, entry, 5.0) == Imported(entry.location)
    assert export(new, now=5.0) == exported
    new.run(75.0)
    assert new.names(now=75.0) == []


def test_a_device_renews_at_the_new_node_as_if_nothing_had_happened() -> None:
    """RFC 9176, 5.3.1: the location is all it knows."""
    old, new = Carried(), Carried(seed=2)
    location = old.location(old.ask(register("a")))
    for entry in export(old):
        load(new, entry)
    assert new.ask(renew(location, sender="coap://[2001:db8::2]"), 50.0) == Renewed()
    assert [entry.base for entry in export(new, now=50.0)] == ["coap://[2001:db8::2]"]  # it was implicit, and is


def test_a_group_keeps_its_members_and_a_name_its_owner() -> None:
    """Draft -12, 6.1; RFC 9176, 7.5."""
    old, new = Carried(policy=default()), Carried(seed=2, policy=default())
    member = old.location(old.ask(register("lamp", source="192.0.2.1")))
    group = register("lights", b"", base="coap://[ff05::1]", attributes=(("et", "core.rd-group"),), source="192.0.2.1")
    old.ask(replace(group, members=(member,)))
    assert [entry.ep for entry in export(old, ("gp", "lights"))] == ["lamp"]
    exported = export(old)
    assert {entry.owner for entry in exported} == {"source:192.0.2.1"}
    for entry in exported:
        load(new, entry)
    assert export(new) == exported
    assert isinstance(new.ask(register("lamp", source="192.0.2.2")), Refused)
    assert isinstance(new.ask(register("lamp", source="192.0.2.1")), Registered)


def test_a_link_local_base_means_nothing_elsewhere() -> None:
    """RFC 9176, 5."""
    assert carried_refusal(Import(register("a", base="coap://[fe80::1]"), ID, 50.0)) is Reason.BAD_REQUEST


def test_what_was_imported_is_there_after_a_restart_for_as_long_as_was_left() -> None:
    new = Carried()
    new.ask(Import(register("a", lt=100), ID, 40.0))
    again = Carried(UNLIMITED, new.rows, wall_ms=WALL_MS + 39_000)
    assert again.names() == ["a"]
    again = Carried(UNLIMITED, new.rows, wall_ms=WALL_MS + 91_000)  # what was left, and half a lifetime of slack
    assert again.names() == []


def test_importing_twice_is_importing_once() -> None:
    carried = Carried()
    assert carried.ask(Import(register("a"), ID, 50.0)) == Imported(ID)
    assert carried.ask(Import(register("a", b"</other>"), ID, 90.0)) == Kept(ID)
    assert [entry.expires_in for entry in export(carried)] == [50.0]


def test_a_name_that_is_registered_here_stays_as_it_is() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register("a", b"</new>")))
    assert carried.ask(Import(register("a", b"</old>"), ID, 50.0)) == Kept(location)
    assert carried.names() == ["a"]


def test_a_hidden_one_gives_way_and_its_location_too() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register("a")))
    carried.run(100.0)
    assert carried.ask(Import(register("a"), ID, 50.0), 100.0) == Imported(ID)
    assert isinstance(carried.ask(renew(location), 100.0), Refused)


def test_a_location_of_another_is_not_taken_from_it() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register("a")))
    outcome = carried.ask(Import(register("b"), location, 50.0))
    assert isinstance(outcome, Imported)
    assert outcome.location != location
    assert sorted(carried.names()) == ["a", "b"]


def test_two_that_want_one_location_at_once_do_not_share_it() -> None:
    carried = Carried()
    first, second = (carried.put(Import(register(ep), ID, 50.0)) for ep in ("a", "b"))
    carried.settle()
    assert carried.outcomes[first] == Imported(ID)
    assert carried.outcomes[second] != Imported(ID)
    assert sorted(carried.names()) == ["a", "b"]


@pytest.mark.parametrize("location", ["", "a", ID.upper(), "../" + ID, ID[:-1] + "é"])
def test_a_location_that_is_no_uuid_is_refused(location: str) -> None:
    assert carried_refusal(Import(register("a"), location, 50.0)) is Reason.BAD_REQUEST


def test_a_member_that_is_no_uuid_is_refused() -> None:
    assert carried_refusal(Import(replace(register("a"), members=("../x",)), ID, 50.0)) is Reason.BAD_REQUEST


@pytest.mark.parametrize("expires_in", [0.0, -1.0, float("nan"), float("-inf")])
def test_what_has_expired_is_refused(expires_in: float) -> None:
    assert carried_refusal(Import(register("a"), ID, expires_in)) is Reason.BAD_REQUEST


def test_what_lasts_longer_than_its_lifetime_is_cut_to_it() -> None:
    carried = Carried()
    carried.ask(Import(register("a", lt=100), ID, float("inf")))
    assert [entry.expires_in for entry in export(carried)] == [100.0]


def test_a_rehearsal_changes_nothing() -> None:
    carried = Carried()
    assert carried.ask(Import(register("a"), ID, 50.0, dry=True)) == Imported(ID)
    assert carried.names() == []
    assert carried.announced == []


def test_an_import_is_not_held_to_the_quota_but_to_the_limit_of_all() -> None:
    carried = Carried(replace(UNLIMITED, registrations_per_second=1, burst=1, registrations_max=3))
    for ep in ("a", "b", "c"):
        assert isinstance(carried.ask(Import(replace(register(ep), source=""), None, 50.0)), Imported)
    assert isinstance(carried.ask(Import(register("d"), None, 50.0)), Busy)


def test_an_export_shows_what_meets_all_criteria() -> None:
    carried = Carried()
    carried.ask(register("a", b"</t>;rt=lamp", attributes=(("floor", "1"),)))
    carried.ask(register("b", b"</t>;rt=lamp", attributes=(("floor", "2"),)))
    carried.ask(register("c", b"</t>;rt=door", attributes=(("floor", "1"),)))
    assert [entry.ep for entry in export(carried, ("rt", "la*"), ("floor", "1"))] == ["a"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=30), st.integers(0, 30))
def test_nothing_comes_twice_and_nothing_that_stays_is_missing(steps: list[tuple[str, bool]], start: int) -> None:
    """Names come and go while the pages are read, one registration each."""
    carried = Carried()
    locations: dict[str, str] = {}

    def take(ep: str, remove: bool) -> None:
        if remove:
            carried.ask(Remove(locations.pop(ep, "")))
        else:
            registered = carried.ask(register(ep))
            assert isinstance(registered, Registered)
            locations[ep] = registered.location

    for step in steps[:start]:
        take(*step)
    staying = dict(locations)
    located = carried.ask(Locations())
    assert isinstance(located, Located)
    read: list[Exported] = []
    coming = iter(steps[start:])
    for location in located.locations:
        page = carried.ask(Export((location,)))
        assert isinstance(page, Page)
        read += page.entries
        for ep, remove in islice(coming, 1):
            take(ep, remove)
            if remove:
                staying.pop(ep, None)
    names = [entry.ep for entry in read]
    assert len(names) == len(set(names))
    assert staying.keys() <= set(names)


def carried_refusal(question: Import) -> Reason:
    outcome = Carried().ask(question)
    assert isinstance(outcome, Refused), outcome
    return outcome.reason
