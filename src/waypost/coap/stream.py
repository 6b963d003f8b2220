"""CoAP on a connection: its octets to messages and back, and the signalling between.

 0                   1
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 ...
|  Len  |  TKL  | Extended Length (0, 1, 2 or 4 octets) | Code | Token | Options | 0xff | Payload

A `Stream` is one connection, seen from either end.  Towards the engine its messages have the form of
datagrams, non-confirmable ones: the transport does what the message layer does elsewhere.  Over
WebSocket each message is a frame and its Len is 0.

A peer that breaks the rules is sent an Abort with the reason, which is then in `ended`: send what
take_output() has and close.  Times are seconds on the caller's monotonic clock.

Source: RFC 8323, 3 (TCP), 4 (WebSockets), 5 (signalling).
"""

from enum import IntEnum
from typing import Final

from waypost.coap.message import TOKEN_MAX, Message, Options, decode, uint
from waypost.coap.numbers import BODY_MAX, Type
from waypost.errors import WireError

MESSAGE_BASE: Final = 1152  # octets; what a peer takes that does not say (RFC 8323, 5.3.1)
MESSAGE_LEAST: Final = 128  # octets; who takes less cannot be answered
MESSAGE_MAX: Final = BODY_MAX + 4096  # octets of a message that we take: a body and its options
OPEN_MAX: Final = 64  # requests of one connection that wait for their answer; then no more is read
CSM_WAIT: Final = 10.0  # seconds a peer has for its first message
QUIET_MAX: Final = 120.0  # seconds without a whole message until the peer is asked whether it is there
PONG_WAIT: Final = 30.0  # seconds it has to answer that

_HEAD: Final = 0x40 | Type.NON << 4
_RESPONSES: Final = (2, 4, 5)


class Signal(IntEnum):
    """RFC 8323, 11.1."""

    CSM = 0xE1
    PING = 0xE2
    PONG = 0xE3
    RELEASE = 0xE4
    ABORT = 0xE5


# Options, numbered apart for each signal (RFC 8323, 11.2); all that are registered are elective
MAX_MESSAGE_SIZE: Final = 2  # of a CSM
BLOCK_WISE_TRANSFER: Final = 4  # of a CSM, and with it BERT (RFC 8323, 5.3.2)
CUSTODY: Final = 2  # of a ping or pong
BAD_CSM_OPTION: Final = 2  # of an abort


class Stream:
    """`message_max` is the octets of the largest message the peer takes; None until its CSM has come.

    `sized` says that lengths stand in the messages (TCP, TLS), else they are frames (WebSocket).
    """

    def __init__(self, now: float, *, sized: bool = True) -> None:
        self._sized = sized
        self._buffer = bytearray()
        # Oldest first; beside requests the pings that wait for them: (is a ping, token).
        self._owed: dict[tuple[bool, bytes], None] = {}
        self._output: list[bytes] = []
        self._heard_at = now
        self._asked_at: float | None = None  # whether the peer is there
        self._released = False
        self.message_max: int | None = None
        self.ended: str | None = None
        # RFC 8323, 3.3: the first message of both sides
        self._signal(Signal.CSM, b"", [(MAX_MESSAGE_SIZE, uint(MESSAGE_MAX)), (BLOCK_WISE_TRANSFER, b"")])

    @property
    def full(self) -> bool:
        """So much waits for its answer that nothing more should be read."""
        return len(self._owed) >= OPEN_MAX

    def feed(self, data: bytes) -> None:
        """What has been read of a connection with sized messages; then next_message() until it has no more."""
        self._buffer += data

    def next_message(self, now: float) -> bytes | None:
        """The next request or response, in the form of a datagram.

        Nothing (b"") for a message that is not for the engine, None if there is no whole one.
        """
        cut = None if self.ended is not None else self._cut()
        return None if cut is None else self._receive(*cut, now)

    def receive_frame(self, frame: bytes, now: float) -> bytes:
        """The request or response in the form of a datagram, or nothing."""
        if self.ended is not None:
            return b""
        if len(frame) < 2 or frame[0] >> 4 or len(frame) > MESSAGE_MAX:  # RFC 8323, 4.2: Len is 0
            self._abort(f"a frame is one message of at most {MESSAGE_MAX} octets whose Len is 0")
            return b""
        return self._receive(frame[0] & 15, frame[1], frame[2:], now)

    def send(self, datagram: bytes) -> None:
        """A message of the engine, in the form of a datagram; empty ones have no place on a connection."""
        size, code = datagram[0] & 15, datagram[1]
        if code == 0 or self.ended is not None:
            return
        self._output.append(self._framed(size, code, datagram[4:]))
        if code >> 5 in _RESPONSES:
            self._owed.pop((False, datagram[4 : 4 + size]), None)
            self._settle()

    def finish(self) -> None:
        """The peer sends no more: what it is owed is still sent."""
        self._released = True
        self._settle()

    def release(self) -> None:
        """We are going (RFC 8323, 5.5)."""
        if self.ended is None:
            self._signal(Signal.RELEASE, b"", [])
            self.ended = "closed by this node"

    def end(self, reason: str) -> None:
        """Without a word: the peer would not read it."""
        self.ended = self.ended or reason

    def abort(self, reason: str) -> None:
        if self.ended is None:
            self._abort(reason)

    def take_output(self) -> list[bytes]:
        output, self._output = self._output, []
        return output

    def next_timer(self) -> float:
        if self.message_max is None:
            return self._heard_at + CSM_WAIT
        return self._heard_at + QUIET_MAX if self._asked_at is None else self._asked_at + PONG_WAIT

    def handle_timer(self, now: float) -> None:
        """A peer that is silent, slow to finish a message, or does not read, is asked once and then left."""
        if now < self.next_timer() or self.ended is not None:
            return
        if self.message_max is None:
            self._abort("no CSM came")
        elif self._asked_at is None:
            self._asked_at = now
            self._signal(Signal.PING, b"", [])
        else:
            self._abort("no message came for too long")

    # one message

    def _cut(self) -> tuple[int, int, bytes] | None:
        """Token length, code, and what follows, of the next message that is there whole (RFC 8323, 3.2)."""
        buffer = self._buffer
        if not buffer:
            return None
        nibble = buffer[0] >> 4
        extension = (0, 1, 2, 4)[max(0, nibble - 12)]
        if len(buffer) < 2 + extension:
            return None
        size, extended = buffer[0] & 15, int.from_bytes(buffer[1 : 1 + extension], "big")
        length = nibble if nibble < 13 else (13, 269, 65805)[nibble - 13] + extended
        start = 2 + extension
        end = start + size + length
        if size > TOKEN_MAX or end > MESSAGE_MAX:
            self._abort(f"a message has at most {MESSAGE_MAX} octets, a token {TOKEN_MAX}")
            return None
        if len(buffer) < end:
            return None
        code, rest = buffer[start - 1], bytes(buffer[start:end])
        del buffer[:end]
        return size, code, rest

    def _receive(self, size: int, code: int, rest: bytes, now: float) -> bytes:
        if self.message_max is None and code not in (0, Signal.CSM):
            self._abort("the first message must be a CSM")  # RFC 8323, 3.3
            return b""
        if self.message_max is not None or code:
            self._heard_at, self._asked_at = now, None
        if code == 0:
            return b""  # RFC 8323, 3.4: an empty message may always come, and says nothing
        datagram = bytes((_HEAD | size, code, 0, 0)) + rest
        try:
            message = decode(datagram)
        except WireError as error:
            self._abort(str(error))
            return b""
        if code >> 5 == 7:
            self._on_signal(message)
            return b""
        if code < 32:
            if self._released:
                return b""
            self._owed[False, message.token] = None
        return datagram

    def _framed(self, size: int, code: int, rest: bytes) -> bytes:
        """`rest` begins with the token of `size` octets."""
        length = len(rest) - size if self._sized else 0
        if length < 13:
            return bytes((length << 4 | size, code)) + rest
        if length < 269:
            return bytes((13 << 4 | size, length - 13, code)) + rest
        if length < 65805:
            return bytes((14 << 4 | size, *(length - 269).to_bytes(2, "big"), code)) + rest
        return bytes((15 << 4 | size, *(length - 65805).to_bytes(4, "big"), code)) + rest

    # signalling

    def _on_signal(self, message: Message) -> None:
        for number, value in message.options:
            malformed = message.code == Signal.CSM and number == MAX_MESSAGE_SIZE and len(value) > 4
            if number & 1 or malformed:  # RFC 8323, 5.2 and 5.6
                bad = [(BAD_CSM_OPTION, uint(number))] if message.code == Signal.CSM else []
                self._abort(f"option {number} of a signal is unknown here or malformed", bad)
                return
        options = dict(message.options)
        match message.code:
            case Signal.CSM:
                self._on_csm(options.get(MAX_MESSAGE_SIZE))
            case Signal.PING if CUSTODY in options:
                # RFC 8323, 5.4.1: answered once everything before it is
                self._owed[True, message.token] = None
                self._settle()
            case Signal.PING:
                self._signal(Signal.PONG, message.token, [])
            case Signal.PONG:
                pass  # the peer is there, which any message says
            case Signal.RELEASE:
                self.finish()
            case Signal.ABORT:
                self.ended = "the peer aborted: " + message.payload[:200].decode(errors="replace")
            case _:
                self._abort("an unknown signal")

    def _on_csm(self, size: bytes | None) -> None:
        """A later CSM changes what it names and nothing else (RFC 8323, 5.3)."""
        if size is not None and int.from_bytes(size, "big") < MESSAGE_LEAST:
            self._abort(f"messages of {MESSAGE_LEAST} octets are needed", [(BAD_CSM_OPTION, uint(MAX_MESSAGE_SIZE))])
        elif size is not None:
            self.message_max = int.from_bytes(size, "big")
        elif self.message_max is None:
            self.message_max = MESSAGE_BASE

    def _settle(self) -> None:
        """Answer the pings that come first now; end if the peer has released and nothing is owed."""
        while self._owed and (oldest := next(iter(self._owed)))[0]:
            del self._owed[oldest]
            self._signal(Signal.PONG, oldest[1], [(CUSTODY, b"")])
        if self._released and not self._owed and self.ended is None:
            self.ended = "the peer released the connection"

    def _abort(self, reason: str, options: Options | None = None) -> None:
        self._signal(Signal.ABORT, b"", options or [], reason.encode())
        self.ended = reason

    def _signal(self, code: Signal, token: bytes, options: Options, payload: bytes = b"") -> None:
        datagram = Message(Type.NON, code, 0, token, options, payload).encode()
        self._output.append(self._framed(len(token), code, datagram[4:]))
