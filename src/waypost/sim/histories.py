"""Logs that sign whatever they are told to: what a bad node shows, and what a good one would have.

A history is entries and a key; two of one origin may say different things.
"""

from collections.abc import Sequence

from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.note import Key, Sign
from waypost.ledger.questions import Reply
from waypost.ledger.submission import Submission
from waypost.ledger.tiles import ENTRIES, WIDTH, Tile, encode_bundle
from waypost.ledger.tree import Tree


class History:
    def __init__(self, key: Key, sign: Sign, entries: Sequence[bytes] = ()) -> None:
        self.key = key
        self.tree = Tree()
        self.entries: list[bytes] = []
        self._sign = sign
        self.add(*entries)

    @property
    def origin(self) -> str:
        return self.key.name

    @property
    def size(self) -> int:
        return self.tree.size

    def add(self, *entries: bytes) -> None:
        self.entries += entries
        self.tree.extend(entries)

    def fork(self, size: int, *entries: bytes) -> "History":
        """Another history with this key, the same up to `size`."""
        return History(self.key, self._sign, [*self.entries[:size], *entries])

    def head(self, size: int | None = None) -> Head:
        size = self.size if size is None else size
        return sign_head(Checkpoint(self.origin, size, self.tree.root(size)), self.key, self._sign)

    def submission(self, old: int, size: int | None = None) -> Submission:
        """For a witness that holds the head of size `old`, or says so."""
        head = self.head(size)
        proof = self.tree.consistency(old, head.size) if 0 < old < head.size else ()
        return Submission(old, proof, head)

    def serve(self, path: str) -> Reply:
        """GET of a tile or of the checkpoint."""
        if path == "checkpoint":
            return Reply(200, self.head().note.encode())
        tile = Tile.decode(path)
        if not tile.is_within(self.size):
            return Reply(404)
        if tile.level == ENTRIES:
            start = WIDTH * tile.index
            return Reply(200, encode_bundle(self.entries[start : start + tile.width]))
        return Reply(200, self.tree.tile(tile.level, tile.index, tile.width))
