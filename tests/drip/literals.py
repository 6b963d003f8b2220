"""A node's literal profile, called by hand; and a peer that follows the draft to the letter."""

import itertools
from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec
from handmade import Rows, committed
from people import FOUNDING, record

from waypost.drip import calls
from waypost.drip.calls import Call, Outgoing
from waypost.drip.literal import OWN, Batch, Declined, Heard, Leave, Literal, LiteralQuestion, Noted, Peer, Take
from waypost.engine import Answer, Commit
from waypost.record import ROSTER, Committed, Place

BELL: Final = Peer("bell", has_listener=True)
CURL: Final = Peer("curl", has_listener=False)


class Shelf:
    """Voted records, as a node keeps them."""

    def __init__(self) -> None:
        self.held: dict[Place, Committed] = {ROSTER: FOUNDING}

    @property
    def places(self) -> Iterable[Place]:
        """Who votes comes last here: it is told first all the same."""
        return (*(place for place in self.held if place != ROSTER), ROSTER)

    def committed(self, place: Place) -> Committed | None:
        return self.held.get(place)

    def put(self, key: str, value: str, home: str = "anna") -> Committed:
        place = ("names", key)
        before = self.held.get(place)
        new = record(value, before.record if before else None, place=place, home=home)
        self.held[place] = committed(new)
        return self.held[place]


class Gateway:
    """`answers` are by the number of the question; `now` is ours to choose."""

    def __init__(self, *peers: Peer, shelf: Shelf | None = None, rows: Rows | None = None) -> None:
        self.now = 100.0
        self.state: calls.State = "active"
        self.shelf = shelf or Shelf()
        self.rows = rows or Rows()
        self.answers: dict[int, object] = {}
        self.delayed: list[Commit] | None = None  # a list: the disk is slow
        self._ids = itertools.count(1)
        self._asked: dict[tuple[str, int], int] = {}  # by whoever takes for a session
        self.learnt: list[Committed] = []
        ids = itertools.count(1)
        self.engine = Literal("anna", peers, self.shelf, lambda _: self.state, Random(1), ids, self._learn)
        self.engine.restore(self.rows, self.now)
        self.settle()

    def ask(self, question: LiteralQuestion) -> int:
        id = next(self._ids)
        self.engine.ask(id, question, self.now)
        self.settle()
        return id

    def hear(self, peer: str, call: Call) -> Noted | Declined:
        answer = self.answers[self.ask(Heard(peer, call))]
        assert isinstance(answer, Noted | Declined)
        return answer

    def _learn(self, committed: Committed, now: float) -> bool:
        """Whatever is new; what it takes to prove it is the votes' matter."""
        if committed in self.learnt:
            return False
        self.learnt.append(committed)
        return True

    def sync(self, peer: str) -> int:
        """The session."""
        noted = self.hear(peer, calls.SyncRequest(peer))
        assert isinstance(noted, Noted)
        return noted.session

    def take(self, peer: str = "bell", session: int = OWN, most: int = 1, *, arrived: bool = True) -> Batch | None:
        """What was asked for before, if it was not answered then; None: there is nothing yet."""
        id = self._asked.get((peer, session))
        if id is None:
            id = self._asked[peer, session] = self.ask(Take(peer, session, most, arrived))
        answer = self.answers.get(id)
        assert answer is None or isinstance(answer, Batch)
        if answer is not None:
            del self._asked[peer, session]
        return answer

    def take_all(self, peer: str = "bell", session: int = OWN, most: int = 1) -> list[Outgoing]:
        """Everything that it is told, and all of it arrives."""
        taken: list[Outgoing] = []
        while (batch := self.take(peer, session, most)) is not None and batch.calls:
            taken += batch.calls
        return taken

    def leave(self, peer: str, session: int) -> None:
        self.ask(Leave(peer, session))

    def put(self, key: str, value: str, home: str = "anna") -> Committed:
        new = self.shelf.put(key, value, home)
        self.engine.changed(new.record.place, self.now)
        self.settle()
        return new

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.engine.next_timer()) is not None and when <= until:
            self.now = max(when, self.now)
            self.engine.handle_timer(self.now)
            self.settle()
        self.now = until

    def settle(self) -> None:
        for effect in self.engine.take_effects():
            if isinstance(effect, Commit) and self.delayed is not None:
                self.delayed.append(effect)
                continue
            if isinstance(effect, Commit):
                self.rows.write(effect)
            for answer in effect.then if isinstance(effect, Commit) else (effect,):
                assert isinstance(answer, Answer)
                self.answers[answer.id] = answer.result
        self.engine.check()


class DraftPeer:
    """Stores what the draft says that a receiver stores, and nothing else: one value for each key.

    It remembers the last counter of each initiator, and drops what has no higher one (notes, 1.4).
    """

    def __init__(self) -> None:
        self.store: dict[Place, int] = {}  # versions
        self.counters: dict[str, int] = {}
        self.dropped = 0
        self.complete = 0

    def receive(self, call: Outgoing) -> None:
        if call.path != "/commit":
            return
        parsed = calls.read_call(call.method, call.path, call.headers, call.body)
        assert isinstance(parsed, calls.Commit)
        origin = parsed.origin
        if not origin.is_reset and origin.counter <= self.counters.get(origin.node, -1):
            self.dropped += 1
            return
        self.counters[origin.node] = origin.counter
        body = msgspec.json.decode(call.body)
        self.store[body["namespace"], body["key"]] = body["version"]
        self.complete += origin.is_last


def header(call: Outgoing, name: str) -> str:
    return dict(call.headers)[name]


def committed_in(call: Outgoing) -> Committed:
    """What the body of a commit says."""
    fields = msgspec.json.decode(call.body)
    return msgspec.convert({"certificate": fields.pop("certificate"), "record": fields}, Committed)


def propagation(node: str = "far", counter: int = 1) -> calls.Origin:
    return calls.Origin(node, counter, is_reset=False, is_sync=False, is_last=False)
