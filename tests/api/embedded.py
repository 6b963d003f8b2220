"""The real assembly without a disk or a socket."""

from collections.abc import Iterator
from random import Random
from typing import Any

from waypost.assembly.engine import Assembly
from waypost.engine import Answer, Apply, Commit, Effect
from waypost.rd.engine import Settings


class Embedded:
    """The real assembly; its commits are durable at once, its clock stands still unless told."""

    def __init__(self) -> None:
        self.assembly = Assembly(Random(1), Settings())
        self.now = 100.0
        self._rows: dict[str, dict[bytes, bytes]] = {}
        self._answers: dict[int, object] = {}
        self.assembly.restore(self, self.now)
        self.assembly.handle_clock(self.now, 1_800_000_000_000)
        self._settle()

    async def ask(self, question: Any) -> object:
        id = self.assembly.ask(question, self.now)
        self._settle()
        while id not in self._answers:  # a long lookup goes on by itself
            self.assembly.handle_timer(self.now)
            self._settle()
        return self._answers.pop(id)

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._rows.get(table, {}).get(key)

    def scan(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        yield from sorted(self._rows.get(table, {}).items())

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
