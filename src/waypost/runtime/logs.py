"""Carries what the ledger asks of other logs and witnesses: each question an HTTP request, each answered once.

To nodes of the network it goes over mutual TLS, below /log/ of where they are; to anybody else as their URL says.  What
is not answered in time, or in full, or has more octets than were asked for, is answered with None; so is at once what
is asked when too much waits already.  Nobody is sent elsewhere by an answer, and nothing is unpacked.

Source: notes on the ledger, 2 and 5; C2SP tlog-witness 1.0.0, tlog-tiles 0.1.0.
"""

import asyncio
import logging
import ssl
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

from waypost.assembly.installation import Reach
from waypost.engine import Ask
from waypost.errors import DeniedError
from waypost.identity.credentials import Credentials
from waypost.identity.requests import Sign
from waypost.ledger.questions import Call, Reply
from waypost.runtime.nodes import (
    ANSWER_S,
    CONNECT_S,
    CONNECTIONS_MAX,
    COUNTER,
    NETWORK,
    NODE_ID,
    begin_session,
    is_origin,
    signing_fields,
)
from waypost.runtime.tls import Contexts, client_context, proxied_context

CALL_S: Final = 30.0  # from the beginning of a request to the end of its answer
OCTETS_MAX: Final = 32 << 20  # that one place may answer at once: a full bundle of the largest entries has 16 MiB
WAITING_MAX: Final = 1_024  # calls that wait for one place
MEDIA_MAX: Final = 128  # characters
FATES: Final = ("answered", "failed", "overflowed")

Answered = Callable[[int, object], None]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Place:
    """Where calls go, and those that wait or are under way there."""

    url: str
    session: aiohttp.ClientSession
    waiting: deque[tuple[int, Call]] = field(default_factory=deque)
    under_way: int = 0
    octets: int = 0  # that the answers under way may have
    failing: bool = False

    def next(self) -> tuple[int, Call] | None:
        """The call that may go now."""
        if not self.waiting or self.under_way >= CONNECTIONS_MAX:
            return None
        if self.under_way and self.octets + self.waiting[0][1].octets_max > OCTETS_MAX:
            return None
        return self.waiting.popleft()


class Logs:
    """`answered` takes a call's id and its Reply, or None.  With `sign`, by the node's key, requests are signed.

    `source` is the address that this node speaks from, None for any.  `outside` is for the host: Call and Reach.
    """

    def __init__(
        self,
        name: str,
        credentials: Callable[[], Credentials],
        answered: Answered,
        source: str | None = None,
        sign: Sign | None = None,
        *,
        call_s: float = CALL_S,
    ) -> None:
        self._name = name
        self._call_s = call_s
        self._credentials = credentials
        self._answered = answered
        self._source = source
        self._sign = sign
        self._contexts = Contexts(credentials, client_context if sign is None else proxied_context)
        self._everybody: ssl.SSLContext | None = None
        self._network = ""
        self._nodes: dict[str, Place] = {}
        self._others: dict[str, Place] = {}  # by URL
        self._tasks: set[asyncio.Task[None]] = set()
        self._counter = 0
        self._loop = asyncio.get_running_loop()
        self.counts: Counter[str] = Counter()

    async def close(self) -> None:
        """What is under way is not answered any more."""
        places = (*self._nodes.values(), *self._others.values())
        for place in places:
            place.waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(place.session.close() for place in places))

    def counters(self) -> dict[str, int]:
        return {f"ledger_calls_{fate}": self.counts[fate] for fate in FATES}

    def gauges(self) -> dict[str, int]:
        places = (*self._nodes.values(), *self._others.values())
        return {"ledger_calls_waiting": sum(len(place.waiting) + place.under_way for place in places)}

    def outside(self, ask: Ask) -> None:
        match ask.body:
            case Reach():
                self._network = ask.body.network
                self._reach(ask.body.urls)
            case Call():
                self._call(ask.id, ask.body)
            case _:
                raise AssertionError(f"no log answers {ask.body!r}")

    def _reach(self, urls: Mapping[str, str]) -> None:
        """What waits for a node that is elsewhere now, or gone, is not answered by it."""
        gone = {name: place for name, place in self._nodes.items() if urls.get(name) != place.url}
        for name, place in gone.items():
            del self._nodes[name]
            for id, _ in place.waiting:
                self._fail(id)
            place.waiting.clear()
            self._begin(place.session.close())
        for name, url in urls.items():
            if name not in self._nodes and name != self._name and is_origin(url):
                session = begin_session(
                    self._credentials, name, self._source, proxied=self._sign is not None, request_s=self._call_s
                )
                self._nodes[name] = Place(url, session)

    def _call(self, id: int, call: Call) -> None:
        place = self._nodes.get(call.node) if call.node else self._other(call.url)
        if place is None:
            self._fail(id)
        elif len(place.waiting) >= WAITING_MAX:
            self._fail(id, "overflowed")
        else:
            place.waiting.append((id, call))
            self._go_on(place)

    def _other(self, url: str) -> Place:
        """One that is no node; the configuration names them all."""
        if url not in self._others:
            self._others[url] = Place(
                url,
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                    timeout=aiohttp.ClientTimeout(total=self._call_s, connect=CONNECT_S, sock_read=ANSWER_S),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                ),
            )
        return self._others[url]

    def _go_on(self, place: Place) -> None:
        while (following := place.next()) is not None:
            id, call = following
            place.under_way += 1
            place.octets += call.octets_max
            self._begin(self._carry(place, id, call))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, place: Place, id: int, call: Call) -> None:
        try:
            reply = await self._reply(place, call)
            failure = ""
        except (OSError, aiohttp.ClientError, TimeoutError, DeniedError, ValueError) as error:
            failure = str(error) or type(error).__name__
        finally:
            place.under_way -= 1
            place.octets -= call.octets_max
            self._go_on(place)
        if bool(failure) != place.failing:
            place.failing = bool(failure)
            log.info("the log of %s: %s", call.node or place.url, failure or "it answers again")
        if failure:
            self._fail(id)
        else:
            self.counts["answered"] += 1
            self._answered(id, reply)

    def _fail(self, id: int, fate: str = "failed") -> None:
        """Not at once: whoever asks is not done with asking."""
        self.counts[fate] += 1
        self._loop.call_soon(self._answered, id, None)

    async def _reply(self, place: Place, call: Call) -> Reply:
        """Raises OSError, ClientError, TimeoutError, DeniedError; ValueError for an answer that is too long."""
        path = f"/log/{call.path}" if call.node else f"/{call.path}"
        headers = {"Accept-Encoding": "identity"}
        if call.body:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        if call.node:
            self._counter += 1
            headers |= {NETWORK: self._network, NODE_ID: self._name, COUNTER: str(self._counter)}
            if self._sign is not None:
                headers |= signing_fields(call.method, path, call.body, headers, self._name, call.node, self._sign)
        target = URL(place.url.rstrip("/") + path, encoded=True)
        context = self._contexts.current() if call.node else self._public()
        async with place.session.request(
            call.method, target, data=call.body or None, headers=headers, ssl=context, allow_redirects=False
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > call.octets_max:
                    raise ValueError(f"the answer has more than {call.octets_max} octets")
            return Reply(answer.status, bytes(body), answer.headers.get("Content-Type", "")[:MEDIA_MAX])

    def _public(self) -> ssl.SSLContext:
        """For who is known by a name that everybody's roots vouch for."""
        if self._everybody is None:
            self._everybody = ssl.create_default_context()
        return self._everybody
