"""Lookups: the cheapest criterion proposes, all criteria verify.

A Search proposes candidates from the postings of its rarest criterion and verifies each against
every criterion.  A lasting one can stop after any candidate and go on later, since it copies what it
walks through: what changed meanwhile is seen as it is then.  What a candidate costs is the number of links looked at.

A link matches a criterion if it or its endpoint does; an endpoint, if it or any of its links does.
Each match is listed once, without a memory of what was listed:
  - through a link, an endpoint is listed by its first link that proposes it, and only if it does
    not propose itself;
  - through an endpoint, only links that do not propose themselves are listed;
  - through a prefix, an owner is listed under its first value with that prefix.

Source: RFC 9176, 6.1, 6.2 and 6.3.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeVar

from waypost.rd.criterion import Criterion
from waypost.rd.groups import IS_GROUP, matches_group, members_of
from waypost.rd.index import LOCATION, Index, Link, Registration
from waypost.rd.parameters import require_lookup
from waypost.rd.postings import T, Values
from waypost.rd.questions import Entry, Found, Kind, LinkEntry, Lookup, Reason, Refused

OCTETS_MAX: Final = 1 << 20  # of one answer in link-format
ENTRIES_MAX: Final = 10_000  # of one structured answer
LINKS_OF_REGISTRATION: Final = 8  # guessed, to compare costs

TOO_LARGE: Final = Refused(Reason.TOO_LARGE, "the answer is too large: ask for pages, with count=100&page=0")

A = TypeVar("A")
Candidate = tuple[str | None, Registration, Link | None]  # the prefix's value, and who was found through what


class Copied(Protocol):
    """`list` for a search that lasts, `iter` for one that ends before anything changes."""

    def __call__(self, items: Iterable[A], /) -> Iterable[A]: ...


class Search:
    """One lookup under way; `outcome` is there once step() returns True."""

    __slots__ = (
        "_candidates",
        "_criteria",
        "_endpoints",
        "_generation",
        "_index",
        "_kind",
        "_lead",
        "_limit",
        "_lines",
        "_octets",
        "_own",
        "_resources",
        "_skip",
        "_structured",
        "_view",
        "_zone",
        "outcome",
    )

    def __init__(self, index: Index, lookup: Lookup, *, lasting: bool) -> None:
        """Raises WireError for a lookup that cannot be."""
        require_lookup(lookup)
        self._index = index
        self._generation = index.generation
        self._kind = kind = lookup.kind
        self._structured = lookup.structured
        self._limit = lookup.count
        self._skip = 0 if lookup.count is None else lookup.page * lookup.count
        self._lines: list[str] = []
        self._endpoints: list[Entry] = []
        self._resources: list[LinkEntry] = []
        self._octets = 0
        self._zone = lookup.zone
        self._view = lookup.view
        # The answer may be another's own: by link, by our name, by what groups hold, by what the asker may see.
        self._own = kind is Kind.GROUPS or lookup.view is not None
        self._criteria = criteria = [Criterion(name, value) for name, value in lookup.criteria]
        for criterion in criteria:
            if criterion.name == "href":
                self._own = True
            elif criterion.name == "gp" and kind is not Kind.GROUPS:
                self._own = True
                criterion.members = members_of(index, criterion)
        if kind is Kind.GROUPS:
            criteria.append(IS_GROUP)
        self.outcome: Found | Refused | None = None
        lead: Criterion | None = None
        if kind is Kind.GROUPS:
            lead = IS_GROUP
        elif len(criteria) == 1:
            lead = criteria[0]
        elif criteria:
            lead = min(criteria, key=lambda criterion: estimate(index, criterion, kind))
        self._lead = None if lead is None or lead.names_all(kind) else lead
        copied: Copied = list if lasting else iter
        self._candidates = every(index, copied) if self._lead is None else propose(index, self._lead, copied)

    def step(self, budget: int, now: float) -> bool:
        """Look at about `budget` links; True when the outcome is there."""
        look = self._look_resource
        if self._kind is Kind.ENDPOINTS:
            look = self._look_endpoint
        elif self._kind is Kind.GROUPS:
            look = self._look_group
        for value, registration, link in self._candidates:
            budget -= look(value, registration, link, now)
            if self.outcome is not None:
                return True
            if budget <= 0:
                return False
        self._finish(more=False)
        return True

    def _look_resource(self, value: str | None, registration: Registration, link: Link | None, now: float) -> int:
        lead, links = self._lead, registration.document.links
        if self._is_stale(registration, link):
            return 1
        if lead is not None and value is not None:
            pairs = registration.pairs() if link is None else link.pairs
            if lead.first(pairs) != value:
                return len(pairs)
        open_criteria = [item for item in self._criteria if not item.matches(registration, self._kind)]
        for candidate in links if link is None else (link,):
            if link is None and lead is not None and lead.posts(candidate):
                continue
            for criterion in open_criteria:
                if not criterion.matches_link(candidate, registration):
                    break
            else:
                self._list(registration, candidate, now)
                if self.outcome is not None:
                    break
        return 1 + len(links) if link is None else 1

    def _look_endpoint(self, value: str | None, registration: Registration, link: Link | None, now: float) -> int:
        lead, links = self._lead, registration.document.links
        cost = 1
        if self._is_stale(registration, link):
            return cost
        if lead is not None and value is not None:
            pairs = registration.pairs() if link is None else link.pairs
            if lead.first(pairs) != value:
                return len(pairs)
        if lead is not None and link is not None:
            if lead.lists(registration, self._kind):
                return cost
            for candidate in links:
                cost += 1
                if lead.posts(candidate):
                    if candidate is not link:
                        return cost
                    break
        for criterion in self._criteria:
            if not criterion.matches(registration, self._kind):
                cost += len(links)
                for candidate in links:
                    if criterion.matches_link(candidate, registration):
                        break
                else:
                    return cost
        self._list(registration, None, now)
        return cost

    def _look_group(self, value: str | None, registration: Registration, link: Link | None, now: float) -> int:
        """A criterion is the group's own, or any of its members' (draft -12, 7.3)."""
        if self._is_stale(registration, link) or link is not None:
            return 1
        for criterion in self._criteria:
            if not matches_group(self._index, criterion, registration):
                break
        else:
            self._list(registration, None, now)
        return 1 + len(registration.members) * len(self._criteria)

    def _is_stale(self, registration: Registration, link: Link | None) -> bool:
        """The candidate was proposed before it changed, or is another link's (RFC 9176, 6.1 and 6.4)."""
        if registration.zone:
            self._own = True
            if registration.zone != self._zone:
                return True
        if self._view is not None and not self._view.shows(registration.d, registration.ep):
            return True
        if self._generation == self._index.generation:
            return False
        return not registration.visible or (link is not None and link not in registration.document.links)

    def _list(self, registration: Registration, link: Link | None, now: float) -> None:
        if self._skip:
            self._skip -= 1
            return
        if self._limit == 0:
            self._finish(more=True)
            return
        if self._limit is not None:
            self._limit -= 1
        if self._structured:
            if link is None:
                self._endpoints.append(registration.entry(now))
            else:
                self._resources.append(link.entry(registration))
            if len(self._endpoints) + len(self._resources) > ENTRIES_MAX:
                self.outcome = TOO_LARGE
            return
        if self._kind is Kind.GROUPS:
            line = registration.group_line()
        else:
            line = registration.line() if link is None else link.line(registration)
        self._lines.append(line)
        self._octets += 1 + (len(line) if line.isascii() else len(line.encode()))
        if self._octets > OCTETS_MAX:
            self.outcome = TOO_LARGE

    def _finish(self, *, more: bool) -> None:
        entries = tuple(self._resources) if self._kind is Kind.RESOURCES else tuple(self._endpoints)
        lead, fresh = self._lead, None
        if (
            lead is not None
            and lead.exact
            and not lead.reference
            and self._generation == self._index.generation
            and not self._own
        ):
            fresh = self._index.fresh(lead.name, lead.text)  # whatever is listed has this pair
        self.outcome = Found(",".join(self._lines).encode(), entries, more, fresh)


def every(index: Index, copied: Copied) -> Iterator[Candidate]:
    for registration in copied(index.visible):
        yield None, registration, None


def propose(index: Index, criterion: Criterion, copied: Copied) -> Iterator[Candidate]:
    """Everything that may match `criterion`, from its postings."""
    if criterion.names_locations():
        registration = index.at(criterion.text.removeprefix(LOCATION))
        if registration is not None:
            yield None, registration, None
        return
    for member in copied(criterion.members):
        yield None, member, None
    text, exact = criterion.text, criterion.exact
    for value, description in _walk(index.of_descriptions.get(criterion.name), text, copied, exact=exact):
        for link in copied(description.all()):
            for registration in copied(link.owners()):
                yield value, registration, link
    if criterion.name == "href":
        for value, link in _walk(index.of_targets, text, copied, exact=exact):
            for registration in copied(link.owners()):
                yield value, registration, link
    if not criterion.reference:
        for value, registration in _walk(index.of_registrations.get(criterion.name), text, copied, exact=exact):
            if registration not in criterion.members:
                yield value, registration, None
        return
    bases = index.of_registrations.get("base")
    if criterion.origin is not None:
        for _, registration in _walk(bases, criterion.origin, copied, exact=True):
            yield None, registration, None
        text, exact = criterion.origin + "/", False
    for _, registration in _walk(bases, text, copied, exact=exact):
        yield None, registration, None


def estimate(index: Index, criterion: Criterion, kind: Kind) -> int:
    """About how many links a search led by `criterion` looks at."""
    if criterion.names_all(kind):
        return len(index.visible) * LINKS_OF_REGISTRATION
    if criterion.names_locations():
        return LINKS_OF_REGISTRATION
    links = _count(index.of_descriptions.get(criterion.name), criterion.text, exact=criterion.exact)
    if criterion.name == "href":
        links += _count(index.of_targets, criterion.text, exact=criterion.exact)
    if not criterion.reference:
        named = index.of_registrations.get(criterion.name)
        registrations = len(criterion.members) + _count(named, criterion.text, exact=criterion.exact)
        return links + LINKS_OF_REGISTRATION * registrations
    bases = index.of_registrations.get("base")
    if criterion.origin is None:
        return links + LINKS_OF_REGISTRATION * _count(bases, criterion.text, exact=criterion.exact)
    near = _count(bases, criterion.origin, exact=True) + _count(bases, criterion.origin + "/", exact=False)
    return links + LINKS_OF_REGISTRATION * near


def _walk(values: Values[T] | None, text: str, copied: Copied, *, exact: bool) -> Iterator[tuple[str | None, T]]:
    if values is None:
        return
    if exact:
        for owner in copied(values.owners(text)):
            yield None, owner
        return
    for value in values.prefixed(text):
        for owner in copied(values.owners(value)):
            yield value, owner


def _count(values: Values[T] | None, text: str, *, exact: bool) -> int:
    if values is None:
        return 0
    return values.count(text) if exact else values.estimate(text)
