"""What was acknowledged outlasts crashes, busy disks, and clocks that step."""

from random import Random

import pytest
from carried import LINKS, UNLIMITED, WALL_MS, Carried, register, renew

from waypost.errors import StoreError
from waypost.rd.changes import GRACE
from waypost.rd.questions import (
    Busy,
    Entry,
    Found,
    Kind,
    Lookup,
    Read,
    Refused,
    Registered,
    Remove,
    Removed,
    Renewed,
)
from waypost.rd.record import SLACK, decode, key_of
from waypost.rd.registrations import MARGIN
from waypost.record import Change, canonical, parse_canonical
from waypost.record import Kind as ChangeKind

HOUR_MS = 3_600_000


def left(carried: Carried, location: str, now: float) -> float:
    entry = carried.ask(Read(location), now)
    assert isinstance(entry, Entry)
    return entry.expires_in


def test_nothing_is_visible_or_acknowledged_before_it_is_durable() -> None:
    """Design, Contracts, 5."""
    carried = Carried()
    id = carried.put(register())
    assert id not in carried.outcomes
    assert carried.names() == []


def test_registering_twice_at_once_gives_one_location() -> None:
    """RFC 9176, 5: idempotent, also while the first is on its way; R8."""
    carried = Carried()
    first, second = carried.put(register()), carried.put(register(links=b"</new>"))
    assert len(carried.held) == 1
    carried.settle()
    one, two = carried.outcomes[first], carried.outcomes[second]
    assert isinstance(one, Registered)
    assert two == Registered(one.location, created=False)
    assert carried.find(Kind.RESOURCES) == ["<coap://[2001:db8::1]/new>"]


def test_what_concerns_one_name_happens_in_order() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register()))
    ids = [
        carried.put(question)
        for question in (register(links=b"</1>"), Remove(location), renew(location), register(links=b"</2>"))
    ]
    carried.settle()
    again, removed, renewed, anew = (carried.outcomes[id] for id in ids)
    assert again == Registered(location, created=False)
    assert removed == Removed()
    assert isinstance(renewed, Refused)
    assert isinstance(anew, Registered)
    assert anew.created
    assert anew.location != location
    assert carried.find(Kind.RESOURCES) == ["<coap://[2001:db8::1]/2>"]


def test_a_busy_carrier_leaves_nothing_changed() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register()))
    before = dict(carried.directory.gauges())
    for question in (register("b", b"</b>"), register(links=b"</c>"), renew(location, lt=1), Remove(location)):
        id = carried.put(question)
        carried.refuse()
        assert isinstance(carried.outcomes[id], Busy)
        assert dict(carried.directory.gauges()) == before
    assert carried.names("rt=temperature") == ["a"]


def test_what_waits_behind_a_refused_registration_is_judged_without_it() -> None:
    carried = Carried()
    first, second = carried.put(register(links=b"</1>")), carried.put(register(links=b"</2>"))
    carried.refuse()
    carried.settle()
    assert isinstance(carried.outcomes[first], Busy)
    second_outcome = carried.outcomes[second]
    assert isinstance(second_outcome, Registered)
    assert second_outcome.created


def test_a_refresh_needs_the_carrier_only_when_the_slack_is_used_up() -> None:
    """Design, Contracts, 5."""
    carried = Carried()
    location = carried.location(carried.ask(register(lt=1000)))
    (first,) = carried.announced
    assert first.value is not None
    stored = decode(first.key, first.value).expires_ms
    assert stored == WALL_MS + 1_000_000 * (1 + SLACK)
    assert first.expires_ms > stored + GRACE * 1000, "until then an expired registration can be revived"
    last = 1000 * (SLACK - MARGIN)
    for now in (1.0, last):
        assert carried.ask(renew(location), now) == Renewed()
        assert carried.ask(register(lt=1000), now) == Registered(location, created=False)
    assert len(carried.announced) == 1
    carried.ask(renew(location), last + 1)
    assert len(carried.announced) == 2


def test_another_lifetime_is_stored_at_once() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register(lt=1000)))
    carried.ask(renew(location, lt=900), 1.0)
    assert left(Carried(rows=carried.rows), location, 0.0) >= 900


def test_a_crash_loses_no_acknowledged_lifetime() -> None:
    """Design, Contracts, 5; locations are kept."""
    for seed in range(50):
        rng = Random(seed)
        carried, now = Carried(), 0.0
        location = carried.location(carried.ask(register(d="x", lt=100, attributes=(("et", "y"), ("z", None)))))
        for _ in range(rng.randrange(10)):
            now += rng.uniform(0, 70)
            carried.run(now)
            carried.ask(
                renew(location)
                if rng.random() < 0.5
                else register(d="x", lt=100, attributes=(("et", "y"), ("z", None))),
                now,
            )
        down = rng.uniform(0, 50)
        again = Carried(rows=carried.rows, wall_ms=WALL_MS + round((now + down) * 1000), seed=2)
        assert 100 - down - 0.01 <= left(again, location, 0.0) <= 150
        assert again.find(Kind.ENDPOINTS) == carried.find(Kind.ENDPOINTS, now=now)
        assert again.find(Kind.RESOURCES) == carried.find(Kind.RESOURCES, now=now)


def test_an_expired_registration_is_not_resurrected_by_a_restart() -> None:
    """RFC 9176, 5.3; U3."""
    carried = Carried()
    location = carried.location(carried.ask(register(lt=100)))
    carried.run(100.0)
    again = Carried(rows=carried.rows, wall_ms=WALL_MS + 101_000)
    assert again.names() == []
    assert again.ask(renew(location)) == Renewed()
    assert again.names() == ["a"]


def test_what_expired_while_the_node_was_down_is_hidden_or_forgotten() -> None:
    carried = Carried()
    carried.ask(register(lt=100))
    hidden = Carried(rows=dict(carried.rows), wall_ms=WALL_MS + HOUR_MS)
    hidden.run(0.0)
    assert hidden.names() == []
    assert len(hidden.rows) == 1
    forgotten = Carried(rows=dict(carried.rows), wall_ms=WALL_MS + 48 * HOUR_MS)
    forgotten.run(0.0)
    assert not forgotten.rows


def test_a_wall_clock_that_was_wrong_cannot_make_a_lifetime_longer_than_it_ever_was() -> None:
    carried = Carried(wall_ms=WALL_MS + 1000 * HOUR_MS)
    location = carried.location(carried.ask(register(lt=100)))
    assert left(Carried(rows=carried.rows), location, 0.0) == 150.0


@pytest.mark.parametrize("step_ms", [-1000 * HOUR_MS, -10_000, 10_000, 1000 * HOUR_MS])
def test_a_step_of_the_wall_clock_moves_no_deadline_and_is_made_good_in_the_store(step_ms: int) -> None:
    carried = Carried()
    locations = [carried.location(carried.ask(register(f"n{i}", lt=100))) for i in range(1000)]
    carried.directory.handle_clock(40.0, WALL_MS + 40_000 + step_ms)
    carried.run(40.0)
    assert left(carried, locations[7], 40.0) == 60.0
    again = Carried(rows=carried.rows, wall_ms=WALL_MS + 40_000 + step_ms)
    assert left(again, locations[7], 0.0) >= 60.0 - 0.01
    carried.run(99.9)
    assert len(carried.names(now=99.9)) == 1000
    carried.run(100.0)
    assert carried.names(now=100.0) == []


def test_what_the_carrier_refused_of_our_own_is_announced_again() -> None:
    carried = Carried()
    carried.ask(register(lt=100))
    carried.directory.handle_timer(100.0)
    carried.put(Lookup(Kind.ENDPOINTS, ()), 100.0)
    for now in (100.0, 102.0, 104.0):
        assert len(carried.held) == 1
        carried.refuse(now)
        assert not carried.held
        carried.directory.handle_timer(now + 2.0)
        look = carried.put(Lookup(Kind.ENDPOINTS, ()), now + 2.0)
        assert carried.outcomes[look] == Found(b""), "hidden all the same"
    carried.settle(106.0)
    assert Carried(rows=carried.rows, wall_ms=WALL_MS + 100_001).names() == []
    assert carried.directory.gauges()["announcements_owed"] == 0


def test_a_renewal_that_waits_behind_the_expiry_revives_it() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register(lt=100)))
    carried.directory.handle_timer(100.0)
    id = carried.put(renew(location), 100.5)
    carried.settle(100.6)
    assert carried.outcomes[id] == Renewed()
    assert carried.names(now=100.6) == ["a"]


def test_a_change_from_elsewhere_is_indexed() -> None:
    """Design, Contracts, 5: multi-writer; the carrier decides whose record stands."""
    one, other = Carried(seed=1), Carried(seed=2)
    here = one.location(one.ask(register(links=b"</here>")))
    there = other.location(other.ask(register(links=b"</there>")))
    key = key_of(None, "a")
    one.directory.apply(Change(9, ChangeKind.PUT, "rd", key, 9, other.rows[key], WALL_MS, b""), 0.0)
    assert one.find(Kind.RESOURCES) == ["<coap://[2001:db8::1]/there>"]
    assert isinstance(one.ask(Read(here)), Refused)
    assert isinstance(one.ask(Read(there)), Entry)
    one.directory.apply(Change(10, ChangeKind.REMOVE, "rd", key, 10, None, WALL_MS, b""), 0.0)
    assert one.ask(Lookup(Kind.RESOURCES, ())) == Found(b"")


def test_a_record_survives_the_store() -> None:
    carried = Carried()
    carried.ask(register(d="é", attributes=(("et", 'x"\\'), ("flag", None))))
    ((key, value),) = carried.rows.items()
    record = decode(key, value)
    assert record.encode() == value == canonical(parse_canonical(value))
    assert (record.d, record.links.encode(), record.explicit) == ("é", LINKS, False)


@pytest.mark.parametrize("wrong", [(b"null"), b"{}", b"\xff", b"", b'{"lt":1}'])
def test_a_row_that_cannot_be_read_stops_the_node(wrong: bytes) -> None:
    with pytest.raises(StoreError):
        Carried(rows={key_of(None, "a"): wrong})


@pytest.mark.parametrize(
    ("old", "new"), [(b"</t>", b"<t>"), (b'"ep":"a"', b'"ep":"b"'), (b"coap:", b"coap"), (b'"lt":1', b'"lt":-1')]
)
def test_a_row_that_contradicts_itself_stops_the_node(old: bytes, new: bytes) -> None:
    carried = Carried()
    carried.ask(register())
    ((key, value),) = carried.rows.items()
    assert old in value
    with pytest.raises(StoreError):
        Carried(rows={key: value.replace(old, new)})


def test_the_grace_is_counted_over_restarts() -> None:
    carried = Carried()
    carried.ask(register(lt=100))
    carried.run(100.0)
    again = Carried(rows=carried.rows, wall_ms=WALL_MS + 200_000)
    when = again.directory.next_timer()
    assert when is not None
    assert abs(when - (UNLIMITED.grace_s - 100)) < 0.01
