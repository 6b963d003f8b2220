"""A security context of OSCORE as it was agreed on: what both sides must know before the first message.

Keys and nonces are derived from it; sequence numbers and the replay window are the node's own (runtime/oscore.py).
One pair of peers has one context, and a context is used by nobody else: whoever shares it with a third can be taken
for any of them, and two who send under one sender id break its secrecy.

Source: RFC 8613, 3.2 and 3.3.
"""

from dataclasses import dataclass
from typing import Final

from waypost.errors import ConfigError
from waypost.identity import Identity

SECRET_MIN: Final = 16  # octets: what AES-CCM-16-64-128 promises needs as many
SECRET_MAX: Final = 64  # octets
ID_MAX: Final = 7  # octets of a sender or recipient id: the nonce of AES-CCM-16-64-128 less 6 (3.3)
ID_CONTEXT_MAX: Final = 64  # octets; it goes along with every request
SALT_MAX: Final = 64  # octets: a block of SHA-256

# Rows of the table "meta": the sequence number to go on from, of the context whose fingerprint follows, and of each
# that has no row of its own (a restored node does not know which contexts it had used).
SEQUENCE_ROW: Final = b"oscore sequence "
SEQUENCE_FLOOR: Final = b"oscore floor"


@dataclass(frozen=True, slots=True, repr=False)
class SecurityContext:
    """`sender_id` is this node's, `recipient_id` the peer's; the peer has them the other way round.

    Algorithms are the mandatory ones, AES-CCM-16-64-128 and HKDF with SHA-256.  Raises ConfigError if one of the
    values cannot be used; no secret is in what it says.
    """

    who: Identity
    master_secret: bytes
    sender_id: bytes
    recipient_id: bytes
    master_salt: bytes = b""
    id_context: bytes | None = None

    def __post_init__(self) -> None:
        name = f"the OSCORE context {self.who.name!r}"
        if not SECRET_MIN <= len(self.master_secret) <= SECRET_MAX:
            raise ConfigError(f"{name} needs a master secret of {SECRET_MIN} to {SECRET_MAX} octets")
        if len(self.sender_id) > ID_MAX or len(self.recipient_id) > ID_MAX:
            raise ConfigError(f"{name} has an id of more than {ID_MAX} octets")
        if self.sender_id == self.recipient_id:
            raise ConfigError(f"{name} has the same id for both sides")
        if len(self.id_context or b"") > ID_CONTEXT_MAX or len(self.master_salt) > SALT_MAX:
            raise ConfigError(f"{name} has an id context or a salt of more than {ID_CONTEXT_MAX} octets")

    def __repr__(self) -> str:
        return f"SecurityContext(of {self.who.subject})"
