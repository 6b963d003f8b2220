"""The real assembly without a disk or a socket."""

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Any, Final

from waypost.assembly.engine import Assembly
from waypost.codec import u64
from waypost.engine import Answer, Apply, Commit, Effect
from waypost.identity.policy import Decide, default
from waypost.rd.engine import Settings

START: Final = 100.0
WALL_MS: Final = 1_800_000_000_000


class Embedded:
    """The real assembly; its commits are durable at once, its clock stands still unless told."""

    def __init__(self, decide: Decide | None = None) -> None:
        self.assembly = Assembly(Random(1), Settings(), decide or default().decide)
        self.now = START
        self._rows: dict[str, dict[bytes, bytes]] = {}
        self._answers: dict[int, object] = {}
        self.assembly.restore(self, self.now)
        self.assembly.handle_clock(self.now, WALL_MS)
        self._settle()

    async def ask(self, question: Any) -> object:
        id = self.assembly.ask(question, self.now)
        self._settle()
        while id not in self._answers:  # a long lookup goes on by itself; who follows waits for another
            self.assembly.handle_timer(self.now)
            self._settle()
            await asyncio.sleep(0.002)
        return self._answers.pop(id)

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._rows.get(table, {}).get(key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        yield from sorted(row for row in self._rows.get(table, {}).items() if row[0] > after)

    def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return [row for row in sorted(self._rows.get(table, {}).items()) if row[0] > key][:limit]

    def wall_s(self) -> float:
        return WALL_MS / 1000 + self.now - START

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.assembly.next_timer()) is not None and when <= until:
            self.now = max(self.now, when)
            self.assembly.handle_timer(self.now)
            self._settle()
        self.now = until

    def forget_changes(self, before: int) -> None:
        """As if so many had come since that the feed holds them no more."""
        for key in [key for key in self._rows["feed"] if key < u64(before)]:
            del self._rows["feed"][key]

    def _settle(self) -> None:
        while effects := self.assembly.take_effects():
            for effect in effects:
                self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Commit(puts=puts, then=then):
                for put in puts:
                    table = self._rows.setdefault(put.table, {})
                    if put.value is None:
                        table.pop(put.key, None)
                    else:
                        table[put.key] = put.value
                for after in then:
                    self._carry_out(after)
            case Apply(change=change):
                self.assembly.apply(change, self.now)
            case Answer(id=id, result=result):
                self._answers[id] = result
            case _:
                raise AssertionError(effect)
