"""The server's side of DTLS: one socket, many associations, and what strangers may make it keep.

Datagrams go to the association of their addresses.  A ClientHello first gets a cookie; one that brings it back begins
a handshake.  At an address that has an association already the handshake goes on beside it, and takes its place once
it is done (RFC 6347, 4.2.8): a device that has restarted comes back, and a forger ends nothing.

Nobody is dropped for a stranger: an association is made room for by that which was silent longest, of the same
source if that has as many as it may, and only once the newcomer has shown who it is.

Times are seconds on the caller's monotonic clock.  Nothing a peer sends raises; what belongs to nothing is counted.

Source: RFC 6347, 4.2; RFC 7252, 9.1.1; notes on RELOAD, 4.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from waypost.engine import Deadlines, Endpoint, Path, Send
from waypost.errors import WireError
from waypost.identity import Identity
from waypost.identity.anchors import Revoked
from waypost.runtime.dtls import Association
from waypost.runtime.hello import ClientHello, Cookies, is_client_hello, verify_request
from waypost.runtime.places import Places, source_of
from waypost.runtime.secure import CLOSED, DEADLINE, REVOKED, Channel

HANDSHAKE_S: Final = 15.0  # seconds for a handshake: three retransmissions
SILENT_S: Final = 60.0  # seconds until the first word: an association takes fifty times the memory until then
RECORD_TYPES: Final = range(20, 24)  # RFC 7983: what begins with another octet is not for us
ALERT: Final = 21
APPLICATION_DATA: Final = 23

Key = tuple[Endpoint, Endpoint]  # the peer's address and ours


@dataclass(frozen=True, slots=True)
class Limits:
    """Of associations, of those of one source, and of handshakes under way; `idle_s` is the silence that ends one."""

    associations: int = 10_000
    associations_per_source: int = 1_000
    handshakes: int = 512
    handshakes_per_source: int = 64
    idle_s: float = 86_400.0


@dataclass(slots=True, eq=False)
class Session:
    """An association and its address.  `number` is the caller's own, of what it knows it by."""

    key: Key
    path: Path
    source: bytes
    random: bytes
    association: Association
    number: int = 0

    @property
    def who(self) -> Identity | None:
        return self.association.channel.who


@dataclass(frozen=True, slots=True)
class Opened:
    session: Session


@dataclass(frozen=True, slots=True)
class Received:
    session: Session
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """Of one that was Opened."""

    session: Session


@dataclass(frozen=True, slots=True)
class Failed:
    """A handshake, with the reason in words; no secret is in them."""

    path: Path
    detail: str


Effect = Send | Opened | Received | Ended | Failed


class Associations:
    """`failed` counts handshakes by their reason, `ended` associations, `dropped` datagrams by why."""

    def __init__(self, accept: Callable[[], Channel], rng: Random, limits: Limits) -> None:
        self._accept = accept
        self._cookies = Cookies(rng)
        self._limits = limits
        self._open: dict[Key, Session] = {}  # the one used longest ago first
        self._of_source: dict[bytes, dict[Key, None]] = {}  # likewise
        self._handshakes: dict[Key, Session] = {}
        self._places = Places(limits.handshakes, limits.handshakes_per_source)
        self._deadlines: Deadlines[Key] = Deadlines()  # of handshakes
        self._timers: Deadlines[Key] = Deadlines()  # OpenSSL's, of handshakes
        self._idle: Deadlines[Key] = Deadlines()
        self._effects: list[Effect] = []
        self.done = 0
        self.failed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def handshakes(self) -> int:
        return len(self._handshakes)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        if not data or data[0] not in RECORD_TYPES:
            self.dropped["not DTLS"] += 1
            return
        key = (path.peer, path.local)
        if is_client_hello(data):
            self._on_hello(key, data, path, now)
            return
        session, under_way = self._open.get(key), self._handshakes.get(key)
        if under_way is not None and (session is None or _of_handshake(data)):
            self._go_on(under_way, data, now)
        elif session is not None:
            self._read(session, data, now)
        else:
            self.dropped["no association"] += 1

    def send(self, session: Session, data: bytes, now: float) -> None:
        if self._open.get(session.key) is session:
            session.association.send(data)
            self._settle(session)
        else:
            self.dropped["no association"] += 1  # it has ended since

    def revoke(self, revoked: Revoked) -> None:
        """End those of whose certificates one is revoked.  Takes time in proportion to the associations."""
        for session in list(self._open.values()):
            if revoked.names(session.association.channel.marks):
                self._end(session, REVOKED)

    def close(self) -> None:
        """All of them, with a word to each."""
        for session in list(self._handshakes.values()):
            self._fail(session, CLOSED)
        for session in list(self._open.values()):
            self._end(session, CLOSED)

    def handle_timer(self, now: float) -> None:
        for key in self._deadlines.pop_due(now):
            self._fail(self._handshakes[key], DEADLINE)
        for key in self._timers.pop_due(now):
            session = self._handshakes[key]
            session.association.handle_timer(now)
            self._after_handshake(session, [], now)
        for key in self._idle.pop_due(now):
            self._end(self._open[key], "idle")

    def next_timer(self) -> float | None:
        times = (self._deadlines.next(), self._timers.next(), self._idle.next())
        return min((when for when in times if when is not None), default=None)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def check(self) -> None:
        assert len(self._open) <= self._limits.associations
        assert sum(map(len, self._of_source.values())) == len(self._open) == len(self._idle)
        assert all(0 < len(keys) <= self._limits.associations_per_source for keys in self._of_source.values())
        assert len(self._handshakes) == len(self._deadlines) == self._places.taken <= self._limits.handshakes
        assert len(self._timers) <= len(self._handshakes)

    # handshakes

    def _on_hello(self, key: Key, data: bytes, path: Path, now: float) -> None:
        try:
            hello = ClientHello.read(data)
        except WireError:
            self.dropped["not DTLS"] += 1
            return
        if not self._cookies.accepts(path.peer, hello, now):
            self._effects.append(Send(path, verify_request(hello, self._cookies.make(path.peer, hello, now))))
            return
        under_way, session = self._handshakes.get(key), self._open.get(key)
        if under_way is not None and under_way.random == hello.random:
            self._go_on(under_way, data, now)
        elif under_way is None and session is not None and session.random == hello.random:
            self.dropped["repeated"] += 1
        else:
            if under_way is not None:
                self._fail(under_way, CLOSED)
            self._begin(key, data, hello, path, now)

    def _begin(self, key: Key, data: bytes, hello: ClientHello, path: Path, now: float) -> None:
        source = source_of((path.peer.host, path.peer.port))
        if not self._places.admit(source):
            self.failed["full"] += 1
            return
        session = Session(key, path, source, hello.random, Association(self._accept()))
        self._handshakes[key] = session
        self._deadlines.set(key, now + HANDSHAKE_S)
        session.association.accept(data, now)
        self._after_handshake(session, [], now)

    def _go_on(self, session: Session, data: bytes, now: float) -> None:
        self._after_handshake(session, session.association.receive(data, now), now)

    def _after_handshake(self, session: Session, said: list[bytes], now: float) -> None:
        channel = session.association.channel
        if channel.ended is not None:
            self._fail(session, channel.ended)
            return
        if channel.who is None:
            self._send_output(session)
            when = session.association.next_timer()
            if when is None:
                self._timers.clear(session.key)
            else:
                self._timers.set(session.key, when)
            return
        self._leave_handshakes(session)
        self._install(session, now)
        self._effects += [Received(session, data) for data in said]

    def _install(self, session: Session, now: float) -> None:
        replaced = self._open.get(session.key)
        if replaced is not None:
            self._end(replaced, "replaced")
        of_source = self._of_source.setdefault(session.source, {})
        if len(of_source) >= self._limits.associations_per_source:
            self._end(self._open[next(iter(of_source))], "room")
        if len(self._open) >= self._limits.associations:
            self._end(next(iter(self._open.values())), "room")
        self._open[session.key] = session
        self._of_source.setdefault(session.source, {})[session.key] = None
        self._idle.set(session.key, now + min(SILENT_S, self._limits.idle_s))
        self.done += 1
        self._send_output(session)
        self._effects.append(Opened(session))

    def _fail(self, session: Session, reason: str) -> None:
        self.failed[reason] += 1
        self._leave_handshakes(session)
        detail = session.association.channel.detail or reason
        session.association.close()
        self._send_output(session)
        self._effects.append(Failed(session.path, detail))

    def _leave_handshakes(self, session: Session) -> None:
        del self._handshakes[session.key]
        self._places.leave(session.source)
        self._deadlines.clear(session.key)
        self._timers.clear(session.key)

    # associations

    def _read(self, session: Session, data: bytes, now: float) -> None:
        said = session.association.receive(data, now)
        if said:
            self._use(session, now)
            self._effects += [Received(session, each) for each in said]
        self._settle(session)

    def _use(self, session: Session, now: float) -> None:
        """It was heard of: others will go before it does."""
        key, of_source = session.key, self._of_source[session.source]
        self._open[key] = self._open.pop(key)
        of_source[key] = of_source.pop(key)
        self._idle.set(key, now + self._limits.idle_s)

    def _settle(self, session: Session) -> None:
        if session.association.channel.ended is not None:
            self._end(session, session.association.channel.ended)
        else:
            self._send_output(session)

    def _end(self, session: Session, reason: str) -> None:
        self.ended[reason] += 1
        del self._open[session.key]
        of_source = self._of_source[session.source]
        del of_source[session.key]
        if not of_source:
            del self._of_source[session.source]
        self._idle.clear(session.key)
        session.association.close()
        self._send_output(session)
        self._effects.append(Ended(session))

    def _send_output(self, session: Session) -> None:
        self._effects += [Send(session.path, datagram) for datagram in session.association.take_output()]


def _of_handshake(data: bytes) -> bool:
    """Of the one that goes on beside an association: alerts and data are the association's."""
    return data[0] not in (ALERT, APPLICATION_DATA)
