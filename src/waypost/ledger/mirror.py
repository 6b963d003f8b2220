"""A copy of each peer's log: who holds the entries can prove a fork between two sizes, and give a node back its own.

Follows the heads that this node's witness holds.  A chunk of bundles at a time is fetched, with the few tiles of hashes
that connect it to the head, and kept only if together they have the head's root: nothing of it is trusted before.  The
log's own node is asked first, then the mirrors of the others.  What was wrong or missing is counted, and proves nothing
against anybody.  An origin that is frozen is followed no further, and served up to where it stood.

A copy that this node's disk has damaged is given up, and all of it is fetched again; it is kept where nobody could be
asked for it, or it is frozen.

Source: C2SP tlog-tiles; notes on the ledger, L4 and 5.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from waypost.codec import u64
from waypost.engine import Apply, Ask, Commit, Deadlines, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger.archive import SIZE, Archive
from waypost.ledger.checkpoint import Head, read_head
from waypost.ledger.peaks import Peaks
from waypost.ledger.questions import ROOM, Notary, Reply
from waypost.ledger.tiles import WIDTH, Tile
from waypost.ledger.transfer import CHUNK_BUNDLES, Transfer
from waypost.ledger.tree import Tree
from waypost.record import Change, Kind

TABLE: Final = "ledger_mirror"
FOLDER: Final = "tiles/mirror"
UNDER_WAY_MAX: Final = 4  # origins fetched from at once
READ_MAX: Final = 32  # entries that are given to be read at once: each may cost a signature
RETRY_S: Final = 10.0  # after nobody had what is missing; twice as long after each time more
RETRY_MAX_S: Final = 600.0
NOT_FOUND: Final = Reply(404, b"there is no such file\n")
DAMAGED: Final = Reply(503, b"the disk is damaged\n")
_ORIGIN: Final = b"/origin"  # rows beside those of the archive, after the digest
_HEAD: Final = b"/head"
_READ: Final = b"/read"  # u64: the entries before it were read by whoever takes them
_WRITTEN: Final = b"mirror/"  # the key of a change, before the origin


class Log(Protocol):
    @property
    def node(self) -> str: ...


class Logs(Protocol):
    """The nodes of the network, and which log is whose."""

    @property
    def known(self) -> Mapping[str, Log]: ...
    def of_origin(self, origin: str) -> Log | None: ...


class Frozen(Protocol):
    """There is evidence against an origin: what is larger than `size` counts for nothing."""

    @property
    def size(self) -> int: ...


@dataclass(slots=True)
class _Copy:
    """Of one origin.  `head` is the last one of which all is here, `next` one of which all is on its way to the disk.

    `tried` counts who was asked in vain.
    """

    digest: bytes
    archive: Archive
    head: Head | None = None
    next: Head | None = None
    is_known: bool = False  # its origin is on the disk
    is_damaged: bool = False
    tried: int = 0
    wait_s: float = RETRY_S
    rests: bool = False  # until it is time to ask again


class Mirror:
    """`ids` numbers its questions; `heads` are what this node's witness holds, `logs` say whose they are.

    Entries that begin with one of `read` are given to be read.
    """

    def __init__(
        self,
        notary: Notary,
        ids: Iterator[int],
        *,
        heads: Mapping[str, Head],
        logs: Logs,
        frozen: Callable[[str], Frozen | None],
        read: tuple[bytes, ...] = (b"",),
    ) -> None:
        self._read = read
        self._notary = notary
        self._ids = ids
        self._heads = heads
        self._logs = logs
        self._frozen = frozen
        self._copies: dict[str, _Copy] = {}  # by origin, the one that was served longest ago first
        self._origins: dict[str, str] = {}  # by the hex digest
        self._under_way: dict[str, int] = {}  # by origin; 0 while it is being written
        self._transfers: dict[int, Transfer] = {}
        self._retries: Deadlines[str] = Deadlines()
        self._effects: list[Effect] = []
        self._unread: dict[str, list[tuple[int, bytes]]] = {}  # by origin, what is to be given, the last first
        self._now = 0.0
        self._wrong = self._missing = self._damaged = 0

    def restore(self, rows: Rows, now: float) -> None:
        self._now = now
        for key, value in rows.scan(TABLE):
            if key[32:] == _ORIGIN:
                copy = self._copy(value.decode())
                copy.is_known = True
                try:
                    copy.archive.restore(rows)
                    whole = rows.get(TABLE, copy.digest + _HEAD)
                    copy.head = read_head(whole) if whole is not None else None
                    first = int.from_bytes(rows.get(TABLE, copy.digest + _READ) or b"", "big")
                    self._to_read(value.decode(), first, copy.archive.entries(first, copy.archive.size))
                except (StoreError, WireError):
                    copy.archive = self._archive(copy.digest)
                    self.is_damaged(value.decode())

    def size(self, origin: str) -> int:
        copy = self._copies.get(origin)
        return copy.archive.size if copy is not None else 0

    def tree(self, origin: str) -> Tree | None:
        """None if there is none, or it is known to be damaged."""
        copy = self._copies.get(origin)
        return copy.archive.tree if copy is not None and not copy.is_damaged else None

    def root_at(self, origin: str, size: int) -> bytes | None:
        """Of the first `size` leaves, if they are here."""
        tree = self.tree(origin)
        if tree is None or size > tree.size:
            return None
        try:
            return tree.root(size)
        except StoreError:
            self.is_damaged(origin)
            return None

    def entries(self, origin: str, start: int, stop: int) -> list[bytes]:
        """Those of them that are here."""
        stop = min(stop, self.size(origin))
        try:
            return self._copies[origin].archive.entries(start, stop) if start < stop else []
        except StoreError:
            self.is_damaged(origin)
            return []

    def is_damaged(self, origin: str) -> None:
        """Whoever reads the tree has found that."""
        copy = self._copies[origin]
        self._damaged += not copy.is_damaged
        copy.is_damaged = True

    def serve(self, digest: str, path: str) -> Reply:
        """GET of mirror/<digest>/<path>; `digest` is that of the origin, in hex."""
        origin = self._origins.get(digest)
        if origin is None:
            return NOT_FOUND
        copy, size = self._copies[origin], self._stop(origin)
        if path == "checkpoint":
            if copy.head is None or (size is not None and copy.head.size > size):
                return NOT_FOUND
            return Reply(200, copy.head.note.encode())
        try:
            tile = Tile.decode(path)
        except WireError:
            return NOT_FOUND
        if size is not None and not tile.is_within(size):
            return Reply(403, f"the log is frozen at {size}\n".encode())
        try:
            data = copy.archive.serve(path)
        except StoreError:
            self.is_damaged(origin)
            return DAMAGED
        return Reply(200, data, "application/octet-stream") if data is not None else NOT_FOUND

    def follow(self, now: float) -> None:
        """Begin with what is behind its head; to be called when there are new heads."""
        self._now = now
        for origin in self._heads:
            self._copy(origin)
        for origin in list(self._copies):
            if len(self._under_way) >= UNDER_WAY_MAX:
                return
            self._begin(origin, now)

    def answered(self, id: int, result: object, now: float) -> bool:
        transfer = self._transfers.pop(id, None)
        if transfer is None:
            return False
        reply = result if isinstance(result, Reply) else None
        wanted, asked = transfer.next(), transfer.asked
        assert wanted is not None
        assert asked is not None
        if self._stop(transfer.origin) is not None:
            self._end(transfer.origin, now)
        elif reply is not None and reply.status == 200:
            self._took(transfer, wanted, reply.body, now)
        elif reply is not None and reply.status == 404 and asked.width < WIDTH:
            self._ask(transfer, asked.full)  # a partial tile may go when it is full
        else:
            self._missing += 1
            self._try_another(transfer, now)
        return True

    def applied(self, change: Change, now: float) -> bool:
        """A chunk is durable."""
        if change.room != ROOM or not change.key.startswith(_WRITTEN):
            return False
        origin = change.key.removeprefix(_WRITTEN).decode()
        assert isinstance(change.version, int)
        copy = self._copies[origin]
        copy.archive.settle(change.version)
        copy.head, copy.next = copy.next or copy.head, None
        self._end(origin, now)
        return True

    def handle_timer(self, now: float) -> None:
        for origin in self._retries.pop_due(now):
            self._copies[origin].rests = False
        self.follow(now)

    def next_timer(self) -> float | None:
        return self._now if self._unread else self._retries.next()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def take_read(self) -> list[tuple[str, list[tuple[int, bytes]]]]:
        """An origin that has grown, and entries that were checked and are being kept, each with its index; READ_MAX at
        most.

        While there are more, next_timer() is due; no more of that log is fetched.  Those of the last chunk come again
        after a restart.
        """
        if not self._unread:
            return []
        origin, unread = next(iter(self._unread.items()))
        given = [unread.pop() for _ in range(min(READ_MAX, len(unread)))]
        if not unread:
            del self._unread[origin]
            self.follow(self._now)
        return [(origin, given)]

    def counters(self) -> dict[str, int]:
        return {
            "ledger_mirror_wrong": self._wrong,
            "ledger_mirror_missing": self._missing,
            "ledger_mirror_damaged": self._damaged,
        }

    def gauges(self, now: float) -> dict[str, int]:
        behind = sum(max(0, head.size - self.size(origin)) for origin, head in self._heads.items())
        return {
            "ledger_mirrored": sum(copy.archive.size for copy in self._copies.values()),
            "ledger_mirror_behind": behind,
        }

    def _copy(self, origin: str) -> _Copy:
        copy = self._copies.get(origin)
        if copy is None:
            digest = sha256(origin.encode()).digest()
            copy = self._copies[origin] = _Copy(digest, self._archive(digest))
            self._origins[digest.hex()] = origin
        return copy

    def _archive(self, digest: bytes) -> Archive:
        return Archive(f"{FOLDER}/{digest.hex()}", TABLE, digest, self._notary.read)

    def _stop(self, origin: str) -> int | None:
        frozen = self._frozen(origin)
        return None if frozen is None else frozen.size

    def _begin(self, origin: str, now: float) -> None:
        head, copy = self._heads.get(origin), self._copies[origin]
        if copy.is_damaged and origin not in self._under_way:
            self._give_up(origin, copy)
        if copy.is_damaged or head is None or head.size <= copy.archive.size or origin in self._under_way or copy.rests:
            return
        if origin in self._unread or self._stop(origin) is not None:
            return
        sources = self._sources(origin)
        if not sources:
            return
        first = copy.archive.size
        stop = min(head.size, (first // WIDTH + CHUNK_BUNDLES) * WIDTH)
        peaks = Peaks.read(first, copy.archive.tree.tile)
        prefix = "" if copy.tried == 0 else f"mirror/{copy.digest.hex()}/"
        transfer = Transfer(origin, head, first, stop, peaks, sources[copy.tried % len(sources)], prefix)
        self._copies[origin] = self._copies.pop(origin)
        self._proceed(transfer, now)

    def _give_up(self, origin: str, copy: _Copy) -> None:
        """A damaged copy, if there is somebody to ask for another."""
        if not self._sources(origin) or self._stop(origin) is not None:
            return
        copy.archive, copy.head, copy.is_damaged = self._archive(copy.digest), None, False
        self._unread.pop(origin, None)
        rows = {SIZE: u64(0), _HEAD: None, _READ: u64(0)}
        self._effects.append(Commit(puts=tuple(Put(TABLE, copy.digest + key, value) for key, value in rows.items())))

    def _sources(self, origin: str) -> list[str]:
        """Whom to ask: the node whose log it is, then the others; nobody if it is nobody's."""
        log = self._logs.of_origin(origin)
        if log is None:
            return []
        return [log.node, *(name for name in self._logs.known if name != log.node)]

    def _proceed(self, transfer: Transfer, now: float) -> None:
        wanted = transfer.next()
        if wanted is not None:
            self._ask(transfer, wanted)
        elif transfer.is_of_head():
            self._keep(transfer)
        else:
            self._wrong += 1
            self._try_another(transfer, now)

    def _ask(self, transfer: Transfer, tile: Tile) -> None:
        id = next(self._ids)
        self._transfers[id] = transfer
        self._under_way[transfer.origin] = id
        self._effects.append(Ask(id, transfer.ask(tile)))

    def _took(self, transfer: Transfer, wanted: Tile, body: bytes, now: float) -> None:
        try:
            transfer.took(wanted, body)
        except WireError:
            self._wrong += 1
            self._try_another(transfer, now)
        else:
            self._proceed(transfer, now)

    def _keep(self, transfer: Transfer) -> None:
        origin, head = transfer.origin, transfer.head
        copy = self._copies[origin]
        files, puts = copy.archive.extend(transfer.entries, transfer.leaves)
        if not copy.is_known:
            copy.is_known = True
            puts = (*puts, Put(TABLE, copy.digest + _ORIGIN, origin.encode()))
        if copy.archive.size == head.size:
            copy.next, copy.tried = head, 0
            puts = (*puts, Put(TABLE, copy.digest + _HEAD, head.note.encode()))
        puts = (*puts, Put(TABLE, copy.digest + _READ, u64(transfer.first)))
        written = Change(0, Kind.PUT, ROOM, _WRITTEN + origin.encode(), copy.archive.size, b"", 0, b"")
        self._effects.append(Commit(files, puts, (Apply(written),)))
        self._under_way[origin] = 0
        self._to_read(origin, transfer.first, transfer.entries)
        copy.wait_s = RETRY_S

    def _to_read(self, origin: str, first: int, entries: Sequence[bytes]) -> None:
        read = [(index, octets) for index, octets in enumerate(entries, first) if octets.startswith(self._read)]
        self._unread[origin] = read[::-1]

    def _try_another(self, transfer: Transfer, now: float) -> None:
        copy = self._copies[transfer.origin]
        copy.tried += 1
        if copy.tried >= len(self._sources(transfer.origin)):
            copy.tried, copy.rests = 0, True
            self._retries.set(transfer.origin, now + copy.wait_s)
            copy.wait_s = min(2 * copy.wait_s, RETRY_MAX_S)
        self._end(transfer.origin, now)

    def _end(self, origin: str, now: float) -> None:
        self._under_way.pop(origin, None)
        self.follow(now)
