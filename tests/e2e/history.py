"""Is what clients were told of one key linearizable?

A key is a register with a version: a claim makes version n out of n - 1 or fails, a quorum read tells the version and
its value.  Since every operation names a version, an order is there from the start, and all that is left is whether
each version can have become current at some moment that suits all intervals: no search is needed.

Values name their claims: no two claims of a history have the same.  Intervals are closed, in seconds of one clock; the
end of what never ended is `inf`.

Source: notes on DRiP, 4.12 (I6, I13); Herlihy and Wing, 1990.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Told(Enum):
    COMMITTED = "committed"  # it was the version that it asked to be
    LOST = "lost"  # another was that version by then, and it never is
    DENIED = "denied"  # it never is, whatever else is
    UNKNOWN = "unknown"  # it happened at some time after its start, or never will


@dataclass(frozen=True)
class Claim:
    value: str
    version: int  # that it asked to be, from 1
    start: float
    end: float
    told: Told


@dataclass(frozen=True)
class Read:
    """A quorum read.  `version` 0 and value None: there was no such key."""

    value: str | None
    version: int
    start: float
    end: float


Operation = Claim | Read


def violation(history: Sequence[Operation]) -> str | None:
    """Why no order of the operations explains what was told; None if one does."""
    claims = {operation.value: operation for operation in history if isinstance(operation, Claim)}
    reads = [operation for operation in history if isinstance(operation, Read)]
    assert len(claims) + len(reads) == len(history), "two claims of the same value"
    current: dict[int, Claim] = {}  # which claim each version was
    shown = [claim for claim in claims.values() if claim.told is Told.COMMITTED]
    for read in reads:
        if (read.version == 0) != (read.value is None):
            return f"{read}: a version without a value, or a value without a version"
        if read.value is None:
            continue
        if read.value not in claims:
            return f"{read}: nobody wrote that"
        shown.append(claims[read.value])
        if read.version != claims[read.value].version:
            return f"{read}: the value was to be another version, {claims[read.value]}"
    for claim in shown:
        if claim.told in (Told.LOST, Told.DENIED):
            return f"{claim}: it happened all the same"
        if current.setdefault(claim.version, claim) != claim:
            return f"{claim} and {current[claim.version]}: both were the same version"
    return _complete(history, claims, current) or _timeless(history, current)


def _complete(history: Sequence[Operation], claims: dict[str, Claim], current: dict[int, Claim]) -> str | None:
    """Put claims of unknown outcome where a version must have been and nobody was told whose it is.

    Whichever began first suits best, and the others of that version never happened.
    """
    reached = [one.version for one in history if isinstance(one, Read) or one.told in (Told.COMMITTED, Told.LOST)]
    for version in range(1, max(reached, default=0) + 1):
        able = [one for one in claims.values() if one.version == version and one.told is Told.UNKNOWN]
        if version in current:
            continue
        if not able:
            return f"version {version} came from nowhere"
        current[version] = min(able, key=lambda claim: claim.start)
    return None


def _timeless(history: Sequence[Operation], current: dict[int, Claim]) -> str | None:
    """Let each version become current as early as it can: that leaves the most room to all that follow."""
    seen: dict[int, list[Operation]] = {}  # what needs that version to be current at some time of its interval
    beaten: dict[int, list[Operation]] = {}  # what needs that version to have come by its end
    for operation in history:
        if isinstance(operation, Read):
            seen.setdefault(operation.version, []).append(operation)
        elif operation.told is Told.LOST:
            beaten.setdefault(operation.version, []).append(operation)
    moment = float("-inf")
    for version in sorted(current):
        claim = current[version]
        last = max(seen.get(version - 1, ()), key=lambda read: read.start, default=claim)
        moment = max(moment, claim.start, last.start)
        for witness in (claim, *seen.get(version, ()), *beaten.get(version, ())):
            # What was told with an unknown outcome may happen at any later time.
            if moment > witness.end and not (witness is claim and claim.told is Told.UNKNOWN):
                return f"{witness}: version {version} was not current before {moment}, after {claim} and {last}"
    return None
