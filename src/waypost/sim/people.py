"""Nodes of simulated meshes, and keys that are the same in every run."""

from functools import cache
from hashlib import sha512

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.record import Member, Policy, Roster


@cache
def key_of(name: str) -> Ed25519PrivateKey:
    """The same key for the same name, every time."""
    return Ed25519PrivateKey.from_private_bytes(sha512(name.encode()).digest()[:32])


@cache
def public_of(name: str) -> str:
    return key_of(name).public_key().public_bytes_raw().hex()


class Fast:
    """Signatures that cost nothing to make or to check: for storms, which forge none."""

    def __init__(self, public: str) -> None:
        self._public = bytes.fromhex(public)

    def sign(self, message: bytes) -> bytes:
        return sha512(self._public + message).digest()

    @staticmethod
    def verify(public: bytes, signature: bytes, message: bytes) -> bool:
        return signature == sha512(public + message).digest()


@cache
def fast(name: str) -> Fast:
    return Fast(public_of(name))


def member(name: str, incarnation: int = 1) -> Member:
    return Member(name, incarnation, public_of(f"{name}/{incarnation}"), f"https://{name}.example:8481", name)


def roster(*voters: str, learners: tuple[str, ...] = (), epoch: int = 1, quorum: int = 0) -> Roster:
    policy = Policy(public_of("operator"), quorum, ())
    return Roster(epoch, tuple(map(member, voters)), tuple(map(member, learners)), policy)
