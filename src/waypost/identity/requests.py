"""HTTP requests signed by the node that makes them, for those who stand behind a proxy that ends TLS.

    Content-Digest: sha-256=:…:
    Signature-Input: waypost=("@method" "@path" "content-digest" "waypost-network" "waypost-to" "drip-node-id"
        "drip-node-counter");created=1795283303;expires=1795283363;nonce="…";keyid="node-2";alg="ed25519"
    Signature: waypost=:…:

All of COVERED has to be signed, the body by its digest; more may be.  A signature holds for LIFETIME_MAX_S at most, its
maker's clock may be SKEW_MAX_S ahead, and no nonce is taken twice.

Times are whole seconds since 1970.

Source: RFC 9421, 2, 3.2 and 7.2; RFC 9530, 2; notes on DRiP, 5.1.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from waypost.errors import DeniedError
from waypost.identity.keys import verifies

COVERED: Final = (
    "@method", "@path", "content-digest", "waypost-network", "waypost-to", "drip-node-id", "drip-node-counter",
)  # fmt: skip
LABEL: Final = "waypost"
LIFETIME_MAX_S: Final = 60
SKEW_MAX_S: Final = 30
FIELD_MAX: Final = 1_024  # characters of either field
USED_MAX: Final = 65_536  # nonces of one node; past them it has to wait until they have ended

_INPUT: Final = re.compile(
    rf'{LABEL}=(\((?P<covered>(?:"[a-z0-9@-]+" ?)*)\)(?P<parameters>(?:;[a-z]+=(?:\d+|"[^"\\]*"))*))'
)
_PARAMETER: Final = re.compile(r';([a-z]+)=(?:(\d+)|"([^"\\]*)")')
_SIGNATURE: Final = re.compile(rf"{LABEL}=:([A-Za-z0-9+/]{{86}}==):")

Sign = Callable[[bytes], bytes]
KeyOf = Callable[[str], bytes | None]  # the 32 octets of a node's key, by its name


@dataclass(frozen=True, slots=True)
class Message:
    """What of a request can be signed: `fields` by their names in lower case."""

    method: str
    path: str
    fields: Mapping[str, str]

    def base(self, covered: Sequence[str], parameters: str) -> bytes:
        """RFC 9421, 2.5.  Raises DeniedError for what the request does not have."""
        values = {"@method": self.method, "@path": self.path, **self.fields}
        lines = []
        for name in covered:
            if name not in values:
                raise DeniedError(f"the request has no {name}, which is signed")
            lines.append(f'"{name}": {values[name].strip()}')
        listed = " ".join(f'"{name}"' for name in covered)
        lines.append(f'"@signature-params": ({listed}){parameters}')
        return "\n".join(lines).encode("utf-8", "surrogateescape")


def digest_of(body: bytes) -> str:
    """The field Content-Digest."""
    return f"sha-256=:{base64.b64encode(sha256(body).digest()).decode()}:"


def signed(message: Message, name: str, sign: Sign, nonce: str, now_s: int) -> dict[str, str]:
    """The two fields to add; the message has its Content-Digest."""
    expires = now_s + LIFETIME_MAX_S
    parameters = f';created={now_s};expires={expires};nonce="{nonce}";keyid="{name}";alg="ed25519"'
    listed = " ".join(f'"{each}"' for each in COVERED)
    signature = base64.b64encode(sign(message.base(COVERED, parameters))).decode()
    return {"Signature-Input": f"{LABEL}=({listed}){parameters}", "Signature": f"{LABEL}=:{signature}:"}


class Signatures:
    """Takes signed requests, each once."""

    def __init__(self, key_of: KeyOf) -> None:
        self._key_of = key_of
        self._used: dict[str, dict[str, int]] = {}

    def take(self, message: Message, body: bytes, now_s: int) -> str:
        """The name of the node that made the request.  Raises DeniedError."""
        fields = message.fields
        found = _INPUT.fullmatch(fields.get("signature-input", "")[:FIELD_MAX])
        shown = _SIGNATURE.fullmatch(fields.get("signature", "")[:FIELD_MAX])
        if found is None or shown is None:
            raise DeniedError(f"the request is not signed as {LABEL!r}, with Ed25519")
        covered = tuple(name.strip('"') for name in found["covered"].split())
        given: dict[str, str] = {name: number or text for name, number, text in _PARAMETER.findall(found["parameters"])}
        if not set(COVERED) <= set(covered) or len(set(covered)) != len(covered):
            raise DeniedError(f"these have to be signed, once: {', '.join(COVERED)}")
        if fields.get("content-digest") != digest_of(body):
            raise DeniedError("the body has another digest")
        name, nonce = given.get("keyid", ""), given.get("nonce", "")
        ends = _end_of(given, now_s)
        key = self._key_of(name)
        if key is None or given.get("alg", "ed25519") != "ed25519":
            raise DeniedError("no node of this network has this key")
        if not verifies(key, _octets(shown[1]), message.base(covered, found["parameters"])):
            raise DeniedError("the signature is not the node's")
        self._use(name, nonce, ends, now_s)
        return name

    def _use(self, name: str, nonce: str, ends: int, now_s: int) -> None:
        used = self._used.setdefault(name, {})
        if nonce in used:
            raise DeniedError("the request has been made before")
        if len(used) >= USED_MAX:
            self._used[name] = used = {each: end for each, end in used.items() if end >= now_s}
            if len(used) >= USED_MAX:
                raise DeniedError("too many requests of this node within a minute")
        used[nonce] = ends


def _end_of(given: Mapping[str, str], now_s: int) -> int:
    """Raises DeniedError for one that does not hold now."""
    created, expires = given.get("created", ""), given.get("expires", "")
    if not (created.isdigit() and expires.isdigit() and given.get("nonce")):
        raise DeniedError("the signature needs created, expires and a nonce")
    begins, ends = int(created), int(expires)
    if begins > now_s + SKEW_MAX_S or ends < now_s or ends - begins > LIFETIME_MAX_S:
        raise DeniedError("the signature does not hold now: is one of the clocks wrong?")
    return ends


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
