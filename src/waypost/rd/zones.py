"""Links, in the sense of link-local: whose addresses mean something to whom.

A zone is the number of the interface that a request with a link-local address came by; 0 is no link in
particular.  A link-local base is taken only from its own link and shown only there.  Zones stay inside:
no output has one.  They are numbers of this machine, so only its own registrations can have one.

IPv4's link-local addresses come without an interface: those that use them are taken to share one link.

Source: RFC 9176, 3.4 (link-local addresses), 5 (base), 6.1 and 6.4; RFC 4291, 2.5.6; RFC 3927.
"""

import re
from typing import Final

from waypost.engine import Path

IPV4_ZONE: Final = -1

_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+://(?:[^@/]*+@)?(?:\[([0-9A-Fa-f:.]*+)[^\]]*+\]|([0-9.]++)(?=[:/]|\Z))")


def zone_of(path: Path) -> int:
    """The link that a request came by, if its addresses say so."""
    return path.peer.scope or path.local.scope or (IPV4_ZONE if path.peer.host.startswith("169.254.") else 0)


def is_link_local(base: str) -> bool:
    """fe80::/10 or 169.254.0.0/16; a name is not, whatever it resolves to."""
    match = _HOST.match(base)
    if match is None:
        return False
    if match[2]:
        return match[2].startswith("169.254.")
    first = match[1].partition(":")[0].lower()
    return len(first) == 4 and first.startswith("fe") and first[2] in "89ab"
