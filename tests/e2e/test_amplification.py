"""A source that has not shown to be at its address is sent at most three times what came from there.

Every case is a socket of its own, as a forger's victim would be: it never brings an Echo value back.
"""

from collections.abc import Iterator

import pytest
from device import Device, location, option
from running import Node, running

from waypost.coap.message import Message, uint
from waypost.coap.numbers import AMPLIFICATION_MAX, Code, Option, Type

UNKNOWN = (9, 65001)  # critical: their numbers are odd
LINKS = b"</t>;rt=temperature"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Holds enough for large answers."""
    with running(tmp_path_factory.mktemp("node")) as node:
        with Device(node.port) as device:
            device.get("/.well-known/core")
            for number in range(100):
                location(device.register(f"ep=node{number}", f"base=coap://node{number}.example.com"))
        yield node


def requests(device: Device) -> Iterator[tuple[str, Message]]:
    """Every kind of request, as small as it can be."""
    nowhere = "/reg/00000000-0000-4000-8000-000000000000"
    observe = ((int(Option.OBSERVE), b""),)
    for type in (Type.CON, Type.NON):
        for path in ("/", "/.well-known/core", "/rd", "/rd-lookup/ep", "/rd-lookup/res", nowhere, "/nothing"):
            for code in (Code.GET, Code.POST, Code.PUT, Code.DELETE, Code.FETCH):
                yield f"{type.name} {code.name} {path}", device.message(code, path, type=type)
            yield f"{type.name} observe {path}", device.message(Code.GET, path, more=observe, type=type)
            for exponent in (0, 6):
                for number in (0, 1, 5):
                    more = ((int(Option.BLOCK2), uint(number << 4 | exponent)),)
                    message = device.message(Code.GET, path, more=more, type=type)
                    yield f"{type.name} GET {path} block {number} of 2^{exponent + 4}", message
        for query in (
            "rt=core.rd*",
            "count=50",
            "page=1",
            "ep=node1",
            "ep=node*",
            "rt=temperature",
            "lt=0",
            "ep=" + 64 * "x",
        ):
            for path in ("/.well-known/core", "/rd-lookup/ep", "/rd-lookup/res", "/rd"):
                code = Code.POST if path == "/rd" else Code.GET
                yield f"{type.name} {code.name} {path}?{query}", device.message(code, path, query, type=type)
        for path in ("/.well-known/rd", "/.well-known/core"):  # the directory asks back
            yield f"{type.name} POST {path}", device.message(Code.POST, path, "ep=a", type=type)
        for payload in (b"", LINKS, b"</t"):
            message = device.message(Code.POST, "rd", "ep=new", payload=payload, content_format=40, type=type)
            yield f"{type.name} register {payload!r}", message
        for number in UNKNOWN:
            message = device.message(Code.GET, "/rd-lookup/res", more=((number, b""),), type=type)
            yield f"{type.name} option {number}", message
        for option_number, value in ((Option.ACCEPT, b"\x32"), (Option.ECHO, b"forged!!")):
            message = device.message(Code.GET, "/rd-lookup/res", more=((int(option_number), value),), type=type)
            yield f"{type.name} {option_number.name}", message
        for number in (0, 1, 100):
            more = ((int(Option.BLOCK1), uint(number << 4 | 8)),)
            message = device.message(
                Code.POST, "rd", "ep=b", payload=bytes(16), content_format=40, more=more, type=type
            )
            yield f"{type.name} Block1 {number}", message


def test_no_request_is_answered_with_more_than_three_times_its_size(node: Node) -> None:
    """RFC 9175, 2.4 and design: whatever comes back counts, repetitions among it."""
    with Device(node.port) as maker:
        cases = list(requests(maker))
    too_large = []
    for name, message in cases:
        data = message.encode()
        unknown = any(number in UNKNOWN for number, _ in message.options)
        silent = unknown and message.type == Type.NON  # RFC 7252, 5.4.1
        with Device(node.port) as victim:
            octets = sum(map(len, victim.raw(data, at_least=0 if silent else 1)))
        if octets > AMPLIFICATION_MAX * len(data):
            too_large.append(f"{name}: {octets} for {len(data)}")
    assert too_large == []
    assert len(cases) > 200


def test_a_ping_is_answered_with_as_much(node: Node) -> None:
    """RFC 7252, 4.3."""
    with Device(node.port) as victim:
        assert victim.raw(b"") == []
        assert victim.raw(b"\x40\x00\x12\x34") == [b"\x70\x00\x12\x34"]


def test_a_source_that_brings_its_echo_back_gets_whole_blocks(node: Node) -> None:
    """RFC 9175, 2.3: the first block is small and carries Echo; with it the next is not."""
    with Device(node.port) as device:
        first, second = (device.ask(device.message(Code.GET, "/rd-lookup/ep", "ep=node*")) for _ in range(2))
        assert option(first, Option.ECHO)
        assert len(first.payload) <= 64
        assert len(second.payload) == 1024
        assert option(second, Option.ECHO) is None
