"""The server's side of CoAP: requests to the resources, their answers out.

A resource answers at once, or returns None and answers later by respond() under the request's id.
What takes longer than EMPTY_ACK_AFTER is acknowledged apart.  Requests that are not idempotent are
deduplicated; GET and the paths named idempotent are simply done again.

Source: RFC 7252, 4 and 5; RFC 7641; RFC 7959; RFC 7967; RFC 9175.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Final

from waypost.coap.answering import Answering, Exchange
from waypost.coap.answers import Answers
from waypost.coap.message import Message
from waypost.coap.numbers import AMPLIFICATION_MAX, EMPTY_ACK_AFTER, EXCHANGES_MAX, Code, Type
from waypost.coap.observing import Judge
from waypost.coap.options import read_request
from waypost.coap.outbox import Outbox
from waypost.coap.reply import BLOCK_MAX
from waypost.coap.request import Request, Response, diagnostic
from waypost.engine import Deadlines, Endpoint, Path
from waypost.errors import RemoteError

DISCOVERY: Final = (".well-known", "core")
BUSY_RETRY: Final = 5  # seconds, the Max-Age of 5.03 when too many requests wait

Serve = Callable[[Request, Path, float], Response | None]
Shares = Callable[[Path], bool]  # whether who asks by it may have what was answered to another

_CON, _NON = int(Type.CON), int(Type.NON)
_GET = int(Code.GET)


class Server:
    def __init__(
        self,
        outbox: Outbox,
        serve: Serve,
        ids: Iterator[int],
        *,
        idempotent: frozenset[tuple[str, ...]],
        shares: Shares,
    ) -> None:
        self._serve = serve
        self._shares = shares
        self._ids = ids
        self._idempotent = idempotent
        self._outbox = outbox
        self._answering = Answering(outbox)
        self._observing = self._answering.observing
        self._answers = Answers()
        self._exchanges: dict[int, Exchange] = {}
        self._waiting: dict[tuple[Endpoint, int], int] = {}  # message -> exchange, of those not repeatable
        self._acknowledge: Deadlines[int] = Deadlines()
        self.requests = 0
        self.duplicated = 0

    def repeat(self, data: bytes, path: Path, now: float) -> bool:
        """Answer the datagram `data` as one like it was answered before, if that can be."""
        if not _alike(path):
            return False
        answer = self._answers.find(data)
        if answer is None or not self._shares(path):
            return False
        if len(answer) > AMPLIFICATION_MAX * len(data) and not self._outbox.validated(path, now):
            return False
        self.requests += 1
        self._outbox.send(path, answer)
        return True

    def receive(self, message: Message, data: bytes, path: Path, now: float) -> None:
        """A request, which came as the datagram `data`."""
        self.requests += 1
        size = len(data)
        try:
            request = read_request(message, next(self._ids), bert=path.message_max is not None)
        except RemoteError as error:
            # RFC 7252, 5.4.1: a NON is rejected in silence, unless it came on a connection
            if message.type == _CON or error.code != Code.BAD_OPTION or path.message_max is not None:
                request = Request(0, message.code, (), ())
                exchange = Exchange(path, message.type, message.id, message.token, size, request, True)
                self._answering.answer(exchange, diagnostic(error.code, str(error)), now)
            return
        repeatable = message.code == _GET or path.message_max is not None or request.path in self._idempotent
        exchange = Exchange(path, message.type, message.id, message.token, size, request, repeatable)
        if not repeatable and ((path.peer, message.id) in self._waiting or self._answering.again(exchange, now)):
            self.duplicated += 1
            return
        response = self._answering.early(exchange, now) if message.code != _GET or request.transfer else None
        if response is None:
            if len(self._exchanges) >= EXCHANGES_MAX:
                response = diagnostic(Code.SERVICE_UNAVAILABLE, "too many requests are waiting", BUSY_RETRY)
            else:
                response = self._serve(request, path, now)
        if response is not None:
            known = response.fresh or response.others
            if known and _repeatable(request, response) and _alike(path) and self._shares(path):
                self._answers.learn(data, response)
            self._answering.answer(exchange, response, now)
            return
        self._exchanges[request.id] = exchange
        if not repeatable:
            self._waiting[path.peer, message.id] = request.id
        if message.type == _CON:
            self._acknowledge.set(request.id, now + EMPTY_ACK_AFTER)

    def refuse(self, message: Message, size: int, path: Path, retry_s: int, now: float) -> None:
        """A request of `size` octets of somebody who asks too much."""
        exchange = Exchange(path, message.type, message.id, message.token, size, Request(0, message.code, (), ()), True)
        busy = diagnostic(Code.SERVICE_UNAVAILABLE, "too many requests: come back later", retry_s)
        self._answering.answer(exchange, busy, now)

    def receive_from_group(self, message: Message, size: int, path: Path, now: float) -> None:
        """A request that was sent to a group, after its leisure.

        Only discovery is answered, and only if it finds something (RFC 7252, 8.2; RFC 6690, 4.1).
        """
        try:
            request = read_request(message, next(self._ids), bert=False)
        except RemoteError:
            return
        if request.method != _GET or request.path != DISCOVERY:
            return
        self.requests += 1
        response = self._serve(request, path, now)
        if response is None or response.code != Code.CONTENT or not response.payload:
            return
        exchange = Exchange(path, _NON, message.id, message.token, size, request, True)
        self._answering.answer_group(exchange, response, now)

    def respond(self, id: int, response: Response, now: float) -> None:
        """Answer the request that a resource had answered with None."""
        exchange = self._exchanges.pop(id)
        self._acknowledge.clear(id)
        self._waiting.pop((exchange.path.peer, exchange.message_id), None)
        self._answering.answer(exchange, response, now)

    def charge(self, id: int, octets: int) -> None:
        """So many octets went to the sender of a request that waits for its answer, because of it."""
        self._exchanges[id].spent += octets

    def waits_for(self, id: int) -> bool:
        return id in self._exchanges

    def changed(self, name: Hashable, news: Response, now: float) -> None:
        """What observers know under `name` is `news` now: tell them.  An error ends their observations."""
        self._observing.changed(name, news, now)

    def review(self, judge: Judge, now: float) -> None:
        """End every observation that `judge` has an error for, and forget the blocks of answers under way."""
        self._answering.review(judge, now)

    def take_observed(self) -> list[tuple[Hashable, bool]]:
        """In order: names that one more observes (True), and names that nobody observes any more (False)."""
        return self._observing.observations.take_events()

    # what becomes of our own messages

    def on_acknowledged(self, owner: Hashable, now: float) -> None:
        self._observing.on_acknowledged(owner, now)

    def on_reset(self, owner: Hashable, path: Path, message_id: int) -> None:
        self._observing.on_reset(owner, path.peer, message_id)

    def on_given_up(self, owner: Hashable) -> None:
        self._observing.on_given_up(owner)

    def on_closed(self, path: Path) -> None:
        """What waits for its resource goes on: the answer has nowhere to go, and is dropped there."""
        self._observing.observations.remove_connection(path)

    def handle_timer(self, now: float) -> None:
        for id in self._acknowledge.pop_due(now):
            self._answering.acknowledge(self._exchanges[id])
        self._answering.handle_timer(now)

    def next_timer(self) -> float | None:
        times = (self._acknowledge.next(), self._answering.next_timer())
        return min((when for when in times if when is not None), default=None)

    def counters(self) -> dict[str, int]:
        return {
            "coap_requests": self.requests,
            "coap_errors": self._answering.errors,
            "coap_duplicates": self.duplicated,
            "coap_answers_repeated": self._answers.repeated,
            "coap_notifications": self._observing.notifications,
        }

    def gauges(self) -> dict[str, int]:
        return {
            "coap_exchanges": len(self._exchanges),
            "coap_answers_kept": len(self._answers),
            **self._answering.gauges(),
        }

    def check(self) -> None:
        self._observing.observations.check()
        self._answers.check()
        assert len(self._acknowledge) <= len(self._exchanges) <= EXCHANGES_MAX
        assert all(id in self._exchanges for id in self._waiting.values())


def _alike(path: Path) -> bool:
    """Whoever asks by such a path gets the same answer, in a datagram to itself."""
    return path.message_max is None and not path.group and not path.peer.scope


def _repeatable(request: Request, response: Response) -> bool:
    """The answer is one message, and the same for whoever asks so."""
    return request.observe is None and request.transfer is None and len(response.payload) <= BLOCK_MAX
