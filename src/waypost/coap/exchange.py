"""The message layer's memory: replies for retransmitted requests, and what we retransmit ourselves.

Source: RFC 7252, 4.2 (reliable messages), 4.5 (deduplication), 4.8 (parameters).
"""

from collections.abc import Hashable
from dataclasses import dataclass
from random import Random

from waypost.coap.numbers import (
    ACK_RANDOM_FACTOR,
    ACK_TIMEOUT,
    DUPLICATES_OCTETS_MAX,
    EXCHANGE_LIFETIME,
    MAX_RETRANSMIT,
    RETRANSMISSIONS_MAX,
)
from waypost.engine import Deadlines, Endpoint, Path, Send

Key = tuple[Endpoint, int]  # a source and its message id


class Duplicates:
    """The last replies by source and message id, `most` of them; the oldest are given up first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._replies: dict[Key, tuple[float, bytes]] = {}  # oldest first
        self.octets = 0

    def get(self, key: Key, now: float) -> bytes | None:
        kept = self._replies.get(key)
        return kept[1] if kept is not None and kept[0] > now else None

    def put(self, key: Key, reply: bytes, now: float) -> None:
        self._drop(key)
        self._replies[key] = (now + EXCHANGE_LIFETIME, reply)
        self.octets += len(reply)
        while len(self._replies) > self._most or self.octets > DUPLICATES_OCTETS_MAX:
            self._drop(next(iter(self._replies)))

    def expire(self, now: float) -> None:
        while self._replies and self._replies[oldest := next(iter(self._replies))][0] <= now:
            self._drop(oldest)

    def __len__(self) -> int:
        return len(self._replies)

    def _drop(self, key: Key) -> None:
        kept = self._replies.pop(key, None)
        if kept is not None:
            self.octets -= len(kept[1])


@dataclass(slots=True)
class _Outstanding:
    path: Path
    data: bytes
    timeout: float
    owner: Hashable
    retransmits: int = 0


class Retransmissions:
    """Confirmable messages until they are acknowledged, reset or given up.

    `owner` is the caller's own name for what the message belongs to.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._outstanding: dict[Key, _Outstanding] = {}
        self._deadlines: Deadlines[Key] = Deadlines()

    def full(self) -> bool:
        return len(self._outstanding) >= RETRANSMISSIONS_MAX

    def start(self, path: Path, id: int, data: bytes, owner: Hashable, now: float, *, once: bool = False) -> None:
        """Remember that `data` was sent just now; `once` waits for its acknowledgement without sending again."""
        timeout = ACK_TIMEOUT * self._rng.uniform(1.0, ACK_RANDOM_FACTOR)
        key = (path.peer, id)
        self._outstanding[key] = _Outstanding(path, data, timeout, owner, MAX_RETRANSMIT if once else 0)
        self._deadlines.set(key, now + timeout)

    def end(self, peer: Endpoint, id: int) -> Hashable | None:
        """An acknowledgement or reset came: the owner, or None if nothing waited for it."""
        outstanding = self._outstanding.pop((peer, id), None)
        if outstanding is None:
            return None
        self._deadlines.clear((peer, id))
        return outstanding.owner

    def due(self, now: float) -> tuple[list[Send], list[Hashable]]:
        """What to send again, and the owners of what is given up."""
        again: list[Send] = []
        given_up: list[Hashable] = []
        for key in self._deadlines.pop_due(now):
            outstanding = self._outstanding[key]
            if outstanding.retransmits == MAX_RETRANSMIT:
                del self._outstanding[key]
                given_up.append(outstanding.owner)
                continue
            outstanding.retransmits += 1
            outstanding.timeout *= 2
            again.append(Send(outstanding.path, outstanding.data))
            self._deadlines.set(key, now + outstanding.timeout)
        return again, given_up

    def next(self) -> float | None:
        return self._deadlines.next()

    def __contains__(self, key: Key) -> bool:
        return key in self._outstanding

    def __len__(self) -> int:
        return len(self._outstanding)
