"""Detached signatures over canonical JSON, each for one purpose.

What is signed is a first line that names the purpose, then the one spelling of the value: a signature that was made
for one thing proves nothing about another.

A sealed document holds its value and the operator's or node's signature beside it, in canonical JSON again:

    {"key":"<fingerprint>","signature":"<128 hexadecimal digits>","value":…}

Source: notes on the ledger, 6 (statements); RFC 8785; RFC 8032.
"""

import re
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from waypost.canonical import canonical, parse_canonical
from waypost.errors import DeniedError, WireError
from waypost.identity.keys import fingerprint, verifies

PURPOSE: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
PURPOSE_MAX: Final = 32  # characters
SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")


def sign(key: Ed25519PrivateKey, purpose: str, value: object) -> bytes:
    """64 octets.  Raises ValueError if `value` has no canonical form."""
    return key.sign(message_of(purpose, value))


def is_signed(public: Ed25519PublicKey, purpose: str, value: object, signature: bytes) -> bool:
    """Whether `signature` is the key's, for this purpose and value.  Raises ValueError as sign() does."""
    return verifies(public.public_bytes_raw(), signature, message_of(purpose, value))


def message_of(purpose: str, value: object) -> bytes:
    assert PURPOSE.fullmatch(purpose), purpose
    assert len(purpose) <= PURPOSE_MAX, purpose
    return b"waypost signature v1 " + purpose.encode() + b"\n" + canonical(value)


def seal(key: Ed25519PrivateKey, purpose: str, value: object) -> bytes:
    """One line of canonical JSON."""
    signature = sign(key, purpose, value).hex()
    document = {"key": fingerprint(key.public_key()), "signature": signature, "value": value}
    return canonical(document) + b"\n"


def unseal(data: bytes, purpose: str, public: Ed25519PublicKey, size_max: int) -> object:
    """What was sealed.

    Raises WireError for what is no sealed document, DeniedError for one that another key, or for another purpose, made.
    """
    if len(data) > size_max:
        raise WireError(f"the document has {len(data)} octets, {size_max} at most")
    document = parse_canonical(data.removesuffix(b"\n"))
    if not isinstance(document, dict) or document.keys() != {"key", "signature", "value"}:
        raise WireError("it is no sealed document: key, signature and value, and nothing else")
    signature = document["signature"]
    if not (isinstance(signature, str) and SIGNATURE.fullmatch(signature)):
        raise WireError("the signature is not 128 hexadecimal digits in lower case")
    if document["key"] != fingerprint(public):
        raise DeniedError(f"it is not signed with the key {fingerprint(public)[:16]}…, but says it is with another")
    if not is_signed(public, purpose, document["value"], bytes.fromhex(signature)):
        raise DeniedError("its signature is wrong")
    return document["value"]
