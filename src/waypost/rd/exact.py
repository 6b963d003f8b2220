"""Lookups that one registration answers: it has the one value sought, or a link of it has; or one of several.

Most lookups are such.  A Search would find the same, and take several times as long.

Source: RFC 9176, 6.1 and 6.2.
"""

from functools import partial
from typing import Final

from waypost.errors import WireError
from waypost.rd.criterion import Criterion
from waypost.rd.index import Index, Link, Registration
from waypost.rd.pairs import REFERENCES
from waypost.rd.parameters import require_lookup
from waypost.rd.questions import Found, Kind, Lookup

SEARCHED: Final = REFERENCES | {"gp"}  # names that say nothing of the one who has them
SMALL: Final = 64  # links of a registration that are listed without counting octets: fewer than one answer may have


class Exact:
    """`lookups` counts all, and those that had to be searched."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.lookups = 0

    def look_up(self, lookup: Lookup) -> Found | None:
        """None: search."""
        found: Found | None = None
        plain = not (lookup.structured or lookup.page or lookup.view) and lookup.count is None
        if plain and lookup.kind is not Kind.GROUPS and not any(name in SEARCHED for name, _ in lookup.criteria):
            if len(lookup.criteria) == 1:
                found = self._find_one(lookup)
            elif _is_allowed(lookup):
                found = self._find_led(lookup)
        if found is not None:
            return found
        self.lookups += 1
        return None

    def _find_one(self, lookup: Lookup) -> Found | None:
        ((name, value),) = lookup.criteria
        body = self._find(lookup.kind, name, value or "")
        return None if body is None else Found(body, others=partial(self._find, lookup.kind, name))

    def _find_led(self, lookup: Lookup) -> Found | None:
        """One of several criteria is of one registration and of no link: its links, or itself, as far as all match."""
        index = self._index
        for name, value in lookup.criteria:
            registered, described = index.of_registrations.get(name), index.of_descriptions.get(name)
            if value and value[-1] != "*" and registered is not None and (described is None or value not in described):
                registration = registered.only(value)
                if registration is not None and not registration.zone:
                    break
        else:
            return None
        if len(registration.document.links) > SMALL:
            return None
        criteria = [Criterion(*other) for other in lookup.criteria if other != (name, value)]
        still = [criterion for criterion in criteria if not criterion.matches(registration, lookup.kind)]
        links = registration.document.links
        if lookup.kind is Kind.ENDPOINTS:
            matches = all(any(criterion.posts(link) for link in links) for criterion in still)
            body = registration.line() if matches else ""
        else:
            body = ",".join(
                [link.line(registration) for link in links if all(criterion.posts(link) for criterion in still)]
            )
        self.lookups += 1
        assert value is not None
        return Found(body.encode(), fresh=index.fresh(name, value))

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


def _is_allowed(lookup: Lookup) -> bool:
    """A search says what is wrong."""
    try:
        require_lookup(lookup)
    except WireError:
        return False
    return True
