"""OSCORE around the CoAP server: a protected exchange and a plain one of the same address never meet."""

import itertools
from random import Random

import pytest
from oscore_device import HOME, LAMP, Device, Node, Script

from waypost.coap.message import Message, Options, block, decode
from waypost.coap.numbers import LINK_FORMAT, Code, Option, Type
from waypost.coap.peer import Peer
from waypost.coap.request import Fresh, Request, Response
from waypost.engine import Effect, Path


class Served(Script):
    """A resource that tells each caller who it is, and counts; GET is observed under one name."""

    def __init__(self) -> None:
        super().__init__()
        self.peer = Peer(Random(1), self.serve, itertools.count(1))
        self.bodies: list[tuple[str, bytes]] = []
        self.long = 0  # octets that are added to an answer
        self.fresh = Fresh()

    def serve(self, request: Request, path: Path, now: float) -> Response:
        name = path.who.name or "nobody"
        self.bodies.append((name, request.payload))
        if request.method == Code.POST:
            return Response(Code.CHANGED, f"secret of {name}".encode())
        text = f"<secret-of-{name}>".encode() + bytes(self.long)
        return Response(Code.CONTENT, text, LINK_FORMAT, observe="news", fresh=self.fresh)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        self.peer.receive_datagram(data, path, now)

    def handle_timer(self, now: float) -> None:
        self.peer.handle_timer(now)

    def next_timer(self) -> float | None:
        return self.peer.next_timer()

    def take_effects(self) -> list[Effect]:
        return self.peer.take_effects()

    def check(self) -> None:
        self.peer.check()


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
def node(served: Served) -> Node:
    return Node(served, LAMP)


@pytest.fixture
def device() -> Device:
    return Device()


def request(code: Code, id: int, more: Options | None = None, payload: bytes = b"", token: bytes = b"token") -> Message:
    """Long enough for its answer to be within three times its size."""
    options = sorted([(Option.URI_PATH, b"a path of some length"), *(more or [])])
    return Message(Type.CON, code, id, token, options, payload)


def plain(node: Node, message: Message) -> Message:
    (answer,) = node.receive(message.encode())
    return decode(answer)


def protected(node: Node, device: Device, message: Message) -> Message:
    (answer,) = node.receive(device.protect(message))
    return device.unprotect(answer)


def test_a_message_id_is_looked_up_among_its_own(node: Node, device: Device) -> None:
    """RFC 7252, 4.5: else whoever forges the address gets what was said in confidence, or says what was not asked."""
    assert protected(node, device, request(Code.POST, 7)).payload == b"secret of lamp-4"
    assert plain(node, request(Code.POST, 7)).payload == b"secret of nobody"
    assert plain(node, request(Code.POST, 8)).payload == b"secret of nobody"
    assert protected(node, device, request(Code.POST, 8)).payload == b"secret of lamp-4"


def test_an_answer_is_not_given_again_to_another(node: Node, device: Device) -> None:
    for id in (1, 3):
        assert protected(node, device, request(Code.GET, id)).payload == b"<secret-of-lamp-4>"
        assert plain(node, request(Code.GET, id + 1)).payload == b"<secret-of-nobody>"


def test_blocks_of_one_are_not_put_together_with_those_of_the_other(node: Node, device: Device, served: Served) -> None:
    """RFC 7959, 2.5."""

    def part(number: int, *, more: bool) -> Message:
        return request(Code.POST, 20 + number, [(Option.BLOCK1, block(number, more, 0))], b"%d" % number * 16)

    assert protected(node, device, part(0, more=True)).code == Code.CONTINUE
    assert plain(node, part(1, more=False)).code == Code.REQUEST_ENTITY_INCOMPLETE
    assert protected(node, device, part(1, more=False)).code == Code.CHANGED
    assert served.bodies == [("lamp-4", b"0" * 16 + b"1" * 16)]


def test_blocks_of_an_answer_are_its_askers(node: Node, device: Device, served: Served) -> None:
    """RFC 7959, 2.4."""
    served.long = 3000
    first: Options = [(Option.BLOCK2, block(0, False, 2))]
    second: Options = [(Option.BLOCK2, block(1, False, 2))]
    whole = b"<secret-of-lamp-4>" + bytes(3000)
    assert protected(node, device, request(Code.GET, 1, first)).payload == whole[:64]
    assert plain(node, request(Code.GET, 2, first)).payload.startswith(b"<secret-of-nobody>")
    served.long = 5000
    assert protected(node, device, request(Code.GET, 3, second)).payload == whole[64:128]
    assert served.bodies == [("lamp-4", b""), ("nobody", b"")]


def test_a_token_names_an_observation_of_its_own(node: Node, device: Device, served: Served) -> None:
    """RFC 8613, 4.1.3.5: nobody else ends it, or takes its place."""
    assert protected(node, device, request(Code.GET, 1, [(Option.OBSERVE, b"")])).code == Code.CONTENT
    plain(node, request(Code.GET, 2, [(Option.OBSERVE, b"\x01")]))
    assert len(plain(node, request(Code.GET, 3, [(Option.OBSERVE, b"")])).options) == 2
    plain(node, request(Code.GET, 4, [(Option.OBSERVE, b"\x01")]))
    served.peer.server.changed("news", Response(Code.CONTENT, b"<news>", LINK_FORMAT), 2.0)
    (news,) = node.flush(2.0)
    assert device.unprotect(news).payload == b"<news>"
    node.receive(bytes((0x60, 0)) + news[2:4])  # its acknowledgement, which nothing protects
    served.peer.server.changed("news", Response(Code.CONTENT, b"<later>", LINK_FORMAT), 3.0)
    (later,) = node.flush(3.0)
    assert device.unprotect(later).payload == b"<later>"
    node.receive(bytes((0x70, 0)) + later[2:4], HOME, 3.0)  # RFC 7641, 3.6
    served.peer.server.changed("news", Response(Code.CONTENT, b"<last>", LINK_FORMAT), 4.0)
    assert node.flush(4.0) == []


def test_a_notification_that_is_not_acknowledged_is_protected_anew(node: Node, device: Device, served: Served) -> None:
    proof = protected(node, device, request(Code.POST, 1, [(Option.ECHO, b"?")]))
    assert proof.code == Code.CHANGED
    served.long = 2000
    first = protected(node, device, request(Code.GET, 2))  # too long for a stranger: it brings an Echo value
    echo = next(value for number, value in first.options if number == Option.ECHO)
    served.long = 0
    protected(node, device, request(Code.GET, 3, [(Option.OBSERVE, b""), (Option.ECHO, echo)]))
    told = []
    for turn in range(30):
        served.peer.server.changed("news", Response(Code.CONTENT, b"<%d>" % turn, LINK_FORMAT), 2.0)
        told += node.flush(2.0)
        if decode(told[-1]).type == Type.CON:
            break
    when = node.oscore.next_timer()
    assert when is not None
    node.oscore.handle_timer(when)
    (again,) = node.flush(when)
    assert again != told[-1]
    assert decode(again).id == decode(told[-1]).id
    assert device.unprotect(again).payload == device.unprotect(told[-1]).payload
