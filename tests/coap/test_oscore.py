"""What lies where in a protected message (RFC 8613, 4 to 6), without a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.coap.message import Message, decode
from waypost.coap.numbers import Code, Option, Type
from waypost.coap.oscore import Head, answer_head, carries, partial_iv, read_head, request_head, unwrap, wrap
from waypost.errors import WireError

HEADS = st.builds(
    Head,
    st.binary(max_size=5),
    st.none() | st.binary(max_size=7),
    st.none() | st.binary(max_size=64),
)


@given(HEADS)
def test_the_option_survives_the_wire(head: Head) -> None:
    assert read_head(head.encode()) == head


@given(st.binary(max_size=20))
def test_any_octets_are_an_option_or_raise_wire_error(value: bytes) -> None:
    try:
        head = read_head(value)
    except WireError:
        return
    assert head.encode() == value or value == b"\0"  # no flag at all is written as nothing (6.1)


@pytest.mark.parametrize(
    "value",
    [
        b"\x0e\0\0\0\0\0\0",  # n = 6
        b"\x0f\0\0\0\0\0\0\0",  # n = 7
        b"\x21\0",  # the sixth bit, of groups
        b"\x41\0",
        b"\x81\0",
        b"\x02\0",  # shorter than its Partial IV
        b"\x19\0",  # without the length of its kid context
        b"\x19\0\x02a",  # shorter than its kid context
        b"\x01\0a",  # a kid that no flag says
    ],
)
def test_what_is_reserved_or_cut_short_is_malformed(value: bytes) -> None:
    with pytest.raises(WireError):
        read_head(value)


@pytest.mark.parametrize(
    ("number", "octets"), [(0, "00"), (1, "01"), (255, "ff"), (256, "0100"), (2**40 - 1, "ffffffffff")]
)
def test_a_partial_iv_has_no_leading_zeros(number: int, octets: str) -> None:
    assert partial_iv(number).hex() == octets


@given(
    st.lists(st.sampled_from([1, 3, 4, 5, 6, 7, 8, 9, 11, 12, 60, 252, 2000]), max_size=6),
    st.integers(0, 300),
    st.binary(max_size=8),
)
def test_an_option_is_found_without_decoding(numbers: list[int], size: int, token: bytes) -> None:
    options = [(number, bytes(min(size, 255) if number == Option.URI_HOST else 2)) for number in sorted(numbers)]
    data = Message(Type.CON, Code.POST, 1, token, options, b"payload").encode()
    assert carries(data, Option.OSCORE) == (9 in numbers)
    assert carries(data, Option.OBSERVE) == (6 in numbers)


@given(st.binary(min_size=4, max_size=40))
def test_looking_for_an_option_raises_for_no_octets(data: bytes) -> None:
    assert carries(data, Option.OSCORE) in (True, False)


def test_a_request_needs_a_partial_iv_and_a_kid_and_one_option() -> None:
    """8.2, 2."""

    def request(*values: bytes) -> Message:
        return Message(Type.CON, Code.POST, 1, b"", [(Option.OSCORE, value) for value in values])

    assert request_head(request(b"\x09\0a")) == Head(b"\0", b"a")
    for broken in (request(b"\x01\0"), request(b"\x08a"), request(b"\x09\0a", b"\x09\0a"), request(b"")):
        with pytest.raises(WireError):
            request_head(broken)
    assert answer_head(request(b"")) == Head()


def test_outside_is_discarded_what_should_be_inside() -> None:
    """8.2, 1: an outer If-Match goes, an outer Uri-Host stays."""
    outside: list[tuple[int, bytes]] = [
        (Option.IF_MATCH, b"x"),
        (Option.URI_HOST, b"host"),
        (Option.OBSERVE, b""),
        (Option.URI_PORT, b"\x16\x33"),
        (Option.OSCORE, b"\x09\0a"),
        (Option.URI_PATH, b"forged"),
        (Option.PROXY_SCHEME, b"coap"),
        (Option.NO_RESPONSE, b"\x1a"),
    ]
    message = Message(Type.CON, Code.POST, 7, b"t", outside, b"ciphertext")
    inner = unwrap(message, bytes((Code.GET,)) + b"\xb2rd\x01a\x41q")  # two of Uri-Path, and Uri-Query
    assert (inner.type, inner.code, inner.id, inner.token, inner.payload) == (Type.CON, Code.GET, 7, b"t", b"")
    assert inner.options == [
        (Option.URI_HOST, b"host"),
        (Option.URI_PORT, b"\x16\x33"),
        (Option.URI_PATH, b"rd"),
        (Option.URI_PATH, b"a"),
        (Option.URI_QUERY, b"q"),
        (Option.PROXY_SCHEME, b"coap"),
    ]


def test_a_notification_counts_outside_and_not_inside() -> None:
    """4.1.3.5.2: the inner Observe is empty, the outer one for those between."""
    news = Message(Type.CON, Code.CONTENT, 7, b"t", [(Option.ETAG, b"e"), (Option.OBSERVE, b"\x05")], b"news").encode()
    outer, plaintext = wrap(news, Code.CONTENT, Head(b"\x09"))
    assert outer.options == [(Option.OBSERVE, b"\x05"), (Option.OSCORE, b"\x01\x09")]
    assert (outer.type, outer.code, outer.id, outer.token) == (Type.CON, Code.CONTENT, 7, b"t")
    inner = decode(b"\x40" + plaintext[:1] + b"\0\0" + plaintext[1:])
    assert inner.options == [(Option.ETAG, b"e"), (Option.OBSERVE, b"")]
    assert (inner.code, inner.payload) == (Code.CONTENT, b"news")
