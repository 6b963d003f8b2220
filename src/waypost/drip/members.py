"""Who is there: heartbeats to neighbours and voters, indirect probes, clocks, and this node's own state.

Every BEAT_EVERY seconds a node beats to those it watches, and they answer.  Who has not been heard for MISSES_MAX beats
is looked for by PROBERS others; if none of them is answered either within a beat, it counts as inactive, until it is
heard again.  Whom the transport cannot reach is looked for at once.  Anything that comes from a node is a sign of life.
A node that hears hardly anybody suspects itself first (Lifeguard): its patience grows with `strain`, which rises when
others hear whom it did not, and falls with each beat that all answered.

Neighbours: everybody, in a small network; in a larger one those at fixed distances on a ring in the order of the
SHA-256 of the names, so that both ends of a link know of it.  A node watches its neighbours and the voters.

States are the draft's: `sync` until repaired() says that we are level with the others, `active`, and `inactive` while
no quorum of voters has been heard for QUORUM_WITHIN seconds: for votes, that is; what is read and gossiped goes on.

Clocks: an answer tells the other's wall clock, half a round trip ago.  skew_ms() is the median of what the others'
clocks are ahead of ours; past 30 s it is we who are wrong.

Source: notes on DRiP, 1.6, 4.5; Das, Gupta, Motivala, SWIM (2002); Dadgar, Phillips, Currey, Lifeguard (2017).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from statistics import median_low
from typing import Final

from waypost.drip.history import CAPABILITY as HISTORY
from waypost.drip.messages import TALLY
from waypost.drip.rumours import WIRE, Beat, Probe, Probed, Rumour, State
from waypost.engine import Deadlines
from waypost.record import Hlc, Member
from waypost.record.gossiped import Moment

BEAT_EVERY: Final = 5.0  # seconds, give or take a tenth
MISSES_MAX: Final = 3
PROBERS: Final = 3
STRAIN_MAX: Final = 2
QUORUM_WITHIN: Final = 30.0  # seconds
ALL_MAX: Final = 8  # nodes up to which everybody is everybody's neighbour
SENT_MAX: Final = 32  # beats whose answers tell how far the other is
PROBED_FOR_MAX: Final = 16  # who asked us to look whether one node is there
CAPABILITIES: Final = ("gossip", "repair", HISTORY, TALLY)


@dataclass(slots=True)
class Other:
    """What is known of another node.  Times are the caller's clock; `misses` are beats since it was last heard."""

    heard_at: float | None = None
    misses: int = 0
    inactive: bool = False
    probing: bool = False
    offset_ms: int | None = None  # its wall clock less ours
    rtt: float | None = None  # seconds, of the last beat
    root: str = ""
    state: State = "sync"
    wire: int = 0
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Own:
    """What a beat tells of this node, as it is now."""

    wall_ms: int
    hlc: Hlc
    root: str


class Members:
    """Messages out are gathered in `out`; `up` and `down` are who came and went since the owner last cleared them."""

    def __init__(self, rng: Random, name: str, incarnation: int) -> None:
        self._rng = rng
        self._name = name
        self._incarnation = incarnation
        self._epoch = 0
        self._others: dict[str, Other] = {}
        self._voters: tuple[str, ...] = ()
        self._neighbours: tuple[str, ...] = ()
        self._watched: tuple[str, ...] = ()
        self._deadlines: Deadlines[str] = Deadlines()  # "" is the beat; a name is the end of its probing
        self._count = 0
        self._sent: dict[int, tuple[float, int]] = {}  # beats of late -> when, and our wall clock then
        self._asked_for: dict[str, dict[str, None]] = {}  # node -> who wants to know whether it is there
        self._repaired = False
        self._began_at: float | None = None
        self.strain = 0
        self.out: list[tuple[str, Rumour]] = []
        self.up: list[str] = []
        self.down: list[str] = []

    @property
    def neighbours(self) -> tuple[str, ...]:
        return self._neighbours

    @property
    def are_all_neighbours(self) -> bool:
        """In a small network, where each node is every other's."""
        return len(self._neighbours) == len(self.alive)

    @property
    def alive(self) -> tuple[str, ...]:
        """All others that are not known to be inactive."""
        return tuple(name for name, other in self._others.items() if not other.inactive)

    def capable(self, capability: str) -> tuple[str, ...]:
        """Those of them that can do it, by what their beats say, or the roster until one is heard."""
        return tuple(name for name in self.alive if capability in self._others[name].capabilities)

    def other(self, name: str) -> Other | None:
        return self._others.get(name)

    def set_members(self, epoch: int, names: Iterable[str], voters: Iterable[str], now: float) -> None:
        """The roster of `epoch`; this node may be in it or not."""
        self._epoch, self._voters = epoch, tuple(voters)
        names = sorted({*names, *self._voters} - {self._name})
        self._others = {name: self._others.get(name) or Other() for name in names}
        if self._began_at is None:
            self._began_at = now
            self._deadlines.set("", now + self._rng.uniform(0.0, 1.0))
        self._choose()

    def stated(self, member: Member) -> None:
        """What the roster says that a node can, until it says so itself: it is known before a beat was heard."""
        other = self._others.get(member.name)
        if other is not None and not other.wire:
            other.capabilities = member.capabilities

    def repaired(self) -> None:
        """This node is level with the others."""
        self._repaired = True

    def state(self, now: float) -> State:
        if self._began_at is not None and now - self._began_at > QUORUM_WITHIN and not self.has_quorum(now):
            return "inactive"
        return "active" if self._repaired else "sync"

    def has_quorum(self, now: float) -> bool:
        """A majority of the voters has been heard of late, ourselves among them if we are one."""
        heard = sum(name == self._name or self._is_fresh(name, now) for name in self._voters)
        return heard > len(self._voters) // 2 or not self._voters

    def skew_ms(self, now: float) -> int:
        """How far the clocks of those heard of late are ahead of ours: the lower median, our own among them."""
        fresh = (other for name, other in self._others.items() if self._is_fresh(name, now))
        return median_low([0, *(other.offset_ms for other in fresh if other.offset_ms is not None)])

    def rtt(self) -> float | None:
        """Seconds to the neighbours and back, the median of the last beats."""
        seen = [self._others[name].rtt for name in self._neighbours]
        return median_low([rtt for rtt in seen if rtt is not None] or [0.0]) or None

    def hear(self, name: str, now: float) -> bool:
        """Something came from it.  False for a stranger."""
        other = self._others.get(name)
        if other is None:
            return False
        other.heard_at, other.misses = now, 0
        self._deadlines.clear(name)
        other.probing = False
        if other.inactive:
            other.inactive = False
            self.up.append(name)
            self._choose()
        return True

    def missed(self, name: str, now: float) -> None:
        """The transport cannot reach it; can others?"""
        other = self._others.get(name)
        if other is not None and not (other.inactive or other.probing):
            self._look_for(name, other, now)

    def beat(self, own: Own, now: float) -> None:
        """Beat now to all that are watched: something has changed that they should know."""
        beat = self._next_beat(own, now)
        self.out.extend((name, beat) for name in self._watched)

    def receive_beat(self, name: str, beat: Beat, own: Own, now: float) -> None:
        """hear() came before it."""
        other = self._others[name]
        other.root, other.state = beat.root, beat.state
        other.wire, other.capabilities = beat.wire, beat.capabilities
        if not beat.answer:
            self.out.append((name, self._beat(beat.count, own, now, answer=True)))
            return
        sent = self._sent.get(beat.count)
        if sent is not None:
            when, wall_ms = sent
            other.rtt = now - when
            other.offset_ms = beat.wall_ms - wall_ms - round(other.rtt * 500)
        for asker in self._asked_for.pop(name, ()):
            self.out.append((asker, Probed(name)))

    def receive_probe(self, name: str, probe: Probe, own: Own, now: float) -> None:
        if probe.target not in self._others:
            return
        askers = self._asked_for.setdefault(probe.target, {})
        askers[name] = None
        if len(askers) > PROBED_FOR_MAX:
            del askers[next(iter(askers))]  # it asked first, and may ask again
        self.out.append((probe.target, self._next_beat(own, now)))

    def receive_probed(self, probed: Probed, now: float) -> None:
        other = self._others.get(probed.target)
        if other is not None and other.probing:
            if other.misses > MISSES_MAX:
                self.strain = min(STRAIN_MAX, self.strain + 1)  # others hear it: perhaps it is we who are slow
            self.hear(probed.target, now)

    def handle_timer(self, own: Own, now: float) -> None:
        for name in self._deadlines.pop_due(now):
            if name:
                self._give_up(name)
            else:
                self._deadlines.set("", now + BEAT_EVERY * self._rng.uniform(0.9, 1.1))
                self._look(now)
                self.beat(own, now)

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def check(self) -> None:
        assert self._name not in self._others
        assert set(self._watched) <= self._others.keys()
        assert len(self._sent) <= SENT_MAX
        assert all(len(askers) <= PROBED_FOR_MAX for askers in self._asked_for.values())
        assert self._asked_for.keys() <= self._others.keys()

    def _look(self, now: float) -> None:
        """Who has missed too many beats?"""
        patience = MISSES_MAX * (1 + self.strain)
        missed = False
        for name in self._watched:
            other = self._others[name]
            missed = missed or other.misses > 0
            other.misses += 1
            if other.misses > patience and not (other.inactive or other.probing):
                self._look_for(name, other, now)
        if not missed:
            self.strain = max(0, self.strain - 1)

    def _look_for(self, name: str, other: Other, now: float) -> None:
        other.probing = True
        self._deadlines.set(name, now + BEAT_EVERY * (1 + self.strain))
        helpers = [helper for helper in self.alive if helper != name]
        for helper in self._rng.sample(helpers, min(PROBERS, len(helpers))):
            self.out.append((helper, Probe(name)))

    def _give_up(self, name: str) -> None:
        other = self._others.get(name)
        if other is not None and other.probing:
            other.probing, other.inactive = False, True
            self.down.append(name)
            self._choose()

    def _choose(self) -> None:
        """Neighbours among the living; watched are these, the voters, and the inactive ones we should be linked to."""
        self._neighbours = neighbours_of(self._name, self.alive)
        wanted = dict.fromkeys((*self._neighbours, *neighbours_of(self._name, self._others), *self._voters))
        self._watched = tuple(name for name in wanted if name in self._others)
        self._asked_for = {name: askers for name, askers in self._asked_for.items() if name in self._others}
        for name in self._others:
            if name not in wanted:
                self._others[name].misses = 0

    def _is_fresh(self, name: str, now: float) -> bool:
        other = self._others.get(name)
        return other is not None and other.heard_at is not None and now - other.heard_at <= QUORUM_WITHIN

    def _next_beat(self, own: Own, now: float) -> Beat:
        """One that is to be answered."""
        self._count += 1
        self._sent[self._count] = now, own.wall_ms
        self._sent.pop(self._count - SENT_MAX, None)
        return self._beat(self._count, own, now, answer=False)

    def _beat(self, count: int, own: Own, now: float, *, answer: bool) -> Beat:
        return Beat(
            count=count,
            answer=answer,
            state=self.state(now),
            incarnation=self._incarnation,
            epoch=self._epoch,
            wall_ms=max(0, own.wall_ms),
            hlc=Moment.of(own.hlc),
            root=own.root,
            wire=WIRE,
            capabilities=CAPABILITIES,
        )


def neighbours_of(name: str, others: Iterable[str]) -> tuple[str, ...]:
    """Those at distances 1, n^(1/3) and n^(2/3) on the ring, both ways; everybody where there are few."""
    ring = sorted({*others, name}, key=lambda each: sha256(each.encode()).digest())
    size, place = len(ring), ring.index(name)
    if size <= ALL_MAX:
        return tuple(each for each in ring if each != name)
    steps = (1, round(size ** (1 / 3)), round(size ** (2 / 3)))
    chosen = dict.fromkeys(ring[(place + step * way) % size] for step in steps for way in (1, -1))
    return tuple(each for each in chosen if each != name)
