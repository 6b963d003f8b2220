"""What a change costs that concerns many observed lookups: counted, not timed."""

from typing import Final

from waypost.rd.clocks import Clocks
from waypost.rd.observation import FILED_MAX, MARKS, PLANS_MAX, STEPS, Plans, Query
from waypost.rd.questions import Found, Kind
from waypost.rd.record import Record
from waypost.rd.registrations import Registrations

WALL_MS: Final = 1_800_000_000_000
TYPES: Final = PLANS_MAX // FILED_MAX
LINKS: Final = ",".join(f'</{number}>;rt="type-{number}"' for number in range(TYPES))


def query(number: int) -> Query:
    return Query(Kind.RESOURCES, (("rt", f"type-{number % TYPES}"),), 0, number + 1)


class Observed:
    """As many lookups as may be observed, each for one of TYPES, all of them searched once; and no registration."""

    def __init__(self) -> None:
        self.clocks = Clocks()
        self.clocks.set(0.0, WALL_MS)
        self.registrations = Registrations(self.clocks, grace_s=60.0)
        self.plans = Plans(self.registrations.index)
        self.now = 0.0
        for number in range(PLANS_MAX):
            self.plans.begin(query(number), self.now)
        self.settle()

    def register(self, links: str) -> None:
        """The one endpoint there is."""
        before = self.plans.view(self.registrations.by_key.get(b"a"))
        record = Record(
            attributes=(),
            base="coap://a",
            d=None,
            ep="a",
            expires_ms=self.clocks.to_wall_ms(1e6),
            explicit=True,
            links=links,
            location="a",
            lt=60,
        )
        if before.shown is not None:
            self.registrations.forget(b"a")
        self.registrations.put(b"a", record, None, 1e6, self.now)
        self.plans.compare(before, self.plans.view(self.registrations.by_key[b"a"]), self.now)

    def settle(self) -> dict[Query, bytes]:
        """Handle all timers; what observers know then."""
        told: dict[Query, bytes] = {}
        while (when := self.plans.next_timer()) is not None:
            self.now = max(self.now, when)
            self.plans.handle_timer(self.now)
            for changed, news in self.plans.take_changed():
                assert isinstance(news, Found)
                told[changed] = news.body
        return told


def test_a_change_that_concerns_all_lookups_marks_a_bounded_number_in_each_call() -> None:
    observed = Observed()
    observed.now = 1000.0
    observed.register(LINKS)
    assert observed.plans.marked == 0, "nothing is marked while a change is applied"
    calls = 0
    while (when := observed.plans.next_timer()) == observed.now:
        marked = observed.plans.marked
        observed.plans.handle_timer(when)
        assert observed.plans.marked - marked <= MARKS + FILED_MAX
        calls += 1
    assert observed.plans.marked == PLANS_MAX
    assert calls >= PLANS_MAX // (MARKS + FILED_MAX)
    observed.plans.check()


def test_all_that_were_marked_in_slices_are_told() -> None:
    observed = Observed()
    observed.now = 1000.0
    observed.register(LINKS)
    assert len(observed.settle()) == PLANS_MAX


def test_a_search_between_two_slices_loses_no_later_change() -> None:
    observed = Observed()
    observed.now = 1000.0
    observed.register(LINKS)
    for _ in range(3):
        observed.plans.handle_timer(observed.now)
    observed.now += 0.11  # some are due, and some not marked yet
    observed.plans.handle_timer(observed.now)
    observed.register(LINKS.replace("</", "</changed/"))
    told = observed.settle()
    assert len(told) == PLANS_MAX
    assert all(b"/changed/" in body for body in told.values())


def test_a_lookup_that_ends_while_its_mark_is_due_is_not_searched() -> None:
    observed = Observed()
    observed.now = 1000.0
    observed.register(LINKS)
    before = observed.plans.counters()["lookups_searched_anew"]
    for number in range(PLANS_MAX):
        observed.plans.end(query(number))
    assert observed.plans.next_timer() is None
    assert observed.settle() == {}
    assert observed.plans.counters()["lookups_searched_anew"] == before


def test_one_call_searches_a_bounded_number() -> None:
    observed = Observed()
    observed.now = 1000.0
    observed.register(LINKS)
    while observed.plans.next_timer() == observed.now:
        observed.plans.handle_timer(observed.now)
    while (when := observed.plans.next_timer()) is not None:
        searched = observed.plans.counters()["lookups_searched_anew"]
        observed.plans.handle_timer(when)
        assert observed.plans.counters()["lookups_searched_anew"] - searched <= STEPS
        assert all(isinstance(news, Found) for _, news in observed.plans.take_changed())
