"""Names that an operator keeps out (design, Operators)."""

import pytest
from carried import UNLIMITED, Carried, register

from waypost.errors import StoreError
from waypost.identity.policy import default
from waypost.rd.evictions import EVICTIONS_MAX
from waypost.rd.interface import response
from waypost.rd.questions import (
    Busy,
    Evict,
    Evicted,
    Eviction,
    Evictions,
    Import,
    Kept,
    Readmit,
    Reason,
    Refused,
    Registered,
    Removed,
)


def evicted(now: float = 0.0) -> tuple[Carried, str]:
    """A directory that has just evicted "a" for an hour, and the id it had."""
    carried = Carried()
    location = carried.location(carried.ask(register("a")))
    assert carried.ask(Evict(location, 3_600), now) == Removed()
    return carried, location


def test_an_evicted_name_is_gone_and_may_not_come_back_until_its_time() -> None:
    carried, _ = evicted()
    assert carried.names() == []
    refused = carried.ask(register("a"), 600.0)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_s) == (Reason.FORBIDDEN, 3_000)
    assert isinstance(carried.ask(register("a"), 3_600.0), Registered)


def test_a_device_hears_4_03_with_the_time_to_wait() -> None:
    """RFC 7252, 5.9.2.4 and 5.10.5."""
    carried, _ = evicted()
    answer = response(carried.ask(register("a"), 600.0))
    assert (answer.code, answer.max_age) == (0x83, 3_000)
    assert b"evicted" in answer.payload


def test_the_same_name_in_another_sector_is_another() -> None:
    carried, _ = evicted()
    assert isinstance(carried.ask(register("a", d="cellar")), Registered)


def test_an_operator_evicts_whatever_the_policy_remembers() -> None:
    carried = Carried(policy=default())
    location = carried.location(carried.ask(register("a")))
    assert carried.ask(Evict(location, 60)) == Removed()
    assert carried.names() == []


def test_an_eviction_survives_a_restart() -> None:
    carried, location = evicted()
    again = Carried(UNLIMITED, carried.rows, meta=carried.meta)
    assert isinstance(again.ask(register("a")), Refused)
    assert again.ask(Evictions()) == Evicted((Eviction(location, "a", None, 3_600.0),))


def test_an_eviction_that_cannot_be_read_stops_the_start() -> None:
    with pytest.raises(StoreError, match="eviction"):
        Carried(meta={b"evicted \0a": b"{}"})


def test_a_name_is_let_back_in_for_good() -> None:
    carried, location = evicted()
    assert carried.ask(Readmit(location)) == Removed()
    assert carried.meta == {}
    assert carried.ask(Evictions()) == Evicted(())
    assert isinstance(carried.ask(register("a")), Registered)
    assert isinstance(carried.ask(Readmit(location)), Refused)


def test_what_is_over_is_neither_listed_nor_kept() -> None:
    carried, _ = evicted()
    other = carried.location(carried.ask(register("b"), 4_000.0))
    assert carried.ask(Evictions(), 4_000.0) == Evicted(())
    carried.ask(Evict(other, 60), 4_000.0)
    assert list(carried.meta) == [b"evicted \0b"]


def test_an_evicted_name_is_not_imported_either() -> None:
    carried, _ = evicted()
    assert isinstance(carried.ask(Import(register("a"), None, 50.0)), Refused)
    assert not isinstance(carried.ask(Import(register("a"), None, 50.0), 3_600.0), Refused | Kept)


def test_a_location_that_is_not_known_is_not_found() -> None:
    refused = Carried().ask(Evict("nowhere", 60))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NOT_FOUND


def test_so_many_and_no_more_are_kept_out() -> None:
    carried = Carried()
    for index in range(EVICTIONS_MAX):
        carried.ask(Evict(carried.location(carried.ask(register(f"n{index}", b""))), 3_600))
    location = carried.location(carried.ask(register("one more")))
    assert isinstance(carried.ask(Evict(location, 3_600)), Busy)
    assert isinstance(carried.ask(Evict(location, 3_600), 3_600.0), Removed)
