"""The CoAP client, datagram by datagram.  Time is a number we choose."""

import itertools
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.coap.client import ANSWER_WAIT, OPEN_MAX, TRANSFER_LIFETIME
from waypost.coap.message import Message, Options, block, decode, read_block, uint
from waypost.coap.numbers import ACK_RANDOM_FACTOR, ACK_TIMEOUT, MAX_RETRANSMIT, Code, Option, Type
from waypost.coap.peer import Peer, serve_nothing
from waypost.coap.request import Request, Response
from waypost.coap.transfer import ECHOES_MAX, RESTARTS_MAX, Call, Failure
from waypost.engine import Answer, Send
from waypost.sim import udp_path

SERVER = udp_path("2001:db8::5", 5683)
OTHER = udp_path("2001:db8::6", 5683)
GET = Call(Code.GET, ("sensors", "temp"), ("unit=c",), accept=40)


class Station:
    """A client and what came out of it."""

    def __init__(self, body_max: int = 1 << 16) -> None:
        self.peer = Peer(Random(1), serve_nothing, itertools.count(1), answer_max=body_max)
        self.client = self.peer.client
        self.answers: dict[int, object] = {}

    def request(self, call: Call = GET, now: float = 0.0) -> int:
        return self.client.request(call, SERVER, now)

    def sent(self) -> list[Message]:
        """What was sent since the last look."""
        messages: list[Message] = []
        for effect in self.peer.take_effects():
            match effect:
                case Send():
                    messages.append(decode(effect.data))
                case Answer():
                    self.answers[effect.id] = effect.result
                case _:
                    raise AssertionError(effect)
        self.peer.check()
        return messages

    def receive(self, message: Message, now: float = 0.0) -> list[Message]:
        self.peer.receive_datagram(message.encode(), SERVER, now)
        return self.sent()

    def reply(self, code: int, options: Options | None = None, payload: bytes = b"", *, to: Message) -> list[Message]:
        return self.receive(Message(Type.ACK, code, to.id, to.token, options or [], payload))


@pytest.fixture
def station() -> Station:
    return Station()


def values(message: Message, option: Option) -> list[bytes]:
    return [value for number, value in message.options if number == option]


# messages (RFC 7252, 4)


def test_a_request_says_what_is_wanted(station: Station) -> None:
    """RFC 7252, 5.10."""
    station.request()
    (message,) = station.sent()
    assert (message.type, message.code, len(message.token)) == (Type.CON, Code.GET, 8)
    assert message.options == [
        (Option.URI_PATH, b"sensors"),
        (Option.URI_PATH, b"temp"),
        (Option.URI_QUERY, b"unit=c"),
        (Option.ACCEPT, b"\x28"),
    ]


def test_an_answer_comes_on_the_acknowledgement(station: Station) -> None:
    """RFC 7252, 5.2.1."""
    id = station.request()
    (message,) = station.sent()
    options: Options = [(Option.LOCATION_PATH, b"reg"), (Option.LOCATION_PATH, b"4521"), (Option.CONTENT_FORMAT, b"")]
    assert station.reply(Code.CREATED, options, b"made", to=message) == []
    assert station.answers == {id: Response(Code.CREATED, b"made", 0, ("reg", "4521"))}
    assert station.peer.next_timer() is None


def test_an_answer_comes_apart_and_is_acknowledged_each_time(station: Station) -> None:
    """RFC 7252, 5.2.2 and 4.2."""
    id = station.request()
    (message,) = station.sent()
    station.receive(Message(Type.ACK, Code.EMPTY, message.id, b"", []))
    station.peer.handle_timer(ACK_TIMEOUT * ACK_RANDOM_FACTOR)
    assert station.sent() == []  # nothing is sent again
    answer = Message(Type.CON, Code.CONTENT, 7, message.token, [], b"20 C")
    acknowledgement = Message(Type.ACK, Code.EMPTY, 7, b"", [])
    assert station.receive(answer) == [acknowledgement]
    assert station.answers == {id: Response(Code.CONTENT, b"20 C")}
    assert station.receive(answer) == [acknowledgement]


def test_an_answer_that_overtakes_its_acknowledgement_counts(station: Station) -> None:
    """RFC 7252, 5.2.2."""
    id = station.request()
    (message,) = station.sent()
    station.receive(Message(Type.NON, Code.CONTENT, 7, message.token, [], b"20 C"))
    assert station.answers == {id: Response(Code.CONTENT, b"20 C")}
    assert station.peer.next_timer() is None


def test_a_request_is_sent_again_until_it_is_given_up(station: Station) -> None:
    """RFC 7252, 4.2: the wait doubles, four retransmissions at most."""
    id = station.request()
    (first,) = station.sent()
    times = [0.0]
    while (when := station.peer.next_timer()) is not None:
        station.peer.handle_timer(when)
        again = station.sent()
        assert again in ([first], [])
        times.append(when)
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert len(waits) == MAX_RETRANSMIT + 1
    assert ACK_TIMEOUT <= waits[0] <= ACK_TIMEOUT * ACK_RANDOM_FACTOR
    assert waits == pytest.approx([waits[0] * 2**n for n in range(MAX_RETRANSMIT + 1)])
    assert station.answers == {id: Failure.TIMEOUT}


def test_an_acknowledged_request_waits_for_its_answer_only_so_long(station: Station) -> None:
    id = station.request()
    (message,) = station.sent()
    station.receive(Message(Type.ACK, Code.EMPTY, message.id, b"", []))
    assert station.peer.next_timer() == ANSWER_WAIT
    station.peer.handle_timer(ANSWER_WAIT)
    station.sent()
    assert station.answers == {id: Failure.TIMEOUT}


def test_a_reset_ends_the_request(station: Station) -> None:
    """RFC 7252, 4.2."""
    id = station.request()
    (message,) = station.sent()
    station.receive(Message(Type.RST, Code.EMPTY, message.id, b"", []))
    assert station.answers == {id: Failure.RESET}


def test_an_answer_must_have_the_token_and_come_from_the_server(station: Station) -> None:
    """RFC 7252, 5.3.2; the message id too, on an acknowledgement."""
    station.request()
    (message,) = station.sent()
    right = Message(Type.ACK, Code.CONTENT, message.id, message.token, [], b"20 C")
    station.peer.receive_datagram(right.encode(), OTHER, 0.0)
    station.receive(Message(Type.ACK, Code.CONTENT, message.id, b"forged", [], b"99 C"))
    station.receive(Message(Type.ACK, Code.CONTENT, message.id ^ 1, message.token, [], b"99 C"))
    assert station.answers == {}
    assert station.client.dropped == 3
    station.receive(right)
    assert station.answers == {1: Response(Code.CONTENT, b"20 C")}


@pytest.mark.parametrize("code", [Code.EMPTY, Code.CONTENT, 0x65])
def test_a_confirmable_message_that_nobody_waits_for_is_reset(station: Station, code: int) -> None:
    """RFC 7252, 4.2: a ping, a response, a reserved code."""
    assert station.receive(Message(Type.CON, code, 9, b"" if code == 0 else b"x", [])) == [
        Message(Type.RST, Code.EMPTY, 9, b"", [])
    ]


def test_one_that_only_asks_has_nothing_to_give(station: Station) -> None:
    (answer,) = station.receive(Message(Type.CON, Code.GET, 9, b"x", []))
    assert (answer.type, answer.code) == (Type.ACK, Code.NOT_FOUND)


def test_a_malformed_confirmable_message_is_reset(station: Station) -> None:
    """RFC 7252, 4.2."""
    station.peer.receive_datagram(b"\x40\x45\x00\x09\xff", SERVER, 0.0)
    assert station.sent() == [Message(Type.RST, Code.EMPTY, 9, b"", [])]


@pytest.mark.parametrize(("type", "back"), [(Type.ACK, []), (Type.CON, [Type.RST])])
def test_an_unknown_critical_option_makes_an_answer_unusable(station: Station, type: Type, back: list[Type]) -> None:
    """RFC 7252, 5.4.1."""
    id = station.request()
    (message,) = station.sent()
    answers = station.receive(Message(type, Code.CONTENT, message.id, message.token, [(9, b"")]))
    assert [answer.type for answer in answers] == back
    assert station.answers == {id: Failure.UNUSABLE}


def test_an_overloaded_server_says_when_to_come_back(station: Station) -> None:
    """RFC 7252, 5.9.3.4."""
    id = station.request()
    (message,) = station.sent()
    station.reply(Code.SERVICE_UNAVAILABLE, [(Option.MAX_AGE, uint(30))], to=message)
    assert station.answers == {id: Response(Code.SERVICE_UNAVAILABLE, max_age=30)}


def test_requests_to_one_server_wait_for_each_other(station: Station) -> None:
    """RFC 7252, 4.7: NSTART is 1."""
    ids = [station.request(Call(Code.GET, (name,))) for name in ("a", "b", "c")]
    (first,) = station.sent()
    station.client.request(GET, OTHER, 0.0)
    assert len(station.sent()) == 1  # another server is another matter
    station.client.cancel(ids[1], 0.0)
    (third,) = station.reply(Code.CONTENT, to=first)
    assert values(third, Option.URI_PATH) == [b"c"]
    assert list(station.answers) == ids[:1]


def test_a_cancelled_request_is_forgotten_and_the_next_one_goes_out(station: Station) -> None:
    first, second = station.request(), station.request()
    (message,) = station.sent()
    station.client.cancel(first, 1.0)
    station.client.cancel(first, 1.0)  # a second time is harmless
    (following,) = station.sent()
    assert following.token != message.token
    station.reply(Code.CONTENT, to=message)
    assert station.answers == {}
    station.reply(Code.CONTENT, to=following)
    assert list(station.answers) == [second]


def test_no_more_than_so_many_requests_are_open(station: Station) -> None:
    ids = [station.request() for _ in range(OPEN_MAX + 1)]
    station.sent()
    assert station.answers == {ids[-1]: Failure.BUSY}
    station.peer.handle_timer(TRANSFER_LIFETIME)
    station.sent()
    assert all(station.answers[id] == Failure.TIMEOUT for id in ids[:-1])
    assert station.peer.next_timer() is None


# blocks (RFC 7959)


def blocks(body: bytes, exponent: int, etag: bytes = b"tag") -> list[tuple[Options, bytes]]:
    size = 1 << exponent + 4
    count = (len(body) + size - 1) // size
    return [
        ([(Option.ETAG, etag), (Option.BLOCK2, block(n, n < count - 1, exponent))], body[n * size : (n + 1) * size])
        for n in range(count)
    ]


def test_a_large_answer_is_put_together(station: Station) -> None:
    """RFC 7959, 2.4: later blocks have the size of the first; each request has a token of its own."""
    body = bytes(range(200))
    id = station.request()
    (message,) = station.sent()
    tokens = []
    for number, (options, payload) in enumerate(blocks(body, 2)):
        tokens.append(message.token)
        if number:
            assert [read_block(value) for value in values(message, Option.BLOCK2)] == [(number, False, 2)]
        following = station.reply(Code.CONTENT, options, payload, to=message)
        message = following[0] if following else message
    assert station.answers == {id: Response(Code.CONTENT, body)}
    assert len(set(tokens)) == 4


def test_an_answer_that_changes_on_the_way_is_fetched_again(station: Station) -> None:
    """RFC 7959, 2.4: blocks with different ETags are never mixed."""
    id = station.request()
    (message,) = station.sent()
    (second,) = station.reply(Code.CONTENT, *blocks(bytes(100), 2, b"old")[0], to=message)
    (again,) = station.reply(Code.CONTENT, *blocks(bytes(100), 2, b"new")[1], to=second)
    assert values(again, Option.BLOCK2) == []
    (second,) = station.reply(Code.CONTENT, *blocks(b"x" * 100, 2, b"new")[0], to=again)
    station.reply(Code.CONTENT, *blocks(b"x" * 100, 2, b"new")[1], to=second)
    assert station.answers == {id: Response(Code.CONTENT, b"x" * 100)}


def test_an_answer_that_changes_all_the_time_is_given_up(station: Station) -> None:
    id = station.request()
    (message,) = station.sent()
    for count in range(2 * RESTARTS_MAX + 2):
        assert station.answers == {}
        options, payload = blocks(bytes(100), 2, str(count).encode())[count % 2]
        message = (station.reply(Code.CONTENT, options, payload, to=message) or [message])[0]
    assert station.answers == {id: Failure.UNSTABLE}


def test_an_answer_larger_than_wanted_is_given_up() -> None:
    station = Station(body_max=100)
    id = station.request()
    (message,) = station.sent()
    parts = blocks(bytes(128), 2)
    (message,) = station.reply(Code.CONTENT, *parts[0], to=message)
    station.reply(Code.CONTENT, *parts[1], to=message)
    assert station.answers == {id: Failure.TOO_LARGE}


@pytest.mark.parametrize(
    ("number", "more", "size"),
    [(1, True, 64), (0, True, 63), (0, False, 65)],
    ids=["out of order", "too short", "too long"],
)
def test_a_block_that_does_not_fit_makes_the_answer_unusable(
    station: Station, number: int, more: bool, size: int
) -> None:
    id = station.request()
    (message,) = station.sent()
    station.reply(Code.CONTENT, [(Option.BLOCK2, block(number, more, 2))], bytes(size), to=message)
    assert station.answers == {id: Failure.UNUSABLE}


def test_a_large_payload_goes_in_blocks_as_small_as_the_server_says(station: Station) -> None:
    """RFC 7959, 2.5 and its figure 8."""
    body = bytes(i % 251 for i in range(1500))
    id = station.request(Call(Code.PUT, ("large",), payload=body))
    (message,) = station.sent()
    got = b""
    (tag,) = values(message, Option.REQUEST_TAG)
    for _ in range(20):
        number, more, exponent = read_block(values(message, Option.BLOCK1)[0])
        assert values(message, Option.REQUEST_TAG) == [tag]
        assert number << exponent + 4 == len(got)
        got += message.payload
        if not more:
            break
        (message,) = station.reply(Code.CONTINUE, [(Option.BLOCK1, block(number, True, min(exponent, 2)))], to=message)
    assert got == body
    station.reply(Code.CHANGED, [(Option.BLOCK1, values(message, Option.BLOCK1)[0])], to=message)
    assert station.answers == {id: Response(Code.CHANGED)}


def test_a_payload_that_is_too_large_is_tried_in_smaller_blocks(station: Station) -> None:
    """RFC 7959, 2.9.3."""
    id = station.request(Call(Code.PUT, ("large",), payload=bytes(300)))
    (message,) = station.sent()
    assert values(message, Option.BLOCK1) == []
    (smaller,) = station.reply(Code.REQUEST_ENTITY_TOO_LARGE, [(Option.BLOCK1, block(0, False, 3))], to=message)
    assert [read_block(value) for value in values(smaller, Option.BLOCK1)] == [(0, True, 3)]
    assert len(smaller.payload) == 128
    station.reply(Code.REQUEST_ENTITY_TOO_LARGE, to=smaller)
    assert station.answers == {id: Response(Code.REQUEST_ENTITY_TOO_LARGE)}


def test_a_payload_whose_blocks_were_forgotten_is_sent_again(station: Station) -> None:
    """RFC 7959, 2.9.2."""
    station.request(Call(Code.PUT, ("large",), payload=bytes(3000)))
    (message,) = station.sent()
    (second,) = station.reply(Code.CONTINUE, [(Option.BLOCK1, block(0, True, 6))], to=message)
    (again,) = station.reply(Code.REQUEST_ENTITY_INCOMPLETE, to=second)
    assert again.options == message.options
    assert again.payload == message.payload


# Echo (RFC 9175, 2)


def test_a_challenge_is_answered_with_its_echo_value(station: Station) -> None:
    """RFC 9175, 2.3."""
    id = station.request()
    (message,) = station.sent()
    (again,) = station.reply(Code.UNAUTHORIZED, [(Option.ECHO, b"here")], to=message)
    assert again.options == [*message.options, (Option.ECHO, b"here")]
    station.reply(Code.CONTENT, to=again)
    assert station.answers == {id: Response(Code.CONTENT)}


def test_a_server_that_is_never_content_gets_its_refusal_through(station: Station) -> None:
    id = station.request()
    (message,) = station.sent()
    for _ in range(ECHOES_MAX):
        (message,) = station.reply(Code.UNAUTHORIZED, [(Option.ECHO, b"again")], to=message)
    station.reply(Code.UNAUTHORIZED, [(Option.ECHO, b"again")], to=message)
    assert station.answers == {id: Response(Code.UNAUTHORIZED)}


def test_an_echo_value_in_any_response_goes_with_the_next_request(station: Station) -> None:
    """RFC 9175, 2.3."""
    station.request()
    (message,) = station.sent()
    station.reply(Code.CONTENT, [(Option.ECHO, b"early")], to=message)
    station.request()
    station.request()
    (second,) = station.sent()
    assert values(second, Option.ECHO) == [b"early"]
    (third,) = station.reply(Code.CONTENT, to=second)
    assert values(third, Option.ECHO) == []


# the client against our own server, and against anything


def converse(station: Station, server: Peer, now: float = 0.0) -> int:
    """Carry datagrams to and fro until nobody has anything to say; the number of requests."""
    requests = 0
    while messages := station.sent():
        for message in messages:
            requests += 1
            server.receive_datagram(message.encode(), SERVER, now)
        for effect in server.take_effects():
            assert isinstance(effect, Send)
            station.peer.receive_datagram(effect.data, SERVER, now)
    return requests


@given(st.integers(0, 5000), st.integers(0, 5000), st.sampled_from([Code.GET, Code.POST]))
def test_what_our_own_server_is_told_and_tells_arrives_whole(up: int, down: int, method: Code) -> None:
    """The source is not validated: the server starts with small blocks and an Echo value."""
    heard: list[Request] = []

    def serve(request: Request, *_: object) -> Response:
        heard.append(request)
        return Response(Code.CONTENT, bytes(i % 251 for i in range(down)), 40)

    server = Peer(Random(2), serve, itertools.count(1))
    station = Station()
    body = bytes(i % 241 for i in range(up)) if method == Code.POST else b""
    id = station.request(Call(method, ("rd",), ("ep=weather",), body, 40 if body else None))
    converse(station, server)
    assert station.answers == {id: Response(Code.CONTENT, bytes(i % 251 for i in range(down)), 40)}
    assert (heard[0].path, heard[0].query, heard[0].payload) == (("rd",), ("ep=weather",), body)


def test_a_large_lookup_soon_gets_large_blocks() -> None:
    """Returning the Echo value of the first small block validates the source."""
    server = Peer(Random(2), lambda *_: Response(Code.CONTENT, bytes(60_000), 40), itertools.count(1))
    station = Station()
    station.request()
    assert converse(station, server) <= 1 + 60


OPTION = st.tuples(
    st.sampled_from([*Option, 9, 65000]),
    st.one_of(
        st.binary(max_size=4), st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 6)).map(lambda b: block(*b))
    ),
)


@st.composite
def responses(draw: st.DrawFn) -> tuple[int, int, list[tuple[int, bytes]], bytes]:
    options = sorted(draw(st.lists(OPTION, max_size=4)), key=lambda option: option[0])
    code = draw(st.sampled_from([Code.CONTENT, Code.CONTINUE, Code.UNAUTHORIZED, *Code]))
    return draw(st.sampled_from(Type)), code, options, bytes(draw(st.sampled_from([0, 1, 16, 32, 64, 1024])))


@given(st.lists(st.one_of(responses(), st.binary(max_size=40), st.floats(0, 100)), max_size=30), st.integers(0, 3000))
def test_no_sequence_of_datagrams_breaks_the_client(events: Sequence[object], size: int) -> None:
    station = Station()
    now = 0.0
    asked = [station.request(Call(Code.PUT, ("x",), payload=bytes(size))), station.request()]
    latest = Message(Type.CON, Code.GET, 1, b"", [])
    for event in events:
        latest = next((message for message in station.sent() if message.type == Type.CON), latest)
        match event:
            case float():
                now += event
                if (when := station.peer.next_timer()) is not None and when <= now:
                    station.peer.handle_timer(now)
            case bytes():
                station.peer.receive_datagram(event, SERVER, now)
            case (int(type), int(code), list(options), bytes(payload)) if code:
                message = Message(type, code, latest.id, latest.token, options, payload)
                station.peer.receive_datagram(message.encode(), SERVER, now)
    station.sent()
    while (when := station.peer.next_timer()) is not None:
        now = max(now, when)
        station.peer.handle_timer(now)
        station.sent()
    assert sorted(station.answers) == asked
