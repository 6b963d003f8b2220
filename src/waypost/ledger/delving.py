"""How a log that forked is shown by its own tiles: where a head that it signed begins.

A head that is larger than what this node holds of the log, and does not grow out of it, can be held against the last
head of ours once we know which root its first leaves have.  Whoever shows such a head to readers has to serve them its
tiles; a few of those are asked for, from the node whose log it is, when the head has waited for a round.  What they
prove holds whoever sends them, and what does not connect to the signed head is thrown away: it shows nothing.

Each head is tried TRIES_MAX times, one of a log at a time, a tile at a time.

Source: RFC 6962, 2.1.2; C2SP tlog-tiles; notes on the ledger, 5 (proof 2; NO-LONE-DEFECTOR).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from waypost.engine import Ask, Effect
from waypost.ledger.checkpoint import Head
from waypost.ledger.exhibit import Growth
from waypost.ledger.note import Key
from waypost.ledger.peaks import Place
from waypost.ledger.questions import Call, Reply
from waypost.ledger.tiles import WIDTH, Tile
from waypost.ledger.tree import HASH_SIZE, node_hash, verify_consistency

TRIES_MAX: Final = 3
HEADS_MAX: Final = 256  # of which it is remembered how often they were tried; the oldest is forgotten

Node = Callable[[int, int], bytes]  # level, index -> the root of that complete subtree


@dataclass(frozen=True, slots=True)
class Doubt:
    """Does `new` begin with `old`?  Both are signed by `key`, alone; `node` is asked."""

    node: str
    key: Key
    old: Head
    new: Head


@dataclass(slots=True)
class _Digging:
    """`is_full`: the full tile is asked for, since the partial one went."""

    doubt: Doubt
    wanted: list[Tile]
    tiles: dict[Tile, bytes] = field(default_factory=dict)
    is_full: bool = False


class Delving:
    """doubt() for each head that waits, at each round; `take_found()` what came of it."""

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._tried: dict[str, int] = {}  # by the text of the head
        self._asked: dict[int, _Digging] = {}
        self._found: list[tuple[Growth, str]] = []
        self._effects: list[Effect] = []

    def doubt(self, doubt: Doubt) -> bool:
        """Whether there is more to be tried.  Nothing is asked when a head is first heard of."""
        text = doubt.new.note.text
        tries = self._tried.get(text, -1)
        if tries >= TRIES_MAX:
            return False
        if tries >= 0 and any(digging.doubt.node == doubt.node for digging in self._asked.values()):
            return True
        self._tried[text] = tries + 1
        if len(self._tried) > HEADS_MAX:
            del self._tried[next(iter(self._tried))]
        if tries >= 0:
            self._dig(_Digging(doubt, tiles_between(doubt.old.size, doubt.new.size)))
        return True

    def answered(self, id: int, result: object) -> bool:
        digging = self._asked.pop(id, None)
        if digging is None:
            return False
        tile, reply = digging.wanted[0], result if isinstance(result, Reply) else Reply(503)
        width = WIDTH if digging.is_full else tile.width
        if reply.status == 200 and len(reply.body) == width * HASH_SIZE:
            digging.tiles[digging.wanted.pop(0)] = reply.body
            digging.is_full = False
            self._dig(digging)
        elif reply.status == 404 and width < WIDTH:
            digging.is_full = True
            self._dig(digging)
        return True

    def take_found(self) -> list[tuple[Growth, str]]:
        """Evidence, and the node that showed it."""
        found, self._found = self._found, []
        return found

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _dig(self, digging: _Digging) -> None:
        if digging.wanted:
            id = next(self._ids)
            self._asked[id] = digging
            tile = digging.wanted[0].full if digging.is_full else digging.wanted[0]
            self._effects.append(Ask(id, Call(digging.doubt.node, "GET", tile.path, octets_max=WIDTH * HASH_SIZE)))
            return
        doubt = digging.doubt
        made = _growth(doubt, digging.tiles)
        if made is not None:
            self._found.append((made, doubt.node))


def tiles_between(old: int, new: int) -> list[Tile]:
    """Those of a log of size `new` that show what it begins with."""
    wanted: dict[Tile, None] = {}

    def node(level: int, index: int) -> bytes:
        wanted[Place(level, index).tile(new)] = None
        return bytes(HASH_SIZE)

    _edge(0, old, node)
    consistency(old, new, node)
    return list(wanted)


def consistency(old: int, new: int, node: Node) -> tuple[bytes, ...]:
    """The proof, as tree.Tree makes it, out of complete subtrees of the larger tree."""
    level = (old & -old).bit_length() - 1
    index = (old >> level) - 1
    proof = [node(level, index)] if index else []
    while 1 << level < new:
        sibling = index ^ 1
        if sibling < index or (sibling + 1) << level <= new:
            proof.append(node(level, sibling))
        elif sibling << level < new:
            proof.append(_edge(sibling << level, new, node))
        level, index = level + 1, index >> 1
    return tuple(proof)


def _edge(start: int, stop: int, node: Node) -> bytes:
    """The root over those leaves: from where a complete subtree begins that is at least as large."""
    level = (stop - start).bit_length() - 1
    left = node(level, start >> level)
    start += 1 << level
    return left if start == stop else node_hash(left, _edge(start, stop, node))


def _growth(doubt: Doubt, tiles: dict[Tile, bytes]) -> Growth | None:
    """None if the new tree begins with the old one, or the tiles are not those of its head."""
    old, new = doubt.old, doubt.new

    def node(level: int, index: int) -> bytes:
        place = Place(level, index)
        return place.root(tiles[place.tile(new.size)])

    prefix, proof = _edge(0, old.size, node), consistency(old.size, new.size, node)
    if prefix == old.root or not verify_consistency(old.size, new.size, prefix, new.root, proof):
        return None
    return Growth(doubt.key, old, new, prefix, proof)
