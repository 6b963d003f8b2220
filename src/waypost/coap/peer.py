"""A CoAP endpoint: server and client on one socket, one message layer under both.

What arrives is decoded here and goes to the side it is for: requests to the server, responses to
the client, acknowledgements and resets to whoever owns the message they name.

Datagrams that do not decode are counted in `dropped`: nothing a peer sends can raise.

Source: RFC 7252, 2 and 4.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from waypost.coap.client import Client
from waypost.coap.group import Leisure
from waypost.coap.message import Message, decode
from waypost.coap.numbers import Code, Type
from waypost.coap.outbox import Outbox
from waypost.coap.request import Request, Response
from waypost.coap.server import Serve, Server, Shares
from waypost.coap.transfer import Call
from waypost.engine import Effect, Path
from waypost.errors import WireError

ANSWER_MAX: Final = 1 << 20  # octets of the largest answer that the client takes

_CON, _NON, _ACK, _RST = (int(t) for t in Type)
_RESPONSE_CLASSES: Final = (2, 4, 5)


Admit = Callable[[Path, float], int]  # 0, or after how many seconds to come back


def admit_all(path: Path, now: float) -> int:
    return 0


def anonymous(path: Path) -> bool:
    """Those who have shown no name are all answered alike."""
    return path.who.kind == "anonymous"


class Peer:
    """`admit` is asked about every message before anything is kept of it; `limited` counts those it refused.

    `shares` is asked before anybody is answered what another was.
    """

    def __init__(
        self,
        rng: Random,
        serve: Serve,
        ids: Iterator[int],
        *,
        idempotent: frozenset[tuple[str, ...]] = frozenset(),
        answer_max: int = ANSWER_MAX,
        admit: Admit = admit_all,
        shares: Shares = anonymous,
    ) -> None:
        self._admit = admit
        self._outbox = Outbox(rng)
        self.server = Server(self._outbox, serve, ids, idempotent=idempotent, shares=shares)
        self.client = Client(rng, ids, self._outbox, body_max=answer_max)
        self._leisure = Leisure(rng)
        self.received = 0
        self.dropped = 0
        self.limited = 0

    def receive_datagram(self, data: bytes, path: Path, now: float) -> bool:
        """False if it was answered from memory, or refused: then nothing else has happened."""
        self.received += 1
        retry_s = self._admit(path, now)
        if retry_s:
            self._refuse(data, path, retry_s, now)
            return False
        if self.server.repeat(data, path, now):
            return False
        self._read(data, path, now)
        return True

    def closed(self, path: Path, now: float) -> None:
        """The connection is no more."""
        self.client.on_closed(path, now)
        self.server.on_closed(path)

    def fetch(self, call: Call, path: Path, request_id: int, answer_max: int, now: float) -> int:
        """Put `call` to whoever sent the request `request_id`, which waits for its answer; the id of the Answer.

        Until it has shown to be at its address it is sent one message, once, charged to what its request may have
        back (design, "UDP answers at most three times").  An answer of more than `answer_max` octets is a Failure.
        """
        once = not self._outbox.validated(path, now)
        id = self.client.request(call, path, now, answer_max=answer_max, once=once)
        if once:
            self.server.charge(request_id, self.client.size(id))
        return id

    def handle_timer(self, now: float) -> None:
        for owner in self._outbox.retransmit(now):
            self.client.on_given_up(owner, now)
            self.server.on_given_up(owner)
        for message, size, path in self._leisure.due(now):
            self.server.receive_from_group(message, size, path, now)
        self.client.handle_timer(now)
        self.server.handle_timer(now)

    def next_timer(self) -> float | None:
        times = (
            self._outbox.retransmissions.next(),
            self.client.next_timer(),
            self.server.next_timer(),
            self._leisure.next_timer(),
        )
        return min((when for when in times if when is not None), default=None)

    def take_effects(self) -> list[Effect]:
        answers = self.client.take_answers()
        return self._outbox.take_effects() + answers if answers else self._outbox.take_effects()

    def counters(self) -> dict[str, int]:
        own = {"coap_received": self.received, "coap_dropped": self.dropped + self.client.dropped}
        own["coap_limited"] = self.limited
        return {**own, **self.server.counters()}

    def gauges(self) -> dict[str, int]:
        return {
            "coap_retransmissions": len(self._outbox.retransmissions),
            "coap_validated_sources": len(self._outbox.sources),
            **self.server.gauges(),
        }

    def check(self) -> None:
        self._leisure.check()
        self.client.check()
        self.server.check()

    def _read(self, data: bytes, path: Path, now: float) -> None:
        try:
            message = decode(data)
        except WireError:
            self.dropped += 1
            if len(data) >= 4 and data[0] >> 4 == 0b0100 and not path.group:  # RFC 7252, 4.2: reject a confirmable one
                self._outbox.send_empty(path, _RST, data[2] << 8 | data[3])
            return
        kind, code = message.type, message.code
        if path.group:
            if kind == _NON and 0 < code < 32:  # RFC 7252, 8.1; 8.2: whatever is wrong, a group is silent
                self._leisure.put((message, len(data), path), now)
        elif kind <= _NON and 0 < code < 32:
            self.server.receive(message, data, path, now)
        elif code >> 5 in _RESPONSE_CLASSES and kind != _RST:
            self.client.receive(message, path, now)
        elif code == Code.EMPTY and kind >= _ACK:
            self._settle(message, path, now)
        elif kind == _CON:  # a ping, or a reserved code: RFC 7252, 4.2 and 4.3
            self._outbox.send_empty(path, _RST, message.id)
        else:
            self.dropped += 1

    def _refuse(self, data: bytes, path: Path, retry_s: int, now: float) -> None:
        """In silence what came as a datagram: its sender may be another.  On a connection a request gets its answer."""
        self.limited += 1
        if path.message_max is None:
            return
        try:
            message = decode(data)
        except WireError:
            return
        if 0 < message.code < 32:
            self.server.refuse(message, len(data), path, retry_s, now)

    def _settle(self, message: Message, path: Path, now: float) -> None:
        owner = self._outbox.retransmissions.end(path.peer, message.id)
        if message.type == _ACK:
            self.server.on_acknowledged(owner, now)  # the client's answer comes apart (RFC 7252, 5.2.2)
        else:
            self.client.on_reset(owner, now)
            self.server.on_reset(owner, path, message.id)


def serve_nothing(request: Request, path: Path, now: float) -> Response:
    """For an endpoint that only asks."""
    return Response(Code.NOT_FOUND)
