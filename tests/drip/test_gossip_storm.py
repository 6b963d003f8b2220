"""Storms over meshes that gossip: after the calm all hold the same, and nothing that was acknowledged is lost."""

from random import Random

import pytest
from gossiping import NODES, Party

from waypost.sim import Odds, Storm, Trace, repeatable

STORM: float = 90.0  # seconds
LEVEL_WITHIN: float = 60.0  # seconds after the calm
KEYS = 12


def storm(seed: int, *, sync: bool = True, trace: Trace | None = None) -> tuple[Party, dict[str, int]]:
    """The party after the storm and the calm, level again; and the troubles there were."""
    rng = Random(f"{seed}/party")
    party = Party(seed, rng.choice((2, 3, 5, 8, 13)), sync=sync, trace=trace)
    odds = Odds().some(Random(f"{seed}/odds"))
    trouble = Storm(party.world, odds)
    trouble.begin()
    own: dict[str, list[bytes]] = {name: [] for name in party.names}
    number = 0
    while party.world.now < STORM:
        party.run(rng.expovariate(2.0))
        name = rng.choice(party.names)
        if party.nodes[name].engine is None:
            continue
        number += 1
        if rng.random() < 0.3:
            own[name].append(b"%d" % number)
            party.announce(name, name.encode(), b"%d" % number, NODES)
        else:
            value = None if rng.random() < 0.2 else b"%d" % number
            party.announce(name, b"key %d" % rng.randrange(KEYS), value)
    trouble.calm()
    party.settle(LEVEL_WITHIN)
    for space, key in party.acknowledged if sync else ():
        for engine in party.up.values():
            assert engine.mesh.store.get(space, key) is not None, f"{key!r} was acknowledged, and there is nothing"
    for name in party.names:
        held = [engine.applied.get((NODES, name.encode())) for engine in party.up.values()]
        acknowledged = party.acknowledged.get((NODES, name.encode()))
        if acknowledged is not None and sync:
            for each in held:
                assert each is not None, f"{name} was told that its record is stored, and it is lost"
                assert own[name].index(each[1]) >= own[name].index(acknowledged)
    return party, trouble.counts


@pytest.mark.storm(60, 2000)
def test_after_a_storm_all_hold_the_same_and_nothing_acknowledged_is_lost(
    seed: int, request: pytest.FixtureRequest
) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        storm(seed)
