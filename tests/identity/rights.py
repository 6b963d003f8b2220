"""Who may do what in the house of the matrix: a policy, and beside it a plain table of what it comes to.

The table is written by hand, and never asked of the policy.  Three things are registered: the lamp and the door in the
sector "mine", each by its own device, and the safe in "theirs", by the operator.  There are voted records of the same
names, in namespaces called as the sectors are.
"""

import tomllib
from typing import Final

from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.policy import Policy

RULES: Final = """
[[allow]]
who = ["anonymous"]
do = ["discover", "join"]

[[allow]]
who = ["role:reader"]
do = ["discover", "look-up", "read", "watch", "status"]

[[allow]]
who = ["role:device"]
do = ["read", "register", "renew", "remove"]
in = ["rd"]
name = ["{name}"]
owner = "own"

[[allow]]
who = ["psk:*"]
do = ["read", "claim"]
in = ["records"]
name = ["{name}"]

[[allow]]
who = ["role:peer"]
do = ["peer"]

[[allow]]
who = ["certificate:tenant"]
do = ["look-up", "read", "watch", "register", "renew", "remove", "claim", "evict", "export", "import"]
sector = ["mine"]

[[allow]]
who = ["certificate:tenant"]
do = ["status"]

[[allow]]
who = ["certificate:landlord"]
do = ["*"]
sector = ["mine"]

[[allow]]
who = ["certificate:prefix"]
do = ["look-up", "read", "watch", "register", "renew", "remove", "claim", "evict", "export", "import"]
name = ["la*"]

[[allow]]
who = ["certificate:looker"]
do = ["look-up"]

[[deny]]
who = ["certificate:tenant"]
do = ["evict"]
name = ["door"]

[[allow]]
who = ["operator", "role:admin"]
do = ["*"]
"""

SECTORS: Final = {"lamp": "mine", "door": "mine", "safe": "theirs"}
THINGS: Final = frozenset(SECTORS)
ASKERS: Final = {
    "anonymous": ANONYMOUS,
    "operator": OPERATOR,
    "admin": Identity("certificate", "anna", ("admin",)),
    "lamp": Identity("psk", "lamp", ("device",)),
    "door": Identity("psk", "door", ("device",)),
    "impostor": Identity("oscore", "lamp", ("device",)),  # the lamp's name, shown otherwise: another owner
    "peer": Identity("certificate", "node-2", ("peer",)),
    "reader": Identity("token", "board", ("reader",)),
    "tenant": Identity("certificate", "tenant"),
    "prefix": Identity("certificate", "prefix"),
    "landlord": Identity("certificate", "landlord"),  # everything, in one sector
    "looker": Identity("certificate", "looker"),
    "narrow": Identity("token", "narrow", ("reader",), ("look-up", "read"), ("theirs",)),
    "revoked": Identity("certificate", "gone", ("admin",)),
}

NODES: Final = ("discover", "status", "peer", "join", "administer")  # about the node, which has no parts

# Who may do it, and to which of the three things; what is about the node as a whole is about all.
RIGHTS: Final = {
    "discover": {"anonymous": "all", "reader": "all"},
    "look-up": {"reader": "all", "tenant": "lamp door", "prefix": "lamp", "looker": "all", "narrow": "safe"},
    "read": {
        "lamp": "lamp",
        "door": "door",
        "reader": "all",
        "tenant": "lamp door",
        "prefix": "lamp",
        "narrow": "safe",
    },
    "watch": {"reader": "all", "tenant": "lamp door", "prefix": "lamp"},
    "register": {"lamp": "lamp", "door": "door", "tenant": "lamp door", "prefix": "lamp"},
    "renew": {"lamp": "lamp", "door": "door", "tenant": "lamp door", "prefix": "lamp"},
    "remove": {"lamp": "lamp", "door": "door", "tenant": "lamp door", "prefix": "lamp"},
    "claim": {"lamp": "lamp", "door": "door", "tenant": "lamp door", "prefix": "lamp"},
    "evict": {"tenant": "lamp", "prefix": "lamp"},
    "export": {"tenant": "lamp door", "prefix": "lamp"},
    "import": {"tenant": "lamp door", "prefix": "lamp"},
    "status": {"reader": "all", "tenant": "all"},
    "peer": {"peer": "all"},
    "join": {"anonymous": "all"},
    "administer": {},
}


def policy() -> Policy:
    rules = Policy.read(tomllib.loads(RULES), "the matrix")
    rules.revoke("certificate:gone")
    return rules


def may(asker: str, action: str) -> frozenset[str]:
    """The things that `asker` may do it to."""
    if asker in ("operator", "admin"):
        return THINGS
    if asker == "landlord":
        return frozenset() if action in NODES else frozenset({"lamp", "door"})
    told = RIGHTS[action].get(asker, "")
    return THINGS if told == "all" else frozenset(told.split())
