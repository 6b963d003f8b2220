"""Where an observed lookup is filed: pairs of which a registration has one if its change may concern the answer.

What is listed has the pair of each exact criterion, itself or by a link of it: the rarest pair is enough.  What
has no exact criterion (a prefix, a bare name, no criteria) is filed under ANY, and so concerned by every change.

With `gp` what is listed is also a member of a group, and the group's change concerns the answer too: its
name is a pair, or, where `gp` is a prefix, the type that all groups have.  The members' own changes are found by
the rarest of the other criteria, or by the members' locations.

A group lookup is concerned by the group's own change, and by that of a member which meets a criterion before or
after: so it is filed under all of those.

Source: RFC 9176, 6.2; draft -12, 7.3.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from waypost.rd.criterion import Criterion
from waypost.rd.groups import MEMBERS_MAX, TYPE, locations_of
from waypost.rd.index import LOCATION, Index
from waypost.rd.lookup import LINKS_OF_REGISTRATION, estimate
from waypost.rd.questions import Kind, Lookup

Pair = tuple[str, str]
ANY: Final[Pair] = ("", "*")  # no registration has it, and each change touches it

_OWN: Final = frozenset(("gp", "d", "base", "con"))  # what a group alone can say in a group lookup


class Filing(NamedTuple):
    """`by_members`: it holds until one of the groups changes."""

    pairs: tuple[Pair, ...]
    by_members: bool = False


def filing(index: Index, lookup: Lookup) -> Filing | None:
    """None if only the members of a group could tell, and there are more than MEMBERS_MAX."""
    criteria = [Criterion(name, value) for name, value in lookup.criteria]
    if lookup.kind is Kind.GROUPS:
        return _of_groups(index, criteria)
    groups = [criterion for criterion in criteria if criterion.name == "gp"]
    best: Criterion | None = None
    least = 0
    for criterion in criteria:
        if criterion.name != "gp" and _is_sure(criterion, lookup.kind):
            cost = estimate(index, criterion, lookup.kind)
            if best is None or cost < least:
                best, least = criterion, cost
    if not groups:
        return Filing((ANY,) if best is None else _pairs(best))
    named = next((criterion.text for criterion in groups if criterion.exact), None)
    if named is not None:
        members = locations_of(index, named, MEMBERS_MAX)
        if members is not None and (best is None or len(members) * LINKS_OF_REGISTRATION < least):
            # `gp` may also be an attribute like any other
            return Filing(_once((*_names(groups), ("gp", named), *_at(members))), by_members=True)
        if best is None:
            return None
    return Filing((ANY,) if best is None else _once((*_names(groups), *_pairs(best))))


def _of_groups(index: Index, criteria: list[Criterion]) -> Filing | None:
    names = [criterion for criterion in criteria if criterion.name == "gp" and criterion.exact]
    own = _names(names[:1]) or (TYPE,)
    others = [criterion for criterion in criteria if criterion.name not in _OWN]
    if all(_is_sure(criterion, Kind.ENDPOINTS) for criterion in others):
        return Filing(_once((*own, *(pair for criterion in others for pair in _pairs(criterion)))))
    if not names:
        return Filing((ANY,))
    members = locations_of(index, names[0].text, MEMBERS_MAX)
    return None if members is None else Filing(_once((*own, *_at(members))), by_members=True)


def _is_sure(criterion: Criterion, kind: Kind) -> bool:
    """Who meets it has its pair."""
    return criterion.exact and not criterion.names_all(kind)


def _pairs(criterion: Criterion) -> tuple[Pair, ...]:
    if criterion.origin is None:
        return ((criterion.name, criterion.text),)
    # a relative reference resolves to the origin of its registration's base
    return (criterion.name, criterion.text), ("", criterion.origin)


def _names(groups: Iterable[Criterion]) -> tuple[Pair, ...]:
    """What the groups have that are named so."""
    return tuple(("ep", criterion.text) if criterion.exact else TYPE for criterion in groups)


def _at(locations: Iterable[str]) -> tuple[Pair, ...]:
    return tuple(("href", LOCATION + location) for location in locations)


def _once(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    return tuple(dict.fromkeys(pairs))
