"""What the drivers measured: figures that no engine can have, for it reads no clock and opens no socket."""

import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from waypost.identity.token import redacted

TEXT_MAX: Final = 300  # characters of an error

T = TypeVar("T")


class Distribution:
    """How many values were at most each of `bounds`, and how many above the last."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0  # of all values

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(frozen=True, slots=True)
class Labelled:
    """A figure for each combination of label values; of these there are few, whatever peers send."""

    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Figures:
    """Names are as in a Report (assembly/questions.py); `listeners` are addresses with their ports.

    `loop` is as in runtime/loop.py.
    """

    uptime_s: float = 0.0
    loop: str = ""
    listeners: Mapping[str, str] = field(default_factory=dict)
    last_error: str | None = None
    counters: Mapping[str, int | Labelled] = field(default_factory=dict)
    gauges: Mapping[str, int | Labelled] = field(default_factory=dict)
    distributions: Mapping[str, Distribution] = field(default_factory=dict)


class LastError(logging.Handler):
    """Keeps the last warning, or worse, of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.text = redacted(record.getMessage())[:TEXT_MAX]


def each(listeners: Mapping[str, T], figure: Callable[[T], int]) -> Labelled:
    """A figure of each listener, by its name."""
    return Labelled(("listener",), {(name,): figure(listener) for name, listener in listeners.items()})


def by_reason(listeners: Mapping[str, T], counts: Callable[[T], Mapping[str, int]]) -> Labelled:
    """The counts of each listener, by its name and the reason."""
    return Labelled(
        ("listener", "reason"),
        {(name, reason): n for name, listener in listeners.items() for reason, n in counts(listener).items()},
    )
