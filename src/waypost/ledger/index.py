"""Where this node's log has what it has: a row for each commit, by place and version, and for each statement.

    namespace NUL key NUL uint64 version -> uint64 index, uint64 milliseconds since 1970        a commit
    NUL SHA-256 of its octets            -> the same                                            a statement

The time of a commit is when this node stored it; where it learnt that from others, by a log that it took back, no later
than that and no earlier than its author says.

Source: design, Contracts 3; notes on the ledger, 5.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from waypost.codec import Reader, u64
from waypost.engine import Put
from waypost.errors import WireError
from waypost.ledger import entry
from waypost.ledger.entry import Kind

TABLE: Final = "ledger_index"


@dataclass(frozen=True, slots=True)
class Row:
    index: int
    wall_ms: int

    @classmethod
    def decode(cls, value: bytes) -> "Row":
        """Raises WireError."""
        reader = Reader(value)
        row = cls(reader.u64(), reader.u64())
        reader.finish()
        return row

    def put(self, key: bytes) -> Put:
        return Put(TABLE, key, u64(self.index) + u64(self.wall_ms))


def of_commit(place: bytes, version: int) -> bytes:
    """`place` is namespace NUL key."""
    return b"%b\0%b" % (place, u64(version))


def of_statement(octets: bytes) -> bytes:
    return b"\0" + sha256(octets).digest()


def is_statement(key: bytes) -> bool:
    return key.startswith(b"\0")


def found_in(octets: bytes, index: int, wall_ms: int) -> tuple[bytes, Row] | None:
    """The row of an entry that is found in the log; None if it has none."""
    read = entry.decode(octets)
    if read.kind == Kind.STATEMENT:
        return of_statement(octets), Row(index, wall_ms)
    if read.kind != Kind.COMMIT:
        return None
    try:
        record = entry.read_commit(read.body).committed.record
    except WireError:
        return None
    key = of_commit("\0".join(record.place).encode(), record.version)
    return key, Row(index, min(wall_ms, record.hlc.wall_ms))
