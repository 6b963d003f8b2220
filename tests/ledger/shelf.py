"""A tlog-tiles log as files, of entries that we choose, with a key of no strength."""

from collections.abc import Iterable
from hashlib import sha256

from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.tiles import Tile, bundles, encode_bundle, tiles
from waypost.ledger.tree import Tree

KEY = Key("log.example/shelf", Algorithm.ED25519, bytes(32))


def sign(message: bytes) -> bytes:
    return sha256(bytes(32) + message).digest() * 2


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    return signature == sha256(public + message).digest() * 2


def numbered(count: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(count)]


class Shelf:
    """Each file of the log at that size; `files` can be damaged."""

    def __init__(self, entries: list[bytes]) -> None:
        self.tree = Tree()
        self.tree.extend(entries)
        size = len(entries)
        self.files = {tile.path: self.tree.tile(tile.level, tile.index, tile.width) for tile in tiles(0, size)}
        for tile in bundles(0, size):
            self.files[tile.path] = encode_bundle(entries[tile.index * 256 : tile.index * 256 + tile.width])
        self.read: list[str] = []

    def head(self, size: int | None = None) -> Head:
        size = self.tree.size if size is None else size
        return sign_head(Checkpoint(KEY.name, size, self.tree.root(size)), KEY, sign)

    def get(self, path: str) -> bytes | None:
        self.read.append(path)
        return self.files.get(path)

    def flip(self, path: str, octet: int) -> None:
        data = self.files[path]
        self.files[path] = data[:octet] + bytes([data[octet] ^ 1]) + data[octet + 1 :]

    def drop(self, paths: Iterable[str]) -> None:
        for path in paths:
            del self.files[path]

    def partial(self) -> list[str]:
        """The paths of the partial hash tiles."""
        return [path for path in self.files if ".p/" in path and Tile.decode(path).level >= 0]
