"""The CoAP server, datagram by datagram.  Time is a number we choose."""

import itertools
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.coap.message import Message, block, decode, read_block
from waypost.coap.numbers import (
    ASSEMBLIES_PER_SOURCE_MAX,
    BODY_MAX,
    CONFIRM_EVERY,
    EXCHANGE_LIFETIME,
    OBSERVATIONS_PER_SOURCE_MAX,
    STRANGERS_OBSERVING_MAX,
    Code,
    Option,
    Type,
)
from waypost.coap.observing import TOLD_MAX
from waypost.coap.peer import Peer
from waypost.coap.request import Request, Response
from waypost.engine import Endpoint, Path, Send
from waypost.identity import ANONYMOUS

HERE = Endpoint("2001:db8::1", 5683)


def path_of(host: str, *, validated: bool) -> Path:
    return Path("udp", Endpoint(host, 4000), HERE, 1, ANONYMOUS, validated)


ANNA = path_of("2001:db8::a", validated=True)
BERT = path_of("2001:db8::b", validated=True)
STRANGER = path_of("2001:db8::bad", validated=False)


class Device:
    """A server whose resources are: /text (grows with `size`), /count (POST counts), /slow, /echo."""

    def __init__(self) -> None:
        self.size = 10
        self.count = 0
        self.slow: list[int] = []
        self.now = 0.0
        self.peer = Peer(Random(1), self.serve, itertools.count(1), idempotent=frozenset({("put",)}))
        self.server = self.peer.server

    def serve(self, request: Request, path: Path, now: float) -> Response | None:
        match request.path:
            case ("text",):
                return self.text()
            case ("count",) | ("put",):
                self.count += 1
                return Response(Code.CHANGED, str(self.count).encode())
            case ("slow",):
                self.slow.append(request.id)
                return None
            case ("echo",):
                return Response(Code.CHANGED, request.payload[:20])
            case _:
                return Response(Code.NOT_FOUND, b"there is nothing here; " * 40)

    def text(self) -> Response:
        return Response(Code.CONTENT, bytes(i % 251 for i in range(self.size)), 40, observe="text")

    def change(self) -> None:
        """/text is longer now."""
        self.size += 1
        self.server.changed("text", self.text(), self.now)

    def send(self, message: Message, path: Path = ANNA) -> list[Message]:
        """What comes back at once."""
        self.peer.receive_datagram(message.encode(), path, self.now)
        return self.sent()

    def sent(self) -> list[Message]:
        sends = self.peer.take_effects()
        assert all(isinstance(send, Send) for send in sends)
        return [decode(send.data) for send in sends if isinstance(send, Send)]

    def pass_time(self, until: float) -> list[Message]:
        sent = []
        while (when := self.peer.next_timer()) is not None and when <= until:
            self.now = when
            self.peer.handle_timer(when)
            sent += self.sent()
        self.now = until
        return sent


@pytest.fixture
def device() -> Device:
    return Device()


def ask(
    path: str = "text",
    *,
    code: int = Code.GET,
    type: int = Type.CON,
    id: int = 7,
    token: bytes = b"tk",
    options: Sequence[tuple[int, bytes]] = (),
    payload: bytes = b"",
) -> Message:
    return Message(type, code, id, token, sorted([(Option.URI_PATH, path.encode()), *options]), payload)


def value(message: Message, option: Option) -> bytes | None:
    return dict(message.options).get(option)


# messages


def test_a_confirmable_request_is_answered_in_its_acknowledgement(device: Device) -> None:
    """RFC 7252, 5.2.1."""
    (answer,) = device.send(ask())
    assert (answer.type, answer.code, answer.id, answer.token) == (Type.ACK, Code.CONTENT, 7, b"tk")


def test_a_non_confirmable_request_is_answered_so_too(device: Device) -> None:
    """RFC 7252, 5.2.3."""
    (answer,) = device.send(ask(type=Type.NON))
    assert (answer.type, answer.token) == (Type.NON, b"tk")


def test_a_ping_is_reset(device: Device) -> None:
    """RFC 7252, 4.3."""
    (answer,) = device.send(Message(Type.CON, Code.EMPTY, 9, b"", []))
    assert (answer.type, answer.code, answer.id) == (Type.RST, Code.EMPTY, 9)


@pytest.mark.parametrize(
    ("octets", "rejected"),
    [("40010007ff", True), ("50010007ff", False), ("80010007", False), ("60010007ff", False), ("4001", False)],
)
def test_only_a_broken_confirmable_message_is_rejected(device: Device, octets: str, rejected: bool) -> None:
    """RFC 7252, 3 and 4.2: an unknown version and a broken NON are silently ignored."""
    device.peer.receive_datagram(bytes.fromhex(octets), ANNA, 0.0)
    assert [m.type for m in device.sent()] == [Type.RST] * rejected
    assert device.peer.dropped == 1


def test_a_request_with_a_code_of_the_reserved_class_is_reset(device: Device) -> None:
    (answer,) = device.send(ask(code=0x21))
    assert answer.type == Type.RST


def test_a_repeated_request_is_done_once_and_answered_twice(device: Device) -> None:
    """RFC 7252, 4.5."""
    first = device.send(ask("count", code=Code.POST))
    again = device.send(ask("count", code=Code.POST))
    assert first == again
    assert device.count == 1
    device.send(ask("count", code=Code.POST), BERT)
    assert device.count == 2, "the same id of another source is another request"
    device.now = EXCHANGE_LIFETIME + 1
    device.send(ask("count", code=Code.POST))
    assert device.count == 3


def test_what_is_idempotent_is_simply_done_again(device: Device) -> None:
    device.send(ask("put", code=Code.POST))
    device.send(ask("put", code=Code.POST))
    assert device.count == 2
    assert device.peer.gauges()["coap_replies_kept"] == 0


def test_a_slow_answer_is_acknowledged_apart_and_sent_until_it_is_acknowledged(device: Device) -> None:
    """RFC 7252, 5.2.2 and 4.2."""
    assert device.send(ask("slow", code=Code.POST)) == []
    assert device.send(ask("slow", code=Code.POST)) == [], "a repetition waits with the first"
    (empty,) = device.pass_time(1.5)
    assert (empty.type, empty.code, empty.id) == (Type.ACK, Code.EMPTY, 7)
    (id,) = device.slow
    device.server.respond(id, Response(Code.CHANGED, b"done"), device.now)
    (answer,) = device.sent()
    assert (answer.type, answer.token, answer.payload) == (Type.CON, b"tk", b"done")
    again = device.pass_time(30.0)
    assert again == [answer] * len(again)
    assert len(again) in (2, 3)
    device.send(Message(Type.ACK, Code.EMPTY, answer.id, b"", []))
    assert device.pass_time(200.0) == []


def test_a_slow_answer_to_a_stranger_is_sent_once(device: Device) -> None:
    """A separate answer must not be multiplied by retransmission towards a forged source."""
    device.send(ask("slow"), STRANGER)
    device.pass_time(1.5)
    device.server.respond(device.slow[0], Response(Code.CHANGED), device.now)
    (answer,) = device.sent()
    assert answer.type == Type.NON
    assert device.pass_time(200.0) == []


# options


def test_an_unknown_critical_option_is_refused_to_a_con_and_silently_to_a_non(device: Device) -> None:
    """RFC 7252, 5.4.1."""
    (answer,) = device.send(ask(options=[(9, b"oscore")]))
    assert answer.code == Code.BAD_OPTION
    assert b"option 9" in answer.payload
    assert device.send(ask(type=Type.NON, options=[(9, b"oscore")])) == []


def test_an_unknown_elective_option_is_passed_over(device: Device) -> None:
    (answer,) = device.send(ask(options=[(0xFDE8, b"?")]))
    assert answer.code == Code.CONTENT


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([(Option.ACCEPT, b"123")], Code.BAD_OPTION),
        ([(Option.ACCEPT, b"("), (Option.ACCEPT, b"(")], Code.BAD_OPTION),
        ([(Option.IF_NONE_MATCH, b"")], Code.BAD_OPTION),
        ([(Option.BLOCK2, b"\x07")], Code.BAD_REQUEST),
        ([(Option.URI_QUERY, b"\xff")], Code.BAD_REQUEST),
        ([(Option.PROXY_URI, b"coap://elsewhere")], Code.PROXYING_NOT_SUPPORTED),
        ([(Option.PROXY_SCHEME, b"coap")], Code.PROXYING_NOT_SUPPORTED),
        ([(Option.URI_PATH, b"x")] * 16, Code.BAD_OPTION),
        ([(Option.URI_QUERY, b"x")] * 65, Code.BAD_OPTION),
        ([(Option.URI_HOST, b"any.example"), (Option.URI_PORT, b"\x16\x33")], Code.CONTENT),
    ],
)
def test_options_are_read_by_the_book(device: Device, options: Sequence[tuple[int, bytes]], code: Code) -> None:
    """RFC 7252, 5.4.3, 5.4.5, 5.10; RFC 7959, 2.2."""
    (answer,) = device.send(ask(options=options))
    assert answer.code == code


def test_an_answer_that_is_not_wanted_is_not_sent(device: Device) -> None:
    """RFC 7967, 2.1: a confirmable request is still acknowledged."""
    assert device.send(ask(type=Type.NON, options=[(Option.NO_RESPONSE, b"\x02")])) == []
    (empty,) = device.send(ask(options=[(Option.NO_RESPONSE, b"\x02")]))
    assert (empty.type, empty.code) == (Type.ACK, Code.EMPTY)
    (error,) = device.send(ask("nowhere", options=[(Option.NO_RESPONSE, b"\x02")]))
    assert error.code == Code.NOT_FOUND


# blocks


def fetch(device: Device, path: Path, exponent: int = 6) -> tuple[bytes, int]:
    """The whole of /text, as a client that follows the server's block size gets it; and in how many blocks."""
    body, number, blocks = b"", 0, 0
    tag = None
    while True:
        options = [(Option.BLOCK2, block(number, False, exponent))] if blocks else []
        (answer,) = device.send(ask(id=blocks, options=options), path)
        assert answer.code == Code.CONTENT
        got = value(answer, Option.BLOCK2)
        assert got is not None
        number, more, exponent = read_block(got)
        assert number << exponent + 4 == len(body)
        assert tag in (None, value(answer, Option.ETAG))
        tag = value(answer, Option.ETAG)
        body += answer.payload
        blocks += 1
        if not more:
            return body, blocks
        device.size += 1  # the resource changes meanwhile
        number += 1


def test_all_blocks_are_of_the_state_of_the_first(device: Device) -> None:
    """RFC 7959, 2.4, and the snapshot's ETag."""
    device.size = 5000
    body, blocks = fetch(device, ANNA)
    assert (len(body), blocks) == (5000, 5)


def test_a_stranger_gets_the_same_in_small_blocks(device: Device) -> None:
    device.size = 5000
    body, blocks = fetch(device, STRANGER)
    assert len(body) == 5000
    assert blocks > 5000 / 64


def test_a_smaller_block_is_given_when_asked_for(device: Device) -> None:
    """RFC 7959, 2.3."""
    device.size = 100
    (answer,) = device.send(ask(options=[(Option.BLOCK2, block(1, False, 1))]))
    assert answer.payload == bytes(range(32, 64))
    (answer,) = device.send(ask(options=[(Option.BLOCK2, block(3, False, 1))]))
    assert answer.payload == bytes(range(96, 100))
    (answer,) = device.send(ask(options=[(Option.BLOCK2, block(4, False, 1))]))
    assert answer.code == Code.BAD_REQUEST


def test_a_request_in_blocks_arrives_whole(device: Device) -> None:
    """RFC 7959, 2.5."""
    body = bytes(range(40))
    codes = []
    for number in range(3):
        part = body[16 * number : 16 * number + 16]
        options = [(Option.BLOCK1, block(number, number < 2, 0))]
        (answer,) = device.send(ask("echo", code=Code.PUT, id=number, options=options, payload=part))
        assert value(answer, Option.BLOCK1) == options[0][1]
        codes.append(answer.code)
    assert codes == [Code.CONTINUE, Code.CONTINUE, Code.CHANGED]
    assert answer.payload == body[:20]


@pytest.mark.parametrize("numbers", [(1,), (0, 2), (0, 1, 1)])
def test_a_missing_block_is_told(device: Device, numbers: tuple[int, ...]) -> None:
    """RFC 7959, 2.9.2."""
    for id, number in enumerate(numbers):
        options = [(Option.BLOCK1, block(number, True, 0))]
        (answer,) = device.send(ask("echo", code=Code.PUT, id=id, options=options, payload=bytes(16)))
    assert answer.code == Code.REQUEST_ENTITY_INCOMPLETE


def test_a_body_over_the_limit_is_refused(device: Device) -> None:
    """RFC 7959, 2.9.3."""
    for number in range(BODY_MAX // 1024 + 1):
        options = [(Option.BLOCK1, block(number, True, 6))]
        (answer,) = device.send(ask("echo", code=Code.PUT, id=number, options=options, payload=bytes(1024)))
    assert answer.code == Code.REQUEST_ENTITY_TOO_LARGE
    assert device.peer.gauges()["coap_blockwise_requests"] == 0


def test_one_source_cannot_fill_the_memory_with_beginnings(device: Device) -> None:
    for number in range(ASSEMBLIES_PER_SOURCE_MAX + 1):
        options = [(Option.BLOCK1, block(0, True, 0)), (Option.URI_QUERY, str(number).encode())]
        (answer,) = device.send(ask("echo", code=Code.PUT, id=number, options=options, payload=bytes(16)))
    assert answer.code == Code.SERVICE_UNAVAILABLE
    device.pass_time(200.0)
    assert device.peer.gauges()["coap_blockwise_requests"] == 0


# strangers


def test_a_source_that_returns_its_echo_is_validated(device: Device) -> None:
    """RFC 9175, 2.3."""
    device.size = 900
    query = (Option.URI_QUERY, b"ep=node1234567")
    (small,) = device.send(ask(options=[query]), STRANGER)
    echo = value(small, Option.ECHO)
    assert echo is not None
    (other,) = device.send(ask(options=[(Option.ECHO, echo)]), path_of("2001:db8::c", validated=False))
    assert len(other.payload) < 100, "an Echo value is good for its source alone"
    (large,) = device.send(ask(options=[(Option.ECHO, echo)]), STRANGER)
    assert len(large.payload) == 900
    (large,) = device.send(ask(), STRANGER)
    assert len(large.payload) == 900
    device.now = 301.0
    (small,) = device.send(ask(), STRANGER)
    assert len(small.payload) < 100


def test_an_old_echo_is_worth_nothing(device: Device) -> None:
    device.size = 900
    (small,) = device.send(ask(options=[(Option.URI_QUERY, b"ep=node1234567")]), STRANGER)
    device.now = 130.0
    (answer,) = device.send(ask(options=[(Option.ECHO, value(small, Option.ECHO) or b"")]), STRANGER)
    assert len(answer.payload) < 100


def test_a_request_too_short_for_its_answer_is_told_how_to_show_that_it_is_there(device: Device) -> None:
    (told,) = device.send(ask("echo", code=Code.POST, token=b"12345678"), STRANGER)
    assert (told.code, device.count) == (Code.UNAUTHORIZED, 0)
    echo = value(told, Option.ECHO)
    assert echo is not None
    options = [(Option.ECHO, echo)]
    (done,) = device.send(ask("count", id=8, code=Code.POST, token=b"12345678", options=options), STRANGER)
    assert (done.code, device.count) == (Code.CHANGED, 1)


requests = st.builds(
    ask,
    st.sampled_from(["text", "count", "put", "echo", "nowhere", "", "a" * 200]),
    code=st.sampled_from([Code.GET, Code.POST, Code.PUT, Code.DELETE, Code.FETCH, 31]),
    type=st.sampled_from([Type.CON, Type.NON]),
    id=st.integers(0, 3),
    token=st.binary(max_size=8),
    options=st.lists(
        st.tuples(
            st.sampled_from([*Option, Option.BLOCK1, Option.BLOCK2, Option.OBSERVE, 9, 2000]), st.binary(max_size=4)
        ),
        max_size=4,
        unique_by=lambda option: option[0],
    ),
    payload=st.binary(max_size=32),
)


@given(st.lists(requests, max_size=8), st.integers(0, 3000))
def test_no_request_of_a_stranger_is_answered_with_more_than_three_times_its_size(
    messages: list[Message], size: int
) -> None:
    device = Device()
    device.size = size
    for message in messages:
        if Option.ECHO in dict(message.options):
            continue
        data = message.encode()
        device.peer.receive_datagram(data, STRANGER, 0.0)
        sent = sum(len(send.data) for send in device.peer.take_effects() if isinstance(send, Send))
        assert sent <= 3 * len(data)
        device.peer.check()


@given(st.lists(st.tuples(st.binary(max_size=40) | requests.map(Message.encode), st.sampled_from([ANNA, STRANGER]))))
def test_no_datagram_breaks_the_server(datagrams: list[tuple[bytes, Path]]) -> None:
    device = Device()
    for data, path in datagrams:
        device.peer.receive_datagram(data, path, device.now)
        device.change()
        device.peer.take_effects()
        device.pass_time(device.now + 1.0)
        device.peer.check()


# observing

OBSERVE = [(Option.OBSERVE, b"")]


def test_an_observer_is_told_of_every_change(device: Device) -> None:
    """RFC 7641, 3.2 and 3.4."""
    (first,) = device.send(ask(options=OBSERVE))
    assert value(first, Option.OBSERVE) == b""
    for sequence in range(1, 4):
        device.change()
        (told,) = device.sent()
        assert (told.type, told.token, len(told.payload)) == (Type.NON, b"tk", device.size)
        assert value(told, Option.OBSERVE) == bytes([sequence])
    device.server.changed("something else", device.text(), 0.0)
    assert device.sent() == []


@pytest.mark.parametrize("how", ["deregister", "reset", "plain"])
def test_an_observation_ends_when_its_client_says_so(device: Device, how: str) -> None:
    """RFC 7641, 3.6."""
    device.send(ask(options=OBSERVE))
    device.change()
    (told,) = device.sent()
    match how:
        case "deregister":
            device.send(ask(id=8, options=[(Option.OBSERVE, b"\x01")]))
        case "reset":
            device.send(Message(Type.RST, Code.EMPTY, told.id, b"", []))
        case _:
            device.peer.receive_datagram(ask(id=8, options=[(Option.OBSERVE, b"\x05")]).encode(), ANNA, 0.0)
            device.sent()
    device.change()
    assert device.sent() == []


def test_an_observer_that_has_vanished_is_dropped(device: Device) -> None:
    """RFC 7641, 4.5: every so often a notification is confirmable."""
    device.send(ask(options=OBSERVE))
    told = []
    for _ in range(CONFIRM_EVERY):
        device.change()
        told += device.sent()
    assert [m.type for m in told] == [Type.NON] * (CONFIRM_EVERY - 1) + [Type.CON]
    device.change()
    assert device.sent() == [], "the next waits for the acknowledgement"
    assert len(device.pass_time(100.0)) == 4
    assert device.peer.gauges()["coap_observations"] == 0


def test_what_changed_while_waiting_is_told_after_the_acknowledgement(device: Device) -> None:
    """RFC 7641, 4.5.2: the newest state is what counts."""
    device.send(ask(options=OBSERVE))
    for _ in range(CONFIRM_EVERY + 3):
        device.change()
    confirmable = device.sent()[-1]
    (latest,) = device.send(Message(Type.ACK, Code.EMPTY, confirmable.id, b"", []))
    assert len(latest.payload) == device.size


def test_a_stranger_observes_on_credit(device: Device) -> None:
    """What goes out is at most three times its request until it acknowledges."""
    request = ask(options=[*OBSERVE, (Option.URI_QUERY, b"q" * 40)])
    out = sum(len(m.encode()) for m in device.send(request, STRANGER))
    device.change()
    (told,) = device.sent()
    assert told.type == Type.CON
    device.change()
    out += len(told.encode()) + sum(len(m.encode()) for m in device.pass_time(1.0))
    assert out <= 3 * len(request.encode())
    (more,) = device.send(Message(Type.ACK, Code.EMPTY, told.id, b"", []), STRANGER)
    assert more.type == Type.CON
    assert device.pass_time(100.0) == []
    assert device.peer.gauges()["coap_observations"] == 0


def test_a_stranger_cannot_guess_what_to_acknowledge(device: Device) -> None:
    """Its acknowledgements renew its credit, and it may be forged."""
    request = ask(options=[*OBSERVE, (Option.URI_QUERY, b"q" * 40)])
    ids = []
    for number in range(3):
        stranger = path_of(f"2001:db8::bad:{number}", validated=False)
        device.send(request, stranger)
        device.change()
        ids += [told.id for told in device.sent() if told.type == Type.CON]
    steps = [later - earlier for earlier, later in itertools.pairwise(ids)]
    assert steps != [1] * len(steps)


def test_one_source_has_a_bounded_number_of_observations(device: Device) -> None:
    for number in range(OBSERVATIONS_PER_SOURCE_MAX + 5):
        (answer,) = device.send(ask(token=bytes([number]), options=OBSERVE))
        assert (value(answer, Option.OBSERVE) is not None) == (number < OBSERVATIONS_PER_SOURCE_MAX)
    assert device.peer.gauges()["coap_observations"] == OBSERVATIONS_PER_SOURCE_MAX


def test_strangers_have_few_places_and_take_nobody_elses(device: Device) -> None:
    """RFC 7641, 4.1: who has no place is answered once, and knows it by the missing option."""
    observe = [(Option.OBSERVE, b""), (Option.URI_QUERY, bytes(30))]
    for number in range(STRANGERS_OBSERVING_MAX + 5):
        path = path_of(f"2001:db8:f::{number:x}", validated=False)
        [answer] = device.send(ask(options=observe), path)
        assert (value(answer, Option.OBSERVE) is not None) == (number < STRANGERS_OBSERVING_MAX)
    assert device.peer.gauges()["coap_observations"] == STRANGERS_OBSERVING_MAX
    [answer] = device.send(ask(options=observe), ANNA)
    assert value(answer, Option.OBSERVE) is not None
    device.change()
    first = path_of("2001:db8:f::0", validated=False)
    told = [send for send in device.peer.take_effects() if isinstance(send, Send) and send.path.peer == first.peer]
    device.peer.receive_datagram(
        Message(Type.ACK, Code.EMPTY, decode(told[0].data).id, b"", [], b"").encode(), first, device.now
    )
    device.sent()
    [answer] = device.send(ask(options=observe, token=b"new"), STRANGER)
    assert value(answer, Option.OBSERVE) is not None, "who acknowledged is no stranger any more, and its place is free"


def test_what_is_gone_is_told_last(device: Device) -> None:
    """RFC 7641, 4.2."""
    device.send(ask(options=OBSERVE))
    for _ in range(2):
        device.server.changed("text", Response(Code.NOT_FOUND), 0.0)
    assert [told.code for told in device.sent()] == [Code.NOT_FOUND]
    assert device.peer.gauges()["coap_observations"] == 0


def test_many_observers_are_told_a_part_of_them_at_a_time(device: Device) -> None:
    """However many observe one name, no call takes long, and who waits is told the newest state."""
    hosts = 3 * TOLD_MAX // OBSERVATIONS_PER_SOURCE_MAX + 1
    for number in range(3 * TOLD_MAX):
        host = path_of(f"2001:db8::{number % hosts:x}:1", validated=True)
        device.send(ask(token=number.to_bytes(2), options=OBSERVE), host)
    device.change()
    assert len(device.sent()) == TOLD_MAX
    assert device.peer.next_timer() == device.now
    device.change()
    told = device.pass_time(0.0) + device.sent()
    assert len(told) == 3 * TOLD_MAX, "who was told the first change is told the second, and the others once"
    assert {len(message.payload) for message in told} == {device.size}


def test_the_resource_hears_who_is_observed_and_who_no_longer(device: Device) -> None:
    device.send(ask(token=b"1", options=OBSERVE))
    device.send(ask(token=b"2", options=OBSERVE))
    assert device.server.take_observed() == [("text", True), ("text", True)]
    for token in (b"1", b"2"):
        device.send(ask(token=token, options=[(Option.OBSERVE, b"\x01")]))
    assert device.server.take_observed() == [("text", False)]
