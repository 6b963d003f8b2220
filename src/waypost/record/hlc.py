"""Hybrid logical clock: times that follow the wall clock and never run backwards.

Source: Kulkarni et al., Logical Physical Clocks (2014); packed as 48 bits of milliseconds and a
16-bit count, so that the numbers compare like the times.
"""

from dataclasses import dataclass
from typing import Final

COUNT_BITS: Final = 16
COUNT_MAX: Final = (1 << COUNT_BITS) - 1


@dataclass(frozen=True, slots=True, order=True)
class Hlc:
    """`wall_ms` milliseconds since 1970, then `count` for what happened within one of them."""

    wall_ms: int
    count: int

    def pack(self) -> int:
        """As one integer of 64 bits."""
        return self.wall_ms << COUNT_BITS | self.count

    @classmethod
    def unpack(cls, value: int) -> "Hlc":
        return cls(value >> COUNT_BITS, value & COUNT_MAX)

    def next(self) -> "Hlc":
        """The time right after: nothing comes between."""
        return Hlc(self.wall_ms, self.count + 1) if self.count < COUNT_MAX else Hlc(self.wall_ms + 1, 0)


class HlcClock:
    """Hands out times, each later than every one before and every one observed."""

    def __init__(self, last: Hlc = Hlc(0, 0)) -> None:
        self.last = last

    def tick(self, wall_ms: int) -> Hlc:
        self.last = Hlc(wall_ms, 0) if wall_ms > self.last.wall_ms else self.last.next()
        return self.last

    def observe(self, seen: Hlc) -> None:
        """Later ticks come after `seen`, a time of somebody else."""
        self.last = max(self.last, seen)
