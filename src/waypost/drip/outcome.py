"""What becomes of a claim.

Source: notes on DRiP, 4.4 (client contract) and 4.7.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from waypost.record import Committed

BUSY: Final = "busy"  # the reason of a denial: nothing was begun, for too much is under way


class State(Enum):
    COMMITTED = "committed"  # the record is the version that it asked to be
    LOST = "lost"  # another is, or it never can be
    DENIED = "denied"  # it may not be: no voter took it, at least not from this claim
    UNKNOWN = "unknown"  # it may yet be committed: ask for its status, or send the same record again

    # of an intent alone: intents.py
    PENDING = "pending"  # it waits here for a quorum, or is under way
    EXPIRED = "expired"  # it waited too long, and was never sent
    CANCELLED = "cancelled"  # before it was sent


@dataclass(frozen=True, slots=True)
class Outcome:
    """`current` is what is committed, as far as this node knows; `reason` says why, in a few words.

    `until_ms` is when an intent of which nothing was sent expires, or would have.
    """

    state: State
    current: Committed | None
    reason: str = ""
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer to a read; `age_s` is how long ago a quorum of voters was last heard, None: never.

    A quorum read that found no quorum in time says `is_known` False, and `current` is local.
    """

    is_known: bool
    current: Committed | None
    age_s: float | None
