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
        self._counted: tuple[Roster, float, int] | None = None  # what was counted last, if it holds: each record asks

    def hear(self, node: str, now: float) -> None:
        if self._heard.get(node) != now:
            self._heard[node] = now
            self._counted = None

    def heard(self, roster: Roster, now: float, missed: Mapping[str, float] = NONE) -> int:
        """Voters heard within HEARD_S, and since they were `missed`."""
        if missed:
            return self._count(roster, now, missed)
        counted = self._counted
        if counted is None or counted[0] is not roster or counted[1] != now:
            counted = self._counted = roster, now, self._count(roster, now, missed)
        return counted[2]

    def _count(self, roster: Roster, now: float, missed: Mapping[str, float]) -> int:
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
