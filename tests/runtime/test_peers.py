"""When what waits for a node may go to it."""

import pytest

from waypost.drip.parcel import COMMIT, VOTING
from waypost.runtime.peers import GATHER_S, SPREAD_S, UNDER_WAY_MAX, Link


@pytest.fixture
def link() -> Link:
    return Link("https://node-2.example:8481")


def put(link: Link, call: str) -> None:
    link.lane(call).waiting.setdefault(call, []).append(b"{}")


def test_nothing_goes_where_nothing_waits(link: Link) -> None:
    assert link.due() == ()


def test_what_is_asked_goes_at_once_to_a_node_that_has_answered(link: Link) -> None:
    put(link, VOTING)
    link.asked.take(100.0)
    put(link, VOTING)
    assert link.due() == ((link.asked, 0.0),)


def test_what_is_asked_gathers_while_the_node_has_not_answered(link: Link) -> None:
    put(link, VOTING)
    assert link.asked.take(100.0) == {VOTING: [b"{}"]}
    link.asked.under_way = 1
    put(link, VOTING)
    assert link.due() == ((link.asked, 100.0 + GATHER_S),)


def test_what_is_spread_gathers_whether_or_not_the_node_has_answered(link: Link) -> None:
    put(link, COMMIT)
    ((lane, when),) = link.due()
    assert when < 0.0
    lane.take(100.0)
    put(link, COMMIT)
    assert link.due() == ((link.spread, 100.0 + SPREAD_S),)


def test_what_is_spread_holds_up_no_vote(link: Link) -> None:
    put(link, COMMIT)
    link.spread.take(100.0)
    link.spread.under_way = UNDER_WAY_MAX
    put(link, COMMIT)
    put(link, VOTING)
    assert link.due() == ((link.asked, 0.0),)


def test_no_more_than_so_many_requests_are_under_way(link: Link) -> None:
    put(link, VOTING)
    link.asked.under_way = UNDER_WAY_MAX
    assert link.due() == ()
    link.asked.under_way -= 1
    assert link.due() != ()


def test_what_waits_for_a_node_that_cannot_be_reached_is_forgotten(link: Link) -> None:
    for call in (VOTING, COMMIT, COMMIT):
        put(link, call)
    assert link.drop() == 3
    assert link.due() == ()
