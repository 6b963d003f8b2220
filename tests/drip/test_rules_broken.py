"""Each rule of agreement broken on purpose: the observer must notice.  Notes on DRiP, 4.6.

The seeds are pinned, for some breakages show in one storm of hundreds; the search that found them runs with --long.
"""

from collections.abc import Callable

import breakages
import pytest
from mesh import Mesh
from observer import Violation
from storms import fixed_storm, hasty_storm, roster_storm

from waypost.drip.rules import Rules

StormOver = Callable[[int, Rules], Mesh]

# breakage, storm, pinned seed, the invariants that it breaks there, seeds to search
BREAKAGES: list[tuple[Rules, StormOver, int, str, int]] = [
    (breakages.Forgets(), fixed_storm, 25, "I5", 500),
    (breakages.RoundZeroForEverybody(), fixed_storm, 3, "I1", 50),
    (breakages.NoPromiseCheck(), fixed_storm, 0, "I5", 20),
    (breakages.NoAdoption(), fixed_storm, 13, "I1", 100),
    (breakages.NoSeal(), roster_storm, 0, "I14", 20),
    (breakages.NoMerge(), hasty_storm, 21, "I1", 100),
    (breakages.RoundZeroOverMerged(), hasty_storm, 10, "I1", 1_000),
    (breakages.ReachableQuorum(), fixed_storm, 0, "I3, I7", 20),
]
NAMES = [type(rules).__name__ for rules, *_ in BREAKAGES]


@pytest.mark.parametrize(("rules", "storm", "seed", "invariant", "seeds"), BREAKAGES, ids=NAMES)
def test_a_broken_rule_is_caught(rules: Rules, storm: StormOver, seed: int, invariant: str, seeds: int) -> None:
    with pytest.raises(Violation, match=rf"\A{invariant}"):
        storm(seed, rules)


@pytest.mark.parametrize(("rules", "storm", "seed", "invariant", "seeds"), BREAKAGES, ids=NAMES)
def test_the_sound_rules_come_through_the_same_storm(
    rules: Rules, storm: StormOver, seed: int, invariant: str, seeds: int
) -> None:
    storm(seed, Rules())


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("rules", "storm", "seed", "invariant", "seeds"), BREAKAGES, ids=NAMES)
def test_a_search_finds_a_storm_that_catches_it(
    rules: Rules, storm: StormOver, seed: int, invariant: str, seeds: int
) -> None:
    for searched in range(seeds):
        try:
            storm(searched, rules)
        except Violation as violation:
            print(f"seed {searched}: {violation}")
            return
    pytest.fail(f"{type(rules).__name__}: not caught in {seeds} storms")
