"""Requests that a connection answers itself, and where it leaves them to aiohttp."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.runtime.brief import BODY_MAX, HEAD_MAX, LATE, Brief, Head

HEAD = b"POST /voting HTTP/1.1\r\nHost: a:1\r\nWaypost-Network: ab\r\nContent-Length: 2"
REQUEST = HEAD + b"\r\n\r\n[]"
GET = b"GET / HTTP/1.1\r\nHost: a:1\r\n\r\n"


class Wire(asyncio.Transport):
    """What is written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True


def telling(story: Callable[[Brief, Wire, list[tuple[str, bytes]]], None], *, wait_s: float = 0.0) -> Wire:
    """A connection on which bodies are answered but for `refuse`; what was said lies in the list."""
    wire = Wire()

    async def run() -> None:
        said: list[tuple[str, bytes]] = []

        def take(head: Head, body: bytes) -> bytes | None:
            said.append((head.path, body))
            return None if body == b"no" else b"ok"

        brief = Brief(wire, take, idle_s=0.2, body_s=0.05)
        story(brief, wire, said)
        await asyncio.sleep(wait_s)
        brief.close()

    asyncio.run(run())
    return wire


def test_a_request_is_answered_and_so_is_the_next() -> None:
    def story(brief: Brief, wire: Wire, said: list[tuple[str, bytes]]) -> None:
        assert brief.receive(REQUEST) is None
        assert brief.receive(REQUEST + REQUEST) is None
        assert said == [("/voting", b"[]")] * 3
        assert wire.written == b"ok" * 3

    telling(story)


@pytest.mark.parametrize("cut", [len(HEAD) + 4, len(REQUEST) - 1])
def test_a_body_may_come_in_pieces(cut: int) -> None:
    def story(brief: Brief, wire: Wire, said: list[tuple[str, bytes]]) -> None:
        assert brief.receive(REQUEST[:cut]) is None
        assert said == []
        assert brief.receive(REQUEST[cut:] + GET) == GET
        assert said == [("/voting", b"[]")]

    telling(story)


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        REQUEST.replace(b"POST", b"PUT"),
        REQUEST.replace(b"1.1", b"1.0"),
        REQUEST.replace(b"Host: a:1\r\n", b""),
        REQUEST.replace(b"Content-Length: 2", b"Accept: x"),
        REQUEST.replace(b"Length: 2", b"Length: +2"),
        REQUEST.replace(b"Length: 2", b"Length: 2\r\nContent-Length: 2"),
        REQUEST.replace(b"\r\nContent", b"\r\nTransfer-Encoding: chunked\r\nContent"),
        REQUEST.replace(b"\r\nContent", b"\r\nOrigin: https://elsewhere.example\r\nContent"),
        REQUEST.replace(b"\r\nContent", b"\r\nAuthorization: Bearer wp_x\r\nContent"),
        REQUEST.replace(b"\r\nContent", b"\r\nSignature-Input: waypost=()\r\nContent"),
        REQUEST.replace(b"\r\nContent", b"\r\nContent-Encoding: gzip\r\nContent"),
        REQUEST.replace(b"\r\nContent", b"\r\n folded\r\nContent"),
        REQUEST.replace(b"a:1", b"a:1\nX: y"),
        REQUEST.replace(b"a:1", b"\xe4"),
        REQUEST.replace(b"Length: 2", b"Length: %d" % (BODY_MAX + 1)),
        REQUEST.replace(b"a:1", b"a" * HEAD_MAX),
        REQUEST[: len(HEAD)],
        REQUEST.replace(b"[]", b"no"),
    ],
    ids=range(19),
)
def test_what_is_of_another_form_or_refused_goes_on_as_it_came(request_: bytes) -> None:
    def story(brief: Brief, wire: Wire, said: list[tuple[str, bytes]]) -> None:
        assert brief.receive(REQUEST + request_ + REQUEST) == request_ + REQUEST
        assert wire.written == b"ok"

    telling(story)


def test_a_body_that_does_not_come_is_waited_for_so_long_and_no_longer() -> None:
    def story(brief: Brief, wire: Wire, said: list[tuple[str, bytes]]) -> None:
        brief.receive(REQUEST[:-1])

    wire = telling(story, wait_s=0.12)
    assert (wire.written, wire.closed) == (LATE, True)


def test_a_connection_on_which_nothing_comes_is_closed() -> None:
    def story(brief: Brief, wire: Wire, said: list[tuple[str, bytes]]) -> None:
        brief.receive(REQUEST)

    assert not telling(story, wait_s=0.12).closed
    assert telling(story, wait_s=0.3).closed


@given(st.binary(max_size=200))
def test_any_octets_are_a_head_or_none(data: bytes) -> None:
    Head.read(data)
    head = Head.read(HEAD + data)
    assert head is None or head.path == "/voting"
