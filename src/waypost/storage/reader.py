"""The rows of a store that somebody else writes, read through a connection of one's own.

In a write-ahead log readers and the writer do not wait for each other.  Each call is one short
transaction, so that the log's checkpoint is never held back for long.  A reader belongs to one thread
at a time; close it before the store.

Source: sqlite.org/wal.html.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from waypost.errors import StoreError
from waypost.storage.schema import tables
from waypost.storage.store import BUSY_TIMEOUT_S, DATABASE


class Reader:
    """Of a state directory whose store is open."""

    def __init__(self, directory: Path) -> None:
        self._database = directory / DATABASE
        uri = f"{self._database.absolute().as_uri()}?mode=ro"
        try:
            self._connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            self._after = {
                # Names from our own schema, quoted; parameters cannot name a table.
                name: f'SELECT key, value FROM "{name}" WHERE key > ? ORDER BY key LIMIT ?'  # noqa: S608
                for name in tables(self._connection)
            }
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error

    def after(self, table: str, key: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """The first `limit` rows whose key is greater than `key`, in order.  Raises StoreError."""
        try:
            return self._connection.execute(self._after[table], (key, limit)).fetchall()
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def close(self) -> None:
        self._connection.close()

    def _broken(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"cannot read {self._database}: {error}")
