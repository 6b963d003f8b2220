"""Pages of voted records, read from the rows in the order of their keys.

Nothing is counted and nothing kept: a page begins after a key.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from waypost.identity.policy import View
from waypost.record import Committed, Place

BATCH: Final = 100  # rows that are read in one go
SCANNED_MAX: Final = 5_000  # rows that are looked at for a page; it may be short, and is not the last
OCTETS_MAX: Final = 1 << 20  # of the records on a page, which ends with the one that reaches it

ReadRows = Callable[[str, bytes, int], Awaitable[Sequence[tuple[bytes, bytes]]]]

_committed: Final = msgspec.json.Decoder(Committed)


@dataclass(frozen=True, slots=True)
class Page:
    """`last` is the place of the last row looked at; there is `more` behind it, perhaps none to be shown."""

    items: tuple[Committed, ...]
    last: Place
    more: bool


async def read(
    rows: ReadRows,
    table: str,
    start: bytes,
    after: bytes | None,
    count: int,
    view: View | None = None,
) -> Page:
    """At most `count` of the rows of `table` whose key begins with `start`, comes after `after`, and is in `view`.

    Raises StoreError.
    """
    items: list[Committed] = []
    last: Place = ("", "")
    octets = scanned = 0
    cursor = max(before(start), after or b"")
    while True:
        batch = await rows(table, cursor, BATCH)
        for key, value in batch:
            if not key.startswith(start):
                return Page(tuple(items), last, False)
            if len(items) == count or octets >= OCTETS_MAX or scanned == SCANNED_MAX:
                return Page(tuple(items), last, True)
            namespace, name, *_ = key.decode().split("\0")
            cursor, last = key, (namespace, name)
            scanned += 1
            if view is None or view.shows(namespace, name):
                items.append(_committed.decode(value))
                octets += len(value)
        if len(batch) < BATCH:
            return Page(tuple(items), last, False)


def before(key: bytes) -> bytes:
    """Less than `key`, and not less than any text that is: UTF-8 has no octet 255."""
    return key[:-1] + bytes((key[-1] - 1,)) + b"\xff" if key and key[-1] else key[:-1]
