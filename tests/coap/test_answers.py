"""Answers given again, datagram by datagram.  Time is a number we choose."""

import itertools
from random import Random

import pytest

from waypost.coap.answers import BEGINNINGS_MAX, KEPT_MAX, OCTETS_MAX, Answers
from waypost.coap.message import Message, Options, decode
from waypost.coap.numbers import LINK_FORMAT, Code, Option, Type
from waypost.coap.peer import Peer
from waypost.coap.request import Fresh, Others, Request, Response
from waypost.engine import Endpoint, Path, Send
from waypost.identity import ANONYMOUS, OPERATOR

HERE = Endpoint("2001:db8::1", 5683)
ANNA = Path("udp", Endpoint("2001:db8::a", 4000), HERE, 1, ANONYMOUS, validated=True)
STRANGER = Path("udp", Endpoint("2001:db8::bad", 4000), HERE, 1, ANONYMOUS, validated=False)
NEIGHBOUR = Path("udp", Endpoint("fe80::a", 4000, scope=2), HERE, 1, ANONYMOUS, validated=True)
OWNER = Path("udp", Endpoint("2001:db8::d", 4000), HERE, 1, OPERATOR, validated=True)
CONNECTED = Path("tcp", Endpoint("2001:db8::c", 4000), HERE, 2, ANONYMOUS, validated=True, message_max=1152)


class Resource:
    """Answers `text` and counts how often it was asked; with `others` it answers other values of ep, but b and c."""

    def __init__(self) -> None:
        self.asked = 0
        self.others: Others | None = None
        self.text = b"<coap://h/t>"
        self.fresh = Fresh()
        self.peer = Peer(Random(1), self.serve, itertools.count(1))

    def serve(self, request: Request, path: Path, now: float) -> Response:
        self.asked += 1
        if self.others is not None:
            return Response(Code.CONTENT, self.text, LINK_FORMAT, others=self.others)
        return Response(Code.CONTENT, self.text, LINK_FORMAT, fresh=self.fresh)

    def ask(
        self,
        id: int,
        path: Path = ANNA,
        type: Type = Type.CON,
        extra: Options | None = None,
        query: bytes = b"ep=node1",
    ) -> list[Message]:
        options = sorted([(Option.URI_PATH, b"find"), (Option.URI_QUERY, query), *(extra or [])])
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


@pytest.mark.parametrize("path", [NEIGHBOUR, CONNECTED, OWNER])
def test_neighbours_connections_and_those_with_a_name_ask_for_themselves(resource: Resource, path: Path) -> None:
    """What is local to a link is shown there alone; a connection has no message ids; others may see other things."""
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


def test_another_value_of_the_only_argument_is_answered_without_reading_the_request(resource: Resource) -> None:
    resource.others = str.encode
    resource.ask(1)
    for id, value in ((2, b"ep=node2"), (3, b"ep=n=de3"), (4, "ep=nöd4".encode())):
        (answer,) = resource.ask(id, type=Type.NON, query=value)
        assert answer == Message(
            Type.NON, Code.CONTENT, id, bytes([id]), [(12, bytes([LINK_FORMAT]))], value.removeprefix(b"ep=")
        )
    assert resource.asked == 1
    assert (resource.peer.counters()["coap_requests"], resource.peer.counters()["coap_answers_repeated"]) == (4, 0)


@pytest.mark.parametrize(
    ("query", "extra"),
    [
        (b"ep=node12", []),  # its length is told before the name
        (b"et=node2", []),
        (b"ep=\xff\xfe\xfd34", []),
        (b"ep=node2", [(Option.URI_QUERY, b"d=x")]),
        (b"ep=node2", [(Option.ACCEPT, b"")]),
        (b"ep=node2", [(Option.URI_HOST, b"h")]),
    ],
)
def test_what_differs_in_more_than_the_value_is_read(resource: Resource, query: bytes, extra: Options) -> None:
    resource.others = str.encode
    resource.ask(1)
    resource.ask(2, query=query, extra=extra)
    assert resource.asked == 2 or b"\xff" in query


@pytest.mark.parametrize("extra", [[(Option.URI_HOST, b"h")], [(Option.ACCEPT, b"")], [(Option.URI_PATH, b"a=b")]])
def test_only_a_path_and_one_argument_are_learnt_from(resource: Resource, extra: Options) -> None:
    resource.others = str.encode
    resource.ask(1, extra=extra)
    resource.ask(2, extra=extra, query=b"ep=node2")
    assert resource.asked == 2


def test_whoever_cannot_answer_a_value_alone_gets_the_whole_request(resource: Resource) -> None:
    resource.others = {"node3": b"", "node4": bytes(2000)}.get
    resource.ask(1)
    resource.ask(2, query=b"ep=node2")
    assert resource.asked == 2
    (answer,) = resource.ask(3, query=b"ep=node3")
    assert (answer.payload, resource.asked) == (b"", 2)
    (answer,) = resource.ask(4, query=b"ep=node4")  # an answer in blocks is another's task
    assert (answer.payload, resource.asked) == (resource.text, 3)


def test_a_stranger_gets_no_more_for_another_value(resource: Resource) -> None:
    """RFC 9175, 2.4, item 3."""
    resource.others = lambda value: bytes(500)
    resource.ask(1)
    resource.text = b"<coap://h/t>;x=" + b"y" * 500
    (answer,) = resource.ask(2, STRANGER, query=b"ep=node2")
    assert len(answer.encode()) <= 3 * 24


def test_only_so_many_beginnings_are_learnt() -> None:
    answers = Answers()
    for number in range(BEGINNINGS_MAX + 10):
        request = Message(Type.CON, Code.GET, 1, b"", [(Option.URI_PATH, b"%d" % number), (Option.URI_QUERY, b"a=b")])
        answers.learn(request.encode(), Response(Code.CONTENT, b"x", LINK_FORMAT, others=str.encode))
        answers.check()
    assert answers.find(request.encode()) is not None


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
