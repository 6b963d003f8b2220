"""What other nodes may make the votes' half do.

Each message costs points of its sender's allowance, each signature that does not verify FORGED_COST more.  What goes
beyond it is dropped: who needs an answer asks again.  Nodes that the roster does not name have one allowance together.

Source: design, "Nothing a peer sends"; notes on DRiP, 4.8.
"""

from typing import Final

from waypost.drip.allowance import POINTS_MAX, Allowance
from waypost.record import Roster, Verify

FORGED_COST: Final = 20  # points
STRANGERS: Final = ""  # no node has this name


class Guard:
    """`verify` is for everything that is done for others; `counts` says what was forged, and what was dropped."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._allowances: dict[str, Allowance] = {}
        self._names: dict[str, None] = {}
        self.counts = {"flooded": 0, "forged": 0}

    def set_roster(self, roster: Roster) -> None:
        self._names = dict.fromkeys((*roster.nodes, STRANGERS))
        self._allowances = {name: each for name, each in self._allowances.items() if name in self._names}

    def verify(self, public: bytes, signature: bytes, message: bytes) -> bool:
        is_good = self._verify(public, signature, message)
        self.counts["forged"] += not is_good
        return is_good

    def admits(self, node: str, cost: int, now: float) -> bool:
        admitted = self._allowance(node, now).take(cost, now)
        self.counts["flooded"] += not admitted
        return admitted

    def charge(self, node: str, forged: int, now: float) -> None:
        """For so many signatures that it brought and that did not verify."""
        self._allowance(node, now).points -= FORGED_COST * forged

    def check(self) -> None:
        assert self._allowances.keys() <= self._names.keys()

    def _allowance(self, node: str, now: float) -> Allowance:
        name = node if node in self._names else STRANGERS
        return self._allowances.setdefault(name, Allowance(POINTS_MAX, now))
