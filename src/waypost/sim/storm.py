"""Trouble at random times, all of it from the seed.

Once a second of virtual time each kind of trouble may start, with the probability that Odds gives it;
what has begun ends with the probability of its end.  calm() ends the storm: then a test may ask
whether everything comes right again.  Safety under the storm, liveness after it, as TigerBeetle's
simulator does it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from waypost.sim.network import FAIR, Weather
from waypost.sim.node import Node
from waypost.sim.world import World

TROUBLES: Final = (
    *("weather", "cut", "partition", "clog", "power_cut", "power_cut_midway", "kill", "pause", "clock_step"),
    *("commit_fails", "commit_fails_yet_happens", "slow_disk", "full_disk"),
)


@dataclass(frozen=True, slots=True)
class Odds:
    """Probabilities for each second: of trouble in the whole world, and of its end for each victim."""

    weather: float = 0.05  # the weather changes, see bad_weather()
    cut: float = 0.03  # one direction between two hosts
    partition: float = 0.02
    heal: float = 0.20
    clog: float = 0.03
    power_cut: float = 0.02
    power_cut_midway: float = 0.02  # between two effects of one call
    kill: float = 0.02  # the process dies, the machine does not
    restart: float = 0.30  # of each node that is down
    pause: float = 0.02
    clock_step: float = 0.02
    commit_fails: float = 0.01
    commit_fails_yet_happens: float = 0.01
    slow_disk: float = 0.02
    full_disk: float = 0.01
    mend_disk: float = 0.30  # of each disk that is slow or full
    clock_step_max_ms: int = 10_000
    seconds_max: float = 10.0  # how long a clog or a pause lasts at most
    slow_factor: float = 1000.0

    def some(self, rng: Random) -> "Odds":
        """Half of the troubles, drawn: kinds that hide one another are seen apart in other seeds."""
        off: dict[str, Any] = {trouble: 0.0 for trouble in TROUBLES if rng.random() < 0.5}
        return replace(self, **off)


VOTING: Final = Odds(
    weather=0.0,
    cut=0.10,
    partition=0.10,
    heal=0.25,
    clog=0.05,
    power_cut=0.10,
    power_cut_midway=0.10,
    kill=0.05,
    pause=0.05,
    clock_step=0.05,
    commit_fails=0.02,
    commit_fails_yet_happens=0.02,
    slow_disk=0.02,
    full_disk=0.0,
    clock_step_max_ms=8_000,
    restart=0.5,
    seconds_max=2.0,
    slow_factor=100.0,
)  # of nodes that vote: much trouble, and short, for each vote is over in a second; the weather is ROUGH throughout
ROUGH: Final = Weather(delay_min=0.002, delay_max=0.06, loss=0.08, twice=0.08, late=0.05, late_max=1.5)


def bad_weather(rng: Random) -> Weather:
    """From fair to hardly anything passing; more often the former."""

    def seldom_much(most: float) -> float:
        return most * rng.random() ** 2

    delay_min = seldom_much(0.5)
    return Weather(
        delay_min=delay_min,
        delay_max=delay_min + seldom_much(2.0),
        loss=seldom_much(0.5),
        twice=seldom_much(0.3),
        late=seldom_much(0.3),
        late_max=seldom_much(20.0),
    )


@contextmanager
def repeatable(seed: int, command: str) -> Iterator[None]:
    """Whatever is raised inside says by which command it happens again."""
    try:
        yield
    except Exception as error:
        error.add_note(f"seed {seed}: repeat with {command}")
        raise


class Storm:
    """`counts` says how often each trouble came."""

    def __init__(self, world: World, odds: Odds) -> None:
        self.counts: dict[str, int] = {}
        self._world = world
        self._odds = odds
        self._rng = Random(f"{world.seed}/storm")
        self._blowing = False

    def begin(self) -> None:
        assert not self._blowing
        self._blowing = True
        self._world.after(1.0, self._tick)

    def calm(self) -> None:
        """Fair weather, every path open, every disk well, every node up; a pause ends when it would have."""
        self._blowing = False
        self._world.network.weather = FAIR
        self._world.network.heal()
        for node in self._world.nodes.values():
            node.disk.mend()
            node.crash_after(None)
            if node.engine is None:
                node.start()

    def _tick(self) -> None:
        if not self._blowing:
            return
        self._end_some()
        self._over_the_network()
        if self._comes("clock_step"):  # also of a machine that is down
            most = self._odds.clock_step_max_ms
            self._rng.choice(list(self._world.nodes.values())).step_clock(self._rng.randint(-most, most))
        up = [node for node in self._world.nodes.values() if node.engine is not None]
        if up:
            self._over_a_node(self._rng.choice(up))
        up = [node for node in up if node.engine is not None]
        if up:
            self._over_a_disk(self._rng.choice(up))
        self._world.after(1.0, self._tick)

    def _comes(self, trouble: str) -> bool:
        chance: float = getattr(self._odds, trouble)
        comes = self._rng.random() < chance
        if comes:
            self.counts[trouble] = self.counts.get(trouble, 0) + 1
        return comes

    def _end_some(self) -> None:
        if self._comes("heal"):
            self._world.network.heal()
        for node in self._world.nodes.values():
            if (node.disk.full or node.disk.slow != 1.0) and self._comes("mend_disk"):
                node.disk.mend()
            if node.engine is None and self._comes("restart"):
                node.start()

    def _over_the_network(self) -> None:
        rng, network, hosts = self._rng, self._world.network, self._world.hosts()
        if self._comes("weather"):
            network.weather = bad_weather(rng)
        if len(hosts) < 2:
            return
        if self._comes("cut"):
            network.cut(*self._path(hosts))
        if self._comes("clog"):
            network.clog(*self._path(hosts), self._world.now + self._seconds())
        if self._comes("partition"):
            rng.shuffle(hosts)
            middle = rng.randrange(1, len(hosts))
            network.partition(hosts[:middle], hosts[middle:])

    def _path(self, hosts: list[str]) -> tuple[str, str]:
        """One direction between a node and any other host: clients do not talk to each other."""
        node = self._rng.choice(list(self._world.nodes.values())).endpoints[0].host
        other = self._rng.choice([host for host in hosts if host != node])
        return (node, other) if self._rng.random() < 0.5 else (other, node)

    def _over_a_node(self, node: Node[Any]) -> None:
        if self._comes("pause"):
            node.pause(self._seconds())
        if self._comes("power_cut_midway"):
            node.crash_after(self._rng.randrange(8))
        if node.engine is not None and self._comes("power_cut"):
            node.crash()
        if node.engine is not None and self._comes("kill"):
            node.crash(power_cut=False)

    def _over_a_disk(self, node: Node[Any]) -> None:
        if self._comes("commit_fails"):
            node.disk.fail(happened=False)
        if self._comes("commit_fails_yet_happens"):
            node.disk.fail(happened=True)
        if self._comes("slow_disk"):
            node.disk.slow = self._odds.slow_factor
        if self._comes("full_disk"):
            node.disk.full = True

    def _seconds(self) -> float:
        return self._odds.seconds_max * self._rng.random()
