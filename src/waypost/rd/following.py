"""Stored records, as those who follow the change feed want to see them: like an endpoint lookup shows them.

Source: RFC 9176, 6.2; design, Contracts, 3 and 5.
"""

from collections.abc import Iterable

from waypost.errors import WireError
from waypost.identity.policy import View
from waypost.rd.clocks import Clocks
from waypost.rd.criterion import Criterion
from waypost.rd.index import Registration
from waypost.rd.parameters import require_lookup
from waypost.rd.questions import Entry, Kind, Lookup
from waypost.rd.record import decode, name_of
from waypost.rd.registrations import Registrations


class Filter:
    """The endpoints that meet all criteria, themselves or by one of their links; `every` if there is none.

    `view` is what of them the watcher may see.  What is local to a link is nobody's: who follows the feed is on
    none (RFC 9176, 6.1).
    """

    def __init__(self, criteria: Iterable[tuple[str, str | None]], view: View | None) -> None:
        """Raises WireError for criteria that cannot be."""
        lookup = Lookup(Kind.ENDPOINTS, tuple(criteria))
        require_lookup(lookup)
        if any(name == "gp" for name, _ in lookup.criteria):
            raise WireError("groups cannot be followed by their members: leave out gp")
        self._criteria = [Criterion(name, value) for name, value in lookup.criteria]
        self._view = view
        self.every = not self._criteria and view is None

    def shows(self, key: bytes) -> bool:
        """Whether the watcher may know of the name under `key`."""
        return self._view is None or self._view.shows(*name_of(key))

    def accepts(self, registration: Registration) -> bool:
        links = registration.document.links
        return (
            not registration.zone
            and self.shows(registration.key)
            and all(
                criterion.matches(registration, Kind.ENDPOINTS)
                or any(criterion.matches_link(link, registration) for link in links)
                for criterion in self._criteria
            )
        )


class Records:
    """Makes registrations of records, one by one; nobody else has them."""

    def __init__(self) -> None:
        self._registrations = Registrations(Clocks(), grace_s=0.0)

    def read(self, key: bytes, value: bytes) -> Registration:
        """`expires` is the stored expiry in seconds of the wall clock.  Raises StoreError if it cannot be read."""
        self._registrations.restore(key, decode(key, value))
        registration = self._registrations.by_key[key]
        self._registrations.forget(key)
        registration.expires = registration.stored_ms / 1000
        return registration


def entry(registration: Registration, wall_s: float) -> Entry:
    """With its links, as Read answers."""
    return registration.entry(wall_s, tuple(link.entry(registration) for link in registration.document.links))
