"""The client's side of CoAP: requests out, the answer as an effect.

Requests are confirmable, and one at a time for each server; the others wait in order (RFC 7252, 4.7).
The answer to request() is Answer(id, Response), or Answer(id, Failure) if there is none.  5.03 is a
Response like any other: its `max_age` says when to come back.

A response counts only if both its token and its sender are those of the request.  Tokens are random,
8 octets, and new for each message, so a late answer is never taken for a later one.  Responses that
nobody waits for are counted in `dropped`, and reset if confirmable.

Source: RFC 7252, 4 and 5; RFC 7959; RFC 9175.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from waypost.coap.message import TOKEN_MAX, Message
from waypost.coap.numbers import ACK_RANDOM_FACTOR, ACK_TIMEOUT, MAX_RETRANSMIT, Type
from waypost.coap.outbox import Outbox
from waypost.coap.request import Response
from waypost.coap.transfer import Call, Failure, Transfer, read_reply
from waypost.engine import Answer, Deadlines, Effect, Endpoint, Path
from waypost.errors import WireError

OPEN_MAX: Final = 1024  # requests open
ANSWER_WAIT: Final = ACK_TIMEOUT * (2 ** (MAX_RETRANSMIT + 1) - 1) * ACK_RANDOM_FACTOR  # RFC 7252, 4.8.2; seconds
TRANSFER_LIFETIME: Final = 300.0  # seconds from request to answer, all blocks and the wait for others included
TAG_SIZE: Final = 4  # octets of a Request-Tag
ECHOES_KEPT: Final = 1024  # servers whose latest Echo value waits for the next request
CONFIRMED_MAX: Final = 1024  # confirmable responses that are acknowledged again when they come again

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Exchange:
    path: Path
    transfer: Transfer
    until: float
    once: bool  # its first message is not repeated, and tells nothing it was told before
    size: int = 0  # octets of the latest message
    token: bytes = b""  # of the latest message; none while it waits for others
    message_id: int = 0


class Client:
    """`body_max` is the octets of the largest answer."""

    def __init__(self, rng: Random, ids: Iterator[int], outbox: Outbox, *, body_max: int) -> None:
        self._rng = rng
        self._ids = ids
        self._outbox = outbox
        self._body_max = body_max
        self._exchanges: dict[int, _Exchange] = {}
        self._queues: dict[Endpoint, deque[int]] = {}  # the first of each is under way
        self._tokens: dict[tuple[Endpoint, bytes], int] = {}
        self._deadlines: Deadlines[int] = Deadlines()
        self._echoes: dict[Endpoint, bytes] = {}  # oldest first
        self._confirmed: dict[tuple[Endpoint, int], None] = {}  # oldest first
        self._answers: list[Effect] = []
        self.dropped = 0

    def request(self, call: Call, path: Path, now: float, *, answer_max: int | None = None, once: bool = False) -> int:
        """The id of the Answer that follows.

        `once`: until an answer shows that the peer is there, each message goes out once.
        """
        id = next(self._ids)
        if len(self._exchanges) >= OPEN_MAX:
            self._answers.append(Answer(id, Failure.BUSY))
            return id
        transfer = Transfer(call, self._rng.randbytes(TAG_SIZE), answer_max or self._body_max)
        self._exchanges[id] = _Exchange(path, transfer, now + TRANSFER_LIFETIME, once)
        self._deadlines.set(id, now + TRANSFER_LIFETIME)
        queue = self._queues.setdefault(path.peer, deque())
        queue.append(id)
        if len(queue) == 1:
            self._transmit(id, now)
        return id

    def size(self, id: int) -> int:
        """Octets that the request has sent; 0 if it waits, or has its answer already."""
        exchange = self._exchanges.get(id)
        return 0 if exchange is None else exchange.size

    def cancel(self, id: int, now: float) -> None:
        """Forget the request; there will be no Answer."""
        if id in self._exchanges:
            self._end(id, now)

    def receive(self, message: Message, path: Path, now: float) -> None:
        """A response, or what is not one though its code says so."""
        peer = path.peer
        id = self._tokens.get((peer, message.token))
        exchange = self._exchanges[id] if id is not None else None
        if id is None or exchange is None or (message.type == Type.ACK and message.id != exchange.message_id):
            self._on_stranger(message, path)
            return
        if exchange.once:  # our random token came back: whoever sent it has received what went to that address
            exchange.once = False
            self._outbox.sources.validate(peer, now)
        try:
            reply = read_reply(message, bert=path.message_max is not None)
        except WireError:
            if message.type == Type.CON:  # RFC 7252, 5.4.1
                self._outbox.send_empty(path, Type.RST, message.id)
            self._finish(id, Failure.UNUSABLE, now)
            return
        if message.type == Type.CON:
            self._outbox.send_empty(path, Type.ACK, message.id)
            _keep(self._confirmed, (peer, message.id), None, CONFIRMED_MAX)
        if reply.echo is not None:
            _keep(self._echoes, peer, reply.echo, ECHOES_KEPT)
        outcome = exchange.transfer.advance(reply)
        if outcome is None:
            self._settle(exchange)
            self._transmit(id, now)
        else:
            self._finish(id, outcome, now)

    def on_reset(self, owner: Hashable, now: float) -> None:
        if isinstance(owner, int):
            self._finish(owner, Failure.RESET, now)

    def on_given_up(self, owner: Hashable, now: float) -> None:
        if isinstance(owner, int):
            self._finish(owner, Failure.TIMEOUT, now)

    def on_closed(self, path: Path, now: float) -> None:
        for id in [id for id, exchange in self._exchanges.items() if exchange.path.link == path.link]:
            self._finish(id, Failure.CLOSED, now)

    def handle_timer(self, now: float) -> None:
        for id in self._deadlines.pop_due(now):
            self._finish(id, Failure.TIMEOUT, now)

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def take_answers(self) -> list[Effect]:
        answers, self._answers = self._answers, []
        return answers

    def check(self) -> None:
        assert sorted(id for queue in self._queues.values() for id in queue) == sorted(self._exchanges)
        assert sorted(self._tokens.values()) == sorted(queue[0] for queue in self._queues.values())
        assert len(self._deadlines) == len(self._exchanges) <= OPEN_MAX
        assert len(self._echoes) <= ECHOES_KEPT
        assert len(self._confirmed) <= CONFIRMED_MAX

    def _transmit(self, id: int, now: float) -> None:
        """Send the next message of the request, under a new token."""
        exchange = self._exchanges[id]
        path = exchange.path
        exchange.token = self._rng.randbytes(TOKEN_MAX)
        exchange.message_id = self._outbox.next_message_id(path)
        self._tokens[path.peer, exchange.token] = id
        echo = None if exchange.once else self._echoes.pop(path.peer, None)
        data = exchange.transfer.message(Type.CON, exchange.message_id, exchange.token, echo).encode()
        exchange.size = len(data)
        self._outbox.send_confirmable(path, exchange.message_id, data, id, now, once=exchange.once)
        self._deadlines.set(id, min(now + ANSWER_WAIT, exchange.until))

    def _on_stranger(self, message: Message, path: Path) -> None:
        """A response that nobody waits for: a repeated one, if we have acknowledged it (RFC 7252, 4.2)."""
        if message.type == Type.CON:
            known = (path.peer, message.id) in self._confirmed
            self._outbox.send_empty(path, Type.ACK if known else Type.RST, message.id)
        self.dropped += 1

    def _finish(self, id: int, outcome: Response | Failure, now: float) -> None:
        self._answers.append(Answer(id, outcome))
        self._end(id, now)

    def _end(self, id: int, now: float) -> None:
        exchange = self._exchanges.pop(id)
        self._settle(exchange)
        self._deadlines.clear(id)
        queue = self._queues[exchange.path.peer]
        queue.remove(id)
        if not queue:
            del self._queues[exchange.path.peer]
        elif exchange.token:
            self._transmit(queue[0], now)

    def _settle(self, exchange: _Exchange) -> None:
        """Its latest message needs no answer any more."""
        if exchange.token:
            del self._tokens[exchange.path.peer, exchange.token]
            self._outbox.retransmissions.end(exchange.path.peer, exchange.message_id)


def _keep(kept: dict[K, V], key: K, value: V, limit: int) -> None:
    """Put at the end; the oldest goes past `limit`."""
    kept.pop(key, None)
    if len(kept) >= limit:
        del kept[next(iter(kept))]
    kept[key] = value
