"""Block-wise transfer: answers cut into blocks, requests put together from them.

An answer that takes several blocks is kept as a snapshot under its source and request, so that all
its blocks are of one state however the resource changes meanwhile; its ETag says which.

Source: RFC 7959, 2; Request-Tag, RFC 9175, 3.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2s

from waypost.coap.message import BERT, block_size
from waypost.coap.numbers import (
    ASSEMBLIES_MAX,
    ASSEMBLIES_PER_SOURCE_MAX,
    ASSEMBLY_LIFETIME,
    BODY_MAX,
    SNAPSHOT_LIFETIME,
    SNAPSHOTS_MAX,
    SNAPSHOTS_OCTETS_MAX,
    Code,
)
from waypost.coap.request import Block, Request, Response
from waypost.engine import Endpoint, Path
from waypost.errors import RemoteError

Key = tuple[Endpoint, Hashable]


def snapshot_key(path: Path, request: Request) -> Key:
    return path.peer, (request.method, request.path, request.query, request.accept)


def etag(payload: bytes) -> bytes:
    """Equal payloads have equal tags; 4 octets, since each of them is taken from the smallest blocks."""
    return blake2s(payload, digest_size=4).digest()


@dataclass(slots=True)
class Snapshot:
    response: Response
    tag: bytes
    until: float


class Snapshots:
    """Answers under way, the least recently used given up first; a client then meets a new ETag."""

    def __init__(self) -> None:
        self._kept: dict[Key, Snapshot] = {}
        self.octets = 0

    def get(self, key: Key, now: float) -> Snapshot | None:
        snapshot = self._drop(key)
        if snapshot is None or snapshot.until <= now:
            return None
        self._keep(key, snapshot, now)
        return snapshot

    def put(self, key: Key, response: Response, now: float) -> Snapshot:
        snapshot = self._drop(key)
        if snapshot is None or snapshot.response is not response:
            snapshot = Snapshot(response, etag(response.payload), 0.0)
        self._keep(key, snapshot, now)
        while len(self._kept) > SNAPSHOTS_MAX or self.octets > SNAPSHOTS_OCTETS_MAX:
            oldest = next(iter(self._kept))
            if oldest == key:  # larger than all we keep: served as it is, and computed again for each block
                self._drop(key)
                break
            self._drop(oldest)
        return snapshot

    def clear(self) -> None:
        self._kept.clear()
        self.octets = 0

    def expire(self, now: float) -> None:
        """Forget what nobody has asked for within SNAPSHOT_LIFETIME."""
        while self._kept and self._kept[oldest := next(iter(self._kept))].until <= now:
            self._drop(oldest)

    def __len__(self) -> int:
        return len(self._kept)

    def _keep(self, key: Key, snapshot: Snapshot, now: float) -> None:
        snapshot.until = now + SNAPSHOT_LIFETIME
        self._kept[key] = snapshot
        self.octets += len(snapshot.response.payload)

    def _drop(self, key: Key) -> Snapshot | None:
        snapshot = self._kept.pop(key, None)
        if snapshot is not None:
            self.octets -= len(snapshot.response.payload)
        return snapshot


@dataclass(slots=True)
class _Assembly:
    body: bytearray
    until: float


class Assemblies:
    """Request payloads under way."""

    def __init__(self) -> None:
        self._under_way: dict[Key, _Assembly] = {}  # least recently extended first
        self._of_source: dict[str, int] = {}

    def add(self, key: Key, block: Block, payload: bytes, now: float) -> bytes | None:
        """The whole body when this block was the last, else None.

        Raises RemoteError with the code to answer: 4.08 for a block out of order, 4.13 for a body
        over BODY_MAX or a source with too many bodies under way.
        """
        self.expire(now)
        number, more, exponent = block
        size = block_size(exponent)
        fits = len(payload) == size or (exponent == BERT and payload and not len(payload) % size)
        if more and not fits:
            raise RemoteError(f"a block of {len(payload)} octets says it has {size}", code=Code.BAD_REQUEST)
        if number == 0:
            self._drop(key)
            if not more:
                return payload
            self._start(key)
        assembly = self._under_way.pop(key, None)
        if assembly is None or number * size != len(assembly.body):
            self._count(key, -1 if assembly else 0)
            raise RemoteError("a block is missing: start again with block 0", code=Code.REQUEST_ENTITY_INCOMPLETE)
        if len(assembly.body) + len(payload) > BODY_MAX:
            self._count(key, -1)
            raise RemoteError(f"a body has at most {BODY_MAX} octets", code=Code.REQUEST_ENTITY_TOO_LARGE)
        assembly.body += payload
        if not more:
            self._count(key, -1)
            return bytes(assembly.body)
        assembly.until = now + ASSEMBLY_LIFETIME
        self._under_way[key] = assembly
        return None

    def expire(self, now: float) -> None:
        while self._under_way and self._under_way[oldest := next(iter(self._under_way))].until <= now:
            self._drop(oldest)

    def __len__(self) -> int:
        return len(self._under_way)

    def _start(self, key: Key) -> None:
        if len(self._under_way) >= ASSEMBLIES_MAX or self._of_source.get(key[0].host, 0) >= ASSEMBLIES_PER_SOURCE_MAX:
            raise RemoteError(
                "too many block-wise requests are under way: finish one first", code=Code.SERVICE_UNAVAILABLE
            )
        self._under_way[key] = _Assembly(bytearray(), 0.0)
        self._count(key, 1)

    def _drop(self, key: Key) -> None:
        if self._under_way.pop(key, None) is not None:
            self._count(key, -1)

    def _count(self, key: Key, change: int) -> None:
        host = key[0].host
        count = self._of_source.get(host, 0) + change
        if count:
            self._of_source[host] = count
        else:
            self._of_source.pop(host, None)
