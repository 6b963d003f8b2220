"""A 16-way Merkle tree over the SHA-256 of keys, kept up to date change by change, compared page by page.

A leaf of the tree stands for one key: its digest, the version of its record (a count, or a packed Hlc) and the
record's hash.  A node of the tree stands for the keys whose digests begin with its prefix, in hexadecimal digits: a
bucket while there are BUCKET_MAX of them at most, with sixteen children above that.  So the shape depends on the keys
alone, and two roots are equal if and only if the leaves are (as far as SHA-256 has no collisions).

    hash(no keys) = 32 zero octets
    hash(bucket)  = SHA-256(0x00 || its leaves, by digest)
    hash(branch)  = SHA-256(0x01 || the hashes of its sixteen children)

A change costs one bucket and marks the way up to the root; hashes are made when they are asked for.  A key costs 109
octets at a million keys, 5 µs to put, and 25 µs with a new root.

To compare, one side walks: it asks for pages of prefixes, and learns what the other has that is newer here.  The side
that answers keeps no state; the one that walks keeps sixteen prefixes for each level and each place of a page at most.
Trees of n keys that differ in k exchange O(k log n) hashes.

Source: notes on DRiP, 4.11 (Merkle trees, 16-way over SHA-256 of the key, incremental); G14 (paged, resumable).
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final

BUCKET_MAX: Final = 32  # leaves
DIGEST_SIZE: Final = 32  # octets; also that of a hash
LEAF_SIZE: Final = 72  # octets: digest, version, hash
PREFIX_MAX: Final = 2 * DIGEST_SIZE  # hexadecimal digits
PAGE_MAX: Final = 64  # prefixes in one question
NOTHING: Final = bytes(DIGEST_SIZE)
DIGITS: Final = "0123456789abcdef"


def digest_of(key: bytes) -> bytes:
    return sha256(key).digest()


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the tree knows of a key."""

    digest: bytes
    version: int
    hash: bytes

    def encode(self) -> bytes:
        return self.digest + self.version.to_bytes(8, "big") + self.hash

    @classmethod
    def decode(cls, data: bytes) -> "Leaf":
        return cls(data[:32], int.from_bytes(data[32:40], "big"), data[40:])


@dataclass(frozen=True, slots=True)
class Summary:
    """A node of the tree as it is told: the leaves of a bucket, or the hashes of sixteen children."""

    prefix: str
    leaves: bytes
    children: bytes


class _Node:
    """A bucket (`children` None) or a branch; `hash` None: it is to be made anew."""

    __slots__ = ("children", "count", "hash", "leaves")

    def __init__(self, leaves: bytes) -> None:
        self.leaves = leaves
        self.children: list[_Node | None] | None = None
        self.count = len(leaves) // LEAF_SIZE
        self.hash: bytes | None = None


class Merkle:
    def __init__(self) -> None:
        self._root = _Node(b"")

    def __len__(self) -> int:
        return self._root.count

    def root(self) -> bytes:
        return _hash(self._root)

    def get(self, digest: bytes) -> Leaf | None:
        node = self._root
        depth = 0
        while node.children is not None:
            child = node.children[_digit(digest, depth)]
            if child is None:
                return None
            node, depth = child, depth + 1
        place, found = _find(node.leaves, digest)
        return Leaf.decode(node.leaves[place : place + LEAF_SIZE]) if found else None

    def put(self, digest: bytes, version: int, hash: bytes) -> None:
        """The key has this version now."""
        leaf = Leaf(digest, version, hash).encode()
        assert len(leaf) == LEAF_SIZE
        path, node = self._descend(digest, make=True)
        assert node is not None
        place, found = _find(node.leaves, digest)
        node.leaves = node.leaves[:place] + leaf + node.leaves[place + LEAF_SIZE * found :]
        node.hash = None
        if not found:
            node.count += 1
            for above in path:
                above.count += 1
            if node.count > BUCKET_MAX:
                _split(node, len(path))

    def remove(self, digest: bytes) -> None:
        """The key is forgotten; nothing happens if it was not known."""
        if self.get(digest) is None:
            return
        path, node = self._descend(digest, make=False)
        assert node is not None
        place, _ = _find(node.leaves, digest)
        node.leaves = node.leaves[:place] + node.leaves[place + LEAF_SIZE :]
        node.hash = None
        node.count -= 1
        for above in path:
            above.count -= 1
        for depth, above in enumerate(path):
            if above.count <= BUCKET_MAX:
                above.leaves, above.children = b"".join(_buckets(above)), None
                return
            assert above.children is not None
            place = _digit(digest, depth)
            child = above.children[place]
            if child is not None and child.count == 0:
                above.children[place] = None
                return

    def hash_at(self, prefix: str) -> bytes:
        """The hash that the node of `prefix` has, or would have if the tree were as deep as that."""
        node, leaves = self._at(prefix)
        if leaves is not None:
            return _bucket_hash(leaves)
        return NOTHING if node is None else _hash(node)

    def summary(self, prefix: str) -> Summary:
        node, leaves = self._at(prefix)
        if leaves is not None:
            return Summary(prefix, leaves, b"")
        if node is None:
            return Summary(prefix, b"", b"")
        if node.children is None:
            return Summary(prefix, node.leaves, b"")
        return Summary(prefix, b"", b"".join(NOTHING if child is None else _hash(child) for child in node.children))

    def leaves(self) -> Iterator[Leaf]:
        """Ordered by digest."""
        for bucket in _buckets(self._root):
            yield from map(Leaf.decode, _cut(bucket, LEAF_SIZE))

    def _descend(self, digest: bytes, *, make: bool) -> "tuple[list[_Node], _Node | None]":
        """The branches on the way to the bucket of `digest`, each to be hashed anew, and the bucket."""
        path: list[_Node] = []
        node = self._root
        while node.children is not None:
            node.hash = None
            place = _digit(digest, len(path))
            path.append(node)
            child = node.children[place]
            if child is None:
                if not make:
                    return path, None
                child = node.children[place] = _Node(b"")
            node = child
        return path, node

    def _at(self, prefix: str) -> tuple[_Node | None, bytes | None]:
        """The node of `prefix`; or, where a bucket stands higher up, the leaves of it that are below `prefix`."""
        node = self._root
        for digit in prefix:
            if node.children is None:
                low = bytes.fromhex(prefix.ljust(PREFIX_MAX, "0"))
                high = bytes.fromhex(prefix.ljust(PREFIX_MAX, "f"))
                start, _ = _find(node.leaves, low)
                end, found = _find(node.leaves, high)
                return None, node.leaves[start : end + LEAF_SIZE * found]
            child = node.children[int(digit, 16)]
            if child is None:
                return None, None
            node = child
        return node, None


class Walk:
    """Finds what another tree has that is newer than here.

    Put page() to the other side, hand each of its answers to receive(), until page() is empty: `wanted` then holds the
    leaves to pull, by digest.  The tree may change meanwhile: forget_arrived() leaves what is still newer there.
    Whoever answers wrongly finds at most what it asked us to look at.
    """

    def __init__(self, tree: Merkle) -> None:
        self.wanted: dict[bytes, Leaf] = {}
        self._tree = tree
        self._asked: dict[str, None] = {}
        self._stack = [""]

    def page(self) -> list[str]:
        """The prefixes to ask about next; those that are not answered yet, again."""
        while self._stack and len(self._asked) < PAGE_MAX:
            self._asked[self._stack.pop()] = None
        return list(self._asked)

    def receive(self, summary: Summary) -> bool:
        """False for an answer to no question, or one that breaks the format."""
        if summary.prefix not in self._asked or not _is_sound(summary):
            return False
        del self._asked[summary.prefix]
        for leaf in map(Leaf.decode, _cut(summary.leaves, LEAF_SIZE)):
            if self._is_newer(leaf):
                self.wanted[leaf.digest] = leaf
        for digit, hash in zip(DIGITS, _cut(summary.children, DIGEST_SIZE), strict=False):
            if hash not in (NOTHING, self._tree.hash_at(summary.prefix + digit)):
                self._stack.append(summary.prefix + digit)
        return True

    def forget_arrived(self) -> None:
        """What has come meanwhile by another way is not wanted any more."""
        self.wanted = {digest: leaf for digest, leaf in self.wanted.items() if self._is_newer(leaf)}

    def _is_newer(self, leaf: Leaf) -> bool:
        mine = self._tree.get(leaf.digest)
        return mine is None or leaf.version > mine.version or (leaf.version == mine.version and leaf.hash != mine.hash)


def _is_sound(summary: Summary) -> bool:
    """A bucket's leaves lie below its prefix, in order; a branch has sixteen children, and digits left for them."""
    if summary.children:
        return not summary.leaves and len(summary.children) == 16 * DIGEST_SIZE and len(summary.prefix) < PREFIX_MAX
    if len(summary.leaves) % LEAF_SIZE or len(summary.leaves) > BUCKET_MAX * LEAF_SIZE:
        return False
    digests = [leaf[:DIGEST_SIZE] for leaf in _cut(summary.leaves, LEAF_SIZE)]
    ordered = all(left < right for left, right in pairwise(digests))
    return ordered and all(digest.hex().startswith(summary.prefix) for digest in digests)


def _hash(node: _Node) -> bytes:
    if node.hash is None:
        if node.children is None:
            node.hash = _bucket_hash(node.leaves)
        else:
            children = (NOTHING if child is None else _hash(child) for child in node.children)
            node.hash = sha256(b"\x01" + b"".join(children)).digest()
    return node.hash


def _bucket_hash(leaves: bytes) -> bytes:
    return sha256(b"\x00" + leaves).digest() if leaves else NOTHING


def _split(node: _Node, depth: int) -> None:
    """A bucket that is too large becomes a branch; so does a child that all of its leaves went to."""
    parts: list[list[bytes]] = [[] for _ in DIGITS]
    for leaf in _cut(node.leaves, LEAF_SIZE):
        parts[_digit(leaf, depth)].append(leaf)
    node.leaves = b""
    node.children = [_Node(b"".join(part)) if part else None for part in parts]
    for child in node.children:
        if child is not None and child.count > BUCKET_MAX:
            _split(child, depth + 1)


def _buckets(node: _Node) -> Iterator[bytes]:
    if node.children is None:
        yield node.leaves
        return
    for child in node.children:
        if child is not None:
            yield from _buckets(child)


def _digit(digest: bytes, depth: int) -> int:
    octet = digest[depth >> 1]
    return octet & 15 if depth & 1 else octet >> 4


def _find(leaves: bytes, digest: bytes) -> tuple[int, bool]:
    """Where in a bucket the leaf of `digest` stands or belongs, in octets, and whether it is there."""
    index = bisect_left(range(len(leaves) // LEAF_SIZE), digest, key=lambda i: _digest_at(leaves, i))
    place = index * LEAF_SIZE
    return place, leaves[place : place + DIGEST_SIZE] == digest


def _digest_at(leaves: bytes, index: int) -> bytes:
    return leaves[index * LEAF_SIZE : index * LEAF_SIZE + DIGEST_SIZE]


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[place : place + size] for place in range(0, len(data), size)]
