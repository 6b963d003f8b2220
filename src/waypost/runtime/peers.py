"""What a node has to say to the others of its network, brought there as the draft's calls over mutual TLS.

Messages wait in a queue for each node, and what has gathered there by the time a request can go goes in one, for each
of the draft's calls.  Nothing is sent twice: who needs an answer asks again.  A node that cannot be reached is tried
again after a while, and what is said to it meanwhile is lost, and counted.

Before anything is said on a connection, the other end has shown a certificate, of the node that is meant.

Source: notes on DRiP, 1.2, 1.3, 4.3, 4.14 and 5.1.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from waypost.assembly.network import Reach
from waypost.drip import parcel
from waypost.drip.envelope import Pass
from waypost.drip.outbox import Tell
from waypost.drip.parcel import Said
from waypost.drip.rumours import Whisper
from waypost.errors import DeniedError
from waypost.identity.credentials import Credentials
from waypost.runtime.tls import Contexts, chain_of, client_context

NETWORK: Final = "Waypost-Network"  # header: the network's id, and the mark of the profile `ballot`
WIRE: Final = "Waypost-Wire"
WIRE_VERSION: Final = "1"
NODE_ID: Final = "DRiP-Node-ID"
COUNTER: Final = "DRiP-Node-Counter"
RESET: Final = "DRiP-Node-Counter-reset"
TRANSACTION: Final = "DRiP-Transaction-Type"

QUEUE_MAX: Final = 8 << 20  # octets that wait for one node
UNDER_WAY_MAX: Final = 4  # requests to one node
REQUEST_S: Final = 10.0
CONNECT_S: Final = 3.0
ANSWER_S: Final = 3.0  # after the request is out: no disk stands between it and its answer
RETRY_MIN: Final = 0.1  # seconds until a node that could not be reached is tried again; each time twice as long
RETRY_MAX: Final = 2.0
IDLE_S: Final = 20.0  # below what the other side waits for the next request

Hear = Callable[[str, Sequence[Said]], bool]
Reached = Callable[[str, bool], None]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Link:
    """To one node.  `waiting` are messages and their octets."""

    url: str
    waiting: list[tuple[Said, bytes]] = field(default_factory=list)
    octets: int = 0
    under_way: int = 0
    failures: int = 0  # in a row
    again_at: float = 0.0  # of the loop's clock
    is_reached: bool | None = None  # as was told


class Peers:
    """`hear` takes what this node says to itself, `reached` which nodes could be reached and which could not.

    `counts` says what became of messages.  `outside` is for the host: Tell, Whisper, Pass and Reach.
    """

    def __init__(
        self,
        name: str,
        credentials: Callable[[], Credentials],
        hear: Hear,
        reached: Reached,
        source: str | None = None,
    ) -> None:
        self._name = name
        self._network = ""
        self._hear = hear
        self._reached = reached
        self._contexts = Contexts(credentials, client_context)
        self._links: dict[str, Link] = {}
        self._own: list[Said] = []
        self._flushing: asyncio.Handle | None = None
        self._spelled: dict[int, tuple[Said, bytes]] = {}  # since the last flush, by id()
        self._tasks: set[asyncio.Task[None]] = set()
        self._counter = 0
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=Connector(credentials, self._expected, source),
            timeout=aiohttp.ClientTimeout(total=REQUEST_S, connect=CONNECT_S, sock_read=ANSWER_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self.counts: Counter[str] = Counter()

    async def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def urls(self) -> tuple[str, ...]:
        """Of the others."""
        return tuple(link.url for name, link in self._links.items() if name != self._name)

    def outside(self, body: object) -> None:
        match body:
            case Tell():
                self._put(body.node, (body.message,))
            case Whisper():
                self._put(body.node, body.messages)
            case Pass():
                self._put(body.node, (body.envelope,))
            case Reach():
                self._network = body.network
                self._reach(body.urls.items())
            case _:
                raise AssertionError(f"nobody in this node answers {body!r}")

    def _reach(self, urls: Iterable[tuple[str, str]]) -> None:
        links = {}
        for name, url in urls:
            known = self._links.get(name)
            if known is not None and known.url == url:
                links[name] = known
            elif _is_origin(url):
                links[name] = Link(url)
        self._links = links

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
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush)

    def _queue(self, link: Link, message: Said) -> None:
        if id(message) not in self._spelled:
            self._spelled[id(message)] = message, parcel.spell(message)
        _, spelled = self._spelled[id(message)]
        if link.octets + len(spelled) > QUEUE_MAX:
            self.counts["overflowed"] += 1
            return
        link.waiting.append((message, spelled))
        link.octets += len(spelled)

    def _flush(self) -> None:
        self._flushing = None
        own, self._own = self._own, []
        if own and not self._hear(self._name, own):
            self.counts["unheard"] += len(own)
        for name, link in self._links.items():
            while link.waiting and link.under_way < UNDER_WAY_MAX:
                self._send(name, link)
        self._spelled.clear()

    def _send(self, name: str, link: Link) -> None:
        """All that waits for a node, each call's in a request of its own."""
        waiting, link.waiting, link.octets = link.waiting, [], 0
        by_call: dict[str, list[bytes]] = {}
        for message, spelled in waiting:
            by_call.setdefault(parcel.call_of(message), []).append(spelled)
        for call, spelled_of in by_call.items():
            for body in parcel.bodies(spelled_of):
                link.under_way += 1
                task = self._loop.create_task(self._post(name, link, call, body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _post(self, name: str, link: Link, call: str, body: bytes) -> None:
        self._counter += 1
        headers = {
            "Content-Type": "application/json",
            NETWORK: self._network,
            WIRE: WIRE_VERSION,
            NODE_ID: self._name,
            COUNTER: str(self._counter),
            RESET: "false",
            TRANSACTION: "sync" if call == parcel.SYNC else "update",
        }
        target = URL(link.url + parcel.path_of(call, self._name, name), encoded=True)
        try:
            context = self._contexts.current()
            async with self._session.post(target, data=body, headers=headers, ssl=context) as answer:
                refused = answer.status
                if refused != 200:
                    self._refused(name, refused, (await answer.content.read(512)).decode(errors="replace"))
        except (OSError, aiohttp.ClientError, TimeoutError, DeniedError) as error:
            self._failed(name, link, error)
        else:
            link.failures, link.again_at = 0, 0.0
            self.counts["requests"] += 1
            if link.is_reached is not True:
                link.is_reached = True
                self._reached(name, True)
        finally:
            link.under_way -= 1
            if link.waiting and self._flushing is None:
                self._flushing = self._loop.call_soon(self._flush)

    def _failed(self, name: str, link: Link, error: Exception) -> None:
        self.counts["failed"] += 1
        if link.failures == 0:
            log.info("%s cannot be reached at %s: %s", name, link.url, str(error) or type(error).__name__)
        if link.again_at <= self._loop.time():
            link.again_at = self._loop.time() + min(RETRY_MAX, RETRY_MIN * 2 ** min(link.failures, 8))
            link.failures += 1
        self.counts["unreachable"] += len(link.waiting)
        link.waiting, link.octets = [], 0
        link.is_reached = False
        self._reached(name, False)

    def _refused(self, name: str, status: int, text: str) -> None:
        self.counts["refused"] += 1
        if self.counts["refused"].bit_count() == 1:  # the first, the second, the fourth …
            log.warning("%s refused what this node said, with %d: %s", name, status, text)

    def _expected(self, url: URL) -> frozenset[str]:
        origin = url.origin()
        return frozenset(name for name, link in self._links.items() if URL(link.url).origin() == origin)


def _is_origin(text: str) -> bool:
    """Whether it is as https://node-2.example:8481: a node says where it is, and may say anything."""
    try:
        url = URL(text)
        return url.scheme == "https" and bool(url.host) and str(url.origin()) == text
    except ValueError:
        return False


class Connector(aiohttp.TCPConnector):
    """Lets no connection be used before the other end has shown whose it is.

    `source` is the address that connections come from, None for what the system chooses.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        expected: Callable[[URL], frozenset[str]],
        source: str | None = None,
    ) -> None:
        local = None if source is None else (source, 0)
        super().__init__(limit=0, limit_per_host=UNDER_WAY_MAX, keepalive_timeout=IDLE_S, local_addr=local)
        self._credentials = credentials
        self._expected = expected

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- as the library has it
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        assert protocol.transport is not None
        try:
            chain = chain_of(protocol.transport.get_extra_info("ssl_object"))
            who = self._credentials().certified(chain, time.time_ns() // 1_000_000)
            if "peer" not in who.roles or who.name not in self._expected(req.url):
                raise DeniedError(f"{req.url.origin()} is {who.subject}, and not who should be there")
        except DeniedError:
            protocol.close()
            raise
        return protocol
