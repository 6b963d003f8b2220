"""The simulated network: what arrives, and when."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.sim import FAIR, Network, Weather

probability = st.floats(0, 1)
weathers = st.builds(
    Weather,
    delay_min=st.floats(0, 1),
    delay_max=st.floats(1, 2),
    loss=probability,
    twice=probability,
    late=probability,
    late_max=st.floats(0, 10),
    damage=probability,
    datagram_max=st.integers(0, 50),
)


def test_fair_weather_brings_every_datagram_once_within_the_delay() -> None:
    network = Network(1)
    for _ in range(100):
        ((when, data),) = network.post("a", "b", b"hello", now=5.0)
        assert 5.0 + FAIR.delay_min <= when <= 5.0 + FAIR.delay_max
        assert data == b"hello"


@given(st.integers(), weathers, st.binary(max_size=60), st.floats(0, 1e6))
def test_in_any_weather_what_arrives_comes_later_and_keeps_its_length(
    seed: int, weather: Weather, data: bytes, now: float
) -> None:
    arrivals = Network(seed, weather).post("a", "b", data, now)
    assert len(arrivals) <= 2
    for when, octets in arrivals:
        assert now + weather.delay_min <= when <= now + weather.delay_max + weather.late_max
        assert len(octets) == len(data) <= weather.datagram_max


@pytest.mark.parametrize("trouble", ["loss", "twice", "late", "damage"])
def test_a_probability_is_met_about_as_often_as_it_says(trouble: str) -> None:
    network = Network(1, Weather(**{trouble: 0.25}))  # type: ignore[arg-type]  # which one it is, mypy cannot see
    for _ in range(4000):
        network.post("a", "b", b"hello", now=0.0)
    counted = network.counts[{"loss": "lost", "damage": "damaged"}.get(trouble, trouble)]
    assert 900 < counted < 1100


def test_late_datagrams_are_overtaken() -> None:
    network = Network(1, Weather(late=0.5))
    times = [when for _ in range(50) for when, _ in network.post("a", "b", b"", now=0.0)]
    assert max(times) > 1.0 > FAIR.delay_max > min(times)


def test_a_cut_has_a_direction() -> None:
    network = Network(1)
    network.cut("a", "b")
    assert network.post("a", "b", b"x", now=0.0) == []
    assert len(network.post("b", "a", b"x", now=0.0)) == 1


def test_a_partition_leaves_alone_who_is_in_no_group() -> None:
    network = Network(1)
    network.partition(["a", "b"], ["c"])
    assert network.passes("a", "b")
    assert not network.passes("a", "c")
    assert not network.passes("c", "b")
    assert network.passes("a", "z")
    assert network.passes("z", "c")


@pytest.mark.parametrize(
    "trouble",
    [lambda network: network.cut("a", "b"), lambda network: network.partition("a", "b")],
    ids=["cut", "partition"],
)
def test_healing_opens_every_path(trouble: Callable[[Network], None]) -> None:
    network = Network(1)
    trouble(network)
    assert not network.passes("a", "b")
    network.heal()
    assert network.passes("a", "b")


def test_a_clogged_path_brings_everything_after_it_is_free() -> None:
    network = Network(1)
    network.clog("a", "b", until=10.0)
    times = [when for now in (0.0, 3.0, 9.0) for when, _ in network.post("a", "b", b"x", now)]
    assert all(10.0 < when <= 10.0 + FAIR.delay_max for when in times)
    ((when, _),) = network.post("a", "b", b"x", now=11.0)
    assert when <= 11.0 + FAIR.delay_max


def test_a_link_can_have_weather_of_its_own() -> None:
    network = Network(1)
    network.set_link("a", "b", Weather(loss=1.0))
    assert network.post("a", "b", b"x", now=0.0) == []
    assert len(network.post("b", "a", b"x", now=0.0)) == 1
    network.set_link("a", "b", None)
    assert len(network.post("a", "b", b"x", now=0.0)) == 1


def test_one_more_host_changes_nobodys_weather() -> None:
    alone, crowded = Network(1, Weather(loss=0.3, twice=0.3)), Network(1, Weather(loss=0.3, twice=0.3))
    for step in range(100):
        crowded.post("c", "b", b"noise", now=float(step))
        assert alone.post("a", "b", b"x", float(step)) == crowded.post("a", "b", b"x", float(step))
