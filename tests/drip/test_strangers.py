"""Whatever is said to a node, in whatever order, it neither falls nor breaks its word."""

from handmade import Hand, committed, epoch_two, vote
from hypothesis import given, settings
from hypothesis import strategies as st
from observer import Observer
from people import FOUNDERS, FOUNDING, NETWORK, member, record

from waypost.drip.messages import (
    Admit,
    Commit,
    Entry,
    Message,
    Nack,
    No,
    Poll,
    Promise,
    Proposal,
    Read,
    ReadAnswer,
    Restored,
    RosterNews,
    RosterRequest,
    SealRequest,
    SealSnapshot,
    VoteCall,
    Yes,
)
from waypost.drip.voter import ROUND_JUMP_MAX
from waypost.identity.keys import verifies
from waypost.record import Ballot

NODES = ("anna", "berta", "carla", "dora", "emma", "stranger")
LAMP = record("on")
OTHER = record("other", txid=2)
OFF = record("off", LAMP, txid=3)
FIRST, SECOND = committed(LAMP), committed(OFF)
ROSTER_2 = epoch_two("anna", "dora", "emma", learners=("berta", "carla"))
SLOT = ("names", "lamp")

ballots = st.builds(Ballot, st.integers(1, 3), st.integers(0, 3), st.sampled_from(NODES))
versions = st.integers(1, 3)
records = st.sampled_from((LAMP, OTHER, OFF))
known = st.sampled_from((None, FIRST, SECOND, ROSTER_2))
proposals = st.none() | st.builds(Proposal, ballots, records)
entries = st.lists(st.builds(Entry, known, proposals), max_size=2).map(tuple)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Poll, st.just("names"), st.just("lamp"), versions, ballots, known),
    st.builds(VoteCall, records, ballots, known),
    st.builds(Promise, st.just("names"), st.just("lamp"), versions, ballots, st.integers(0, 9), proposals),
    st.builds(Nack, st.just("names"), st.just("lamp"), versions, ballots, ballots),
    st.builds(lambda of, ballot, who, counter: Yes(vote(of, ballot, who, counter=counter)),
              records, ballots, st.sampled_from(NODES), st.integers(0, 9)),
    st.builds(lambda version, ballot, reason, news: No(*SLOT, version, ballot, reason, "", news, (ROSTER_2,)),
              versions, ballots, st.sampled_from(("stale", "entitlement", "epoch", "stopped", "busy")), known),
    st.sampled_from((Commit(FIRST), Commit(SECOND), Commit(ROSTER_2), RosterNews((ROSTER_2,)), RosterRequest(1))),
    st.builds(Read, st.integers(0, 3), st.just("names"), st.just("lamp"), st.integers(1, 3)),
    st.builds(ReadAnswer, st.integers(0, 3), st.integers(1, 3), known, st.booleans()),
    st.builds(SealRequest, st.integers(1, 3), st.just(ROSTER_2), st.just(("", ""))),
    st.builds(SealSnapshot, st.integers(1, 2), st.just(("", "")), entries, st.none() | st.just(("a", "b"))),
    st.builds(Admit, st.builds(member, st.sampled_from(NODES), versions)),
    st.builds(lambda of, ballot: Restored(vote(of, ballot, "anna", counter=1)), records, ballots),
)  # fmt: skip
actions = st.one_of(
    st.tuples(st.sampled_from(NODES), messages),
    st.sampled_from(("claim", "read", "wait", "restart")).map(lambda action: (action, None)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(actions, max_size=25))
def test_nobody_makes_a_voter_fall_or_break_its_word(story: list[tuple[str, Message | None]]) -> None:
    """Invariants I2 to I5 and I14, of one node among liars."""
    anna = Hand("anna")
    observer, last = Observer(NETWORK, FOUNDERS, verifies, FOUNDING), 0
    for who, message in story:
        if message is not None:
            anna.hear(who, message)
        elif who == "claim":
            anna.claim(OFF if anna.drip.committed(SLOT) else LAMP)
        elif who == "read":
            anna.read()
        elif who == "wait":
            anna.wait(3.0)
        else:
            anna = anna.restarted()
        for _, told in anna.told:
            observer.told("anna", 1, told)
        anna.told = []
        held = anna.drip.committed(SLOT)
        version = held.record.version if held else 0
        assert version >= last, "I4"
        last = version


def test_no_ballot_uses_up_the_rounds() -> None:
    """A liar among the nodes cannot stop a key for ever."""
    anna = Hand("anna")
    assert anna.hear("berta", Poll(*SLOT, 1, Ballot(1, ROUND_JUMP_MAX + 1, "berta"), None)) == []
    assert anna.hear("berta", VoteCall(LAMP, Ballot(1, ROUND_JUMP_MAX + 1, "berta"), None)) == []
    assert isinstance(anna.only("berta", Poll(*SLOT, 1, Ballot(1, ROUND_JUMP_MAX, "berta"), None)), Promise)
    after = Ballot(1, ROUND_JUMP_MAX + 1, "berta")
    assert isinstance(anna.only("berta", Poll(*SLOT, 1, after, None)), Promise)
