"""A member of the network that means ill: whatever it says, and in whatever order, the node goes on and keeps little.

Its certificate and its key are good, and it has those of nobody else.  Signatures are real.
"""

import itertools
import time
from collections.abc import Sequence
from random import Random, SystemRandom
from typing import Final

import pytest
from handmade import Rows
from said import KINDS, Tongue

from waypost.assembly.installation import Installation
from waypost.assembly.network import Network
from waypost.drip.outbox import Tell
from waypost.drip.outcome import Outcome
from waypost.drip.parcel import Said
from waypost.drip.questions import Claim, ShowPeers, ShowVotes
from waypost.drip.rumours import Whisper
from waypost.engine import Answer, Apply, Ask, Commit, Effect
from waypost.identity.keys import verifies
from waypost.rd.questions import Busy
from waypost.record import Record, Stamp, network_of
from waypost.record.feed import Feed
from waypost.record.verification import Remembering
from waypost.record.vote import founding
from waypost.sim.people import key_of, public_of, roster

STEPS: Final = 4_000
SLICE: Final = 200  # steps between two looks at the clock
WALL_MS: Final = 1_800_000_000_000
FOUNDERS: Final = roster("anna", "berta", "carla", learners=("dora",))
NETWORK: Final = network_of(FOUNDERS)
SAID_MAX: Final = 8  # messages for each one that was heard, in the long run
OVERHEARD_MAX: Final = 200


class Node:
    """anna, one of three voters, on a disk that is always quick."""

    def __init__(self, seed: int) -> None:
        self.now = 100.0
        self.rows = Rows()
        self.said = 0
        self.overheard: list[Said] = []
        self.outcomes: list[object] = []
        key = key_of("anna/1")
        installation = Installation(
            name="anna",
            key=public_of("anna/1"),
            operator=public_of("operator"),
            organisation="anna",
            started_ms=1_000,
            sign=key.sign,
            verify=Remembering(verifies),
            founding=founding(FOUNDERS),
            carries=True,
            read=self.rows.after,
        )
        feed = Feed(Random(seed))
        puts, _ = feed.restore(self.rows)
        self.rows.write(Commit(puts=puts))
        self.network = Network(Random(seed), itertools.count(1), feed, installation)
        self.network.restore(self.rows, self.now)
        self.network.handle_clock(self.now, WALL_MS)
        self.settle()

    def settle(self) -> None:
        while effects := self.network.take_effects():
            self._carry_out(effects)

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Commit():
                    self.rows.write(effect)
                    self._carry_out(effect.then)
                case Apply():
                    self.network.applied(effect.change, self.now)
                case Ask(body=Tell(message=message)):
                    self._note(message)
                case Ask(body=Whisper(messages=messages)):
                    for rumour in messages:
                        self._note(rumour)
                case Answer():
                    self.outcomes.append(effect.result)
                case _:
                    pass

    def _note(self, message: Said) -> None:
        self.said += 1
        self.overheard.append(message)
        del self.overheard[:-OVERHEARD_MAX]

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.network.next_timer()) is not None and when <= until:
            self.now = max(self.now, when)
            self.network.handle_timer(self.now)
            self.settle()
        self.now = until

    def claim(self, value: str, txid: int) -> None:
        """A client comes now and then, so that there are votes to disturb."""
        operator = public_of("operator")
        unsigned = Record(
            namespace="names",
            key="lamp",
            version=1,
            prev="",
            holder=operator,
            home="anna",
            value=value,
            author=operator,
            hlc=Stamp(WALL_MS, 0),
            txid=f"{txid:032x}",
            cites=(),
            signature="",
        )
        self.network.ask(Claim(unsigned.signed(NETWORK, key_of("operator").sign)), self.now)
        self.settle()


def pester(seed: int, steps: int, member: str) -> Node:
    rng = Random(seed)
    node = Node(seed)
    tongue = Tongue(rng, member, NETWORK, key_of(f"{member}/1").sign, WALL_MS)
    heard = 0
    for step in range(steps):
        tongue.overheard = node.overheard
        tongue.wall_ms = WALL_MS + round((node.now - 100) * 1_000)
        messages = [tongue.say() for _ in range(rng.choice((1, 1, 2, 5)))]
        heard += len(messages)
        node.network.hear(member, messages, node.now)
        node.settle()
        if rng.random() < 0.2:
            node.network.reached(rng.choice(("berta", "carla", "dora", "nobody")), rng.random() < 0.5, node.now)
        if rng.random() < 0.3:
            node.wait(rng.choice((0.001, 0.1, 1.0, 10.0)))
        if step % 100 == 0:
            node.claim(f"on {step}", step)
            for question in (ShowPeers(), ShowVotes()):
                node.network.ask(question, node.now)
            node.settle()
            node.network.check()
    node.wait(60.0)
    node.network.check()
    assert node.said < SAID_MAX * heard + 1_000
    assert sum(map(len, node.rows.tables.values())) < 2 * heard + 100
    assert any(isinstance(outcome, Outcome | Busy) for outcome in node.outcomes), "and clients are answered"
    return node


@pytest.mark.parametrize("member", ["berta", "dora"], ids=["a voter", "a learner"])
@pytest.mark.parametrize("seed", range(3))
def test_no_sequence_of_messages_of_a_member_breaks_a_node(
    seed: int, member: str, request: pytest.FixtureRequest
) -> None:
    seconds = request.config.getoption("--fuzz-seconds")
    if not seconds:
        pester(seed, STEPS // 6, member)
        return
    until = time.monotonic() + seconds / 6
    while time.monotonic() < until:
        fresh = SystemRandom().getrandbits(32)
        print(f"seed {fresh}")
        pester(fresh, SLICE, member)


def test_a_member_has_something_of_every_kind_to_say() -> None:
    tongue = Tongue(Random(1), "berta", NETWORK, key_of("berta/1").sign, WALL_MS)
    assert {type(tongue.say()) for _ in range(1_000)} == set(KINDS)
