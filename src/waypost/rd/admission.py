"""For whom a change counts, and how many registrations each holder has.

Each registration counts for its holder, from when it is on its way to the disk until it is forgotten.

Source: notes on the directory, 8 (admission); RFC 9176, 8.3.
"""

from collections import Counter
from collections.abc import Iterable

from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.admission import prefix_of


class Holdings:
    """How many registrations each holder has; "" is nobody, and never counted."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def of(self, holder: str) -> int:
        return self._counts.get(holder, 0)

    def add(self, holder: str) -> None:
        if holder:
            self._counts[holder] = self._counts.get(holder, 0) + 1

    def remove(self, holder: str) -> None:
        if not holder:
            return
        left = self._counts[holder] - 1
        if left:
            self._counts[holder] = left
        else:
            del self._counts[holder]

    def check(self, holders: Iterable[str]) -> None:
        """`holders` has each holder as often as it should be counted."""
        assert self._counts == Counter(filter(None, holders)), "each registration counts for its holder"


def holder(who: Identity, source: str) -> str:
    """For whom a change or a registration counts; "" for operators, and for what comes from nowhere."""
    if who == ANONYMOUS:
        return prefix_of(source) if source else ""
    return "" if who == OPERATOR else who.subject
