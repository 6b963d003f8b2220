"""What a record relies on: judged by just those versions, fetched where it is not known, refused where it is over.

Design, Contracts 6; notes on DRiP, 4.4 (voter 4) and 5.3.
"""

from collections.abc import Mapping

import pytest
from handmade import HOME, Hand, committed, next_roster, promise, yes
from people import FOUNDING, public_of, record

from waypost.drip.citing import AGAIN_S, ASKED_MAX, EACH_MAX
from waypost.drip.judge import ALLOWED, Verdict
from waypost.drip.messages import Nack, No, Poll, Proposal, VoteCall, Yes
from waypost.drip.outbox import Fetch, Tell
from waypost.drip.outcome import Outcome, State
from waypost.drip.unjudged import UNJUDGED_MAX
from waypost.engine import Ask, Commit
from waypost.record import ROSTER, Ballot, Cited, Place, Record

GRANT: Place = ("grants", "roof")
GRANTS: list[Record] = [record("lena", place=GRANT)]
for _ in range(3):
    GRANTS.append(record("lena", GRANTS[-1], place=GRANT))
FIRST, SECOND, THIRD, FOURTH = map(committed, GRANTS)
ROUND_1, ROUND_2, ROUND_3 = (Ballot(1, number, "berta") for number in (1, 2, 3))


def relying(*versions: int, place: Place = ("names", "lamp"), txid: int = 1) -> Record:
    cites = tuple(Cited(*GRANT, version) for version in versions)
    return record("on", place=place, holder="lena", author="lena", cites=cites, txid=txid)


class Roofs:
    """Who makes a key cites a grant that names it; `seen` is what was cited of what this judge was given."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[Place, int]]] = []

    def judge(self, old: Record | None, new: Record, cited: Mapping[Place, Record], wall_ms: int) -> Verdict:
        self.seen.append([(place, grant.version) for place, grant in cited.items() if place != ROSTER])
        grant = cited.get(GRANT)
        if new.place in (GRANT, ROSTER) or (grant is not None and public_of(grant.value or "") == new.author):
            return ALLOWED
        return Verdict(False, "no grant names its author")


@pytest.fixture
def roofs() -> Roofs:
    return Roofs()


@pytest.fixture
def anna(roofs: Roofs) -> Hand:
    return Hand("anna", judge=roofs)


def called(new: Record, ballot: Ballot = ROUND_1) -> VoteCall:
    return VoteCall(new, ballot, None)


def test_the_judge_is_given_the_versions_that_are_cited(anna: Hand, roofs: Roofs) -> None:
    anna.learn(FIRST, SECOND)
    assert isinstance(anna.only("berta", called(relying(2))), Yes)
    assert roofs.seen[-1] == [(GRANT, 2)]


def test_a_record_that_cites_nothing_is_judged_by_nothing(anna: Hand, roofs: Roofs) -> None:
    anna.learn(FIRST)
    no = anna.only("berta", called(relying()))
    assert isinstance(no, No)
    assert (no.reason, no.detail, no.final) == ("entitlement", "no grant names its author", False)
    assert roofs.seen[-1] == []


def test_a_voter_that_lacks_what_is_cited_asks_for_it_and_says_nothing(anna: Hand, roofs: Roofs) -> None:
    anna.learn(FIRST)
    assert anna.hear("berta", called(relying(2))) == []
    assert anna.fetched == [Fetch("berta", GRANT)]
    assert roofs.seen == []
    assert anna.drip.votes() == {}


def test_the_vote_is_cast_when_it_has_come(anna: Hand, roofs: Roofs) -> None:
    anna.hear("berta", called(relying(2)))
    anna.learn(FIRST, SECOND)
    assert isinstance(anna.only("berta", called(relying(2))), Yes)
    assert roofs.seen == [[(GRANT, 2)]]


def test_the_same_key_is_asked_for_once_in_a_while(anna: Hand) -> None:
    for _ in range(3):
        anna.hear("berta", called(relying(2)))
        anna.hear("carla", called(relying(3, place=("names", "door")), Ballot(1, 1, "carla")))
    assert anna.fetched == [Fetch("berta", GRANT)]
    anna.wait(AGAIN_S)
    anna.hear("berta", called(relying(2)))
    assert anna.fetched == [Fetch("berta", GRANT)] * 2


def test_what_nobody_has_grows_nothing(anna: Hand) -> None:
    for number in range(3 * ASKED_MAX):
        cite = Cited("grants", f"roof {number}", 1)
        new = record("on", place=("names", f"lamp {number}"), holder="lena", author="lena", cites=(cite,))
        sender = "berta" if number < ASKED_MAX else ("carla", "dora", "emma")[number % 3]
        assert anna.hear(sender, called(new, Ballot(1, 1, sender))) == []
    each = [sum(fetch.node == name for fetch in anna.fetched) for name in ("berta", "carla", "dora", "emma")]
    assert each == [EACH_MAX, EACH_MAX, EACH_MAX, EACH_MAX]
    assert len(anna.fetched) == ASKED_MAX
    anna.hear("anna", called(relying(2), Ballot(1, 1, "anna")))
    assert len(anna.fetched) == ASKED_MAX
    assert anna.drip.votes() == {}


def test_nothing_is_fetched_for_what_its_author_did_not_sign(anna: Hand) -> None:
    forged = record("on", holder="lena", author="lena", cites=(Cited(*GRANT, 2),), sign=lambda message: b"\x01" * 64)
    assert isinstance(anna.only("berta", called(forged)), No)
    assert anna.fetched == []


def test_a_grant_that_has_moved_on_is_refused_for_good(anna: Hand, roofs: Roofs) -> None:
    anna.learn(FIRST, SECOND, THIRD)
    no = anna.only("berta", called(relying(2)))
    assert isinstance(no, No)
    assert (no.reason, no.final) == ("entitlement", True)
    assert no.detail == "it relies on version 2 of grants/roof, which is at version 3 by now"
    assert roofs.seen == []
    assert anna.fetched == []


def test_one_of_two_that_has_moved_on_is_enough(anna: Hand) -> None:
    anna.learn(FIRST, SECOND)
    no = anna.only("berta", called(relying(3, 1)))
    assert isinstance(no, No)
    assert no.final
    assert anna.fetched == []


def test_what_was_accepted_is_accepted_again_whatever_has_moved_on(anna: Hand) -> None:
    """Notes, 5.3: a revocation counts where a voter has not cast its vote yet."""
    anna.learn(FIRST)
    assert isinstance(anna.only("berta", called(relying(1))), Yes)
    anna.learn(SECOND)
    assert isinstance(anna.only("berta", called(relying(1), ROUND_2)), Yes)
    assert isinstance(anna.only("berta", called(relying(1, 1), ROUND_3)), No)


# the initiator


def test_an_initiator_waits_with_a_record_for_what_it_relies_on(anna: Hand) -> None:
    id = anna.claim(relying(2))
    assert anna.told == []
    assert anna.fetched == [Fetch("anna", GRANT)]
    assert id not in anna.answers
    anna.learn(FIRST)
    assert anna.told == []
    anna.learn(SECOND)
    assert {node for node, _ in anna.told} == {"anna", "berta", "carla"}
    assert id not in anna.answers


def test_an_initiator_asks_again_and_then_denies_what_nobody_has(anna: Hand) -> None:
    id = anna.claim(relying(2))
    anna.wait(3.9)
    assert id not in anna.answers
    assert len(anna.fetched) == 4
    anna.wait(0.2)
    outcome = anna.answers[id]
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.reason) == (State.DENIED, "what it relies on is not known here")
    assert anna.told == []
    assert anna.drip.next_timer() is None


def test_an_initiator_waits_with_so_many_records_at_most(anna: Hand) -> None:
    ids = [anna.claim(relying(2, place=("names", f"lamp {number}"))) for number in range(UNJUDGED_MAX + 1)]
    assert [id for id in ids if id in anna.answers] == ids[-1:]


def test_an_initiator_proposes_nothing_that_has_moved_on(anna: Hand) -> None:
    anna.learn(FIRST, SECOND)
    id = anna.claim(relying(1))
    promised(anna, relying(1))
    outcome = anna.answers[id]
    assert isinstance(outcome, Outcome)
    assert (outcome.state, "at version 2 by now" in outcome.reason) == (State.DENIED, True)
    assert anna.says(VoteCall) == []


def test_what_has_moved_on_and_was_accepted_before_is_brought_to_an_end(anna: Hand) -> None:
    """Who sends a record again, to another node, is not told that it is denied as long as it may be committed."""
    anna.learn(FIRST, SECOND)
    lamp = relying(1)
    id = anna.claim(lamp)
    ballot = promised(anna, lamp, Proposal(HOME, lamp))
    call = anna.calls()
    assert call.record == lamp
    for voter in ("berta", "carla"):
        anna.hear(voter, yes(call, voter, counter=ballot.round + 9))
    outcome = anna.answers[id]
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.COMMITTED


def refused(to: Record, ballot: Ballot, *, final: bool = True) -> No:
    return No(*to.place, to.version, ballot, "entitlement", "it has moved on", None, (), final)


def polled(anna: Hand) -> Ballot:
    """The ballot of its next round; what it answers itself is left aside."""
    while not anna.says(Poll):
        anna.wait(0.1)
    return next(message.ballot for _, message in anna.told if isinstance(message, Poll))


def promised(anna: Hand, of: Record, accepted: Proposal | None = None) -> Ballot:
    """By the two others; a vote is called then."""
    ballot = polled(anna)
    counter = ballot.round
    anna.hear("berta", promise(of, ballot, counter, accepted))
    anna.hear("carla", promise(of, ballot, counter))
    return ballot


def test_a_record_that_so_many_voters_will_never_have_is_given_up(anna: Hand) -> None:
    """One has accepted it, who may tell voters of the next term: nobody can say yet what becomes of it."""
    anna.learn(FIRST)
    lamp = relying(1)
    id = anna.claim(lamp)
    ballot = promised(anna, lamp)
    assert anna.calls().record == lamp
    anna.hear("berta", refused(lamp, ballot))
    anna.hear("berta", refused(lamp, ballot))
    assert id not in anna.answers
    assert anna.drip.votes()[lamp.place].accepted is not None
    anna.hear("carla", refused(lamp, ballot))
    assert anna.drip.votes()[lamp.place].accepted is None
    promised(anna, lamp)
    assert anna.says(VoteCall) == []
    outcome = anna.answers[id]
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.reason) == (State.UNKNOWN, "it has moved on")


def test_a_record_that_no_voter_will_ever_have_is_denied(anna: Hand) -> None:
    anna.learn(FIRST)
    lamp = relying(1)
    id = anna.claim(lamp)
    ballot = promised(anna, lamp)
    for voter in ("anna", "berta", "carla"):
        assert id not in anna.answers
        anna.hear(voter, refused(lamp, ballot))
    outcome = anna.answers[id]
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.reason) == (State.DENIED, "it has moved on")


def test_a_refusal_that_is_not_final_leaves_it_open(anna: Hand) -> None:
    anna.learn(FIRST)
    lamp = relying(1)
    id = anna.claim(lamp)
    ballot = promised(anna, lamp)
    for voter in ("berta", "carla"):
        anna.hear(voter, refused(lamp, ballot, final=False))
    assert id not in anna.answers
    assert anna.drip.votes()[lamp.place].accepted is not None


def test_who_finds_a_dead_record_proposes_its_own(anna: Hand) -> None:
    """It was accepted by one, and two will never have it."""
    anna.learn(FIRST, SECOND)
    dead, own = relying(1, txid=7), relying(2)
    anna.claim(own)
    ballot = promised(anna, own, Proposal(HOME, dead))
    assert anna.calls().record == dead
    anna.hear("anna", refused(dead, ballot))
    anna.hear("carla", refused(dead, ballot))
    assert promised(anna, own, Proposal(HOME, dead)) > ballot
    assert anna.calls().record == own


def test_a_record_that_one_voter_refuses_for_good_is_adopted_again(anna: Hand) -> None:
    anna.learn(FIRST, SECOND)
    dead, own = relying(1, txid=7), relying(2)
    anna.claim(own)
    ballot = promised(anna, own, Proposal(HOME, dead))
    anna.hear("carla", refused(dead, ballot))
    anna.told = []
    assert promised(anna, own, Proposal(HOME, dead)) > ballot
    assert anna.calls().record == dead


def test_a_dead_record_that_is_recovered_leaves_the_key_free_and_the_promise_kept(anna: Hand) -> None:
    anna.learn(FIRST)
    dead = relying(1)
    assert isinstance(anna.only("berta", called(dead)), Yes)
    ballot = promised(anna, dead, Proposal(ROUND_1, dead))
    assert anna.calls().record == dead
    for voter in ("berta", "carla"):
        anna.hear(voter, refused(dead, ballot))
    assert anna.drip.votes()[dead.place].accepted is None
    assert isinstance(anna.only("berta", Poll(*dead.place, 1, ROUND_1, None)), Nack)
    promised(anna, dead)
    anna.wait(60.0)
    assert anna.told == []


def test_a_refusal_for_good_is_of_one_term(anna: Hand) -> None:
    """Who votes in the next one may know less of the grant, and accept it."""
    anna.learn(FIRST, SECOND)
    dead, own = relying(1, txid=7), relying(2)
    anna.claim(own)
    ballot = promised(anna, own, Proposal(HOME, dead))
    anna.hear("anna", refused(dead, ballot))
    anna.learn(committed(next_roster(FOUNDING, ("anna", "berta", "dora")), ballot=ROUND_1))
    anna.hear("carla", refused(dead, ballot))
    anna.told = []
    for final in ("berta", ""):
        again = polled(anna)
        assert again.epoch == 2
        for voter in ("berta", "dora"):
            anna.hear(voter, promise(own, again, 20 + again.round, Proposal(HOME, dead)))
        assert anna.calls().record == dead
        if final:
            anna.hear(final, refused(dead, again))
            anna.told = []


def test_what_makes_a_refusal_final_is_on_disk_before_it_is_told(anna: Hand) -> None:
    anna.learn(FIRST)
    anna.drip.learn(SECOND, anna.now)
    anna.drip.hear("berta", (called(relying(1)),), anna.now)
    (write,) = anna.drip.take_effects()
    assert isinstance(write, Commit)
    (said,) = (
        effect.body.message for effect in write.then if isinstance(effect, Ask) and isinstance(effect.body, Tell)
    )
    assert isinstance(said, No)
    assert said.final
