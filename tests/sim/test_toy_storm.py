"""Storms over a toy that counts: what it acknowledged is never lost, and the same test sees it lost without syncing.

As a program, `test_toy_storm.py SEED` prints the digest of that seed's trace.
"""

import sys
from collections.abc import Callable
from random import Random

import pytest

from waypost.codec import u64
from waypost.engine import Commit, Effect, Endpoint, Path, Put, Rows, Send
from waypost.record import Change
from waypost.sim import TROUBLES, Client, Odds, Storm, Trace, World, repeatable

SERVERS = 3
DEVICES = 6
STORM = 120.0  # seconds
AGAIN = 3.0  # seconds after which a device repeats what was not acknowledged


class Counter:
    """Each device counts up by naming its next number; a number is acknowledged once it is on disk."""

    def __init__(self, rng: Random) -> None:
        self.counts: dict[bytes, int] = {}
        self._durable: dict[bytes, int] = {}
        self._effects: list[Effect] = []

    def restore(self, rows: Rows, now: float) -> None:
        self._durable = {device: int.from_bytes(number, "big") for device, number in rows.scan("counts")}
        self.counts = dict(self._durable)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        device, number = path.peer.host.encode(), int(data)
        puts: tuple[Put, ...] = ()
        if number == self.counts.get(device, 0) + 1:
            self.counts[device] = number
            puts = (Put("counts", device, u64(number)),)
        if number <= self.counts.get(device, 0):  # an old one waits for the disk as well: the newest may be on its way
            self._effects.append(Commit(puts=puts, then=(Send(path, data),)))

    def answered(self, id: int, result: object, now: float) -> None: ...
    def apply(self, change: Change, now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def handle_clock(self, now: float, wall_ms: int) -> None: ...
    def next_timer(self) -> float | None:
        return None

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def check(self) -> None:
        assert all(number >= self._durable.get(device, 0) for device, number in self.counts.items())


class Device:
    """Counts at one server for ever: the next number once the last one is acknowledged."""

    def __init__(self, world: World, number: int) -> None:
        self.acknowledged = 0
        self.server = Endpoint(f"2001:db8::{number % SERVERS:x}", 5683)
        self._client = world.client(f"2001:db8:d::{number:x}", 4000, self._on_datagram)
        self._world = world
        self._send(0)

    @property
    def host(self) -> str:
        return self._client.endpoint.host

    def _on_datagram(self, client: Client, data: bytes, source: Endpoint) -> None:
        if int(data) == self.acknowledged + 1:
            self.acknowledged += 1
            self._world.after(1.0, lambda: self._send(self.acknowledged))

    def _send(self, acknowledged: int) -> None:
        if acknowledged == self.acknowledged:
            self._client.send(b"%d" % (acknowledged + 1), self.server)
            self._world.after(AGAIN, lambda: self._send(acknowledged))


def lost(device: Device, world: World) -> int:
    """Acknowledged numbers that the server no longer knows."""
    node = world.nodes[device.server.host]
    number = node.disk.get("counts", device.host.encode())
    return max(0, device.acknowledged - int.from_bytes(number or b"", "big"))


def storm(seed: int, *, sync: bool = True, trace: Trace | None = None) -> tuple[World, int, dict[str, int]]:
    """The world after the storm, the acknowledged numbers it lost, and the troubles there were."""
    world = World(seed, trace=trace, check_all=100)
    for number in range(SERVERS):
        host = f"2001:db8::{number:x}"
        world.node(host, Counter, host, sync=sync)
    devices = [Device(world, number) for number in range(DEVICES)]
    trouble = Storm(world, Odds().some(Random(f"{seed}/odds")))
    trouble.begin()
    world.run(until=STORM)
    trouble.calm()
    lost_in_all = sum(lost(device, world) for device in devices)
    before = [device.acknowledged for device in devices]
    world.run(until=STORM + 60.0)
    if lost_in_all == 0:
        progress = [device.acknowledged - number for device, number in zip(devices, before, strict=True)]
        assert min(progress) > 10, f"the calm did not let every device go on: {progress}"
    return world, lost_in_all, trouble.counts


@pytest.mark.storm(300, 3000)
def test_a_storm_loses_nothing_that_was_acknowledged(seed: int, request: pytest.FixtureRequest) -> None:
    with repeatable(seed, f"pytest -m '' '{request.node.nodeid}'"):
        _, lost_in_all, _ = storm(seed)
        assert lost_in_all == 0


def test_without_syncing_the_same_storms_do_lose_what_was_acknowledged() -> None:
    assert sum(storm(seed, sync=False)[1] > 0 for seed in range(40)) > 10


def test_every_kind_of_trouble_comes() -> None:
    counts: dict[str, int] = {}
    for seed in range(40):
        for trouble, count in storm(seed)[2].items():
            counts[trouble] = counts.get(trouble, 0) + count
    assert set(counts) == {*TROUBLES, "heal", "restart", "mend_disk"}


def test_one_seed_gives_one_trace_whatever_the_hash_seed(printed: Callable[..., list[str]]) -> None:
    (line,) = printed(5)
    assert len(line.split()) == 2


def main(seed: int) -> None:
    trace = Trace(keep=False)
    world, _, _ = storm(seed, trace=trace)
    print(trace.digest(), world.unseed())


if __name__ == "__main__":
    main(int(sys.argv[1]))
