"""The simulated CoAP device against the CoAP server: what reaches it, over any network."""

import itertools
from random import Random

from waypost.coap.numbers import Code
from waypost.coap.peer import Peer
from waypost.coap.request import Request, Response
from waypost.engine import Effect, Endpoint, Path, Rows
from waypost.record import Change
from waypost.sim import Device, Node, Weather, World, coap

HOST = "2001:db8::a"
BODY = bytes(range(256)) * 12


class Shop:
    """GET large: BODY.  POST count: one more.  POST slow: answered after ten seconds."""

    def __init__(self, rng: Random) -> None:
        self.count = 0
        self._server = Peer(rng, self._serve, itertools.count(1))
        self._slow: list[tuple[float, int]] = []

    def _serve(self, request: Request, path: Path, now: float) -> Response | None:
        match request.path:
            case ("large",):
                return Response(Code.CONTENT, BODY)
            case ("slow",):
                self._slow.append((now + 10.0, request.id))
                return None
            case _:
                self.count += 1
                return Response(Code.CHANGED)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        self._server.receive_datagram(data, path, now)

    def handle_timer(self, now: float) -> None:
        self._server.handle_timer(now)
        while self._slow and self._slow[0][0] <= now:
            self._server.server.respond(self._slow.pop(0)[1], Response(Code.CREATED, location=("reg", "1")), now)

    def next_timer(self) -> float | None:
        times = [when for when, _ in self._slow]
        if (when := self._server.next_timer()) is not None:
            times.append(when)
        return min(times, default=None)

    def take_effects(self) -> list[Effect]:
        return self._server.take_effects()

    def check(self) -> None:
        self._server.check()

    def restore(self, rows: Rows, now: float) -> None: ...
    def answered(self, id: int, result: object, now: float) -> None: ...
    def apply(self, change: Change, now: float) -> None: ...
    def handle_clock(self, now: float, wall_ms: int) -> None: ...


def pair(weather: Weather, seed: int = 1) -> tuple[World, Node[Shop], Device]:
    world = World(seed, weather=weather)
    return world, world.node("shop", Shop, HOST), Device(world, "2001:db8::d", Endpoint(HOST, 5683), name="device")


def test_a_large_answer_comes_whole_to_a_source_that_nobody_knows() -> None:
    world, _, device = pair(Weather())
    answers: list[Response | None] = []
    device.request(Code.GET, "/large", (), b"", answers.append)
    world.run(until=60.0)
    (answer,) = answers
    assert answer is not None
    assert answer.payload == BODY


def test_a_separate_answer_is_waited_for() -> None:
    world, _, device = pair(Weather())
    answers: list[Response | None] = []
    device.request(Code.POST, "/slow", (), bytes(40), answers.append)
    world.run(until=9.0)
    assert answers == []
    world.run(until=20.0)
    (answer,) = answers
    assert answer is not None
    assert answer.code == Code.CREATED


def test_over_a_network_that_loses_and_doubles_a_request_is_done_once_and_mostly_answered() -> None:
    """RFC 7252, 4.5: retransmissions of what is not idempotent are not done again."""
    answered = 0
    for seed in range(50):
        world, shop, device = pair(Weather(loss=0.3, twice=0.3, late=0.3), seed)
        answers: list[Response | None] = []
        device.request(Code.POST, "/count", (), bytes(40), answers.append)
        world.run(until=200.0)
        (answer,) = answers
        assert shop.engine is not None
        assert shop.engine.count == 1 or answer is None
        answered += answer is not None
    assert answered > 40


def test_without_any_answer_the_request_ends_after_its_retransmissions() -> None:
    """RFC 7252, 4.8.2: MAX_TRANSMIT_WAIT is 93 s at most."""
    world, _, device = pair(Weather(loss=1.0))
    answers: list[Response | None] = []
    device.request(Code.GET, "/large", (), b"", answers.append)
    world.run(until=60.0)
    assert answers == []
    world.run(until=94.0)
    assert answers == [None]
    assert world.network.counts["lost"] == 5


def test_a_trace_shows_what_is_no_coap_as_octets() -> None:
    assert coap(b"\xff\x00") == "ff00"
    assert coap(bytes(40)) == f"{'00' * 16}… 40 octets"


def test_a_device_answers_as_well_as_it_asks() -> None:
    """RFC 7252, 2.2."""
    world = World(1)

    def serve(request: Request, path: Path, now: float) -> Response:
        return Response(Code.CONTENT, BODY if request.path == ("large",) else b"")

    lamp = Device(world, "2001:db8::1a", Endpoint("2001:db8::d", 5683), name="lamp", serve=serve)
    tool = Device(world, "2001:db8::d", Endpoint("2001:db8::1a", 5683), name="tool")
    answers: list[Response | None] = []
    tool.request(Code.GET, "/large", (), b"", answers.append)
    lamp.request(Code.GET, "/anything", (), b"", answers.append)
    world.run(until=60.0)
    missing, large = answers
    assert missing is not None
    assert missing.code == Code.NOT_FOUND
    assert large is not None
    assert large.payload == BODY
