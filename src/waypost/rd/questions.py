"""What the directory can be asked, and what it answers.

The same questions come from CoAP (`interface.py` reads them from requests) and from the HTTP API;
the same outcomes go back.  `Announce` is the one question that the directory itself asks.
"""

from dataclasses import dataclass, field
from enum import Enum

from waypost.coap.request import Fresh, Others
from waypost.coap.transfer import Call
from waypost.engine import Path
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.policy import View

Attributes = tuple[tuple[str, str | None], ...]  # in order, repeated names allowed; None: no value


class Kind(Enum):
    """What a lookup lists (RFC 9176, 6)."""

    RESOURCES = "res"
    ENDPOINTS = "ep"
    GROUPS = "gp"  # of draft -12


@dataclass(slots=True)  # not frozen: see waypost/engine.py
class Register:
    """RFC 9176, 5.  `implicit_base` is scheme and authority of the sender, used when `base` is None.

    `source` is the sender's address, for the quota and the policy; `zone` its link (`zones.py`), 0 if not known.
    `simple`: its answer names no location (RFC 9176, 5.1).  `members` are the locations of a group's; None: no group.
    """

    ep: str
    d: str | None
    lt: int  # seconds
    base: str | None
    implicit_base: str
    attributes: Attributes
    links: bytes  # Limited Link Format, UTF-8
    source: str
    who: Identity = ANONYMOUS
    zone: int = 0
    simple: bool = False
    members: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """RFC 9176, 5.1: `register` with the links that the sender, at the other end of `path`, has to show.

    `verified`: the request itself brought proof that the sender is at its address.
    """

    register: Register
    path: Path
    verified: bool


@dataclass(frozen=True, slots=True)
class Renew:
    """RFC 9176, 5.3.1.  None leaves a value as it is; `implicit_base` replaces only an implicit base.

    `source` is the sender's address, for the quota; empty, it has none.  `zone` is its link.
    """

    location: str
    lt: int | None
    base: str | None
    implicit_base: str | None
    attributes: Attributes
    source: str = ""
    who: Identity = ANONYMOUS
    zone: int = 0


@dataclass(frozen=True, slots=True)
class Remove:
    """RFC 9176, 5.3.2.  `evicts`: it is an operator's doing."""

    location: str
    source: str = ""
    who: Identity = ANONYMOUS
    evicts: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """One registration, with those of its links that match every criterion; `zone` is the asker's link."""

    location: str
    criteria: tuple[tuple[str, str | None], ...] = ()
    zone: int = 0
    who: Identity = ANONYMOUS


@dataclass(slots=True)
class Lookup:
    """RFC 9176, 6.2.  `count` None lists all; `structured` asks for Entry or LinkEntry, not link-format.

    `zone` is the asker's link: what is local to another is not shown.  `view` is what the asker may see, as the policy
    decided it.  Not frozen: one is made for every lookup.
    """

    kind: Kind
    criteria: tuple[tuple[str, str | None], ...]
    page: int = 0
    count: int | None = None
    structured: bool = False
    zone: int = 0
    who: Identity = ANONYMOUS
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Import:
    """A registration as another node held it, for `expires_in` seconds more; at `location` if that is free.

    A name that is registered here already stays as it is.  `owner` is what the policy remembers it by.
    `dry`: only say what would happen.
    """

    register: Register
    location: str | None
    expires_in: float
    owner: str = ""
    dry: bool = False
    who: Identity = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Locations:
    """Of all registrations: what an export then reads a page at a time."""

    who: Identity = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Export:
    """The visible registrations among `locations` that meet all criteria, as they are now."""

    locations: tuple[str, ...]
    criteria: tuple[tuple[str, str | None], ...] = ()
    who: Identity = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Evict:
    """Remove a registration, and keep its name out for `for_s` seconds."""

    location: str
    for_s: int
    who: Identity = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Evictions:
    """Who is kept out?"""

    who: Identity = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Readmit:
    """Let the name of an eviction back in."""

    id: str
    who: Identity = ANONYMOUS


Question = Register | Probe | Renew | Remove | Read | Lookup | Import | Locations | Export | Evict | Evictions | Readmit


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A link as a resource lookup shows it: resolved."""

    href: str
    anchor: str | None
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Entry:
    """A registration as an endpoint lookup shows it; `links` only by Read.

    `expires_in` seconds; below zero if its lifetime has passed and the brake holds it.
    """

    location: str
    ep: str
    d: str | None
    base: str
    lt: int
    expires_in: float
    attributes: Attributes
    links: tuple[LinkEntry, ...] | None


@dataclass(slots=True)  # not frozen: see waypost/engine.py
class Registered:
    """Stored; `created` is False if the name was registered already and keeps its location."""

    location: str
    created: bool
    simple: bool = False


@dataclass(frozen=True, slots=True)
class Renewed:
    pass


@dataclass(frozen=True, slots=True)
class Removed:
    pass


@dataclass(frozen=True, slots=True)
class Imported:
    """Stored; not at the location that was wanted if that is another's."""

    location: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The name was registered already, and stays as it is."""

    location: str


@dataclass(frozen=True, slots=True)
class Located:
    locations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """A registration as it was sent: `links` in Limited Link Format; an implicit base is not `explicit`.

    `members` are a group's; `owner` is what the policy remembers it by.
    """

    location: str
    ep: str
    d: str | None
    base: str
    explicit: bool
    lt: int
    expires_in: float
    attributes: Attributes
    links: str
    members: tuple[str, ...]
    owner: str


@dataclass(frozen=True, slots=True)
class Page:
    """`visible` registrations were there; `entries` met the criteria."""

    visible: int
    entries: tuple[Exported, ...]


@dataclass(frozen=True, slots=True)
class Eviction:
    """`id` is what the registration had."""

    id: str
    ep: str
    d: str | None
    remaining_s: float


@dataclass(frozen=True, slots=True)
class Evicted:
    evictions: tuple[Eviction, ...]


@dataclass(slots=True)
class Found:
    """`body` is link-format for a plain lookup; `entries` for a structured one.  `more`: another page follows.

    With `fresh` it answers every equal lookup until that has ended; `others` is as in a Response.
    """

    body: bytes
    entries: "tuple[Entry, ...] | tuple[LinkEntry, ...]" = ()
    more: bool = False
    fresh: Fresh | None = field(compare=False, default=None)
    others: Others | None = field(compare=False, default=None)


class Reason(Enum):
    BAD_REQUEST = "bad-request"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    TOO_LARGE = "too-large"
    UNVERIFIED = "unverified"  # first show that you are at your address
    UNUSABLE = "unusable"  # what the sender was asked for, it did not give
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing changed; `detail` is one sentence for people; after `retry_s` seconds it may be otherwise."""

    reason: Reason
    detail: str
    retry_s: int | None = None


class Cause(Enum):
    """What is short."""

    DISK = "disk"  # or the queue before it
    FULL = "full"  # of registrations, or of their links
    HOLDINGS = "holdings"  # of one source: it may have no more registrations
    LOOKUPS = "lookups"
    QUOTA = "quota"  # of one source


@dataclass(frozen=True, slots=True)
class Busy:
    """Over a quota or a queue's bound; nothing changed; come back after `retry_s` seconds."""

    retry_s: int
    detail: str
    cause: Cause = Cause.DISK


Outcome = Registered | Renewed | Removed | Entry | Found | Imported | Kept | Located | Page | Evicted | Refused | Busy


@dataclass(slots=True)  # not frozen: see waypost/engine.py
class Announce:
    """Asked of the carrier: make `value` the record of `key`; None removes it.

    The answer, Announced or Busy, comes after apply() has brought the change (design, Contracts, 5).
    `expires_ms` is wall-clock time; past it any carrier may forget the record.  `local`: it means nothing to other
    nodes, and stays on this one.

    Nobody asked for what restates a record: it counts as said right after it, or at `said_ms`, wall-clock time, if that
    is later.  `restates` is that record's value, empty if it was a removal; whatever anybody has said since is the last
    word.
    """

    key: bytes
    value: bytes | None
    expires_ms: int
    local: bool = False
    restates: bytes | None = None
    said_ms: int = 0


@dataclass(frozen=True, slots=True)
class Exclude:
    """Have all nodes that hold this directory keep a name out, as `value` says; None: let it back in.

    Nobody answers: it is told as soon as that can be.  It may be forgotten at `expires_ms`, wall-clock time.
    """

    key: bytes
    value: bytes | None
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Announced:
    pass


@dataclass(frozen=True, slots=True)
class Fetch:
    """Asked of the node's own CoAP client: put `call` to the peer of `path`, whose request `id` is the reason.

    Answered with Response or Failure; an answer of more than `octets_max` is a Failure.
    """

    path: Path
    call: Call
    id: int
    octets_max: int
