"""Storms over nodes that keep logs: the troubles of the simulator, voters, clients at every node, and a midnight."""

from dataclasses import replace
from functools import partial
from hashlib import sha256
from random import Random
from typing import Final

from overseer import Overseer
from stage import Stage

from waypost.ledger.days import GRACE_MS, RETRY_S
from waypost.ledger.questions import Call, Enter, Entered
from waypost.sim import EPOCH_MS, ROUGH, VOTING, Storm
from waypost.sim.notaries import DAY_MS, Notaries

NAMES: Final = ("anna", "berta", "carla", "dora", "emma")
SECONDS: Final = 30.0
ROUND_S: Final = 2.0
SETTLING: Final = 22.0  # for what was put off, with its retries
SKIPPED_MS: Final = 25_000  # by all clocks after the storm, so that the day ends meanwhile
ROUNDS: Final = 5  # in which every live peer is linked
LIES_S: Final = 5.0  # after which a liar may turn
MIDNIGHT_S: Final = 5.0  # into the storm
DAYS: Final = ("2027-01-15", "2027-01-16")
KEYS: Final = [key for key in map(str, range(600)) if sha256(f"names\0{key}".encode()).digest()[0] < 3]  # in 3 buckets


class Tempest:
    """A party in a storm, with its overseer; with a `liar`, the first of them forks its log in the midst of it."""

    def __init__(self, seed: int, *, sync: bool = True, liar: bool = False) -> None:
        self.rng = Random(f"{seed}/tempest")
        self.honest = NAMES[1:] if liar else NAMES
        self.overseer = Overseer(NAMES, self.honest)
        midnight = self.midnight = -(EPOCH_MS + round(MIDNIGHT_S * 1000)) % DAY_MS
        self.party = Notaries(seed, NAMES, sync=sync, round_s=ROUND_S, clock_offset_ms=midnight, watcher=self.overseer)
        self.overseer.watch(self.party)
        self.working = True
        self.mean = self.rng.choice((0.2, 0.5, 2.0))
        self.troubles: dict[str, int] = {}
        if liar:
            self.party.world.after(self.rng.uniform(LIES_S, SECONDS), self._turn)

    def blow(self) -> None:
        world = self.party.world
        world.network.weather = replace(ROUGH, loss=self.rng.choice((0.0, 0.08, 0.25)))
        storm = Storm(world, VOTING.some(self.rng))
        self._work()
        storm.begin()
        for _ in range(round(SECONDS)):
            self.party.run(1.0)
            self.overseer.check()
        self.working = False
        storm.calm()
        for node in self.party.nodes.values():
            node.step_clock(self.midnight + SKIPPED_MS - node.clock_offset_ms)
        self.troubles = storm.counts
        self.settle()

    def settle(self) -> None:
        self.party.run(SETTLING)
        self.overseer.check()
        if not self.overseer.have_published(DAYS[0]):  # a log that could not sign then tries again
            self.party.run(RETRY_S + 1.0)
        sizes = self.overseer.sizes()
        self.party.commit("the last")
        self.party.run(ROUNDS * ROUND_S)
        self.overseer.check_fresh(sizes)
        self.overseer.check_entered()
        self.overseer.check_same(DAYS[0])
        self.overseer.check_published()
        self.tomorrow()

    def tomorrow(self) -> None:
        """The next day is over at once."""
        for node in self.party.nodes.values():
            node.step_clock(DAY_MS - (node.wall_ms() - GRACE_MS) % DAY_MS - 3_000)
        self.party.run(10.0)
        self.overseer.check()
        self.overseer.check_same(DAYS[1])

    def _work(self) -> None:
        """Commits, announcements and statements, now and then."""
        if not self.working:
            return
        party, rng = self.party, self.rng
        kind = rng.randrange(5)
        if kind == 0:
            party.gossip(b"key %d" % rng.randrange(8), rng.choice((b"value", None)))
        elif kind == 1:
            self._state(rng.choice(self.honest))
        elif kind == 2:  # the overseer reads it
            party.calls.call(
                "reader", "2001:db8:d::1", Call(rng.choice(NAMES), "GET", "checkpoint"), lambda reply: None
            )
        else:
            party.commit(rng.choice(KEYS))
        party.world.after(rng.expovariate(1 / self.mean), self._work)

    def _turn(self) -> None:
        """The first node forks, by little or by much: some see the one history, some the other."""
        stage, rng = Stage(self.party, NAMES[0]), self.rng
        rogue = stage.rogue
        fork = rogue.history.fork(rng.randint(0, rogue.history.size), *[b"otherwise"] * rng.randint(1, 20))
        seeing = rng.sample(self.honest, rng.randrange(1, len(self.honest)))
        rogue.views = dict.fromkeys(seeing, fork)
        self._lie(stage)

    def _lie(self, stage: Stage) -> None:
        rogue, rng = stage.rogue, self.rng
        for history in (rogue.history, next(iter(rogue.views.values()))):
            history.add(*[b"and so on"] * rng.randint(0, 3))
        for name in self.honest:
            stage.submit(name)
        self.party.world.after(ROUND_S, partial(self._lie, stage))

    def _state(self, name: str) -> None:
        """A client has a statement entered there."""
        node = self.party.nodes[name]
        if node.engine is None:
            return
        data = self.party.statement(f"client of {name}", number=self.rng.random() < 0.5).encode()
        node.ask(lambda engine, now: engine.ask(Enter(data), now), partial(self._stated, name, data))

    def _stated(self, name: str, data: bytes, answer: object) -> None:
        if isinstance(answer, Entered):
            self.overseer.entered.append((name, answer.index, data))
