"""How often one source may write.

A token bucket for each source: an IPv4 address or an IPv6 /64, since whoever has one address of a
/64 has them all.  A bucket that has filled up again says nothing, so the oldest may be dropped.

Source: notes on the directory, 8 (admission); RFC 9176, 8.3.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import ceil
from typing import Final

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

    def take(self, source: str, now: float) -> int:
        """0 if admitted; otherwise after how many seconds to come back."""
        if not self._rate or not source:
            return 0
        prefix = prefix_of(source)
        tokens, when = self._buckets.pop(prefix, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - when) * self._rate)
        admitted = tokens >= 1
        self._buckets[prefix] = (tokens - admitted, now)
        if len(self._buckets) > BUCKETS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return 0 if admitted else ceil((1 - tokens) / self._rate)


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
