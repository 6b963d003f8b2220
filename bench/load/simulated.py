"""A hundred nodes in the simulator: how long until each has applied what one of them announced."""

from typing import Final

from load.closed import share
from waypost.sim.gossiping import LINK_20_MS, LINK_100_MS, Party

LINKS: Final = {20: LINK_20_MS, 100: LINK_100_MS}  # milliseconds one way, within a tenth
MEET_S: Final = 20.0
GAP_S: Final = 0.1


def converging(nodes: int, records: int) -> dict[int, dict[str, float]]:
    """By the links' delay, seconds: from a record's announcement to its arrival, over all nodes and records.

    `all_s` is the longest of them: then all nodes have all records.  The tree has formed before.
    """
    found = {}
    for delay, weather in LINKS.items():
        party = Party(1, nodes, weather, check_each=0)
        party.run(MEET_S)
        party.delays(max(1, records // 3), 2 * GAP_S)
        seconds = party.delays(records, GAP_S, seed=4)
        found[delay] = {"p50_s": share(seconds, 0.5), "p99_s": share(seconds, 0.99), "all_s": seconds[-1]}
    return found
