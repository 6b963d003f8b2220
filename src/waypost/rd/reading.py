"""Questions that change nothing: lookups, one registration with its links, lists.

A lookup that looks at many links goes on in slices, so that nobody waits long for another's.

Source: RFC 9176, 6; draft-ietf-core-resource-directory-12, 5.4.3.
"""

from collections import deque
from typing import Final, assert_never

from waypost.errors import WireError
from waypost.identity.policy import Decide
from waypost.rd import export, questions
from waypost.rd.access import decide_at, decide_range
from waypost.rd.criterion import Criterion
from waypost.rd.evictions import Evictions
from waypost.rd.exact import Exact
from waypost.rd.index import Index
from waypost.rd.lookup import Search
from waypost.rd.questions import (
    Busy,
    Cause,
    Export,
    Located,
    Locations,
    Lookup,
    Outcome,
    Read,
    Reason,
    Refused,
)

SLICE: Final = 500  # links that a lookup looks at in one go
SEARCHES_MAX: Final = 64  # lookups under way
BUSY_RETRY: Final = 1  # seconds


class Reading:
    """`decide` is asked about every question, before anything else is done with it."""

    def __init__(self, index: Index, evictions: Evictions, decide: Decide) -> None:
        self._index = index
        self._evictions = evictions
        self._decide = decide
        self._exact = Exact(index)
        self._searches: deque[tuple[int, Lookup, Search]] = deque()

    @property
    def lookups(self) -> int:
        return self._exact.lookups

    @property
    def under_way(self) -> int:
        """Lookups that step() carries on."""
        return len(self._searches)

    def look_up(self, id: int, lookup: Lookup, now: float) -> Outcome | None:
        view = decide_range(self._decide, lookup)
        if isinstance(view, Refused):
            return view
        lookup.view = view
        found = self._exact.look_up(lookup)
        if found is not None:
            return found
        try:
            search = Search(self._index, lookup, lasting=False)
        except WireError as error:
            return Refused(Reason.BAD_REQUEST, str(error))
        if search.step(SLICE, now):
            return search.outcome
        if len(self._searches) >= SEARCHES_MAX:
            return Busy(BUSY_RETRY, "too many large lookups are under way: come back, or ask for less", Cause.LOOKUPS)
        self._searches.append((id, lookup, Search(self._index, lookup, lasting=True)))
        return None

    def listed(self, question: Locations | Export | questions.Evictions, now: float) -> Outcome:
        view = decide_range(self._decide, question)
        match question:
            case _ if isinstance(view, Refused):
                return view
            case Locations():
                held = self._index.by_location.values()
                return Located(tuple([r.location for r in held if view is None or view.shows(r.d, r.ep)]))
            case Export():
                return export.page(self._index, question, view, now)
            case questions.Evictions():
                return self._evictions.listed(view, now)
            case _:
                assert_never(question)

    def read(self, question: Read, now: float) -> Outcome:
        """A link's href matches as it is shown, and as it was registered (draft -12, 5.4.3)."""
        registration = self._index.at(question.location)
        if registration is not None and registration.zone not in (0, question.zone):
            registration = None
        refused = decide_at(self._decide, question, registration)
        if refused is not None:
            return refused
        assert registration is not None
        criteria = [Criterion(name, value) for name, value in question.criteria]
        links = [
            link.entry(registration)
            for link in registration.document.links
            if all(
                item.matches_link(link, registration) or (item.name == "href" and item.accepts(link.href))
                for item in criteria
            )
        ]
        return registration.entry(now, tuple(links))

    def step(self, now: float) -> tuple[int, Outcome] | None:
        """Carry one lookup on; who asked and the outcome, if it is done."""
        if not self._searches:
            return None
        id, lookup, search = self._searches.popleft()
        if search.step(SLICE, now):
            assert search.outcome is not None
            return id, search.outcome
        self._searches.append((id, lookup, search))
        return None

    def review(self) -> list[tuple[int, Outcome]]:
        """The policy has changed: what becomes of lookups under way that it decides otherwise."""
        ended: list[tuple[int, Outcome]] = []
        under_way, self._searches = self._searches, deque()
        for id, lookup, search in under_way:
            view = decide_range(self._decide, lookup)
            if view == lookup.view:
                self._searches.append((id, lookup, search))
            else:
                changed = Busy(BUSY_RETRY, "the policy has changed: ask again", Cause.LOOKUPS)
                ended.append((id, view if isinstance(view, Refused) else changed))
        return ended

    def check(self) -> None:
        assert len(self._searches) <= SEARCHES_MAX
