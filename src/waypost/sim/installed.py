"""Whole nodes that are one network: each an assembly with an installation, whose peers' transport is the simulated one.

What they say to each other is spelled as on HTTP and travels as datagrams of any size, so it is lost, delayed, doubled
and cut off as all else is, and counted.  Who sent it is known by the address, as by a certificate.  Signatures cost
nothing (people.py).

    party = Party(seed=7, names=("anna", "berta", "carla"))
    Device(party.world, "2001:db8:d::1", party.server("anna"))
    party.run(10.0)
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from random import Random
from typing import Any, Final

from waypost.assembly.engine import Assembly
from waypost.assembly.installation import Installation, Reach
from waypost.drip import parcel
from waypost.drip.envelope import Pass
from waypost.drip.outbox import Tell
from waypost.drip.parcel import Said
from waypost.drip.proposer import Timers
from waypost.drip.questions import Claim
from waypost.drip.rumours import Whisper
from waypost.engine import Ask, Effect, Endpoint, Path, Rows
from waypost.errors import WireError
from waypost.identity.policy import default
from waypost.ledger.questions import Call, ReadFile
from waypost.rd.engine import Settings
from waypost.record import Change, Committed, Place, Record, Roster, Stamp, network_of
from waypost.record.hlc import Hlc
from waypost.record.vote import founding
from waypost.sim.calls import Asked, Calls
from waypost.sim.network import FAIR, Weather
from waypost.sim.node import Node
from waypost.sim.notaries import notary_of
from waypost.sim.people import Fast, fast, member, public_of, roster
from waypost.sim.trace import Trace, coap
from waypost.sim.world import COAP_PORT, World

PEERS_PORT: Final = 8481
ITSELF: Final = Weather(delay_min=0.0001, delay_max=0.0001)
TIMERS: Final = Timers(vote_s=0.4, backoff_min_s=0.03, backoff_max_s=0.5, deadline_s=4.0)
SETTINGS: Final = Settings()
CONNECT_S: Final = 0.3  # until the transport knows that it does not reach a node
STARTED_MS: Final = 1_000  # the first incarnation is the first

MakeAssembly = Callable[[Random, Settings, Installation], Assembly]


class Installed:
    """An assembly as the simulator runs it in a network; `name_at` knows the peers' hosts."""

    def __init__(self, assembly: Assembly, name_at: Callable[[str], str]) -> None:
        self.assembly = assembly
        self.malformed = 0
        self._name_at = name_at

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        if path.local.port != PEERS_PORT:
            self.assembly.receive_datagram(data, path, now)
            return
        try:
            messages = parcel.read(data)
        except WireError:
            self.malformed += 1
        else:
            self.assembly.hear(self._name_at(path.peer.host), messages, now)

    def restore(self, rows: Rows, now: float) -> None:
        self.assembly.restore(rows, now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self.assembly.handle_clock(now, wall_ms)

    def ask(self, question: object, now: float) -> int:
        return self.assembly.ask(question, now)

    def answered(self, id: int, result: object, now: float) -> None:
        self.assembly.answered(id, result, now)

    def apply(self, change: Change, now: float) -> None:
        self.assembly.apply(change, now)

    def handle_timer(self, now: float) -> None:
        self.assembly.handle_timer(now)

    def next_timer(self) -> float | None:
        return self.assembly.next_timer()

    def take_effects(self) -> list[Effect]:
        return self.assembly.take_effects()

    def check(self) -> None:
        self.assembly.check()


class Party:
    """Nodes of these `names`, of which the first `voters` vote; `carries` says whose directory the mesh carries.

    With `logs` each keeps one and witnesses the others'.  Claims may wait at a node for `intent_life_s`.  `make` makes
    an assembly of what it is given; another one than usual is a control.
    """

    def __init__(
        self,
        seed: int,
        names: Sequence[str],
        *,
        voters: int = 0,
        settings: Settings = SETTINGS,
        carries: Callable[[str], bool] = lambda name: True,
        weather: Weather = FAIR,
        trace: Trace | None = None,
        check_each: int = 1,
        sync: bool = True,
        logs: bool = False,
        intent_life_s: int = 86_400,
        make: MakeAssembly | None = None,
    ) -> None:
        self.world = World(seed, weather=weather, trace=trace, check_each=check_each, on_ask=self._on_ask)
        self.names = tuple(names)
        self.carries = carries
        self.settings = settings
        self._logs = logs
        self._intent_life_s = intent_life_s
        self._calls = Calls(self.world)
        self._make: MakeAssembly = make or _assembly
        self._hosts = {name: f"2001:db8::{number:x}" for number, name in enumerate(names, 1)}
        self._names = {host: name for name, host in self._hosts.items()}
        voting = self.names[: voters or len(names)]
        self.roster: Roster = roster(*voting, learners=self.names[len(voting) :])
        self.network = network_of(self.roster)
        self._founding = founding(self.roster)
        self._txid = 0
        self._trying: dict[tuple[str, str], None] = {}
        self._told: dict[tuple[str, str], tuple[int, bool]] = {}  # in which incarnation, and what
        self.nodes: dict[str, Node[Installed]] = {}
        for name, host in self._hosts.items():
            self.world.network.set_link(host, host, ITSELF)
            factory = _Factory(self, name)
            self.nodes[name] = self.world.node(name, factory, host, (COAP_PORT, PEERS_PORT), sync=sync)
            self._calls.servers[name] = Asked(self.nodes[name])

    def server(self, name: str) -> Endpoint:
        """Where devices find it."""
        return Endpoint(self._hosts[name], COAP_PORT)

    def host(self, name: str) -> str:
        return self._hosts[name]

    @property
    def up(self) -> dict[str, Installed]:
        return {name: node.engine for name, node in self.nodes.items() if node.engine is not None}

    def run(self, seconds: float) -> None:
        self.world.run(self.world.now + seconds)

    def rows(self, name: str, table: str) -> dict[bytes, bytes]:
        """As they are on the node's disk."""
        return dict(self.nodes[name].disk.scan(table))

    def installed(self, name: str, rng: Random) -> Installed:
        key = public_of(f"{name}/1")
        installation = Installation(
            name=name,
            key=key,
            operator=public_of("operator"),
            organisation=member(name).organisation,
            started_ms=STARTED_MS,
            sign=Fast(key).sign,
            verify=Fast.verify,
            founding=self._founding,
            carries=self.carries(name),
            timers=TIMERS,
            notary=notary_of(name, self._read(name)) if self._logs else None,
            intent_life_s=self._intent_life_s,
            read=lambda table, after, count: tuple(islice(self.nodes[name].disk.scan(table, after), count)),
        )
        return Installed(self._make(rng, self.settings, installation), self._names.__getitem__)

    def claim(
        self,
        name: str,
        place: Place,
        value: str | None,
        before: Committed | None,
        on_outcome: Callable[[object], None],
        *,
        keeps: bool = False,
    ) -> Record:
        """A client of that node has the operator's key sign the version after `before`."""
        self._txid += 1
        node, operator = self.nodes[name], public_of("operator")
        unsigned = Record(
            namespace=place[0],
            key=place[1],
            version=before.record.version + 1 if before else 1,
            prev=before.record.hash(self.network) if before else "",
            holder=operator,
            home=name,
            value=value,
            author=operator,
            hlc=Stamp.of(Hlc(node.wall_ms(), 0)),
            txid=f"{self._txid:032x}",
            cites=(),
            signature="",
        )
        record = unsigned.signed(self.network, fast("operator").sign)
        node.ask(lambda engine, now: engine.ask(Claim(record, keeps), now), on_outcome)
        return record

    def _on_ask(self, node: Node[Any], ask: Ask) -> None:
        """The peers' transport."""
        match ask.body:
            case Tell(node=target, message=message):
                self._post(node, target, (message,))
            case Whisper(node=target, messages=messages):
                self._post(node, target, messages)
            case Pass(node=target, envelope=envelope):
                self._post(node, target, (envelope,))
            case Call() as call:
                self._calls.carry(node, ask, call)
            case Reach():
                pass
            case _:
                raise AssertionError(f"nobody in this world answers {ask.body!r}")

    def _read(self, name: str) -> ReadFile:
        return lambda file: self.nodes[name].disk.read_file(file)

    def _post(self, node: Node[Any], target: str, messages: Iterable[Said]) -> None:
        for body in parcel.bodies(map(parcel.spell, messages)):
            source = node.endpoints[1]
            self.world.post(source, Endpoint(self._hosts[target], PEERS_PORT), body, is_stream=True)
        if target != node.name and (node.name, target) not in self._trying:
            self._trying[node.name, target] = None
            self.world.at(self.world.now + CONNECT_S, self._tried, (node, target))

    def _tried(self, tried: tuple[Node[Installed], str]) -> None:
        """The transport knows whether it could bring something: each time that it could not, and once that it can."""
        node, target = tried
        del self._trying[node.name, target]
        if node.engine is None:
            return
        here, there, network = self._hosts[node.name], self._hosts[target], self.world.network
        is_up = self.nodes[target].engine is not None
        is_reached = is_up and network.passes(here, there) and network.passes(there, here)
        told = node.incarnation, is_reached
        if not is_reached or self._told.get((node.name, target)) != told:
            self._told[node.name, target] = told
            node.call(lambda engine, now: engine.assembly.reached(target, is_reached, now))


def describe(data: bytes) -> str:
    """A datagram of a device, or what a node says to another."""
    if not data.startswith(b"["):
        return coap(data)
    kinds = [str(type(message).__struct_config__.tag) for message in parcel.read(data)]
    return f"{', '.join(kinds)} [{len(data)} octets]"


class _Factory:
    def __init__(self, party: Party, name: str) -> None:
        self._party, self._name = party, name

    def __call__(self, rng: Random) -> Installed:
        return self._party.installed(self._name, rng)


def _assembly(rng: Random, settings: Settings, installation: Installation) -> Assembly:
    return Assembly(rng, settings, default().decide, installation=installation)
