"""A watcher's side of the feed: what it knows, what it asks for, and when it asks again.

A lost connection is taken up again where the last event left it.  What cannot be taken up, because the
snapshot was not whole, begins anew with a reset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from waypost.api import calls
from waypost.api.calls import Call, Pairs
from waypost.api.schemas import Event
from waypost.errors import RemoteError, UnreachableError

SILENCE_S: Final = 45.0  # three heartbeats: then the connection is taken for lost
WAIT_S: Final = 0.25  # before the first new attempt; each one after it waits twice as long
WAIT_MAX_S: Final = 30.0
LINE_MAX: Final = 4 << 20  # octets of one event
INCOMPLETE: Final = "the connection was lost before the snapshot was whole"


class AnyEvent(Protocol):
    """`token` resumes after it."""

    @property
    def event(self) -> str: ...

    @property
    def token(self) -> str | None: ...


E = TypeVar("E", bound=AnyEvent)


@dataclass(frozen=True, slots=True)
class Stream(Generic[E]):
    """Where events come from, and of what type they are; `incomplete` is the reset that begins anew."""

    path: str
    kind: type[E]
    incomplete: E


ENDPOINTS: Final = Stream("/v1/watch", Event, Event("reset", detail=INCOMPLETE))


class Watch(Generic[E]):
    """What one watcher of a stream has seen; `since` is the token of an earlier watcher's last event."""

    def __init__(self, stream: Stream[E], criteria: Pairs, since: str | None) -> None:
        self._stream = stream
        self._criteria = tuple(criteria)
        self._token = since
        self._wait_s = WAIT_S
        self._connected = False
        self._partial = False  # events without a token were told
        self._rest = b""

    def call(self) -> Call[E]:
        since = () if self._token is None else (("since", self._token),)
        stream = self._stream
        return Call("GET", f"{stream.path}?{calls.query_text((*since, *self._criteria))}", stream.kind)

    def connected(self) -> Iterator[E]:
        """The node answers."""
        if self._partial and self._token is None:
            yield self._stream.incomplete
        self._connected, self._partial, self._rest = True, False, b""

    def read(self, chunk: bytes) -> Iterator[E]:
        """The events that are whole with `chunk`.  Raises UnreachableError for what no node sends."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_MAX:
            raise UnreachableError(f"what answered sends an event of more than {LINE_MAX} octets")
        for line in filter(None, lines):
            try:
                event = msgspec.json.decode(line, type=self._stream.kind)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UnreachableError(f"what answered is not a node: {error}") from error
            self._wait_s = WAIT_S
            if event.token is not None or event.event == "reset":
                self._token = event.token
            self._partial = event.token is None and event.event != "reset"
            if event.event != "heartbeat":
                yield event

    def lost(self, error: RemoteError | UnreachableError) -> float:
        """Seconds to wait before the next attempt; raises `error` if there is no use in one."""
        refused = isinstance(error, RemoteError) and error.code < 500
        if refused or not self._connected:
            raise error
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, WAIT_MAX_S)
        return wait_s
