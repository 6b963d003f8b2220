"""Who is asking, and who may do what.

`Identity` is who asks, as a driver found out from the bytes' transport; `policy.py` decides what they may do.
Keys, certificates, trust anchors and tokens, by which one shows who one is, have a file each: `keys.py`,
`signature.py`, `certificates.py`, `anchors.py`, then `chains.py`, which says whom a certificate stands for.  Nothing
here reads a clock or a file.

Source: design, Contracts, 7 and 8, and "One authorization choke point".
"""

import re
from typing import Final, NamedTuple


class Identity(NamedTuple):
    """`kind` says how it was shown, one of KINDS; `name` whose it is; `roles` what it was given, sorted.

    `actions` and `sectors` narrow what the policy allows, as the policy writes them; empty: they do not.
    A named tuple and not a dataclass: it is compared and hashed for every request.
    """

    kind: str
    name: str
    roles: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """What things are remembered by: roles may change, this does not.  As "certificate:lamp-3"."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


KINDS: Final = ("anonymous", "operator", "certificate", "psk", "oscore", "token")
ROLES: Final = ("admin", "device", "peer", "reader")  # of certificates, tokens and pre-shared keys

ANONYMOUS: Final = Identity("anonymous", "")  # a plain transport, and nothing shown on it
OPERATOR: Final = Identity("operator", "")  # who has the state directory: the local socket

NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)  # whole: fullmatch() wherever one is made or read
