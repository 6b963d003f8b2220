"""Rosters with the same voters go on with each other's votes; a voter may amend them.  Notes on DRiP, 4.9."""

import msgspec
import pytest
from handmade import HOME, Hand, committed, next_roster, yes
from people import FOUNDERS, FOUNDING, NETWORK, key_of, member, public_of, record

from waypost.drip.messages import (
    ROSTERS_MAX,
    Commit,
    Nack,
    No,
    Poll,
    Promise,
    Read,
    ReadAnswer,
    RosterNews,
    RosterRequest,
    SealRequest,
    SealSnapshot,
    VoteCall,
    Yes,
)
from waypost.record import ROSTER, Ballot, Committed, Record, Roster

replace = msgspec.structs.replace
PLACE = ("names", "lamp")
START = ("", "")
LAMP, OFF = record("on"), record("off", txid=2)
BY_ANNA = Ballot(1, 1, "anna")
NEWCOMER = member("frieda")


def amended(before: Committed, new: Roster, *, author: str = "anna/1", ballot: Ballot = BY_ANNA) -> Committed:
    changed = record(new.encode().decode(), before.record, place=ROSTER, author=author)
    return committed(changed, ballot=ballot)


def with_learner(old: Roster, name: str = "frieda") -> Roster:
    return replace(old, epoch=old.epoch + 1, learners=(*old.learners, member(name)))


LET_IN = amended(FOUNDING, with_learner(FOUNDERS))


def let_in(number: int) -> list[Committed]:
    """So many rosters, one after another, each with another learner."""
    rosters, last = [FOUNDERS], [FOUNDING]
    for count in range(number):
        rosters.append(with_learner(rosters[-1], f"node-{count}"))
        last.append(amended(last[-1], rosters[-1]))
    return last[1:]


def test_a_learner_is_let_in_without_a_pause_of_the_votes() -> None:
    anna = Hand("anna")
    anna.hear("berta", VoteCall(LAMP, Ballot(1, 1, "berta"), None))
    anna.learn(LET_IN)
    assert anna.drip.epoch == 2
    assert anna.drip.roster.nodes == (*FOUNDERS.nodes, "frieda")
    assert anna.drip.is_voting
    assert anna.says(SealRequest) == []
    promised = anna.only("frieda", Poll(*PLACE, 1, Ballot(1, 2, "frieda"), None))
    assert isinstance(promised, Promise)
    assert promised.accepted is not None
    assert promised.accepted.record == LAMP
    assert anna.restarted().drip.is_voting


def test_round_0_does_not_come_back_with_a_roster_that_goes_on() -> None:
    """It would outrank what a quorum accepted in the epoch before, on a voter that knows nothing of it."""
    anna, carla, home = Hand("anna"), Hand("carla"), FOUNDERS.home(PLACE)
    anna.hear("berta", VoteCall(LAMP, Ballot(1, 1, "berta"), None))
    anna.learn(LET_IN)
    carla.learn(LET_IN)
    stray = VoteCall(OFF, Ballot(2, 0, home), None)
    assert carla.hear(home, stray) == [RosterRequest(2)]
    assert not isinstance(anna.only(home, stray), Yes)
    assert anna.only(home, VoteCall(OFF, Ballot(1, 0, home), None)) == Nack(
        *PLACE, 1, Ballot(1, 0, home), Ballot(1, 1, "berta")
    )


def test_an_attempt_goes_on_at_its_ballot_while_a_learner_is_let_in() -> None:
    anna = Hand("anna")
    anna.learn(committed(LAMP))
    id = anna.claim(record("off", LAMP, txid=2))
    call = anna.calls()
    anna.learn(LET_IN)
    for name in ("berta", "carla"):
        anna.hear(name, yes(call, name))
    assert id in anna.answers
    assert anna.drip.committed(PLACE) == committed(call.record)


def test_the_home_has_used_round_0_for_all_epochs_of_a_term() -> None:
    anna = Hand("anna")
    anna.learn(committed(LAMP))
    anna.claim(record("off", LAMP, txid=2))
    assert anna.calls().ballot == HOME
    again = anna.restarted()
    again.learn(LET_IN)
    again.claim(record("off", LAMP, txid=2))
    assert {message.ballot for _, message in again.told if isinstance(message, Poll)} == {BY_ANNA}


def test_a_learner_that_was_let_in_claims_and_one_that_was_not_may_not() -> None:
    anna = Hand("anna")
    poll = Poll(*PLACE, 1, Ballot(1, 1, "frieda"), None)
    assert anna.hear("frieda", poll) == []
    anna.learn(LET_IN)
    assert isinstance(anna.only("frieda", poll), Promise)


def test_nobody_asks_again_because_a_learner_was_let_in() -> None:
    dora = Hand("dora")
    dora.read()
    dora.told = []
    dora.learn(LET_IN)
    assert dora.told == []


def test_a_read_spans_the_epochs_of_a_term() -> None:
    anna = Hand("anna")
    anna.learn(LET_IN)
    assert anna.only("berta", Read(7, *PLACE, 1)) == ReadAnswer(7, 1, None, False)


@pytest.mark.parametrize(
    ("change", "goes_on"),
    [
        ({}, True),
        ({"voters": FOUNDERS.voters[::-1]}, True),
        ({"voters": tuple(replace(voter, url="https://elsewhere.example") for voter in FOUNDERS.voters)}, True),
        ({"learners": ()}, True),
        ({"voters": FOUNDERS.voters[:2]}, False),
        ({"voters": (*FOUNDERS.voters[:2], member("carla", 2))}, False),
        ({"voters": (*FOUNDERS.voters[:2], replace(member("carla"), incarnation=2))}, False),
        ({"voters": (*FOUNDERS.voters[:2], member("dora")), "learners": ()}, False),
        ({"policy": replace(FOUNDERS.policy, quorum=3)}, False),
    ],
)
def test_only_the_same_voters_and_policy_go_on_with_the_votes(change: dict[str, object], goes_on: bool) -> None:
    anna = Hand("anna")
    new = replace(FOUNDERS, epoch=2, **change)
    anna.learn(committed(record(new.encode().decode(), FOUNDING.record, place=ROSTER), ballot=BY_ANNA))
    assert anna.drip.epoch == 2
    assert anna.drip.is_voting is goes_on
    assert anna.says(SealRequest) == [] if goes_on else True


def test_a_new_term_merges_what_voters_of_all_of_the_last_one_had_accepted() -> None:
    third = committed(next_roster(LET_IN, ("anna", "dora", "frieda")), ballot=BY_ANNA)
    dora = Hand("dora")
    dora.learn(LET_IN, third)
    assert [message for _, message in dora.told] == [SealRequest(1, third, START, brief=True)] * 3
    berta = Hand("berta")
    berta.hear("anna", VoteCall(LAMP, BY_ANNA, None))
    assert berta.hear("dora", SealRequest(1, third, START)) == [RosterRequest(1)]
    berta.learn(LET_IN)
    answer = berta.only("dora", SealRequest(1, third, START))
    assert isinstance(answer, SealSnapshot)
    dora.hear("berta", answer)
    assert not dora.drip.is_voting
    dora.hear("anna", SealSnapshot(2, START, (), None))  # of no term
    assert not dora.drip.is_voting
    dora.hear("anna", SealSnapshot(1, START, (), None))
    assert dora.drip.is_voting
    refused = berta.only("anna", Poll(*PLACE, 1, Ballot(1, 9, "anna"), None))
    assert refused == No(*PLACE, 1, Ballot(1, 9, "anna"), "epoch", "", None, (third,))
    promised = dora.only("anna", Poll(*PLACE, 1, Ballot(3, 1, "anna"), None))
    assert isinstance(promised, Promise)
    assert promised.accepted is not None
    assert promised.accepted.record == LAMP


def test_a_merge_goes_on_over_a_roster_that_goes_on() -> None:
    second = committed(next_roster(FOUNDING, ("anna", "dora", "emma"), ("berta", "carla")), ballot=BY_ANNA)
    roster = msgspec.json.decode(second.record.value or "", type=Roster)
    third = record(with_learner(roster).encode().decode(), second.record, place=ROSTER)
    dora = Hand("dora")
    dora.learn(second)
    dora.hear("berta", SealSnapshot(1, START, (), None))
    dora.learn(committed(third, "anna", "emma", ballot=Ballot(2, 1, "anna")))
    assert dora.drip.epoch == 3
    dora.hear("carla", SealSnapshot(1, START, (), None))
    assert dora.drip.is_voting
    assert isinstance(dora.only("anna", Poll(*PLACE, 1, Ballot(2, 1, "anna"), None)), Promise)


@pytest.mark.parametrize("ballot", [Ballot(2, 1, "anna"), Ballot(1, 1, "anna")])
def test_a_certificate_is_of_a_ballot_that_its_voters_cast(ballot: Ballot) -> None:
    """Of the first epoch of a term, and for a roster of the term before it."""
    third = next_roster(LET_IN, ("anna", "berta"))
    anna = Hand("anna")
    anna.learn(LET_IN, committed(third, ballot=ballot))
    assert anna.drip.epoch == (3 if ballot == BY_ANNA else 2)
    assert anna.drip.dropped == (0 if ballot == BY_ANNA else 1)
    dora = Hand("dora")
    dora.learn(LET_IN, committed(LAMP, ballot=ballot))
    assert (dora.drip.committed(PLACE) is not None) is (ballot == BY_ANNA)


def test_rosters_of_one_term_are_learnt_in_order() -> None:
    """The certificate of each verifies with the voters that a node knows, and still none may be left out."""
    first, second, third = let_in(3)
    dora = Hand("dora")
    dora.learn(first)
    assert dora.hear("anna", Commit(third)) == [RosterRequest(2)]
    assert dora.drip.epoch == 2
    dora.hear("anna", RosterNews((second, third)))
    assert dora.drip.epoch == 4


def test_who_lacks_many_rosters_asks_until_it_has_them_all() -> None:
    anna, dora = Hand("anna"), Hand("dora")
    anna.learn(*let_in(2 * ROSTERS_MAX + 1))
    question = RosterRequest(1)
    for epoch in (ROSTERS_MAX + 1, 2 * ROSTERS_MAX + 1):
        news = anna.only("dora", question)
        question = RosterRequest(epoch)
        assert dora.hear("anna", news) == [question]
    assert dora.hear("anna", anna.only("dora", question)) == []
    assert dora.drip.epoch == 2 * ROSTERS_MAX + 2
    assert dora.hear("anna", RosterNews(())) == []


def test_a_term_and_its_epochs_outlive_a_restart() -> None:
    anna = Hand("anna")
    anna.learn(*let_in(3))
    again = anna.restarted()
    assert again.drip.epoch == 4
    assert isinstance(again.only("berta", VoteCall(LAMP, Ballot(1, 1, "berta"), None)), Yes)


@pytest.mark.parametrize(
    ("new", "author", "reason"),
    [
        (with_learner(FOUNDERS), "anna/1", None),
        (with_learner(FOUNDERS), "operator", None),
        (with_learner(FOUNDERS), "dora/1", "entitlement"),  # a learner
        (with_learner(FOUNDERS), "frieda/1", "entitlement"),
        (replace(FOUNDERS, epoch=2, voters=FOUNDERS.voters[:2]), "anna/1", "entitlement"),
    ],
)
def test_a_voter_amends_the_roster_with_its_nodes_key(new: Roster, author: str, reason: str | None) -> None:
    change = record(new.encode().decode(), FOUNDING.record, place=ROSTER, author=author)
    answer = Hand("berta").only("anna", VoteCall(change, BY_ANNA, None))
    assert isinstance(answer, Yes) if reason is None else isinstance(answer, No) and answer.reason == reason


def test_an_amendment_leaves_the_roster_to_its_holder() -> None:
    change = record(with_learner(FOUNDERS).encode().decode(), FOUNDING.record, place=ROSTER, author="anna/1")
    unsigned: Record = replace(change, holder=public_of("anna/1"))
    stolen = unsigned.signed(NETWORK, key_of("anna/1").sign)
    answer = Hand("berta").only("anna", VoteCall(stolen, BY_ANNA, None))
    assert isinstance(answer, No)
    assert answer.reason == "entitlement"
