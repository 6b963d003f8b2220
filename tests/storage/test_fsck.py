"""Logs in a state directory: whole as their archives wrote them, and each damage is found and named."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest
from people import FOUNDING, NETWORK, WALL_MS, key_of, public_of

from waypost.codec import u16, u64
from waypost.drip.book import row_key
from waypost.engine import Commit, Put
from waypost.errors import ConfigError
from waypost.ledger import index
from waypost.ledger.archive import Archive
from waypost.ledger.checkpoint import Checkpoint, Head, cosigner_of, sign_head
from waypost.ledger.days import Day, Told, count_kinds
from waypost.ledger.entry import Kind, commit, encode
from waypost.ledger.log import FOLDER, HEAD, NODE, TAIL
from waypost.ledger.mirror import TABLE as MIRROR
from waypost.ledger.note import Algorithm, Key, Note, sign
from waypost.ledger.peers import FIRST_LINE
from waypost.ledger.peers import TABLE as PEER
from waypost.ledger.statement import Statement
from waypost.ledger.tiles import encode_bundle
from waypost.storage.files import read_file
from waypost.storage.fsck import Looked, fsck
from waypost.storage.keyring import Keyring
from waypost.storage.store import DATABASE, Store

ORIGIN: Final = "waypost/anna"
OTHER: Final = "waypost/berta"
DIGEST: Final = sha256(OTHER.encode()).digest()
COMMIT: Final = commit(NETWORK, FOUNDING.encode())
PLACE: Final = index.of_commit(row_key(FOUNDING.record.place), FOUNDING.record.version)
SAID: Final = Statement(WALL_MS, {"says": "so"}, "example", "", public_of("heir")).signed(key_of("heir").sign).encode()
STATED: Final = index.of_statement(SAID)
OWN: Final = [b"entry %d" % number for number in range(597)] + [SAID, SAID, COMMIT]
FORGED: Final = u16(88) + encode_bundle([b"forged", *OWN[513:]])  # the row of what came after the last full bundle
OTHERS: Final = [b"other %d" % number for number in range(300)]


def write(store: Store, archive: Archive, entries: list[bytes], *puts: Put) -> None:
    files, rows = archive.extend(entries)
    store.commit([Commit(files, (*rows, *puts))])
    archive.settle(archive.size)


def head_of(archive: Archive, key: Key, signer: str | None = None) -> Head:
    checkpoint = Checkpoint(key.name, archive.size, archive.tree.root())
    return sign_head(checkpoint, key, key_of(signer or key.name).sign)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A log of 600 entries, at the end a statement twice and a commit; and a copy of 300 entries of another log."""
    keyring = Keyring.open(tmp_path, WALL_MS)
    own = Key(ORIGIN, Algorithm.ED25519, keyring.log.public_key().public_bytes_raw())
    other = Key(OTHER, Algorithm.ED25519, key_of(OTHER).public_key().public_bytes_raw())
    cosigner = Key(cosigner_of(OTHER), Algorithm.COSIGNATURE, key_of("cosigner").public_key().public_bytes_raw())
    text = f"{FIRST_LINE}\nberta\n{other.encode()}\n{cosigner.encode()}\n"
    note = Note(text, (sign(text, Key("berta", Algorithm.ED25519, other.public), key_of(OTHER).sign),))
    with closing(Store.open(tmp_path)) as store:
        archive = Archive(FOLDER, TAIL, b"", lambda name: read_file(tmp_path, name))
        indexed = [Put(index.TABLE, key, u64(at) + u64(7)) for key, at in ((PLACE, 599), (STATED, 598))]
        write(store, archive, OWN, *indexed)
        head = sign_head(Checkpoint(ORIGIN, archive.size, archive.tree.root()), own, keyring.log.sign)
        mirror = Archive(f"tiles/mirror/{DIGEST.hex()}", MIRROR, DIGEST, lambda name: read_file(tmp_path, name))
        write(store, mirror, OTHERS)
        theirs = head_of(mirror, other)
        write(store, mirror, [b"not yet under a head"] * 300)
        rows = (
            Put(NODE, HEAD, head.note.encode()),
            Put(MIRROR, DIGEST + b"/origin", OTHER.encode()),
            Put(MIRROR, DIGEST + b"/head", theirs.note.encode()),
            Put(PEER, b"berta", note.encode()),
        )
        store.commit([Commit(puts=rows)])
    return tmp_path


def looked(state: Path) -> tuple[Looked, Looked]:
    own, mirror = fsck(state)
    return own, mirror


def test_whole_logs_are_found_whole_and_read_to_the_last_entry(state: Path) -> None:
    own, mirror = looked(state)
    assert (own.origin, own.is_own, own.size, own.entries, own.faults) == (ORIGIN, True, 600, 600, [])
    assert (mirror.origin, mirror.is_own, mirror.size, mirror.entries, mirror.faults) == (OTHER, False, 300, 300, [])
    assert own.tiles == 4


def test_a_node_that_wrote_nothing_yet_has_no_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        list(fsck(tmp_path))
    Keyring.open(tmp_path, WALL_MS)
    with pytest.raises(ConfigError):
        list(fsck(tmp_path))
    Store.open(tmp_path).close()
    assert list(fsck(tmp_path)) == []


def test_a_running_store_is_looked_at_as_it_is(state: Path) -> None:
    with closing(Store.open(state)) as store:
        store.commit([Commit(puts=(Put("meta", b"x", b"y"),))])
        assert [each.faults for each in fsck(state)] == [[], []]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
@pytest.mark.parametrize("tile", ["tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"])
def test_a_damaged_file_is_named(state: Path, tile: str, damage: Callable[[Path], None]) -> None:
    damage(state / FOLDER / tile)
    own, mirror = looked(state)
    assert any(tile in fault for fault in own.faults), own.faults
    assert mirror.faults == []


@pytest.mark.parametrize("tile", ["tile/0/000", "tile/entries/000", "tile/entries/001"])
def test_a_damaged_copy_of_another_log_is_named(state: Path, tile: str) -> None:
    flip(state / "tiles/mirror" / DIGEST.hex() / tile)
    own, mirror = looked(state)
    if tile != "tile/entries/001":  # the flipped entry comes after those of the head
        assert any(tile in fault for fault in mirror.faults), mirror.faults
    assert own.faults == []


def change(state: Path, statement: str, *values: bytes) -> None:
    with closing(sqlite3.connect(state / DATABASE)) as database, database:
        assert database.execute(statement, values).rowcount == 1


@pytest.mark.parametrize(
    ("statement", "values", "sentence"),
    [
        ("UPDATE ledger_tail SET value = ? WHERE key = ?", (FORGED, b"\x00\x00"), "another root"),
        ("UPDATE ledger_tail SET value = ? WHERE key = ?", (b"no entries", b"\x00\x00"), "002.p/88 is damaged"),
        ("DELETE FROM ledger_tail WHERE key = ?", (b"\x00\x00",), "tile/entries/002.p/88 is damaged"),
        ("UPDATE ledger_tail SET value = ? WHERE key = ?", (u64(599), b"size"), "there are 599"),
        ("UPDATE ledger_tail SET value = ? WHERE key = ?", (u64(601), b"size"), "there are 601"),
        ("UPDATE ledger_node SET value = ? WHERE key = ?", (b"x", HEAD), "cannot be read"),
        ("UPDATE ledger_index SET value = ? WHERE key = ?", (u64(598) + u64(7), PLACE), "entry 599 is not where"),
        ("UPDATE ledger_index SET value = ? WHERE key = ?", (u64(600) + u64(7), PLACE), "entry 599 is not where"),
        ("DELETE FROM ledger_index WHERE key = ?", (PLACE,), "entry 599 is not where"),
        ("UPDATE ledger_index SET value = ? WHERE key = ?", (u64(597) + u64(7), STATED), "entry 598 is not where"),
        ("DELETE FROM ledger_index WHERE key = ?", (STATED,), "entry 597 is not where"),
    ],
)
def test_damaged_rows_are_told(state: Path, statement: str, values: tuple[bytes, ...], sentence: str) -> None:
    change(state, statement, *values)
    own, mirror = looked(state)
    assert any(sentence in fault for fault in own.faults), own.faults
    assert mirror.faults == []


def test_a_head_that_another_key_signed_is_refused(state: Path) -> None:
    own = Key(ORIGIN, Algorithm.ED25519, key_of("stranger").public_key().public_bytes_raw())
    forged = sign_head(Checkpoint(ORIGIN, 600, bytes(32)), own, key_of("stranger").sign)
    change(state, "UPDATE ledger_node SET value = ? WHERE key = ?", forged.note.encode(), HEAD)
    assert "signed" in looked(state)[0].faults[0]


def test_a_copy_whose_signer_is_unknown_is_not_taken_for_whole(state: Path) -> None:
    change(state, "DELETE FROM ledger_peer WHERE key = ?", b"berta")
    assert "not known" in looked(state)[1].faults[0]


@pytest.mark.parametrize(
    ("stop", "fault"),
    [(600, None), (599, "the day 2026-11-20 counts other entries than the log has")],
    ids=["a whole day", "a day that leaves one out"],
)
def test_a_day_is_what_its_entries_say(state: Path, stop: int, fault: str | None) -> None:
    """DAY-CHAIN: of a log whose key signed all of it."""
    keyring = Keyring.open_made(state)
    own = Key(ORIGIN, Algorithm.ED25519, keyring.log.public_key().public_bytes_raw())
    with closing(Store.open(state)) as store:
        archive = Archive(FOLDER, TAIL, b"", lambda name: read_file(state, name))
        archive.restore(store)
        held = Told("00" * 32, 0)
        root = archive.tree.root(stop).hex()
        day = Day("", count_kinds(OWN), "2026-11-20", held, ORIGIN, root, 0, stop, held)
        note = Note(day.text, (sign(day.text, own, keyring.log.sign),))
        write(store, archive, [encode(Kind.DAY, note.encode())])
        head = sign_head(Checkpoint(ORIGIN, archive.size, archive.tree.root()), own, keyring.log.sign)
        store.commit([Commit(puts=(Put(NODE, HEAD, head.note.encode()),))])
    looked = next(iter(fsck(state)))
    assert looked.entries == 601
    assert looked.faults == ([fault] if fault else [])
