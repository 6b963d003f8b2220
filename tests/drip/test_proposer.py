"""An initiator by hand, rule by rule.  Notes on DRiP, 4.4 (initiator, client contract) and 4.5."""

import pytest
from handmade import HOME, TIMERS, VOTERS, Hand, committed, epoch_two, next_roster, promise, vote, yes
from people import FOUNDING, WALL_MS, member, record

from waypost.drip.messages import Commit, Message, Nack, No, Poll, Promise, Proposal, Read, ReadAnswer, VoteCall, Yes
from waypost.drip.outbox import Tell
from waypost.drip.outcome import Outcome, State
from waypost.drip.voter import ROUND_JUMP_MAX
from waypost.engine import Ask, Effect
from waypost.engine import Commit as Transaction
from waypost.record import Ballot, Record

LAMP = record("on", home="anna")
FIRST = committed(LAMP)
OFF = record("off", LAMP, txid=2)
RIVAL = record("rival", LAMP, home="berta", txid=3)
PLACE = ("names", "lamp")
ROUND_1 = Ballot(1, 1, "anna")


@pytest.fixture
def anna() -> Hand:
    """The home of the lamp, whose first version is committed."""
    hand = Hand("anna")
    hand.learn(FIRST)
    return hand


@pytest.fixture
def dora() -> Hand:
    """A learner, and no home of anything."""
    hand = Hand("dora")
    hand.learn(FIRST)
    return hand


def poll_of(hand: Hand) -> Poll:
    polls = {message.ballot: message for _, message in hand.told if isinstance(message, Poll)}
    (poll,) = polls.values()
    return poll


def promises(hand: Hand, *accepted: tuple[str, Proposal | None], counter: int = 1) -> None:
    ballot = poll_of(hand).ballot
    hand.told = []
    for name, proposal in accepted:
        hand.drip.hear(name, (Promise(*PLACE, 2, ballot, counter, proposal),), hand.now)
    hand.settle()


def test_the_home_calls_the_vote_at_once_and_a_quorum_commits(anna: Hand) -> None:
    """Rules 1 and 3: DRiP's two phases, in one round trip."""
    id = anna.claim(OFF)
    assert anna.says(VoteCall) == ["berta", "carla"]
    assert anna.says(Yes) == ["anna"]  # its own vote is on disk with the round
    call = anna.calls()
    assert call == VoteCall(OFF, HOME, FIRST)
    anna.hear("berta", yes(call, "berta", counter=2))
    assert anna.answers == {}
    anna.hear("carla", yes(call, "carla", counter=2))
    now_committed = committed(OFF, "berta", "carla", ballot=HOME, counter=2)
    assert anna.answers == {id: Outcome(State.COMMITTED, now_committed)}
    assert anna.spread == [now_committed]
    assert anna.drip.committed(PLACE) == now_committed


def commits(hand: Hand) -> tuple[list[Message], Transaction, list[Message]]:
    """What leaves at once, the one transaction, and what leaves after it."""
    effects = hand.drip.take_effects()
    (commit,) = [effect for effect in effects if isinstance(effect, Transaction)]
    at_once, after = ([said for said in map(said_by, part) if said] for part in (effects, commit.then))
    return at_once, commit, after


def said_by(effect: Effect) -> Message | None:
    return effect.body.message if isinstance(effect, Ask) and isinstance(effect.body, Tell) else None


def test_round_0_and_the_homes_own_vote_are_on_disk_in_one_transaction_before_anybody_hears(anna: Hand) -> None:
    anna.drip.claim(OFF, anna.now)
    at_once, commit, after = commits(anna)
    assert at_once == []
    assert sorted(put.table for put in commit.puts) == ["drip_instance", "drip_node", "drip_round"]
    assert [type(message) for message in after] == [VoteCall, VoteCall, Yes]


def test_a_round_is_on_disk_before_its_poll_and_the_vote_at_it_waits_for_nothing(anna: Hand) -> None:
    """Only its own vote does."""
    anna.claim(OFF)
    anna.wait(1.3 * TIMERS.vote_s)
    ballot = poll_of(anna).ballot
    assert "berta" in anna.says(Poll)
    for name in ("berta", "carla"):
        anna.drip.hear(name, (promise(OFF, ballot, counter=5),), anna.now)
    at_once, commit, after = commits(anna)
    assert [type(message) for message in at_once] == [VoteCall, VoteCall]
    assert sorted(put.table for put in commit.puts) == ["drip_instance", "drip_node"]
    assert [type(message) for message in after] == [Yes]


def test_a_poll_and_the_own_promise_are_on_disk_in_one_transaction(anna: Hand) -> None:
    anna.drip.claim(next_roster(FOUNDING, ("anna", "berta")), anna.now)
    at_once, commit, after = commits(anna)
    assert at_once == []
    assert sorted(put.table for put in commit.puts) == ["drip_instance", "drip_node", "drip_round"]
    assert [type(message) for message in after] == [Poll, Poll, Promise]


def test_the_home_uses_round_0_once_for_a_version_even_after_a_crash(anna: Hand) -> None:
    """Notes 4.2: remembered on disk."""
    anna.claim(OFF)
    again = anna.restarted()
    again.claim(RIVAL)
    assert again.says(VoteCall) == []
    assert poll_of(again).ballot == ROUND_1


def test_the_home_does_not_use_round_0_once_it_asked_for_promises(anna: Hand) -> None:
    anna.hear("berta", VoteCall(OFF, Ballot(1, 1, "berta"), None))
    anna.wait(TIMERS.deadline_s + 4 * TIMERS.vote_s)  # it recovers what berta left, in vain
    again = anna.restarted()
    again.claim(RIVAL)
    assert again.says(VoteCall) == []


@pytest.mark.parametrize("incarnation", [1, 2])
def test_a_home_that_came_back_with_another_disk_in_this_term_asks_for_promises_first(incarnation: int) -> None:
    """What it proposed at round 0 before may be committed, and who had no part in that would accept another record."""
    mine = record("on", home="dora")
    again = next_roster(FOUNDING, VOTERS, (member("dora", incarnation), "emma"))
    dora = Hand("dora", incarnation=incarnation)
    dora.learn(committed(mine), committed(again, ballot=Ballot(1, 1, "anna")))
    assert dora.drip.epoch == 2
    dora.claim(record("off", mine, txid=2))
    assert dora.says(VoteCall if incarnation == 1 else Poll) == ["anna", "berta", "carla"]
    assert dora.says(Poll if incarnation == 1 else VoteCall) == []


def test_in_the_next_term_it_uses_round_0_like_any_home() -> None:
    mine = record("on", home="dora")
    dora = Hand("dora", incarnation=2)
    again = next_roster(FOUNDING, ("anna", "berta", "emma"), (member("dora", 2),))
    dora.learn(committed(mine), committed(again, ballot=Ballot(1, 1, "anna")))
    dora.claim(record("off", mine, txid=2))
    assert dora.calls().ballot == Ballot(2, 0, "dora")


def test_with_another_disk_it_uses_rounds_that_nobody_promised_to_the_last_one() -> None:
    """A promise may come late."""
    rounds = set()
    for seed in (1, 2):
        dora = Hand("dora", incarnation=2, seed=seed)
        dora.claim(record("on", txid=seed))
        rounds.add(poll_of(dora).ballot.round)
        assert 1_000 < poll_of(dora).ballot.round <= ROUND_JUMP_MAX
    assert len(rounds) == 2


def test_nobody_uses_a_round_twice_even_after_a_crash(dora: Hand) -> None:
    dora.claim(OFF)
    assert poll_of(dora).ballot == Ballot(1, 1, "dora")
    again = dora.restarted()
    again.claim(OFF)
    assert poll_of(again).ballot == Ballot(1, 2, "dora")


def test_anybody_else_asks_for_promises_first(dora: Hand) -> None:
    dora.claim(OFF)
    assert dora.says(Poll) == ["anna", "berta", "carla"]
    assert poll_of(dora) == Poll(*PLACE, 2, Ballot(1, 1, "dora"), FIRST)
    promises(dora, ("anna", None))
    assert dora.told == []
    dora.claim(OFF)  # waits its turn: one attempt at a time
    assert dora.told == []


def test_with_a_quorum_of_promises_and_nothing_accepted_it_proposes_its_own(dora: Hand) -> None:
    dora.claim(OFF)
    promises(dora, ("anna", None), ("carla", None))
    assert dora.calls().record == OFF


def test_it_adopts_what_was_accepted_at_the_highest_ballot(dora: Hand) -> None:
    """Rule 2; breakage: not adopting accepted values."""
    id = dora.claim(OFF)
    third = record("third", LAMP, txid=4)
    low, high = Proposal(Ballot(1, 0, "anna"), third), Proposal(Ballot(1, 1, "berta"), RIVAL)
    promises(dora, ("anna", low), ("carla", high))
    call = dora.calls()
    assert call.record == RIVAL
    for name in ("anna", "carla"):
        dora.hear(name, yes(call, name, counter=2))
    outcome = dora.answers[id]
    assert isinstance(outcome, Outcome)
    assert outcome.state == State.LOST
    assert outcome.current is not None
    assert outcome.current.record == RIVAL


def test_one_promise_twice_is_one_promise(dora: Hand) -> None:
    dora.claim(OFF)
    promises(dora, ("anna", None), ("anna", None))
    assert dora.told == []


@pytest.mark.parametrize("sender", ["dora", "emma", "stranger"])
def test_promises_of_whoever_does_not_vote_count_nothing(dora: Hand, sender: str) -> None:
    dora.claim(OFF)
    promises(dora, ("anna", None), (sender, None))
    assert dora.told == []


@pytest.mark.parametrize("other", [LAMP, record("off", LAMP, place=("names", "door"))])
def test_a_promise_that_names_another_key_or_version_counts_nothing(dora: Hand, other: Record) -> None:
    dora.claim(OFF)
    promises(dora, ("anna", None), ("carla", Proposal(HOME, other)))
    assert dora.told == []


def test_a_promise_of_another_ballot_counts_nothing(dora: Hand) -> None:
    dora.claim(OFF)
    dora.hear("anna", promise(OFF, Ballot(1, 2, "dora")))
    dora.hear("carla", promise(OFF, Ballot(1, 2, "dora")))
    assert dora.says(VoteCall) == []


def test_votes_that_are_not_valid_count_nothing(anna: Hand) -> None:
    """Invariant I3."""
    anna.claim(OFF)
    call = anna.calls()
    forged = vote(OFF, call.ballot, "carla")
    bad = [
        Yes(vote(OFF, call.ballot, "berta", incarnation=2)),
        Yes(vote(OFF, Ballot(1, 1, "anna"), "berta")),
        Yes(vote(OFF, call.ballot, "dora")),
        Yes(forged),
    ]
    for message in bad:
        anna.hear("berta", message)
    anna.hear("carla", Yes(vote(OFF, call.ballot, "carla", counter=2)))
    anna.hear("carla", Yes(vote(OFF, call.ballot, "carla", counter=2)))
    assert anna.answers == {}
    assert anna.drip.committed(PLACE) == FIRST


def test_votes_for_another_record_make_no_certificate(anna: Hand) -> None:
    """Invariant I3, with a voter that lies."""
    anna.claim(OFF)
    call = anna.calls()
    anna.hear("berta", Yes(vote(RIVAL, call.ballot, "berta")))
    anna.hear("carla", yes(call, "carla"))
    assert anna.drip.committed(PLACE) == FIRST


def test_a_refusal_makes_it_go_above_what_was_promised_after_a_while(anna: Hand) -> None:
    """Rule 4: back off with jitter, then a higher round."""
    anna.claim(OFF)
    promised = Ballot(1, 7, "carla")
    anna.hear("berta", Nack(*PLACE, 2, HOME, promised))
    anna.hear("carla", Nack(*PLACE, 2, HOME, promised))
    when = anna.drip.next_timer()
    assert when is not None
    assert anna.now <= when <= anna.now + TIMERS.backoff_min_s  # doubled for the first time, halved for the home
    anna.wait(TIMERS.backoff_min_s)
    assert poll_of(anna).ballot == Ballot(1, 8, "anna")


def test_a_refusal_of_what_was_promised_already_is_none(dora: Hand) -> None:
    """The network doubled the question."""
    dora.claim(OFF)
    ballot = poll_of(dora).ballot
    for name in ("anna", "berta"):
        dora.hear(name, Nack(*PLACE, 2, ballot, ballot))
    dora.wait(TIMERS.backoff_max_s)
    assert dora.told == []


def test_no_refusal_makes_it_use_up_the_rounds(dora: Hand) -> None:
    dora.claim(OFF)
    ballot = poll_of(dora).ballot
    for name in ("anna", "berta"):
        dora.hear(name, Nack(*PLACE, 2, ballot, Ballot(1, (1 << 53) - 1, "berta")))
    dora.wait(TIMERS.backoff_max_s)
    assert poll_of(dora).ballot.round == ROUND_JUMP_MAX + 2


def test_rounds_of_an_older_epoch_count_nothing(dora: Hand) -> None:
    dora.learn(epoch_two("anna", "berta", learners=("carla", "dora", "emma")))
    dora.claim(OFF)
    ballot = poll_of(dora).ballot
    for name in ("anna", "berta"):
        dora.hear(name, Nack(*PLACE, 2, ballot, Ballot(1, 50, "berta")))
    dora.wait(TIMERS.backoff_max_s)
    assert poll_of(dora).ballot == Ballot(2, 2, "dora")


def test_a_roster_has_no_home() -> None:
    """Whoever proposes one asks for promises first."""
    anna = Hand("anna")
    assert FOUNDING.record.home == "anna"
    anna.claim(next_roster(FOUNDING, ("anna", "berta")))
    assert anna.says(VoteCall) == []
    assert anna.says(Poll) == ["berta", "carla"]
    assert anna.says(Promise) == ["anna"]


def test_a_record_that_waited_too_long_was_never_proposed(dora: Hand) -> None:
    first, second = dora.claim(OFF), dora.claim(RIVAL)
    dora.wait(TIMERS.deadline_s)
    assert dora.answers[first] == Outcome(State.UNKNOWN, FIRST, "no quorum of voters answered in time")
    assert dora.answers[second] == Outcome(State.DENIED, FIRST, "busy")


def test_silence_makes_it_try_again_with_a_higher_round(dora: Hand) -> None:
    dora.claim(OFF)
    dora.wait(1.25 * TIMERS.vote_s + 2 * TIMERS.backoff_min_s)
    assert poll_of(dora).ballot == Ballot(1, 2, "dora")


def test_without_a_quorum_the_outcome_is_unknown_at_the_deadline(dora: Hand) -> None:
    """Never "failed": the vote may still be brought to its end by others."""
    id = dora.claim(OFF)
    promises(dora, ("anna", None))
    dora.wait(TIMERS.deadline_s - 0.01)
    assert dora.answers == {}
    dora.wait(0.01)
    assert dora.answers == {id: Outcome(State.UNKNOWN, FIRST, "no quorum of voters answered in time")}
    assert dora.drip.next_timer() is None


def test_learning_that_another_won_ends_the_attempt(anna: Hand) -> None:
    id = anna.claim(OFF)
    won = committed(RIVAL, ballot=Ballot(1, 1, "berta"), counter=2)
    anna.hear("berta", No(*PLACE, 2, HOME, "stale", "", won, ()))
    assert anna.answers == {id: Outcome(State.LOST, won)}


def test_learning_that_ones_own_won_does_too(anna: Hand) -> None:
    """Somebody else closed the vote."""
    id = anna.claim(OFF)
    won = committed(OFF, ballot=Ballot(1, 1, "berta"), counter=2)
    anna.hear("berta", Commit(won))
    assert anna.answers == {id: Outcome(State.COMMITTED, won)}


def test_what_every_voter_refuses_is_denied(anna: Hand) -> None:
    """And only then: one that did not answer may have voted for it."""
    id = anna.claim(OFF)
    for name in ("anna", "berta"):
        anna.hear(name, No(*PLACE, 2, HOME, "entitlement", "revoked", None, ()))
    assert anna.answers == {}
    other = Hand("anna")
    other.learn(FIRST)
    id = other.claim(OFF)
    for name in ("anna", "berta", "carla"):
        other.hear(name, No(*PLACE, 2, HOME, "entitlement", "revoked", None, ()))
    assert other.answers == {id: Outcome(State.DENIED, FIRST, "revoked")}


def test_what_was_called_twice_is_not_denied(dora: Hand) -> None:
    """A voter may have voted for it the first time."""
    dora.claim(OFF)
    promises(dora, ("anna", None), ("carla", None))
    dora.wait(1.25 * TIMERS.vote_s + 2 * TIMERS.backoff_min_s)
    ballot = poll_of(dora).ballot
    promises(dora, ("anna", None), ("carla", None), counter=2)
    for name in ("anna", "berta", "carla"):
        dora.hear(name, No(*PLACE, 2, ballot, "entitlement", "revoked", None, ()))
    assert dora.answers == {}


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (record("off", LAMP, author="thief"), "only the holder may change it"),
        (record("off", LAMP, wall_ms=WALL_MS + 31_000), "its clock is ahead"),
        (record("far", OFF), "the version before it is not committed here"),
        (record("off", record("never")), "it does not follow the committed version"),
        (record("off", LAMP, sign=lambda message: bytes(64)), "it is not signed by its author"),
        (record("x" * 33_000, LAMP), "a record has 32768 octets at most"),
    ],
)
def test_what_may_not_be_is_denied_before_anybody_hears_of_it(anna: Hand, new: Record, reason: str) -> None:
    id = anna.claim(new)
    assert anna.answers == {id: Outcome(State.DENIED, FIRST, reason)}
    assert anna.told == []


def test_a_record_from_long_ago_is_closed_if_somebody_has_it_and_else_denied(anna: Hand) -> None:
    """A clock 31 s behind, or a record sent again to learn what became of it: nobody can tell."""
    late = record("off", LAMP, wall_ms=WALL_MS - 31_000)
    id = anna.claim(late)
    assert anna.says(VoteCall) == []
    promises(anna, ("berta", None), ("carla", None))
    assert anna.answers == {id: Outcome(State.DENIED, FIRST, "its clock is behind")}
    again = anna.claim(late)
    promises(anna, ("berta", None), ("carla", Proposal(HOME, late)))
    call = anna.calls()
    for name in ("berta", "carla"):
        anna.hear(name, yes(call, name, counter=2))
    outcome = anna.answers[again]
    assert isinstance(outcome, Outcome)
    assert outcome.state == State.COMMITTED


def test_one_that_was_kept_for_its_author_is_proposed_however_old_it_is(anna: Hand) -> None:
    late = record("off", LAMP, wall_ms=WALL_MS - 10**9)
    anna.drip.claim(late, anna.now, was_kept=True)
    anna.settle()
    assert anna.calls().record == late


def test_so_it_is_when_it_had_to_wait_for_another(anna: Hand) -> None:
    late = record("off", LAMP, wall_ms=WALL_MS - 10**9)
    anna.claim(OFF)
    anna.wait(5.0)
    anna.drip.claim(late, anna.now, was_kept=True)
    anna.settle()
    anna.wait(4.95)
    anna.wait(0.1)  # the other's time is over
    promises(anna, ("berta", None), ("carla", None))
    assert anna.calls().record == late


def test_the_same_record_again_is_committed_once(anna: Hand) -> None:
    """Notes 3.4: a unique id for each write."""
    later = committed(OFF, ballot=Ballot(1, 0, "anna"))
    anna.learn(later)
    assert anna.answers[anna.claim(LAMP)] == Outcome(State.COMMITTED, later)
    assert anna.answers[anna.claim(OFF)] == Outcome(State.COMMITTED, later)
    assert anna.answers[anna.claim(RIVAL)] == Outcome(State.LOST, later)
    assert anna.told == []


def test_what_became_of_a_transaction_is_known_for_good(anna: Hand) -> None:
    lost = record("other", txid=9)
    assert anna.answers[anna.status(LAMP)] == Outcome(State.COMMITTED, FIRST)
    assert anna.answers[anna.status(lost)] == Outcome(State.LOST, FIRST)
    again = anna.restarted()
    assert again.answers[again.status(LAMP)] == Outcome(State.COMMITTED, FIRST)
    before = FIRST
    for number in range(2, 35):
        before = committed(record(str(number), before.record, txid=number))
        anna.learn(before)
    assert anna.answers[anna.status(LAMP)] == Outcome(State.COMMITTED, before)
    assert anna.answers[anna.status(lost)] == Outcome(State.LOST, before)


def test_a_status_closes_the_vote_first() -> None:
    """Client contract: unknown outcomes resolve (invariant I13)."""
    emma = Hand("emma")
    emma.learn(FIRST)
    id = emma.status(OFF)
    (read,) = {message for _, message in emma.told if isinstance(message, Read)}
    emma.told = []
    emma.hear("anna", ReadAnswer(read.id, 1, FIRST, open=True))
    emma.told = []
    emma.drip.hear("berta", (ReadAnswer(read.id, 1, FIRST, open=False),), emma.now)
    emma.settle()
    promises(emma, ("anna", Proposal(HOME, OFF)), ("berta", None))
    call = emma.calls()
    for name in ("anna", "berta"):
        emma.hear(name, yes(call, name, counter=2))
    outcome = emma.answers[id]
    assert isinstance(outcome, Outcome)
    assert outcome.state == State.COMMITTED


def test_a_status_is_unknown_where_nobody_has_the_record() -> None:
    emma = Hand("emma")
    emma.learn(FIRST)
    id = emma.status(OFF)
    (read,) = {message for _, message in emma.told if isinstance(message, Read)}
    for name in ("anna", "berta"):
        emma.hear(name, ReadAnswer(read.id, 1, FIRST, open=False))
    assert emma.answers == {id: Outcome(State.UNKNOWN, FIRST, "no record of that version is committed")}


def test_the_version_before_the_one_known_is_known_by_the_chain() -> None:
    emma = Hand("emma")
    later = committed(OFF)
    emma.learn(later)
    assert emma.answers[emma.claim(LAMP)] == Outcome(State.COMMITTED, later)
    assert emma.answers[emma.claim(record("other"))] == Outcome(State.LOST, later)


def test_what_is_on_disk_is_told_once_it_is(anna: Hand) -> None:
    assert anna.stored == [FIRST]
    anna.learn(FIRST)
    assert anna.stored == [FIRST]


def test_records_for_one_key_wait_their_turn(anna: Hand) -> None:
    first, second = anna.claim(OFF), anna.claim(RIVAL)
    won = committed(OFF, counter=2)
    anna.hear("berta", Commit(won))
    assert anna.answers == {first: Outcome(State.COMMITTED, won), second: Outcome(State.LOST, won)}


def test_too_many_for_one_key_are_refused(anna: Hand) -> None:
    for _ in range(17):
        anna.claim(OFF)
    assert anna.answers == {}
    assert anna.answers[anna.claim(OFF)] == Outcome(State.DENIED, FIRST, "busy")


def test_anybody_closes_a_vote_that_stays_open(anna: Hand) -> None:
    """Rule 5: the initiator is gone; who voted asks what else there is, and brings it to its end."""
    berta = Ballot(1, 1, "berta")
    anna.hear("berta", VoteCall(OFF, berta, None))
    anna.wait(2 * TIMERS.vote_s - 0.01)
    assert anna.told == []
    anna.wait(TIMERS.vote_s + 0.01)
    promises(anna, ("anna", Proposal(berta, OFF)), ("carla", None), counter=3)
    call = anna.calls()
    assert call.record == OFF
    for name in ("anna", "carla"):
        anna.hear(name, yes(call, name, counter=4))
    assert anna.drip.committed(PLACE) == committed(OFF, "anna", "carla", ballot=call.ballot, counter=4)


def test_who_restarts_with_an_open_vote_closes_it_too(anna: Hand) -> None:
    anna.hear("berta", VoteCall(OFF, Ballot(1, 1, "berta"), None))
    again = anna.restarted()
    again.wait(3 * TIMERS.vote_s)
    assert again.says(Poll)
