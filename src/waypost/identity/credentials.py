"""What a node shows to others, and by what it knows them: the joint between keys on disk and secured transports.

Drivers take a `Callable[[], Credentials]` and call it for each handshake: certificates and anchors are renewed while
the node runs.

Source: design, Contracts, 7 and 8; notes on RELOAD, 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from waypost.identity import Identity


@dataclass(frozen=True, slots=True, repr=False)
class SharedKey:
    """A pre-shared key and whom it stands for; `key` never shows in a text."""

    key: bytes
    who: Identity

    def __repr__(self) -> str:
        return f"SharedKey(of {self.who.subject})"


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """`chain` is the node's certificate and those between it and the root, `key` its private key, both PEM.

    `anchors` are the roots that are trusted now, each PEM; `psks` go by the identity that a client sends.
    """

    chain: bytes
    key: bytes
    anchors: tuple[bytes, ...]
    psks: Mapping[bytes, SharedKey]

    def __repr__(self) -> str:
        return f"Credentials({len(self.anchors)} anchors, {len(self.psks)} pre-shared keys)"
