"""A seeded world: machines with whole engines, a network, disks, and one clock that nobody waits for.

One heap holds all that will happen, ordered by time and then by when it was planned.  Each machine,
each disk and each host's network has a random stream of its own, named after it.  One seed gives one
run, octet for octet.

    world = World(seed=7)
    anna = world.node("anna", Toy, "2001:db8::a")
    device = world.client("2001:db8::d", 4000)
    device.send(b"hello", anna.endpoints[0])
    world.run(until=10.0)
"""

import heapq
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol, TypeVar

from waypost.engine import Ask, Endpoint, Engine
from waypost.sim.disk import Disk
from waypost.sim.network import FAIR, Network, Weather
from waypost.sim.node import Node
from waypost.sim.trace import Trace

E = TypeVar("E", bound=Engine)
S = TypeVar("S")

COAP_PORT: Final = 5683
EPOCH_MS: Final = 1_800_000_000_000  # the wall clock at world time 0; milliseconds since 1970


class OnAsk(Protocol):
    """Answers an Ask with node.answer(ask.id, …), now or later, or never."""

    def __call__(self, node: Node[Any], ask: Ask, /) -> None: ...


class World:
    """Times are seconds since the world began.

    `check_each`: after so many steps of an engine its check() is called, 0 for never; `check_all`:
    after so many events that of every engine.
    """

    def __init__(
        self,
        seed: int,
        *,
        weather: Weather = FAIR,
        trace: Trace | None = None,
        check_each: int = 1,
        check_all: int = 0,
        on_ask: OnAsk | None = None,
    ) -> None:
        self.seed = seed
        self.now = 0.0
        self.events = 0
        self.trace = trace
        self.network = Network(seed, weather)
        self.nodes: dict[str, Node[Any]] = {}
        self.check_each = check_each
        self.on_ask = on_ask
        self._check_all = check_all
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._planned = 0
        self._receivers: dict[Endpoint, Callable[[bytes, Endpoint], None]] = {}
        self._names: dict[str, str] = {}

    def node(
        self,
        name: str,
        factory: Callable[[Random], E],
        host: str,
        ports: Sequence[int] = (COAP_PORT,),
        *,
        sync: bool = True,
        clock_offset_ms: int = 0,
    ) -> Node[E]:
        """A machine, and start it.  Its links are numbered from 1 in the order of `ports`."""
        assert name not in self.nodes, f"there is a node {name} already"
        disk = Disk(Random(f"{self.seed}/{name}/disk"), sync=sync)
        endpoints = tuple(Endpoint(host, port) for port in ports)
        node = Node(self, name, factory, endpoints, disk, clock_offset_ms)
        self.nodes[name] = node
        self._names[host] = name
        for endpoint, receive in node.receivers:
            self._bind(endpoint, receive)
        node.start()
        return node

    def client(
        self,
        host: str,
        port: int,
        on_datagram: "Callable[[Client, bytes, Endpoint], None] | None" = None,
        *,
        name: str | None = None,
    ) -> "Client":
        """An address that is no engine: what comes to it goes to `on_datagram`, or else into its `inbox`."""
        client = Client(self, Endpoint(host, port), on_datagram)
        self._names.setdefault(host, name or host)
        self._bind(client.endpoint, client.receive)
        return client

    def hosts(self) -> list[str]:
        """Every host there is, in the order they came."""
        return list(self._names)

    def at(self, when: float, action: Callable[[S], None], subject: S) -> None:
        """Plan action(subject)."""
        self._planned += 1
        heapq.heappush(self._heap, (when, self._planned, action, subject))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.at(self.now + seconds, _call, action)

    def run(self, until: float) -> None:
        """Let happen all that is planned up to `until`.  An exception is told when and at which event."""
        heap, pop = self._heap, heapq.heappop
        events = self.events
        try:
            while heap and heap[0][0] <= until:
                self.now, _, action, subject = pop(heap)
                events += 1
                action(subject)
                if self._check_all and events % self._check_all == 0:
                    self.check()
        except Exception as error:
            error.add_note(f"seed {self.seed}: at {self.now:.6f} s, event {events}")
            raise
        finally:
            self.events = events
        self.now = until

    def check(self) -> None:
        """Assert every engine's invariants."""
        for node in self.nodes.values():
            if node.engine is not None:
                node.engine.check()

    def post(self, source: Endpoint, target: Endpoint, data: bytes, *, is_stream: bool = False) -> None:
        """Put a datagram on the network; or, of any size, a message of a stream that may break."""
        arrivals = self.network.post(source.host, target.host, data, self.now, is_stream=is_stream)
        if self.trace is not None:
            self._note(">" if arrivals else "x", source, target, data)
        for when, octets in arrivals:
            self._planned += 1
            heapq.heappush(self._heap, (when, self._planned, self._deliver, (source, target, octets)))

    def wall_ms(self) -> int:
        return EPOCH_MS + round(self.now * 1000)

    def unseed(self) -> int:
        """One more number from every random stream, in one: two runs that differ anywhere differ here.

        Call it at the end: it moves the streams on.
        """
        drawn = [node.unseed() for node in self.nodes.values()]
        return Random(f"{drawn} {self.network.unseed()} {self.events} {self._planned}").getrandbits(64)

    def _bind(self, endpoint: Endpoint, receive: Callable[[bytes, Endpoint], None]) -> None:
        assert endpoint not in self._receivers, f"{endpoint} is taken"
        self._receivers[endpoint] = receive

    def _deliver(self, packet: tuple[Endpoint, Endpoint, bytes]) -> None:
        source, target, data = packet
        network = self.network
        receive = self._receivers.get(target)
        if not (network.whole or network.passes(source.host, target.host)):
            receive = None
        if self.trace is not None:
            self._note("x" if receive is None else "<", target, source, data)
        if receive is None:
            network.counts["cut"] += 1
        else:
            hosts = source.host, target.host
            network.arrived[hosts] = network.arrived.get(hosts, 0) + len(data)
            receive(data, source)

    def _note(self, sign: str, here: Endpoint, there: Endpoint, data: bytes) -> None:
        assert self.trace is not None
        names = self._names
        text = self.trace.describe(data)
        self.trace.add(self.now, f"{names[here.host]} {sign} {names.get(there.host, there.host)} {text}")


class Client:
    """Made by World.client(): plays a device or a program outside."""

    def __init__(
        self, world: World, endpoint: Endpoint, on_datagram: "Callable[[Client, bytes, Endpoint], None] | None"
    ) -> None:
        self.endpoint = endpoint
        self.inbox: list[tuple[bytes, Endpoint]] = []
        self._world = world
        self._on_datagram = on_datagram

    def send(self, data: bytes, target: Endpoint) -> None:
        self._world.post(self.endpoint, target, data)

    def receive(self, data: bytes, source: Endpoint) -> None:
        if self._on_datagram is None:
            self.inbox.append((data, source))
        else:
            self._on_datagram(self, data, source)


def _call(action: Callable[[], None]) -> None:
    action()
