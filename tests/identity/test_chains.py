"""Whom a chain of certificates stands for, and every reason why it stands for nobody."""

from dataclasses import replace
from hashlib import sha512

import pytest
from authorities import DAY, NOW, Authority, authority, forged
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import DeniedError
from waypost.identity import Identity, keys
from waypost.identity.anchors import Anchor, Revoked, Trust, with_new_root
from waypost.identity.certificates import Subject, is_issued_by, issue, make_root, read_certificate
from waypost.identity.chains import certified

PUBLIC = keys.make_p256().public_key()
BOTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def others() -> Authority:
    return authority()


def refusal(chain: list[bytes], trust: Trust, wall_ms: int = NOW) -> str:
    with pytest.raises(DeniedError) as caught:
        certified(chain, trust, wall_ms)
    return str(caught.value)


@pytest.mark.parametrize("role", ["admin", "device", "peer", "reader"])
def test_a_certificate_of_ours_stands_for_its_name_and_role(ours: Authority, role: str) -> None:
    own = ours.certify(role, "lamp-3")
    assert certified([own.der], ours.trust, NOW) == Identity("certificate", "lamp-3", (role,))
    assert certified([own.pem, ours.root.pem], ours.trust, NOW).name == "lamp-3"


def test_an_ed25519_root_and_key_are_as_good(ours: Authority) -> None:
    key = keys.make_ed25519()
    root = make_root(key, NOW)
    own = issue(key, root, Subject("device", "lamp-3"), keys.make_ed25519().public_key(), NOW)
    trust = Authority(key, root).trust
    assert certified([own.der], trust, NOW).name == "lamp-3"
    damaged = own.der[:-1] + bytes((own.der[-1] ^ 1,))
    assert refusal([damaged], trust) == "no root that is trusted here signed the certificate"


def test_a_certificate_is_good_from_its_first_moment_to_its_last(ours: Authority) -> None:
    own = ours.certify("device", "lamp-3", days=1)
    assert certified([own.der], ours.trust, own.not_before_ms)
    assert certified([own.der], ours.trust, own.not_after_ms - 1)
    assert refusal([own.der], ours.trust, own.not_before_ms - 1).endswith("is not valid yet")
    assert refusal([own.der], ours.trust, own.not_after_ms).endswith("has expired")


def test_a_root_that_expired_certifies_nobody(ours: Authority) -> None:
    key = keys.make_p256()
    old = Authority(key, make_root(key, NOW - 100 * DAY, days=50))
    own = issue(key, replace(old.root, not_after_ms=NOW + DAY), Subject("device", "a"), key.public_key(), NOW)
    trust = Trust(1, NOW + DAY, (Anchor(old.root, "", ("device",), NOW + DAY),))
    assert refusal([own.der], trust) == f"the certificate {old.root.serial} has expired"


def test_two_identities_are_one_too_many(ours: Authority) -> None:
    """Consul's GHSA-m69r-9g56-7mv8."""
    two = forged(ours, ours.uri(), ours.uri("admin", "root"))
    assert refusal([two], ours.trust) == "the certificate has 2 identities (URI names) and must have one"
    assert refusal([forged(ours, ours.uri(), "https://example.org/")], ours.trust).startswith("the certificate has 2")
    assert refusal([forged(ours)], ours.trust) == "the certificate has 0 identities (URI names) and must have one"
    assert certified([forged(ours, ours.uri())], ours.trust, NOW).name == "lamp-3"


@pytest.mark.parametrize(
    "uri",
    [
        "waypost://{domain}/device/",
        "waypost://{domain}/device/a@b",
        "waypost://{domain}/device/a/b",
        "waypost://{domain}/device/" + 48 * "a",
        "waypost://{domain}/device/lamp-3\n",
        "waypost://{domain}//lamp-3",
        "WAYPOST://{domain}/device/lamp-3",
        "spiffe://{domain}/device/lamp-3",
        "waypost://{domain}/lamp-3",
    ],
)
def test_an_identity_is_of_one_form_only(ours: Authority, uri: str) -> None:
    own = forged(ours, uri.format(domain=ours.root.domain))
    assert refusal([own], ours.trust) == "the certificate's identity is not as waypost://DOMAIN/ROLE/NAME"


def test_a_role_must_be_known(ours: Authority) -> None:
    own = forged(ours, ours.uri("operator"))
    assert refusal([own], ours.trust).startswith("the certificate's role operator is none of admin, device")


@pytest.mark.parametrize(
    ("role", "usage"),
    [
        ("device", BOTH),
        ("admin", BOTH),
        ("peer", x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])),
        ("device", x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
        ("device", x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
        ("device", None),
    ],
)
def test_the_key_may_be_used_for_what_the_role_does(
    ours: Authority, role: str, usage: x509.ExtendedKeyUsage | None
) -> None:
    own = forged(ours, ours.uri(role), usage=usage)
    assert refusal([own], ours.trust) == f"the certificate's extended key usage is not that of a {role}"


def test_a_stranger_s_root_certifies_nobody(ours: Authority, others: Authority) -> None:
    own = others.certify("admin", "root")
    expected = "no root that is trusted here signed the certificate"
    assert refusal([own.der], ours.trust) == expected
    assert refusal([own.der, others.root.der], ours.trust) == expected
    # The issuer's name alone proves nothing.
    signed_by_another = forged(ours, ours.uri(), signer=others.key)
    assert refusal([signed_by_another], ours.trust) == expected


def test_a_root_certifies_its_own_domain_only(ours: Authority, others: Authority) -> None:
    own = forged(ours, others.uri())
    assert "is for the domain" in refusal([own], ours.trust)


def test_whom_another_s_root_certifies_has_its_name_and_only_the_roles_granted(
    ours: Authority, others: Authority
) -> None:
    theirs = Anchor(others.root, others.root.domain, ("peer",), NOW + DAY)
    trust = replace(ours.trust, anchors=(*ours.trust.anchors, theirs))
    peer, admin = others.certify("peer", "node-1"), others.certify("admin", "root")
    assert certified([peer.der], trust, NOW) == Identity("certificate", f"node-1@{others.root.domain}", ("peer",))
    assert refusal([admin.der], trust) == f"the root of {others.root.domain} may not give the role admin here"
    assert refusal([peer.der], trust, NOW + DAY) == "no root that is trusted here signed the certificate"


def test_old_and_new_root_are_both_trusted_until_the_overlap_has_passed(ours: Authority, others: Authority) -> None:
    trust = with_new_root(ours.trust, others.root, NOW, overlap_ms=10 * DAY)
    before, after = ours.certify("device", "lamp-3"), others.certify("device", "lamp-3")
    for own in (before, after):
        assert certified([own.der], trust, NOW + 10 * DAY - 1) == Identity("certificate", "lamp-3", ("device",))
    assert refusal([before.der], trust, NOW + 10 * DAY) == "no root that is trusted here signed the certificate"
    assert certified([after.der], trust, NOW + 10 * DAY)


def test_what_is_revoked_stands_for_nobody(ours: Authority) -> None:
    own, another = ours.certify("device", "lamp-3"), ours.certify("device", "lamp-3")
    by_serial = ours.trust.also_revoking(Revoked(certificates=frozenset({own.serial})))
    by_key = ours.trust.also_revoking(Revoked(keys=frozenset({keys.fingerprint(own.public)})))
    root_too = ours.trust.also_revoking(Revoked(keys=frozenset({keys.fingerprint(ours.root.public)})))
    assert refusal([own.der], by_serial) == f"the certificate {own.serial} is revoked"
    assert refusal([own.der], by_key) == f"the key of the certificate {own.serial} is revoked"
    assert refusal([own.der], root_too) == f"the key of the certificate {ours.root.serial} is revoked"
    assert certified([another.der], by_serial, NOW)
    assert certified([another.der], by_key, NOW)


def between(ours: Authority, *, path_length: int | None = None, is_authority: bool = True) -> Authority:
    key = keys.make_p256()
    der = forged(ours, usage=None, key=key, authority=is_authority, path_length=path_length)
    return Authority(key, read_certificate(der))


def test_one_authority_may_stand_between_a_certificate_and_its_root(ours: Authority) -> None:
    middle = between(ours)
    own = forged(middle, ours.uri())
    assert certified([own, middle.root.der], ours.trust, NOW).name == "lamp-3"
    assert certified([own, middle.root.der, ours.root.der], ours.trust, NOW).name == "lamp-3"
    assert refusal([own], ours.trust) == "no root that is trusted here signed the certificate"


def test_an_authority_between_is_valid_and_not_revoked(ours: Authority) -> None:
    middle = between(ours)
    own = ours.uri()
    lasting = issue(middle.key, replace(ours.root, der=middle.root.der), Subject("device", "a"), PUBLIC, NOW)
    chain = [lasting.der, middle.root.der]
    assert certified(chain, ours.trust, NOW).name == "a"
    assert refusal(chain, ours.trust, NOW + DAY) == f"the certificate {middle.root.serial} has expired"
    revoked = ours.trust.also_revoking(Revoked(certificates=frozenset({middle.root.serial})))
    assert refusal([forged(middle, own), middle.root.der], revoked).endswith(f"{middle.root.serial} is revoked")


def test_two_authorities_between_are_one_too_many(ours: Authority) -> None:
    middle = between(ours)
    lower = between(middle)
    own = forged(lower, ours.uri())
    assert refusal([own, lower.root.der, middle.root.der], ours.trust).startswith("there are more authorities below")
    chain = [own, lower.root.der, middle.root.der, ours.root.der]
    assert refusal(chain, ours.trust) == "there are 4 certificates, and must be 1 to 3"
    assert refusal([], ours.trust) == "there are 0 certificates, and must be 1 to 3"


def test_a_device_certifies_nobody(ours: Authority) -> None:
    device = keys.make_p256()
    own = read_certificate(forged(ours, ours.uri(), key=device))
    friend = forged(Authority(device, own), ours.uri("admin", "root"))
    assert refusal([friend, own.der], ours.trust) == f"the certificate {own.serial} may not sign others"
    with_flag_only = forged(ours, ours.uri(), key=device, more=((x509.KeyUsage(*[True] + 8 * [False]), True),))
    friend = forged(Authority(device, read_certificate(with_flag_only)), ours.uri("admin", "root"))
    assert refusal([friend, with_flag_only], ours.trust).endswith("may not sign others")


def test_an_authority_is_nobody_itself(ours: Authority) -> None:
    own = forged(ours, ours.uri(), authority=True)
    assert refusal([own], ours.trust) == "the certificate is an authority's, and stands for nobody"


def test_an_authority_needs_the_right_to_sign_certificates_too(ours: Authority) -> None:
    """RFC 5280, 4.2.1.3 and 4.2.1.9."""
    key = keys.make_p256()
    flag = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    middle = read_certificate(forged(ours, key=key, authority=True, signs=flag))
    own = forged(Authority(key, middle), ours.uri())
    assert refusal([own, middle.der], ours.trust) == f"the certificate {middle.serial} may not sign others"


def test_the_name_of_an_ed25519_issuer_counts(ours: Authority) -> None:
    """Its signature is checked by our own rule, and so is its name."""
    key = keys.make_ed25519()
    one, other = make_root(key, NOW), ours.root
    own = issue(key, other, Subject("device", "a"), PUBLIC, NOW)
    assert not is_issued_by(own, one)
    assert is_issued_by(issue(key, one, Subject("device", "a"), PUBLIC, NOW), one)


def test_a_certificate_s_ed25519_signature_goes_by_our_rule() -> None:
    """R is the neutral point and S = k * a: the library takes it, and we do not."""
    key = keys.make_ed25519()
    root = make_root(key, NOW)
    own = issue(key, root, Subject("device", "a"), PUBLIC, NOW)
    signed = x509.load_der_x509_certificate(own.der).tbs_certificate_bytes
    half = sha512(key.private_bytes_raw()).digest()[:32]
    a = int.from_bytes(half, "little") & ((1 << 254) - 8) | 1 << 254
    public, r = key.public_key().public_bytes_raw(), (1).to_bytes(32, "little")
    k = int.from_bytes(sha512(r + public + signed).digest(), "little")
    odd = r + (k * a % keys.L).to_bytes(32, "little")
    key.public_key().verify(odd, signed)
    assert is_issued_by(own, root)
    assert not is_issued_by(read_certificate(own.der[:-64] + odd), root)


def test_an_expired_trust_file_certifies_nobody(ours: Authority) -> None:
    own = ours.certify("device", "lamp-3")
    trust = replace(ours.trust, expires_ms=NOW)
    assert certified([own.der], trust, NOW - 1)
    assert refusal([own.der], trust) == "nobody's certificate is taken: the trust file has expired"


def test_a_chain_is_in_order(ours: Authority) -> None:
    middle, another = between(ours), between(ours)
    own = forged(middle, ours.uri(), signer=another.key)
    assert refusal([own, middle.root.der], ours.trust).endswith("is not signed by the one that follows it")


def test_what_is_critical_and_not_understood_refuses_a_certificate(ours: Authority) -> None:
    limits = x509.NameConstraints(permitted_subtrees=[x509.DNSName("example.org")], excluded_subtrees=None)
    own = forged(ours, ours.uri(), more=((limits, True),))
    assert refusal([own], ours.trust) == "the extension 2.5.29.30 is critical and not understood"
    assert certified([forged(ours, ours.uri(), more=((limits, False),))], ours.trust, NOW)


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_any_octets_stand_for_nobody_and_raise_nothing_else(chain: list[bytes]) -> None:
    refusal(chain, Trust())


@pytest.fixture(scope="module")
def sample(ours: Authority) -> bytes:
    return ours.certify("device", "lamp-3").der


wounds = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3)


@given(wounds)
def test_a_damaged_certificate_stands_for_nobody_or_the_same(
    ours: Authority, sample: bytes, wounds: list[tuple[float, int]]
) -> None:
    der = bytearray(sample)
    for place, octet in wounds:
        der[int(place * len(der))] = octet
    try:
        who = certified([bytes(der)], ours.trust, NOW)
    except DeniedError:
        return
    assert who == Identity("certificate", "lamp-3", ("device",))
