"""What every protocol engine is made of: effects out, calls in, timers as data.

An engine is told what happened and answers with what to do.  It opens no socket, reads no clock,
starts no task and logs nothing.  After every call, take_effects() is carried out in order before
the next call, and next_timer() says when handle_timer() is due.

Times are float seconds on the caller's monotonic clock; wall-clock time is integer milliseconds
since 1970 and comes by handle_clock().

Source: design, Contracts.
"""

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:  # floors above: named in the contract, never imported at run time
    from waypost.identity import Identity
    from waypost.record import Change

K = TypeVar("K", bound=Hashable)


class Endpoint(NamedTuple):
    """A host's address in text, its port, and for link-local IPv6 the interface's number.

    `session` tells apart what comes from one address: the number of the connection or security association, 0 for
    bare datagrams.  What is remembered for one is never found by another (RFC 7252, 4.1).  A named tuple and not a
    dataclass: it is hashed for every datagram.
    """

    host: str
    port: int
    scope: int = 0
    session: int = 0


@dataclass(frozen=True, slots=True)
class Path:
    """Where bytes came from, and so where the answer goes.

    `link` is the driver's number for its socket or connection.  `validated` says that the peer has
    shown to be at its address (always so on a connection, never on a bare datagram).  `message_max`
    marks a connection, with the octets of the largest message its peer takes.  `group` marks a
    datagram that came to a multicast address; `local` is then ours to answer from.  `protection` is for whoever
    protects messages above the transport: what answers on this path are bound to.
    """

    transport: str
    peer: Endpoint
    local: Endpoint
    link: int
    who: "Identity"
    validated: bool
    message_max: int | None = None
    group: bool = False
    protection: object = field(default=None, compare=False, repr=False)


# Effects and what they carry are never changed.  They are not frozen, for one or more is made for every datagram, and
# to freeze costs four times as much.


@dataclass(slots=True)
class Put:
    """One row to write; `value` None removes it."""

    table: str
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class PutFile:
    """One file to write whole; `name` is relative to the state directory, with forward slashes."""

    name: str
    data: bytes


@dataclass(slots=True)
class Send:
    """Put one datagram (or message of a stream) on `path`."""

    path: Path
    data: bytes


@dataclass(slots=True)
class Ask:
    """A question to another room or to the world; answered once by answered(id, …), unless we crash.

    The asker owns the type of `body` and says there what `result` may be.
    """

    id: int
    body: object


@dataclass(slots=True)
class Answer:
    """The result of a question that was put to this engine under `id`."""

    id: int
    result: object


@dataclass(slots=True)
class Apply:
    """Hand `change` to apply(): it is on disk now."""

    change: "Change"


@dataclass(slots=True)
class Commit:
    """Files durable, then the puts in one transaction, then the effects of `then`, in that order.

    Commits are first in, first out; an empty one is a barrier.  `expects` are rows as they must be before it, value
    None where there must be none: where one is not, somebody else writes here, nothing of it happens, and the node
    stops.
    """

    files: tuple[PutFile, ...] = ()
    puts: tuple[Put, ...] = ()
    then: "tuple[Effect, ...]" = ()
    expects: tuple[Put, ...] = ()


Effect = Send | Ask | Answer | Apply | Commit


def unmet(batch: Iterable[Commit], get: Callable[[str, bytes], bytes | None]) -> Put | None:
    """The first row that a commit expects and that is not so; `get` reads rows as they are before the batch."""
    written: dict[tuple[str, bytes], bytes | None] = {}
    for commit in batch:
        for put in commit.expects:
            place = put.table, put.key
            if (written[place] if place in written else get(*place)) != put.value:
                return put
        written.update(((put.table, put.key), put.value) for put in commit.puts)
    return None


class Rows(Protocol):
    """The durable rows, as restore() reads them."""

    def get(self, table: str, key: bytes) -> bytes | None: ...
    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of every row, or of those whose key is greater than `after`, ordered by key."""
        ...


class Engine(Protocol):
    """The calls a driver or the simulator makes."""

    def restore(self, rows: Rows, now: float) -> None:
        """Once, before anything else."""
        ...

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None: ...
    def answered(self, id: int, result: object, now: float) -> None: ...
    def apply(self, change: "Change", now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def handle_clock(self, now: float, wall_ms: int) -> None:
        """After restore(), and whenever the wall clock steps."""
        ...

    def next_timer(self) -> float | None: ...
    def take_effects(self) -> list[Effect]: ...
    def check(self) -> None:
        """Assert the invariants; the simulator calls it after each step."""
        ...


class Deadlines(Generic[K]):
    """Timers as data: at most one deadline for each key.

    Moving a deadline later costs one dict store: its place in the heap is corrected when it comes
    up.  The heap never holds more than twice the live keys and HEAP_SLACK.
    """

    HEAP_SLACK = 64

    def __init__(self) -> None:
        self._when: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0  # breaks ties in the order the deadlines were set

    def __len__(self) -> int:
        return len(self._when)

    def entries(self) -> int:
        """Places taken in the heap."""
        return len(self._heap)

    def set(self, key: K, when: float) -> None:
        old = self._when.get(key)
        self._when[key] = when
        if old is None or when < old:
            self._push(when, key)

    def clear(self, key: K) -> None:
        if self._when.pop(key, None) is not None and len(self._heap) > 2 * len(self._when) + self.HEAP_SLACK:
            self._rebuild()

    def next(self) -> float | None:
        """The earliest deadline, or None."""
        while self._heap:
            when, _, key = self._heap[0]
            wanted = self._when.get(key)
            if wanted == when:
                return when
            heapq.heappop(self._heap)  # cleared, or moved since
            if wanted is not None and wanted > when:
                self._push(wanted, key)
        return None

    def pop_due(self, now: float, limit: int | None = None) -> list[K]:
        """Remove the deadlines at or before `now`, `limit` of them at most; return the keys, earliest first."""
        due: list[K] = []
        while len(due) != limit and (when := self.next()) is not None and when <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._when[key]
            due.append(key)
        return due

    def _push(self, when: float, key: K) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 2 * len(self._when) + self.HEAP_SLACK:
            self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [(when, count, key) for count, (key, when) in enumerate(self._when.items(), self._count + 1)]
        self._count += len(self._heap)
        heapq.heapify(self._heap)
