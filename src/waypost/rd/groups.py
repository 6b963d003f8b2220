"""Groups of draft -12, kept as registrations.

A group is a registration whose endpoint type is core.rd-group (RFC 9176, appendix A): its name is the
group's, its base the multicast address.  What POST /rd-group adds are the locations of its members.
A criterion `gp` of the other lookups matches the members of the groups that it names; a group lookup
matches what a group or one of its members says.  A member that is no longer registered is passed over.

Groups and endpoints share their names, as in RFC 9176.  -12 gives a group no end: it gets the longest
lifetime there is.

Source: draft-ietf-core-resource-directory-12, 6 and 7; RFC 9176, appendix A.
"""

from collections.abc import Iterator
from typing import Final

from waypost.coap.links import parse
from waypost.errors import WireError
from waypost.rd.criterion import Criterion
from waypost.rd.index import LOCATION, Index, Registration
from waypost.rd.questions import Kind

TYPE: Final = ("et", "core.rd-group")
IS_GROUP: Final = Criterion(*TYPE)
MEMBERS_MAX: Final = 256  # of one group
MATCHED_MAX: Final = 4_096  # members of the groups that one criterion names; the others are not found by it

_NAMES: Final = {"gp": "ep", "con": "base"}  # of a group's own parameters, and what a registration calls them


def read_members(payload: bytes) -> tuple[str, ...]:
    """The locations that the links of a group name; their attributes do not matter.  Raises WireError."""
    locations: dict[str, None] = {}
    for link in parse(payload):
        if not link.href.startswith(LOCATION):
            raise WireError(f"a member is the location of a registration, {LOCATION}…, not {link.href[:64]}")
        locations[link.href.removeprefix(LOCATION).removesuffix("/")] = None
    if len(locations) > MEMBERS_MAX:
        raise WireError(f"a group may have {MEMBERS_MAX} members, not {len(locations)}")
    return tuple(locations)


def is_group(registration: Registration) -> bool:
    return TYPE in registration.attributes


def members_of(index: Index, criterion: Criterion) -> dict[Registration, None]:
    """The members of all groups that `gp=…` names."""
    members: dict[Registration, None] = {}
    for group in _groups(index, criterion.text if criterion.exact else None):
        if criterion.accepts(group.ep):
            members.update(dict.fromkeys(_members(index, group)))
            if len(members) > MATCHED_MAX:
                break
    return members


def locations_of(index: Index, name: str, limit: int) -> tuple[str, ...] | None:
    """Of the members of all groups with that name, also of those that may come back.

    None if they, or the groups, are more than `limit`.
    """
    locations: dict[str, None] = {}
    for number, group in enumerate(_groups(index, name), 1):
        locations.update(dict.fromkeys(group.members))
        if number > limit or len(locations) > limit:
            return None
    return tuple(locations)


def matches_group(index: Index, criterion: Criterion, group: Registration) -> bool:
    """`gp`, `d` and `con` are the group's own; all else is its own or any member's, `ep` a member's alone."""
    name = _NAMES.get(criterion.name, criterion.name)
    if name in ("d", "base") or criterion.name == "gp":
        value = group.ep if name == "ep" else group.base if name == "base" else group.d
        return value is not None and criterion.accepts(value)
    if criterion.name != "ep" and criterion.matches(group, Kind.GROUPS):
        return True
    for member in _members(index, group):
        if criterion.matches(member, Kind.ENDPOINTS):
            return True
        if any(criterion.matches_link(link, member) for link in member.document.links):
            return True
    return False


def _groups(index: Index, name: str | None) -> Iterator[Registration]:
    """All groups, or those with a name; names are unique within a sector only."""
    typed, named = index.of_registrations.get(TYPE[0]), index.of_registrations.get("ep")
    if typed is None or named is None:
        return
    if name is None or typed.count(TYPE[1]) < named.count(name):
        for group in typed.owners(TYPE[1]):
            if name in (None, group.ep):
                yield group
        return
    for registration in named.owners(name):
        if is_group(registration):
            yield registration


def _members(index: Index, group: Registration) -> Iterator[Registration]:
    for location in group.members:
        member = index.at(location)
        if member is not None:
            yield member
