"""What a node without the authority's key takes from others: a newer trust file, and its own certificate made anew.

The private key stays, so the certificate is one file that is there or not.  Of each, only what the operator's key or a
root that is trusted vouches for is taken, whoever brought it; a trust file's version only grows.

Times are integer milliseconds since 1970.  Raises ConfigError for files of ours that are not as they must be, WireError
and DeniedError for what is not to be believed, OSError for the disk.
"""

from waypost.errors import DeniedError
from waypost.identity import certificates, keys
from waypost.identity.anchors import Trust, read_trust, require_current
from waypost.identity.certificates import Certificate
from waypost.identity.chains import certified
from waypost.storage.keyring import RENEWED_MS, Keyring, locked


def take_trust(keyring: Keyring, data: bytes, wall_ms: int) -> bool:
    """Whether it was newer, and is believed from now on."""
    with locked(keyring.folder):
        believed = keyring.believed(wall_ms, expired=True)
        trust = read_trust(data, keyring.operator)
        require_current(trust, believed.marks.trust, wall_ms)
        if trust.version == believed.trust.version:
            return False
        keyring.write({"trust.json": data})
        keyring.believed(wall_ms)
    return True


def is_due(keyring: Keyring, wall_ms: int) -> bool:
    """Whether others should be asked to renew the node's certificate: it, or the root that made it, ends soon."""
    if keyring.has_authority:
        return False
    own, trust = _own(keyring), keyring.believed(wall_ms, expired=True).trust
    return _ends_ms(own, trust) - wall_ms < RENEWED_MS


def request(keyring: Keyring) -> bytes:
    """For the name that the node has, with the key that it has."""
    _, _, name = certificates.identity_of(_own(keyring))
    return certificates.make_request(keyring.read("tls.pem", keys.read_private), name)


def take_certificate(keyring: Keyring, made: Certificate, root: Certificate, wall_ms: int) -> None:
    """The node's own from now on, by a root of ours that is trusted; it ends later than the one before."""
    with locked(keyring.folder):
        believed, own = keyring.believed(wall_ms), _own(keyring)
        trust = believed.trust.also_revoking(believed.revoked)
        ours = [anchor for anchor in trust.anchored(wall_ms) if anchor.is_ours]
        if all(anchor.certificate.der != root.der for anchor in ours) or not certificates.is_issued_by(made, root):
            raise DeniedError("the certificate is not by a root of ours that is trusted")
        who, (_, _, name) = certified([made.der], trust, wall_ms), certificates.identity_of(own)
        if (who.name, who.roles) != (name, ("peer",)):
            raise DeniedError("the certificate is for another")
        if keys.fingerprint(made.public) != keys.fingerprint(own.public):
            raise DeniedError("the certificate is for another key")
        if _ends_ms(made, trust) <= _ends_ms(own, trust):
            raise DeniedError("the certificate ends no later than the one that is here")
        # The root first: which of ours made the certificate is seen by either.
        keyring.write({"ca.crt": root.pem, "tls.crt": made.pem})


def _own(keyring: Keyring) -> Certificate:
    return keyring.read("tls.crt", certificates.read_certificate)


def _ends_ms(certificate: Certificate, trust: Trust) -> int:
    """Until when others take it, as far as we know; 0: it is by no root of ours."""
    roots = (anchor for anchor in trust.anchors if anchor.is_ours)
    ends = (anchor.until_ms for anchor in roots if certificates.is_issued_by(certificate, anchor.certificate))
    return min(certificate.not_after_ms, max(ends, default=0))
