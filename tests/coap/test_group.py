"""What was sent to a group: RFC 7252, 8.  Time is a number we choose."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from waypost.coap.group import LEISURE, WAITING_MAX
from waypost.coap.message import Message, block, decode, read_block
from waypost.coap.numbers import AMPLIFICATION_MAX, Code, Option, Type
from waypost.coap.peer import Peer
from waypost.coap.request import Request, Response
from waypost.engine import Endpoint, Path, Send
from waypost.identity import ANONYMOUS

HERE = Endpoint("2001:db8::1", 5683)
ANNA = Path("udp", Endpoint("2001:db8::a", 4000), HERE, 1, ANONYMOUS, validated=False)
GROUP = replace(ANNA, group=True)
LINKS = b"</rd>;rt=core.rd," * 20
QUERY = (Option.URI_QUERY, b"rt=core.rd")


def serve(request: Request, path: Path, now: float) -> Response | None:
    if request.path != (".well-known", "core"):
        return Response(Code.CONTENT, b"secret", observe="all")
    if request.accept is not None:
        return Response(Code.NOT_ACCEPTABLE, b"no")
    return Response(Code.CONTENT, LINKS if "rt=core.rd" in request.query else b"", 40, observe="links")


@pytest.fixture
def peer() -> Peer:
    return Peer(Random(1), serve, itertools.count(1))


def discovery(
    *options: tuple[int, bytes],
    code: int = Code.GET,
    type: int = Type.NON,
    path: Sequence[bytes] = (b".well-known", b"core"),
) -> Message:
    segments = [(int(Option.URI_PATH), segment) for segment in path]
    return Message(type, code, 7, b"tk", sorted([*segments, *options], key=lambda option: option[0]))


def answers(peer: Peer, data: bytes, path: Path = GROUP) -> list[Message]:
    """What is ever sent because of `data`."""
    peer.receive_datagram(data, path, 0.0)
    assert path is not GROUP or peer.take_effects() == []
    sent = []
    while (when := peer.next_timer()) is not None and when < 10.0:
        peer.handle_timer(when)
    for effect in peer.take_effects():
        assert isinstance(effect, Send)
        sent.append(decode(effect.data))
    peer.check()
    return sent


def test_discovery_that_finds_something_is_answered_after_its_leisure(peer: Peer) -> None:
    """RFC 7252, 8.2; RFC 9176, 4.1."""
    peer.receive_datagram(discovery(QUERY).encode(), GROUP, 100.0)
    assert peer.take_effects() == []
    when = peer.next_timer()
    assert when is not None
    assert 100.0 < when < 100.0 + LEISURE
    peer.handle_timer(when)
    (effect,) = peer.take_effects()
    assert isinstance(effect, Send)
    assert effect.path is GROUP
    answer = decode(effect.data)
    assert (answer.type, answer.code, answer.token) == (Type.NON, Code.CONTENT, b"tk")


def test_an_answer_to_a_group_is_within_three_times_the_request(peer: Peer) -> None:
    """The other blocks are asked for at our own address (RFC 7959, 2.8)."""
    request = discovery(QUERY)
    (answer,) = answers(peer, request.encode())
    assert len(answer.encode()) <= AMPLIFICATION_MAX * len(request.encode())
    payload = answer.payload
    number, more, size = read_block(dict(answer.options)[Option.BLOCK2])
    while more:
        asked = (Option.BLOCK2, block(number + 1, False, size))
        peer.receive_datagram(discovery(QUERY, asked).encode(), ANNA, 10.0)
        (effect,) = peer.take_effects()
        assert isinstance(effect, Send)
        answer = decode(effect.data)
        payload += answer.payload
        number, more, size = read_block(dict(answer.options)[Option.BLOCK2])
    assert payload == LINKS


SILENT = {
    "nothing found": discovery().encode(),
    "another resource": discovery(path=[b"rd-lookup", b"ep"]).encode(),
    "another method": discovery(code=Code.POST).encode(),
    "a method that there is not": discovery(code=30).encode(),
    "confirmable": discovery(QUERY, type=Type.CON).encode(),
    "an error": discovery(QUERY, (Option.ACCEPT, b"\x32")).encode(),
    "an unknown critical option": discovery(QUERY, (99, b"")).encode(),
    "text that is none": discovery((Option.URI_QUERY, b"\xff")).encode(),
    "a ping": bytes((0x40, 0, 0, 7)),
    "a confirmable one that does not decode": b"\x4f\x01\x00\x07",
    "a response": Message(Type.CON, Code.CONTENT, 7, b"tk", []).encode(),
    "an acknowledgement": bytes((0x60, 0, 0, 7)),
    "a reserved code": Message(Type.CON, 0x21, 7, b"", []).encode(),
}


@pytest.mark.parametrize("data", SILENT.values(), ids=SILENT)
def test_a_group_is_silent_about_all_else(peer: Peer, data: bytes) -> None:
    """RFC 7252, 8.1 and 8.2."""
    assert answers(peer, data) == []


def test_nothing_is_observed_through_a_group(peer: Peer) -> None:
    answers(peer, discovery(QUERY, (Option.OBSERVE, b"")).encode())
    assert peer.gauges()["coap_observations"] == 0


def test_only_so_many_wait_for_their_leisure(peer: Peer) -> None:
    for _ in range(WAITING_MAX + 50):
        peer.receive_datagram(discovery(QUERY).encode(), GROUP, 0.0)
    peer.handle_timer(LEISURE)
    assert len(peer.take_effects()) == WAITING_MAX
    peer.check()
