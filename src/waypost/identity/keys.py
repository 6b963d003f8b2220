"""Keys: which are taken, how they are named, and one rule for Ed25519.

An Ed25519 signature (RFC 8032) is valid when all of this holds, and then only:

1. the key A and the point R, the signature's first half, are canonical: y is below p = 2^255 - 19;
2. neither is one of the eight points of small order;
3. S, the signature's second half, is below the group's order L;
4. S*B = R + k*A without the factor 8, k being SHA-512(R, A, message) reduced modulo L.

The library checks 4; 1 to 3 are checked here, before it is asked.  Libraries disagree on what 1, 2 and 4 rule out, and
a vote must not depend on which of them a node uses.

Whoever reads a key from outside does so by `take_public`: what is too large or too small is refused before anything
is computed with it.  A text never shows a private key: only its fingerprint, SHA-256 of the SubjectPublicKeyInfo.

Source: RFC 8032, 5.1; notes on the ledger, L11; notes on reliability, D1 (key sizes).
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from waypost.errors import WireError

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

PEM_MAX: Final = 16_384  # octets of a file with one key
RSA_BITS_MIN: Final = 2_048
RSA_BITS_MAX: Final = 4_096
EXPONENT_MIN: Final = 65_537
EXPONENT_MAX: Final = (1 << 32) - 1
CURVES: Final = ("secp256r1", "secp384r1")

P: Final = (1 << 255) - 19
L: Final = (1 << 252) + 27_742_317_777_372_353_535_851_937_790_883_648_493
SIGN: Final = 1 << 255  # the bit of a point's octets that is the sign of x
EIGHTH: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7  # y of a point of order 8
# y of the points of order 1, 2, 4 and 8; with either sign of x they are small, or no points at all.
SMALL: Final = frozenset({0, 1, P - 1, EIGHTH, P - EIGHTH})


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether it is an Ed25519 signature of `message` by the 32 octets of a key.  For any octets at all."""
    if len(signature) != 64 or not (is_sound(public) and is_sound(signature[:32])):
        return False
    if int.from_bytes(signature[32:], "little") >= L:
        return False
    try:
        crypto_sign_open(signature + message, public)  # by libsodium: a vote has to be verified some twenty times
    except BadSignatureError:
        return False
    return True


def signer(key: ed25519.Ed25519PrivateKey) -> Callable[[bytes], bytes]:
    """What key.sign() makes (RFC 8032 leaves no choice), by libsodium, in three quarters of the time: for votes."""
    _, secret = crypto_sign_seed_keypair(key.private_bytes_raw())
    return lambda message: crypto_sign(message, secret)[:64]


def is_sound(point: bytes) -> bool:
    """Whether it may be a point of an Ed25519 key or signature: canonical, and not of small order."""
    y = int.from_bytes(point, "little") & ~SIGN
    return len(point) == 32 and y < P and y not in SMALL


def make_ed25519() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def make_p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def take_public(key: object) -> PublicKey:
    """The key, if it is of a kind and size that we take.  Raises WireError; costs nothing, whatever its size."""
    match key:
        case ed25519.Ed25519PublicKey():
            if not is_sound(key.public_bytes_raw()):
                raise WireError("the Ed25519 key is not a canonical point, or of small order")
        case ec.EllipticCurvePublicKey():
            if key.curve.name not in CURVES:
                raise WireError(f"the curve {key.curve.name} is not taken: only P-256 and P-384 are")
        case rsa.RSAPublicKey():
            if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
                bits = f"{RSA_BITS_MIN} to {RSA_BITS_MAX} bits"
                raise WireError(f"the RSA key has {key.key_size} bits, and only {bits} are taken")
            exponent = key.public_numbers().e
            if not EXPONENT_MIN <= exponent <= EXPONENT_MAX:
                raise WireError(f"the RSA key's exponent is not between {EXPONENT_MIN} and {EXPONENT_MAX}")
        case _:
            raise WireError("the key is of no kind that is taken: Ed25519, P-256, P-384 or RSA")
    return key


def octets_of(public: PublicKey) -> bytes:
    """Its SubjectPublicKeyInfo, DER."""
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(public: PublicKey) -> str:
    """64 hexadecimal digits that name the key."""
    return sha256(octets_of(public)).hexdigest()


def write_private(key: PrivateKey) -> bytes:
    """PKCS #8 in PEM, not encrypted: the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_public(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_private(pem: bytes) -> PrivateKey:
    """Raises WireError for anything but one private key that we take; the message shows nothing of it."""
    _require_one(pem)
    try:
        # Without the check of RSA's primes, which takes seconds for a large key; take_public() comes first.
        key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
        take_public(key.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise WireError("it holds no private key in PEM, or one with a password") from None
    assert isinstance(key, PrivateKey)
    return key


def read_private_ed25519(pem: bytes) -> ed25519.Ed25519PrivateKey:
    key = read_private(pem)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise WireError("the key is not an Ed25519 key")
    return key


def read_public(pem: bytes) -> PublicKey:
    """Raises WireError for anything but one public key that we take."""
    _require_one(pem)
    try:
        return take_public(serialization.load_pem_public_key(pem))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise WireError("it holds no public key in PEM") from None


def _require_one(pem: bytes) -> None:
    if len(pem) > PEM_MAX:
        raise WireError(f"a file with a key has {PEM_MAX} octets at most")
    if pem.count(b"-----BEGIN ") > 1:
        raise WireError("it holds more than one thing in PEM, and must hold one key")
