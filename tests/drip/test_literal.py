"""The literal profile, question by question: a peer of the draft learns, and nothing else.  Notes on DRiP, 4.14."""

from random import Random

import pytest
from handmade import Rows
from literals import BELL, CURL, DraftPeer, Gateway, Shelf, committed_in, header, propagation

from waypost.drip import calls
from waypost.drip.calls import COMPLETE, COUNTER, NODE_ID, RESET, TYPE
from waypost.drip.learner import CHANGED_MAX
from waypost.drip.literal import (
    BEAT_S,
    NOES_MAX,
    OWN,
    RETRY_MAX_S,
    RETRY_MIN_S,
    SYNC_EVERY_S,
    TAKE_MAX,
    Batch,
    Declined,
    LiteralPeers,
    Noted,
    Seen,
    ShowLiteral,
    Take,
)
from waypost.record import ROSTER


@pytest.fixture
def gateway() -> Gateway:
    """Three records, and a peer that has been told that we are not active for it yet."""
    gateway = Gateway(BELL, CURL)
    for key in ("one", "two"):
        gateway.shelf.put(key, "x")
    gateway.take_all()
    return gateway


def commits(called: list[calls.Outgoing]) -> list[calls.Outgoing]:
    return [call for call in called if call.path == "/commit"]


# who may what


def test_a_voting_is_answered_no(gateway: Gateway) -> None:
    gateway.hear("bell", calls.Voting(propagation("far")))
    assert gateway.take_all() == [calls.no_call("far")]
    assert gateway.shelf.held.keys() == {ROSTER, ("names", "one"), ("names", "two")}


def test_each_initiator_has_one_answer_and_a_bounded_number_have_one(gateway: Gateway) -> None:
    for number in (*range(NOES_MAX + 9), 0, 1):
        gateway.hear("bell", calls.Voting(propagation(f"n{number}")))
    # The first is on its way.
    assert gateway.take_all() == [calls.no_call(f"n{number}") for number in range(NOES_MAX + 1)]


def test_what_a_peer_commits_and_votes_is_ignored(gateway: Gateway) -> None:
    gateway.sync("bell")
    gateway.take_all()
    gateway.hear("bell", calls.Commit(propagation(), None))
    gateway.hear("bell", calls.Vote("anna", is_yes=True))
    assert gateway.take_all() == []
    assert (gateway.engine.counts["commits_ignored"], gateway.engine.counts["votes_ignored"]) == (1, 1)


def test_what_a_peer_passes_on_with_the_votes_for_it_is_learnt_once(gateway: Gateway) -> None:
    """It may carry what others decided, and decides nothing: notes, 4.14."""
    far = Shelf().put("far", "y")
    for _ in range(2):
        gateway.hear("bell", calls.Commit(propagation(), far))
    assert gateway.learnt == [far]
    assert (gateway.engine.counts["commits_learnt"], gateway.engine.counts["commits_ignored"]) == (1, 1)


@pytest.mark.parametrize(
    "call", [calls.SyncRequest("curl"), calls.Heartbeat("curl", "active"), calls.Declared("curl", "inactive")]
)
def test_a_peer_speaks_for_itself_alone(gateway: Gateway, call: calls.Call) -> None:
    refused = gateway.hear("bell", call)
    assert isinstance(refused, Declined)
    assert refused.reason == "forbidden"
    assert all(seen.state is None for seen in seen_by(gateway))


def seen_by(gateway: Gateway) -> tuple[Seen, ...]:
    answer = gateway.answers[gateway.ask(ShowLiteral())]
    assert isinstance(answer, LiteralPeers)
    return answer.seen


def test_its_state_is_kept(gateway: Gateway) -> None:
    gateway.hear("bell", calls.Heartbeat("bell", "sync"))
    gateway.now += 3.0
    gateway.hear("curl", calls.Declared("curl", "active"))
    assert seen_by(gateway) == (
        Seen("bell", True, "sync", 3.0, False, 0),
        Seen("curl", False, "active", 0.0, False, 0),
    )


@pytest.mark.parametrize("state", ["active", "sync", "inactive"])
def test_it_is_told_our_state(gateway: Gateway, state: calls.State) -> None:
    gateway.state = state
    assert gateway.hear("bell", calls.AskState()) == Noted(state, OWN)


# everything


def test_who_syncs_is_told_everything_the_roster_first(gateway: Gateway) -> None:
    gateway.sync("bell")
    active, *told = gateway.take_all()
    assert active == calls.declared_call("anna", is_active=True)
    assert [committed_in(call) for call in told] == [*gateway.shelf.held.values()]
    assert committed_in(told[0]).record.place == ROSTER
    assert [header(call, TYPE) for call in told] == ["sync"] * 3
    assert [header(call, COMPLETE) for call in told] == ["false", "false", "true"]


def test_an_empty_network_is_a_whole_one() -> None:
    gateway = Gateway(BELL)
    gateway.sync("bell")
    (only,) = commits(gateway.take_all())
    assert (committed_in(only).record.place, header(only, COMPLETE)) == (ROSTER, "true")


def test_who_has_not_synced_is_told_nothing(gateway: Gateway) -> None:
    gateway.put("one", "y")
    gateway.hear("bell", calls.Heartbeat("bell", "active"))
    assert gateway.take_all() == []


def test_from_then_on_it_is_told_each_change(gateway: Gateway) -> None:
    gateway.sync("bell")
    gateway.take_all()
    new = gateway.put("three", "z", home="berta")
    (call,) = gateway.take_all()
    assert committed_in(call) == new
    assert (header(call, TYPE), header(call, NODE_ID), header(call, RESET)) == ("update", "berta", "false")


def test_a_change_meanwhile_comes_first_unless_its_key_is_still_to_come(gateway: Gateway) -> None:
    gateway.sync("bell")
    while (batch := gateway.take()) and b'"key":"one"' not in batch.calls[0].body:
        pass
    two, new = gateway.put("two", "y"), gateway.put("one", "y")
    told = gateway.take_all()
    assert [committed_in(call) for call in told] == [new, two]
    assert header(told[1], COMPLETE) == "true"


def test_only_the_newest_version_is_told(gateway: Gateway) -> None:
    gateway.sync("bell")
    gateway.take_all()
    first = gateway.put("one", "y")
    gateway.put("one", "z")
    last = gateway.put("one", "zz")
    assert [committed_in(call) for call in gateway.take_all()] == [first, last]


def test_everything_can_be_asked_for_once_a_second(gateway: Gateway) -> None:
    gateway.sync("bell")
    refused = gateway.hear("bell", calls.SyncRequest("bell"))
    assert isinstance(refused, Declined)
    assert refused.reason == "early"
    assert refused.retry_s >= SYNC_EVERY_S
    gateway.wait(SYNC_EVERY_S)
    assert gateway.sync("bell") == OWN


def test_who_is_inactive_is_told_nothing_until_it_syncs(gateway: Gateway) -> None:
    gateway.sync("bell")
    gateway.take_all()
    gateway.hear("bell", calls.Declared("bell", "inactive"))
    gateway.put("one", "y")
    assert commits(gateway.take_all()) == []
    gateway.wait(SYNC_EVERY_S)
    gateway.sync("bell")
    assert len(commits(gateway.take_all())) == 3


# what goes wrong


def test_who_falls_behind_is_to_sync_again(gateway: Gateway) -> None:
    gateway.sync("bell")
    gateway.take_all()
    gateway.put("one", "y")
    for number in range(CHANGED_MAX):
        gateway.put(str(number), "x")
    assert seen_by(gateway)[0] == Seen("bell", True, None, 0.0, True, CHANGED_MAX)
    gateway.put("two", "y")
    assert seen_by(gateway)[0] == Seen("bell", True, None, 0.0, False, 0)
    late = gateway.take()  # what was on its way
    assert late is not None
    assert gateway.take(arrived=False) is None
    gateway.wait(RETRY_MIN_S)
    assert gateway.take_all() == [calls.declared_call("anna", is_active=False)]
    gateway.wait(SYNC_EVERY_S)
    gateway.sync("bell")
    told = commits(gateway.take_all())
    assert len(told) == len(gateway.shelf.held)
    assert header(told[-1], COMPLETE) == "true"
    assert gateway.engine.counts["behind"] == 1


def test_a_commit_that_did_not_arrive_is_called_again_as_it_was(gateway: Gateway) -> None:
    """Else the peer would take it for another propagation, or what comes next would overtake it."""
    gateway.sync("bell")
    gateway.take_all()
    gateway.put("one", "y")
    first = gateway.take()
    assert first is not None
    gateway.put("two", "y")
    for pause in (RETRY_MIN_S, 2 * RETRY_MIN_S, 4 * RETRY_MIN_S):
        assert gateway.take(arrived=False) is None
        gateway.wait(pause / 2 - 0.01)
        assert gateway.take() is None
        gateway.wait(pause)
        assert gateway.take() == first
    (next_,) = commits(gateway.take_all())
    assert committed_in(next_).record.key == "two"


def test_the_pauses_end_at_half_a_minute(gateway: Gateway) -> None:
    gateway.sync("bell")
    gateway.take_all()
    gateway.put("one", "y")
    first = gateway.take()
    for _ in range(2_000):  # doubled so often it would be no number any more
        gateway.take(arrived=False)
        gateway.wait(RETRY_MAX_S)
        assert gateway.take() == first


def test_after_a_call_that_arrived_the_pauses_are_short_again(gateway: Gateway) -> None:
    gateway.sync("bell")
    gateway.take_all()
    gateway.put("one", "y")
    first = gateway.take()
    for _ in range(9):
        assert gateway.take(arrived=False) is None
        gateway.wait(RETRY_MAX_S)
        assert gateway.take() == first
    gateway.put("one", "z")
    second = gateway.take()
    while second and second.calls[0].path != "/commit":
        second = gateway.take()
    assert gateway.take(arrived=False) is None
    gateway.wait(RETRY_MIN_S)
    assert gateway.take() == second


def test_our_state_is_called_until_it_arrives() -> None:
    """Else a peer that missed something would not know it."""
    gateway = Gateway(BELL)
    inactive = Batch((calls.declared_call("anna", is_active=False),))
    assert gateway.take() == inactive
    for _ in range(3):
        assert gateway.take(arrived=False) is None
        gateway.wait(RETRY_MAX_S)
        assert gateway.take() == inactive
    assert gateway.take(arrived=False) is None
    gateway.sync("bell")
    assert gateway.take_all()[0] == calls.declared_call("anna", is_active=True)


def test_votes_and_heartbeats_are_called_once(gateway: Gateway) -> None:
    """A vote that comes late is ignored, and a heartbeat is followed by another."""
    gateway.hear("bell", calls.Voting(propagation("far")))
    assert gateway.take() == Batch((calls.no_call("far"),))
    assert gateway.take(arrived=False) is None
    gateway.wait(RETRY_MIN_S)
    assert gateway.take_all() == []


def test_there_is_a_heartbeat_every_five_seconds(gateway: Gateway) -> None:
    gateway.wait(BEAT_S)
    beat = calls.heartbeat_call("anna", "active")
    assert gateway.take_all() == [beat]
    gateway.wait(3 * BEAT_S)
    assert gateway.take_all() == [beat, beat]  # one that is on its way, and one for all since
    gateway.state = "sync"
    gateway.wait(BEAT_S)
    assert gateway.take_all() == [calls.heartbeat_call("anna", "sync")]


def test_a_peer_is_told_at_the_start_that_it_has_to_sync() -> None:
    """What changed while this node was down it was not told."""
    assert Gateway(BELL).take_all() == [calls.declared_call("anna", is_active=False)]


# counters


def test_no_counter_is_used_twice_or_comes_back(gateway: Gateway) -> None:
    """G1, G5, over a restart, and of two peers."""
    used: list[int] = []
    for _ in range(3):
        session = gateway.sync("curl")
        gateway.sync("bell")
        used += [int(header(call, COUNTER)) for call in commits(gateway.take_all())]
        used += [int(header(call, COUNTER)) for call in gateway.take_all("curl", session, TAKE_MAX)]
        gateway = Gateway(BELL, CURL, shelf=gateway.shelf, rows=gateway.rows)
    assert len(used) == 18
    assert used == sorted(set(used))
    assert used[-1] < 1 << 64


def test_no_counter_leaves_before_its_start_is_on_disk() -> None:
    """Else a power cut would let the next start use it again."""
    gateway = Gateway(BELL, rows=(rows := Rows()))
    rows.tables.clear()
    slow = Gateway(BELL, rows=rows)
    rows.tables.clear()
    slow.delayed = []
    slow.sync("bell")
    assert slow.take() is None
    assert [len(commit.then) for commit in slow.delayed] == [1]
    assert gateway.engine.counts["commits_called"] == 0


# a peer without a listener


def test_who_has_no_listener_takes_from_its_own_request(gateway: Gateway) -> None:
    session = gateway.sync("curl")
    batch = gateway.take("curl", session, TAKE_MAX)
    assert batch is not None
    assert [committed_in(call) for call in batch.calls] == [*gateway.shelf.held.values()]
    assert batch.is_complete
    assert gateway.take("curl", session, TAKE_MAX) is None
    new = gateway.put("one", "y")
    batch = gateway.take("curl", session, TAKE_MAX)
    assert batch is not None
    assert ([committed_in(call) for call in batch.calls], batch.is_complete) == ([new], False)


def test_a_batch_is_bounded(gateway: Gateway) -> None:
    for number in range(TAKE_MAX + 1):
        gateway.shelf.put(f"n{number}", "x")
    session = gateway.sync("curl")
    batch = gateway.take("curl", session, 10**6)
    assert batch is not None
    assert (len(batch.calls), batch.is_complete) == (TAKE_MAX, False)


def test_another_sync_ends_the_stream_before(gateway: Gateway) -> None:
    first = gateway.sync("curl")
    gateway.take_all("curl", first, TAKE_MAX)
    gateway.wait(SYNC_EVERY_S)
    second = gateway.sync("curl")
    assert gateway.take("curl", first) == Batch((), is_over=True)  # which waited
    assert gateway.take("curl", first) == Batch((), is_over=True)
    assert len(gateway.take_all("curl", second)) == 3


def test_who_is_late_ends_no_other_stream(gateway: Gateway) -> None:
    first = gateway.sync("curl")
    gateway.wait(SYNC_EVERY_S)
    second = gateway.sync("curl")
    gateway.take_all("curl", second)  # and waits
    assert gateway.take("curl", first) == Batch((), is_over=True)
    assert gateway.take("curl", second) is None
    gateway.put("one", "y")
    told = gateway.take("curl", second)
    assert told is not None
    assert len(told.calls) == 1


def test_two_that_take_for_one_session_do_not_both_wait(gateway: Gateway) -> None:
    session = gateway.sync("curl")
    gateway.take_all("curl", session)
    waits = gateway.ask(Take("curl", session, 1, True))
    assert gateway.take("curl", session) == Batch((), is_over=True)
    assert waits not in gateway.answers


def test_who_has_left_is_told_nothing(gateway: Gateway) -> None:
    session = gateway.sync("curl")
    gateway.leave("curl", session)
    assert seen_by(gateway)[1] == Seen("curl", False, None, 0.0, False, 0)
    assert gateway.take("curl", session) == Batch((), is_over=True)


def test_nobody_leaves_in_anothers_place(gateway: Gateway) -> None:
    old = gateway.sync("curl")
    gateway.wait(SYNC_EVERY_S)
    new = gateway.sync("curl")
    gateway.leave("curl", old)
    gateway.leave("bell", OWN)
    gateway.sync("bell")
    assert len(gateway.take_all("curl", new)) == 3
    assert len(commits(gateway.take_all())) == 3


def test_a_stream_that_falls_behind_ends(gateway: Gateway) -> None:
    session = gateway.sync("curl")
    gateway.take_all("curl", session, TAKE_MAX)
    gateway.put("one", "y")
    on_its_way = gateway.take("curl", session)
    assert on_its_way is not None
    for number in range(CHANGED_MAX + 1):
        gateway.put(str(number), "x")
    assert gateway.take("curl", session) == Batch((), is_over=True)


def test_a_stream_that_falls_behind_while_it_rests_ends(gateway: Gateway) -> None:
    session = gateway.sync("curl")
    gateway.take("curl", session)
    assert gateway.take("curl", session, arrived=False) is None
    for number in range(CHANGED_MAX + 1):
        gateway.put(str(number), "x")
    assert gateway.take("curl", session) == Batch((), is_over=True)


def test_a_stream_has_commits_and_nothing_else(gateway: Gateway) -> None:
    session = gateway.sync("curl")
    gateway.hear("curl", calls.Voting(propagation("far")))
    gateway.wait(3 * BEAT_S)
    assert {call.path for call in gateway.take_all("curl", session, TAKE_MAX)} == {"/commit"}


# by storm


@pytest.mark.storm(40, 2_000)
def test_a_peer_of_the_draft_comes_to_hold_what_we_hold(seed: int) -> None:
    """Whatever is lost, repeated or restarted: a call may arrive though its answer does not."""
    rng = Random(seed)
    gateway, peer = Gateway(BELL), DraftPeer()
    arrived = True
    for _ in range(rng.randrange(20, 200)):
        match rng.randrange(8):
            case 0:
                gateway.hear("bell", calls.SyncRequest("bell"))
            case 1 if rng.random() < 0.2:
                gateway, arrived = Gateway(BELL, shelf=gateway.shelf, rows=gateway.rows), True
            case 2 | 3:
                gateway.put(f"key {rng.randrange(4)}", "x", home=rng.choice(("anna", "berta")))
            case 4:
                gateway.wait(rng.uniform(0, 5))
            case _:
                batch = gateway.take(arrived=arrived)
                arrived = True
                for call in batch.calls if batch else ():
                    if rng.random() < 0.7:
                        peer.receive(call)
                        arrived = rng.random() < 0.7
                    else:
                        arrived = False
    gateway.wait(RETRY_MAX_S)
    gateway.sync("bell")
    if not arrived:
        gateway.take(arrived=False)
        gateway.wait(RETRY_MAX_S)
    for call in gateway.take_all():
        peer.receive(call)
    assert peer.store == {place: each.record.version for place, each in gateway.shelf.held.items()}
    assert peer.complete > 0


def test_the_storm_has_repetitions_that_the_peer_drops() -> None:
    """Else it would show nothing."""
    gateway, peer = Gateway(BELL, shelf=(shelf := Shelf())), DraftPeer()
    shelf.put("one", "x")
    gateway.sync("bell")
    gateway.take_all()
    gateway.put("one", "y")
    batch = gateway.take()
    assert batch is not None
    for _ in range(2):
        peer.receive(batch.calls[0])
        gateway.take(arrived=False)
    assert peer.dropped == 1
