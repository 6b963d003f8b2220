"""How often one source may write, and how many registrations it may have.

A source is an IPv4 address or an IPv6 /64, since whoever has one address of a /64 has them all.  Each has a
token bucket; one that has filled up again says nothing, so the oldest may be dropped.  Each registration
counts for its holder, from when it is on its way to the disk until it is forgotten.

Source: notes on the directory, 8 (admission); RFC 9176, 8.3.
"""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import ceil
from typing import Final

from waypost.identity import ANONYMOUS, OPERATOR, Identity

BUCKETS_MAX: Final = 16_384  # sources remembered
PREFIXES_MAX: Final = 4_096  # addresses whose prefix is remembered: to work it out takes 4 us


class Admission:
    """`rate` tokens a second up to `burst`; a rate of 0 admits everybody."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, when; the one used longest ago first

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, holder: str, now: float) -> int:
        """0 if admitted; otherwise after how many seconds to come back."""
        if not self._rate or not holder:
            return 0
        tokens, when = self._buckets.pop(holder, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - when) * self._rate)
        admitted = tokens >= 1
        self._buckets[holder] = (tokens - admitted, now)
        if len(self._buckets) > BUCKETS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return 0 if admitted else ceil((1 - tokens) / self._rate)


class Holdings:
    """How many registrations each holder has; "" is nobody, and never counted."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def of(self, holder: str) -> int:
        return self._counts.get(holder, 0)

    def add(self, holder: str) -> None:
        if holder:
            self._counts[holder] = self._counts.get(holder, 0) + 1

    def remove(self, holder: str) -> None:
        if not holder:
            return
        left = self._counts[holder] - 1
        if left:
            self._counts[holder] = left
        else:
            del self._counts[holder]

    def check(self, holders: Iterable[str]) -> None:
        """`holders` has each holder as often as it should be counted."""
        assert self._counts == Counter(filter(None, holders)), "each registration counts for its holder"


def holder(who: Identity, source: str) -> str:
    """For whom a change or a registration counts; "" for operators, and for what comes from nowhere."""
    if who == ANONYMOUS:
        return prefix_of(source) if source else ""
    return "" if who == OPERATOR else who.subject


@lru_cache(PREFIXES_MAX)
def prefix_of(source: str) -> str:
    """What shares a bucket with `source`; a text that is no address is a source of its own."""
    try:
        address = ip_address(source)
    except ValueError:
        return source[:64]
    if isinstance(address, IPv4Address):
        return source
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64))
