"""Rosters that the operator forces where no quorum is left.  Notes on DRiP, 4.9, rule 7."""

import msgspec
import pytest
from handmade import HOME, Hand, committed, next_roster, vote, yes
from mesh import TIMERS, Mesh
from people import FOUNDERS, FOUNDING, NETWORK, key_of, member, public_of, record

from waypost.drip.engine import NOT_FORCED
from waypost.drip.messages import (
    Alarm,
    Commit,
    Entry,
    No,
    Poll,
    Promise,
    Proposal,
    RosterNews,
    SealRequest,
    SealSnapshot,
    VoteCall,
    Yes,
)
from waypost.drip.outcome import Outcome, State
from waypost.drip.rules import Rules
from waypost.errors import WireError
from waypost.record import (
    ROSTER,
    Ballot,
    Certificate,
    Committed,
    Forced,
    Matter,
    Member,
    Proof,
    Record,
    Roster,
    roster_in,
)
from waypost.record.vote import OPERATOR, cast, forced, require_committed

replace = msgspec.structs.replace
PLACE = ("names", "lamp")
START = ("", "")
LAMP = record("on")
FIRST = committed(LAMP, "anna", "berta")
OFF = record("off", LAMP, txid=2)


def forced_roster(before: Roster, *voters: Member, sources: tuple[str, ...] = ("carla",)) -> Roster:
    gone = {voter.name for voter in voters}
    learners = tuple(each for each in before.learners if each.name not in gone)
    return replace(before, epoch=before.epoch + 1, voters=voters, learners=learners, forced=Forced(sources))


def force(
    new: Roster, before: Record = FOUNDING.record, *, author: str = "operator", network: str = NETWORK, txid: int = 1
) -> Committed:
    signed = record(new.encode().decode(), before, place=ROSTER, author=author, network=network, txid=txid)
    return forced(signed, network, key_of(author).sign)


LEFT = forced_roster(FOUNDERS, member("carla"), member("dora"))
FORCED = force(LEFT)


def test_a_forced_roster_needs_no_votes_and_is_shown_for_ever() -> None:
    emma = Hand("emma")
    emma.learn(FORCED)
    assert emma.drip.epoch == 2
    assert emma.drip.roster == LEFT
    again = emma.restarted()
    assert again.drip.committed(ROSTER) == FORCED
    assert roster_in(FORCED.record).forced == Forced(("carla",))
    assert b'"forced":{"sources":["carla"]}' in roster_in(FORCED.record).encode()
    assert b"forced" not in FOUNDERS.encode()


def test_whoever_is_given_it_tells_everybody() -> None:
    emma = Hand("emma")
    taken = emma.drip.force(FORCED, emma.now)
    emma.settle()
    assert emma.spread == [FORCED]
    assert emma.answers[taken] == Outcome(State.COMMITTED, FORCED)
    refused = emma.drip.force(force(LEFT, author="thief"), emma.now)
    emma.settle()
    assert emma.spread == [FORCED]
    assert emma.answers[refused] == Outcome(State.DENIED, FORCED, NOT_FORCED)


STOLEN = replace(FORCED.record, author=public_of("thief"))
VALUELESS = record(replace(LEFT, forced=None).encode().decode(), FOUNDING.record, place=ROSTER)
ELSEWHERE = record(LEFT.encode().decode(), FOUNDING.record, place=ROSTER, network="0" * 64)
LOWER = replace(LEFT, voters=(replace(member("carla"), key=public_of("thief")), member("dora")))
STRANGE = replace(LEFT, forced=Forced(("stranger",)))
TWICE = replace(LEFT, forced=Forced(("carla", "carla")))


@pytest.mark.parametrize(
    "bad",
    [
        force(LEFT, author="thief"),
        force(LEFT, author="anna/1"),  # a voter is no operator
        forced(FORCED.record, NETWORK, key_of("thief").sign),
        forced(force(LEFT, author="thief").record, NETWORK, key_of("operator").sign),
        forced(STOLEN.signed(NETWORK, key_of("operator").sign), NETWORK, key_of("operator").sign),
        forced(replace(FORCED.record, signature="0" * 128), NETWORK, key_of("operator").sign),
        forced(VALUELESS, NETWORK, key_of("operator").sign),  # it does not say so
        forced(FORCED.record, "0" * 64, key_of("operator").sign),  # of another network
        force(LEFT, network="0" * 64),
        force(LOWER),
        force(STRANGE),
        force(TWICE),
        force(replace(LEFT, epoch=3)),
        forced(LAMP, NETWORK, key_of("operator").sign),  # no other key is forced
        Committed(FORCED.record, None),
        committed(FORCED.record, ballot=Ballot(1, 1, "anna")),  # nor voted on
    ],
)  # fmt: skip
def test_anything_else_is_no_forced_roster(bad: Committed) -> None:
    emma = Hand("emma")
    emma.hear("anna", Commit(bad))
    emma.hear("anna", RosterNews((bad,)))
    assert emma.drip.epoch == 1
    assert emma.drip.committed(PLACE) is None


def marked(of: Record, ballot: Ballot, *, name: str = OPERATOR, counter: int = 1) -> Certificate:
    """By the operator's key."""
    matter = Matter.of(of, ballot, NETWORK)
    return Certificate(matter, (cast(matter, name, 1, counter, NETWORK, key_of("operator").sign),))


AT_ONE = marked(FORCED.record, Ballot(1, 0, ""))


@pytest.mark.parametrize(
    "certificate",
    [
        marked(FORCED.record, Ballot(1, 1, "")),
        marked(FORCED.record, Ballot(1, 0, "anna")),
        marked(FORCED.record, Ballot(1, 0, ""), name="anna"),
        marked(FORCED.record, Ballot(1, 0, ""), counter=2),
        replace(AT_ONE, marks=(replace(AT_ONE.marks[0], voter="anna"),)),
        replace(AT_ONE, marks=(replace(AT_ONE.marks[0], counter=2),)),
        Certificate(Matter.of(FORCED.record, Ballot(1, 0, ""), NETWORK), (vote(FORCED.record, HOME, "anna").mark,)),
    ],
)
def test_the_operator_forces_at_one_ballot_with_one_mark(certificate: Certificate) -> None:
    emma = Hand("emma")
    emma.learn(Committed(FORCED.record, certificate))
    assert emma.drip.epoch == 1


def test_the_operator_proves_nothing_about_other_keys_or_epochs() -> None:
    second = record(None, FOUNDING.record, place=ROSTER)
    for before in (LAMP, second):
        emma = Hand("emma")
        two = [record("one", before, place=before.place), record("other", before, place=before.place)]
        emma.hear("anna", Alarm(Proof(*(marked(of, Ballot(1, 0, "")) for of in two))))
        assert emma.drip.alarms == {}


def test_a_forced_certificate_has_one_mark() -> None:
    assert FORCED.certificate is not None
    twice = Committed(FORCED.record, replace(FORCED.certificate, marks=FORCED.certificate.marks * 2))
    with pytest.raises(WireError):
        require_committed(twice, FOUNDERS, NETWORK, lambda public, signature, message: True, 1)


def test_nobody_votes_on_a_forced_roster() -> None:
    anna = Hand("anna")
    answer = anna.only("berta", VoteCall(FORCED.record, Ballot(1, 1, "berta"), None))
    assert isinstance(answer, No)
    assert answer.reason == "invalid"


def test_a_forced_roster_of_an_older_epoch_changes_nothing() -> None:
    second = committed(next_roster(FOUNDING, ("anna", "dora")), ballot=Ballot(1, 1, "anna"))
    third = committed(next_roster(second, ("anna", "emma")), "anna", "dora", ballot=Ballot(2, 1, "anna"))
    emma = Hand("emma")
    emma.learn(second, third, FORCED)
    assert emma.drip.epoch == 3
    assert emma.drip.alarms == {}


def test_a_voter_of_a_forced_roster_merges_the_sources_that_it_names_and_all_of_them() -> None:
    both = force(forced_roster(FOUNDERS, member("carla"), member("dora"), sources=("carla", "emma")))
    dora = Hand("dora")
    dora.learn(both)
    assert [(node, message) for node, message in dora.told] == [
        ("carla", SealRequest(1, both, START, brief=True)),
        ("emma", SealRequest(1, both, START, brief=True)),
    ]
    dora.hear("anna", SealSnapshot(1, START, (), None))
    dora.hear("carla", SealSnapshot(1, START, (Entry(FIRST, Proposal(Ballot(1, 1, "anna"), OFF)),), None))
    assert not dora.drip.is_voting
    dora.hear("emma", SealSnapshot(1, START, (), None))
    assert dora.drip.is_voting
    assert dora.restarted().drip.is_voting
    promised = dora.only("carla", Poll(*PLACE, 2, Ballot(2, 1, "carla"), None))
    assert isinstance(promised, Promise)
    assert promised.accepted is not None
    assert promised.accepted.record == OFF


def test_a_source_tells_what_it_has_voter_or_not() -> None:
    both = force(forced_roster(FOUNDERS, member("carla"), member("dora"), sources=("carla", "emma")))
    carla, emma = Hand("carla"), Hand("emma")
    carla.learn(FIRST)
    carla.hear("anna", VoteCall(OFF, Ballot(1, 1, "anna"), None))
    emma.learn(FIRST)
    answer = carla.only("dora", SealRequest(1, both, START))
    assert answer == SealSnapshot(1, START, (Entry(FIRST, Proposal(Ballot(1, 1, "anna"), OFF)),), None)
    assert emma.only("dora", SealRequest(1, both, START)) == SealSnapshot(1, START, (Entry(FIRST, None),), None)
    refused = carla.only("anna", Poll(*PLACE, 2, Ballot(1, 9, "anna"), None))  # it is sealed
    assert isinstance(refused, No)
    assert refused.reason == "epoch"
    alone = Hand("emma")
    assert not any(isinstance(told, SealSnapshot) for told in alone.hear("dora", SealRequest(1, FORCED, START)))


def test_where_nothing_is_left_nothing_is_merged() -> None:
    dora = Hand("dora")
    dora.learn(force(forced_roster(FOUNDERS, member("dora"), sources=())))
    assert dora.told == []
    assert dora.drip.is_voting
    assert dora.restarted().drip.is_voting


def test_the_same_voters_merge_too() -> None:
    anna = Hand("anna")
    anna.learn(force(forced_roster(FOUNDERS, *FOUNDERS.voters, sources=("anna",))))
    assert not anna.drip.is_voting


def test_the_next_roster_is_voted_on_again() -> None:
    dora = Hand("dora")
    alone = force(forced_roster(FOUNDERS, member("dora"), sources=()))
    dora.learn(alone)
    assert dora.drip.admit(member("frieda"), dora.now)
    dora.settle()
    ballot = Ballot(2, 1, "dora")
    following = roster_in(alone.record)
    new = replace(following, epoch=3, forced=None, learners=(*following.learners, member("frieda")))
    call = VoteCall(record(new.encode().decode(), alone.record, place=ROSTER, author="dora/1"), ballot, None)
    assert isinstance(dora.only("dora", call), Yes)
    dora.hear("dora", yes(call, "dora", counter=99))
    kept = record(replace(new, forced=following.forced).encode().decode(), alone.record, place=ROSTER)
    again = Hand("dora")
    again.learn(alone)
    assert isinstance(again.only("dora", VoteCall(kept, ballot, None)), No)


def test_two_forced_rosters_of_one_epoch_are_an_alarm() -> None:
    """So is one beside one that was voted on."""
    other = force(forced_roster(FOUNDERS, member("dora")), txid=2)
    voted = committed(next_roster(FOUNDING, ("anna", "dora")), ballot=Ballot(1, 1, "anna"))
    for first, second in ((FORCED, other), (FORCED, voted), (voted, FORCED)):
        emma, anna = Hand("emma"), Hand("anna")
        emma.learn(first, second)
        assert emma.drip.committed(ROSTER) == first
        (proof,) = emma.drip.alarms.values()
        assert emma.spread == [proof]
        assert list(emma.restarted().drip.alarms) == [ROSTER]
        anna.learn(first)
        anna.learn(second)
        assert list(anna.drip.alarms) == [ROSTER]


def test_a_forced_roster_that_does_not_follow_the_one_that_is_known_is_an_alarm() -> None:
    second = committed(next_roster(FOUNDING, ("anna", "dora")), ballot=Ballot(1, 1, "anna"))
    emma = Hand("emma")
    emma.learn(second, force(forced_roster(LEFT, member("dora"), sources=("carla",)), FORCED.record))
    assert emma.drip.epoch == 2
    emma.learn(force(forced_roster(roster_in(second.record), member("dora"), sources=("anna",)), FORCED.record))
    assert emma.drip.epoch == 2
    assert list(emma.drip.alarms) == [ROSTER]


def test_a_node_named_operator_did_not_forget_anything() -> None:
    named = Member("operator", 1, public_of("operator/1"), "", "")
    learners = replace(FOUNDERS, epoch=2, learners=(*FOUNDERS.learners, named))
    second = committed(record(learners.encode().decode(), FOUNDING.record, place=ROSTER), ballot=Ballot(1, 1, "anna"))
    third = force(forced_roster(learners, named, sources=()), second.record)
    node = Hand("operator")
    node.learn(second, third)
    assert node.drip.is_voting


def test_a_mesh_goes_on_after_a_forced_roster_with_all_that_was_left() -> None:
    """Three of five voters are gone for good; a learner knows a version that the two others do not."""
    mesh = Mesh(1, size=7, voters=5, rules=Rules(), keys=2, at_home=1.0)
    for place in mesh.places:
        mesh.claim(mesh.nodes["dora"], place)
    mesh.world.run(until=5.0)
    before = {place: mesh.drip("frieda").committed(place) for place in mesh.places}
    assert all(before.values())
    for name in ("anna", "berta", "carla"):
        mesh.nodes[name].crash()
    old = mesh.drip("dora").roster
    voters = tuple(each for each in old.voters + old.learners if each.name in ("dora", "emma", "frieda"))
    new = replace(old, epoch=2, voters=voters, learners=(old.learners[1],), forced=Forced(("dora", "emma", "frieda")))
    signed = record(
        new.encode().decode(), mesh.founding.record, place=ROSTER, network=mesh.network, sign=mesh.signer("operator")
    )
    last = forced(signed, mesh.network, mesh.signer("operator"))
    told: list[object] = []
    mesh.nodes["greta"].ask(lambda engine, now: engine.drip.force(last, now), told.append)
    mesh.world.run(until=10.0)
    operations = [mesh.claim(mesh.nodes["greta"], place) for place in mesh.places]
    mesh.world.run(until=10.0 + 2 * TIMERS.deadline_s)
    assert told == [Outcome(State.COMMITTED, last)]
    assert [operation.state for operation in operations] == ["committed", "committed"]
    for place in mesh.places:
        held, was = mesh.drip("dora").committed(place), before[place]
        assert held is not None
        assert was is not None
        assert held.record.version == was.record.version + 1
