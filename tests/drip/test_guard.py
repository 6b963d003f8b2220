"""What other nodes may make the votes' half do, by hand: an engine, its guard and a roster."""

import itertools
from random import Random
from typing import Final

import msgspec
import pytest
from handmade import HOME, TIMERS, Rows, committed
from people import FOUNDERS, FOUNDING, NETWORK, WALL_MS, key_of, record

from waypost.drip.allowance import POINTS_A_SECOND, POINTS_MAX, SNAPSHOT_COST, cost_of_vote
from waypost.drip.engine import DripEngine, Setup
from waypost.drip.envelope import Envelope, Pass
from waypost.drip.gossip import Author
from waypost.drip.guard import FORGED_COST, Guard
from waypost.drip.hearing import Hearing
from waypost.drip.judge import Holders
from waypost.drip.messages import Message, Poll, Read, RosterRequest, SealRequest, VoteCall, Yes
from waypost.drip.outbox import Tell
from waypost.drip.relay import Relay
from waypost.drip.rules import Rules
from waypost.drip.voter import Credentials
from waypost.engine import Ask, Effect
from waypost.engine import Commit as Write
from waypost.identity.keys import verifies
from waypost.record import Ballot, Record
from waypost.record.verification import Remembering

READ: Final = Read(1, "names", "lamp", 1)


class Ear:
    """A voter's engine and all that comes to it."""

    def __init__(self, name: str) -> None:
        self.now = 100.0
        self.verified = Remembering(verifies)
        self.guard = Guard(self.verified)
        sign, ids, rng = key_of(f"{name}/1").sign, itertools.count(1), Random(1)
        credentials = Credentials(NETWORK, sign, self.guard.verify)
        self.votes = DripEngine(Setup(name, FOUNDING, credentials, Holders(), TIMERS, Rules()), rng, ids)
        self.votes.restore(Rows(), self.now)
        self.votes.begin(1, self.now)
        self.votes.handle_clock(self.now, WALL_MS)
        alive = [other for other in FOUNDERS.nodes if other != name]
        relay = Relay(rng, ids, Author(NETWORK, name, 1, sign), self.guard.verify, lambda: alive)
        self.hearing = Hearing(name, self.votes, self.guard, relay)
        self.hearing.set_roster(FOUNDERS)

    def hear(self, node: str, *messages: Message | Envelope) -> list[tuple[str, Message]]:
        """What it says to anybody in answer."""
        self.hearing.hear(node, messages, self.now, WALL_MS)
        self.hearing.check()
        self.votes.check()
        effects = self.hearing.routed(self.votes.take_effects(), self.now, WALL_MS)
        return [(each.body.node, each.body.message) for each in _flat(effects) if isinstance(each.body, Tell)]

    def envelope(self, node: str, *messages: Message) -> Envelope:
        self.hearing.relay.reached(node, False, self.now)
        effects = self.hearing.relay.routed([Ask(0, Tell(node, each)) for each in messages], self.now, WALL_MS)
        (envelope, *_) = [each.body.envelope for each in _flat(effects) if isinstance(each.body, Pass)]
        return envelope


def _flat(effects: list[Effect]) -> list[Ask]:
    asks: list[Ask] = []
    for effect in effects:
        if isinstance(effect, Write):
            asks += _flat(list(effect.then))
        elif isinstance(effect, Ask):
            asks.append(effect)
    return asks


def forged(number: int) -> VoteCall:
    return VoteCall(unsigned(number), HOME, None)


def unsigned(number: int) -> Record:
    return msgspec.structs.replace(record("on", place=("names", f"key {number}")), signature="0" * 128)


@pytest.fixture
def berta() -> Ear:
    return Ear("berta")


def test_so_many_bad_signatures_of_one_node_are_verified_and_no_more(berta: Ear) -> None:
    for number in range(3_000):
        berta.hear("anna", forged(number))
    most = POINTS_MAX // FORGED_COST
    assert berta.verified.asked <= most
    assert berta.guard.counts["forged"] == berta.verified.asked > most // 2
    assert berta.guard.counts["flooded"] == 3_000 - berta.verified.asked
    berta.now += 1
    for number in range(3_000):
        berta.hear("anna", forged(number))
    assert berta.verified.asked <= most + POINTS_A_SECOND // FORGED_COST + 1


def test_one_that_floods_does_not_silence_another(berta: Ear) -> None:
    for number in range(2_000):
        berta.hear("anna", forged(number))
    assert berta.hear("anna", VoteCall(record("on"), HOME, None)) == []
    ((node, answer),) = berta.hear("carla", VoteCall(record("on", home="carla"), Ballot(1, 1, "carla"), None))
    assert (node, type(answer)) == ("carla", Yes)


def test_good_messages_cost_a_point_and_one_for_each_record(berta: Ear) -> None:
    for _ in range(POINTS_MAX):
        assert berta.hear("anna", READ)
    assert berta.hear("anna", READ) == []
    assert berta.guard.counts == {"flooded": 1, "forged": 0}
    base = committed(record("on"))
    assert cost_of_vote(VoteCall(record("off", base.record), HOME, base)) == 3
    assert cost_of_vote(Poll("names", "lamp", 1, HOME, None)) == 1


def test_what_makes_us_look_at_every_key_costs_as_much(berta: Ear) -> None:
    assert cost_of_vote(SealRequest(1, FOUNDING, ("", ""))) == SNAPSHOT_COST
    answers = [berta.hear("anna", RosterRequest(0)) for _ in range(POINTS_MAX)]
    assert 0 < sum(map(bool, answers)) < POINTS_MAX // 10


def test_nodes_outside_the_roster_have_one_allowance_together(berta: Ear) -> None:
    for number in range(POINTS_MAX):
        berta.hear(f"stranger-{number}", READ)
    assert berta.guard.counts["flooded"] == 0
    berta.hear("another", READ)
    assert berta.guard.counts["flooded"] == 1
    assert berta.hear("carla", READ)


def test_what_a_node_says_to_itself_is_not_counted(berta: Ear) -> None:
    for _ in range(POINTS_MAX + 1):
        berta.hear("berta", READ)
    assert berta.guard.counts["flooded"] == 0


def test_what_comes_in_an_envelope_costs_its_sender_and_not_who_brought_it(berta: Ear) -> None:
    anna = Ear("anna")
    for number in range(0, 3_000, 200):
        berta.hear("carla", anna.envelope("berta", *(forged(each) for each in range(number, number + 200))))
    assert berta.verified.asked < POINTS_MAX // FORGED_COST + 20
    assert berta.hear("anna", READ) == []
    assert berta.hear("carla", READ)


def test_an_envelope_that_is_forged_costs_who_brought_it(berta: Ear) -> None:
    anna = Ear("anna")
    for _ in range(1_000):
        envelope = msgspec.structs.replace(anna.envelope("berta", READ), signature="0" * 128)
        berta.hear("carla", envelope)
    assert berta.verified.asked <= POINTS_MAX // FORGED_COST
    assert berta.hear("carla", READ) == []
    assert berta.hear("anna", READ)


def test_a_sender_in_an_envelope_counts_as_heard_and_its_question_is_answered(berta: Ear) -> None:
    anna = Ear("anna")
    assert berta.votes.heard(berta.now) == 1
    ((node, answer),) = berta.hear("dora", anna.envelope("berta", VoteCall(record("on"), Ballot(1, 1, "anna"), None)))
    assert (node, type(answer)) == ("anna", Yes)
    assert berta.votes.heard(berta.now) == 2


def test_what_a_stranger_says_in_a_forged_envelope_makes_nobody_heard(berta: Ear) -> None:
    anna = Ear("anna")
    berta.hear("dora", msgspec.structs.replace(anna.envelope("berta", READ), signature="0" * 128))
    assert berta.votes.heard(berta.now) == 1


def test_who_left_the_roster_has_no_allowance_of_its_own_any_more(berta: Ear) -> None:
    berta.hear("dora", READ)
    without = msgspec.structs.replace(FOUNDERS, learners=())
    berta.hearing.set_roster(without)
    berta.hearing.check()
