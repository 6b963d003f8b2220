"""The bodies of the HTTP API that are about the log of a node, and about those of other nodes that it witnesses.

Keys are vkeys (C2SP signed-note); checkpoints are given verbatim, so that whoever reads them can check them.

Source: notes on the ledger, 2 and 5; docs/ledger.md.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from waypost.record import Committed

Wall = Annotated[int | None, Meta(description="Milliseconds since 1970 by this node's clock; null: not logged yet.")]


class Checkpoint(Struct, frozen=True):
    """The head of a log: `root` in base64, and `note`, the signed note whole."""

    size: int
    root: str
    note: str


class LinkedLog(Struct, frozen=True):
    """A log of another node: the `size` that we cosigned last, what we `mirrored` of it, and `linked` in our log.

    `frozen`: there is evidence against it, and it stays at that size.
    """

    node: str
    origin: str
    key: str
    cosigner: str
    size: int
    mirrored: int
    linked: int
    frozen: int | None


class OutsideWitness(Struct, frozen=True):
    """A witness that is no node of the network."""

    key: str
    url: str


class Log(Struct, frozen=True):
    """The log of this node.  `state` is "signing", or a sentence that says why not.

    `head` is durable; `published` is what was cosigned last, by `cosigners`, of whom `quorum` are wanted.  `evidence`
    are SHA-256 hashes of files that prove a log's misbehaviour; `day` is the last day that was published.
    """

    origin: str
    key: str
    cosigner: str
    state: str
    size: int
    head: Checkpoint | None
    published: Checkpoint | None
    quorum: int
    cosigners: tuple[str, ...]
    links: tuple[LinkedLog, ...]
    outside: tuple[OutsideWitness, ...]
    evidence: tuple[str, ...]
    day: str


class Entry(Struct, frozen=True):
    """`data` are the entry's octets in base64, as they are hashed; `kind` null: it is of none that this node knows."""

    index: int
    kind: str | None
    data: bytes


class Entries(Struct, frozen=True):
    """A page of entries in their order; `next` is the following one's URL, or null."""

    entries: tuple[Entry, ...]
    next: str | None


class NewStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """A signed statement; `prev` names the signer's last one, and is empty before the first.  See docs/ledger.md."""

    at_ms: int
    body: dict[str, Any]
    kind: str
    prev: str
    signer: str
    signature: str


class Entered(Struct, frozen=True):
    """A statement is an entry of the log, on disk, under the signed `head`."""

    index: int
    head: Checkpoint


class Version(Committed, frozen=True):
    """A voted record, its certificate, and the entry of this node's log that has them: null if it is not logged yet."""

    index: int | None = None
    logged_ms: Wall = None


class Versions(Struct, frozen=True):
    """A page of versions; `next` is the following one's URL, or null."""

    records: tuple[Version, ...]
    next: str | None
