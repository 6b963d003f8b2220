"""What one call of the engine has to do, gathered: rows to write, and what may be seen once they are on disk.

Whoever carries out the effects hands a Tell to the peers' transport, a Spread to gossip, a Stored to the change feed, a
Fetch to repair; an answer to any of them is ignored.

Source: design, Contracts 1: durable before visible.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from waypost.drip.messages import Message
from waypost.engine import Answer, Ask, Commit, Effect, Put
from waypost.record import Committed, Place, Proof


@dataclass(slots=True)  # not frozen: see engine.py
class Tell:
    """Bring `message` to the node of that name in the roster, which may be this one; it may be lost."""

    node: str
    message: Message


@dataclass(frozen=True, slots=True)
class Spread:
    """Everybody should know."""

    news: Committed | Proof


@dataclass(frozen=True, slots=True)
class Stored:
    """A version of a key is on this node's disk: for the change feed, for gossip and for repair."""

    committed: Committed


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask `node`, which may be this one, and another for the newest version of a key: what comes is learnt."""

    node: str
    place: Place


class Outbox:
    """tell(), spread() and answer() wait for the disk; tell_now() is for what no crash could make untrue."""

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._now: list[Effect] = []
        self._puts: dict[tuple[str, bytes], Put] = {}
        self._then: list[Effect] = []

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """The last word for a row is the one that is written."""
        self._puts[table, key] = Put(table, key, value)

    def tell(self, node: str, message: Message) -> None:
        self._then.append(Ask(next(self._ids), Tell(node, message)))

    def tell_now(self, node: str, message: Message) -> None:
        self._now.append(Ask(next(self._ids), Tell(node, message)))

    def fetch(self, node: str, place: Place) -> None:
        self._now.append(Ask(next(self._ids), Fetch(node, place)))

    def spread(self, news: Committed | Proof) -> None:
        self._then.append(Ask(next(self._ids), Spread(news)))

    def stored(self, committed: Committed) -> None:
        self._then.append(Ask(next(self._ids), Stored(committed)))

    def answer(self, id: int, result: object) -> None:
        self._then.append(Answer(id, result))

    def take(self) -> list[Effect]:
        effects = self._now
        if self._puts or self._then:
            effects.append(Commit(puts=tuple(self._puts.values()), then=tuple(self._then)))
            self._puts, self._then = {}, []
        self._now = []
        return effects
