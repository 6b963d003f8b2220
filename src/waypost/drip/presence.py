"""Which voters have been heard of late.

Times are seconds of the caller's monotonic clock.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from waypost.record import Roster

HEARD_S: Final = 30.0  # a voter that was heard so long ago may be gone
NONE: Final[Mapping[str, float]] = MappingProxyType({})


class Presence:
    """`name` is this node's, which is always there."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._heard: dict[str, float] = {}

    def hear(self, node: str, now: float) -> None:
        self._heard[node] = now

    def heard(self, roster: Roster, now: float, missed: Mapping[str, float] = NONE) -> int:
        """Voters heard within HEARD_S, and since they were `missed`."""
        return sum(
            member.name == self._name
            or self._heard.get(member.name, -HEARD_S) > max(now - HEARD_S, missed.get(member.name, -HEARD_S))
            for member in roster.voters
        )

    def age(self, roster: Roster, now: float) -> float | None:
        """Seconds since a quorum of voters was last heard; None: never."""
        times = [now if member.name == self._name else self._heard.get(member.name) for member in roster.voters]
        known = sorted((when for when in times if when is not None), reverse=True)
        return now - known[roster.quorum - 1] if len(known) >= roster.quorum else None
