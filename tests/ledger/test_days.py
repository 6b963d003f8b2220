"""Days: when they are published, what they say, and that nobody can leave something out."""

import datetime
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keeping import Disk, Kept, notary
from rooting import state_of
from test_state import told, voted

from waypost.errors import ProofError, StoreError, WireError
from waypost.ledger.days import (
    DAY_MS,
    FIRST_LINE,
    GRACE_MS,
    RETRY_S,
    Chain,
    Day,
    Days,
    date_of,
    read_day,
    verify_day,
)
from waypost.ledger.entry import Kind, decode, encode
from waypost.ledger.log import DAY, NODE
from waypost.ledger.note import Note, sign
from waypost.record import Committed
from waypost.record.gossiped import Gossiped

NOON = 1_790_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
TODAY = date_of(NOON)
ANNA = notary(Disk().read)


class Holding:
    def __init__(self) -> None:
        self.records: list[Committed] = []
        self.gossip: list[Gossiped] = []

    def voted(self) -> list[Committed]:
        return list(self.records)

    def gossiped(self) -> list[Gossiped]:
        return list(self.gossip)


class Living:
    """Anna's log and its days; the clock begins at noon."""

    def __init__(self, kept: Kept | None = None, wall_ms: int = NOON) -> None:
        self.kept = kept or Kept()
        self.held = Holding()
        self.now, self.start_ms = 50.0, wall_ms
        self.days = Days(ANNA, self.kept.log, self.held)
        self.days.restore(self.now)
        self.days.handle_clock(self.now, wall_ms)

    def wait(self, seconds: float) -> "Living":
        until = self.now + seconds
        while (when := self.days.next_timer()) is not None and when <= until:
            self.now = when
            self.days.handle_timer(when)
            self.kept.enter(*self.days.take_entries())
        self.now = until
        return self

    def again(self, wall_ms: int) -> "Living":
        living = Living(self.kept.again(), wall_ms)
        living.held = self.held
        return living

    @property
    def published(self) -> list[Day]:
        return list(published(self.kept))

    @property
    def last(self) -> Day:
        return self.published[-1]


def published(kept: Kept) -> Iterator[Day]:
    for octets in kept.entries(0, kept.log.size):
        read = decode(octets)
        if read.kind == Kind.DAY:
            yield read_day(read.body, ANNA.key, ANNA.verify)


HALF = DAY_MS / 2000  # seconds


@given(st.integers(0, 4 * 10**13))
def test_dates_are_those_of_the_calendar(wall_ms: int) -> None:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=wall_ms)  # noqa: DTZ001
    assert date_of(wall_ms) == moment.date().isoformat()


def test_a_day_is_published_at_midnight_and_a_minute() -> None:
    living = Living()
    living.kept.enter(b"one", b"two")
    living.wait(HALF + GRACE_MS / 1000 - 1)
    assert living.published == []
    living.wait(5)
    assert [day.date for day in living.published] == [TODAY]
    assert living.days.date == TODAY
    day = living.last
    assert (day.before, day.start, day.stop, day.counts) == ("", 0, 2, {"other": 2})
    assert bytes.fromhex(day.root) == living.kept.log.tree.root(2)


def test_each_day_follows_the_one_before_also_where_nothing_came() -> None:
    living = Living()
    living.kept.enter(b"one")
    living.wait(3 * 2 * HALF)
    first, second, third = living.published
    assert (second.before, third.before) == (first.hash, second.hash)
    assert [(day.start, day.stop) for day in living.published] == [(0, 1), (1, 2), (2, 3)]
    assert second.counts == {"day": 1}
    assert [day.date for day in living.published] == [date_of(NOON + days * DAY_MS) for days in range(3)]


def test_before_the_log_has_a_head_there_is_no_day() -> None:
    assert Living().wait(2 * 2 * HALF).published == []


def test_what_was_missed_is_published_at_the_next_start_if_something_came() -> None:
    living = Living()
    living.kept.enter(b"one")
    living.wait(HALF + 100)
    living.kept.enter(b"two")
    again = living.again(NOON + 5 * DAY_MS).wait(10)
    assert [day.date for day in again.published] == [TODAY, date_of(NOON + 4 * DAY_MS)]
    assert again.last.counts == {"day": 1, "other": 1}
    assert again.again(NOON + 5 * DAY_MS).wait(10).published == again.published, "once"
    assert again.again(NOON + 9 * DAY_MS).wait(10).published == again.published, "nothing came but the day itself"


def test_a_new_log_does_not_speak_of_the_day_before() -> None:
    living = Living()
    living.kept.enter(b"opened")
    assert living.wait(100).published == []


def test_right_after_midnight_the_start_waits_for_what_is_under_way() -> None:
    kept = Kept()
    kept.enter(b"one")
    living = Living(kept, NOON + DAY_MS // 2 + 1)
    assert living.wait(GRACE_MS / 1000 - 1).published == []
    assert living.wait(5).last.date == TODAY


def test_while_the_log_may_not_sign_the_day_waits() -> None:
    living = Living()
    living.kept.enter(b"one")
    living.kept.log.may_sign = False
    assert living.wait(HALF + 1000).published == []
    living.kept.log.may_sign = True
    assert living.wait(RETRY_S + 1).last.date == TODAY


def test_a_clock_that_steps_moves_midnight() -> None:
    living = Living()
    living.kept.enter(b"one")
    living.days.handle_clock(living.now, NOON + DAY_MS // 2)
    assert living.wait(GRACE_MS / 1000 + 1).last.date == TODAY
    living.days.handle_clock(living.now, NOON)
    living.wait(HALF + 100)
    assert len(living.published) == 1, "no day comes twice"


def test_it_has_the_roots_of_what_was_held() -> None:
    living = Living()
    living.kept.enter(b"one")
    midnight = NOON + DAY_MS // 2
    living.held.records = [voted(f"{number}") for number in range(3_000)]
    early = [told(b"%d" % number, midnight, expires_ms=midnight + DAY_MS) for number in range(1_000)]
    late, dead = told(b"late", midnight + 1, expires_ms=midnight + DAY_MS), told(b"dead", 1, expires_ms=midnight + 1)
    living.held.gossip = [*early, late, dead]
    day = living.wait(HALF + 100).last
    assert (bytes.fromhex(day.voted.root), day.voted.size) == (state_of(living.held.records).root, 3_000)
    assert (bytes.fromhex(day.gossiped.root), day.gossiped.size) == (state_of(early).root, 1_000)


def test_no_step_is_more_than_a_portion_of_the_work() -> None:
    living = Living()
    living.kept.enter(*[b"%d" % number for number in range(3_000)])
    living.held.records = [voted(f"{number}") for number in range(3_000)]
    steps = 0
    living.wait(HALF + GRACE_MS / 1000 - 0.001)
    while not living.published:
        living.now = living.days.next_timer() or 0.0
        living.days.handle_timer(living.now)
        living.kept.enter(*living.days.take_entries())
        steps += 1
    assert steps >= 3_000 // 256 + 2 * 3_000 // 256
    assert living.last.stop == 3_000


def test_a_day_that_was_overtaken_while_it_was_made_is_not_published() -> None:
    living = Living()
    living.kept.enter(b"one")
    living.held.records = [voted(f"{number}") for number in range(3_000)]
    living.wait(HALF + GRACE_MS / 1000 + 0.01)
    assert living.published == []
    other = Living()
    other.kept.enter(b"one")
    other.wait(HALF + 100)
    living.kept.enter(other.kept.entries(1, 2)[0])
    living.wait(HALF)
    assert living.published == other.published


def test_a_last_day_that_the_disk_altered_is_found_at_the_start() -> None:
    living = Living()
    living.kept.enter(b"one")
    living.wait(HALF + 100)
    rows = living.kept.disk.tables[NODE]
    rows[DAY] = rows[DAY].replace(b"other", b"thing")
    with pytest.raises(StoreError, match="last day"):
        living.again(NOON)


class TestChain:
    """DAY-CHAIN: a stranger works out each day again from the log."""

    def log(self) -> Kept:
        living = Living()
        for number in range(4):
            living.kept.enter(*[b"%d/%d" % (number, each) for each in range(number * 200)])
            living.wait(2 * HALF)
        return living.kept

    def check(self, kept: Kept) -> list[Day]:
        chain = Chain(ANNA.key, ANNA.verify, kept.log.tree.root)
        return [day for octets in kept.entries(0, kept.log.size) if (day := chain.take(octets))]

    def test_an_honest_log_passes(self) -> None:
        kept = self.log()
        days = self.check(kept)
        assert days == list(published(kept))
        assert len(days) == 3
        for before, day in zip([None, *days], days, strict=False):
            verify_day(before, day, kept.entries(day.start, day.stop), kept.log.tree.root(day.stop))

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"before": "0" * 64}, "does not follow"),
            ({"before": ""}, "does not follow"),
            ({"start": 1}, "come after"),
            ({"start": 1, "stop": 2}, "leaves out"),
            ({"stop": 0}, "leaves out"),
            ({"stop": 5, "start": 9}, "leaves out"),
            ({"stop": 10**9}, "come after"),
            ({"counts": {"other": 1}}, "counts other"),
            ({"counts": {}}, "counts other"),
            ({"root": "0" * 64}, "another log"),
            ({"date": "1999-12-31"}, "cannot come after"),
            ({"origin": "waypost/eve"}, "cannot come after"),
        ],
    )
    def test_a_day_that_lies_is_found(self, change: dict[str, object], reason: str) -> None:
        kept = self.log()
        last = list(published(kept))[-1]
        day = Day(
            last.hash,
            {"day": 1},
            date_of(NOON + 9 * DAY_MS),
            last.gossiped,
            last.origin,
            kept.log.tree.root(kept.log.size).hex(),
            last.stop,
            kept.log.size,
            last.voted,
        )
        honest = Kept(kept.disk)
        lie = msgspec.structs.replace(day, **change)
        honest.enter(encode(Kind.DAY, Note(lie.text, (sign(lie.text, ANNA.key, ANNA.sign),)).encode()))
        with pytest.raises(ProofError, match=reason):
            self.check(honest)

    def test_the_same_day_without_a_lie_passes(self) -> None:
        kept = self.log()
        last = list(published(kept))[-1]
        size = kept.log.size
        root = kept.log.tree.root().hex()
        day = msgspec.structs.replace(
            last, before=last.hash, counts={"day": 1}, date="9999-01-01", root=root, start=last.stop, stop=size
        )
        kept.enter(encode(Kind.DAY, Note(day.text, (sign(day.text, ANNA.key, ANNA.sign),)).encode()))
        assert len(self.check(kept)) == 4

    def test_a_day_that_another_signed_is_found(self) -> None:
        kept = self.log()
        day, eve = list(published(kept))[-1], notary(Disk().read, "eve")
        kept.enter(encode(Kind.DAY, Note(day.text, (sign(day.text, eve.key, eve.sign),)).encode()))
        with pytest.raises(ProofError, match="not signed by waypost/anna"):
            self.check(kept)

    @pytest.mark.parametrize("text", ["waypost/anna\n1\nAAAA\n", FIRST_LINE, FIRST_LINE + "{}\n", FIRST_LINE + "[]\n"])
    def test_what_is_no_day_is_refused(self, text: str) -> None:
        with pytest.raises(WireError):
            read_day(Note(text, (sign(text, ANNA.key, ANNA.sign),)).encode(), ANNA.key, ANNA.verify)
