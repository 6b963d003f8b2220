"""The draft's own rule, on the simulator: to vote, the peers that answer; to tell them apart, a counter for each node.

Where the draft leaves open what would make it worse still, it is read kindly: a commit has another counter than its
vote (G1), a vote is matched to its question (G2), whoever is asked again by another way says the same again, and what
is in progress ends after a vote timer (G10), or no key could ever be changed twice.

Source: draft-wendt-modern-drip-02; notes on DRiP, 1.4 to 1.6.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from waypost.engine import Deadlines, Effect, Endpoint, Path, Rows, Send
from waypost.identity import ANONYMOUS
from waypost.record import Change

PORT: Final = 8481
VOTE_S: Final = 40.0
BEAT_S: Final = 5.0
MISSED_S: Final = 15.5  # three heartbeats


@dataclass(slots=True)
class Attempt:
    counter: int
    value: int
    waits: set[str]


class DraftNode:
    """`applied` is what it stored, in order; `acknowledged` what it committed as an initiator.

    Without `beats` every peer is taken to be there.
    """

    def __init__(self, name: str, peers: tuple[str, ...], *, beats: bool) -> None:
        self.applied: list[tuple[str, int]] = []
        self.acknowledged: list[tuple[str, int]] = []
        self.store: dict[str, int] = {}
        self._name = name
        self._peers = peers
        self._beats = beats
        self._counter = 0
        self._seen: dict[str, int] = {}
        self._said: dict[tuple[str, int], bool] = {}
        self._busy: dict[str, float] = {}  # keys of updates in progress, until when
        self._mine: dict[str, Attempt] = {}
        self._heard: dict[str, float] = {}
        self._deadlines: Deadlines[str] = Deadlines()
        self._effects: list[Effect] = []

    def update(self, key: str, value: int, now: float) -> None:
        """A client's; nothing comes of it while the key is in progress, or without a peer."""
        active = self._active(now)
        if self._is_busy(key, now) or not active:
            return
        self._counter += 1
        self._busy[key] = now + VOTE_S
        self._mine[key] = Attempt(self._counter, value, set(active))
        self._deadlines.set(key, now + VOTE_S)
        self._send(active, ["voting", self._name, self._counter, key, value])

    # the engine's calls

    def restore(self, rows: Rows, now: float) -> None:
        self._heard = dict.fromkeys(self._peers, now)
        if self._beats:
            self._deadlines.set("", now)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        kind, initiator, counter, key, value = msgspec.json.decode(data)
        peer = name_of(path.peer.host)
        self._heard[peer] = now
        match kind:
            case "voting":
                self._receive_voting(peer, initiator, counter, key, value, now)
            case "vote":
                self._receive_vote(peer, counter, key, is_yes=value == 1)
            case "commit":
                if self._is_new(initiator, counter):
                    self._busy.pop(key, None)
                    self._apply(key, value)
                    self._pass_on(peer, [kind, initiator, counter, key, value], now)
            case _:
                assert kind == "beat"

    def handle_timer(self, now: float) -> None:
        for key in self._deadlines.pop_due(now):
            if key:
                self._mine.pop(key, None)
            else:
                self._send(self._peers, ["beat", self._name, 0, "", 0])
                self._deadlines.set("", now + BEAT_S)

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def answered(self, id: int, result: object, now: float) -> None: ...
    def apply(self, change: Change, now: float) -> None: ...
    def handle_clock(self, now: float, wall_ms: int) -> None: ...
    def check(self) -> None: ...

    # the rule

    def _receive_voting(self, peer: str, initiator: str, counter: int, key: str, value: int, now: float) -> None:
        if initiator == self._name:
            return
        if self._is_new(initiator, counter):
            is_yes = not self._is_busy(key, now)
            self._said[initiator, counter] = is_yes
            if is_yes:
                self._busy[key] = now + VOTE_S
            self._pass_on(peer, ["voting", initiator, counter, key, value], now)
        elif (initiator, counter) not in self._said:
            return  # it has been overtaken by another of the same initiator, and is taken for an old one (G4)
        self._send((peer,), ["vote", initiator, counter, key, int(self._said[initiator, counter])])

    def _receive_vote(self, peer: str, counter: int, key: str, *, is_yes: bool) -> None:
        """Whoever passed the question on has no use for the vote: only an initiator's own peers are heard (G7)."""
        mine = self._mine.get(key)
        if mine is None or mine.counter != counter:
            return
        mine.waits.discard(peer)
        if not is_yes:
            del self._mine[key]
            self._deadlines.clear(key)
        elif not mine.waits:
            del self._mine[key]
            self._deadlines.clear(key)
            self._busy.pop(key, None)
            self._counter += 1
            self._apply(key, mine.value)
            self.acknowledged.append((key, mine.value))
            self._send(self._peers, ["commit", self._name, self._counter, key, mine.value])

    def _is_new(self, initiator: str, counter: int) -> bool:
        if initiator == self._name or counter <= self._seen.get(initiator, 0):
            return False
        self._seen[initiator] = counter
        return True

    def _is_busy(self, key: str, now: float) -> bool:
        return self._busy.get(key, now) > now

    def _active(self, now: float) -> tuple[str, ...]:
        return tuple(peer for peer in self._peers if not self._beats or now - self._heard[peer] < MISSED_S)

    def _apply(self, key: str, value: int) -> None:
        self.applied.append((key, value))
        self.store[key] = value

    def _pass_on(self, source: str, message: list[object], now: float) -> None:
        self._send(tuple(peer for peer in self._active(now) if peer != source), message)

    def _send(self, peers: tuple[str, ...], message: list[object]) -> None:
        data = msgspec.json.encode(message)
        own = Endpoint(host(self._name), PORT)
        for peer in peers:
            path = Path("udp", Endpoint(host(peer), PORT), own, 1, ANONYMOUS, validated=True)
            self._effects.append(Send(path, data))


def host(name: str) -> str:
    return f"2001:db8::{name}"


def name_of(address: str) -> str:
    return address.removeprefix("2001:db8::")
