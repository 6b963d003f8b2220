"""The network between simulated hosts: weather, cuts, partitions and clogs.

What happens to a datagram is drawn when it is sent, from its sending host's own random stream, so
that one more host does not change the weather of the others.  Hosts are addresses in text.

Faults after those of FoundationDB's and TigerBeetle's simulated networks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from waypost.engine import Endpoint, Path
from waypost.identity import ANONYMOUS

ETHERNET_MAX: Final = 1452  # octets of UDP payload in an unfragmented IPv6 packet on Ethernet


def udp_path(host: str, port: int, *, validated: bool = False) -> Path:
    """A datagram's path from (host, port), for tests that call an engine by hand."""
    return Path("udp", Endpoint(host, port), Endpoint("2001:db8::1", 5683), 0, ANONYMOUS, validated)


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad a path is.  Delays are seconds; the others are probabilities for each datagram, 0 to 1."""

    delay_min: float = 0.010
    delay_max: float = 0.100
    loss: float = 0.0
    twice: float = 0.0  # a second copy comes, with a delay of its own
    late: float = 0.0  # held back by up to late_max more, so that others overtake it
    late_max: float = 5.0
    damage: float = 0.0  # one octet changes and no checksum sees it
    datagram_max: int = ETHERNET_MAX  # octets; a larger one is lost


FAIR: Final = Weather()


class Network:
    def __init__(self, seed: int, weather: Weather = FAIR) -> None:
        self.weather = weather
        self.whole = True  # everybody reaches everybody
        self.counts = dict.fromkeys(("sent", "lost", "cut", "clogged", "twice", "late", "damaged", "too_large"), 0)
        self.sent: dict[tuple[str, str], int] = {}  # octets from one host to another
        self.arrived: dict[tuple[str, str], int] = {}  # octets, each copy
        self._seed = seed
        self._streams: dict[str, Random] = {}
        self._links: dict[tuple[str, str], Weather] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        self._groups: dict[str, int] = {}
        self._clogs: dict[tuple[str, str], float] = {}

    def set_link(self, source: str, target: str, weather: Weather | None) -> None:
        """One direction of one link has weather of its own; None: the weather of all again."""
        if weather is None:
            self._links.pop((source, target), None)
        else:
            self._links[source, target] = weather

    def cut(self, source: str, target: str) -> None:
        """Nothing passes from `source` to `target`; the other direction is left alone."""
        self._cuts[source, target] = None
        self.whole = False

    def partition(self, *groups: Iterable[str]) -> None:
        """Hosts of different groups do not reach each other; a host in no group is left alone."""
        self._groups = {host: number for number, group in enumerate(groups) for host in group}
        self.whole = False

    def heal(self) -> None:
        """End every cut, partition and clog; what is clogged already still comes when it would have."""
        self._cuts.clear()
        self._groups.clear()
        self.whole = True
        self._clogs.clear()

    def clog(self, source: str, target: str, until: float) -> None:
        """What is sent from `source` to `target` before `until` arrives after it, all in one burst."""
        self._clogs[source, target] = until

    def passes(self, source: str, target: str) -> bool:
        """No cut and no partition is between the two.  Asked when a datagram leaves and when it arrives."""
        if self._cuts and (source, target) in self._cuts:
            return False
        if self._groups:
            mine, theirs = self._groups.get(source), self._groups.get(target)
            return mine is None or theirs is None or mine == theirs
        return True

    def post(
        self, source: str, target: str, data: bytes, now: float, *, is_stream: bool = False
    ) -> list[tuple[float, bytes]]:
        """(time, octets) of each copy that will arrive."""
        weather = self._links.get((source, target), self.weather) if self._links else self.weather
        rng = self._streams.get(source) or self._stream(source)
        counts = self.counts
        counts["sent"] += 1
        self.sent[source, target] = self.sent.get((source, target), 0) + len(data)
        if len(data) > weather.datagram_max and not is_stream:
            counts["too_large"] += 1
            return []
        if not (self.whole or self.passes(source, target)):
            counts["cut"] += 1
            return []
        if weather.loss and rng.random() < weather.loss:
            counts["lost"] += 1
            return []
        first = self._copy(source, target, data, weather, rng, now)
        if weather.twice and rng.random() < weather.twice:
            counts["twice"] += 1
            return [first, self._copy(source, target, data, weather, rng, now)]
        return [first]

    def unseed(self) -> list[int]:
        """One more number from each stream: equal only if the runs before were."""
        return [rng.getrandbits(64) for rng in self._streams.values()]

    def _stream(self, host: str) -> Random:
        rng = self._streams[host] = Random(f"{self._seed}/{host}/network")
        return rng

    def _copy(
        self, source: str, target: str, data: bytes, weather: Weather, rng: Random, now: float
    ) -> tuple[float, bytes]:
        when = now + weather.delay_min + (weather.delay_max - weather.delay_min) * rng.random()
        if weather.late and rng.random() < weather.late:
            self.counts["late"] += 1
            when += weather.late_max * rng.random()
        if self._clogs and (until := self._clogs.get((source, target), now)) > now:
            self.counts["clogged"] += 1
            when += until - now
        if weather.damage and data and rng.random() < weather.damage:
            self.counts["damaged"] += 1
            place = rng.randrange(len(data))
            data = data[:place] + bytes((data[place] ^ rng.randrange(1, 256),)) + data[place + 1 :]
        return when, data
