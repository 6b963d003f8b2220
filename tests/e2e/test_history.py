"""The checker of histories: it takes what is right and refuses what was planted, as a dumb search does."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import inf
from random import Random

import pytest
from history import Claim, Operation, Read, Told, violation
from hypothesis import given
from hypothesis import strategies as st

COMMITTED, LOST, DENIED, UNKNOWN = Told.COMMITTED, Told.LOST, Told.DENIED, Told.UNKNOWN
A = Claim("a", 1, 1, 2, COMMITTED)
B = Claim("b", 2, 3, 4, COMMITTED)

GOOD: dict[str, list[Operation]] = {
    "nothing": [],
    "one after the other": [Read(None, 0, 0, 0.5), A, Read("a", 1, 2.5, 2.6), B, Read("b", 2, 5, 6)],
    "a read beside a claim may see it": [A, Read("a", 1, 1.1, 1.2)],
    "a read beside a claim may not see it yet": [A, Read(None, 0, 1.8, 1.9)],
    "an end is not before a start at the same time": [A, Read(None, 0, 2, 3)],
    "a rival lost": [A, Claim("x", 1, 1, 2, LOST), Claim("y", 1, 5, 6, LOST)],
    "what was denied is not there": [A, Claim("x", 2, 2.5, 3, DENIED), B],
    "unknown, and it never happened": [A, Claim("x", 2, 2.5, inf, UNKNOWN), B, Read("b", 2, 5, 6)],
    "unknown, and it happened late": [A, Claim("x", 2, 2.5, inf, UNKNOWN), Read("a", 1, 5, 6), Read("x", 2, 7, 8)],
    "unknown, and shown by a rival that lost": [A, Claim("x", 2, 3, inf, UNKNOWN), Claim("y", 2, 5, 6, LOST)],
    "unknown, and shown by the version after": [A, Claim("x", 2, 3, 4, UNKNOWN), Claim("c", 3, 5, 6, COMMITTED)],
    "unknown twice, and the earlier fits": [
        A,
        Claim("late", 2, 9, inf, UNKNOWN),
        Claim("early", 2, 3, inf, UNKNOWN),
        Claim("c", 3, 5, 6, COMMITTED),
    ],
}

PLANTED: dict[str, list[Operation]] = {
    "a stale read": [A, B, Read("a", 1, 5, 6)],
    "a stale read of nothing": [A, Read(None, 0, 3, 4)],
    "a read that goes back": [A, replace(B, end=20), Read("b", 2, 5, 6), Read("a", 1, 7, 8)],
    "a read of what comes later": [A, Read("b", 2, 2.1, 2.2), B],
    "a lost update: two at one version": [A, Claim("x", 1, 1, 2, COMMITTED)],
    "a lost update: another took its place": [A, Claim("x", 1, 1, inf, UNKNOWN), Read("x", 1, 3, 4)],
    "a lost update: it is gone": [A, B, Read("a", 1, 5, 6), Read("b", 2, 7, 8)],
    "written twice": [A, B, Read("a", 3, 5, 6)],
    "written twice, in another's place": [A, B, Read("a", 2, 5, 6)],
    "a failed one is there": [A, Claim("x", 2, 3, 4, LOST), Read("x", 2, 5, 6)],
    "a denied one is there": [A, Claim("x", 2, 3, 4, DENIED), Read("x", 2, 5, 6)],
    "one told to have failed before anything could beat it": [Claim("x", 1, 0, 0.5, LOST), A],
    "lost to nobody": [A, Claim("x", 2, 3, 4, LOST)],
    "a value that nobody wrote": [A, Read("z", 1, 3, 4)],
    "a version that nobody wrote": [A, Claim("c", 3, 5, 6, COMMITTED)],
    "committed before the version before it": [replace(A, start=5, end=6), B],
    "an unknown one that began too late": [A, Claim("x", 2, 9, inf, UNKNOWN), Claim("c", 3, 5, 6, COMMITTED)],
    "an unknown one that happened before it began": [A, Claim("x", 2, 9, inf, UNKNOWN), Read("x", 2, 5, 6)],
    "a version without a value": [A, Read(None, 1, 3, 4)],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_a_history_that_can_have_been_is_taken(history: list[Operation]) -> None:
    assert violation(history) is None
    assert search(history)


@pytest.mark.parametrize("history", PLANTED.values(), ids=PLANTED)
def test_a_planted_violation_is_refused(history: list[Operation]) -> None:
    assert violation(history) is not None
    assert not search(history)


def search(history: Sequence[Operation]) -> bool:
    """The dumb way (Wing and Gong, 1993): try every order that respects the intervals."""
    length = len(history)
    must = frozenset(i for i, one in enumerate(history) if not (isinstance(one, Claim) and one.told is UNKNOWN))
    ends = [one.end if i in must else inf for i, one in enumerate(history)]

    @cache
    def go_on(done: frozenset[int], version: int, value: str | None) -> bool:
        if must <= done:
            return True
        rest = [i for i in range(length) if i not in done]
        first = min(ends[i] for i in rest)
        for i in rest:
            if history[i].start > first:
                continue
            for now in after(history[i], version, value):
                if go_on(done | {i}, *now):
                    return True
        return False

    return go_on(frozenset(), 0, None)


def after(operation: Operation, version: int, value: str | None) -> list[tuple[int, str | None]]:
    """The state that the operation leaves behind; none if it cannot be here."""
    if isinstance(operation, Read):
        fits = (operation.version, operation.value) == (version, value)
    elif operation.told in (COMMITTED, UNKNOWN):
        return [(operation.version, operation.value)] if operation.version == version + 1 else []
    else:
        fits = operation.told is DENIED or version >= operation.version
    return [(version, value)] if fits else []


times = st.integers(0, 12).map(float)


@st.composite
def wild(draw: st.DrawFn) -> list[Operation]:
    """Whatever anybody could have been told."""
    history: list[Operation] = []
    for name in "abcdef"[: draw(st.integers(1, 6))]:
        start, end = sorted((draw(times), draw(times)))
        version = draw(st.integers(1, 3))
        if draw(st.booleans()):
            history.append(Claim(name, version, start, end, draw(st.sampled_from(Told))))
        else:
            value = draw(st.sampled_from([None, *(one.value for one in history if isinstance(one, Claim))]))
            history.append(Read(value, 0 if value is None else version, start, end))
    return history


@st.composite
def honest(draw: st.DrawFn, size: int) -> list[Operation]:
    """What `size` clients are told by a register that is right, in an order known to us; starts and ends are loose."""
    rng = Random(draw(st.integers(0, 1 << 32)))
    state: tuple[int, str | None] = (0, None)
    history: list[Operation] = []
    for moment in range(size):
        start, end = moment - rng.choice((0, 0.5, 2.5)), moment + rng.choice((0, 0.5, 2.5))
        match rng.randrange(6):
            case 0 | 1:
                history.append(Read(state[1], state[0], start, end))
            case 2 if state[0]:
                history.append(Claim(f"{moment}", rng.randint(1, state[0]), start, end, LOST))
            case 3:
                history.append(Claim(f"{moment}", state[0] + rng.randint(0, 1) or 1, start, end, DENIED))
            case 4:
                history.append(Claim(f"{moment}", state[0] + 1, start, end, UNKNOWN))
                state = rng.choice((state, (state[0] + 1, f"{moment}")))
            case _:
                state = state[0] + 1, f"{moment}"
                history.append(Claim(f"{moment}", state[0], start, end, COMMITTED))
    rng.shuffle(history)
    return history


@given(wild())
def test_it_says_what_a_search_of_all_orders_says(history: list[Operation]) -> None:
    assert (violation(history) is None) == search(history)


@given(honest(60))
def test_what_an_honest_register_tells_is_taken(history: list[Operation]) -> None:
    assert violation(history) is None


@given(honest(7), st.data())
def test_one_thing_changed_is_refused_when_no_order_explains_it(history: list[Operation], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(history) - 1))
    one = history[index]
    shift = data.draw(st.sampled_from([-4.0, -1.0, 0.0, 1.0, 4.0]))
    changed: Operation
    if isinstance(one, Read):
        values = [other.value for other in history if isinstance(other, Claim)]
        value = data.draw(st.sampled_from([None, one.value, *values]))
        versions = {other.value: other.version for other in history if isinstance(other, Claim)}
        changed = Read(value, versions[value] if value else 0, one.start + shift, one.end + shift)
    else:
        told, step = data.draw(st.sampled_from(Told)), data.draw(st.integers(0, 1))
        changed = replace(one, told=told, version=one.version + step, start=one.start + shift, end=one.end + shift)
    history[index] = changed
    assert (violation(history) is None) == search(history)


@given(honest(40), st.data())
def test_a_read_of_an_overwritten_value_is_refused_in_any_history(
    history: list[Operation], data: st.DataObject
) -> None:
    """All of it is over when the read begins."""
    top = max((one.version for one in history if isinstance(one, Claim) and one.told is COMMITTED), default=0)
    old = [one for one in history if isinstance(one, Claim) and one.told is COMMITTED and one.version < top]
    if old:
        stale = data.draw(st.sampled_from(old))
        assert violation([*history, Read(stale.value, stale.version, 1_000, 1_001)]) is not None
