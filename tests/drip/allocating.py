"""Clients of a mesh who allocate blocks of numbers, give names away, and now and then do what they may not.

The judge of prefixes.py, or a broken one, is the voters'.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final

from mesh import FRESH, Machine, Mesh
from prefixes import BLOCKS, ROOT, listed, listing

from waypost.record import Cited, Place, Record
from waypost.sim import Node

DIGITS: Final = "12"
DEPTH: Final = 4
PEOPLE: Final = ("operator", "lena", "mara")
BOLD: Final = 0.1  # of what clients do is not as the rules want it
BELOW: Final = [ROOT[1] + "".join(more) for long in range(DEPTH) for more in product(DIGITS, repeat=long)]
PLACES: Final[tuple[Place, ...]] = tuple((BLOCKS, key) for key in BELOW)
NAME: Final[Place] = ("names", "key 0")


@dataclass(frozen=True, slots=True)
class Wish:
    value: str | None
    author: str
    holder: str
    cites: tuple[Cited, ...] = ()


class Registrars:
    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._rng = mesh.rng
        self._names = {mesh.public(person): person for person in PEOPLE}

    def allocate_again_and_again(self, name: str, mean: float) -> None:
        if not self._mesh.working:
            return
        node = self._mesh.nodes[name]
        if node.engine is not None:
            self._allocate(node)
        again = self._rng.expovariate(1 / mean)
        self._mesh.world.after(again, lambda: self.allocate_again_and_again(name, mean))

    def _allocate(self, node: Node[Machine]) -> None:
        """Something about one block, as its node knows it."""
        rng = self._rng
        if rng.random() < 0.2:
            self._give_a_name(node)
            return
        known = [place for place in PLACES if self._held(node, place)]
        place = rng.choice(known) if known else ROOT
        held = self._held(node, place)
        if held is None:
            wish: tuple[Place, Wish] | None = (ROOT, Wish("", "operator", rng.choice(PEOPLE)))
        elif held.value is None:
            wish = None
        else:
            wish = self._about(node, held)
        if wish is None:
            return
        place, what = wish
        author = rng.choice(PEOPLE) if rng.random() < BOLD else what.author
        self._mesh.claim(node, place, value=what.value, author=author, holder=what.holder, cites=what.cites)

    def _about(self, node: Node[Machine], held: Record) -> tuple[Place, Wish] | None:
        rng, below, holder = self._rng, listed(held), self._names[held.holder]
        back = [key for key in below if self._is_back(node, key, below[key])]
        missing = [key for key, after in below.items() if self._version(node, key) == after]
        chance = rng.random()
        if missing and chance < 0.5:
            cite = Cited(BLOCKS, held.key, held.version)
            return (BLOCKS, rng.choice(missing)), Wish("", holder, rng.choice(PEOPLE), (cite,))
        if back and chance < 0.7:
            key = rng.choice(back)
            version = self._version(node, key)
            left = {each: after for each, after in below.items() if each != key}
            after = left | ({key: version} if rng.random() < 0.5 else {})
            return held.place, Wish(listing(after), holder, holder, (Cited(BLOCKS, key, version),))
        if not below and chance < 0.8 and held.place != ROOT:
            return held.place, Wish(None, holder, holder)
        return self._list(node, held, below, holder)

    def _list(self, node: Node[Machine], held: Record, below: dict[str, int], holder: str) -> tuple[Place, Wish] | None:
        rng = self._rng
        apart = [
            key
            for key in BELOW
            if key.startswith(held.key)
            and key != held.key
            and (rng.random() < BOLD or not any(key.startswith(one) or one.startswith(key) for one in below))
        ]
        if not apart:
            return held.place, Wish(listing(below), holder, rng.choice(PEOPLE))
        key = rng.choice(apart)
        return held.place, Wish(listing({key: self._version(node, key)} | below), holder, holder)

    def _give_a_name(self, node: Node[Machine]) -> None:
        rng = self._rng
        held = self._held(node, NAME)
        author = self._names[held.holder] if held else "operator"
        if rng.random() < BOLD:
            author = rng.choice(PEOPLE)
        taken = rng.random() > BOLD
        self._mesh.claim(node, NAME, value=FRESH, author=author, holder=rng.choice(PEOPLE), is_taken=taken)

    def _held(self, node: Node[Machine], place: Place) -> Record | None:
        assert node.engine is not None
        held = node.engine.drip.committed(place)
        return held.record if held else None

    def _version(self, node: Node[Machine], key: str) -> int:
        held = self._held(node, (BLOCKS, key))
        return held.version if held else 0

    def _is_back(self, node: Node[Machine], key: str, after: int) -> bool:
        held = self._held(node, (BLOCKS, key))
        return held is not None and held.value is None and held.version > after
