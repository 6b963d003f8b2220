"""A request as the operations see it, and their reply."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from waypost.api.reading import Pairs
from waypost.identity import Identity
from waypost.identity.policy import View


@dataclass(frozen=True, slots=True)
class Request:
    """`media` is the type the reply will have, `body_media` the type of `body`; `source` the sender's address."""

    path: str
    query: Pairs
    id: str
    media: str
    body_media: str
    body: bytes
    source: str
    who: Identity
    view: View | None  # what of the room the policy lets it see; None: all
    confidential: bool = False  # it came over TLS, or the node's own socket
    certificate: bytes = b""  # that the client showed, DER
    last_event: str | None = None  # the token of the last event that came on an earlier connection
    if_match: str | None = None
    if_none_match: str | None = None
    prefer: str = ""  # RFC 7240


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is a structure for JSON, octets for anything else, or octets that are made while they are sent."""

    status: int
    body: Struct | bytes | AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = field(default_factory=dict)
