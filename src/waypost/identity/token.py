"""Tokens: texts by which programs show who they are, or join once; and what can be asked about them.

    wp_<id>_<secret>                  a bearer's, for as long as it lives
    wpj_<id>_<secret>_<fingerprint>   to join with, once; the fingerprint pins the authority's root, SHA-256 of its key

All parts are base32 in lower case: a click selects the whole, no shell or URL changes it, and it can be told from
other text.  A secret has 256 bits and is shown once; what is kept is its SHA-256.

Source: notes on reliability, D1 (bootstrap, tokens); RFC 6750, 5.2.
"""

import base64
import re
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from waypost.errors import WireError
from waypost.identity import Identity

SHOWN: Final = re.compile(r"(wpj?)_([a-z2-7]{8})_([a-z2-7]{52})(?:_([a-z2-7]{52}))?", re.ASCII)
IN_TEXT: Final = re.compile(r"(wpj?_[a-z2-7]{8})_[a-z2-7_]+", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """A token as somebody shows it; `pin` is the fingerprint of a root in hexadecimal, "" of a bearer's token."""

    id: str
    secret: bytes
    pin: str = ""

    @classmethod
    def read(cls, text: str) -> "Shown":
        """Raises WireError, which shows nothing of the text."""
        match = SHOWN.fullmatch(text)
        if match is None or (match[1] == "wpj") != (match[4] is not None):
            raise WireError("it is no token of a node: one begins with wp_ or wpj_ and is pasted whole")
        return cls(match[2], _octets(match[3]), _octets(match[4]).hex() if match[4] else "")

    @property
    def text(self) -> str:
        kind, pin = ("wpj", f"_{base32(bytes.fromhex(self.pin))}") if self.pin else ("wp", "")
        return f"{kind}_{self.id}_{base32(self.secret)}{pin}"

    def __repr__(self) -> str:
        return f"Shown({self.id})"


def redacted(text: str) -> str:
    """`text` without the secrets of tokens."""
    return IN_TEXT.sub(r"\1_…", text) if "wp" in text or "WP" in text else text


# what can be asked


@dataclass(frozen=True, slots=True)
class CreateToken:
    """Answered with Created, or Declined.

    To join with, `name` is whom the one role may be certified as, perhaps with a star for any ending; `pin` is the
    root's fingerprint, and `hosts` are those that the certificate may name.
    """

    name: str
    roles: tuple[str, ...]
    who: Identity
    lifetime_s: int | None = None
    actions: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()
    pin: str = ""
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The administrator's, at the node's first start; asked by the node itself.  Created, or None ever after."""


@dataclass(frozen=True, slots=True)
class ListTokens:
    """Answered with Listed, or Declined."""

    who: Identity


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """Answered with Revoked, or Declined."""

    id: str
    who: Identity


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Whose is it?  Answered with the Identity, or None; nobody is told why."""

    shown: Shown


@dataclass(frozen=True, slots=True)
class Redeem:
    """Use up a token to join with.  Answered with Redeemed, or Declined.

    `name` and `role` None are those that the token is for; `taken` are names that others are certified as.  With `dry`
    it is only said what would be answered.
    """

    shown: Shown
    name: str | None
    hosts: tuple[str, ...]
    who: Identity
    taken: frozenset[str] = frozenset()
    role: str | None = None
    dry: bool = False


TokenQuestion = CreateToken | FirstToken | ListTokens | RevokeToken | Authenticate | Redeem


# and how it is answered


class Token(Struct, frozen=True):
    """What is kept of one.  `used_ms` is when, to the hour; of one to join with, when it was used up."""

    id: str
    digest: str
    name: str
    roles: tuple[str, ...]
    created_ms: int
    until_ms: int
    actions: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    used_ms: int | None = None
    joins: bool = False

    def identity(self) -> Identity:
        return Identity("token", self.name, self.roles, self.actions, self.sectors)


@dataclass(frozen=True, slots=True)
class Created:
    shown: Shown
    token: Token


@dataclass(frozen=True, slots=True)
class Listed:
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    token: Token


@dataclass(frozen=True, slots=True)
class Redeemed:
    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Declined:
    """`reason` is one of "wrong", "forbidden", "not found", "full"; `detail` a sentence."""

    reason: str
    detail: str


TokenOutcome = Created | Listed | Revoked | Redeemed | Declined | Identity


def base32(octets: bytes) -> str:
    return base64.b32encode(octets).decode().rstrip("=").lower()


def _octets(text: str) -> bytes:
    """32 octets of 52 characters.  Raises WireError for a spelling that is not theirs."""
    octets = base64.b32decode(text.upper() + "====")
    if base32(octets) != text:  # the last character has bits to spare
        raise WireError("it is no token of a node: its end is wrong")
    return octets
