"""Who may write a record: asked of a judge, whom every voter carries.

The default: a key's holder may change it; a new key is made by the policy's operator, or by whom the policy names for a
prefix that the key begins with.

Source: design, Contracts 6 (Judge); notes on DRiP, 4.4 (voter 4) and 5.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from waypost.record import ROSTER, Place, Record, Roster, roster_in


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` says what is wrong, in a few words."""

    allowed: bool
    reason: str = ""


ALLOWED = Verdict(True)


class Judge(Protocol):
    """Pure: every voter must come to the same verdict about the same records.

    `cited` has what the new record cites, and always the roster in force.
    """

    def judge(self, old: Record | None, new: Record, cited: Mapping[Place, Record], wall_ms: int) -> Verdict: ...


class Holders:
    """The default judge."""

    def judge(self, old: Record | None, new: Record, cited: Mapping[Place, Record], wall_ms: int) -> Verdict:
        if old is not None:
            return ALLOWED if new.author == old.holder else Verdict(False, "only the holder may change it")
        policy = roster_in(cited[ROSTER]).policy
        if new.author == policy.operator:
            return ALLOWED
        for creator in policy.creators:
            within = creator.namespace == new.namespace and new.key.startswith(creator.prefix)
            if within and creator.key == new.author:
                return ALLOWED
        return Verdict(False, "the policy names nobody with this key for a new key here")


def follows(old: Roster, new: Roster) -> bool:
    """Whether a roster may come after another: a voter's key changes only with its incarnation, which only grows."""
    before = {member.name: member for member in old.voters}
    for member in new.voters:
        was = before.get(member.name, member)
        if member.incarnation < was.incarnation or (member.incarnation == was.incarnation and member.key != was.key):
            return False
    return True
