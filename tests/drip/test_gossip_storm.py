"""Storms over meshes that gossip: after the calm all hold the same, and nothing that was acknowledged is lost.

Meanwhile no message crosses a link twice in one direction, but where it was asked for: I12, crossings.py.

As a program, `test_gossip_storm.py SEED` prints the digest of that seed's trace.
"""

import sys
from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from crossings import Links
from observer import Violation

from waypost.drip.repair import EVERY
from waypost.drip.rumours import Have, Rumour, Spread
from waypost.sim import TROUBLES, Odds, Storm, Trace, repeatable
from waypost.sim.gossiping import NODES, Party

STORM: float = 90.0  # seconds
LEVEL_WITHIN: float = EVERY + 10.0  # seconds after the calm: a period of repair, and the longest pause
KEYS = 12
SIZES = (2, 3, 5, 8, 13)
LARGE = 34  # once in twenty seeds


def storm(
    seed: int, *, sync: bool = True, trace: Trace | None = None, links: Links | None = None
) -> tuple[Party, dict[str, int]]:
    """The party after the storm and the calm, level again; and the troubles there were."""
    rng = Random(f"{seed}/party")
    size = LARGE if seed % 20 == 10 else rng.choice(SIZES)
    check_each = 1 if size < 5 else 10 * size
    links = links or Links()
    party = Party(seed, size, sync=sync, trace=trace, check_each=check_each, listener=links)
    links.network = party.network
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
        if rng.random() < 0.1:
            party.commit(name, party.committed(f"key {number % KEYS}", number))
        elif rng.random() < 0.3:
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


def test_messages_cross_links_and_some_again_that_were_asked_for() -> None:
    links = Links()
    storm(12, links=links)
    assert links.crossed > 1_000
    assert links.again > 10


@pytest.mark.parametrize("kind", [Spread, Have])
def test_who_tells_something_again_unasked_is_noticed(kind: type[Spread | Have]) -> None:
    """As one does that takes what it had sent for something new."""
    before: list[Rumour] = []

    def again(messages: tuple[Rumour, ...]) -> tuple[Rumour, ...]:
        said = (*messages, *before[:1])
        before.extend(message for message in messages if isinstance(message, kind))
        return said

    links = Links()
    party = Party(1, 8, tampers={"2": again}, listener=links)
    links.network = party.network
    for number in range(10):
        party.world.after(number, partial(party.announce, "2" if number % 2 else "5", b"key %d" % number, b"value"))
    with pytest.raises(Violation, match=r"\AI12: 2 "):
        party.run(20.0)


def test_every_kind_of_trouble_comes() -> None:
    counts: dict[str, int] = {}
    for seed in range(12):
        for trouble, count in storm(seed)[1].items():
            counts[trouble] = counts.get(trouble, 0) + count
    assert set(counts) == {*TROUBLES, "heal", "restart", "mend_disk"}


def test_one_seed_gives_one_trace_whatever_the_hash_seed(printed: Callable[..., list[str]]) -> None:
    (line,) = printed(5)
    assert len(line.split()) == 2


def main(seed: int) -> None:
    trace = Trace(keep=False)
    party, _ = storm(seed, trace=trace)
    print(trace.digest(), party.world.unseed())


if __name__ == "__main__":
    main(int(sys.argv[1]))
