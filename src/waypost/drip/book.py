"""What a node keeps of voted keys: the committed version of each, and the vote under way for the next.

    drip_record    namespace NUL key               Committed
    drip_history   namespace NUL key NUL version   Committed: every version that this node learnt
    drip_instance  namespace NUL key               Instance: what this voter promised and accepted
    drip_round     namespace NUL key               Rounds: which ballots this node has used as an initiator
    drip_alarm     namespace NUL key               Proof: voting has stopped
    drip_bare      namespace NUL key NUL version   Certificate: of a version whose value nobody had any more

A key's last RECENT_MAX versions are remembered by hash and txid, so that one can say later what became of a record; of
older ones, the disk tells.

Source: notes on DRiP, 4.2 (durable state), 4.4.
"""

from collections import Counter
from typing import Final

import msgspec
from msgspec import Struct

from waypost.drip.gaps import Gap, Gaps, ReadRows
from waypost.drip.messages import Proposal
from waypost.drip.outbox import Outbox
from waypost.drip.outcome import Outcome, State
from waypost.drip.shelf import Shelf
from waypost.engine import Rows
from waypost.record import NEVER, ROSTER, Ballot, Certificate, Committed, Mark, Place, Proof, Record
from waypost.record.wire import encode

RECORDS: Final = "drip_record"
HISTORY: Final = "drip_history"
INSTANCES: Final = "drip_instance"
ROUNDS: Final = "drip_round"
ALARMS: Final = "drip_alarm"
BARE: Final = "drip_bare"
RECENT_MAX: Final = 32  # versions of a key


class Instance(Struct, frozen=True, gc=False):
    """Of the vote for one version.  `mark` is this voter's own, None where a merge brought what is accepted."""

    version: int
    promised: Ballot = NEVER
    accepted: Proposal | None = None
    mark: Mark | None = None

    @property
    def accepted_ballot(self) -> Ballot:
        return self.accepted.ballot if self.accepted else NEVER


class Rounds(Struct, frozen=True, gc=False):
    """The highest round used for a version in an epoch; `zero`: round 0 is spent."""

    version: int
    epoch: int
    zero: bool = False
    round: int = 0


def row_key(place: Place) -> bytes:
    return "\0".join(place).encode()


def history_key(place: Place, version: int) -> bytes:
    return row_key(place) + b"\0%016d" % version


def place_in(key: bytes) -> Place:
    namespace, name = key.decode().split("\0")
    return namespace, name


class Book:
    """`read` reads rows of this node's disk."""

    def __init__(self, network: str, outbox: Outbox, read: ReadRows) -> None:
        self.committed: dict[Place, Committed] = {}
        self.instances: dict[Place, Instance] = {}
        self.opened: Counter[str] = Counter()  # votes under way, by the node whose ballot is promised
        self.stopped: dict[Place, Proof] = {}
        self.gaps = Gaps(outbox)
        self.shelf = Shelf()  # of what is in `committed`
        self._network = network
        self._outbox = outbox
        self._read = read
        self._rounds: dict[Place, Rounds] = {}
        self._recent: dict[Place, dict[int, tuple[str, str]]] = {}  # hash and txid

    def restore(self, rows: Rows, *, instances: bool) -> None:
        committed = msgspec.json.Decoder(Committed)
        for _, value in rows.scan(RECORDS):
            self._keep(committed.decode(value))
        for key, value in rows.scan(HISTORY):
            namespace, name, _ = key.decode().split("\0")
            self._note(committed.decode(value), (namespace, name))
        if instances:
            instance = msgspec.json.Decoder(Instance)
            for key, value in rows.scan(INSTANCES):
                self._hold(place_in(key), instance.decode(value))
        rounds = msgspec.json.Decoder(Rounds)
        for key, value in rows.scan(ROUNDS):
            self._rounds[place_in(key)] = rounds.decode(value)
        proof = msgspec.json.Decoder(Proof)
        for key, value in rows.scan(ALARMS):
            self.stopped[place_in(key)] = proof.decode(value)

    def rosters(self, rows: Rows) -> list[Committed]:
        """Every one after the first, in order."""
        committed = msgspec.json.Decoder(Committed)
        start = row_key(ROSTER) + b"\0"
        return [committed.decode(value) for key, value in rows.scan(HISTORY) if key.startswith(start)]

    def found(self, founding: Committed) -> None:
        """The network's first roster, if no other is known."""
        if ROSTER not in self.committed:
            self._keep(founding)

    def version(self, place: Place) -> int:
        """Of what is committed; 0 if nothing is."""
        held = self.committed.get(place)
        return held.record.version if held else 0

    def record(self, place: Place) -> Record | None:
        held = self.committed.get(place)
        return held.record if held else None

    def hash(self, place: Place) -> str:
        """Of the committed version: `prev` of the next."""
        held = self.committed.get(place)
        return self.hash_of(held) if held else ""

    def hash_of(self, committed: Committed) -> str:
        """Of a verified record: its certificate names it."""
        return committed.certificate.matter.hash if committed.certificate else committed.record.hash(self._network)

    def past(self, place: Place, version: int) -> tuple[str, str] | None:
        """The hash and the txid of a version; None if it is not here, or not on disk yet and no more in memory."""
        known = self._recent.get(place, {}).get(version)
        if known is None and 0 < version < self.version(place):
            wanted = history_key(place, version)
            for key, value in self._read(HISTORY, history_key(place, version - 1), 1):
                if key == wanted:
                    committed = msgspec.json.decode(value, type=Committed)
                    known = self.hash_of(committed), committed.record.txid
        return known

    def became(self, record: Record) -> Outcome:
        """What became of a record whose version is over; of one not learnt, the version after it tells."""
        place, hash = record.place, record.hash(self._network)
        held, was = self.committed.get(place), self.past(place, record.version)
        if was is not None:
            return Outcome(State.COMMITTED if was[0] == hash else State.LOST, held)
        if held is not None and held.record.version == record.version + 1:
            return Outcome(State.COMMITTED if held.record.prev == hash else State.LOST, held)
        return Outcome(State.UNKNOWN, held, "the version is too long ago")

    def take(self, committed: Committed) -> None:
        """A verified version, newer than the one held; the vote for it is over."""
        record = committed.record
        place, key = record.place, row_key(record.place)
        data = committed.encode()
        known = self.version(place)
        if record.version > known + 1:
            self.gaps.note(Gap(*place, known + 1, record.version - 1, record.prev, self.hash(place)))
        self._keep(committed)
        self._note(committed, place)
        self._outbox.put(RECORDS, key, data)
        self._outbox.put(HISTORY, history_key(place, record.version), data)
        self._outbox.stored(committed)
        over = self.instances.pop(place, None)
        if over:
            self._count(over, -1)
            self._outbox.put(INSTANCES, key, None)
        if self._rounds.pop(place, None):
            self._outbox.put(ROUNDS, key, None)

    def add(self, committed: Committed) -> None:
        """A verified version that is older than the one held."""
        record = committed.record
        self._outbox.put(HISTORY, history_key(record.place, record.version), committed.encode())

    def add_bare(self, certificate: Certificate) -> None:
        """Of an older version nobody has more than this."""
        matter = certificate.matter
        self._outbox.put(BARE, history_key(matter.place, matter.version), certificate.encode())

    def instance(self, place: Place) -> Instance:
        """Of the next version."""
        return self.instances.get(place) or Instance(self.version(place) + 1)

    def save(self, place: Place, instance: Instance) -> None:
        self._hold(place, instance)
        self._outbox.put(INSTANCES, row_key(place), encode(instance))

    def rounds(self, place: Place, epoch: int) -> Rounds:
        """Of the next version in an epoch."""
        version = self.version(place) + 1
        used = self._rounds.get(place)
        return used if used and (used.version, used.epoch) == (version, epoch) else Rounds(version, epoch)

    def save_rounds(self, place: Place, rounds: Rounds) -> None:
        """Before a ballot leaves: none is ever used twice."""
        self._rounds[place] = rounds
        self._outbox.put(ROUNDS, row_key(place), encode(rounds))

    def stop(self, place: Place, proof: Proof) -> None:
        self.stopped[place] = proof
        self._outbox.put(ALARMS, row_key(place), encode(proof))

    def check(self) -> None:
        for place, instance in self.instances.items():
            assert instance.version == self.version(place) + 1, f"{place}: a vote for a version that is not the next"
            assert instance.accepted_ballot <= instance.promised, f"{place}: accepted above the promise"

        assert self.opened == Counter(instance.promised.node for instance in self.instances.values())

    def _keep(self, committed: Committed) -> None:
        self.committed[committed.record.place] = committed
        self.shelf.put(committed, self.hash_of(committed))

    def _hold(self, place: Place, instance: Instance) -> None:
        before = self.instances.get(place)
        if before:
            self._count(before, -1)
        self.instances[place] = instance
        self._count(instance, 1)

    def _count(self, instance: Instance, change: int) -> None:
        node = instance.promised.node
        self.opened[node] += change
        if not self.opened[node]:
            del self.opened[node]

    def _note(self, committed: Committed, place: Place) -> None:
        recent = self._recent.setdefault(place, {})
        recent[committed.record.version] = self.hash_of(committed), committed.record.txid
        if len(recent) > RECENT_MAX:
            del recent[min(recent)]
