"""Which node this is, and what it and its transport tell each other about where nodes are.

Source: design, Contracts, 7; notes on DRiP, 4.9.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from waypost.drip.gaps import ReadRows
from waypost.drip.history import ALONE
from waypost.drip.literal import Peer as LiteralPeer
from waypost.drip.members import CAPABILITIES
from waypost.drip.proposer import Timers
from waypost.drip.rumours import WIRE
from waypost.ledger.questions import Notary
from waypost.record import Committed, Member, Policy, Roster, Sign, Verify


@dataclass(frozen=True, slots=True)
class Installation:
    """This node: `sign` signs with the public `key`; the `operator`'s key may change a network that it founds.

    `started_ms` is wall-clock time: an installation with an empty disk is named by it.  `founding` is the first roster
    of the network that it was let into; None, it founds one unless its disk knows of one.  `contacts` are URLs of nodes
    that it may ask to be let in.  `literal` are peers of the profile drip-02.  `notary` is the node's log; None, it has
    none.  `intent_life_s` is how long a record may wait here for a quorum.
    `read` reads rows of its own disk.
    """

    name: str
    key: str
    operator: str
    organisation: str
    started_ms: int
    sign: Sign
    verify: Verify
    founding: Committed | None = None
    contacts: Mapping[str, str] = field(default_factory=dict)
    carries: bool = False
    literal: tuple[LiteralPeer, ...] = ()
    timers: Timers = Timers()
    notary: Notary | None = None
    intent_life_s: int = 86_400
    read: ReadRows = ALONE.read

    @property
    def incarnation(self) -> int:
        """Of an installation that begins now."""
        return max(1, self.started_ms // 1000)

    def member(self, incarnation: int, url: str, tls: tuple[str, ...] = ()) -> Member:
        """This node as a roster has it once all read its details; `tls` are fingerprints of its keys for TLS."""
        return Member(self.name, incarnation, self.key, url, self.organisation, WIRE, CAPABILITIES, tls)

    def alone(self) -> Roster:
        """The first roster of the network that this node founds."""
        return Roster(1, (self.member(self.incarnation, "").plain,), (), Policy(self.operator, 0, ()))


@dataclass(frozen=True, slots=True)
class Reach:
    """Told to the peers' transport: where nodes of the network are, by name; those that are not here are no more.

    `keys` are the members' node keys, 64 hexadecimal digits; `pins` fingerprints of their keys for TLS, of those who
    have told any.
    """

    network: str
    urls: Mapping[str, str]
    keys: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Introduce:
    """This node is reached at `url`, "" for nowhere (yet), with one of the keys for TLS.  Answered with Introduced."""

    url: str
    tls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LetIn:
    """Who has a certificate of the member's name, and another key for TLS than the roster has, asks to be let in.

    `is_vouched`: the authority is here, and certified that key.  Answered with whether it is in, or voted on.
    """

    member: Member
    signature: str
    is_vouched: bool


@dataclass(frozen=True, slots=True)
class Introduced:
    """`network` is its id, and `founding` its first roster."""

    network: str
    founding: Committed
