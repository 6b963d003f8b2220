"""Storms over voting meshes: whatever breaks, no two nodes come to differ about a version.

Invariants I1 to I11, I13 and I14 of the notes on DRiP, 4.12: observer.py and mesh.py say where each is checked.

As a program, `test_voting_storm.py SEED...` prints what became of each seed's random numbers.
"""

import sys
from collections.abc import Callable

import pytest
from mesh import Mesh
from observer import Violation
from prefixes import Overlapping, Pushing, Trusting
from storms import fixed_storm, hasty_storm, moving_storm, open_storm, parted_storm, roster_storm

from waypost.drip.judge import Judge
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


@pytest.mark.storm(40, 10_000)
def test_a_storm_over_allocated_blocks_keeps_them_apart(seed: int, request: pytest.FixtureRequest) -> None:
    """Notes on DRiP, 4.4 (ranges), I10 and I11."""
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(parted_storm(seed))


@pytest.mark.parametrize(
    ("judge", "seed", "invariant"),
    [(Trusting(), 0, "I10"), (Pushing(), 2, "I10"), (Overlapping(), 1, "I11")],
    ids=["who signs may", "a holder names another", "parts overlap"],
)
def test_a_judge_that_lets_too_much_pass_is_caught(judge: Judge, seed: int, invariant: str) -> None:
    with pytest.raises(Violation, match=rf"\A{invariant}"):
        parted_storm(seed, judge=judge)


def test_one_seed_gives_one_storm_whatever_the_hash_seed(printed: Callable[..., list[str]]) -> None:
    """Pinned seeds rest on it."""
    assert len(set(printed(1, 2))) == 12


def main(seeds: list[int]) -> None:
    for seed in seeds:
        for storm in (fixed_storm, roster_storm, hasty_storm, moving_storm, open_storm, parted_storm):
            print(storm(seed).world.unseed())


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
