"""What the directory's questions mean to the policy: which action, on which names, and whose they are.

Each question is decided here before anything else is done with it, and a change once more when it has waited
for another.  A lookup, an export or a list is answered from the part of the directory that its asker may see.
What it may not see answers as what is not there does, wherever a location is named; a name that is taken says so,
for names are unique.

A registration is remembered for whoever made it.  When its lifetime has passed, one that was made with a certificate, a
key or a token is theirs until it is forgotten; one known by an address alone is nobody's, for addresses change hands.

Source: RFC 9176, 7.2 and 7.5 (first-come-first-remembered); design, "One authorization choke point".
"""

from collections.abc import Iterable
from typing import Final, assert_never

from waypost.identity import Identity
from waypost.identity.policy import Action, Decide, Span, Target, View
from waypost.rd.index import Registration
from waypost.rd.questions import (
    Evict,
    Evictions,
    Export,
    Import,
    Kind,
    Locations,
    Lookup,
    Read,
    Readmit,
    Reason,
    Refused,
    Register,
    Remove,
    Renew,
)

ROOM: Final = "rd"
ANYTHING: Final = Target(ROOM)
BY_ADDRESS: Final = "source:"  # how an owner begins who is known by nothing else

AtLocation = Renew | Remove | Read | Evict
About = AtLocation | Register | Import | Readmit  # one name; a Probe is about that of its Register

ACTIONS: Final = {
    Register: Action.REGISTER,
    Renew: Action.RENEW,
    Remove: Action.REMOVE,
    Read: Action.READ,
    Import: Action.IMPORT,
    Evict: Action.EVICT,
    Readmit: Action.EVICT,
}


def decide_range(decide: Decide, question: Lookup | Locations | Export | Evictions) -> Refused | View | None:
    """The part of the directory that the asker may see; None: all of it."""
    match question:
        case Lookup():
            action = Action.LOOK_UP
        case Locations() | Export():
            action = Action.EXPORT
        case Evictions():
            action = Action.EVICT
        case _:
            assert_never(question)
    decision = decide(question.who, action, ANYTHING)
    if not decision.allowed:
        return Refused(Reason.FORBIDDEN, decision.reason)
    if decision.view is not None and isinstance(question, Lookup | Export) and _reaches_across(question):
        return Refused(Reason.FORBIDDEN, "groups may have members anywhere, and you may not look up everywhere")
    return decision.view


def decide_one(
    decide: Decide, question: About, sector: str | None, name: str, registration: Registration | None
) -> Refused | None:
    """`registration` is the one under that name, if there is any."""
    asker, source = _asker(question)
    owner = ""
    if registration is not None and not (isinstance(question, Register) and is_free(registration)):
        owner = registration.owner
    decision = decide(asker, _action(question), Target(ROOM, Span(sector or ""), Span(name), owner, source))
    return None if decision.allowed else Refused(Reason.FORBIDDEN, decision.reason)


def decide_at(decide: Decide, question: AtLocation, registration: Registration | None) -> Refused | None:
    """`registration` is the one at the location that `question` names, if there is any.

    What the asker may not see answers as what is not there does.
    """
    if registration is not None:
        refused = decide_one(decide, question, registration.d, registration.ep, registration)
        if refused is None or sees(decide, question, registration):
            return refused
    return absent(decide, question, f"there is no registration {question.location[:64]}: register again")


def absent(decide: Decide, question: About, detail: str) -> Refused:
    """What an asker hears of what is not there: `detail`, if there is anything that it may do so."""
    decision = decide(_asker(question)[0], _action(question), ANYTHING)
    return Refused(Reason.NOT_FOUND, detail) if decision.allowed else Refused(Reason.FORBIDDEN, decision.reason)


def decide_members(decide: Decide, question: Register, registrations: Iterable[Registration | None]) -> Refused | None:
    """`registrations` are at the locations of the group's members; one that may not be seen is not there."""
    for location, registration in zip(question.members or (), registrations, strict=True):
        if registration is None or not sees(decide, question, registration):
            return Refused(Reason.NOT_FOUND, f"there is no registration {location[:64]}: register the member first")
    return None


def sees(decide: Decide, question: About, registration: Registration) -> bool:
    """Whether its asker may know of the registration."""
    asker, source = _asker(question)
    target = Target(ROOM, Span(registration.d or ""), Span(registration.ep), registration.owner, source)
    return any(decide(asker, action, target).allowed for action in (Action.LOOK_UP, Action.READ))


def may_observe(decide: Decide, lookup: Lookup) -> bool:
    """To observe a lookup is to watch what it shows: all that `lookup.view` lets it see, now."""
    if decide_range(decide, lookup) != lookup.view:
        return False
    decision = decide(lookup.who, Action.WATCH, ANYTHING)
    return decision.allowed and decision.view == lookup.view


def is_free(registration: Registration) -> bool:
    """Whether its name is nobody's any more, though it is kept for a while."""
    return not registration.visible and registration.owner.startswith(BY_ADDRESS)


def _asker(question: About) -> tuple[Identity, str]:
    match question:
        case Register() | Renew() | Remove():
            return question.who, question.source
        case _:
            return question.who, ""


def _action(question: About) -> Action:
    evicts = isinstance(question, Remove) and question.evicts
    return Action.EVICT if evicts else ACTIONS[type(question)]


def _reaches_across(question: Lookup | Export) -> bool:
    """It would tell of members, or of groups, that are not seen (draft -12, 7.3)."""
    if isinstance(question, Lookup) and question.kind is Kind.GROUPS:
        return True
    return any(name == "gp" for name, _ in question.criteria)
