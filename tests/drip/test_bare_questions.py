"""What an initiator leaves out of its questions, and whoever lacks it.  Notes on DRiP, 4.4 (voter, rule 2)."""

import pytest
from handmade import HOME, Hand, committed, vote
from people import record

from waypost.drip.bases import NEWS_S
from waypost.drip.messages import No, Poll, Promise, VoteCall, Yes
from waypost.record import Ballot, Committed

LAMP = record("on", home="anna")
FIRST = committed(LAMP)
OFF = record("off", LAMP, txid=2)
PLACE = ("names", "lamp")


def questions(hand: Hand, kind: type[Poll | VoteCall]) -> dict[str, Committed | None]:
    """To whom, and with what version before."""
    return {node: message.base for node, message in hand.told if isinstance(message, kind)}


@pytest.fixture
def anna() -> Hand:
    """The home of the lamp, who learnt its first version just now."""
    hand = Hand("anna")
    hand.learn(FIRST)
    return hand


def test_what_was_committed_just_now_goes_along_with_the_next_vote(anna: Hand) -> None:
    anna.claim(OFF)
    assert questions(anna, VoteCall) == {"berta": FIRST, "carla": FIRST}


def test_what_was_spread_a_while_ago_does_not(anna: Hand) -> None:
    anna.now += NEWS_S * 1.01
    anna.claim(OFF)
    assert questions(anna, VoteCall) == {"berta": None, "carla": None}


def test_what_was_known_before_a_restart_does_not_either(anna: Hand) -> None:
    restarted = Hand("anna", rows=anna.rows)
    restarted.claim(OFF)
    assert questions(restarted, VoteCall) == {"berta": None, "carla": None}


def test_whoever_lacks_it_is_asked_again_with_it_once(anna: Hand) -> None:
    anna.now += 1.0
    anna.claim(OFF)
    lacks = No(*PLACE, 2, HOME, "stale", "", None, ())
    assert anna.hear("berta", lacks) == [VoteCall(OFF, HOME, FIRST)]
    assert anna.hear("berta", lacks) == []
    assert anna.hear("carla", lacks) == [VoteCall(OFF, HOME, FIRST)]
    assert anna.hear("stranger", lacks) == []


def test_a_voter_without_the_version_before_has_its_vote_all_the_same() -> None:
    anna, carla = Hand("anna"), Hand("carla")
    anna.learn(committed(LAMP, "anna", "berta", counter=0))
    anna.now += 1.0
    anna.claim(OFF)
    lacks = carla.only("anna", VoteCall(OFF, HOME, None))
    again = anna.only("carla", lacks)
    answer = carla.only("anna", again)
    assert isinstance(answer, Yes)
    assert answer.vote.matter == vote(OFF, HOME, "carla").matter


def test_no_other_answer_brings_it(anna: Hand) -> None:
    anna.now += 1.0
    anna.claim(OFF)
    assert anna.hear("berta", No(*PLACE, 2, HOME, "stale", "", FIRST, ())) == []
    assert anna.hear("berta", No(*PLACE, 2, HOME, "busy", "", None, ())) == []
    assert anna.hear("berta", No(*PLACE, 2, HOME, "epoch", "", None, ())) == []


def test_who_has_it_already_is_not_shown_it(anna: Hand) -> None:
    """A question that brought it is not put again."""
    anna.claim(OFF)
    assert anna.hear("berta", No(*PLACE, 2, HOME, "stale", "", None, ())) == []


def test_a_poll_leaves_it_out_and_so_does_the_vote_that_follows() -> None:
    dora = Hand("dora")
    dora.learn(FIRST)
    dora.now += 1.0
    dora.claim(OFF)
    assert set(questions(dora, Poll).values()) == {None}
    (ballot,) = {message.ballot for _, message in dora.told if isinstance(message, Poll)}
    assert dora.hear("berta", No(*PLACE, 2, ballot, "stale", "", None, ())) == [Poll(*PLACE, 2, ballot, FIRST)]
    dora.told = []
    for name in ("anna", "berta"):
        dora.drip.hear(name, (Promise(*PLACE, 2, ballot, 1, None),), dora.now)
    dora.settle()
    assert set(questions(dora, VoteCall).values()) == {None}
    assert dora.hear("carla", No(*PLACE, 2, ballot, "stale", "", None, ())) == [VoteCall(OFF, ballot, FIRST)]


def test_the_vote_that_follows_leaves_out_what_went_along_with_the_poll() -> None:
    dora = Hand("dora")
    dora.learn(FIRST)
    dora.claim(OFF)
    assert set(questions(dora, Poll).values()) == {FIRST}
    (ballot,) = {message.ballot for _, message in dora.told if isinstance(message, Poll)}
    dora.told = []
    for name in ("anna", "berta"):
        dora.drip.hear(name, (Promise(*PLACE, 2, ballot, 1, None),), dora.now)
    dora.settle()
    assert set(questions(dora, VoteCall).values()) == {None}


def test_what_was_tried_before_brings_it_again(anna: Hand) -> None:
    anna.now += 1.0
    anna.claim(OFF)
    while not questions(anna, Poll):
        anna.wait(0.5)
    assert set(questions(anna, Poll).values()) == {FIRST}


def test_nothing_is_remembered_for_longer_than_it_is_news(anna: Hand) -> None:
    """Of many keys that were learnt at one time and another, those of the last moment go along."""
    lantern = record("on", place=("names", "lantern"), home="anna")
    anna.now += NEWS_S / 2
    anna.learn(committed(lantern))
    anna.now += NEWS_S * 0.75
    anna.claim(OFF)
    assert set(questions(anna, VoteCall).values()) == {None}
    anna.claim(record("off", lantern, place=("names", "lantern"), txid=3))
    assert set(questions(anna, VoteCall).values()) == {committed(lantern)}


def test_a_vote_that_somebody_left_open_is_closed_with_all_that_it_takes(anna: Hand) -> None:
    anna.now += 1.0
    anna.hear("berta", VoteCall(OFF, Ballot(1, 1, "berta"), None))
    while not questions(anna, Poll):
        anna.wait(0.5)
    assert set(questions(anna, Poll).values()) == {FIRST}


def test_what_waited_for_the_last_version_goes_out_with_it(anna: Hand) -> None:
    anna.now += 1.0
    anna.claim(OFF)
    on = record("on", OFF, txid=4)
    anna.claim(on)
    anna.learn(committed(OFF))
    assert set(questions(anna, VoteCall).values()) == {committed(OFF)}
