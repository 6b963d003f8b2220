"""Nodes, keys and records that the tests of the mesh share."""

from functools import cache
from hashlib import sha512
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.record import Hlc, Member, Place, Policy, Record, Roster, Sign, Stamp, network_of
from waypost.record.vote import founding

WALL_MS: Final = 1_800_000_000_000


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


FOUNDERS: Final = roster("anna", "berta", "carla", learners=("dora", "emma"))
NETWORK: Final = network_of(FOUNDERS)
FOUNDING: Final = founding(FOUNDERS)


def record(
    value: str | None,
    before: Record | None = None,
    *,
    place: Place = ("names", "lamp"),
    holder: str = "operator",
    home: str = "anna",
    author: str = "operator",
    network: str = NETWORK,
    sign: Sign | None = None,
    wall_ms: int = WALL_MS,
    txid: int = 1,
) -> Record:
    """The version after `before`, signed by `author`."""
    unsigned = Record(
        namespace=place[0],
        key=place[1],
        version=before.version + 1 if before else 1,
        prev=before.hash(network) if before else "",
        holder=public_of(holder),
        home=home,
        value=value,
        author=public_of(author),
        hlc=Stamp.of(Hlc(wall_ms, 0)),
        txid=f"{txid:032x}",
        cites=(),
        signature="",
    )
    return unsigned.signed(network, sign or key_of(author).sign)
