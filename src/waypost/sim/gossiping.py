"""Meshes in the simulator: each node an engine that brings parcels as datagrams, and the signatures cost nothing."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Final, Protocol

from waypost.drip import parcel
from waypost.drip.gossip import Author
from waypost.drip.merkle import Merkle
from waypost.drip.mesh import Announced, Mesh
from waypost.drip.rumours import Rumour, Whisper
from waypost.drip.shelf import Shelf
from waypost.engine import Answer, Ask, Commit, Effect, Endpoint, Path, Rows, Send
from waypost.errors import WireError
from waypost.identity import ANONYMOUS
from waypost.record import (
    Ballot,
    Certificate,
    Change,
    Committed,
    Hlc,
    Mark,
    Matter,
    Proof,
    Record,
    Roster,
    Stamp,
    network_of,
)
from waypost.record.feed import Feed
from waypost.sim.network import Weather
from waypost.sim.node import Node
from waypost.sim.people import Fast, fast, public_of, roster
from waypost.sim.trace import Trace
from waypost.sim.world import EPOCH_MS, World

PORT: Final = 8481
SPACES: Final = ("rd", "names")
NODES: Final = "nodes"  # what each says of itself
LINK_20_MS: Final = Weather(delay_min=0.018, delay_max=0.022, datagram_max=1 << 20)
LINK_100_MS: Final = Weather(delay_min=0.090, delay_max=0.110, datagram_max=1 << 20)
Tamper = Callable[[tuple[Rumour, ...]], tuple[Rumour, ...]]
DAY: Final = 86_400_000  # milliseconds


def host_of(name: str) -> str:
    return f"2001:db8::{name}"


def names_of(count: int) -> list[str]:
    """Names that are the last group of an address: host_of() turns one into the other."""
    return [f"{number:x}" for number in range(1, count + 1)]


def roster_of(names: list[str]) -> Roster:
    return roster(*names[:5], learners=tuple(names[5:]))


class Learned:
    """The voted class as the mesh sees it: whatever is newer is believed."""

    def __init__(self, network: str) -> None:
        self.shelf = Shelf()
        self._network = network
        self.versions: dict[tuple[str, str], int] = {}
        self.proofs: list[Proof] = []

    def trees(self) -> dict[str, Merkle]:
        return self.shelf.trees()

    def give(self, namespace: str, digests: Iterable[bytes], octets_max: int) -> list[Committed]:
        return self.shelf.give(namespace, digests, octets_max)

    def learn(self, news: Committed | Proof, source: str, now: float) -> bool:
        if isinstance(news, Proof):
            self.proofs.append(news)
            return self.proofs.count(news) == 1
        if news.record.version <= self.versions.get(news.record.place, 0):
            return False
        self.versions[news.record.place] = news.record.version
        self.shelf.put(news, news.record.hash(self._network))
        return True


class Listener(Protocol):
    """Hears what is said on the links."""

    def began(self, name: str) -> None:
        """The node, which has forgotten what it did not write."""
        ...

    def said(self, name: str, to: str, messages: tuple[Rumour, ...]) -> None: ...
    def heard(self, name: str, by: str, messages: Sequence[Rumour]) -> None: ...


class Talker:
    """A node that gossips, as the simulator runs it.  `applied` is what a reader of the feed has.

    `tamper` changes what it says; `listener` hears it then.
    """

    def __init__(
        self,
        name: str,
        members: Roster,
        rng: Random,
        records_max: int = 100_000,
        tamper: Tamper | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.name = name
        self._tamper = tamper
        self._listener = listener
        if listener is not None:
            listener.began(name)
        self.network = network_of(members)
        self.applied: dict[tuple[str, bytes], tuple[Hlc, bytes]] = {}
        self.seqs: list[int] = []
        self.malformed = 0
        self.arrived: list[tuple[float, bytes]] = []  # when a record was applied, and its value
        self._members = members
        self._rng = rng
        self._feed = Feed(rng)
        self._ids = itertools.count(1)
        key = public_of(f"{name}/1")
        author = Author(self.network, name, 1, Fast(key).sign)
        self.voted = Learned(self.network)
        self.mesh = Mesh(
            rng,
            self._ids,
            author,
            Fast.verify,
            self._feed,
            SPACES,
            single_writer=(NODES,),
            records_max=records_max,
            voted=self.voted,
        )
        self._effects: list[Effect] = []

    def restore(self, rows: Rows, now: float) -> None:
        puts, _ = self._feed.restore(rows)
        self._effects.append(Commit(puts=puts))
        self.seqs = [self._feed.seq]
        self.mesh.restore(rows, now)
        for space in (*SPACES, NODES):
            for digest in self.mesh.store.trees()[space].leaves():
                for held in self.mesh.store.give(space, [digest.digest], 1, now):
                    if held.value is not None:
                        self.applied[space, held.key] = held.hlc.hlc, held.value

    def handle_clock(self, now: float, wall_ms: int) -> None:
        first = not self.mesh.members.alive
        self.mesh.handle_clock(now, wall_ms)
        if first:
            self.mesh.set_roster(self._members, now)

    def announce(self, space: str, key: bytes, value: bytes | None, now: float, expires_ms: int | None = None) -> int:
        id = next(self._ids)
        if expires_ms is None:
            expires_ms = self.mesh.store.wall_ms(now) + DAY
        busy = self.mesh.announce(id, space, key, value, expires_ms, now)
        if busy is not None:
            self._effects.append(Answer(id, busy))
        return id

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        try:
            said = parcel.read(data)
        except WireError:
            self.malformed += 1
            return
        messages = [message for message in said if isinstance(message, Rumour)]
        peer = path.peer.host.removeprefix(host_of(""))
        if self._listener is not None:
            self._listener.heard(peer, self.name, messages)
        self.mesh.receive(peer, messages, now)

    def answered(self, id: int, result: object, now: float) -> None: ...

    def apply(self, change: Change, now: float) -> None:
        self.seqs.append(change.seq)
        place = change.room, change.key
        assert isinstance(change.version, Hlc)
        before = self.applied.get(place)
        if change.value is None:
            self.applied.pop(place, None)
        else:
            assert before is None or before[0] <= change.version, "a reader never goes back"
            self.applied[place] = change.version, change.value
            self.arrived.append((now, change.value))
        self.mesh.apply(change, now)

    def handle_timer(self, now: float) -> None:
        self.mesh.handle_timer(now)

    def next_timer(self) -> float | None:
        return self.mesh.next_timer()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects + self.mesh.take_effects(), []
        return [self._sent(effect.body) if isinstance(effect, Ask) else effect for effect in effects]

    def check(self) -> None:
        self.mesh.check()
        assert self.seqs == list(range(self.seqs[0], self.seqs[0] + len(self.seqs))), "the feed has a gap"

    def _sent(self, whisper: object) -> Send:
        assert isinstance(whisper, Whisper)
        path = Path(
            "udp", Endpoint(host_of(whisper.node), PORT), Endpoint(host_of(self.name), PORT), 1, ANONYMOUS, True
        )
        messages = self._tamper(whisper.messages) if self._tamper else whisper.messages
        if self._listener is not None:
            self._listener.said(self.name, whisper.node, messages)
        return Send(path, parcel.body_of(messages))


class Party:
    """So many nodes in one world; those that are `absent` are in the roster alone."""

    def __init__(
        self,
        seed: int,
        count: int,
        weather: Weather = LINK_20_MS,
        *,
        check_each: int = 1,
        sync: bool = True,
        records_max: int = 100_000,
        trace: Trace | None = None,
        tampers: Mapping[str, Tamper] = MappingProxyType({}),
        absent: Sequence[str] = (),
        listener: Listener | None = None,
    ) -> None:
        self.world = World(seed, weather=weather, check_each=check_each, trace=trace)
        self.names = names_of(count)
        members = roster_of(self.names)
        self.network = network_of(members)
        self.answers: list[tuple[str, object]] = []
        self.acknowledged: dict[tuple[str, bytes], bytes | None] = {}
        self.nodes: dict[str, Node[Talker]] = {}
        for name in self.names:
            if name not in absent:
                factory = partial(
                    Talker, name, members, records_max=records_max, tamper=tampers.get(name), listener=listener
                )
                self.nodes[name] = self.world.node(name, factory, host_of(name), (PORT,), sync=sync)

    @property
    def up(self) -> dict[str, Talker]:
        return {name: node.engine for name, node in self.nodes.items() if node.engine is not None}

    def run(self, seconds: float) -> None:
        """The peers' transport is a stream: a parcel may be larger than a datagram, whatever the weather."""
        network = self.world.network
        network.weather = replace(network.weather, datagram_max=1 << 20)
        self.world.run(self.world.now + seconds)

    def announce(
        self, name: str, key: bytes, value: bytes | None, space: str = "rd", expires_in: float | None = None
    ) -> None:
        expires_ms = None if expires_in is None else self.world.wall_ms() + round(expires_in * 1000)

        def on_answer(result: object) -> None:
            self.answers.append((name, result))
            if isinstance(result, Announced):
                self.acknowledged[space, key] = value

        self.nodes[name].ask(lambda engine, now: engine.announce(space, key, value, now, expires_ms), on_answer)

    def committed(self, key: str, version: int, value: str = "v") -> Committed:
        """With a certificate that nobody looks at here."""
        operator = public_of("operator")
        unsigned = Record(
            namespace="names",
            key=key,
            version=version,
            prev="" if version == 1 else "ab" * 32,
            holder=operator,
            home="1",
            value=value,
            author=operator,
            hlc=Stamp.of(Hlc(EPOCH_MS, 0)),
            txid="0" * 32,
            cites=(),
            signature="",
        )
        record = unsigned.signed(self.network, fast("operator").sign)
        marks = (Mark("1", 1, 1, "ab" * 64),)
        return Committed(record, Certificate(Matter.of(record, Ballot(1, 0, "1"), self.network), marks))

    def commit(self, name: str, committed: Committed) -> None:
        """The node's voters have committed it."""

        def learn(engine: Talker, now: float) -> None:
            assert engine.voted.learn(committed, name, now)
            engine.mesh.publish(committed, now)

        self.nodes[name].call(learn)

    def delays(self, number: int, gap: float, seed: int = 3) -> list[float]:
        """Announce so many records, one each `gap` seconds at random nodes: how long until each has each, sorted."""
        rng, born = Random(seed), dict[bytes, float]()
        before = {name: len(engine.arrived) for name, engine in self.up.items()}
        clocks = {name: node.call(lambda _, now: now) - self.world.now for name, node in self.nodes.items()}
        for count in range(number):
            value = b"value %d" % count
            born[value] = self.world.now
            self.announce(rng.choice(self.names), b"key %d" % count, value)
            self.run(gap)
        self.run(10.0)
        seconds: list[float] = []
        for name, engine in self.up.items():
            arrived = engine.arrived[before[name] :]
            assert len(arrived) == number, f"{name} has {len(arrived)} of {number}"
            seconds.extend(when - clocks[name] - born[value] for when, value in arrived)
        return sorted(seconds)

    def roots(self) -> set[str]:
        return {engine.mesh.root() for engine in self.up.values()}

    def readers(self) -> list[dict[tuple[str, bytes], bytes]]:
        """What the readers of each node's feed have."""
        return [{place: value for place, (_, value) in engine.applied.items()} for engine in self.up.values()]

    def settle(self, within: float, step: float = 0.25) -> float:
        """Seconds until all roots were equal, and all readers have the same."""
        began = self.world.now
        while len(self.roots()) > 1 or any(each != self.readers()[0] for each in self.readers()):
            assert self.world.now - began < within, f"not level after {within} s: {self.roots()}"
            self.run(step)
        return self.world.now - began

    def count(self, what: str) -> int:
        return sum(engine.mesh.counts.get(what, 0) for engine in self.up.values())
