"""Quorum reads and local ones, by hand.  Notes on DRiP, 4.4 (reads) and 4.10."""

import pytest
from handmade import TIMERS, Hand, committed, yes
from people import record

from waypost.drip.messages import Poll, Promise, Proposal, Read, ReadAnswer
from waypost.drip.outcome import Reading
from waypost.record import Ballot, Committed

LAMP = record("on")
FIRST = committed(LAMP)
OFF = record("off", LAMP, txid=2)
SECOND = committed(OFF, counter=2)
PLACE = ("names", "lamp")


@pytest.fixture
def dora() -> Hand:
    return Hand("dora")


def asked(hand: Hand) -> Read:
    (read,) = {message for _, message in hand.told if isinstance(message, Read)}
    return read


def answers(hand: Hand, read: Read, **by: tuple[Committed | None, bool]) -> None:
    hand.told = []
    for name, (known, is_open) in by.items():
        hand.drip.hear(name, (ReadAnswer(read.id, read.epoch, known, is_open),), hand.now)
    hand.settle()


def test_a_quorum_read_asks_every_voter_and_returns_the_newest(dora: Hand) -> None:
    id = dora.read()
    assert dora.says(Read) == ["anna", "berta", "carla"]
    answers(dora, asked(dora), anna=(FIRST, False), carla=(None, False))
    assert dora.answers == {id: Reading(True, FIRST, 0.0)}
    assert dora.drip.committed(PLACE) == FIRST


def test_a_key_that_nobody_has_is_read_as_none(dora: Hand) -> None:
    id = dora.read()
    answers(dora, asked(dora), anna=(None, False), carla=(None, False))
    assert dora.answers == {id: Reading(True, None, 0.0)}


def test_less_than_a_quorum_is_no_answer(dora: Hand) -> None:
    """Notes 4.10: a minority does not say that it knows."""
    dora.learn(FIRST)
    id = dora.read()
    answers(dora, asked(dora), anna=(FIRST, False), dora=(FIRST, False), emma=(FIRST, False))
    answers(dora, asked_again(dora), anna=(FIRST, False))
    assert dora.answers == {}
    dora.wait(TIMERS.deadline_s)
    assert dora.answers == {id: Reading(False, FIRST, None)}


def asked_again(hand: Hand) -> Read:
    hand.wait(1.25 * TIMERS.vote_s)
    return asked(hand)


def test_a_vote_that_is_open_above_it_is_closed_first(dora: Hand) -> None:
    """What was accepted may have been committed, and seen."""
    id = dora.read()
    answers(dora, asked(dora), anna=(FIRST, True), carla=(FIRST, False))
    assert dora.answers == {}
    (poll,) = {message.ballot: message for _, message in dora.told if isinstance(message, Poll)}.values()
    ballot = poll.ballot
    dora.told = []
    dora.hear("anna", Promise(*PLACE, 2, ballot, 1, Proposal(Ballot(1, 0, "anna"), OFF)))
    dora.hear("carla", Promise(*PLACE, 2, ballot, 1, None))
    call = dora.calls()
    for name in ("anna", "carla"):
        dora.hear(name, yes(call, name, counter=3))
    reading = dora.answers[id]
    assert isinstance(reading, Reading)
    assert reading.is_known
    assert reading.current is not None
    assert reading.current.record == OFF


def test_a_vote_that_turns_out_to_be_nothing_is_no_newer_version(dora: Hand) -> None:
    id = dora.read()
    answers(dora, asked(dora), anna=(FIRST, True), carla=(FIRST, False))
    ballot = next(message.ballot for _, message in dora.told if isinstance(message, Poll))
    dora.hear("berta", Promise(*PLACE, 2, ballot, 1, None))
    dora.hear("carla", Promise(*PLACE, 2, ballot, 1, None))
    assert dora.answers == {id: Reading(True, FIRST, 0.0)}


def test_what_an_older_attempt_does_not_find_proves_nothing(dora: Hand) -> None:
    """Invariant I6: promises from before the read began may have missed a commit, so it asks again."""
    dora.read()
    answers(dora, asked(dora), anna=(FIRST, True), carla=(FIRST, False))
    ballot = next(message.ballot for _, message in dora.told if isinstance(message, Poll))
    dora.hear("berta", Promise(*PLACE, 2, ballot, 1, None))
    late = dora.read()
    answers(dora, asked(dora), anna=(FIRST, True), carla=(FIRST, False))
    dora.hear("carla", Promise(*PLACE, 2, ballot, 1, None))
    assert late not in dora.answers
    dora.hear("carla")
    again = asked_again(dora)
    answers(dora, again, anna=(SECOND, False), carla=(FIRST, False))
    assert dora.answers[late] == Reading(True, SECOND, 0.0)


def test_a_version_that_is_open_below_the_newest_matters_no_more(dora: Hand) -> None:
    id = dora.read()
    answers(dora, asked(dora), anna=(FIRST, True), carla=(SECOND, False))
    assert dora.answers == {id: Reading(True, SECOND, 0.0)}


def test_a_version_that_is_known_here_already_is_the_newest_all_the_same(dora: Hand) -> None:
    dora.learn(SECOND)
    id = dora.read()
    answers(dora, asked(dora), anna=(FIRST, True), carla=(FIRST, False))
    assert dora.answers == {id: Reading(True, SECOND, 0.0)}


def test_answers_that_do_not_verify_or_are_of_another_question_count_nothing(dora: Hand) -> None:
    dora.learn(FIRST)
    dora.read()
    read = asked(dora)
    forged = Committed(record("thief", LAMP), FIRST.certificate)
    elsewhere = committed(record("on", place=("names", "other")))
    for answer in (
        ReadAnswer(read.id, 1, forged, open=False),
        ReadAnswer(read.id, 1, elsewhere, open=False),
        ReadAnswer(read.id + 1, 1, None, open=False),
        ReadAnswer(read.id, 2, None, open=False),
    ):
        dora.hear("anna", answer)
        dora.hear("berta", answer)
    assert dora.answers == {}


def test_an_answer_from_before_a_restart_is_of_another_question(dora: Hand) -> None:
    dora.read()
    before = asked(dora)
    again = dora.restarted()
    again.read()
    assert asked(again).id != before.id


def test_a_local_read_is_at_once_and_says_its_age(dora: Hand) -> None:
    dora.learn(FIRST)
    assert dora.drip.local(PLACE, dora.now) == Reading(True, FIRST, None)
    dora.hear("anna")
    dora.now += 3
    dora.hear("carla")
    assert dora.drip.local(PLACE, dora.now + 2) == Reading(True, FIRST, 5.0)
    assert dora.drip.heard(dora.now + 2) == 2
    assert dora.drip.heard(dora.now + 28) == 1
