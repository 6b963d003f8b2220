"""The court: out of what this node sees of logs it makes evidence when one of them lies.

It considers every signed head that this node sees from anybody, and every entry that it holds of any log: a link is a
head that another log has seen.  What was found, or heard from another node and verified with the keys that are pinned
here, freezes the log that it is about and goes to everybody (pieces.py).

What peers can make grow is bounded for each log: heads (docket.py), statements (sayings.py), and here DATED_MAX.

Source: notes on the ledger, 5 (proofs of misbehaviour; COMPLETE-EVIDENCE).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta, Struct

from waypost.engine import Commit, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger import entry
from waypost.ledger.checkpoint import Head, cosigned_at, read_head, require_signed
from waypost.ledger.delving import Delving, Doubt
from waypost.ledger.docket import Copy, Docket, Signed
from waypost.ledger.entry import Kind
from waypost.ledger.evidence import Fault, by_alone, is_before, link_time, of_date, of_statements
from waypost.ledger.exhibit import Evidence
from waypost.ledger.note import Key
from waypost.ledger.pieces import TABLE, Frozen, Piece, Pieces, Trust
from waypost.ledger.policy import is_own, quorum_of
from waypost.ledger.questions import Notary, Reply
from waypost.ledger.sayings import EntryAt, Sayings
from waypost.ledger.statement import SKEW_S, Statement, is_signed
from waypost.record import Change
from waypost.record.wire import Count, decode, encode

DATED_MAX: Final = 16  # statements of one log that are dated back and wait for a head that covers them
READ: Final = (Kind.PEER_HEAD.line, Kind.STATEMENT.line, Kind.EVIDENCE.line)  # how entries begin that it reads
_LOG: Final = b"o"  # of a row: then the SHA-256 of an origin -> JSON
_LOG_MAX: Final = 64 << 10  # octets


class Log(Protocol):
    @property
    def node(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def key(self) -> Key: ...
    @property
    def cosigner(self) -> Key: ...


class Logs(Protocol):
    """The other nodes, and which logs are known; peers.Peers is."""

    @property
    def known(self) -> Mapping[str, Log]: ...
    def key_of(self, origin: str) -> Key | None: ...
    def of_origin(self, origin: str) -> Log | None: ...


class _Log(Struct, frozen=True):
    """What a docket keeps through a restart."""

    agreed: tuple[Count, ...]
    link: Annotated[tuple[Count, ...], Meta(max_length=2)]
    origin: str


_decoder: Final = msgspec.json.Decoder(_Log)


class Court:
    """`copy` is the tree that this node holds of a log, be it mirrored or its own; `entry_at` an entry of one, or None.
    `is_damaged` is told of a tree that cannot be read, of which there is no `copy` from then on.

    The engine hands it heads, to consider(); entries that begin with one of READ and were verified, our own too, to
    read(), which it calls whenever a copy has grown; evidence that the
    witness made, to found(); and asks refusal() before a statement enters our log.
    """

    def __init__(
        self,
        ids: Iterator[int],
        notary: Notary,
        logs: Logs,
        *,
        copy: Callable[[str], Copy | None],
        entry_at: EntryAt,
        is_damaged: Callable[[str, StoreError], None],
    ) -> None:
        self._is_damaged = is_damaged
        self._notary = notary
        self._own = notary.key.encode()
        self._others = logs
        self._copy = copy
        self._entry_at = entry_at
        self._dockets: dict[str, Docket] = {}
        self._sayings = Sayings(entry_at, notary.verify)
        self._pieces = Pieces(
            ids,
            notary.round_s,
            notary.verify,
            nodes=lambda: logs.known,
            trust=self._trust,
            agreed_below=self._agreed_below,
        )
        self._delving = Delving(ids)
        self._look_at: float | None = None  # after heads that wait
        self._logs: dict[str, _Log] = {}  # as they are on disk
        self._puts: list[Put] = []
        self._counters = {"considered": 0, "unsigned": 0}

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError."""
        self._pieces.restore(rows, now)
        self._sayings.restore(rows)
        for key, value in rows.scan(TABLE):
            if key.startswith(_LOG):
                try:
                    log = decode(value, _decoder, _LOG_MAX)
                except WireError as error:
                    raise StoreError("what is known of a log cannot be read") from error
                self._logs[log.origin] = log

    @property
    def pieces(self) -> dict[str, Piece]:
        """By digest."""
        return self._pieces.all

    @property
    def frozen(self) -> dict[str, Frozen]:
        """By origin."""
        return self._pieces.frozen

    @property
    def false(self) -> dict[str, int]:
        """How often each node told what was no evidence though it said so."""
        return self._pieces.false

    @property
    def is_doubled(self) -> bool:
        """Our key has signed a head that our log does not contain: it may sign no more."""
        docket = self._dockets.get(self._notary.origin)
        return bool(docket and docket.forks) or any(
            self._pieces.is_proved(fault, self._own) for fault in (Fault.SAME_SIZE, Fault.GROWTH)
        )

    def is_accused(self, witness: Key) -> bool:
        """Whether it has cosigned two histories."""
        return self._pieces.is_proved(Fault.WITNESS, witness.encode())

    def consider(self, head: Head, source: str, now: float) -> None:
        """A head that `source` showed, "" if it was no node.  One that was seen before costs a hash."""
        docket = self._docket(head.origin)
        if docket is None or head.size == 0 or docket.is_known(sha256(head.note.encode()).digest()):
            return
        self._counters["considered"] += 1
        signed = self._verified(docket, head)
        if signed is None:
            self._counters["unsigned"] += 1
            return
        self._weigh(docket, signed, source, now)

    def signed(self, head: Head, now: float) -> None:
        """A head of our log, with no line but the one that this node's own key has made or verified."""
        docket = self._docket(head.origin)
        if docket is not None and not docket.is_known(sha256(head.note.encode()).digest()):
            self._weigh(docket, Signed(head, (docket.key,)), "", now)

    def found(self, evidence: Evidence, source: str) -> None:
        """What another organ made of what that node showed."""
        self._pieces.find(evidence, source)

    def read(self, origin: str, entries: Iterable[tuple[int, bytes]], now: float) -> None:
        """Entries of a log, each with its index, which its copy holds now."""
        docket = self._docket(origin)
        if docket is None:
            return
        node = self._node_of(origin)
        for index, data in entries:
            read = entry.decode(data)
            if read.kind is Kind.PEER_HEAD:
                self._read_link(docket, index, read.body, node, now)
            elif read.kind is Kind.STATEMENT:
                self._read_statement(docket, origin, index, data)
            elif read.kind is Kind.EVIDENCE and node:
                self._pieces.hear(data, node)
        self._go_on(origin, docket, now)

    def refusal(self, data: bytes, wall_ms: int) -> str | None:
        """Why a statement may not enter our log, or None.  With another one it may be evidence, entered or not."""
        try:
            statement = Statement.decode(data)
        except WireError as error:
            return str(error)
        if not is_signed(statement, self._notary.verify):
            return "the signature of the statement is wrong"
        docket = self._docket(self._notary.origin)
        link = docket.link if docket else None
        if abs(statement.at_ms - wall_ms) > SKEW_S * 1000 or (link and is_before(statement, link[1])):
            return f"a statement is dated at most {SKEW_S} seconds from now"
        if self._find_doubles(statement, bytes.fromhex(statement.hash), self._notary.origin):
            return "its signer has said something else after the same statement"
        return None

    def hear(self, id: int, data: bytes, node: str, now: float) -> None:
        """POST evidence.  Answer(id, Reply) follows, once what it says is durable."""
        if node in self._others.known:
            reply = self._pieces.hear(data, node)
        else:
            reply = Reply(403, b"evidence is heard from nodes of the network whose logs are known\n")
        self._pieces.answer(id, reply)

    def serve(self, path: str) -> Reply:
        """GET evidence, or evidence/<digest>."""
        return self._pieces.serve(path)

    def take_entries(self) -> list[tuple[bytes, tuple[Put, ...]]]:
        """For our log: each entry, and the rows to write with it."""
        return self._pieces.take_entries()

    def applied(self, change: Change, now: float) -> bool:
        return self._pieces.applied(change, now)

    def answered(self, id: int, result: object, now: float) -> bool:
        if not self._delving.answered(id, result):
            return self._pieces.answered(id, result, now)
        for made, source in self._delving.take_found():
            self._pieces.find(made, source)
        return True

    def handle_timer(self, now: float) -> None:
        self._pieces.handle_timer(now)
        if self._look_at is not None and now >= self._look_at:
            is_more = [self._delve(origin, docket) for origin, docket in self._dockets.items()]
            self._look_at = now + self._notary.round_s if any(is_more) else None

    def next_timer(self) -> float | None:
        timers = (self._pieces.next_timer(), self._look_at)
        return min((when for when in timers if when is not None), default=None)

    def take_effects(self) -> list[Effect]:
        puts, self._puts = self._puts, []
        rows: list[Effect] = [Commit(puts=tuple(puts))] if puts else []
        return rows + self._delving.take_effects() + self._pieces.take_effects()

    def check(self) -> None:
        self._pieces.check()

    def counters(self) -> dict[str, int]:
        counted = self._counters | self._pieces.counters()
        return {f"ledger_court_{name}": count for name, count in counted.items()}

    def gauges(self, now: float) -> dict[str, int]:
        return {
            "ledger_evidence": len(self.pieces),
            "ledger_evidence_untold": self._pieces.untold(),
            "ledger_frozen": len(self.frozen),
            "ledger_heads_waiting": sum(len(docket.waiting) for docket in self._dockets.values()),
            "ledger_statements_remembered": self._sayings.count(),
        }

    # Whom we know.

    def _docket(self, origin: str) -> Docket | None:
        """None if it is no log that we know."""
        key = self._notary.key if origin == self._notary.origin else self._others.key_of(origin)
        if key is None:
            return None
        docket = self._dockets.get(origin)
        if docket is None or docket.key != key:
            docket = self._dockets[origin] = Docket(key)
            if origin in self._logs:
                log = self._logs[origin]
                docket.agreed = list(log.agreed)
                docket.link = (log.link[0], log.link[1]) if len(log.link) == 2 else None
        return docket

    def _node_of(self, origin: str) -> str:
        log = self._others.of_origin(origin)
        return log.node if log else ""

    def _cosigners(self) -> list[Key]:
        notary = self._notary
        outside = (each.key for each in notary.outside)
        return [notary.cosigner, *(log.cosigner for log in self._others.known.values()), *outside]

    def _trust(self) -> Trust:
        logs = (log.key for log in self._others.known.values())
        cosigners = self._cosigners()
        return Trust((self._notary.key, *logs, *self._notary.witnessed, *cosigners), self._quorum(None))

    def _quorum(self, log: Key | None) -> int:
        """How many witnesses, the log's own left aside, are believed together."""
        witnesses = [key for key in self._cosigners() if log is None or not is_own(log, key)]
        return max(1, self._notary.quorum or quorum_of(len(witnesses)))

    def _agreed_below(self, origin: str, size: int) -> int:
        docket = self._docket(origin)
        return docket.agreed_below(size) if docket else 0

    # What they show.

    def _verified(self, docket: Docket, head: Head) -> Signed | None:
        """With those of its signatures that we can verify; None if the log's is not one of them."""
        verify = self._notary.verify
        try:
            require_signed(by_alone(head, (docket.key,)), docket.key, verify)
        except WireError:
            return None
        named = {(line.name, line.id) for line in head.note.lines}
        keys = [docket.key]
        for key in self._cosigners():
            try:
                if (key.name, key.id) in named and cosigned_at(by_alone(head, (key,)), key, verify) is not None:
                    keys.append(key)
            except WireError:  # somebody else put it there: it says nothing about the head
                continue
        return Signed(by_alone(head, keys), tuple(keys))

    def _weigh(self, docket: Docket, signed: Signed, source: str, now: float) -> None:
        origin = signed.head.origin
        copy, quorum = self._copy(origin), self._quorum(docket.key)
        try:
            made = list(docket.consider(signed, copy, quorum))
        except StoreError as error:
            self._is_damaged(origin, error)
            made = list(docket.consider(signed, None, quorum))  # until there is another copy
        for each in made:
            self._pieces.find(each, source)
        self._go_on(origin, docket, now)

    def _read_link(self, docket: Docket, index: int, body: bytes, node: str, now: float) -> None:
        try:
            head = read_head(body)
            relied = self._relied(docket.key, head)
            time_s = link_time(head, docket.key, relied, self._notary.verify, self._quorum(None))
        except WireError:
            return
        if time_s is not None and (docket.link is None or time_s > docket.link[1]):
            docket.link = (index, time_s)
        self.consider(head, node, now)

    def _relied(self, log: Key, link: Head) -> list[Key]:
        """Whose times say when a link was made: the log's own cosigner, or all others."""
        signed = [key for key in self._cosigners() if link.note.by(key)]
        return [key for key in signed if is_own(log, key)] or signed

    def _read_statement(self, docket: Docket, origin: str, index: int, data: bytes) -> None:
        try:
            statement = Statement.decode(data)
        except WireError:
            return
        name = bytes.fromhex(statement.hash)
        self._find_doubles(statement, name, origin)
        self._puts += self._sayings.remember(origin, index, statement, name)
        link = docket.link
        if link and is_before(statement, link[1]) and is_signed(statement, self._notary.verify):
            is_proved = self._pieces.is_proved(Fault.BACK_DATING, docket.key.encode())
            if not is_proved and len(docket.dated) < DATED_MAX:
                docket.dated[link[0], index] = None

    def _find_doubles(self, statement: Statement, name: bytes, origin: str) -> bool:
        """Whether the same signer has said something else with the same `prev`, in a log that we know."""
        known = (self._notary.origin, *(log.origin for log in self._others.known.values()))
        strangers = (key.name for key in self._notary.witnessed)
        others = list(self._sayings.others(statement, name, (*known, *strangers)))
        if not others or not is_signed(statement, self._notary.verify):
            return False
        self._pieces.find(of_statements(statement, others[0]), self._node_of(origin))
        return True

    def _delve(self, origin: str, docket: Docket) -> bool:
        """Whether there is a head that waits, and that its log's own tiles may still show to be of another history."""
        last, node = docket.last.get(docket.key), self._node_of(origin)
        if last is None or not node or origin in self.frozen:
            return False
        heads = (by_alone(signed.head, (docket.key,)) for signed in docket.waiting.values())
        return any(self._delving.doubt(Doubt(node, docket.key, last, head)) for head in heads)

    def _go_on(self, origin: str, docket: Docket, now: float) -> None:
        """With what waited for the copy to grow, or for a head."""
        copy = self._copy(origin)
        if copy is not None:
            try:
                for made in docket.grown(copy, self._quorum(docket.key)):
                    self._pieces.find(made, "")
                self._go_on_dated(origin, docket, copy)
            except StoreError as error:
                self._is_damaged(origin, error)
        if docket.waiting and self._look_at is None:
            self._look_at = now + self._notary.round_s
        log = _Log(tuple(docket.agreed), docket.link or (), origin)
        if log != self._logs.get(origin, _Log((), (), origin)):
            self._logs[origin] = log
            self._puts.append(Put(TABLE, _LOG + sha256(origin.encode()).digest(), encode(log)))

    def _go_on_dated(self, origin: str, docket: Docket, copy: Copy) -> None:
        head = docket.last.get(docket.key)
        for before, after in [pair for pair in docket.dated if head and pair[1] < head.size]:
            assert head is not None
            link, statement = self._entry_at(origin, before), self._entry_at(origin, after)
            if link is None or statement is None:  # the copy is damaged
                return
            relied = self._relied(docket.key, read_head(entry.decode(link).body))
            made = of_date(docket.key, relied, head, copy, (before, link), (after, statement))
            del docket.dated[before, after]
            self._pieces.find(made, self._node_of(origin))
