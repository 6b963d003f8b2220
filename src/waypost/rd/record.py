"""A registration as it is stored: canonical JSON under the key of (d, ep).

Key: opaque d<0..255>; ep to the end.  No sector and the empty sector are one.

Source: design, Contracts, 5.
"""

from math import ceil
from typing import Final

import msgspec

from waypost.codec import opaque
from waypost.errors import StoreError
from waypost.rd.questions import Attributes

SLACK: Final = 0.5  # of a lifetime, by which the stored expiry is later than the client's


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`explicit` is False if `base` was taken from the sender's address.  `holder` is whom it counts for.

    `expires_ms` is wall-clock time, and later than what the client was told: see SLACK.  `owner` is what
    the policy remembers it by, `zone` the link of a link-local base, `members` the locations of a group's.  `node`
    keeps it, for it accepted it last; empty, it is on this node alone.
    """

    attributes: Attributes
    base: str
    d: str | None
    ep: str
    expires_ms: int
    explicit: bool
    holder: str = ""
    links: str
    location: str
    lt: int
    members: tuple[str, ...] = ()
    node: str = ""
    owner: str = ""
    zone: int = 0

    def encode(self) -> bytes:
        """Canonical, for the fields stand in the order of their names and hold nothing outside the subset."""
        return _encode(self)

    @property
    def said_ms(self) -> int:
        """Wall-clock time of the client's word that it comes of, or before."""
        return self.expires_ms - ceil(self.lt * 1000 * (1 + SLACK))

    @property
    def is_local(self) -> bool:
        """It says something of a link, whose number is this machine's (zones.py)."""
        return bool(self.zone) or "%" in self.owner


_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(Record)


def decode(key: bytes, value: bytes) -> Record:
    """Raises StoreError for bytes that encode() cannot have made, or that lie under another's key."""
    try:
        record = _decoder.decode(value)
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise StoreError(f"the stored registration {key!r} cannot be read") from error
    if key_of(record.d, record.ep) != key or record.lt < 1:
        raise StoreError(f"the stored registration {key!r} contradicts itself")
    return record


def key_of(d: str | None, ep: str) -> bytes:
    """One registration for each (d, ep): RFC 9176, 5."""
    return (opaque(1, d.encode()) if d else b"\0") + ep.encode()


def name_of(key: bytes) -> tuple[str | None, str]:
    """The (d, ep) of which key_of() made `key`."""
    size = key[0]
    return key[1 : 1 + size].decode() or None, key[1 + size :].decode()
