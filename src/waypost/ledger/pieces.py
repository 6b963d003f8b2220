"""The evidence that this node holds: found here or heard from others, kept, told, entered in our log, and acted upon.

Of each fault of each accused one piece is enough; what comes after is counted.  Nothing of a piece is told before it is
on disk.  A log that is accused is frozen at the largest size below the conflict that a quorum of witnesses cosigned,
from the moment that this is known.

Of logs and witnesses there are as many as of their keys.  Signers are anybody: of them there are SIGNERS_MAX from each
source, and PIECES_MAX is the end of it.

Source: notes on the ledger, 5 (after a proof; SOUND-EVIDENCE).
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from waypost.engine import Answer, Apply, Commit, Effect, Put, Rows
from waypost.errors import ProofError, StoreError, WireError
from waypost.ledger import exhibit
from waypost.ledger.evidence import Fault, Found, check, digest_of, keys_of
from waypost.ledger.exhibit import Evidence
from waypost.ledger.note import Key, Verify
from waypost.ledger.questions import ROOM, Reply
from waypost.ledger.spreading import PATH, Spreading
from waypost.record import Change, Kind
from waypost.record.wire import Count, encode

TABLE: Final = "ledger_evidence"
PIECE: Final = b"e"  # of a row: then the digest -> a line of JSON, then the file
ENTERED: Final = b"l"  # then the digest: it is in our log
PIECES_MAX: Final = 1_024  # past which nothing more is kept about signers
SIGNERS_MAX: Final = 64  # pieces about signers, from each source
_KEY: Final = b"evidence/"  # of a change, before the digest: it is durable


@dataclass(frozen=True, slots=True)
class Frozen:
    """What is larger than `size` counts for nothing: there is evidence, of that digest."""

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Piece:
    found: Found
    data: bytes


class _Row(Struct, frozen=True):
    """`frozen` is the size at which this piece freezes its log, None if it freezes none."""

    accused: str
    conflict: Count
    fault: str
    frozen: Count | None
    origin: str
    source: str


_decoder: Final = msgspec.json.Decoder(_Row)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom this node believes now: `keys` of logs and cosigners, and how many cosigners are believed together."""

    keys: Collection[Key]
    quorum: int


class Pieces:
    """`all` is by digest, `frozen` by origin; `false` counts by node what was no evidence though it said so.

    `agreed_below` tells the largest size of an origin that a quorum cosigned below another.
    """

    def __init__(
        self,
        ids: Iterator[int],
        round_s: float,
        verify: Verify,
        *,
        nodes: Callable[[], Iterable[str]],
        trust: Callable[[], Trust],
        agreed_below: Callable[[str, int], int],
    ) -> None:
        self._verify = verify
        self._trust = trust
        self._agreed_below = agreed_below
        self._spreading = Spreading(ids, round_s, nodes)
        self.all: dict[str, Piece] = {}
        self.frozen: dict[str, Frozen] = {}
        self.false: dict[str, int] = {}
        self._proved: dict[tuple[Fault, str], str] = {}
        self._durable: dict[str, None] = {}
        self._unentered: dict[str, None] = {}
        self._about_signers: dict[str, int] = {}  # by source
        self._effects: list[Effect] = []
        self._counters = {"found": 0, "heard": 0, "again": 0, "false": 0, "unknown": 0, "dropped": 0}

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError."""
        entered = set()
        try:
            for key, value in rows.scan(TABLE):
                if key.startswith(ENTERED):
                    entered.add(key[1:].hex())
                elif key.startswith(PIECE):
                    self._restore(key[1:].hex(), value)
        except ValueError as error:  # msgspec's errors are
            raise StoreError("the evidence cannot be read") from error
        self._unentered = {digest: None for digest in self.all if digest not in entered}
        self._spreading.spread(now)

    def is_proved(self, fault: Fault, accused: str) -> bool:
        return (fault, accused) in self._proved

    def find(self, evidence: Evidence, source: str) -> None:
        """What was made here, from what that node showed."""
        try:
            data = exhibit.encode(evidence)
            found = check(data, *self._trusted())
        except (WireError, ProofError):  # too large for a log, or about a key that is known no more
            self._counters["dropped"] += 1
            return
        if self._keep(data, found, source):
            self._counters["found"] += 1

    def hear(self, data: bytes, node: str) -> Reply:
        """What a node says; 200 holds once it is durable."""
        digest = digest_of(data)
        if digest not in self.all:
            refusal = self._learn(data, node)
            if refusal is not None:
                return refusal
        else:
            self._counters["again"] += 1
        self._spreading.knows(node, digest)
        return Reply(200)

    def answer(self, id: int, reply: Reply) -> None:
        """Behind what was written before, if it promises anything."""
        answer = Answer(id, reply)
        self._effects.append(Commit(then=(answer,)) if reply.status == 200 else answer)

    def serve(self, path: str) -> Reply:
        """GET evidence, or evidence/<digest>."""
        if path == PATH:
            return Reply(200, "".join(f"{digest}\n" for digest in self._durable).encode())
        digest = path.removeprefix(f"{PATH}/")
        if digest not in self._durable:
            return Reply(404, b"there is no such evidence\n")
        return Reply(200, self.all[digest].data)

    def applied(self, change: Change, now: float) -> bool:
        """A piece is durable."""
        if change.room != ROOM or not change.key.startswith(_KEY):
            return False
        digest = change.key.removeprefix(_KEY).decode()
        self._durable[digest] = self._unentered[digest] = None
        self._spreading.add(digest, self.all[digest].data)
        self._spreading.spread(now)
        return True

    def take_entries(self) -> list[tuple[bytes, tuple[Put, ...]]]:
        """For our log: each entry, and the rows to write with it."""
        digests, self._unentered = list(self._unentered), {}
        return [(self.all[digest].data, (Put(TABLE, ENTERED + bytes.fromhex(digest), b""),)) for digest in digests]

    def answered(self, id: int, result: object, now: float) -> bool:
        return self._spreading.answered(id, result, now)

    def handle_timer(self, now: float) -> None:
        self._spreading.spread(now)

    def next_timer(self) -> float | None:
        return self._spreading.next_timer()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects + self._spreading.take_effects()

    def check(self) -> None:
        assert sum(self._about_signers.values()) <= PIECES_MAX
        assert sorted(self._proved.values()) == sorted(self.all)
        assert self._durable.keys() <= self.all.keys()

    def counters(self) -> dict[str, int]:
        return self._counters | {"told": self._spreading.told}

    def untold(self) -> int:
        return self._spreading.untold()

    def _learn(self, data: bytes, node: str) -> Reply | None:
        keys, verify, quorum = self._trusted()
        try:
            if not all(key in keys for key in keys_of(exhibit.decode(data))):
                self._counters["unknown"] += 1
                return Reply(404, b"a key that it is about is not known here\n")
            found = check(data, keys, verify, quorum)
        except (WireError, ProofError) as error:
            self._counters["false"] += 1
            self.false[node] = self.false.get(node, 0) + 1
            return Reply(400 if isinstance(error, WireError) else 422, f"{error}\n".encode())
        if self._keep(data, found, node):
            self._counters["heard"] += 1
        return None

    def _trusted(self) -> tuple[Collection[Key], Verify, int]:
        trust = self._trust()
        return trust.keys, self._verify, trust.quorum

    def _keep(self, data: bytes, found: Found, source: str) -> bool:
        """Whether it says anything new."""
        is_about_signer = found.fault is Fault.DOUBLE_STATEMENT
        if (found.fault, found.accused) in self._proved:
            self._counters["again"] += 1
            return False
        is_full = len(self.all) >= PIECES_MAX or self._about_signers.get(source, 0) >= SIGNERS_MAX
        if is_about_signer and is_full:
            self._counters["dropped"] += 1
            return False
        is_about_log = not is_about_signer and found.fault is not Fault.WITNESS
        frozen = self._agreed_below(found.origin, found.conflict) if is_about_log else None
        row = _Row(found.accused, found.conflict, found.fault.value, frozen, found.origin, source)
        self._take(row, found, data)
        put = Put(TABLE, PIECE + bytes.fromhex(found.digest), encode(row) + b"\n" + data)
        durable = Apply(Change(0, Kind.PUT, ROOM, _KEY + found.digest.encode(), 0, b"", 0, b""))
        self._effects.append(Commit(puts=(put,), then=(durable,)))
        return True

    def _take(self, row: _Row, found: Found, data: bytes) -> None:
        self.all[found.digest] = Piece(found, data)
        self._proved[found.fault, found.accused] = found.digest
        if found.fault is Fault.DOUBLE_STATEMENT:
            self._about_signers[row.source] = self._about_signers.get(row.source, 0) + 1
        before = self.frozen.get(found.origin)
        if row.frozen is not None and (before is None or row.frozen < before.size):
            self.frozen[found.origin] = Frozen(row.frozen, found.digest)

    def _restore(self, digest: str, value: bytes) -> None:
        line, _, data = value.partition(b"\n")
        row = _decoder.decode(line)
        self._take(row, Found(Fault(row.fault), row.accused, row.origin, row.conflict, digest), data)
        self._durable[digest] = None
        self._spreading.add(digest, data)
