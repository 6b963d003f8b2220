"""The logs of a node in its backup: its own, and its copies of others."""

from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from keeping import notary
from test_backup import FEED_OF, NOW, change, contents, no_sync, saved
from test_log_power_cut import append, opened, require

from waypost.codec import u16, u64
from waypost.engine import Commit, Put
from waypost.errors import StoreError
from waypost.ledger import index, mirror, peers, pieces, refused, rounds, witness
from waypost.ledger.archive import Archive
from waypost.ledger.checkpoint import Checkpoint, sign_head
from waypost.ledger.log import ADOPTED, DAY, HEAD, NODE, TAIL
from waypost.ledger.opening import RESTORED
from waypost.record.feed import FEED_ID, META
from waypost.storage import Store
from waypost.storage.backup import back_up
from waypost.storage.files import read_file
from waypost.storage.restoring import restore
from waypost.storage.verifying import verify

DIGEST = sha256(b"waypost/berta").digest()
COPIED = f"tiles/mirror/{DIGEST.hex()}"


def filled(directory: Path, size: int = 700, copied: int = 600) -> dict[int, bytes]:
    """A node's own log, and its copy of berta's; the heads that left."""
    left: dict[int, bytes] = {}
    with closing(Store.open(directory, durable=False)) as store:
        store.commit([Commit(puts=(Put(META, FEED_ID, FEED_OF), change(1)))])
        append(store, opened(store, directory), size, left)
        archive = Archive(COPIED, mirror.TABLE, DIGEST, partial(read_file, directory))
        files, puts = archive.extend([b"hers %d" % number for number in range(copied)])
        berta = notary(partial(read_file, directory), "berta")
        head = sign_head(Checkpoint(berta.origin, copied, archive.tree.root()), berta.key, berta.sign)
        more = (
            Put(mirror.TABLE, DIGEST + b"/origin", b"waypost/berta"),
            Put(mirror.TABLE, DIGEST + b"/head", head.note.encode()),
        )
        store.commit([Commit(files, (*puts, *more))])
    return left


def backed_up(tmp_path: Path) -> Path:
    saved(tmp_path / "state", tmp_path / "file")
    return tmp_path / "file"


def problems(tmp_path: Path) -> tuple[str, ...]:
    return verify(backed_up(tmp_path), wall_ms=NOW).problems


def test_what_the_logs_have_is_in_the_backup_and_in_what_is_made_of_it(tmp_path: Path) -> None:
    left = filled(tmp_path / "state")
    file = backed_up(tmp_path)
    tiles = {name for name in contents(file) if name.startswith("tiles/")}
    own = {f"tiles/log/tile/{level}/{number:03}" for level in ("0", "entries") for number in range(2)}
    assert tiles == own | {f"{COPIED}/tile/{level}/{number:03}" for level in ("0", "entries") for number in range(2)}
    assert verify(file, wall_ms=NOW).problems == ()
    restore(file, tmp_path / "new", rng=Random(1), sync=no_sync)
    with closing(Store.open(tmp_path / "new", durable=False)) as store:
        log = opened(store, tmp_path / "new")
        require(log, left)
        append(store, log, 300, left)
        copy = Archive(COPIED, mirror.TABLE, DIGEST, partial(read_file, tmp_path / "new"))
        copy.restore(store)
        assert copy.entries(0, 600) == [b"hers %d" % number for number in range(600)]


def test_what_is_made_of_a_backup_asks_before_it_signs(tmp_path: Path) -> None:
    filled(tmp_path / "state")
    restore(backed_up(tmp_path), tmp_path / "new", rng=Random(1), sync=no_sync)
    with closing(Store.open(tmp_path / "new", durable=False)) as store:
        assert store.get(NODE, RESTORED) is not None


def test_files_that_the_database_does_not_speak_of_are_left_out(tmp_path: Path) -> None:
    filled(tmp_path / "state")
    for name in ("tiles/log/tile/entries/002", "tiles/log/tile/0/.003.new", "tiles/other"):
        (tmp_path / "state" / name).write_bytes(b"of a commit that failed")
    assert problems(tmp_path) == ()
    names = contents(tmp_path / "file")
    assert len([name for name in names if name.startswith("tiles/")]) == 8


def test_what_a_node_enters_while_it_is_backed_up_is_not_torn(tmp_path: Path) -> None:
    left = filled(tmp_path / "state")
    with closing(Store.open(tmp_path / "state", durable=False)) as store:
        log = opened(store, tmp_path / "state")
        wide = tuple(Put("gossip", b"%d" % number, bytes(100_000)) for number in range(60))
        store.commit([Commit(puts=wide)])

        def write(_: float) -> None:
            append(store, log, 150, left)

        back_up(tmp_path / "state", tmp_path / "file", wall_ms=NOW, sync=no_sync, rest=write)
        assert log.size > 700
    found = [each for each in verify(tmp_path / "file", wall_ms=NOW).problems if not each.startswith("gossip")]
    assert found == []


def test_a_file_that_is_missing_is_said_and_no_backup_is_made(tmp_path: Path) -> None:
    filled(tmp_path / "state")
    (tmp_path / "state/tiles/log/tile/0/001").unlink()
    with pytest.raises(StoreError, match="tiles/log/tile/0/001 is missing"):
        backed_up(tmp_path)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("folder", ["tiles/log", COPIED])
@pytest.mark.parametrize(("name", "place"), [("0/000", 0), ("0/001", -1), ("entries/000", 40), ("entries/001", -1)])
def test_one_octet_of_one_file_is_a_problem(tmp_path: Path, folder: str, name: str, place: int) -> None:
    filled(tmp_path / "state")
    path = tmp_path / "state" / folder / "tile" / name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    found = problems(tmp_path)
    assert len(found) == 1
    assert folder in found[0]


def row(tmp_path: Path, put: Put) -> tuple[str, ...]:
    filled(tmp_path / "state")
    with closing(Store.open(tmp_path / "state", durable=False)) as store:
        store.commit([Commit(puts=(put,))])
    return problems(tmp_path)


@pytest.mark.parametrize(
    ("put", "problem"),
    [
        (Put(NODE, HEAD, None), "head of size 0"),
        (Put(NODE, HEAD, b"no note"), "head"),
        (Put(TAIL, b"\x00\x00", None), "entry 512 of tiles/log is missing"),
        (Put(TAIL, b"\x00\x00", b"another"), "entry 512 of tiles/log is missing"),
        (Put(TAIL, b"\x00\x00", u16(188) + bytes(2 * 188)), "are not those of its head"),
        (Put(TAIL, b"size", u64(699)), "are not those of its head"),
        (Put(mirror.TABLE, DIGEST + b"\x00\x00", b"another"), "tiles/mirror"),
        (Put(mirror.TABLE, DIGEST + b"/head", b"another"), "tiles/mirror"),
        (Put(index.TABLE, b"names\0lamp\0" + u64(1), b"short"), index.TABLE),
        (Put(peers.TABLE, b"berta", b"no keys"), peers.TABLE),
        (Put(witness.TABLE, b"witnessed/waypost/berta", b"no note"), witness.TABLE),
        (Put(witness.TABLE, b"linked/waypost/berta", b"1"), witness.TABLE),
        (Put(refused.TABLE, u64(1), b"no note"), refused.TABLE),
        (Put(rounds.TABLE, rounds.ROW, b"no note"), NODE),
        (Put(NODE, DAY, b"no day"), NODE),
        (Put(NODE, b"cursor", b"1"), NODE),
        (Put(NODE, ADOPTED + b"x", b"1"), NODE),
        (Put(pieces.TABLE, pieces.PIECE + bytes(32), b"{}\nwhat"), pieces.TABLE),
    ],
)
def test_a_row_that_is_not_what_it_should_be_is_a_problem(tmp_path: Path, put: Put, problem: str) -> None:
    found = row(tmp_path, put)
    assert found
    assert any(problem in each for each in found)
