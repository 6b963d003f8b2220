"""Storms over voting meshes: whatever breaks, no two nodes come to differ about a version.

Invariants I1 to I9, I13 and I14 of the notes on DRiP, 4.12: observer.py and mesh.py say where each is checked.

As a program, `test_voting_storm.py SEED...` prints what became of each seed's random numbers.
"""

import sys
from collections.abc import Callable

import pytest
from mesh import Mesh
from storms import fixed_storm, hasty_storm, moving_storm, open_storm, roster_storm

from waypost.sim import repeatable


def require_progress(mesh: Mesh) -> None:
    """A storm in which nothing is committed shows nothing."""
    assert mesh.versions > 0


@pytest.mark.storm(160, 10_000)
def test_a_storm_over_a_fixed_roster_keeps_agreement(seed: int, request: pytest.FixtureRequest) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(fixed_storm(seed))


@pytest.mark.storm(110, 10_000)
def test_a_storm_over_changing_rosters_keeps_agreement(seed: int, request: pytest.FixtureRequest) -> None:
    """Notes on DRiP, 4.9."""
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(roster_storm(seed))


@pytest.mark.storm(80, 10_000)
def test_a_storm_over_hasty_rosters_keeps_agreement(seed: int, request: pytest.FixtureRequest) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(hasty_storm(seed))


@pytest.mark.storm(80, 10_000)
def test_a_storm_over_nodes_that_move_keeps_agreement(seed: int, request: pytest.FixtureRequest) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(moving_storm(seed))


@pytest.mark.storm(80, 10_000)
def test_a_storm_over_nodes_that_come_by_themselves_keeps_agreement(seed: int, request: pytest.FixtureRequest) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(open_storm(seed))


def test_one_seed_gives_one_storm_whatever_the_hash_seed(printed: Callable[..., list[str]]) -> None:
    """Pinned seeds rest on it."""
    assert len(set(printed(1, 2))) == 10


def main(seeds: list[int]) -> None:
    for seed in seeds:
        for storm in (fixed_storm, roster_storm, hasty_storm, moving_storm, open_storm):
            print(storm(seed).world.unseed())


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
