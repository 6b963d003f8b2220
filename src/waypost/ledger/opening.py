"""May this node sign heads of its log?  Only after it knows which one others saw last.

A node whose disk is older than it was, a backup put back or a copy of a machine, would sign a second history without
knowing.  So before it signs anything it asks every other node for the last head of its own log that it witnessed.  One
answer is enough, and that there is none is an answer; all that come within WAIT_S are looked at:

    no larger head        it signs
    a larger one          what is missing is taken back from the mirrors that others keep, checked against that head and
                          what is here before anything of it is kept; then it signs
    one that contradicts  it never signs again: the operator begins another log, under another origin

A node that is alone signs at once, unless its state directory was restored from a backup.  Where nobody answers, the
operator's word is enough: resume().

Source: notes on the ledger, 5 (restore from an old backup; ONE-HEAD, APPEND-ONLY).
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final

from waypost.engine import Ask, Commit, Effect, Put, Rows
from waypost.errors import WireError
from waypost.ledger import entry, note
from waypost.ledger.checkpoint import CHECKPOINT_MAX, Head, read_head, require_signed
from waypost.ledger.log import NODE, Log
from waypost.ledger.note import Note
from waypost.ledger.questions import Call, Notary, Reply
from waypost.ledger.tiles import WIDTH, Tile
from waypost.ledger.transfer import CHUNK_BUNDLES, Transfer

RESTORED: Final = b"restored"  # in the table NODE: this disk was made of a backup, and nobody was asked since
WAIT_S: Final = 3.0
RETRY_S: Final = 10.0
RETRY_MAX_S: Final = 600.0
FIRST_LINE: Final = "waypost/log@v1"

SIGNING: Final = "signing"
STARTING: Final = "it is not known yet who the other nodes are"
ASKING: Final = "no other node has said yet which head of this log it saw last"
LONE: Final = "it was restored from a backup, and there is no other node to say which head of this log it saw last"
BEHIND: Final = "other nodes have seen {seen} entries of this log, and {here} are here: the rest is asked for"
CONTRADICTED: Final = "another node has a head of this log, of size {size}, that contradicts what is here"
HEADS_MAX: Final = 64  # larger than ours, and not compared yet: one more than that says no more


class Opening:
    """`state` is SIGNING, or a sentence that says why not.  The engine calls follow() when the log has written.

    take_entries() has what is to be entered of it: that the log was opened, or resumed by the operator.
    """

    def __init__(self, notary: Notary, log: Log, ids: Iterator[int]) -> None:
        self.state = STARTING
        self._notary = notary
        self._log = log
        self._ids = ids
        self._digest = sha256(notary.origin.encode()).hexdigest()
        self._was_restored = False
        self._members: tuple[str, ...] = ()
        self._asked: set[int] = set()  # for heads, and not answered
        self._has_answer = False
        self._is_final = False  # it never signs again
        self._heads: dict[int, Head] = {}  # by size: what others have and is not here to compare with
        self._target: Head | None = None  # the one of them that is fetched
        self._transfer: tuple[int, Transfer] | None = None  # under way, by the question
        self._tried = 0  # sources in vain
        self._when: float | None = None
        self._wait_s = RETRY_S
        self._effects: list[Effect] = []
        self._entries: list[bytes] = []
        self._counters = {"asked": 0, "answered": 0, "wrong": 0, "adopted": 0, "contradicted": 0}

    def restore(self, rows: Rows, now: float) -> None:
        self._was_restored = rows.get(NODE, RESTORED) is not None

    def set_members(self, names: Iterable[str], now: float) -> None:
        """Who the other nodes are.  The first time, it begins."""
        self._members = tuple(name for name in names if name != self._notary.name)
        if self.state in (STARTING, LONE):
            self._ask(now, WAIT_S)

    def resume(self, now: float) -> None:
        """The operator's word: sign, though nobody has answered.  Beside a head that is known nothing is signed."""
        if self.state in (ASKING, LONE) and not self._heads:
            self._open("resumed")

    def stop(self, reason: str) -> None:
        """Sign no more, ever: there is evidence against this log."""
        if not self._is_final:
            self._is_final = True
            self._log.may_sign, self.state, self._when = False, reason, None

    def hear(self, head: Head, now: float) -> None:
        """A head that somebody has and says is of this log."""
        self._consider(head)
        self._fall_behind(now)

    def follow(self, now: float) -> None:
        """Take back what is missing, a chunk at a time."""
        if self._is_final or self._log.is_writing or self._transfer is not None or self._when is not None:
            return
        if not self._compare() or self.state in (STARTING, ASKING, LONE):
            return
        if self._heads:
            self._fetch(now)
        elif self.state != SIGNING:
            self._counters["adopted"] += 1
            self._open()

    def answered(self, id: int, result: object, now: float) -> bool:
        reply = result if isinstance(result, Reply) else None
        if self._transfer is not None and self._transfer[0] == id:
            transfer, self._transfer = self._transfer[1], None
            if not self._is_final:
                self._took(transfer, reply, now)
            return True
        if id not in self._asked:
            return False
        self._asked.remove(id)
        if reply is not None:
            self._hear(reply, now)
        if self.state == ASKING and self._has_answer and not self._asked:
            self._decide(now)
        return True

    def handle_timer(self, now: float) -> None:
        if self._when is None or now < self._when:
            return
        self._when = None
        if self.state != ASKING:
            self.follow(now)
        elif self._has_answer:
            self._decide(now)
        else:
            self._ask(now, RETRY_S)

    def next_timer(self) -> float | None:
        return self._when

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def take_entries(self) -> list[bytes]:
        entries, self._entries = self._entries, []
        return entries

    def counters(self) -> dict[str, int]:
        return {f"ledger_opening_{name}": count for name, count in self._counters.items()}

    # which head others saw last

    def _ask(self, now: float, wait_s: float) -> None:
        if not self._members:
            if self._was_restored:
                self.state = LONE
            else:
                self._open()
            return
        self.state, self._when = ASKING, now + wait_s
        for name in self._members:
            id = next(self._ids)
            self._asked.add(id)
            call = Call(name, "GET", f"witness/{self._digest}/checkpoint", octets_max=CHECKPOINT_MAX)
            self._effects.append(Ask(id, call))
            self._counters["asked"] += 1

    def _hear(self, reply: Reply, now: float) -> None:
        if reply.status == 200:
            try:
                head = read_head(reply.body)
            except WireError:
                self._counters["wrong"] += 1
                return
            if not self._consider(head):
                return
        elif reply.status != 404:
            return
        self._counters["answered"] += 1
        self._has_answer = True
        if self.state == ASKING and self._when is not None:
            self._when = min(self._when, now + WAIT_S)
        self._fall_behind(now)  # it came late

    def _fall_behind(self, now: float) -> None:
        """Somebody has a larger head, and this node was signing."""
        if self.state == SIGNING and self._heads:
            self._log.may_sign = False
            self.state = BEHIND.format(seen=max(self._heads), here=self._log.size)
            self.follow(now)

    def _consider(self, head: Head) -> bool:
        """Whether it is a head of this log."""
        key = self._notary.key
        try:
            require_signed(head, key, self._notary.verify)
        except WireError:
            self._counters["wrong"] += 1
            return False
        if head.origin != self._notary.origin:
            self._counters["wrong"] += 1
            return False
        line = head.note.by(key)
        assert line is not None
        known = self._heads.setdefault(head.size, Head(head.checkpoint, Note(head.note.text, (line,))))
        if known.root != head.root:
            self._contradict(head)
        elif len(self._heads) > HEADS_MAX:
            del self._heads[min(self._heads)]
        self._compare()
        return True

    def _compare(self) -> bool:
        """Those heads whose entries are all here: whether none contradicts."""
        for size in [size for size in sorted(self._heads) if size <= self._log.adopted]:
            root = self._log.root(size)
            if root is None:
                return False
            head = self._heads.pop(size)
            if root != head.root:
                self._contradict(head)
        return not self._is_final

    def _decide(self, now: float) -> None:
        self._when = None
        if self._heads:
            self._fetch(now)
        else:
            self._open()

    def _open(self, event: str = "") -> None:
        log, notary = self._log, self._notary
        log.may_sign, self.state, self._when = True, SIGNING, None
        event = event or ("opened" if log.size == 0 else "")
        if event:
            lines = (FIRST_LINE, event, notary.origin, notary.key.encode(), notary.cosigner.encode())
            text = "".join(f"{line}\n" for line in lines)
            told = Note(text, (note.sign(text, notary.key, notary.sign),))
            self._entries.append(entry.encode(entry.Kind.KEY, told.encode()))
        if self._was_restored:
            self._was_restored = False
            self._effects.append(Commit(puts=(Put(NODE, RESTORED, None),)))

    def _contradict(self, head: Head) -> None:
        self._counters["contradicted"] += 1
        self.stop(CONTRADICTED.format(size=head.size))

    # what is taken back

    def _fetch(self, now: float) -> None:
        log = self._log
        if self._target is None or self._target.size not in self._heads:
            self._target = self._heads[max(self._heads)]
        head, first = self._target, log.adopted
        self.state = BEHIND.format(seen=head.size, here=first)
        if log.is_writing:
            return
        if not self._members:
            self._when = now + self._wait_s
            return
        stop = min(head.size, (first // WIDTH + CHUNK_BUNDLES) * WIDTH)
        source = self._members[self._tried % len(self._members)]
        prefix = f"mirror/{self._digest}/"
        self._proceed(Transfer(head.origin, head, first, stop, log.peaks(), source, prefix), now)

    def _proceed(self, transfer: Transfer, now: float) -> None:
        wanted = transfer.next()
        if wanted is not None:
            self._ask_for(transfer, wanted)
        elif transfer.is_of_head():
            self._tried, self._wait_s = 0, RETRY_S
            self._log.adopt(transfer.entries, transfer.head)
        else:
            self._counters["wrong"] += 1
            self._try_another(now)

    def _ask_for(self, transfer: Transfer, tile: Tile) -> None:
        id = next(self._ids)
        self._transfer = id, transfer
        self._effects.append(Ask(id, transfer.ask(tile)))

    def _took(self, transfer: Transfer, reply: Reply | None, now: float) -> None:
        wanted, asked = transfer.next(), transfer.asked
        assert wanted is not None
        assert asked is not None
        if reply is not None and reply.status == 404 and asked.width < WIDTH:
            self._ask_for(transfer, asked.full)  # a partial tile may go when it is full
            return
        if reply is None or reply.status != 200:
            self._try_another(now)
            return
        try:
            transfer.took(wanted, reply.body)
        except WireError:
            self._counters["wrong"] += 1
            self._try_another(now)
        else:
            self._proceed(transfer, now)

    def _try_another(self, now: float) -> None:
        self._tried += 1
        if self._tried % max(len(self._members), 1) == 0:
            self._when = now + self._wait_s
            self._wait_s = min(2 * self._wait_s, RETRY_MAX_S)
        else:
            self._fetch(now)
