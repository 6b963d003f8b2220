"""Whether a voter counts on: what it answers to a question, it counts after all that it signed before.

One that does not was restored from an old copy: it is shown the vote that it forgot.

Source: design, Contracts 7.
"""

from collections.abc import Mapping

from waypost.drip.messages import Restored
from waypost.drip.outbox import Outbox
from waypost.drip.roster import Electorate
from waypost.record import Mark, Vote


class Counting:
    def __init__(self, electorate: Electorate, outbox: Outbox) -> None:
        self.restored: dict[str, Vote] = {}  # voters that forgot a vote, and which
        self._electorate = electorate
        self._outbox = outbox
        self._latest: dict[str, Vote] = {}  # of each voter: the vote with the highest counter

    def note(self, vote: Vote) -> None:
        latest = self._latest.get(vote.mark.voter)
        if latest is None or order(latest.mark) < order(vote.mark):
            self._latest[vote.mark.voter] = vote

    def counters(self) -> dict[str, tuple[int, int]]:
        """Each voter's, by now."""
        return {name: order(vote.mark) for name, vote in self._latest.items()}

    def is_fresh(
        self, node: str, incarnation: int | None, counter: int, counters: Mapping[str, tuple[int, int]]
    ) -> bool:
        """Of an answer, which came to a question that was put at those `counters`."""
        latest, member = self._latest.get(node), self._electorate.roster.voter(node)
        if latest is None or member is None or latest.mark.incarnation != member.incarnation:
            return True
        if (incarnation or member.incarnation, counter) > counters.get(node, (0, 0)):
            return True
        self.restored[node] = latest
        self._outbox.tell_now(node, Restored(latest))
        return False


def order(mark: Mark) -> tuple[int, int]:
    return mark.incarnation, mark.counter
