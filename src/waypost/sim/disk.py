"""A disk that forgets what was not synced.

Each batch of commits is one checksummed record of a log, and a `PutFile` is one before it.  What
was written and not synced when the power fails survives by pages: each is kept, lost or torn.
Recovery reads the records up to the first that does not match its checksum, which covers the
record before it too, and makes durable what it has read.

record: uint32 size, uint32 checksum, then
    uint8 1; Put puts<0..2^32-1>;                                        one transaction
    uint8 2; opaque name<0..2^16-1>; opaque data<0..2^32-1>;             one file
Put: opaque table<0..255>; opaque key<0..2^16-1>; uint8 has_value; opaque value<0..2^32-1>;

With `sync=False` commits are acknowledged all the same and a power cut loses them: the control
that shows that a test would notice.
"""

import zlib
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from waypost.codec import Reader, opaque, u8, u32, vector
from waypost.engine import Commit, Put, unmet
from waypost.errors import StoreError, WireError

PAGE_SIZE: Final = 4096  # octets
COMPACTION_MIN: Final = 256 << 10  # octets the log grows by, beyond doubling, before it is written anew
_CHAIN: Final = 0x57415950  # the checksum before the first record
_TRANSACTION: Final = 1
_FILE: Final = 2


class Disk:
    """Rows and files as they are on disk.  One batch at a time: begin(), time passes, finish().

    Set `full` and `slow` (a factor on the seconds a batch takes) at any time.
    """

    def __init__(
        self, rng: Random, *, sync: bool = True, commit_min: float = 0.0005, commit_max: float = 0.005
    ) -> None:
        self.full = False
        self.slow = 1.0
        self.files: dict[str, bytes] = {}
        self.lost = 0  # octets that power cuts took from the log
        self._rng = rng
        self._sync = sync
        self._commit_min = commit_min
        self._commit_max = commit_max
        self._tables: dict[str, dict[bytes, bytes]] = {}
        self._log = bytearray()
        self._synced = 0  # octets of the log that survive anything
        self._chain = _CHAIN
        self._compact_at = COMPACTION_MIN
        self._batch: Sequence[Commit] = ()
        self._before = (0, _CHAIN)  # length and chain of the log before the batch
        self._failure: str | None = None
        self._unmet: Put | None = None  # what the batch expects and does not find

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._tables.get(table, {}).get(key)

    def read_file(self, name: str) -> bytes | None:
        """What a commit wrote under `name`."""
        return self.files.get(name)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(row for row in self._tables.get(table, {}).items() if not after or row[0] > after))

    @property
    def size(self) -> int:
        """Octets of the log."""
        return len(self._log)

    def fail(self, *, happened: bool) -> None:
        """The next batch will be reported as failed: it did not happen, or it did all the same."""
        self._failure = "happened" if happened else "did not happen"

    def mend(self) -> None:
        """Neither full nor slow, and no batch will fail."""
        self.full = False
        self.slow = 1.0
        self._failure = None

    def begin(self, batch: Sequence[Commit]) -> float:
        """Write the batch, not synced yet; return the seconds until finish() is due."""
        assert not self._batch, "one batch at a time"
        self._batch = batch
        self._before = (len(self._log), self._chain)
        self._unmet = unmet(batch, self.get)
        if self._unmet is not None:
            return self.slow * self._commit_min
        for commit in batch:
            for file in commit.files:
                self._append(_file(file.name, file.data))
        puts = [put for commit in batch for put in commit.puts]
        if puts:
            self._append(u8(_TRANSACTION) + vector(4, puts, _put))
        return self.slow * self._rng.uniform(self._commit_min, self._commit_max)

    def finish(self) -> None:
        """The batch is durable.  Raises StoreError if it failed, or says so; then nothing more is written."""
        batch, self._batch = self._batch, ()
        failure, self._failure = self._failure, None
        if self._unmet is not None:
            raise StoreError(f"a row of {self._unmet.table} is not as this node left it")
        if self.full or failure == "did not happen":
            size, self._chain = self._before
            del self._log[size:]
            raise StoreError("the disk is full" if self.full else "the transaction failed")
        if self._sync:
            self._synced = len(self._log)
        for commit in batch:
            for file in commit.files:
                self.files[file.name] = file.data
            for put in commit.puts:
                self._apply(put)
        if len(self._log) > self._compact_at:
            self._compact()
        if failure is not None:
            raise StoreError("the transaction failed")

    def kill(self) -> None:
        """The process ends and the machine does not: all is kept but some of the batch under way."""
        if self._batch:
            size = self._before[0]
            del self._log[max(size, self._rng.randint(size - 64, len(self._log) + 64)) :]
        self._forget()

    def cut_power(self) -> None:
        """Each page that was not synced is kept, lost or torn."""
        size = len(self._log)
        start = self._synced
        while start < size:
            end = min(size, (start // PAGE_SIZE + 1) * PAGE_SIZE)
            kept = self._rng.choice((start, end, self._rng.randrange(start, end)))
            self._log[kept:end] = bytes(end - kept)
            start = end
        self._forget()
        self.lost += size - self._readable()

    def recover(self) -> None:
        """Read back what survived, before the engine is restored from it."""
        self._forget()
        self._tables.clear()
        self.files.clear()
        self._chain = _CHAIN
        end = 0
        for payload, end, chain in _records(bytes(self._log)):  # noqa: B007 -- the last end is kept
            self._chain = chain
            self._read(Reader(payload))
        del self._log[end:]
        self._synced = end

    def _append(self, payload: bytes) -> None:
        self._chain = zlib.crc32(payload, self._chain)
        self._log += u32(len(payload)) + u32(self._chain) + payload

    def _apply(self, put: Put) -> None:
        table = self._tables.setdefault(put.table, {})
        if put.value is None:
            table.pop(put.key, None)
        else:
            table[put.key] = put.value

    def _read(self, reader: Reader) -> None:
        if reader.u8() == _FILE:
            name = reader.opaque(2).decode()
            self.files[name] = reader.opaque(4)
        else:
            for put in reader.vector(4, _read_put):
                self._apply(put)
        reader.finish()

    def _compact(self) -> None:
        """A new log with the live rows alone takes the old one's place, as by a rename."""
        self._log.clear()
        self._chain = _CHAIN
        for name, data in self.files.items():
            self._append(_file(name, data))
        rows = [Put(table, key, value) for table, items in self._tables.items() for key, value in items.items()]
        self._append(u8(_TRANSACTION) + vector(4, rows, _put))
        self._synced = len(self._log) if self._sync else 0
        self._compact_at = 2 * len(self._log) + COMPACTION_MIN

    def _readable(self) -> int:
        return max((end for _, end, _ in _records(bytes(self._log))), default=0)

    def _forget(self) -> None:
        self._batch = ()
        self._failure = self._unmet = None


def _records(log: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(payload, end, checksum) of each record up to the first bad one."""
    reader = Reader(log)
    chain, end = _CHAIN, 0
    while True:
        try:
            size, checksum = reader.u32(), reader.u32()
            payload = reader.take(size)
        except WireError:
            return
        chain = zlib.crc32(payload, chain)
        if not payload or chain != checksum:
            return
        end += 8 + size
        yield payload, end, chain


def _file(name: str, data: bytes) -> bytes:
    return u8(_FILE) + opaque(2, name.encode()) + opaque(4, data)


def _put(put: Put) -> bytes:
    head = opaque(1, put.table.encode()) + opaque(2, put.key) + u8(put.value is not None)
    return head + opaque(4, put.value or b"")


def _read_put(reader: Reader) -> Put:
    table, key = reader.opaque(1).decode(), reader.opaque(2)
    has_value, value = reader.u8(), reader.opaque(4)
    return Put(table, key, value if has_value else None)
