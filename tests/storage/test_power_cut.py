"""Power cuts: the store's own SQL, pragmas and file writes on a disk that forgets (cutting.py)."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Final

import pytest
from cutting import Connection, Disk, Layer

from waypost.engine import Commit, Put, PutFile
from waypost.errors import StoreError
from waypost.storage import Store
from waypost.storage.schema import MIGRATIONS


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
    tally = storms(tmp_path, range(5), lying=True)
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
