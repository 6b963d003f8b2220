"""Answers given again, datagram by datagram.  Time is a number we choose."""

import itertools
from random import Random

import pytest

from waypost.coap.answers import KEPT_MAX, OCTETS_MAX, Answers
from waypost.coap.message import Message, Options, decode
from waypost.coap.numbers import LINK_FORMAT, Code, Option, Type
from waypost.coap.peer import Peer
from waypost.coap.request import Fresh, Request, Response
from waypost.engine import Endpoint, Path, Send
from waypost.identity import ANONYMOUS

HERE = Endpoint("2001:db8::1", 5683)
ANNA = Path("udp", Endpoint("2001:db8::a", 4000), HERE, 1, ANONYMOUS, validated=True)
STRANGER = Path("udp", Endpoint("2001:db8::bad", 4000), HERE, 1, ANONYMOUS, validated=False)
NEIGHBOUR = Path("udp", Endpoint("fe80::a", 4000, scope=2), HERE, 1, ANONYMOUS, validated=True)
CONNECTED = Path("tcp", Endpoint("2001:db8::c", 4000), HERE, 2, ANONYMOUS, validated=True, message_max=1152)


class Resource:
    """Answers `text` and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.text = b"<coap://h/t>"
        self.fresh = Fresh()
        self.peer = Peer(Random(1), self.serve, itertools.count(1))

    def serve(self, request: Request, path: Path, now: float) -> Response:
        self.asked += 1
        return Response(Code.CONTENT, self.text, LINK_FORMAT, fresh=self.fresh)

    def ask(self, id: int, path: Path = ANNA, type: Type = Type.CON, extra: Options | None = None) -> list[Message]:
        options = sorted([(Option.URI_PATH, b"find"), (Option.URI_QUERY, b"ep=node1"), *(extra or [])])
        data = Message(type, Code.GET, id, bytes([id]), options).encode()
        self.peer.receive_datagram(data, path, 1.0)
        return [decode(effect.data) for effect in self.peer.take_effects() if isinstance(effect, Send)]


@pytest.fixture
def resource() -> Resource:
    return Resource()


def test_an_equal_request_is_answered_without_asking_again(resource: Resource) -> None:
    first, again, third = resource.ask(1), resource.ask(2), resource.ask(3, type=Type.NON)
    assert resource.asked == 1
    for id, type, (answer,) in ((1, Type.ACK, first), (2, Type.ACK, again), (3, Type.NON, third)):
        assert answer == Message(type, Code.CONTENT, id, bytes([id]), [(12, bytes([LINK_FORMAT]))], resource.text)
    assert resource.peer.counters()["coap_requests"] == 3


def test_an_answer_that_may_have_changed_is_not_given_again(resource: Resource) -> None:
    resource.ask(1)
    resource.fresh.ended = True
    resource.text, resource.fresh = b"<coap://h/u>", Fresh()
    (answer,) = resource.ask(2)
    assert answer.payload == b"<coap://h/u>"
    (answer,) = resource.ask(3)
    assert (answer.payload, resource.asked) == (b"<coap://h/u>", 2)


@pytest.mark.parametrize("path", [NEIGHBOUR, CONNECTED])
def test_neighbours_and_connections_ask_for_themselves(resource: Resource, path: Path) -> None:
    """What is local to a link is shown there alone; a connection has no message ids."""
    resource.ask(1)
    resource.ask(2, path)
    assert resource.asked == 2


@pytest.mark.parametrize(
    "option",
    [(Option.OBSERVE, b""), (Option.BLOCK2, b"\x02"), (Option.NO_RESPONSE, b"\x02"), (Option.ACCEPT, b"\x28")],
)
def test_what_asks_for_more_than_the_answer_is_another_request(resource: Resource, option: tuple[int, bytes]) -> None:
    resource.ask(1)
    resource.ask(2, extra=[option])
    assert resource.asked == 2


def test_a_stranger_gets_no_more_than_three_times_what_it_sent(resource: Resource) -> None:
    """RFC 9175, 2.4, item 3: though the answer is at hand."""
    resource.text = b"<coap://h/t>;x=" + b"y" * 500
    resource.ask(1)
    (answer,) = resource.ask(2, STRANGER)
    assert len(answer.encode()) <= 3 * 24
    (answer,) = resource.ask(3)
    assert answer.payload == resource.text


@pytest.mark.parametrize("data", [b"", b"\x40", b"\x41\x01\x00\x01", b"\x4f\x01\x00\x01", b"\x60\x01\x00\x01"])
def test_what_is_no_request_finds_nothing(data: bytes) -> None:
    answers = Answers()
    answers.keep(b"\x40\x01\x00\x00\xb1a", b"x", Fresh())
    assert answers.find(data) is None


def test_only_so_many_answers_are_kept() -> None:
    answers, fresh = Answers(), Fresh()
    for number in range(KEPT_MAX + 10):
        answers.keep(b"\x40\x01\x00\x00" + b"%d" % number, b"x", fresh)
    assert len(answers) <= KEPT_MAX
    for number in range(OCTETS_MAX // 1000 + 10):
        answers.keep(b"\x40\x01\x00\x00" + b"%d" % number, bytes(1000), fresh)
    answers.check()
    assert len(answers) <= OCTETS_MAX // 1000
