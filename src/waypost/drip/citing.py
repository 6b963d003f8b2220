"""What a record cites: whether this node holds just those versions, and where it asks for one that it lacks.

A grant that has moved on does not come back: whoever relied on it is refused for good.  One that is newer than what is
held is asked for, of whoever sent the vote, once in AGAIN_S for each key and EACH_MAX at once for each sender; the vote
is cast when it has come.  What nobody has is asked for again only if somebody relies on it again.

Source: design, Contracts 6.
"""

from typing import Final

from waypost.drip.book import Book
from waypost.drip.outbox import Outbox
from waypost.record import Cited, Place, Record

AGAIN_S: Final = 1.0  # until the same key is asked for again
ASKED_MAX: Final = 64  # keys within AGAIN_S
EACH_MAX: Final = 16  # of these, for the votes of one node


class Citing:
    """`now` is told by the engine: seconds of the caller's clock."""

    def __init__(self, book: Book, outbox: Outbox) -> None:
        self.now = 0.0
        self._book = book
        self._outbox = outbox
        self._asked: dict[Place, tuple[float, str]] = {}  # when, and for whose votes: the last is the last

    def cited(self, record: Record) -> dict[Place, Record]:
        """Those versions that are held, as cited."""
        held = ((cite, self._book.record(_place(cite))) for cite in record.cites)
        return {grant.place: grant for cite, grant in held if grant is not None and grant.version == cite.version}

    def gone(self, record: Record) -> str:
        """Says which grant has moved on; "" if none has."""
        for cite in record.cites:
            held = self._book.version(_place(cite))
            if held > cite.version:
                what = f"version {cite.version} of {cite.namespace}/{cite.key}"
                return f"it relies on {what}, which is at version {held} by now"
        return ""

    def lacking(self, record: Record) -> tuple[Cited, ...]:
        """What is newer than what is held."""
        return tuple(cite for cite in record.cites if self._book.version(_place(cite)) < cite.version)

    def ask(self, lacking: tuple[Cited, ...], node: str) -> None:
        """Of the node that relies on it, and of another."""
        self._forget()
        for place in map(_place, lacking):
            each = sum(sender == node for _, sender in self._asked.values())
            if place not in self._asked and len(self._asked) < ASKED_MAX and each < EACH_MAX:
                self._asked[place] = self.now, node
                self._outbox.fetch(node, place)

    def check(self) -> None:
        assert len(self._asked) <= ASKED_MAX

    def _forget(self) -> None:
        self._asked = {place: asked for place, asked in self._asked.items() if self.now < asked[0] + AGAIN_S}


def _place(cite: Cited) -> Place:
    return cite.namespace, cite.key
