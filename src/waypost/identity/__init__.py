"""Who is asking: the identity that a driver found in the bytes' transport.

A plain UDP or HTTP request has nobody behind it.  Certificates, pre-shared keys and tokens fill
this in once their transports exist; an engine never asks a socket (design, Contracts, 8).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Identity:
    """`kind` says how it was shown ("anonymous", "certificate", "psk", "token"); `name` whose it is."""

    kind: str
    name: str


ANONYMOUS: Final = Identity("anonymous", "")
OPERATOR: Final = Identity("operator", "")  # who may use the local API
