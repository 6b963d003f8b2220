"""The mesh without votes: announcements, their spreading and repair, and who is there, joined into one engine.

It is asked what the directory asks its carrier: announce() a record, and once that is durable and applied the question
is answered with ANNOUNCED.  Every change of a record, whoever made it, is applied with the next number of the node's
feed.  What other nodes say comes in by receive(); what they are to be told leaves as Ask(Whisper).

What a node may make us do is limited by an allowance: a point for each message and each record that it brings or asks
for, about, and FORGED_COST for a record that does not verify.  What goes beyond it is dropped: repair brings it later,
at our own pace.

Source: design, Contracts 1 to 5; notes on DRiP, 4.3, 4.5, 4.10, 4.11.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Final, TypeVar, assert_never

from waypost.drip.gossip import SKEW_MAX, Author, Busy, Store, Verdict, size_of
from waypost.drip.members import Members, Own
from waypost.drip.plumtree import Plumtree
from waypost.drip.repair import Repair
from waypost.drip.rumours import (
    IDS_MAX,
    MESSAGES_MAX,
    Beat,
    Graft,
    Have,
    Page,
    PageRequest,
    Probe,
    Probed,
    Prune,
    Pull,
    Pulled,
    Roots,
    RootsRequest,
    Rumour,
    Spread,
    State,
    Whisper,
)
from waypost.engine import Answer, Ask, Effect, Rows
from waypost.record import Change, Roster, Verify
from waypost.record.feed import Feed
from waypost.record.gossiped import Gossiped

T = TypeVar("T")

ID_SIZE: Final = 16  # octets of a record's hash that name it
POINTS_A_SECOND: Final = 5_000  # of one neighbour
POINTS_MAX: Final = 10_000
FORGED_COST: Final = 20
SETTLED: Final = 1.0  # seconds without a change, before another root than ours means that something is missing
NEWS_EVERY: Final = 0.5  # seconds between beats because repair has brought something
SPREAD_OCTETS_MAX: Final = 384 << 10  # of the records in one message
SPREAD_RECORDS_MAX: Final = 256
GRAFT_TRIPS: Final = 4  # round trips until a message that was named is asked for
GRAFT_MIN: Final = 0.1  # seconds
GRAFT_MAX: Final = 1.0
CLOCK_RETRY: Final = 5  # seconds


@dataclass(frozen=True, slots=True)
class Announced:
    pass


@dataclass(slots=True)
class Allowance:
    points: float
    at: float

    def take(self, cost: int, now: float) -> bool:
        self.points = min(POINTS_MAX, self.points + (now - self.at) * POINTS_A_SECOND)
        self.at = now
        if self.points < cost:
            return False
        self.points -= cost
        return True


class Mesh:
    """`counts` says how many records had each verdict, and what was dropped before it was looked at."""

    def __init__(
        self,
        rng: Random,
        ids: Iterator[int],
        author: Author,
        verify: Verify,
        feed: Feed,
        namespaces: Iterable[str],
        *,
        single_writer: Iterable[str] = (),
        records_max: int = 100_000,
    ) -> None:
        self._ids = ids
        self._name = author.node
        self._keys: dict[tuple[str, int], str] = {}  # of every roster so far
        self._organisations: dict[str, str] = {}
        self.store = Store(
            author,
            verify,
            self._key_of,
            feed,
            namespaces,
            single_writer=single_writer,
            records_max=records_max,
        )
        self._tree: Plumtree[Gossiped] = Plumtree(rng)
        self._members = Members(rng, author.node, author.incarnation)
        self._repair = Repair(rng, self.store)
        self._allowances: dict[str, Allowance] = {}
        self._level: dict[str, None] = {}  # organisations of peers that we have caught up with
        self._is_level = False
        self._changed_at = 0.0
        self._news_at = 0.0
        self._differing: dict[str, int] = {}  # beats in a row with another root than ours
        self._effects: list[Effect] = []
        self.counts: dict[str, int] = {}

    def restore(self, rows: Rows, now: float) -> None:
        """The feed is restored by its owner, before."""
        self.store.restore(rows, now)
        self._repair.begin(now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self.store.handle_clock(now, wall_ms)

    def set_roster(self, roster: Roster, now: float) -> None:
        """Of each epoch in turn: what was signed under earlier ones stays good until it expires."""
        members = roster.voters + roster.learners
        self._keys.update({(member.name, member.incarnation): member.key for member in members})
        self._organisations = {member.name: member.organisation for member in members}
        self._members.set_members(roster.epoch, roster.nodes, (voter.name for voter in roster.voters), now)
        self._allowances = {name: each for name, each in self._allowances.items() if name in self._organisations}
        self._differing.clear()
        self._tree.set_links(self._members.neighbours)
        self._follow_members(now)

    def announce(
        self, id: int, namespace: str, key: bytes, value: bytes | None, expires_ms: int, now: float
    ) -> Busy | None:
        """Busy at once, or None: then Answer(id, Announced()) follows the Apply of the change."""
        skew_ms = self._members.skew_ms()
        if abs(skew_ms) > SKEW_MAX:
            return Busy(CLOCK_RETRY, f"this node's clock is {skew_ms / 1000:.0f} s off from the others'")
        return self.store.announce(id, namespace, key, value, expires_ms, now)

    def apply(self, change: Change, now: float) -> None:
        """It is durable, and its readers have it."""
        self._changed_at = now
        applied = self.store.applied(change)
        if applied is not None:
            record = applied.held.record
            self._tree.publish(applied.held.hash[:ID_SIZE], record, size_of(record), now)
            self._effects.append(Answer(applied.question, Announced()))

    def receive(self, node: str, messages: Iterable[Rumour], now: float) -> None:
        """From a node whom the transport has identified."""
        if not self._members.hear(node, now):
            self._count("strangers")
            return
        for message in messages:
            if self._allowance(node, now).take(_cost(message), now):
                self._receive(node, message, now)
            else:
                self._count("flooded")
        self._follow_members(now)

    def handle_timer(self, now: float) -> None:
        self.store.handle_timer(now)
        self._tree.handle_timer(now)
        if _is_due(self._members.next_timer(), now):
            self._members.handle_timer(self._own(now), now)
        self._repair.handle_timer(self._members.alive, now)
        self._follow_members(now)

    def next_timer(self) -> float | None:
        timers = (
            self.store.next_timer(),
            self._tree.next_timer(),
            self._members.next_timer(),
            self._repair.next_timer(),
        )
        return min((when for when in timers if when is not None), default=None)

    def state(self, now: float) -> State:
        return self._members.state(now)

    def root(self) -> str:
        """Over the roots of all namespaces: equal on two nodes if they hold the same records."""
        return sha256(b"".join(tree.root() for tree in self.store.trees().values())).hexdigest()

    @property
    def members(self) -> Members:
        return self._members

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        effects.extend(self.store.take_effects())
        effects.extend(Ask(next(self._ids), whisper) for whisper in self._whispers())
        return effects

    def check(self) -> None:
        for organ in (self.store, self._tree, self._members, self._repair):
            organ.check()
        assert self._allowances.keys() <= self._organisations.keys()

    # what others say

    def _receive(self, node: str, message: Rumour, now: float) -> None:
        match message:
            case Spread():
                for record in message.records:
                    self._receive_record(node, record, now)
            case Have():
                self._tree.named(node, message.ids, now)
            case Graft():
                self._tree.grafted(node, message.ids)
            case Prune():
                self._tree.pruned(node)
            case Beat():
                self._receive_beat(node, message, now)
            case Probe():
                self._members.receive_probe(node, message, self._own(now), now)
            case Probed():
                self._members.receive_probed(message, now)
            case RootsRequest() | PageRequest() | Pull():
                self._repair.answer(node, message, now)
            case Roots():
                self._repair.receive_roots(node, message, now)
            case Page():
                self._repair.receive_page(node, message, now)
            case Pulled():
                self._receive_pulled(node, message, now)
            case _:
                assert_never(message)

    def _receive_record(self, node: str, record: Gossiped, now: float) -> None:
        if not self._allowance(node, now).take(1, now):
            self._count("flooded")
            return
        verdict, hash = self._accept(node, record, now)
        if verdict is Verdict.NEW:
            self._tree.publish(hash[:ID_SIZE], record, size_of(record), now, node)
        elif verdict is Verdict.KNOWN:
            self._tree.again(hash[:ID_SIZE], node)

    def _accept(self, node: str, record: Gossiped, now: float) -> tuple[Verdict, bytes]:
        verdict, hash = self.store.accept(record, now)
        self._count(verdict.value)
        if verdict is Verdict.FORGED:
            self._tree.demote(node)
            self._allowance(node, now).points -= FORGED_COST
        return verdict, hash

    def _receive_pulled(self, node: str, pulled: Pulled, now: float) -> None:
        if not self._repair.is_asked(node, pulled.id):
            self._count("unasked")
            return
        changed = sum(self._accept(node, record, now)[0] is Verdict.NEW for record in pulled.records)
        digests = [sha256(record.key).digest() for record in pulled.records]
        self._repair.receive_pulled(node, pulled, digests, changed, now)

    def _receive_beat(self, node: str, beat: Beat, now: float) -> None:
        own = self._own(now)
        self._members.receive_beat(node, beat, own, now)
        rtt = self._members.rtt()
        if rtt is not None:
            self._tree.graft_after = min(GRAFT_MAX, max(GRAFT_MIN, GRAFT_TRIPS * rtt))
        if not self.store.is_near(beat.hlc.hlc, now):
            self._count("clocks")
        self._differing[node] = 0 if beat.root == own.root else self._differing.get(node, 0) + 1
        differs = self._differing[node] > 0 and (now - self._changed_at > SETTLED or self._differing[node] > 1)
        if differs or not (self._is_level or self._organisations[node] in self._level):
            self._repair.start(node, now)

    # what follows

    def _follow_members(self, now: float) -> None:
        """The tree's links are to the neighbours; who came back is repaired with; who is gone is not waited for."""
        members = self._members
        for name in members.down:
            self._repair.gone(name)
        for name in members.up:
            self._repair.start(name, now)
        if members.up or members.down:
            members.up, members.down = [], []
            self._tree.set_links(members.neighbours)
        ended, self._repair.ended = self._repair.ended, []
        for end in ended:
            if end.complete:
                self._level[self._organisations.get(end.peer, "")] = None
            if end.changed and now - self._news_at > NEWS_EVERY:
                self._news_at = now
                self._members.beat(self._own(now), now)
        if not self._is_level:
            there = {self._organisations[name] for name in members.alive}
            self._is_level = len(self._level) >= min(2, max(1, len(there))) or not self._others()
            if self._is_level:
                members.repaired()

    def _others(self) -> bool:
        return any(name != self._name for name in self._organisations)

    def _own(self, now: float) -> Own:
        return Own(self.store.wall_ms(now), self.store.hlc, self.root())

    def _key_of(self, node: str, incarnation: int) -> str | None:
        return self._keys.get((node, incarnation))

    def _allowance(self, node: str, now: float) -> Allowance:
        allowance = self._allowances.get(node)
        if allowance is None:
            allowance = self._allowances[node] = Allowance(POINTS_MAX, now)
        return allowance

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _whispers(self) -> list[Whisper]:
        """All that the organs have to say, together for each node; what may be large goes alone."""
        tree, light, heavy = self._tree, dict[str, list[Rumour]](), list[Whisper]()
        for node, records in tree.pushes.items():
            heavy.extend(Whisper(node, (Spread(batch),)) for batch in _batches(records))
        for node, ids in tree.names.items():
            light.setdefault(node, []).extend(Have(tuple(part)) for part in _parts(ids, IDS_MAX))
        for node, ids in tree.grafts.items():
            light.setdefault(node, []).extend(Graft(tuple(part)) for part in _parts(ids, IDS_MAX))
        for node in tree.prunes:
            light.setdefault(node, []).append(Prune())
        tree.pushes, tree.names, tree.grafts, tree.prunes = {}, {}, {}, {}
        said = self._members.out + self._repair.out
        self._members.out, self._repair.out = [], []
        for node, message in said:
            if isinstance(message, Page | Pulled):
                heavy.append(Whisper(node, (message,)))
            else:
                light.setdefault(node, []).append(message)
        for node, messages in light.items():
            heavy.extend(Whisper(node, tuple(part)) for part in _parts(messages, MESSAGES_MAX))
        return heavy


def _cost(message: Rumour) -> int:
    """Points of the allowance, beside those of its records."""
    match message:
        case Have():
            return 1 + len(message.ids) // 64
        case Graft():
            return 1 + len(message.ids)
        case PageRequest():
            return 1 + len(message.prefixes)
        case Pull():
            return 1 + len(message.digests) // 2
        case _:
            return 1


def _is_due(when: float | None, now: float) -> bool:
    return when is not None and when <= now


def _parts(items: list[T], size: int) -> list[list[T]]:
    return [items[place : place + size] for place in range(0, len(items), size)]


def _batches(records: list[Gossiped]) -> Iterator[tuple[Gossiped, ...]]:
    batch: list[Gossiped] = []
    octets = 0
    for record in records:
        size = size_of(record)
        if batch and (octets + size > SPREAD_OCTETS_MAX or len(batch) >= SPREAD_RECORDS_MAX):
            yield tuple(batch)
            batch, octets = [], 0
        batch.append(record)
        octets += size
    if batch:
        yield tuple(batch)
