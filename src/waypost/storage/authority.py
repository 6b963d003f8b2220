"""What the operator does to a state directory's keys: revoke, exchange the root, trust another's.

What is revoked takes effect with the node's next handshakes, as does all that these functions write.  A new version
of trust.json needs the operator's key, which is read for it and not kept.

Times are integer milliseconds since 1970.  Raises ConfigError for files that are not as they must be, DeniedError for
a key that is not the operator's, StateError for what cannot be done now.
"""

from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.errors import DeniedError, StateError
from waypost.identity import certificates, keys
from waypost.identity.anchors import (
    KNOWN_AS,
    OVERLAP_DAYS,
    REVOKED_MAX,
    Anchor,
    Revoked,
    Trust,
    seal_revoked,
    seal_trust,
    with_anchor,
    with_new_root,
)
from waypost.identity.certificates import DAY_MS, Certificate
from waypost.storage.keyring import Keyring, locked

FOREIGN_ROLES: Final = ("peer",)  # what another's root may make anybody, unless told otherwise


def revoke(keyring: Keyring, revoked: Revoked, wall_ms: int) -> Revoked:
    """From now on; returns what is revoked by this node in all."""
    with locked(keyring.folder):
        believed = keyring.believed(wall_ms)
        both = believed.revoked | revoked
        if max(map(len, (both.certificates, both.keys, both.tokens))) > REVOKED_MAX:
            raise StateError(f"{REVOKED_MAX} can be revoked of each kind", hint="take a new root: waypost ca rotate")
        if both != believed.revoked:
            keyring.write({"revoked.json": seal_revoked(both, believed.marks.revoked.version + 1, keyring.node)})
            keyring.believed(wall_ms)
    return both


def rotate(
    keyring: Keyring, operator: Ed25519PrivateKey, wall_ms: int, *, overlap_days: int = OVERLAP_DAYS
) -> Certificate:
    """A new root takes over; the old one is trusted for the overlap.

    The node makes its own certificate anew when it sees the new root, or when it starts.
    """
    key = keys.make_p256()
    root = certificates.make_root(key, wall_ms)
    with locked(keyring.folder):
        trust = with_new_root(keyring.believed(wall_ms).trust, root, wall_ms, overlap_days * DAY_MS)
        # First what is trusted: a root that nobody trusts yet certifies nobody.
        _sign(keyring, trust, operator, root.not_after_ms, wall_ms)
        keyring.write({"ca.pem": keys.write_private(key), "ca.crt": root.pem})
    return root


def trust_root(
    keyring: Keyring,
    operator: Ed25519PrivateKey,
    root: Certificate,
    wall_ms: int,
    *,
    known_as: str = "",
    roles: tuple[str, ...] = FOREIGN_ROLES,
) -> Anchor:
    """Another organisation's root: whom it certifies is NAME@known_as here, and has none but these roles."""
    anchor = Anchor(root, known_as or root.domain, roles, root.not_after_ms)
    if not root.is_authority:
        raise StateError("the certificate is not a root's: it may not sign others")
    if not root.not_before_ms <= wall_ms < root.not_after_ms:
        raise StateError("the root has expired, or is not valid yet")
    if not KNOWN_AS.fullmatch(anchor.known_as):
        raise StateError(f"nobody can be known as {known_as!r}: at most 16 of a-z, 0-9, dots and -")
    with locked(keyring.folder):
        trust = keyring.believed(wall_ms).trust
        try:
            _sign(keyring, with_anchor(trust, anchor), operator, trust.expires_ms, wall_ms)
        except ValueError as error:
            raise StateError(str(error)) from error
    return anchor


def distrust_root(keyring: Keyring, operator: Ed25519PrivateKey, known_as: str, wall_ms: int) -> None:
    """Another organisation's roots, all that are known by that name."""
    with locked(keyring.folder):
        trust = keyring.believed(wall_ms).trust
        kept = tuple(anchor for anchor in trust.anchors if anchor.is_ours or anchor.known_as != known_as)
        if len(kept) == len(trust.anchors):
            raise StateError(f"no root is known as {known_as!r} here")
        _sign(keyring, replace(trust, version=trust.version + 1, anchors=kept), operator, trust.expires_ms, wall_ms)


def renew_trust(keyring: Keyring, operator: Ed25519PrivateKey, days: int, wall_ms: int) -> Trust:
    """The same trust file for so many days more; what was revoked beside it goes into it."""
    with locked(keyring.folder):
        believed = keyring.believed(wall_ms, expired=True)
        trust = replace(believed.trust, version=believed.trust.version + 1, revoked=believed.all_revoked)
        _sign(keyring, trust, operator, wall_ms + days * DAY_MS, wall_ms)
        return keyring.believed(wall_ms).trust


def _sign(keyring: Keyring, trust: Trust, operator: Ed25519PrivateKey, expires_ms: int, wall_ms: int) -> None:
    if keys.fingerprint(operator.public_key()) != keys.fingerprint(keyring.operator):
        raise DeniedError("this is not the operator's key of this state directory")
    keyring.write({"trust.json": seal_trust(replace(trust, expires_ms=expires_ms), operator)})
    keyring.believed(wall_ms)
