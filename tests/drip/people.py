"""Keys and records that the tests of the mesh share, beside what the simulator has of them."""

from typing import Final

from msgspec.structs import replace

from waypost.record import Cited, Hlc, Place, Record, Sign, Stamp, network_of
from waypost.record.vote import founding
from waypost.sim.people import Fast, fast, key_of, member, public_of, roster

__all__ = [
    "FOUNDERS",
    "FOUNDING",
    "NETWORK",
    "WALL_MS",
    "Fast",
    "fast",
    "key_of",
    "member",
    "public_of",
    "record",
    "roster",
]

WALL_MS: Final = 1_800_000_000_000
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
    cites: tuple[Cited, ...] = (),
    is_taken: bool = True,
    taker: Sign | None = None,
) -> Record:
    """The version after `before`, signed by `author`, and by another holder than before if it `is_taken`."""
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
        cites=cites,
        signature="",
    )
    if before is not None and before.holder != unsigned.holder and is_taken:
        taken = (taker or key_of(holder).sign)(unsigned.transfer(before.holder).to_sign(network)).hex()
        unsigned = replace(unsigned, taken=taken)
    return unsigned.signed(network, sign or key_of(author).sign)
