"""The logs of a state directory: which files each has, and whether they are what its head says.

Source: ledger/archive.py and ledger/mirror.py (what lies where).
"""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from waypost.codec import Reader
from waypost.errors import StoreError, WireError
from waypost.ledger.archive import SIZE, Archive
from waypost.ledger.checkpoint import read_head
from waypost.ledger.engine import CURSOR
from waypost.ledger.entry import decode as decode_entry
from waypost.ledger.index import TABLE as INDEX
from waypost.ledger.index import Row
from waypost.ledger.log import ADOPTED, DAY, FOLDER, HEAD, NODE, TAIL
from waypost.ledger.mirror import TABLE as MIRROR
from waypost.ledger.note import Note
from waypost.ledger.peers import TABLE as PEER
from waypost.ledger.peers import read_text
from waypost.ledger.pieces import PIECE
from waypost.ledger.pieces import TABLE as EVIDENCE
from waypost.ledger.questions import ReadFile
from waypost.ledger.refused import TABLE as REFUSED
from waypost.ledger.rounds import ROW as PUBLISHED
from waypost.ledger.tiles import ENTRIES, LEVELS, WIDTH, Tile
from waypost.ledger.tree import EMPTY
from waypost.ledger.witness import TABLE as WITNESS
from waypost.storage.schema import tables

MIRRORED: Final = b"/head"  # of a mirror's rows, after the digest of the origin
PORTION: Final = 16 * WIDTH  # entries read at once


class Snapshot:
    """The rows that a connection shows, at the moment that it shows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tables = tables(connection)

    def get(self, table: str, key: bytes) -> bytes | None:
        return next((value for _, value in self._read(table, "WHERE key = ?", key)), None)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self._read(table, "WHERE key > ? ORDER BY key", after)

    def _read(self, table: str, rest: str, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        if table in self._tables:
            # Names from our own schema, quoted; parameters cannot name a table.
            yield from self._connection.execute(f'SELECT key, value FROM "{table}" {rest}', (key,))  # noqa: S608


@dataclass(frozen=True, slots=True)
class Kept:
    """A log: this node's own, or the copy of another.  `head` is a note, None where a copy has reached none yet."""

    folder: str
    table: str
    prefix: bytes
    size: int
    head: bytes | None

    def files(self) -> Iterator[str]:
        """Relative to the state directory."""
        for level in (ENTRIES, *range(LEVELS)):
            for index in range(self.size >> 8 * (max(level, 0) + 1)):
                yield f"{self.folder}/{Tile(level, index, WIDTH).path}"

    def check(self, rows: Snapshot, read: ReadFile) -> None:
        """Every entry and every tile, up to the root.  Raises StoreError if they are not those of the head."""
        archive = Archive(self.folder, self.table, self.prefix, read)
        archive.restore(rows)
        for start in range(0, self.size, PORTION):
            archive.entries(start, min(start + PORTION, self.size))
        size, root = 0, EMPTY
        if self.head is not None:
            try:
                head = read_head(self.head)
            except WireError as error:
                raise StoreError(f"the head of {self.folder} cannot be read: {error}") from error
            size, root = head.size, head.root
        is_own = self.table == TAIL
        if size > self.size or (is_own and size < self.size) or archive.tree.root(size) != root:
            raise StoreError(f"{self.folder} has {self.size} entries that are not those of its head of size {size}")


def logs_in(rows: Snapshot) -> Iterator[Kept]:
    """The node's own first."""
    yield Kept(FOLDER, TAIL, b"", _size(rows, TAIL, b""), rows.get(NODE, HEAD))
    for key, _ in rows.scan(MIRROR):
        digest, name = key[:32], key[32:]
        if name == SIZE:
            size, head = _size(rows, MIRROR, digest), rows.get(MIRROR, digest + MIRRORED)
            yield Kept(f"tiles/mirror/{digest.hex()}", MIRROR, digest, size, head)


def looks() -> Iterator[tuple[str, Callable[[bytes, bytes], object]]]:
    """For each table of the ledger, what raises WireError for a row that is not what it should be.

    The rows of the tail and of copies are looked at with the files: check().
    """
    yield NODE, _node
    yield TAIL, lambda key, value: None
    yield INDEX, lambda key, value: Row.decode(value)
    yield PEER, lambda key, value: read_text(Note.decode(value).text)
    yield WITNESS, lambda key, value: read_head(value) if key.startswith(b"witnessed/") else Reader(value).u64()
    yield REFUSED, lambda key, value: read_head(value)
    yield MIRROR, lambda key, value: None
    yield EVIDENCE, _evidence


def _node(key: bytes, value: bytes) -> None:
    if key in (HEAD, PUBLISHED):
        read_head(value)
    elif key == DAY:
        Note.decode(decode_entry(value).body)
    elif key == CURSOR or key.startswith(ADOPTED):
        Reader(value).u64()


def _evidence(key: bytes, value: bytes) -> None:
    if key.startswith(PIECE) and sha256(value.partition(b"\n")[2]).digest() != key.removeprefix(PIECE):
        raise WireError("the evidence is not what it was")


def _size(rows: Snapshot, table: str, prefix: bytes) -> int:
    return int.from_bytes(rows.get(table, prefix + SIZE) or b"", "big")
