"""A request's way to its resource, and its answer's way out.

What needs no resource is settled here: the repeated request, the next block of an answer under way, the block of a
request that is not whole yet, and the proof that a source owes.

Source: RFC 7252, 4.5 and 5.2; RFC 7959, 2; RFC 7967; RFC 9175, 2.3.
"""

from dataclasses import dataclass
from typing import Final

from waypost.coap import reply
from waypost.coap.block import Assemblies, Snapshots, snapshot_key
from waypost.coap.exchange import Duplicates
from waypost.coap.numbers import AMPLIFICATION_MAX, DUPLICATES_MAX, STRANGERS_DUPLICATES_MAX, Code, Type
from waypost.coap.observing import Judge, Observing
from waypost.coap.outbox import Outbox
from waypost.coap.request import Request, Response, diagnostic
from waypost.engine import Path
from waypost.errors import RemoteError

ANSWER_SIZE: Final = 48  # octets, without token, of the longest answer that cannot be cut: a location
EMPTY_SIZE: Final = 4  # octets of an acknowledgement
SWEEP_EVERY: Final = 30.0  # seconds between looks at what has outlived its time

_SEPARATE: Final = "separate"  # owner of a confirmable answer, as against an observation's key
_CON, _NON, _ACK = int(Type.CON), int(Type.NON), int(Type.ACK)
_GET = int(Code.GET)


@dataclass(slots=True)
class Exchange:
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


class Answering:
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._duplicates = Duplicates(DUPLICATES_MAX)
        self._strangers = Duplicates(STRANGERS_DUPLICATES_MAX)
        self._snapshots = Snapshots()
        self._assemblies = Assemblies()
        self._sweep_at: float | None = None
        self.observing = Observing(outbox, self._snapshots)
        self.errors = 0  # answers of class 4 and 5

    def again(self, exchange: Exchange, now: float) -> bool:
        """RFC 7252, 4.5: a request that came before, and was answered, gets the same answer."""
        key = exchange.path.peer, exchange.message_id
        kept = self._duplicates.get(key, now) or self._strangers.get(key, now)
        if kept is None:
            return False
        if len(kept) <= AMPLIFICATION_MAX * exchange.size or self._outbox.validated(exchange.path, now):
            self._outbox.send(exchange.path, kept)
        return True

    def early(self, exchange: Exchange, now: float) -> Response | None:
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

    def answer(self, exchange: Exchange, response: Response, now: float) -> None:
        """Send it, in whichever message may go out now."""
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
            data = self.observing.begin(exchange.path, exchange.size, head, request, response, now)
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

    def answer_group(self, exchange: Exchange, response: Response, now: float) -> None:
        """To a request that was sent to a group; its later blocks are asked for at our own address (RFC 7959, 2.8)."""
        path = exchange.path
        head = reply.Head(_NON, self._outbox.next_message_id(path), exchange.token)
        limit = self._outbox.limit(path, AMPLIFICATION_MAX * exchange.size, now)
        data = self.observing.fitted(path, head, exchange.request, response, limit, now)
        self._arm_sweep(now)
        if data is not None:
            self._outbox.send(path, data)

    def acknowledge(self, exchange: Exchange) -> None:
        """Its answer comes later, apart (RFC 7252, 5.2.2)."""
        exchange.acknowledged = True
        exchange.spent += EMPTY_SIZE
        self._outbox.send_empty(exchange.path, _ACK, exchange.message_id)

    def review(self, judge: Judge, now: float) -> None:
        self._snapshots.clear()
        self.observing.review(judge, now)

    def handle_timer(self, now: float) -> None:
        self.observing.handle_timer(now)
        if self._sweep_at is not None and self._sweep_at <= now:
            self._sweep(now)

    def next_timer(self) -> float | None:
        told = self.observing.next_timer()
        return self._sweep_at if told is None else told  # news are told now, before anything else

    def gauges(self) -> dict[str, int]:
        return {
            "coap_replies_kept": len(self._duplicates) + len(self._strangers),
            "coap_blockwise_answers": len(self._snapshots),
            "coap_blockwise_requests": len(self._assemblies),
            "coap_observations": len(self.observing.observations),
        }

    def _head(self, exchange: Exchange, now: float) -> reply.Head:
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

    def _fitted(self, exchange: Exchange, head: reply.Head, response: Response, limit: int | None, now: float) -> bytes:
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

    def _send(self, exchange: Exchange, head: reply.Head, data: bytes, now: float) -> None:
        if head.type == _CON:
            self._outbox.send_confirmable(exchange.path, head.id, data, _SEPARATE, now)
        else:
            self._outbox.send(exchange.path, data)
        if not exchange.repeatable:
            validated = self._outbox.validated(exchange.path, now)
            replies = self._duplicates if validated else self._strangers
            replies.put((exchange.path.peer, exchange.message_id), data, now)
            self._arm_sweep(now)

    def _arm_sweep(self, now: float) -> None:
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_EVERY

    def _sweep(self, now: float) -> None:
        memory = (self._duplicates, self._strangers, self._snapshots, self._assemblies)
        for kept in memory:
            kept.expire(now)
        self._sweep_at = now + SWEEP_EVERY if any(len(kept) for kept in memory) else None
