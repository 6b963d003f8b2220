"""What can be asked of the node as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """How is the node?  Answered with a Report."""


@dataclass(frozen=True, slots=True)
class Report:
    """`counters` only ever grow until the node restarts; `gauges` go up and down.

    Names are lower case with underscores, as the metrics show them after the prefix `waypost_`.
    """

    counters: Mapping[str, int]
    gauges: Mapping[str, int]
