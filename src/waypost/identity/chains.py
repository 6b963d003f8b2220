"""Whom a chain of certificates stands for, now, to a node with these anchors.

What costs little is asked first: sizes, the identity, the time, revocation; signatures come last, at most one for
each certificate and anchor of a fitting name.

Source: RFC 5280, 6.1; notes on reliability, D1 and D3.
"""

from collections.abc import Sequence
from typing import Final

from waypost.errors import DeniedError, WireError
from waypost.identity import Identity
from waypost.identity.anchors import Anchor, Revoked, Trust
from waypost.identity.certificates import Certificate, identity_of, is_issued_by, read_certificate
from waypost.identity.keys import fingerprint

CHAIN_MAX: Final = 3  # certificates: one's own, one between, and the root, which may be left out


def certified(chain: Sequence[bytes], trust: Trust, wall_ms: int) -> Identity:
    """Whom the first certificate of `chain` (DER or PEM, each after the one that it signed) stands for.

    Raises DeniedError, and nothing else, for any bytes at all: one sentence that says what is wrong.
    """
    if not 1 <= len(chain) <= CHAIN_MAX:
        raise DeniedError(f"there are {len(chain)} certificates, and must be 1 to {CHAIN_MAX}")
    try:
        own, *above = map(read_certificate, chain)
    except WireError as error:
        raise DeniedError(str(error)) from error
    if wall_ms >= trust.expires_ms:
        raise DeniedError("nobody's certificate is taken: the trust file has expired")
    domain, role, name = identity_of(own)
    for certificate in (own, *above):
        _require_valid(certificate, trust.revoked, wall_ms)
    anchor = _anchor_of(own, above, trust.anchored(wall_ms))
    _require_valid(anchor.certificate, trust.revoked, wall_ms)
    if domain != anchor.certificate.domain:
        raise DeniedError(f"the certificate is for the domain {domain}, and its root's is {anchor.certificate.domain}")
    if role not in anchor.roles:
        raise DeniedError(f"the root of {anchor.known_as or domain} may not give the role {role} here")
    return Identity("certificate", f"{name}@{anchor.known_as}" if anchor.known_as else name, (role,))


def marks_of(chain: Sequence[bytes]) -> frozenset[str]:
    """By what certificates that certified() took may be revoked later: their serials, and their keys' fingerprints."""
    certificates = list(map(read_certificate, chain))
    return frozenset(
        mark for certificate in certificates for mark in (certificate.serial, fingerprint(certificate.public))
    )


def _require_valid(certificate: Certificate, revoked: Revoked, wall_ms: int) -> None:
    if wall_ms < certificate.not_before_ms:
        raise DeniedError(f"the certificate {certificate.serial} is not valid yet")
    if wall_ms >= certificate.not_after_ms:
        raise DeniedError(f"the certificate {certificate.serial} has expired")
    if certificate.serial in revoked.certificates:
        raise DeniedError(f"the certificate {certificate.serial} is revoked")
    if fingerprint(certificate.public) in revoked.keys:
        raise DeniedError(f"the key of the certificate {certificate.serial} is revoked")


def _anchor_of(own: Certificate, above: Sequence[Certificate], anchors: Sequence[Anchor]) -> Anchor:
    """Climb from one's own certificate until an anchor is met."""
    current, below = own, 0  # how many authorities are below the one that is looked for
    for issuer in (*above, None):
        for anchor in anchors:
            if is_issued_by(current, anchor.certificate):
                _require_authority(anchor.certificate, below)
                return anchor
        if issuer is None:
            break
        _require_authority(issuer, below)
        if not is_issued_by(current, issuer):
            raise DeniedError(f"the certificate {current.serial} is not signed by the one that follows it")
        current, below = issuer, below + 1
    raise DeniedError("no root that is trusted here signed the certificate")


def _require_authority(issuer: Certificate, below: int) -> None:
    if not issuer.is_authority:
        raise DeniedError(f"the certificate {issuer.serial} may not sign others")
    if issuer.path_length is not None and below > issuer.path_length:
        raise DeniedError(f"there are more authorities below the certificate {issuer.serial} than it allows")
