"""Files of a commit: whole, durable, and inside the state directory."""

import os
from pathlib import Path

import pytest

from waypost.engine import PutFile
from waypost.storage.files import Files


def no_sync(descriptor: int) -> None:
    pass


def test_a_file_is_written_with_its_directories(tmp_path: Path) -> None:
    Files(tmp_path, os.fsync).write([PutFile("tile/0/x001/067.p/10", b"tile"), PutFile("checkpoint", b"")])
    assert (tmp_path / "tile/0/x001/067.p/10").read_bytes() == b"tile"
    assert (tmp_path / "checkpoint").read_bytes() == b""


def test_of_several_writes_to_one_name_the_last_stays(tmp_path: Path) -> None:
    files = Files(tmp_path, no_sync)
    files.write([PutFile("checkpoint", b"a long first one"), PutFile("checkpoint", b"second")])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    files.write([PutFile("checkpoint", b"third")])
    assert (tmp_path / "checkpoint").read_bytes() == b"third"


def test_a_name_never_stands_for_less_than_the_whole_and_synced_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b"old")
    seen: list[tuple[bool, bytes]] = []

    def sync(descriptor: int) -> None:
        is_directory = Path(os.readlink(f"/proc/self/fd/{descriptor}")) == tmp_path.resolve()
        seen.append((is_directory, (tmp_path / "checkpoint").read_bytes()))

    Files(tmp_path, sync).write([PutFile("checkpoint", b"new")])
    assert seen == [(False, b"old"), (True, b"new")]


def test_what_a_killed_process_left_half_written_is_overwritten(tmp_path: Path) -> None:
    def die(descriptor: int) -> None:
        raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        Files(tmp_path, die).write([PutFile("checkpoint", b"a long first one")])
    Files(tmp_path, no_sync).write([PutFile("checkpoint", b"second")])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"checkpoint": b"second"}


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "/etc/passwd", "..", "../out", "tiles/../../out", "tiles/..", "tiles//x", "tiles/", ".", "./x",
        ".hidden", "tiles/.x.new", "a\0b", "a\nb", "x\n", "tiles\\x", "schön", "waypost.db", "waypost.lock",
    ],
)  # fmt: skip
def test_a_name_that_leaves_the_directory_or_is_the_stores_own_is_refused(tmp_path: Path, name: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with pytest.raises(ValueError, match="no name for a file"):
        Files(state, no_sync).write([PutFile(name, b"data")])
    assert list(tmp_path.rglob("*")) == [state]
