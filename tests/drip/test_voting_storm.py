"""Storms over voting meshes: whatever breaks, no two nodes come to differ about a version.

Invariants I1 to I9, I13 and I14 of the notes on DRiP, 4.12: observer.py and mesh.py say where each is checked.
"""

import pytest
from mesh import Mesh
from storms import fixed_storm, hasty_storm, roster_storm

from waypost.sim import repeatable


def require_progress(mesh: Mesh) -> None:
    """A storm in which nothing is committed shows nothing."""
    assert mesh.versions > 0


@pytest.mark.storm(80, 2_000)
def test_a_storm_over_a_fixed_roster_keeps_agreement(seed: int, request: pytest.FixtureRequest) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(fixed_storm(seed))


@pytest.mark.storm(50, 2_000)
def test_a_storm_over_changing_rosters_keeps_agreement(seed: int, request: pytest.FixtureRequest) -> None:
    """Notes on DRiP, 4.9."""
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(roster_storm(seed))


@pytest.mark.storm(40, 2_000)
def test_a_storm_over_hasty_rosters_keeps_agreement(seed: int, request: pytest.FixtureRequest) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        require_progress(hasty_storm(seed))
