"""The disk under a state directory: does it keep what it was told to, is there room, is the database whole?

Source: fdatasync(2), proc(5) (mountinfo), sqlite.org/pragma.html (quick_check).
"""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Final

from waypost.cli.checks import fail, fine, skip, warn
from waypost.cli.reports import Finding
from waypost.storage.files import Sync
from waypost.storage.store import DATABASE

SYNCS: Final = 20
SYNCS_S: Final = 3.0  # for all of them
SYNC_LEAST_S: Final = 20e-6  # no disk has written a block, and its file system a note of it, in less
SYNC_MOST_S: Final = 0.05  # each commit waits for one
BLOCK: Final = bytes(4096)
FREE_LEAST: Final = 64 << 20  # octets
FREE_FEW: Final = 1 << 30
CHECK_S: Final = 5.0  # for the database
STEPS: Final = 1_000  # of SQLite's machine, between two looks at the clock

FLEETING: Final = {
    "tmpfs": "memory: all is gone when the machine restarts",
    "ramfs": "memory: all is gone when the machine restarts",
    "overlay": "a container's own layer: all is gone when the container is removed",
}
REMOTE: Final = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3")


def existing(directory: Path) -> Path:
    """The directory, or what is above it and there."""
    return next(path for path in (directory, *directory.parents) if path.is_dir())


def check_sync(
    directory: Path, sync: Sync = os.fdatasync, clock: Callable[[], float] = time.perf_counter
) -> list[Finding]:
    """How long a commit waits; a disk that is too fast only says that it has written."""
    taken: list[float] = []
    end = clock() + SYNCS_S
    with TemporaryFile(dir=existing(directory), buffering=0) as file:
        for _ in range(SYNCS):
            file.write(BLOCK)
            start = clock()
            sync(file.fileno())
            stop = clock()
            taken.append(stop - start)
            if stop > end:
                break
    usual = median(taken)
    figures = f"{usual * 1000:.2f} ms to sync a block, {max(taken) * 1000:.2f} ms at most of {len(taken)}"
    if usual < SYNC_LEAST_S:
        hint = "what is acknowledged may be lost in a power cut: use a local disk, and no write cache that lies"
        return [warn("disk sync", f"{figures}: too fast to have reached a disk", hint)]
    if usual > SYNC_MOST_S:
        return [warn("disk sync", f"{figures}: slow, and each batch of changes waits for it", "use a faster disk")]
    return [fine("disk sync", figures)]


def check_space(
    directory: Path, measure: Callable[[Path], tuple[int, int]] = lambda path: _free(path)
) -> list[Finding]:
    """`measure` gives the octets and the files that may still be made."""
    octets, files = measure(existing(directory))
    sentence = f"{octets / (1 << 30):.1f} GiB free"
    if octets < FREE_LEAST or files == 0:
        return [fail("disk space", f"{sentence}, {files} files", "make room: a node that cannot write stops")]
    if octets < FREE_FEW:
        return [warn("disk space", sentence, "make room: a node that cannot write stops")]
    return [fine("disk space", sentence)]


def _free(path: Path) -> tuple[int, int]:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else 1


def check_file_system(directory: Path, mounts: Path = Path("/proc/self/mountinfo")) -> list[Finding]:
    kind = _kind(existing(directory).resolve(), mounts.read_text())
    if kind in FLEETING:
        return [warn("file system", f"{kind}, {FLEETING[kind]}", "put the state directory on a disk, or a volume")]
    if kind in REMOTE:
        hint = "use a local disk: locks and syncs over a network do not keep their promise"
        return [warn("file system", f"{kind}, another machine's", hint)]
    return [fine("file system", kind or "of a kind that is not known")]


def _kind(path: Path, mounts: str) -> str:
    """That of the mount with the longest path above it; of two at one place, the later."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        point = Path(head.split(" ")[4].encode().decode("unicode_escape"))  # proc(5): octal escapes
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), tail.split(" ")[0]
    return kind


def check_database(directory: Path, limit_s: float = CHECK_S) -> list[Finding]:
    """Whether its pages fit together, as far as the time goes."""
    database = directory / DATABASE
    if not database.exists():
        return [skip("database", "there is none yet: the first start makes it")]
    end = time.monotonic() + limit_s
    try:
        connection = sqlite3.connect(_read_only(database), uri=True, timeout=limit_s)
        try:
            connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
            ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            late = f"not looked through within {limit_s:.0f} s"
            return [skip("database", f"{late}: sqlite3 {database} 'PRAGMA quick_check' takes its time")]
        return [fail("database", f"{database}: {error}", "put back a backup")]
    if found != "ok":
        return [fail("database", f"{database}: {found}", "put back a backup")]
    return [fine("database", f"whole, {database.stat().st_size / (1 << 20):.1f} MiB")]


def _read_only(database: Path) -> str:
    """As SQLite opens it without a change; where there is no log nobody writes, and it needs no files beside it."""
    log = database.with_name(f"{database.name}-wal")
    return f"{database.absolute().as_uri()}?{'mode=ro' if log.exists() else 'immutable=1'}"
