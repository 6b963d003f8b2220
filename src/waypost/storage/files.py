"""Files written whole and durably, inside the state directory.

A file is written under a temporary name beside its own, synced, renamed, and its directory synced: after
a power cut there is the old file or the new one, never a piece.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from waypost.engine import PutFile
from waypost.errors import StoreError

Sync = Callable[[int], None]  # os.fsync, or what a test puts in its place

# No segment starts with a dot: none leaves the directory, none is a temporary name.
NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
OPEN_MAX: Final = 64  # files that are written at once
RESERVED: Final = "waypost."  # the store's own files: database, log, lock, backups


def sync_directory(directory: Path | str, sync: Sync) -> None:
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
    return directory / _given(name)


def _given(name: str) -> str:
    if not NAME.fullmatch(name) or name.startswith(RESERVED):
        raise ValueError(f"{name!r} is no name for a file in the state directory")
    return name


class Files:
    def __init__(self, directory: Path, sync: Sync) -> None:
        self._root = os.fspath(directory)
        self._sync = sync
        self._made = {self._root}  # directories whose own name is durable

    def write(self, files: Iterable[PutFile]) -> None:
        """All are durable on return, of those with one name the last; they get their names in order.

        Raises OSError when the disk fails, and ValueError for a name that is not ours to give.
        """
        last = [(self._place(name), data) for name, data in {file.name: file.data for file in files}.items()]
        for start in range(0, len(last), OPEN_MAX):
            self._write(last[start : start + OPEN_MAX])

    def _place(self, name: str) -> tuple[str, str]:
        """Its directory and its own name: paths of text, for there are many."""
        folder, _, own = f"{self._root}/{_given(name)}".rpartition("/")
        return folder, own

    def _write(self, files: Sequence[tuple[tuple[str, str], bytes]]) -> None:
        """All are written before the first is synced: what the disk does for one sync, it need not do for the next."""
        with contextlib.ExitStack() as opened:
            streams = []
            for (folder, own), data in files:
                self._make(folder)
                fd = os.open(f"{folder}/.{own}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                opened.callback(os.close, fd)
                streams.append(fd)
                remaining = memoryview(data)
                while remaining:
                    remaining = remaining[os.write(fd, remaining) :]
            for fd in streams:
                self._sync(fd)
        for (folder, own), _ in files:
            os.replace(f"{folder}/.{own}.new", f"{folder}/{own}")
        for folder in dict.fromkeys(folder for (folder, _), _ in files):
            sync_directory(folder, self._sync)

    def _make(self, folder: str) -> None:
        if folder not in self._made:
            self._make(folder.rpartition("/")[0])
            make_directory(Path(folder), self._sync)
            self._made.add(folder)
