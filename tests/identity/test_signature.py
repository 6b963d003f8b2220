"""Detached signatures over canonical JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.canonical import canonical
from waypost.errors import DeniedError, WireError
from waypost.identity import keys
from waypost.identity.signature import is_signed, seal, sign, unseal

KEY = keys.make_ed25519()
PUBLIC = KEY.public_key()
VALUE = {"name": "lamp-3", "seq": 7}


def test_a_signature_is_good_for_its_purpose_its_value_and_its_key() -> None:
    signature = sign(KEY, "record", VALUE)
    assert is_signed(PUBLIC, "record", dict(reversed(VALUE.items())), signature)
    assert not is_signed(PUBLIC, "vote", VALUE, signature)
    assert not is_signed(PUBLIC, "record", VALUE | {"seq": 8}, signature)
    assert not is_signed(keys.make_ed25519().public_key(), "record", VALUE, signature)
    assert not is_signed(PUBLIC, "record", VALUE, signature[:-1])


def test_what_is_signed_is_a_line_with_the_purpose_and_the_canonical_value() -> None:
    signature = sign(KEY, "record", VALUE)
    message = b'waypost signature v1 record\n{"name":"lamp-3","seq":7}'
    assert keys.verifies(PUBLIC.public_bytes_raw(), signature, message)


@pytest.mark.parametrize("value", [1.5, 2**53, {"ä": 1}, {1: 2}, b"octets", "\ud800", {"a": [1.0]}])
def test_what_has_two_spellings_is_not_signed(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        sign(KEY, "record", value)


def test_a_sealed_document_is_opened_with_its_key_and_purpose() -> None:
    sealed = seal(KEY, "record", VALUE)
    assert sealed.endswith(b"\n")
    assert sealed.count(b"\n") == 1
    assert unseal(sealed, "record", PUBLIC, 1_000) == VALUE
    with pytest.raises(DeniedError, match="its signature is wrong"):
        unseal(sealed, "vote", PUBLIC, 1_000)
    with pytest.raises(DeniedError, match="it is not signed with the key"):
        unseal(sealed, "record", keys.make_ed25519().public_key(), 1_000)
    with pytest.raises(WireError, match=f"{len(sealed)} octets, {len(sealed) - 1} at most"):
        unseal(sealed, "record", PUBLIC, len(sealed) - 1)


def test_a_changed_value_or_signature_is_noticed() -> None:
    document = {"key": keys.fingerprint(PUBLIC), "signature": sign(KEY, "record", VALUE).hex(), "value": VALUE}
    assert unseal(canonical(document), "record", PUBLIC, 1_000) == VALUE
    with pytest.raises(DeniedError, match="its signature is wrong"):
        unseal(canonical(document | {"value": VALUE | {"seq": 8}}), "record", PUBLIC, 1_000)
    other = sign(keys.make_ed25519(), "record", VALUE).hex()
    with pytest.raises(DeniedError, match="its signature is wrong"):
        unseal(canonical(document | {"signature": other}), "record", PUBLIC, 1_000)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{}", b'{"key":"","signature":"","value":1}',
        b'{"key":"","signature":"' + b"A" * 128 + b'","value":1}',
        b'{"key":"","signature":"' + b"a" * 126 + b'","value":1}',
        b'{"key":"","signature":1,"value":1}',
        b'{"extra":1,"key":"","signature":"' + b"a" * 128 + b'","value":1}',
        b'{"key": "","signature":"' + b"a" * 128 + b'","value":1}',
        b'{"key":"","key":"","signature":"' + b"a" * 128 + b'","value":1}',
    ],
)  # fmt: skip
def test_what_is_no_sealed_document_raises_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        unseal(data, "record", PUBLIC, 1_000)


@given(st.binary(max_size=300))
def test_any_octets_raise_nothing_but_our_errors(data: bytes) -> None:
    with pytest.raises((WireError, DeniedError)):
        unseal(data, "record", PUBLIC, 1_000)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_document_is_refused(place: int, octet: int) -> None:
    sealed = bytearray(seal(KEY, "record", VALUE).rstrip(b"\n"))
    was, sealed[place % len(sealed)] = sealed[place % len(sealed)], octet
    if octet == was:
        assert unseal(bytes(sealed), "record", PUBLIC, 1_000) == VALUE
    else:
        with pytest.raises((WireError, DeniedError)):
            unseal(bytes(sealed), "record", PUBLIC, 1_000)
