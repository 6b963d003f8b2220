"""Several hosts on one cable whose delay, jitter, loss and cuts a test commands; all ends with the test.

Each host is a network namespace with a TAP, and one process carries the frames between them (switch.py): the kernel of
a build machine has no netem.  Nobody needs to be root where namespaces of one's own are allowed and /dev/net/tun is.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import switch
from namespaces import Host, entering, holding
from switch import INTERFACE, Link

MTU = 1_500


@dataclass(frozen=True)
class Station(Host):
    """A host, by its number from 1, as another process in its namespaces sees it."""

    number: int
    pid: int

    @property
    def address(self) -> str:
        return address_of(self.number)

    def from_outside(self, path: Path) -> Path:
        """The same file where a disk of the host's own is mounted over it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def mount(self, directory: Path, size: int) -> None:
        """A disk of so many octets."""
        self.run("mount", "-t", "tmpfs", "-o", f"mode=0700,size={size}", "tmpfs", str(directory))

    def received(self) -> int:
        """Frames that have come over the cable."""
        (shown,) = json.loads(self.run("ip", "-json", "-stats", "link", "show", "dev", self.cable))
        count: int = shown["stats64"]["rx"]["packets"]
        return count

    def ping(self, other: "Station", count: int, interval_s: float = 0.01, wait_s: float = 1.0) -> list[float]:
        """The round trips of the answers that came, in seconds."""
        options = ("-n", "-c", str(count), "-i", str(interval_s), "-W", str(wait_s))
        done = subprocess.run(
            [*self.enter, "ping", *options, other.address], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode in (0, 1), done.stderr  # 1: no answers
        lines = [line for line in done.stdout.splitlines() if " time=" in line]
        return [float(line.partition(" time=")[2].split()[0]) / 1_000 for line in lines]


class Cable:
    def __init__(self, stations: tuple[Station, ...], process: "subprocess.Popen[str]") -> None:
        self.stations = stations
        self._process = process
        numbers = [station.number for station in stations]
        self._links = {(source, target): Link() for source in numbers for target in numbers if source != target}

    def set(self, *, delay_s: float = 0.0, jitter_s: float = 0.0, loss: float = 0.0) -> None:
        """Of all links, in each direction; what is cut remains cut."""
        self._order({pair: Link(delay_s, jitter_s, loss, link.cut) for pair, link in self._links.items()})

    def cut(self, source: int, target: int) -> None:
        """Nothing comes from `source` to `target` any more; the other direction is as it was."""
        self._order({(source, target): replace(self._links[source, target], cut=True)})

    def partition(self, *groups: Iterable[int]) -> None:
        """Who is not in the same group hears nothing; who is in none is alone."""
        side = {number: index for index, group in enumerate(groups) for number in group}
        cuts = {pair: pair[0] not in side or side[pair[0]] != side.get(pair[1]) for pair in self._links}
        self._order({pair: replace(link, cut=cuts[pair]) for pair, link in self._links.items()})

    def heal(self) -> None:
        """All that was cut goes on with its delay and its loss."""
        self._order({pair: replace(link, cut=False) for pair, link in self._links.items()})

    def _order(self, links: dict[tuple[int, int], Link]) -> None:
        self._links |= links
        orders = [{"from": source, "to": target, **asdict(link)} for (source, target), link in links.items()]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n", "the switch has ended"


@contextmanager
def cabled(count: int, *, seed: int = 1, hold_s: int = 120) -> Iterator[Cable]:
    """Stations 1 to `count`, for `hold_s` seconds at most; each may mount what the others do not see."""
    with ExitStack() as stack:
        middle = entering(stack.enter_context(holding(["unshare", "-rn"], hold_s)))
        stations = []
        for number in range(1, count + 1):
            process = stack.enter_context(holding([*middle, "unshare", "-nm"], hold_s))
            stations.append(Station((*entering(process), "--mount"), INTERFACE, number, process.pid))
        process = stack.enter_context(switching(middle, stations, seed))
        for station in stations:
            set_up(station, count)
        yield Cable(tuple(stations), process)


@contextmanager
def switching(middle: tuple[str, ...], stations: list[Station], seed: int) -> "Iterator[subprocess.Popen[str]]":
    command = [*middle, sys.executable, switch.__file__, str(seed), *(str(station.pid) for station in stations)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == "ready\n", "no switch"
            yield process
        finally:
            process.kill()
            process.wait()


def set_up(station: Station, count: int) -> None:
    """Every neighbour is known for good: no frame asks for an address, and each one counted was sent by somebody."""
    lines = [
        "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6",
        "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6",
        "ip link set lo up",
        f"ip link set {INTERFACE} address {mac_of(station.number)} mtu {MTU} arp off up",
        f"ip address add {station.address}/24 dev {INTERFACE}",
    ]
    lines += [
        f"ip neighbour replace {address_of(number)} lladdr {mac_of(number)} nud permanent dev {INTERFACE}"
        for number in range(1, count + 1)
        if number != station.number
    ]
    station.run("sh", "-ec", "\n".join(lines))


def address_of(number: int) -> str:
    return f"198.51.100.{number}"


def mac_of(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"
