"""Observed lookups: which of them a change may concern, and what became of them.

A plan is one observed lookup, however many observe it.  It is filed under pairs (filing.py); a change of a
registration touches the pairs of that registration and of its links, as they were and as they are.  The plans
filed under what was touched are marked then, a bounded number in one handle_timer(), since one change may touch
all there are.

A marked plan is searched anew once GATHER_S after the first change, and at most once in EVERY_S;
its observers are told only if the answer differs from what they were told last.

Source: RFC 9176, 6.2 (observation); notes on the directory, 8.
"""

from collections import deque
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from waypost.engine import Deadlines
from waypost.identity import policy
from waypost.rd.filing import ANY, Filing, Pair, filing
from waypost.rd.index import LOCATION, Index, Registration
from waypost.rd.lookup import Search
from waypost.rd.questions import Busy, Cause, Found, Kind, Lookup, Refused

PLANS_MAX: Final = 16_384  # lookups observed
FILED_MAX: Final = 256  # lookups observed under one pair, and of those that every change marks
MEMBERS_FILED_MAX: Final = 65_536  # locations that lookups are filed under because a group has a member there
MARKS: Final = 512  # of lookups in one handle_timer(), and the rest of those under one pair
GATHER_S: Final = 0.1  # seconds from a change to the search, so that changes that come together cost one
EVERY_S: Final = 1.0  # seconds between two searches for one lookup
PAUSE_S: Final = 0.005  # seconds between two handle_timer() that search
STEPS: Final = 16  # of searches in one handle_timer()
STEP: Final = 32  # links looked at in one step

News = Found | Refused | Busy  # the latter two end the observation
TOO_MANY: Final = Busy(60, "the group has too many members for its lookups to be observed", Cause.LOOKUPS)


@dataclass(frozen=True, slots=True)
class Query:
    """What is observed.  `answer` is what its observer was told first; queries without it are equal."""

    kind: Kind
    criteria: tuple[tuple[str, str | None], ...]
    page: int
    count: int | None
    zone: int = 0
    view: policy.View | None = None
    answer: bytes = field(compare=False, default=b"")  # a digest

    @property
    def lookup(self) -> Lookup:
        return Lookup(self.kind, self.criteria, self.page, self.count, zone=self.zone, view=self.view)


@dataclass(slots=True, eq=False)
class Plan:
    """`told` is the digest of what its observers have."""

    query: Query
    told: bytes
    filing: Filing = Filing(())
    searched: float = float("-inf")
    marked: bool = False


class View(NamedTuple):
    """What lookups show of a registration, if they show it, and the pairs of it that plans are filed under."""

    shown: tuple[str, bytes, int, tuple[str, ...]] | None
    pairs: dict[Pair, None]


NOBODY: Final[dict[Plan, None]] = {}
NOTHING: Final = View(None, {})


class Plans:
    """The observed lookups.  How many observe one of them is the caller's affair."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._plans: dict[Query, Plan] = {}
        self._filed: dict[Pair, dict[Plan, None]] = {}
        self._members_filed = 0
        self._touched: dict[Pair, None] = {}  # of those that plans are filed under
        self._touched_at = float("-inf")
        self._any_marked = False  # all that are filed under ANY: a change need not look at each
        self._due: Deadlines[Plan] = Deadlines()
        self._waiting: deque[Plan] = deque()
        self._search: tuple[Plan, Search] | None = None
        self._resume_at = float("-inf")
        self._changed: list[tuple[Query, News]] = []
        self._searches = 0
        self._changes = 0

    def __len__(self) -> int:
        return len(self._plans)

    def observable(self, lookup: Lookup, answer: Found) -> Query | None:
        """The name of what an observer of `lookup`, answered so, observes; None if it cannot be, or too much is."""
        query = Query(lookup.kind, lookup.criteria, lookup.page, lookup.count, lookup.zone, lookup.view, digest(answer))
        return query if query in self._plans or self._admits(query) else None

    def begin(self, query: Query, now: float) -> None:
        """One more observes it, who was told `query.answer`."""
        plan = self._plans.get(query)
        if plan is None:
            plan = self._plans[query] = Plan(query, query.answer)
            if not self._file_anew(plan):
                self._tell(plan, TOO_MANY)
                return
        elif plan.told == query.answer:
            return
        else:
            plan.told = b""  # not all know the same: all are told once more
        # The answer may be that of a search that lasted while something changed.
        self._mark(plan, now)

    def end(self, query: Query) -> None:
        """Nobody observes it any more."""
        plan = self._plans.pop(query)
        self._file(plan, Filing(()))
        self._due.clear(plan)

    def view(self, registration: Registration | None) -> View:
        """What observers see of it now, to be compared with what they see later."""
        if not self._plans or registration is None or not registration.visible:
            return NOTHING
        filed = self._filed
        pairs: dict[Pair, None] = {}
        own = [*registration.pairs(), ("href", LOCATION + registration.location), ("", registration.origin), ANY]
        for some in (own, *[link.pairs for link in registration.document.links]):
            for name, value in some:
                pair = name, value or ""
                if pair in filed:
                    pairs[pair] = None
        shown = (registration.line(), registration.document.payload, registration.zone, registration.members)
        return View(shown, pairs)

    def compare(self, before: View, after: View, now: float) -> None:
        """Mark, soon, what may have changed with a registration seen before and after."""
        if before.shown == after.shown:
            return
        touched = before.pairs | after.pairs
        if self._any_marked:
            touched.pop(ANY, None)
        if touched:
            self._touched |= touched
            self._touched_at = now

    def handle_timer(self, now: float) -> None:
        """Mark some, and search for a while: small lookups many, a large one a part of it."""
        self._mark_touched(now)
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
        if self._touched:
            return self._touched_at
        due = self._due.next()
        if self._search is not None or self._waiting:
            return self._resume_at
        return None if due is None else max(due, self._resume_at)

    def take_changed(self) -> list[tuple[Query, News]]:
        """What observers are to be told, once."""
        changed, self._changed = self._changed, []
        return changed

    @property
    def marked(self) -> int:
        """Lookups that wait to be searched anew."""
        return len(self._due) + len(self._waiting)

    def counters(self) -> dict[str, int]:
        return {"lookups_searched_anew": self._searches, "lookups_changed": self._changes}

    def check(self) -> None:
        filed = {plan for plans in self._filed.values() for plan in plans}
        assert filed == {plan for plan in self._plans.values() if plan.filing.pairs}
        assert len(self._plans) <= PLANS_MAX
        assert all(0 < len(plans) <= FILED_MAX for plans in self._filed.values())
        by_members = [len(plan.filing.pairs) for plan in filed if plan.filing.by_members]
        assert sum(by_members) == self._members_filed <= MEMBERS_FILED_MAX
        assert self._touched.keys() <= self._filed.keys()
        assert all(plan.marked for plan in self._waiting)

    def _admits(self, query: Query) -> bool:
        if len(self._plans) >= PLANS_MAX:
            return False
        wanted = filing(self._index, query.lookup)
        return wanted is not None and self._fits(wanted, Filing(()))

    def _fits(self, wanted: Filing, held: Filing) -> bool:
        """Whether a plan that is filed as `held` may be filed as `wanted`."""
        grown = len(wanted.pairs) * wanted.by_members - len(held.pairs) * held.by_members
        if self._members_filed + grown > MEMBERS_FILED_MAX:
            return False
        return all(len(self._filed.get(pair, NOBODY)) < FILED_MAX for pair in wanted.pairs if pair not in held.pairs)

    def _file(self, plan: Plan, wanted: Filing) -> None:
        for pair in plan.filing.pairs:
            del self._filed[pair][plan]
            if not self._filed[pair]:
                del self._filed[pair]
                self._touched.pop(pair, None)
        self._members_filed += len(wanted.pairs) * wanted.by_members
        self._members_filed -= len(plan.filing.pairs) * plan.filing.by_members
        plan.filing = wanted
        for pair in wanted.pairs:
            self._filed.setdefault(pair, {})[plan] = None

    def _file_anew(self, plan: Plan) -> bool:
        """Whether it can be observed: its group may have other members now, and they may be too many."""
        if plan.filing.pairs and not plan.filing.by_members:
            return True
        wanted = filing(self._index, plan.query.lookup)
        if wanted is None or not self._fits(wanted, plan.filing):
            return False
        if wanted != plan.filing:
            self._file(plan, wanted)
        return True

    def _mark_touched(self, now: float) -> None:
        left = MARKS
        while self._touched and left > 0:
            pair = next(iter(self._touched))
            del self._touched[pair]
            plans = self._filed[pair]
            for plan in plans:
                self._mark(plan, now)
            self._any_marked |= pair == ANY
            left -= len(plans)

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
                if ANY in plan.filing.pairs:
                    self._any_marked = False
                if not self._file_anew(plan):
                    self._tell(plan, TOO_MANY)
                    continue
                self._searches += 1
                self._search = plan, Search(self._index, plan.query.lookup, lasting=True)
                return

    def _tell(self, plan: Plan, outcome: News) -> None:
        answer = digest(outcome)
        if answer != plan.told and self._plans.get(plan.query) is plan:
            plan.told = answer
            self._changes += 1
            self._changed.append((plan.query, outcome))


def digest(outcome: News) -> bytes:
    """Equal answers have equal ones."""
    return blake2b(outcome.body, digest_size=16).digest() if isinstance(outcome, Found) else b"refused"
