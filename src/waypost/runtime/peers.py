"""What a node has to say to the others of its network, brought there as the draft's calls over mutual TLS.

Messages wait in a queue for each node, and what has gathered there by the time a request can go goes in one: on the
draft's call of the first of them, and all are read whatever the call is.  Who says one thing at a time never waits; the
more goes in each request, the longer the next one gathers.  Nothing is sent twice: who needs an answer asks again.  A
node that cannot be reached is tried again after a while, and what is said to it meanwhile is lost, and counted.

Before anything is said on a connection, the other end has shown a certificate, of the node that is meant; each node has
connections of its own, and nobody is sent elsewhere by what it answers.

Source: notes on DRiP, 1.2, 1.3, 4.3, 4.14 and 5.1.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from waypost.assembly.installation import Reach
from waypost.drip import parcel
from waypost.drip.envelope import Pass
from waypost.drip.outbox import Tell
from waypost.drip.parcel import Said
from waypost.drip.rumours import Whisper
from waypost.errors import DeniedError
from waypost.identity.credentials import Credentials
from waypost.identity.requests import Sign
from waypost.runtime.line import Line
from waypost.runtime.nodes import (
    COUNTER,
    NETWORK,
    NODE_ID,
    WIRE,
    WIRE_VERSION,
    dial,
    is_origin,
    signing_fields,
)
from waypost.runtime.tls import Contexts, client_context, proxied_context

RESET: Final = "DRiP-Node-Counter-reset"
TRANSACTION: Final = "DRiP-Transaction-Type"

QUEUE_MAX: Final = 4 << 20  # octets that wait in one lane to one node
UNDER_WAY_MAX: Final = 4  # requests to one node, of one lane
GATHER_S: Final = 0.04  # seconds from one request to the next at most, while the node answers
LATE_S: Final = 0.02  # the same at least, while it has not answered the one before
SPREAD_S: Final = 0.05  # the same where nobody waits for what is said, always
WEIGHT: Final = 0.25  # of the newest request among those before
RETRY_MIN: Final = 0.1  # seconds until a node that could not be reached is tried again; each time twice as long
RETRY_MAX: Final = 2.0

FATES: Final = ("requests", "failed", "refused", "unreachable", "overflowed", "unheard")

Hear = Callable[[str, Sequence[Said]], bool]
Reached = Callable[[str, bool], None]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Lane:
    """What waits for one node: messages, each with the call that it goes in, and how many octets those are in all."""

    waiting: list[tuple[str, bytes]] = field(default_factory=list)
    octets: int = 0
    under_way: int = 0
    sent_at: float = -1.0  # of the loop's clock
    usual: float = 1.0  # messages that go at once

    def put(self, call: str, spelled: bytes) -> bool:
        if self.octets + len(spelled) > QUEUE_MAX:
            return False
        self.waiting.append((call, spelled))
        self.octets += len(spelled)
        return True

    def take(self, now: float) -> list[tuple[str, bytes]]:
        waiting, self.waiting, self.octets, self.sent_at = self.waiting, [], 0, now
        return waiting

    def due(self) -> float:
        """From when on what waits may go, where somebody waits for what is said."""
        gathering = GATHER_S * (1 - 1 / self.usual)
        return self.sent_at + (max(gathering, LATE_S) if self.under_way else gathering)


@dataclass(slots=True)
class Link:
    """To one node.  What is `spread` may gather for a while: nobody waits for it, as voters wait for votes."""

    url: str
    asked: Lane = field(default_factory=Lane)
    spread: Lane = field(default_factory=Lane)
    failures: int = 0  # in a row
    again_at: float = 0.0  # of the loop's clock
    is_reached: bool | None = None  # as was told
    idle: list[Line] = field(default_factory=list)
    busy: set[Line] = field(default_factory=set)

    def lane(self, call: str) -> Lane:
        return self.spread if call == parcel.COMMIT else self.asked

    def due(self) -> tuple[tuple[Lane, float], ...]:
        """Each lane in which something waits, and from when on it may go."""
        both = (self.asked, self.asked.due()), (self.spread, self.spread.sent_at + SPREAD_S)
        return tuple((lane, when) for lane, when in both if lane.waiting and lane.under_way < UNDER_WAY_MAX)

    def take(self, lane: Lane, now: float) -> list[tuple[str, bytes]]:
        """What goes now; with what somebody waits for goes all the rest."""
        taken = lane.take(now)
        if lane is self.asked:
            lane.usual += WEIGHT * (len(taken) - lane.usual)
            if self.spread.waiting:
                taken += self.spread.take(now)
        return taken

    def drop(self) -> int:
        """Forget what waits; how many messages those were."""
        lanes = self.asked, self.spread
        return sum(len(lane.take(lane.sent_at)) for lane in lanes)

    def line(self, credentials: Credentials) -> Line | None:
        """One that is open and not in use, and was opened with these credentials."""
        while self.idle:
            line = self.idle.pop()
            if line.is_open and line.credentials is credentials:
                return line
            line.abort()
        return None

    def close(self) -> None:
        for line in (*self.idle, *self.busy):
            line.abort()


class Peers:
    """`hear` takes what this node says to itself, `reached` which nodes could be reached and which could not.

    `source` is the address that it speaks from, None for any.  With `sign`, by the node's key, requests are signed, and
    a proxy may stand before the others.

    `counts` says what became of messages.  `outside` is for the host: Tell, Whisper, Pass and Reach.
    """

    def __init__(
        self,
        name: str,
        credentials: Callable[[], Credentials],
        hear: Hear,
        reached: Reached,
        source: str | None = None,
        sign: Sign | None = None,
    ) -> None:
        self._name = name
        self._sign = sign
        self._keys: Mapping[str, str] = {}
        self._network = ""
        self._hear = hear
        self._reached = reached
        self._credentials = credentials
        self._source = source
        self._contexts = Contexts(credentials, client_context if sign is None else proxied_context)
        self._links: dict[str, Link] = {}
        self._own: list[Said] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._flushing_at = 0.0
        self._spelled: dict[int, tuple[Said, bytes]] = {}  # since the last flush, by id()
        self._tasks: set[asyncio.Task[None]] = set()
        self._counter = 0
        self._loop = asyncio.get_running_loop()
        self.counts: Counter[str] = Counter()

    async def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links.values():
            link.close()

    def key_of(self, name: str) -> bytes | None:
        """The 32 octets of a member's node key."""
        key = self._keys.get(name)
        return None if key is None else bytes.fromhex(key)

    def urls(self) -> tuple[str, ...]:
        """Of the others."""
        return tuple(link.url for name, link in self._links.items() if name != self._name)

    def counters(self) -> dict[str, int]:
        return {f"peers_{fate}": self.counts[fate] for fate in FATES}

    def gauges(self) -> dict[str, int]:
        links = [link for name, link in self._links.items() if name != self._name]
        return {
            "peers_known": len(links),
            "peers_reached": sum(link.is_reached is True for link in links),
            "peers_waiting_bytes": sum(link.asked.octets + link.spread.octets for link in links),
        }

    def outside(self, body: object) -> None:
        match body:
            case Tell():
                self._put(body.node, (body.message,))
            case Whisper():
                self._put(body.node, body.messages)
            case Pass():
                self._put(body.node, (body.envelope,))
            case Reach():
                self._network, self._keys = body.network, body.keys
                self._reach(body.urls.items())
            case _:
                raise AssertionError(f"nobody in this node answers {body!r}")

    def _reach(self, urls: Iterable[tuple[str, str]]) -> None:
        links = {}
        for name, url in urls:
            known = self._links.get(name)
            if known is not None and known.url == url:
                links[name] = known
            elif is_origin(url):
                links[name] = Link(url)
        gone = [link for name, link in self._links.items() if links.get(name) is not link]
        self._links = links
        for link in gone:
            self.counts["unreachable"] += link.drop()
            link.close()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _put(self, node: str, messages: Sequence[Said]) -> None:
        if node == self._name:
            self._own += messages
        else:
            link = self._links.get(node)
            if link is None or link.again_at > self._loop.time():
                self.counts["unreachable"] += len(messages)
                return
            for message in messages:
                self._queue(link, message)
        self._flush_at(0.0)

    def _flush_at(self, when: float) -> None:
        """No later than that."""
        if self._flushing is None or when < self._flushing_at:
            if self._flushing is not None:
                self._flushing.cancel()
            self._flushing_at = when
            self._flushing = self._loop.call_at(when, self._flush)

    def _queue(self, link: Link, message: Said) -> None:
        if id(message) not in self._spelled:
            self._spelled[id(message)] = message, parcel.spell(message)
        _, spelled = self._spelled[id(message)]
        call = parcel.call_of(message)
        if not link.lane(call).put(call, spelled):
            self.counts["overflowed"] += 1

    def _flush(self) -> None:
        self._flushing = None
        own, self._own = self._own, []
        if own and not self._hear(self._name, own):
            self.counts["unheard"] += len(own)
        self._spelled.clear()
        now = self._loop.time()
        for name, link in self._links.items():
            for lane, when in link.due():
                if not lane.waiting:  # it went with the other's
                    continue
                if when <= now:
                    self._send(name, link, lane, link.take(lane, now))
                else:
                    self._flush_at(when)

    def _send(self, name: str, link: Link, lane: Lane, taken: list[tuple[str, bytes]]) -> None:
        """On the call of the first; in several requests where one cannot hold all.

        Who asks to be let in says so in a request of its own: it may be all that is heard of it.
        """
        apart = [item for item in taken if item[0] == parcel.JOINING]
        for some in (apart, [item for item in taken if item[0] != parcel.JOINING]):
            for body in parcel.bodies(spelled for _, spelled in some):
                lane.under_way += 1
                request = self._request(name, link, some[0][0], body)
                line = link.line(self._credentials())
                if line is None:
                    self._begin(self._dial(name, link, lane, request))
                else:
                    self._post(name, link, lane, line, request)

    def _request(self, name: str, link: Link, call: str, body: bytes) -> bytes:
        self._counter += 1
        path = parcel.path_of(call, self._name, name)
        headers = {
            "Content-Type": "application/json",
            NETWORK: self._network,
            WIRE: WIRE_VERSION,
            NODE_ID: self._name,
            COUNTER: str(self._counter),
            RESET: "false",
            TRANSACTION: "sync" if call == parcel.SYNC else "update",
        }
        if self._sign is not None:
            headers |= signing_fields("POST", path, body, headers, self._name, name, self._sign)
        fields = "".join([f"{field}: {text}\r\n" for field, text in headers.items()])
        host = link.url.removeprefix("https://")
        return f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def _dial(self, name: str, link: Link, lane: Lane, request: bytes) -> None:
        """For one more connection, and say it there."""
        try:
            context, credentials = self._contexts.current(), self._credentials()
            proxied = self._sign is not None
            line = await dial(link.url, name, context, credentials, self._source, proxied=proxied)
        except (OSError, TimeoutError, DeniedError) as error:
            self._failed(name, link, error)
            self._ended(link, lane)
            return
        if self._links.get(name) is link:
            self._post(name, link, lane, line, request)
        else:  # it is somewhere else by now, or gone
            line.abort()
            self.counts["unreachable"] += 1

    def _post(self, name: str, link: Link, lane: Lane, line: Line, request: bytes) -> None:
        def done(status: int, told: bytes) -> None:
            link.busy.discard(line)
            if line.is_open:
                link.idle.append(line)
            if status != 200:
                self._refused(name, status, told.decode(errors="replace"))
            link.failures, link.again_at = 0, 0.0
            self.counts["requests"] += 1
            self._tell(name, link, True)
            self._ended(link, lane)

        def lost(error: Exception) -> None:
            link.busy.discard(line)
            self._failed(name, link, error)
            self._ended(link, lane)

        link.busy.add(line)
        line.post(request, done, lost)

    def _ended(self, link: Link, lane: Lane) -> None:
        lane.under_way -= 1
        for _, when in link.due():
            self._flush_at(when)

    def _failed(self, name: str, link: Link, error: Exception) -> None:
        self.counts["failed"] += 1
        if link.failures == 0:
            log.info("%s cannot be reached at %s: %s", name, link.url, str(error) or type(error).__name__)
        if link.again_at <= self._loop.time():
            link.again_at = self._loop.time() + min(RETRY_MAX, RETRY_MIN * 2 ** min(link.failures, 8))
            link.failures += 1
        self.counts["unreachable"] += link.drop()
        self._tell(name, link, False)

    def _tell(self, name: str, link: Link, is_reached: bool) -> None:
        """That it is not reached is told each time that it was tried."""
        if self._links.get(name) is link and not (is_reached and link.is_reached):
            link.is_reached = is_reached
            self._reached(name, is_reached)

    def _refused(self, name: str, status: int, text: str) -> None:
        self.counts["refused"] += 1
        if self.counts["refused"].bit_count() == 1:  # the first, the second, the fourth …
            log.warning("%s refused what this node said, with %d: %s", name, status, text)
