"""The other side of joining: ask a node for a certificate, and believe nothing that the token does not vouch for.

First the root is fetched, from whoever answers, and is believed if the token names its fingerprint.  Then the token is
sent, to a node alone that shows a certificate of this root with the role peer.  What it answers is checked before
anything of it is kept.

Source: notes on reliability, D1 (bootstrap: the fingerprint pinned in the token), D3 (TLS on paper only).
"""

import ssl
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from typing import Final, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from waypost.api import calls
from waypost.api.calls import Call, Origin
from waypost.api.schemas import Join, Joined, Role, Root
from waypost.errors import ConfigError, DeniedError, RemoteError, UnreachableError, WireError
from waypost.identity.anchors import Seen, Trust, our_anchor, read_trust, require_current
from waypost.identity.certificates import Certificate, make_request, read_certificate
from waypost.identity.chains import certified
from waypost.identity.keys import PrivateKey, fingerprint, read_public
from waypost.identity.token import Shown
from waypost.storage.network import read_known

TIMEOUT_S: Final = 15.0
BODY_MAX: Final = 32 << 20  # octets; a trust file has 16 MiB at most
REQUESTED_AS: Final = "joining"  # in the request; the node decides on the name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What to keep; `operator`, `trust` and `network` are files as they are, the last empty for a device."""

    role: str
    name: str
    certificate: Certificate
    root: Certificate
    operator: bytes
    trust: bytes
    network: bytes


def enrol(
    token: str,
    url: str,
    key: PrivateKey,
    *,
    name: str | None = None,
    role: Role | None = None,
    hosts: tuple[str, ...] = (),
    wall_ms: int,
) -> Enrolled:
    """A certificate for `key`, in any role if none is given.

    Raises ConfigError for what cannot be asked, UnreachableError if nothing answers, and DeniedError if the token or
    the node is not to be believed; then nothing has changed anywhere, but where the node's answer was wrong.
    """
    try:
        shown = Shown.read(token)
    except WireError as error:
        raise DeniedError(str(error)) from None
    if not shown.pin:
        raise DeniedError("this token is none to join with: it shows who asks", hint="waypost token create NAME --join")
    origin = calls.origin(url)
    if not origin.secure:
        raise ConfigError("joining needs TLS", hint="write the URL like https://192.0.2.1:8481")
    root = _root(origin, shown.pin)
    trust = Trust(expires_ms=root.not_after_ms, anchors=(our_anchor(root),))
    request = make_request(key, REQUESTED_AS, hosts).decode()
    joined = _asked(
        _connected(origin, root, trust, wall_ms),
        origin,
        Call("POST", "/v1/join", Joined, msgspec.json.encode(Join(token, request, name, role))),
    )
    try:
        enrolled = Enrolled(
            joined.role,
            joined.name,
            read_certificate(joined.certificate.encode()),
            root,
            joined.operator.encode(),
            joined.trust.encode(),
            joined.network.encode(),
        )
        _require(enrolled, key, trust, wall_ms)
    except (WireError, DeniedError, UnicodeEncodeError) as error:
        raise DeniedError(f"the node's answer is not to be believed: {error}") from error
    return enrolled


def _root(origin: Origin, pin: str) -> Certificate:
    """What the token vouches for.  Nothing is sent here that is worth anything, and nothing believed that comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    connection = HTTPSConnection(origin.host, origin.port, timeout=TIMEOUT_S, context=context)
    found = _asked(connection, origin, Call("GET", "/v1/join", Root))
    try:
        root = read_certificate(found.certificate.encode())
    except (WireError, UnicodeEncodeError) as error:
        raise DeniedError(f"the node's root is not to be believed: {error}") from error
    if fingerprint(root.public) != pin or not root.is_authority:
        raise DeniedError("the node has another root than the token names: it is not the node that gave the token")
    return root


def _connected(origin: Origin, root: Certificate, trust: Trust, wall_ms: int) -> HTTPSConnection:
    """To a node that the root certified as a peer.  Under which address it is reached says nothing about it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=root.der)
    connection = HTTPSConnection(origin.host, origin.port, timeout=TIMEOUT_S, context=context)
    try:
        connection.connect()
        shown = connection.sock.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise DeniedError("the node's certificate is not of the root that the token names") from error
    except OSError as error:
        connection.close()
        raise calls.unreachable(origin, error) from error
    try:
        if certified([shown or b""], trust, wall_ms).roles != ("peer",):
            raise DeniedError("what answers has a certificate, and not that of a node")
    except DeniedError:
        connection.close()
        raise
    return connection


def _asked(connection: HTTPSConnection, origin: Origin, call: Call[T]) -> T:
    """Once: a token must not go out twice."""
    try:
        connection.request(call.method, call.target, call.body, call.headers)
        response = connection.getresponse()
        body = response.read(BODY_MAX + 1)
        if len(body) > BODY_MAX:
            raise UnreachableError(f"what answered sends more than {BODY_MAX} octets")
        return calls.read(call, response.status, dict(response.headers), body)
    except RemoteError as error:
        if error.code in (400, 401, 403):
            raise DeniedError(str(error)) from error
        raise
    except (OSError, HTTPException) as error:
        raise calls.unreachable(origin, error) from error
    finally:
        connection.close()


def _require(enrolled: Enrolled, key: PrivateKey, trust: Trust, wall_ms: int) -> None:
    who = certified([enrolled.certificate.der], trust, wall_ms)
    if (who.name, who.roles) != (enrolled.name, (enrolled.role,)):
        raise DeniedError("the certificate is for another")
    if fingerprint(enrolled.certificate.public) != fingerprint(key.public_key()):
        raise DeniedError("the certificate is for another key")
    if enrolled.role == "peer":
        read_known(enrolled.network)
    operator = read_public(enrolled.operator)
    if not isinstance(operator, Ed25519PublicKey):
        raise DeniedError("the operator's key is not an Ed25519 key")
    stated = read_trust(enrolled.trust, operator)
    require_current(stated, Seen(), wall_ms)
    if all(fingerprint(anchor.certificate.public) != fingerprint(enrolled.root.public) for anchor in stated.anchors):
        raise DeniedError("the trust file does not have the root")
