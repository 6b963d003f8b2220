"""What this node has seen of others' logs: it cosigns a head that extends the last one that it cosigned, and no other.

For each origin the whole signed checkpoint is kept, with our cosignature, for a witness that keeps only size and root
can notice a fork but not show it.  What was refused though the log signed it is kept as well, and handed to the court.

An answer leaves once what it says is on disk, and a second request for an origin is judged by what the first one
led to, durable or not: to check and to store is one step.

Source: C2SP tlog-witness, tlog-cosignature; notes on the ledger, 2 and 5 (MONOTONE-WITNESS, EVIDENCE-KEPT,
LINK-VERIFIED).
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from waypost.codec import u64
from waypost.engine import Answer, Apply, Commit, Deadlines, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger.checkpoint import Head, cosign, read_head, require_signed
from waypost.ledger.exhibit import Growth
from waypost.ledger.note import Key, Line, Note
from waypost.ledger.questions import ROOM, Notary, Reply
from waypost.ledger.refused import Refused
from waypost.ledger.submission import SIZE_MEDIA, Submission
from waypost.ledger.tree import EMPTY, prefix_root, verify_consistency
from waypost.record import Change, Kind

TABLE: Final = "ledger_witness"
HEARD_MAX: Final = 64  # of one origin, what was heard of lately and is not looked at again
TEXT_MAX: Final = 8 << 10  # octets of a checkpoint without signatures, so that it fits an entry
AGAIN_S: Final = 5  # the same head is cosigned anew after so long; before, its cosignature is told again
_WITNESSED: Final = b"witnessed/"  # and the origin -> the note
_LINKED: Final = b"linked/"  # and the origin -> u64 size


class Frozen(Protocol):
    """There is evidence against an origin, of that digest: what is larger than `size` counts for nothing."""

    @property
    def size(self) -> int: ...
    @property
    def digest(self) -> str: ...


@dataclass(slots=True)
class Seen:
    """The last head that was cosigned for an origin, with the log's line and ours, and when, in POSIX time."""

    head: Head
    time_s: int


class Witness:
    """`key_of` says whose heads are witnessed; `frozen` which origins are; `root_at` the root of a mirrored log at a
    size, or None.

    The engine hands add-checkpoint to add_checkpoint(), and what comes by Apply to applied().  `heads` are durable, and
    `changes` counts how often one of them changed.  take_heads() is what the court should consider, take_forks() what
    it should tell; take_links() what our log should hold, each entered with linking() as the rows of its Commit.
    `fresh_at` says when an origin was last seen to be no larger than what our log holds of it.
    """

    def __init__(
        self,
        notary: Notary,
        *,
        key_of: Callable[[str], Key | None],
        frozen: Callable[[str], Frozen | None],
        root_at: Callable[[str, int], bytes | None],
    ) -> None:
        self._notary = notary
        self._key_of = key_of
        self._frozen = frozen
        self._root_at = root_at
        self.heads: dict[str, Head] = {}
        self.changes = 0
        self._seen: dict[str, Seen] = {}  # what the next one must extend
        self._origins: dict[str, str] = {}  # by the SHA-256 of each, in hexadecimal
        self._heard: dict[str, dict[bytes, None]] = {}  # by the SHA-256 of the note, the oldest first
        self._refused = Refused()
        self._linked: dict[str, int] = {}  # sizes
        self._linked_at: dict[str, float] = {}
        self.fresh_at: dict[str, float] = {}
        self._links: Deadlines[str] = Deadlines()
        self._saw: list[tuple[Head, str]] = []
        self._restored: list[Head] = []  # what the court has not seen since the start
        self._forks: list[tuple[Growth, str]] = []
        self._effects: list[Effect] = []
        self._counters = {"cosigned": 0, "denied": 0, "malformed": 0, "stale": 0, "unproved": 0, "unknown": 0}

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError."""
        try:
            for key, value in rows.scan(TABLE):
                if key.startswith(_WITNESSED):
                    head = read_head(value)
                    self._seen[head.origin] = Seen(head, _time_of(head, self._notary.cosigner))
                    self._keep(head)
                else:
                    self._linked[key.removeprefix(_LINKED).decode()] = int.from_bytes(value, "big")
            self._restored = self._refused.restore(rows)
        except (UnicodeDecodeError, WireError) as error:
            raise StoreError("what was witnessed cannot be read") from error
        for origin in self.heads:
            self._link(origin, now)

    def add_checkpoint(self, id: int, body: bytes, now: float, time_s: int, source: str = "") -> None:
        """Answer(id, Reply) follows.  `time_s` is POSIX time; `source` the node that asks, or ""."""
        try:
            submission = Submission.decode(body)
            if len(submission.head.note.text.encode()) > TEXT_MAX:
                raise WireError("the checkpoint is too large")
        except WireError as error:
            self._answer(id, self._refuse("malformed", 400, str(error)))
            return
        denied = self._deny(submission.head)
        if denied is not None:
            self._answer(id, denied)
            return
        self._consider(id, submission, time_s, source)

    def monitor(self, digest: str) -> Reply:
        """The last head cosigned for the origin of that SHA-256, in hexadecimal."""
        origin = self._origins.get(digest)
        if origin is None:
            return Reply(404, b"no head of that origin was cosigned here\n")
        return Reply(200, self.heads[origin].note.encode())

    def refused(self, origin: str) -> list[Head]:
        """What its log signed and was not cosigned, in the order of its coming."""
        return self._refused.of(origin)

    def hear(self, head: Head, source: str) -> bool:
        """A head that `source` told of, for the court, with all its lines; False if its log's key did not sign it.

        No signature is checked of what was seen before, or is of no log that is witnessed.  What the lines of
        witnesses are worth is the court's to find out.
        """
        is_ours = head.origin == self._notary.origin
        key = self._notary.key if is_ours else self._key_of(head.origin)
        heard, digest = self._heard.setdefault(head.origin, {}) if key else {}, sha256(head.note.encode()).digest()
        if key is None or digest in heard:
            return True
        line = self._verified(head, key)
        if line is None:
            return False
        if len(heard) >= HEARD_MAX:
            del heard[next(iter(heard))]
        heard[digest] = None
        others = (other for other in head.note.lines if not other.is_by(key))
        self._saw.append((Head(head.checkpoint, Note(head.note.text, (line, *others))), source))
        return True

    def applied(self, change: Change, now: float) -> bool:
        """A head of ours is durable."""
        if not change.key.startswith(_WITNESSED) or change.value is None:
            return False
        head = read_head(change.value)
        self._keep(head)
        self.changes += 1
        self._link(head.origin, now)
        return True

    def take_heads(self) -> list[tuple[Head, str]]:
        """All that was seen signed, refused or not, and which node it came from.

        What was refused before a restart is among it, once it is known again whose it is.
        """
        saw, self._saw = self._saw, []
        for head in [head for head in self._restored if self._key_of(head.origin) is not None]:
            self._restored.remove(head)
            saw.append((head, ""))
        return saw

    def take_forks(self) -> list[tuple[Growth, str]]:
        """Evidence in what was refused, and which node showed it."""
        forks, self._forks = self._forks, []
        return forks

    def take_links(self, now: float) -> list[Head]:
        """One for each origin that grew, as its log signed it."""
        due = self._links.pop_due(now)
        for origin in due:
            self._linked[origin], self._linked_at[origin] = self.heads[origin].size, now
            self.fresh_at[origin] = now
        return [self.heads[origin] for origin in due]

    def linked(self, origin: str) -> int:
        """The size last entered in our log."""
        return self._linked.get(origin, 0)

    def linking(self, head: Head) -> tuple[Put, ...]:
        return (Put(TABLE, _LINKED + head.origin.encode(), u64(head.size)),)

    def next_timer(self) -> float | None:
        """When there is something for take_links()."""
        return self._links.next()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def check(self) -> None:
        """MONOTONE-WITNESS: what is durable was cosigned, and never is ahead of what the next one must extend."""
        for origin, head in self.heads.items():
            assert head.size <= self._seen[origin].head.size
            assert self._linked.get(origin, 0) <= head.size
        self._refused.check()

    def counters(self) -> dict[str, int]:
        return {f"ledger_witness_{name}": count for name, count in self._counters.items()}

    def gauges(self, now: float) -> dict[str, int]:
        return {"ledger_witnessed": len(self.heads), "ledger_refused_kept": len(self._refused)}

    def _deny(self, head: Head) -> Reply | None:
        """The refusals that come before anything is said of sizes; the signature is checked last, for it costs most."""
        key, frozen = self._key_of(head.origin), self._frozen(head.origin)
        if key is None:
            return self._refuse("unknown", 404, "this origin is not witnessed here")
        if frozen is not None and head.size > frozen.size:
            return self._refuse("denied", 403, f"there is evidence against this log: {frozen.digest}")
        if self._verified(head, key) is None:
            return self._refuse("denied", 403, "the log has not signed it")
        return None

    def _verified(self, head: Head, key: Key) -> Line | None:
        """The log's line, None if there is none, or one that is wrong.

        A line that was verified before, and one that comes twice, is not verified again.
        """
        lines = tuple(dict.fromkeys(line for line in head.note.lines if line.is_by(key)))
        if not lines:
            return None
        seen = self._seen.get(head.origin)
        if seen and seen.head.note.text == head.note.text and seen.head.note.by(key) == lines[0] and len(lines) == 1:
            return lines[0]
        try:
            require_signed(Head(head.checkpoint, Note(head.note.text, lines)), key, self._notary.verify)
        except WireError:
            return None
        return lines[0]

    def _consider(self, id: int, submission: Submission, time_s: int, source: str) -> None:
        """Of a head that its log signed."""
        head, seen = submission.head, self._seen.get(submission.head.origin)
        self._saw.append((head, source))
        if submission.old > head.size:
            reply = self._refuse("malformed", 400, "the old size is larger than the checkpoint's")
        elif submission.old != (seen.head.size if seen else 0):
            self._counters["stale"] += 1
            reply = Reply(409, b"%d\n" % (seen.head.size if seen else 0), SIZE_MEDIA)
        elif not _extends(submission, seen.head if seen else None):
            reply = self._refuse("unproved", 422, "the proof does not lead from the old tree to this one")
            self._find_fork(submission, seen, source)
        else:
            self._cosign(id, head, seen, time_s)
            return
        self._store(*self._keep_refused(head), then=(Answer(id, reply),))

    def _find_fork(self, submission: Submission, seen: Seen | None, source: str) -> None:
        """A proof that does not begin at what the log signed before shows where the log begins now."""
        key = self._key_of(submission.head.origin)
        assert key is not None
        old, new, proof = submission.old, _by(submission.head, key), submission.proof
        prefix = prefix_root(old, new.size, new.root, proof)
        if seen is not None and prefix is not None:
            self._forks.append((Growth(key, _by(seen.head, key), new, prefix, proof), source))

    def _cosign(self, id: int, head: Head, seen: Seen | None, time_s: int) -> None:
        key = self._key_of(head.origin)
        assert key is not None
        self._counters["cosigned"] += 1
        if seen and seen.head.note.text == head.note.text and time_s < seen.time_s + AGAIN_S:
            line = seen.head.note.by(self._notary.cosigner)
            if line is not None:
                self._store(then=(Answer(id, Reply(200, line.encode().encode())),))
                return
        time_s = max(time_s, seen.time_s if seen else 0)
        bare = _by(head, key)
        line = cosign(bare, self._notary.cosigner, self._notary.cosign, time_s)
        whole = Head(head.checkpoint, bare.note.signed(line))
        self._seen[head.origin] = Seen(whole, time_s)
        row, value = _WITNESSED + head.origin.encode(), whole.note.encode()
        change = Change(0, Kind.PUT, ROOM, row, head.size, value, time_s * 1000, b"")
        settled = self._refused.forget(head)
        answer = Answer(id, Reply(200, line.encode().encode()))
        expected = Put(TABLE, row, seen.head.note.encode() if seen else None)
        self._store(Put(TABLE, row, value), *settled, then=(Apply(change), answer), expects=(expected,))

    def _keep_refused(self, head: Head) -> tuple[Put, ...]:
        """Unless it is what was cosigned, or agrees with what is mirrored."""
        seen, key = self._seen.get(head.origin), self._key_of(head.origin)
        assert key is not None
        is_cosigned = seen is not None and seen.head.note.text == head.note.text
        if is_cosigned or self._root_at(head.origin, head.size) == head.root:
            return ()
        return self._refused.keep(_by(head, key))

    def _keep(self, head: Head) -> None:
        self.heads[head.origin] = head
        self._origins[sha256(head.origin.encode()).hexdigest()] = head.origin

    def _link(self, origin: str, now: float) -> None:
        """Twice in a round at most: whoever grows faster must not make us grow as fast."""
        if self.heads[origin].size <= self._linked.get(origin, 0):
            self.fresh_at[origin] = now
        else:
            linked_at, pause_s = self._linked_at.get(origin), self._notary.round_s / 2
            self._links.set(origin, now if linked_at is None else max(now, linked_at + pause_s))

    def _refuse(self, counter: str, status: int, sentence: str) -> Reply:
        self._counters[counter] += 1
        return Reply(status, f"{sentence}\n".encode())

    def _answer(self, id: int, reply: Reply) -> None:
        """At once: it tells nothing that a crash could make untrue."""
        self._effects.append(Answer(id, reply))

    def _store(self, *puts: Put, then: tuple[Effect, ...], expects: tuple[Put, ...] = ()) -> None:
        self._effects.append(Commit(puts=puts, then=then, expects=expects))


def _extends(submission: Submission, seen: Head | None) -> bool:
    """RFC 6962, 2.1.2, but for a tree of nothing, of which every tree is an extension that needs no proof."""
    head, old = submission.head, submission.old
    if head.size == 0 and head.root != EMPTY:
        return False
    if old == 0 or seen is None:
        return not submission.proof
    if old == head.size:
        return not submission.proof and head.root == seen.root
    return verify_consistency(old, head.size, seen.root, head.root, submission.proof)


def _by(head: Head, key: Key) -> Head:
    """With no signature but the first of that key."""
    line = head.note.by(key)
    return Head(head.checkpoint, Note(head.note.text, (line,) if line else ()))


def _time_of(head: Head, cosigner: Key) -> int:
    line = head.note.by(cosigner)
    return int.from_bytes(line.signature[:8], "big") if line else 0
