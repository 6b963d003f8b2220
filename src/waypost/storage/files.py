"""Files written whole and durably, inside the state directory.

A file is written under a temporary name beside its own, synced, renamed, and its directory synced: after
a power cut there is the old file or the new one, never a piece.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from waypost.engine import PutFile
from waypost.errors import StoreError

Sync = Callable[[int], None]  # os.fsync, or what a test puts in its place

# No segment starts with a dot: none leaves the directory, none is a temporary name.
NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
RESERVED: Final = "waypost."  # the store's own files: database, log, lock, backups


def sync_directory(directory: Path, sync: Sync) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path, sync: Sync) -> None:
    """Make `directory` (0700) and what is missing above it, durably."""
    if not directory.is_dir():
        make_directory(directory.parent, sync)
        directory.mkdir(mode=0o700)
    # Also when it is there: whoever made it may have been killed before the sync.
    with contextlib.suppress(PermissionError):  # a parent that we may not read is not one we made
        sync_directory(directory.parent, sync)


def read_file(directory: Path, name: str) -> bytes | None:
    """What a Commit wrote under `name`, or None.  Raises StoreError if the disk cannot read it."""
    try:
        return place_of(directory, name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"cannot read {directory / name}: {error.strerror}") from error


def place_of(directory: Path, name: str) -> Path:
    """Raises ValueError for a name that is not ours to give."""
    if not NAME.fullmatch(name) or name.startswith(RESERVED):
        raise ValueError(f"{name!r} is no name for a file in the state directory")
    return directory / name


class Files:
    def __init__(self, directory: Path, sync: Sync) -> None:
        self._directory = directory
        self._sync = sync
        self._made = {directory}  # directories whose own name is durable

    def write(self, files: Iterable[PutFile]) -> None:
        """Write `files` in order; all are durable on return.

        Raises OSError when the disk fails, and ValueError for a name that is not ours to give.
        """
        parents: dict[Path, None] = {}
        for file in files:
            path = place_of(self._directory, file.name)
            self._make(path.parent)
            temporary = path.with_name(f".{path.name}.new")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(fd, "wb", buffering=0) as stream:
                remaining = memoryview(file.data)
                while remaining:
                    remaining = remaining[stream.write(remaining) :]
                self._sync(fd)
            temporary.replace(path)
            parents[path.parent] = None
        for parent in parents:
            sync_directory(parent, self._sync)

    def _make(self, directory: Path) -> None:
        if directory not in self._made:
            self._make(directory.parent)
            make_directory(directory, self._sync)
            self._made.add(directory)
