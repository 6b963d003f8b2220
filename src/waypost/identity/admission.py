"""How much one asker may ask: token buckets by identity, by address and by network.

Whoever has one address of an IPv6 /64 has them all, and often a /56; of IPv4, a /24 is often one's.  So a stranger's
request costs a token of its /32 or /64, and one of its /24 or /56, which holds NETWORK times as many; who has shown
who it is has a bucket of its own, wherever it comes from.  The operator and this machine's own addresses are not
limited: what runs here may do worse.

A bucket that has filled up again says nothing, so the one used longest ago may be dropped: a million forged
sources take no more memory than AT_THE_GATE_MAX buckets.

Source: notes on reliability, D1 (quotas); notes on the directory, 8 (admission); RFC 9176, 8.3.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import ceil
from typing import Final

from waypost.identity import ANONYMOUS, OPERATOR, Identity

BUCKETS_MAX: Final = 16_384
AT_THE_GATE_MAX: Final = 2_048  # of each kind: who asks too much asks often, and so is never the longest unheard of
PREFIXES_MAX: Final = 2_048  # addresses whose prefixes are remembered: to work them out takes 4 us
NETWORK: Final = 8


class Buckets:
    """`rate` tokens a second up to `burst` for each of `most` holders; a rate of 0 admits everybody."""

    def __init__(self, rate: float, burst: int, most: int = BUCKETS_MAX) -> None:
        self._most = most
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, when; the one used longest ago first

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, holder: str, now: float) -> int:
        """0 if admitted; otherwise after how many seconds to come back.  "" is nobody, and always admitted."""
        if not self._rate or not holder:
            return 0
        tokens, when = self._buckets.pop(holder, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - when) * self._rate)
        admitted = tokens >= 1
        self._buckets[holder] = (tokens - admitted, now)
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return 0 if admitted else ceil((1 - tokens) / self._rate)


class Gate:
    """Stands before all that keeps state for a request."""

    def __init__(self, rate: float, burst: int) -> None:
        self._askers = Buckets(rate, burst, AT_THE_GATE_MAX)
        self._networks = Buckets(rate * NETWORK, burst * NETWORK, AT_THE_GATE_MAX)
        self.refused = 0

    def __len__(self) -> int:
        return len(self._askers) + len(self._networks)

    def take(self, who: Identity, source: str, now: float) -> int:
        """0 if admitted; otherwise after how many seconds to come back."""
        if who == ANONYMOUS:
            asker, network, loopback = _prefixes(source)
            if loopback:
                return 0
            retry_s = self._askers.take(asker, now) or self._networks.take(network, now)
        else:
            retry_s = 0 if who == OPERATOR else self._askers.take(who.subject, now)
        self.refused += retry_s > 0
        return retry_s


def prefix_of(source: str) -> str:
    """What shares a bucket with `source`; a text that is no address is a source of its own."""
    return _prefixes(source)[0]


@lru_cache(PREFIXES_MAX)
def _prefixes(source: str) -> tuple[str, str, bool]:
    """The /32 and /24, or the /64 and /56, of `source`, and whether it is an address of the loopback."""
    try:
        address = ip_address(source)
    except ValueError:
        return source[:64], source[:64], False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return str(address), f"{IPv4Address(int(address) >> 8 << 8)}/24", address.is_loopback
    asker, network = (IPv6Address(int(address) >> rest << rest) for rest in (64, 72))
    return str(asker), f"{network}/56", address.is_loopback
