"""How certificates are made, asked for and read."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from authorities import DAY, NOW, Authority, authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import WireError
from waypost.identity import keys
from waypost.identity.certificates import (
    ALTERNATIVES_MAX,
    CERTIFICATE_MAX,
    NAMES_MAX,
    Subject,
    issue,
    make_request,
    make_root,
    read_certificate,
    read_certificates,
    read_request,
)

CN = NameOID.COMMON_NAME


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


def test_a_root_may_sign_and_is_named_after_its_key(ours: Authority) -> None:
    root = ours.root
    assert root.is_authority
    assert root.path_length == 1
    assert root.domain == keys.fingerprint(ours.key.public_key())[:16]
    assert (root.not_before_ms, root.not_after_ms) == (NOW - 300_000, NOW + 3_650 * DAY)
    subject = x509.load_der_x509_certificate(root.der).subject
    assert subject.get_attributes_for_oid(CN)[0].value == f"waypost {root.domain}"


def test_a_certificate_says_who_where_and_for_how_long(ours: Authority) -> None:
    subject = Subject("peer", "node-1", ("node-1.example", "192.0.2.1", "2001:db8::1"), days=7)
    own = issue(ours.key, ours.root, subject, keys.make_p256().public_key(), NOW)
    assert own.uris == (ours.uri("peer", "node-1"),)
    assert own.hosts == ("node-1.example", "192.0.2.1", "2001:db8::1")
    assert own.usages == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert ours.certify("device", "lamp-3").usages == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not own.is_authority
    assert (own.not_before_ms, own.not_after_ms) == (NOW - 300_000, NOW + 7 * DAY)
    assert read_certificate(own.pem) == own


def test_serials_differ(ours: Authority) -> None:
    assert ours.certify("device", "a").serial != ours.certify("device", "a").serial


def test_a_certificate_ends_with_its_root(ours: Authority) -> None:
    root = replace(ours.root, not_after_ms=NOW + DAY)
    own = issue(ours.key, root, Subject("device", "a", days=30), keys.make_p256().public_key(), NOW)
    assert own.not_after_ms == NOW + DAY


@pytest.mark.parametrize(
    ("subject", "sentence"),
    [
        (Subject("operator", "a"), "there is no role 'operator'"),
        (Subject("device", ""), "is no name for a certificate"),
        (Subject("device", "a@b"), "is no name for a certificate"),
        (Subject("device", "a/b"), "is no name for a certificate"),
        (Subject("device", "ä"), "is no name for a certificate"),
        (Subject("device", "a\n"), "is no name for a certificate"),
        (Subject("device", 48 * "a"), "is no name for a certificate"),
        (Subject("device", "a", days=0), "1 to 36500 days, not 0"),
        (Subject("device", "a", days=36_501), "1 to 36500 days, not 36501"),
        (Subject("peer", "a", ("*.example.org",)), "neither a DNS name nor an address"),
        (Subject("peer", "a", ("a..b",)), "neither a DNS name nor an address"),
        (Subject("peer", "a", ("-a.example",)), "neither a DNS name nor an address"),
        (Subject("peer", "a", ("a b",)), "neither a DNS name nor an address"),
        (Subject("peer", "a", (64 * "a",)), "neither a DNS name nor an address"),
        (Subject("peer", "a", (".".join(64 * ["aaa"]),)), "neither a DNS name nor an address"),
        (Subject("peer", "a", ("",)), "neither a DNS name nor an address"),
        (Subject("peer", "a", tuple(f"h{n}" for n in range(ALTERNATIVES_MAX))), "31 hosts at most"),
    ],
)
def test_what_may_not_be_certified_is_a_mistake_of_ours(ours: Authority, subject: Subject, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        issue(ours.key, ours.root, subject, keys.make_p256().public_key(), NOW)


def test_the_longest_names_can_be_certified(ours: Authority) -> None:
    dns = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    subject = Subject("peer", 47 * "a", (dns, *(f"h{n}" for n in range(ALTERNATIVES_MAX - 2))))
    assert issue(ours.key, ours.root, subject, keys.make_p256().public_key(), NOW).hosts[0] == dns


def test_a_key_that_is_not_taken_is_not_certified(ours: Authority) -> None:
    small = rsa.RSAPublicNumbers(65_537, (1 << 1023) + 0x1234567).public_key()
    with pytest.raises(WireError, match="the RSA key has 1024 bits"):
        issue(ours.key, ours.root, Subject("device", "a"), small, NOW)


@pytest.mark.parametrize("key", [keys.make_p256(), keys.make_ed25519()])
def test_a_request_shows_that_the_asker_has_the_key(key: keys.PrivateKey) -> None:
    pem = make_request(key, "lamp-3", ("lamp-3.example", "192.0.2.9"))
    request = read_request(pem)
    assert keys.fingerprint(request.public) == keys.fingerprint(key.public_key())
    assert (request.name, request.hosts) == ("lamp-3", ("lamp-3.example", "192.0.2.9"))
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    assert read_request(bytes(der)) is not None
    der[-1] ^= 1
    with pytest.raises(WireError, match="not signed with its own key"):
        read_request(bytes(der))


def test_a_request_with_too_much_in_it_is_refused() -> None:
    with pytest.raises(WireError, match="33 alternative names, 32 at most"):
        read_request(make_request(keys.make_p256(), "a", [f"h{n}" for n in range(33)]))
    with pytest.raises(WireError, match="octets at most"):
        read_request(bytes(CERTIFICATE_MAX + 1))
    with pytest.raises(WireError, match="no certificate request that can be read"):
        read_request(b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n")


def made(
    *,
    hash_with: hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None = None,
    parts: int = 1,
    names: int = 0,
    years: int = 1,
) -> bytes:
    key = keys.make_p256()
    name = x509.Name([x509.NameAttribute(CN, "x")] * parts)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026 + years, 1, 1, tzinfo=UTC))
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(f"h{n}") for n in range(names)])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(key, hash_with or hashes.SHA256()).public_bytes(Encoding.DER)


def test_what_a_certificate_may_hold_has_limits() -> None:
    assert read_certificate(made(parts=NAMES_MAX, names=ALTERNATIVES_MAX)).serial == "1"
    with pytest.raises(WireError, match="more than 32 parts"):
        read_certificate(made(parts=NAMES_MAX + 1))
    with pytest.raises(WireError, match="33 alternative names"):
        read_certificate(made(names=ALTERNATIVES_MAX + 1))
    with pytest.raises(WireError, match="16384 octets at most, and this has 16385"):
        read_certificate(bytes(CERTIFICATE_MAX + 1))


def test_only_sound_hashes_are_taken() -> None:
    for sound in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        assert read_certificate(made(hash_with=sound)).serial == "1"
    with pytest.raises(WireError, match="a hash that is not taken"):
        read_certificate(made(hash_with=hashes.SHA224()))


def test_a_time_far_away_is_a_time() -> None:
    assert read_certificate(made(years=7_000)).not_after_ms > 200_000 * DAY


def test_a_serial_below_one_is_refused_and_not_warned_of() -> None:
    der = bytearray(made())
    place = der.index(b"\x02\x01\x01")  # the serial number 1
    der[place + 2] = 0xFF
    with pytest.raises(WireError, match="no certificate that can be read"):
        read_certificate(bytes(der))


def test_a_file_may_hold_several_certificates(ours: Authority) -> None:
    own = ours.certify("device", "a")
    assert read_certificates(own.pem + b"and its root\n" + ours.root.pem) == [own, ours.root]
    with pytest.raises(WireError, match="no certificate in PEM"):
        read_certificates(own.der)
    with pytest.raises(WireError, match="no certificate that can be read"):
        read_certificates(own.pem + ours.root.pem[:100])


def test_a_root_is_made_for_some_days() -> None:
    key = keys.make_ed25519()
    assert make_root(key, NOW, days=1).not_after_ms == NOW + DAY
    with pytest.raises(ValueError, match="1 to 36500 days"):
        make_root(key, NOW, days=0)


@given(st.binary(max_size=400))
def test_any_octets_are_no_certificate_and_raise_wire_error(data: bytes) -> None:
    for read in (read_certificate, read_request, read_certificates):
        with pytest.raises(WireError):
            read(data)


wounds = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3)
SAMPLE = make_root(keys.make_p256(), NOW).der
REQUEST = x509.load_pem_x509_csr(make_request(keys.make_p256(), "a", ["h"])).public_bytes(Encoding.DER)


@given(wounds)
def test_damage_is_read_or_raises_wire_error(wounds: list[tuple[float, int]]) -> None:
    for sample, read in ((SAMPLE, read_certificate), (REQUEST, read_request)):
        damaged = bytearray(sample)
        for place, octet in wounds:
            damaged[int(place * len(damaged))] = octet
        with suppress(WireError):
            read(bytes(damaged))
