"""What a storm over a network is watched by: devices that roam from node to node, and clients that claim keys."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from waypost.coap.numbers import Code
from waypost.coap.request import Response
from waypost.drip.book import HISTORY, RECORDS
from waypost.drip.outcome import Outcome, Reading, State
from waypost.drip.questions import Cancel, Consult, Settle
from waypost.record import ROSTER, Committed, Place, Record, Roster
from waypost.sim import Device
from waypost.sim.installed import Party
from waypost.sim.people import member

LATEST: Final = 45.0  # seconds after which no copy of a datagram is on its way any more
CLOCK_STEP_MAX: Final = 2.0  # seconds
MARGIN: Final = 0.25  # of a lifetime, by which clocks may differ and shorten no promise
ENDED_WITHIN: Final = 60.0  # seconds until what was kept is over, once all nodes hold the same
LINKS: Final = b'</light>;rt="light"'
REFUSED: Final = (Code.SERVICE_UNAVAILABLE,)


class Lost(AssertionError):
    """What was acknowledged is not there."""


class Roamer:
    """One device under one name; one request at a time, to whichever node.

    `until` is what it was promised, None if it was promised nothing; `removed` is where it was, if its last word was a
    removal.
    """

    def __init__(self, party: Party, number: int) -> None:
        self.ep = f"lamp-{number}"
        self.until: float | None = None
        self.removed: str | None = None
        self.working = True
        self._party = party
        self._rng = Random(f"{party.world.seed}/{self.ep}")
        self.lifetime = self._rng.choice((60, 200, 600))
        self._node = self._rng.choice(party.names)
        self._location: str | None = None
        self._promiser = ""  # the node that promised
        self._left: str | None = None  # the location of the last removal
        self._life = 0  # of the node that promised it
        self._spread = 0.0  # seconds by which clocks may have differed
        self._device = Device(party.world, f"2001:db8:d:{number:x}::1", party.server(self._node), name=self.ep)
        self._rest(0.0)

    def promised(self) -> bool:
        """It must be found at every node."""
        node = self._party.nodes[self._promiser or self._node]
        # A node that has not heard of a removal may renew without a word to the others, and a crash forgets that.
        is_shaky = self._location == self._left and node.incarnation != self._life
        is_certain = self._spread < self.lifetime * MARGIN and not is_shaky
        return is_certain and self.until is not None and self._party.world.now < self.until

    def _rest(self, at_least: float) -> None:
        offsets = [node.clock_offset_ms / 1000 for node in self._party.nodes.values()]
        now = max(offsets) - min(offsets)
        self._spread = max(self._spread, now)
        # Nodes go by their clocks to say whose word is later (design, Contracts, 5).
        self._party.world.after(at_least + now + CLOCK_STEP_MAX + 15.0 * self._rng.random() ** 2, self._act)

    def _act(self) -> None:
        if not self.working:
            return
        if self._rng.random() < 0.3:
            self._node = self._rng.choice(self._party.names)
            self._device.server = self._party.server(self._node)
        chance = self._rng.random()
        if self._location is None or chance < 0.3:
            self._ask(Code.POST, "rd", (f"ep={self.ep}", f"lt={self.lifetime}"), LINKS, self._registered)
        elif chance < 0.8:
            self._ask(Code.POST, self._location, (), b"", self._renewed)
        else:
            self._ask(Code.DELETE, self._location, (), b"", self._removed)

    def _ask(
        self, code: Code, path: str, query: tuple[str, ...], payload: bytes, then: Callable[[Response, float], None]
    ) -> None:
        sent, before, is_promised = self._party.world.now, self.until, self.promised()
        # A removal that is repeated finds nothing any more if it meets a restarted node (RFC 7252, 4.5).
        is_known = is_promised and self._promiser == self._node and code == Code.POST
        self.until, self.removed = None, None

        def on_answer(answer: Response | None) -> None:
            if answer is None:  # it may have happened, and may still happen
                self._rest(LATEST)
                return
            if answer.code in REFUSED:
                self.until = before
            elif answer.code == Code.NOT_FOUND and is_known and before is not None and self._party.world.now < before:
                raise Lost(f"{self.ep} was promised until {before} at {self._node}, which does not know it")
            else:
                then(answer, sent)
                self._promiser, self._life = self._node, self._party.nodes[self._node].incarnation
            self._rest(0.0)

        self._device.request(code, path, query, payload, on_answer)

    def _registered(self, answer: Response, sent: float) -> None:
        assert answer.code in (Code.CREATED, Code.CHANGED), answer
        self._location, self.until = "/".join(answer.location), sent + self.lifetime

    def _renewed(self, answer: Response, sent: float) -> None:
        if answer.code == Code.NOT_FOUND:  # that node has not heard of it, or has heard of another
            self._location = None
        else:
            assert answer.code == Code.CHANGED, answer
            self.until = sent + self.lifetime

    def _removed(self, answer: Response, sent: float) -> None:
        assert answer.code in (Code.DELETED, Code.NOT_FOUND), answer
        self._location, self._left = None, self._location
        if answer.code == Code.DELETED and self._left is not None:
            self.removed = self._left.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Claimed:
    node: str
    record: Record


@dataclass(slots=True)
class Waiting:
    """A claim that its node keeps, and the last that its client was told."""

    claimed: Claimed
    state: State = State.PENDING

    @property
    def is_open(self) -> bool:
        return self.state in (State.PENDING, State.UNKNOWN)

    def told(self, answer: object) -> None:
        """What is over is over: another word for it later is a broken one."""
        if not isinstance(answer, Outcome) or answer.state is self.state:
            return
        if not self.is_open:
            raise Lost(f"{self.claimed} was {self.state} and is {answer.state}")
        self.state = answer.state


class Claims:
    """Clients at every node that want the same few keys; `committed` is what they were told is theirs.

    Some have the node keep their claim while no quorum is in reach, and some of these take it back; `waiting` are all
    that were ever kept.
    """

    PLACES: Final[tuple[Place, ...]] = (("names", "one"), ("names", "two"))

    def __init__(self, party: Party) -> None:
        self.committed: list[Claimed] = []
        self.waiting: list[Waiting] = []
        self.working = True
        self._party = party
        self._rng = Random(f"{party.world.seed}/claims")
        self._count = 0

    def begin(self, every: float, rosters_every: float | None) -> None:
        """Seconds, on the average, between two claims, and between two changes of the roster."""
        self._again(every, self._claim)
        if rosters_every is not None:
            self._again(rosters_every, self._change_roster)

    def _again(self, every: float, act: Callable[[str], None]) -> None:
        def do() -> None:
            if self.working:
                up = list(self._party.up)
                if up:
                    act(self._rng.choice(up))
                self._again(every, act)

        self._party.world.after(self._rng.expovariate(1 / every), do)

    def _claim(self, name: str) -> None:
        self._count += 1
        keeps = self._rng.random() < 0.6
        self._put(name, self._rng.choice(self.PLACES), lambda _: f"{name} {self._count}", keeps=keeps)
        if self.waiting:
            self.ask_about(self._rng.choice(self.waiting), takes_back=self._rng.random() < 0.3)

    def ask_about(self, waiting: Waiting, *, takes_back: bool = False) -> None:
        record = waiting.claimed.record
        question = (Cancel if takes_back else Settle)(record.place, record.version, record.txid)
        node = self._party.nodes[waiting.claimed.node]
        if node.engine is not None:
            node.ask(lambda engine, now: engine.ask(question, now), waiting.told)

    def _change_roster(self, name: str) -> None:
        names = self._party.names
        voters = sorted(self._rng.sample(names, self._rng.randint(min(3, len(names)), len(names))))

        def changed(old: Committed | None) -> str:
            assert old is not None
            before = msgspec.json.decode(old.record.value or "", type=Roster)
            voting = tuple(map(member, voters))
            others = tuple(member(other) for other in names if other not in voters)
            return Roster(before.epoch + 1, voting, others, before.policy).encode().decode()

        self._put(name, ROSTER, changed)

    def _put(self, name: str, place: Place, value: Callable[[Committed | None], str], *, keeps: bool = False) -> None:
        node = self._party.nodes[name]

        def on_reading(reading: object) -> None:
            assert isinstance(reading, Reading)
            if node.engine is None:
                return
            claimed: list[Record] = []

            def on_outcome(outcome: object) -> None:
                if isinstance(outcome, Outcome) and outcome.state is State.COMMITTED:
                    self.committed.append(Claimed(name, claimed[0]))
                elif isinstance(outcome, Outcome) and outcome.state is State.PENDING:
                    self.waiting.append(Waiting(Claimed(name, claimed[0])))

            before = reading.current
            claimed.append(self._party.claim(name, place, value(before), before, on_outcome, keeps=keeps))

        node.ask(lambda engine, now: engine.ask(Consult(place, quorum=False), now), on_reading)


def require_ended(party: Party, claims: Claims) -> None:
    """What was kept is over, as its client is told; it is the version that it was to be just if that is `committed`."""
    until = party.world.now + ENDED_WITHIN
    while party.world.now < until and any(waiting.is_open for waiting in claims.waiting):
        for waiting in claims.waiting:
            claims.ask_about(waiting)
        party.run(5.0)
    versions = set(history(party).values())
    for waiting in claims.waiting:
        if waiting.is_open:
            raise Lost(f"{waiting.claimed} is {waiting.state} still")
        if (waiting.claimed.record in versions) is not (waiting.state is State.COMMITTED):
            raise Lost(f"{waiting.claimed} is {waiting.state}")


def history(party: Party) -> dict[tuple[Place, int], Record]:
    """Every version that any node has.  No two have two records of one."""
    versions: dict[tuple[Place, int], Record] = {}
    for name in party.names:
        for table in (RECORDS, HISTORY):
            for value in party.rows(name, table).values():
                record = msgspec.json.decode(value, type=Committed).record
                assert versions.setdefault((record.place, record.version), record) == record, f"{name} has {record}"
    return versions


def held(party: Party, name: str) -> dict[Place, Record]:
    """The newest version of each key on the node's disk."""
    committed = [msgspec.json.decode(value, type=Committed) for value in party.rows(name, RECORDS).values()]
    return {each.record.place: each.record for each in committed}


def past(party: Party, name: str) -> dict[tuple[Place, int], Record]:
    """Every version of each key on the node's disk."""
    committed = [msgspec.json.decode(value, type=Committed) for value in party.rows(name, HISTORY).values()]
    return {(each.record.place, each.record.version): each.record for each in committed}


def require_one_history(party: Party, claims: Claims) -> None:
    """No two nodes have two records of one version, and what was acknowledged is the version that it was to be."""
    versions = history(party)
    for claimed in claims.committed:
        place, version = claimed.record.place, claimed.record.version
        if versions.get((place, version)) != claimed.record:
            raise Lost(
                f"{claimed.record} was acknowledged at {claimed.node}, and there is {versions.get((place, version))}"
            )
        for name in party.names:
            if held(party, name)[place].version < version:
                raise Lost(f"version {version} of {place} was acknowledged, and is not at {name}")
