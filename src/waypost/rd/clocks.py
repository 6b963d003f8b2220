"""Our clock and the wall's: deadlines are monotonic seconds, stored expiries wall-clock milliseconds."""

from math import ceil
from typing import Final

ROUNDING: Final = 0.002  # seconds that two readings of the clocks may differ: stored expiries are whole milliseconds


class Clocks:
    def __init__(self) -> None:
        self._offset: float | None = None  # wall clock less ours, seconds

    def set(self, now: float, wall_ms: int) -> bool:
        """True if the wall clock has stepped since the last time."""
        old, self._offset = self._offset, wall_ms / 1000 - now
        return old is not None and abs(self._offset - old) > ROUNDING

    def to_wall_ms(self, when: float) -> int:
        return ceil((when + (self._offset or 0.0)) * 1000)

    def from_wall_ms(self, wall_ms: int) -> float:
        return wall_ms / 1000 - (self._offset or 0.0)
