"""The gaps that a node remembers: those in memory, and those on disk alone."""

import itertools

from handmade import Rows

from waypost.codec import u64
from waypost.drip.gaps import GAPS, HELD_MAX, Gap, Gaps
from waypost.drip.outbox import Outbox
from waypost.engine import Commit

READ = HELD_MAX // 2


def gap(number: int) -> Gap:
    return Gap("names", f"{number}", 1, 2, f"{number:064x}", "")


class Kept:
    """Gaps over a disk; `read` counts the rows that were read."""

    def __init__(self, rows: Rows | None = None) -> None:
        self.rows = rows or Rows()
        self.outbox = Outbox(itertools.count(1))
        self.gaps = Gaps(self.outbox)
        self.gaps.restore(self.rows, "drip_history")
        self.read = 0
        self.write()

    def note(self, *numbers: int) -> None:
        for number in numbers:
            self.gaps.note(gap(number))
        self.write()

    def write(self) -> None:
        for effect in self.outbox.take():
            assert isinstance(effect, Commit)
            self.rows.write(effect)
        self.gaps.check()

    def after(self, table: str, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        rows = self.rows.after(table, key, count)
        self.read += len(rows)
        return rows

    def oldest(self, count: int) -> list[str]:
        return [each.key for _, each in self.gaps.oldest(count, self.after)]

    def close(self, count: int) -> None:
        """So many of the oldest."""
        for number, each in self.gaps.oldest(count, self.after):
            assert not self.gaps.fill(number, each.hash)
            assert self.gaps.fill(number, "")
        self.write()


def test_gaps_beyond_those_in_memory_wait_on_disk_and_keep_their_order() -> None:
    kept = Kept()
    kept.note(*range(HELD_MAX + 50))
    assert kept.gaps.count == HELD_MAX + 50
    assert kept.gaps.missing == 2 * (HELD_MAX + 50)
    assert len(kept.oldest(2 * HELD_MAX)) == HELD_MAX
    assert kept.read == 0
    kept.close(HELD_MAX - 10)
    kept.note(HELD_MAX + 50)
    assert kept.oldest(100) == [f"{number}" for number in range(HELD_MAX - 10, HELD_MAX + 51)]
    assert kept.read == 51
    kept.close(100)
    assert kept.gaps.count == kept.gaps.missing == 0
    assert not kept.rows.tables[GAPS]
    kept.note(7)
    assert kept.oldest(10) == ["7"]


def test_after_a_restart_so_many_are_in_memory_and_all_are_counted() -> None:
    kept = Kept()
    kept.note(*range(HELD_MAX + 5))
    kept.close(3)
    again = Kept(kept.rows)
    assert again.gaps.count == HELD_MAX + 2
    assert again.oldest(1) == ["3"]
    again.note(HELD_MAX + 5)
    assert sorted(again.rows.tables[GAPS])[-1] == u64(HELD_MAX + 6)
    again.close(HELD_MAX)
    assert again.oldest(10) == [f"{HELD_MAX + number}" for number in (3, 4, 5)]


def test_a_gap_that_is_filled_in_part_is_smaller_after_a_restart() -> None:
    kept = Kept()
    kept.note(1)
    ((number, _),) = kept.gaps.oldest(1, kept.after)
    assert not kept.gaps.fill(number, "ab" * 32)
    kept.write()
    again = Kept(kept.rows)
    ((number, left),) = again.gaps.oldest(1, again.after)
    assert (left.low, left.high, left.hash) == (1, 1, "ab" * 32)
    assert again.gaps.missing == 1


def test_one_that_is_put_off_comes_after_the_others() -> None:
    kept = Kept()
    kept.note(1, 2, 3)
    kept.gaps.put_off(1)
    assert kept.oldest(3) == ["2", "3", "1"]
