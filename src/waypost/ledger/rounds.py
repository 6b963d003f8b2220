"""Rounds: this node's head goes to every witness, and is published with what came back in time.

A round begins `round_s` after something was entered that is no head of another log, and otherwise each
`idle_round_s`, so that nodes that do nothing but link each other's links do not keep each other busy.  Witnesses are
the other nodes of the network and those outside that the configuration names.  A head is published when all have
answered or WAIT_S have passed, with however few cosignatures there are: who reads demands a quorum, who writes does
not wait for it.  What comes later is added while that head is the published one.

Nothing of an answer counts but a line that verifies with the key of that witness: a cosignature of another head, of
another log or by somebody else is worth nothing.

Source: C2SP tlog-witness; notes on the ledger, 5 (rounds; LINK-FRESH) and 2.
"""

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


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness of our log: a node, or by its URL one outside."""

    key: Key
    node: str = ""
    url: str = ""


@dataclass(slots=True)
class Round:
    """`lines` are what verified, by the name of the cosigner; `asked` who is still to answer."""

    head: Head
    until: float
    asked: dict[int, tuple[Cosigner, int, bool]] = field(default_factory=dict)  # the size said, whether once more
    lines: dict[Key, Line] = field(default_factory=dict)
    is_published: bool = False


class Rounds:
    """`head` is the durable head of our log, None while it may not sign; `consistency` the proof between two sizes.

    The engine calls entered() for each new entry that is no head of another log, and hands POST heads to hear_heads().
    `published` is durable, with its cosignatures.  The heads that the witness holds are told to others at each round.
    """

    def __init__(
        self,
        ids: Iterator[int],
        notary: Notary,
        peers: Peers,
        witness: Witness,
        *,
        head: Callable[[], Head | None],
        consistency: Callable[[int, int], tuple[bytes, ...]],
    ) -> None:
        self._ids = ids
        self._notary = notary
        self._peers = peers
        self._heads = Heads(ids, notary, peers, witness)
        self._head = head
        self._consistency = consistency
        self.published: Head | None = None
        self._round: Round | None = None
        self._due: float | None = None
        self._idle = 0.0
        self._cosigned: dict[Key, int] = {}  # the size that each witness cosigned last, as far as is known
        self._effects: list[Effect] = []
        self._counters = {"begun": 0, "published": 0, "short": 0, "cosigned": 0, "wrong": 0, "silent": 0, "ahead": 0}

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError."""
        self._idle = now
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
        nodes = (Cosigner(log.cosigner, node=node) for node, log in self._peers.known.items())
        return (*nodes, *(Cosigner(outside.key, url=outside.url) for outside in self._notary.outside))

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

    def answered(self, id: int, result: object, now: float) -> bool:
        if self._heads.answered(id, result, now):
            return True
        if self._round is None or id not in self._round.asked:
            return False
        cosigner, said, is_again = self._round.asked.pop(id)
        self._hear(self._round, cosigner, said, is_again, result)
        if not self._round.asked or self._round.is_published:
            self._publish(self._round)
        return True

    def applied(self, change: Change, now: float) -> bool:
        if change.key != ROW or change.value is None:
            return False
        self.published = read_head(change.value)
        return True

    def handle_timer(self, now: float) -> None:
        self._heads.handle_timer(now)
        if self._round is not None and not self._round.is_published and now >= self._round.until:
            self._publish(self._round)
        if now >= self._next():
            self._begin(now)

    def next_timer(self) -> float | None:
        timers = [self._heads.next_timer(), self._next()]
        if self._round is not None and not self._round.is_published:
            timers.append(self._round.until)
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
        }

    def _next(self) -> float:
        return self._idle if self._due is None else min(self._due, self._idle)

    def _begin(self, now: float) -> None:
        self._due, self._idle = None, now + self._notary.idle_round_s
        self._heads.tell(now)
        head = self._head()
        if head is None:
            return
        if self._round is not None and not self._round.is_published:
            self._publish(self._round)
        self._counters["begun"] += 1
        self._round = Round(head, now + WAIT_S)
        for cosigner in self.witnesses:
            self._ask(self._round, cosigner, min(self._cosigned.get(cosigner.key, 0), head.size), is_again=False)
        if not self._round.asked:
            self._publish(self._round)

    def _ask(self, round: Round, cosigner: Cosigner, old: int, *, is_again: bool) -> None:
        proof = self._consistency(old, round.head.size) if 0 < old < round.head.size else ()
        id = next(self._ids)
        round.asked[id] = (cosigner, old, is_again)
        body = Submission(old, proof, round.head).encode()
        call = Call(cosigner.node, "POST", submission.PATH, body, cosigner.url, ANSWER_MAX)
        self._effects.append(Ask(id, call))

    def _hear(self, round: Round, cosigner: Cosigner, said: int, is_again: bool, result: object) -> None:
        if not isinstance(result, Reply):
            self._counters["silent"] += 1
            return
        try:
            if result.status == 200:
                round.lines[cosigner.key] = self._line(round.head, cosigner.key, result.body)
                self._cosigned[cosigner.key] = round.head.size
                self._counters["cosigned"] += 1
                return
            if result.status == 409 and not is_again and result.media.startswith(submission.SIZE_MEDIA):
                old = read_size(result.body.decode("ascii").removesuffix("\n"))
                if old <= round.head.size and old != said:
                    self._cosigned[cosigner.key] = old
                    self._ask(round, cosigner, old, is_again=True)
                    return
                self._counters["ahead"] += old > round.head.size
        except (WireError, UnicodeDecodeError):
            pass
        self._counters["wrong"] += 1

    def _line(self, head: Head, key: Key, body: bytes) -> Line:
        """The cosignature in the answer.  Raises WireError."""
        answered = Note.decode(head.note.text.encode() + b"\n" + body)
        line = answered.by(key)
        if (
            line is None
            or cosigned_at(Head(head.checkpoint, Note(head.note.text, (line,))), key, self._notary.verify) is None
        ):
            raise WireError("the witness has not cosigned it")
        return line

    def _publish(self, round: Round) -> None:
        lines = round.head.note.lines + tuple(round.lines.values())
        self._counters["published"] += not round.is_published
        self._counters["short"] += not round.is_published and len(round.lines) < self.quorum
        round.is_published = True
        value = Note(round.head.note.text, lines).encode()
        change = Change(0, Kind.PUT, ROOM, ROW, round.head.size, value, 0, b"")
        self._effects.append(Commit(puts=(Put(TABLE, ROW, value),), then=(Apply(change),)))
