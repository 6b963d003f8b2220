"""A directory with a carrier in memory: an announcement is durable when we say so."""

import itertools
from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Final

from speaking import OPEN, as_operator

from waypost.engine import Answer, Ask, Commit, Put
from waypost.identity.policy import Policy
from waypost.rd.engine import Directory, Settings
from waypost.rd.questions import (
    Announce,
    Announced,
    Attributes,
    Busy,
    Found,
    Kind,
    Lookup,
    Outcome,
    Question,
    Register,
    Registered,
    Renew,
)
from waypost.record import Change
from waypost.record import Kind as ChangeKind

WALL_MS: Final = 1_800_000_000_000
UNLIMITED: Final = Settings(registrations_per_second=0, brake_share=0)
LINKS: Final = b'</t>;rt="temperature";if="sensor";ct=0,</h>;rt="humidity"'


class Carried:
    def __init__(
        self,
        settings: Settings = UNLIMITED,
        rows: dict[bytes, bytes] | None = None,
        wall_ms: int = WALL_MS,
        seed: int = 1,
        now: float = 0.0,
        meta: dict[bytes, bytes] | None = None,
        policy: Policy = OPEN,
    ) -> None:
        self.rows = {} if rows is None else rows
        self.meta = {} if meta is None else meta
        self.held: deque[tuple[int, Announce]] = deque()
        self.announced: list[Announce] = []
        self.outcomes: dict[int, Outcome] = {}
        self._ids = itertools.count(1)
        self._seq = 0
        self.directory = Directory(Random(seed), itertools.count(1_000_000), settings, policy.decide)
        self.directory.restore(self, now)
        self.directory.handle_clock(now, wall_ms)
        self._collect()

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        rows = self.meta if table == "meta" else self.rows
        return iter(sorted(row for row in rows.items() if row[0] > after))

    def put(self, question: Question, now: float = 0.0) -> int:
        """Ask, and leave what is announced with the carrier."""
        id = next(self._ids)
        outcome = self.directory.ask(id, as_operator(question), now)
        if outcome is not None:
            self.outcomes[id] = outcome
        self._collect()
        return id

    def ask(self, question: Question, now: float = 0.0) -> Outcome:
        id = self.put(question, now)
        self.settle(now)
        while id not in self.outcomes:
            self.run(now)
        return self.outcomes[id]

    def settle(self, now: float = 0.0) -> None:
        """The carrier makes everything durable."""
        while self.held:
            self.carry(now)

    def carry(self, now: float = 0.0) -> None:
        """The oldest announcement becomes durable."""
        id, announce = self.held.popleft()
        self._seq += 1
        if announce.value is None:
            self.rows.pop(announce.key, None)
        else:
            self.rows[announce.key] = announce.value
        kind = ChangeKind.REMOVE if announce.value is None else ChangeKind.PUT
        self.directory.apply(Change(self._seq, kind, "rd", announce.key, self._seq, announce.value, WALL_MS, b""), now)
        self.directory.answered(id, Announced(), now)
        self._collect()

    def refuse(self, now: float = 0.0) -> None:
        """The carrier is too busy for the oldest announcement."""
        id, _ = self.held.popleft()
        self.directory.answered(id, Busy(1, "the disk is behind"), now)
        self._collect()

    def run(self, now: float) -> None:
        """Everything that is due by `now` happens, and becomes durable."""
        while (when := self.directory.next_timer()) is not None and when <= now:
            self.directory.handle_timer(now)
            self._collect()
            self.settle(now)

    def find(self, kind: Kind, *query: str, count: int | None = None, page: int = 0, now: float = 0.0) -> list[str]:
        """The lines of a lookup."""
        pairs = tuple((item.partition("=")[0], item.partition("=")[2] if "=" in item else None) for item in query)
        found = self.ask(Lookup(kind, pairs, page, count), now)
        assert isinstance(found, Found), found
        return found.body.decode().replace(",<", "\n<").splitlines()

    def names(self, *query: str, now: float = 0.0) -> list[str]:
        """The names of an endpoint lookup."""
        return [line.partition('ep="')[2].partition('"')[0] for line in self.find(Kind.ENDPOINTS, *query, now=now)]

    def location(self, outcome: Outcome) -> str:
        assert isinstance(outcome, Registered), outcome
        return outcome.location

    def _collect(self) -> None:
        for effect in self.directory.take_effects():
            if isinstance(effect, Ask):
                assert isinstance(effect.body, Announce)
                self.held.append((effect.id, effect.body))
                self.announced.append(effect.body)
            elif isinstance(effect, Commit):
                for put in effect.puts:
                    self._meta(put)
                for answer in effect.then:
                    assert isinstance(answer, Answer)
                    self.outcomes[answer.id] = answer.result  # type: ignore[assignment]
            else:
                assert isinstance(effect, Answer)
                self.outcomes[effect.id] = effect.result  # type: ignore[assignment]
        self.directory.check()

    def _meta(self, put: Put) -> None:
        """A row that the directory keeps for this node alone."""
        assert put.table == "meta"
        if put.value is None:
            self.meta.pop(put.key, None)
        else:
            self.meta[put.key] = put.value


def register(
    ep: str = "a",
    links: bytes = LINKS,
    *,
    d: str | None = None,
    lt: int = 100,
    base: str | None = None,
    sender: str = "coap://[2001:db8::1]",
    attributes: Attributes = (),
    source: str = "2001:db8::1",
) -> Register:
    return Register(ep, d, lt, base, sender, attributes, links, source)


def renew(
    location: str,
    *,
    lt: int | None = None,
    base: str | None = None,
    sender: str | None = None,
    attributes: Attributes = (),
) -> Renew:
    return Renew(location, lt, base, sender, attributes)
