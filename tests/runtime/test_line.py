"""A connection for requests, one after the other, and what counts as an answer."""

import asyncio
from collections.abc import Callable

import pytest
from secured import authority

from waypost.runtime.line import BODY_MAX, Line

CREDENTIALS = authority().certify("peer", "anna")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length:4\r\n\r\nbusy"


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        """Nobody is told in these stories, but for those that tell it."""


class Talk:
    def __init__(self) -> None:
        self.line = Line(CREDENTIALS, answer_s=0.05, idle_s=0.2)
        self.wire = Wire()
        self.line.connection_made(self.wire)
        self.answers: list[tuple[int, bytes]] = []
        self.errors: list[Exception] = []

    def post(self, *pieces: bytes) -> None:
        self.line.post(b"request", lambda *answer: self.answers.append(answer), self.errors.append)
        for piece in pieces:
            self.line.data_received(piece)


def telling(story: Callable[[Talk], None], wait_s: float = 0.0) -> Talk:
    async def run() -> Talk:
        talk = Talk()
        story(talk)
        await asyncio.sleep(wait_s)
        talk.line.abort()
        return talk

    return asyncio.run(run())


def test_a_request_is_answered_and_the_line_stays() -> None:
    def story(talk: Talk) -> None:
        talk.post(OK)
        talk.post(OK[:10], OK[10:])
        talk.post(BUSY[:-2], BUSY[-2:])
        assert talk.line.is_open
        assert talk.answers == [(200, b""), (200, b""), (503, b"busy")]
        assert talk.wire.written == b"request" * 3

    assert telling(story).errors == []


def test_what_comes_before_the_answer_is_not_it() -> None:
    assert telling(lambda talk: talk.post(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)).answers == [(200, b"")]


def test_who_was_refused_and_is_not_any_more_goes_on_with_another_line() -> None:
    """The other end takes a refused connection the long way from then on."""

    def story(talk: Talk) -> None:
        talk.post(BUSY)
        assert talk.line.is_open
        talk.post(OK)
        assert not talk.line.is_open

    assert len(telling(story).answers) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_MAX + 1),
        OK + b"more",
    ],
)
def test_after_an_answer_whose_end_is_not_known_the_line_is_given_up(answer: bytes) -> None:
    def story(talk: Talk) -> None:
        talk.post(answer)
        assert talk.answers[0][0] == 200
        assert not talk.line.is_open

    telling(story)


@pytest.mark.parametrize("answer", [b"SSH-2.0", b"HTTP/1.1 2 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + bytes(9_000)])
def test_what_is_no_answer_is_a_loss(answer: bytes) -> None:
    def story(talk: Talk) -> None:
        talk.post(answer)
        assert [str(error) for error in talk.errors] == ["its answer is no answer"]
        assert not talk.line.is_open

    assert telling(story).answers == []


def test_a_lost_connection_is_told_once_and_what_nobody_asked_for_ends_it() -> None:
    def story(talk: Talk) -> None:
        talk.post()
        talk.line.connection_lost(None)
        talk.line.connection_lost(None)
        assert len(talk.errors) == 1

    telling(story)

    def another(talk: Talk) -> None:
        talk.line.data_received(OK)
        assert not talk.line.is_open

    assert telling(another).errors == []


def test_an_answer_is_waited_for_so_long_and_a_line_kept_so_long() -> None:
    late = telling(lambda talk: talk.post(), wait_s=0.12)
    assert [type(error) for error in late.errors] == [TimeoutError]
    idle: list[bool] = []

    def story(talk: Talk) -> None:
        talk.post(OK)
        for after_s in (0.12, 0.26):
            asyncio.get_running_loop().call_later(after_s, lambda: idle.append(talk.line.is_open))

    assert telling(story, wait_s=0.3).errors == []
    assert idle == [True, False]
