"""Power cuts: the store's own SQL, pragmas and file writes on a disk that forgets.

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
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw
import pytest

from waypost.engine import Commit, Put, PutFile
from waypost.errors import StoreError
from waypost.storage import Store
from waypost.storage.schema import MIGRATIONS

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
        self._names: dict[Path, dict[str, int]] = {}  # of each directory, as they are on the disk
        for directory in [root, *(path for path in sorted(root.rglob("*")) if path.is_dir())]:
            self._names[directory] = self._live_names(directory)
            for name in self._names[directory]:
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
            self._names[directory] = self._live_names(directory)

    def sync_inode(self, inode: Inode) -> None:
        if not self._lying:
            inode.sync()

    def cut(self, root: Path, share: float) -> "Disk":
        """Leave in `root` what survives: of what was not synced some `share`."""

        def keep() -> bool:
            return self._rng.random() < share

        self._leave(self.root, root, keep)
        self.close()
        shutil.rmtree(self.root)
        return Disk(root, self._rng, lying=self._lying)

    def close(self) -> None:
        for inode in self._inodes.values():
            os.close(inode.hold)

    def _leave(self, source: Path, target: Path, keep: Callable[[], bool]) -> None:
        target.mkdir()
        live, durable = self._live_names(source), self._names.get(source, {})
        for name in sorted({*live, *durable}):
            number = live.get(name) if keep() else durable.get(name)
            if (source / name).is_dir():
                if number is not None:
                    self._leave(source / name, target / name, keep)
            elif number is not None:
                never_synced = Inode(-1, bytearray(), [(0, (source / name).read_bytes())] if name in live else [])
                inode = self._inodes.get(number, never_synced)
                inode.sync(keep)
                (target / name).write_bytes(inode.durable)

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


@dataclass
class Tally:
    """What happened in a storm."""

    cuts: int = 0
    ends_while_working: int = 0
    cuts_in_checkpoint: int = 0  # the database itself was half written
    kills: int = 0
    commits: int = 0
    lost: int = 0  # lives that began with something else than was acknowledged
    damaged: int = 0  # lives that began with a broken database

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


Model = dict[tuple[str, bytes], bytes]


class Unsound(Exception):
    """The disk does not hold what it should; the node goes on with an empty one."""


def batch_of(rng: Random, number: int) -> list[Commit]:
    """Some rows, small and large, some of them removed; sometimes a file, and the row that relies on it."""
    commits = []
    for _ in range(rng.choice((1, 1, 3, 10))):
        key = b"%d" % rng.randrange(60)
        value = None if rng.random() < 0.2 else rng.randbytes(rng.choice((10, 300, 300, 3_000, 40_000)))
        commits.append(Commit(puts=(Put("directory", key, value), Put("meta", b"last", b"%d" % number))))
    if rng.random() < 0.3:
        name, data = f"tiles/{number // 5}/{number}", rng.randbytes(rng.choice((100, 5_000)))
        commits.append(Commit(files=(PutFile(name, data),), puts=(Put("feed", name.encode(), data),)))
    return commits


def after(model: Model, batch: Sequence[Commit]) -> Model:
    changed = dict(model)
    for put in (put for commit in batch for put in commit.puts):
        changed.pop((put.table, put.key), None)
        if put.value is not None:
            changed[put.table, put.key] = put.value
    return changed


def read(store: Store) -> Model:
    return {(table, key): value for table in ("directory", "feed", "meta") for key, value in store.scan(table)}


def has_files(root: Path, rows: Model) -> bool:
    files = {root / key.decode(): data for (table, key), data in rows.items() if table == "feed"}
    return all(path.exists() and path.read_bytes() == data for path, data in files.items())


class Storm:
    """One node's lives, each ended by a kill or a power cut."""

    def __init__(self, root: Path, seed: int, *, durable: bool = True, lying: bool = False) -> None:
        self.tally = Tally()
        self._rng = Random(seed)
        self._root = root.resolve()
        self._durable = durable
        self._lying = lying
        self._acknowledged: Model = {}
        self._attempted: Model = {}  # with the batch that was under way
        self._number = 0
        self._layer = Layer(self._empty_disk())
        self._store: Store | None = None

    def run(self, cuts: int) -> Tally:
        with contextlib.closing(self._layer):
            while self.tally.cuts < cuts:
                self._live()
        return self.tally

    def _live(self) -> None:
        disk = self._layer.disk
        disk.until_cut = self._rng.choice((-1, self._rng.randrange(60), self._rng.randrange(1_000)))
        sound = True
        try:
            self._work()
        except StoreError:
            sound = disk.off  # with the power on there is no excuse
            self.tally.damaged += not sound
        except Unsound:
            sound = False
        self.tally.ends_while_working += disk.off
        kill = sound and self._rng.random() < 0.3  # what failed was then the process and not the power
        disk.off = True  # the dead write nothing, not even on their way out
        if self._store is not None:
            self._store.close()
            self._store = None
        if kill:
            self.tally.kills += 1
            disk.off = False
            return
        self.tally.cuts += 1
        self.tally.cuts_in_checkpoint += disk.database is not None and bool(disk.database.unsynced)
        survivor = disk.cut(self._root / f"{self.tally.cuts}", self._rng.choice((0.0, 0.1, 0.5, 0.9, 1.0)))
        if not sound:
            survivor.close()
            survivor = self._empty_disk()
        self._layer.disk = survivor

    def _work(self) -> None:
        """Commit until the power fails, or something else ends this life."""
        self._open()
        while self._rng.random() < 0.95:
            self._commit()
            if self._rng.random() < 0.05:
                self._close()
                self._open()
        if self._rng.random() < 0.3:
            self._close()

    def _open(self) -> None:
        disk = self._layer.disk
        connections: list[Connection] = []

        def connect(database: Path) -> Connection:
            connections.append(Connection(database))
            return connections[-1]

        self._store = Store.open(disk.root, durable=self._durable, connect=connect, sync=disk.sync)
        rows = read(self._store)
        if not connections[-1].is_sound():
            self.tally.damaged += 1
            raise Unsound
        if rows not in (self._acknowledged, self._attempted) or not has_files(disk.root, rows):
            self.tally.lost += 1
            raise Unsound
        # What was read has been shown: from now on it counts as acknowledged.
        self._acknowledged = self._attempted = rows

    def _commit(self) -> None:
        assert self._store is not None
        self._number += 1
        batch = batch_of(self._rng, self._number)
        self._attempted = after(self._acknowledged, batch)
        self._store.commit(batch)
        self._acknowledged = self._attempted
        self.tally.commits += 1

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _empty_disk(self) -> Disk:
        root = self._root / f"{self.tally.cuts} and empty"
        root.mkdir()
        self._acknowledged = self._attempted = {}
        return Disk(root, self._rng, lying=self._lying)


def storms(root: Path, seeds: Iterable[int], *, durable: bool = True, lying: bool = False) -> Tally:
    tally = Tally()
    for seed in seeds:
        (root / f"{seed}").mkdir()
        tally += Storm(root / f"{seed}", seed, durable=durable, lying=lying).run(cuts=20)
    return tally


@pytest.mark.storm(10, 500)
def test_no_acknowledged_commit_is_lost_when_the_power_fails(tmp_path: Path, seed: int) -> None:
    tally = Storm(tmp_path, seed).run(cuts=20)
    assert (tally.lost, tally.damaged) == (0, 0), f"seed {seed}: {tally}"


def test_the_storms_strike_where_it_hurts(tmp_path: Path) -> None:
    tally = storms(tmp_path, range(3))
    assert tally.commits > 500, tally
    assert min(tally.ends_while_working, tally.cuts_in_checkpoint, tally.kills) > 10, tally


def test_without_sync_acknowledged_commits_are_lost(tmp_path: Path) -> None:
    tally = storms(tmp_path, range(3), durable=False)
    assert tally.lost > 10, tally


def test_on_a_disk_that_lies_acknowledged_commits_are_lost(tmp_path: Path) -> None:
    tally = storms(tmp_path, range(3), lying=True)
    assert tally.lost > 10, tally


def test_one_seed_is_one_storm(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert Storm(first, 1).run(cuts=20) == Storm(second, 1).run(cuts=20)


def live(disk: Disk, batch: Sequence[Commit] = (), migrations: Sequence[str] = MIGRATIONS) -> Model | None:
    """Open, commit, read, and die without closing; None if that was cut short."""
    store: Store | None = None
    rows: Model | None = None
    try:
        store = Store.open(disk.root, migrations=migrations, connect=Connection, sync=disk.sync)
        store.commit(batch)
        rows = read(store)
    except StoreError:
        assert disk.off
    disk.off = True
    if store is not None:
        store.close()
    disk.mend()
    return rows


BATCH: Final = [
    Commit(puts=(Put("directory", b"key", bytes(20_000)),)),
    Commit(files=(PutFile("tiles/0/x001", b"tile"),), puts=(Put("feed", b"tiles/0/x001", b"tile"),)),
]


@pytest.mark.parametrize("retried", [False, True])
def test_what_was_shown_after_a_kill_at_any_step_survives_a_power_cut(tmp_path: Path, retried: bool) -> None:
    """A killed process leaves what can be read and is not on disk: rows, files, names of directories."""
    step, killed = 0, True
    while killed:
        root = tmp_path.resolve() / f"{step}"
        root.mkdir()
        with contextlib.closing(Layer(Disk(root, Random(1)))) as layer:
            layer.disk.until_cut = step
            killed = live(layer.disk, BATCH) is None
            shown = live(layer.disk, BATCH if retried else ())
            layer.disk = layer.disk.cut(root.with_name(f"{step} after"), share=0.0)
            assert live(layer.disk) == shown is not None, f"killed at step {step}"
            assert has_files(layer.disk.root, shown), f"killed at step {step}"
        step += 1
    assert step > 20


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_migration_happens_once_and_whole_wherever_the_power_fails(tmp_path: Path, share: float) -> None:
    upgraded = (
        *MIGRATIONS,
        "UPDATE meta SET value = CAST(value || x'21' AS BLOB); CREATE TABLE more (key BLOB PRIMARY KEY)",
    )
    step, cut = 0, True
    while cut:
        root = tmp_path.resolve() / f"{step}"
        root.mkdir()
        with contextlib.closing(Layer(Disk(root, Random(step)))) as layer:
            live(layer.disk, [Commit(puts=(Put("meta", b"name", b"Anna"),))])
            layer.disk.until_cut = step
            cut = live(layer.disk, (), upgraded) is None
            layer.disk = layer.disk.cut(root.with_name(f"{step} after"), share)
            assert live(layer.disk, (), upgraded) == {("meta", b"name"): b"Anna!"}, f"cut at step {step}"
        step += 1
    assert step > 20
