"""Heads that their log has signed and that were not cosigned: what somebody may need who shows that the log has lied.

REFUSED_MAX of one origin are kept, on the disk, and the oldest goes: each was handed to the court when it came.

Source: notes on the ledger, 5 (EVIDENCE-KEPT).
"""

from hashlib import sha256
from typing import Final

from waypost.codec import u64
from waypost.engine import Put, Rows
from waypost.ledger.checkpoint import Head, read_head

TABLE: Final = "ledger_refused"  # u64 in order of their coming -> the note
REFUSED_MAX: Final = 64  # of one origin


class Refused:
    """What changes returns the rows to write."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[bytes, tuple[int, Head]]] = {}  # by origin and the SHA-256 of the text
        self._next = 0

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def restore(self, rows: Rows) -> list[Head]:
        """All of them, in the order of their coming.  Raises WireError."""
        heads = []
        for key, value in rows.scan(TABLE):
            head, number = read_head(value), int.from_bytes(key, "big")
            self._kept.setdefault(head.origin, {})[_digest(head)] = (number, head)
            self._next = number + 1
            heads.append(head)
        return heads

    def of(self, origin: str) -> list[Head]:
        """In the order of their coming."""
        return [head for _, head in self._kept.get(origin, {}).values()]

    def keep(self, head: Head) -> tuple[Put, ...]:
        kept, digest = self._kept.setdefault(head.origin, {}), _digest(head)
        if digest in kept:
            return ()
        oldest = self._forget(head.origin, next(iter(kept))) if len(kept) >= REFUSED_MAX else ()
        kept[digest] = (self._next, head)
        self._next += 1
        return (*oldest, Put(TABLE, u64(self._next - 1), head.note.encode()))

    def forget(self, head: Head) -> tuple[Put, ...]:
        """It was cosigned after all."""
        return self._forget(head.origin, _digest(head))

    def check(self) -> None:
        assert all(len(kept) <= REFUSED_MAX for kept in self._kept.values())

    def _forget(self, origin: str, digest: bytes) -> tuple[Put, ...]:
        number, _ = self._kept.get(origin, {}).pop(digest, (None, None))
        return () if number is None else (Put(TABLE, u64(number), None),)


def _digest(head: Head) -> bytes:
    return sha256(head.note.text.encode()).digest()
