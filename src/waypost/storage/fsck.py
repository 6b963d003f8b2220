"""Are the logs in a state directory whole: this node's own, and its copies of others?

Roots are made anew of every entry and every tile, and compared with the signed heads; the node may run meanwhile, for
the rows are those of one moment, and what they speak of is on disk before them.  Each commit and each statement of the
own log has to be where the index says.  Where all of that is so, each day has to be what its entries say (DAY-CHAIN).

Raises ConfigError for a directory that has none, StoreError for a disk that cannot be read.

Source: notes on the ledger, 1 (fsck) and 5 (STORE-FIRST, ONE-HEAD); what lies where: ledger/archive.py, mirror.py.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from waypost.errors import ConfigError, ProofError, StoreError, WireError
from waypost.identity.keys import verifies
from waypost.ledger import index
from waypost.ledger.archive import read_tail
from waypost.ledger.audit import FAULTS_MAX, Audit, edge
from waypost.ledger.checkpoint import Head, read_head
from waypost.ledger.days import Chain
from waypost.ledger.entry import Kind, decode
from waypost.ledger.log import FOLDER, HEAD, NODE, TAIL
from waypost.ledger.mirror import TABLE as MIRROR
from waypost.ledger.note import Algorithm, Key, Note
from waypost.ledger.peers import TABLE as PEER
from waypost.ledger.peers import PeerLog, read_text
from waypost.ledger.tiles import ENTRIES, WIDTH, Tile, decode_bundle, encode_bundle
from waypost.ledger.tree import Tree
from waypost.storage.files import read_file
from waypost.storage.keyring import Keyring
from waypost.storage.schema import tables
from waypost.storage.store import BUSY_TIMEOUT_S, DATABASE

ORIGIN: Final = b"/origin"  # of a mirror's rows, after the digest of the origin
MIRRORED: Final = b"/head"


@dataclass(slots=True)
class Looked:
    """At a log of `size` entries; `entries` and `tiles` were read.  A fault is a sentence; `more` are not told."""

    origin: str
    is_own: bool
    size: int
    entries: int = 0
    tiles: int = 0
    faults: list[str] = field(default_factory=list)
    more: int = 0

    def tell(self, sentence: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(sentence)
        else:
            self.more += 1


def fsck(directory: Path) -> Iterator[Looked]:
    """The node's own log first, if it has begun one."""
    keyring = Keyring.open_made(directory)
    public = keyring.log.public_key().public_bytes_raw()

    def own_key(head: Head) -> Key:
        return Key(head.origin, Algorithm.ED25519, public)

    with closing(_Rows(directory)) as rows:
        head = rows.get(NODE, HEAD)
        if head is not None:
            own = _Copy(directory, rows, FOLDER, TAIL, b"")
            yield _look(own, head, own_key, is_own=True)
        pinned = {log.origin: log.key for log in map(_pinned, rows.scan(PEER))}

        def key_of(head: Head) -> Key | None:
            """A log of nobody in the network may be the one that this node kept under another origin (former.py)."""
            return pinned.get(head.origin) or (own_key(head) if head.note.by(own_key(head)) else None)

        for key, _ in list(rows.scan(MIRROR)):
            head = rows.get(MIRROR, key[:32] + MIRRORED)
            if key[32:] == ORIGIN and head is not None:
                copy = _Copy(directory, rows, f"tiles/mirror/{key[:32].hex()}", MIRROR, key[:32])
                yield _look(copy, head, key_of, is_own=False)


def _look(copy: "_Copy", data: bytes, key_of: Callable[[Head], Key | None], *, is_own: bool) -> Looked:
    try:
        head = read_head(data)
    except WireError as error:
        return Looked("", is_own, 0, faults=[f"the head cannot be read: {error}"])
    looked = Looked(head.origin, is_own, head.size)
    key = key_of(head)
    if key is None:
        looked.tell("it was not looked at: which key signs this log is not known here")
        return looked
    if copy.size < head.size or (is_own and copy.size > head.size):
        looked.tell(f"the head is of {head.size} entries, and there are {copy.size}")
        return looked
    try:
        audit = Audit(data, [key], verifies)
        copy.make_edge(head)
    except (WireError, StoreError) as error:
        looked.tell(str(error))
        return looked
    while paths := audit.wanted():
        for path in paths:
            found = copy.read(path)
            audit.took(path, found)
            if is_own and found is not None:
                copy.compare_index(path, found, looked)
    looked.entries, looked.tiles = audit.entries, audit.tiles
    looked.faults, looked.more = [*audit.faults, *looked.faults][:FAULTS_MAX], looked.more + audit.more
    if not looked.faults:
        try:
            _follow_days(copy, head, key)
        except ProofError as error:
            looked.tell(str(error))
    return looked


def _follow_days(copy: "_Copy", head: Head, key: Key) -> None:
    """Of a log whose entries and tiles are those of its head.  Raises ProofError."""
    tree = Tree(copy.read_full)
    chain = Chain(key, verifies, tree.root)
    for number in range(-(-head.size // WIDTH)):
        tile = Tile(ENTRIES, number, min(WIDTH, head.size - number * WIDTH))
        for octets in decode_bundle(copy.read(tile.path) or b"", tile.width):
            chain.take(octets)
            tree.append(octets)
        tree.settle(tree.size)


class _Copy:
    """A log on disk, as tlog-tiles has it: the partial tiles are made."""

    def __init__(self, directory: Path, rows: "_Rows", folder: str, table: str, prefix: bytes) -> None:
        self.size, self._tail = read_tail(lambda key: rows.get(table, prefix + key))
        self._rows = rows
        self._file = partial(read_file, directory)
        self._folder = folder
        self._edge: dict[str, bytes] = {}

    def make_edge(self, head: Head) -> None:
        """Raises StoreError."""
        self._edge = edge(head, self.read)

    def read(self, path: str) -> bytes | None:
        """Raises StoreError."""
        tile = Tile.decode(path)
        if path in self._edge:
            return self._edge[path]
        if tile.level == ENTRIES and tile.width < WIDTH:
            return self._last(tile)
        return self._file(f"{self._folder}/{path}")

    def read_full(self, level: int, number: int) -> bytes:
        """Raises StoreError."""
        path = Tile(level, number, WIDTH).path
        found = self.read(path)
        if found is None:
            raise StoreError(f"{self._folder}/{path} is missing")
        return found

    def compare_index(self, path: str, data: bytes, looked: Looked) -> None:
        """That the entries of a bundle are where the index has them."""
        tile = Tile.decode(path)
        if tile.level != ENTRIES:
            return
        try:
            entries = decode_bundle(data, tile.width)
        except WireError:
            return  # which the audit says
        for place, octets in enumerate(entries, tile.index * WIDTH):
            found = index.found_in(octets, place, 0)
            row = found and self._rows.get(index.TABLE, found[0])
            at = int.from_bytes(row[:8], "big") if row else -1
            twice = at > place and decode(octets).kind is Kind.STATEMENT  # it was sent again: the index has the last
            if found and at != place and not twice:
                looked.tell(f"entry {place} is not where the index of the database has it")

    def _last(self, tile: Tile) -> bytes | None:
        """A bundle that was not full: a mirror may have the rest of it meanwhile."""
        full = self._file(f"{self._folder}/{tile.full.path}") if self.size >= (tile.index + 1) * WIDTH else None
        if full is not None:
            try:
                return encode_bundle(decode_bundle(full, WIDTH)[: tile.width])
            except WireError:
                return full  # which the audit says
        return encode_bundle(self._tail[: tile.width])


class _Rows:
    """Of one moment, while somebody else may write."""

    def __init__(self, directory: Path) -> None:
        self._database = directory / DATABASE
        if not self._database.exists():
            raise ConfigError(f"{directory} has no database yet")
        try:
            uri = f"{self._database.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._connection.execute("BEGIN")
            self._tables = tables(self._connection)
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error

    def get(self, table: str, key: bytes) -> bytes | None:
        return next((value for found, value in self._read(table, "WHERE key = ?", (key,)) if found == key), None)

    def scan(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        return self._read(table, "ORDER BY key", ())

    def close(self) -> None:
        self._connection.close()

    def _read(self, table: str, rest: str, parameters: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
        if table not in self._tables:
            return
        try:
            # Names from our own schema, quoted; parameters cannot name a table.
            yield from self._connection.execute(f'SELECT key, value FROM "{table}" {rest}', parameters)  # noqa: S608
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error

    def _broken(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"cannot read {self._database}: {error}")


def _pinned(row: tuple[bytes, bytes]) -> PeerLog:
    try:
        return read_text(Note.decode(row[1]).text)
    except WireError as error:
        raise StoreError(f"the pinned keys of {row[0]!r} cannot be read") from error
