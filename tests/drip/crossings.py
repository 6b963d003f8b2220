"""Listens on the links of a mesh that gossips: I12, each message crosses each link at most once in each direction.

A message is what is spread: a record, a committed version or a proof; and its name, told beside the tree.  Its sender
may send it once more for each time that the other end asked for that message (Plumtree's graft); and anew after it has
begun again, for what it had not written it has forgotten.

Source: notes on DRiP, 4.12.
"""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from observer import require

from waypost.drip.mesh import ID_SIZE
from waypost.drip.rumours import Graft, Have, News, Rumour, Spread
from waypost.record import Committed, Proof
from waypost.record.gossiped import Gossiped, hash_of
from waypost.record.wire import encode

Link = tuple[str, int, str]  # from whom, since its how manieth beginning, and to whom


class Links:
    """Of the network with the id `network`.  `crossed` counts the messages, `again` those that were asked for."""

    def __init__(self) -> None:
        self.network = ""
        self.crossed = 0
        self.again = 0
        self._begun: Counter[str] = Counter()
        self._sent: Counter[tuple[Link, bytes]] = Counter()
        self._named: Counter[tuple[Link, bytes]] = Counter()
        self._asked: Counter[tuple[Link, bytes]] = Counter()
        self._ids: dict[News, bytes] = {}

    def began(self, name: str) -> None:
        self._begun[name] += 1

    def heard(self, name: str, by: str, messages: Sequence[Rumour]) -> None:
        for message in messages:
            if isinstance(message, Graft):
                for id in dict.fromkeys(message.ids):
                    self._asked[self._link(by, name), id] += 1

    def said(self, name: str, to: str, messages: tuple[Rumour, ...]) -> None:
        link = self._link(name, to)
        for message in messages:
            match message:
                case Spread():
                    many: tuple[News, ...] = (*message.records, *message.commits, *message.proofs)
                    for news in many:
                        self._push(link, self._id(news))
                case Have():
                    for id in message.ids:
                        self._named[link, id] += 1
                        require(self._named[link, id] == 1, "I12", f"{name} names {id.hex()} to {to} again")
                case _:
                    pass

    def _push(self, link: Link, id: bytes) -> None:
        name, _, to = link
        self._sent[link, id] += 1
        self.crossed += 1
        self.again += self._sent[link, id] > 1
        asked = self._asked[link, id]
        require(self._sent[link, id] <= 1 + asked, "I12", f"{name} tells {to} {id.hex()} again, asked {asked} times")

    def _link(self, name: str, to: str) -> Link:
        return name, self._begun[name], to

    def _id(self, news: News) -> bytes:
        """As the tree names it."""
        known = self._ids.get(news)
        if known is None:
            match news:
                case Gossiped():
                    known = hash_of(news.to_sign(self.network))
                case Committed():
                    known = bytes.fromhex(news.record.hash(self.network))
                case Proof():
                    known = sha256(encode(news)).digest()
            self._ids[news] = known = known[:ID_SIZE]
        return known
