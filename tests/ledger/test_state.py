"""State roots: what changes them, and what does not."""

from hashlib import sha256
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rooting import state_of

from waypost.ledger.state import PORTION, Rooting, State, told_by
from waypost.ledger.tree import Tree
from waypost.record import Committed, Record, Stamp, canonical
from waypost.record.gossiped import Gossiped, Moment


def voted(key: str, version: int = 1, value: str | None = "on", namespace: str = "names") -> Committed:
    prev = "" if version == 1 else "0" * 64
    stamp = Stamp(0, 1_000)
    record = Record(namespace, key, version, prev, "0" * 64, "anna", value, "", stamp, "0" * 32, (), "")
    return Committed(record, None)


def told(key: bytes, wall_ms: int = 1_000, value: bytes | None = b"on", expires_ms: int = 10**6) -> Gossiped:
    return Gossiped("rd", key, value, expires_ms, Moment(0, wall_ms), "anna", 1, "")


keys = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F), min_size=1, max_size=5)
records = st.dictionaries(keys, st.tuples(st.integers(1, 9), st.none() | st.text(max_size=3)), max_size=60).map(
    lambda held: [voted(key, *rest) for key, rest in held.items()]
)


def slow(leaves: dict[bytes, bytes]) -> bytes:
    """The root, as the notes say it: leaves by the digests of their keys."""
    buckets = [Tree() for _ in range(256)]
    for digest in sorted(leaves):
        buckets[digest[0]].append(leaves[digest])
    whole = Tree()
    for bucket in buckets:
        whole.append(bucket.root())
    return whole.root()


def leaf_of(held: Committed) -> tuple[bytes, bytes]:
    record = held.record
    digest = sha256(f"{record.namespace}\0{record.key}".encode()).digest()
    value = None if record.value is None else sha256(record.value.encode()).hexdigest()
    return digest, canonical([record.namespace, record.key, record.version, value])


@settings(max_examples=30, deadline=None)
@given(records, st.randoms(use_true_random=False))
def test_equal_sets_give_equal_roots_in_any_order_of_arrival(held: list[Committed], rng: Random) -> None:
    state = state_of(held)
    assert state == State(slow(dict(map(leaf_of, held))), len(held))
    arrived = held.copy()
    rng.shuffle(arrived)
    assert state_of(arrived) == state


@settings(max_examples=30, deadline=None)
@given(records, st.data())
def test_one_record_more_less_or_other_is_another_root(held: list[Committed], data: st.DataObject) -> None:
    root = state_of(held).root
    assert state_of([*held, voted("one more")]).root != root
    if held:
        place = data.draw(st.integers(0, len(held) - 1))
        before, one, after = held[:place], held[place].record, held[place + 1 :]
        assert state_of([*before, *after]).root != root
        for change in ({"version": one.version + 1}, {"value": "another value"}, {"namespace": "others"}):
            other = Committed(msgspec.structs.replace(one, **change), None)
            assert state_of([*before, other, *after]).root != root


def test_a_value_that_is_empty_is_not_one_that_is_gone() -> None:
    assert state_of([voted("lamp", 1, "")]).root != state_of([voted("lamp", 1, None)]).root
    assert state_of([told(b"lamp", value=b"")]).root != state_of([told(b"lamp", value=None)]).root


def test_who_accepted_what_is_gossiped_and_when_it_expires_does_not_matter() -> None:
    one = told(b"lamp")
    other = msgspec.structs.replace(one, node="berta", incarnation=7, expires_ms=99, signature="")
    assert state_of([one]) == state_of([other])
    assert state_of([one]) != state_of([told(b"lamp", 1_001)])
    assert state_of([one]) != state_of([msgspec.structs.replace(one, hlc=Moment(1, 1_000))])


def test_keys_of_gossip_are_any_octets() -> None:
    state = state_of([told(bytes([octet])) for octet in range(256)])
    assert state.size == 256
    assert state_of([told(b"\xff")]) != state_of([told(b"\xfe")])


def test_of_gossip_counts_what_was_told_in_time_and_nobody_has_forgotten() -> None:
    early, late, dead = told(b"a", 1_000), told(b"b", 1_001), told(b"c", 900, expires_ms=2_000)
    assert told_by([early, late, dead], 1_000, 2_000) == [early]
    assert told_by([early, late, dead], 1_001, 1_999) == [early, late, dead]


@pytest.mark.parametrize("number", [0, 1, PORTION, 20_000])
def test_it_is_worked_out_in_portions(number: int) -> None:
    held = [told(b"%d" % each) for each in range(number)]
    rooting, steps = Rooting(held), 1
    while (state := rooting.step()) is None:
        steps += 1
    assert state == state_of(held)
    assert 2 * number / PORTION <= steps <= 2 * number / PORTION + 5


def test_a_bucket_is_hashed_in_portions_too() -> None:
    same = [key for key in (b"%d" % each for each in range(200_000)) if sha256(b"rd\0" + key).digest()[0] == 7]
    rooting, steps = Rooting([told(key) for key in same]), 1
    while rooting.step() is None:
        steps += 1
    assert steps >= 2 * len(same) // PORTION
