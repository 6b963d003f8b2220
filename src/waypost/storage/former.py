"""A log whose node goes by another origin now: kept as a copy, as of a stranger's, and served as one.

A node has another origin when it has another name, or when its operator gave it one because there is evidence against
the log that it kept.  Nothing of that log is lost or changed: its files get second names below tiles/mirror/, its rows
move to those of copies, and a new log begins.  What was committed is entered anew as far as the change feed goes back.

Source: notes on the ledger, 5 (after a proof); ledger/mirror.py (what lies where).
"""

import os
from hashlib import sha256
from pathlib import Path

from waypost.engine import Commit, Put
from waypost.errors import ConfigError, StoreError, WireError
from waypost.ledger.checkpoint import read_head
from waypost.ledger.engine import CURSOR
from waypost.ledger.index import TABLE as INDEX
from waypost.ledger.log import ADOPTED, DAY, FOLDER, HEAD, NODE, TAIL
from waypost.ledger.mirror import TABLE as MIRROR
from waypost.ledger.rounds import ROW as PUBLISHED
from waypost.storage.files import Sync, make_directory, sync_directory
from waypost.storage.store import Store
from waypost.storage.tiles import MIRRORED, Kept

ORIGIN = b"/origin"  # of a mirror's rows, after the digest of the origin


def set_aside(store: Store, directory: Path, origin: str, sync: Sync = os.fsync) -> str | None:
    """Make way for the log of that origin, before it is restored; the origin of the one that was there, if any.

    Raises ConfigError where this node has a copy of a log of that name: it is somebody else's, or was its own.
    """
    note = store.get(NODE, HEAD)
    if note is None:
        return None
    try:
        head = read_head(note)
    except WireError as error:
        raise StoreError(f"the head of this node's log cannot be read: {error}") from error
    if head.origin == origin:
        return None
    if store.get(MIRROR, sha256(origin.encode()).digest() + ORIGIN) is not None:
        raise ConfigError(
            f"there is a log of {origin} already", hint="give this node's another name: ledger.origin in config.toml"
        )
    digest = sha256(head.origin.encode()).digest()
    log = Kept(FOLDER, TAIL, b"", head.size, note)
    _link(directory, log, f"tiles/mirror/{digest.hex()}", sync)
    copied = [Put(MIRROR, digest + ORIGIN, head.origin.encode()), Put(MIRROR, digest + MIRRORED, note)]
    copied += [Put(MIRROR, digest + key, value) for key, value in store.scan(TAIL)]
    gone = [Put(table, key, None) for table in (TAIL, INDEX) for key, _ in store.scan(table)]
    gone += [Put(NODE, key, None) for key in (HEAD, DAY, CURSOR, PUBLISHED)]
    gone += [Put(NODE, key, None) for key, _ in store.scan(NODE, ADOPTED) if key.startswith(ADOPTED)]
    store.commit([Commit(puts=(*copied, *gone), expects=(Put(NODE, HEAD, note),))])
    return head.origin


def _link(directory: Path, log: Kept, folder: str, sync: Sync) -> None:
    """Second names for its files.  The new log gives the first ones to files of its own, and writes into none."""
    parents: dict[Path, None] = {}
    for name in log.files():
        target = directory / folder / name.removeprefix(f"{log.folder}/")
        if target.parent not in parents:
            make_directory(target.parent, sync)
            parents[target.parent] = None
        target.unlink(missing_ok=True)  # of a start that was cut short
        try:
            os.link(directory / name, target)
        except FileNotFoundError as error:
            raise StoreError(f"{name} is missing", hint="put back a backup") from error
    for parent in parents:
        sync_directory(parent, sync)
