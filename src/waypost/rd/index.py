"""What is registered, and how it is found.

A fleet of equal devices posts equal documents: a document is parsed once, and each distinct link
exists once.  Links that differ in their target alone share a description: "rt=temperature" leads
to the descriptions that say so, each to its links, each to the registrations that have it.  To
register a known document costs a few dict insertions.

Documents, links and descriptions live as long as a registration, hidden or not, has them.  Owners
and postings show visible registrations only.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from waypost.coap import links as linkformat
from waypost.coap.request import Fresh
from waypost.rd.pairs import Pairs
from waypost.rd.postings import T, Values
from waypost.rd.questions import Attributes
from waypost.rd.registered import LOCATION, Description, Document, Link, Registration

__all__ = ["LOCATION", "Index", "Link", "Registration", "parse_limited"]

FRESH_MAX: Final = 16_384  # pairs that answers given again depend on
SHARED_MAX: Final = 4_096  # attributes of links remembered to be held once


def parse_limited(payload: bytes) -> list[linkformat.Link]:
    """Raises WireError unless `payload` is Limited Link Format (RFC 9176, appendix C)."""
    parsed = linkformat.parse(payload)
    linkformat.require_limited(parsed)
    return parsed


class Index:
    """`generation` grows with every change of what a lookup could find."""

    def __init__(self) -> None:
        self.documents: dict[bytes, Document] = {}
        self.octets = 0  # of all documents
        self.descriptions: dict[Attributes, Description] = {}
        self.links = 0
        self.visible: dict[Registration, None] = {}
        self.by_location: dict[str, Registration] = {}  # hidden ones too
        self.of_descriptions: dict[str, Values[Description]] = {}
        self.of_targets: Values[Link] = Values()  # of those links whose target is a whole URI
        self.of_registrations: dict[str, Values[Registration]] = {}
        self.generation = 0
        self._fresh: dict[tuple[str, str], Fresh] = {}  # of answers, by a pair that all they list have
        self._pairs: dict[tuple[str, str | None], tuple[str, str | None]] = {}

    def acquire(self, payload: bytes, parsed: Iterable[linkformat.Link] | None) -> Document:
        """The document of `payload`, with one more user; `parsed` spares parsing it again.

        Raises WireError if it is not Limited Link Format.
        """
        document = self.documents.get(payload)
        if document is None:
            interned: dict[Link, None] = {}
            for href, attributes in parse_limited(payload) if parsed is None else parsed:
                description = self.descriptions.get(attributes) or self._describe(attributes)
                link = description.link(href)
                if link is None:
                    link = Link(href, description)
                    description.add(link)
                    self.links += 1
                interned[link] = None
            for link in interned:
                link.documents += 1
            document = self.documents[payload] = Document(payload, tuple(interned))
            self.octets += len(payload)
        document.users += 1
        return document

    def _describe(self, attributes: Attributes) -> Description:
        """A new description; pairs that many have are held once."""
        if len(self._pairs) >= SHARED_MAX:
            self._pairs.clear()
        attributes = tuple([self._pairs.setdefault(pair, pair) for pair in attributes])
        description = Description(attributes, ">" + linkformat.attribute_text(attributes))
        self.descriptions[attributes] = description
        return description

    def release(self, document: Document) -> None:
        document.users -= 1
        if document.users:
            return
        del self.documents[document.payload]
        self.octets -= len(document.payload)
        for link in document.links:
            link.documents -= 1
            if not link.documents:
                assert link.owner is None, "a link outlives its owners"
                description = link.description
                description.remove(link)
                self.links -= 1
                if description.links is None:
                    del self.descriptions[description.attributes]

    def at(self, location: str) -> Registration | None:
        """The visible registration there."""
        registration = self.by_location.get(location)
        return registration if registration is not None and registration.visible else None

    def fresh(self, name: str, value: str) -> Fresh:
        """Lasts until a registration changes that has this pair before or after, or a link with it."""
        fresh = self._fresh.get((name, value))
        if fresh is None:
            if len(self._fresh) >= FRESH_MAX:
                for oldest in self._fresh.values():
                    oldest.ended = True
                self._fresh.clear()
            fresh = self._fresh[name, value] = Fresh()
        return fresh

    def _end_fresh(self, registration: Registration) -> None:
        """Answers that list `registration`, or a link of it, are answers no more."""
        end = self._fresh.pop
        for pairs in (registration.pairs(), *[link.description.pairs for link in registration.document.links]):
            for name, value in pairs:
                fresh = end((name, value or ""), None)
                if fresh is not None:
                    fresh.ended = True

    def show(self, registrations: Iterable[Registration]) -> None:
        """Let lookups find them; what they have in common is weighed once."""
        self.generation += 1
        grown: dict[Link, int] = {}
        for registration in registrations:
            registration.visible = True
            if self._fresh:
                self._end_fresh(registration)
            self.visible[registration] = None
            for link in registration.document.links:
                owner = link.owner
                if owner is None:
                    link.owner = registration
                elif isinstance(owner, dict):
                    owner[registration] = None
                else:
                    link.owner = {owner: None, registration: None}
                grown[link] = grown.get(link, 0) + 1
            _add(self.of_registrations, registration.pairs(), registration, 1)
        for link, amount in grown.items():
            self._weigh(link.description, amount)
        whole = [item for item in grown.items() if not item[0].plain and not item[0].href.startswith("/")]
        # New links last: counting them anew takes in what the other links of their target weigh by now.
        for link, amount in sorted(whole, key=lambda item: item[0].weight == item[1]):
            self._weigh_target(link, amount)

    def hide(self, registration: Registration) -> None:
        """Undo show(); to be called before anything of the registration is changed."""
        self.generation += 1
        registration.visible = False
        if self._fresh:
            self._end_fresh(registration)
        del self.visible[registration]
        for link in registration.document.links:
            self._weigh(link.description, -1)
            if not link.plain and not link.href.startswith("/"):
                self._weigh_target(link, -1)
            owner = link.owner
            if not isinstance(owner, dict):
                link.owner = None
                continue
            del owner[registration]
            if len(owner) == 1:
                (link.owner,) = owner
        _remove(self.of_registrations, registration.pairs(), registration)

    def _weigh(self, description: Description, amount: int) -> None:
        """One of its links has got `amount` owners more, or will have one less."""
        weight = description.weight = description.weight + amount
        if weight == amount:
            _add(self.of_descriptions, description.pairs, description, amount)
        elif weight == 0:
            _remove(self.of_descriptions, description.pairs, description)
        else:
            index = self.of_descriptions
            for name, value in description.pairs:
                index[name].grow(value or "", amount)

    def _weigh_target(self, link: Link, amount: int) -> None:
        """The same of a link whose target is a whole URI."""
        (_, target) = link.pairs[-1]
        assert target is not None
        if link.weight == amount:
            self.of_targets.add(target, link, amount)
        elif link.weight == -amount:
            self.of_targets.remove(target, link)
        else:
            self.of_targets.grow(target, amount)

    def check(self, registrations: Iterable[Registration]) -> None:
        """Assert that every table agrees with `registrations`, all there are."""
        documents: dict[bytes, int] = {}
        owners: dict[Link, list[Registration]] = {}
        visible = 0
        for registration in registrations:
            payload = registration.document.payload
            documents[payload] = documents.get(payload, 0) + 1
            assert self.documents[payload] is registration.document
            assert (registration in self.visible) == registration.visible
            if registration.visible:
                visible += 1
                for link in registration.document.links:
                    owners.setdefault(link, []).append(registration)
                _require_posted(self.of_registrations, registration.pairs(), registration)
        assert visible == len(self.visible)
        assert documents == {payload: document.users for payload, document in self.documents.items()}
        assert self.octets == sum(map(len, documents))
        users: dict[Link, int] = {}
        for document in self.documents.values():
            for link in document.links:
                users[link] = users.get(link, 0) + 1
        assert self.links == len(users) == sum(len(known.all()) for known in self.descriptions.values())
        for link, number in users.items():
            assert link.documents == number
            assert self.descriptions[link.attributes].link(link.href) is link
            assert set(link.owners()) == set(owners.get(link, ())), "owners are the visible registrations"
        weighed = 0
        for description in self.descriptions.values():
            assert description.weight == sum(link.weight for link in description.all())
            weighed += description.weight * len(description.pairs)
            if description.weight:
                _require_posted(self.of_descriptions, description.pairs, description)
        for of_descriptions in self.of_descriptions.values():
            of_descriptions.check()
        assert sum(values.total for values in self.of_descriptions.values()) == weighed, "nothing else is posted"
        self.of_targets.check()
        assert self.of_targets.total == sum(link.weight for link in owners if not link.href.startswith("/"))
        for of_registrations in self.of_registrations.values():
            of_registrations.check()
        weighed = sum(len(registration.pairs()) for registration in self.visible)
        assert sum(values.total for values in self.of_registrations.values()) == weighed


def _add(index: dict[str, Values[T]], pairs: Pairs, owner: T, weight: int) -> None:
    for name, value in pairs:
        values = index.get(name)
        if values is None:
            values = index[name] = Values()
        values.add(value or "", owner, weight)


def _remove(index: dict[str, Values[T]], pairs: Pairs, owner: T) -> None:
    for name, value in pairs:
        values = index[name]
        values.remove(value or "", owner)
        if not values:
            del index[name]


def _require_posted(index: Mapping[str, Values[T]], pairs: Pairs, owner: T) -> None:
    for name, value in pairs:
        assert index[name].has(value or "", owner), f"{name} is posted"
