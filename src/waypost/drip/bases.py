"""Which versions go along with a question about the next: those that a voter may lack (notes, 4.4, voter 2).

Nearly every voter has a version once it has been spread, and it is most of a question.  So it goes along where it was
committed or learnt just now, and where a vote came to nothing before; a voter that lacks it all the same says
No("stale") that names no committed version, and is asked again with it, once.

Times are seconds of the caller's monotonic clock.
"""

from collections.abc import Iterable
from typing import Final

from waypost.drip.attempt import Attempt
from waypost.drip.book import Book
from waypost.drip.messages import No
from waypost.record import Committed, Place

NEWS_S: Final = 0.1  # after which nearly every voter has learnt what was committed


class Bases:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._news: dict[Place, float] = {}  # keys of which a version came within NEWS_S, the oldest first

    def learnt(self, place: Place, now: float) -> None:
        """The book has a newer version of a key."""
        self._news.pop(place, None)
        self._news[place] = now
        self._forget(now)

    def along(self, place: Place, attempt: Attempt, voters: Iterable[str], now: float) -> Committed | None:
        """With the attempt's next question to these voters; the attempt notes who is asked without."""
        self._forget(now)
        had_poll = attempt.value is not None and attempt.ballot.round > 0
        is_old = place not in self._news and attempt.record is not None and not attempt.tries
        attempt.bare = dict.fromkeys(voters) if had_poll or is_old else {}
        return None if attempt.bare else self._book.committed.get(place)

    def lacked(self, place: Place, attempt: Attempt, node: str, no: No) -> Committed | None:
        """What a voter lacks that says so; None: that is not what it says, or it was told already."""
        if no.reason != "stale" or no.committed is not None or node not in attempt.bare:
            return None
        del attempt.bare[node]
        return self._book.committed.get(place)

    def _forget(self, now: float) -> None:
        while self._news:
            oldest = next(iter(self._news))
            if now - self._news[oldest] <= NEWS_S:
                return
            del self._news[oldest]
