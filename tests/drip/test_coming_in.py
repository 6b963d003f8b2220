"""How nodes come into the roster, and what waits for the operator.  Notes on DRiP, 4.9 and 4.11."""

import msgspec
import pytest
from handmade import Hand, committed, next_roster, promise, yes
from people import FOUNDERS, FOUNDING, WALL_MS, member, public_of, record

from waypost.drip.admission import AGAIN_S, APPLICANTS_MAX, LET_IN_MAX, SEEK_MAX_S
from waypost.drip.messages import Admit, Poll, RosterRequest
from waypost.record import ROSTER, Ballot, Committed, Member, Roster

replace = msgspec.structs.replace
FRIEDA = member("frieda")
MOVED = replace(member("anna"), url="https://moved.example:8481", organisation="another")


def admit(anna: Hand, come: Member) -> bool:
    anna.told = []
    is_in = anna.drip.admit(come, anna.now)
    anna.settle()
    return is_in


def polls(hand: Hand) -> list[Poll]:
    """That it makes for a roster."""
    return [message for _, message in hand.told if isinstance(message, Poll) and message.key == ROSTER[1]]


def vote_through(anna: Hand) -> Roster:
    """Berta and Carla promise and vote for whatever roster anna claims."""
    ballot, counter = polls(anna)[-1].ballot, anna.drip.epoch * 10
    held = anna.drip.committed(ROSTER)
    assert held is not None
    for name in ("berta", "carla"):
        anna.drip.hear(name, (promise(next_roster(held, ("anna",)), ballot, counter),), anna.now)
    anna.settle()
    call = anna.calls()
    for name in ("berta", "carla"):
        anna.hear(name, yes(call, name, counter=counter + 1))
    return anna.drip.roster


def let_in_all(*learners: Member) -> Committed:
    roster = replace(FOUNDERS, epoch=2, learners=learners)
    return committed(record(roster.encode().decode(), FOUNDING.record, place=ROSTER), ballot=Ballot(1, 1, "carla"))


def test_a_voter_lets_in_who_comes_with_its_own_key() -> None:
    anna = Hand("anna")
    anna.hear("frieda", Admit(FRIEDA))
    assert vote_through(anna).learners == (*FOUNDERS.learners, FRIEDA)
    made = anna.drip.committed(ROSTER)
    assert made is not None
    assert made.record.author == public_of("anna/1")
    assert made.record.holder == FOUNDING.record.holder
    assert made.record.hlc.wall_ms == WALL_MS
    assert anna.drip.is_voting
    assert admit(anna, FRIEDA)
    assert polls(anna) == []


def test_nobody_has_another_let_in() -> None:
    anna = Hand("anna")
    anna.hear("dora", Admit(FRIEDA))
    assert polls(anna) == []
    assert anna.drip.applicants == ()


@pytest.mark.parametrize("name", ["dora", "frieda"])
def test_only_a_voter_lets_anybody_in(name: str) -> None:
    other = Hand(name)
    assert not admit(other, member("greta"))
    assert polls(other) == []
    assert other.drip.applicants == ()
    assert not Hand("anna", incarnation=2).drip.admit(FRIEDA, 100.0)


def test_a_learners_next_installation_takes_the_place_of_the_last() -> None:
    anna = Hand("anna")
    assert admit(anna, member("dora", 2))
    assert set(vote_through(anna).learners) == {member("dora", 2), member("emma")}
    assert not admit(anna, member("dora", 1))
    assert anna.drip.applicants == (member("dora", 1),)


def test_one_vote_is_under_way_at_a_time() -> None:
    anna = Hand("anna")
    assert admit(anna, FRIEDA)
    assert not anna.drip.admit(member("greta"), anna.now)
    assert anna.drip.applicants == ()
    vote_through(anna)
    assert admit(anna, member("greta"))
    assert vote_through(anna).nodes[-2:] == ("frieda", "greta")


def test_the_same_node_is_let_in_again_after_a_while() -> None:
    """Each time costs a vote."""
    anna = Hand("anna")
    admit(anna, FRIEDA)
    vote_through(anna)
    moved = replace(FRIEDA, url="https://moved.example:8481")
    assert not admit(anna, moved)
    assert polls(anna) == []
    anna.wait(AGAIN_S)
    assert admit(anna, moved)
    assert vote_through(anna).learners[-1] == moved


def test_a_voter_lets_in_so_many_and_no_more_in_a_while() -> None:
    anna = Hand("anna")
    for number in range(LET_IN_MAX):
        assert admit(anna, member(f"node-{number}"))
        vote_through(anna)
    assert not admit(anna, FRIEDA)
    anna.wait(AGAIN_S)
    assert admit(anna, FRIEDA)


def test_a_voter_with_another_disk_is_an_applicant_until_the_operator_lets_it_vote() -> None:
    anna, back = Hand("anna"), member("berta", 2)
    assert not admit(anna, back)
    assert polls(anna) == []
    assert anna.drip.applicants == (back,)
    assert not admit(anna, back)
    assert anna.drip.applicants == (back,)
    promoted = next_roster(FOUNDING, ("anna", back, "carla"))
    anna.learn(committed(promoted, ballot=Ballot(1, 1, "carla")))
    assert not anna.drip.applicants


def test_who_was_let_in_and_has_moved_since_is_no_applicant() -> None:
    """What it had applied as, the operator would promote."""
    anna, back = Hand("anna"), member("berta", 2)
    admit(anna, back)
    elsewhere = replace(back, url="https://moved.example")
    anna.learn(committed(next_roster(FOUNDING, ("anna", elsewhere, "carla")), ballot=Ballot(1, 1, "carla")))
    assert anna.drip.applicants == ()


def test_what_another_roster_says_leaves_an_applicant_waiting() -> None:
    anna = Hand("anna")
    admit(anna, member("berta", 3))
    anna.learn(committed(next_roster(FOUNDING, ("anna", member("berta", 2))), ballot=Ballot(1, 1, "carla")))
    assert anna.drip.applicants == (member("berta", 3),)


def test_applicants_are_so_many_and_the_last_that_came_stay() -> None:
    anna, names = Hand("anna"), [f"node-{number}" for number in range(APPLICANTS_MAX + 2)]
    anna.learn(let_in_all(*(member(name, 2) for name in names)))
    for name in names:
        assert not admit(anna, member(name))
    assert anna.drip.applicants == tuple(member(name) for name in names[2:])
    for incarnation in (2, 3):
        assert not admit(anna, member("berta", incarnation))
    assert anna.drip.applicants[-2:] == (member(names[-1]), member("berta", 3))
    assert len(anna.drip.applicants) == APPLICANTS_MAX


def test_who_finds_no_room_in_the_roster_is_an_applicant() -> None:
    anna = Hand("anna")
    wide = [replace(member(f"node-{number}"), url="u" * 255) for number in range(70)]
    anna.learn(let_in_all(*wide))
    late = replace(FRIEDA, url="u" * 255, organisation="o" * 64)
    for number in range(20):
        if not admit(anna, replace(late, name=f"late-{number}")):
            break
        vote_through(anna)
    assert anna.drip.epoch > 3
    assert anna.drip.applicants == (replace(late, name=f"late-{number}"),)


def test_who_is_a_voter_already_is_no_applicant() -> None:
    """It claims its new place itself."""
    anna = Hand("anna")
    assert not admit(anna, replace(member("berta"), url="https://moved.example"))
    assert anna.drip.applicants == ()
    assert polls(anna) == []


def test_a_voter_moves_itself() -> None:
    anna = Hand("anna")
    assert anna.drip.move(MOVED.url, MOVED.organisation, anna.now)
    anna.settle()
    assert vote_through(anna).voters == (MOVED, *FOUNDERS.voters[1:])
    anna.told = []
    assert anna.drip.move(MOVED.url, MOVED.organisation, anna.now)
    anna.settle()
    assert polls(anna) == []
    assert not Hand("dora").drip.move(MOVED.url, MOVED.organisation, 100.0)
    assert not Hand("anna", incarnation=2).drip.move(MOVED.url, MOVED.organisation, 100.0)


# Who seeks


def seek(name: str, come: Member, incarnation: int = 1, contacts: tuple[str, ...] = ()) -> Hand:
    hand = Hand(name, incarnation=incarnation)
    hand.drip.seek(come, (), hand.now)
    return hand


def asked(hand: Hand, seconds: float) -> list[str]:
    hand.wait(seconds)
    return hand.says(Admit)


def test_a_node_asks_one_voter_after_another_and_ever_less_often() -> None:
    frieda = seek("frieda", FRIEDA)
    assert len(asked(frieda, 0.0)) == 1
    assert all(message in (Admit(FRIEDA), RosterRequest(1)) for _, message in frieda.told)
    assert set(asked(frieda, 10.0)) == {"anna", "berta", "carla"}
    asked(frieda, 4 * SEEK_MAX_S)
    assert 4 <= len(asked(frieda, 10 * SEEK_MAX_S)) <= 15
    assert seek("frieda", FRIEDA).drip.next_timer() is not None


def test_it_asks_no_more_once_it_is_in() -> None:
    frieda = seek("frieda", FRIEDA)
    asked(frieda, 0.0)
    frieda.learn(let_in_all(*FOUNDERS.learners, FRIEDA))
    assert asked(frieda, 10 * SEEK_MAX_S) == []
    assert frieda.drip.next_timer() is None


def test_it_asks_again_where_another_entry_takes_its_place_but_not_where_it_is_put_out() -> None:
    """A question from before it moved may be late."""
    moved = replace(FRIEDA, url="https://moved.example")
    second = let_in_all(*FOUNDERS.learners, moved)
    for learners, again in (((FRIEDA,), True), ((), False), ((member("frieda", 2),), False)):
        frieda = seek("frieda", moved)
        frieda.learn(second)
        assert asked(frieda, 10.0) == []
        third = replace(FOUNDERS, epoch=3, learners=learners)
        by = record(third.encode().decode(), second.record, place=ROSTER)
        frieda.learn(committed(by, ballot=Ballot(1, 1, "carla")))
        assert frieda.drip.epoch == 3
        assert (asked(frieda, 10.0) != []) is again


def test_another_roster_does_not_hasten_it() -> None:
    dora = seek("dora", replace(member("dora"), url="https://moved.example"))
    asked(dora, 10.0)
    due = dora.drip.next_timer()
    dora.learn(let_in_all(*FOUNDERS.learners, FRIEDA))
    assert dora.drip.next_timer() == due


def test_who_is_in_already_asks_nobody() -> None:
    assert asked(seek("dora", member("dora")), 100.0) == []


def test_a_node_that_moved_asks_though_its_name_is_in() -> None:
    assert asked(seek("dora", replace(member("dora"), url="https://moved.example")), 0.0) != []


def test_a_voter_that_moved_asks_nobody_and_claims() -> None:
    anna = seek("anna", MOVED)
    assert asked(anna, 0.0) == []
    assert vote_through(anna).voters[0] == MOVED
    assert asked(anna, 100.0) == []
    assert anna.drip.next_timer() is None


def test_a_voter_that_lost_its_disk_asks_the_others() -> None:
    back = seek("anna", member("anna", 2), incarnation=2)
    assert set(asked(back, 30.0)) == {"berta", "carla"}


def test_who_has_nobody_to_ask_waits() -> None:
    alone = seek("anna", member("anna", 2), incarnation=2)
    second = committed(next_roster(FOUNDING, ("anna",)), ballot=Ballot(1, 1, "berta"))
    alone.learn(second)
    assert asked(alone, 30.0) == []
    assert alone.drip.next_timer() is not None
