"""Nine voters and 256 learners: they vote, one more comes, and a voter starts again.  Notes on DRiP, 0 (8) and 4.9."""

import itertools
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Final

import msgspec
import pytest
from handmade import Rows
from people import WALL_MS, Fast, fast, member, public_of, record

from waypost.drip import parcel
from waypost.drip.engine import DripEngine, Setup
from waypost.drip.judge import Holders
from waypost.drip.messages import PARCEL_MAX, ROSTERS_MAX, Message, RosterNews
from waypost.drip.outbox import Tell
from waypost.drip.outcome import Outcome, State
from waypost.drip.proposer import Timers
from waypost.drip.rules import Rules
from waypost.drip.voter import Credentials
from waypost.engine import Answer, Ask, Commit, Effect
from waypost.record import ROSTER, Member, Policy, Roster, network_of
from waypost.record.roster import DETAILED, LEARNERS_MAX
from waypost.record.vote import founding

VOTERS: Final = tuple(f"voter-{number}" for number in range(9))
LATE: Final = "late"


def detailed(name: str) -> Member:
    """With all that a member may say of itself."""
    keys = tuple(public_of(f"{name}/tls/{number}") for number in range(2))
    return msgspec.structs.replace(member(name), wire=DETAILED, capabilities=("gossip", "repair", "history"), tls=keys)


LEARNERS: Final = tuple(detailed(f"learner-{number}") for number in range(LEARNERS_MAX - 1))
FOUNDERS: Final = Roster(1, tuple(map(detailed, VOTERS)), LEARNERS, Policy(public_of("operator"), 0, ()))
FIRST: Final = founding(FOUNDERS)
NETWORK: Final = network_of(FOUNDERS)


class Crowd:
    """All voters and the one who comes late, in one room; what is said to learners goes nowhere."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rows = {name: Rows() for name in (*VOTERS, LATE)}
        self.answers: dict[int, object] = {}
        self.octets = 0  # of the largest message
        self._ids = itertools.count(1)
        self._said: deque[tuple[str, str, Message]] = deque()
        self.nodes = {name: self._node(name) for name in (*VOTERS, LATE)}

    def _node(self, name: str) -> DripEngine:
        credentials = Credentials(NETWORK, fast(f"{name}/1").sign, Fast.verify)
        setup = Setup(name, FIRST, credentials, Holders(), Timers(), Rules())
        node = DripEngine(setup, Random(name), self._ids)
        node.restore(self.rows[name], self.now)
        if node.incarnation is None:
            node.begin(1, self.now)
        node.handle_clock(self.now, WALL_MS)
        self._carry_out(name, node.take_effects())
        return node

    def restart(self, name: str) -> None:
        self.nodes[name] = self._node(name)
        self.settle()

    def settle(self) -> None:
        for name, node in self.nodes.items():
            self._carry_out(name, node.take_effects())
        while self._said:
            sender, name, message = self._said.popleft()
            if name in self.nodes:
                body = parcel.body_of((message,))
                self.octets = max(self.octets, len(body))
                self.nodes[name].hear(sender, parcel.read(body), self.now)  # type: ignore[arg-type]
                self._carry_out(name, self.nodes[name].take_effects())
                self.nodes[name].check()

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            due = [when for node in self.nodes.values() if (when := node.next_timer()) is not None]
            self.now = min([*due, until])
            if self.now >= until:
                return
            for node in self.nodes.values():
                when = node.next_timer()
                if when is not None and when <= self.now:
                    node.handle_timer(self.now)
            self.settle()

    def claim(self, name: str, value: str, key: str) -> object:
        sign = fast("operator").sign
        new = record(value, place=("names", key), network=NETWORK, home=name, sign=sign)
        id = self.nodes[name].claim(new, self.now)
        self.settle()
        self.wait(2.0)
        return self.answers.get(id)

    def _carry_out(self, name: str, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Commit():
                    self.rows[name].write(effect)
                    self._carry_out(name, effect.then)
                case Ask(body=Tell(node=node, message=message)):
                    self._said.append((name, node, message))
                case Answer(id=id, result=result):
                    self.answers[id] = result
                case _:
                    pass


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    crowd = Crowd()
    crowd.settle()
    return crowd


def test_they_vote(crowd: Crowd) -> None:
    assert FOUNDERS.is_packed
    outcome = crowd.claim("voter-0", "on", "lamp")
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.COMMITTED
    assert outcome.current is not None
    assert outcome.current.certificate is not None
    assert len(outcome.current.certificate.marks) >= 5


def test_the_last_learner_comes_in_and_the_one_after_it_waits(crowd: Crowd) -> None:
    crowd.nodes[LATE].seek(detailed(LATE), VOTERS, crowd.now)
    crowd.wait(30.0)
    for name in (*VOTERS, LATE):
        roster = crowd.nodes[name].roster
        assert (roster.epoch, len(roster.learners)) == (2, LEARNERS_MAX), name
        assert roster.member(LATE) == detailed(LATE)
    assert not crowd.nodes["voter-1"].admit(detailed("too-late"), crowd.now)
    assert crowd.nodes["voter-1"].applicants == (detailed("too-late"),)


def test_a_voter_that_starts_again_knows_them_all_and_votes(crowd: Crowd) -> None:
    for name in VOTERS[:5]:
        crowd.restart(name)
        assert len(crowd.nodes[name].roster.members) == len(VOTERS) + LEARNERS_MAX
    outcome = crowd.claim("voter-0", "on", "door")
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.COMMITTED


def test_so_many_rosters_as_one_message_may_have_fit_into_it(crowd: Crowd) -> None:
    held = crowd.nodes["voter-0"].committed(ROSTER)
    assert held is not None
    assert len(parcel.body_of((RosterNews((held,) * ROSTERS_MAX),))) < PARCEL_MAX
    assert crowd.octets < PARCEL_MAX // 4
