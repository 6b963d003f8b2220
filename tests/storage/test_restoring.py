"""A restored directory is there whole or not at all, and its node goes on as another."""

import stat
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from cutting import Connection, Disk, Layer
from handmade import committed
from people import FOUNDING, record, roster
from test_backup import FEED_OF, NOW, change, contents, no_rest, no_sync, saved

from waypost.drip.book import ALARMS, HISTORY, INSTANCES, RECORDS, ROUNDS, row_key
from waypost.drip.gossip import RECORDS as GOSSIP
from waypost.drip.intents import TABLE as INTENTS
from waypost.drip.roster import EPOCHS, NODE, PAST, SELF, Self
from waypost.engine import Commit, Put
from waypost.errors import ConfigError, ProofError, StateError, StoreError
from waypost.identity.oscore import SEQUENCE_FLOOR, SEQUENCE_ROW
from waypost.record import ROSTER
from waypost.record.feed import FEED, FEED_ID, META
from waypost.record.vote import founding
from waypost.record.wire import encode
from waypost.storage import Store
from waypost.storage.backup import FOUNDING as FIRST
from waypost.storage.backup import back_up
from waypost.storage.keyring import Keyring
from waypost.storage.restoring import LEAP, SEQUENCES, Restored, restore
from waypost.storage.schema import MIGRATIONS

LAMP = committed(record("on"))
KEY = row_key(("names", "lamp"))
ALONE = founding(roster("anna"))
VOTER = (
    Put(META, FEED_ID, FEED_OF),
    change(1),
    Put(NODE, FIRST, FOUNDING.encode()),
    Put(NODE, SELF, encode(Self(7, 40))),
    Put(NODE, EPOCHS, b"[1]"),
    Put(RECORDS, KEY, LAMP.encode()),
    Put(HISTORY, KEY + b"\0%016d" % 1, LAMP.encode()),
    Put(INSTANCES, KEY, b"promised"),
    Put(INSTANCES, row_key(("names", "door")), b"accepted"),
    Put(ROUNDS, KEY, b"used"),
    Put(ALARMS, KEY, b"proof"),
    Put(GOSSIP, b"rd\0key", b"said"),
)


def state(directory: Path, *puts: Put) -> Path:
    with closing(Store.open(directory, durable=False)) as store:
        store.commit([Commit(puts=(*VOTER, *puts))])
    return directory


def backup(tmp_path: Path, *puts: Put) -> Path:
    saved(state(tmp_path / "state", *puts), tmp_path / "file")
    return tmp_path / "file"


def restored(file: Path, directory: Path, *, replace: bool = False) -> Restored:
    return restore(file, directory, rng=Random(1), replace=replace, sync=no_sync)


def rows(directory: Path) -> dict[tuple[str, bytes], bytes]:
    tables = (META, FEED, NODE, RECORDS, HISTORY, INSTANCES, ROUNDS, ALARMS, GOSSIP)
    with closing(Store.open(directory, durable=False)) as store:
        return {(table, key): value for table in tables for key, value in store.scan(table)}


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_it_is_no_more_who_it_was_and_keeps_what_is_true_whoever_it_is(tmp_path: Path) -> None:
    """Design, Contracts 3 and 7."""
    told = restored(backup(tmp_path), tmp_path / "new")
    before, now = rows(tmp_path / "state"), rows(tmp_path / "new")
    changed = {place for place in {*before, *now} if before.get(place) != now.get(place)}
    gone = {(NODE, SELF), (NODE, EPOCHS), (INSTANCES, KEY), (INSTANCES, row_key(("names", "door")))}
    assert changed == {*gone, (META, FEED_ID), (NODE, PAST), (META, SEQUENCE_FLOOR)}
    assert not gone & now.keys()
    assert now[NODE, PAST] == b"7"
    assert now[META, FEED_ID].hex() == told.feed != FEED_OF.hex()
    assert len(now[META, FEED_ID]) == 16


def test_who_was_restored_twice_before_it_began_keeps_its_past(tmp_path: Path) -> None:
    restored(backup(tmp_path), tmp_path / "new")
    saved(tmp_path / "new", tmp_path / "again")
    restored(tmp_path / "again", tmp_path / "newer")
    assert rows(tmp_path / "newer")[NODE, PAST] == b"7"


def test_every_restore_makes_another_feed(tmp_path: Path) -> None:
    file = backup(tmp_path)
    first = restore(file, tmp_path / "1", rng=Random(1), sync=no_sync)
    second = restore(file, tmp_path / "2", rng=Random(2), sync=no_sync)
    assert first.feed != second.feed


def test_what_waited_for_a_quorum_waits_no_more(tmp_path: Path) -> None:
    """Since the backup it may have been taken back, and whoever was told so must not see it committed."""
    waiting = Put(INTENTS, KEY + b"\0%016d\0%s" % (1, b"0" * 32), b"{}")
    restored(backup(tmp_path, waiting), tmp_path / "new")
    assert [table for table, _ in rows(tmp_path / "new") if table == INTENTS] == []


def test_oscore_goes_on_far_above_what_may_have_been_used_since(tmp_path: Path) -> None:
    """RFC 8613, 7.2.1 and appendix B.1: a sequence number used twice is a nonce used twice."""
    file = backup(
        tmp_path,
        Put(META, SEQUENCE_ROW + b"a", (64).to_bytes(8, "big")),
        Put(META, SEQUENCE_ROW + b"b", (900).to_bytes(8, "big")),
    )
    restored(file, tmp_path / "new")
    now = rows(tmp_path / "new")
    assert [key for table, key in now if table == META and key.startswith(SEQUENCE_ROW)] == []
    assert int.from_bytes(now[META, SEQUENCE_FLOOR], "big") == 900 + LEAP
    saved(tmp_path / "new", tmp_path / "again")
    restored(tmp_path / "again", tmp_path / "newer")
    assert int.from_bytes(rows(tmp_path / "newer")[META, SEQUENCE_FLOOR], "big") == 900 + 2 * LEAP


def test_oscore_ends_where_its_sequence_numbers_do(tmp_path: Path) -> None:
    restored(backup(tmp_path, Put(META, SEQUENCE_FLOOR, (SEQUENCES - 3).to_bytes(8, "big"))), tmp_path / "new")
    assert int.from_bytes(rows(tmp_path / "new")[META, SEQUENCE_FLOOR], "big") == SEQUENCES


@pytest.mark.parametrize(
    ("puts", "is_lone"),
    [
        ((), False),  # two others vote
        ((Put(NODE, FIRST, ALONE.encode()),), False),  # as another than the roster names
        ((Put(NODE, FIRST, ALONE.encode()), Put(NODE, SELF, encode(Self(1)))), True),
        (
            (Put(NODE, FIRST, founding(roster("anna", learners=("dora",))).encode()), Put(NODE, SELF, encode(Self(1)))),
            True,
        ),
        ((Put(NODE, FIRST, ALONE.encode()), Put(NODE, SELF, None)), False),
        ((Put(NODE, FIRST, None),), False),
    ],
)
def test_the_only_voter_votes_no_more_either_and_that_is_told(
    tmp_path: Path, puts: tuple[Put, ...], is_lone: bool
) -> None:
    """Nobody can know here whether it still is the only one: somebody may have joined since."""
    assert restored(backup(tmp_path, *puts), tmp_path / "new").is_lone == is_lone
    now = rows(tmp_path / "new")
    assert (NODE, SELF) not in now
    assert (NODE, EPOCHS) not in now
    assert (INSTANCES, KEY) not in now


def test_the_last_roster_says_who_votes(tmp_path: Path) -> None:
    later = record(roster("anna", "berta", epoch=2).encode().decode(), ALONE.record, place=ROSTER)
    lone = (Put(NODE, FIRST, ALONE.encode()), Put(NODE, SELF, encode(Self(1))))
    file = backup(tmp_path, *lone, Put(RECORDS, row_key(ROSTER), committed(later).encode()))
    assert not restored(file, tmp_path / "new").is_lone


def test_a_backup_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "state", durable=False, migrations=MIGRATIONS[:1])) as store:
        store.commit([Commit(puts=(Put(META, b"name", b"Anna"),))])
    assert saved(tmp_path / "state", tmp_path / "file").schema == 1
    restored(tmp_path / "file", tmp_path / "new")
    now = rows(tmp_path / "new")
    assert now[META, b"name"] == b"Anna"
    with closing(Store.open(tmp_path / "new", migrations=MIGRATIONS)):
        pass


def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "state", durable=False, migrations=(*MIGRATIONS, "CREATE TABLE more (key BLOB)")).close()
    saved(tmp_path / "state", tmp_path / "file")
    with pytest.raises(ConfigError, match="newer Waypost"):
        restored(tmp_path / "file", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "state"]


def test_what_is_restored_is_for_its_owner_alone(tmp_path: Path) -> None:
    Keyring.open(tmp_path / "state", NOW, sync=no_sync)
    assert restored(backup(tmp_path), tmp_path / "new").has_keys
    for path in (tmp_path / "new", *(tmp_path / "new").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    before, now = (files(tmp_path / name / "keys") for name in ("state", "new"))
    assert now == {name: data for name, data in before.items() if not name.endswith("lock")}
    Keyring.open(tmp_path / "new", NOW, sync=no_sync)


def test_an_empty_directory_is_filled_and_any_other_left_alone(tmp_path: Path) -> None:
    file = backup(tmp_path)
    (tmp_path / "empty").mkdir()
    restored(file, tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "song").write_text("la")
    with pytest.raises(StateError, match="not empty") as refused:
        restored(file, tmp_path / "full")
    assert "--replace" in (refused.value.hint or "")
    with pytest.raises(ConfigError, match="is a file"):
        restored(file, file)
    assert files(tmp_path / "full") == {"song": b"la"}


def test_what_is_replaced_stays_beside_with_its_keys_for_a_backup_without(tmp_path: Path) -> None:
    Keyring.open(tmp_path / "state", NOW, sync=no_sync)
    state(tmp_path / "state")
    saved(tmp_path / "state", tmp_path / "file", keys=False)
    before = files(tmp_path / "state")
    told = restored(tmp_path / "file", tmp_path / "state", replace=True)
    assert told.has_keys
    assert told.before == tmp_path / "state.before"
    assert files(tmp_path / "state.before") == before
    now = files(tmp_path / "state")
    assert {name: now[name] for name in now if name.startswith("keys/")} == {
        name: data for name, data in before.items() if name.startswith("keys/") and not name.endswith("lock")
    }
    with pytest.raises(StateError, match="earlier time"):
        restored(tmp_path / "file", tmp_path / "state", replace=True)
    assert not restored(tmp_path / "file", tmp_path / "bare").has_keys


def test_nothing_is_replaced_where_a_node_runs(tmp_path: Path) -> None:
    file = backup(tmp_path)
    with closing(Store.open(tmp_path / "state")):
        before = files(tmp_path / "state")
        with pytest.raises(StateError, match="a node runs in"):
            restored(file, tmp_path / "state", replace=True)
        assert files(tmp_path / "state") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "state"]


def test_a_damaged_backup_leaves_nothing_behind_and_nothing_changed(tmp_path: Path) -> None:
    data = bytearray(backup(tmp_path).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "file").write_bytes(data)
    before = files(tmp_path / "state")
    for directory, replace in ((tmp_path / "new", False), (tmp_path / "state", True)):
        with pytest.raises(ProofError, match="damaged"):
            restored(tmp_path / "file", directory, replace=replace)
    assert files(tmp_path / "state") == {**before, "waypost.lock": before["waypost.lock"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "state"]


def test_a_node_whose_own_row_cannot_be_read_is_not_restored(tmp_path: Path) -> None:
    """It could not be told from a node that may vote."""
    with pytest.raises(StoreError, match="cannot be read"):
        restored(backup(tmp_path, Put(NODE, SELF, b"{")), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def attempt(file: Path, directory: Path, disk: Disk, *, replace: bool) -> bool:
    """Whether it was done before the power failed."""
    try:
        restore(file, directory, rng=Random(1), replace=replace, connect=Connection, sync=disk.sync)
    except (StoreError, OSError):
        assert disk.off
        return False
    return True


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("replace", [False, True])
def test_there_is_the_old_or_the_new_wherever_the_power_fails(tmp_path: Path, share: float, replace: bool) -> None:
    """Or, between the two renames of a replacement, neither, and both beside it; and it can be done again."""
    Keyring.open(tmp_path / "state", NOW, sync=no_sync)
    file = backup(tmp_path.resolve())
    expected = {name: data for name, data in contents(file).items() if name.startswith("keys/")}
    step, done = 0, False
    while not done:
        root = tmp_path.resolve() / f"{step}"
        root.mkdir()
        if replace:
            (root / "state").mkdir()
            (root / "state" / "old").write_text("old")
        with closing(Layer(Disk(root, Random(step)))) as layer:
            layer.disk.until_cut = step
            done = attempt(file, root / "state", layer.disk, replace=replace)
            layer.disk.off = True
            layer.disk.mend()
            layer.disk = layer.disk.cut(root.with_name(f"{step} after"), share)
            left = layer.disk.root
            if (left / "state" / "old").exists() or not (left / "state").exists():
                assert not done, f"cut at step {step}"
                if replace and not (left / "state").exists():
                    assert (left / "state.before" / "old").exists()
                    (left / "state.before").rename(left / "state")
                assert attempt(file, left / "state", layer.disk, replace=replace), f"cut at step {step}"
            layer.disk.off = True  # what it says now is on the disk
            layer.disk.mend()
            layer.disk = layer.disk.cut(root.with_name(f"{step} again"), 0.0)
            left = layer.disk.root
            assert {name: data for name, data in files(left / "state").items() if name.startswith("keys/")} == expected
            assert rows(left / "state")[NODE, PAST] == b"7"
            assert (left / "state.before" / "old").exists() == replace
        step += 1
    assert step > 20


def test_a_backup_of_what_was_restored_is_a_backup(tmp_path: Path) -> None:
    restored(backup(tmp_path), tmp_path / "new")
    back_up(tmp_path / "new", tmp_path / "again", wall_ms=NOW, sync=no_sync, rest=no_rest)
    assert contents(tmp_path / "again").keys() == {"waypost.db"}
