"""This node's own log: entries in, signed heads out.

One commit is under way at a time; what comes meanwhile is in the next, under one signature.  What nobody waits for
gathers for GATHER_S after the commit before, so that many entries share what a commit costs.  Tiles are durable before
rows, and a head is a row of the same transaction as its entries, compared with the one before it: two that write to one
disk, or a disk put back under a running node, cannot both go on.  The signed head leaves in `then`, never before.

It signs only while `may_sign` says so (opening.py); until then entries wait.  What others have of it and this node has
lost is adopted, up to a head that it signed itself: nothing of that is in the log before all of it is on disk.  A
commit that comes by the feed once more is in the log already: a row remembers each that was adopted and did not come.

A file that is not what was written is `damage`: nothing is signed any more, and what is read of it is None.

Source: notes on the ledger, 2, 4 (group commit) and 5 (APPEND-ONLY, ONE-HEAD, STORE-FIRST).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from waypost.codec import u64
from waypost.engine import Apply, Commit, Effect, Put, PutFile, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger.archive import Archive
from waypost.ledger.checkpoint import Checkpoint, Head, read_head, require_signed, sign_head
from waypost.ledger.entry import Kind
from waypost.ledger.index import TABLE, found_in, is_statement
from waypost.ledger.peaks import Peaks
from waypost.ledger.questions import ROOM, Notary
from waypost.ledger.tiles import ENTRY_MAX
from waypost.ledger.tree import EMPTY, Tree
from waypost.record import Change
from waypost.record import Kind as Happened

NODE: Final = "ledger_node"
TAIL: Final = "ledger_tail"
HEAD: Final = b"head"  # in the table NODE: the last head that was signed, a note
DAY: Final = b"day"  # the last entry of a day
_DAY_LINE: Final = Kind.DAY.line
ADOPTED: Final = b"adopted/"  # and before the index key of a commit that the feed did not bring yet -> uint64 index
FOLDER: Final = "tiles/log"
BATCH_MAX: Final = 1_024  # entries of one commit
BATCH_OCTETS_MAX: Final = 8 << 20
WAITING_MAX: Final = 16_384  # entries past which `is_full`
WAITING_OCTETS_MAX: Final = 64 << 20
GATHER_S: Final = 0.2  # from the beginning of a commit to that of the next, at least, while nobody waits for it

T = TypeVar("T")
Puts = Callable[[int], tuple[Put, ...]]  # of the entry's index: rows to write with it
Then = Callable[[int, Head], tuple[Effect, ...]]  # of its index and the head that it is in: once it is durable


def no_puts(_: int) -> tuple[Put, ...]:
    return ()


def nothing_then(_: int, __: Head) -> tuple[Effect, ...]:
    return ()


@dataclass(slots=True)
class _Waiting:
    entry: bytes
    puts: Puts
    then: Then
    once: bytes


@dataclass(slots=True)
class _Adoption:
    """`entries` are to be written next; `puts` wait until all up to `head` are."""

    head: Head
    entries: list[bytes] = field(default_factory=list)
    puts: dict[tuple[str, bytes], Put] = field(default_factory=dict)


class Log:
    """`head` is the last one that is durable; `day` is the last entry of a day, None before the first.

    Entries that begin with one of `read` are given by take_read().
    """

    def __init__(self, notary: Notary, read: tuple[bytes, ...] = ()) -> None:
        self._read = read
        self._unread: list[tuple[int, bytes]] = []
        self.head: Head | None = None
        self.day: bytes | None = None
        self.may_sign = False
        self.damage = ""  # a sentence
        self._notary = notary
        self._archive = Archive(FOLDER, TAIL, b"", notary.read)
        self._waiting: list[_Waiting] = []
        self._octets = 0  # of what waits
        self._hurries = False  # somebody waits for some of it
        self._rests_until = -math.inf  # or until somebody waits
        self._writing: tuple[int, Head | None] | None = None  # under way: the size, and what `head` is then
        self._adoption: _Adoption | None = None
        self._adopted: dict[bytes, int] = {}

    def restore(self, rows: Rows) -> None:
        """Raises StoreError if tiles and rows are not those of the head."""
        self._archive.restore(rows)
        data = rows.get(NODE, HEAD)
        if data is not None:
            self.head = self._read_head(data)
        size, root = (self.head.size, self.head.root) if self.head else (0, EMPTY)
        if (self._archive.size, self._archive.tree.root()) != (size, root):
            raise StoreError(
                f"the log has {self._archive.size} entries that are not those of its head of size {size}",
                hint="put back a backup of the whole state directory",
            )
        self.day = rows.get(NODE, DAY)
        first = max(0, size - BATCH_MAX)  # what was durable and may not have been read
        self._to_read(first, self._archive.entries(first, size))
        for key, value in rows.scan(NODE, ADOPTED):
            if not key.startswith(ADOPTED):
                break
            self._adopted[key.removeprefix(ADOPTED)] = int.from_bytes(value, "big")

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return self.head.size if self.head else 0

    @property
    def tree(self) -> Tree:
        return self._archive.tree

    @property
    def is_full(self) -> bool:
        """Take no new work that ends in an entry."""
        return len(self._waiting) >= WAITING_MAX or self._octets >= WAITING_OCTETS_MAX

    @property
    def is_waiting(self) -> bool:
        """Some entries are in no commit yet."""
        return bool(self._waiting)

    @property
    def is_writing(self) -> bool:
        """A commit is under way, or entries that were adopted are to be written next."""
        return self._writing is not None or (self._adoption is not None and bool(self._adoption.entries))

    def add(
        self,
        entry: bytes,
        puts: Puts = no_puts,
        then: Then = nothing_then,
        *,
        once: bytes = b"",
        hurries: bool = True,
    ) -> None:
        """Enter it, in the order of the calls.  Raises WireError if it is too long for a log.

        `once` is its key in the index, for what may have been adopted: then it is not entered again, and `puts` and
        `then` are of where it is.  What does not hurry may wait for others (GATHER_S).
        """
        if len(entry) > ENTRY_MAX:
            raise WireError(f"an entry of {len(entry)} octets is too long for a log: {ENTRY_MAX} at most")
        self._waiting.append(_Waiting(entry, puts, then, once))
        self._octets += len(entry)
        self._hurries = self._hurries or hurries

    @property
    def adopted(self) -> int:
        """Entries that are durable, with those that were adopted and wait for the rest."""
        return self._archive.durable

    def peaks(self) -> Peaks:
        """Of the tree of those."""
        assert self._writing is None
        return Peaks.read(self._archive.size, self._archive.tree.tile)

    def adopt(self, entries: list[bytes], head: Head) -> None:
        """Take back entries that follow: they are in the log of `head`, which this node signed and has lost.

        The caller has verified both.  Once they are durable (`adopted` says so) it brings the next.
        """
        assert not self.may_sign
        assert self._writing is None
        if self._adoption is None:
            self._adoption = _Adoption(head)
        assert self._adoption.head == head
        self._adoption.entries = entries

    def take_effects(self, wall_ms: int, now: float) -> list[Effect]:
        if self._writing is not None:
            return []
        if self._adoption is not None and self._adoption.entries:
            return [self._adopt(self._adoption, wall_ms)]
        when = self.next_timer()
        if when is None or when > now:
            return []
        self._rests_until = now + GATHER_S
        return [self._commit(self._take(), wall_ms)]

    def next_timer(self) -> float | None:
        """When there is something for take_effects()."""
        if not self._waiting or not self.may_sign or self._writing is not None:
            return None
        return -math.inf if self._hurries or len(self._waiting) >= BATCH_MAX else self._rests_until

    def applied(self, change: Change) -> bool:
        """Whether it was said of this log that something is durable."""
        if change.room != ROOM or change.key != HEAD:
            return False
        assert self._writing is not None
        (size, self.head), self._writing = self._writing, None
        self._archive.settle(size)
        return True

    def take_read(self) -> list[tuple[int, bytes]]:
        """Those that are durable now, each with its index.  Those of the last commit come again after a restart."""
        size = self.size
        taken = [each for each in self._unread if each[0] < size]
        del self._unread[: len(taken)]
        return taken

    def entry(self, index: int) -> bytes | None:
        """None for one that is not durable."""
        found = self.entries(index, index + 1) if 0 <= index < self.size else None
        return found[0] if found else None

    def entries(self, start: int, stop: int) -> list[bytes] | None:
        """Those of them that are durable."""
        return self._read_from_disk(lambda: self._archive.entries(start, min(stop, self.size)))

    def serve(self, path: str) -> bytes | None:
        """A tile of what is durable."""
        return self._read_from_disk(lambda: self._archive.serve(path))

    def root(self, size: int) -> bytes | None:
        return self._read_from_disk(lambda: self.tree.root(size))

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...] | None:
        return self._read_from_disk(lambda: self.tree.inclusion(index, size))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...] | None:
        return self._read_from_disk(lambda: self.tree.consistency(old, new))

    def is_damaged(self, error: StoreError) -> None:
        """Whoever reads the tree has found that."""
        self.damage = self.damage or f"{error}: `waypost log fsck` looks at all of it"
        self.may_sign = False

    def check(self) -> None:
        assert self._archive.size == (self._writing[0] if self._writing else self._archive.durable)
        assert self._adoption is not None or self._archive.durable == self.size

    def _read_from_disk(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except StoreError as error:
            self.is_damaged(error)
            return None

    def _take(self) -> list[_Waiting]:
        """What the next commit has of what waits."""
        number, octets = 0, 0
        for each in self._waiting[:BATCH_MAX]:
            octets += len(each.entry)
            if number and octets > BATCH_OCTETS_MAX:
                break
            number += 1
        taken, self._waiting = self._waiting[:number], self._waiting[number:]
        self._hurries = self._hurries and bool(self._waiting)
        self._octets -= sum(len(each.entry) for each in taken)
        return taken

    def _commit(self, taken: list[_Waiting], wall_ms: int) -> Commit:
        first = self._archive.size
        fresh: list[bytes] = []
        puts: list[Put] = []
        placed: list[tuple[int, Then]] = []
        for each in taken:
            index = self._adopted.pop(each.once, None)
            if index is None:
                index = first + len(fresh)
                fresh.append(each.entry)
            else:
                puts.append(Put(NODE, ADOPTED + each.once, None))
            puts += (*self._days(each.entry), *each.puts(index))
            placed.append((index, each.then))
        files, more = self._archive.extend(fresh)
        self._to_read(first, fresh)
        head = self._sign() if fresh else self.head
        assert head is not None
        then = [effect for index, then in placed for effect in then(index, head)]
        return self._write(files, (*more, *puts), head, then, wall_ms)

    def _adopt(self, adoption: _Adoption, wall_ms: int) -> Commit:
        entries, first = adoption.entries, self._archive.size
        adoption.entries = []
        files, puts = self._archive.extend(entries)
        self._to_read(first, entries)
        adoption.puts.update(((put.table, put.key), put) for put in puts)
        for index, octets in enumerate(entries, first):
            adoption.puts.update(((put.table, put.key), put) for put in self._days(octets))
            found = found_in(octets, index, wall_ms)
            if found is not None:
                key, row = found
                adoption.puts[TABLE, key] = row.put(key)
                if not is_statement(key):
                    self._adopted[key] = index
                    adoption.puts[NODE, ADOPTED + key] = Put(NODE, ADOPTED + key, u64(index))
        if self._archive.size < adoption.head.size:
            return self._write(files, (), self.head, (), wall_ms)
        self._adoption = None
        return self._write(files, tuple(adoption.puts.values()), adoption.head, (), wall_ms)

    def _to_read(self, first: int, entries: list[bytes]) -> None:
        self._unread += [
            (index, octets) for index, octets in enumerate(entries, first) if octets.startswith(self._read)
        ]

    def _days(self, octets: bytes) -> tuple[Put, ...]:
        if not octets.startswith(_DAY_LINE):
            return ()
        self.day = octets
        return (Put(NODE, DAY, octets),)

    def _sign(self) -> Head:
        notary = self._notary
        checkpoint = Checkpoint(notary.origin, self._archive.size, self._archive.tree.root())
        return sign_head(checkpoint, notary.key, notary.sign)

    def _write(
        self,
        files: tuple[PutFile, ...],
        puts: tuple[Put, ...],
        head: Head | None,
        then: Iterable[Effect],
        wall_ms: int,
    ) -> Commit:
        self._writing = self._archive.size, head
        before, after = (each.note.encode() if each else None for each in (self.head, head))
        durable = Apply(Change(0, Happened.PUT, ROOM, HEAD, self._archive.size, after, wall_ms, b""))
        puts = puts if after == before else (*puts, Put(NODE, HEAD, after))
        return Commit(files, puts, (durable, *then), expects=(Put(NODE, HEAD, before),))

    def _read_head(self, data: bytes) -> Head:
        try:
            head = read_head(data)
            require_signed(head, self._notary.key, self._notary.verify)
        except WireError as error:
            raise StoreError(f"the head of this node's log cannot be read: {error}") from error
        if head.origin != self._notary.origin:
            raise StoreError(f"the log in this directory is {head.origin}, not {self._notary.origin}")
        return head
