"""What the database looks like, and how an older one becomes this one.

Version N is what the first N migrations make; the database keeps N as its user_version.  A migration
that was released is never edited: a change is one more at the end.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from waypost.errors import ConfigError
from waypost.storage.files import Sync, sync_directory

APPLICATION_ID: Final = int.from_bytes(b"Wayp", "big")  # a stranger's database is not ours to migrate


def in_order_of_arrival(*names: str) -> str:
    """A migration: the rows of the tables lie as they came, and an index has their keys.

    Where long rows lie by key, of which a page takes few, nearly every new one moves its neighbours to other pages, and
    each page that is touched is written twice.
    """
    return "".join(map(_in_order_of_arrival, names))


def _in_order_of_arrival(name: str) -> str:
    return f"""
    ALTER TABLE {name} RENAME TO before;
    CREATE TABLE {name} (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) STRICT;
    INSERT INTO {name} SELECT key, value FROM before ORDER BY key;
    DROP TABLE before;
    """  # noqa: S608


MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE meta (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE feed (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE directory (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE drip_node (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE drip_record (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE drip_history (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE drip_instance (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE drip_round (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE drip_alarm (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE gossip (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE ledger_node (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_tail (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_index (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_peer (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_witness (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_refused (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_mirror (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_evidence (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE drip_intent (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
    in_order_of_arrival("drip_record", "drip_history", "drip_instance", "ledger_tail", "ledger_mirror"),
    # What is there is to be looked through for gaps, once: drip/gaps.py.
    """
    CREATE TABLE drip_gap (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE drip_bare (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO drip_gap SELECT x'', x'' WHERE EXISTS (SELECT 1 FROM drip_history);
    """,
)


class Connection(Protocol):
    """What the store needs of a sqlite3.Connection in autocommit mode."""

    def execute(self, sql: str, parameters: Sequence[bytes | str] = ..., /) -> Iterator[Any]: ...
    def executescript(self, script: str, /) -> object: ...
    def close(self) -> None: ...


def read_pragma(connection: Connection, name: str) -> Any:
    (value,) = next(connection.execute(f"PRAGMA {name}"))
    return value


def tables(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]


def check_version(connection: Connection, database: Path, newest: int) -> int:
    """The database's version, 0 for an empty one.  Writes nothing; raises ConfigError if it is not for us."""
    version = int(read_pragma(connection, "user_version"))
    if read_pragma(connection, "application_id") != APPLICATION_ID and (version or tables(connection)):
        raise ConfigError(f"{database} is the database of another program", hint="give the node another directory")
    if version > newest:
        raise ConfigError(
            f"{database} was written by a newer Waypost: it has version {version}, this one knows {newest}",
            hint="run the newer Waypost, or put back the backup that it made",
        )
    return version


def back_up(connection: Connection, database: Path, version: int, sync: Sync) -> Path:
    """Write `database`.v`version`.bak, durable on return; a half-written one never has that name."""
    backup = database.with_name(f"{database.name}.v{version}.bak")
    temporary = backup.with_name(f"{backup.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # Into an empty file, so that nobody else may read it for a moment.
        list(connection.execute("VACUUM INTO ?", (str(temporary),)))
        sync(fd)
    finally:
        os.close(fd)
    temporary.replace(backup)
    sync_directory(backup.parent, sync)
    return backup


def migrate(connection: Connection, database: Path, migrations: Sequence[str], sync: Sync) -> None:
    """Bring the database to version len(migrations), each step a transaction of its own."""
    version = check_version(connection, database, len(migrations))
    if 0 < version < len(migrations):
        back_up(connection, database, version, sync)
    for number, script in enumerate(migrations[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {number}; COMMIT;"
        )
