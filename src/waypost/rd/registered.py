"""A registration, and what it shares with others: its document, that one's links and their descriptions.

Source: RFC 9176, 5, 6.1 and 6.2.
"""

from collections.abc import Collection
from typing import Final

from waypost.coap import links as linkformat
from waypost.rd.pairs import Pairs, search_pairs
from waypost.rd.questions import Attributes, Entry, LinkEntry

LOCATION: Final = "/reg/"  # before a registration's UUID


class Registration:
    """What one endpoint announced.

    `expires` is what the client was told, monotonic seconds; `stored_ms` is the stored expiry, wall clock.  `node` is
    that of the record.
    """

    __slots__ = (
        "attributes",
        "base",
        "d",
        "document",
        "ep",
        "expires",
        "explicit",
        "holder",
        "key",
        "location",
        "lt",
        "members",
        "node",
        "origin",
        "owner",
        "stored_ms",
        "visible",
        "zone",
    )
    weight = 1

    attributes: Attributes
    base: str
    d: str | None
    document: "Document"
    ep: str
    expires: float
    explicit: bool
    holder: str
    key: bytes
    location: str
    lt: int
    members: tuple[str, ...]
    node: str
    origin: str
    owner: str
    stored_ms: int
    visible: bool
    zone: int

    def pairs(self) -> Pairs:
        """What finds the registration: each (name, value) once."""
        named: list[tuple[str, str | None]] = [("ep", self.ep), ("base", self.base)]
        if self.d is not None:
            named.append(("d", self.d))
        return (*named, *search_pairs(self.attributes))

    def line(self) -> str:
        """As an endpoint lookup shows it (RFC 9176, 6.2): not lt."""
        own: Attributes = (("ep", self.ep), ("base", self.base))
        if self.d is not None:
            own = (("ep", self.ep), ("d", self.d), ("base", self.base))
        return f'<{LOCATION}{self.location}>{linkformat.attribute_text(own + self.attributes)};rt="core.rd-ep"'

    def group_line(self) -> str:
        """As a group lookup of draft -12 shows it."""
        own: Attributes = (("gp", self.ep),)
        if self.d is not None:
            own += (("d", self.d),)
        if self.explicit:
            own += (("con", self.base),)
        return f"<{LOCATION}{self.location}>{linkformat.attribute_text(own)}"

    def entry(self, now: float, links: tuple[LinkEntry, ...] | None = None) -> Entry:
        return Entry(self.location, self.ep, self.d, self.base, self.lt, self.expires - now, self.attributes, links)


class Description:
    """The attributes of links, and `links`: the one link that has them, or several by their targets.

    `text` is what follows the target in the line of a lookup.  `weight` counts the visible
    registrations of each of the links.
    """

    __slots__ = ("attributes", "links", "pairs", "text", "weight")

    def __init__(self, attributes: Attributes, text: str) -> None:
        self.attributes = attributes
        self.links: Link | dict[str, Link] | None = None
        self.pairs = search_pairs(attributes)
        self.text = text
        self.weight = 0

    def link(self, href: str) -> "Link | None":
        links = self.links
        if isinstance(links, dict):
            return links.get(href)
        return links if links is not None and links.href == href else None

    def all(self) -> "Collection[Link]":
        links = self.links
        return () if links is None else links.values() if isinstance(links, dict) else (links,)

    def only(self) -> "Link | None":
        """The link, if there is just one."""
        return None if isinstance(self.links, dict) else self.links

    def add(self, link: "Link") -> None:
        links = self.links
        if links is None:
            self.links = link
        elif isinstance(links, dict):
            links[link.href] = link
        else:
            self.links = {links.href: links, link.href: link}

    def remove(self, link: "Link") -> None:
        links = self.links
        if not isinstance(links, dict):
            self.links = None
            return
        del links[link.href]
        if len(links) == 1:
            (self.links,) = links.values()


class Link:
    """One distinct link, shared by all documents that have it.

    `owner` is the one visible registration with it, or several in the order they came.  A `plain`
    link is shown as base, href and the description's text; else the target or an anchor must be
    resolved first.
    """

    __slots__ = ("description", "documents", "href", "owner", "plain")

    def __init__(self, href: str, description: Description) -> None:
        self.href = href
        self.description = description
        self.documents = 0
        self.owner: Registration | dict[Registration, None] | None = None
        self.plain = href.startswith("/") and "/." not in href and self.anchor is None

    @property
    def weight(self) -> int:
        owner = self.owner
        return 0 if owner is None else len(owner) if isinstance(owner, dict) else 1

    @property
    def attributes(self) -> Attributes:
        return self.description.attributes

    @property
    def pairs(self) -> Pairs:
        """What finds the link."""
        if self.href.startswith("/"):
            return self.description.pairs
        return (*self.description.pairs, ("href", linkformat.resolve("", self.href)))

    @property
    def anchor(self) -> str | None:
        for name, value in self.description.attributes:
            if name == "anchor":
                return value
        return None

    def owners(self) -> Collection[Registration]:
        owner = self.owner
        return () if owner is None else owner if isinstance(owner, dict) else (owner,)

    def target(self, registration: Registration) -> str:
        if self.plain:
            return registration.origin + self.href
        return linkformat.resolve(registration.base, self.href)

    def context(self, registration: Registration) -> str | None:
        """The anchor, resolved, if there is one (RFC 9176, 6.1)."""
        anchor = self.anchor
        return None if anchor is None else linkformat.resolve(registration.base, anchor)

    def line(self, registration: Registration) -> str:
        """As a resource lookup shows it."""
        if self.plain:
            return f"<{registration.origin}{self.href}{self.description.text}"
        context = self.context(registration)
        shown = tuple((name, context if name == "anchor" else value) for name, value in self.attributes)
        return f"<{self.target(registration)}>{linkformat.attribute_text(shown)}"

    def entry(self, registration: Registration) -> LinkEntry:
        shown = tuple(pair for pair in self.attributes if pair[0] != "anchor")
        return LinkEntry(self.target(registration), self.context(registration), shown)


class Document:
    """One distinct payload and its distinct links; `users` registrations have it."""

    __slots__ = ("links", "payload", "users")

    def __init__(self, payload: bytes, links: tuple[Link, ...]) -> None:
        self.payload = payload
        self.links = links
        self.users = 0
