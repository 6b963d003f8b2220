"""Nodes that witness each other: peers, witness and rounds of each, and a log that signs what it is told to.

Links are entered in the logs where a story is about that; elsewhere sizes are easier to tell without.

Calls are answered at once, in the order in which they were made; whoever is in `down` does not answer.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from keeping import Disk, notary, public_of, verify
from seeing import POSIX, Ice, Scribe

from waypost.engine import Answer, Apply, Ask, Commit, Effect
from waypost.ledger.checkpoint import Head
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.peers import Peers
from waypost.ledger.questions import Call, Outside, Reply
from waypost.ledger.rounds import Rounds
from waypost.ledger.witness import Witness

LATE: Final = Reply(0)  # what a stranger says that answers when it is told to
Stranger = Callable[[Call], Reply | None]  # a witness outside: what it says to a call


class House:
    """One node.  `links` are the heads that its log would hold, `court` what its court would consider."""

    def __init__(
        self,
        name: str,
        *,
        disk: Disk | None = None,
        outside: tuple[Outside, ...] = (),
        witnessed: tuple[Key, ...] = (),
        quorum: int = 0,
    ) -> None:
        self.name = name
        self.disk = disk or Disk()
        self.scribe = Scribe(name)
        self.may_sign = True
        self.is_damaged = False  # its log, on the disk
        self.enters_links = False
        self.verified = 0
        self.written = 0  # transactions
        self.links: list[Head] = []
        self.court: list[tuple[Head, str]] = []
        self.ice: dict[str, Ice] = {}
        self.accused: list[Key] = []
        self.notary = replace(
            notary(self.disk.read, name), outside=outside, witnessed=witnessed, quorum=quorum, verify=self._verify
        )
        ids = itertools.count(1)
        self.peers = Peers(Random(1), ids, self.notary, Key(name, Algorithm.ED25519, public_of(name)))
        self.witness = Witness(
            self.notary, key_of=self.peers.key_of, frozen=self.ice.get, root_at=lambda origin, size: None
        )
        self.rounds = Rounds(
            ids,
            self.notary,
            self.peers,
            self.witness,
            head=lambda: self.scribe.head() if self.may_sign and self.scribe.tree.size else None,
            consistency=lambda old, new: None if self.is_damaged else self.scribe.tree.consistency(old, new),
            is_accused=lambda key: key in self.accused,
        )

    def restore(self, now: float) -> None:
        self.peers.restore(self.disk, now)
        self.witness.restore(self.disk, now)
        self.rounds.restore(self.disk, now)

    def enter(self, count: int, now: float) -> None:
        """Entries that are no heads of other logs."""
        self.scribe.grow(count)
        self.rounds.entered(now)

    def next_timer(self) -> float:
        timers = (self.peers.next_timer(), self.witness.next_timer(), self.rounds.next_timer())
        return min(when for when in timers if when is not None)

    def handle_timer(self, now: float) -> None:
        self.peers.handle_timer(now)
        self.rounds.handle_timer(now)
        for head in self.witness.take_links(now):
            self.links.append(head)
            if self.enters_links:
                self.scribe.tree.append(b"waypost/peer-head@v1\n" + head.note.encode())
            self.disk.write(Commit(puts=self.witness.linking(head)))

    def _verify(self, public: bytes, signature: bytes, message: bytes) -> bool:
        self.verified += 1
        return verify(public, signature, message)

    def take_effects(self) -> list[Effect]:
        self.court += self.witness.take_heads()
        return self.peers.take_effects() + self.witness.take_effects() + self.rounds.take_effects()


class Town:
    def __init__(
        self,
        *names: str,
        outside: dict[str, tuple[Outside, ...]] | None = None,
        witnessed: tuple[Key, ...] = (),
        quorum: int = 0,
        enters_links: bool = False,
    ) -> None:
        self.now = 100.0
        self.down: set[str] = set()
        self.strangers: dict[str, Stranger] = {}  # by URL
        self.calls: list[tuple[str, Call]] = []
        self.late: list[tuple[str, int, Call]] = []
        self.before: dict[str, dict[str, int]] = {}  # what was counted until the town was calm
        self.houses = {
            name: House(name, outside=(outside or {}).get(name, ()), witnessed=witnessed, quorum=quorum)
            for name in names
        }
        self._served: dict[tuple[str, int], Reply] = {}
        self._serving = itertools.count(1_000_000)
        for house in self.houses.values():
            house.enters_links = enters_links
            house.restore(self.now)
        self.meet()

    def __getitem__(self, name: str) -> House:
        return self.houses[name]

    def meet(self) -> None:
        """Everybody is a member."""
        for name, house in self.houses.items():
            members = {other: public_of(other).hex() for other in self.houses if other != name}
            house.peers.set_members(members, self.now)

    def calm(self) -> "Town":
        """Each has one entry that was published, and nothing is due for long."""
        for house in self.houses.values():
            house.enter(1, self.now)
        self.run(60.0)
        self.calls = []
        self.before = {name: house.rounds.counters() for name, house in self.houses.items()}
        for house in self.houses.values():
            house.court, house.links, house.verified = [], [], 0
        return self

    def counted(self, name: str) -> dict[str, int]:
        """What its rounds counted since then, but for what is 0."""
        before = self.before.get(name, {})
        counted = {
            key.removeprefix("ledger_rounds_"): count - before.get(key, 0)
            for key, count in self.houses[name].rounds.counters().items()
            if key.startswith("ledger_rounds_")
        }
        return {key: count for key, count in counted.items() if count}

    def again(self, name: str) -> House:
        """After a restart: the log is as it was, the rest as it is on the disk."""
        old = self.houses[name]
        new = House(
            name, disk=old.disk, outside=old.notary.outside, witnessed=old.notary.witnessed, quorum=old.notary.quorum
        )
        new.scribe, new.links, new.ice = old.scribe, old.links, old.ice
        self.houses[name] = new
        new.restore(self.now)
        self.meet()
        return new

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := min(house.next_timer() for house in self.houses.values())) <= until:
            self.now = max(self.now, when)
            for house in self.houses.values():
                if house.next_timer() <= self.now:
                    house.handle_timer(self.now)
            self.settle()
        self.now = until

    def hear(self, name: str, body: bytes, source: str) -> Reply:
        """POST heads, by hand."""
        id = next(self._serving)
        self.houses[name].rounds.hear_heads(id, body, source)
        self.settle()
        return self._served.pop((name, id))

    def answer_late(self, say: Stranger) -> None:
        """The call that has waited longest."""
        name, id, call = self.late.pop(0)
        self._answer(self.houses[name], id, say(call))
        self.settle()

    def said(self, path: str, *, to: str | None = None) -> list[Call]:
        """The calls since this was last asked."""
        calls, self.calls = self.calls, []
        return [call for _, call in calls if call.path == path and to in (None, call.node or call.url)]

    def settle(self) -> None:
        waiting = [(house, effect) for house in self.houses.values() for effect in house.take_effects()]
        while waiting:
            house, effect = waiting.pop(0)
            self._carry_out(house, effect)
            for each in self.houses.values():
                waiting += [(each, effect) for effect in each.take_effects()]
        for house in self.houses.values():
            house.witness.check()

    def _carry_out(self, house: House, effect: Effect) -> None:
        match effect:
            case Commit():
                house.disk.write(effect)
                house.written += 1
                for each in effect.then:
                    self._carry_out(house, each)
            case Apply(change):
                assert house.witness.applied(change, self.now) or house.rounds.applied(change, self.now)
            case Answer(id, result):
                assert isinstance(result, Reply)
                self._served[house.name, id] = result
            case Ask(id, body):
                assert isinstance(body, Call)
                self.calls.append((house.name, body))
                result = self._call(house.name, body)
                if result is LATE:
                    self.late.append((house.name, id, body))
                else:
                    self._answer(house, id, result)
            case _:
                raise AssertionError(effect)

    def _answer(self, house: House, id: int, result: Reply | None) -> None:
        assert house.peers.answered(id, result, self.now) or house.rounds.answered(id, result, self.now)

    def _call(self, source: str, call: Call) -> Reply | None:
        if not call.node:
            stranger = self.strangers.get(call.url)
            return stranger(call) if stranger else None
        if {source, call.node} & self.down or call.node not in self.houses:
            return None
        house = self.houses[call.node]
        if call.path == "keys":
            return house.peers.keys()
        id = next(self._serving)
        if call.path == "heads":
            house.rounds.hear_heads(id, call.body, source)
        else:
            house.witness.add_checkpoint(id, call.body, self.now, POSIX + int(self.now), source)
        for effect in house.take_effects():
            self._carry_out(house, effect)
        return self._served.pop((house.name, id))
