"""Who voted what, asked of one engine by hand and told to it.  Keys and signatures are real."""

from typing import Final

import msgspec
import pytest
from handmade import HOME, Hand, committed, vote, yes
from people import NETWORK, record

from waypost.drip.allowance import ANSWER_COST, cost_of_vote
from waypost.drip.messages import Called, No, Part, TallyAnswer, TallyRequest, VoteCall
from waypost.drip.questions import Open, Votes
from waypost.drip.tally import ASKING_MAX
from waypost.record import NEVER, Ballot, Matter, Vote

FIRST: Final = record("first")
LAMP: Final = record("on", FIRST, txid=2)  # at its home
ALL: Final = ("berta", "carla", "dora", "emma")
ROUND_1: Final = Ballot(1, 1, "dora")
LOCAL: Final = Votes((), 0, {})


@pytest.fixture
def anna() -> Hand:
    hand = Hand("anna")
    hand.learn(committed(FIRST))
    return hand


def ask(hand: Hand, *able: str, local: Votes = LOCAL) -> int:
    """Under which number; `told` is what it says to others."""
    hand.told = []
    id = 1000 + len(hand.answers)
    hand.drip.tally.ask(id, local, able, hand.now)
    hand.settle()
    return id


def asked(hand: Hand) -> dict[str, int]:
    return {node: message.id for node, message in hand.told if isinstance(message, TallyRequest)}


def part(voter: str, of: Vote | None, promised: Ballot = HOME) -> Part:
    return Part(*LAMP.place, 2, promised, of.matter if of else None, of.mark if of else None)


def tell(hand: Hand, node: str, id: int, *parts: Part, calls: tuple[Called, ...] = ()) -> None:
    hand.hear(node, TallyAnswer(id, parts, calls, len(parts)))


def told(hand: Hand, id: int) -> Votes:
    votes = hand.answers[id]
    assert isinstance(votes, Votes)
    return votes


def only(votes: Votes) -> Open:
    (vote,) = votes.open
    return vote


# telling


def test_a_voter_tells_what_it_promised_and_its_signed_vote(anna: Hand) -> None:
    anna.hear("anna", VoteCall(LAMP, HOME, None))
    answer = anna.only("berta", TallyRequest(7))
    assert isinstance(answer, TallyAnswer)
    (mine,) = answer.parts
    assert (answer.id, answer.total) == (7, 1)
    assert (mine.promised, mine.matter) == (HOME, Matter.of(LAMP, HOME, NETWORK))
    assert mine.mark is not None
    assert mine.mark.voter == "anna"


def test_who_calls_for_votes_tells_who_said_what(anna: Hand) -> None:
    anna.claim(LAMP)
    anna.hear("berta", yes(anna.calls(), "berta"))
    anna.hear("carla", No(*LAMP.place, 2, HOME, "invalid", "its clock is ahead", None, ()))
    answer = anna.only("berta", TallyRequest(7))
    assert isinstance(answer, TallyAnswer)
    (call,) = answer.calls
    assert [mark.voter for mark in call.yes] == ["berta"]
    assert call.no == (("carla", "its clock is ahead"),)


def test_a_stranger_is_told_nothing(anna: Hand) -> None:
    anna.hear("anna", VoteCall(LAMP, HOME, None))
    assert anna.hear("zoe", TallyRequest(7)) == []


def test_what_a_question_and_an_answer_cost() -> None:
    call = Called(*LAMP.place, 2, HOME, Matter.of(LAMP, HOME, NETWORK), (vote(LAMP, HOME, "anna").mark,) * 3, ())
    assert cost_of_vote(TallyRequest(1)) == ANSWER_COST
    assert cost_of_vote(TallyAnswer(1, (part("anna", None),) * 2, (call,), 2)) == 1 + 2 + 3


# asking


def test_all_other_voters_are_asked_and_their_votes_put_together(anna: Hand) -> None:
    anna.hear("anna", VoteCall(LAMP, HOME, None))
    id = ask(anna, *ALL)
    nonces = asked(anna)
    assert list(nonces) == ["berta", "carla"]
    tell(anna, "berta", nonces["berta"], part("berta", vote(LAMP, HOME, "berta")))
    assert id not in anna.answers
    tell(anna, "carla", nonces["carla"])
    votes = told(anna, id)
    assert (only(votes).yes, only(votes).hash) == (("anna", "berta"), LAMP.hash(NETWORK))
    assert [(each.node, each.accepted, each.vote is not None) for each in only(votes).said] == [
        ("anna", HOME, True),
        ("berta", HOME, True),
    ]
    assert (votes.asked, votes.silent) == (("anna", "berta", "carla"), ())


def test_who_does_not_answer_in_time_is_silent(anna: Hand) -> None:
    id = ask(anna, *ALL)
    nonces = asked(anna)
    tell(anna, "carla", nonces["carla"], part("carla", vote(LAMP, HOME, "carla")))
    anna.wait(1.9)
    assert id not in anna.answers
    anna.wait(0.2)
    votes = told(anna, id)
    assert (only(votes).yes, votes.asked, votes.silent) == (("carla",), ("anna", "carla"), ("berta",))
    tell(anna, "berta", nonces["berta"], part("berta", vote(LAMP, HOME, "berta")))


def test_who_does_not_know_the_question_is_not_asked_and_is_silent(anna: Hand) -> None:
    id = ask(anna, "berta")
    assert list(asked(anna)) == ["berta"]
    tell(anna, "berta", asked(anna)["berta"])
    assert told(anna, id).silent == ("carla",)
    id = ask(anna)
    assert told(anna, id).silent == ("berta", "carla")


def test_who_calls_for_votes_is_asked_too_once_it_is_known(anna: Hand) -> None:
    id = ask(anna, *ALL)
    nonces = asked(anna)
    tell(anna, "berta", nonces["berta"], part("berta", None, ROUND_1))
    assert asked(anna) == {"dora": nonces["berta"]}
    tell(anna, "carla", nonces["carla"], part("carla", None, Ballot(1, 1, "zoe")))
    call = Called(*LAMP.place, 2, ROUND_1, None, (), (("carla", "busy"),))
    tell(anna, "dora", nonces["berta"], calls=(call,))
    assert only(told(anna, id)).no == (("carla", "busy"),)


def test_who_calls_for_the_votes_known_here_is_asked(anna: Hand) -> None:
    known = Open(LAMP.place, 2, Ballot(1, 1, "emma"), NEVER, "", None)
    ask(anna, *ALL, local=Votes((known,), 1, {}))
    assert list(asked(anna)) == ["berta", "carla", "emma"]


def test_nobody_can_say_that_another_voted(anna: Hand) -> None:
    """Nor that it voted otherwise than it signed."""
    mine, other = vote(LAMP, HOME, "berta"), vote(LAMP, HOME, "carla")
    moved = msgspec.structs.replace(mine.matter, ballot=Ballot(1, 5, "dora"))
    elsewhere = msgspec.structs.replace(part("berta", mine), key="door")
    bare = Part(*LAMP.place, 2, HOME, None, mine.mark)
    lies = (part("berta", other), Part(*LAMP.place, 2, HOME, moved, mine.mark), elsewhere, bare)
    for lie in lies:
        id = ask(anna, *ALL)
        nonces = asked(anna)
        tell(anna, "berta", nonces["berta"], lie)
        tell(anna, "carla", nonces["carla"])
        assert told(anna, id).open == ()


def test_a_caller_shows_the_votes_that_it_was_given_and_no_others(anna: Hand) -> None:
    of_berta, matter = vote(LAMP, ROUND_1, "berta"), Matter.of(LAMP, ROUND_1, NETWORK)
    forged = vote(LAMP, HOME, "carla").mark
    id = ask(anna, *ALL)
    nonces = asked(anna)
    tell(anna, "berta", nonces["berta"], part("berta", None, ROUND_1))
    tell(anna, "carla", nonces["carla"], part("carla", vote(LAMP, HOME, "carla"), ROUND_1))
    good = Called(*LAMP.place, 2, ROUND_1, matter, (of_berta.mark, forged), ())
    not_its_own = Called("names", "door", 2, HOME, None, (), (("berta", "x"),))
    of_another_key = msgspec.structs.replace(good, key="bell")
    tell(anna, "dora", nonces["berta"], calls=(good, not_its_own, of_another_key))
    opened = only(told(anna, id))
    assert (opened.place, opened.yes, opened.accepted) == (LAMP.place, ("berta",), ROUND_1)
    assert [each.node for each in opened.said] == ["berta", "carla"]


def test_what_is_not_signed_outvotes_nothing(anna: Hand) -> None:
    """A merge may bring a voter what it accepted; anybody can say so."""
    ballot = Ballot(1, 9, "carla")
    high = Part(*LAMP.place, 2, ballot, Matter.of(record("x", FIRST, txid=5), ballot, NETWORK), None)
    id = ask(anna, *ALL)
    nonces = asked(anna)
    tell(anna, "berta", nonces["berta"], part("berta", vote(LAMP, HOME, "berta")))
    tell(anna, "carla", nonces["carla"], high)
    opened = only(told(anna, id))
    assert (opened.yes, opened.hash) == (("berta",), LAMP.hash(NETWORK))
    assert [(each.node, each.vote) for each in opened.said][1] == ("carla", None)


def test_what_is_committed_here_is_told_no_more(anna: Hand) -> None:
    id = ask(anna, *ALL)
    nonces = asked(anna)
    tell(anna, "berta", nonces["berta"], part("berta", vote(LAMP, HOME, "berta")))
    anna.learn(committed(LAMP))
    tell(anna, "carla", nonces["carla"])
    assert told(anna, id).open == ()


def test_what_nobody_asked_for_is_ignored(anna: Hand) -> None:
    id = ask(anna, *ALL)
    nonces = asked(anna)
    tell(anna, "dora", nonces["berta"], part("dora", None))
    tell(anna, "berta", nonces["berta"] + 1, part("berta", vote(LAMP, HOME, "berta")))
    for _ in range(2):
        tell(anna, "berta", nonces["berta"])
    assert id not in anna.answers
    tell(anna, "carla", nonces["carla"])
    assert (told(anna, id).open, told(anna, id).asked) == ((), ("anna", "berta", "carla"))


def test_so_many_questions_are_under_way(anna: Hand) -> None:
    for _ in range(ASKING_MAX):
        anna.answers[ask(anna, *ALL)] = None
    id = ask(anna, *ALL)
    assert asked(anna) == {}
    assert told(anna, id).silent == ("berta", "carla")
    anna.wait(3.0)
    ask(anna, *ALL)
    assert list(asked(anna)) == ["berta", "carla"]


def test_the_total_is_of_whoever_has_most(anna: Hand) -> None:
    id = ask(anna, *ALL)
    nonces = asked(anna)
    anna.hear("berta", TallyAnswer(nonces["berta"], (), (), 7))
    tell(anna, "carla", nonces["carla"])
    assert told(anna, id).total == 7
