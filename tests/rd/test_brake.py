"""The brake on mass expiry (design, Operators), and the directory that it holds."""

from dataclasses import replace
from typing import Final

import pytest
from carried import UNLIMITED, Carried, register
from hypothesis import given
from hypothesis import strategies as st

from waypost.rd.brake import MINIMUM, WINDOW, Brake
from waypost.rd.questions import Entry, Read, Remove

HOLD: Final = 900.0
BRAKED: Final = replace(UNLIMITED, brake_share=0.15, brake_hold_s=HOLD)


def full(number: int) -> Carried:
    """So many registrations that all end at 100 s."""
    carried = Carried(BRAKED)
    for index in range(number):
        carried.put(register(f"n{index}", b"</t>", lt=100))
    carried.settle()
    return carried


def visible(carried: Carried) -> int:
    return carried.directory.gauges()["registrations"]


def held(carried: Carried) -> int:
    return carried.directory.gauges()["registrations_held"]


def test_few_expire_as_ever() -> None:
    carried = full(MINIMUM)
    carried.run(100.0)
    assert (visible(carried), held(carried)) == (0, 0)


def test_a_share_expires_and_the_rest_is_held_and_shown() -> None:
    carried = full(1_000)
    carried.run(100.0)
    assert (visible(carried), held(carried)) == (850, 850)
    assert len(carried.names(now=110.0)) == 850
    assert carried.directory.counters()["held"] == 850


def test_what_is_held_is_let_go_at_a_bounded_rate_after_a_bounded_time() -> None:
    carried = full(1_000)
    carried.run(100.0)
    carried.run(100.0 + HOLD)
    assert visible(carried) == 850
    carried.run(100.0 + HOLD + WINDOW / 2)
    assert 850 - 80 <= visible(carried) <= 850 - 60  # half a window: half of 15 % of those that were visible
    carried.run(100.0 + HOLD + WINDOW / BRAKED.brake_share)
    assert (visible(carried), held(carried)) == (0, 0)


def test_who_renews_is_held_no_more() -> None:
    carried = full(1_000)
    carried.run(100.0)
    for index in range(1_000):
        carried.put(register(f"n{index}", b"</t>", lt=100_000), 200.0)
    carried.settle(200.0)
    assert (visible(carried), held(carried)) == (1_000, 0)
    carried.run(100.0 + HOLD + WINDOW / BRAKED.brake_share)
    assert visible(carried) == 1_000


def test_a_removal_is_never_held() -> None:
    carried = Carried(BRAKED)
    locations = [carried.location(carried.ask(register(f"n{index}", b"</t>", lt=100))) for index in range(300)]
    carried.run(100.0)
    assert held(carried) == 200
    for location in locations:
        carried.ask(Remove(location), 101.0)
    assert (visible(carried), held(carried)) == (0, 0)


def test_a_held_registration_shows_that_its_lifetime_has_passed() -> None:
    carried = Carried(BRAKED)
    locations = [carried.location(carried.ask(register(f"n{index}", b"</t>", lt=100))) for index in range(200)]
    carried.run(100.0)
    entry = carried.ask(Read(locations[-1]), 130.0)
    assert isinstance(entry, Entry)
    assert entry.expires_in == -30.0


def test_the_brake_can_be_off() -> None:
    carried = Carried(UNLIMITED)
    for index in range(500):
        carried.put(register(f"n{index}", b"</t>", lt=100))
    carried.settle()
    carried.run(100.0)
    assert visible(carried) == 0


def test_a_steady_trickle_is_never_held() -> None:
    brake = Brake(0.15, HOLD)
    allowed = 0.15 * 10_000
    for index in range(20_000):
        assert brake.until(index * WINDOW / allowed, 10_000, 0) is None


def test_what_another_node_lets_go_is_not_let_go_here_as_well() -> None:
    brake = Brake(0.15, HOLD)
    for _ in range(60):
        brake.count(0.0, 0)
    assert [brake.until(0.0, 0, 0) for _ in range(MINIMUM - 60)] == [None] * (MINIMUM - 60)
    assert brake.until(0.0, 0, 0) is not None


def test_what_another_node_lets_go_is_forgotten_with_time() -> None:
    brake = Brake(0.15, HOLD)
    for _ in range(10 * MINIMUM):
        brake.count(0.0, 0)
    assert brake.until(WINDOW, 0, 0) is None


@pytest.mark.parametrize("share", [0.01, 0.15, 1.0])
@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10_000), st.booleans()), max_size=300))
def test_nothing_is_held_for_longer_than_the_bound(share: float, steps: list[tuple[float, int, bool]]) -> None:
    brake, now = Brake(share, HOLD), 0.0
    for passed, number, holding in steps:
        now += passed
        until = brake.until(now, number, int(holding))
        assert until is None or now <= until <= now + HOLD + WINDOW / share
