"""A JSON Web Token by which a peer of the draft calls: signed with its key, for one node, for a minute, used once.

    {"alg":"EdDSA"}  {"iss": its name, "aud": the node's, "iat": …, "exp": …, "jti": a text of its own,
                      "digest": of the body, as the field Content-Digest has it; may be left out}

Times are whole or broken seconds since 1970.  What has been used is remembered until it would have ended.

Source: RFC 7515, 3.1 and 7.1; RFC 7519, 4.1; RFC 8037, 3.1; RFC 9530, 2; notes on DRiP, 1.7 and 5.1.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from waypost.errors import DeniedError, WireError
from waypost.identity.keys import verifies
from waypost.identity.requests import digest_of

TOKEN_MAX: Final = 2_048  # characters
LIFETIME_MAX_S: Final = 60
SKEW_MAX_S: Final = 30  # that the issuer's clock may be ahead
HEADER: Final = b'{"alg":"EdDSA","typ":"JWT"}'
USED_MAX: Final = 4_096  # tokens of one issuer that have not ended; past them it has to wait

S = TypeVar("S", bound=Struct)


class Header(Struct, frozen=True):
    alg: Literal["EdDSA"]
    crit: None = None  # RFC 7515, 4.1.11: nothing that has to be understood


class Claims(Struct, frozen=True):
    iss: str
    aud: str | tuple[str, ...]
    iat: int | float
    exp: int | float
    jti: Annotated[str, Meta(min_length=1, max_length=64)]
    digest: str | None = None

    def covers(self, body: bytes) -> bool:
        """Whether it is for a request with this body, or says nothing of one."""
        return self.digest is None or self.digest == digest_of(body)


def issued(issuer: str, audience: str, body: bytes, sign: Callable[[bytes], bytes], jti: str, now_s: int) -> str:
    """One that `issuer` calls `audience` with, now; `sign` is with an Ed25519 key."""
    claims = Claims(issuer, audience, now_s, now_s + LIFETIME_MAX_S, jti, digest_of(body))
    signed = f"{_part(HEADER)}.{_part(msgspec.json.encode(claims))}"
    return f"{signed}.{_part(sign(signed.encode()))}"


_header: Final = msgspec.json.Decoder(Header)
_claims: Final = msgspec.json.Decoder(Claims)


class Tokens:
    """`keys` are the 32 octets of each issuer's Ed25519 key, by its name; `audience` is this node."""

    def __init__(self, audience: str, keys: Mapping[str, bytes]) -> None:
        self._audience = audience
        self._keys = keys
        self._used: dict[str, dict[str, float]] = {issuer: {} for issuer in keys}

    def take(self, text: str, wall_ms: int) -> Claims:
        """What it says; whether it covers the body is the caller's to ask.

        Raises WireError for what is no such token, DeniedError for one that is not good (now).
        """
        if len(text) > TOKEN_MAX or not text.isascii() or text.count(".") != 2:
            raise WireError("it is no JWT of three parts")
        signed, _, signature = text.rpartition(".")
        header, payload = signed.split(".")
        _decode(header, _header)
        claims = _decode(payload, _claims)
        key = self._keys.get(claims.iss)
        if key is None or not verifies(key, _octets(signature), signed.encode()):
            raise DeniedError("its signature is not that of a peer whose key is configured")
        if self._audience not in (claims.aud if isinstance(claims.aud, tuple) else (claims.aud,)):
            raise DeniedError(f"its aud is not {self._audience}")
        now = wall_ms / 1000
        if not (claims.iat - SKEW_MAX_S <= now < claims.exp <= claims.iat + LIFETIME_MAX_S):
            raise DeniedError(f"it is not valid now, or for longer than {LIFETIME_MAX_S} seconds")
        self._use(claims, now)
        return claims

    def __len__(self) -> int:
        """Of those remembered."""
        return sum(map(len, self._used.values()))

    def _use(self, claims: Claims, now: float) -> None:
        used = self._used[claims.iss]
        if used.get(claims.jti, now) > now:
            raise DeniedError("it was used before")
        if len(used) >= USED_MAX:
            for jti in [jti for jti, end in used.items() if end <= now]:
                del used[jti]
            if len(used) >= USED_MAX:
                raise DeniedError("too many were used within a minute")
        used[claims.jti] = claims.exp


def _part(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _decode(part: str, decoder: "msgspec.json.Decoder[S]") -> S:
    try:
        return decoder.decode(_octets(part))
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise WireError("its header or its claims are not those of the profile") from error


def _octets(part: str) -> bytes:
    """RFC 7515, 2: base64url without padding, and with no other spelling."""
    try:
        octets = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("it is not base64url") from error
    if base64.urlsafe_b64encode(octets).rstrip(b"=").decode() != part:
        raise WireError("it is not base64url in its one spelling")
    return octets
