"""Clients that claim and read a few keys at several nodes, and remember what they were told.

A claim whose outcome nobody told is asked about until it is decided, and then goes into the history with the time at
which that was known.  A claim that was refused because nothing had been sent, is a claim that never happens.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import Any

import aiohttp
from daemons import Federation, path_of, put_over
from history import Claim, Operation, Read, Told

from waypost.record import Place, Record

NAMESPACE = "load"
PATIENCE_S = 1.0  # of a client that was refused: it goes to another node then
FRESH_S = 20.0  # after which the voters' clocks say that a record is of the past
SETTLE_TRIES = 40


@dataclass
class Doubt:
    """A claim of unknown outcome; `record` may be claimed again."""

    record: Record
    claim: Claim


@dataclass
class Memory:
    """What all clients were told.  Of each key: a history, and what was committed at each version."""

    histories: dict[Place, list[Operation]] = field(default_factory=dict)
    committed: dict[Place, dict[int, str]] = field(default_factory=dict)  # values that were acknowledged
    doubts: list[Doubt] = field(default_factory=list)
    settled: list[tuple[Record, Told]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)  # each acknowledged claim

    def add(self, place: Place, operation: Operation) -> None:
        self.histories.setdefault(place, []).append(operation)
        if isinstance(operation, Claim) and operation.told is Told.COMMITTED and operation.value is not None:
            self.committed.setdefault(place, {})[operation.version] = operation.value


class Client:
    """`pause_s` is between two requests, about."""

    def __init__(self, number: int, federation: Federation, memory: Memory, keys: int, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        self.number = number
        self.rng = Random(number)
        self.daemons = federation.daemons
        self.operator = federation.operator
        self.homes = federation.names
        self.memory = memory
        self.places = [(NAMESPACE, f"key-{index}") for index in range(keys)]
        self.known: dict[Place, tuple[int, str]] = {}  # the version and its hash
        self.claims = 0

    async def run(self, until: asyncio.Event) -> None:
        daemon = self.daemons[self.number % len(self.daemons)]
        while not until.is_set():
            try:
                async with daemon.public() as session:
                    while not until.is_set():
                        await self.step(session)
                        await asyncio.sleep(self.rng.uniform(0, 2 * self.pause_s))
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.memory.answers["no answer"] += 1
                await asyncio.sleep(self.rng.uniform(0, PATIENCE_S / 4))
            daemon = self.rng.choice(self.daemons)

    async def step(self, session: aiohttp.ClientSession) -> None:
        place = self.rng.choice(self.places)
        if place not in self.known or self.rng.random() < 0.4:
            refused = await self.read(session, place)
        else:
            refused = await self.claim(session, place)
        if refused:
            await asyncio.sleep(self.rng.uniform(0, PATIENCE_S))
            raise TimeoutError

    async def read(self, session: aiohttp.ClientSession, place: Place) -> bool:
        began = time.monotonic()
        async with session.get(path_of(place) + "?quorum=true") as answer:
            body = await answer.json(content_type=None)
        self.memory.answers[f"read {answer.status}"] += 1
        if answer.status not in (200, 404):
            assert answer.status == 503, (answer.status, body)
            return True
        record = body["record"] if answer.status == 200 else None
        version, value = (record["version"], record["value"]) if record else (0, None)
        self.memory.add(place, Read(value, version, began, time.monotonic()))
        self.known[place] = body["next"]["version"] - 1, body["next"]["prev"]
        return False

    async def claim(self, session: aiohttp.ClientSession, place: Place) -> bool:
        version, prev = self.known[place]
        self.claims += 1
        value, home = f"{self.number}.{self.claims}", self.rng.choice(self.homes)
        record = self.operator.record(place, version + 1, prev, value, home, self.rng)
        doubt = Doubt(record, Claim(value, version + 1, time.monotonic(), inf, Told.UNKNOWN))
        try:
            status, body = await put_over(session, record)
        except BaseException:
            self.memory.doubts.append(doubt)
            raise
        told = told_by(status, body)
        self.memory.answers[f"claim {status} {body.get('state')}"] += 1
        if told is Told.UNKNOWN:
            self.memory.doubts.append(doubt)
            del self.known[place]
            return True
        now = time.monotonic()
        self.memory.add(place, replace(doubt.claim, end=now, told=told))
        if told is Told.COMMITTED:
            self.memory.took_s.append(now - doubt.claim.start)
            self.known[place] = version + 1, record.hash(self.operator.network)
        else:
            del self.known[place]
        return status == 503

    async def ask_about(self, doubt: Doubt) -> Told:
        """COMMITTED, LOST, or UNKNOWN still."""
        record, daemon = doubt.record, self.rng.choice(self.daemons)
        path = f"{path_of(record.place)}/transactions/{record.version}/{record.txid}"
        try:
            async with daemon.public() as session:
                async with session.get(path) as answer:
                    body = await answer.json(content_type=None)
                told = told_by(answer.status, body)
                self.memory.answers[f"settle {answer.status} {told.value}"] += 1
                if told in (Told.COMMITTED, Told.LOST):
                    return told
                if body.get("current") and body["current"]["record"]["version"] >= record.version:
                    return Told.UNKNOWN  # it is over, and this node has not all the history: others do
                if time.monotonic() - doubt.claim.start < FRESH_S:
                    told = told_by(*await put_over(session, record))
                    self.memory.answers[f"again {told.value}"] += 1
                    # Denied now says nothing of what was sent before.
                    return told if told in (Told.COMMITTED, Told.LOST) else Told.UNKNOWN
                self.known[record.place] = record.version - 1, record.prev
                await self.claim(session, record.place)
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.memory.answers["no answer"] += 1
        return Told.UNKNOWN


def told_by(status: int, body: dict[str, Any]) -> Told:
    """What an answer says of the claim."""
    state = body.get("state")
    if state:
        return Told(state)
    assert status in (412, 503), (status, body)
    return Told.DENIED  # nothing was sent


async def settle(client: Client) -> None:
    """What became of all that was in doubt: asked for by its transaction, and claimed again where no voter knows of it.

    A record that is too old to be claimed again gives way to another, which settles it as well.  That is all there is
    to do about an unknown outcome, and while a quorum can be reached it must be enough.
    """
    memory = client.memory
    while memory.doubts:
        doubt = memory.doubts.pop()
        told = Told.UNKNOWN
        for _ in range(SETTLE_TRIES):
            told = await client.ask_about(doubt)
            if told is not Told.UNKNOWN:
                break
            await asyncio.sleep(PATIENCE_S / 4)
        record = doubt.record
        assert told is not Told.UNKNOWN, f"{record.place}, version {record.version}: {record.txid} remains unknown"
        memory.add(record.place, replace(doubt.claim, end=time.monotonic(), told=told))
        memory.settled.append((record, told))


async def settled_alike(federation: Federation, memory: Memory) -> None:
    """Of what was in doubt every node says the same; one that has not all the history may say that it does not know."""
    for record, told in memory.settled:
        path = f"{path_of(record.place)}/transactions/{record.version}/{record.txid}"
        answers = await asyncio.gather(*(daemon.ask(path) for daemon in federation.daemons))
        states = {answer["state"] for answer in answers}
        assert told.value in states, (record, told, states)
        assert states <= {told.value, "unknown"}, (record, told, states)
