"""Who may register, renew and remove what: one question at one place.

"open" lets everybody; it is the default of a directory that listens on loopback.  "same-source" remembers
the address that a registration came from, and lets nobody else touch it while it lives.  That is
first-come-first-remembered with the weakest of credentials: an address can be forged, and a device
that moves must wait for its old registration to end.  It holds back accidents, and with fresh Echo
values (`freshness`) whoever cannot receive at the address.

A registration remembered for nobody, such as one from before the policy was chosen, is remembered for
whoever changes it next.  Operators, who come by the local API, may do everything.

Source: RFC 9176, 7.5 (first-come-first-remembered).
"""

from enum import Enum
from typing import Final, Protocol

from waypost.identity import OPERATOR, Identity

POLICIES: Final = ("open", "same-source")


class Action(Enum):
    REGISTER = "register"
    RENEW = "renew"
    REMOVE = "remove"


class Policy(Protocol):
    def remembered(self, who: Identity, source: str) -> str:
        """What a registration is remembered by; "" for nobody."""
        ...

    def decide(self, who: Identity, source: str, action: Action, owner: str) -> bool:
        """`owner` is what the registration is remembered by, "" if there is none."""
        ...


class Open:
    def remembered(self, who: Identity, source: str) -> str:
        return ""

    def decide(self, who: Identity, source: str, action: Action, owner: str) -> bool:
        return True


class SameSource:
    def remembered(self, who: Identity, source: str) -> str:
        return OPERATOR.kind if who == OPERATOR else source

    def decide(self, who: Identity, source: str, action: Action, owner: str) -> bool:
        return who == OPERATOR or owner in ("", self.remembered(who, source))


def policy(name: str) -> Policy:
    """`name` is one of POLICIES."""
    assert name in POLICIES, name
    return Open() if name == "open" else SameSource()
