"""The token of a peer that speaks the draft: by hand, by property, and one that openssl signed."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import DeniedError, WaypostError, WireError
from waypost.identity.jwt import LIFETIME_MAX_S, SKEW_MAX_S, TOKEN_MAX, USED_MAX, Tokens, issued

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CLAIMS: dict[str, Any] = {"iss": "bell", "aud": "anna", "iat": NOW, "exp": NOW + 60, "jti": "one"}
HEADER = {"alg": "EdDSA", "typ": "JWT"}


@pytest.fixture
def tokens() -> Tokens:
    return Tokens("anna", {"bell": KEY.public_key().public_bytes_raw()})


def part(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def jwt(header: dict[str, Any] | None = None, key: Ed25519PrivateKey = KEY, **claims: Any) -> str:
    given = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    signed = f"{part(json.dumps(header or HEADER).encode())}.{part(json.dumps(given).encode())}"
    return f"{signed}.{part(key.sign(signed.encode()))}"


def test_a_token_says_who_calls(tokens: Tokens) -> None:
    assert tokens.take(jwt(), NOW * 1000).iss == "bell"


def test_an_audience_may_be_one_of_several(tokens: Tokens) -> None:
    """RFC 7519, 4.1.3."""
    assert tokens.take(jwt(aud=["berta", "anna"]), NOW * 1000).iss == "bell"


def test_times_may_be_broken(tokens: Tokens) -> None:
    """RFC 7519, 2: NumericDate."""
    assert tokens.take(jwt(iat=NOW - 0.5, exp=NOW + 0.5), NOW * 1000).iss == "bell"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "curl"},
        {"iss": ""},
        {"aud": "berta"},
        {"aud": []},
        {"exp": NOW},
        {"exp": NOW - 1},
        {"exp": NOW + LIFETIME_MAX_S + 1},
        {"iat": NOW - 1},
        {"iat": NOW + SKEW_MAX_S + 1, "exp": NOW + SKEW_MAX_S + 2},
        {"iat": NOW - 61, "exp": NOW - 1},
        {"exp": 1e300},
    ],
)
def test_what_is_not_for_us_and_now_is_denied(tokens: Tokens, claims: dict[str, Any]) -> None:
    with pytest.raises(DeniedError):
        tokens.take(jwt(**claims), NOW * 1000)
    assert len(tokens) == 0


@pytest.mark.parametrize("missing", list(CLAIMS))
def test_every_claim_is_needed(tokens: Tokens, missing: str) -> None:
    with pytest.raises(WireError):
        tokens.take(jwt(HEADER, KEY, **{missing: None}), NOW * 1000)


@pytest.mark.parametrize(
    "header",
    [{"alg": "none"}, {"alg": "HS256"}, {"alg": "ES256"}, {"typ": "JWT"}, {"alg": "EdDSA", "crit": ["b64"]}],
)
def test_one_algorithm_is_taken(tokens: Tokens, header: dict[str, Any]) -> None:
    """RFC 8725, 3.1."""
    with pytest.raises(WireError):
        tokens.take(jwt(header), NOW * 1000)


def test_another_key_signs_for_nobody(tokens: Tokens) -> None:
    with pytest.raises(DeniedError):
        tokens.take(jwt(key=Ed25519PrivateKey.from_private_bytes(bytes(32))), NOW * 1000)


def test_a_peer_without_a_key_has_no_tokens() -> None:
    with pytest.raises(DeniedError):
        Tokens("anna", {}).take(jwt(), NOW * 1000)


def test_a_token_is_used_once(tokens: Tokens) -> None:
    tokens.take(jwt(), NOW * 1000)
    with pytest.raises(DeniedError, match="used before"):
        tokens.take(jwt(), (NOW + 59) * 1000)
    assert tokens.take(jwt(jti="two"), NOW * 1000).iss == "bell"


def test_the_same_name_is_good_again_once_the_token_has_ended(tokens: Tokens) -> None:
    tokens.take(jwt(), NOW * 1000)
    assert tokens.take(jwt(iat=NOW + 60, exp=NOW + 61), (NOW + 60) * 1000).iss == "bell"


def test_so_many_are_remembered_and_none_of_them_is_forgotten(tokens: Tokens) -> None:
    for number in range(USED_MAX):
        tokens.take(jwt(jti=str(number), exp=NOW + 30 + number % 2), NOW * 1000)
    with pytest.raises(DeniedError, match="too many"):
        tokens.take(jwt(jti="more"), NOW * 1000)
    with pytest.raises(DeniedError, match="used before"):
        tokens.take(jwt(jti="0", exp=NOW + 30), NOW * 1000)
    assert tokens.take(jwt(jti="more", iat=NOW + 30), (NOW + 30) * 1000).iss == "bell"
    assert len(tokens) == USED_MAX // 2 + 1


def test_a_token_has_one_spelling(tokens: Tokens) -> None:
    text = jwt()
    last = text[-1]
    other = chr(ord(last) + 1)  # bits that the last character has to spare
    for spelled in (text + "=", text[:-1] + other, text.replace(".", ". ", 1), f"{text}\n", text.replace("-", "+")):
        if spelled != text:
            with pytest.raises(WaypostError):
                tokens.take(spelled, NOW * 1000)
    assert len(tokens) == 0


def test_a_token_is_short(tokens: Tokens) -> None:
    with pytest.raises(WireError):
        tokens.take(jwt(more="x" * TOKEN_MAX), NOW * 1000)


@given(st.text() | st.from_regex(r"\A[\w-]*\.[\w-]*\.[\w-]*\Z"))
def test_any_text_is_a_token_or_raises_one_of_two_errors(text: str) -> None:
    with pytest.raises((WireError, DeniedError)):
        Tokens("anna", {"bell": KEY.public_key().public_bytes_raw()}).take(text, NOW * 1000)


@given(place=st.integers(0, 1_000), flip=st.integers(1, 127))
def test_a_token_that_was_changed_anywhere_is_refused(place: int, flip: int) -> None:
    text = bytearray(jwt().encode())
    text[place % len(text)] ^= flip
    with pytest.raises((WireError, DeniedError)):
        Tokens("anna", {"bell": KEY.public_key().public_bytes_raw()}).take(text.decode(), NOW * 1000)


@pytest.mark.peer("openssl")
def test_openssl_signs_one_that_we_take(tmp_path: Path) -> None:
    def openssl(*line: str) -> bytes:
        return subprocess.run(["openssl", *line], cwd=tmp_path, check=True, capture_output=True).stdout

    openssl("genpkey", "-algorithm", "ed25519", "-out", "bell.pem")
    public = openssl("pkey", "-in", "bell.pem", "-pubout", "-outform", "DER")[-32:]
    signed = f"{part(json.dumps(HEADER).encode())}.{part(json.dumps(CLAIMS).encode())}"
    (tmp_path / "signed").write_text(signed)
    signature = openssl("pkeyutl", "-sign", "-rawin", "-in", "signed", "-inkey", "bell.pem")
    assert Tokens("anna", {"bell": public}).take(f"{signed}.{part(signature)}", NOW * 1000).iss == "bell"


def test_one_of_ours_is_taken_and_is_for_its_body_alone(tokens: Tokens) -> None:
    claims = tokens.take(issued("bell", "anna", b'{"a":1}', KEY.sign, "of its own", NOW), NOW * 1000)
    assert (claims.iss, claims.aud, claims.jti) == ("bell", "anna", "of its own")
    assert (claims.iat, claims.exp) == (NOW, NOW + LIFETIME_MAX_S)
    assert claims.covers(b'{"a":1}')
    assert not claims.covers(b'{"a":2}')
    assert not claims.covers(b"")


def test_one_that_says_nothing_of_a_body_covers_any(tokens: Tokens) -> None:
    assert tokens.take(jwt(), NOW * 1000).covers(b"anything")


def test_a_digest_of_another_algorithm_covers_nothing(tokens: Tokens) -> None:
    assert not tokens.take(jwt(digest="sha-512=:AAAA:"), NOW * 1000).covers(b"")
