"""A state directory gets another authority's keys as a whole, or keeps what it has."""

import os
import stat
from pathlib import Path

import pytest

from waypost.errors import StateError
from waypost.storage.joining import replace_keys, reserved
from waypost.storage.keyring import Keyring
from waypost.storage.store import Store

WALL_MS = 1_800_000_000_000
FILES = {"tls.pem": b"key", "ca.crt": b"root"}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_directory_gets_the_keys_that_every_node_has(tmp_path: Path) -> None:
    home = tmp_path / "state"
    with reserved(home, replace=False):
        replace_keys(home, FILES)
    found = content(home / "keys")
    assert sorted(found) == ["ca.crt", "cosigner.pem", "log.pem", "node.pem", "tls.pem"]
    assert {name: found[name] for name in FILES} == FILES
    assert stat.S_IMODE((home / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home / "keys").iterdir()} == {0o600}
    assert not (home / "keys.new").exists()


def test_keys_that_are_there_stay_unless_told_otherwise(tmp_path: Path) -> None:
    Keyring.open(tmp_path, WALL_MS)
    with pytest.raises(StateError, match="has keys"), reserved(tmp_path, replace=False):
        pass


def test_what_is_replaced_is_kept_and_the_nodes_own_keys_and_secrets_go_on(tmp_path: Path) -> None:
    Keyring.open(tmp_path, WALL_MS)
    (tmp_path / "keys" / "secrets.toml").write_bytes(b"")
    before = content(tmp_path / "keys")
    with reserved(tmp_path, replace=True):
        replace_keys(tmp_path, FILES)
    assert content(tmp_path / "keys.before") == before
    after = content(tmp_path / "keys")
    own = ("node.pem", "log.pem", "cosigner.pem", "secrets.toml")
    assert {name: after[name] for name in own} == {name: before[name] for name in own}
    assert "ca.pem" not in after
    with pytest.raises(StateError, match="earlier time"), reserved(tmp_path, replace=True):
        pass


def test_a_disk_that_fails_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    Keyring.open(tmp_path, WALL_MS)
    before = content(tmp_path / "keys")
    for failing in range(6):
        synced = 0

        def sync(_: int, failing: int = failing) -> None:
            nonlocal synced
            synced += 1
            if synced > failing:
                raise OSError("no space")

        with pytest.raises(OSError, match="no space"), reserved(tmp_path, replace=True):
            replace_keys(tmp_path, FILES, sync)
        assert content(tmp_path / "keys") == before
        assert not (tmp_path / "keys.before").exists()
    with reserved(tmp_path, replace=True):  # what is left of those attempts does not matter
        replace_keys(tmp_path, FILES)
    assert content(tmp_path / "keys").keys() >= FILES.keys()


def test_keys_that_cannot_take_their_place_leave_it_to_the_old_ones(tmp_path: Path) -> None:
    Keyring.open(tmp_path, WALL_MS)
    before = content(tmp_path / "keys")

    def sync(file: int) -> None:
        """Once all is written somebody takes it away."""
        if stat.S_ISDIR(os.fstat(file).st_mode) and (tmp_path / "keys.new" / "ca.crt").exists():
            (tmp_path / "keys.new").rename(tmp_path / "elsewhere")

    with pytest.raises(OSError, match=r"keys\.new"), reserved(tmp_path, replace=True):
        replace_keys(tmp_path, FILES, sync)
    assert content(tmp_path / "keys") == before
    assert not (tmp_path / "keys.before").exists()


def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(StateError, match="a node runs"), reserved(tmp_path, replace=True):
        pass
    store.close()
    with reserved(tmp_path, replace=True), pytest.raises(Exception, match="in use"):
        Store.open(tmp_path)
