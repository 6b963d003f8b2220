"""Spreading by Plumtree: what is new goes along a tree at once, and beside the tree only its name is told.

Every link begins in the tree (eager).  Whoever gets a message twice, from two neighbours, prunes the second link: it
becomes lazy, and carries names alone.  Whoever hears a name and not the message within GRAFT_AFTER asks one that named
it, and so puts that link into the tree.  So a message crosses each link at most once in each direction, unless it was
lost or its sender asked for it.

Where everybody is everybody's neighbour there is no tree: whose message it is brings it to all of them, and they tell
each other its name alone.  With EAGER_MIN links of each node, most would come three times.

A message is forwarded only when its receiver found it new, which the owner says: a record that did not change the
state goes nowhere, so nothing circulates for ever, whatever is forgotten here (the draft's counter dropped messages
that were overtaken, and its reset never stopped: notes, G4 and G5).  What is remembered is bounded; what was missed for
that is found by repair.

Source: Leitão, Pereira, Rodrigues, Epidemic Broadcast Trees (2007), 3; notes on DRiP, 4.3 and I12.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final, Generic, TypeVar

from waypost.engine import Deadlines

P = TypeVar("P")

LINKS_MAX: Final = 32
EAGER_MIN: Final = 3  # links that stay in the tree: messages that cross could prune the last ones
SEEN_MAX: Final = 8_192  # messages remembered, to know them again and to send them to who asks
SEEN_OCTETS_MAX: Final = 16 << 20
MISSING_MAX: Final = 4_096  # messages that were named and have not come
NAMERS_MAX: Final = 4  # neighbours remembered for each
QUEUE_MAX: Final = 4_096  # names that wait for one lazy link
LAZY_EVERY: Final = 0.1  # seconds between tellings of names
GRAFT_AFTER: Final = 0.5  # seconds, until the owner knows how far the neighbours are


@dataclass(slots=True)
class Seen(Generic[P]):
    """`source` brought it first; None: it is our own."""

    payload: P
    source: str | None
    octets: int


class Plumtree(Generic[P]):
    """Messages out are gathered in `pushes`, `names`, `grafts` and `prunes`, by neighbour, for the owner to take."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._direct = False
        self._eager: dict[str, None] = {}
        self._lazy: dict[str, None] = {}
        self._seen: dict[bytes, Seen[P]] = {}  # the oldest first
        self._octets = 0
        self._missing: dict[bytes, list[str]] = {}
        self._deadlines: Deadlines[bytes] = Deadlines()
        self._lazy_at: float | None = None
        self._queues: dict[str, dict[bytes, None]] = {}
        self.graft_after = GRAFT_AFTER  # seconds; the next neighbour is asked after as many
        self.pushes: dict[str, list[P]] = {}
        self.names: dict[str, list[bytes]] = {}
        self.grafts: dict[str, list[bytes]] = {}
        self.prunes: dict[str, None] = {}

    @property
    def eager(self) -> tuple[str, ...]:
        return tuple(self._eager)

    @property
    def lazy(self) -> tuple[str, ...]:
        return tuple(self._lazy)

    @property
    def is_silent(self) -> bool:
        """Nothing waits for its owner."""
        return not (self.pushes or self.names or self.grafts or self.prunes)

    def set_links(self, neighbours: Iterable[str], *, direct: bool = False) -> None:
        """New links begin in the tree; those that are not named any more end.

        `direct`: the neighbours are everybody, and each other's.
        """
        self._direct = direct
        wanted = dict.fromkeys(neighbours)
        for links in (self._eager, self._lazy, self._queues):
            for gone in [node for node in links if node not in wanted]:
                del links[gone]
        for node in wanted:
            if node not in self._lazy:
                self._eager[node] = None

    def knows(self, id: bytes) -> bool:
        return id in self._seen

    def publish(self, id: bytes, payload: P, octets: int, now: float, source: str | None = None) -> None:
        """It is new here, and so for our neighbours; `source` brought it, None: nobody did."""
        if id in self._seen:
            return
        self._remember(id, Seen(payload, source, octets))
        self._missing.pop(id, None)
        self._deadlines.clear(id)
        if source is not None:
            self._link(source)
        for node in (*self._eager, *self._lazy):
            if node == source:
                continue
            if source is None if self._direct else node in self._eager:
                self.pushes.setdefault(node, []).append(payload)
            else:
                self._name(node, id, now)

    def again(self, id: bytes, source: str) -> None:
        """`source` brought what we know: its link is not needed, unless it is the one by which it came first."""
        seen = self._seen.get(id)
        if seen is not None and seen.source != source and source in self._eager and len(self._eager) > EAGER_MIN:
            self.demote(source)

    def demote(self, node: str) -> None:
        """Have only names from it from now on."""
        if node in self._eager:
            del self._eager[node]
            self._lazy[node] = None
            self.prunes[node] = None

    def pruned(self, source: str) -> None:
        if source in self._eager:
            del self._eager[source]
            self._lazy[source] = None

    def grafted(self, source: str, ids: Iterable[bytes]) -> None:
        self._link(source)
        for id in dict.fromkeys(ids):
            seen = self._seen.get(id)
            if seen is not None:
                self.pushes.setdefault(source, []).append(seen.payload)

    def named(self, source: str, ids: Iterable[bytes], now: float) -> None:
        for id in ids:
            if id in self._seen:
                continue
            namers = self._missing.get(id)
            if namers is None:
                if len(self._missing) >= MISSING_MAX:
                    return
                self._missing[id] = [source]
                self._deadlines.set(id, now + self.graft_after)
            elif source not in namers and len(namers) < NAMERS_MAX:
                namers.append(source)

    def handle_timer(self, now: float) -> None:
        for id in self._deadlines.pop_due(now):
            namers = self._missing[id]
            if not namers:
                del self._missing[id]  # nobody sent it: repair will find it
                continue
            source = namers.pop(0)
            self._link(source)
            self.grafts.setdefault(source, []).append(id)
            self._deadlines.set(id, now + self.graft_after)
        if self._lazy_at is not None and now >= self._lazy_at:
            self._lazy_at = None
            for node, queue in self._queues.items():
                self.names.setdefault(node, []).extend(queue)
            self._queues = {}

    def next_timer(self) -> float | None:
        when = self._deadlines.next()
        if when is None or self._lazy_at is None:
            return self._lazy_at if when is None else when
        return min(when, self._lazy_at)

    def check(self) -> None:
        assert not self._eager.keys() & self._lazy.keys()
        assert len(self._eager) + len(self._lazy) <= LINKS_MAX
        assert len(self._seen) <= SEEN_MAX
        assert self._octets == sum(seen.octets for seen in self._seen.values()) <= SEEN_OCTETS_MAX
        assert len(self._missing) == len(self._deadlines) <= MISSING_MAX
        assert all(len(queue) <= QUEUE_MAX for queue in self._queues.values())

    def _link(self, node: str) -> None:
        """Whoever sends or is asked is in the tree, though we had not chosen it, as long as there is room."""
        if node in self._lazy:
            del self._lazy[node]
        elif node in self._eager or len(self._eager) + len(self._lazy) >= LINKS_MAX:
            return
        self._eager[node] = None
        self.prunes.pop(node, None)

    def _name(self, node: str, id: bytes, now: float) -> None:
        queue = self._queues.setdefault(node, {})
        if len(queue) < QUEUE_MAX:
            queue[id] = None
            if self._lazy_at is None:
                self._lazy_at = now + LAZY_EVERY * self._rng.uniform(0.5, 1.0)

    def _remember(self, id: bytes, seen: Seen[P]) -> None:
        self._seen[id] = seen
        self._octets += seen.octets
        while len(self._seen) > SEEN_MAX or self._octets > SEEN_OCTETS_MAX:
            oldest = next(iter(self._seen))
            self._octets -= self._seen.pop(oldest).octets
