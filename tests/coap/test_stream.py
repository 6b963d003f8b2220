"""One connection's messages and signals, octet by octet.  Time is a number we choose."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.coap import stream as limits
from waypost.coap.message import Message, decode
from waypost.coap.numbers import Code, Option, Type
from waypost.coap.stream import CUSTODY, MESSAGE_BASE, MESSAGE_LEAST, MESSAGE_MAX, OPEN_MAX, Signal, Stream

CSM = bytes((0x00, 0xE1))  # RFC 8323, 5.3: Len 0, no token, code 7.01
PING = bytes((0x00, 0xE2))
GET = bytes((0x01, 0x01)) + b"a"  # one octet of token, no options


def framed(code: int, token: bytes = b"", options: bytes = b"", payload: bytes = b"") -> bytes:
    """A message by the letter of RFC 8323, 3.2."""
    rest = options + (b"\xff" + payload if payload else b"")
    size = len(rest)
    if size < 13:
        head = bytes((size << 4 | len(token),))
    elif size < 269:
        head = bytes((13 << 4 | len(token), size - 13))
    elif size < 65805:
        head = bytes((14 << 4 | len(token),)) + (size - 269).to_bytes(2, "big")
    else:
        head = bytes((15 << 4 | len(token),)) + (size - 65805).to_bytes(4, "big")
    return head + bytes((code,)) + token + rest


def read(stream: Stream, data: bytes, now: float = 0.0) -> list[Message]:
    """What the engine gets of `data`."""
    stream.feed(data)
    messages = []
    while (datagram := stream.next_message(now)) is not None:
        if datagram:
            messages.append(decode(datagram))
    return messages


def written(stream: Stream) -> list[Message]:
    """What is sent."""
    messages = []
    for data in stream.take_output():
        extension = (0, 1, 2, 4)[max(0, (data[0] >> 4) - 12)]
        messages.append(decode(bytes((0x50 | data[0] & 15, data[1 + extension], 0, 0)) + data[2 + extension :]))
    return messages


@pytest.fixture
def stream() -> Stream:
    """A connection whose peer has said CSM."""
    stream = Stream(0.0)
    stream.take_output()
    assert read(stream, CSM) == []
    return stream


def answer(token: bytes, payload: bytes = b"") -> bytes:
    return Message(Type.NON, Code.CONTENT, 9, token, [], payload).encode()


# messages


@pytest.mark.parametrize("size", [0, 1, 11, 12, 13, 267, 268, 269, 270, 60_000, 65_803, 65_804, 65_805, 66_000])
def test_a_message_of_any_length_survives_the_wire(stream: Stream, size: int) -> None:
    """RFC 8323, 3.2: the length takes none, one, two or four octets more."""
    payload = bytes(size)
    stream.send(answer(b"tk", payload))
    (data,) = stream.take_output()
    assert data == framed(Code.CONTENT, b"tk", payload=payload)
    (message,) = read(stream, data)
    assert (message.code, message.token, message.payload) == (Code.CONTENT, b"tk", payload)


@given(st.lists(st.binary(max_size=40), max_size=6), st.randoms(use_true_random=False))
def test_messages_come_whole_however_the_octets_arrive(payloads: list[bytes], random: Random) -> None:
    stream = Stream(0.0)
    data = CSM + b"".join(framed(Code.POST, b"t", payload=payload) for payload in payloads)
    messages = []
    while data:
        cut = random.randint(1, len(data))
        messages += read(stream, data[:cut])
        data = data[cut:]
    assert [message.payload for message in messages] == payloads


def test_an_empty_message_is_passed_over(stream: Stream) -> None:
    """RFC 8323, 3.4: whoever wants to keep the connection in use may send it."""
    assert read(stream, b"\x00\x00" + GET) != []
    assert stream.take_output() == []


def test_what_belongs_to_the_message_layer_is_not_written(stream: Stream) -> None:
    """RFC 8323, 3.1: there are no acknowledgements and no resets."""
    stream.send(bytes((0x60, 0, 0, 7)))
    assert stream.take_output() == []


# the first message


def test_both_sides_begin_with_a_csm() -> None:
    """RFC 8323, 3.3."""
    first = written(Stream(0.0))
    assert [message.code for message in first] == [Signal.CSM]
    assert first[0].options == [
        (limits.MAX_MESSAGE_SIZE, MESSAGE_MAX.to_bytes(3, "big")),
        (limits.BLOCK_WISE_TRANSFER, b""),
    ]


@pytest.mark.parametrize("data", [GET, PING, framed(Signal.RELEASE), framed(Code.CONTENT, b"x")])
def test_nothing_comes_before_the_csm(data: bytes) -> None:
    """RFC 8323, 3.3."""
    stream = Stream(0.0)
    assert read(stream, data + CSM) == []
    assert [message.code for message in written(stream)] == [Signal.CSM, Signal.ABORT]
    assert stream.ended == "the first message must be a CSM"


@pytest.mark.parametrize(
    ("options", "size"),
    [(b"", MESSAGE_BASE), (b"\x22\x10\x00", 4096), (b"\x24\xff\xff\xff\xff", 2**32 - 1), (b"\x40", MESSAGE_BASE)],
)
def test_the_peer_says_how_large_a_message_it_takes(options: bytes, size: int) -> None:
    """RFC 8323, 5.3.1; Block-Wise-Transfer (4) goes without saying."""
    stream = Stream(0.0)
    read(stream, framed(Signal.CSM, options=options))
    assert stream.message_max == size
    assert stream.ended is None


def test_a_later_csm_changes_what_it_names_and_nothing_else(stream: Stream) -> None:
    """RFC 8323, 5.3."""
    read(stream, framed(Signal.CSM, options=b"\x22\x10\x00"))
    read(stream, CSM)
    assert stream.message_max == 4096


# signals


def test_a_ping_is_answered_with_its_token(stream: Stream) -> None:
    """RFC 8323, 5.4."""
    read(stream, framed(Signal.PING, b"abcd"))
    assert written(stream) == [Message(Type.NON, Signal.PONG, 0, b"abcd", [])]


def test_a_ping_with_custody_waits_for_the_requests_before_it(stream: Stream) -> None:
    """RFC 8323, 5.4.1."""
    read(stream, GET + framed(Signal.PING, b"p", b"\x20") + framed(Code.GET, b"b"))
    assert stream.take_output() == []
    stream.send(answer(b"b"))
    assert [message.code for message in written(stream)] == [Code.CONTENT]
    stream.send(answer(b"a"))
    assert written(stream)[1:] == [Message(Type.NON, Signal.PONG, 0, b"p", [(CUSTODY, b"")])]


def test_a_peer_that_releases_gets_what_it_is_owed(stream: Stream) -> None:
    """RFC 8323, 5.5: whoever is released closes, after its answers, and takes nothing new."""
    read(stream, GET + framed(Signal.RELEASE) + framed(Code.GET, b"b"))
    assert stream.ended is None
    stream.send(answer(b"a"))
    assert [message.token for message in written(stream)] == [b"a"]
    assert stream.ended == "the peer released the connection"


def test_we_release_before_we_close(stream: Stream) -> None:
    stream.release()
    assert [message.code for message in written(stream)] == [Signal.RELEASE]
    assert stream.ended is not None


def test_an_abort_ends_without_a_word(stream: Stream) -> None:
    """RFC 8323, 5.6."""
    assert read(stream, framed(Signal.ABORT, payload=b"enough") + GET) == []
    assert stream.take_output() == []
    assert stream.ended == "the peer aborted: enough"


BAD = {
    "a token of nine octets": framed(Code.GET, bytes(9)),
    "a payload marker without payload": framed(Code.GET, options=b"\xff"),
    "an option that runs past the message": framed(Code.GET, options=b"\xb5ab"),
    "the reserved option length": framed(Code.GET, options=b"\xbf"),
    "one octet too many": framed(Code.POST, payload=bytes(MESSAGE_MAX)),
    "a length of four gigabytes": b"\xf0\xff\xff\xff\xff\x01",
    "an unknown signal": framed(0xFF),
    "a critical option of a ping": framed(Signal.PING, options=b"\x10"),
    "a critical option of a release": framed(Signal.RELEASE, options=b"\x10"),
    "a critical option of an abort's sender": framed(Signal.PONG, options=b"\x30"),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_breaks_the_rules_is_aborted_with_the_reason(stream: Stream, data: bytes) -> None:
    """RFC 8323, 5.6: a diagnostic payload says why; nothing after it is read."""
    assert read(stream, data + GET) == []
    (abort,) = written(stream)
    assert (abort.code, abort.options) == (Signal.ABORT, [])
    assert abort.payload.decode() == stream.ended


@pytest.mark.parametrize(
    ("options", "bad"),
    [
        (b"\x10", b"\x01"),  # critical and unknown
        (b"\x25" + bytes(5), b"\x02"),  # a size of five octets
        (b"\x21" + bytes((MESSAGE_LEAST - 1,)), b"\x02"),  # too small to answer
        (b"\xd0\x56", b"\x63"),  # critical and unknown: 99
    ],
)
def test_a_csm_that_cannot_be_held_is_aborted_by_its_option(options: bytes, bad: bytes) -> None:
    """RFC 8323, 5.6: Bad-CSM-Option."""
    stream = Stream(0.0)
    stream.take_output()
    read(stream, framed(Signal.CSM, options=options))
    (abort,) = written(stream)
    assert abort.options == [(limits.BAD_CSM_OPTION, bad)]


def test_an_unknown_elective_option_of_a_signal_is_passed_over(stream: Stream) -> None:
    """RFC 8323, 5.2."""
    read(stream, framed(Signal.CSM, options=b"\x80") + framed(Signal.PING, options=b"\x80"))
    assert [message.code for message in written(stream)] == [Signal.PONG]


# limits


def test_so_many_requests_wait_and_no_more_are_wanted(stream: Stream) -> None:
    read(stream, b"".join(framed(Code.GET, bytes((n,))) for n in range(OPEN_MAX)))
    assert stream.full
    stream.send(answer(b"\x00"))
    assert not stream.full


def test_a_peer_that_says_nothing_at_first_is_left() -> None:
    stream = Stream(100.0)
    stream.take_output()
    assert stream.next_timer() == 100.0 + limits.CSM_WAIT
    stream.handle_timer(110.0)
    assert [message.code for message in written(stream)] == [Signal.ABORT]


def test_empty_messages_do_not_stand_for_the_csm() -> None:
    """RFC 8323, 3.4: they may always come, and say nothing."""
    stream = Stream(100.0)
    read(stream, b"\x00\x00" * 20, now=105.0)
    assert (stream.ended, stream.next_timer()) == (None, 100.0 + limits.CSM_WAIT)
    read(stream, CSM)
    assert stream.message_max == MESSAGE_BASE


def test_a_quiet_peer_is_asked_and_then_left(stream: Stream) -> None:
    """Half-open connections, slow senders: only whole messages count as a sign of life."""
    assert stream.next_timer() == limits.QUIET_MAX
    stream.handle_timer(limits.QUIET_MAX)
    assert [message.code for message in written(stream)] == [Signal.PING]
    read(stream, framed(Signal.PONG), now=125.0)
    assert stream.next_timer() == 125.0 + limits.QUIET_MAX
    stream.handle_timer(245.0)
    stream.feed(GET[:-1])
    assert stream.next_message(250.0) is None
    stream.handle_timer(245.0 + limits.PONG_WAIT)
    assert [message.code for message in written(stream)] == [Signal.PING, Signal.ABORT]


def test_a_timer_that_is_early_does_nothing(stream: Stream) -> None:
    stream.handle_timer(1.0)
    assert stream.take_output() == []


@given(st.lists(st.binary(max_size=60)))
def test_any_octets_are_messages_or_end_in_an_abort(chunks: list[bytes]) -> None:
    stream = Stream(0.0)
    for chunk in [CSM, *chunks]:
        read(stream, chunk)
    codes = [message.code for message in written(stream)]
    assert (Signal.ABORT in codes) <= (stream.ended is not None)
    assert codes.count(Signal.ABORT) <= 1


# frames


def test_a_frame_is_a_message_without_a_length() -> None:
    """RFC 8323, 4.2."""
    stream = Stream(0.0, sized=False)
    assert stream.receive_frame(CSM, 0.0) == b""
    assert decode(stream.receive_frame(b"\x01\x01a\xb4long", 0.0)).options == [(Option.URI_PATH, b"long")]
    stream.send(answer(b"a", bytes(500)))
    assert stream.take_output()[1] == b"\x01\x45a\xff" + bytes(500)


@pytest.mark.parametrize("frame", [b"", b"\x01", b"\x11\x01a\x00", bytes(MESSAGE_MAX + 1)])
def test_a_frame_that_is_no_message_is_aborted(frame: bytes) -> None:
    stream = Stream(0.0, sized=False)
    stream.receive_frame(CSM, 0.0)
    assert stream.receive_frame(frame, 0.0) == b""
    assert stream.ended is not None
    assert stream.receive_frame(CSM, 0.0) == b""


@given(st.binary())
def test_any_frame_is_a_message_or_ends_in_an_abort(frame: bytes) -> None:
    stream = Stream(0.0, sized=False)
    stream.receive_frame(CSM, 0.0)
    datagram = stream.receive_frame(frame, 0.0)
    if datagram:
        assert decode(datagram).code == frame[1]
