"""Rounds: this node's head goes to every witness, and is published with what came back in time.

A round begins `round_s` after something was entered that is no head of another log, and otherwise each
`idle_round_s`, so that nodes that do nothing but link each other's links do not keep each other busy.  Witnesses are
the other nodes of the network and those outside that the configuration names.  A head is published when all have
answered or WAIT_S have passed, with however few cosignatures there are: who reads demands a quorum, who writes does
not wait for it.  What comes later is added while that head is the published one, and those whose cosignature is missing
are asked about it again, ever less often, until the next round: of the same head, so that there is nothing new to link.

Nothing of an answer counts but a line that verifies with the key of that witness: a cosignature of another head, of
another log or by somebody else is worth nothing.

Source: C2SP tlog-witness; notes on the ledger, 5 (rounds; LINK-FRESH) and 2.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from waypost.engine import Apply, Ask, Commit, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger import submission
from waypost.ledger.checkpoint import Head, cosigned_at, read_head, read_size
from waypost.ledger.heads import Heads
from waypost.ledger.note import Key, Line, Note
from waypost.ledger.peers import Peers
from waypost.ledger.policy import quorum_of
from waypost.ledger.questions import ROOM, Call, Notary, Reply
from waypost.ledger.submission import Submission
from waypost.ledger.witness import Witness
from waypost.record import Change, Kind

TABLE: Final = "ledger_node"
ROW: Final = b"published"
WAIT_S: Final = 3.0
ANSWER_MAX: Final = 64 << 10  # octets
WITNESSES_MAX: Final = 64  # of one head: a note has 100 lines at most, and each is verified by everybody
COUNTED: Final = ("begun", "published", "short", "cosigned", "refused", "wrong", "silent", "ahead")


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness of our log: a node, or by its URL one outside."""

    key: Key
    node: str = ""
    url: str = ""


@dataclass(slots=True)
class Round:
    """`lines` are what verified, by the key of the cosigner; those of `missing` are asked again at `again_at`."""

    head: Head
    until: float
    missing: dict[Key, Cosigner]
    again_at: float
    pause_s: float
    lines: dict[Key, Line] = field(default_factory=dict)
    is_published: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """`old` is the size that we took it to hold; `is_again`: it has told us."""

    round: Round
    cosigner: Cosigner
    old: int
    is_again: bool


class Rounds:
    """`head` is the durable head of our log, None while it may not sign; `consistency` the proof between two sizes,
    None if the disk is damaged; `is_accused` says of a cosigner whether it was proved to have cosigned two histories.

    The engine calls entered() for each new entry that is no head of another log, and hands POST heads to hear_heads()
    and what comes by Apply to applied().  `published` is durable, with its cosignatures; it is told to others, with the
    heads that the witness holds (heads.py).
    """

    def __init__(
        self,
        ids: Iterator[int],
        notary: Notary,
        peers: Peers,
        witness: Witness,
        *,
        head: Callable[[], Head | None],
        consistency: Callable[[int, int], tuple[bytes, ...] | None],
        is_accused: Callable[[Key], bool],
    ) -> None:
        self._ids = ids
        self._notary = notary
        self._peers = peers
        self._witness = witness
        self._heads = Heads(ids, notary, peers, witness, lambda: self.published)
        self._head = head
        self._consistency = consistency
        self._is_accused = is_accused
        self.published: Head | None = None
        self._round: Round | None = None
        self._asked: dict[int, Asked] = {}  # of earlier rounds, too: a witness has one call under way
        self._live: dict[str, None] = {}  # nodes that answered when they were last asked
        self._due: float | None = None
        self._idle = self._began_at = self._started_at = 0.0
        self._known = 0  # the peers' revision when the last round began
        self._cosigned: dict[Key, int] = {}  # the size that each witness cosigned last, as far as is known
        self._effects: list[Effect] = []
        self._counters = dict.fromkeys(COUNTED, 0)

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError."""
        self._began_at = self._started_at = now
        self._idle = now + self._notary.round_s  # by then the others' keys are known
        self._heads.restore(now)
        value = rows.get(TABLE, ROW)
        if value is None:
            return
        try:
            self.published = read_head(value)
        except WireError as error:
            raise StoreError("the published head cannot be read") from error

    def entered(self, now: float) -> None:
        """Something that others should see is in the log."""
        if self._due is None:
            self._due = now + self._notary.round_s

    def hear_heads(self, id: int, body: bytes, node: str) -> None:
        self._heads.hear(id, body, node)

    @property
    def witnesses(self) -> tuple[Cosigner, ...]:
        """Those outside, and nodes in the order of the roster, without who was found to lie."""
        outside = [Cosigner(each.key, url=each.url) for each in self._notary.outside]
        nodes = [Cosigner(log.cosigner, node=node) for node, log in self._peers.known.items()]
        return tuple(one for one in (*outside, *nodes) if not self._is_accused(one.key))[:WITNESSES_MAX]

    @property
    def quorum(self) -> int:
        """How many of the witnesses a head should have."""
        return self._notary.quorum or quorum_of(len(self.witnesses))

    @property
    def cosigners(self) -> tuple[str, ...]:
        """Who of them cosigned the published head."""
        published = self.published
        return tuple(one.key.name for one in self.witnesses if published and published.note.by(one.key))

    @property
    def is_met(self) -> bool:
        """Whether the published head has its quorum."""
        return self.published is not None and len(self.cosigners) >= self.quorum

    def ages_s(self, now: float) -> dict[str, int]:
        """LINK-FRESH: of each node that answers, how long ago our log was level with what we saw of its."""
        live = (log for node, log in self._peers.known.items() if node in self._live)
        return {log.node: int(now - self._witness.fresh_at.get(log.origin, self._started_at)) for log in live}

    def answered(self, id: int, result: object, now: float) -> bool:
        if self._heads.answered(id, result, now):
            return True
        asked = self._asked.pop(id, None)
        if asked is None:
            return False
        has_cosigned = self._hear(asked, result)
        round = asked.round
        if round is self._round and (has_cosigned if round.is_published else not self._is_asked(round)):
            self._publish(round)
        return True

    def applied(self, change: Change, now: float) -> bool:
        """What was published is durable."""
        if change.key != ROW or change.value is None:
            return False
        self.published = read_head(change.value)
        self._heads.has_published()
        return True

    def handle_timer(self, now: float) -> None:
        self._heads.handle_timer(now)
        if self._round is not None and not self._round.is_published and now >= self._round.until:
            self._publish(self._round)
        if now >= self._next():
            self._begin(now)
        elif self._round is not None and now >= self._again(self._round):
            self._round.pause_s *= 2
            self._round.again_at = now + self._round.pause_s
            self._ask_missing(self._round)

    def next_timer(self) -> float | None:
        timers = [self._heads.next_timer(), self._next()]
        if self._round is not None:
            timers.append(self._again(self._round) if self._round.is_published else self._round.until)
        return min(when for when in timers if when is not None)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects + self._heads.take_effects()

    def counters(self) -> dict[str, int]:
        return {f"ledger_rounds_{name}": count for name, count in self._counters.items()} | self._heads.counters()

    def gauges(self, now: float) -> dict[str, int]:
        return {
            "ledger_published_size": self.published.size if self.published else 0,
            "ledger_cosigners": len(self.cosigners),
            "ledger_quorum": self.quorum,
            "ledger_link_age_seconds": max(self.ages_s(now).values(), default=0),
        }

    def _next(self) -> float:
        """When the next round is due; whoever has become a witness since the last one is soon asked."""
        timers = [self._idle]
        if self._due is not None:
            timers.append(self._due)
        if self._known != self._peers.revision:
            timers.append(self._began_at + self._notary.round_s)
        return min(timers)

    def _begin(self, now: float) -> None:
        self._began_at, self._known = now, self._peers.revision
        self._due, self._idle = None, now + self._notary.idle_round_s
        self._live = {node: None for node in self._live if node in self._peers.known}
        head = self._head()
        if head is None:
            self._idle = now + self._notary.round_s
            return
        if self._round is not None and not self._round.is_published:
            self._publish(self._round)
        self._counters["begun"] += 1
        pause_s = self._notary.round_s
        missing = {cosigner.key: cosigner for cosigner in self.witnesses}
        self._round = Round(head, now + WAIT_S, missing, now + pause_s, pause_s)
        self._ask_missing(self._round)
        if not self._is_asked(self._round):
            self._publish(self._round)

    def _again(self, round: Round) -> float:
        """When to ask again those who have not cosigned."""
        return round.again_at if round.missing else math.inf

    def _ask_missing(self, round: Round) -> None:
        """But those who have not said anything yet."""
        busy = {asked.cosigner.key for asked in self._asked.values()}
        for cosigner in round.missing.values():
            if cosigner.key not in busy:
                old = min(self._held(cosigner.key), round.head.size)
                self._ask(Asked(round, cosigner, old, is_again=False))

    def _is_asked(self, round: Round) -> bool:
        """Whether somebody is still to answer."""
        return any(asked.round is round for asked in self._asked.values())

    def _held(self, key: Key) -> int:
        """The size that the witness holds, as far as is known: what it cosigned last."""
        published = self.published
        before = published.size if published and published.note.by(key) else 0
        return self._cosigned.get(key, before)

    def _ask(self, asked: Asked) -> None:
        head, old, cosigner = asked.round.head, asked.old, asked.cosigner
        proof = self._consistency(old, head.size) if 0 < old < head.size else ()
        if proof is None:
            return
        id = next(self._ids)
        self._asked[id] = asked
        body = Submission(old, proof, head).encode()
        call = Call(cosigner.node, "POST", submission.PATH, body, cosigner.url, ANSWER_MAX)
        self._effects.append(Ask(id, call))

    def _hear(self, asked: Asked, result: object) -> bool:
        """Whether it has cosigned."""
        cosigner, head = asked.cosigner, asked.round.head
        if not isinstance(result, Reply):
            self._counters["silent"] += 1
            self._live.pop(cosigner.node, None)
            return False
        if cosigner.node in self._peers.known:
            self._live[cosigner.node] = None
        try:
            if result.status == 200:
                asked.round.lines[cosigner.key] = self._line(head, cosigner.key, result.body)
                asked.round.missing.pop(cosigner.key, None)
                self._cosigned[cosigner.key] = head.size
                self._counters["cosigned"] += 1
                return True
            if result.status == 409:
                self._hear_size(asked, result)
            else:
                self._counters["refused"] += 1
        except (WireError, UnicodeDecodeError):
            self._counters["wrong"] += 1
        return False

    def _hear_size(self, asked: Asked, result: Reply) -> None:
        """It holds another head than we took it to.  Raises WireError if it does not tell of what size."""
        held = read_size(result.body.decode("ascii").removesuffix("\n"))
        if held > asked.round.head.size:
            self._counters["ahead"] += 1
        elif asked.is_again or held == asked.old:
            self._counters["wrong"] += 1
        else:
            self._cosigned[asked.cosigner.key] = held
            if asked.round is self._round:
                self._ask(Asked(asked.round, asked.cosigner, held, is_again=True))

    def _line(self, head: Head, key: Key, body: bytes) -> Line:
        """The cosignature in the answer.  Raises WireError."""
        line = Note.decode(head.note.text.encode() + b"\n" + body).by(key)
        if line is not None:
            alone = Head(head.checkpoint, Note(head.note.text, (line,)))
            if cosigned_at(alone, key, self._notary.verify) is not None:
                return line
        raise WireError("the witness has not cosigned it")

    def _publish(self, round: Round) -> None:
        if not round.is_published:
            self._counters["published"] += 1
            self._counters["short"] += len(round.lines) < self.quorum
        round.is_published = True
        value = Note(round.head.note.text, (*round.head.note.lines, *round.lines.values())).encode()
        change = Change(0, Kind.PUT, ROOM, ROW, round.head.size, value, 0, b"")
        self._effects.append(Commit(puts=(Put(TABLE, ROW, value),), then=(Apply(change),)))
