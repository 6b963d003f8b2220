"""Storms over ledgers: whatever breaks, no log forks, no witness goes back, and nobody honest is accused.

Invariants of the notes on the ledger, 5: overseer.py says where each is checked.

As a program, `test_storms.py SEED...` prints what became of each seed's random numbers.
"""

import sys
from collections.abc import Callable

import pytest
from overseer import Violation
from tempests import Tempest

from waypost.sim import repeatable


@pytest.mark.storm(50, 10_000)
def test_a_storm_over_ledgers_keeps_every_log_one(seed: int, request: pytest.FixtureRequest) -> None:
    tempest = Tempest(seed)
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        tempest.blow()
    assert tempest.overseer.cosignatures > 0
    assert tempest.overseer.accepted > 0


@pytest.mark.storm(20, 10_000)
def test_a_storm_over_ledgers_with_a_liar_ends_with_a_proof_at_every_honest_node(
    seed: int, request: pytest.FixtureRequest
) -> None:
    """COMPLETE-EVIDENCE and SOUND-EVIDENCE."""
    tempest = Tempest(seed, liar=True)
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        tempest.blow()
        assert all(tempest.overseer.check_proofs(name) for name in tempest.honest)


def test_a_disk_that_does_not_sync_is_noticed() -> None:
    caught = 0
    for seed in range(10):
        try:
            Tempest(seed, sync=False).blow()
        except (Violation, AssertionError):
            caught += 1
    assert caught > 5


def test_one_seed_gives_one_storm_whatever_the_hash_seed(printed: Callable[..., list[str]]) -> None:
    """Pinned seeds rest on it."""
    assert len(set(printed(1, 2))) == 2


def main(seeds: list[int]) -> None:
    for seed in seeds:
        tempest = Tempest(seed)
        tempest.blow()
        print(tempest.party.world.unseed())


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
