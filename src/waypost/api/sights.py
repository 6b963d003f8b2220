"""What a watcher of the feed is shown: endpoints of the directory, or voted records.

Source: design, Contracts, 3; RFC 9176, 6.2.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from waypost.api.changes import Changes, Seen
from waypost.api.paging import before
from waypost.api.problem import Refusal
from waypost.api.schemas import EventKind
from waypost.assembly.carrier import ROOM
from waypost.drip.book import RECORDS
from waypost.errors import WireError
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.policy import ALL, Action, Decide, Span, Target, View
from waypost.rd.access import ANYTHING
from waypost.rd.following import Filter, entry
from waypost.rd.index import Registration
from waypost.rd.questions import Attributes, Entry
from waypost.rd.record import name_of
from waypost.record import Committed

RECORDS_ROOM: Final = "records"  # of the policy
KNOWN_MAX: Final = 16_384  # endpoints remembered for one watcher with criteria
BATCH: Final = 64  # rows read in one go

_committed: Final = msgspec.json.Decoder(Committed)


@dataclass(frozen=True, slots=True)
class Told:
    """One event.

    `entry` is of what is there or has expired, `name` (d, ep) of what was removed, `committed` of what was voted on,
    `reason` of a reset.
    """

    kind: EventKind
    token: str | None = None
    entry: Entry | None = None
    name: tuple[str | None, str] | None = None
    reason: str | None = None
    committed: Committed | None = None


class Sight(Protocol):
    """`begin` comes first; `resumes`: the watcher may have what was shown earlier.  A snapshot begins it anew."""

    def begin(self, *, resumes: bool) -> None: ...

    def snapshot(self, changes: Changes) -> AsyncIterator[Told]: ...

    def see(self, change: Seen, token: str) -> Told | None: ...


@dataclass(frozen=True, slots=True)
class Watching:
    """Who may watch what: `allowed` says whether what was decided when the watcher came is so still."""

    sight: Sight
    allowed: Callable[[], bool]


def of_endpoints(decide: Decide, who: Identity, criteria: Attributes, wall_s: Callable[[], float]) -> Watching:
    """Raises Refusal for criteria that cannot be, and if the policy does not allow it."""
    view, allowed = _decided(decide, who, ANYTHING)
    try:
        return Watching(Endpoints(Filter(criteria, view), wall_s), allowed)
    except WireError as error:
        raise Refusal(400, str(error)) from error


def of_records(decide: Decide, who: Identity, namespace: str | None, prefix: str) -> Watching:
    """Of a namespace, or of all, whose keys begin with `prefix`.  Raises Refusal if the policy does not allow it."""
    target = Target(RECORDS_ROOM, ALL if namespace is None else Span(namespace), Span(prefix, True))
    view, allowed = _decided(decide, who, target)
    return Watching(VotedRecords("" if namespace is None else f"{namespace}\0{prefix}", view), allowed)


def _decided(decide: Decide, who: Identity, target: Target) -> tuple[View | None, Callable[[], bool]]:
    decision = decide(who, Action.WATCH, target)
    if not decision.allowed:
        raise Refusal(401 if who == ANONYMOUS else 403, decision.reason)
    return decision.view, lambda: decide(who, Action.WATCH, target) == decision


class Endpoints:
    """Those that meet the criteria, and what becomes of them."""

    def __init__(self, filter: Filter, wall_s: Callable[[], float]) -> None:
        self._filter = filter
        self._wall_s = wall_s
        self._known: dict[int, bool] = {}  # hashes of keys: whether the watcher has the endpoint
        self._unknown = False  # what is not in there it may have, from earlier

    def begin(self, *, resumes: bool) -> None:
        self._known, self._unknown = {}, resumes

    async def snapshot(self, changes: Changes) -> AsyncIterator[Told]:
        self.begin(resumes=False)
        key = b""
        while rows := await changes.records(key):
            for key, registration in rows:
                if registration.expires > self._wall_s() and self._filter.accepts(registration):
                    self._know(key, has=True)
                    yield self._shown("put", registration, None)

    def see(self, change: Seen, token: str) -> Told | None:
        if change.room != ROOM or not self._filter.shows(change.key):
            return None
        registration = change.registration
        if registration is not None and self._filter.accepts(registration):
            ends = registration.expires <= self._wall_s()
            if self._know(change.key, has=not ends) or not ends:
                return self._shown("expire" if ends else "put", registration, token)
        elif self._know(change.key, has=False):
            return Told("remove", token, name=name_of(change.key))
        return None

    def _know(self, key: bytes, *, has: bool) -> bool:
        """Note whether the watcher has the endpoint now; returns whether it may have had it."""
        if self._filter.every:
            return True
        had = self._known.pop(hash(key), self._unknown)
        if has != self._unknown:
            self._known[hash(key)] = has
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
            self._unknown = True
        return had

    def _shown(self, kind: EventKind, registration: Registration, token: str | None) -> Told:
        return Told(kind, token, entry(registration, self._wall_s()))


class VotedRecords:
    """Those whose row begins with `start`: a key is never forgotten, so they only ever come and change."""

    def __init__(self, start: str, view: View | None) -> None:
        self._start = start.encode()
        self._view = view

    def begin(self, *, resumes: bool) -> None:
        """Nothing is remembered."""

    async def snapshot(self, changes: Changes) -> AsyncIterator[Told]:
        key = before(self._start)
        while rows := await changes.rows(RECORDS, key, BATCH):
            for key, value in rows:
                if not key.startswith(self._start):
                    return
                if self._shows(key):
                    yield Told("put", committed=_committed.decode(value))

    def see(self, change: Seen, token: str) -> Told | None:
        if change.committed is None or not self._shows(change.key):
            return None
        return Told("put", token, committed=change.committed)

    def _shows(self, key: bytes) -> bool:
        if not key.startswith(self._start):
            return False
        namespace, name = key.decode().split("\0")
        return self._view is None or self._view.shows(namespace, name)
