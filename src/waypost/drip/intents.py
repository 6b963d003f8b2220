"""Intents: signed records that wait at this node for a quorum of voters, because their clients asked it to keep them.

A record is kept durably before anybody is told so, and sent once a quorum seems to be in reach: of one key one at a
time, in the order in which they came.  What came of it is remembered for a while.

    pending    it waits, or is under way; while nothing was sent it may be cancelled
    committed, lost, denied    as of any claim
    expired, cancelled         nothing was ever sent
    unknown    its version is so long over that nobody here can say

An intent lives for `life_s` from the time on its own record, so that to hand it in again, here or elsewhere, makes it
no younger.  That bounds only what was never sent: from the first attempt on, which is on disk before it leaves, it may
have been committed, and is brought to an end however long that takes.  For the same reason a denial counts only if it
is the answer to the one attempt that there was.

There is one intent for a version of a key.  A record may follow the one that waits before it; the namespaces of the
network itself are not kept waiting, for a roster of yesterday helps nobody.

    drip_intent  namespace NUL key NUL version NUL txid   Intent

Times are seconds of the caller's monotonic clock, wall-clock times milliseconds since 1970.

Source: notes on DRiP, 4.4 (client contract), 4.7 and 4.10; invariants I7 and I13; design, Contracts 1.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from waypost.drip.judge import Judge
from waypost.drip.outbox import Outbox
from waypost.drip.outcome import BUSY, Outcome, State
from waypost.drip.questions import Queued, Unkept
from waypost.drip.voter import SKEW_MAX_MS, Credentials
from waypost.engine import Effect, Rows
from waypost.record import ROSTER, Committed, Place, Record
from waypost.record.wire import encode

TABLE: Final = "drip_intent"
ENDED_MS: Final = 7 * 86_400_000  # for which it is
PAST_MS: Final = 86_400_000  # for which the version that it was to be may still be brought, after its time is over
LOOK_S: Final = 0.25  # between two looks for a quorum, while something waits
LOOKED_MAX: Final = 1_000  # keys at one look, 1 ms: the others come next
REST_S: Final = 1.0  # before another attempt, after one that came to nothing; twice as long each time
REST_MAX_S: Final = 10.0

ENDS: Final = ("committed", "lost", "denied", "expired", "cancelled", "unknown")

Transaction = tuple[Place, int, str]  # a version, and a txid


class Intent(Struct, frozen=True):
    """`number` is its place in the order of arrival; its voting began `attempts` times; without `record` it is over."""

    number: int
    since_ms: int
    until_ms: int
    record: Record | None
    attempts: int = 0
    state: Literal["pending", "committed", "lost", "denied", "expired", "cancelled", "unknown"] = "pending"
    reason: str = ""
    ended_ms: int = 0


_decoder: Final = msgspec.json.Decoder(Intent)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many wait and how large they are, in all, of one author and of one key; how many are sent at once.

    `ended` are those whose outcome is remembered: the oldest is forgotten first.
    """

    intents: int = 10_000
    octets: int = 64 << 20
    author: int = 256
    author_octets: int = 2 << 20
    key: int = 16
    sending: int = 64
    ended: int = 10_000


@dataclass(slots=True)
class Share:
    """What waits, in all or of one author."""

    count: int = 0
    octets: int = 0


LIMITS: Final = Limits()


class Voting(Protocol):
    """The engine of the votes, as far as it is needed here."""

    def claim(self, record: Record, now: float, *, was_kept: bool = False) -> int:
        """Answered under that number with an Outcome; one that was kept may be of long ago."""
        ...

    def outcome(self, place: Place, version: int, txid: str) -> Outcome | None:
        """What became of a transaction, if that is known here."""
        ...

    def committed(self, place: Place) -> Committed | None: ...


class Intents:
    """`votes` brings records to a vote; `has_quorum` says whether one could succeed now."""

    def __init__(
        self,
        rng: Random,
        ids: Iterator[int],
        votes: Voting,
        credentials: Credentials,
        judge: Judge,
        life_s: int,
        has_quorum: Callable[[float], bool],
        limits: Limits = LIMITS,
    ) -> None:
        self._rng = rng
        self._ids = ids
        self._votes = votes
        self._credentials = credentials
        self._judge = judge
        self._life_ms = life_s * 1000
        self._has_quorum = has_quorum
        self._limits = limits
        self._outbox = Outbox(ids)
        self._intents: dict[Transaction, Intent] = {}
        self._waiting: dict[Place, list[Transaction]] = {}
        self._sending: dict[int, Transaction] = {}  # under which number
        self._busy: dict[Place, None] = {}  # keys of these
        self._direct: dict[int, Record] = {}  # claims that are kept only if nobody can say what came of them
        self._resting: dict[Place, tuple[float, bool]] = {}  # until when, and whether the version was over
        self._ended: dict[Transaction, None] = {}  # the oldest first
        self._whole = Share()
        self._authors: dict[str, Share] = {}
        self._number = 0
        self._look_at: float | None = None
        self._wall_ms = 0
        self._read_at = 0.0
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many wait."""
        return self._whole.count

    def restore(self, rows: Rows, now: float) -> None:
        """What had begun may have been committed: it is brought to an end."""
        found = [read_row(key, value) for key, value in rows.scan(TABLE)]
        for transaction, intent in sorted(found, key=lambda item: item[1].number):
            self._number = max(self._number, intent.number)
            self._intents[transaction] = intent
            if intent.record is not None:
                self._queue(transaction, intent.record)
        ended = (item for item in found if item[1].record is None)
        self._ended = {transaction: None for transaction, _ in sorted(ended, key=lambda item: item[1].ended_ms)}
        self._look_at = now

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._wall_ms, self._read_at = wall_ms, now
        self._look_at = now

    def handle_timer(self, now: float) -> None:
        if self._look_at is not None and self._look_at <= now:
            self._look(now)

    def next_timer(self) -> float | None:
        return self._look_at

    def take_effects(self) -> list[Effect]:
        return self._outbox.take()

    # Commands

    def claim(self, record: Record, now: float) -> int:
        """Have it voted on now, or keep it: answered with an Outcome, or with Unkept if it cannot be kept."""
        transaction = _transaction_of(record)
        known = self._intents.get(transaction)
        is_known = known is not None and known.record == record
        is_over = self._version(record.place) >= record.version
        if is_over or (not is_known and record.place not in self._waiting and self._has_quorum(now)):
            id = self._votes.claim(record, now)
            self._direct[id] = record
            return id
        id = next(self._ids)
        unkept = None if is_known else self._objection(record, now)
        if unkept is not None:
            self._outbox.answer(id, unkept)
            return id
        if not is_known:
            self._keep(transaction, record, now)
        self._outbox.answer(id, self.outcome(transaction))
        return id

    def cancel(self, transaction: Transaction, now: float) -> int:
        """Answered with the Outcome, cancelled if nothing had been sent; with None if nothing is known of it."""
        id = next(self._ids)
        intent = self._intents.get(transaction)
        is_unsent = intent is not None and intent.record is not None and not intent.attempts
        if is_unsent and self._votes.outcome(*transaction) is None:
            self._end(transaction, "cancelled", "", now)
        self._outbox.answer(id, self.outcome(transaction))
        return id

    # What others may know

    def outcome(self, transaction: Transaction) -> Outcome | None:
        """None: nothing is known of it here."""
        intent = self._intents.get(transaction)
        if intent is None:
            return None
        if intent.record is not None and (known := self._votes.outcome(*transaction)) is not None:
            return known
        current = self._votes.committed(transaction[0])
        reason = intent.reason or ("it has been sent" if intent.attempts and intent.record is not None else "")
        return Outcome(State(intent.state), current, reason, intent.until_ms)

    def queued(self) -> Iterable[Queued]:
        """What waits, in the order in which it came."""
        for (_, version, txid), intent in self._intents.items():
            if intent.record is not None:
                place, author = intent.record.place, intent.record.author
                yield Queued(place, version, txid, author, intent.since_ms, intent.until_ms, intent.attempts > 0)

    def counters(self) -> dict[str, int]:
        return {f"intents_{name}": self.counts[name] for name in ("kept", *ENDS)}

    def gauges(self, now: float) -> dict[str, int]:
        since = min((intent.since_ms for intent in self._intents.values() if intent.record is not None), default=None)
        age_ms = 0 if since is None else max(0, self._wall(now) - since)
        return {"intents": self._whole.count, "intents_oldest_seconds": age_ms // 1000}

    def check(self) -> None:
        pending = {transaction: intent for transaction, intent in self._intents.items() if intent.record is not None}
        assert sorted(pending) == sorted(each for queue in self._waiting.values() for each in queue)
        assert all(self._waiting.values()), "an empty queue"
        assert self._ended.keys() == self._intents.keys() - pending.keys()
        assert len(self._ended) <= self._limits.ended
        assert self._whole.count == len(pending) <= self._limits.intents
        assert {author: share.count for author, share in self._authors.items()} == Counter(
            intent.record.author for intent in pending.values() if intent.record is not None
        )
        assert list(self._busy) == [place for place, *_ in self._sending.values()]
        for place, version, txid in self._sending.values():
            assert self._waiting[place][0] == (place, version, txid), f"{place}: out of order"

    # What the votes say

    def expects(self, id: int) -> bool:
        """Whether what is answered under this number was asked here."""
        return id in self._sending or id in self._direct

    def answered(self, id: int, outcome: Outcome, now: float) -> None:
        record = self._direct.pop(id, None)
        if record is not None:
            self._outbox.answer(id, self._kept_at_last(record, outcome, now))
            return
        transaction = self._sending.pop(id)
        place, version, _ = transaction
        del self._busy[place]
        intent = self._intents[transaction]
        is_over = self._version(place) >= version
        match outcome.state:
            case State.COMMITTED:
                self._end(transaction, "committed", "", now)
            case State.LOST:
                assert outcome.current is not None
                self._end(transaction, "lost", f"it is held by {outcome.current.record.holder}", now)
            case State.DENIED if outcome.reason != BUSY and intent.attempts == 1:
                self._end(transaction, "denied", outcome.reason, now)
            case State.DENIED if outcome.reason != BUSY and intent.until_ms <= self._wall(now):
                self._end(transaction, "unknown", outcome.reason, now)  # an attempt before may have come to something
            case State.UNKNOWN if is_over and intent.until_ms + PAST_MS <= self._wall(now):
                self._end(transaction, "unknown", outcome.reason, now)
            case _:
                if outcome.reason == BUSY and not is_over:  # this attempt began nothing
                    self._save(transaction, msgspec.structs.replace(intent, attempts=intent.attempts - 1))
                rest_s = min(REST_S * 2 ** min(intent.attempts, 16), REST_MAX_S)
                self._resting[place] = now + rest_s * self._rng.uniform(0.5, 1.0), is_over

    # Inside

    def _look(self, now: float) -> None:
        wall_ms, has_quorum = self._wall(now), self._has_quorum(now)
        for place in list(islice(self._waiting, LOOKED_MAX)):
            queue = self._waiting[place] = self._waiting.pop(place)  # the last in turn
            for transaction in list(queue):
                intent = self._intents[transaction]
                is_over = self._version(place) >= transaction[1]
                if not intent.attempts and not is_over and intent.until_ms <= wall_ms:
                    self._end(transaction, "expired", "", now)
            if queue and place not in self._busy:
                self._try(place, queue[0], now, has_quorum=has_quorum)
        for transaction in list(self._ended):
            if self._intents[transaction].ended_ms + ENDED_MS > wall_ms:
                break
            self._forget(transaction)
        self._look_at = now + LOOK_S if self._waiting else None

    def _try(self, place: Place, transaction: Transaction, now: float, *, has_quorum: bool) -> None:
        intent = self._intents[transaction]
        assert intent.record is not None
        is_over = self._version(place) >= transaction[1]
        rests_until, was_over = self._resting.get(place, (now, is_over))
        if rests_until > now and was_over is is_over:
            return
        if not is_over:
            if not has_quorum or len(self._sending) >= self._limits.sending:
                return
            self._save(transaction, msgspec.structs.replace(intent, attempts=intent.attempts + 1))
        id = self._votes.claim(intent.record, now, was_kept=True)
        self._sending[id] = transaction
        self._busy[place] = None

    def _objection(self, record: Record, now: float) -> Unkept | None:
        """Why it is not kept: what every voter would say of it, as far as this node can tell, and the limits."""
        queue = self._waiting.get(record.place, [])
        before = self._intents[queue[-1]].record if queue else self._held(record.place)
        network, wall_ms = self._credentials.network, self._wall(now)
        version = before.version if before else 0
        rival = next((txid for _, number, txid in queue if number == record.version), None)
        if rival is not None:
            return Unkept("taken", f"another record waits here to be version {record.version}: {rival}")
        if record.version != version + 1 or record.prev != (before.hash(network) if before else ""):
            return Unkept("order", f"it does not follow version {version}, the last that is here or waits here")
        if record.namespace.startswith("_"):
            return Unkept("denied", "what is the network's own is not kept waiting")
        author, signature = bytes.fromhex(record.author), bytes.fromhex(record.signature)
        if not self._credentials.verify(author, signature, record.to_sign(network)):
            return Unkept("denied", "it is not signed by its author")
        if record.hlc.wall_ms > wall_ms + SKEW_MAX_MS:
            return Unkept("denied", "its clock is ahead")
        if record.hlc.wall_ms + self._life_ms <= wall_ms:
            return Unkept("denied", f"it was signed more than {self._life_ms // 1000} s ago")
        roster = self._held(ROSTER)
        assert roster is not None
        if not record.cites:  # else the voters judge, who fetch what is cited
            verdict = self._judge.judge(before, record, {ROSTER: roster}, wall_ms)
            if not verdict.allowed:
                return Unkept("denied", verdict.reason)
        return self._limit(record, len(queue))

    def _limit(self, record: Record, waiting: int) -> Unkept | None:
        size, share = len(record.encode()), self._authors.get(record.author, Share())
        if waiting >= self._limits.key:
            return Unkept("author", f"{waiting} records wait here for that key, and more may not")
        if share.count >= self._limits.author or share.octets + size > self._limits.author_octets:
            return Unkept("author", f"{share.count} records of this author wait here, and it may have no more")
        if self._whole.count >= self._limits.intents or self._whole.octets + size > self._limits.octets:
            return Unkept("node", f"{self._whole.count} records wait here, and there is no room for more")
        return None

    def _kept_at_last(self, record: Record, outcome: Outcome, now: float) -> Outcome:
        """What was sent, and nobody can say what came of it, is kept and brought to an end, if there is room."""
        transaction = _transaction_of(record)
        is_open = outcome.state is State.UNKNOWN and self._version(record.place) < record.version
        queue = self._waiting.get(record.place, [])
        if not is_open or queue or self._limit(record, 0) is not None:
            return outcome
        self._keep(transaction, record, now, attempts=1)
        kept = self.outcome(transaction)
        assert kept is not None
        return kept

    def _keep(self, transaction: Transaction, record: Record, now: float, *, attempts: int = 0) -> None:
        self._number += 1
        until_ms = record.hlc.wall_ms + self._life_ms
        self._ended.pop(transaction, None)
        self._intents.pop(transaction, None)  # the last in order, also if it comes again
        self._save(transaction, Intent(self._number, self._wall(now), until_ms, record, attempts))
        self._queue(transaction, record)
        self._look_at = now + LOOK_S if self._look_at is None else self._look_at
        self.counts["kept"] += 1

    def _queue(self, transaction: Transaction, record: Record) -> None:
        self._waiting.setdefault(record.place, []).append(transaction)
        self._count(record, 1)

    def _end(self, transaction: Transaction, state: str, reason: str, now: float) -> None:
        place, *_ = transaction
        intent = self._intents[transaction]
        assert intent.record is not None
        self._count(intent.record, -1)
        queue = self._waiting[place]
        queue.remove(transaction)
        if not queue:
            del self._waiting[place]
            self._resting.pop(place, None)
        ended = msgspec.structs.replace(intent, record=None, state=state, reason=reason, ended_ms=self._wall(now))
        self._save(transaction, ended)
        self._ended[transaction] = None
        self.counts[state] += 1
        if len(self._ended) > self._limits.ended:
            self._forget(next(iter(self._ended)))

    def _forget(self, transaction: Transaction) -> None:
        del self._ended[transaction], self._intents[transaction]
        self._outbox.put(TABLE, _row_key(transaction), None)

    def _save(self, transaction: Transaction, intent: Intent) -> None:
        self._intents[transaction] = intent
        self._outbox.put(TABLE, _row_key(transaction), encode(intent))

    def _count(self, record: Record, change: int) -> None:
        author = self._authors.setdefault(record.author, Share())
        for share in (self._whole, author):
            share.count += change
            share.octets += change * len(record.encode())
        if not author.count:
            del self._authors[record.author]

    def _held(self, place: Place) -> Record | None:
        committed = self._votes.committed(place)
        return committed.record if committed else None

    def _version(self, place: Place) -> int:
        held = self._held(place)
        return held.version if held else 0

    def _wall(self, now: float) -> int:
        return self._wall_ms + round((now - self._read_at) * 1000)


def _transaction_of(record: Record) -> Transaction:
    return record.place, record.version, record.txid


def _row_key(transaction: Transaction) -> bytes:
    place, version, txid = transaction
    return "\0".join((*place, f"{version:016d}", txid)).encode()


def read_row(key: bytes, value: bytes) -> tuple[Transaction, Intent]:
    """Raises ValueError for what is no row of TABLE."""
    namespace, name, version, txid = key.decode().split("\0")
    transaction, intent = ((namespace, name), int(version), txid), _decoder.decode(value)
    if intent.record is not None and _transaction_of(intent.record) != transaction:
        raise ValueError("it lies under another's key")
    return transaction, intent
