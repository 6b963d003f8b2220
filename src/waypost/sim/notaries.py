"""Nodes that keep logs and witness each other's: ledger engines alone, without votes or gossip, and with bad ones among
them.  Signatures cost nothing (people.py).

What would be voted on is committed by whoever plays the voters, and reaches each node at its own time.

    party = Notaries(seed=7, names=("anna", "berta", "carla"))
    party.commit("a key", 1)
    party.run(30.0)
    party.log("anna")                # entries, as they are on its disk
"""

import itertools
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any, Final

import msgspec

from waypost.engine import Apply, Ask, Commit, Effect, Path, Put, Rows
from waypost.ledger.archive import read_tail
from waypost.ledger.checkpoint import cosigner_of
from waypost.ledger.engine import LedgerEngine
from waypost.ledger.log import FOLDER, TAIL
from waypost.ledger.mirror import FOLDER as MIRRORS
from waypost.ledger.mirror import TABLE as MIRRORED
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.questions import Call, LedgerQuestion, Notary, ReadFile
from waypost.ledger.statement import Statement
from waypost.ledger.tiles import ENTRIES, WIDTH, Tile, decode_bundle
from waypost.record import (
    Ballot,
    Certificate,
    Change,
    Committed,
    Hlc,
    Mark,
    Matter,
    Place,
    Record,
    Stamp,
    network_of,
)
from waypost.record.feed import Feed
from waypost.record.gossiped import Gossiped, Moment
from waypost.sim.calls import Asked, Calls, Watcher
from waypost.sim.disk import Disk
from waypost.sim.network import FAIR, Weather
from waypost.sim.node import Node
from waypost.sim.people import Fast, fast, public_of, roster
from waypost.sim.trace import Trace
from waypost.sim.world import World

VOTED: Final = "voted"
GOSSIP: Final = "gossip"  # the table of what was gossiped
PORT: Final = 8481
ROUND_S: Final = 10.0
IDLE_ROUNDS: Final = 6  # a round although nothing happens
LEARN_S: Final = 3.0  # until all nodes that are up know what was committed
AGAIN_S: Final = 7.0  # until a node that was down is told again
ASKED_S: Final = 60.0
DAY_MS: Final = 86_400_000
_committed: Final = msgspec.json.Decoder(Committed)
_gossiped: Final = msgspec.json.Decoder(Gossiped)


def origin_of(name: str) -> str:
    return f"waypost/{name}"


def log_key(name: str) -> Key:
    return Key(origin_of(name), Algorithm.ED25519, bytes.fromhex(public_of(f"{name}/log")))


def cosigner_key(name: str) -> Key:
    key = cosigner_of(origin_of(name))
    return Key(key, Algorithm.COSIGNATURE, bytes.fromhex(public_of(f"{name}/cosigner")))


def node_key(name: str) -> Key:
    return Key(name, Algorithm.ED25519, bytes.fromhex(public_of(f"{name}/1")))


def notary_of(name: str, read: ReadFile, round_s: float = ROUND_S) -> Notary:
    return Notary(
        name=name,
        origin=origin_of(name),
        key=log_key(name),
        sign=fast(f"{name}/log").sign,
        cosigner=cosigner_key(name),
        cosign=fast(f"{name}/cosigner").sign,
        sign_as_node=fast(f"{name}/1").sign,
        verify=Fast.verify,
        read=read,
        round_s=round_s,
        idle_round_s=IDLE_ROUNDS * round_s,
    )


class Keeper:
    """A ledger's engine, and what its node holds, as the simulator runs them."""

    def __init__(self, rng: Random, party: "Notaries", name: str, notary: Notary) -> None:
        self._party = party
        self._name = name
        self._feed = Feed(rng)
        self._voted: dict[Place, Committed] = {}
        self._gossiped: dict[bytes, Gossiped] = {}
        self._wall_ms = 0
        self._effects: list[Effect] = []
        self._learning: dict[Place, int] = {}  # versions on their way to the disk
        self.ledger = LedgerEngine(rng, itertools.count(1), notary, node_key(name).public, self)

    # what the node holds: questions.py, Held

    def voted(self) -> list[Committed]:
        return list(self._voted.values())

    def gossiped(self) -> list[Gossiped]:
        return list(self._gossiped.values())

    # what its voters and its mesh would do

    def learn(self, committed: Committed) -> None:
        """It was voted on: a change of the feed, unless it is known."""
        record = committed.record
        if record.version <= max(self.version(record.place), self._learning.get(record.place, 0)):
            return
        self._learning[record.place] = record.version
        key = "\0".join(record.place).encode()
        change, puts = self._feed.add(VOTED, key, record.version, committed.encode(), self._wall_ms)
        self._effects.append(Commit(puts=puts, then=(Apply(change),)))

    def version(self, place: Place) -> int:
        held = self._voted.get(place)
        return held.record.version if held else 0

    def hear(self, gossiped: Gossiped) -> None:
        held = self._gossiped.get(gossiped.key)
        if held is None or held.hlc.hlc < gossiped.hlc.hlc:
            self._gossiped[gossiped.key] = gossiped
            self._effects.append(Commit(puts=(Put(GOSSIP, gossiped.key, msgspec.json.encode(gossiped)),)))

    # the engine

    def restore(self, rows: Rows, now: float) -> None:
        puts, _ = self._feed.restore(rows)
        self._effects.append(Commit(puts=puts))
        for key, value in rows.scan(GOSSIP):
            self._gossiped[key] = _gossiped.decode(value)
        for change in self._feed.since(rows, VOTED, 0):
            self._hold(change)
        self.ledger.restore(rows, self._party.network, now)
        for change in self._feed.since(rows, VOTED, self.ledger.cursor):
            self.ledger.apply(change, now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._wall_ms = wall_ms
        self.ledger.handle_clock(now, wall_ms)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None: ...

    def apply(self, change: Change, now: float) -> None:
        if change.room == VOTED:
            self._hold(change)
        self.ledger.apply(change, now)

    def ask(self, question: LedgerQuestion, now: float) -> int:
        return self.ledger.ask(question, now)

    def answered(self, id: int, result: object, now: float) -> None:
        self.ledger.answered(id, result, now)

    def handle_timer(self, now: float) -> None:
        self.ledger.handle_timer(now)

    def next_timer(self) -> float | None:
        return self.ledger.next_timer()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        self.ledger.set_members(self._party.others(self._name))
        return effects + self.ledger.take_effects()

    def check(self) -> None:
        self.ledger.check()

    def _hold(self, change: Change) -> None:
        assert change.value is not None
        committed = _committed.decode(change.value)
        if self.version(committed.record.place) < committed.record.version:
            self._voted[committed.record.place] = committed


class Notaries:
    """Nodes of these `names`; those in `absent` are members that somebody else plays: see `calls.servers`."""

    def __init__(
        self,
        seed: int,
        names: Sequence[str],
        *,
        absent: Sequence[str] = (),
        weather: Weather = FAIR,
        sync: bool = True,
        clock_offset_ms: int = 0,
        round_s: float = ROUND_S,
        check_each: int = 1,
        trace: Trace | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.world = World(seed, weather=weather, check_each=check_each, trace=trace, on_ask=self._on_ask)
        self.names = tuple(names)
        self.network = network_of(roster(*names))
        self.calls = Calls(self.world, watcher)
        self.nodes: dict[str, Node[Keeper]] = {}
        self._others = {
            name: {other: node_key(other).public.hex() for other in names if other != name} for name in names
        }
        self._called: dict[str, str] = {}  # machines, and which node each is
        self._sync = sync
        self._clock_offset_ms = clock_offset_ms
        self._round_s = round_s
        self._rng = Random(f"{seed}/notaries")
        self._committed: dict[Place, Committed] = {}
        self._said: dict[str, str] = {}  # by signer, the last statement
        for name in names:
            if name not in absent:
                self.open(name, name, self.host(name))

    def open(self, called: str, name: str, host: str) -> Node[Keeper]:
        """A machine for the node of that name."""

        def factory(rng: Random) -> Keeper:
            notary = notary_of(name, lambda path: self.world.nodes[called].disk.read_file(path), self._round_s)
            return Keeper(rng, self, name, notary)

        self._called[called] = name
        self.nodes[called] = node = self.world.node(
            called, factory, host, (PORT,), sync=self._sync, clock_offset_ms=self._clock_offset_ms
        )
        self.calls.servers[name] = Asked(node)
        return node

    def host(self, name: str) -> str:
        return f"2001:db8::{self.names.index(name) + 1:x}"

    def others(self, name: str) -> dict[str, str]:
        return self._others[name]

    @property
    def up(self) -> dict[str, Keeper]:
        return {name: node.engine for name, node in self.nodes.items() if node.engine is not None}

    def run(self, seconds: float) -> None:
        self.world.run(self.world.now + seconds)

    def ask(self, name: str, question: LedgerQuestion) -> Any:
        """What the node answers; it is up."""
        answers: list[object] = []
        self.nodes[name].ask(lambda engine, now: engine.ask(question, now), answers.append)
        end = self.world.now + ASKED_S
        while not answers:
            assert self.world.now < end, f"{name} does not answer {question}"
            self.run(0.01)
        return answers[0]

    def commit(self, key: str, value: str = "v") -> Committed:
        """The voters commit the next version of it, and every node learns of it at some time."""
        committed = self._next(("names", key), value)
        self._committed[committed.record.place] = committed
        for name in self.nodes:
            self.world.after(LEARN_S * self._rng.random(), partial(self._learn, name, committed))
        return committed

    def gossip(self, key: bytes, value: bytes | None) -> None:
        """The first node announces it, and every node hears of it."""
        wall_ms = self.world.wall_ms() + self._clock_offset_ms
        author = self.names[0]
        moment = Moment.of(Hlc(wall_ms, 0))
        unsigned = Gossiped("rd", key, value, wall_ms + DAY_MS, moment, author, 1, "")
        record = unsigned.signed(self.network, fast(f"{author}/1").sign)
        for name in self.nodes:
            self.world.after(LEARN_S * self._rng.random(), partial(self._hear, name, record))

    def statement(self, signer: str, prev: str | None = None, **body: object) -> Statement:
        """The next one of that signer, or one with a `prev` of its own."""
        wall_ms = self.world.wall_ms() + self._clock_offset_ms
        prev = self._said.get(signer, "") if prev is None else prev
        statement = Statement(wall_ms, body, "story", prev, public_of(signer)).signed(fast(signer).sign)
        self._said[signer] = statement.hash
        return statement

    def log(self, name: str) -> list[bytes]:
        """The entries of its log as they are on its disk."""
        return entries_of(self.nodes[name].disk)

    def _learn(self, name: str, committed: Committed) -> None:
        node, place = self.nodes.get(name), committed.record.place
        if node is None:  # it is played by somebody else
            return
        if node.engine is not None:
            if node.engine.version(place) >= committed.record.version:
                return
            node.call(lambda engine, now: engine.learn(committed))
        self.world.after(AGAIN_S, partial(self._learn, name, committed))

    def _hear(self, name: str, record: Gossiped) -> None:
        """Again and again, until it is on the disk."""
        node = self.nodes.get(name)
        if node is None:
            return
        kept = node.disk.get(GOSSIP, record.key)
        if kept is not None and _gossiped.decode(kept).hlc.hlc >= record.hlc.hlc:
            return
        if node.engine is not None:
            node.call(lambda engine, now: engine.hear(record))
        self.world.after(AGAIN_S, partial(self._hear, name, record))

    def _next(self, place: Place, value: str) -> Committed:
        """With a certificate that nobody looks at here."""
        before, operator = self._committed.get(place), public_of("operator")
        unsigned = Record(
            namespace=place[0],
            key=place[1],
            version=before.record.version + 1 if before else 1,
            prev=before.record.hash(self.network) if before else "",
            holder=operator,
            home=self.names[0],
            value=value,
            author=operator,
            hlc=Stamp.of(Hlc(self.world.wall_ms(), 0)),
            txid=f"{self._rng.getrandbits(128):032x}",
            cites=(),
            signature="",
        )
        record = unsigned.signed(self.network, fast("operator").sign)
        marks = (Mark(self.names[0], 1, 1, "ab" * 64),)
        return Committed(record, Certificate(Matter.of(record, Ballot(1, 0, self.names[0]), self.network), marks))

    def _on_ask(self, node: Node[Any], ask: Ask) -> None:
        assert isinstance(ask.body, Call)
        self.calls.carry(node, ask, ask.body, self._called[node.name])


def entries_of(disk: Disk, mirrored: str = "") -> list[bytes]:
    """A node's own log as it is on the disk, or its copy of the log of an origin, whatever the node says."""
    digest = sha256(mirrored.encode())
    folder = f"{MIRRORS}/{digest.hexdigest()}" if mirrored else FOLDER
    table, prefix = (MIRRORED, digest.digest()) if mirrored else (TAIL, b"")
    size, tail = read_tail(lambda key: disk.get(table, prefix + key))
    found: list[bytes] = []
    for index in range(size // WIDTH):
        found += decode_bundle(disk.files[f"{folder}/{Tile(ENTRIES, index, WIDTH).path}"], WIDTH)
    return found + tail
