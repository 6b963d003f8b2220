"""How many connections there may be, in all and from one source."""

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address


@dataclass(slots=True)
class Places:
    """`refused` counts the connections past `most` and `most_per_source`."""

    most: int
    most_per_source: int
    taken: int = 0
    refused: int = 0
    _sources: Counter[bytes] = field(default_factory=Counter)

    def admit(self, source: bytes) -> bool:
        """Take a place, if there is one."""
        if self.taken >= self.most or self._sources[source] >= self.most_per_source:
            self.refused += 1
            return False
        self.taken += 1
        self._sources[source] += 1
        return True

    def leave(self, source: bytes) -> None:
        self.taken -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]


def source_of(peer: tuple[str, int] | tuple[str, int, int, int] | str | None) -> bytes:
    """What connections are counted by: an IPv6 source is a /64, since whoever has one address has them all.

    A peer that has left already has no name, nor has one on this machine's own socket.
    """
    if peer is None or isinstance(peer, str):
        return b""
    packed = ip_address(peer[0].partition("%")[0]).packed
    return packed[:8] if len(packed) == 16 else packed
