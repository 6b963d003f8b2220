"""The ledger: this node's log, what it does for the logs of others, and what it does when one of them lies.

The organs know little of each other; what one has made for another is handed on here after each call.

Source: notes on the ledger, 5; design, Contracts, 1, 3 and 4.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from random import Random
from typing import Final

from waypost.codec import u64
from waypost.engine import Answer, Apply, Effect, Put, Rows
from waypost.errors import StoreError
from waypost.ledger import entry, index
from waypost.ledger.checkpoint import Head
from waypost.ledger.court import READ, Court
from waypost.ledger.days import Days
from waypost.ledger.log import NODE, Log
from waypost.ledger.mirror import Mirror
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.opening import Opening
from waypost.ledger.peers import Peers
from waypost.ledger.pieces import Frozen
from waypost.ledger.proof import ProofFile
from waypost.ledger.questions import (
    ROOM,
    Enter,
    Entered,
    Held,
    LedgerQuestion,
    Linked,
    Notary,
    Prove,
    Reply,
    Resume,
    Serve,
    ShowLog,
    Shown,
)
from waypost.ledger.rounds import Rounds
from waypost.ledger.tree import Tree
from waypost.ledger.witness import Witness
from waypost.record import Change, Kind

CURSOR: Final = b"cursor"
ENTERED: Final = b"entered/"  # of the changes of statements, before their SHA-256
OCTETS: Final = "application/octet-stream"
NOT_FOUND: Final = Reply(404, b"there is nothing of that name\n")
STOPPED: Final = "there is evidence against this log: begin another one, under another ledger.origin"
DAMAGED: Final = b"the disk is damaged\n"
NOT_ALLOWED: Final = Reply(405, b"that is not done here\n")


class LedgerEngine:
    """`ids` numbers what is asked and answered; `public` is the node's key, which vouches for those of its log.

    `cursor` is the last change of the feed that is in the log.
    """

    def __init__(self, rng: Random, ids: Iterator[int], notary: Notary, public: bytes, held: Held) -> None:
        self._ids = ids
        self._notary = notary
        own = Key(notary.name, Algorithm.ED25519, public)
        self._log = Log(notary, READ)
        self._opening = Opening(notary, self._log, ids)
        self._peers = Peers(rng, ids, notary, own, self._frozen)
        self._witness = Witness(
            notary,
            key_of=self._peers.key_of,
            frozen=self._frozen,
            root_at=lambda origin, size: self._mirror.root_at(origin, size),
        )
        self._mirror = Mirror(notary, ids, heads=self._witness.heads, logs=self._peers, frozen=self._frozen, read=READ)
        self._rounds = Rounds(
            ids,
            notary,
            self._peers,
            self._witness,
            head=lambda: self._log.head if self._log.may_sign else None,
            consistency=self._log.consistency,
            is_accused=lambda key: self._court.is_accused(key),
        )
        self._court = Court(
            ids, notary, self._peers, copy=self._copy, entry_at=self._entry_at, is_damaged=self._is_damaged
        )
        self._days = Days(notary, self._log, held)
        self._asking = (self._opening, self._peers, self._rounds, self._mirror, self._court)
        self._writing = (self._witness, self._rounds, self._mirror, self._court)
        self._organs = (*self._asking, self._witness)
        self._revision = -1  # of the peers' keys, that the court knows
        self._read_to = 0  # the size of our log up to which the court has read it
        self._members: Mapping[str, str] = {}
        self._entering: dict[bytes, list[int]] = {}  # by the SHA-256 of a statement, who waits for it
        self._network = ""
        self._now = 0.0
        self._wall_ms = 0
        self._read_at = 0.0
        self._is_idle = True
        self._has_followed = False  # since the effects were taken, and nothing else happened if it is idle
        self._timer: float | None = None
        self._is_timed = False  # it is still so since effects were taken last
        self._has_news = False  # something is entered, or on its way, that others should see
        self._has_dropped = False  # entries of the feed, which the next start finds again
        self._effects: list[Effect] = []
        self.cursor = 0

    def restore(self, rows: Rows, network: str, now: float) -> None:
        """Raises StoreError if what is on disk is not the log that its head says."""
        self._begin(now)
        self._network = network
        self._log.restore(rows)
        for organ in self._organs:
            organ.restore(rows, now)
        self._days.restore(now)
        self.cursor = int.from_bytes(rows.get(NODE, CURSOR) or b"", "big")

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._begin(now)
        self._wall_ms, self._read_at = wall_ms, now
        self._days.handle_clock(now, wall_ms)

    def set_members(self, members: Mapping[str, str]) -> None:
        """The other nodes of the network: their node keys, by name."""
        if members is not self._members:
            self._begin(self._now)
            self._members = members
            self._peers.set_members(members, self._now)
            self._opening.set_members(members, self._now)

    def apply(self, change: Change, now: float) -> None:
        """A record was voted on, or something of the ledger's own is durable."""
        if change.room != ROOM:
            self._follow(change, now)
            return
        self._begin(now)
        if change.key.startswith(ENTERED):
            self._has_entered(change)
        elif self._log.applied(change):
            self._opening.follow(now)
            if self._has_news:
                self._has_news = self._log.is_waiting
                self._rounds.entered(now)
        else:
            assert any(organ.applied(change, now) for organ in self._writing), f"nobody wrote {change.key!r}"

    def ask(self, question: LedgerQuestion, now: float) -> int:
        """Answer(id, …) follows, as questions.py says."""
        self._begin(now)
        id = next(self._ids)
        match question:
            case Serve():
                reply = self._serve(id, question)
                if reply is not None:
                    self._effects.append(Answer(id, reply))
            case Enter():
                self._enter(id, question.statement)
            case Prove():
                self._effects.append(Answer(id, self._prove(question)))
            case Resume():
                self._opening.resume(now)
                self._effects.append(Answer(id, self._shown()))
            case ShowLog():
                self._effects.append(Answer(id, self._shown()))
        return id

    def answered(self, id: int, result: object, now: float) -> None:
        """What the world says to a Call: a Reply or None."""
        self._begin(now)
        assert any(organ.answered(id, result, now) for organ in self._asking), f"nobody asked {id}"

    def handle_timer(self, now: float) -> None:
        self._begin(now)
        for organ in (*self._asking, self._days):
            organ.handle_timer(now)

    def next_timer(self) -> float | None:
        """Asked for after whatever happens on the node, of which little is of the ledger: it is worked out once."""
        if not self._is_timed:
            timers = [organ.next_timer() for organ in (*self._asking, self._days, self._log)]
            if self._log.may_sign:
                timers.append(self._witness.next_timer())
            self._timer, self._is_timed = min((when for when in timers if when is not None), default=None), True
        return self._timer

    def take_effects(self) -> list[Effect]:
        effects: list[Effect] = []
        if not self._is_idle:
            self._is_idle = True
            self._hand_on()
            effects, self._effects = self._effects, []
            for organ in self._organs:
                effects += organ.take_effects()
        elif not self._has_followed:
            return effects
        self._has_followed = self._is_timed = False
        return effects + self._log.take_effects(self._wall(), self._now)

    def check(self) -> None:
        for organ in (self._log, self._witness, self._court):
            organ.check()

    def counters(self) -> dict[str, int]:
        return {name: count for organ in (*self._organs, self._days) for name, count in organ.counters().items()}

    def gauges(self, now: float) -> dict[str, int]:
        own = {"ledger_size": self._log.size, "ledger_signing": int(self._log.may_sign)}
        organs = (self._peers, self._rounds, self._mirror, self._court, self._witness)
        return own | {name: value for organ in organs for name, value in organ.gauges(now).items()}

    # what is entered

    def _follow(self, change: Change, now: float) -> None:
        """A record that was voted on is an entry."""
        if self._has_dropped or self._log.is_full:
            self._has_dropped = True
            return
        assert change.value is not None
        assert isinstance(change.version, int)
        key = index.of_commit(change.key, change.version)
        puts = partial(_indexed, key, change.wall_ms, (Put(NODE, CURSOR, u64(change.seq)),))
        self._log.add(entry.commit(self._network, change.value), puts, once=key, hurries=False)
        self._now, self._has_news = now, True
        when = self._log.next_timer()
        if when is not None and when <= now:
            self._has_followed = True
        elif when is not None:
            self._timer = when if self._timer is None else min(self._timer, when)

    def _enter(self, id: int, statement: bytes) -> None:
        refused = self._refusal(statement)
        if refused is not None:
            self._effects.append(Answer(id, refused))
            return
        digest = sha256(statement).digest()
        waiting = self._entering.setdefault(digest, [])
        waiting.append(id)
        if len(waiting) > 1:
            return
        wall_ms = self._wall()
        self._log.add(
            statement,
            partial(_indexed, index.of_statement(statement), wall_ms, ()),
            lambda place, _: (Apply(Change(0, Kind.PUT, ROOM, ENTERED + digest, place, b"", wall_ms, b"")),),
        )
        self._has_news = True

    def _refusal(self, statement: bytes) -> Reply | None:
        if not self._log.may_sign:
            return Reply(503, f"nothing is entered: {self._opening.state}\n".encode())
        if self._log.is_full:
            return Reply(503, b"the disk is behind\n")
        reason = self._court.refusal(statement, self._wall())
        return None if reason is None else Reply(409, f"{reason}\n".encode())

    def _has_entered(self, change: Change) -> None:
        assert self._log.head is not None
        assert isinstance(change.version, int)
        entered = Entered(change.version, self._log.head)
        for id in self._entering.pop(change.key.removeprefix(ENTERED)):
            self._effects.append(Answer(id, entered))

    # what is told

    def _serve(self, id: int, question: Serve) -> Reply | None:
        """None: the answer comes once it is durable."""
        match question.method, question.path.split("/"):
            case "GET", ["checkpoint"]:
                published = self._rounds.published
                return Reply(200, published.note.encode()) if published else NOT_FOUND
            case "GET", ["tile", *_]:
                tile = self._log.serve(question.path)
                if tile is None:
                    return Reply(503, DAMAGED) if self._log.damage else NOT_FOUND
                return Reply(200, tile, OCTETS)
            case "GET", ["keys"]:
                return self._peers.keys()
            case "GET", ["witness", digest, "checkpoint"]:
                return self._witness.monitor(digest)
            case "GET", ["mirror", digest, *rest]:
                return self._mirror.serve(digest, "/".join(rest))
            case "POST", ["add-checkpoint"]:
                self._witness.add_checkpoint(id, question.body, self._now, self._wall() // 1000, question.node)
            case "POST", ["heads"]:
                self._rounds.hear_heads(id, question.body, question.node)
            case "POST", ["evidence"]:
                self._court.hear(id, question.body, question.node, self._now)
            case "GET", ["evidence", *_]:
                return self._court.serve(question.path)
            case _, [
                "checkpoint" | "tile" | "keys" | "witness" | "mirror" | "add-checkpoint" | "heads" | "evidence",
                *_,
            ]:
                return NOT_ALLOWED
            case _:
                return NOT_FOUND
        return None

    def _prove(self, question: Prove) -> bytes | None:
        head = self._rounds.published
        if head is None or not 0 <= question.index < head.size:
            return None
        octets = self._log.entry(question.index)
        proof = self._log.inclusion(question.index, head.size)
        if octets is None or proof is None:
            return None
        return ProofFile(question.index, proof, head, octets).encode()

    def _shown(self) -> Shown:
        notary = self._notary
        return Shown(
            notary.origin,
            notary.key,
            notary.cosigner,
            self._opening.state,
            self._log.size,
            self._log.head,
            self._rounds.published,
            self._rounds.quorum,
            self._rounds.cosigners,
            tuple(map(self._linked, self._peers.known)),
            notary.outside,
            tuple(self._court.pieces),
            self._days.date,
        )

    def _linked(self, node: str) -> Linked:
        log = self._peers.known[node]
        head, frozen = self._witness.heads.get(log.origin), self._frozen(log.origin)
        return Linked(
            node,
            log.origin,
            log.key,
            log.cosigner,
            head.size if head else 0,
            self._mirror.size(log.origin),
            self._witness.linked(log.origin),
            frozen.size if frozen else None,
        )

    def _frozen(self, origin: str) -> Frozen | None:
        return self._court.frozen.get(origin)

    def _copy(self, origin: str) -> Tree | None:
        """The tree that this node holds of a log."""
        return self._log.tree if origin == self._notary.origin else self._mirror.tree(origin)

    def _entry_at(self, origin: str, place: int) -> bytes | None:
        if origin == self._notary.origin:
            return self._log.entry(place)
        return next(iter(self._mirror.entries(origin, place, place + 1)), None)

    def _is_damaged(self, origin: str, error: StoreError) -> None:
        """The tree that this node holds of a log cannot be read."""
        if origin == self._notary.origin:
            self._log.is_damaged(error)
        else:
            self._mirror.is_damaged(origin)

    # handing on

    def _hand_on(self) -> None:
        """What one organ has made for another."""
        now, own, court = self._now, self._notary.origin, self._court
        if self._revision != self._peers.revision:
            self._revision = self._peers.revision
            self._show_heads()
        for head, source in self._witness.take_heads():
            court.consider(head, source, now)
            if head.origin == own:
                self._opening.hear(head, now)
        for growth, source in self._witness.take_forks():
            court.found(growth, source)
        self._mirror.follow(now)
        for origin, entries in self._mirror.take_read():
            court.read(origin, entries, now)
        if self._read_to < self._log.size and self._log.head is not None:
            court.signed(self._log.head, now)
            court.read(own, self._log.take_read(), now)
            self._read_to = self._log.size
        if court.is_doubled or own in court.frozen:
            self._opening.stop(STOPPED)
        if self._log.damage:
            self._opening.stop(self._log.damage)
        for octets, puts in court.take_entries():
            self._add(octets, puts)
        for octets in (*self._opening.take_entries(), *self._days.take_entries()):
            self._add(octets)
        for head in self._witness.take_links(now) if self._log.may_sign else ():
            octets = entry.encode(entry.Kind.PEER_HEAD, head.note.encode())
            self._log.add(octets, partial(self._linking, head), hurries=False)

    def _show_heads(self) -> None:
        """What this node had before it knew whose it is; what was seen before costs a hash."""
        for head in (*self._witness.heads.values(), self._log.head, self._rounds.published):
            if head is not None:
                self._court.consider(head, "", self._now)

    def _add(self, octets: bytes, puts: tuple[Put, ...] = ()) -> None:
        """Something that others should see."""
        self._log.add(octets, lambda _: puts)
        self._has_news = True

    def _linking(self, head: Head, _: int) -> tuple[Put, ...]:
        return self._witness.linking(head)

    def _begin(self, now: float) -> None:
        self._now, self._is_idle = now, False

    def _wall(self) -> int:
        return self._wall_ms + int((self._now - self._read_at) * 1000)


def _indexed(key: bytes, wall_ms: int, more: tuple[Put, ...], place: int) -> tuple[Put, ...]:
    return (*more, index.Row(place, wall_ms).put(key))
