"""A voter by hand, rule by rule.  Notes on DRiP, 4.4 (voter) and 5.1."""

import pytest
from handmade import HOME, Hand, committed, vote
from msgspec.structs import replace
from people import NETWORK, WALL_MS, key_of, record

from waypost.drip.book import INSTANCES, Instance, row_key
from waypost.drip.messages import Commit, Nack, No, Poll, Promise, Proposal, Read, ReadAnswer, VoteCall, Yes
from waypost.drip.outbox import Tell
from waypost.drip.voter import OPENED_MAX
from waypost.engine import Ask
from waypost.engine import Commit as Write
from waypost.identity.keys import verifies
from waypost.record import Ballot, Committed, Record
from waypost.record.vote import is_marked
from waypost.record.wire import encode

LAMP = record("on", home="berta")
OFF = record("off", LAMP, home="anna")
FIRST = committed(LAMP)
PLACE = ("names", "lamp")
ROUND_1, ROUND_2 = Ballot(1, 1, "berta"), Ballot(1, 2, "carla")


def home_of_new(hand: Hand) -> str:
    return hand.drip.roster.home(PLACE)


def poll(ballot: Ballot, version: int = 1, base: Committed | None = None) -> Poll:
    return Poll(*PLACE, version, ballot, base)


def call(new: Record, ballot: Ballot, base: Committed | None = None) -> VoteCall:
    return VoteCall(new, ballot, base)


@pytest.fixture
def anna() -> Hand:
    return Hand("anna")


def test_a_voter_promises_a_ballot_and_no_lower_one(anna: Hand) -> None:
    """Rule 3."""
    assert anna.only("berta", poll(ROUND_1)) == Promise(*PLACE, 1, ROUND_1, 1, None)
    assert anna.only("carla", poll(ROUND_2)) == Promise(*PLACE, 1, ROUND_2, 2, None)
    assert anna.only("berta", poll(ROUND_1)) == Nack(*PLACE, 1, ROUND_1, ROUND_2)
    assert anna.only("carla", poll(ROUND_2)) == Nack(*PLACE, 1, ROUND_2, ROUND_2)


def test_a_promise_names_what_was_accepted(anna: Hand) -> None:
    anna.hear("berta", call(LAMP, ROUND_1))
    assert anna.only("carla", poll(ROUND_2)) == Promise(*PLACE, 1, ROUND_2, 2, Proposal(ROUND_1, LAMP))


def test_nobody_asks_for_a_promise_of_round_0(anna: Hand) -> None:
    assert anna.hear("berta", poll(Ballot(1, 0, "berta"))) == []


def test_a_voter_votes_once_it_promised_no_higher_ballot(anna: Hand) -> None:
    """Rule 4."""
    anna.hear("carla", poll(ROUND_2))
    assert anna.only("berta", call(LAMP, ROUND_1)) == Nack(*PLACE, 1, ROUND_1, ROUND_2)
    answer = anna.only("carla", call(LAMP, ROUND_2))
    assert isinstance(answer, Yes)
    assert answer == Yes(vote(LAMP, ROUND_2, "anna", counter=2))
    assert is_marked(answer.vote.matter, answer.vote.mark, anna.drip.roster, NETWORK, verifies)


def test_a_vote_is_a_promise_too(anna: Hand) -> None:
    anna.hear("carla", call(LAMP, ROUND_2))
    assert anna.only("berta", poll(ROUND_1)) == Nack(*PLACE, 1, ROUND_1, ROUND_2)


def test_a_higher_ballot_replaces_what_was_accepted(anna: Hand) -> None:
    other = record("other", home="carla")
    anna.hear("berta", call(LAMP, ROUND_1))
    anna.hear("carla", call(other, ROUND_2))
    promised = anna.only("berta", poll(Ballot(1, 3, "berta")))
    assert isinstance(promised, Promise)
    assert promised.accepted == Proposal(ROUND_2, other)


def test_the_same_vote_is_given_again(anna: Hand) -> None:
    first = anna.only("berta", call(LAMP, ROUND_1))
    assert anna.only("berta", call(LAMP, ROUND_1)) == first


def test_two_records_at_one_ballot_get_one_vote(anna: Hand) -> None:
    """Invariant I5."""
    anna.hear("berta", call(LAMP, ROUND_1))
    assert isinstance(anna.only("berta", call(record("other"), ROUND_1)), Nack)


def test_round_0_of_a_new_key_is_for_the_home_that_the_roster_gives_it(anna: Hand) -> None:
    home = home_of_new(anna)
    others = [name for name in ("anna", "berta", "carla") if name != home]
    for name in others:
        answer = anna.only(name, call(LAMP, Ballot(1, 0, name)))
        assert isinstance(answer, No)
        assert answer.reason == "invalid"
    assert isinstance(anna.only(home, call(LAMP, Ballot(1, 0, home))), Yes)


def test_round_0_of_the_next_version_is_for_the_home_that_this_one_names(anna: Hand) -> None:
    anna.learn(FIRST)
    assert isinstance(anna.only("anna", call(OFF, HOME)), No)
    assert isinstance(anna.only("berta", call(OFF, Ballot(1, 0, "berta"))), Yes)


def test_round_0_is_refused_once_anything_was_promised(anna: Hand) -> None:
    anna.learn(FIRST)
    anna.hear("carla", poll(ROUND_2, 2))
    ballot = Ballot(1, 0, "berta")
    assert anna.only("berta", call(OFF, ballot)) == Nack(*PLACE, 2, ballot, ROUND_2)


def test_who_asks_for_a_version_that_is_over_gets_what_is_committed(anna: Hand) -> None:
    """Rule 2."""
    anna.learn(FIRST)
    assert anna.only("berta", poll(ROUND_1)) == No(*PLACE, 1, ROUND_1, "stale", "", FIRST, ())
    assert anna.only("berta", call(LAMP, ROUND_1)) == No(*PLACE, 1, ROUND_1, "stale", "", FIRST, ())


def test_a_voter_that_is_behind_learns_from_the_question(anna: Hand) -> None:
    assert isinstance(anna.only("berta", poll(ROUND_1, 2, FIRST)), Promise)
    assert anna.drip.committed(PLACE) == FIRST


def test_a_voter_that_is_behind_says_so_where_the_question_does_not_help(anna: Hand) -> None:
    assert anna.only("berta", poll(ROUND_1, 2)) == No(*PLACE, 2, ROUND_1, "stale", "", None, ())
    assert anna.only("berta", VoteCall(OFF, ROUND_1, None)) == No(*PLACE, 2, ROUND_1, "stale", "", None, ())
    dora = Hand("dora")
    assert dora.hear("berta", poll(ROUND_1, 2)) == []  # it has no vote to give


def test_a_voter_does_not_learn_from_a_forged_certificate(anna: Hand) -> None:
    forged = Committed(LAMP, committed(record("other")).certificate)
    assert anna.hear("berta", poll(ROUND_1, 2, forged)) == []
    assert anna.drip.committed(PLACE) is None
    assert anna.drip.dropped == 1


def test_a_ballot_is_its_nodes_own(anna: Hand) -> None:
    assert anna.hear("carla", poll(ROUND_1)) == []
    assert anna.hear("stranger", poll(Ballot(1, 1, "stranger"))) == []


def test_a_learner_does_not_vote() -> None:
    dora = Hand("dora")
    assert not dora.drip.is_voting
    assert dora.hear("berta", poll(ROUND_1)) == []
    assert dora.hear("berta", call(LAMP, ROUND_1)) == []
    assert dora.hear("berta", Read(7, *PLACE, 1)) == []


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (record("on", author="thief"), "entitlement"),
        (record("on", place=("_network", "other")), "invalid"),
        (record("on", sign=lambda message: bytes(64)), "invalid"),
        (record("on", network="0" * 64), "invalid"),
        (record("on", wall_ms=WALL_MS + 31_000), "invalid"),
        (record("on", OFF), "stale"),  # of a version that is far ahead: it may be shown the one before
    ],
)
def test_what_may_not_be_is_refused_with_a_reason(anna: Hand, new: Record, reason: str) -> None:
    """Rule 4; notes 4.5: a clock 31 s off."""
    answers = anna.hear("berta", VoteCall(new, ROUND_1, None))
    assert [answer.reason for answer in answers if isinstance(answer, No)] == [reason]
    assert len(answers) == 1


@pytest.mark.parametrize("offset", [29_000, -3_600_000])
def test_a_record_from_before_may_be_brought_to_its_end_whenever(anna: Hand, offset: int) -> None:
    """What somebody accepted must be closed, however long that takes."""
    new = record("on", wall_ms=WALL_MS + offset)
    assert isinstance(anna.only("berta", call(new, ROUND_1)), Yes)


def test_a_record_follows_the_committed_one(anna: Hand) -> None:
    """Invariant I2."""
    anna.learn(FIRST)
    stray = record("off", record("another", home="berta"))
    answer = anna.only("berta", call(stray, ROUND_1))
    assert isinstance(answer, No)
    assert answer.reason == "invalid"


def test_only_the_holder_changes_a_key(anna: Hand) -> None:
    """Design, Contracts 6: the default judge."""
    given = record("on", holder="lena")
    anna.learn(committed(given))
    answer = anna.only("berta", call(record("off", given), ROUND_1))
    assert isinstance(answer, No)
    assert answer.reason == "entitlement"
    assert isinstance(anna.only("berta", call(record("off", given, author="lena"), ROUND_1)), Yes)


def taken(giving: Record, by: str, over: Record) -> Record:
    """`giving`, with the signature of `by` over the transfer to the next version of `over`, signed anew."""
    agreed = replace(record("off", over, holder=by), taken="").transfer(over.holder)
    signature = key_of(by).sign(agreed.to_sign(NETWORK)).hex()
    return replace(giving, taken=signature).signed(NETWORK, key_of("operator").sign)


def test_a_key_is_given_to_who_takes_it_and_to_nobody_else(anna: Hand) -> None:
    """Notes, 5.4 and I10: the taker signs the transfer, from this holder, of this version."""
    anna.learn(FIRST)
    given = record("off", LAMP, holder="lena")
    other = record("on", place=("names", "door"), home="berta")
    elsewhere = record("off", record("on", home="berta", txid=9), holder="lena")  # of another version before
    for refused, reason in (
        (record("off", LAMP, holder="lena", is_taken=False), "entitlement"),
        (taken(given, "thief", LAMP), "invalid"),
        (taken(given, "lena", other), "invalid"),
        (replace(given, taken=elsewhere.taken), "invalid"),
        (taken(record("off", LAMP), "operator", LAMP), "invalid"),  # who holds it has nothing to take
    ):
        answer = anna.only("berta", call(refused.signed(NETWORK, key_of("operator").sign), ROUND_1))
        assert isinstance(answer, No)
        assert answer.reason == reason
    assert isinstance(anna.only("berta", call(given, ROUND_1)), Yes)
    assert replace(given, taken="").encode() == given.encode().replace(f',"taken":"{given.taken}"'.encode(), b"")


def test_a_first_version_has_nobody_to_take_it_from(anna: Hand) -> None:
    signature = taken(record("off", LAMP, holder="lena"), "lena", LAMP).taken
    new = replace(record("on", holder="lena"), taken=signature).signed(NETWORK, key_of("operator").sign)
    answer = anna.only("berta", call(new, ROUND_1))
    assert isinstance(answer, No)
    assert answer.reason == "invalid"


def test_nothing_is_told_before_it_is_on_disk(anna: Hand) -> None:
    """Design, Contracts 1."""
    for message in (poll(ROUND_1), call(LAMP, ROUND_1), Read(1, *PLACE, 1)):
        anna.drip.hear("berta", (message,), anna.now)
        effects = anna.drip.take_effects()
        (write,) = effects
        assert isinstance(write, Write)
        (told,) = write.then
        assert isinstance(told, Ask)
        assert isinstance(told.body, Tell)
        tables = {put.table for put in write.puts}
        assert tables == (set() if isinstance(message, Read) else {"drip_instance", "drip_node"})


def test_promises_and_votes_outlive_a_crash(anna: Hand) -> None:
    """Notes 4.2; breakage: votes forgotten on crash."""
    first = anna.only("carla", call(LAMP, ROUND_2))
    again = anna.restarted()
    assert again.only("berta", poll(ROUND_1)) == Nack(*PLACE, 1, ROUND_1, ROUND_2)
    assert again.only("carla", call(LAMP, ROUND_2)) == first
    promised = again.only("berta", poll(Ballot(1, 3, "berta")))
    assert promised == Promise(*PLACE, 1, Ballot(1, 3, "berta"), 2, Proposal(ROUND_2, LAMP))


def test_a_commit_ends_the_vote(anna: Hand) -> None:
    """Rule 5."""
    anna.hear("berta", call(LAMP, ROUND_1))
    assert anna.drip.votes()[PLACE].promised == ROUND_1
    anna.hear("berta", Commit(FIRST))
    assert anna.drip.committed(PLACE) == FIRST
    assert anna.drip.votes() == {}
    assert anna.restarted().drip.committed(PLACE) == FIRST
    assert anna.restarted().drip.votes() == {}


def test_a_commit_that_was_overtaken_changes_nothing(anna: Hand) -> None:
    """Invariant I4."""
    second = committed(OFF, ballot=Ballot(1, 0, "berta"))
    anna.hear("berta", Commit(second), Commit(FIRST))
    assert anna.drip.committed(PLACE) == second


def test_a_read_is_answered_with_what_is_committed_and_whether_more_may_be(anna: Hand) -> None:
    assert anna.only("dora", Read(7, *PLACE, 1)) == ReadAnswer(7, 1, None, open=False)
    anna.learn(FIRST)
    anna.hear("berta", poll(ROUND_1, 2))
    assert anna.only("dora", Read(8, *PLACE, 1)) == ReadAnswer(8, 1, FIRST, open=False)
    anna.hear("berta", call(OFF, ROUND_1))
    assert anna.only("dora", Read(9, *PLACE, 1)) == ReadAnswer(9, 1, FIRST, open=True)


def test_one_node_opens_so_many_votes_and_leaves_room_for_the_others(anna: Hand) -> None:
    """Each is a row that may not be forgotten before its version is committed, and anybody may ask for a promise."""
    promised = Instance(1, ROUND_1)
    rows = {row_key(("names", f"key {number}")): encode(promised) for number in range(OPENED_MAX)}
    anna.rows.tables[INSTANCES] = rows
    anna = anna.restarted()
    answer = anna.only("berta", poll(ROUND_1))
    assert isinstance(answer, No)
    assert answer.reason == "busy"
    assert isinstance(anna.only("berta", Poll("names", "key 1", 1, Ballot(1, 2, "berta"), None)), Promise)
    assert isinstance(anna.only("carla", poll(ROUND_2)), Promise)
    anna.learn(committed(record("on", place=("names", "key 7"))))
    assert isinstance(anna.only("berta", Poll("names", "door", 1, ROUND_1, None)), Promise)
    assert isinstance(anna.only("berta", Poll("names", "gate", 1, ROUND_1, None)), No)
