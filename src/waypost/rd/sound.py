"""What another node may say is registered.

Source: design, Contracts, 5; RFC 9176, 5: what the directory requires of clients it requires of others' words for them.
"""

from typing import Final

from waypost.coap import links as linkformat
from waypost.errors import StoreError, WireError
from waypost.rd.changes import LOCATION
from waypost.rd.index import parse_limited
from waypost.rd.parameters import require_registration
from waypost.rd.questions import Register
from waypost.rd.record import decode

EXPIRES_MAX: Final = 1 << 53  # milliseconds


def is_sound(key: bytes, value: bytes) -> bool:
    """Whether it is a record that can be held here: of a node, local to no link, and all of it can be read.

    The answer is the same on every node: it depends on nothing but the record.
    """
    try:
        record = decode(key, value)
        links = record.links.encode()
        require_registration(
            Register(record.ep, record.d, record.lt, record.base, record.base, record.attributes, links, "")
        )
        linkformat.origin(record.base)
        parse_limited(links)
    except (StoreError, WireError, ValueError, OverflowError):
        return False
    locations = (record.location, *record.members)
    may_be_here = bool(record.node) and not record.is_local and 0 < record.expires_ms < EXPIRES_MAX
    return may_be_here and all(map(LOCATION.fullmatch, locations))
