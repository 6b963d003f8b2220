"""Roots and certificates, right ones and wrong ones, for the stories of identity."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from waypost.identity import keys
from waypost.identity.anchors import Trust, our_anchor
from waypost.identity.certificates import Certificate, Subject, issue, make_root

NOW = 1_790_000_000_000
DAY = 86_400_000
SIGNS = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


@dataclass(frozen=True)
class Authority:
    key: keys.PrivateKey
    root: Certificate

    @property
    def trust(self) -> Trust:
        return Trust(1, self.root.not_after_ms, (our_anchor(self.root),))

    def certify(self, role: str, name: str, days: int = 30) -> Certificate:
        return issue(self.key, self.root, Subject(role, name, days=days), keys.make_p256().public_key(), NOW)

    def uri(self, role: str = "device", name: str = "lamp-3") -> str:
        return f"waypost://{self.root.domain}/{role}/{name}"


def authority() -> Authority:
    key = keys.make_p256()
    return Authority(key, make_root(key, NOW))


def forged(  # what no authority of ours would sign
    by: Authority,
    *uris: str,
    usage: x509.ExtendedKeyUsage | None = CLIENT,
    key: EllipticCurvePrivateKey | None = None,
    signer: keys.PrivateKey | None = None,
    authority: bool = False,
    signs: x509.KeyUsage = SIGNS,
    path_length: int | None = None,
    issuer: Certificate | None = None,
    more: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> bytes:
    """DER of a certificate with these URIs, that `by` signed."""
    own = key or keys.make_p256()
    above = x509.load_der_x509_certificate((issuer or by.root).der)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(above.subject)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "forged")]))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp((NOW - DAY) // 1000, UTC))
        .not_valid_after(datetime.fromtimestamp((NOW + DAY) // 1000, UTC))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
    )
    if authority:
        builder = builder.add_extension(signs, critical=True)
    if usage is not None:
        builder = builder.add_extension(usage, critical=False)
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    with_key = signer or by.key
    assert isinstance(with_key, EllipticCurvePrivateKey)
    return builder.sign(with_key, hashes.SHA256()).public_bytes(Encoding.DER)
