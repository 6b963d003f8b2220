"""What a node finds out about logs that lie, and what it does then (notes on the ledger, 5)."""

import pytest
from forking import Branch, log_key
from trial import Trial

ANNA = "waypost/anna"


def entries(number: int, salt: bytes = b"") -> list[bytes]:
    return [b"%d" % index + salt for index in range(number)]


def fork(common: int, one: int, other: int, origin: str = ANNA) -> tuple[Branch, Branch]:
    """Two histories of one log, of these sizes, that begin with the same entries."""
    log = log_key(origin)
    return Branch(entries(one), log), Branch(entries(common) + entries(other, b"!")[common:], log)


def test_two_heads_of_one_size_are_shown_at_once_though_nothing_is_mirrored() -> None:
    one, other = fork(3, 9, 9)
    trial = Trial().see(one.head(), other.head())
    assert trial.faults() == [("same size", ANNA)]


@pytest.mark.parametrize("size", [4, 8, 9, 12, 20])
def test_a_head_of_another_history_is_shown_by_whoever_holds_the_entries(size: int) -> None:
    """COMPLETE-EVIDENCE."""
    one, other = fork(3, 20, size)
    trial = Trial().mirror(one).see(one.head())
    assert trial.faults() == []
    trial.see(other.head())
    assert trial.faults() == [("same size" if size == 20 else "inconsistent growth", ANNA)]
