"""A backup shows one moment of a node that goes on, and no octet of it changes unnoticed."""

import sqlite3
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from random import Random

import msgspec
import pytest
from cutting import Disk, Layer
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.engine import Commit, Put
from waypost.errors import ConfigError, ProofError, StoreError
from waypost.record import Change, Kind
from waypost.record.feed import FEED, FEED_ID, META
from waypost.storage import Store
from waypost.storage.archive import Manifest, Part, Source, unpack, write
from waypost.storage.backup import PAGES, back_up
from waypost.storage.keyring import Keyring
from waypost.storage.restoring import restore
from waypost.storage.schema import MIGRATIONS

NOW = 1_790_000_000_000
FEED_OF = bytes(range(16))


def no_sync(_: int) -> None:
    """The disk is not on trial here."""


def no_rest(_: float) -> None:
    """Nor is the time it takes."""


def change(seq: int, value: bytes = b"") -> Put:
    made = Change(seq, Kind.PUT, "rd", b"key", seq, value, NOW, b"")
    return Put(FEED, seq.to_bytes(8, "big"), made.encode())


def filled(directory: Path, rows: int = 10) -> Path:
    with closing(Store.open(directory, durable=False)) as store:
        store.commit([Commit(puts=(Put(META, FEED_ID, FEED_OF), *(change(seq) for seq in range(1, rows + 1))))])
    return directory


def saved(directory: Path, target: Path, **more: bool) -> Manifest:
    return back_up(directory, target, wall_ms=NOW, sync=no_sync, rest=no_rest, **more)


def contents(file: Path) -> dict[str, bytes]:
    found: dict[str, bytearray] = {}

    def place(name: str, _: int) -> Callable[[bytes], object]:
        return found.setdefault(name, bytearray()).extend

    unpack(file, place)
    return {name: bytes(data) for name, data in found.items()}


def test_what_was_restored_has_the_rows_that_were_backed_up(tmp_path: Path) -> None:
    manifest = saved(filled(tmp_path / "state"), tmp_path / "file")
    assert (manifest.format, manifest.schema, manifest.feed, manifest.seq) == (1, len(MIGRATIONS), FEED_OF.hex(), 10)
    assert manifest.made_ms == NOW
    assert manifest.network is None
    restore(tmp_path / "file", tmp_path / "other", rng=Random(1), sync=no_sync)
    with closing(Store.open(tmp_path / "state")) as one, closing(Store.open(tmp_path / "other")) as other:
        assert list(one.scan(FEED)) == list(other.scan(FEED)) != []


def test_a_node_that_writes_on_is_backed_up_as_it_was_at_one_moment(tmp_path: Path) -> None:
    """It commits between any two steps of the copy: both rows of a commit are in the backup, or none."""
    with closing(Store.open(tmp_path / "state", durable=False)) as store:
        many = tuple(Put("directory", b"%d" % number, bytes(5_000)) for number in range(3_000))
        store.commit([Commit(puts=(Put(META, b"last", b"0"), Put("directory", b"last", b"0"), change(1), *many))])
        steps = 0

        def write(_: float) -> None:
            nonlocal steps
            steps += 1
            puts = [Put(table, b"last", b"%d" % steps) for table in (META, "directory")]
            puts += [Put("directory", b"%d" % number, bytes(5_001)) for number in range(steps, 3_000, 97)]
            store.commit([Commit(puts=(*puts, change(1 + steps)))])

        manifest = back_up(tmp_path / "state", tmp_path / "file", wall_ms=NOW, sync=no_sync, rest=write)
        assert store.get(META, b"last") == b"%d" % steps
    assert steps > 3_000 * 5_000 // 8_192 // PAGES - 2
    assert manifest.seq == 1
    restore(tmp_path / "file", tmp_path / "other", rng=Random(1), sync=no_sync)
    with closing(Store.open(tmp_path / "other")) as store:
        assert (store.get(META, b"last"), store.get("directory", b"last")) == (b"0", b"0")
        assert {len(value) for key, value in store.scan("directory") if key != b"last"} == {5_000}


def test_a_backup_ends_however_much_another_thread_writes(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "state", durable=False)) as store:
        store.commit([Commit(puts=tuple(Put("directory", b"%d" % number, bytes(5_000)) for number in range(1_000)))])
        done, number = threading.Event(), 0

        def write() -> None:
            nonlocal number
            while not done.is_set():
                number += 1
                puts = (Put(META, b"last", b"%d" % number), Put("directory", b"last", b"%d" % number), change(number))
                store.commit([Commit(puts=puts)])

        thread = threading.Thread(target=write)
        thread.start()
        try:
            manifests = [saved(tmp_path / "state", tmp_path / f"{turn}") for turn in range(3)]
        finally:
            done.set()
            thread.join()
    assert manifests[0].seq <= manifests[1].seq <= manifests[2].seq <= number
    for turn, manifest in enumerate(manifests):
        restore(tmp_path / f"{turn}", tmp_path / f"{turn} restored", rng=Random(1), sync=no_sync)
        with closing(Store.open(tmp_path / f"{turn} restored")) as store:
            told = store.get(META, b"last")
            assert told == store.get("directory", b"last")
            assert [int.from_bytes(key, "big") for key, _ in store.scan(FEED)] == list(range(1, int(told or 0) + 1))
            assert manifest.seq == int(told or 0)


def test_a_backup_is_for_its_owner_and_is_a_tar_archive_with_its_sums(tmp_path: Path) -> None:
    Keyring.open(tmp_path / "state", NOW, sync=no_sync)
    (tmp_path / "state" / "policy.toml").write_text("[[allow]]\n")
    (tmp_path / "state" / "songs").write_text("not ours")
    saved(filled(tmp_path / "state"), tmp_path / "file.tar")
    assert stat.S_IMODE((tmp_path / "file.tar").stat().st_mode) == 0o600
    (tmp_path / "out").mkdir()
    for command in (("tar", "xf", str(tmp_path / "file.tar")), ("sha256sum", "--strict", "-c", "SHA256SUMS")):
        subprocess.run(command, cwd=tmp_path / "out", check=True, capture_output=True)
    listed = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    keys = {f"keys/{path.name}" for path in (tmp_path / "state" / "keys").iterdir()}
    assert listed == {"waypost.db", "policy.toml", "manifest.json", "SHA256SUMS", *keys} - {
        "keys/lock",
        "keys/seen.lock",
    }
    assert contents(tmp_path / "file.tar")["keys/node.pem"] == (tmp_path / "state/keys/node.pem").read_bytes()


def test_keys_may_be_left_out(tmp_path: Path) -> None:
    Keyring.open(tmp_path / "state", NOW, sync=no_sync)
    assert not saved(filled(tmp_path / "state"), tmp_path / "file", keys=False).keys
    assert [name for name in contents(tmp_path / "file") if name.startswith("keys")] == []
    private = (tmp_path / "state/keys/node.pem").read_bytes()
    assert private not in (tmp_path / "file").read_bytes()


def test_no_file_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="is there already"):
        saved(filled(tmp_path / "state"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "state"]


def test_what_is_no_state_directory_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no state directory"):
        saved(tmp_path, tmp_path / "file")
    with closing(sqlite3.connect(tmp_path / "waypost.db")) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(ConfigError, match="another program"):
        saved(tmp_path, tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["waypost.db"]


def test_a_damaged_database_makes_no_backup(tmp_path: Path) -> None:
    """Nor where the damage is in what the manifest needs nothing of."""
    with closing(Store.open(filled(tmp_path / "state"), durable=False)) as store:
        store.commit([Commit(puts=tuple(Put("directory", b"%d" % number, bytes(1_000)) for number in range(500)))])
    with (tmp_path / "state" / "waypost.db").open("r+b") as file:
        file.seek(file.seek(0, 2) - 2 * 8192)
        file.write(b"\xa5" * 8192)
    with pytest.raises(StoreError, match="damaged"):
        saved(tmp_path / "state", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


def test_a_node_that_was_killed_is_backed_up_with_what_is_in_its_log(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "state", durable=False)) as store:
        store.commit([Commit(puts=(Put(META, FEED_ID, FEED_OF), change(1)))])
        (tmp_path / "killed").mkdir()
        for name in ("waypost.db", "waypost.db-wal"):
            (tmp_path / "killed" / name).write_bytes((tmp_path / "state" / name).read_bytes())
    assert saved(tmp_path / "killed", tmp_path / "file").seq == 1


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sample")
    (place / "state").mkdir()
    (place / "state" / "config.toml").write_text("# an odd length")
    saved(filled(place / "state"), place / "file")
    return place / "file"


def refuse(damaged: bytes, folder: Path) -> None:
    (folder / "damaged").write_bytes(damaged)
    with pytest.raises(ProofError, match="damaged, or no backup"):
        contents(folder / "damaged")


@given(st.data())
def test_a_changed_octet_anywhere_is_noticed(sample: Path, data: st.DataObject) -> None:
    whole = sample.read_bytes()
    assert contents(sample).keys() == {"waypost.db", "config.toml"}
    # The database is most of it; the rest is where there are many kinds of octets.
    place = data.draw(st.one_of(st.integers(0, len(whole) - 1), st.integers(len(whole) - 5_000, len(whole) - 1)))
    other = data.draw(st.integers(1, 255))
    refuse(whole[:place] + bytes([whole[place] ^ other]) + whole[place + 1 :], sample.parent)


def test_octets_of_headers_padding_and_sums_count(sample: Path) -> None:
    whole = sample.read_bytes()
    for place in (*range(0, 512, 3), *range(len(whole) - 5_000, len(whole), 7)):
        refuse(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], sample.parent)


@given(st.data())
def test_what_is_missing_or_too_much_is_noticed(sample: Path, data: st.DataObject) -> None:
    whole = sample.read_bytes()
    refuse(whole[: data.draw(st.integers(0, len(whole) - 1))], sample.parent)
    refuse(whole + data.draw(st.binary(min_size=1)), sample.parent)


@given(st.binary(max_size=2_000))
def test_any_bytes_are_a_backup_or_refused(sample: Path, data: bytes) -> None:
    refuse(data, sample.parent)


def test_a_name_that_leads_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    for name in ("../out", "/out", "a/../../out", ".hidden"):
        info = tarfile.TarInfo(name)
        info.size, info.mode = 0, 0o600
        refuse(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240), tmp_path)


def test_a_header_that_says_more_than_a_name_and_a_size_is_refused(sample: Path) -> None:
    whole = sample.read_bytes()
    for name, value in (("mode", 0o644), ("uid", 1), ("mtime", 1), ("uname", "root"), ("type", tarfile.SYMTYPE)):
        info = tarfile.TarInfo.frombuf(whole[:512], "utf-8", "strict")
        setattr(info, name, value)
        refuse(info.tobuf(tarfile.GNU_FORMAT) + whole[512:], sample.parent)


def test_a_manifest_that_does_not_name_what_is_there_is_refused(tmp_path: Path) -> None:
    def lying(parts: tuple[Part, ...]) -> Manifest:
        return Manifest(1, "0.1", NOW, 2, None, None, 0, False, parts[1:])

    data = b"data"
    write(tmp_path / "file", [Source(name, lambda: BytesIO(data), 4) for name in ("a", "b")], lying, no_sync)
    refuse((tmp_path / "file").read_bytes(), tmp_path)


def archived(files: dict[str, bytes]) -> bytes:
    """With their right sums, whatever they are."""
    sums = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    made = b""
    for name, data in (*files.items(), ("SHA256SUMS", sums.encode())):
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o600
        made += info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
    return made + bytes(1024)


MANIFESTS = st.one_of(
    st.binary(),
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)).map(msgspec.json.encode),
    st.fixed_dictionaries(
        {},
        optional={name: st.none() | st.integers() | st.text() | st.just([]) for name in Manifest.__struct_fields__},
    ).map(msgspec.json.encode),
)


@given(MANIFESTS)
@example(b"[" * 100_000)
@example(b'{"more":' * 100_000)
def test_a_manifest_that_is_none_is_refused_even_with_its_right_sum(sample: Path, manifest: bytes) -> None:
    refuse(archived({"file": b"data", "manifest.json": manifest}), sample.parent)


def test_a_file_that_comes_twice_or_after_the_manifest_is_refused(sample: Path) -> None:
    made = msgspec.json.encode(Manifest(1, "0.1", NOW, 2, None, None, 0, False, (Part("a", 0, sha256().hexdigest()),)))
    refuse(archived({"manifest.json": made, "a": b""}), sample.parent)
    twice = archived({"a": b"", "manifest.json": made})
    refuse(twice[:512] + twice, sample.parent)
    refuse(archived({"a": b""}), sample.parent)
    (sample.parent / "good").write_bytes(twice)
    assert contents(sample.parent / "good") == {"a": b""}


def test_a_format_of_tomorrow_is_left_to_tomorrow(tmp_path: Path) -> None:
    def newer(parts: tuple[Part, ...]) -> Manifest:
        return Manifest(2, "9.0", NOW, 2, None, None, 0, False, parts)

    write(tmp_path / "file", [], newer, no_sync)
    with pytest.raises(ConfigError, match="format 2"):
        contents(tmp_path / "file")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_backup_has_its_name_when_it_is_whole_wherever_the_power_fails(tmp_path: Path, share: float) -> None:
    (tmp_path / "state").mkdir()
    filled(tmp_path / "state", rows=1)
    step, done = 0, False
    while not done:
        root = tmp_path.resolve() / f"{step}"
        root.mkdir()
        with closing(Layer(Disk(root, Random(step)))) as layer:
            layer.disk.until_cut = step
            try:
                back_up(tmp_path / "state", root / "file", wall_ms=NOW, sync=layer.disk.sync, rest=no_rest)
                done = True
            except OSError:
                assert layer.disk.off
            layer.disk.mend()
            layer.disk = layer.disk.cut(root.with_name(f"{step} after"), share)
            file = layer.disk.root / "file"
            assert file.exists() or not done, f"cut at step {step}"
            if file.exists():
                assert contents(file), f"cut at step {step}"
            file.unlink(missing_ok=True)
            back_up(tmp_path / "state", file, wall_ms=NOW, sync=layer.disk.sync, rest=no_rest)
            assert sorted(path.name for path in layer.disk.root.iterdir()) == ["file"]
        step += 1
    assert step > 3
