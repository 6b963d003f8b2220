"""Rows in SQLite and files beside it, durable when commit() returns.

A store belongs to one thread at a time and does not check which: it may be opened and read by one, then
handed to the thread that commits.  Nothing here waits for anything but the disk.

Raises StoreError when the disk breaks its promise; the store then refuses all further work, because
nobody knows what of the failed batch is on disk.  The next open() finds out.

Source: design, Contracts 1; sqlite.org/wal.html, sqlite.org/pragma.html.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from waypost.engine import Commit, unmet
from waypost.errors import ConfigError, StoreError, WaypostError
from waypost.storage.files import Files, Sync, make_directory, sync_directory
from waypost.storage.schema import MIGRATIONS, Connection, check_version, migrate, read_pragma, tables

DATABASE: Final = "waypost.db"
LOCK: Final = "waypost.lock"
BUSY_TIMEOUT_S: Final = 10.0  # how long a person's sqlite3 shell or a backup may hold us up

PRAGMAS: Final = (
    ("wal_autocheckpoint", 1000),  # pages: about every 8 MB the log is copied back and begun anew
    ("journal_size_limit", 16 * 2**20),  # octets: what one huge batch made of the log is given back
    ("mmap_size", 0),  # a mapped page that cannot be read is a signal that ends us, not an error
)
# Rows that one statement writes.  After each statement the writer's thread waits for its turn among the threads; and of
# few sizes each is prepared once.
PORTIONS: Final = (64, 16, 4, 1)
# A row past a quarter of a page costs a page of its own, and records are often past 1,000 octets: with
# 1,200 octets, 8192 makes a third of the file that 4096 makes and takes half as long.
PAGE_SIZE: Final = 8192

T = TypeVar("T")


def connect(database: Path) -> Connection:
    # Autocommit: BEGIN and COMMIT are ours, never implied by a statement.
    return sqlite3.connect(database, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def no_sync(fd: int) -> None:
    """What `durable=False` does in place of os.fsync."""


class Store:
    """The rows and files of one state directory; `Store.open` makes it."""

    def __init__(self, directory: Path, connection: Connection, files: Files, lock: int) -> None:
        self._directory = directory
        self._connection = connection
        self._files = files
        self._lock = lock
        self._usable = True
        # Names from our own schema, quoted; parameters cannot name a table.
        names = tables(connection)
        self._get = {name: f'SELECT value FROM "{name}" WHERE key = ?' for name in names}  # noqa: S608
        self._scan = {name: f'SELECT key, value FROM "{name}" ORDER BY key' for name in names}  # noqa: S608
        self._after = {name: f'SELECT key, value FROM "{name}" WHERE key > ? ORDER BY key' for name in names}  # noqa: S608
        self._put = {(name, size): _put(name, size) for name in names for size in PORTIONS}
        self._remove = {(name, size): _remove(name, size) for name in names for size in PORTIONS}

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        durable: bool = True,
        migrations: Sequence[str] = MIGRATIONS,
        connect: Callable[[Path], Connection] = connect,
        sync: Sync = os.fsync,
    ) -> "Store":
        """Open the state directory, made if it is missing, and bring its database up to date.

        `durable=False` is for tests and benchmarks only: nothing is synced, and a power cut may lose
        every commit or the whole database.  `connect` and `sync` are how a test puts a disk of its own
        under the store.

        Raises ConfigError when a person chose wrong (directory in use, newer or foreign database, unfit
        file system) and StoreError when the disk or the database is broken.
        """
        database = directory / DATABASE
        sync = sync if durable else no_sync
        with _sentences(f"cannot open {database}"), contextlib.ExitStack() as undo:
            make_directory(directory, sync)
            lock = _lock(directory)
            undo.callback(os.close, lock)
            # SQLite gives its log the mode of the database, so the database is made first and by us.
            os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
            sync_directory(directory, sync)
            connection = connect(database)
            undo.callback(connection.close)
            check_version(connection, database, len(migrations))
            _configure(connection, directory, durable=durable)
            migrate(connection, database, migrations, sync)
            store = cls(directory, connection, Files(directory, sync), lock)
            undo.pop_all()
        return store

    def commit(self, batch: Sequence[Commit]) -> None:
        """Make the files of the batch durable, then all its puts in one transaction.

        A batch without files or puts costs nothing.  KeyError for a table that the schema lacks.  Where a row is not as
        it is expected, nothing of the batch happens.
        """
        self._check_usable()
        # The transaction is all or nothing, so of several puts to one key only the last is written.
        rows: dict[str, dict[bytes, bytes | None]] = {}
        for commit in batch:
            for put in commit.puts:
                rows.setdefault(put.table, {})[put.key] = put.value
        statements = [statement for table, of_table in rows.items() for statement in self._statements(table, of_table)]
        self._usable = False  # until the disk has done all of it
        with _sentences(f"cannot write to {self._directory}"):
            if rows:
                self._connection.execute("BEGIN IMMEDIATE")
            if (found := unmet(batch, self._read)) is not None:
                raise StoreError(f"a row of {found.table} is not as this node left it", hint="let no other write there")
            self._files.write(file for commit in batch for file in commit.files)
            if rows:
                for sql, parameters in statements:
                    self._connection.execute(sql, parameters)
                self._connection.execute("COMMIT")
        self._usable = True

    def _read(self, table: str, key: bytes) -> bytes | None:
        row = next(self._connection.execute(self._get[table], (key,)), None)
        return None if row is None else bytes(row[0])

    def _statements(self, table: str, rows: dict[bytes, bytes | None]) -> Iterator[tuple[str, list[bytes]]]:
        put = [(key, value) for key, value in rows.items() if value is not None]
        for portion in _portions(put):
            yield self._put[table, len(portion)], [octets for row in portion for octets in row]
        for gone in _portions([key for key, value in rows.items() if value is None]):
            yield self._remove[table, len(gone)], list(gone)

    def get(self, table: str, key: bytes) -> bytes | None:
        self._check_usable()
        with _sentences(f"cannot read {self._directory / DATABASE}"):
            return self._read(table, key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of every row, or of those past `after`, ordered by key, read as it is asked for.

        Finish or drop it before the next commit: until then it holds back the log's checkpoint.
        """
        self._check_usable()
        with _sentences(f"cannot read {self._directory / DATABASE}"):
            if after:
                yield from self._connection.execute(self._after[table], (after,))
            else:
                yield from self._connection.execute(self._scan[table])

    def close(self) -> None:
        """Copy the log back into the database and let go of the directory.  Closing twice is once."""
        if self._lock < 0:
            return
        self._usable = False
        try:
            with _sentences(f"cannot close {self._directory / DATABASE}"):
                self._connection.close()  # the last one out checkpoints and removes the log
        finally:
            os.close(self._lock)
            self._lock = -1

    def _check_usable(self) -> None:
        if not self._usable:
            raise StoreError(f"the store in {self._directory} is closed or has failed", hint="start the node again")


def _put(table: str, size: int) -> str:
    values = ", ".join(["(?, ?)"] * size)
    return f'INSERT INTO "{table}" VALUES {values} ON CONFLICT (key) DO UPDATE SET value = excluded.value'  # noqa: S608


def _remove(table: str, size: int) -> str:
    return f'DELETE FROM "{table}" WHERE key IN ({", ".join("?" * size)})'  # noqa: S608


def _portions(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """`rows` in portions, each as large as one of PORTIONS."""
    start = 0
    for size in PORTIONS:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def _lock(directory: Path) -> int:
    """An open file that holds the directory until it is closed, also by our death."""
    fd = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise ConfigError(
            f"{directory} is in use by another node (process {holder})",
            hint="stop that node, or give this one a directory of its own",
        ) from error
    except OSError:
        os.close(fd)
        raise
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _configure(connection: Connection, directory: Path, *, durable: bool) -> None:
    """Set the pragmas and look whether they hold: SQLite ignores in silence what it cannot do."""
    list(connection.execute(f"PRAGMA page_size = {PAGE_SIZE}"))  # of a new database; an old one keeps its own
    if next(connection.execute("PRAGMA journal_mode = WAL")) != ("wal",):
        raise ConfigError(
            f"the file system of {directory} cannot hold a write-ahead log", hint="choose a directory on a local disk"
        )
    # FULL syncs the log at every commit; NORMAL would only at a checkpoint.
    for name, value in (*PRAGMAS, ("synchronous", 2 if durable else 0)):
        list(connection.execute(f"PRAGMA {name} = {value}"))
        if (found := read_pragma(connection, name)) != value:
            raise StoreError(f"SQLite keeps {name} at {found} where {value} was set")
    # What a killed process wrote but did not sync can be read here, and lost in the next power cut:
    # nothing is shown before it is synced, not even by restore().
    busy, _, _ = next(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    if busy:
        raise ConfigError(f"another program is reading {directory / DATABASE}", hint="close it and start again")


@contextlib.contextmanager
def _sentences(what: str) -> Iterator[None]:
    """Turn what sqlite3 and the system raise into one sentence."""
    try:
        yield
    except WaypostError:
        raise
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise _full(what) from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise StoreError(f"{what}: it is damaged or not a database", hint="put back a backup") from error
        raise StoreError(f"{what}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(what) from error
        raise StoreError(f"{what}: {error.strerror}") from error


def _full(what: str) -> StoreError:
    return StoreError(
        f"{what}: the disk is full", hint="make room and start the node again; no acknowledged write is lost"
    )
