"""Five nodes of which some lie from some moment on, and what the others make of it, in the simulator."""

from collections.abc import Callable, Iterable
from math import ceil
from typing import Final

from overseer import Overseer, proofs_of
from rogues import Rogue
from stage import Stage

from waypost.ledger import evidence
from waypost.ledger.evidence import Found
from waypost.ledger.policy import quorum_of
from waypost.ledger.questions import Call, Reply, ShowLog, Shown
from waypost.sim.disk import Disk
from waypost.sim.notaries import (
    ROUND_S,
    Notaries,
    cosigner_key,
    log_key,
    origin_of,
)
from waypost.sim.people import Fast

NAMES: Final = ("anna", "berta", "carla", "dora", "emma")
TICK_S: Final = 0.25
PEACE_S: Final = 45.0  # in which all logs come to hold each other's heads
ROUNDS_MAX: Final = 6


class Trial:
    """`bad` are the nodes that lie, once turn() was called for them; all are honest before."""

    def __init__(self, *bad: str, seed: int = 1, peace_s: float = PEACE_S) -> None:
        self.bad = bad
        self.honest = [name for name in NAMES if name not in bad]
        self.overseer = Overseer(NAMES, self.honest)
        self.party = Notaries(seed, NAMES, watcher=self.overseer)
        self.overseer.watch(self.party)
        self.rogues: dict[str, Rogue] = {}
        self._stages: dict[str, Stage] = {}
        self.began = 0.0
        self._keys = 0
        self.live(peace_s)

    def live(self, seconds: float) -> None:
        """Something is committed now and then, and nobody lies but who has turned."""
        end = self.party.world.now + seconds
        while self.party.world.now < end:
            self._keys += 1
            self.party.commit(f"key {self._keys % 7}")
            self.party.run(3.0)

    def turn(self, name: str) -> Rogue:
        """From now on a rogue is that node, with its keys and what was in its log."""
        stage = self._stages[name] = Stage(self.party, name)
        self.rogues[name] = stage.rogue
        self.began = self.party.world.now
        return stage.rogue

    def submit(self, rogue: Rogue, *nodes: str) -> None:
        """It has its head cosigned by those, or tries to."""
        for node in nodes:
            self._stages[rogue.name].submit(node)
        self.party.run(2.0)

    def say(self, rogue: Rogue, call: Call) -> Reply | None:
        """What a node answers to it."""
        answers: list[Reply | None] = []
        self.party.calls.call(rogue.name, self.party.host(rogue.name), call, answers.append)
        self.party.run(5.0)
        return answers[0]

    def play(self, rogue: Rogue, rounds: int) -> None:
        """It goes on as nodes do: something new each round, for everybody, in every history that it shows."""
        for number in range(rounds):
            for history in {id(each): each for each in (rogue.history, *rogue.views.values())}.values():
                history.add(b"something new %d" % number)
            self.submit(rogue, *self.honest)
            self.live(ROUND_S - 2.0)

    # what comes of it

    def proofs(self, of: Iterable[str] = ()) -> list[Found]:
        """What the honest nodes hold, as a stranger judges it who has all public keys: each of it proves something."""
        keys = [key(name) for name in NAMES for key in (log_key, cosigner_key)]
        needs = quorum_of(len(NAMES) - 1)
        held = {data for name in of or self.honest for data in proofs_of(self.disk(name))}
        return [evidence.check(data, keys, Fast.verify, needs) for data in sorted(held)]

    def rounds_until(self, holds: Callable[[], object], most: int = ROUNDS_MAX) -> int:
        """How many rounds pass from the lie on."""
        while not holds():
            assert self.party.world.now < self.began + most * ROUND_S, f"not within {most} rounds"
            self.party.run(TICK_S)
        return ceil((self.party.world.now - self.began) / ROUND_S)

    def rounds_until_proof(self) -> int:
        """Until the first honest node holds one."""
        return self.rounds_until(self.proofs)

    def all_know(self) -> bool:
        """Every honest node holds a proof."""
        return all(self.proofs([name]) for name in self.honest)

    def accused(self) -> set[str]:
        """Origins of those against whom there is proof, and signers."""
        return {found.origin or found.accused for found in self.proofs()}

    def frozen(self, name: str) -> dict[str, int]:
        """By origin, the size at which this node leaves it."""
        shown = self.shown(name)
        return {link.origin: link.frozen for link in shown.links if link.frozen is not None}

    def shown(self, name: str) -> Shown:
        shown = self.party.ask(name, ShowLog())
        assert isinstance(shown, Shown)
        return shown

    def disk(self, name: str) -> Disk:
        return self.party.nodes[name].disk

    def require_no_alarm(self) -> None:
        """Nobody holds a proof, and nothing is frozen."""
        assert self.proofs() == []
        assert all(self.frozen(name) == {} for name in self.honest)
        self.overseer.check()

    def require_only_guilty(self, *names: str) -> None:
        """The proofs are against these, and whoever is honest goes on."""
        assert self.accused() == {origin_of(name) for name in names}
        for name in self.honest:
            assert set(self.frozen(name)) <= {origin_of(bad) for bad in names}
            assert self.shown(name).state == "signing"
