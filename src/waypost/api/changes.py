"""The feed and the directory's table on disk, read and understood in one thread beside the event loop.

Source: design, Contracts, 3 and 5.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

import msgspec

from waypost.api.paging import before
from waypost.assembly.carrier import RECORDS, ROOM
from waypost.codec import u64
from waypost.rd.following import Records
from waypost.rd.index import Registration
from waypost.record import Committed
from waypost.record.feed import FEED, read

BATCH: Final = 64  # rows read in one go
READ_MAX: Final = 256  # changes kept as read, since many watchers read the same
VOTED: Final = "voted"  # the room of what was voted on

_committed: Final = msgspec.json.Decoder(Committed)


class Rows(Protocol):
    """The node's durable rows."""

    def after(self, table: str, key: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """The first `limit` rows whose key is greater than `key`, in order."""
        ...


class Seen(NamedTuple):
    """A change as it was read; `registration` None: the name was forgotten, or it is of another room.

    `committed` is what was voted on, None in any other room.
    """

    seq: int
    room: str
    key: bytes
    registration: Registration | None
    committed: Committed | None = None


class Changes:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._records = Records()
        self._read: dict[int, Seen] = {}
        self._thread = ThreadPoolExecutor(1, "waypost-feed")

    async def after(self, seq: int) -> Sequence[Seen]:
        """The next few changes.  Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_changes, seq)

    async def records(self, key: bytes) -> Sequence[tuple[bytes, Registration]]:
        """The next few of the directory's table.  Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_records, key)

    async def rows(self, table: str, after: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """As Rows.after().  Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._rows.after, table, after, limit)

    async def close(self) -> None:
        """After the last read."""
        await asyncio.to_thread(self._thread.shutdown)

    def _read_changes(self, after: int) -> list[Seen]:
        changes: list[Seen] = []
        while (seen := self._read.get(after + 1)) is not None and len(changes) < BATCH:
            changes.append(seen)
            after += 1
        if changes:
            return changes
        for key, value in self._rows.after(FEED, u64(after), BATCH):
            seq = int.from_bytes(key, "big")
            change = read(seq, value, self._get)
            record = change.value if change.room == ROOM else None
            registration = None if record is None else self._records.read(change.key, record)
            committed = _committed.decode(change.value) if change.room == VOTED and change.value else None
            self._read[seq] = Seen(seq, change.room, change.key, registration, committed)
            changes.append(self._read[seq])
        while len(self._read) > READ_MAX:
            del self._read[next(iter(self._read))]
        return changes

    def _get(self, table: str, key: bytes) -> bytes | None:
        return next((value for found, value in self._rows.after(table, before(key), 1) if found == key), None)

    def _read_records(self, after: bytes) -> list[tuple[bytes, Registration]]:
        return [(key, self._records.read(key, value)) for key, value in self._rows.after(RECORDS, after, BATCH)]
