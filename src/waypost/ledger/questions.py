"""What the ledger is told of the node, what it asks the world, and what can be asked of it.

Paths are below /log/ of a node; what they take and give is in the notes on the ledger, 2, and in docs/ledger.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from waypost.ledger.checkpoint import Head
from waypost.ledger.note import Key, Sign, Verify
from waypost.record import Committed
from waypost.record.gossiped import Gossiped

ROOM: Final = "ledger"  # of the changes that tell the ledger what is durable; they have no number in the feed
ROUND_S: Final = 10.0
IDLE_ROUND_S: Final = 600.0

ReadFile = Callable[[str], bytes | None]  # a file of the state directory that a Commit made durable, or None


@dataclass(frozen=True, slots=True)
class Outside:
    """A witness that is no node of the network: its cosigner's `key`, and the URL that add-checkpoint follows."""

    key: Key
    url: str


@dataclass(frozen=True, slots=True)
class Notary:
    """This node's log: `key` signs its heads, `cosigner` those of others; two keys, and neither is the node's.

    `quorum` is how many witnesses a head should have, 0: by their number (policy.py).  `witnessed` are the keys of
    strangers' logs that this node cosigns, too: the origin is the key's name.
    """

    name: str
    origin: str
    key: Key
    sign: Sign
    cosigner: Key
    cosign: Sign
    sign_as_node: Sign
    verify: Verify
    read: ReadFile
    outside: tuple[Outside, ...] = ()
    witnessed: tuple[Key, ...] = ()
    quorum: int = 0
    round_s: float = ROUND_S
    idle_round_s: float = IDLE_ROUND_S


class Held(Protocol):
    """What this node holds now, each list made at once."""

    def voted(self) -> list[Committed]:
        """The newest version of each key."""
        ...

    def gossiped(self) -> list[Gossiped]: ...


# What is asked of the world.


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request to a `node` of the network, or where that is "", to `url`; answered with a Reply, or None.

    `path` comes after /log/ of a node, or after the URL.
    """

    node: str
    method: str
    path: str
    body: bytes = b""
    url: str = ""
    octets_max: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = b""
    media: str = "text/plain; charset=utf-8"


# What is asked of the ledger.


@dataclass(frozen=True, slots=True)
class Serve:
    """A request below /log/ by the `node` of a certificate, be it of the network or not; "" for anybody else.

    Answered with a Reply.
    """

    method: str
    path: str
    body: bytes = b""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Enter:
    """A signed statement, as statement.py encodes it, for the log.  Answered with Entered once durable, or a Reply."""

    statement: bytes


@dataclass(frozen=True, slots=True)
class Entered:
    index: int
    head: Head


@dataclass(frozen=True, slots=True)
class Prove:
    """That the entry of that index is in this log.  Answered with a proof file (proof.py), or None if it is not yet.

    The proof is of the last published head, with its cosignatures.
    """

    index: int


@dataclass(frozen=True, slots=True)
class ShowLog:
    """How is the log?  Answered with Shown."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The operator's word: sign, though no other node has said which head of this log it saw last.

    Answered with Shown.
    """


@dataclass(frozen=True, slots=True)
class Linked:
    """A log of another node: the `size` that we cosigned last, what we mirrored of it, `linked` in our log.

    `frozen` is the size at which it stays since there is evidence against it, or None.
    """

    node: str
    origin: str
    key: Key
    cosigner: Key
    size: int
    mirrored: int
    linked: int
    frozen: int | None


@dataclass(frozen=True, slots=True)
class Shown:
    """`state` is "signing", or a sentence that says why not.  `head` is durable, `published` has cosignatures."""

    origin: str
    key: Key
    cosigner: Key
    state: str
    size: int
    head: Head | None
    published: Head | None
    quorum: int
    cosigners: tuple[str, ...]
    links: tuple[Linked, ...]
    outside: tuple[Outside, ...]
    evidence: tuple[str, ...]
    day: str


LedgerQuestion = Serve | Enter | Prove | ShowLog | Resume
