"""Postings agree with a plain dict of lists, over many chunks and while they change."""

from dataclasses import dataclass
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.rd.postings import CHUNK_MAX, Values

PREFIXES: Final = ("", "n", "n1", "n12", "n1234", "n9999", "m", "z", "\U0010ffff")


@dataclass(eq=False)
class Thing:
    """An owner with one registration."""

    weight: int = 1


@pytest.mark.parametrize("seed", range(3))
def test_postings_agree_with_a_dict_of_lists(seed: int) -> None:
    rng = Random(seed)
    values: Values[Thing] = Values()
    plain: dict[str, list[Thing]] = {}
    for step in range(20_000):
        growing = step % 10_000 < 7_000
        if growing or not plain:
            name = f"n{rng.randrange(6 * CHUNK_MAX)}"
            thing = Thing()
            values.add(name, thing, 1)
            plain.setdefault(name, []).append(thing)
        else:
            name = rng.choice(list(plain)) if step % 50 == 0 else next(iter(plain))
            values.remove(name, plain[name].pop(rng.randrange(len(plain[name]))))
            if not plain[name]:
                del plain[name]
        if step % 1000 == 0:
            values.check()
            assert len(values) == len(plain)
            for prefix in PREFIXES:
                assert list(values.prefixed(prefix)) == sorted(name for name in plain if name.startswith(prefix))
            for name in list(plain)[:100]:
                assert list(values.owners(name)) == plain[name]
                assert values.count(name) == len(plain[name])


@given(st.lists(st.text(max_size=3), unique=True), st.text(max_size=2))
def test_an_estimate_is_zero_only_if_nothing_matches(names: list[str], prefix: str) -> None:
    values: Values[Thing] = Values()
    for name in names:
        values.add(name, Thing(), 1)
    found = list(values.prefixed(prefix))
    assert found == sorted(name for name in names if name.startswith(prefix))
    assert values.estimate(prefix) >= (1 if found else 0)


def test_an_estimate_is_near_the_truth_where_there_are_many() -> None:
    values: Values[Thing] = Values()
    for number in range(10_000):
        values.add(f"n{number:05}", Thing(), 1)
    assert 500 < values.estimate("n01") < 2_000
    assert values.estimate("n01234") < 10
    assert values.estimate("x") == 0


def test_a_walk_goes_on_while_values_come_and_go() -> None:
    values: Values[Thing] = Values()
    things = {f"n{number:05}": Thing() for number in range(5_000)}
    for name, thing in things.items():
        values.add(name, thing, 1)
    seen = []
    for name in values.prefixed("n"):
        seen.append(name)
        if name.endswith("3"):
            values.remove(name, things.pop(name))
            values.add(name + "+", Thing(), 1)
    assert seen == sorted(set(seen))
    assert set(things) <= set(seen)
