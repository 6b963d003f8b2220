"""The mesh as the directory's carrier: announcements as gossiped records, durable here before they are spread.

What means nothing to other nodes is kept on this one: a change of its feed, as with the embedded carrier.  A name of
which others knew is then a tombstone to them.

Source: design, Contracts, 3 and 5.
"""

from collections.abc import Iterator

from waypost.assembly.carrier import BUSY_RETRY, RECORDS, ROOM, WAITING_MAX
from waypost.drip.gossip import Restated
from waypost.drip.mesh import Mesh
from waypost.engine import Answer, Apply, Commit, Effect, Rows
from waypost.rd.evictions import ROOM as EVICTED
from waypost.rd.evictions import is_sound as is_eviction
from waypost.rd.questions import Announce, Busy, Exclude
from waypost.rd.sound import is_sound
from waypost.record import Change
from waypost.record.feed import Feed


class Carrying:
    """Whoever takes the effects puts the directory's rows into the commits that have its changes."""

    def __init__(self, ids: Iterator[int], feed: Feed, mesh: Mesh) -> None:
        self._ids = ids
        self._feed = feed
        self._mesh = mesh
        self._kept: dict[int, int] = {}  # change of this node alone -> the directory's question
        self._silent: dict[int, None] = {}  # questions of our own to the mesh
        self._untold: dict[bytes, Exclude] = {}  # names, each once: no more than evictions
        self._tell_at: float | None = None
        self._effects: list[Effect] = []

    def announce(self, id: int, announce: Announce | Exclude, now: float) -> Busy | None:
        """Busy at once, or None: applied() will name the question once the change is durable and applied.

        Of an exclusion nobody is told: it is announced now, or as soon as it can be.
        """
        if isinstance(announce, Exclude):
            self._untold[announce.key] = announce
            self._tell(now)
            return None
        gossiped = self._mesh.store.get(ROOM, announce.key)
        is_gossiped = gossiped is not None and gossiped.value is not None
        if not announce.local and (is_gossiped or announce.value is not None):
            return self._gossip(id, announce, now)
        if is_gossiped:  # others are not to know it any more
            silent = next(self._ids)
            busy = self._gossip(silent, Announce(announce.key, None, 0), now)
            if busy is not None:
                return busy
            self._silent[silent] = None
        return self._keep(id, announce, now)

    def is_told(self, key: bytes) -> bool:
        """Whether the mesh has an eviction of that name."""
        return self._mesh.store.get(EVICTED, key) is not None

    def _tell(self, now: float) -> None:
        for key, exclude in list(self._untold.items()):
            id = next(self._ids)
            if self._mesh.announce(id, EVICTED, key, exclude.value, exclude.expires_ms, now) is not None:
                self._tell_at = now + BUSY_RETRY
                return
            self._silent[id] = None
            del self._untold[key]
        self._tell_at = None

    def handle_timer(self, now: float) -> None:
        if self._tell_at is not None and now >= self._tell_at:
            self._tell(now)

    def next_timer(self) -> float | None:
        return self._tell_at

    def applied(self, change: Change, now: float) -> int | None:
        """It is durable and its readers have it; the question of announce() that it answers, if there is one."""
        if change.seq in self._kept:
            return self._kept.pop(change.seq)
        self._mesh.apply(change, now)
        question = None
        for effect in self._mesh.take_effects():
            if not isinstance(effect, Answer):
                self._effects.append(effect)
            elif effect.id in self._silent:
                del self._silent[effect.id]
            else:
                question = effect.id
        return question

    def uncarried(self, rows: Rows) -> list[bytes]:
        """What the directory's table has and the mesh does not."""
        return [key for key, _ in rows.scan(RECORDS) if self._mesh.store.get(ROOM, key) is None]

    def overruled(self, rows: Rows) -> Iterator[tuple[bytes, bytes | None, int]]:
        """Of whose rows the mesh says something else, what, and when that was said: key, value, milliseconds."""
        for key, value in rows.scan(RECORDS):
            said = self._mesh.store.get(ROOM, key)
            if said is not None and said.value != value:
                yield key, said.value, said.hlc.hlc.wall_ms

    def take_effects(self) -> list[Effect]:
        """Of the mesh, too."""
        effects, self._effects = self._effects, []
        return effects + self._mesh.take_effects()

    def _gossip(self, id: int, announce: Announce, now: float) -> Busy | None:
        restates = None if announce.restates is None else Restated(announce.restates, announce.said_ms)
        busy = self._mesh.announce(id, ROOM, announce.key, announce.value, announce.expires_ms, now, restates=restates)
        return None if busy is None else Busy(busy.retry_s, busy.detail)

    def _keep(self, id: int, announce: Announce, now: float) -> Busy | None:
        """On this node alone."""
        if len(self._kept) >= WAITING_MAX:
            return Busy(BUSY_RETRY, "the disk is behind: come back later")
        self._effects += self._mesh.take_effects()  # what is numbered first goes first
        store = self._mesh.store
        change, puts = self._feed.add(ROOM, announce.key, store.tick(now), announce.value, store.wall_ms(now))
        self._kept[change.seq] = id
        self._effects.append(Commit(puts=puts, then=(Apply(change),)))
        return None


def takes(namespace: str, key: bytes, value: bytes) -> bool:
    """Whether a gossiped namespace takes a record."""
    return (namespace == ROOM and is_sound(key, value)) or (namespace == EVICTED and is_eviction(key, value))
