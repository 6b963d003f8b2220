"""A roster as nodes of wire version 1 have it: they write what they have read, and compare."""

import msgspec
from msgspec import Struct

from waypost.record import Policy
from waypost.record.wire import encode


class OldMember(Struct, frozen=True):
    name: str
    incarnation: int
    key: str
    url: str
    organisation: str


class OldRoster(Struct, frozen=True, omit_defaults=True):
    epoch: int
    voters: tuple[OldMember, ...]
    learners: tuple[OldMember, ...]
    policy: Policy
    forced: None = None


def old_reads(text: str) -> bool:
    """Whether a node of wire version 1 would take it."""
    try:
        return encode(msgspec.json.decode(text, type=OldRoster)) == text.encode()
    except ValueError:
        return False
