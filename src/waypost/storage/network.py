"""Which network a node is of, in a file beside its keys: it outlives the database.

    keys/network.json   {"contacts": {name: URL}, "founding": the network's first roster, as committed}

It is written by who joins, and by who has founded a network once that is on disk, and again as nodes come, move and
go.  A node that finds it, and no memory of itself in the database, has lost its disk: it is a new installation.

Raises ConfigError for what is not as it must be, OSError for the disk.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from waypost.errors import WireError
from waypost.record import Committed, Roster, roster_in
from waypost.record.vote import founding
from waypost.record.wire import NodeName, encode
from waypost.storage.keyring import Keyring, locked

NAME: Final = "network.json"
SIZE_MAX: Final = 1 << 20
CONTACTS_MAX: Final = 512

Url = Annotated[str, Meta(max_length=255, pattern=r"\Ahttps://")]


class Known(Struct, frozen=True, forbid_unknown_fields=True):
    """`contacts` are the nodes of the last roster that this one knew, or that there was when it joined."""

    contacts: Annotated[dict[NodeName, Url], Meta(max_length=CONTACTS_MAX)]
    founding: Committed

    def encode(self) -> bytes:
        return encode(self)


_decoder: Final[msgspec.json.Decoder[Known]] = msgspec.json.Decoder(Known)


def read_known(data: bytes) -> Known:
    """Raises WireError for what founds no network."""
    if len(data) > SIZE_MAX:
        raise WireError("the network's file is too large")
    try:
        known = _decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"the network is not described as it must be: {error}") from error
    if known.founding != founding(roster_in(known.founding.record)):
        raise WireError("the roster is none that founds a network")
    return known


def known_network(keyring: Keyring) -> Known | None:
    return keyring.read(NAME, read_known) if keyring.has(NAME) else None


def remember_network(keyring: Keyring, first: Committed) -> None:
    """Unless it is known already."""
    if not keyring.has(NAME):
        keyring.write({NAME: Known({}, first).encode()})


def contacts_of(roster: Roster) -> dict[str, str]:
    """The URLs of those who have one, by name."""
    return {member.name: member.url for member in roster.voters + roster.learners if member.url}


def remember_contacts(keyring: Keyring, contacts: dict[str, str]) -> None:
    """Whom to ask from now on.  To know of nobody is to know of no more than before."""
    with locked(keyring.folder):
        known = known_network(keyring)
        if known is not None and contacts and contacts != known.contacts:
            keyring.write({NAME: Known(contacts, known.founding).encode()})
