"""One attempt of an initiator to have a version of a key committed.

Times are seconds of the caller's monotonic clock.

Source: notes on DRiP, 4.4 (initiator).
"""

from dataclasses import dataclass, field

from waypost.drip.messages import Poll, Proposal, VoteCall
from waypost.record import Ballot, Committed, Matter, Place, Record, Vote


@dataclass(slots=True)
class Attempt:
    """`record` is to be proposed, None to recover; `about` is what the outcome speaks of, for whoever asked as `id`.

    `barred` says why that is not to be proposed, or not any more.
    """

    version: int
    record: Record | None
    about: Record | None
    id: int | None
    deadline: float
    ballot: Ballot = Ballot(0, 0, "")
    value: Record | None = None  # what is voted on; None while promises are asked for
    matter: Matter | None = None
    calls: int = 0  # for a vote
    tries: int = 0
    seen: int = 0  # the highest round that somebody named
    denial: str = ""
    barred: str = ""
    is_backing_off: bool = False
    promises: dict[str, Proposal | None] = field(default_factory=dict)
    votes: dict[str, Vote] = field(default_factory=dict)
    denials: dict[str, str] = field(default_factory=dict)
    finals: dict[Record, dict[str, None]] = field(default_factory=dict)  # who will never have a record, in this term
    refusals: dict[str, None] = field(default_factory=dict)
    bare: dict[str, None] = field(default_factory=dict)  # voters that were asked without the version before
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)  # each voter's, when the question left

    def question(self, place: Place, base: Committed | None) -> Poll | VoteCall:
        """The last one; `base` is the version before."""
        return self.poll(place, base) if self.value is None else VoteCall(self.value, self.ballot, base)

    def poll(self, place: Place, base: Committed | None) -> Poll:
        return Poll(*place, self.version, self.ballot, base)
