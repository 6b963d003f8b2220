"""The mesh beside votes: announcements, spreading and repair of all records, and who is there, joined into one engine.

It is asked what the directory asks its carrier: announce() a record, and once that is durable and applied the question
is answered with ANNOUNCED.  Every change of a record, whoever made it, is applied with the next number of the node's
feed.  What other nodes say comes in by receive(); what they are to be told leaves as Ask(Whisper).

What a node may make us do is limited by an allowance; a record that does not verify costs FORGED_COST.  What goes
beyond it is dropped: repair brings it later, at our own pace.

Source: design, Contracts 1 to 5; notes on DRiP, 4.3, 4.5, 4.10, 4.11.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Final, Protocol, assert_never

from waypost.drip.allowance import POINTS_MAX, Allowance, cost_of
from waypost.drip.fetching import Fetching
from waypost.drip.gossip import SKEW_MAX, Author, Busy, IsSound, Restated, Store, Verdict
from waypost.drip.members import Members, Own
from waypost.drip.merkle import Merkle, digest_of
from waypost.drip.plumtree import Plumtree
from waypost.drip.posting import take_whispers
from waypost.drip.repair import Ended, Repair
from waypost.drip.rumours import (
    Beat,
    Graft,
    Have,
    News,
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
    size_of,
)
from waypost.engine import Answer, Ask, Effect, Rows
from waypost.record import Change, Committed, Place, Proof, Roster, Verify
from waypost.record.feed import Feed
from waypost.record.gossiped import Gossiped
from waypost.record.wire import encode

ID_SIZE: Final = 16  # octets of a record's hash that name it
FORGED_COST: Final = 20  # points of the allowance
SETTLED: Final = 1.0  # seconds without a change, before another root than ours means that something is missing
NEWS_EVERY: Final = 0.5  # seconds between beats because repair has brought something
GRAFT_TRIPS: Final = 4  # round trips until a message that was named is asked for
GRAFT_MIN: Final = 0.1  # seconds
GRAFT_MAX: Final = 1.0
CLOCK_RETRY: Final = 5  # seconds
LATER: Final = frozenset((Verdict.BUSY, Verdict.FUTURE, Verdict.STRANGER))  # the record may be taken another time


@dataclass(frozen=True, slots=True)
class Announced:
    pass


class Voted(Protocol):
    """The voted class, as far as its records are spread and repaired here."""

    def trees(self) -> Mapping[str, Merkle]:
        """Of each namespace, by name: SHA-256 of the key, the version, the record's hash."""
        ...

    def give(self, namespace: str, digests: Iterable[bytes], octets_max: int) -> list[Committed]: ...
    def learn(self, news: Committed | Proof, source: str, now: float) -> bool:
        """Whether it was new here; it is verified first."""
        ...


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
        is_sound: IsSound = lambda namespace, key, value: True,
        voted: Voted | None = None,
    ) -> None:
        self._ids = ids
        self._name = author.node
        self._network = author.network
        self._voted = voted
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
            is_sound=is_sound,
        )
        self._tree: Plumtree[News] = Plumtree(rng)
        self._members = Members(rng, author.node, author.incarnation)
        self._rng = rng
        self._repair = Repair(rng, self)
        self._fetching = Fetching()
        self._allowances: dict[str, Allowance] = {}
        self._level: dict[str, None] = {}  # organisations of peers that we have caught up with
        self._is_level = False
        self._changed_at = 0.0
        self._news_at = 0.0
        self._differing: dict[str, int] = {}  # beats in a row with another root than ours
        self._roots: dict[str, str] = {}  # of others, as they said last
        self._compared: dict[str, tuple[str, str]] = {}  # with whom repair found nothing for us: our root, and theirs
        self._postponed: dict[str, None] = {}  # whose records we would take later
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
        for member in members:
            self._members.stated(member)
        self._allowances = {name: each for name, each in self._allowances.items() if name in self._organisations}
        for by_node in (self._differing, self._roots, self._compared, self._postponed):
            by_node.clear()
        self._tree.set_links(self._members.neighbours, direct=self._members.are_all_neighbours)
        self._follow_members(now)

    def announce(
        self,
        id: int,
        namespace: str,
        key: bytes,
        value: bytes | None,
        expires_ms: int,
        now: float,
        *,
        restates: Restated | None = None,
    ) -> Busy | None:
        """Busy at once, or None: then Answer(id, Announced()) follows the Apply of the change."""
        skew_ms = self._members.skew_ms(now)
        if abs(skew_ms) > SKEW_MAX:
            return Busy(CLOCK_RETRY, f"this node's clock is {skew_ms / 1000:.0f} s off from the others'")
        return self.store.announce(id, namespace, key, value, expires_ms, now, restates=restates)

    def publish(self, news: Committed | Proof, now: float) -> None:
        """Everybody should know what this node committed, or found out: it is durable."""
        self._changed_at = now
        self._tree.publish(self._id_of(news), news, size_of(news), now)

    def fetch(self, node: str, place: Place, now: float) -> None:
        """Ask a node, which may be this one, and another that is there for the newest version of a voted key."""
        others = [name for name in self._members.alive if name not in (node, self._name)]
        asked = [self._rng.choice(others)] if others else []
        for name in [*asked, node]:
            if name != self._name:
                self._fetching.ask(name, place, now)

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
            if self._allowance(node, now).take(cost_of(message), now):
                self._receive(node, message, now)
            else:
                self._count("flooded")
        self._follow_members(now)

    def missed(self, node: str, now: float) -> None:
        """The transport cannot reach it."""
        self._members.missed(node, now)

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

    def is_heard(self, node: str, now: float) -> bool:
        """Whether there is a sign of life of it at this moment."""
        other = self._members.other(node)
        return other is not None and other.heard_at == now

    def state(self, now: float) -> State:
        return self._members.state(now)

    def root(self) -> str:
        """Over the roots of all spaces with records in them: equal on two nodes if they hold the same."""
        roots = (f"{space} {tree.root().hex()}\n".encode() for space, tree in self.trees().items() if len(tree))
        return sha256(b"".join(roots)).hexdigest()

    def trees(self) -> dict[str, Merkle]:
        """Of each space, by name."""
        trees = {f"gossiped/{name}": tree for name, tree in self.store.trees().items()}
        voted = self._voted.trees() if self._voted is not None else {}
        return trees | {f"voted/{name}": voted[name] for name in sorted(voted)}

    def tree(self, space: str) -> Merkle | None:
        """Namespaces of the gossiped class are configured; those of the voted class come with their first record."""
        tree = self.trees().get(space)
        may_come = self._voted is not None and space.startswith("voted/")
        return Merkle() if tree is None and may_come else tree

    def give(self, space: str, digests: Iterable[bytes], octets_max: int, now: float) -> list[Gossiped | Committed]:
        kind, _, name = space.partition("/")
        given: list[Gossiped | Committed] = []
        if kind == "gossiped":
            given += self.store.give(name, digests, octets_max, now)
        elif self._voted is not None:
            given += self._voted.give(name, digests, octets_max)
        return given

    @property
    def members(self) -> Members:
        return self._members

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        effects.extend(self.store.take_effects())
        said = self._members.out + self._repair.out + self._fetching.out
        if self._tree.is_silent and not said:  # nearly every message asks
            return effects
        self._members.out, self._repair.out, self._fetching.out = [], [], []
        effects.extend(Ask(next(self._ids), whisper) for whisper in take_whispers(self._tree, said))
        return effects

    def check(self) -> None:
        for organ in (self.store, self._tree, self._members, self._repair, self._fetching):
            organ.check()
        assert self._allowances.keys() <= self._organisations.keys()

    # what others say

    def _receive(self, node: str, message: Rumour, now: float) -> None:
        match message:
            case Spread():
                self._receive_spread(node, message, now)
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

    def _receive_spread(self, node: str, spread: Spread, now: float) -> None:
        for record in spread.records:
            self._receive_news(node, record, now)
        for committed in spread.commits:
            self._receive_news(node, committed, now)
        for proof in spread.proofs:
            self._receive_news(node, proof, now)

    def _receive_news(self, node: str, news: News, now: float) -> None:
        if not self._allowance(node, now).take(1, now):
            self._count("flooded")
        elif not isinstance(news, Gossiped):
            id = self._id_of(news)
            if self._tree.knows(id) or not self._learn(node, news, now):
                self._tree.again(id, node)
            else:
                self._tree.publish(id, news, size_of(news), now, node)
        else:
            verdict, hash = self._accept(node, news, now)
            if verdict is Verdict.NEW:
                self._tree.publish(hash[:ID_SIZE], news, size_of(news), now, node)
            elif verdict is Verdict.KNOWN:
                self._tree.again(hash[:ID_SIZE], node)

    def _accept(self, node: str, record: Gossiped, now: float) -> tuple[Verdict, bytes]:
        verdict, hash = self.store.accept(record, now)
        self._count(verdict.value)
        if verdict is Verdict.FORGED:
            self._tree.demote(node)
            self._allowance(node, now).points -= FORGED_COST
        return verdict, hash

    def _learn(self, node: str, news: Committed | Proof, now: float) -> bool:
        """Whether it was new to the voted class."""
        is_new = self._voted is not None and self._voted.learn(news, node, now)
        self._count("learnt" if is_new else "known")
        if is_new:
            self._changed_at = now
        return is_new

    def _receive_pulled(self, node: str, pulled: Pulled, now: float) -> None:
        if self._fetching.is_asked(node, pulled.id):
            for committed in self._fetching.receive(node, pulled):
                self._learn(node, committed, now)
            return
        if not self._repair.is_asked(node, pulled.id):
            self._count("unasked")
            return
        verdicts = [self._accept(node, record, now)[0] for record in pulled.records]
        if not LATER.isdisjoint(verdicts):
            self._postponed[node] = None
        changed = verdicts.count(Verdict.NEW)
        changed += sum(self._learn(node, committed, now) for committed in pulled.commits)
        digests = [digest_of(record.key) for record in pulled.records]
        digests += [digest_of(committed.record.key.encode()) for committed in pulled.commits]
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
        self._roots[node] = beat.root
        differs = self._differing[node] > 0 and (now - self._changed_at > SETTLED or self._differing[node] > 1)
        differs = differs and self._compared.get(node) != (own.root, beat.root)
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
            self._tree.set_links(members.neighbours, direct=members.are_all_neighbours)
        ended, self._repair.ended = self._repair.ended, []
        for end in ended:
            if end.complete:
                self._level[self._organisations.get(end.peer, "")] = None
            self._note_end(end)
            if end.changed and now - self._news_at > NEWS_EVERY:
                self._news_at = now
                self._members.beat(self._own(now), now)
        if not self._is_level:
            there = {self._organisations[name] for name in members.alive}
            self._is_level = len(self._level) >= min(2, max(1, len(there))) or not self._others()
            if self._is_level:
                members.repaired()

    def _note_end(self, end: Ended) -> None:
        """What differs and brings us nothing, as where another carries other namespaces, is not compared for ever."""
        later = self._postponed.pop(end.peer, "") is None
        if end.complete and not end.changed and not later and end.peer in self._roots:
            self._compared[end.peer] = self.root(), self._roots[end.peer]

    def _others(self) -> bool:
        return any(name != self._name for name in self._organisations)

    def _id_of(self, news: Committed | Proof) -> bytes:
        """A record is named as its certificate says: so it is, once it is verified."""
        if isinstance(news, Committed):
            certificate, record = news.certificate, news.record
            return bytes.fromhex(certificate.matter.hash if certificate else record.hash(self._network))[:ID_SIZE]
        return sha256(encode(news)).digest()[:ID_SIZE]

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


def _is_due(when: float | None, now: float) -> bool:
    return when is not None and when <= now
