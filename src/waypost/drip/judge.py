"""Who may write a record: asked of a judge, whom every voter carries.

The default: a key's holder may change it, and give it to who takes it; a new key is made by the policy's operator, or
by whom the policy names for a prefix that the key begins with, for any holder.  The roster may be amended by a voter's
node key as well: amends() says how far.

Source: design, Contracts 6 (Judge); notes on DRiP, 4.4 (voter 4) and 5.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from waypost.errors import WireError
from waypost.record import ROSTER, Place, Record, Roster, roster_in
from waypost.record.roster import DETAILED


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` says what is wrong, in a few words."""

    allowed: bool
    reason: str = ""


ALLOWED = Verdict(True)


class Judge(Protocol):
    """Pure: every voter must come to the same verdict about the same records.

    `cited` has what the new record cites, and always the roster in force.  That a record is signed by its author, and
    one that has `taken` by its new holder, was looked at before.
    """

    def judge(self, old: Record | None, new: Record, cited: Mapping[Place, Record], wall_ms: int) -> Verdict: ...


class Holders:
    """The default judge."""

    def judge(self, old: Record | None, new: Record, cited: Mapping[Place, Record], wall_ms: int) -> Verdict:
        if old is not None and new.author == old.holder:
            is_taken = new.holder == old.holder or new.taken != ""
            return ALLOWED if is_taken else Verdict(False, "the new holder has not accepted it")
        if old is not None and new.place == ROSTER:
            return _amendment(old, new)
        if old is not None:
            return Verdict(False, "only the holder may change it")
        policy = roster_in(cited[ROSTER]).policy
        if new.author == policy.operator:
            return ALLOWED
        for creator in policy.creators:
            within = creator.namespace == new.namespace and new.key.startswith(creator.prefix)
            if within and creator.key == new.author:
                return ALLOWED
        return Verdict(False, "the policy names nobody with this key for a new key here")


def follows(old: Roster, new: Roster) -> bool:
    """Whether a roster may come after another: a node's key changes only with its incarnation, which only grows.

    Nobody votes on one that is forced: it needs no votes.  Nor on one that names somebody anew who could not read it.
    """
    come = set(new.members) - set(old.members) if old.has_details else ()
    reads = all(member.wire >= DETAILED for member in come)
    return new.forced is None and reads and keeps_installations(old, new)


def keeps_installations(old: Roster, new: Roster) -> bool:
    before = {member.name: member for member in old.voters + old.learners}
    for member in new.voters + new.learners:
        was = before.get(member.name, member)
        if member.incarnation < was.incarnation or (member.incarnation == was.incarnation and member.key != was.key):
            return False
    return True


def amends(old: Roster, new: Roster, author: str) -> bool:
    """Whether a voter, whose node key is `author`, may have made the one of the other.

    It may let in a learner, or one's next installation, and say of itself another URL, organisation and details: who
    votes and what the policy says is the operator's.
    """
    me = next((voter for voter in old.voters if voter.key == author), None)
    if me is None or new.policy != old.policy or not follows(old, new):
        return False
    mine = next((voter for voter in new.voters if voter.name == me.name), me)
    moved = msgspec.structs.replace(me, wire=mine.wire, capabilities=mine.capabilities, tls=mine.tls)
    if new.learners == old.learners:
        moved = msgspec.structs.replace(moved, url=mine.url, organisation=mine.organisation)
    if new.voters != tuple(moved if voter is me else voter for voter in old.voters):
        return False
    come = [member for member in new.learners if member not in old.learners]
    stay = tuple(member for member in new.learners if member not in come)
    gone = come[0].name if come else ""
    return len(come) <= 1 and stay == tuple(member for member in old.learners if member.name != gone)


def _amendment(old: Record, new: Record) -> Verdict:
    try:
        may = amends(roster_in(old), roster_in(new), new.author)
    except WireError:
        may = False
    if may and new.holder == old.holder:
        return ALLOWED
    return Verdict(False, "a voter may let in a learner or move itself: the rest is the operator's")
