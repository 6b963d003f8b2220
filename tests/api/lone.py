"""A network of one voter: real votes, a disk of rows and a feed, and no sockets; the clock stands still."""

import asyncio
import itertools
from collections.abc import Iterator
from random import Random
from typing import Any, Final, Protocol

from embedded import Embedded
from handmade import Rows
from people import WALL_MS, key_of, member, public_of, record

from waypost.api.changes import VOTED
from waypost.assembly.questions import Follow, Followed
from waypost.drip.book import HISTORY, history_key, row_key
from waypost.drip.engine import DripEngine, Setup
from waypost.drip.judge import Holders
from waypost.drip.outbox import Spread, Stored, Tell
from waypost.drip.outcome import Outcome, Reading
from waypost.drip.proposer import Timers
from waypost.drip.questions import (
    Cancel,
    Claim,
    Consult,
    Open,
    Peers,
    Queued,
    Seen,
    Settle,
    ShowPeers,
    ShowVotes,
    Votes,
)
from waypost.drip.rules import Rules
from waypost.drip.voter import Credentials
from waypost.engine import Answer, Ask, Commit, Effect
from waypost.identity.keys import verifies
from waypost.ledger.questions import LedgerQuestion
from waypost.record import ROSTER, Creator, Member, Policy, Record, Roster, network_of
from waypost.record.feed import Feed
from waypost.record.vote import founding

CREATOR: Final = "creator"  # may make any key in "names"
POLICY: Final = Policy(public_of("operator"), 0, (Creator("names", "", public_of(CREATOR)),))
FOUNDERS: Final = Roster(1, (member("anna"),), (), POLICY)
NETWORK: Final = network_of(FOUNDERS)


def made(value: str | None, before: Record | None = None, **more: Any) -> Record:
    """The version after `before`, signed by who may make it."""
    return record(value, before, **{"author": CREATOR, "holder": CREATOR, "network": NETWORK} | more)


MESH: Final = Cancel | Claim | Consult | Settle | ShowPeers | ShowVotes


class Network(Protocol):
    async def ask(self, question: Any) -> object: ...

    def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]: ...


class Whole:
    """A directory, and beside it a network of one voter, perhaps with its log."""

    def __init__(self, directory: Embedded, network: Network) -> None:
        self._directory = directory
        self._network = network

    async def ask(self, question: Any) -> object:
        return await (self._network if isinstance(question, MESH | LedgerQuestion) else self._directory).ask(question)

    def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return (self._network if table.startswith(("drip_", "ledger_")) else self._directory).after(table, key, limit)


class Lone:
    """`silent`: no voter hears it, this one included; `age_s` and `answers` are told in place of what is so."""

    def __init__(self, wall_ms: int = WALL_MS, founders: Roster = FOUNDERS) -> None:
        self.now = 100.0
        self.network = network_of(founders)
        self.silent = False
        self.age_s: float | None = 0.0
        self.open: tuple[Open, ...] = ()
        self.queued: tuple[Queued, ...] = ()
        self.applicants: tuple[Member, ...] = ()
        self.answers: dict[type, object] = {}  # by the type of the question
        self.asked: list[object] = []
        self.rows = Rows()
        self._answers: dict[int, object] = {}
        self._feed = Feed(Random(2))
        self._news = asyncio.Event()
        self._feed.restore(self.rows)
        key = key_of("anna/1")
        credentials = Credentials(self.network, key.sign, verifies)
        setup = Setup("anna", founding(founders), credentials, Holders(), Timers(), Rules())
        self.drip = DripEngine(setup, Random(1), itertools.count(1))
        self.drip.restore(self.rows, self.now)
        self.drip.begin(1, self.now)
        self.drip.handle_clock(self.now, wall_ms)
        self._settle()

    async def ask(self, question: Any) -> object:
        self.asked.append(question)
        if type(question) in self.answers:
            return self.answers[type(question)]
        match question:
            case Claim(record=new):
                return await self._answer(self.drip.claim(new, self.now))
            case Consult(place=place, quorum=True):
                return await self._answer(self.drip.read(place, self.now))
            case Consult(place=place):
                return Reading(True, self.drip.committed(place), self.age_s)
            case Settle(place=place, version=version, txid=txid):
                return await self._answer(self.drip.status(place, version, txid, self.now))
            case Cancel():
                return None  # nothing waits here
            case ShowPeers():
                return self._peers()
            case ShowVotes():
                return Votes(self.open, len(self.open), self.drip.alarms, self.queued, len(self.queued))
            case Follow(after=after):
                while self._feed.seq <= after:
                    await self._news.wait()
                return Followed(self._feed.id, self._feed.seq)
            case _:
                raise AssertionError(question)

    def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return list(itertools.islice(self.rows.scan(table, key), limit))

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self.rows.scan(table, after)

    def put(self, *records: Record) -> Record:
        """Has them committed, in order."""
        for each in records:
            outcome = asyncio.run(self.ask(Claim(each)))
            assert isinstance(outcome, Outcome)
            assert outcome.current is not None, outcome
            assert outcome.current.record == each, outcome
        return records[-1]

    async def _answer(self, id: int) -> object:
        self._settle()
        while id not in self._answers:
            when = self.drip.next_timer()
            assert when is not None
            self.now = max(self.now, when)
            self.drip.handle_timer(self.now)
            self._settle()
        return self._answers.pop(id)

    def _peers(self) -> Peers:
        committed = self.drip.committed(ROSTER)
        assert committed is not None
        roster = self.drip.roster
        members = [(each, True) for each in roster.voters] + [(each, False) for each in roster.learners]
        seen = tuple(Seen(each, votes, None, None, None, None, None, ()) for each, votes in members)
        return Peers(
            self.network, "anna", 1, "active", True, True, committed, roster, seen, self.applicants, {}, self.age_s
        )

    def _settle(self) -> None:
        while effects := self.drip.take_effects():
            for effect in effects:
                self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Commit():
                self.rows.write(effect)
                for after in effect.then:
                    self._carry_out(after)
            case Ask(body=Tell(node=node, message=message)):
                if not self.silent and node == "anna":
                    self.drip.hear("anna", (message,), self.now)
            case Ask(body=Stored(committed=committed)):
                place, version = committed.record.place, committed.record.version
                kept = HISTORY, history_key(place, version)
                _, puts = self._feed.add(VOTED, row_key(place), version, committed.encode(), WALL_MS, kept)
                self.rows.write(Commit(puts=puts))
                self._news.set()
                self._news = asyncio.Event()
            case Ask(body=Spread()):
                pass
            case Answer(id=id, result=result):
                self._answers[id] = result
            case _:
                raise AssertionError(effect)
