"""The gossiped class: records that are always writable, and alike everywhere once everybody has heard of them.

A node announces; the record is signed, durable, applied and only then answered and spread.  What other nodes accepted
comes in by accept().  Of two records of a key the later wins, by (hlc, node).  So whatever the order in which records
come, the same records leave the same state; a record is passed on only if it changed the state, so none can circulate
for ever, whatever is remembered of messages.

Ends: past `expires_ms` a record is forgotten by every node for itself, and not taken again.  Nothing that was removed
comes back, for no record ends before the one it replaced would have: a tombstone lives as long as what it removed, and
TOMBSTONE_MIN at least, which covers what its writer had not heard of.  Only a node that was cut off for longer than
that can bring back what it alone had heard: it was never removed by anyone who had seen it.

A record may be restated by its node, such as when a lifetime has ended: that counts as said right after what it
restates, so whatever anybody has said since is the last word, whenever we hear of it.

Our clock follows another's only to replace its record: else one node whose clock is ahead by what is still allowed
would pull the others along, until those whose clocks are behind refuse what these sign.

Bounds: a key, a value, the records that one node signed (of those the latest are kept, by (hlc, node), so that all keep
the same ones), the namespaces (they are configured), and a time at most SKEW_MAX ahead of our clock.

In single-writer namespaces a node writes only of itself: the key is its name, or begins with it and a slash.

Source: design, Contracts 1, 3, 5 and 7; notes on DRiP, 0 (9), 4.5 (clock skew), 4.10.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import msgspec

from waypost.drip.merkle import Merkle, digest_of
from waypost.drip.rumours import size_of
from waypost.engine import Apply, Commit, Deadlines, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.record import Change, Hlc, HlcClock, Sign, Verify
from waypost.record.feed import Feed
from waypost.record.gossiped import KEY_MAX, VALUE_MAX, Gossiped, Moment, Order, hash_of
from waypost.record.wire import decode, encode

RECORDS: Final = "gossip"  # its rows: namespace, a zero octet, key
RECORD_MAX: Final = 96 << 10  # octets in canonical JSON
SKEW_MAX: Final = 30_000  # milliseconds
TOMBSTONE_MIN: Final = 24 * 3_600_000  # milliseconds
LIFETIME_MIN: Final = 60_000  # milliseconds
WAITING_MAX: Final = 2_048  # changes on their way to the disk
FORGET_MAX: Final = 500  # records in one call
BUSY_RETRY: Final = 1  # seconds

IsSound = Callable[[str, bytes, bytes], bool]  # whether a namespace takes a key with a value
KeyOf = Callable[[str, int], str | None]  # the key of a node in an incarnation, that of past ones too, in hexadecimal


class Verdict(Enum):
    NEW = "new"
    KNOWN = "known"  # that very record, or one that replaced it
    EXPIRED = "expired"
    FUTURE = "future"  # its clock is ahead of ours by more than SKEW_MAX
    FORGED = "forged"
    STRANGER = "stranger"  # no node that we know of signed it
    NOT_ITS_OWN = "not-its-own"
    UNSOUND = "unsound"  # no record of its namespace
    FULL = "full"  # its node has later records, as many as it may have
    BUSY = "busy"  # our disk is behind


@dataclass(frozen=True, slots=True)
class Busy:
    """Nothing changed; come back after `retry_s` seconds."""

    retry_s: int
    detail: str


@dataclass(frozen=True, slots=True)
class Restated:
    """It is no news to whoever has `value`, and comes right after that, or at `said_ms` if that is later."""

    value: bytes  # empty: of a tombstone
    said_ms: int


@dataclass(frozen=True, slots=True)
class Held:
    """A record with what was computed of it."""

    record: Gossiped
    digest: bytes  # of its key
    hash: bytes

    @property
    def order(self) -> Order:
        return self.record.hlc.hlc.pack(), self.record.node, self.hash


@dataclass(frozen=True, slots=True)
class Applied:
    """`question` was waiting for this change; `held` is what it announced, to be spread now."""

    question: int
    held: Held


@dataclass(slots=True)
class Space:
    """A namespace."""

    tree: Merkle = field(default_factory=Merkle)
    records: dict[bytes, Held] = field(default_factory=dict)  # by digest


@dataclass(frozen=True, slots=True)
class Author:
    """This node, as it signs."""

    network: str
    node: str
    incarnation: int
    sign: Sign


class Store:
    """`records_max` is how many records one node may have signed; a node refuses to accept more itself.

    Nodes that differ in it, or in `is_sound`, are never level."""

    def __init__(
        self,
        author: Author,
        verify: Verify,
        key_of: KeyOf,
        feed: Feed,
        namespaces: Iterable[str],
        *,
        single_writer: Iterable[str] = (),
        records_max: int = 100_000,
        is_sound: IsSound = lambda namespace, key, value: True,
    ) -> None:
        self._author = author
        self._verify = verify
        self._is_sound = is_sound
        self._key_of = key_of
        self._feed = feed
        self._single_writer = frozenset(single_writer)
        self._records_max = records_max
        self._spaces = {name: Space() for name in sorted({*namespaces, *self._single_writer})}
        self._signed: dict[str, int] = {}  # records held, by the node that signed them
        self._oldest: dict[str, list[tuple[Order, str, bytes]]] = {}  # of nodes that are at their limit, a heap
        self._expiries: Deadlines[tuple[str, bytes]] = Deadlines()  # wall-clock milliseconds
        self._clock = HlcClock()
        self._wall_ms = 0
        self._read_at = 0.0  # when the wall clock was read, on the caller's clock
        self._waiting: dict[int, tuple[int, Held] | None] = {}  # change -> question and what it announced
        self._announced: dict[tuple[str, bytes], Held] = {}  # the last one that is on its way to the disk
        self._effects: list[Effect] = []

    def records(self) -> list[Gossiped]:
        return [held.record for space in self._spaces.values() for held in space.records.values()]

    @property
    def hlc(self) -> Hlc:
        return self._clock.last

    def restore(self, rows: Rows, now: float) -> None:
        """What is on our own disk was checked when it came; of other namespaces nothing is kept.  Raises StoreError."""
        gone: list[Put] = []
        for key, value in rows.scan(RECORDS):
            try:
                record = decode(value, _decoder, RECORD_MAX)
            except WireError as error:
                raise StoreError(f"the gossiped record {key!r} cannot be read: {error}") from error
            if record.namespace in self._spaces:
                if record.node == self._author.node:
                    self._clock.observe(record.hlc.hlc)
                held = self._held(record)
                if self._make_room(held, now):
                    self._hold(held)
            else:
                gone.append(Put(RECORDS, key, None))
        parts = [tuple(gone[place : place + FORGET_MAX]) for place in range(0, len(gone), FORGET_MAX)]
        self._effects += [Commit(puts=part) for part in parts]

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._read_at, self._wall_ms = now, wall_ms

    def wall_ms(self, now: float) -> int:
        return self._wall_ms + round((now - self._read_at) * 1000)

    def is_near(self, time: Hlc, now: float) -> bool:
        """Whether another's clock is at most SKEW_MAX ahead of ours."""
        return time.wall_ms <= self.wall_ms(now) + SKEW_MAX

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
        """Busy at once, or None: applied() will name the question once the record is durable and applied.

        The key, the value and the namespace are the caller's to check: they are asserted.
        """
        assert namespace in self._spaces, namespace
        assert len(key) <= KEY_MAX, key
        assert len(value or b"") <= VALUE_MAX, key
        assert self._may_write(namespace, key, self._author.node), "a node writes of itself alone"
        wall_ms, digest = self.wall_ms(now), digest_of(key)
        if len(self._waiting) >= WAITING_MAX:
            return Busy(BUSY_RETRY, "the disk is behind: come back later")
        if self._clock.last.wall_ms > wall_ms + SKEW_MAX:
            return Busy(BUSY_RETRY, "this node's clock has stepped back, and others would not take what it signs now")
        before = self._latest(namespace, digest)
        if restates is not None and before is not None and (before.record.value or b"") != restates.value:
            return Busy(BUSY_RETRY, "somebody has said something newer, which is on its way to the disk")
        adds = before is None or before.record.node != self._author.node
        if adds and self._signed.get(self._author.node, 0) + len(self._announced) >= self._records_max:
            return Busy(BUSY_RETRY, f"this node has signed {self._records_max} records and may have no more")
        if restates is not None:
            time = Hlc(restates.said_ms, 0)
            time = time if before is None else max(time, before.record.hlc.hlc.next())
        else:
            time = self.tick(now, before)
        least = wall_ms + (TOMBSTONE_MIN if value is None else LIFETIME_MIN)
        record = Gossiped(
            namespace=namespace,
            key=key,
            value=value,
            expires_ms=max(expires_ms, least, 0 if before is None else before.record.expires_ms),
            hlc=Moment.of(time),
            node=self._author.node,
            incarnation=self._author.incarnation,
            signature="",
        )
        to_sign = record.to_sign(self._author.network)
        record = msgspec.structs.replace(record, signature=self._author.sign(to_sign).hex())
        held = Held(record, digest, hash_of(to_sign))
        self._announced[namespace, digest] = held
        self._save(held, (id, held), now)
        return None

    def tick(self, now: float, before: Held | None = None) -> Hlc:
        """Later than what this node said, and than `before`."""
        if before is not None:
            self._clock.observe(before.record.hlc.hlc)
        return self._clock.tick(self.wall_ms(now))

    def accept(self, record: Gossiped, now: float) -> tuple[Verdict, bytes]:
        """A record that another node signed, from whoever brought it: and its hash if it is NEW or KNOWN, else empty.

        What costs most is looked at last.
        """
        space = self._spaces.get(record.namespace)
        key = self._key_of(record.node, record.incarnation)
        wall_ms = self.wall_ms(now)
        if space is None or key is None:
            return Verdict.STRANGER, b""
        if not self.is_near(record.hlc.hlc, now):
            return Verdict.FUTURE, b""
        if record.expires_ms <= wall_ms:
            return Verdict.EXPIRED, b""
        if not self._may_write(record.namespace, record.key, record.node):
            return Verdict.NOT_ITS_OWN, b""
        digest = digest_of(record.key)
        last = self._latest(record.namespace, digest)
        to_sign = record.to_sign(self._author.network)
        held = Held(record, digest, hash_of(to_sign))
        if last is not None and held.order <= last.order:
            return Verdict.KNOWN, held.hash
        if len(self._waiting) >= WAITING_MAX:
            return Verdict.BUSY, b""
        if not self._verify(bytes.fromhex(key), bytes.fromhex(record.signature), to_sign):
            return Verdict.FORGED, b""
        if record.value is not None and not self._is_sound(record.namespace, record.key, record.value):
            return Verdict.UNSOUND, b""
        if not self._make_room(held, now):
            return Verdict.FULL, b""
        self._hold(held)
        self._save(held, None, now)
        return Verdict.NEW, held.hash

    def applied(self, change: Change) -> Applied | None:
        """The change is durable: what was announced counts from now on, and may be seen by others."""
        waited = self._waiting.pop(change.seq)
        if waited is None:
            return None
        question, held = waited
        place = held.record.namespace, held.digest
        if self._announced.get(place) is held:
            del self._announced[place]
        now_held = self._spaces[held.record.namespace].records.get(held.digest)
        if now_held is None or held.order > now_held.order:
            self._hold(held)
        return Applied(question, held)

    def get(self, namespace: str, key: bytes) -> Gossiped | None:
        held = self._spaces[namespace].records.get(digest_of(key))
        return None if held is None else held.record

    def trees(self) -> dict[str, Merkle]:
        """Of each namespace, by name."""
        return {name: space.tree for name, space in self._spaces.items()}

    def give(self, namespace: str, digests: Iterable[bytes], octets_max: int, now: float) -> list[Gossiped]:
        """As many of the records as fit, in order: one at least, if there is one."""
        space, wall_ms = self._spaces.get(namespace), self.wall_ms(now)
        given: list[Gossiped] = []
        for digest in digests if space is not None else ():
            held = space.records.get(digest) if space is not None else None
            if held is None or held.record.expires_ms <= wall_ms:
                continue
            octets_max -= size_of(held.record)
            if given and octets_max < 0:
                break
            given.append(held.record)
        return given

    def handle_timer(self, now: float) -> None:
        """Forget what has expired."""
        if len(self._waiting) >= WAITING_MAX:
            return
        for namespace, digest in self._expiries.pop_due(self.wall_ms(now), FORGET_MAX):
            held = self._spaces[namespace].records[digest]
            self._drop(held)
            self._forget(held, now)

    def next_timer(self) -> float | None:
        expires_ms = self._expiries.next()
        if expires_ms is None or len(self._waiting) >= WAITING_MAX:  # then applied() comes first
            return None
        return self._read_at + (expires_ms - self._wall_ms) / 1000

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def check(self) -> None:
        counts: dict[str, int] = {}
        for space in self._spaces.values():
            assert len(space.tree) == len(space.records)
            for held in space.records.values():
                counts[held.record.node] = counts.get(held.record.node, 0) + 1
        assert counts == {node: count for node, count in self._signed.items() if count}
        assert all(count <= self._records_max for count in counts.values())
        assert len(self._expiries) == len(self.records())

    def _may_write(self, namespace: str, key: bytes, node: str) -> bool:
        return namespace not in self._single_writer or key.partition(b"/")[0] == node.encode()

    def _latest(self, namespace: str, digest: bytes) -> Held | None:
        """Of what is held and what was announced and is not durable yet."""
        held, announced = self._spaces[namespace].records.get(digest), self._announced.get((namespace, digest))
        if held is None or announced is None:
            return announced if held is None else held
        return max(held, announced, key=lambda each: each.order)

    def _held(self, record: Gossiped) -> Held:
        return Held(record, digest_of(record.key), hash_of(record.to_sign(self._author.network)))

    def _hold(self, held: Held) -> None:
        """It is the key's record now."""
        record, digest = held.record, held.digest
        space = self._spaces[record.namespace]
        before = space.records.get(digest)
        if before is not None:
            self._signed[before.record.node] -= 1
        space.records[digest] = held
        space.tree.put(digest, record.hlc.hlc.pack(), held.hash)
        self._signed[record.node] = self._signed.get(record.node, 0) + 1
        self._expiries.set((record.namespace, digest), record.expires_ms)
        if record.node in self._oldest:
            self._push_oldest(held)

    def _drop(self, held: Held) -> None:
        space = self._spaces[held.record.namespace]
        del space.records[held.digest]
        space.tree.remove(held.digest)
        self._signed[held.record.node] -= 1
        self._expiries.clear((held.record.namespace, held.digest))

    def _make_room(self, held: Held, now: float) -> bool:
        """Of a node's records the latest are kept.  False if `held` is not one of them."""
        node = held.record.node
        before = self._spaces[held.record.namespace].records.get(held.digest)
        if self._signed.get(node, 0) < self._records_max or (before is not None and before.record.node == node):
            return True
        heap = self._oldest.setdefault(node, [])
        if not heap:
            self._fill_oldest(node)
        while True:
            order, namespace, digest = heap[0]
            oldest = self._spaces[namespace].records.get(digest)
            if oldest is not None and oldest.order == order:
                break
            heapq.heappop(heap)
        if held.order < oldest.order:
            return False
        heapq.heappop(heap)
        self._drop(oldest)
        self._forget(oldest, now)
        return True

    def _push_oldest(self, held: Held) -> None:
        heap = self._oldest[held.record.node]
        heapq.heappush(heap, (held.order, held.record.namespace, held.digest))
        if len(heap) > 2 * self._records_max:
            self._fill_oldest(held.record.node)

    def _fill_oldest(self, node: str) -> None:
        self._oldest[node][:] = [
            (held.order, name, digest)
            for name, space in self._spaces.items()
            for digest, held in space.records.items()
            if held.record.node == node
        ]
        heapq.heapify(self._oldest[node])

    def _save(self, held: Held, waiting: tuple[int, Held] | None, now: float) -> None:
        record = held.record
        row = Put(RECORDS, _row(record), encode(record))
        self._commit(record, record.value, row, waiting, now)

    def _forget(self, held: Held, now: float) -> None:
        """The row goes; the feed tells of it unless the record was a tombstone, which it told of already."""
        row = Put(RECORDS, _row(held.record), None)
        if held.record.value is None:
            self._effects.append(Commit(puts=(row,)))
        else:
            self._commit(held.record, None, row, None, now)

    def _commit(
        self, record: Gossiped, value: bytes | None, row: Put, waiting: tuple[int, Held] | None, now: float
    ) -> None:
        change, puts = self._feed.add(record.namespace, record.key, record.hlc.hlc, value, self.wall_ms(now))
        self._waiting[change.seq] = waiting
        self._effects.append(Commit(puts=(row, *puts), then=(Apply(change),)))


_decoder: Final = msgspec.json.Decoder(Gossiped)


def _row(record: Gossiped) -> bytes:
    return record.namespace.encode() + b"\0" + record.key
