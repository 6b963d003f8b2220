"""The server's side of CoAP: requests to the resources, their answers out.

A resource answers at once, or returns None and answers later by respond() under the request's id.
What takes longer than EMPTY_ACK_AFTER is acknowledged apart.  Requests that are not idempotent are
deduplicated; GET and the paths named idempotent are simply done again.

Source: RFC 7252, 4 and 5; RFC 7641; RFC 7959; RFC 7967; RFC 9175.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Final

from waypost.coap import reply
from waypost.coap.answers import Answers
from waypost.coap.block import Assemblies, Snapshots, snapshot_key
from waypost.coap.exchange import Duplicates
from waypost.coap.message import Message
from waypost.coap.numbers import AMPLIFICATION_MAX, EMPTY_ACK_AFTER, EXCHANGES_MAX, Code, Type
from waypost.coap.observing import Observing
from waypost.coap.options import read_request
from waypost.coap.outbox import Outbox
from waypost.coap.request import Request, Response, diagnostic
from waypost.engine import Deadlines, Endpoint, Path
from waypost.errors import RemoteError

DISCOVERY: Final = (".well-known", "core")
ANSWER_SIZE: Final = 48  # octets, without token, of the longest answer that cannot be cut: a location
EMPTY_SIZE: Final = 4  # octets of an acknowledgement
BUSY_RETRY: Final = 5  # seconds, the Max-Age of 5.03 when too many requests wait
SWEEP_EVERY: Final = 30.0  # seconds between looks at what has outlived its time

Serve = Callable[[Request, Path, float], Response | None]

_SEPARATE: Final = "separate"  # owner of a confirmable answer, as against an observation's key
_CON, _NON, _ACK = int(Type.CON), int(Type.NON), int(Type.ACK)
_GET = int(Code.GET)


@dataclass(slots=True)
class _Exchange:
    """A request whose answer is owed."""

    path: Path
    type: int
    message_id: int
    token: bytes
    size: int  # octets of its datagram
    request: Request
    repeatable: bool
    acknowledged: bool = False
    spent: int = 0  # octets that went to the sender already because of it


class Server:
    def __init__(
        self, outbox: Outbox, serve: Serve, ids: Iterator[int], *, idempotent: frozenset[tuple[str, ...]]
    ) -> None:
        self._serve = serve
        self._ids = ids
        self._idempotent = idempotent
        self._outbox = outbox
        self._duplicates = Duplicates()
        self._snapshots = Snapshots()
        self._assemblies = Assemblies()
        self._observing = Observing(self._outbox, self._snapshots)
        self._answers = Answers()
        self._exchanges: dict[int, _Exchange] = {}
        self._waiting: dict[tuple[Endpoint, int], int] = {}  # message -> exchange, of those not repeatable
        self._acknowledge: Deadlines[int] = Deadlines()
        self._sweep_at: float | None = None
        self.requests = 0
        self.errors = 0  # answers of class 4 and 5
        self.duplicated = 0
        self.repeated = 0  # answers given again without asking the resource

    def repeat(self, data: bytes, path: Path, now: float) -> bool:
        """Answer the datagram `data` as an equal one was answered before, if that is still so."""
        answer = self._answers.find(data)
        if answer is None or not _alike(path):
            return False
        if len(answer) > AMPLIFICATION_MAX * len(data) and not self._outbox.validated(path, now):
            return False
        self.requests += 1
        self.repeated += 1
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
                exchange = _Exchange(path, message.type, message.id, message.token, size, request, True)
                self._answer(exchange, diagnostic(error.code, str(error)), now)
            return
        repeatable = message.code == _GET or path.message_max is not None or request.path in self._idempotent
        exchange = _Exchange(path, message.type, message.id, message.token, size, request, repeatable)
        if not repeatable and self._seen(exchange, now):
            return
        response = self._early(exchange, now) if message.code != _GET or request.transfer else None
        if response is None:
            if len(self._exchanges) >= EXCHANGES_MAX:
                response = diagnostic(Code.SERVICE_UNAVAILABLE, "too many requests are waiting", BUSY_RETRY)
            else:
                response = self._serve(request, path, now)
        if response is not None:
            if response.fresh is not None and _repeatable(request, response) and _alike(path):
                self._answers.keep(data, response.payload, response.fresh)
            self._answer(exchange, response, now)
            return
        self._exchanges[request.id] = exchange
        if not repeatable:
            self._waiting[path.peer, message.id] = request.id
        if message.type == _CON:
            self._acknowledge.set(request.id, now + EMPTY_ACK_AFTER)

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
        head = reply.Head(_NON, self._outbox.next_message_id(path), message.token)
        limit = self._outbox.limit(path, AMPLIFICATION_MAX * size, now)
        data = self._observing.fitted(path, head, request, response, limit, now)
        self._arm_sweep(now)
        if data is not None:  # the other blocks are asked for at our own address (RFC 7959, 2.8)
            self._outbox.send(path, data)

    def respond(self, id: int, response: Response, now: float) -> None:
        """Answer the request that a resource had answered with None."""
        exchange = self._exchanges.pop(id)
        self._acknowledge.clear(id)
        self._waiting.pop((exchange.path.peer, exchange.message_id), None)
        self._answer(exchange, response, now)

    def charge(self, id: int, octets: int) -> None:
        """So many octets went to the sender of a request that waits for its answer, because of it."""
        self._exchanges[id].spent += octets

    def waits_for(self, id: int) -> bool:
        return id in self._exchanges

    def changed(self, name: Hashable, news: Response, now: float) -> None:
        """What observers know under `name` is `news` now: tell them.  An error ends their observations."""
        self._observing.changed(name, news, now)

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
            exchange = self._exchanges[id]
            exchange.acknowledged = True
            exchange.spent += EMPTY_SIZE
            self._outbox.send_empty(exchange.path, _ACK, exchange.message_id)
        self._observing.handle_timer(now)
        if self._sweep_at is not None and self._sweep_at <= now:
            self._sweep(now)

    def next_timer(self) -> float | None:
        times = (self._acknowledge.next(), self._observing.next_timer(), self._sweep_at)
        return min((when for when in times if when is not None), default=None)

    def counters(self) -> dict[str, int]:
        return {
            "coap_requests": self.requests,
            "coap_errors": self.errors,
            "coap_duplicates": self.duplicated,
            "coap_answers_repeated": self.repeated,
            "coap_notifications": self._observing.notifications,
        }

    def gauges(self) -> dict[str, int]:
        return {
            "coap_exchanges": len(self._exchanges),
            "coap_answers_kept": len(self._answers),
            "coap_replies_kept": len(self._duplicates),
            "coap_blockwise_answers": len(self._snapshots),
            "coap_blockwise_requests": len(self._assemblies),
            "coap_observations": len(self._observing.observations),
        }

    def check(self) -> None:
        self._observing.observations.check()
        self._answers.check()
        assert len(self._acknowledge) <= len(self._exchanges) <= EXCHANGES_MAX
        assert all(id in self._exchanges for id in self._waiting.values())

    # requests

    def _seen(self, exchange: _Exchange, now: float) -> bool:
        """RFC 7252, 4.5: a request that came before gets the same answer, or waits for it."""
        key = (exchange.path.peer, exchange.message_id)
        kept = self._duplicates.get(key, now)
        if kept is None and key not in self._waiting:
            return False
        self.duplicated += 1
        if kept and (len(kept) <= AMPLIFICATION_MAX * exchange.size or self._outbox.validated(exchange.path, now)):
            self._outbox.send(exchange.path, kept)
        return True

    def _early(self, exchange: _Exchange, now: float) -> Response | None:
        """The answer that the server gives itself, if any; else the request is ready for its resource."""
        request, path = exchange.request, exchange.path
        transfer = request.transfer
        if transfer is not None and transfer.echo is not None:
            request.verified = self._outbox.sources.accept(path.peer, transfer.echo, now)
        if (
            request.method != _GET
            and AMPLIFICATION_MAX * exchange.size < ANSWER_SIZE + len(exchange.token)
            and not self._outbox.validated(path, now)
        ):  # too short for its answer to be within three times its size: first show that you are there
            return Response(Code.UNAUTHORIZED)
        if transfer is None:
            return None
        if transfer.block1 is not None:
            try:
                key = (path.peer, (request.method, request.path, request.query, transfer.tag))
                body = self._assemblies.add(key, transfer.block1, request.payload, now)
            except RemoteError as error:
                return diagnostic(error.code, str(error))
            if body is None:
                return Response(Code.CONTINUE)
            request.payload = body
            request.verified |= self._outbox.sources.validated(path.peer, now)  # one of its blocks brought it
            self._arm_sweep(now)
        if transfer.block2 is not None and transfer.block2[0]:
            snapshot = self._snapshots.get(snapshot_key(path, request), now)
            return snapshot.response if snapshot is not None else None
        return None

    # answers

    def _answer(self, exchange: _Exchange, response: Response, now: float) -> None:
        if response.code >= 0x80:
            self.errors += 1
        request = exchange.request
        transfer = request.transfer
        on_connection = exchange.path.message_max is not None
        if (
            transfer is not None
            and transfer.no_response >> (response.code >> 5) - 1 & 1  # RFC 7967, 2.1
            and not on_connection  # there each request has its answer: nothing is owed without end
        ):
            if exchange.type == _CON and not exchange.acknowledged:
                self._outbox.send_empty(exchange.path, _ACK, exchange.message_id)
            return
        head = self._head(exchange, now)
        data = None
        if request.observe is not None and request.method == _GET:
            data = self._observing.begin(exchange.path, exchange.size, head, request, response, now)
        if data is None:
            allowed = exchange.path.message_max or AMPLIFICATION_MAX * exchange.size - exchange.spent
            if (on_connection or len(response.payload) <= reply.BLOCK_MAX) and (
                transfer is None or transfer.block2 is None
            ):
                data = reply.whole(head, response)
            if data is None or len(data) > allowed or response.code == Code.UNAUTHORIZED:
                limit = self._outbox.limit(exchange.path, allowed, now)
                if data is None or limit is not None or response.code == Code.UNAUTHORIZED:
                    data = self._fitted(exchange, head, response, limit, now)
        self._send(exchange, head, data, now)

    def _head(self, exchange: _Exchange, now: float) -> reply.Head:
        # A NON is answered under its own id: its sender uses it once, and so the pair (we, id) is unique for
        # it too, without a counter for each peer.
        head = reply.Head(_ACK if exchange.type == _CON else _NON, exchange.message_id, exchange.token)
        if exchange.acknowledged:
            # RFC 7252, 5.2.2; only a validated source is sent a separate answer more than once
            reliable = self._outbox.validated(exchange.path, now) and not self._outbox.retransmissions.full()
            head.type = _CON if reliable else _NON
            head.id = self._outbox.next_message_id(exchange.path)
        transfer = exchange.request.transfer
        if transfer is not None:
            head.block1 = transfer.block1
        return head

    def _fitted(
        self, exchange: _Exchange, head: reply.Head, response: Response, limit: int | None, now: float
    ) -> bytes:
        """`response` in at most `limit` octets, whatever has to be left for a later block."""
        owes_proof = (limit is not None or response.code == Code.UNAUTHORIZED) and exchange.path.message_max is None
        echo = self._outbox.sources.value(exchange.path.peer, now) if owes_proof else None
        if response.code == Code.CONTENT:
            transfer = exchange.request.transfer
            key = snapshot_key(exchange.path, exchange.request)
            tag = self._snapshots.put(key, response, now).tag
            self._arm_sweep(now)
            data = reply.fitted_block(head, response, tag, transfer.block2 if transfer else None, limit, echo)
            if data is not None:
                return data
            response = Response(Code.UNAUTHORIZED)
        if response.code == Code.UNAUTHORIZED and echo is not None:
            data = reply.whole(head, response, echo)
            if limit is None or len(data) <= limit:
                return data
        return reply.cut(head, response, limit)

    def _send(self, exchange: _Exchange, head: reply.Head, data: bytes, now: float) -> None:
        if head.type == _CON:
            self._outbox.send_confirmable(exchange.path, head.id, data, _SEPARATE, now)
        else:
            self._outbox.send(exchange.path, data)
        if not exchange.repeatable:
            self._duplicates.put((exchange.path.peer, exchange.message_id), data, now)
            self._arm_sweep(now)

    # keeping within bounds

    def _arm_sweep(self, now: float) -> None:
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_EVERY

    def _sweep(self, now: float) -> None:
        for kept in (self._duplicates, self._snapshots, self._assemblies):
            kept.expire(now)
        left = len(self._duplicates) + len(self._snapshots) + len(self._assemblies)
        self._sweep_at = now + SWEEP_EVERY if left else None


def _alike(path: Path) -> bool:
    """Whoever asks by such a path gets the same answer, in a datagram to itself."""
    return path.message_max is None and not path.group and not path.peer.scope


def _repeatable(request: Request, response: Response) -> bool:
    """The answer is one message, and the same for whoever asks so."""
    return request.observe is None and request.transfer is None and len(response.payload) <= reply.BLOCK_MAX
