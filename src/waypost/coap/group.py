"""Requests that were sent to a group: each waits for a random leisure, so that not all who are asked answer at once.

Source: RFC 7252, 8.2.
"""

from random import Random
from typing import Final

from waypost.coap.message import Message
from waypost.engine import Deadlines, Path

LEISURE: Final = 5.0  # seconds; DEFAULT_LEISURE (RFC 7252, 4.8)
WAITING_MAX: Final = 128  # requests; those past it are not answered

Asked = tuple[Message, int, Path]  # a request, the octets of its datagram, and the way it came


class Leisure:
    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._waiting: dict[int, Asked] = {}
        self._deadlines: Deadlines[int] = Deadlines()
        self._last = 0

    def put(self, asked: Asked, now: float) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._last += 1
            self._waiting[self._last] = asked
            self._deadlines.set(self._last, now + self._rng.uniform(0.0, LEISURE))

    def due(self, now: float) -> list[Asked]:
        return [self._waiting.pop(number) for number in self._deadlines.pop_due(now)]

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def check(self) -> None:
        assert len(self._waiting) == len(self._deadlines) <= WAITING_MAX
