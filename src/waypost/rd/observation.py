"""Observed lookups: which of them a change may concern, and what became of them.

A plan is one observed lookup, however many observe it.  It is filed under its rarest exact criterion;
a change of a registration looks up the pairs of that registration and of its links, as they were and
as they are, and marks the plans filed there.  What has no exact criterion (a prefix, a bare name, no
criteria) is on a short list that every change marks.

A marked plan is searched anew once GATHER_S after the first change, and at most once in EVERY_S;
its observers are told only if the answer differs from what they were told last.

Source: RFC 9176, 6.2 (observation); notes on the directory, 8.
"""

from collections import deque
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from waypost.engine import Deadlines
from waypost.rd.criterion import Criterion
from waypost.rd.index import LOCATION, Index, Registration
from waypost.rd.lookup import Search, estimate
from waypost.rd.questions import Found, Kind, Lookup, Refused

PLANS_MAX: Final = 16_384  # lookups observed
FILED_MAX: Final = 256  # lookups observed under one pair, and of those that every change marks
GATHER_S: Final = 0.1  # seconds from a change to the search, so that changes that come together cost one
EVERY_S: Final = 1.0  # seconds between two searches for one lookup
PAUSE_S: Final = 0.005  # seconds between two handle_timer() that search
STEPS: Final = 16  # of searches in one handle_timer()
STEP: Final = 32  # links looked at in one step

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Query:
    """What is observed.  `answer` is what its observer was told first; queries without it are equal."""

    kind: Kind
    criteria: tuple[tuple[str, str | None], ...]
    page: int
    count: int | None
    zone: int = 0
    answer: bytes = field(compare=False, default=b"")  # a digest

    @property
    def lookup(self) -> Lookup:
        return Lookup(self.kind, self.criteria, self.page, self.count, zone=self.zone)


@dataclass(slots=True, eq=False)
class Plan:
    """`told` is the digest of what its observers have; `pairs` is where it is filed, empty: on the short list."""

    query: Query
    pairs: tuple[Pair, ...]
    told: bytes
    searched: float = float("-inf")
    marked: bool = False


class View(NamedTuple):
    """What lookups show of a registration, if they show it, and the plans it may concern."""

    shown: tuple[str, bytes, int] | None
    plans: dict[Plan, None]


NOBODY: Final[dict[Plan, None]] = {}
NOTHING: Final = View(None, NOBODY)


class Plans:
    """The observed lookups.  How many observe one of them is the caller's affair."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._plans: dict[Query, Plan] = {}
        self._filed: dict[Pair, dict[Plan, None]] = {}
        self._unfiled: dict[Plan, None] = {}
        self._unfiled_marked = False  # all of them: a change need not look at each
        self._due: Deadlines[Plan] = Deadlines()
        self._waiting: deque[Plan] = deque()
        self._search: tuple[Plan, Search] | None = None
        self._resume_at = float("-inf")
        self._changed: list[tuple[Query, Found | Refused]] = []
        self._searches = 0
        self._changes = 0

    def __len__(self) -> int:
        return len(self._plans)

    def observable(self, lookup: Lookup, answer: Found) -> Query | None:
        """The name of what an observer of `lookup`, answered so, observes; None if it cannot be, or too much is."""
        if lookup.kind is Kind.GROUPS or any(name == "gp" for name, _ in lookup.criteria):
            return None  # what one registration says decides there about others
        query = Query(lookup.kind, lookup.criteria, lookup.page, lookup.count, lookup.zone, digest(answer))
        return query if query in self._plans or self._admits(query) else None

    def begin(self, query: Query, now: float) -> None:
        """One more observes it, who was told `query.answer`."""
        plan = self._plans.get(query)
        if plan is None:
            plan = self._plans[query] = Plan(query, filing(self._index, query), query.answer)
            for pair in plan.pairs:
                self._filed.setdefault(pair, {})[plan] = None
            if not plan.pairs:
                self._unfiled[plan] = None
        elif plan.told == query.answer:
            return
        else:
            plan.told = b""  # not all know the same: all are told once more
        # The answer may be that of a search that lasted while something changed.
        self._mark(plan, now)

    def end(self, query: Query) -> None:
        """Nobody observes it any more."""
        plan = self._plans.pop(query)
        for pair in plan.pairs:
            del self._filed[pair][plan]
            if not self._filed[pair]:
                del self._filed[pair]
        self._unfiled.pop(plan, None)
        self._due.clear(plan)

    def view(self, registration: Registration | None) -> View:
        """What observers see of it now, to be compared with what they see later."""
        if not self._plans or registration is None or not registration.visible:
            return NOTHING
        plans: dict[Plan, None] = {}
        filed = self._filed
        if filed:
            plans |= filed.get(("href", LOCATION + registration.location), NOBODY)
            plans |= filed.get(("", registration.origin), NOBODY)
            for name, value in registration.pairs():
                plans |= filed.get((name, value or ""), NOBODY)
            for link in registration.document.links:
                for name, value in link.pairs:
                    plans |= filed.get((name, value or ""), NOBODY)
        shown = (registration.line(), registration.document.payload, registration.zone)
        return View(shown, plans)

    def compare(self, before: View, after: View, now: float) -> None:
        """Mark what may have changed with a registration seen before and after."""
        if before.shown == after.shown:
            return
        for plan in before.plans | after.plans:
            self._mark(plan, now)
        if self._unfiled and not self._unfiled_marked:
            self._unfiled_marked = True
            for plan in self._unfiled:
                self._mark(plan, now)

    def handle_timer(self, now: float) -> None:
        """Search for a while: small lookups many, a large one a part of it."""
        if now < self._resume_at:
            return
        self._waiting += self._due.pop_due(now, STEPS - len(self._waiting))
        for _ in range(STEPS):
            if self._search is None:
                self._begin_search(now)
            if self._search is None:
                return
            plan, search = self._search
            if search.step(STEP, now):
                self._search = None
                assert search.outcome is not None
                self._tell(plan, search.outcome)
        self._resume_at = now + PAUSE_S

    def next_timer(self) -> float | None:
        due = self._due.next()
        if self._search is not None or self._waiting:
            return self._resume_at
        return None if due is None else max(due, self._resume_at)

    def take_changed(self) -> list[tuple[Query, Found | Refused]]:
        """What observers are to be told, once."""
        changed, self._changed = self._changed, []
        return changed

    def counters(self) -> dict[str, int]:
        return {"lookups_searched_anew": self._searches, "lookups_changed": self._changes}

    def check(self) -> None:
        filed = {plan for plans in self._filed.values() for plan in plans}
        assert filed | set(self._unfiled) == set(self._plans.values())
        assert all(plan.pairs for plan in filed)
        assert len(self._plans) <= PLANS_MAX
        assert all(plan.marked for plan in self._waiting)

    def _admits(self, query: Query) -> bool:
        if len(self._plans) >= PLANS_MAX:
            return False
        pairs = filing(self._index, query)
        lists = [self._filed.get(pair, NOBODY) for pair in pairs] or [self._unfiled]
        return all(len(plans) < FILED_MAX for plans in lists)

    def _mark(self, plan: Plan, now: float) -> None:
        if not plan.marked:
            plan.marked = True
            self._due.set(plan, max(now + GATHER_S, plan.searched + EVERY_S))

    def _begin_search(self, now: float) -> None:
        while self._waiting:
            plan = self._waiting.popleft()
            if self._plans.get(plan.query) is plan:
                # A change from here on marks it again.
                plan.marked, plan.searched = False, now
                if not plan.pairs:
                    self._unfiled_marked = False
                self._searches += 1
                self._search = plan, Search(self._index, plan.query.lookup, lasting=True)
                return

    def _tell(self, plan: Plan, outcome: Found | Refused) -> None:
        answer = digest(outcome)
        if answer != plan.told and self._plans.get(plan.query) is plan:
            plan.told = answer
            self._changes += 1
            self._changed.append((plan.query, outcome))


def digest(outcome: Found | Refused) -> bytes:
    """Equal answers have equal ones."""
    return blake2b(outcome.body, digest_size=16).digest() if isinstance(outcome, Found) else b"refused"


def filing(index: Index, query: Query) -> tuple[Pair, ...]:
    """The pairs of which a registration, or a link of it, has one if it can be in the answer; empty if none is sure."""
    best: tuple[Pair, ...] = ()
    least = 0
    for name, value in query.criteria:
        criterion = Criterion(name, value)
        if not criterion.exact or criterion.names_all(query.kind):
            continue
        pairs: tuple[Pair, ...] = ((name, criterion.text),)
        if criterion.origin is not None:  # a relative reference resolves to the origin of its registration's base
            pairs += (("", criterion.origin),)
        cost = estimate(index, criterion, query.kind)
        if not best or cost < least:
            best, least = pairs, cost
    return best
