"""One change of one record, as the node's change feed tells it.

struct {
    uint8 kind; opaque room<0..2^8-1>; opaque key<0..2^16-1>;
    uint8 versioned_by; uint64 version;           /* 0: counted, 1: Hlc packed */
    uint8 has_value; opaque value<0..2^32-1>;     /* empty when has_value is 0 */
    uint64 wall_ms; opaque cause<0..2^8-1>;
} Change;                                         /* keyed by its uint64 seq */
"""

from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final, TypeAlias

from waypost.codec import Reader
from waypost.errors import WireError
from waypost.record.hlc import Hlc

# What stands before each of the opaque fields.  A change is made for every write, and to pack is three times as fast as
# to add up the fields.
_KIND_ROOM: Final = Struct(">BB")
_KEY: Final = Struct(">H")
_VERSION_VALUE: Final = Struct(">BQBI")
_WALL_CAUSE: Final = Struct(">QB")

Key: TypeAlias = bytes  # a room's own octets, unique in the room


class Kind(Enum):
    """KEPT is a PUT as the feed may have it in its row: `value` names another row, which has the value (feed.py)."""

    PUT = 1
    REMOVE = 2
    KEPT = 3


@dataclass(slots=True)  # not frozen: see engine.py
class Change:
    """`seq` is this node's own dense number; `value` is None when the record is removed.

    `wall_ms` is when this node stored it; `cause` names the request behind it, or is empty.
    """

    seq: int
    kind: Kind
    room: str
    key: Key
    version: int | Hlc
    value: bytes | None
    wall_ms: int
    cause: bytes

    def encode(self) -> bytes:
        timed = isinstance(self.version, Hlc)
        version = self.version.pack() if isinstance(self.version, Hlc) else self.version
        room, value = self.room.encode(), self.value or b""
        return b"".join(
            (
                _KIND_ROOM.pack(self.kind.value, len(room)),
                room,
                _KEY.pack(len(self.key)),
                self.key,
                _VERSION_VALUE.pack(timed, version, self.value is not None, len(value)),
                value,
                _WALL_CAUSE.pack(self.wall_ms, len(self.cause)),
                self.cause,
            )
        )

    @classmethod
    def decode(cls, seq: int, data: bytes) -> "Change":
        """Raises WireError for bytes that encode() cannot have made."""
        reader = Reader(data)
        try:
            kind = Kind(reader.u8())
            room = reader.opaque(1).decode()
        except ValueError as error:
            raise WireError("the change has an unknown kind or room") from error
        key = reader.opaque(2)
        timed, version = reader.u8(), reader.u64()
        has_value, value = reader.u8(), reader.opaque(4)
        wall_ms, cause = reader.u64(), reader.opaque(1)
        reader.finish()
        if timed > 1 or has_value > 1 or (value and not has_value):
            raise WireError("the change contradicts itself")
        version_of = Hlc.unpack(version) if timed else version
        return cls(seq, kind, room, key, version_of, value if has_value else None, wall_ms, cause)
