"""The decisions that agreement rests on, one function each.

Everything else of the room may be slow, late or down and no two nodes come to differ.  A rule broken in any of the
ways that a storm of the tests breaks it, and some schedule commits two records for one version.

Source: notes on DRiP, 4.4 (rules 1, 3, 4 of the voter, 1 and 2 of the initiator), 4.9 (rules 2 to 4).
"""

from collections.abc import Iterable

from waypost.drip.messages import Proposal
from waypost.record import NEVER, Ballot, Record, Roster


class Rules:
    """Stateless."""

    def quorum(self, roster: Roster, heard: int) -> int:
        """Votes that commit.  Of the roster, and not of the `heard` voters that answer: G6 of the notes."""
        return roster.quorum

    def may_use_round_zero(self, node: str, home: str) -> bool:
        """The record's home alone needs no promises, for nobody else can be at round 0 (4.4, voter 4)."""
        return node == home

    def may_promise(self, ballot: Ballot, promised: Ballot) -> bool:
        """4.4, voter 3."""
        return ballot > promised

    def may_accept(self, ballot: Ballot, promised: Ballot, accepted: Ballot) -> bool:
        """4.4, voter 4; `accepted` may have been brought by a merge (4.9, rule 4)."""
        if ballot.round == 0:
            return promised == accepted == NEVER
        return ballot >= promised

    def adopt(self, accepted: Iterable[Proposal], own: Record | None) -> Record | None:
        """What Q promises leave to propose: the record accepted at the highest ballot, or else one's own (4.4, 2)."""
        highest = max(accepted, key=lambda proposal: proposal.ballot, default=None)
        return highest.record if highest else own

    def is_dead(self, roster: Roster, final: int, heard: int) -> bool:
        """Whether a record can have no quorum any more, and has none, for so many voters will `final`ly not have it."""
        return final > len(roster.voters) - self.quorum(roster, heard)

    def may_vote_in(self, epoch: int, current: int) -> bool:
        """A voter that has learnt a later epoch is sealed: it never votes in an older one again (4.9, rule 2)."""
        return epoch == current

    def must_merge(self) -> bool:
        """Before its first vote in an epoch, a voter asks Q sealed voters of the last one (4.9, rule 3)."""
        return True

    def remembers(self) -> bool:
        """Promises and votes outlive a crash (4.2)."""
        return True
