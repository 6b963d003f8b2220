"""The emulated cable does what it is told: other tests believe it."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from links import Cable, cabled

pytestmark = pytest.mark.peer("unshare:net", "device:/dev/net/tun", "ping")


@pytest.fixture(scope="module")
def shared() -> Iterator[Cable]:
    with cabled(3, seed=5) as cable:
        yield cable


@pytest.fixture
def cable(shared: Cable) -> Cable:
    shared.set()
    shared.heal()
    return shared


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.06])
def test_a_round_trip_takes_the_delay_twice(cable: Cable, delay_s: float) -> None:
    near, far, _ = cable.stations
    cable.set(delay_s=delay_s)
    trips = near.ping(far, 20)
    assert len(trips) == 20
    assert 2 * delay_s <= min(trips)
    assert median(trips) < 2 * delay_s + 0.015


def test_jitter_spreads_the_delay_and_does_not_move_it(cable: Cable) -> None:
    near, far, _ = cable.stations
    cable.set(delay_s=0.03, jitter_s=0.01)
    trips = near.ping(far, 60)
    assert 0.04 <= min(trips) < 0.055
    assert max(trips) > 0.065
    assert 0.055 < median(trips) < 0.075


def test_loss_is_near_its_rate(cable: Cable) -> None:
    """Of 500 trips at 10 % each way 405 come back, 9 more or less; five times that is allowed."""
    near, far, _ = cable.stations
    cable.set(loss=0.1)
    assert 360 <= len(near.ping(far, 500, 0.002, 0.2)) <= 450


def test_a_cut_is_one_way_and_of_one_link(cable: Cable) -> None:
    near, far, third = cable.stations
    cable.cut(far.number, near.number)
    before = far.received()
    assert near.ping(far, 5, wait_s=0.1) == []
    assert far.received() == before + 5, "the way there is open"
    before = near.received()
    assert far.ping(near, 5, wait_s=0.1) == []
    assert near.received() == before, "the way back is not"
    assert len(near.ping(third, 5)) == len(far.ping(third, 5)) == 5
    cable.heal()
    assert len(near.ping(far, 5)) == 5


def test_a_partition_cuts_between_the_groups_alone(cable: Cable) -> None:
    near, far, third = cable.stations
    cable.set(delay_s=0.02)
    cable.partition((1, 3), (2,))
    assert len(near.ping(third, 3)) == 3
    assert near.ping(far, 3, wait_s=0.1) == third.ping(far, 3, wait_s=0.1) == []
    cable.heal()
    assert min(near.ping(far, 3)) >= 0.04, "the delay is still there"


def test_a_station_has_a_disk_of_its_own_that_is_full_when_it_is(cable: Cable, tmp_path: Path) -> None:
    near, far, _ = cable.stations
    near.mount(tmp_path, 1 << 20)
    inside = near.from_outside(tmp_path) / "file"
    with pytest.raises(OSError, match="No space left"):
        inside.write_bytes(bytes(2 << 20))
    inside.write_bytes(b"small")
    assert near.run("cat", str(tmp_path / "file")) == "small"
    assert far.run("ls", str(tmp_path)) == ""
