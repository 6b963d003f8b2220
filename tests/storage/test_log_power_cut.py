"""This node's log on a disk that forgets, cut at every step, and in storms; and two logs on one disk (STORE-FIRST)."""

import contextlib
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import pytest
from cutting import Connection, Disk, Layer
from keeping import WALL_MS, notary

from waypost.engine import Apply, Commit
from waypost.errors import StoreError
from waypost.ledger.log import Log
from waypost.storage import Store
from waypost.storage.files import read_file

BATCHES: Final = (250, 3, 10, 300)  # entries of each commit: some fill a bundle and some do not

Heads = dict[int, bytes]  # the roots that left, by size


def entry(index: int) -> bytes:
    return b"entry %d" % index


def opened(store: Store, root: Path) -> Log:
    log = Log(notary(partial(read_file, root)))
    log.restore(store)
    log.may_sign = True
    return log


def append(store: Store, log: Log, number: int, left: Heads) -> None:
    """One commit; `left` gets the head once the store has said that it is durable."""
    for index in range(log.size, log.size + number):
        log.add(entry(index))
    (commit,) = log.take_effects(WALL_MS, 0.0)
    assert isinstance(commit, Commit)
    store.commit([commit])
    for effect in commit.then:
        assert isinstance(effect, Apply)
        log.applied(effect.change)
    assert log.head is not None
    left[log.size] = log.head.root


def live(disk: Disk, batches: tuple[int, ...], left: Heads) -> bool:
    """Append until it is over or the power fails; whether it was over."""
    store: Store | None = None
    try:
        store = Store.open(disk.root, connect=Connection, sync=disk.sync)
        log = opened(store, disk.root)
        require(log, left)
        for number in batches:
            append(store, log, number, left)
    except StoreError:
        if not disk.off:
            raise
        return False
    finally:
        disk.off = True
        if store is not None:
            store.close()
        disk.mend()
    return True


def require(log: Log, left: Heads) -> None:
    """Nothing that left is lost or contradicted, and what is there is what was entered."""
    assert log.size >= max(left, default=0)
    assert log.entries(0, log.size) == [entry(index) for index in range(log.size)]
    for size, root in left.items():
        assert log.tree.root(size) == root, f"a second head of size {size}"


@pytest.mark.parametrize("share", [0.0, *(pytest.param(share, marks=pytest.mark.long) for share in (0.5, 1.0))])
def test_wherever_the_power_fails_no_head_that_left_is_lost_and_none_has_a_second(tmp_path: Path, share: float) -> None:
    step, over = 0, False
    while not over:
        root, left = tmp_path.resolve() / f"{step}", dict[int, bytes]()
        root.mkdir()
        with closing(Layer(Disk(root, Random(step)))) as layer:
            layer.disk.until_cut = step
            over = live(layer.disk, BATCHES, left)
            layer.disk = layer.disk.cut(root.with_name(f"{step} after"), share)
            assert live(layer.disk, (7, 256), left), f"cut at step {step}"
            layer.disk = layer.disk.cut(root.with_name(f"{step} last"), share)
            assert live(layer.disk, (), left)
        step += 1
    assert step > 60


@pytest.mark.storm(3, 300)
def test_storms_of_power_cuts_lose_no_head_and_fork_none(tmp_path: Path, seed: int) -> None:
    rng, left = Random(seed), dict[int, bytes]()
    root = tmp_path.resolve() / "0"
    root.mkdir()
    with closing(Layer(Disk(root, rng))) as layer:
        for life in range(1, 15):
            layer.disk.until_cut = rng.randrange(150)
            live(layer.disk, tuple(rng.choice((1, 5, 255, 256, 400)) for _ in range(rng.randint(1, 8))), left)
            if rng.random() < 0.7:
                layer.disk = layer.disk.cut(tmp_path.resolve() / f"{life}", rng.choice((0.0, 0.5, 1.0)))
        assert live(layer.disk, (), left)
    assert left


def test_on_a_disk_that_lies_heads_are_lost(tmp_path: Path) -> None:
    lost = 0
    for seed in range(10):
        left = dict[int, bytes]()
        root = tmp_path.resolve() / f"{seed}"
        root.mkdir()
        with closing(Layer(Disk(root, Random(seed), lying=True))) as layer:
            layer.disk.until_cut = 90 + 5 * seed
            live(layer.disk, BATCHES, left)
            layer.disk = layer.disk.cut(root.with_name(f"{seed} after"), 0.3)
            try:
                live(layer.disk, (), left)
            except (AssertionError, StoreError):
                lost += 1
    assert lost > 5


def test_of_two_logs_on_one_database_the_second_is_stopped_and_leaves_nothing(tmp_path: Path) -> None:
    left = dict[int, bytes]()
    with closing(Store.open(tmp_path, durable=False)) as store:
        first, second = opened(store, tmp_path), opened(store, tmp_path)
        append(store, first, 200, left)
        with pytest.raises(StoreError, match="ledger_node is not as this node left it"):
            append(store, second, 300, left)
    assert list(left) == [200], "no head of it left"
    assert not (tmp_path / "tiles").exists(), "not even a file"
    with closing(Store.open(tmp_path, durable=False)) as store:
        require(opened(store, tmp_path), left)


def test_files_of_a_batch_that_failed_are_no_part_of_the_log(tmp_path: Path) -> None:
    left = dict[int, bytes]()
    with closing(Store.open(tmp_path, durable=False)) as store:
        log = opened(store, tmp_path)
        append(store, log, 200, left)
        for index in range(300):
            log.add(b"never entered %d" % index)
        (commit,) = log.take_effects(WALL_MS, 0.0)
        assert isinstance(commit, Commit)
        store.commit([Commit(commit.files)])
    assert (tmp_path / "tiles/log/tile/entries/000").exists()
    with closing(Store.open(tmp_path, durable=False)) as store:
        log = opened(store, tmp_path)
        require(log, left)
        append(store, log, 300, left)
    with closing(Store.open(tmp_path, durable=False)) as store:
        require(opened(store, tmp_path), left)


def test_a_file_that_cannot_be_read_is_said_in_a_sentence(tmp_path: Path) -> None:
    with contextlib.closing(Store.open(tmp_path, durable=False)) as store:
        append(store, opened(store, tmp_path), 300, {})
        tile = tmp_path / "tiles/log/tile/0/000"
        tile.unlink()
        with pytest.raises(StoreError, match="tiles/log/tile/0/000 is missing"):
            opened(store, tmp_path)
        tile.mkdir()
        with pytest.raises(StoreError, match="cannot read"):
            opened(store, tmp_path)
    for name in ("../outside", "waypost.db", "/etc/passwd", ""):
        with pytest.raises(ValueError, match="no name"):
            read_file(tmp_path, name)
