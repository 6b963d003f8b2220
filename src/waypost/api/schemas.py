"""The bodies of the HTTP API; names are those of RFC 9176 and RFC 9457.

What clients send refuses unknown fields; what the server sends does not, so that an older client can
read a newer server.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

# The directory's own limits.  Importing it would take a command a tenth of its time; a test holds them equal.
NAME_OCTETS_MAX: Final = 63
LIFETIME_DEFAULT: Final = 90_000  # seconds
LIFETIME_MAX: Final = (1 << 32) - 1  # seconds
ATTRIBUTES_MAX: Final = 32
LINKS_MAX: Final = 1_024
MEMBERS_MAX: Final = 256  # of a group
OWNER_MAX: Final = 64  # characters; an address at most

LINK_FORMAT: Final = "application/link-format"  # RFC 6690
JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"
JSONL: Final = "application/jsonl"  # one JSON text on each line
TEXT: Final = "text/plain"
EVENT_STREAM: Final = "text/event-stream"

EventKind = Literal["put", "expire", "remove", "reset", "synced", "heartbeat"]

Name = Annotated[
    str, Meta(min_length=1, max_length=NAME_OCTETS_MAX, description="At most 63 bytes of UTF-8, no control characters.")
]
Lifetime = Annotated[int, Meta(ge=1, le=LIFETIME_MAX, description="Seconds until it expires unless renewed.")]
Base = Annotated[str, Meta(description="URI that the links are relative to.", examples=["coap://[2001:db8::1]"])]
Attributes = Annotated[
    tuple[tuple[str, str | None], ...],
    Meta(
        max_length=ATTRIBUTES_MAX,
        description="Pairs of name and value in order; null: no value.",
        examples=[[["et", "lamp"]]],
    ),
]


class Link(Struct, frozen=True):
    """A web link (RFC 8288); `href` and `anchor` are URI references."""

    href: str
    anchor: str | None = None
    attributes: tuple[tuple[str, str | None], ...] = ()


class NewLink(Struct, frozen=True, forbid_unknown_fields=True):
    """A link to register: target and anchor start with a scheme or with one slash (RFC 9176, C)."""

    href: Annotated[str, Meta(examples=["/sensors/temperature"])]
    anchor: str | None = None
    attributes: Attributes = ()


class Registration(Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint to register (RFC 9176, 5)."""

    ep: Name
    d: Name | None = None
    lt: Lifetime = LIFETIME_DEFAULT
    base: Base | None = None
    attributes: Attributes = ()
    links: Annotated[tuple[NewLink, ...], Meta(max_length=LINKS_MAX)] = ()


class Renewal(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a registration besides its deadline (RFC 9176, 5.3.1); null leaves a value as it is."""

    lt: Lifetime | None = None
    base: Base | None = None
    attributes: Attributes = ()


class Registered(Struct, frozen=True):
    """`created` is false if the name was registered already: it keeps its id."""

    id: str
    created: bool


class Endpoint(Struct, frozen=True, omit_defaults=True):
    """A registration; `expires_in` seconds from now.  Lists leave out `links`.

    Below zero its lifetime has passed, and the brake on mass expiry holds it.
    """

    id: str
    ep: str
    d: str | None
    base: str
    lt: int
    expires_in: float
    attributes: tuple[tuple[str, str | None], ...]
    links: tuple[Link, ...] | None = None


class Endpoints(Struct, frozen=True):
    """A page; `next` is the following one's URL, or null."""

    endpoints: tuple[Endpoint, ...]
    next: str | None


class Links(Struct, frozen=True):
    """A page of resolved links; `next` is the following one's URL, or null."""

    links: tuple[Link, ...]
    next: str | None


class Exported(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of an export, and of an import: a registration as it was sent, with what is left of its lifetime.

    An implicit base is not `explicit`: it follows the device's address.  `links` are in link-format.
    `members` are the ids of a group's; `owner` is what the policy remembers the registration by.
    """

    ep: Name
    base: Base
    id: str | None = None
    d: Name | None = None
    explicit: bool = True
    lt: Lifetime = LIFETIME_DEFAULT
    expires_in: float | None = None
    attributes: Attributes = ()
    links: str = ""
    members: Annotated[tuple[str, ...], Meta(max_length=MEMBERS_MAX)] = ()
    owner: Annotated[str, Meta(max_length=OWNER_MAX)] = ""


class LineError(Struct, frozen=True):
    """Of an import's body; lines count from 1."""

    line: int
    detail: str


class Imported(Struct, frozen=True):
    """What became of the lines.

    `kept` were registered here already; `moved`, of the imported, have another id, for theirs is taken.
    """

    imported: int
    kept: int
    moved: int
    errors: tuple[LineError, ...]


class Eviction(Struct, frozen=True):
    """A name that may not register for `remaining_s` seconds; `id` is what its registration had."""

    id: str
    ep: str
    d: str | None
    remaining_s: float


class Evictions(Struct, frozen=True):
    evictions: tuple[Eviction, ...]


class Event(Struct, frozen=True, omit_defaults=True):
    """A line of the feed; `token` resumes after it.

    put: `endpoint` is there, new or changed; expire: its lifetime has passed; remove: the endpoint `ep` in the
    sector `d` is no more, or meets the criteria no more; reset: forget what you have, a snapshot follows; synced:
    you have all there is; heartbeat: nothing has happened.
    """

    event: EventKind
    token: str | None = None
    ep: str | None = None
    d: str | None = None
    endpoint: Endpoint | None = None
    detail: str | None = None


class NodeStatus(Struct, frozen=True):
    """`checks` names what readiness depends on; counters start at zero with the node.

    `last_error` is the last thing that the log calls a warning or worse, for those who administer the node.  `loop` is
    the event loop that it runs on, asyncio or uvloop.
    """

    version: str
    ready: bool
    checks: dict[str, bool]
    counters: dict[str, int]
    gauges: dict[str, int]
    uptime_s: float = 0.0
    listeners: dict[str, str] = {}
    last_error: str | None = None
    loop: str = ""


Role = Literal["admin", "device", "peer", "reader"]
Seconds = Annotated[int, Meta(ge=1, description="For which it lives; 90 days, or 1 h to join with, if not given.")]


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """A token to give.

    A bearer's: `name` is whose, `actions` and `sectors` narrow what the policy allows to its roles.  To join with: whom
    its one role may be certified as, a star for any ending; `hosts` are what a peer's certificate may name.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64, examples=["ci"])]
    roles: tuple[Role, ...] = ()
    expires_s: Seconds | None = None
    actions: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()
    join: bool = False
    hosts: tuple[str, ...] = ()


class Token(Struct, frozen=True):
    """`used` is when, to the hour; of one to join with, when it was used up.  Times are RFC 3339."""

    id: str
    name: str
    roles: tuple[str, ...]
    actions: tuple[str, ...]
    sectors: tuple[str, ...]
    hosts: tuple[str, ...]
    join: bool
    created: str
    expires: str
    used: str | None


class GivenToken(Token, frozen=True):
    """`token` is shown this once."""

    token: str = ""


class Tokens(Struct, frozen=True):
    tokens: tuple[Token, ...]


class Join(Struct, frozen=True, forbid_unknown_fields=True):
    """`request` is a certificate request (PKCS #10) in PEM; `name` may be left out where the token is for one alone.

    A token for another `role`, if one is given, is not used up.
    """

    token: Annotated[str, Meta(max_length=256)]
    request: Annotated[str, Meta(max_length=16_384)]
    name: Annotated[str, Meta(max_length=64)] | None = None
    role: Role | None = None


class Joined(Struct, frozen=True):
    """All in PEM, and `trust` as the file trust.json has it, which the operator's key has signed.

    `network` is the file network.json, which says of which network a node is; empty for a device.
    """

    role: str
    name: str
    certificate: str
    root: str
    operator: str
    trust: str
    network: str = ""


class Recertify(Struct, frozen=True, forbid_unknown_fields=True):
    """`request` is a certificate request (PKCS #10) in PEM, for the name that the asker's certificate has."""

    request: Annotated[str, Meta(max_length=16_384)]


class Recertified(Struct, frozen=True):
    """Both in PEM; the root may be another than that of the asker's certificate."""

    certificate: str
    root: str


class Root(Struct, frozen=True):
    """Of the authority, in PEM; `fingerprint` is SHA-256 of its key, as a token to join with has it."""

    certificate: str
    fingerprint: str


class Peer(Struct, frozen=True):
    """What a node says of itself to others.

    `name` is that of its certificate, `protocol` the version of what nodes say to each other.
    """

    name: str
    version: str
    protocol: int
    capabilities: tuple[str, ...]


class Problem(Struct, frozen=True, omit_defaults=True):
    """RFC 9457.  `type` points to the problem's entry in the API description; `request` finds it in the log."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request: str | None = None
