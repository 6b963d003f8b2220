"""What the demonstration tells, scene by scene: its output in JSON."""

from msgspec import Struct

from waypost.cli.reports import Address


class Scene(Struct, frozen=True, tag_field="event", tag=str.lower):
    """Of the demonstration."""


class Started(Scene, frozen=True):
    """The node is up."""

    node: str
    coap: Address
    http: Address


class Registered(Scene, frozen=True):
    """`count` devices, after `took_ms` milliseconds."""

    count: int
    took_ms: int


class Found(Scene, frozen=True):
    """What met the criteria, by each door."""

    criteria: tuple[str, ...]
    coap: tuple[str, ...]
    http: tuple[str, ...]
    waypost: tuple[str, ...]


class Left(Scene, frozen=True):
    """`count` devices stay."""

    ep: str
    count: int


class Renewed(Scene, frozen=True):
    ep: str
    lt: int


class Restarted(Scene, frozen=True):
    """The node was killed and started again: `count` devices, `lost` were lost."""

    count: int
    lost: int


class Commands(Scene, frozen=True, tag="ready"):
    """What to type to look for oneself."""

    commands: tuple[str, ...]


class Joined(Scene, frozen=True):
    """`nodes` are one network, of which `quorum` votes commit, after `took_ms` milliseconds."""

    nodes: tuple[str, ...]
    quorum: int
    took_ms: int


class Spread(Scene, frozen=True):
    """What is registered at one node was found at another, `node`."""

    node: str
    count: int


class Claimed(Scene, frozen=True):
    """A key was claimed at `node`, and `voters` have signed it."""

    key: str
    value: str
    node: str
    version: int
    voters: tuple[str, ...]


class Rivals(Scene, frozen=True):
    """Two wanted one key at once: the `winner` holds it, and the other was told so."""

    key: str
    winner: str
    loser: str
    holder: str


class Proven(Scene, frozen=True):
    """A key was proven by a file of `octets`, entry `index` of the log of `node`, which `witnesses` have cosigned.

    It was checked by a policy of another node, and without asking any; with a letter changed it failed: `damaged`.
    """

    key: str
    node: str
    index: int
    octets: int
    witnesses: tuple[str, ...]
    damaged: str


class Parted(Scene, frozen=True):
    """`minority` was cut off: it refused, kept a claim to `kept`, told what it knew; the others got to `version`."""

    minority: tuple[str, ...]
    refusal: str
    kept: str
    known: int
    version: int


class Healed(Scene, frozen=True):
    """All have what the majority voted, `took_ms` milliseconds after the cables were mended."""

    version: int
    took_ms: int


Story = (
    Started | Registered | Found | Left | Renewed | Restarted
    | Joined | Spread | Claimed | Rivals | Proven | Parted | Healed | Commands
)  # fmt: skip
