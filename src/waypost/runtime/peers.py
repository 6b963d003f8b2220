"""What a node has to say to the others of its network, brought there as the draft's calls over mutual TLS.

Messages wait in a queue for each node, and what has gathered there by the time a request can go goes in one, for each
of the draft's calls.  Nothing is sent twice: who needs an answer asks again.  A node that cannot be reached is tried
again after a while, and what is said to it meanwhile is lost, and counted.

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

import aiohttp
from yarl import URL

from waypost.assembly.installation import Reach
from waypost.drip import parcel
from waypost.drip.envelope import Pass
from waypost.drip.outbox import Tell
from waypost.drip.parcel import Said
from waypost.drip.rumours import Whisper
from waypost.errors import DeniedError
from waypost.identity.credentials import Credentials
from waypost.identity.requests import Sign
from waypost.runtime.nodes import (
    COUNTER,
    NETWORK,
    NODE_ID,
    WIRE,
    WIRE_VERSION,
    begin_session,
    is_origin,
    signing_fields,
)
from waypost.runtime.tls import Contexts, client_context, proxied_context

RESET: Final = "DRiP-Node-Counter-reset"
TRANSACTION: Final = "DRiP-Transaction-Type"

QUEUE_MAX: Final = 4 << 20  # octets that wait in one lane to one node
UNDER_WAY_MAX: Final = 4  # requests to one node, of one lane
GATHER_S: Final = 0.02  # seconds from one request to the next, while the node has not answered the one before
SPREAD_S: Final = 0.05  # the same where nobody waits for what is said, always
RETRY_MIN: Final = 0.1  # seconds until a node that could not be reached is tried again; each time twice as long
RETRY_MAX: Final = 2.0

FATES: Final = ("requests", "failed", "refused", "unreachable", "overflowed", "unheard")

Hear = Callable[[str, Sequence[Said]], bool]
Reached = Callable[[str, bool], None]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Lane:
    """What waits for one node: messages, by the call that they go in, and how many octets those are in all."""

    waiting: dict[str, list[bytes]] = field(default_factory=dict)
    octets: int = 0
    under_way: int = 0
    sent_at: float = -1.0  # of the loop's clock

    def take(self, now: float) -> dict[str, list[bytes]]:
        waiting, self.waiting, self.octets, self.sent_at = self.waiting, {}, 0, now
        return waiting


@dataclass(slots=True)
class Link:
    """To one node.  What is `spread` may gather for a while: nobody waits for it, as voters wait for votes."""

    url: str
    asked: Lane = field(default_factory=Lane)
    spread: Lane = field(default_factory=Lane)
    failures: int = 0  # in a row
    again_at: float = 0.0  # of the loop's clock
    is_reached: bool | None = None  # as was told
    session: aiohttp.ClientSession | None = None

    def lane(self, call: str) -> Lane:
        return self.spread if call == parcel.COMMIT else self.asked

    def due(self) -> tuple[tuple[Lane, float], ...]:
        """Each lane in which something waits, and from when on it may go."""
        asked = self.asked.sent_at + GATHER_S if self.asked.under_way else 0.0
        both = (self.asked, asked), (self.spread, self.spread.sent_at + SPREAD_S)
        return tuple((lane, when) for lane, when in both if lane.waiting and lane.under_way < UNDER_WAY_MAX)

    def drop(self) -> int:
        """Forget what waits; how many messages those were."""
        lanes = self.asked, self.spread
        return sum(len(said) for lane in lanes for said in lane.take(lane.sent_at).values())


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
        await asyncio.gather(*(link.session.close() for link in self._links.values() if link.session is not None))

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
            if link.session is not None:
                self._begin(link.session.close())

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
        if self._flushing is None or when < self._flushing.when():
            if self._flushing is not None:
                self._flushing.cancel()
            self._flushing = self._loop.call_at(when, self._flush)

    def _queue(self, link: Link, message: Said) -> None:
        if id(message) not in self._spelled:
            self._spelled[id(message)] = message, parcel.spell(message)
        _, spelled = self._spelled[id(message)]
        call = parcel.call_of(message)
        lane = link.lane(call)
        if lane.octets + len(spelled) > QUEUE_MAX:
            self.counts["overflowed"] += 1
            return
        lane.waiting.setdefault(call, []).append(spelled)
        lane.octets += len(spelled)

    def _flush(self) -> None:
        self._flushing = None
        own, self._own = self._own, []
        if own and not self._hear(self._name, own):
            self.counts["unheard"] += len(own)
        self._spelled.clear()
        now = self._loop.time()
        for name, link in self._links.items():
            for lane, when in link.due():
                if when <= now:
                    self._send(name, link, lane, lane.take(now))
                else:
                    self._flush_at(when)

    def _send(self, name: str, link: Link, lane: Lane, waiting: dict[str, list[bytes]]) -> None:
        """Each call's in a request of its own."""
        for call, spelled_of in waiting.items():
            for body in parcel.bodies(spelled_of):
                lane.under_way += 1
                self._begin(self._post(name, link, lane, call, body))

    async def _post(self, name: str, link: Link, lane: Lane, call: str, body: bytes) -> None:
        if self._links.get(name) is not link:  # it is somewhere else by now, or gone
            self.counts["unreachable"] += 1
            return
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
        target = URL(link.url + path, encoded=True)
        try:
            context = self._contexts.current()
            session = self._session_of(name, link)
            async with session.post(target, data=body, headers=headers, ssl=context, allow_redirects=False) as answer:
                refused = answer.status
                if refused != 200:
                    self._refused(name, refused, (await answer.content.read(512)).decode(errors="replace"))
        except (OSError, aiohttp.ClientError, TimeoutError, DeniedError) as error:
            self._failed(name, link, error)
        else:
            link.failures, link.again_at = 0, 0.0
            self.counts["requests"] += 1
            self._tell(name, link, True)
        finally:
            lane.under_way -= 1
            if link.due():
                self._flush_at(0.0)

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

    def _session_of(self, name: str, link: Link) -> aiohttp.ClientSession:
        if link.session is None:
            link.session = begin_session(self._credentials, name, self._source, proxied=self._sign is not None)
        return link.session
