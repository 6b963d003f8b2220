"""Changes, their clock and canonical JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import WireError
from waypost.record import Change, Hlc, HlcClock, Kind, canonical, parse_canonical

times = st.builds(Hlc, st.integers(0, 2**48 - 1), st.integers(0, 2**16 - 1))
changes = st.builds(
    Change,
    st.just(7),
    st.sampled_from(Kind),
    st.text(max_size=20),
    st.binary(max_size=40),
    st.integers(0, 2**64 - 1) | times,
    st.none() | st.binary(max_size=40),
    st.integers(0, 2**63),
    st.binary(max_size=16),
)
subset = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(changes)
def test_a_change_survives_the_feed(change: Change) -> None:
    assert Change.decode(7, change.encode()) == change


@given(st.binary(max_size=60))
def test_any_bytes_are_a_change_exactly_or_raise_wire_error(data: bytes) -> None:
    try:
        change = Change.decode(7, data)
    except WireError:
        return
    assert change.encode() == data


@given(times, times)
def test_packed_times_compare_like_the_times(one: Hlc, other: Hlc) -> None:
    assert (one < other) == (one.pack() < other.pack())
    assert Hlc.unpack(one.pack()) == one


@given(st.lists(st.integers(0, 5) | times, max_size=30))
def test_the_clock_never_runs_backwards(inputs: list[int | Hlc]) -> None:
    clock, last = HlcClock(), Hlc(0, 0)
    for seen in inputs:
        if isinstance(seen, Hlc):
            clock.observe(seen)
            last = max(last, seen)
        else:
            tick = clock.tick(seen)
            assert tick > last
            last = tick


def test_a_full_count_borrows_from_the_next_millisecond() -> None:
    clock = HlcClock(Hlc(5, 2**16 - 1))
    assert clock.tick(5) == Hlc(6, 0)


@given(subset)
def test_canonical_json_is_what_the_plain_encoder_writes_sorted_and_compact(value: object) -> None:
    """Notes on the ledger, 6: within the subset this equals RFC 8785."""
    try:
        data = canonical(value)
    except ValueError:
        assert "\\ud" in json.dumps(value), "only a lone surrogate is outside"
        return
    assert data == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert parse_canonical(data) == value


@pytest.mark.parametrize("value", [1.0, 2**53, -(2**53), {"ä": 1}, {1: 2}, b"octets", "\ud800", {"a": [{"b": 0.5}]}])
def test_what_lies_outside_the_subset_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        canonical(value)


@pytest.mark.parametrize("data", [b'{"b":1,"a":2}', b"1.0", b" 1", b'"\\u0061"', b"[1,]", b"", b"\xff", b"[" * 5000])
def test_other_spellings_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        parse_canonical(data)
