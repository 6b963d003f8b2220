"""Files of a commit: whole, durable, and inside the state directory."""

import os
from pathlib import Path

import pytest

from waypost.engine import PutFile
from waypost.storage.files import OPEN_MAX, Files


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


def test_all_files_are_written_before_the_first_is_synced_and_synced_before_the_first_has_its_name(
    tmp_path: Path,
) -> None:
    """Each directory is synced once, after the last of its files has its name."""
    seen: list[tuple[str, list[str]]] = []
    Files(tmp_path, no_sync).write([PutFile("a/0", b""), PutFile("b/0", b"")])

    def sync(descriptor: int) -> None:
        place = Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path.resolve())
        seen.append((str(place), [f"{path.parent.name}/{path.name}" for path in sorted(tmp_path.glob("?/*[1-9]*"))]))

    Files(tmp_path, sync).write([PutFile("a/1", b"1"), PutFile("b/2", b"2"), PutFile("a/3", b"3")])
    new, named = ["a/.1.new", "a/.3.new", "b/.2.new"], ["a/1", "a/3", "b/2"]
    files = [each for each in seen if each[0] not in (".", "a", "b")]
    assert files == [("a/.1.new", new), ("b/.2.new", new), ("a/.3.new", new)]
    assert seen[-2:] == [("a", named), ("b", named)]


def test_a_new_directory_has_its_name_durably_before_a_file_in_it_has(tmp_path: Path) -> None:
    root, seen = tmp_path.resolve(), list[tuple[str, bool]]()

    def sync(descriptor: int) -> None:
        place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if place.is_relative_to(root):
            seen.append((str(place.relative_to(root)), (root / "a/b/1").exists()))

    Files(root, sync).write([PutFile("a/b/1", b"1")])
    assert list(dict.fromkeys(seen)) == [(".", False), ("a", False), ("a/b/.1.new", False), ("a/b", True)]


def test_many_files_are_not_open_at_once(tmp_path: Path) -> None:
    most = 0

    def are_open() -> int:
        return len(os.listdir("/proc/self/fd"))

    def sync(descriptor: int) -> None:
        nonlocal most
        most = max(most, are_open())

    before = are_open()
    Files(tmp_path, sync).write(PutFile(f"{number}", b"%d" % number) for number in range(OPEN_MAX + 10))
    assert most == before + OPEN_MAX
    assert are_open() == before
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"{number}": b"%d" % number for number in range(OPEN_MAX + 10)
    }


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
