"""A backup of a state directory, whether a node runs there or not.

A running node is not asked, and does not wait: the database is copied within one read transaction, which shows one
moment however long the copy takes, in steps of a few megabytes, each brought to the disk before the next; and after
each step we rest as long as it took, so that half of the disk's time is the node's.  Meanwhile its log only grows.

Keys are read after the database, all at one moment: what they know of whom was certified is then never less than what
the database knows.  So are the tiles of logs: those that the database speaks of are on the disk before it, and never
change.

Raises ConfigError for a directory or a name that does not fit, StoreError if the database is damaged, OSError for the
disk.

Source: sqlite.org/backup.html, sqlite.org/isolation.html.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec

from waypost import __version__
from waypost.codec import u64
from waypost.drip.roster import NODE
from waypost.errors import ConfigError, StoreError, WireError
from waypost.record import network_of, roster_in
from waypost.record.feed import FEED, FEED_ID, META
from waypost.record.vote import Committed
from waypost.storage.archive import FORMAT, Manifest, Part, Source, require_new, write
from waypost.storage.files import Sync
from waypost.storage.keyring import FOLDER, locked
from waypost.storage.schema import check_version, read_pragma, tables
from waypost.storage.store import BUSY_TIMEOUT_S, DATABASE
from waypost.storage.tiles import Snapshot, logs_in

PAGES: Final = 256  # of a step: 2 MiB
BESIDE: Final = ("config.toml", "policy.toml")
NOT_KEPT: Final = ("lock", "seen.lock")  # of keys/: they say nothing
FOUNDING: Final = b"founding"  # in the table NODE: the network's first roster, Committed

Rest = Callable[[float], None]


def back_up(
    directory: Path,
    target: Path,
    *,
    wall_ms: int,
    keys: bool = True,
    sync: Sync = os.fsync,
    rest: Rest = time.sleep,
) -> Manifest:
    """Write the backup of `directory` into `target`, a file that is not there yet; it is there whole or not at all."""
    database = directory / DATABASE
    if not database.exists():
        raise ConfigError(f"{directory} is no state directory: it has no {DATABASE}")
    require_new(target)
    copy = target.with_name(f".{target.name}.db")
    copy.unlink(missing_ok=True)
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with _broken(database):
            _copy(database, copy, sync, rest)
            finish = _described(copy, database, wall_ms=wall_ms, keys=keys)
            tiles = _tiles(copy)
        sources = [Source(DATABASE, lambda: copy.open("rb"), copy.stat().st_size)]
        files = {name: directory / name for name in BESIDE if (directory / name).exists()}
        sources += (_source(name, path.read_bytes()) for name, path in files.items())
        if keys:
            sources += (_source(f"{FOLDER}/{name}", data) for name, data in keys_of(directory).items())
        sources += (_file(directory, name) for name in tiles)
        return write(target, sources, finish, sync)
    finally:
        copy.unlink(missing_ok=True)


def keys_of(directory: Path) -> dict[str, bytes]:
    """What is in keys/, by name."""
    folder = directory / FOLDER
    if not folder.exists():
        return {}
    with locked(folder):
        files = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
        return {path.name: path.read_bytes() for path in files if path.name not in NOT_KEPT}


def _copy(database: Path, copy: Path, sync: Sync, rest: Rest) -> None:
    uri = f"{database.absolute().as_uri()}?mode=ro"
    source = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    with closing(source), closing(sqlite3.connect(copy, isolation_level=None)) as target, open(copy, "rb") as held:
        source.execute("BEGIN")
        tables(source)  # from this read on the transaction sees one moment
        began = time.monotonic()

        def step(_: int, left: int, __: int) -> None:
            nonlocal began
            sync(held.fileno())
            if left:
                rest(time.monotonic() - began)
            began = time.monotonic()

        list(target.execute("PRAGMA synchronous = OFF"))  # step() does it
        source.backup(target, pages=PAGES, progress=step)
        list(target.execute("PRAGMA journal_mode = DELETE"))  # one file, without a log


def _described(copy: Path, database: Path, *, wall_ms: int, keys: bool) -> Callable[[tuple[Part, ...]], Manifest]:
    """What makes the manifest.  Raises StoreError if a page of the copy is not as it must be."""
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True)) as connection:
        check_version(connection, database, int(read_pragma(connection, "user_version")))
        if list(connection.execute("PRAGMA quick_check(1)")) != [("ok",)]:
            raise StoreError(f"{database} is damaged", hint="put back a backup")
        found = dict(connection.execute(f'SELECT key, value FROM "{META}" WHERE key = ?', (FEED_ID,)))  # noqa: S608
        (last,) = next(connection.execute(f'SELECT max(key) FROM "{FEED}"'))  # noqa: S608
        schema = int(read_pragma(connection, "user_version"))
        network = _network(connection)
    feed = found.get(FEED_ID)
    return partial(
        Manifest,
        FORMAT,
        __version__,
        wall_ms,
        schema,
        network,
        feed.hex() if feed else None,
        int.from_bytes(last or u64(0), "big"),
        keys,
    )


def _network(connection: sqlite3.Connection) -> str | None:
    if NODE not in tables(connection):
        return None
    row = next(connection.execute(f'SELECT value FROM "{NODE}" WHERE key = ?', (FOUNDING,)), None)  # noqa: S608
    if row is None:
        return None
    try:
        return network_of(roster_in(msgspec.json.decode(row[0], type=Committed).record))
    except (WireError, msgspec.MsgspecError) as error:
        raise StoreError("the network's first roster cannot be read", hint="put back a backup") from error


def _tiles(copy: Path) -> list[str]:
    """The files of the logs that the database speaks of."""
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True)) as connection:
        return [name for log in logs_in(Snapshot(connection)) for name in log.files()]


def _file(directory: Path, name: str) -> Source:
    path = directory / name
    try:
        return Source(name, lambda: path.open("rb"), path.stat().st_size)
    except FileNotFoundError as error:
        raise StoreError(f"{name} is missing from {directory}", hint="put back a backup") from error


def _source(name: str, data: bytes) -> Source:
    return Source(name, lambda: BytesIO(data), len(data))


@contextmanager
def _broken(database: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"cannot read {database}: {error}") from error
