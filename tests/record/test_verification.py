"""Signatures of our own need no verifying; the rest of verification.py is tested with the judge."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.identity.keys import verifies
from waypost.record.verification import Remembering

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()


def test_what_was_signed_here_is_good_without_being_verified() -> None:
    remembering = Remembering(verifies)
    signature = remembering.signing(PUBLIC, KEY.sign)(b"yes")
    assert signature == KEY.sign(b"yes")
    assert remembering(PUBLIC, signature, b"yes")
    assert remembering.asked == 0


def test_it_is_good_for_that_message_and_key_alone() -> None:
    remembering = Remembering(verifies)
    signature = remembering.signing(PUBLIC, KEY.sign)(b"yes")
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    assert not remembering(PUBLIC, signature, b"no")
    assert not remembering(other, signature, b"yes")
    assert not remembering(PUBLIC, bytes(64), b"yes")
    assert remembering.asked == 3


def test_what_was_signed_here_is_bounded_too() -> None:
    remembering = Remembering(verifies, remembered_max=4)
    sign = remembering.signing(PUBLIC, KEY.sign)
    signatures = {message: sign(message) for message in (b"%d" % number for number in range(20))}
    assert all(remembering(PUBLIC, signature, message) for message, signature in signatures.items())
    assert remembering.asked >= 16
