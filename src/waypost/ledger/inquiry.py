"""Asks a log how a head that it signed grew out of the one that this node holds.

A head that is larger, and that no witness accepts, may be of another history: the copy of the log does not grow to it,
so nothing here tells.  A few of the tiles under that head do: they give its root, or they are not its tiles, and with
it the root of its first leaves, as many as the held head has.  If that is another one, the two heads are a proof.

The log's own node is asked, and then the mirrors of the others.  Who does not serve what he signed is counted, and
nothing is proved.

Source: notes on the ledger, 5 (proof 2; a failed proof is a complaint); RFC 6962, 2.1.2.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from waypost.engine import Ask, Deadlines, Effect
from waypost.ledger.checkpoint import Head
from waypost.ledger.evidence import by_alone
from waypost.ledger.exhibit import Growth
from waypost.ledger.mirror import Logs
from waypost.ledger.note import Key
from waypost.ledger.peaks import Place, fold, places, proof_places
from waypost.ledger.questions import Call, Notary, Reply
from waypost.ledger.tiles import WIDTH, Tile
from waypost.ledger.tree import HASH_SIZE, verify_consistency

SETTLED_MAX: Final = 256  # heads that need no second look, of all logs; the oldest is forgotten


@dataclass(slots=True)
class _Asked:
    """About the step from `old` to `new`; `wanted` are the tiles of the tree of `new`, of which `tiles` are here."""

    key: Key
    old: Head
    new: Head
    sources: list[tuple[str, str]]  # node, and what stands before paths there
    wanted: list[Tile]
    tiles: dict[Tile, bytes] = field(default_factory=dict)
    width: int = WIDTH  # that the tile under way was asked in

    def next(self) -> Tile | None:
        return next((tile for tile in self.wanted if tile not in self.tiles), None)

    def root(self, over: Iterable[Place]) -> bytes:
        return fold([place.root(self.tiles[place.tile(self.new.size)]) for place in over])


class Inquiry:
    """`heads` are those that this node's witness holds; `key_of` says whose log it is, and `logs` who keeps it.

    The engine tells doubt() which heads are larger than the copy of their log; each that still is a round later is
    asked about, one for a log at a time.  take_forks() are the proofs.
    """

    def __init__(
        self,
        notary: Notary,
        ids: Iterator[int],
        *,
        heads: Mapping[str, Head],
        logs: Logs,
        key_of: Callable[[str], Key | None],
    ) -> None:
        self._notary = notary
        self._ids = ids
        self._heads = heads
        self._logs = logs
        self._key_of = key_of
        self._doubts: dict[str, dict[bytes, Head]] = {}
        self._due: Deadlines[str] = Deadlines()
        self._settled: dict[bytes, None] = {}
        self._asked: dict[int, _Asked] = {}
        self._busy: dict[str, None] = {}
        self._effects: list[Effect] = []
        self._forks: list[tuple[Growth, str]] = []
        self._counters = {"begun": 0, "forks": 0, "silent": 0}

    def doubt(self, heads: Iterable[Head], now: float) -> None:
        """All that are, each time: what is not among them any more is forgotten."""
        before, self._doubts = self._doubts, {}
        for head in heads:
            if head.origin in self._heads and _digest(head) not in self._settled:
                self._doubts.setdefault(head.origin, {})[_digest(head)] = head
        for origin in self._doubts.keys() - before.keys() - self._busy.keys():
            self._due.set(origin, now + self._notary.round_s)
        for origin in before.keys() - self._doubts.keys():
            self._due.clear(origin)

    def answered(self, id: int, result: object, now: float) -> bool:
        asked = self._asked.pop(id, None)
        if asked is None:
            return False
        wanted = asked.next()
        assert wanted is not None
        if isinstance(result, Reply) and result.status == 200 and len(result.body) == asked.width * HASH_SIZE:
            asked.tiles[wanted] = result.body[: wanted.width * HASH_SIZE]
            self._go_on(asked, now)
        elif isinstance(result, Reply) and result.status == 404 and asked.width < WIDTH:
            self._ask(asked, wanted.full)  # a partial tile may go when it is full
        else:
            self._try_another(asked, now)
        return True

    def handle_timer(self, now: float) -> None:
        for origin in self._due.pop_due(now):
            self._begin(origin, now)

    def next_timer(self) -> float | None:
        return self._due.next()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def take_forks(self) -> list[tuple[Growth, str]]:
        """What was proved, and which node's answers proved it."""
        forks, self._forks = self._forks, []
        return forks

    def counters(self) -> dict[str, int]:
        return {f"ledger_inquiries_{name}": count for name, count in self._counters.items()}

    def _begin(self, origin: str, now: float) -> None:
        """With the smallest, which needs the fewest to be there."""
        old, key, log = self._heads.get(origin), self._key_of(origin), self._logs.of_origin(origin)
        doubts = [head for head in self._doubts.get(origin, {}).values() if old and head.size > old.size]
        if old is None or key is None or log is None or old.size == 0 or not doubts:
            self._again(origin, now)
            return
        new = min(doubts, key=lambda head: head.size)
        mirror = f"mirror/{sha256(origin.encode()).hexdigest()}/"
        others = [(name, mirror) for name in self._logs.known if name != log.node]
        needed = [*places(0, old.size), *(place for each in proof_places(old.size, new.size) for place in each)]
        wanted = list(dict.fromkeys(place.tile(new.size) for place in needed))
        self._busy[origin] = None
        self._counters["begun"] += 1
        self._go_on(_Asked(key, old, new, [(log.node, ""), *others], wanted), now)

    def _go_on(self, asked: _Asked, now: float) -> None:
        wanted = asked.next()
        if wanted is not None:
            self._ask(asked, wanted)
            return
        old, new = asked.old, asked.new
        prefix = asked.root(places(0, old.size))
        proof = tuple(asked.root(over) for over in proof_places(old.size, new.size))
        if not verify_consistency(old.size, new.size, prefix, new.root, proof):
            self._try_another(asked, now)
            return
        if prefix != old.root:
            self._counters["forks"] += 1
            one, other = (by_alone(head, (asked.key,)) for head in (old, new))
            self._forks.append((Growth(asked.key, one, other, prefix, proof), asked.sources[0][0]))
        self._end(asked, now)

    def _ask(self, asked: _Asked, tile: Tile) -> None:
        (node, prefix), asked.width = asked.sources[0], tile.width
        id = next(self._ids)
        self._asked[id] = asked
        self._effects.append(Ask(id, Call(node, "GET", prefix + tile.path, octets_max=WIDTH * HASH_SIZE)))

    def _try_another(self, asked: _Asked, now: float) -> None:
        asked.sources.pop(0)
        asked.tiles.clear()
        if asked.sources:
            self._go_on(asked, now)
        else:
            self._counters["silent"] += 1
            self._end(asked, now)

    def _end(self, asked: _Asked, now: float) -> None:
        """Whatever came of it, this head is asked about no more."""
        digest = _digest(asked.new)
        self._settled[digest] = None
        if len(self._settled) > SETTLED_MAX:
            del self._settled[next(iter(self._settled))]
        self._busy.pop(asked.new.origin)
        self._doubts.get(asked.new.origin, {}).pop(digest, None)
        self._again(asked.new.origin, now)

    def _again(self, origin: str, now: float) -> None:
        """If there are others."""
        if self._doubts.get(origin):
            self._due.set(origin, now + self._notary.round_s)
        else:
            self._doubts.pop(origin, None)


def _digest(head: Head) -> bytes:
    return sha256(head.note.text.encode()).digest()
