"""What a node shows to others, and by what it knows them: the joint between keys on disk and secured transports.

Drivers take a `Callable[[], Credentials]` and call it for each handshake: certificates and anchors are renewed while
the node runs.  The same object comes back until something has changed.

Source: design, Contracts, 7 and 8; notes on RELOAD, 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from waypost.identity import Identity
from waypost.identity.anchors import Trust
from waypost.identity.certificates import read_certificate
from waypost.identity.chains import certified
from waypost.identity.keys import fingerprint
from waypost.identity.oscore import SecurityContext
from waypost.identity.pins import Pins
from waypost.identity.shared import SharedKey

__all__ = ["Credentials", "SharedKey"]


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """`chain` is the node's certificate and those between it and the root, `key` its private key, both PEM.

    `trust` says whose certificates are taken; `psks` go by the identity that a client sends.
    """

    chain: bytes
    key: bytes
    trust: Trust
    psks: Mapping[bytes, SharedKey]
    contexts: tuple[SecurityContext, ...] = ()
    pins: Pins | None = None  # whom the network knows by their keys; None: it knows all by name

    @property
    def anchors(self) -> tuple[bytes, ...]:
        """The roots, each PEM, for a library that checks signatures itself; certified() has the last word."""
        return tuple(anchor.certificate.pem for anchor in self.trust.anchors)

    @property
    def pin(self) -> str:
        """The fingerprint of our own key, by which others may know us."""
        return fingerprint(read_certificate(self.chain).public)

    def certified(
        self, chain: Sequence[bytes], wall_ms: int, *, is_pinned: bool = True, is_counted: bool = True
    ) -> Identity:
        """Whom a peer's certificates, DER, its own first, stand for.  Raises DeniedError, and nothing else.

        A node that the network knows by its key stands for itself with that key alone, unless not `is_pinned`; who has
        another is counted, unless somebody looks again.
        """
        who = certified(chain, self.trust, wall_ms)
        if is_pinned and self.pins is not None and "peer" in who.roles:
            self.pins.require(who.name, read_certificate(chain[0]).public, is_counted=is_counted)
        return who

    def __repr__(self) -> str:
        return f"Credentials({len(self.trust.anchors)} anchors, {len(self.psks)} pre-shared keys)"
