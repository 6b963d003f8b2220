"""How a voter of a new term learns what the last one's had committed and accepted, before it votes.

Q sealed voters of the last term tell it: the newest committed version of each key, and of each vote that was open what
they had accepted.  The highest ballot counts.  Then it has joined.

Source: notes on DRiP, 4.9 (rules 2 to 4).
"""

from collections.abc import Callable
from heapq import nsmallest
from typing import Final

import msgspec

from waypost.drip.book import Book, Instance
from waypost.drip.messages import ENTRIES_MAX, Entry, Proposal, SealRequest, SealSnapshot
from waypost.drip.outbox import Outbox
from waypost.drip.roster import Electorate
from waypost.record import ROSTER, Committed, Place

PAGE_MAX: Final = 256 << 10  # octets of a snapshot's page, but for its last entry


class Merging:
    """`learn` takes what a node says is committed; `on_accept` is called with the place of each open vote.

    Whom it waits for is asked again after `ask_s` seconds.
    """

    def __init__(
        self,
        book: Book,
        electorate: Electorate,
        outbox: Outbox,
        ask_s: float,
        *,
        learn: Callable[[Committed, float, str], None],
        on_accept: Callable[[Place], None],
    ) -> None:
        self._book = book
        self._electorate = electorate
        self._outbox = outbox
        self._ask_s = ask_s
        self._learn = learn
        self._on_accept = on_accept
        self._at: float | None = None  # when to ask again

    def begin(self, now: float) -> None:
        """There may be a new term."""
        self._at = None
        self._watch(now)

    def handle_timer(self, now: float) -> None:
        if self._at is not None and self._at <= now:
            self.begin(now)

    def next_timer(self) -> float | None:
        return self._at

    # telling

    def receive_request(self, node: str, request: SealRequest) -> None:
        """The engine has learnt `successor` already, which sealed the term."""
        electorate = self._electorate
        successor = electorate.known(electorate.successor(request.epoch) or 0)
        if successor is None or successor.voter(node) is None:
            return
        is_named = successor.forced is not None and electorate.name in successor.forced.sources
        if not (is_named or (electorate.has_joined(request.epoch) and electorate.is_sound_voter(request.epoch))):
            return
        later = (place for place in {**self._book.committed, **self._book.instances} if place > request.after)
        places = nsmallest(ENTRIES_MAX + 2, later)  # those of the page, the roster, and one that says there are more
        entries: list[Entry] = []
        size = 0
        for place in places:
            if len(entries) == ENTRIES_MAX or size > PAGE_MAX:
                break
            entry = Entry(self._book.committed.get(place), self._book.instance(place).accepted)
            if place != ROSTER:  # rosters are told by themselves
                entries.append(entry)
                size += len(msgspec.json.encode(entry))
            last = place
        else:
            last = None
        self._outbox.tell(node, SealSnapshot(request.epoch, request.after, tuple(entries), last))

    # being told

    def receive(self, node: str, page: SealSnapshot, now: float) -> None:
        """Only while this node waits, for then it has not voted in its term."""
        if not self._electorate.is_merging(page.epoch):
            return
        for entry in page.entries:
            if entry.committed is not None:
                self._learn(entry.committed, now, node)
            if entry.accepted is not None:
                self._merge(entry.accepted)
        self._electorate.merged(node, page.epoch, page.after, page.next)
        self._watch(now)

    def _merge(self, accepted: Proposal) -> None:
        """What a sealed voter had accepted: the highest ballot counts."""
        place = accepted.record.place
        instance = self._book.instance(place)
        if accepted.record.version == instance.version and accepted.ballot > instance.accepted_ballot:
            promised = max(instance.promised, accepted.ballot)
            self._book.save(place, Instance(instance.version, promised, accepted, None))
            self._on_accept(place)

    def _watch(self, now: float) -> None:
        if not self._electorate.is_waiting():
            self._at = None
        elif self._at is None:
            self._electorate.merge()
            self._at = now + self._ask_s
