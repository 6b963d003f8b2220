"""Which statements the logs hold, so that two of one signer with one `prev` are found, whichever logs they are in.

Remembered is where each is, not what it says: STATEMENTS_MAX for each log, of which the oldest is forgotten, so that no
log that is full of statements makes us forget what is in another.  Rows survive a restart.

Source: notes on the ledger, L9 and 5 (proof 3).
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import sha256
from typing import Final

from waypost.codec import u64
from waypost.engine import Put, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger.note import Verify
from waypost.ledger.statement import Statement, is_signed

TABLE: Final = "ledger_evidence"
PREFIX: Final = b"s"  # of a row: then SHA-256 of the origin, signer and prev -> u64 index, hash
STATEMENTS_MAX: Final = 10_000  # of one log; some 300 octets each

Place = tuple[bytes, bytes]  # signer and prev
EntryAt = Callable[[str, int], bytes | None]


class Sayings:
    """`entry_at` gives back an entry of a log, or None; `name` is a statement's hash, 32 octets."""

    def __init__(self, entry_at: EntryAt, verify: Verify, statements_max: int = STATEMENTS_MAX) -> None:
        self._entry_at = entry_at
        self._verify = verify
        self._statements_max = statements_max
        self._said: dict[bytes, dict[Place, tuple[int, bytes]]] = {}  # by the SHA-256 of the origin

    def restore(self, rows: Rows) -> None:
        """Raises StoreError."""
        said = [(key[1:], value) for key, value in rows.scan(TABLE) if key.startswith(PREFIX)]
        for key, value in sorted(said, key=lambda row: row[1][:8]):
            if (len(key), len(value)) != (96, 40):
                raise StoreError("what is remembered of statements cannot be read")
            said_there = self._said.setdefault(key[:32], {})
            said_there[key[32:64], key[64:]] = int.from_bytes(value[:8], "big"), value[8:]

    def others(self, statement: Statement, name: bytes, origins: Iterable[str]) -> Iterator[Statement]:
        """What the same signer said with the same `prev`, in one of these logs, and signed; at most one of each log."""
        place = _place(statement)
        for origin in origins:
            found = self._said.get(_digest(origin), {}).get(place)
            if found is not None and found[1] != name:
                other = self._fetch(origin, *found)
                if other is not None and is_signed(other, self._verify):
                    yield other

    def remember(self, origin: str, index: int, statement: Statement, name: bytes) -> tuple[Put, ...]:
        """The rows to write.  The first that is really signed keeps its place."""
        digest, place = _digest(origin), _place(statement)
        said = self._said.setdefault(digest, {})
        value = index, name
        before = said.get(place)
        if before == value or (before is not None and self._is_good(origin, *before)):
            return ()
        said[place] = value
        row = Put(TABLE, PREFIX + digest + place[0] + place[1], u64(index) + value[1])
        if len(said) <= self._statements_max:
            return (row,)
        oldest = next(iter(said))
        del said[oldest]
        return (Put(TABLE, PREFIX + digest + oldest[0] + oldest[1], None), row)

    def count(self) -> int:
        return sum(map(len, self._said.values()))

    def _is_good(self, origin: str, index: int, name: bytes) -> bool:
        statement = self._fetch(origin, index, name)
        return statement is not None and is_signed(statement, self._verify)

    def _fetch(self, origin: str, index: int, name: bytes) -> Statement | None:
        data = self._entry_at(origin, index)
        try:
            statement = Statement.decode(data) if data is not None else None
        except WireError:
            return None
        return statement if statement is not None and statement.hash == name.hex() else None


def _place(statement: Statement) -> Place:
    return bytes.fromhex(statement.signer), bytes.fromhex(statement.prev).ljust(32, b"\0")


@lru_cache(maxsize=1_024)
def _digest(origin: str) -> bytes:
    return sha256(origin.encode()).digest()
