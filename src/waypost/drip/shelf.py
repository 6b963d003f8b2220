"""Committed records as repair sees them: a Merkle tree for each namespace, and the newest version of each key."""

from collections.abc import Iterable

from waypost.drip.merkle import Merkle, digest_of
from waypost.drip.rumours import size_of
from waypost.record import Committed


class Shelf:
    """Whoever takes a version of a key puts it here too; what is here was verified."""

    def __init__(self) -> None:
        self._trees: dict[str, Merkle] = {}
        self._newest: dict[str, dict[bytes, Committed]] = {}

    def put(self, committed: Committed, hash: str) -> None:
        """A version of a key, newer than the one that is here, and its hash."""
        record = committed.record
        digest = digest_of(record.key.encode())
        tree = self._trees.setdefault(record.namespace, Merkle())
        tree.put(digest, record.version, bytes.fromhex(hash))
        self._newest.setdefault(record.namespace, {})[digest] = committed

    def trees(self) -> dict[str, Merkle]:
        """By namespace."""
        return dict(self._trees)

    def give(self, namespace: str, digests: Iterable[bytes], octets_max: int) -> list[Committed]:
        """As many of the records as fit, in order: one at least, if there is one."""
        newest = self._newest.get(namespace, {})
        given: list[Committed] = []
        for committed in filter(None, map(newest.get, digests)):
            octets_max -= size_of(committed)
            if given and octets_max < 0:
                break
            given.append(committed)
        return given
