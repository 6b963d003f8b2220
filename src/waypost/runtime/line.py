"""A connection to a node, for one request after the other: it is answered before the next one goes.

Nodes say so much to each other that the way of a request is as short as it can be: its octets are written at once, and
of the answer no more is read than its status and the first octets of its body.

Source: RFC 9112, 2, 4, 6 and 9.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, cast

from waypost.identity.credentials import Credentials

HEAD_MAX: Final = 8_192  # octets of an answer's head
BODY_MAX: Final = 65_536  # the same of its body: a connection whose answer has more is given up
TOLD_MAX: Final = 512  # octets of a body that are handed on

_FIRST: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: [^\r\n]*)?")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n|$)", re.IGNORECASE)
_OTHERWISE: Final = re.compile(rb"\r\n(?:transfer-encoding:|connection:[^\r\n]*close)", re.IGNORECASE)

Done = Callable[[int, bytes], None]  # the answer's status, and the first of its body
Lost = Callable[[Exception], None]  # there is none


class Line(asyncio.Protocol):
    """`credentials` are those by which both ends have shown who they are.

    What is not answered within `answer_s` is lost, and so is the connection, which is closed when nothing has gone over
    it for `idle_s`.
    """

    def __init__(self, credentials: Credentials, *, answer_s: float, idle_s: float) -> None:
        self.credentials = credentials
        self.is_open = False
        self.was_refused = False  # what went over it last: the other end may take more time for all that follows
        self._answer_s = answer_s
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._lost: Lost | None = None
        self._got = b""
        self._until = self._timer_at = self._loop.time() + idle_s
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)

    def post(self, request: bytes, done: Done, lost: Lost) -> None:
        """The whole request, head and body; one of the two is called later, once."""
        assert self._transport is not None
        assert self._done is None
        self._done, self._lost, self._got = done, lost, b""
        self._until = self._loop.time() + self._answer_s
        if self._until < self._timer_at:
            self._timer.cancel()
            self._arm()
        self._transport.write(request)

    def abort(self) -> None:
        """At once; what is under way is lost, and nobody is told."""
        self._done = self._lost = None
        self._close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._done is None:
            self._close()  # nobody asked
            return
        self._got = self._got + data if self._got else data
        while True:
            end = self._got.find(b"\r\n\r\n", 0, HEAD_MAX)
            if end < 0:
                if len(self._got) >= HEAD_MAX or not (b"HTTP/1.1 ".startswith(self._got[:9])):
                    self._fail(ConnectionError("its answer is no answer"))
                return
            head = self._got[:end]
            first = _FIRST.match(head)
            if first is None:
                self._fail(ConnectionError("its answer is no answer"))
                return
            status = int(first[1])
            if status >= 200:
                break
            self._got = self._got[end + 4 :]  # RFC 9110, 15.2: the answer is still to come
        length = _LENGTH.search(head)
        is_plain = _OTHERWISE.search(head) is None
        if length is None and is_plain and b"\r\ncontent-length:" in head.lower():
            self._fail(ConnectionError("its answer has no size"))
            return
        size = int(length[1]) if length is not None and is_plain else BODY_MAX + 1
        if size <= BODY_MAX and len(self._got) < end + 4 + size:
            return
        self._end(status, self._got[end + 4 : end + 4 + TOLD_MAX], is_whole=len(self._got) == end + 4 + size)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._timer.cancel()
        self._fail(error or ConnectionResetError("it has closed the connection"))

    def _end(self, status: int, told: bytes, *, is_whole: bool) -> None:
        done, self._done, self._lost, self._got = self._done, None, None, b""
        assert done is not None
        self._until = self._loop.time() + self._idle_s
        if not is_whole or (self.was_refused and status == 200):
            self._close()
        self.was_refused = status != 200
        done(status, told)

    def _fail(self, error: Exception) -> None:
        lost, self._done, self._lost = self._lost, None, None
        self._close()
        if lost is not None:
            lost(error)

    def _close(self) -> None:
        self.is_open = False
        self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _on_timer(self) -> None:
        if self._loop.time() < self._until:  # something went over it meanwhile
            self._arm()
        elif self._done is not None:
            self._fail(TimeoutError("it does not answer"))
        else:
            self._close()

    def _arm(self) -> None:
        self._timer_at = self._until
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)
