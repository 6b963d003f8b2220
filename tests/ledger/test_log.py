"""This node's own log: what is on disk when, and what it refuses to go on with."""

import pytest
from keeping import Kept

from waypost.ledger.tree import Tree


def root_of(entries: list[bytes]) -> bytes:
    tree = Tree()
    tree.extend(entries)
    return tree.root()


def entered(number: int, start: int = 0) -> list[bytes]:
    return [b"entry %d" % index for index in range(start, start + number)]


@pytest.mark.parametrize("number", [1, 2, 255, 256, 257, 511, 512, 700, 66_000])
def test_what_was_entered_is_there_after_a_restart(number: int) -> None:
    kept = Kept()
    entries = entered(number)
    kept.enter(*entries)
    for log in (kept.log, kept.again().log):
        assert log.head is not None
        assert (log.size, log.head.size, log.head.root) == (number, number, root_of(entries))
        assert log.entries(0, number) == entries
        assert log.entry(number - 1) == entries[-1]
        assert log.entry(number) is None
