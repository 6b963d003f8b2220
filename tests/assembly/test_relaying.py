"""Networks in which two voters cannot reach each other, and every vote needs both: whole nodes in the simulator."""

from random import Random
from typing import Any, Final

import pytest

from waypost.assembly.questions import Report, Status
from waypost.drip import parcel
from waypost.drip.envelope import Envelope, Pass
from waypost.drip.outbox import Tell
from waypost.drip.outcome import Outcome, Reading
from waypost.drip.questions import Consult, Peers, ShowPeers
from waypost.drip.relay import DOUBT_S
from waypost.drip.rumours import Whisper
from waypost.engine import Ask, Endpoint
from waypost.rd.questions import Busy
from waypost.record import Committed, Place
from waypost.sim import Weather
from waypost.sim.installed import ITSELF, PEERS_PORT, Party
from waypost.sim.node import Node

LAMP: Final = ("names", "lamp")
NOTICED_S: Final = 3.0  # the longest that a transport waits before it says that a node cannot be reached


class Transports:
    """Of a party: who can connect to whom is cut here, and told to whoever tries, as a real one tells it.

    Answers go on the way on which they are asked for: what is cut is who may begin.
    """

    def __init__(self, party: Party, *, relays: bool = True) -> None:
        self.party = party
        self.envelopes: list[tuple[str, str, Envelope]] = []
        self._cuts: dict[tuple[str, str], None] = {}
        self._relays = relays
        self._carry = party.world.on_ask
        party.world.on_ask = self._on_ask

    def cut(self, one: str, other: str) -> None:
        """`one` cannot connect to `other`."""
        self._cuts[one, other] = None

    def heal(self) -> None:
        self._cuts.clear()

    def _on_ask(self, node: Node[Any], ask: Ask) -> None:
        body = ask.body
        target = body.node if isinstance(body, Tell | Whisper | Pass) else node.name
        if (node.name, target) in self._cuts:
            self.party.world.after(NOTICED_S, lambda: self._tell(node, target))
        elif isinstance(body, Pass):
            self.envelopes.append((node.name, target, body.envelope))
            if self._relays:
                (octets,) = parcel.bodies([parcel.spell(body.envelope)])
                there = Endpoint(self.party.host(target), PEERS_PORT)
                self.party.world.post(node.endpoints[1], there, octets, is_stream=True)
        else:
            assert self._carry is not None
            self._carry(node, ask)
            if target != node.name:
                self.party.world.after(0.1, lambda: self._tell(node, target))

    def _tell(self, node: Node[Any], target: str) -> None:
        is_reached = (node.name, target) not in self._cuts
        if node.engine is not None:
            node.call(lambda engine, now: engine.assembly.reached(target, is_reached, now))


def outcomes(party: Party, name: str, place: Place = LAMP, *, tries: int = 1, every: float = 2.0) -> list[str]:
    """Of so many claims in turn, each over what the node holds."""
    said: list[str] = []
    for number in range(tries):
        party.claim(name, place, f"{name} {number}", held(party, name, place), lambda it: said.append(word(it)))
        party.run(every)
    return said


def word(outcome: object) -> str:
    assert isinstance(outcome, Outcome | Busy)
    return outcome.state.value if isinstance(outcome, Outcome) else "busy"


def held(party: Party, name: str, place: Place = LAMP) -> Committed | None:
    readings: list[Reading] = []

    def read(it: object) -> None:
        assert isinstance(it, Reading)
        readings.append(it)

    party.nodes[name].ask(lambda engine, now: engine.ask(Consult(place, quorum=False), now), read)
    party.run(0.01)
    return readings[0].current


def cut_both_ways(transports: Transports, one: str, other: str) -> None:
    transports.cut(one, other)
    transports.cut(other, one)


@pytest.fixture
def party() -> Party:
    """Two voters, each of which is needed, and a learner."""
    party = Party(3, ("anna", "berta", "carla"), voters=2)
    party.run(10.0)
    return party


@pytest.mark.parametrize("both_ways", [True, False])
def test_votes_go_by_way_of_a_learner_where_two_voters_do_not_reach_each_other(party: Party, both_ways: bool) -> None:
    transports = Transports(party)
    transports.cut("anna", "berta")
    if both_ways:
        transports.cut("berta", "anna")
    party.run(15.0)
    assert outcomes(party, "anna") == ["committed"]
    party.run(DOUBT_S)
    transports.envelopes.clear()
    assert outcomes(party, "anna", tries=5) == ["committed"] * 5
    assert outcomes(party, "berta", tries=5) == ["committed"] * 5
    passed_on = {(one, other) for one, other, _ in transports.envelopes}
    assert ("carla", "berta") in passed_on
    assert (("carla", "anna") in passed_on) == both_ways, "who can answer straight does"
    party.run(60.0)
    assert held(party, "carla") == held(party, "anna") == held(party, "berta")


def test_without_relays_nothing_would_be_committed_across_such_a_cut(party: Party) -> None:
    """The control of the test above."""
    transports = Transports(party, relays=False)
    cut_both_ways(transports, "anna", "berta")
    party.run(15.0)
    assert set(outcomes(party, "anna", tries=5)) <= {"unknown", "busy"}
    assert transports.envelopes


def test_a_claim_that_met_the_cut_is_brought_to_an_end_through_others(party: Party) -> None:
    transports = Transports(party)
    cut_both_ways(transports, "anna", "berta")
    assert set(outcomes(party, "anna", every=5.0)) <= {"committed", "unknown"}
    party.run(20.0)
    current = held(party, "anna")
    assert current is not None
    assert current == held(party, "berta")


def test_a_voter_that_is_down_is_not_looked_for_through_others_for_long(party: Party) -> None:
    transports = Transports(party)
    party.nodes["berta"].crash()
    cut_both_ways(transports, "anna", "berta")
    transports.cut("carla", "berta")
    party.run(16.0)  # a beat, the transport's patience, and what others take to look
    transports.envelopes.clear()
    assert set(outcomes(party, "anna", tries=5)) == {"busy"}
    assert transports.envelopes == []


def test_votes_go_straight_again_once_the_cut_is_healed(party: Party) -> None:
    transports = Transports(party)
    cut_both_ways(transports, "anna", "berta")
    party.run(15.0)
    assert outcomes(party, "anna") == ["committed"]
    transports.heal()
    party.run(15.0)
    transports.envelopes.clear()
    assert outcomes(party, "anna", tries=3) == ["committed"] * 3
    assert transports.envelopes == []


def test_quorum_stays_known_across_a_cut(party: Party) -> None:
    transports = Transports(party)
    cut_both_ways(transports, "anna", "berta")
    party.run(15.0)
    for _ in range(60):
        party.run(1.0)
        assert peers(party, "anna").has_quorum


def test_the_figures_tell_of_the_cut_and_of_what_went_around_it(party: Party) -> None:
    transports = Transports(party)
    cut_both_ways(transports, "anna", "berta")
    party.run(15.0)
    assert outcomes(party, "anna") == ["committed"]
    before, anna, carla = figures(party, "berta"), figures(party, "anna"), figures(party, "carla")
    assert (anna["nodes_cut"], carla["nodes_cut"]) == (1, 0)
    assert (anna["quorum"], anna["voting"], carla["voting"]) == (1, 1, 0)
    assert (anna["voters"], anna["voters_needed"], anna["voters_heard"]) == (2, 2, 2)
    assert anna["envelopes_sent"] >= 1
    assert anna["envelopes_heard"] >= 1
    assert carla["envelopes_passed_on"] == anna["envelopes_sent"] + before["envelopes_sent"]
    party.nodes["berta"].crash()
    party.nodes["carla"].crash()
    transports.cut("anna", "carla")
    party.run(60.0)
    assert figures(party, "anna")["quorum"] == 0
    assert figures(party, "anna")["network_state"] == 2


def figures(party: Party, name: str) -> dict[str, int]:
    told: list[Report] = []

    def tell(it: object) -> None:
        assert isinstance(it, Report)
        told.append(it)

    party.nodes[name].ask(lambda engine, now: engine.ask(Status(), now), tell)
    party.run(0.01)
    return {**told[0].counters, **told[0].gauges}


def peers(party: Party, name: str) -> Peers:
    told: list[Peers] = []

    def tell(it: object) -> None:
        assert isinstance(it, Peers)
        told.append(it)

    party.nodes[name].ask(lambda engine, now: engine.ask(ShowPeers(), now), tell)
    party.run(0.01)
    return told[0]


def claim(party: Party, name: str, value: str, committed: dict[int, str]) -> None:
    """Over what the node holds; `committed` is what was said to be, by version."""

    def note(outcome: object) -> None:
        if word(outcome) == "committed":
            assert committed.setdefault(record.version, value) == value

    record = party.claim(name, LAMP, value, held(party, name), note)


@pytest.mark.parametrize("seed", range(6))
def test_storm_of_cuts_that_come_and_go(seed: int) -> None:
    """Three voters and two learners; now this pair cannot connect, now that, and a tenth of what is said is lost."""
    rng = Random(seed)
    party = Party(seed, ("anna", "berta", "carla", "dora", "emma"), voters=3)
    party.run(10.0)
    transports = Transports(party)
    party.world.network.weather = Weather(delay_max=0.05, loss=0.1, twice=0.1)
    for name in party.names:
        party.world.network.set_link(party.host(name), party.host(name), ITSELF)
    committed: dict[int, str] = {}
    for number in range(60):
        if rng.random() < 0.3:
            transports.cut(*rng.sample(party.names, 2))
        if rng.random() < 0.1:
            transports.heal()
        name = rng.choice(party.names)
        claim(party, name, f"{name} {number}", committed)
        party.run(rng.uniform(0.1, 1.5))
    transports.heal()
    party.world.network.weather = Weather()
    party.run(60.0)
    last = {name: held(party, name) for name in party.names}
    assert len(set(last.values())) == 1
    current = last["anna"]
    assert current is not None
    assert current.record.version >= max(committed) > 10
    assert transports.envelopes
