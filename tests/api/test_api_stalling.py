"""Who does not read what it asked for is let go, and who has nothing to read is not."""

import asyncio
import socket
import time
from contextlib import closing
from typing import Final

from embedded import Embedded
from serving import Api, serving

from waypost.rd.questions import Register, Registered

LARGE: Final = 60_000  # octets of one registration's links
MANY: Final = 200  # such registrations: more than the buffers of two sockets hold
PATIENCE: Final = 20.0  # seconds until a test has failed


def full_node() -> Embedded:
    node = Embedded()

    async def fill() -> None:
        for number in range(MANY):
            links = b",".join(b'</%d/%d>;title="%s"' % (number, n, b"x" * 1000) for n in range(LARGE // 1000))
            outcome = await node.ask(Register(f"e{number}", None, 600, "coap://h", "", (), links, ""))
            assert isinstance(outcome, Registered)

    asyncio.run(fill())
    return node


def watchers(api: Api) -> int:
    lines = api.ask("GET", "/metrics").body.decode().splitlines()
    (count,) = [line.partition(" ")[2] for line in lines if line.startswith("waypost_watchers ")]
    return int(float(count))


def wait_for(api: Api, count: int) -> bool:
    until = time.monotonic() + PATIENCE
    while watchers(api) != count:
        if time.monotonic() > until:
            return False
    return True


def test_a_watcher_that_takes_nothing_of_its_stream_is_let_go() -> None:
    """Its place is free again, though its connection is open, and what it reads then does not look whole."""
    node = full_node()
    with serving(node.ask, rows=node, stall_s=0.2) as api, closing(socket.socket()) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(PATIENCE)
        reader.connect((api.host, api.port))
        reader.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: %s\r\n\r\n" % api.host.encode())
        assert reader.recv(12) == b"HTTP/1.1 200"
        assert watchers(api) == 1
        assert wait_for(api, 0)
        received = bytearray()
        while octets := reader.recv(1 << 16):
            received += octets
        assert len(received) < MANY * LARGE
        assert not received.endswith(b"0\r\n\r\n"), "RFC 9112, 7.1: the last chunk says that all has come"


def test_a_stream_that_has_nothing_to_say_lasts_however_short_the_patience() -> None:
    """The time counts for each piece alone, and only while it is not taken."""
    node = Embedded()
    with serving(node.ask, rows=node, stall_s=0.0) as api, closing(socket.socket()) as reader:
        reader.settimeout(PATIENCE)
        reader.connect((api.host, api.port))
        reader.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: %s\r\n\r\n" % api.host.encode())
        told = b""
        while b"synced" not in told:
            told += reader.recv(1 << 16)
        for ep in ("a", "b"):
            api.ask(
                "POST", f"/v1/endpoints?ep={ep}&base=coap://h", b"</t>", {"Content-Type": "application/link-format"}
            )
            while f'"ep":"{ep}"'.encode() not in told:
                octets = reader.recv(1 << 16)
                assert octets, "the stream has ended"
                told += octets
        assert watchers(api) == 1
