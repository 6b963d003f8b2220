"""Evidence goes to every other node: at once, and again each round until that node has taken it.

One piece is on its way to a node at a time.  A node that does not answer is asked again with the next round; one that
refuses, which may not know the key yet that the evidence is about, after twice as long each time, and with another
piece first if there is one.  What is new goes at once.

Source: notes on the ledger, 5 (after a proof: gossip at once).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from waypost.engine import Ask, Effect
from waypost.ledger.questions import Call, Reply

PATH: Final = "evidence"
WAIT_MAX_S: Final = 600.0  # for a node that refuses


@dataclass(slots=True)
class _Node:
    """Digests: `told` it took or told us itself, `untold` wait, `refused` it would not take.

    `heard` counts the pieces that are in one of them; `asked` is under way.  Nothing before `when`, and nothing that
    was refused before `again`.
    """

    told: dict[str, None] = field(default_factory=dict)
    untold: dict[str, None] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)
    heard: int = 0
    asked: int | None = None
    refusals: int = 0
    when: float = 0.0
    again: float = 0.0

    def next(self) -> float | None:
        """When it is to be told something."""
        if self.asked is not None or not (self.untold or self.refused):
            return None
        return self.when if self.untold else max(self.when, self.again)


class Spreading:
    """`nodes` are all others.  add() for what is durable."""

    def __init__(self, ids: Iterator[int], round_s: float, nodes: Callable[[], Iterable[str]]) -> None:
        self._ids = ids
        self._round_s = round_s
        self._names = nodes
        self._evidence: dict[str, bytes] = {}
        self._order: list[str] = []
        self._nodes: dict[str, _Node] = {}
        self._asked: dict[int, tuple[str, str]] = {}
        self._effects: list[Effect] = []
        self.told = 0

    def add(self, digest: str, data: bytes) -> None:
        if digest not in self._evidence:
            self._evidence[digest] = data
            self._order.append(digest)

    def knows(self, name: str, digest: str) -> None:
        """That node has told us, or taken it."""
        node = self._nodes.setdefault(name, _Node())
        node.told[digest] = None
        node.untold.pop(digest, None)
        node.refused.pop(digest, None)

    def spread(self, now: float) -> None:
        """To whom it is time to tell something."""
        self._nodes = {name: self._nodes.get(name, _Node()) for name in self._names()}
        for name, node in self._nodes.items():
            node.untold.update((digest, None) for digest in self._order[node.heard :] if digest not in node.told)
            node.heard = len(self._order)
            when = node.next()
            if when is not None and when <= now:
                self._tell(name, node)

    def answered(self, id: int, result: object, now: float) -> bool:
        if id not in self._asked:
            return False
        name, digest = self._asked.pop(id)
        node = self._nodes.get(name)
        if node is not None and node.asked == id:
            node.asked = None
            self._take(name, node, digest, result.status if isinstance(result, Reply) else 0, now)
            self.spread(now)
        return True

    def next_timer(self) -> float | None:
        """At once, if there is a node that was told nothing."""
        nodes = [self._nodes.get(name, _Node()) for name in self._names()]
        due = [0.0 for node in nodes if node.heard < len(self._order)]
        return min(due + [when for node in nodes if (when := node.next()) is not None], default=None)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def untold(self) -> int:
        return sum(len(node.untold) + len(node.refused) for node in self._nodes.values())

    def _take(self, name: str, node: _Node, digest: str, status: int, now: float) -> None:
        if 200 <= status < 300:
            self.told += 1
            self.knows(name, digest)
            node.refusals, node.again = 0, now
        elif 400 <= status < 500 and digest not in node.told:
            node.untold.pop(digest, None)
            node.refused.pop(digest, None)
            node.refused[digest] = None  # behind the others
            node.again = now + min(self._round_s * 2.0 ** min(node.refusals, 16), WAIT_MAX_S)
            node.refusals += 1
        else:
            node.when = now + self._round_s

    def _tell(self, name: str, node: _Node) -> None:
        digest = next(iter(node.untold or node.refused))
        id = node.asked = next(self._ids)
        self._asked[id] = name, digest
        self._effects.append(Ask(id, Call(name, "POST", PATH, self._evidence[digest])))
