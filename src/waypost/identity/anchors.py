"""Whom a node trusts: roots and revocations, in a file that the operator's key signs.

A root of this organisation has `known_as` "": who it certifies goes by the bare name, and keeps it when a new root
takes over.  Who another's root certifies goes by NAME@known_as, and has no role but those that the anchor grants:
another's administrator is not ours.  Two roots are trusted at once while one is exchanged for the other, each until
its own end.

The file holds a version, which only grows.  A node remembers the highest that it has seen and what it said, and takes
neither an older one nor another of the same version.

    {"anchors":[{"certificate":"<DER, base64>","known_as":"","roles":["admin","device","peer","reader"],
     "until_ms":…}],"expires_ms":…,"format":1,"revoked":{"certificates":[],"keys":[],"tokens":[]},"version":1}

What is revoked between two versions stands beside it, in a file of the same kind that the node's key signs.

Source: notes on reliability, D1 (anchors, rotation, rollback); The Update Framework, 5.3.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from waypost.errors import DeniedError, WireError
from waypost.identity import ROLES
from waypost.identity.certificates import Certificate, read_certificate
from waypost.identity.signature import seal, unseal

PURPOSE: Final = "trust"
REVOCATIONS: Final = "revocations"
FORMAT: Final = 1
TRUST_MAX: Final = 16 << 20  # octets of either file
ANCHORS_MAX: Final = 64
REVOKED_MAX: Final = 100_000  # of each kind
OVERLAP_DAYS: Final = 90  # in which an old root is still trusted

KNOWN_AS: Final = re.compile(r"[a-z0-9.-]{0,16}", re.ASCII)
SERIAL: Final = re.compile(r"[1-9a-f][0-9a-f]{0,39}", re.ASCII)
FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
TOKEN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A root, under which name those it certifies are known, with which roles, and until when."""

    certificate: Certificate
    known_as: str
    roles: tuple[str, ...]
    until_ms: int

    @property
    def is_ours(self) -> bool:
        return not self.known_as


@dataclass(frozen=True, slots=True)
class Revoked:
    """Serials of certificates and fingerprints of keys, in hexadecimal, and ids of tokens."""

    certificates: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()

    def names(self, marks: frozenset[str]) -> bool:
        """Whether one of `marks`, serials and fingerprints of keys, is among them."""
        return not (marks.isdisjoint(self.certificates) and marks.isdisjoint(self.keys))

    def __or__(self, other: "Revoked") -> "Revoked":
        return Revoked(self.certificates | other.certificates, self.keys | other.keys, self.tokens | other.tokens)


@dataclass(frozen=True, slots=True)
class Trust:
    """Of one version.  `digest` names what the version says; it is "" until it is written or read."""

    version: int = 0
    expires_ms: int = 0
    anchors: tuple[Anchor, ...] = ()
    revoked: Revoked = field(default_factory=Revoked)
    digest: str = ""

    def anchored(self, wall_ms: int) -> tuple[Anchor, ...]:
        """The anchors that are trusted now."""
        return tuple(anchor for anchor in self.anchors if wall_ms < anchor.until_ms)

    def also_revoking(self, revoked: Revoked) -> "Trust":
        return replace(self, revoked=self.revoked | revoked)


def our_anchor(root: Certificate) -> Anchor:
    return Anchor(root, "", ROLES, root.not_after_ms)


def seal_trust(trust: Trust, key: Ed25519PrivateKey) -> bytes:
    value = {
        "format": FORMAT,
        "version": trust.version,
        "expires_ms": trust.expires_ms,
        "anchors": [
            {
                "certificate": base64.b64encode(anchor.certificate.der).decode(),
                "known_as": anchor.known_as,
                "roles": list(anchor.roles),
                "until_ms": anchor.until_ms,
            }
            for anchor in trust.anchors
        ],
        "revoked": _plain(trust.revoked),
    }
    return seal(key, PURPOSE, value)


def read_trust(data: bytes, public: Ed25519PublicKey) -> Trust:
    """Raises WireError for what is no trust file, and DeniedError for one that the operator's key did not sign."""
    value = unseal(data, PURPOSE, public, TRUST_MAX)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise WireError(f"the trust file is not of format {FORMAT}, which is the one this waypost reads")
    try:
        written = msgspec.convert(value, WrittenTrust)
    except msgspec.ValidationError as error:
        raise WireError(f"the trust file is not as it must be: {error}") from error
    if written.version < 1 or not 1 <= len(written.anchors) <= ANCHORS_MAX:
        raise WireError(f"a trust file has a version from 1 on, and 1 to {ANCHORS_MAX} anchors")
    anchors = tuple(map(_anchor, written.anchors))
    return Trust(written.version, written.expires_ms, anchors, _revoked(written.revoked), sha256(data).hexdigest())


def require_current(trust: Trust, seen: "Seen", wall_ms: int) -> None:
    """Raises DeniedError for a trust file that is older than one seen before, another of its version, or expired."""
    if trust.version < seen.version:
        raise DeniedError(f"the trust file is of version {trust.version}, and version {seen.version} was seen before")
    if trust.version == seen.version and trust.digest != seen.digest:
        raise DeniedError(f"there are two different trust files of version {trust.version}")
    if trust.expires_ms <= wall_ms:
        raise DeniedError(f"the trust file of version {trust.version} has expired")


class Seen(Struct, frozen=True, forbid_unknown_fields=True):
    """The highest version of a file that was taken, and what it said."""

    version: int = 0
    digest: str = ""


def seal_revoked(revoked: Revoked, version: int, key: Ed25519PrivateKey) -> bytes:
    return seal(key, REVOCATIONS, {"format": FORMAT, "version": version, "revoked": _plain(revoked)})


def read_revoked(data: bytes, public: Ed25519PublicKey) -> tuple[Revoked, Seen]:
    """What is revoked, and which version says so.  Raises WireError and DeniedError as read_trust() does."""
    value = unseal(data, REVOCATIONS, public, TRUST_MAX)
    try:
        written = msgspec.convert(value, WrittenRevocations)
    except msgspec.ValidationError as error:
        raise WireError(f"the revocations are not as they must be: {error}") from error
    if written.format != FORMAT:
        raise WireError(f"the revocations are not of format {FORMAT}, which is the one this waypost reads")
    return _revoked(written.revoked), Seen(written.version, sha256(data).hexdigest())


def with_anchor(trust: Trust, anchor: Anchor) -> Trust:
    """The next version, with this anchor too.  Raises ValueError if it is trusted already, or is one too many."""
    if any(known.certificate.public == anchor.certificate.public for known in trust.anchors):
        raise ValueError("a root with this key is trusted already")
    if len(trust.anchors) >= ANCHORS_MAX:
        raise ValueError(f"{ANCHORS_MAX} roots are trusted at most")
    return replace(trust, version=trust.version + 1, anchors=(*trust.anchors, anchor), digest="")


def with_new_root(trust: Trust, root: Certificate, wall_ms: int, overlap_ms: int) -> Trust:
    """The next version, in which `root` is ours and our older ones end when the overlap has passed."""
    ended = tuple(
        replace(anchor, until_ms=min(anchor.until_ms, wall_ms + overlap_ms)) if anchor.is_ours else anchor
        for anchor in trust.anchors
        if wall_ms < anchor.until_ms
    )
    return with_anchor(replace(trust, anchors=ended), our_anchor(root))


class WrittenAnchor(Struct, frozen=True, forbid_unknown_fields=True):
    certificate: str
    known_as: str
    roles: tuple[str, ...]
    until_ms: int


class WrittenRevoked(Struct, frozen=True, forbid_unknown_fields=True):
    certificates: tuple[str, ...]
    keys: tuple[str, ...]
    tokens: tuple[str, ...]


class WrittenTrust(Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    version: int
    expires_ms: int
    anchors: tuple[WrittenAnchor, ...]
    revoked: WrittenRevoked


class WrittenRevocations(Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    version: int
    revoked: WrittenRevoked


def _anchor(written: WrittenAnchor) -> Anchor:
    try:
        certificate = read_certificate(base64.b64decode(written.certificate, validate=True))
    except ValueError as error:
        raise WireError("the certificate of an anchor is not in base64") from error
    if not certificate.is_authority:
        raise WireError("the certificate of an anchor is not an authority's")
    if not KNOWN_AS.fullmatch(written.known_as):
        raise WireError("an anchor is known as something that is no name: at most 16 of a-z, 0-9, dots and -")
    if not {*written.roles} <= {*ROLES}:
        raise WireError(f"an anchor grants a role that is none of {', '.join(ROLES)}")
    return Anchor(certificate, written.known_as, written.roles, written.until_ms)


def _revoked(written: WrittenRevoked) -> Revoked:
    return Revoked(
        _each(written.certificates, SERIAL, "serial"),
        _each(written.keys, FINGERPRINT, "fingerprint"),
        _each(written.tokens, TOKEN_ID, "token's id"),
    )


def _each(items: Iterable[str], pattern: re.Pattern[str], what: str) -> frozenset[str]:
    found = frozenset(items)
    if len(found) > REVOKED_MAX:
        raise WireError(f"more than {REVOKED_MAX} are revoked of one kind")
    if not all(map(pattern.fullmatch, found)):
        raise WireError(f"what is revoked is no {what}")
    return found


def _plain(revoked: Revoked) -> Mapping[str, list[str]]:
    return {
        "certificates": sorted(revoked.certificates),
        "keys": sorted(revoked.keys),
        "tokens": sorted(revoked.tokens),
    }
