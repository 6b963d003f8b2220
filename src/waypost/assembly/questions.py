"""What can be asked of the node as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """How is the node?  Answered with a Report."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Is there a change after number `after`?  Answered with Followed, as soon as there is one."""

    after: int


@dataclass(frozen=True, slots=True)
class Review:
    """The policy has changed: what it does not allow any more is to end.  Answered with a Report."""


@dataclass(frozen=True, slots=True)
class Followed:
    """`seq` is the number of the last durable change of the feed; another `feed_id`, another story."""

    feed_id: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class Report:
    """`counters` only ever grow until the node restarts; `gauges` go up and down.

    Names are lower case with underscores, as the metrics show them after the prefix `waypost_`.
    """

    counters: Mapping[str, int]
    gauges: Mapping[str, int]
