"""The profile `drip-02`: the draft read literally, for peers that speak nothing else.  They learn, and never vote.

Heard is what a peer called.  To its /voting the answer is no, for what it proposes nobody has signed; its votes are
ignored; its state is kept.  When it asks to sync it is told everything, then every change.

What it passes on is what the draft has it pass on: a commit of others.  One that brings the votes of a quorum is
learnt, for they prove it whoever brought it; any other is ignored.  So it may carry records between nodes that do not
reach each other, and decides nothing.

Take is asked by whoever brings our calls to a peer: the driver, call after call, or, for a peer without a listener, the
stream that answers its request to sync.  To ask again says that the last calls have arrived, or have not: commits, with
their counters, and our own state are called again then, until they arrive; votes and heartbeats are called once.

A counter is one for all initiators: the number of this start of the node, then one of the calls since.  So it only
grows, whatever happened before (G1, G5), and one call at a time overtakes nothing (G4).

Source: draft-wendt-modern-drip-02; notes on DRiP, 1.4 to 1.6, 1.9 and 4.14.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from waypost.drip import calls
from waypost.drip.calls import Call, Outgoing, State
from waypost.drip.learner import Learner, Store
from waypost.engine import Answer, Commit, Deadlines, Effect, Put, Rows
from waypost.record import Committed, Place
from waypost.record.feed import META

PEERS_MAX: Final = 64
BEAT_S: Final = 5.0
RETRY_MIN_S: Final = 0.5  # doubled until RETRY_MAX_S, full jitter
RETRY_MAX_S: Final = 30.0
SYNC_EVERY_S: Final = 1.0  # between two beginnings of everything, for one peer
NOES_MAX: Final = 64  # initiators whose voting is still to be answered
TAKE_MAX: Final = 32  # calls in one Batch
ONCE: Final = ("/heartbeat/", "/votingphase/")  # a late vote is ignored, and a heartbeat followed by another
OWN: Final = 0  # the session of a peer with a listener
STARTS: Final = b"drip-02 starts"  # of the node, counted in META
STARTS_MAX: Final = (1 << 24) - 1
SINCE_BITS: Final = 40

Learn = Callable[[Committed, float], bool]


@dataclass(frozen=True, slots=True)
class Peer:
    """As configured; without a listener it is told in the answers to its own requests alone."""

    name: str
    has_listener: bool


# what can be asked


@dataclass(frozen=True, slots=True)
class Heard:
    """A peer called; whoever asks knows that it was this one.  Noted, or Declined."""

    peer: str
    call: Call


@dataclass(frozen=True, slots=True)
class Take:
    """What is to be brought to a peer, as soon as there is something: Batch.

    `arrived`: so did what the last Batch of the session had.  A peer with a listener has the session OWN.
    """

    peer: str
    session: int
    most: int
    arrived: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """Nobody takes for this session any more: Batch, of nothing."""

    peer: str
    session: int


@dataclass(frozen=True, slots=True)
class ShowLiteral:
    """Who are the literal peers?  Answered with LiteralPeers."""


LiteralQuestion = Heard | Take | Leave | ShowLiteral


# and how it is answered


@dataclass(frozen=True, slots=True)
class Noted:
    """`state` is this node's; `session` is what a peer without a listener may take, once it asked to sync."""

    state: State
    session: int


@dataclass(frozen=True, slots=True)
class Declined:
    """It speaks for another node ("forbidden"), or syncs too often ("early": later, after `retry_s`)."""

    reason: str
    detail: str
    retry_s: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls in order.  `is_complete`: one of them ends everything; `is_over`: there comes nothing more."""

    calls: tuple[Outgoing, ...]
    is_complete: bool = False
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """`state` as it told us, `heard_s` ago, None: not since the start; `waiting` keys are still to be told."""

    name: str
    has_listener: bool
    state: State | None
    heard_s: float | None
    follows: bool
    waiting: int


@dataclass(frozen=True, slots=True)
class LiteralPeers:
    seen: tuple[Seen, ...]


@dataclass(slots=True)
class _Peer:
    peer: Peer
    learner: Learner
    session: int  # -1: nobody's
    state: State | None = None
    heard: float | None = None
    synced_at: float | None = None
    noes: dict[str, None] = field(default_factory=dict)
    news: bool | None = None  # whether we are active, as it is to be told
    beats: bool = False
    take: tuple[int, int] | None = None  # the question that waits, and how many calls it wants
    flight: tuple[Outgoing, ...] = ()
    is_complete: bool = False  # the flight ends everything
    failures: int = 0
    retry_at: float = 0.0


class Literal:
    """`state` tells this node's; `ids` number sessions.  A question is answered by Answer(id, …).

    `learn` takes what is proved to be committed: whether it was, and new.
    """

    def __init__(
        self,
        name: str,
        peers: Iterable[Peer],
        store: Store,
        state: Callable[[float], State],
        rng: Random,
        ids: Iterator[int],
        learn: Learn,
    ) -> None:
        self._learn = learn
        self._name = name
        self._state = state
        self._rng = rng
        self._ids = ids
        self._peers = {
            peer.name: _Peer(peer, Learner(store), OWN if peer.has_listener else -1, news=False) for peer in peers
        }
        assert len(self._peers) <= PEERS_MAX
        self._deadlines: Deadlines[tuple[str, str]] = Deadlines()
        self._starts: int | None = None  # None: no counter was used since
        self._since = 0
        self._effects: list[Effect] = []
        self.counts = dict.fromkeys(
            (
                "calls_heard",
                "votings_refused",
                "votes_ignored",
                "commits_learnt",
                "commits_ignored",
                "syncs",
                "commits_called",
                "behind",
            ),
            0,
        )

    # the engine's calls

    def restore(self, rows: Rows, now: float) -> None:
        found = rows.get(META, STARTS)
        self._starts = (0 if found is None else int.from_bytes(found, "big")) + 1
        assert self._starts <= STARTS_MAX
        if self._peers:
            self._effects.append(Commit(puts=(Put(META, STARTS, self._starts.to_bytes(8, "big")),)))
        for name, each in self._peers.items():
            if each.peer.has_listener:
                self._deadlines.set(("beat", name), now + BEAT_S * self._rng.random())

    def changed(self, place: Place, now: float) -> None:
        """A new version of a key is stored."""
        for each in self._peers.values():
            if not each.learner.changed(place):
                self._fell_behind(each)
            self._serve(each, now)

    def ask(self, id: int, question: LiteralQuestion, now: float) -> None:
        match question:
            case Heard():
                self._effects.append(Answer(id, self._hear(self._peers[question.peer], question.call, now)))
            case Take():
                self._take(id, self._peers[question.peer], question, now)
            case Leave():
                each = self._peers[question.peer]
                if question.session == each.session != OWN:
                    self._end(each)
                    each.session = -1
                self._effects.append(Answer(id, Batch((), is_over=True)))
            case ShowLiteral():
                self._effects.append(Answer(id, self._seen(now)))

    def handle_timer(self, now: float) -> None:
        for kind, name in self._deadlines.pop_due(now):
            each = self._peers[name]
            if kind == "beat":
                each.beats = True
                self._deadlines.set(("beat", name), now + BEAT_S)
            self._serve(each, now)

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def counters(self) -> dict[str, int]:
        return {f"literal_{name}": count for name, count in self.counts.items()}

    def gauges(self) -> dict[str, int]:
        return {
            "literal_following": sum(each.learner.follows for each in self._peers.values()),
            "literal_waiting": sum(len(each.learner) for each in self._peers.values()),
        }

    def check(self) -> None:
        for each in self._peers.values():
            each.learner.check()
            assert len(each.noes) <= NOES_MAX
            assert len(each.flight) <= TAKE_MAX
            assert each.peer.has_listener == (each.session == OWN)

    # what a peer says

    def _hear(self, each: _Peer, call: Call, now: float) -> Noted | Declined:
        self.counts["calls_heard"] += 1
        name = each.peer.name
        if isinstance(call, calls.SyncRequest | calls.Heartbeat | calls.Declared) and call.node != name:
            return Declined("forbidden", f"{name} does not speak for {call.node}")
        if isinstance(call, calls.SyncRequest) and each.synced_at is not None:
            wait_s = each.synced_at + SYNC_EVERY_S - now
            if wait_s > 0:
                return Declined("early", "everything was asked for a moment ago", int(wait_s) + 1)
        each.heard = now
        match call:
            case calls.Voting():
                # Who has not signed what it proposes can have nobody's yes; it is no abstention, which the draft
                # does not know: the initiator may not commit.
                self.counts["votings_refused"] += 1
                if each.peer.has_listener and len(each.noes) < NOES_MAX:
                    each.noes[call.origin.node] = None
            case calls.Vote():
                self.counts["votes_ignored"] += 1
            case calls.Commit(committed=committed):
                is_learnt = committed is not None and self._learn(committed, now)
                self.counts["commits_learnt" if is_learnt else "commits_ignored"] += 1
            case calls.SyncRequest():
                self._sync(each, now)
            case calls.Heartbeat(state=state) | calls.Declared(state=state):
                each.state = state
                if state == "inactive" and each.peer.has_listener:
                    self._end(each)  # the draft, 1.6 of the notes: it stores nothing, and syncs when it is back
            case calls.AskState():
                pass
        self._serve(each, now)
        return Noted(self._state(now), each.session)

    def _sync(self, each: _Peer, now: float) -> None:
        self.counts["syncs"] += 1
        each.synced_at = now
        self._end(each)  # everything has what was to be repeated, too
        if each.peer.has_listener:
            each.news, each.retry_at, each.failures = True, now, 0
        else:
            self._dismiss(each)
            each.session = next(self._ids)
        each.learner.begin()

    def _end(self, each: _Peer) -> None:
        """It follows no more, and what was to be repeated is not."""
        each.learner.end()
        each.flight, each.is_complete = (), False

    def _fell_behind(self, each: _Peer) -> None:
        self.counts["behind"] += 1
        self._end(each)
        if each.peer.has_listener:
            each.news = False  # so that it syncs when we are active again
        else:
            self._dismiss(each)
            each.session = -1

    # what a peer is told

    def _take(self, id: int, each: _Peer, take: Take, now: float) -> None:
        if take.session != each.session:
            self._effects.append(Answer(id, Batch((), is_over=True)))
            return
        self._dismiss(each)
        if take.arrived:
            each.flight, each.failures = (), 0
        else:
            each.flight = tuple(call for call in each.flight if not call.path.startswith(ONCE))
            longest = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(each.failures, 16))
            each.failures += 1
            each.retry_at = now + longest * self._rng.uniform(0.5, 1.0)
            self._deadlines.set(("retry", each.peer.name), each.retry_at)
        each.take = id, min(take.most, TAKE_MAX)
        self._serve(each, now)

    def _dismiss(self, each: _Peer) -> None:
        """Another takes in its place, or nobody."""
        if each.take is not None:
            self._effects.append(Answer(each.take[0], Batch((), is_over=True)))
            each.take = None

    def _serve(self, each: _Peer, now: float) -> None:
        if each.take is None or now < each.retry_at:
            return
        id, most = each.take
        if not each.flight:
            each.flight, each.is_complete = self._compose(each, most, now)
        if each.flight:
            each.take = None
            # A counter is used once the start that it begins with is on disk: Commits are first in, first out.
            self._effects.append(Commit(then=(Answer(id, Batch(each.flight, each.is_complete)),)))

    def _compose(self, each: _Peer, most: int, now: float) -> tuple[tuple[Outgoing, ...], bool]:
        composed: list[Outgoing] = []
        is_complete = False
        while len(composed) < most:
            if each.noes:
                initiator = next(iter(each.noes))
                del each.noes[initiator]
                composed.append(calls.no_call(initiator))
            elif each.news is not None and each.peer.has_listener:
                composed.append(calls.declared_call(self._name, is_active=each.news))
                each.news = None
            elif each.beats:
                each.beats = False
                composed.append(calls.heartbeat_call(self._name, self._state(now)))
            elif item := each.learner.take():
                self.counts["commits_called"] += 1
                call = calls.commit_call(item.committed, self._count(), is_sync=item.is_sync, is_last=item.is_last)
                composed.append(call)
                is_complete = is_complete or item.is_last
            else:
                break
        return tuple(composed), is_complete

    def _count(self) -> int:
        assert self._starts is not None
        self._since += 1
        return (self._starts << SINCE_BITS) + self._since

    def _seen(self, now: float) -> LiteralPeers:
        return LiteralPeers(
            tuple(
                Seen(
                    each.peer.name,
                    each.peer.has_listener,
                    each.state,
                    None if each.heard is None else now - each.heard,
                    each.learner.follows,
                    len(each.learner),
                )
                for each in self._peers.values()
            )
        )
