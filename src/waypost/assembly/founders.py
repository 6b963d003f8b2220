"""The first roster of the network that a node is in: given, stored, or that of a network which it founds itself."""

from typing import Final

import msgspec

from waypost.assembly.installation import Installation
from waypost.drip.roster import NODE
from waypost.engine import Put, Rows
from waypost.errors import StoreError
from waypost.record import Committed
from waypost.record.vote import founding

FOUNDING: Final = b"founding"


def first_roster(rows: Rows, installation: Installation) -> tuple[Committed, tuple[Put, ...]]:
    """And what is to be written.  Raises StoreError if the disk knows of another network than it should."""
    stored, given = rows.get(NODE, FOUNDING), installation.founding
    if stored is None:
        first = given or founding(installation.alone())
        return first, (Put(NODE, FOUNDING, first.encode()),)
    first = msgspec.json.decode(stored, type=Committed)
    if given is not None and given != first:
        raise StoreError("the database is of another network than keys/network.json")
    return first, ()
