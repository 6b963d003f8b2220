"""The server's side of CoAP: datagrams in, requests to the resources, answers out.

A resource answers at once, or returns None and answers later by respond() under the request's id.
What takes longer than EMPTY_ACK_AFTER is acknowledged apart.  Requests that are not idempotent are
deduplicated; GET and the paths named idempotent are simply done again.

Datagrams that do not decode are counted in `dropped`: nothing a peer sends can raise.

Source: RFC 7252, 4 and 5; RFC 7641; RFC 7959; RFC 7967; RFC 9175.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from waypost.coap import reply
from waypost.coap.block import Assemblies, Snapshots
from waypost.coap.echo import Sources
from waypost.coap.exchange import Duplicates, Retransmissions
from waypost.coap.message import Message, decode
from waypost.coap.numbers import AMPLIFICATION_MAX, EMPTY_ACK_AFTER, EXCHANGES_MAX, Code, Type
from waypost.coap.observe import Observation, Observations
from waypost.coap.options import read_request
from waypost.coap.request import Request, Response, diagnostic
from waypost.engine import Deadlines, Effect, Endpoint, Path, Send
from waypost.errors import RemoteError, WireError

Serve = Callable[[Request, Path, float], Response | None]

ANSWER_SIZE: Final = 48  # octets, without token, of the longest answer that cannot be cut: a location
BUSY_RETRY: Final = 5  # seconds, the Max-Age of 5.03 when too many requests wait
SWEEP_EVERY: Final = 30.0  # seconds between looks at what has outlived its time

_SEPARATE: Final = "separate"  # owner of a confirmable answer, as against an observation's key
_CON, _NON, _ACK, _RST = (int(t) for t in Type)
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
    observation: Observation | None = None  # the answer is this one's next notification


class Server:
    def __init__(
        self, rng: Random, serve: Serve, ids: Iterator[int], *, idempotent: frozenset[tuple[str, ...]] = frozenset()
    ) -> None:
        self._serve = serve
        self._ids = ids
        self._idempotent = idempotent
        self._sources = Sources(rng)
        self._duplicates = Duplicates()
        self._retransmissions = Retransmissions(rng)
        self._snapshots = Snapshots()
        self._assemblies = Assemblies()
        self._observations = Observations()
        self._exchanges: dict[int, _Exchange] = {}
        self._waiting: dict[tuple[Endpoint, int], int] = {}  # message -> exchange, of those not repeatable
        self._acknowledge: Deadlines[int] = Deadlines()
        self._message_id = rng.getrandbits(16)
        self._sweep_at: float | None = None
        self._effects: list[Effect] = []
        self.received = 0
        self.dropped = 0
        self.requests = 0
        self.errors = 0  # answers of class 4 and 5
        self.duplicated = 0
        self.notifications = 0

    # datagrams

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        self.received += 1
        try:
            message = decode(data)
        except WireError:
            self.dropped += 1
            if len(data) >= 4 and data[0] >> 4 == 0b0100:  # RFC 7252, 4.2: reject a confirmable one
                self._send_empty(_RST, data[2] << 8 | data[3], path)
            return
        kind, code = message.type, message.code
        if kind <= _NON and 0 < code < 32:
            self._on_request(message, len(data), path, now)
        elif kind == _ACK:
            self._on_acknowledgement(path, message.id, now)
        elif kind == _RST:
            self._on_reset(path, message.id)
        elif kind == _CON:  # a ping, a response we did not ask for, a reserved code: RFC 7252, 4.2 and 4.3
            self._send_empty(_RST, message.id, path)
        else:
            self.dropped += 1

    def respond(self, id: int, response: Response, now: float) -> None:
        """Answer the request that a resource had answered with None."""
        exchange = self._exchanges.pop(id)
        self._acknowledge.clear(id)
        if exchange.observation is not None:
            self._notify(exchange.observation, response, now)
            return
        self._waiting.pop((exchange.path.peer, exchange.message_id), None)
        self._answer(exchange, response, now)

    def waits_for(self, id: int) -> bool:
        return id in self._exchanges

    def changed(self, name: Hashable, now: float) -> None:
        """What observers know under `name` has changed: ask the resource again and tell them."""
        for observation in self._observations.of(name):
            self._refresh(observation, now)

    # the engine's other calls

    def handle_timer(self, now: float) -> None:
        for id in self._acknowledge.pop_due(now):
            exchange = self._exchanges[id]
            exchange.acknowledged = True
            self._send_empty(_ACK, exchange.message_id, exchange.path)
        again, given_up = self._retransmissions.due(now)
        self._effects += again
        for owner in given_up:
            if isinstance(owner, tuple):
                self._observations.remove_source(owner[0])
        if self._sweep_at is not None and self._sweep_at <= now:
            self._sweep(now)

    def next_timer(self) -> float | None:
        times = [t for t in (self._acknowledge.next(), self._retransmissions.next(), self._sweep_at) if t is not None]
        return min(times, default=None)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def counters(self) -> dict[str, int]:
        return {
            "coap_received": self.received,
            "coap_dropped": self.dropped,
            "coap_requests": self.requests,
            "coap_errors": self.errors,
            "coap_duplicates": self.duplicated,
            "coap_notifications": self.notifications,
        }

    def gauges(self) -> dict[str, int]:
        return {
            "coap_exchanges": len(self._exchanges),
            "coap_retransmissions": len(self._retransmissions),
            "coap_replies_kept": len(self._duplicates),
            "coap_blockwise_answers": len(self._snapshots),
            "coap_blockwise_requests": len(self._assemblies),
            "coap_observations": len(self._observations),
            "coap_validated_sources": len(self._sources),
        }

    def check(self) -> None:
        self._observations.check()
        assert len(self._acknowledge) <= len(self._exchanges) <= EXCHANGES_MAX
        assert all(id in self._exchanges for id in self._waiting.values())

    # requests

    def _on_request(self, message: Message, size: int, path: Path, now: float) -> None:
        self.requests += 1
        try:
            request = read_request(message, next(self._ids))
        except RemoteError as error:
            if message.type == _CON or error.code != Code.BAD_OPTION:  # RFC 7252, 5.4.1: a NON is rejected in silence
                request = Request(0, message.code, (), ())
                exchange = _Exchange(path, message.type, message.id, message.token, size, request, True)
                self._answer(exchange, diagnostic(error.code, str(error)), now)
            return
        repeatable = message.code == _GET or request.path in self._idempotent
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
            self._answer(exchange, response, now)
            return
        self._exchanges[request.id] = exchange
        if not repeatable:
            self._waiting[path.peer, message.id] = request.id
        if message.type == _CON:
            self._acknowledge.set(request.id, now + EMPTY_ACK_AFTER)

    def _seen(self, exchange: _Exchange, now: float) -> bool:
        """RFC 7252, 4.5: a request that came before gets the same answer, or waits for it."""
        key = (exchange.path.peer, exchange.message_id)
        kept = self._duplicates.get(key, now)
        if kept is None and key not in self._waiting:
            return False
        self.duplicated += 1
        if kept and (len(kept) <= AMPLIFICATION_MAX * exchange.size or self._validated(exchange.path, now)):
            self._effects.append(Send(exchange.path, kept))
        return True

    def _early(self, exchange: _Exchange, now: float) -> Response | None:
        """The answer that the server gives itself, if any; else the request is ready for its resource."""
        request, path = exchange.request, exchange.path
        transfer = request.transfer
        if transfer is not None and transfer.echo is not None:
            self._sources.accept(path.peer, transfer.echo, now)
        if (
            request.method != _GET
            and AMPLIFICATION_MAX * exchange.size < ANSWER_SIZE + len(exchange.token)
            and not self._validated(path, now)
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
            self._arm_sweep(now)
        if transfer.block2 is not None and transfer.block2[0]:
            snapshot = self._snapshots.get(_snapshot_key(path, request), now)
            return snapshot.response if snapshot is not None else None
        return None

    # answers

    def _validated(self, path: Path, now: float) -> bool:
        return path.validated or self._sources.validated(path.peer, now)

    def _answer(self, exchange: _Exchange, response: Response, now: float) -> None:
        if response.code >= 0x80:
            self.errors += 1
        request = exchange.request
        transfer = request.transfer
        if transfer is not None and transfer.no_response >> (response.code >> 5) - 1 & 1:  # RFC 7967, 2.1
            if exchange.type == _CON and not exchange.acknowledged:
                self._send_empty(_ACK, exchange.message_id, exchange.path)
            return None
        head = self._head(exchange, now)
        limit = None
        data = None
        if request.observe is not None and request.method == _GET:
            data = self._observed(exchange, head, response, now)
        if data is None:
            if len(response.payload) <= reply.BLOCK_MAX and (transfer is None or transfer.block2 is None):
                data = reply.whole(head, response)
                if len(data) <= AMPLIFICATION_MAX * exchange.size - 4 * exchange.acknowledged:
                    return self._send(exchange, head, data, now)
            if not self._validated(exchange.path, now):
                limit = AMPLIFICATION_MAX * exchange.size - 4 * exchange.acknowledged
            if data is None or limit is not None:
                data = self._fitted(exchange, head, response, limit, now)
        return self._send(exchange, head, data, now)

    def _head(self, exchange: _Exchange, now: float) -> reply.Head:
        # A NON is answered under its own id: its sender uses it once, and so the pair (we, id) is unique for
        # it too, without a counter for each peer.
        head = reply.Head(_ACK if exchange.type == _CON else _NON, exchange.message_id, exchange.token)
        if exchange.acknowledged:
            # RFC 7252, 5.2.2; only a validated source is sent a separate answer more than once
            head.type = _CON if self._validated(exchange.path, now) and not self._retransmissions.full() else _NON
            head.id = self._next_message_id(exchange.path)
        transfer = exchange.request.transfer
        if transfer is not None:
            head.block1 = transfer.block1
        return head

    def _fitted(
        self, exchange: _Exchange, head: reply.Head, response: Response, limit: int | None, now: float
    ) -> bytes:
        """`response` in at most `limit` octets, whatever has to be left for a later block."""
        echo = self._sources.value(exchange.path.peer, now) if limit is not None else None
        if response.code == Code.CONTENT:
            transfer = exchange.request.transfer
            key = _snapshot_key(exchange.path, exchange.request)
            tag = self._snapshots.put(key, response, now).tag
            self._arm_sweep(now)
            data = reply.fitted_block(head, response, tag, transfer.block2 if transfer else None, limit, echo)
            if data is not None:
                return data
            response = Response(Code.UNAUTHORIZED)
        if response.code == Code.UNAUTHORIZED and limit is not None:
            data = reply.whole(head, response, echo)
            if len(data) <= limit:
                return data
        return reply.cut(head, response, limit)

    def _send(self, exchange: _Exchange, head: reply.Head, data: bytes, now: float) -> None:
        self._effects.append(Send(exchange.path, data))
        if head.type == _CON:
            self._retransmissions.start(exchange.path, head.id, data, _SEPARATE, now)
        if not exchange.repeatable:
            self._duplicates.put((exchange.path.peer, exchange.message_id), data, now)
            self._arm_sweep(now)

    def _send_empty(self, type: int, id: int, path: Path) -> None:
        self._effects.append(Send(path, bytes((0x40 | type << 4, Code.EMPTY, id >> 8, id & 0xFF))))

    def _next_message_id(self, path: Path) -> int:
        self._message_id = self._message_id + 1 & 0xFFFF
        while (path.peer, self._message_id) in self._retransmissions:
            self._message_id = self._message_id + 1 & 0xFFFF
        return self._message_id

    # observing

    def _observed(self, exchange: _Exchange, head: reply.Head, response: Response, now: float) -> bytes | None:
        """The first notification, if the client asks to observe and may; else its observation ends."""
        request, path = exchange.request, exchange.path
        if request.observe != 0 or response.code != Code.CONTENT or response.observe is None:
            self._observations.remove((path.peer, exchange.token))  # RFC 7641, 3.6 and 4.1
            return None
        head.observe = 0
        limit = None if self._validated(path, now) else AMPLIFICATION_MAX * exchange.size // 2
        data = reply.whole(head, response)
        if len(response.payload) > reply.BLOCK_MAX or (limit is not None and len(data) > limit):
            self._snapshots.put(_snapshot_key(path, request), response, now)
            fitted = reply.fitted_block(head, response, None, None, limit, None)
            if fitted is None:
                head.observe = None
                return None
            data = fitted
        credit = AMPLIFICATION_MAX * exchange.size - len(data)
        again = Request(0, request.method, request.path, request.query, accept=request.accept)
        observation = Observation(
            path, exchange.token, again, response.observe, exchange.size, credit, confirmed_at=now
        )
        if not self._observations.add(observation):
            head.observe = None
            return None
        return data

    def _refresh(self, observation: Observation, now: float) -> None:
        if observation.waiting:
            observation.stale = True
            return
        old = observation.request
        request = Request(next(self._ids), old.method, old.path, old.query, accept=old.accept)
        response = self._serve(request, observation.path, now)
        if response is not None:
            self._notify(observation, response, now)
        elif len(self._exchanges) < EXCHANGES_MAX:
            self._exchanges[request.id] = _Exchange(
                observation.path, _NON, 0, observation.token, observation.size, request, True, observation=observation
            )

    def _notify(self, observation: Observation, response: Response, now: float) -> None:
        if self._observations.get(observation.key) is not observation:
            return  # it ended while the resource was busy
        path = observation.path
        validated = self._validated(path, now)
        confirm = observation.confirm(validated, now)
        head = reply.Head(_CON if confirm else _NON, self._next_message_id(path), observation.token)
        limit = None if validated else observation.credit
        if response.code != Code.CONTENT:  # RFC 7641, 4.2: an error is the last notification
            self._observations.remove(observation.key)
            self._effects.append(Send(path, reply.cut(reply.Head(_NON, head.id, head.token), response, limit)))
            return
        observation.sequence = head.observe = observation.sequence + 1 & 0xFFFFFF
        data: bytes | None = reply.whole(head, response)
        if len(response.payload) > reply.BLOCK_MAX or (limit is not None and len(data or b"") > limit):
            self._snapshots.put(_snapshot_key(path, observation.request), response, now)
            data = reply.fitted_block(head, response, None, None, limit, None)
        if data is None or (confirm and self._retransmissions.full()):
            self._observations.remove(observation.key)  # 4.5: it cannot be told reliably any more
            return
        observation.credit -= len(data)
        observation.unconfirmed = 0 if confirm else observation.unconfirmed + 1
        self._observations.sent(observation, head.id)
        self._effects.append(Send(path, data))
        self.notifications += 1
        if confirm:
            observation.waiting, observation.confirmed_at = True, now
            self._retransmissions.start(path, head.id, data, observation.key, now, once=not validated)

    def _on_acknowledgement(self, path: Path, id: int, now: float) -> None:
        owner = self._retransmissions.end(path.peer, id)
        observation = self._observations.get(owner) if isinstance(owner, tuple) else None
        if observation is None:
            return
        observation.waiting = False
        observation.credit = AMPLIFICATION_MAX * observation.size
        if observation.stale:
            observation.stale = False
            self._refresh(observation, now)

    def _on_reset(self, path: Path, id: int) -> None:
        owner = self._retransmissions.end(path.peer, id)
        if isinstance(owner, tuple):
            self._observations.remove(owner)
        else:
            self._observations.reset(path.peer, id)

    # keeping within bounds

    def _arm_sweep(self, now: float) -> None:
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_EVERY

    def _sweep(self, now: float) -> None:
        for kept in (self._duplicates, self._snapshots, self._assemblies):
            kept.expire(now)
        left = len(self._duplicates) + len(self._snapshots) + len(self._assemblies)
        self._sweep_at = now + SWEEP_EVERY if left else None


def _snapshot_key(path: Path, request: Request) -> tuple[Endpoint, Hashable]:
    return path.peer, (request.method, request.path, request.query, request.accept)
