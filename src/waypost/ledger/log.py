"""This node's own log: entries in, signed heads out.

One commit is under way at a time; what comes meanwhile is in the next, under one signature.  Tiles are durable before
rows, and a head is a row of the same transaction as its entries, compared with the one before it: two that write to one
disk, or a disk put back under a running node, cannot both go on.  The signed head leaves in `then`, never before.

It signs only while `may_sign` says so (opening.py); until then entries wait.

Source: notes on the ledger, 2, 4 (group commit) and 5 (APPEND-ONLY, ONE-HEAD, STORE-FIRST).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from waypost.engine import Apply, Commit, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger.archive import Archive
from waypost.ledger.checkpoint import Checkpoint, Head, read_head, require_signed, sign_head
from waypost.ledger.questions import ROOM, Notary
from waypost.ledger.tiles import ENTRY_MAX
from waypost.ledger.tree import EMPTY, Tree
from waypost.record import Change, Kind

NODE: Final = "ledger_node"
TAIL: Final = "ledger_tail"
HEAD: Final = b"head"  # in the table NODE: the last head that was signed, a note
FOLDER: Final = "tiles/log"
BATCH_MAX: Final = 1_024  # entries of one commit
BATCH_OCTETS_MAX: Final = 8 << 20
WAITING_MAX: Final = 16_384  # entries past which `is_full`
WAITING_OCTETS_MAX: Final = 64 << 20

Puts = Callable[[int], tuple[Put, ...]]  # of the entry's index: rows to write with it
Then = Callable[[int, Head], tuple[Effect, ...]]  # of its index and the head that it is in: once it is durable


def no_puts(_: int) -> tuple[Put, ...]:
    return ()


def nothing_then(_: int, __: Head) -> tuple[Effect, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class _Waiting:
    entry: bytes
    puts: Puts
    then: Then


class Log:
    """`head` is the last one that is durable."""

    def __init__(self, notary: Notary) -> None:
        self.head: Head | None = None
        self.may_sign = False
        self._notary = notary
        self._archive = Archive(FOLDER, TAIL, b"", notary.read)
        self._waiting: list[_Waiting] = []
        self._octets = 0  # of what waits
        self._writing: Head | None = None

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

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return self._archive.durable

    @property
    def tree(self) -> Tree:
        return self._archive.tree

    @property
    def is_full(self) -> bool:
        """Take no new work that ends in an entry."""
        return len(self._waiting) >= WAITING_MAX or self._octets >= WAITING_OCTETS_MAX

    @property
    def is_idle(self) -> bool:
        """Nothing waits, and nothing is on its way to the disk."""
        return not self._waiting and self._writing is None

    def add(self, entry: bytes, puts: Puts = no_puts, then: Then = nothing_then) -> None:
        """Enter it, in the order of the calls.  Raises WireError if it is too long for a log."""
        if len(entry) > ENTRY_MAX:
            raise WireError(f"an entry of {len(entry)} octets is too long for a log: {ENTRY_MAX} at most")
        self._waiting.append(_Waiting(entry, puts, then))
        self._octets += len(entry)

    def take_effects(self, wall_ms: int) -> list[Effect]:
        if not self._waiting or self._writing is not None or not self.may_sign:
            return []
        return [self._commit(self._take(), wall_ms)]

    def applied(self, change: Change) -> bool:
        """Whether it was said of this log that a head is durable."""
        if change.room != ROOM or change.key != HEAD:
            return False
        assert self._writing is not None
        self.head, self._writing = self._writing, None
        self._archive.settle(self.head.size)
        return True

    def entry(self, index: int) -> bytes | None:
        """None for one that is not durable.  Raises StoreError."""
        return self._archive.entry(index) if 0 <= index < self.size else None

    def entries(self, start: int, stop: int) -> list[bytes]:
        return self._archive.entries(start, min(stop, self.size))

    def serve(self, path: str) -> bytes | None:
        """A tile of what is durable.  Raises StoreError."""
        return self._archive.serve(path)

    def check(self) -> None:
        durable = self.head.size if self.head else 0
        assert self._archive.durable == durable
        assert self._archive.size == (self._writing.size if self._writing else durable)

    def _take(self) -> list[_Waiting]:
        """What the next commit has of what waits."""
        number, octets = 0, 0
        for each in self._waiting[:BATCH_MAX]:
            octets += len(each.entry)
            if number and octets > BATCH_OCTETS_MAX:
                break
            number += 1
        taken, self._waiting = self._waiting[:number], self._waiting[number:]
        self._octets -= sum(len(each.entry) for each in taken)
        return taken

    def _commit(self, taken: list[_Waiting], wall_ms: int) -> Commit:
        notary, first = self._notary, self._archive.size
        files, puts = self._archive.extend([each.entry for each in taken])
        checkpoint = Checkpoint(notary.origin, self._archive.size, self._archive.tree.root())
        head = self._writing = sign_head(checkpoint, notary.key, notary.sign)
        note, before = head.note.encode(), self.head.note.encode() if self.head else None
        rows = [put for index, each in enumerate(taken, first) for put in each.puts(index)]
        then = [effect for index, each in enumerate(taken, first) for effect in each.then(index, head)]
        durable = Apply(Change(0, Kind.PUT, ROOM, HEAD, head.size, note, wall_ms, b""))
        return Commit(
            files, (*puts, *rows, Put(NODE, HEAD, note)), (durable, *then), expects=(Put(NODE, HEAD, before),)
        )

    def _read_head(self, data: bytes) -> Head:
        try:
            head = read_head(data)
            require_signed(head, self._notary.key, self._notary.verify)
        except WireError as error:
            raise StoreError(f"the head of this node's log cannot be read: {error}") from error
        if head.origin != self._notary.origin:
            raise StoreError(f"the log in this directory is {head.origin}, not {self._notary.origin}")
        return head
