"""Storms over networks of whole nodes: devices roam, clients claim, rosters change, while everything breaks.

After the calm all nodes hold the same; what was acknowledged, and has neither expired nor been taken back, is at every
node; each node's feed has no gap and tells what its table has; no acknowledged claim is lost, and no version has two
records.  What a node kept for its client until a quorum was in reach has come to one end, which its client is told.

As a program, `test_party_storm.py SEED...` prints the digest of each seed's trace.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

import pytest
from parties import FIVE, feed, found
from roamers import CLOCK_STEP_MAX, Claims, Lost, Roamer, held, past, require_ended, require_one_history

from waypost.assembly.carrier import RECORDS
from waypost.assembly.engine import Assembly
from waypost.assembly.installation import Installation
from waypost.engine import Commit, Effect
from waypost.identity.policy import default
from waypost.rd.engine import Settings
from waypost.sim import Odds, Storm, Trace, repeatable
from waypost.sim.installed import MakeAssembly, Party

# What shows a disk that is not waited for: nodes that lose power, and that others have not heard.
DARK: Final = Odds(power_cut=0.3, slow_disk=0.5, mend_disk=0.1, partition=0.3, heal=0.1, clock_step=0, weather=0)
# And one that is slow, so that there is a time between the answer and the disk.
STILL: Final = Odds(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
SLOW: Final = replace(
    STILL,
    power_cut=0.15,
    restart=0.9,
    partition=0.5,
    heal=0.05,
    slow_disk=0.9,
    mend_disk=0.02,
    slow_factor=3000.0,
)
STORM: Final = 80.0  # seconds
LEVEL_WITHIN: Final = 60.0  # seconds after the calm


def storm(
    seed: int,
    *,
    make: MakeAssembly | None = None,
    sync: bool = True,
    trace: Trace | None = None,
    odds: Odds | None = None,
) -> tuple[Party, dict[str, int]]:
    """The network after the storm and the calm; and the troubles there were."""
    rng = Random(f"{seed}/party storm")
    names = FIVE[: rng.choice((2, 3, 3, 4, 5))]
    settings = Settings(
        registrations_per_second=0, grace_s=rng.choice((30.0, 86_400.0)), brake_share=rng.choice((0, 0.15))
    )
    check_each, life_s = rng.choice((1, 5, 20)), rng.choice((2, 86_400))
    party = Party(
        seed,
        names,
        settings=settings,
        make=make,
        sync=sync,
        trace=trace,
        check_each=check_each,
        intent_life_s=life_s,
    )
    some = Odds(clock_step_max_ms=round(CLOCK_STEP_MAX * 1000), power_cut=0.04, restart=0.4).some(rng)
    if rng.random() < 0.25:  # parts that are apart for long: there claims wait
        some = replace(some, partition=0.2, heal=0.03)
    trouble = Storm(party.world, odds or some)
    roamers = [Roamer(party, number) for number in range(1, rng.randint(4, 10))]
    claims = Claims(party)
    claims.begin(rng.choice((2.0, 5.0)), rng.choice((None, 15.0)) if len(names) > 2 else None)
    trouble.begin()
    party.run(STORM)
    trouble.calm()
    claims.working = False
    for roamer in roamers:
        roamer.working = False
    for node in party.nodes.values():
        node.step_clock(-node.clock_offset_ms)
    settle(party)
    require_kept(party, roamers)
    require_one_history(party, claims)
    require_ended(party, claims)
    return party, trouble.counts


def settle(party: Party) -> None:
    """Until all hold the same, of either class."""
    began = party.world.now
    party.run(5.0)
    while not is_level(party):
        assert party.world.now - began < LEVEL_WITHIN, f"not level {LEVEL_WITHIN} s after the calm"
        party.run(1.0)
    party.world.check()


def is_level(party: Party) -> bool:
    first, *others = party.names
    same = all(party.rows(first, table) == party.rows(name, table) for name in others for table in ("gossip", RECORDS))
    same = same and all(past(party, first) == past(party, name) for name in others)
    return same and all(held(party, first) == held(party, name) for name in others)


def require_kept(party: Party, roamers: list[Roamer]) -> None:
    for name in party.names:
        table: dict[bytes, bytes] = {}
        for change in feed(party, name):
            if change.value is None:
                table.pop(change.key, None)
            else:
                table[change.key] = change.value
        if table != party.rows(name, RECORDS):
            raise Lost(f"the feed of {name} tells another story than its table")
        shown = found(party, name)
        for roamer in roamers:
            if roamer.promised() and roamer.ep not in shown:
                raise Lost(f"{roamer.ep} was promised until {roamer.until}, and {name} has {shown}")
            # A copy of its registration that was long on its way makes another one, at another location.
            if roamer.removed is not None and roamer.removed == shown.get(roamer.ep):
                raise Lost(f"{roamer.ep} was removed, and {name} has {shown}")


class Hasty(Assembly):
    """Answers before the disk has."""

    def take_effects(self) -> list[Effect]:
        effects: list[Effect] = []
        for effect in super().take_effects():
            if isinstance(effect, Commit):
                effects += effect.then
                effect = replace(effect, then=())
            effects.append(effect)
        return effects


class Forgetful(Assembly):
    """Leaves the directory's rows out."""

    def take_effects(self) -> list[Effect]:
        return [_without_rows(effect) if isinstance(effect, Commit) else effect for effect in super().take_effects()]


def _without_rows(commit: Commit) -> Commit:
    return replace(commit, puts=tuple(put for put in commit.puts if put.table != RECORDS))


def losses(odds: Odds, node: type[Assembly] = Assembly, *, sync: bool = True) -> int:
    """In how many of 12 storms something acknowledged was lost, or nodes were not level in the end."""

    def make(rng: Random, settings: Settings, installation: Installation) -> Assembly:
        return node(rng, settings, default().decide, installation=installation)

    lost = 0
    for seed in range(12):
        try:
            storm(seed, make=make, sync=sync, odds=odds)
        except AssertionError:
            lost += 1
    return lost


@pytest.mark.storm(100, 3000)
def test_after_a_storm_all_nodes_hold_the_same_and_nothing_acknowledged_is_lost(
    seed: int, request: pytest.FixtureRequest
) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        storm(seed)


def test_a_node_that_answers_before_its_disk_is_caught() -> None:
    assert losses(SLOW, Hasty) > 4


def test_a_node_that_leaves_out_the_directorys_rows_is_caught() -> None:
    assert losses(DARK, Forgetful) == 12


def test_the_same_storms_do_no_harm_to_nodes_that_wait_for_their_disks() -> None:
    assert losses(DARK) == losses(SLOW) == 0


def test_nodes_that_do_not_sync_are_caught() -> None:
    assert losses(DARK, sync=False) > 4


def test_one_seed_gives_one_trace_whatever_the_hash_seed(printed: Callable[..., list[str]]) -> None:
    assert len(set(printed(1, 2))) == 2


def main(seeds: list[int]) -> None:
    for seed in seeds:
        trace = Trace(keep=False)
        party, _ = storm(seed, trace=trace)
        print(trace.digest(), party.world.unseed())


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
