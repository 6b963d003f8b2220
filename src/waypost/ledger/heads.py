"""Which heads the nodes have seen of each other's logs, told to each other: how a split view is found within a round.

POST heads takes a JSON array of notes as strings, TOLD_MAX at most: what the witness holds, each with the cosignature
of the node that tells it, and that node's own published head with all of them, so that everybody can see how far a
quorum agreed.  What a node was told, or told us, is not told to it again; what did not arrive goes with the next.

Source: notes on the ledger, 5 (COMPLETE-EVIDENCE).
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from waypost.engine import Answer, Ask, Effect
from waypost.errors import WireError
from waypost.ledger.checkpoint import Head, read_head
from waypost.ledger.peers import Peers
from waypost.ledger.questions import Call, Notary, Reply
from waypost.ledger.witness import Witness

PATH: Final = "heads"
TOLD_MAX: Final = 16  # heads in one call: each of their lines is verified at once
OCTETS_MAX: Final = 512 << 10  # of one call

_encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(list[str])


class Heads:
    """hear() for each POST heads of a node; has_published() when `published` has changed, which it does in each round.

    What is new is told at once, but `round_s` after something was told before.
    """

    def __init__(
        self,
        ids: Iterator[int],
        notary: Notary,
        peers: Peers,
        witness: Witness,
        published: Callable[[], Head | None],
    ) -> None:
        self._ids = ids
        self._notary = notary
        self._peers = peers
        self._witness = witness
        self._published = published
        self._told: dict[str, dict[str, bytes]] = {}  # by node and origin, what of the head (_mark)
        self._asked: dict[int, tuple[str, list[Head]]] = {}
        self._told_at = 0.0
        self._has_published = False  # since they were last told
        self._changes = 0  # of the witness, then
        self._effects: list[Effect] = []
        self._counters = {"told": 0, "heard": 0, "refused": 0}

    def restore(self, now: float) -> None:
        self._told_at = now

    def hear(self, id: int, body: bytes, node: str) -> None:
        """Answer(id, Reply) follows.  What is behind the first head that its log did not sign is not looked at."""
        self._effects.append(Answer(id, self._hear(body, node)))

    def has_published(self) -> None:
        self._has_published = True

    def answered(self, id: int, result: object, now: float) -> bool:
        if id not in self._asked:
            return False
        node, heads = self._asked.pop(id)
        told = self._told.get(node)
        if told is None:
            return True
        if isinstance(result, Reply) and result.status == 200:
            self._counters["told"] += len(heads)
            self._tell(node)
        else:
            for head in heads:
                told.pop(head.origin, None)
        return True

    def handle_timer(self, now: float) -> None:
        when = self.next_timer()
        if when is not None and when <= now:
            self._tell_all(now)

    def next_timer(self) -> float | None:
        is_news = self._has_published or self._witness.changes != self._changes
        return self._told_at + self._notary.round_s if is_news and self._peers.known else None

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def counters(self) -> dict[str, int]:
        return {f"ledger_heads_{name}": count for name, count in self._counters.items()}

    def _tell_all(self, now: float) -> None:
        """To every node what it has not heard yet, one call at a time."""
        self._told_at, self._changes, self._has_published = now, self._witness.changes, False
        self._told = {node: self._told.get(node, {}) for node in self._peers.known}
        busy = {node for node, _ in self._asked.values()}
        for node in self._told:
            if node not in busy:
                self._tell(node)

    def _tell(self, node: str) -> None:
        told, published = self._told[node], self._published()
        heads: list[Head] = []
        octets = 0
        for head in (*([published] if published else []), *self._witness.heads.values()):
            if head.origin == self._peers.known[node].origin or told.get(head.origin) == self._mark(head):
                continue
            octets += 2 * len(head.note.encode())  # with what JSON escapes
            if len(heads) == TOLD_MAX or octets > OCTETS_MAX:
                break
            heads.append(head)
        if not heads:
            return
        told.update((head.origin, self._mark(head)) for head in heads)
        id = next(self._ids)
        self._asked[id] = (node, heads)
        body = _encode([head.note.encode().decode() for head in heads])
        self._effects.append(Ask(id, Call(node, "POST", PATH, body)))

    def _mark(self, head: Head) -> bytes:
        """What makes it worth telling: of our own head also who cosigned it, of others' only what they cosigned."""
        return head.note.encode() if head.origin == self._notary.origin else head.note.text.encode()

    def _hear(self, body: bytes, node: str) -> Reply:
        if node not in self._peers.known:
            return Reply(403, b"heads are heard from nodes of the network whose logs are known\n")
        try:
            notes = _decoder.decode(body) if len(body) <= OCTETS_MAX else None
            if notes is None or len(notes) > TOLD_MAX:
                raise WireError(f"{TOLD_MAX} heads at most are told at once")
            heads = [read_head(note.encode()) for note in notes]
        except (ValueError, RecursionError, WireError) as error:
            self._counters["refused"] += 1
            return Reply(400, f"{error}\n".encode())
        told = self._told.setdefault(node, {})
        for head in heads:
            if not self._witness.hear(head, node):
                self._counters["refused"] += 1
                return Reply(400, f"a head of {head.origin} is not signed by its log\n".encode())
            self._counters["heard"] += 1
            if self._peers.key_of(head.origin) is not None:
                told[head.origin] = self._mark(head)
        return Reply(200)
