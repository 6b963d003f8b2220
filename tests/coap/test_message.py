"""CoAP messages on the wire (RFC 7252, 3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.coap.message import Message, block, decode, read_block, uint
from waypost.coap.numbers import Option
from waypost.errors import WireError

options = st.lists(
    st.tuples(st.one_of(st.integers(0, 300), st.integers(0, 0xFFFF)), st.binary(max_size=300)), max_size=6
).map(lambda pairs: sorted(pairs, key=lambda pair: pair[0]))
messages = st.builds(
    Message,
    st.integers(0, 3),
    st.integers(1, 255),
    st.integers(0, 0xFFFF),
    st.binary(max_size=8),
    options,
    st.binary(max_size=40),
)


def test_the_first_example_of_the_specification_is_these_octets() -> None:
    """RFC 7252, appendix A, figure 16."""
    request = Message(0, 1, 0x7D34, b"", [(Option.URI_PATH, b"temperature")])
    assert request.encode() == bytes.fromhex("40017d34bb") + b"temperature"
    response = Message(2, 0x45, 0x7D34, b"", [], b"22.3 C")
    assert response.encode() == bytes.fromhex("60457d34ff") + b"22.3 C"


@given(messages)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert decode(message.encode()) == message


@given(st.binary(max_size=64) | messages.map(Message.encode).flatmap(lambda whole: st.just(whole[:-1])))
def test_any_bytes_decode_exactly_or_raise_wire_error(data: bytes) -> None:
    try:
        message = decode(data)
    except WireError:
        return
    assert message.encode() == data


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        ("400101", "4 octets at least"),
        ("80010000", "version 2"),
        ("49010000" + "00" * 9, "longer than 8"),
        ("4401000061", "longer than 8 octets or than the message"),
        ("4000000061", "empty message"),
        ("40010000ff", "without payload"),
        ("40010000f061", "15 is reserved"),
        ("400100000f", "15 is reserved"),
        ("40010000b261", "past the message"),
        ("40010000d0", "past the message"),
        ("40010000e0ff", "past the message"),
        ("40010000e0ffffe0ffff", "does not exist"),
    ],
)
def test_a_broken_message_says_what_is_wrong(octets: str, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        decode(bytes.fromhex(octets))


def test_options_out_of_order_are_a_bug_of_ours() -> None:
    with pytest.raises(OverflowError):
        Message(0, 1, 1, b"", [(11, b"a"), (4, b"b")]).encode()


@given(st.integers(0, 0xFFFFF), st.booleans(), st.integers(0, 6))
def test_a_block_survives_its_option(number: int, more: bool, exponent: int) -> None:
    """RFC 7959, 2.2."""
    assert read_block(block(number, more, exponent)) == (number, more, exponent)


@pytest.mark.parametrize("value", [b"\x07", b"\0\0\0\0"])
def test_a_reserved_or_overlong_block_is_refused(value: bytes) -> None:
    with pytest.raises(WireError):
        read_block(value)


def test_zero_is_an_empty_value() -> None:
    """RFC 7252, 3.2."""
    assert uint(0) == b""
    assert uint(256) == b"\x01\x00"
