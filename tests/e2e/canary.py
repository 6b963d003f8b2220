"""Secrets, and every form in which one could show."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.identity import keys
from waypost.identity.token import Shown

PIECE = 16  # characters: half of the shortest secret in hexadecimal


@dataclass(frozen=True)
class Canary:
    name: str
    octets: bytes

    def shows_in(self, output: bytes) -> list[str]:
        """The forms of which at least a half is there."""
        return [kind for kind, form in forms(self.octets) if any(piece in output for piece in halves(form))]


def forms(octets: bytes) -> Iterator[tuple[str, bytes]]:
    """In each of which it could be printed.  Base64 has three, for a secret that begins inside something longer."""
    yield "octets", octets
    yield "hexadecimal", octets.hex().encode()
    yield "HEXADECIMAL", octets.hex().upper().encode()
    yield "octets in hexadecimal", octets.hex(":").encode()
    yield "base32", base64.b32encode(octets).rstrip(b"=").lower()
    yield "BASE32", base64.b32encode(octets).rstrip(b"=")
    yield "Python's bytes", repr(octets)[2:-1].encode()
    yield "a list of numbers", ", ".join(map(str, octets)).encode()
    yield "a number", str(int.from_bytes(octets, "big")).encode()
    for before, foreign in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(bytes(before) + octets).rstrip(b"=")
        own = whole[foreign:] if (before + len(octets)) % 3 == 0 else whole[foreign:-1]
        yield f"base64 after {before}", own
        yield f"base64 for URLs after {before}", own.replace(b"+", b"-").replace(b"/", b"_")


def halves(form: bytes) -> tuple[bytes, bytes]:
    middle = len(form) // 2
    return form[:middle], form[middle:]


def of_key(name: str, pem: bytes) -> Canary:
    key = keys.read_private(pem)
    if isinstance(key, Ed25519PrivateKey):
        return Canary(name, key.private_bytes_raw())
    assert isinstance(key, EllipticCurvePrivateKey)
    return Canary(name, key.private_numbers().private_value.to_bytes(32, "big"))


def of_token(name: str, text: str) -> Canary:
    return Canary(name, Shown.read(text).secret)


def leaks(outputs: Mapping[str, bytes], canaries: list[Canary]) -> list[str]:
    """Which secret shows where, and how; and nothing of it."""
    return [
        f"{canary.name} in {where} as {form}"
        for where, output in outputs.items()
        for canary in canaries
        for form in canary.shows_in(output)
    ]
