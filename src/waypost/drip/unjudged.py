"""Records that wait at the node to which their clients sent them, for what they rely on: nothing of them was sent.

Source: design, Contracts 6.
"""

from collections.abc import Callable
from typing import Final

from waypost.record import Place, Record

UNJUDGED_MAX: Final = 256

Again = Callable[[float], None]  # look at it again, now


class Unjudged:
    def __init__(self) -> None:
        self._waiting: list[tuple[float, Record, Again]] = []

    def add(self, record: Record, until: float, again: Again) -> bool:
        """False if too many wait already."""
        if len(self._waiting) >= UNJUDGED_MAX:
            return False
        self._waiting.append((until, record, again))
        return True

    def learnt(self, place: Place, now: float) -> None:
        """There is a newer version of a key."""
        self._look(lambda until, record: any((cite.namespace, cite.key) == place for cite in record.cites), now)

    def handle_timer(self, now: float) -> None:
        self._look(lambda until, record: until <= now, now)

    def next_timer(self) -> float | None:
        return min((until for until, _, _ in self._waiting), default=None)

    def check(self) -> None:
        assert len(self._waiting) <= UNJUDGED_MAX

    def _look(self, chooses: Callable[[float, Record], bool], now: float) -> None:
        chosen = [each for each in self._waiting if chooses(each[0], each[1])]
        if chosen:
            self._waiting = [each for each in self._waiting if not chooses(each[0], each[1])]
        for _, _, again in chosen:
            again(now)
