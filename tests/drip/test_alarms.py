"""Voters that lie are proved to: both records are published, and voting on the key stops.  Notes on DRiP, 4.4, 4.8."""

from handmade import HOME, Hand, committed, promise, vote, yes
from people import record

from waypost.drip.messages import Alarm, Commit, No, Poll, Promise, VoteCall, Yes
from waypost.drip.outcome import Outcome, State
from waypost.record import Ballot, Certificate, Proof

PLACE = ("names", "lamp")
LAMP = record("on")
OTHER = record("other", txid=2)
FIRST, SECOND = committed(LAMP), committed(OTHER, "anna", "carla")
ROUND_1 = Ballot(1, 1, "berta")
assert FIRST.certificate is not None
assert SECOND.certificate is not None
TWO_CERTIFICATES = Proof(FIRST.certificate, SECOND.certificate)


def require_stopped(hand: Hand) -> None:
    assert list(hand.drip.alarms) == [PLACE]
    version = hand.drip.committed(PLACE)
    number = version.record.version + 1 if version else 1
    answer = hand.only("berta", Poll(*PLACE, number, ROUND_1, None))
    assert isinstance(answer, No)
    assert answer.reason == "stopped"


def test_two_certificates_for_one_version_stop_the_vote() -> None:
    """Rule 5."""
    anna = Hand("anna")
    anna.learn(FIRST)
    anna.hear("carla", Commit(committed(OTHER, "berta", "carla")))
    assert anna.drip.committed(PLACE) == FIRST
    (proof,) = anna.spread
    assert isinstance(proof, Proof)
    assert {proof.first.matter.hash, proof.second.matter.hash} == {
        TWO_CERTIFICATES.first.matter.hash,
        TWO_CERTIFICATES.second.matter.hash,
    }
    require_stopped(anna)
    require_stopped(anna.restarted())


def test_a_version_that_does_not_follow_the_committed_one_stops_it_too() -> None:
    """Invariant I2."""
    anna = Hand("anna")
    anna.learn(FIRST)
    anna.learn(committed(record("after another", OTHER)))
    assert anna.drip.committed(PLACE) == FIRST
    require_stopped(anna)


def test_other_keys_are_voted_on_as_before() -> None:
    anna = Hand("anna")
    anna.hear("carla", Alarm(TWO_CERTIFICATES))
    require_stopped(anna)
    assert isinstance(anna.only("berta", Poll("names", "door", 1, ROUND_1, None)), Promise)


def test_an_alarm_is_passed_on_once_and_only_with_its_proof() -> None:
    dora = Hand("dora")
    dora.hear("anna", Alarm(Proof(TWO_CERTIFICATES.first, TWO_CERTIFICATES.first)))
    assert dora.spread == []
    dora.hear("anna", Alarm(TWO_CERTIFICATES), Alarm(TWO_CERTIFICATES))
    assert dora.spread == [TWO_CERTIFICATES]
    assert dora.drip.alarms == {PLACE: TWO_CERTIFICATES}


def test_a_voter_that_signs_two_records_at_one_ballot_is_found_by_the_initiator() -> None:
    """Invariant I5."""
    dora = Hand("dora")
    dora.claim(LAMP)
    ballot = Ballot(1, 1, "dora")
    dora.hear("anna", promise(LAMP, ballot))
    dora.hear("carla", promise(LAMP, ballot))
    call = dora.calls()
    dora.hear("anna", yes(call, "anna", counter=2))
    dora.hear("anna", Yes(vote(OTHER, ballot, "anna", counter=3)))
    (proof,) = dora.spread
    assert isinstance(proof, Proof)
    assert [certificate.marks[0].voter for certificate in (proof.first, proof.second)] == ["anna", "anna"]
    berta = Hand("berta")
    berta.hear("dora", Alarm(proof))
    assert list(berta.drip.alarms) == [PLACE]


def test_nothing_is_claimed_where_voting_has_stopped() -> None:
    anna = Hand("anna")
    anna.hear("carla", Alarm(TWO_CERTIFICATES))
    id = anna.claim(LAMP)
    assert anna.answers == {id: Outcome(State.DENIED, None, "a voter signed two records: voting has stopped")}
    assert anna.says(VoteCall) == []


def test_votes_at_different_ballots_prove_nothing() -> None:
    """To vote for another record at a higher ballot is how ballots work."""
    anna = Hand("anna")
    first = Certificate(vote(LAMP, HOME, "berta").matter, (vote(LAMP, HOME, "berta").mark,))
    later = vote(OTHER, ROUND_1, "berta")
    anna.hear("carla", Alarm(Proof(first, Certificate(later.matter, (later.mark,)))))
    assert anna.drip.alarms == {}
