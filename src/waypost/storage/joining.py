"""Keys that another node's authority has certified, put into a state directory as a whole.

They are written into a folder beside keys/ and take its place by a rename, so there are the old keys or the new ones.
A directory that has keys keeps its node's, log's and cosigner's, and its secrets; the rest stays in keys.before.

Raises StateError for a directory that cannot be changed now, OSError for the disk.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from waypost.errors import StateError
from waypost.identity import keys
from waypost.storage.files import Sync, make_directory, sync_directory
from waypost.storage.keyring import FOLDER
from waypost.storage.store import LOCK

NEW: Final = "keys.new"
BEFORE: Final = "keys.before"
OWN: Final = ("node.pem", "log.pem", "cosigner.pem")  # made where they are missing, and never changed
KEPT: Final = (*OWN, "secrets.toml")


@contextmanager
def reserved(directory: Path, *, replace: bool, sync: Sync = os.fsync) -> Iterator[None]:
    """No node runs in `directory`, and none starts; it has no keys, or they may be replaced."""
    make_directory(directory, sync)
    with open(directory / LOCK, "ab", opener=_private) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"a node runs in {directory}", hint="stop it first") from None
        if (directory / FOLDER).exists() and not replace:
            raise StateError(
                f"{directory} has keys, and an authority of its own",
                hint="--replace takes another's and keeps the old in keys.before; or choose another --dir",
            )
        if (directory / FOLDER).exists() and (directory / BEFORE).exists():
            raise StateError(f"{directory / BEFORE} is there from an earlier time", hint="move it away")
        yield


def replace_keys(directory: Path, files: dict[str, bytes], sync: Sync = os.fsync) -> None:
    """Inside reserved(): these, and what every node has; all of them or none."""
    new, folder, before = (directory / name for name in (NEW, FOLDER, BEFORE))
    shutil.rmtree(new, ignore_errors=True)
    make_directory(new, sync)
    kept = {name: (folder / name).read_bytes() for name in KEPT if (folder / name).exists()}
    made = {name: keys.write_private(keys.make_ed25519()) for name in OWN if name not in kept}
    for name, data in (made | kept | files).items():
        with open(new / name, "xb", opener=_private) as file:
            file.write(data)
            file.flush()
            sync(file.fileno())
    sync_directory(new, sync)
    if folder.exists():
        folder.rename(before)
    try:
        new.rename(folder)
    except OSError:
        if before.exists():
            before.rename(folder)
        raise
    sync_directory(directory, sync)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
