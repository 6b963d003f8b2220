"""What one node may make us do: points that come back with time, and what each message costs.

About a point for each message, and for each record that it brings; more for what makes us send much.
"""

from dataclasses import dataclass
from typing import Final

from waypost.drip.messages import (
    HistoryRequest,
    Message,
    RosterRequest,
    SealPart,
    SealRequest,
    SealSnapshot,
    SealWalk,
    TallyAnswer,
    TallyRequest,
    Yes,
    records_in,
)
from waypost.drip.rumours import Graft, Have, PageRequest, Pull, Rumour

POINTS_A_SECOND: Final = 5_000
POINTS_MAX: Final = 10_000
ANSWER_COST: Final = 20  # of a question whose answer may be much larger
SNAPSHOT_COST: Final = 200  # of one whose answer takes a look at every key
READ_COST: Final = 16  # of what is read from the disk for an answer


@dataclass(slots=True)
class Allowance:
    """`points` are left, as of `at`."""

    points: float
    at: float
    a_second: int = POINTS_A_SECOND
    points_max: int = POINTS_MAX

    def take(self, cost: int, now: float) -> bool:
        self.points = min(self.points_max, self.points + (now - self.at) * self.a_second)
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


def cost_of_vote(message: Message) -> int:
    """Points, with those for the records that it brings."""
    if type(message) is Yes:  # a quarter of all messages
        return 1
    match message:
        case SealRequest():
            return SNAPSHOT_COST
        case RosterRequest() | TallyRequest():
            return ANSWER_COST
        case HistoryRequest():
            return ANSWER_COST + READ_COST * len(message.wanted)
        case TallyAnswer():
            return 1 + len(message.parts) + sum(len(call.yes) for call in message.calls)  # each may be verified
        case SealWalk():
            return ANSWER_COST + len(message.prefixes) + len(message.digests) // 2
        case SealPart():
            return 1 + len(message.commits) // 16
        case SealSnapshot():
            return 1 + len(message.entries) // 16  # they are verified already, or cost FORGED_COST
        case _:
            return 1 + len(records_in(message))
