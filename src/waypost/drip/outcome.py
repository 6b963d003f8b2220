"""What becomes of a claim.

Source: notes on DRiP, 4.4 (client contract) and 4.7.
"""

from dataclasses import dataclass
from enum import Enum

from waypost.record import Committed


class State(Enum):
    COMMITTED = "committed"  # the record is the version that it asked to be
    LOST = "lost"  # another is, or it never can be
    DENIED = "denied"  # it may not be: no voter took it, at least not from this claim
    UNKNOWN = "unknown"  # it may yet be committed: ask for its status, or send the same record again


@dataclass(frozen=True, slots=True)
class Outcome:
    """`current` is what is committed, as far as this node knows; `reason` says why, in a few words."""

    state: State
    current: Committed | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer to a read; `age_s` is how long ago a quorum of voters was last heard, None: never.

    A quorum read that found no quorum in time says `is_known` False, and `current` is local.
    """

    is_known: bool
    current: Committed | None
    age_s: float | None
