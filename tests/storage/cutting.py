"""A disk that forgets what was not synced when its power fails, and SQLite on it.

Under the store lies the real SQLite (the one that apsw brings) on a file layer of ours.  What is written
but not synced is remembered beside the real files.  When the power fails, before any write, sync, rename
or removal, each sector of that is kept or lost by chance, each name in a directory is the old or the new
one, and the node starts again on what is left.  A node can also be killed: then nothing is lost yet, but
what was not synced still can be.
"""

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw

SECTOR: Final = 512  # octets: what a disk writes whole or not at all
NEW_LOGS: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL

Write = tuple[int, bytes]  # offset, data


class PowerCut(OSError, apsw.IOError):
    """Whatever asks the disk for something while the power is off."""


@dataclass
class Inode:
    hold: int  # a descriptor: as long as it is open the number is not given to another file
    durable: bytearray
    unsynced: list[Write | int] = field(default_factory=list)  # an int is a truncation

    def sync(self, keep: Callable[[], bool] = lambda: True) -> None:
        """Make durable what was written; in a power cut only the sectors that `keep` says."""
        for change in self.unsynced:
            if isinstance(change, int):
                if keep():
                    del self.durable[change:]
                    self.durable.extend(bytes(change - len(self.durable)))
                continue
            offset, data = change
            start = 0
            while start < len(data):
                end = min(len(data), start + SECTOR - (offset + start) % SECTOR)
                if keep():
                    self.durable.extend(bytes(max(0, offset + end - len(self.durable))))
                    self.durable[offset + start : offset + end] = data[start:end]
                start = end
        self.unsynced.clear()


class Disk:
    """The files under `root`, all durable at first, and what a power cut would leave of them."""

    def __init__(self, root: Path, rng: Random, *, lying: bool = False) -> None:
        self.root = root
        self.off = False
        self.until_cut = -1  # operations; negative: for ever
        self.database: Inode | None = None
        self._rng = rng
        self._lying = lying
        self._inodes: dict[int, Inode] = {}
        # Of each directory, as they are on the disk.  It is held open, so that its number stays its own.
        self._names: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}
        for directory in [root, *(path for path in sorted(root.rglob("*")) if path.is_dir())]:
            for name in self._take_names(directory):
                if not (directory / name).is_dir():
                    self.inode(directory / name)

    def inode(self, path: Path) -> Inode:
        number = path.stat().st_ino
        if number not in self._inodes:
            self._inodes[number] = Inode(os.open(path, os.O_RDONLY), bytearray(path.read_bytes()))
        return self._inodes[number]

    def mend(self) -> None:
        self.off = False
        self.until_cut = -1

    def step(self) -> None:
        """The power may fail here."""
        self.off = self.off or self.until_cut == 0
        if self.off:
            raise PowerCut(errno.EIO, "the power is off")
        self.until_cut -= 1

    def sync(self, descriptor: int) -> None:
        """In place of os.fsync."""
        self.step()
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self.sync_names(path)
        elif path.is_relative_to(self.root) and not self._lying:
            inode = self.inode(path)
            inode.unsynced = [0, (0, path.read_bytes())]
            inode.sync()

    def sync_names(self, directory: Path) -> None:
        if directory.is_relative_to(self.root) and not self._lying:
            self._take_names(directory)

    def sync_inode(self, inode: Inode) -> None:
        if not self._lying:
            inode.sync()

    def cut(self, root: Path, share: float) -> "Disk":
        """Leave in `root` what survives: of what was not synced some `share`."""

        def keep() -> bool:
            return self._rng.random() < share

        places = (self.root, *(path for path in self.root.rglob("*") if path.is_dir()))
        self._leave(self.root.stat().st_ino, root, keep, {path.stat().st_ino: path for path in places})
        self.close()
        shutil.rmtree(self.root)
        return Disk(root, self._rng, lying=self._lying)

    def close(self) -> None:
        for descriptor in (*(inode.hold for inode in self._inodes.values()), *self._held.values()):
            os.close(descriptor)

    def _leave(self, number: int, target: Path, keep: Callable[[], bool], directories: dict[int, Path]) -> None:
        """`directories` are those that were not removed."""
        target.mkdir()
        source = directories.get(number)
        live, durable = self._live_names(source) if source else {}, self._names.get(number, {})
        for name in sorted({*live, *durable}):
            entry = live.get(name) if keep() else durable.get(name)
            if entry in directories or entry in self._held:
                self._leave(entry, target / name, keep, directories)
            elif entry is not None:
                unsynced: list[Write | int] = [(0, (source / name).read_bytes())] if source and name in live else []
                inode = self._inodes.get(entry, Inode(-1, bytearray(), unsynced))
                inode.sync(keep)
                (target / name).write_bytes(inode.durable)

    def _take_names(self, directory: Path) -> dict[str, int]:
        number = self._hold(directory)
        self._names[number] = self._live_names(directory)
        for name in self._names[number]:
            if (directory / name).is_dir():
                self._hold(directory / name)
        return self._names[number]

    def _hold(self, directory: Path) -> int:
        number = directory.stat().st_ino
        if number not in self._held:
            self._held[number] = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        return number

    def _live_names(self, directory: Path) -> dict[str, int]:
        """The log's index lives in memory in all but name, and the lock says nothing once we are dead."""
        ours = [path for path in directory.iterdir() if not path.name.endswith(("-shm", ".lock"))]
        return {path.name: path.stat().st_ino for path in ours}


def say_nothing(self: object, etype: object, evalue: object, etraceback: object) -> bool:
    """Where SQLite does not listen: is that as it should be?"""
    return isinstance(evalue, PowerCut)


class File(apsw.VFSFile):
    excepthook = say_nothing

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        self._inode = disk.inode(path)
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            disk.database = self._inode
        # SQLite's unix layer syncs the directory at the first sync of a log that it opened.
        self._new_in = path.parent if flags[0] & NEW_LOGS else None

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        self._disk.step()
        self._inode.unsynced.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.step()
        self._inode.unsynced.append(newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.step()
        self._disk.sync_inode(self._inode)
        if self._new_in is not None:
            self._disk.sync_names(self._new_in)
            self._new_in = None


class Layer(apsw.VFS):
    excepthook = say_nothing

    def __init__(self, disk: Disk) -> None:
        super().__init__("power cut", "")
        self.disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:
            return apsw.VFSFile("", name, flags)  # temporary
        self.disk.step()
        return File(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.disk.step()
        super().xDelete(filename, syncdir)
        if syncdir:
            self.disk.sync_names(Path(filename).parent)

    def close(self) -> None:
        self.unregister()
        self.disk.close()


class Connection:
    """An apsw connection with the manners of sqlite3's; what apsw does lazily is done at once."""

    def __init__(self, database: Path) -> None:
        with self._as_sqlite3():
            self._connection = apsw.Connection(str(database), vfs="power cut")

    def execute(self, sql: str, parameters: Sequence[bytes | str] = (), /) -> Iterator[Any]:
        with self._as_sqlite3():
            return iter(list(self._connection.execute(sql, parameters)))

    def executemany(self, sql: str, parameters: Iterable[Sequence[bytes]], /) -> None:
        with self._as_sqlite3():
            list(self._connection.executemany(sql, parameters))

    def executescript(self, script: str, /) -> None:
        self.execute(script)

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):  # sqlite3 says nothing of a last checkpoint that failed
            self._connection.close()

    def is_sound(self) -> bool:
        try:
            return list(self.execute("PRAGMA integrity_check")) == [("ok",)]
        except sqlite3.Error:
            return False

    @contextlib.contextmanager
    def _as_sqlite3(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise sqlite3.OperationalError(str(error)) from error
