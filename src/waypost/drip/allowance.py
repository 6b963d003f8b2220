"""What one node may make us do: points that come back with time, and what each message costs.

About a point for each message, and for each record that it brings; more for what makes us send much.
"""

from dataclasses import dataclass
from typing import Final

from waypost.drip.rumours import Graft, Have, PageRequest, Pull, Rumour

POINTS_A_SECOND: Final = 5_000
POINTS_MAX: Final = 10_000
ANSWER_COST: Final = 20  # of a question whose answer may be much larger


@dataclass(slots=True)
class Allowance:
    points: float
    at: float

    def take(self, cost: int, now: float) -> bool:
        self.points = min(POINTS_MAX, self.points + (now - self.at) * POINTS_A_SECOND)
        self.at = now
        if self.points < cost:
            return False
        self.points -= cost
        return True


def cost_of(message: Rumour) -> int:
    """Points, beside one for each record that it brings."""
    match message:
        case Have():
            return 1 + len(message.ids) // 64
        case Graft():
            return ANSWER_COST * len(message.ids)
        case PageRequest():
            return 1 + len(message.prefixes)
        case Pull():
            return ANSWER_COST + len(message.digests) // 2
        case _:
            return 1
