"""Timers as data: the fast table agrees with a dumb one."""

from hypothesis import given
from hypothesis import strategies as st

from waypost.engine import Deadlines

steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), st.integers(0, 50)),
        st.tuples(st.just("clear"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("due"), st.integers(0, 50), st.integers(1, 3)),
    ),
    max_size=60,
)


@given(steps)
def test_deadlines_agree_with_a_plain_dict(steps: list[tuple[str, int, int]]) -> None:
    fast: Deadlines[int] = Deadlines()
    plain: dict[int, float] = {}
    for what, first, second in steps:
        if what == "set":
            fast.set(first, float(second))
            plain[first] = float(second)
        elif what == "clear":
            fast.clear(first)
            plain.pop(first, None)
        else:
            expected = sorted(when for when in plain.values() if when <= first)[:second]
            assert [plain.pop(key) for key in fast.pop_due(float(first), limit=second)] == expected
        assert fast.next() == min(plain.values(), default=None)
        assert len(fast) == len(plain)


def test_those_that_fall_due_together_come_in_the_order_they_were_set() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for key in ("c", "a", "b"):
        deadlines.set(key, 1.0)
    assert deadlines.pop_due(1.0) == ["c", "a", "b"]


def test_earlier_ones_come_first_however_they_were_set() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("late", 3.0)
    deadlines.set("moved later", 1.0)
    deadlines.set("moved later", 2.0)
    deadlines.set("moved earlier", 9.0)
    deadlines.set("moved earlier", 1.5)
    assert deadlines.pop_due(5.0) == ["moved earlier", "moved later", "late"]


def test_a_deadline_moved_a_million_times_is_still_one() -> None:
    """What a refreshed registration does for years must not grow the heap."""
    deadlines: Deadlines[str] = Deadlines()
    for i in range(100_000):
        deadlines.set("renewed", float(i))
        deadlines.set("flickering", float(i % 2))
        deadlines.clear(f"gone {i}")
        deadlines.set(f"gone {i}", float(i))
        deadlines.clear(f"gone {i}")
    assert deadlines.entries() <= 2 * len(deadlines) + Deadlines.HEAP_SLACK + 1
    assert deadlines.pop_due(1e9) == ["flickering", "renewed"]
