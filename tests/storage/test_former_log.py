"""A node that goes by another origin begins another log, and keeps the one it had."""

from contextlib import closing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from keeping import WALL_MS, notary
from test_log_power_cut import append, entry, opened

from waypost.engine import Commit, Put
from waypost.errors import ConfigError, StoreError
from waypost.identity.keys import verifies
from waypost.ledger import index, mirror
from waypost.ledger.archive import Archive
from waypost.ledger.checkpoint import read_head
from waypost.ledger.log import ADOPTED, DAY, HEAD, NODE, Log
from waypost.ledger.note import Algorithm, Key
from waypost.storage import Store
from waypost.storage.files import read_file
from waypost.storage.former import ORIGIN, set_aside
from waypost.storage.fsck import fsck
from waypost.storage.keyring import Keyring

OLD = "waypost/anna"
DIGEST = sha256(OLD.encode()).digest()
MORE = (
    Put(NODE, b"cursor", bytes(8)),
    Put(NODE, b"published", b"a head"),
    Put(NODE, DAY, b"a day"),
    Put(NODE, ADOPTED + b"key", bytes(8)),
    Put(NODE, b"else", b"stays"),
    Put(index.TABLE, b"key", bytes(16)),
)


def filled(directory: Path, size: int) -> bytes:
    """The head of a log of that size."""
    with closing(Store.open(directory, durable=False)) as store:
        append(store, opened(store, directory), size, {})
        store.commit([Commit(puts=MORE)])
        return store.get(NODE, HEAD) or b""


def berta(store: Store, directory: Path) -> Log:
    log = Log(notary(partial(read_file, directory), "berta"))
    log.restore(store)
    log.may_sign = True
    return log


@pytest.mark.parametrize("size", [3, 256, 700])
def test_the_former_log_is_a_copy_with_all_its_entries_and_the_new_one_is_empty(tmp_path: Path, size: int) -> None:
    head = filled(tmp_path, size)
    with closing(Store.open(tmp_path, durable=False)) as store:
        assert set_aside(store, tmp_path, "waypost/berta") == OLD
        log = berta(store, tmp_path)
        assert (log.size, log.day) == (0, None)
        append(store, log, 900, {})
    with closing(Store.open(tmp_path, durable=False)) as store:
        assert set_aside(store, tmp_path, "waypost/berta") is None
        assert berta(store, tmp_path).entries(0, 900) == [entry(number) for number in range(900)]
        copy = Archive(f"tiles/mirror/{DIGEST.hex()}", mirror.TABLE, DIGEST, partial(read_file, tmp_path))
        copy.restore(store)
        assert copy.entries(0, copy.size) == [entry(number) for number in range(size)]
        assert store.get(mirror.TABLE, DIGEST + b"/head") == head
        assert store.get(mirror.TABLE, DIGEST + ORIGIN) == OLD.encode()
        assert copy.tree.root() == read_head(head).root
        left = {key for key, _ in store.scan(NODE)}
        assert left == {HEAD, b"else"}
        assert list(store.scan(index.TABLE)) == []


def test_a_log_of_that_origin_stays_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path, 700)
    with closing(Store.open(tmp_path, durable=False)) as store:
        before = list(store.scan(NODE))
        assert set_aside(store, tmp_path, OLD) is None
        assert list(store.scan(NODE)) == before
    assert not (tmp_path / "tiles/mirror").exists()


def test_without_a_log_there_is_nothing_to_set_aside(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path, durable=False)) as store:
        assert set_aside(store, tmp_path, OLD) is None


def test_no_log_is_begun_twice_under_one_origin(tmp_path: Path) -> None:
    """It would contradict the heads that it signed before."""
    filled(tmp_path, 3)
    with closing(Store.open(tmp_path, durable=False)) as store:
        set_aside(store, tmp_path, "waypost/berta")
        append(store, berta(store, tmp_path), 3, {})
        with pytest.raises(ConfigError, match="there is a log of waypost/anna already"):
            set_aside(store, tmp_path, OLD)
        assert berta(store, tmp_path).size == 3


def test_a_start_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    filled(tmp_path, 700)
    for name in ("0/000", "entries/001"):
        path = tmp_path / "tiles/mirror" / DIGEST.hex() / "tile" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of another time")
    with closing(Store.open(tmp_path, durable=False)) as store:
        set_aside(store, tmp_path, "waypost/berta")
        copy = Archive(f"tiles/mirror/{DIGEST.hex()}", mirror.TABLE, DIGEST, partial(read_file, tmp_path))
        copy.restore(store)
        assert copy.entries(0, 700) == [entry(number) for number in range(700)]


@pytest.mark.parametrize("broken", ["head", "tile"])
def test_what_is_broken_is_not_set_aside(tmp_path: Path, broken: str) -> None:
    filled(tmp_path, 700)
    if broken == "tile":
        (tmp_path / "tiles/log/tile/0/001").unlink()
    with closing(Store.open(tmp_path, durable=False)) as store:
        if broken == "head":
            store.commit([Commit(puts=(Put(NODE, HEAD, b"no note"),))])
        before = list(store.scan(NODE))
        with pytest.raises(StoreError):
            set_aside(store, tmp_path, "waypost/berta")
        assert list(store.scan(NODE)) == before


def test_it_is_looked_at_with_the_key_of_the_node(tmp_path: Path) -> None:
    keyring = Keyring.open(tmp_path, WALL_MS)
    public = keyring.log.public_key().public_bytes_raw()
    key = Key(OLD, Algorithm.ED25519, public)
    own = replace(notary(partial(read_file, tmp_path)), key=key, sign=keyring.log.sign, verify=verifies)
    with closing(Store.open(tmp_path, durable=False)) as store:
        log = Log(own)
        log.restore(store)
        log.may_sign = True
        append(store, log, 700, {})
        set_aside(store, tmp_path, "waypost/berta")
    (looked,) = fsck(tmp_path)
    assert (looked.origin, looked.is_own, looked.entries, looked.faults) == (OLD, False, 700, [])
    tile = tmp_path / "tiles/mirror" / DIGEST.hex() / "tile/0/001"
    tile.write_bytes(bytes(8192))
    (looked,) = fsck(tmp_path)
    assert looked.faults
