"""The server and the client where a connection carries their messages: RFC 8323, 7 and what falls away."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from waypost.coap.message import Message, block, decode, read_block
from waypost.coap.numbers import CONFIRM_EVERY, OBSERVATIONS_PER_SOURCE_MAX, Code, Option, Type
from waypost.coap.peer import Peer
from waypost.coap.request import Request, Response
from waypost.coap.transfer import Call, Failure
from waypost.engine import Answer, Endpoint, Path, Send
from waypost.identity import ANONYMOUS

HERE = Endpoint("2001:db8::1", 5683)
ANNA = Path("tcp", Endpoint("2001:db8::a", 4000), HERE, 1, ANONYMOUS, validated=True, message_max=1 << 20)
SMALL = replace(ANNA, link=2, message_max=1152)


class Device:
    """Its resource /text has `size` octets; /count counts POSTs; /length counts octets; /slow does not answer."""

    def __init__(self) -> None:
        self.size = 10
        self.count = 0
        self.slow: list[int] = []
        self.now = 0.0
        self.peer = Peer(Random(1), self.serve, itertools.count(1))

    def serve(self, request: Request, path: Path, now: float) -> Response | None:
        match request.path:
            case ("text",):
                return Response(Code.CONTENT, bytes(i % 251 for i in range(self.size)), 40, observe="text")
            case ("count",):
                self.count += 1
                return Response(Code.CHANGED, str(self.count).encode())
            case ("length",):
                return Response(Code.CHANGED, str(len(request.payload)).encode())
            case ("slow",):
                self.slow.append(request.id)
                return None
            case _:
                return Response(Code.NOT_FOUND, b"there is nothing here; " * 400)

    def change(self) -> list[Message]:
        """What observers are told when /text has changed."""
        news = self.serve(Request(0, Code.GET, ("text",), ()), ANNA, self.now)
        assert news is not None
        self.peer.server.changed("text", news, self.now)
        return self.sent()

    def send(self, message: Message, path: Path = ANNA) -> list[Message]:
        self.peer.receive_datagram(message.encode(), path, self.now)
        return self.sent()

    def sent(self) -> list[Message]:
        return [decode(effect.data) for effect in self.peer.take_effects() if isinstance(effect, Send)]


@pytest.fixture
def device() -> Device:
    return Device()


def ask(
    path: str = "text",
    *,
    code: int = Code.GET,
    token: bytes = b"tk",
    options: Sequence[tuple[int, bytes]] = (),
    payload: bytes = b"",
) -> Message:
    """As a stream hands it on: non-confirmable, without an id."""
    return Message(Type.NON, code, 0, token, sorted([(Option.URI_PATH, path.encode()), *options]), payload)


OBSERVE = ((Option.OBSERVE, b""),)


def value(message: Message, option: Option) -> bytes | None:
    return dict(message.options).get(option)


def test_each_request_is_done_however_alike_they_are(device: Device) -> None:
    """RFC 8323, 3.1: nothing is sent twice, so nothing is taken for a repetition."""
    assert [device.send(ask("count", code=Code.POST))[0].payload for _ in range(3)] == [b"1", b"2", b"3"]


def test_an_unknown_critical_option_is_answered(device: Device) -> None:
    """RFC 7252, 5.4.1: a connection has no silence."""
    (answer,) = device.send(ask(options=((99, b""),)))
    assert answer.code == Code.BAD_OPTION


def test_a_request_has_its_answer_even_if_none_is_wanted(device: Device) -> None:
    """RFC 7967, 2: the option is elective."""
    (answer,) = device.send(ask("count", code=Code.POST, options=((Option.NO_RESPONSE, b"\x1a"),)))
    assert answer.code == Code.CHANGED


@pytest.mark.parametrize("size", [1024, 1025, 100_000, (1 << 20) - 30])
def test_an_answer_is_whole_if_the_peer_takes_it(device: Device, size: int) -> None:
    """RFC 8323, 6: blocks are for those that do not."""
    device.size = size
    (answer,) = device.send(ask())
    assert len(answer.payload) == size
    assert value(answer, Option.BLOCK2) is None


def test_an_answer_is_cut_to_what_the_peer_takes(device: Device) -> None:
    device.size = 3000
    payload = b""
    for number in itertools.count():
        (answer,) = device.send(ask(options=((Option.BLOCK2, block(number, False, 6)),) if number else ()), SMALL)
        assert len(answer.encode()) <= 1152
        assert value(answer, Option.ECHO) is None
        payload += answer.payload
        if len(answer.payload) < 1024:
            break
    assert payload == bytes(i % 251 for i in range(3000))


def test_blocks_come_where_they_are_asked_for(device: Device) -> None:
    device.size = 3000
    (answer,) = device.send(ask(options=((Option.BLOCK2, block(0, False, 2)),)))
    assert len(answer.payload) == 64


@pytest.mark.parametrize("path", [ANNA, SMALL, replace(ANNA, message_max=10_000)])
def test_several_blocks_come_in_one_message_to_who_asks_so(device: Device, path: Path) -> None:
    """RFC 8323, 6 (BERT): as many blocks of 1024 octets as the peer takes."""
    device.size = 50_000
    payload, more, size, messages = b"", True, 7, 0
    while more:
        (answer,) = device.send(ask(options=((Option.BLOCK2, block(len(payload) // 1024, False, size)),)), path)
        number, more, size = read_block(value(answer, Option.BLOCK2) or b"", bert=True)
        assert path.message_max is not None
        assert len(answer.encode()) <= path.message_max
        assert number == len(payload) // 1024
        payload += answer.payload
        messages += 1
    assert payload == bytes(i % 251 for i in range(50_000))
    assert messages == {1 << 20: 1, 1152: 49, 10_000: 6}[path.message_max or 0]


def test_a_request_comes_in_several_blocks_at_once(device: Device) -> None:
    """RFC 8323, 6 (BERT)."""
    body = bytes(i % 251 for i in range(10_000))
    answers = []
    for start, end in ((0, 4096), (4096, 5120), (5120, 10_000)):
        option = (Option.BLOCK1, block(start // 1024, end < len(body), 7))
        answers += device.send(ask("length", code=Code.POST, options=(option,), payload=body[start:end]))
    assert [answer.code for answer in answers] == [Code.CONTINUE, Code.CONTINUE, Code.CHANGED]
    assert answers[-1].payload == b"10000"


def test_several_blocks_are_no_whole_number_of_octets_too_few(device: Device) -> None:
    for payload in (bytes(1000), bytes(2000), b""):
        option = (Option.BLOCK1, block(0, True, 7))
        (answer,) = device.send(ask("length", code=Code.POST, options=(option,), payload=payload))
        assert answer.code == Code.BAD_REQUEST


def test_datagrams_have_no_such_blocks(device: Device) -> None:
    """RFC 7959, 2.2: exponent 7 is reserved there."""
    datagram = replace(ANNA, transport="udp", message_max=None)
    (answer,) = device.send(ask(options=((Option.BLOCK2, b"\x07"),)), datagram)
    assert answer.code == Code.BAD_REQUEST


def test_long_words_are_cut_to_what_the_peer_takes(device: Device) -> None:
    (answer,) = device.send(ask("nothing"), SMALL)
    assert answer.code == Code.NOT_FOUND
    assert 900 < len(answer.encode()) <= 1152


def test_a_late_answer_needs_no_acknowledgement(device: Device) -> None:
    assert device.send(ask("slow")) == []
    assert device.peer.next_timer() is None
    device.peer.server.respond(device.slow[0], Response(Code.CONTENT, b"at last"), 90.0)
    (answer,) = device.sent()
    assert (answer.payload, answer.token) == (b"at last", b"tk")
    assert device.peer.next_timer() is None


# observation


def test_notifications_are_never_confirmable(device: Device) -> None:
    """RFC 8323, 7.1."""
    assert value(device.send(ask(options=OBSERVE))[0], Option.OBSERVE) is not None
    for _ in range(CONFIRM_EVERY + 1):
        device.now += 24 * 3600
        (notification,) = device.change()
        assert (notification.type, notification.token) == (Type.NON, b"tk")
        assert value(notification, Option.OBSERVE) is not None
    assert device.peer.next_timer() is None


def test_a_large_notification_is_whole_too(device: Device) -> None:
    device.send(ask(options=OBSERVE))
    device.size = 50_000
    assert [len(notification.payload) for notification in device.change()] == [50_000]


def test_an_observation_ends_with_its_connection(device: Device) -> None:
    """RFC 8323, 7.4; those of other connections of the same source stay."""
    for path in (ANNA, SMALL):
        device.send(ask(token=bytes((path.link,)), options=OBSERVE), path)
    device.peer.closed(ANNA, 0.0)
    assert [notification.token for notification in device.change()] == [bytes((SMALL.link,))]
    device.peer.check()


def test_one_connection_observes_only_so_much(device: Device) -> None:
    """RFC 7641, 4.1: past the limit the request is answered and not observed."""
    observed = [
        value(device.send(ask(token=token.to_bytes(2, "big"), options=OBSERVE))[0], Option.OBSERVE) is not None
        for token in range(10_000)
    ]
    assert observed == [True] * OBSERVATIONS_PER_SOURCE_MAX + [False] * (10_000 - OBSERVATIONS_PER_SOURCE_MAX)
    device.peer.check()


# the client's side


def test_a_request_is_sent_once_and_answered(device: Device) -> None:
    device.peer.client.request(Call(Code.GET, ("far",)), ANNA, 0.0)
    (request,) = device.sent()
    assert device.peer.gauges()["coap_retransmissions"] == 0
    device.peer.receive_datagram(Message(Type.NON, Code.CONTENT, 0, request.token, [], b"near").encode(), ANNA, 1.0)
    assert [effect.result for effect in device.peer.take_effects() if isinstance(effect, Answer)] == [
        Response(Code.CONTENT, b"near")
    ]


def test_an_answer_comes_in_several_blocks_at_once(device: Device) -> None:
    """RFC 8323, 6 (BERT)."""
    body = bytes(i % 251 for i in range(10_000))
    device.peer.client.request(Call(Code.GET, ("far",)), ANNA, 0.0)
    for start, end in ((0, 4096), (4096, 10_000)):
        (request,) = device.sent()
        assert int.from_bytes(value(request, Option.BLOCK2) or b"", "big") >> 4 == start // 1024
        options = [(int(Option.BLOCK2), block(start // 1024, end < len(body), 7))]
        answer = Message(Type.NON, Code.CONTENT, 0, request.token, options, body[start:end])
        device.peer.receive_datagram(answer.encode(), ANNA, 1.0)
    (outcome,) = [effect.result for effect in device.peer.take_effects() if isinstance(effect, Answer)]
    assert isinstance(outcome, Response)
    assert outcome.payload == body


def test_a_request_fails_with_its_connection(device: Device) -> None:
    for _ in range(3):
        device.peer.client.request(Call(Code.GET, ("far",)), ANNA, 0.0)
    device.peer.take_effects()
    device.peer.closed(ANNA, 1.0)
    answers = [effect for effect in device.peer.take_effects() if isinstance(effect, Answer)]
    assert [answer.result for answer in answers] == [Failure.CLOSED] * 3
    device.peer.check()
