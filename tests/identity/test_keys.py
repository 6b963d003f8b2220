"""Which keys are taken, and the one rule for Ed25519."""

import json
import time
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import DeniedError, WireError
from waypost.identity import keys
from waypost.identity.anchors import Trust
from waypost.identity.certificates import read_certificate
from waypost.identity.chains import certified

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CASES = json.loads((VECTORS / "ed25519" / "ed25519vectors.json").read_text())
REFUSED = {"low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R", "low_order_residue"}
SMALL = [  # the eight points of small order, as RFC 8032 writes them, and y = 1 and y = -1 with the sign of x set
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
SIGNATURE = KEY.sign(b"waypost")


def refusal(key: object) -> str:
    with pytest.raises(WireError) as caught:
        keys.take_public(key)
    return str(caught.value)


def test_each_edge_case_of_ed25519_has_the_verdict_of_the_rule() -> None:
    """Refused for a point of small order or a second spelling, and where the equation fails without the cofactor."""
    wrong = []
    for case in CASES:
        octets = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"]), case["msg"].encode()
        if keys.verifies(*octets) != (not REFUSED & {*(case["flags"] or ())}):
            wrong.append(case["number"])
    assert len(CASES) == 914
    assert wrong == []
    assert sum(not REFUSED & {*(case["flags"] or ())} for case in CASES) == 43


@pytest.mark.parametrize("point", SMALL)
def test_points_of_small_order_are_neither_keys_nor_halves_of_signatures(point: str) -> None:
    octets = bytes.fromhex(point)
    assert not keys.is_sound(octets)
    assert not keys.verifies(octets, SIGNATURE, b"waypost")
    assert not keys.verifies(PUBLIC, octets + SIGNATURE[32:], b"waypost")


def test_a_point_has_one_spelling() -> None:
    for y in range(19):  # of y + p, which is the same point
        assert not keys.is_sound((y + keys.P).to_bytes(32, "little"))
    assert keys.is_sound((keys.P - 2).to_bytes(32, "little"))


def test_a_signature_is_true_of_one_message_one_key_and_itself() -> None:
    assert keys.verifies(PUBLIC, SIGNATURE, b"waypost")
    assert not keys.verifies(PUBLIC, SIGNATURE, b"Waypost")
    other = keys.make_ed25519().public_key().public_bytes_raw()
    assert not keys.verifies(other, SIGNATURE, b"waypost")
    for bit in range(512):
        changed = bytearray(SIGNATURE)
        changed[bit // 8] ^= 1 << bit % 8
        assert not keys.verifies(PUBLIC, bytes(changed), b"waypost")


def test_the_second_half_of_a_signature_has_one_spelling() -> None:
    """RFC 8032, 5.1.7: S + L would verify too, and a signature could be made anew by anybody."""
    s = int.from_bytes(SIGNATURE[32:], "little")
    assert s < keys.L
    assert not keys.verifies(PUBLIC, SIGNATURE[:32] + (s + keys.L).to_bytes(32, "little"), b"waypost")


@given(st.binary(max_size=70), st.binary(max_size=70), st.binary(max_size=40))
def test_any_octets_verify_or_not_and_raise_nothing(public: bytes, signature: bytes, message: bytes) -> None:
    assert not keys.verifies(public, signature, message)
    assert not keys.verifies(PUBLIC, signature, message)


def test_keys_of_the_sizes_that_are_taken() -> None:
    taken: list[keys.PrivateKey] = [
        keys.make_ed25519(), keys.make_p256(), ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65_537, 2_048),
    ]  # fmt: skip
    for key in taken:
        assert keys.take_public(key.public_key()) is not None
        again = keys.read_private(keys.write_private(key))
        assert keys.fingerprint(again.public_key()) == keys.fingerprint(key.public_key())
        public = keys.read_public(keys.write_public(key.public_key()))
        assert keys.fingerprint(public) == keys.fingerprint(key.public_key())


def public_rsa(bits: int, exponent: int = 65_537) -> rsa.RSAPublicKey:
    """Without a private half: an odd number of so many bits is modulus enough."""
    return rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) + 0x1234567).public_key()


def test_keys_of_other_kinds_and_sizes_are_refused() -> None:
    assert refusal(public_rsa(2_047)) == "the RSA key has 2047 bits, and only 2048 to 4096 bits are taken"
    assert refusal(public_rsa(4_097)).startswith("the RSA key has 4097 bits")
    assert keys.take_public(public_rsa(4_096)) is not None
    assert "exponent" in refusal(public_rsa(2_048, 3))
    assert "exponent" in refusal(public_rsa(2_048, (1 << 32) + 1))
    assert "curve secp521r1" in refusal(ec.generate_private_key(ec.SECP521R1()).public_key())
    assert "curve secp256k1" in refusal(ec.generate_private_key(ec.SECP256K1()).public_key())
    for other in (ed448.Ed448PrivateKey.generate(), x25519.X25519PrivateKey.generate(), dsa.generate_private_key(1024)):
        assert refusal(other.public_key()).startswith("the key is of no kind that is taken")
    small = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL[0]))
    assert "small order" in refusal(small)


@pytest.mark.parametrize(("bits", "file"), [(16_384, "rsa16384.pem"), (1_024, "rsa1024.pem")])
def test_a_huge_key_is_refused_at_once(bits: int, file: str) -> None:
    """go-libp2p's CVE-2023-39533."""
    pem = (VECTORS / "keys" / file).read_bytes()
    started = time.perf_counter()
    with pytest.raises(WireError, match=f"the RSA key has {bits} bits"):
        read_certificate(pem)
    with pytest.raises(DeniedError, match=f"the RSA key has {bits} bits"):
        certified([pem, pem], Trust(), 0)
    assert time.perf_counter() - started < 0.1  # 1 ms, and some for a busy machine


def test_a_file_holds_one_key_and_is_not_larger_than_one() -> None:
    pem = keys.write_private(KEY)
    password = serialization.BestAvailableEncryption(b"x")
    locked = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, password)
    for data, sentence in [
        (b"", "no private key"),
        (keys.write_public(KEY.public_key()), "no private key"),
        (pem[:60], "no private key"),
        (pem + pem, "more than one"),
        (pem + b"\n" * keys.PEM_MAX, "at most"),
        (locked, "with a password"),
    ]:
        with pytest.raises(WireError, match=sentence):
            keys.read_private(data)
    with pytest.raises(WireError, match="not an Ed25519 key"):
        keys.read_private_ed25519(keys.write_private(keys.make_p256()))
    public = keys.write_public(KEY.public_key())
    for data, sentence in ((pem, "no public key"), (public + public, "more than one")):
        with pytest.raises(WireError, match=sentence):
            keys.read_public(data)
    with pytest.raises(WireError, match="at most"):
        keys.read_public(b"\n" * keys.PEM_MAX + public)


def test_no_message_shows_what_was_read() -> None:
    broken = keys.write_private(KEY).replace(b"MC4C", b"MC4D")
    with pytest.raises(WireError) as caught:
        keys.read_private(broken)
    assert broken.split(b"\n")[1].decode()[8:20] not in str(caught.value)
    assert caught.value.__cause__ is None


armour = st.builds(
    lambda kind, body: b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (kind, body, kind),
    st.sampled_from([b"PRIVATE KEY", b"EC PRIVATE KEY", b"RSA PRIVATE KEY", b"PUBLIC KEY", b"ENCRYPTED PRIVATE KEY"]),
    st.binary(max_size=80).map(b64encode) | st.binary(max_size=80),
)


@given(st.binary(max_size=200) | armour)
def test_any_octets_are_a_key_or_raise_wire_error(data: bytes) -> None:
    for read in (keys.read_private, keys.read_public):
        with pytest.raises(WireError):
            read(data)


@given(st.binary(max_size=2_000))
def test_a_signer_makes_what_its_key_makes(message: bytes) -> None:
    key = keys.make_ed25519()
    signature = keys.signer(key)(message)
    assert signature == key.sign(message)
    assert keys.verifies(key.public_key().public_bytes_raw(), signature, message)
