"""What waits at a node for a quorum, call by call.  The votes are a stand-in that is told what to say."""

import itertools
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import pytest
from handmade import Rows
from people import FOUNDING, NETWORK, WALL_MS, key_of, public_of
from people import record as made

from waypost.drip.intents import ENDED_MS, LOOK_S, LOOKED_MAX, PAST_MS, REST_MAX_S, TABLE, Intents, Limits
from waypost.drip.judge import Holders
from waypost.drip.outcome import BUSY, Outcome, State
from waypost.drip.questions import Unkept
from waypost.drip.voter import SKEW_MAX_MS, Credentials
from waypost.engine import Answer, Commit
from waypost.identity.keys import verifies
from waypost.record import ROSTER, Committed, Place, Record

LIFE_S: Final = 3600
LAMP: Final = made("on")
NEXT: Final = made("off", LAMP, txid=2)
RIVAL: Final = made("mine", txid=9)
UNKNOWN: Final = Outcome(State.UNKNOWN, None, "no quorum of voters answered in time")


@dataclass
class Ballots:
    """`asked` are the claims that were not answered yet."""

    committed_: dict[Place, Committed] = field(default_factory=lambda: {ROSTER: FOUNDING})
    asked: dict[int, tuple[Record, bool]] = field(default_factory=dict)
    ids: Any = field(default_factory=lambda: itertools.count(1000))

    def claim(self, record: Record, now: float, *, was_kept: bool = False) -> int:
        id: int = next(self.ids)
        self.asked[id] = record, was_kept
        return id

    def outcome(self, place: Place, version: int, txid: str) -> Outcome | None:
        held = self.committed_.get(place)
        if held is None or held.record.version != version:
            return None
        return Outcome(State.COMMITTED if held.record.txid == txid else State.LOST, held)

    def committed(self, place: Place) -> Committed | None:
        return self.committed_.get(place)


class Desk:
    def __init__(self, rows: Rows | None = None, *, limits: Limits | None = None, wall_ms: int = WALL_MS) -> None:
        self.rows = rows or Rows()
        self.now = 100.0
        self.has_quorum = False
        self.votes = Ballots()
        self.answers: dict[int, object] = {}
        self.limits = limits or Limits()
        self.intents = Intents(
            Random(1),
            itertools.count(1),
            self.votes,
            Credentials(NETWORK, key_of("anna/1").sign, verifies),
            Holders(),
            LIFE_S,
            lambda _: self.has_quorum,
            self.limits,
        )
        self.intents.restore(self.rows, self.now)
        self.intents.handle_clock(self.now, wall_ms)
        self.wait(0.0)

    def restarted(self, wall_ms: int = WALL_MS) -> "Desk":
        return Desk(self.rows, limits=self.limits, wall_ms=wall_ms)

    def settle(self) -> None:
        for effect in self.intents.take_effects():
            assert isinstance(effect, Commit), "nothing is told before it is on disk"
            self.rows.write(effect)
            for answer in effect.then:
                assert isinstance(answer, Answer)
                self.answers[answer.id] = answer.result
        self.intents.check()

    def claim(self, record: Record) -> object:
        """The answer; None, it is being voted on."""
        id = self.intents.claim(record, self.now)
        self.settle()
        return self.answers.get(id)

    def state(self, record: Record) -> str | None:
        outcome = self.intents.outcome((record.place, record.version, record.txid))
        return outcome.state.value if outcome else None

    def cancel(self, record: Record) -> object:
        id = self.intents.cancel((record.place, record.version, record.txid), self.now)
        self.settle()
        return self.answers[id]

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.intents.next_timer()) is not None and when <= until:
            self.now = max(when, self.now)
            self.intents.handle_timer(self.now)
            self.settle()
        self.now = until

    def sent(self) -> list[Record]:
        return [record for record, _ in self.votes.asked.values()]

    def say(self, outcome: Outcome) -> object:
        """The votes' answer to the oldest claim; what the client is told, if it waits."""
        id = next(iter(self.votes.asked))
        record, _ = self.votes.asked.pop(id)
        if outcome.state is State.COMMITTED:
            self.votes.committed_[record.place] = Committed(record, None)
        assert self.intents.expects(id)
        self.intents.answered(id, outcome, self.now)
        self.settle()
        return self.answers.get(id)


def won(record: Record) -> Outcome:
    return Outcome(State.COMMITTED, Committed(record, None))


def lost(to: Record) -> Outcome:
    return Outcome(State.LOST, Committed(to, None))


def denied(reason: str = "only the holder may change it") -> Outcome:
    return Outcome(State.DENIED, None, reason)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def kept(desk: Desk, *records: Record) -> None:
    for record in records:
        outcome = desk.claim(record)
        assert isinstance(outcome, Outcome), outcome
        assert outcome.state is State.PENDING


def refused(desk: Desk, record: Record) -> str:
    unkept = desk.claim(record)
    assert isinstance(unkept, Unkept), unkept
    assert desk.state(record) != "pending" or record in desk.sent()
    return unkept.cause


def resent(desk: Desk) -> None:
    """One attempt of which nobody can say what came of it."""
    desk.has_quorum = True
    desk.wait(2 * LOOK_S)
    desk.say(UNKNOWN)
    desk.wait(REST_MAX_S)
    assert len(desk.votes.asked) == 1


# being kept


def test_without_a_quorum_it_is_kept_and_that_is_told_once_it_is_on_disk(desk: Desk) -> None:
    assert desk.claim(LAMP) == Outcome(State.PENDING, None, "", WALL_MS + 1000 * LIFE_S)
    assert list(desk.rows.tables[TABLE]) == [b"names\0lamp\0%016d\0" % 1 + LAMP.txid.encode()]
    assert desk.votes.asked == {}
    (queued,) = desk.intents.queued()
    assert (queued.place, queued.version, queued.txid, queued.author) == (LAMP.place, 1, LAMP.txid, LAMP.author)
    assert (queued.since_ms, queued.until_ms, queued.is_sent) == (WALL_MS, WALL_MS + 1000 * LIFE_S, False)


def test_with_a_quorum_it_is_voted_on_at_once_and_nothing_is_kept(desk: Desk) -> None:
    desk.has_quorum = True
    assert desk.claim(LAMP) is None
    assert list(desk.votes.asked.values()) == [(LAMP, False)]
    assert desk.say(won(LAMP)) == won(LAMP)
    assert desk.rows.tables == {}


def test_what_nobody_can_say_of_a_claim_with_a_quorum_is_found_out(desk: Desk) -> None:
    desk.has_quorum = True
    desk.claim(LAMP)
    told = desk.say(UNKNOWN)
    assert told == Outcome(State.PENDING, None, "it has been sent", WALL_MS + 1000 * LIFE_S)
    desk.wait(REST_MAX_S)
    assert desk.sent() == [LAMP]
    desk.say(denied())  # of the second attempt: the first may have come to something
    assert desk.state(LAMP) == "pending"


def test_the_same_record_again_is_the_same_intent(desk: Desk) -> None:
    kept(desk, LAMP, LAMP)
    assert len(desk.intents) == 1
    desk.has_quorum = True
    kept(desk, LAMP)
    assert desk.votes.asked == {}


def test_what_comes_while_others_wait_for_its_key_waits_behind_them(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.has_quorum = True
    kept(desk, NEXT)
    assert desk.votes.asked == {}


def test_of_what_is_over_the_votes_say_what_became_of_it(desk: Desk) -> None:
    desk.votes.committed_[LAMP.place] = Committed(RIVAL, None)
    assert desk.claim(LAMP) is None
    assert desk.say(lost(RIVAL)) == lost(RIVAL)
    assert len(desk.intents) == 0


# not being kept


def test_another_record_for_a_version_that_waits_is_refused(desk: Desk) -> None:
    kept(desk, LAMP, NEXT)
    assert refused(desk, RIVAL) == "taken"
    assert refused(desk, made("other", LAMP, txid=3)) == "taken"


def test_what_does_not_follow_is_refused(desk: Desk) -> None:
    assert refused(desk, NEXT) == "order"
    kept(desk, LAMP)
    assert refused(desk, made("off", RIVAL)) == "order"
    assert refused(desk, made("off", NEXT)) == "order"
    desk.votes.committed_[("names", "door")] = Committed(made("1", place=("names", "door")), None)
    assert refused(desk, made("2", made("other", place=("names", "door")), place=("names", "door"))) == "order"


def test_what_no_voter_would_take_is_refused(desk: Desk) -> None:
    forged = made("on", sign=key_of("berta").sign)
    stranger = made("on", author="stranger")
    own = made("on", place=("_network", "x"))
    ahead = made("on", wall_ms=WALL_MS + SKEW_MAX_MS + 1)
    old = made("on", wall_ms=WALL_MS - 1000 * LIFE_S)
    for record in (forged, stranger, own, ahead, old):
        assert refused(desk, record) == "denied"
    ahead_but_little = made("on", wall_ms=WALL_MS + SKEW_MAX_MS)
    just_young_enough = made("on", place=("names", "door"), wall_ms=WALL_MS - 1000 * LIFE_S + 1)
    kept(desk, ahead_but_little, just_young_enough)
    assert len(desk.intents) == 2


def test_who_may_change_a_key_is_judged_by_the_record_that_waits_before(desk: Desk) -> None:
    given = made("on", holder="heir")
    kept(desk, given)
    assert refused(desk, made("off", given, holder="heir")) == "denied"
    kept(desk, made("off", given, author="heir", holder="heir"))


def of(number: int, value: str = "on") -> Record:
    """A first version."""
    return made(value, place=("names", f"key {number}"), txid=number + 1)


def test_of_one_author_and_in_all_there_is_room_for_so_many() -> None:
    desk = Desk(limits=Limits(intents=3, author=2))
    bertas = [made("on", place=("names", f"key {number}"), holder="berta") for number in (7, 8)]
    desk.votes.committed_ |= {held.place: Committed(held, None) for held in bertas}
    theirs = [made("off", held, place=held.place, holder="berta", author="berta", txid=2) for held in bertas]
    kept(desk, of(1), of(2))
    assert refused(desk, of(3)) == "author"
    kept(desk, theirs[0])
    assert refused(desk, theirs[1]) == "node"
    desk.cancel(of(1))
    kept(desk, theirs[1])


def test_there_is_room_for_so_many_octets_and_for_so_many_of_one_key() -> None:
    small = Desk(limits=Limits(author_octets=3_000))
    kept(small, of(1, "x" * 2_000))
    assert refused(small, of(2, "x" * 2_000)) == "author"
    narrow = Desk(limits=Limits(octets=3_000))
    kept(narrow, of(1, "x" * 2_000))
    assert refused(narrow, of(2, "x" * 2_000)) == "node"
    low = Desk(limits=Limits(key=2))
    kept(low, LAMP, NEXT)
    assert refused(low, made("on", NEXT, txid=3)) == "author"
    kept(low, of(2))


# being sent


def test_it_is_sent_once_a_quorum_is_back_and_that_is_on_disk_first(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.wait(10.0)
    assert desk.votes.asked == {}
    desk.has_quorum = True
    desk.wait(LOOK_S)
    assert list(desk.votes.asked.values()) == [(LAMP, True)]
    (row,) = desk.rows.tables[TABLE].values()
    assert b'"attempts":1' in row
    desk.say(won(LAMP))
    assert desk.state(LAMP) == "committed"
    assert len(desk.intents) == 0
    assert desk.intents.counters()["intents_committed"] == 1


def test_one_at_a_time_of_a_key_in_order(desk: Desk) -> None:
    third = made("on", NEXT, txid=3)
    kept(desk, LAMP, NEXT, third)
    desk.has_quorum = True
    for record in (LAMP, NEXT, third):
        desk.wait(LOOK_S)
        assert desk.sent() == [record]
        desk.wait(10 * LOOK_S)
        assert desk.sent() == [record]
        desk.say(won(record))
    assert [desk.state(record) for record in (LAMP, NEXT, third)] == ["committed"] * 3


def test_so_many_keys_at_once() -> None:
    desk = Desk(limits=Limits(sending=2))
    records = [made("on", place=("names", f"key {number}"), txid=number) for number in range(3)]
    kept(desk, *records)
    desk.has_quorum = True
    desk.wait(LOOK_S)
    assert desk.sent() == records[:2]
    desk.say(won(records[0]))
    desk.wait(LOOK_S)
    assert desk.sent() == records[1:]


def test_who_lost_is_told_to_whom(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.has_quorum = True
    desk.wait(LOOK_S)
    desk.say(lost(RIVAL))
    outcome = desk.intents.outcome((LAMP.place, 1, LAMP.txid))
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (State.LOST, f"it is held by {public_of('operator')}")


def test_what_was_learnt_otherwise_ends_it_without_a_quorum(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.votes.committed_[LAMP.place] = Committed(RIVAL, None)
    desk.wait(LOOK_S)
    assert desk.sent() == [LAMP]
    desk.say(lost(RIVAL))
    assert desk.state(LAMP) == "lost"


def test_one_look_is_at_so_many_keys_and_the_next_at_the_others() -> None:
    count = LOOKED_MAX + 5
    desk = Desk(limits=Limits(author=count, author_octets=1 << 30, sending=count))
    for number in range(count):
        kept(desk, made("on", place=("names", f"lamp-{number}"), txid=number + 1))
    desk.has_quorum = True
    desk.wait(LOOK_S)
    assert len(desk.sent()) == LOOKED_MAX
    desk.wait(LOOK_S)
    assert len({each.key for each in desk.sent()}) == count


def test_what_the_votes_know_of_it_is_told_at_once_and_stays_so(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.votes.committed_[LAMP.place] = Committed(RIVAL, None)
    assert desk.state(LAMP) == "lost"
    desk.cancel(LAMP)
    assert desk.state(LAMP) == "lost", "what is over cannot be cancelled"
    desk.now += LIFE_S
    desk.wait(LOOK_S)
    assert desk.state(LAMP) == "lost", "nor does it expire"
    desk.say(lost(RIVAL))
    assert desk.state(LAMP) == "lost"


def test_a_version_that_is_too_long_over_is_unknown_once_nobody_brings_it(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.has_quorum = True
    desk.wait(LOOK_S)
    desk.say(Outcome(State.UNKNOWN, None, "no quorum of voters answered in time"))
    desk.votes.committed_[LAMP.place] = Committed(NEXT, None)
    for state in ("pending", "unknown"):
        desk.wait(REST_MAX_S)
        desk.say(Outcome(State.UNKNOWN, None, "the version is too long ago"))
        assert desk.state(LAMP) == state
        desk.now += LIFE_S + PAST_MS / 1000


def test_a_denial_of_the_only_attempt_is_final(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.has_quorum = True
    desk.wait(LOOK_S)
    desk.say(denied())
    outcome = desk.intents.outcome((LAMP.place, 1, LAMP.txid))
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (State.DENIED, "only the holder may change it")


def test_a_denial_after_an_attempt_of_which_nobody_knows_is_not(desk: Desk) -> None:
    kept(desk, LAMP)
    resent(desk)
    desk.say(denied())
    assert desk.state(LAMP) == "pending"
    desk.wait(REST_MAX_S)
    desk.say(won(LAMP))
    assert desk.state(LAMP) == "committed"


def test_nor_is_it_after_a_crash(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.has_quorum = True
    desk.wait(LOOK_S)
    again = desk.restarted()
    assert again.state(LAMP) == "pending"
    again.has_quorum = True
    again.wait(LOOK_S)
    assert again.sent() == [LAMP]
    again.say(denied())
    assert again.state(LAMP) == "pending"


def test_and_once_its_time_is_over_too_nobody_can_say(desk: Desk) -> None:
    kept(desk, LAMP)
    resent(desk)
    desk.wait(LIFE_S)
    assert desk.state(LAMP) == "pending"
    desk.say(denied())
    assert desk.state(LAMP) == "unknown"


def test_where_nothing_was_begun_it_is_as_if_nothing_was_sent(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.has_quorum = True
    desk.wait(LOOK_S)
    desk.say(denied(BUSY))
    assert desk.state(LAMP) == "pending"
    desk.has_quorum = False
    cancelled = desk.cancel(LAMP)
    assert isinstance(cancelled, Outcome)
    assert cancelled.state is State.CANCELLED


def test_after_an_attempt_it_rests_longer_each_time(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.has_quorum = True
    rests: list[float] = []
    for _ in range(6):
        while not desk.votes.asked:
            desk.wait(LOOK_S)
        desk.say(UNKNOWN)
        began = desk.now
        while not desk.votes.asked:
            desk.wait(LOOK_S)
        rests.append(desk.now - began)
    assert 1.0 <= rests[0] <= 2.0 + LOOK_S
    assert rests[-1] >= REST_MAX_S / 2
    assert max(rests) <= REST_MAX_S + LOOK_S


# coming to an end unsent


def test_what_was_never_sent_expires_by_the_time_of_its_record(desk: Desk) -> None:
    door = made("on", place=("names", "door"), wall_ms=WALL_MS - 600_000, txid=5)
    kept(desk, LAMP, door)
    desk.wait(LIFE_S - 600 + 2 * LOOK_S)
    assert (desk.state(LAMP), desk.state(door)) == ("pending", "expired")
    desk.wait(600)
    assert desk.state(LAMP) == "expired"
    desk.has_quorum = True
    desk.wait(10.0)
    assert desk.votes.asked == {}


def test_what_was_sent_does_not(desk: Desk) -> None:
    kept(desk, LAMP)
    resent(desk)
    desk.say(UNKNOWN)
    desk.has_quorum = False
    desk.wait(2 * LIFE_S)
    assert desk.state(LAMP) == "pending"


def test_what_was_taken_back_is_never_sent_and_that_is_on_disk(desk: Desk) -> None:
    kept(desk, LAMP)
    for _ in range(2):
        cancelled = desk.cancel(LAMP)
        assert isinstance(cancelled, Outcome)
        assert cancelled.state is State.CANCELLED
    for one in (desk, desk.restarted()):
        one.has_quorum = True
        one.wait(10.0)
        assert (one.votes.asked, one.state(LAMP)) == ({}, "cancelled")


def test_what_was_sent_cannot_be_taken_back(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.has_quorum = True
    desk.wait(LOOK_S)
    for _ in range(2):
        told = desk.cancel(LAMP)
        assert isinstance(told, Outcome)
        assert (told.state, told.reason) == (State.PENDING, "it has been sent")
        if desk.votes.asked:
            desk.say(UNKNOWN)
    assert desk.cancel(NEXT) is None


def test_what_was_taken_back_may_come_again(desk: Desk) -> None:
    kept(desk, LAMP, made("on", place=("names", "door"), txid=5))
    desk.cancel(LAMP)
    kept(desk, LAMP)
    assert [queued.place[1] for queued in desk.intents.queued()] == ["door", "lamp"]
    assert [queued.place[1] for queued in desk.restarted().intents.queued()] == ["door", "lamp"]


# remembering


def test_a_restart_keeps_what_waits_and_its_order(desk: Desk) -> None:
    kept(desk, LAMP, NEXT)
    again = desk.restarted()
    assert (again.state(LAMP), again.state(NEXT)) == ("pending", "pending")
    assert refused(again, RIVAL) == "taken"
    kept(again, made("on", NEXT, txid=3))
    again.has_quorum = True
    again.wait(LOOK_S)
    assert again.sent() == [LAMP]


def test_what_became_of_it_is_remembered_for_a_while(desk: Desk) -> None:
    kept(desk, LAMP)
    desk.cancel(LAMP)
    assert desk.restarted(WALL_MS + ENDED_MS - 1).state(LAMP) == "cancelled"
    late = desk.restarted(WALL_MS + ENDED_MS)
    assert late.state(LAMP) is None
    assert late.rows.tables[TABLE] == {}


def test_of_the_last_so_many() -> None:
    desk = Desk(limits=Limits(ended=2))
    records = [made("on", place=("names", f"key {number}"), txid=number) for number in range(3)]
    for record in records:
        kept(desk, record)
        desk.wait(1.0)
        desk.cancel(record)
    assert [desk.state(record) for record in records] == [None, "cancelled", "cancelled"]
    kept(desk, records[1])
    assert desk.state(records[2]) == "cancelled"


def test_how_long_the_oldest_has_waited_is_a_figure(desk: Desk) -> None:
    assert desk.intents.gauges(desk.now) == {"intents": 0, "intents_oldest_seconds": 0}
    kept(desk, LAMP)
    desk.wait(7.0)
    kept(desk, NEXT)
    assert desk.intents.gauges(desk.now) == {"intents": 2, "intents_oldest_seconds": 7}
