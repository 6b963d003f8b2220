"""How a voter of a new term learns what the last had committed and accepted.  Notes on DRiP, 4.9, rules 3 and 5."""

from collections import Counter
from typing import Final

import msgspec
import pytest
from handmade import TIMERS, Hand, committed, next_roster
from people import FOUNDING, record

from waypost.drip.merging import ASKS_MAX, START
from waypost.drip.messages import (
    Entry,
    Message,
    Poll,
    Promise,
    Proposal,
    SealPart,
    SealRequest,
    SealSnapshot,
    SealWalk,
    VoteCall,
)
from waypost.record import Ballot, Committed, Record

SOURCES: Final = ("anna", "berta", "carla")
ANNA_1, ANNA_2 = Ballot(1, 1, "anna"), Ballot(2, 1, "anna")


def known(of: Record) -> Committed:
    """By votes that their voters remember."""
    return committed(of, counter=0, ballot=ANNA_1)


SECOND: Final = known(next_roster(FOUNDING, ("anna", "dora", "emma"), ("berta", "carla")))
MANY: Final = [known(record("on", place=("names", f"{number:03d}"))) for number in range(200)]
MERGE: Final = SealRequest | SealSnapshot | SealWalk | SealPart


def voters(*told: Committed) -> dict[str, Hand]:
    """Those of the first term, who know of those keys; and they are sealed."""
    hands = {name: Hand(name) for name in SOURCES}
    for hand in hands.values():
        hand.learn(*told)
    return hands


def newcomer(*told: Committed) -> Hand:
    """A voter of the second term, which has not merged yet."""
    dora = Hand("dora")
    dora.learn(*told)
    dora.told = []
    dora.learn(SECOND)
    return dora


def merge(dora: Hand, sources: dict[str, Hand], lost: Counter[type[Message]] | None = None) -> list[Message]:
    """Carry what they say until nobody says any more; what was said.  So many of a kind are `lost`."""
    said: list[Message] = []
    lost = Counter() if lost is None else lost
    waiting = [(node, message) for node, message in dora.told if isinstance(message, MERGE)]
    while waiting:
        node, message = waiting.pop(0)
        said.append(message)
        if node not in sources:
            continue
        if lost[type(message)]:
            lost[type(message)] -= 1
            continue
        for answer in sources[node].hear("dora", message):
            said.append(answer)
            if lost[type(answer)]:
                lost[type(answer)] -= 1
                continue
            waiting += [(node, following) for following in dora.hear(node, answer) if isinstance(following, MERGE)]
    return said


def kinds(said: list[Message]) -> Counter[str]:
    return Counter(type(message).__name__ for message in said)


def test_voters_that_know_the_same_tell_each_other_roots_alone() -> None:
    """Rule 5: differences only."""
    dora, sources = newcomer(*MANY), voters(*MANY)
    said = merge(dora, sources)
    assert dora.drip.is_voting
    assert kinds(said) == {"SealRequest": 3, "SealSnapshot": 3}
    assert sum(len(msgspec.json.encode(message)) for message in said) < 12_000


def test_only_what_differs_is_told() -> None:
    dora, sources = newcomer(*MANY[:150], *MANY[153:]), voters(*MANY)
    said = merge(dora, sources)
    assert dora.drip.is_voting
    told = [commit.record.key for message in said if isinstance(message, SealPart) for commit in message.commits]
    assert set(told) == {"150", "151", "152"}
    assert len(told) <= 9
    assert all(dora.drip.committed(("names", f"{number:03d}")) for number in range(200))


def test_who_has_nothing_is_told_everything() -> None:
    dora, sources = newcomer(), voters(*MANY)
    merge(dora, sources)
    assert dora.drip.is_voting
    assert all(dora.drip.committed(each.record.place) == each for each in MANY)
    assert dora.restarted().drip.is_voting


def test_what_the_newcomer_has_and_the_others_have_not_is_no_difference() -> None:
    later = known(record("off", MANY[7].record, place=("names", "007"), txid=2))
    dora, sources = newcomer(*MANY, later), voters(*MANY[:100])
    merge(dora, sources)
    assert dora.drip.is_voting
    assert dora.drip.committed(("names", "007")) == later


def test_every_namespace_is_compared() -> None:
    other = known(record("on", place=("others", "lamp")))
    dora, sources = newcomer(*MANY), voters(*MANY, other)
    merge(dora, sources)
    assert dora.drip.is_voting
    assert dora.drip.committed(("others", "lamp")) == other


def test_rosters_are_told_by_themselves() -> None:
    """One that lets in a learner is no difference to be waited for."""
    dora, sources = newcomer(*MANY), voters(*MANY)
    third = next_roster(SECOND, ("anna", "dora", "emma"), ("berta", "carla", "frieda"))
    for hand in sources.values():
        hand.learn(SECOND, committed(third, "anna", "emma", ballot=ANNA_2, counter=0))
        assert hand.drip.epoch == 3
    said = merge(dora, sources)
    assert dora.drip.is_voting
    assert kinds(said) == {"SealRequest": 3, "SealSnapshot": 3}


def test_what_was_accepted_comes_first_and_keeps_to_its_version() -> None:
    """A vote that was open: its record is told, with what it follows."""
    sources = voters(*MANY)
    off = record("off", MANY[9].record, place=("names", "009"), txid=2)
    for hand in sources.values():
        hand.hear("anna", VoteCall(off, ANNA_1, None))
    dora = newcomer(*MANY[:5])
    merge(dora, sources)
    assert dora.drip.is_voting
    promised = dora.only("anna", Poll("names", "009", 2, ANNA_2, None))
    assert isinstance(promised, Promise)
    assert promised.accepted == Proposal(ANNA_1, off)


def test_a_record_that_is_committed_between_the_two_questions_is_met_in_one_of_them() -> None:
    """Its vote is no more open when trees are compared, and it was not in the tree before."""
    sources = voters(*MANY)
    off = record("off", MANY[9].record, place=("names", "009"), txid=2)
    anna = sources["anna"]
    anna.hear("anna", VoteCall(off, ANNA_1, None))
    dora = newcomer(*MANY)
    snapshot = anna.only("dora", SealRequest(1, SECOND, START, brief=True))
    assert isinstance(snapshot, SealSnapshot)
    assert snapshot.entries == (Entry(MANY[9], Proposal(ANNA_1, off)),)
    anna.learn(known(off))
    later = anna.only("dora", SealRequest(1, SECOND, START, brief=True))
    assert isinstance(later, SealSnapshot)
    assert later.entries == ()
    assert later.roots != snapshot.roots
    (walk,) = dora.hear("anna", later)
    assert isinstance(walk, SealWalk)


def test_a_voter_has_not_told_all_before_what_differs_has_come() -> None:
    """Breakage: voting before merging."""
    dora, sources = newcomer(), voters(*MANY)
    for name in SOURCES[:2]:
        snapshot = sources[name].only("dora", SealRequest(1, SECOND, START, brief=True))
        walk = dora.only(name, snapshot)
        assert not dora.drip.is_voting
        part = sources[name].only("dora", walk)
        assert isinstance(part, SealPart)
        following = dora.only(name, msgspec.structs.replace(part, branches=part.branches[:1]))
        assert isinstance(following, SealWalk)
        assert not dora.drip.is_voting
        nothing = dora.hear(name, SealPart(following.id, 1, (), ()))
        assert nothing == []
        assert not dora.drip.is_voting


def test_one_source_is_not_enough_and_the_same_twice_is_one() -> None:
    dora, sources = newcomer(*MANY), voters(*MANY)
    snapshot = sources["anna"].only("dora", SealRequest(1, SECOND, START, brief=True))
    dora.hear("anna", snapshot)
    dora.hear("anna", snapshot)
    assert not dora.drip.is_voting
    dora.hear("emma", snapshot)  # no voter of the last term
    assert not dora.drip.is_voting
    dora.hear("berta", snapshot)
    assert dora.drip.is_voting


@pytest.mark.parametrize("kind", [SealRequest, SealWalk, SealPart, SealSnapshot])
def test_questions_that_are_not_answered_are_asked_again(kind: type[Message]) -> None:
    dora, sources = newcomer(*MANY[:50]), voters(*MANY)
    merge(dora, sources, Counter({kind: 3}))
    for _ in range(6):
        dora.wait(TIMERS.vote_s)
        merge(dora, sources)
    assert dora.drip.is_voting
    assert all(dora.drip.committed(each.record.place) == each for each in MANY)


def test_a_node_of_before_tells_everything_and_is_understood() -> None:
    """It does not read `brief`."""
    dora, sources = newcomer(), voters(*MANY)
    for name in SOURCES[:2]:
        question: Message | None = SealRequest(1, SECOND, START)
        while question is not None:
            page = sources[name].only("dora", question)
            assert isinstance(page, SealSnapshot)
            assert page.roots is None
            following = dora.hear(name, page)
            assert all(isinstance(message, SealRequest) and not message.brief for message in following)
            question = following[0] if following else None
    assert dora.drip.is_voting
    assert all(dora.drip.committed(each.record.place) == each for each in MANY)


def test_what_a_node_of_before_does_not_know_is_no_part_of_what_it_is_told() -> None:
    assert b"brief" not in msgspec.json.encode(SealRequest(1, SECOND, START))
    assert b"roots" not in msgspec.json.encode(SealSnapshot(1, START, (), None))


def test_where_questions_about_trees_are_not_answered_everything_is_asked_for() -> None:
    """As where all goes by way of others, which carry no such question."""
    dora, sources = newcomer(), voters(*MANY)
    lost: Counter[type[Message]] = Counter({SealWalk: 1_000})
    merge(dora, sources, lost)
    for _ in range(ASKS_MAX + 2):
        assert not dora.drip.is_voting
        dora.wait(TIMERS.vote_s)
        merge(dora, sources, lost)
        if dora.drip.is_voting:
            break
    assert dora.drip.is_voting
    assert all(dora.drip.committed(each.record.place) == each for each in MANY)


def test_pages_of_the_two_ways_are_never_mixed() -> None:
    """The end of a whole snapshot says nothing of its beginning to who has asked for open votes."""
    dora, sources = newcomer(), voters(*MANY)
    for name in SOURCES[:2]:
        assert dora.hear(name, SealSnapshot(1, ("names", "150"), (), None)) == []
        brief = sources[name].only("dora", SealRequest(1, SECOND, START, brief=True))
        assert isinstance(brief, SealSnapshot)
        dora.hear(name, msgspec.structs.replace(brief, next=("names", "150")))
        assert dora.hear(name, SealSnapshot(1, ("names", "150"), (), None)) == []
    assert not dora.drip.is_voting


@pytest.mark.parametrize("roots", [None, {}], ids=["of everything", "of open votes"])
def test_a_last_page_counts_after_those_before_it_alone(roots: dict[str, str] | None) -> None:
    """It may be of a question from before a restart."""
    dora = newcomer()
    for name in SOURCES[:2]:
        dora.hear(name, SealSnapshot(1, START, (), ("names", "100"), roots))
        assert dora.hear(name, SealSnapshot(1, ("names", "150"), (), None, roots)) == []
    assert not dora.drip.is_voting
    for name in SOURCES[:2]:
        dora.hear(name, SealSnapshot(1, ("names", "100"), (), None, roots))
    assert dora.drip.is_voting


def test_an_entry_that_cannot_be_verified_yet_does_not_count_as_told() -> None:
    """Else what was accepted after it would be left out."""
    third = committed(next_roster(SECOND, ("anna",)), "anna", "dora", ballot=Ballot(2, 1, "anna"))
    on = record("on")
    unknown = committed(on, "anna", ballot=Ballot(3, 0, "anna"))
    dora = newcomer()
    for name in SOURCES[:2]:
        entries = (Entry(unknown, Proposal(ANNA_1, record("off", on, txid=2))),)
        dora.hear(name, SealSnapshot(1, START, entries, None, {}))
    assert not dora.drip.is_voting
    assert third.record.version == 3


def test_trees_are_told_by_sealed_voters_to_voters_of_the_next_term_alone() -> None:
    walk = SealWalk(1, 1, "names", ("",), ())
    anna = Hand("anna")
    anna.learn(*MANY)
    assert anna.hear("dora", walk) == []  # it knows of no next term
    anna.learn(SECOND)
    assert isinstance(anna.only("dora", walk), SealPart)
    assert anna.hear("berta", walk) == []
    assert anna.hear("dora", SealWalk(1, 2, "names", ("",), ())) == []
    emma = Hand("emma")
    emma.learn(*MANY, SECOND)
    emma.told = []
    assert emma.hear("dora", walk) == []  # it was no voter


def test_a_part_that_was_not_asked_for_is_not_looked_at() -> None:
    dora, sources = newcomer(), voters(*MANY)
    dora.hear("anna", SealPart(1, 1, (), tuple(MANY[:3])))
    assert dora.drip.committed(("names", "000")) is None
    walk = dora.only("anna", sources["anna"].only("dora", SealRequest(1, SECOND, START, brief=True)))
    assert isinstance(walk, SealWalk)
    dora.hear("anna", SealPart(walk.id + 1, 1, (), tuple(MANY[:3])))
    dora.hear("berta", SealPart(walk.id, 1, (), tuple(MANY[:3])))
    assert dora.drip.committed(("names", "000")) is None
