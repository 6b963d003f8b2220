"""Certificates: how ours are made, and what any must be before more is asked of it.

A certificate of ours is X.509 v3.  Its identity is one URI among its subject alternative names,

    waypost://DOMAIN/ROLE/NAME

DOMAIN is the first 16 hexadecimal digits of SHA-256 of the root's SubjectPublicKeyInfo, ROLE one of ROLES, NAME of 1
to 47 characters, so that NAME@DOMAIN is still a name.  DNS names and addresses may stand beside it, for those who
check the name of a server.  A peer may serve and call; a device, a reader or an administrator may only call.

`read_certificate` looks at sizes, key and extensions and computes nothing expensive: what is larger than we take is
refused as fast as it is read.  Whether it is to be believed is told in `chains.py`.

Times are integer milliseconds since 1970.  Raises WireError for bytes that are no such certificate, ValueError for
what we ourselves may not certify.

Source: RFC 5280, 4.2; notes on reliability, D1 and D3 (several URIs, roles, key sizes).
"""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from waypost.errors import DeniedError, WireError
from waypost.identity import ROLES
from waypost.identity.keys import PrivateKey, PublicKey, fingerprint, take_public, verifies

DAY_MS: Final = 86_400_000
ROOT_DAYS: Final = 3_650
CERTIFICATE_DAYS: Final = 365
DAYS_MAX: Final = 36_500
BACKDATED_MS: Final = 300_000  # a certificate is valid this long before it is made: clocks differ
CERTIFICATES_KEPT: Final = 64  # once they are read
CERTIFICATE_MAX: Final = 16_384  # octets, as DER or PEM
ALTERNATIVES_MAX: Final = 32  # names of one certificate
NAMES_MAX: Final = 32  # parts of a subject's or an issuer's name

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,47}", re.ASCII)
IDENTITY: Final = re.compile(r"waypost://([0-9a-f]{16})/([a-z]{1,16})/([A-Za-z0-9._-]{1,47})", re.ASCII)
DNS_NAME: Final = re.compile(r"(?!.{254})(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.(?!$)|$))+", re.ASCII)

CLIENT: Final = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH})
BOTH: Final = CLIENT | {ExtendedKeyUsageOID.SERVER_AUTH}
USAGES: Final = {role: BOTH if role == "peer" else CLIENT for role in ROLES}

HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
UNDERSTOOD: Final = (  # an extension that is critical and not here refuses the certificate (RFC 5280, 4.2)
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """`serial` is in hexadecimal; `uris` and `hosts` are the alternative names, `path_length` None for any."""

    der: bytes
    public: PublicKey
    serial: str
    not_before_ms: int
    not_after_ms: int
    is_authority: bool
    path_length: int | None
    usages: frozenset[x509.ObjectIdentifier]
    uris: tuple[str, ...]
    hosts: tuple[str, ...]

    @property
    def pem(self) -> bytes:
        return x509.load_der_x509_certificate(self.der).public_bytes(Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        return sha256(self.der).hexdigest()

    @property
    def domain(self) -> str:
        """Of what it signs, if it is a root."""
        return fingerprint(self.public)[:16]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom to certify.  `hosts` are DNS names and addresses, for a peer that serves under them."""

    role: str
    name: str
    hosts: tuple[str, ...] = ()
    days: int = CERTIFICATE_DAYS


def make_root(key: PrivateKey, wall_ms: int, *, days: int = ROOT_DAYS) -> Certificate:
    """An authority that signs for itself; another may stand between it and those it certifies."""
    _require_days(days)
    public = take_public(key.public_key())
    name = _common_name(f"waypost {fingerprint(public)[:16]}")
    builder = (
        _builder(name, name, public, wall_ms - BACKDATED_MS, wall_ms + days * DAY_MS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return _signed(builder, key)


def issue(key: PrivateKey, root: Certificate, subject: Subject, public: PublicKey, wall_ms: int) -> Certificate:
    """Certify `public` for `subject` with the root's key.  It ends with the root at the latest."""
    _require(subject)
    take_public(public)
    issuer = x509.load_der_x509_certificate(root.der).subject
    ends_ms = min(wall_ms + subject.days * DAY_MS, root.not_after_ms)
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"waypost://{root.domain}/{subject.role}/{subject.name}"),
        *map(_general_name, subject.hosts),
    ]
    usages = sorted(USAGES[subject.role], key=lambda usage: usage.dotted_string)
    builder = (
        _builder(issuer, _common_name(subject.name), public, wall_ms - BACKDATED_MS, ends_ms)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public), critical=False)
    )
    return _signed(builder, key)


def make_request(key: PrivateKey, name: str, hosts: Iterable[str] = ()) -> bytes:
    """A request (PKCS #10, PEM) to be certified; whoever certifies decides on the role, and on the name."""
    builder = x509.CertificateSigningRequestBuilder(_common_name(name))
    names = [_general_name(host) for host in hosts]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, _hash_for(key)).public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for; nothing of it is granted yet but that the asker has the key."""

    public: PublicKey
    name: str
    hosts: tuple[str, ...]


def read_request(data: bytes) -> Request:
    """PEM or DER.  Raises WireError for anything but a request that its own key signed."""
    if len(data) > CERTIFICATE_MAX:
        raise WireError(f"a request has {CERTIFICATE_MAX} octets at most")
    try:
        request = (x509.load_pem_x509_csr if data.lstrip().startswith(b"-----") else x509.load_der_x509_csr)(data)
        public = take_public(request.public_key())
        names = _alternatives(request.extensions)
        common = [str(part.value) for part in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        genuine = _is_genuine(request, public)
    except (*MALFORMED, UnsupportedAlgorithm) as error:
        raise WireError("it is no certificate request that can be read") from error
    if not genuine:
        raise WireError("the request is not signed with its own key")
    return Request(public, common[0] if len(common) == 1 else "", _hosts(names))


@lru_cache(CERTIFICATES_KEPT)
def read_certificate(data: bytes) -> Certificate:
    """PEM or DER.  Raises WireError for any bytes but one X.509 v3 certificate of a kind and size that we take.

    The same few are shown again and again: those that were read last are not read again.
    """
    if len(data) > CERTIFICATE_MAX:
        raise WireError(f"a certificate has {CERTIFICATE_MAX} octets at most, and this has {len(data)}")
    try:
        loads = x509.load_pem_x509_certificate if data.lstrip().startswith(b"-----") else x509.load_der_x509_certificate
        return _taken(loads(data))
    except (*MALFORMED, UnsupportedAlgorithm) as error:
        raise WireError("it is no certificate that can be read") from error


def read_certificates(pem: bytes) -> list[Certificate]:
    """Each certificate of a PEM file, in order.  Raises WireError."""
    marker = b"-----BEGIN CERTIFICATE-----"
    parts = pem.split(marker)[1:]
    if not parts:
        raise WireError("it holds no certificate in PEM")
    return [read_certificate(marker + part) for part in parts]


def identity_of(certificate: Certificate) -> tuple[str, str, str]:
    """Its domain, role and name, as it states them.  Raises DeniedError where they are not stated as they must."""
    if len(certificate.uris) != 1:
        raise DeniedError(f"the certificate has {len(certificate.uris)} identities (URI names) and must have one")
    match = IDENTITY.fullmatch(certificate.uris[0])
    if match is None:
        raise DeniedError("the certificate's identity is not as waypost://DOMAIN/ROLE/NAME")
    domain, role, name = match.groups()
    if role not in ROLES:
        raise DeniedError(f"the certificate's role {role} is none of {', '.join(ROLES)}")
    if certificate.is_authority:
        raise DeniedError("the certificate is an authority's, and stands for nobody")
    if certificate.usages != USAGES[role]:
        raise DeniedError(f"the certificate's extended key usage is not that of a {role}")
    return domain, role, name


def states_identity(der: bytes) -> bool:
    """Whether a certificate says that it stands for somebody of a network, rightly or not."""
    try:
        return any(uri.startswith("waypost:") for uri in read_certificate(der).uris)
    except WireError:
        return False


def is_issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether the issuer's name and key signed it; what the issuer may sign is another question."""
    one, other = x509.load_der_x509_certificate(certificate.der), x509.load_der_x509_certificate(issuer.der)
    if one.issuer != other.subject:
        return False
    if isinstance(issuer.public, ed25519.Ed25519PublicKey):  # by our own rule, not by the library's
        return verifies(issuer.public.public_bytes_raw(), one.signature, one.tbs_certificate_bytes)
    try:
        one.verify_directly_issued_by(other)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


# What the library only warns of (a serial below one), and will refuse some day, is refused now.
warnings.filterwarnings("error", category=CryptographyDeprecationWarning, module=re.escape(__name__))

# What the library raises for bytes that are not what they should be; OverflowError for a time past the year 9999.
MALFORMED: Final = (
    CryptographyDeprecationWarning,
    ValueError,
    TypeError,
    OverflowError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def _taken(certificate: x509.Certificate) -> Certificate:
    public = take_public(certificate.public_key())  # first: sizes, before the rest is looked at
    if certificate.version is not x509.Version.v3:
        raise WireError("the certificate is not X.509 version 3")
    if not isinstance(certificate.signature_hash_algorithm, (*HASHES, type(None))):  # None: Ed25519 has its own
        raise WireError("the certificate is signed over a hash that is not taken: SHA-256, SHA-384 and SHA-512 are")
    if len(certificate.issuer.rdns) > NAMES_MAX or len(certificate.subject.rdns) > NAMES_MAX:
        raise WireError(f"the subject's or the issuer's name has more than {NAMES_MAX} parts")
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, UNDERSTOOD):
            raise WireError(f"the extension {extension.oid.dotted_string} is critical and not understood")
    extensions = {type(extension.value): extension.value for extension in certificate.extensions}
    basic, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.KeyUsage)
    extended = extensions.get(x509.ExtendedKeyUsage)
    names = _alternatives(certificate.extensions)
    return Certificate(
        certificate.public_bytes(Encoding.DER),
        public,
        f"{certificate.serial_number:x}",
        _milliseconds(certificate.not_valid_before_utc),
        _milliseconds(certificate.not_valid_after_utc),
        # RFC 5280, 4.2.1.3: an authority's key usage says that it signs certificates.
        isinstance(basic, x509.BasicConstraints)
        and basic.ca
        and isinstance(usage, x509.KeyUsage)
        and usage.key_cert_sign,
        basic.path_length if isinstance(basic, x509.BasicConstraints) else None,
        frozenset(extended) if isinstance(extended, x509.ExtendedKeyUsage) else frozenset(),
        tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)),
        _hosts(names),
    )


def _alternatives(extensions: x509.Extensions) -> list[x509.GeneralName]:
    names = [name for item in extensions if isinstance(item.value, x509.SubjectAlternativeName) for name in item.value]
    if len(names) > ALTERNATIVES_MAX:
        raise WireError(f"it has {len(names)} alternative names, {ALTERNATIVES_MAX} at most")
    return names


def _hosts(names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(str(name.value) for name in names if isinstance(name, (x509.DNSName, x509.IPAddress)))


def _is_genuine(request: x509.CertificateSigningRequest, public: PublicKey) -> bool:
    if isinstance(public, ed25519.Ed25519PublicKey):
        return verifies(public.public_bytes_raw(), request.signature, request.tbs_certrequest_bytes)
    return isinstance(request.signature_hash_algorithm, HASHES) and request.is_signature_valid


def _require(subject: Subject) -> None:
    if subject.role not in ROLES:
        raise ValueError(f"there is no role {subject.role!r}: there are {', '.join(ROLES)}")
    if not NAME.fullmatch(subject.name):
        raise ValueError(f"{subject.name!r} is no name for a certificate: 1 to 47 letters, digits, dots, - and _")
    if len(subject.hosts) >= ALTERNATIVES_MAX:
        raise ValueError(f"a certificate has {ALTERNATIVES_MAX - 1} hosts at most")
    _require_days(subject.days)


def _require_days(days: int) -> None:
    if not 1 <= days <= DAYS_MAX:
        raise ValueError(f"a certificate is valid for 1 to {DAYS_MAX} days, not {days}")


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        if not DNS_NAME.fullmatch(host):
            raise ValueError(f"{host!r} is neither a DNS name nor an address") from None
        return x509.DNSName(host)


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    issuer: x509.Name, subject: x509.Name, public: PublicKey, from_ms: int, until_ms: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(from_ms))
        .not_valid_after(_time(until_ms))
    )


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> Certificate:
    return _taken(builder.sign(key, _hash_for(key)))


def _hash_for(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _time(wall_ms: int) -> datetime:
    return datetime.fromtimestamp(wall_ms // 1_000, UTC)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1_000
