"""What an export reads: the locations once, then the registrations at them, a page at a time.

A registration that stays keeps its location, so nothing comes twice, and nothing is missing that was
there throughout.  Each one is shown as it is when its page is read.

Source: design, Operators (export and import).
"""

from waypost.identity.policy import View
from waypost.rd.criterion import Criterion
from waypost.rd.groups import members_of
from waypost.rd.index import Index, Registration
from waypost.rd.questions import Export, Exported, Kind, Page


def page(index: Index, question: Export, view: View | None, now: float) -> Page:
    """Of what `view` shows.  Takes time in proportion to the locations and their links."""
    criteria = [Criterion(name, value) for name, value in question.criteria]
    for criterion in criteria:
        if criterion.name == "gp":
            criterion.members = members_of(index, criterion)
    found = [registration for location in question.locations if (registration := index.at(location)) is not None]
    if view is not None:
        found = [registration for registration in found if view.shows(registration.d, registration.ep)]
    matching = [registration for registration in found if _meets(registration, criteria)]
    return Page(len(found), tuple(_exported(registration, now) for registration in matching))


def _meets(registration: Registration, criteria: list[Criterion]) -> bool:
    """As an endpoint lookup has it (RFC 9176, 6.2): the endpoint matches, or one of its links."""
    return all(
        criterion.matches(registration, Kind.ENDPOINTS)
        or any(criterion.matches_link(link, registration) for link in registration.document.links)
        for criterion in criteria
    )


def _exported(registration: Registration, now: float) -> Exported:
    return Exported(
        registration.location,
        registration.ep,
        registration.d,
        registration.base,
        registration.explicit,
        registration.lt,
        registration.expires - now,
        registration.attributes,
        registration.document.payload.decode(),
        registration.members,
        registration.owner,
    )
