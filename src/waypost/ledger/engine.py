"""The ledger: this node's log, what it does for the logs of others, and what it does when one of them lies.

The organs know little of each other; what one has made for another is handed on here after each call.

Source: notes on the ledger, 5; design, Contracts, 1, 3 and 4.
"""

from collections.abc import Iterator, Mapping
from random import Random

from waypost.engine import Answer, Effect, Rows
from waypost.ledger.questions import Held, LedgerQuestion, Notary, Reply
from waypost.record import Change


class LedgerEngine:
    """`ids` numbers what is asked and answered.  `cursor` is the last change of the feed that is in the log."""

    def __init__(self, rng: Random, ids: Iterator[int], notary: Notary, held: Held) -> None:
        self._ids = ids
        self._effects: list[Effect] = []
        self.cursor = 0

    def restore(self, rows: Rows, network: str, now: float) -> None:
        """Raises StoreError if what is on disk is not the log that its head says."""

    def handle_clock(self, now: float, wall_ms: int) -> None: ...

    def set_members(self, members: Mapping[str, str]) -> None:
        """The other nodes of the network: their node keys, by name."""

    def apply(self, change: Change, now: float) -> None:
        """A record was voted on, or something of the ledger's own is durable."""

    def ask(self, question: LedgerQuestion, now: float) -> int:
        """Answer(id, …) follows, as questions.py says."""
        id = next(self._ids)
        self._effects.append(Answer(id, Reply(404)))
        return id

    def answered(self, id: int, result: object, now: float) -> None:
        """What the world says to a Call: a Reply or None."""

    def handle_timer(self, now: float) -> None: ...

    def next_timer(self) -> float | None:
        return None

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def check(self) -> None: ...

    def counters(self) -> dict[str, int]:
        return {}

    def gauges(self, now: float) -> dict[str, int]:
        return {}
