"""What one literal peer is still to be told: everything once, and each key that changes from then on.

Keys wait here, not versions: what is told is the newest, so a peer never goes back, and what was replaced before it
could be told is not told.  Changes go before what is left of everything: however long that takes, they do not pile up
if the peer takes calls as fast as commits are made.

Source: notes on DRiP, 1.6 and 1.9 (G4, G9, G14).
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from waypost.record import ROSTER, Committed, Place

CHANGED_MAX: Final = 4_096  # keys that have changed; a peer that is slower is to sync again


class Store(Protocol):
    """The voted records of this node, newest versions.  Keys are never forgotten."""

    @property
    def places(self) -> Iterable[Place]: ...

    def committed(self, place: Place) -> Committed | None: ...


class Item(NamedTuple):
    committed: Committed
    is_sync: bool
    is_last: bool


class Learner:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._everything: OrderedDict[Place, None] = OrderedDict()
        self._changed: OrderedDict[Place, None] = OrderedDict()
        self.follows = False  # it has asked for everything, and missed nothing since

    def __len__(self) -> int:
        """Keys that wait."""
        return len(self._everything) + len(self._changed)

    def begin(self) -> None:
        """With everything, from the beginning; who votes comes first."""
        self.end()
        self._everything = OrderedDict.fromkeys((ROSTER, *self._store.places))
        self.follows = True

    def end(self) -> None:
        self.follows = False
        self._everything.clear()
        self._changed.clear()

    def changed(self, place: Place) -> bool:
        """It has a new version; False if the peer has fallen behind: then this is to end()."""
        if not self.follows or place in self._everything or place in self._changed:
            return True
        if len(self._changed) >= CHANGED_MAX:
            return False
        self._changed[place] = None
        return True

    def take(self) -> Item | None:
        """The next, which waits no longer."""
        if self._changed:
            place, _ = self._changed.popitem(last=False)
            return Item(self._newest(place), is_sync=False, is_last=False)
        if self._everything:
            place, _ = self._everything.popitem(last=False)
            return Item(self._newest(place), is_sync=True, is_last=not self._everything)
        return None

    def check(self) -> None:
        assert len(self._changed) <= CHANGED_MAX
        assert self.follows or not len(self)

    def _newest(self, place: Place) -> Committed:
        committed = self._store.committed(place)
        assert committed is not None, f"{place} was forgotten"
        return committed
