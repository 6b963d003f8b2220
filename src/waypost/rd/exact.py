"""Lookups of one value that one registration has, or one link of one: most lookups are such.

A Search would find the same, and take several times as long.

Source: RFC 9176, 6.1 and 6.2.
"""

from functools import partial
from typing import Final

from waypost.rd.index import Index, Link, Registration
from waypost.rd.pairs import REFERENCES
from waypost.rd.questions import Found, Kind, Lookup

SMALL: Final = 64  # links of a registration that are listed without counting octets: fewer than one answer may have


class Exact:
    """`lookups` counts all, and those that had to be searched."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.lookups = 0

    def look_up(self, lookup: Lookup) -> Found | None:
        """None: search."""
        if len(lookup.criteria) == 1 and not lookup.structured and lookup.count is None and not lookup.view:
            ((name, value),) = lookup.criteria
            if value and name not in REFERENCES and name != "gp" and lookup.kind is not Kind.GROUPS:
                body = self._find(lookup.kind, name, value)
                if body is not None:
                    return Found(body, others=partial(self._find, lookup.kind, name))
        self.lookups += 1
        return None

    def _find(self, kind: Kind, name: str, value: str) -> bytes | None:
        if not value or value[-1] == "*" or value == "core.rd-ep":
            return None
        index = self._index
        link: Link | None = None
        registration: Registration | None = None
        registered = index.of_registrations.get(name)
        if registered is not None:
            registration = registered.only(value)
        described = index.of_descriptions.get(name)
        if described is not None and value in described:
            description = described.only(value)
            link = None if description is None else description.only()
            if registration is not None or link is None or not isinstance(link.owner, Registration):
                return None
            registration = link.owner
        if registration is None or registration.zone:
            return None
        if kind is Kind.ENDPOINTS:
            body = registration.line()
        elif link is not None:
            body = link.line(registration)
        elif len(registration.document.links) <= SMALL:
            body = ",".join([link.line(registration) for link in registration.document.links])
        else:
            return None
        self.lookups += 1
        return body.encode()
