"""Older versions of keys that this node does not have, brought from others that do.

Whoever holds version n of a key holds the hash of version n - 1, and so on down: a record with that hash is the one,
whoever brings it; and it is taken with its certificate alone, verified as any.  So a gap is closed from above.  One
question is under way at a time, about WANTED_MAX gaps, the oldest first, to a peer drawn by lot; there is a pause after
each answer, which grows while answers bring nothing.  What nobody can tell any more stays a gap, and is counted.

A version whose value was dropped everywhere is kept as its certificate, which says its hash and the one before.

What comes so late is no news: it is not in the change feed, and not in this node's log.  Both say when this node learnt
what was the newest, in the order of the versions.

Source: notes on DRiP, 4.4 (deletion: never remove a version), 4.12 (I2, I3, I13); R11 of 2.2.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from waypost.drip.alarms import Alarms
from waypost.drip.book import BARE, HISTORY, Book, history_key
from waypost.drip.gaps import Gap, ReadRows
from waypost.drip.messages import VERSIONS_MAX, WANTED_MAX, History, HistoryRequest, Past, Wanted
from waypost.drip.outbox import Outbox
from waypost.drip.roster import Electorate
from waypost.drip.voter import Credentials
from waypost.engine import Rows
from waypost.errors import WireError
from waypost.record import Certificate, Committed, Place, Proof
from waypost.record.vote import is_certified, require_committed
from waypost.record.wire import encode

CAPABILITY: Final = "history"
EVERY: Final = 0.5  # seconds from an answer to the next question
EVERY_MAX: Final = 10.0  # of answers that brought nothing
ANSWER_S: Final = 4.0  # until another peer is asked
OCTETS_MAX: Final = 384 << 10  # of the versions in one answer, but for the last
READ_MAX: Final = 32  # rows in one go


@dataclass(frozen=True, slots=True)
class Sources:
    """`read` reads rows of this node's disk; `peers` are the nodes that can be asked."""

    read: ReadRows
    peers: Callable[[], Sequence[str]]


ALONE: Final = Sources(lambda table, after, count: (), lambda: ())


@dataclass(frozen=True, slots=True)
class Asked:
    """`heads` are the highest versions of the gaps that were asked about, and the gaps' numbers."""

    id: int
    peer: str
    heads: dict[tuple[Place, int], int]


class Historian:
    """`counts`: versions that came, and what was not taken, by the reason."""

    def __init__(
        self,
        book: Book,
        electorate: Electorate,
        credentials: Credentials,
        alarms: Alarms,
        sources: Sources,
        rng: Random,
        outbox: Outbox,
    ) -> None:
        self._book = book
        self._gaps = book.gaps
        self._electorate = electorate
        self._credentials = credentials
        self._alarms = alarms
        self._sources = sources
        self._rng = rng
        self._outbox = outbox
        self._id = 0
        self._asked: Asked | None = None
        self._at: float | None = None  # when the next question is due
        self._wait = EVERY
        self.counts: Counter[str] = Counter()

    @property
    def missing(self) -> int:
        """Older versions that this node knows of and does not have."""
        return self._gaps.missing

    def restore(self, rows: Rows, now: float) -> None:
        self._gaps.restore(rows, HISTORY)
        self.wake(now)

    def wake(self, now: float) -> None:
        """There may be a new gap."""
        if self._gaps.count and self._at is None:
            self._at, self._wait = now + EVERY, EVERY

    def handle_timer(self, now: float) -> None:
        if self._at is None or self._at > now:
            return
        if self._asked is not None:
            self._fruitless(self._asked)
        self._asked = None
        self._ask(now)

    def next_timer(self) -> float | None:
        return self._at

    def receive(self, node: str, message: HistoryRequest | History, now: float) -> None:
        if isinstance(message, HistoryRequest):
            self._tell(node, message)
        else:
            self._receive(node, message, now)

    def check(self) -> None:
        self._gaps.check()
        assert self._asked is None or len(self._asked.heads) <= WANTED_MAX

    # asking

    def _ask(self, now: float) -> None:
        gaps = self._gaps.oldest(WANTED_MAX, self._sources.read)
        peers = self._sources.peers() if gaps else ()
        if not peers:
            self._at = now + EVERY_MAX if self._gaps.count else None
            return
        self._id += 1
        self._asked = Asked(self._id, self._rng.choice(peers), {(gap.place, gap.high): number for number, gap in gaps})
        wanted = tuple(Wanted(*gap.place, gap.high, gap.low) for _, gap in gaps)
        self._outbox.tell_now(self._asked.peer, HistoryRequest(self._id, wanted))
        self._at = now + ANSWER_S

    def _receive(self, node: str, history: History, now: float) -> None:
        asked = self._asked
        if asked is None or (asked.peer, asked.id) != (node, history.id):
            self.counts["unasked"] += 1
            return
        self._asked = None
        taken = 0
        for past in history.versions:
            if not self._take(node, past, asked):
                break  # it does not follow the rules: the rest is not looked at
            taken += 1
        if taken:
            self._wait = EVERY
        else:
            self._fruitless(asked)
        self._at = now + self._wait

    def _fruitless(self, asked: Asked) -> None:
        """Others may be told by that peer, or these by another."""
        for number in asked.heads.values():
            self._gaps.put_off(number)
        self._wait = min(2 * self._wait, EVERY_MAX)

    def _take(self, node: str, past: Past, asked: Asked) -> bool:
        matter = past.certificate.matter
        number = asked.heads.pop((matter.place, matter.version), None)
        if number is None:
            self.counts["unasked"] += 1
            return False
        gap = self._gaps.get(number)
        if not self._holds(node, past, gap):
            self.counts["refused"] += 1
            return False
        self._alarms.look_for_own(past.certificate)
        if past.record is None:
            self._book.add_bare(past.certificate)
        else:
            self._book.add(Committed(past.record, past.certificate))
        self.counts["bare" if past.record is None else "taken"] += 1
        if not self._gaps.fill(number, matter.prev):
            asked.heads[matter.place, matter.version - 1] = number
        elif matter.prev != gap.base:
            self._contradicted(past.certificate)
        return True

    def _holds(self, node: str, past: Past, gap: Gap) -> bool:
        matter, credentials = past.certificate.matter, self._credentials
        epoch = matter.ballot.epoch
        roster = self._electorate.known(epoch)
        if roster is None:
            self._electorate.ask_for_rosters(node)
            return False
        if matter.hash != gap.hash or self._electorate.term_of(epoch) != epoch:
            return False
        if past.record is None:
            return is_certified(past.certificate, roster, credentials.network, credentials.verify, roster.quorum)
        try:
            committed = Committed(past.record, past.certificate)
            require_committed(committed, roster, credentials.network, credentials.verify, roster.quorum)
        except WireError:
            return False
        return True

    def _contradicted(self, certificate: Certificate) -> None:
        """The version below the gap is another than this one follows: proof, where that is at hand."""
        matter = certificate.matter
        wanted = Wanted(*matter.place, matter.version - 1, matter.version - 1)
        for past in self._told(wanted):
            self._alarms.receive(Proof(past.certificate, certificate))

    # answering

    def _tell(self, node: str, request: HistoryRequest) -> None:
        versions: list[Past] = []
        octets = 0
        for past in (past for wanted in request.wanted for past in self._told(wanted)):
            octets += len(encode(past))
            if versions and (octets > OCTETS_MAX or len(versions) == VERSIONS_MAX):
                break
            versions.append(past)
        self._outbox.tell_now(node, History(request.id, tuple(versions)))

    def _told(self, wanted: Wanted) -> Iterator[Past]:
        """From the highest down, as far as they are on this node's disk without a gap."""
        high = wanted.high
        while high >= wanted.low:
            low = max(wanted.low, high - READ_MAX + 1)
            versions = self._read(wanted.place, low, high)
            for version in range(high, low - 1, -1):
                past = versions.get(version)
                if past is None:
                    return
                yield past
            high = low - 1

    def _read(self, place: Place, low: int, high: int) -> dict[int, Past]:
        versions: dict[int, Past] = {}
        for table in (HISTORY, BARE):
            if len(versions) > high - low:
                break
            for key, value in self._sources.read(table, history_key(place, low - 1), high - low + 1):
                if not history_key(place, low) <= key <= history_key(place, high):
                    break
                version = int(key[-16:])
                if table == BARE:
                    versions.setdefault(version, Past(_certificate.decode(value), None))
                    continue
                committed = _committed.decode(value)
                if committed.certificate is not None:
                    versions[version] = Past(committed.certificate, committed.record)
        return versions


_committed: Final = msgspec.json.Decoder(Committed)
_certificate: Final = msgspec.json.Decoder(Certificate)
