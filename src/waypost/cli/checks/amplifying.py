"""Whether the node could be used against others: what it sends to a source that has not shown to be at its address.

One datagram of each kind goes to the node's own CoAP port, each from a socket of its own, which brings no Echo value
back, as a forger's victim would not.  All that comes counts.  Nothing is registered by it.

Source: RFC 9175, 2.4 and 2.6; RFC 7252, 11.3; notes on reliability, D1.
"""

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from random import SystemRandom
from typing import Final, NamedTuple

from waypost.cli.checks import fail, fine, skip
from waypost.cli.reports import Finding
from waypost.coap.message import Message, uint
from waypost.coap.numbers import AMPLIFICATION_MAX, LINK_FORMAT, Code, Option, Type
from waypost.engine import Endpoint
from waypost.runtime.addresses import listen_address

PATHS: Final = ("/", "/.well-known/core", "/.well-known/rd", "/rd", "/rd-lookup/ep", "/rd-lookup/res", "/nothing",
                "/reg/00000000-0000-4000-8000-000000000000")  # fmt: skip
QUERIES: Final = ("rt=core.rd*", "count=50", "page=1", "ep=*", "lt=0", "ep=" + 64 * "x")  # none registers
METHODS: Final = (Code.GET, Code.PUT, Code.DELETE, Code.FETCH)
PING: Final = b"\x40\x00\xff\xff"
PONG: Final = b"\x70\x00\xff\xff"
ANSWER_S: Final = 1.0
AFTER_S: Final = 0.05  # after the answer to a ping, for one that comes later
ALL_S: Final = 10.0
WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared, not bound)


class Ratio(NamedTuple):
    """Octets that came for those that were sent."""

    value: float
    came: int
    sent: int
    kind: str


def check_amplification(listeners: Mapping[str, str]) -> list[Finding]:
    """`listeners` are those of the running node."""
    findings = []
    if "coap" in listeners:
        findings.append(_judge(f"coap on {listeners['coap']}", *_worst(listeners["coap"], datagrams(), PING, PONG)))
    if "coaps" in listeners:
        # No ping there: what answers a ClientHello is alive.
        hellos = [("ClientHello", client_hello())] * 3
        findings.append(_judge(f"coaps on {listeners['coaps']}", *_worst(listeners["coaps"], hellos, b"", b"")))
    return findings or [skip("amplification", "no node runs here that offers CoAP over UDP")]


def _judge(where: str, worst: Ratio | None, tried: int) -> Finding:
    if worst is None:
        return fail("amplification", f"{where}: nothing answers", "is the node overloaded?  waypost status")
    sentence = f"{where}: {worst.came} octets for {worst.sent} at most ({worst.kind}), of {tried} datagrams"
    if worst.value > AMPLIFICATION_MAX:
        return fail("amplification", f"{sentence}: a forger makes more of them than they cost", "tell the authors")
    return fine("amplification", sentence)


def _worst(at: str, kinds: Iterable[tuple[str, bytes]], ping: bytes, pong: bytes) -> tuple[Ratio | None, int]:
    """And how many were tried."""
    host, port, *_ = listen_address(at)
    node = Endpoint(WILDCARDS.get(host, host), port)
    end = time.monotonic() + ALL_S
    ratios = []
    for kind, data in kinds:
        came = _exchange(node, data, ping, pong)
        if came is not None:
            ratios.append(Ratio(came / len(data), came, len(data), kind))
        if time.monotonic() > end or (came is None and not ratios):
            break
    return max(ratios, default=None), len(ratios)


def _exchange(node: Endpoint, data: bytes, ping: bytes, pong: bytes) -> int | None:
    """Octets that came back; None if the node does not even answer a ping, or nothing where there is no ping."""
    with socket.socket(socket.AF_INET6 if ":" in node.host else socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.connect((node.host, node.port))
        victim.settimeout(ANSWER_S)
        came, alive = 0, False
        try:
            victim.send(data)
            if ping:
                victim.send(ping)
            while not (ping and alive and came):
                answer = victim.recv(65_536)
                if not ping or answer == pong:
                    alive = True
                    victim.settimeout(AFTER_S)
                if not ping or answer != pong:
                    came += len(answer)
        except OSError:  # also a TimeoutError: nothing more comes
            pass
        return came if alive else None


def client_hello() -> bytes:
    """The datagram with which a client begins that has a pre-shared key, and no cookie yet (RFC 6347, 4.2.1)."""
    from waypost.identity import Identity
    from waypost.identity.anchors import Trust
    from waypost.identity.credentials import Credentials, SharedKey
    from waypost.runtime.dtls import Association
    from waypost.runtime.secure import connect

    key = SharedKey(SystemRandom().randbytes(32), Identity("psk", "doctor"))
    association = Association(connect(Credentials(b"", b"", Trust(), {b"doctor": key}), lambda: 0, datagrams=True))
    association.start(0.0)
    return association.take_output()[0]


def datagrams() -> Iterator[tuple[str, bytes]]:
    """Every kind that a stranger can send, as small as it can be."""
    numbers = count(1)
    for type in (Type.CON, Type.NON):
        for kind, code, path, options, payload in _requests():
            path_options = [(int(Option.URI_PATH), part.encode()) for part in path.strip("/").split("/") if part]
            ordered = sorted([*path_options, *options], key=lambda option: option[0])
            message = Message(type, code, next(numbers), b"", ordered, payload)
            yield f"{type.name} {Code(code).name} {path} {kind}".rstrip(), message.encode()
    yield "ping", b"\x40\x00\x12\x34"
    yield "reset", b"\x70\x00\x12\x35"
    yield "unknown version", b"\x00\x01\x12\x36"
    yield "cut short", b"\x48\x01\x12\x37"


Requested = tuple[str, int, str, list[tuple[int, bytes]], bytes]


def _requests() -> Iterator[Requested]:
    for path in PATHS:
        for code in METHODS:
            yield "", code, path, [], b""
        if path != "/rd":
            yield "", Code.POST, path, [], b""
        yield "observe", Code.GET, path, [(int(Option.OBSERVE), b"")], b""
        for exponent in (0, 6):
            for number in (0, 1):
                block = [(int(Option.BLOCK2), uint(number << 4 | exponent))]
                yield f"block {number} of {16 << exponent}", Code.GET, path, block, b""
        yield "accept", Code.GET, path, [(int(Option.ACCEPT), b"\x32")], b""
        yield "echo", Code.GET, path, [(int(Option.ECHO), b"forged!!")], b""
        for query in QUERIES:
            yield query[:20], Code.GET, path, [(int(Option.URI_QUERY), query.encode())], b""
    name = (int(Option.URI_QUERY), b"ep=doctor")
    links = (int(Option.CONTENT_FORMAT), uint(LINK_FORMAT))
    yield "broken links", Code.POST, "/rd", [name, links], b"</t"
    yield "no lifetime", Code.POST, "/rd", [name, (int(Option.URI_QUERY), b"lt=0")], b"</t>"
    yield "no name", Code.POST, "/rd", [links], b"</t>"
    yield "a block too far", Code.POST, "/rd", [name, links, (int(Option.BLOCK1), uint(100 << 4 | 8))], bytes(16)
    yield "ask back", Code.POST, "/.well-known/rd", [name], b""
    yield "unknown option", Code.GET, "/rd-lookup/res", [(65_001, b"")], b""
