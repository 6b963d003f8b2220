"""Rosters change by seal and merge, disks are lost and old ones come back.  Notes on DRiP, 4.9; design, Contracts 7."""

import msgspec
import pytest
from handmade import HOME, TIMERS, Hand, Rows, committed, epoch_two, next_roster, vote
from people import FOUNDING, member, record

from waypost.drip import merging
from waypost.drip.messages import (
    ENTRIES_MAX,
    Commit,
    Entry,
    Message,
    Nack,
    No,
    Poll,
    Promise,
    Proposal,
    Read,
    Restored,
    RosterNews,
    RosterRequest,
    SealRequest,
    SealSnapshot,
    VoteCall,
    Yes,
)
from waypost.drip.roster import NODE, PAST
from waypost.record import ROSTER, Ballot, Committed

PLACE = ("names", "lamp")
LAMP = record("on")
FIRST = committed(LAMP)
OFF = record("off", LAMP, txid=2)
START = ("", "")
SECOND = epoch_two("anna", "dora", "emma", learners=("berta", "carla"))
ANNA_1, ANNA_2 = Ballot(1, 1, "anna"), Ballot(2, 1, "anna")


def poll(ballot: Ballot, version: int = 1, base: Committed | None = None) -> Poll:
    return Poll(*PLACE, version, ballot, base)


def joined(name: str = "anna", *accepted: Proposal) -> Hand:
    """A voter of the second epoch that has merged."""
    hand = Hand(name)
    hand.learn(SECOND)
    entries = tuple(Entry(None, proposal) for proposal in accepted)
    for source in ("berta", "carla"):
        hand.hear(source, SealSnapshot(1, START, entries, None))
    assert hand.drip.is_voting
    return hand


def test_a_roster_is_voted_on_like_any_record_but_never_at_round_0() -> None:
    """Rule 1."""
    anna = Hand("anna")
    new = next_roster(FOUNDING, ("anna", "berta", "dora"))
    assert isinstance(anna.only("berta", VoteCall(new, Ballot(1, 0, "berta"), None)), No)
    assert isinstance(anna.only("berta", VoteCall(new, Ballot(1, 1, "berta"), None)), Yes)
    anna.learn(committed(new, ballot=Ballot(1, 1, "berta")))
    assert anna.drip.epoch == 2
    assert anna.drip.roster.nodes == ("anna", "berta", "dora")
    assert anna.restarted().drip.epoch == 2


def test_only_the_epoch_before_votes_on_a_roster() -> None:
    anna = joined()
    stray = committed(next_roster(SECOND, ("anna", "berta")), ballot=Ballot(1, 1, "anna"))
    anna.learn(stray)
    assert anna.drip.epoch == 2
    assert anna.drip.dropped == 1


@pytest.mark.parametrize(
    "voters",
    [
        (member("anna", 1), msgspec.structs.replace(member("berta"), key=member("dora").key)),
        (member("anna"), msgspec.structs.replace(member("berta"), incarnation=2, key=member("anna").key)),
        (),
    ],
)
def test_a_voters_key_changes_only_with_its_incarnation(voters: tuple[object, ...]) -> None:
    anna = Hand("anna")
    new = next_roster(FOUNDING, [item for item in voters if isinstance(item, type(member("anna")))])
    answer = anna.only("berta", VoteCall(new, Ballot(1, 1, "berta"), None))
    assert isinstance(answer, No)
    assert answer.reason == "invalid"


def test_a_sealed_voter_never_votes_in_the_old_epoch() -> None:
    """Rule 2; invariant I14; breakage: not sealing."""
    anna = joined()
    for message in (poll(Ballot(1, 9, "berta")), VoteCall(LAMP, Ballot(1, 9, "berta"), None)):
        answer = anna.only("berta", message)
        assert answer == No(*PLACE, 1, Ballot(1, 9, "berta"), "epoch", "", None, (SECOND,))
    again = anna.restarted()
    assert isinstance(again.only("berta", poll(Ballot(1, 9, "berta"))), No)
    assert isinstance(again.only("anna", poll(ANNA_2)), Promise)


def test_who_asks_in_an_old_epoch_is_told_the_rosters_since_and_goes_on_in_the_new_one() -> None:
    berta = Hand("berta")
    berta.claim(record("on"))
    (ballot,) = {message.ballot for _, message in berta.told if isinstance(message, Poll | VoteCall)}
    berta.hear("anna", No(*PLACE, 1, ballot, "epoch", "", None, (SECOND,)))
    berta.wait(2 * TIMERS.backoff_min_s)
    assert {message.ballot.epoch for _, message in berta.told if isinstance(message, Poll)} == {2}
    assert berta.says(Poll)[:3] == ["anna", "dora", "emma"]


def test_a_voter_that_hears_of_a_later_epoch_asks_for_its_roster_first() -> None:
    """4.3: newer: learn it first."""
    dora = Hand("dora")
    assert dora.hear("anna", poll(ANNA_2)) == [RosterRequest(1)]
    assert dora.only("anna", RosterNews((SECOND,))) == SealRequest(1, SECOND, START, brief=True)
    assert dora.drip.epoch == 2


def test_rosters_are_told_to_who_asks_for_them() -> None:
    anna = joined()
    assert anna.only("berta", RosterRequest(1)) == RosterNews((SECOND,))
    assert anna.hear("berta", RosterRequest(2)) == []


def test_a_gap_between_rosters_is_asked_for() -> None:
    third = committed(next_roster(SECOND, ("anna",)), "anna", "dora", ballot=Ballot(2, 1, "anna"))
    berta = Hand("berta")
    assert berta.hear("anna", Commit(third)) == [RosterRequest(1)]
    berta.hear("anna", RosterNews((SECOND, third)))
    assert berta.drip.epoch == 3


def test_a_voter_of_the_new_epoch_votes_once_q_sealed_voters_told_it_what_they_know() -> None:
    """Rules 3 and 4; breakage: voting before merging."""
    dora = Hand("dora")
    dora.learn(SECOND)
    assert dora.says(SealRequest) == ["anna", "berta", "carla"]
    assert dora.hear("anna", poll(ANNA_2)) == []
    dora.hear("berta", SealSnapshot(1, START, (Entry(FIRST, Proposal(ANNA_1, OFF)),), None))
    assert not dora.drip.is_voting
    dora.hear("berta", SealSnapshot(1, START, (), None))  # the same voter again
    dora.hear("emma", SealSnapshot(1, START, (), None))  # no voter of the last epoch
    assert not dora.drip.is_voting
    dora.hear("carla", SealSnapshot(1, START, (), None))
    assert dora.drip.is_voting
    assert dora.drip.committed(PLACE) == FIRST
    assert dora.restarted().drip.is_voting
    promised = dora.only("anna", poll(ANNA_2, 2))
    assert promised == Promise(*PLACE, 2, ANNA_2, 1, Proposal(ANNA_1, OFF))


def test_the_merge_keeps_what_was_accepted_at_the_highest_ballot() -> None:
    """Rule 3."""
    low, high = Proposal(Ballot(1, 1, "anna"), record("low")), Proposal(Ballot(1, 2, "anna"), record("high"))
    for pages in ((low, high), (high, low)):
        dora = Hand("dora")
        dora.learn(SECOND)
        for source, proposal in zip(("berta", "carla"), pages, strict=True):
            dora.hear(source, SealSnapshot(1, START, (Entry(None, proposal),), None))
        promised = dora.only("anna", poll(ANNA_2))
        assert isinstance(promised, Promise)
        assert promised.accepted == high


def test_round_0_is_refused_where_the_merge_brought_something() -> None:
    """Rule 4; breakage: round 0 over a merged accept."""
    home = joined().drip.roster.home(PLACE)
    ballot = Ballot(2, 0, home)
    merged = joined("anna", Proposal(ANNA_1, record("merged")))
    assert merged.only(home, VoteCall(LAMP, ballot, None)) == Nack(*PLACE, 1, ballot, ANNA_1)
    assert isinstance(joined().only(home, VoteCall(LAMP, ballot, None)), Yes)


def test_the_merge_takes_nothing_but_the_next_version() -> None:
    """Of one that is over, or too far ahead, nothing can come."""
    dora = Hand("dora")
    dora.learn(SECOND)
    far = record("far", OFF)
    dora.hear(
        "berta", SealSnapshot(1, START, (Entry(None, Proposal(ANNA_1, OFF)), Entry(None, Proposal(HOME, far))), None)
    )
    assert dora.drip.votes() == {}
    dora.hear("berta", SealSnapshot(1, START, (), None))
    dora.hear("carla", SealSnapshot(1, START, (Entry(FIRST, Proposal(ANNA_1, LAMP)),), None))
    assert dora.drip.votes() == {}


def test_a_voter_that_joined_merges_no_more() -> None:
    """What comes late must not change what it promised since."""
    anna = joined()
    anna.hear("anna", poll(ANNA_2))
    anna.hear("berta", SealSnapshot(1, START, (Entry(None, Proposal(ANNA_1, LAMP)),), None))
    promised = anna.only("dora", poll(Ballot(2, 2, "dora")))
    assert isinstance(promised, Promise)
    assert promised.accepted is None


def test_a_sealed_voter_tells_what_it_had_accepted() -> None:
    anna = Hand("anna")
    anna.learn(FIRST)
    anna.hear("anna", VoteCall(OFF, ANNA_1, None))
    answer = anna.only("dora", SealRequest(1, SECOND, START))
    assert answer == SealSnapshot(1, START, (Entry(FIRST, Proposal(ANNA_1, OFF)),), None)
    assert anna.drip.epoch == 2  # the question sealed it
    assert anna.hear("berta", poll(Ballot(1, 9, "berta"))) != []
    assert not anna.says(Promise)


def test_only_a_voter_of_the_epoch_tells_what_it_had_accepted() -> None:
    assert Hand("carla").hear("berta", SealRequest(1, SECOND, START)) == []  # who votes no more, and needs none
    emma = Hand("emma")
    assert not any(isinstance(message, SealSnapshot) for message in emma.hear("anna", SealRequest(1, SECOND, START)))
    assert emma.drip.epoch == 2
    berta = Hand("berta")
    assert berta.hear("anna", SealRequest(1, Committed(SECOND.record, FIRST.certificate), START)) == []
    assert berta.drip.epoch == 1


def test_a_snapshot_comes_in_pages() -> None:
    anna = Hand("anna")
    many = [committed(record("x" * 30_000, place=("names", f"{number:02d}"))) for number in range(20)]
    anna.learn(*many)
    dora = Hand("dora")
    dora.learn(SECOND)
    question: Message = SealRequest(1, SECOND, START)
    pages = entries = 0
    while isinstance(question, SealRequest):
        page = anna.only("dora", question)
        assert isinstance(page, SealSnapshot)
        assert len(msgspec.json.encode(page)) < merging.OCTETS_MAX + 3 * (32 << 10)
        entries += len(page.entries)
        following = dora.hear("anna", page)
        question = following[0] if following else page
        pages += 1
    assert (pages, entries) == (3, 20)
    assert all(dora.drip.committed(("names", f"{number:02d}")) for number in range(20))
    dora.hear("berta", SealSnapshot(1, START, (), None))
    assert dora.drip.is_voting


@pytest.mark.parametrize("namespace", ["names", "0names"], ids=["after the roster", "before it"])
@pytest.mark.parametrize("count", [ENTRIES_MAX - 1, ENTRIES_MAX, ENTRIES_MAX + 1, 2 * ENTRIES_MAX])
def test_a_page_has_so_many_entries_and_each_is_told_once(namespace: str, count: int) -> None:
    anna = Hand("anna")
    anna.learn(*(committed(record("on", place=(namespace, f"{number:04d}"))) for number in range(count)))
    after: tuple[str, str] | None = START
    told: list[str] = []
    while after is not None:
        page = anna.only("dora", SealRequest(1, SECOND, after))
        assert isinstance(page, SealSnapshot)
        assert len(page.entries) <= ENTRIES_MAX
        told += [entry.committed.record.key for entry in page.entries if entry.committed]
        after = page.next
    assert told == [f"{number:04d}" for number in range(count)]


def test_a_last_page_without_those_before_it_is_no_snapshot() -> None:
    """It may be of a question from before a restart."""
    dora = Hand("dora")
    dora.learn(SECOND)
    for source in ("berta", "carla"):
        dora.hear(source, SealSnapshot(1, ("names", "m"), (), None))
    assert not dora.drip.is_voting


def test_an_unfinished_merge_asks_again() -> None:
    dora = Hand("dora")
    dora.learn(SECOND)
    dora.hear("berta", SealSnapshot(1, START, (), None))
    dora.wait(TIMERS.vote_s)
    assert dora.says(SealRequest) == ["anna", "carla"]
    again = dora.restarted()
    assert again.says(SealRequest) == ["anna", "berta", "carla"]


def test_reads_are_answered_in_the_readers_epoch_alone() -> None:
    """So that no read misses what a later epoch committed."""
    anna = joined()
    answer = anna.only("berta", Read(7, *PLACE, 1))
    assert answer == No(*PLACE, 1, Ballot(1, 0, ""), "epoch", "", None, (SECOND,))
    assert Hand("anna").hear("dora", Read(7, *PLACE, 2)) == [RosterRequest(1)]


def test_a_read_goes_on_in_the_new_epoch() -> None:
    berta = Hand("berta")
    berta.read()
    berta.hear("anna", No(*PLACE, 1, Ballot(1, 0, ""), "epoch", "", None, (SECOND,)))
    assert {message.epoch for _, message in berta.told if isinstance(message, Read)} == {2}


def test_a_node_that_lost_its_disk_votes_when_a_roster_names_its_new_incarnation() -> None:
    """Rule 6."""
    berta = Hand("berta", incarnation=2)
    assert not berta.drip.is_voting
    assert berta.hear("anna", poll(ANNA_1)) == []
    renewed = epoch_two("anna", member("berta", 2), "carla")
    berta.learn(renewed)
    for name in ("anna", "carla"):
        berta.hear(name, SealSnapshot(1, START, (), None))
    assert berta.drip.is_voting
    answer = berta.only("anna", VoteCall(LAMP, ANNA_2, None))
    assert answer == Yes(vote(LAMP, ANNA_2, "berta", incarnation=2))


def test_a_disk_that_was_restored_begins_in_a_later_incarnation_whatever_the_clock_says() -> None:
    """Else it would vote again as who it was: design, Contracts 7."""
    for incarnation, begun in ((1, 8), (7, 8), (9, 9)):
        rows = Rows()
        rows.tables = {NODE: {PAST: b"7"}}
        drip = Hand("berta", rows=rows).drip
        drip.begin(incarnation, 100.0)
        assert drip.incarnation == begun
        assert not drip.is_voting


def test_a_node_that_lost_its_disk_tells_no_snapshot_of_its_old_incarnation() -> None:
    berta = Hand("berta", incarnation=2)
    assert berta.hear("anna", SealRequest(1, SECOND, START)) == []


def test_a_voter_restored_from_an_old_copy_finds_its_own_vote_and_votes_no_more() -> None:
    """Design, Contracts 7: noticed by (incarnation, counter)."""
    berta = Hand("berta")
    berta.learn(committed(LAMP, "anna", "berta"))
    assert not berta.drip.is_voting
    assert not berta.restarted().drip.is_voting
    assert berta.hear("anna", SealRequest(1, SECOND, START)) == []  # nor says what it had accepted


def test_a_vote_that_it_does_remember_is_no_reason_to_stop() -> None:
    berta = Hand("berta")
    berta.hear("anna", VoteCall(LAMP, Ballot(1, 1, "anna"), None))
    berta.learn(committed(LAMP, "anna", "berta", ballot=ANNA_1))
    assert berta.drip.is_voting


def test_a_restored_voter_is_told_by_whoever_saw_its_votes() -> None:
    """What a voter answers, it counts after all it signed before."""
    anna = Hand("anna")
    anna.learn(FIRST)
    anna.claim(OFF)
    anna.hear("berta", Yes(vote(OFF, HOME, "berta", counter=40)))
    anna.hear("carla", Yes(vote(OFF, HOME, "carla", counter=40)))
    anna.claim(record("on again", OFF, txid=3))
    stale = Yes(vote(record("on again", OFF, txid=3), HOME, "berta", counter=12))
    answer = anna.only("berta", stale)
    assert answer == Restored(vote(OFF, HOME, "berta", counter=40))
    assert list(anna.drip.restored) == ["berta"]
    berta = Hand("berta")
    berta.hear("anna", answer)
    assert not berta.drip.is_voting


def test_nobody_can_say_so_without_its_signature() -> None:
    berta = Hand("berta")
    forged = msgspec.structs.replace(vote(OFF, HOME, "carla", counter=40))
    mark = msgspec.structs.replace(forged.mark, voter="berta")
    berta.hear("anna", Restored(msgspec.structs.replace(forged, mark=mark)))
    berta.hear("anna", Restored(vote(OFF, HOME, "carla", counter=40)))
    berta.hear("anna", Restored(vote(OFF, HOME, "berta", counter=40, incarnation=2)))
    assert berta.drip.is_voting


def test_the_roster_is_a_key_like_others_to_read() -> None:
    assert Hand("anna").drip.committed(ROSTER) == FOUNDING
