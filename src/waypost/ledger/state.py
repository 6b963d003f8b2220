"""State roots: one hash for all that a node holds, equal on nodes that hold the same, however it came to them.

    leaf         canonical JSON [namespace, key, version, SHA-256 of the value or null]; octets are in hexadecimal
    version      of a voted record a number, of a gossiped one [milliseconds, count] of its clock
    bucket       the leaves whose keys' digests begin with one octet, in the order of the digests: an RFC 6962 tree
    root         the RFC 6962 tree over the 256 roots of the buckets

The digest of a key is SHA-256(namespace NUL key).  Who accepted a gossiped record and when it expires are left aside:
a refresh elsewhere changes neither what it says nor since when.  Of gossip only those count that were told by a moment
that all agree on, and that nobody may have forgotten yet.

Source: notes on the ledger, 5 (SAME-STATE).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from waypost.ledger.tree import Tree
from waypost.record import Committed, canonical
from waypost.record.gossiped import Gossiped

BUCKETS: Final = 256
PORTION: Final = 256  # leaves of one step: about 2 ms

Version = int | list[int]


@dataclass(frozen=True, slots=True)
class State:
    """Of `size` records."""

    root: bytes
    size: int


class Rooting:
    """The root of records, worked out in steps: each takes PORTION of them, or makes as many leaves a part of trees."""

    def __init__(self, records: Sequence[Committed] | Sequence[Gossiped]) -> None:
        self._records = records
        self._at = 0
        self._buckets: list[dict[bytes, bytes]] = [{} for _ in range(BUCKETS)]  # digest of the key -> leaf
        self._roots: list[bytes] = []
        self._tree = Tree()
        self._left: list[bytes] = []  # leaves of the bucket that is under way, the last one first

    def step(self) -> State | None:
        """The state, once it is known."""
        if self._at < len(self._records):
            self._sort(self._records[self._at : self._at + PORTION])
            self._at += PORTION
            return None
        work = PORTION
        while work > 0 and len(self._roots) < BUCKETS:
            work -= self._hash(work)
        if len(self._roots) < BUCKETS:
            return None
        whole = Tree()
        whole.extend(self._roots)
        return State(whole.root(), len(self._records))

    def _sort(self, records: Iterable[Committed | Gossiped]) -> None:
        for record in records:
            digest, leaf = _leaf(record)
            self._buckets[digest[0]][digest] = leaf

    def _hash(self, work: int) -> int:
        """Go on with a bucket; the work it was."""
        bucket = self._buckets[len(self._roots)]
        if bucket and not self._left:
            self._left = [bucket[digest] for digest in sorted(bucket, reverse=True)]
        portion = [self._left.pop() for _ in range(min(work, len(self._left)))]
        self._tree.extend(portion)
        if not self._left:
            self._roots.append(self._tree.root())
            self._tree = Tree()
            bucket.clear()
        return len(portion) + 1


def told_by(records: Iterable[Gossiped], moment_ms: int, until_ms: int) -> list[Gossiped]:
    """Those that were told by that moment and are kept by all beyond `until_ms`."""
    return [each for each in records if each.hlc.wall_ms <= moment_ms and each.expires_ms > until_ms]


def _leaf(record: Committed | Gossiped) -> tuple[bytes, bytes]:
    """The digest of its key, and its leaf."""
    if isinstance(record, Committed):
        voted = record.record
        value = None if voted.value is None else voted.value.encode()
        return _made(voted.namespace, voted.key.encode(), voted.key, voted.version, value)
    version = [record.hlc.wall_ms, record.hlc.count]
    return _made(record.namespace, record.key, record.key.hex(), version, record.value)


def _made(namespace: str, key: bytes, told: str, version: Version, value: bytes | None) -> tuple[bytes, bytes]:
    digest = sha256(namespace.encode() + b"\0" + key).digest()
    held = None if value is None else sha256(value).hexdigest()
    return digest, canonical([namespace, told, version, held])
