"""Signed requests: RFC 9421's own example, what is taken, and that nothing else is."""

import base64
from dataclasses import replace
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import DeniedError
from waypost.identity.keys import verifies
from waypost.identity.requests import COVERED, LIFETIME_MAX_S, SKEW_MAX_S, Message, Signatures, digest_of, signed

NOW: Final = 1_795_283_303
KEY: Final = Ed25519PrivateKey.from_private_bytes(b"berta".ljust(32))
BODY: Final = b'[{"type":"prune"}]'
PLAIN: Final = Message(
    "POST",
    "/commit",
    {
        "content-digest": digest_of(BODY),
        "waypost-network": "ab" * 32,
        "waypost-to": "anna",
        "drip-node-id": "berta",
        "drip-node-counter": "7",
    },
)


def key_of(name: str) -> bytes | None:
    return KEY.public_key().public_bytes_raw() if name == "berta" else None


def made(message: Message = PLAIN, *, name: str = "berta", nonce: str = "n1", now: int = NOW) -> Message:
    fields = signed(message, name, KEY.sign, nonce, now)
    return replace(message, fields=dict(message.fields) | {each.lower(): text for each, text in fields.items()})


@pytest.fixture
def signatures() -> Signatures:
    return Signatures(key_of)


def test_the_base_is_that_of_the_rfc_s_example() -> None:
    """RFC 9421, B.2.6."""
    message = Message(
        "POST",
        "/foo",
        {
            "date": "Tue, 20 Apr 2021 02:07:55 GMT",
            "@authority": "example.com",
            "content-type": "application/json",
            "content-length": "18",
        },
    )
    covered = ("date", "@method", "@path", "@authority", "content-type", "content-length")
    base = message.base(covered, ';created=1618884473;keyid="test-key-ed25519"')
    public = base64.urlsafe_b64decode("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs=")
    signature = base64.b64decode(
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )
    assert verifies(public, signature, base)


def test_what_a_node_signed_is_its_own_until_the_signature_ends(signatures: Signatures) -> None:
    assert signatures.take(made(), BODY, NOW) == "berta"
    assert signatures.take(made(nonce="n2"), BODY, NOW + LIFETIME_MAX_S) == "berta"
    assert signatures.take(made(nonce="n3"), BODY, NOW - SKEW_MAX_S) == "berta"
    for when in (NOW + LIFETIME_MAX_S + 1, NOW - SKEW_MAX_S - 1):
        with pytest.raises(DeniedError, match="does not hold now"):
            signatures.take(made(nonce="n4"), BODY, when)


def test_no_request_is_taken_twice(signatures: Signatures) -> None:
    signatures.take(made(), BODY, NOW)
    with pytest.raises(DeniedError, match="before"):
        signatures.take(made(), BODY, NOW + 1)


@pytest.mark.parametrize(
    "name", ["content-digest", "waypost-network", "waypost-to", "drip-node-id", "drip-node-counter"]
)
def test_a_field_that_was_changed_or_taken_away_is_noticed(signatures: Signatures, name: str) -> None:
    message = made()
    with pytest.raises(DeniedError):
        signatures.take(replace(message, fields=dict(message.fields) | {name: "8"}), BODY, NOW)
    with pytest.raises(DeniedError):
        signatures.take(replace(message, fields={k: v for k, v in message.fields.items() if k != name}), BODY, NOW)
    assert signatures.take(message, BODY, NOW) == "berta"


def test_another_body_path_or_method_is_noticed(signatures: Signatures) -> None:
    message = made()
    with pytest.raises(DeniedError, match="digest"):
        signatures.take(message, BODY + b" ", NOW)
    for other in (replace(message, path="/voting"), replace(message, method="PUT")):
        with pytest.raises(DeniedError, match="not the node's"):
            signatures.take(other, BODY, NOW)


def test_a_stranger_and_a_node_under_another_s_name_are_refused(signatures: Signatures) -> None:
    with pytest.raises(DeniedError, match="no node"):
        signatures.take(made(name="carla"), BODY, NOW)
    other = Ed25519PrivateKey.generate()
    fields = signed(PLAIN, "berta", other.sign, "n1", NOW)
    forged = replace(PLAIN, fields=dict(PLAIN.fields) | {name.lower(): text for name, text in fields.items()})
    with pytest.raises(DeniedError, match="not the node's"):
        signatures.take(forged, BODY, NOW)


@pytest.mark.parametrize("left_out", COVERED)
def test_less_than_all_that_matters_is_not_enough(signatures: Signatures, left_out: str) -> None:
    covered = [name for name in COVERED if name != left_out]
    parameters = f';created={NOW};expires={NOW + 60};nonce="n";keyid="berta";alg="ed25519"'
    signature = base64.b64encode(KEY.sign(PLAIN.base(covered, parameters))).decode()
    listed = " ".join(f'"{name}"' for name in covered)
    fields = {"signature-input": f"waypost=({listed}){parameters}", "signature": f"waypost=:{signature}:"}
    with pytest.raises(DeniedError, match="have to be signed"):
        signatures.take(replace(PLAIN, fields=dict(PLAIN.fields) | fields), BODY, NOW)


@pytest.mark.parametrize("parameters", [
    f';created={NOW};expires={NOW + 61};nonce="n";keyid="berta"',
    f';created={NOW};nonce="n";keyid="berta"',
    f';expires={NOW + 60};nonce="n";keyid="berta"',
    f';created={NOW};expires={NOW + 60};keyid="berta"',
    f';created={NOW};expires={NOW + 60};nonce="n";keyid="berta";alg="rsa-v1_5-sha256"',
])  # fmt: skip
def test_a_signature_for_too_long_or_for_ever_or_without_a_nonce_is_refused(
    signatures: Signatures, parameters: str
) -> None:
    signature = base64.b64encode(KEY.sign(PLAIN.base(COVERED, parameters))).decode()
    listed = " ".join(f'"{name}"' for name in COVERED)
    fields = {"signature-input": f"waypost=({listed}){parameters}", "signature": f"waypost=:{signature}:"}
    with pytest.raises(DeniedError):
        signatures.take(replace(PLAIN, fields=dict(PLAIN.fields) | fields), BODY, NOW)


@given(st.text(max_size=200), st.text(max_size=120))
def test_any_text_is_refused(into: str, signature: str) -> None:
    fields = dict(PLAIN.fields) | {"signature-input": into, "signature": signature}
    with pytest.raises(DeniedError):
        Signatures(key_of).take(replace(PLAIN, fields=fields), BODY, NOW)
