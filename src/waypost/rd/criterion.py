"""One criterion of a lookup, and what it matches.

Source: RFC 9176, 6.2; RFC 6690, 4.1.
"""

from waypost.coap import links as linkformat
from waypost.rd.index import LOCATION, Link, Registration
from waypost.rd.pairs import REFERENCES, Pairs
from waypost.rd.questions import Kind


class Criterion:
    """`name=text`, or a prefix.  A bare name is the prefix "": any value, or none."""

    __slots__ = ("exact", "members", "name", "origin", "reference", "text")

    def __init__(self, name: str, value: str | None) -> None:
        self.name = name
        self.exact = value is not None and not value.endswith("*")
        self.text = "" if value is None else value if self.exact else value[:-1]
        self.reference = name in REFERENCES
        self.members: dict[Registration, None] = {}  # of the groups that it names
        self.origin: str | None = None  # of a reference that names a whole one
        if self.reference and "://" in self.text:
            origin = linkformat.origin(self.text)
            if self.exact or len(origin) < len(self.text):
                self.origin = origin

    def accepts(self, value: str | None) -> bool:
        if self.exact:
            return (value or "") == self.text
        return (value or "").startswith(self.text)

    def first(self, pairs: Pairs) -> str | None:
        """The least matching value of `pairs`."""
        found: str | None = None
        for name, value in pairs:
            if name == self.name and self.accepts(value) and (found is None or (value or "") < found):
                found = value or ""
        return found

    def posts(self, link: Link) -> bool:
        """The link proposes itself, at any base."""
        for name, value in link.pairs:  # noqa: SIM110 -- a generator takes three times as long
            if name == self.name and self.accepts(value):
                return True
        return False

    def lists(self, registration: Registration, kind: Kind) -> bool:
        """The registration proposes itself."""
        if not self.reference:
            return self.matches(registration, kind)
        if self.names_locations():
            return self.matches(registration, kind)
        return self._near(registration.base)

    def matches(self, registration: Registration, kind: Kind) -> bool:
        match self.name:
            case "ep":
                if self.accepts(registration.ep):
                    return True
            case "d":
                if registration.d is not None and self.accepts(registration.d):
                    return True
            case "base":
                if self.accepts(registration.base):
                    return True
            case "rt":
                if kind is Kind.ENDPOINTS and self.accepts("core.rd-ep"):
                    return True
            case "href":
                return self.accepts(LOCATION + registration.location)
            case "anchor":
                return False
            case "gp":
                if registration in self.members:
                    return True
            case _:
                pass
        for name, value in registration.attributes:
            if name == self.name and any(map(self.accepts, linkformat.values(name, value))):
                return True
        return False

    def matches_link(self, link: Link, registration: Registration) -> bool:
        if not self.reference:
            return self.posts(link)
        uri = link.target(registration) if self.name == "href" else link.context(registration)
        return uri is not None and self.accepts(uri)

    def names_locations(self) -> bool:
        """`href` of registration resources, which are path-absolute; links are shown as URIs (RFC 9176, 6.2)."""
        return self.name == "href" and (self.text.startswith("/") or not self.text)

    def names_all(self, kind: Kind) -> bool:
        """Every registration matches, or too many to list them by a value."""
        if self.name == "rt":
            return kind is Kind.ENDPOINTS and self.accepts("core.rd-ep")
        return self.names_locations() and not self.exact

    def _near(self, base: str) -> bool:
        """References at `base` may resolve to what is sought."""
        if self.origin is not None:
            return base == self.origin or base.startswith(self.origin + "/")
        return not self.exact and base.startswith(self.text)
