"""The rules of agreement, each broken in turn: what a storm must catch.

Source: notes on DRiP, 4.6.
"""

from collections.abc import Iterable

from waypost.drip.messages import Proposal
from waypost.drip.rules import Rules
from waypost.record import Ballot, Record, Roster


class Forgets(Rules):
    """Votes and promises do not outlive a crash."""

    def remembers(self) -> bool:
        return False


class RoundZeroForEverybody(Rules):
    def may_use_round_zero(self, node: str, home: str) -> bool:
        return True

    def may_accept(self, ballot: Ballot, promised: Ballot, accepted: Ballot) -> bool:
        return ballot >= promised


class NoPromiseCheck(Rules):
    def may_accept(self, ballot: Ballot, promised: Ballot, accepted: Ballot) -> bool:
        return ballot.round > 0 or super().may_accept(ballot, promised, accepted)


class NoAdoption(Rules):
    def adopt(self, accepted: Iterable[Proposal], own: Record | None) -> Record | None:
        return own or super().adopt(accepted, own)


class NoSeal(Rules):
    def may_vote_in(self, epoch: int, current: int) -> bool:
        return epoch <= current


class NoMerge(Rules):
    def must_merge(self) -> bool:
        return False


class RoundZeroOverMerged(Rules):
    """The home proposes over what a merge brought."""

    def may_accept(self, ballot: Ballot, promised: Ballot, accepted: Ballot) -> bool:
        return ballot >= promised


class ReachableQuorum(Rules):
    """The draft's own rule: all of those that answer, however few."""

    def quorum(self, roster: Roster, heard: int) -> int:
        return max(1, min(heard, len(roster.voters)))
