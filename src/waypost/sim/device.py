"""A CoAP device at a simulated address: one request at a time, as constrained clients do it.

It retransmits, takes piggybacked and separate answers, shows with Echo that it is at its address,
and fetches what comes in blocks.  A request that finds no answer ends with None.

Source: RFC 7252, 4.2 and 5.2; RFC 7959, 2.4; RFC 9175, 2.3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from waypost.coap.message import Message, Options, block, decode, read_block, uint
from waypost.coap.numbers import ACK_RANDOM_FACTOR, ACK_TIMEOUT, MAX_RETRANSMIT, Code, Option, Type
from waypost.engine import Endpoint
from waypost.errors import WireError
from waypost.sim.world import Client, World

PATIENCE: Final = 60.0  # seconds for a separate answer, once the request is acknowledged
RESTARTS_MAX: Final = 3  # of a request that is to show its address, or whose answer's ETag changes under way

Extra = tuple[tuple[int, bytes], ...]
OnAnswer = Callable[[Message | None], None]


@dataclass(slots=True)
class _Request:
    code: int
    options: Options
    payload: bytes
    on_answer: OnAnswer
    id: int = 0
    token: bytes = b""
    tries: int = 0
    acknowledged: bool = False
    body: bytes = b""
    tag: bytes | None = None
    restarts: int = 0


class Device:
    def __init__(self, world: World, host: str, server: Endpoint, port: int = 5683, *, name: str | None = None) -> None:
        self.server = server
        self._world = world
        self._client = world.client(host, port, self._on_datagram, name=name)
        self._rng = Random(f"{world.seed}/{host}/device")
        self._id = self._rng.getrandbits(16)
        self._request: _Request | None = None

    def request(self, code: Code, path: str, query: tuple[str, ...], payload: bytes, on_answer: OnAnswer) -> None:
        """`path` as in a URI; the payload is link-format.  on_answer() gets the whole answer, or None."""
        assert self._request is None, "one request at a time"
        options: Options = [(int(Option.URI_PATH), part.encode()) for part in path.strip("/").split("/")]
        if payload:
            options.append((int(Option.CONTENT_FORMAT), uint(40)))
        options += [(int(Option.URI_QUERY), part.encode()) for part in query]
        self._request = request = _Request(int(code), options, payload, on_answer)
        self._send_anew(request, ())

    def _send_anew(self, request: _Request, extra: Extra) -> None:
        """A message of its own, with id, token and tries of its own."""
        self._id = (self._id + 1) & 0xFFFF
        request.id, request.token = self._id, self._rng.randbytes(4)
        request.tries, request.acknowledged = 0, False
        options = sorted([*request.options, *extra], key=lambda option: option[0])
        data = Message(int(Type.CON), request.code, request.id, request.token, options, request.payload).encode()
        self._transmit(request, data, ACK_TIMEOUT * self._rng.uniform(1.0, ACK_RANDOM_FACTOR))

    def _transmit(self, request: _Request, data: bytes, timeout: float) -> None:
        self._client.send(data, self.server)
        id = request.id

        def again() -> None:
            if self._request is not request or request.id != id or request.acknowledged:
                return
            if request.tries == MAX_RETRANSMIT:
                self._end(request, None)
            else:
                request.tries += 1
                self._transmit(request, data, 2 * timeout)

        self._world.after(timeout, again)

    def _on_datagram(self, client: Client, data: bytes, source: Endpoint) -> None:
        try:
            message = decode(data)
        except WireError:
            return
        if message.type == Type.CON:  # RFC 7252, 4.2: acknowledged again, also when the answer is known already
            client.send(Message(int(Type.ACK), 0, message.id, b"", []).encode(), source)
        request = self._request
        if request is None:
            return
        if message.code == Code.EMPTY:
            if message.id == request.id and message.type == Type.RST:
                self._end(request, None)
            elif message.id == request.id and not request.acknowledged:
                self._wait(request)
        elif message.token == request.token and (message.type != Type.ACK or message.id == request.id):
            self._on_response(request, message)

    def _wait(self, request: _Request) -> None:
        request.acknowledged = True
        id = request.id

        def give_up() -> None:
            if self._request is request and request.id == id:
                self._end(request, None)

        self._world.after(PATIENCE, give_up)

    def _on_response(self, request: _Request, answer: Message) -> None:
        options = dict(answer.options)
        echo = options.get(Option.ECHO)
        if answer.code == Code.UNAUTHORIZED and echo is not None:
            self._restart(request, answer, ((int(Option.ECHO), echo),))
            return
        part = options.get(Option.BLOCK2)
        if request.body and answer.code == Code.BAD_REQUEST:  # RFC 7959, 2.4: it has become shorter under way
            self._restart(request, answer, ())
            return
        if answer.code != Code.CONTENT or part is None:
            self._end(request, answer)
            return
        number, more, exponent = read_block(part)
        if number * (16 << exponent) != len(request.body) or (number and options.get(Option.ETAG) != request.tag):
            self._restart(request, None, ())
            return
        request.tag = options.get(Option.ETAG)
        request.body += answer.payload
        if more:
            wanted = ((int(Option.BLOCK2), block(len(request.body) // (16 << exponent), False, exponent)),)
            self._send_anew(request, wanted if echo is None else (*wanted, (int(Option.ECHO), echo)))
        else:
            answer.payload = request.body
            self._end(request, answer)

    def _restart(self, request: _Request, otherwise: Message | None, extra: Extra) -> None:
        request.restarts += 1
        request.body, request.tag = b"", None
        if request.restarts > RESTARTS_MAX:
            self._end(request, otherwise)
        else:
            self._send_anew(request, extra)

    def _end(self, request: _Request, answer: Message | None) -> None:
        self._request = None
        request.on_answer(answer)
