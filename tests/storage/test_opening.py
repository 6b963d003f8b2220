"""Opening a state directory: what is refused, with which sentence, and how an old database becomes a new one."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from waypost.drip.book import ALARMS, HISTORY, INSTANCES, RECORDS, ROUNDS
from waypost.drip.gossip import RECORDS as GOSSIP
from waypost.drip.roster import NODE
from waypost.engine import Commit, Put
from waypost.errors import ConfigError, StoreError
from waypost.ledger.log import TAIL
from waypost.ledger.mirror import TABLE as MIRROR
from waypost.storage import Store
from waypost.storage.schema import MIGRATIONS, Connection

ANNA = [Commit(puts=(Put("meta", b"name", b"Anna"),))]
SECOND = "UPDATE meta SET value = CAST(value || x'21' AS BLOB)"
THIRD = "CREATE TABLE third (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
NOW = len(MIGRATIONS)
BACKUP = f"waypost.db.v{NOW}.bak"
BROKEN = "CREATE TABLE half (key BLOB); INSERT INTO nowhere VALUES (1)"


def test_a_directory_is_open_once(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        with pytest.raises(ConfigError, match=r"in use by another node \(process \d+\)") as refused:
            Store.open(tmp_path)
        assert refused.value.hint == "stop that node, or give this one a directory of its own"
        store.commit(ANNA)
    Store.open(tmp_path).close()


def test_another_process_keeps_us_out_until_it_dies(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from waypost.storage import Store; store = Store.open(pathlib.Path(sys.argv[1])); "
        "print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError, match=f"process {other.pid}"):
            Store.open(tmp_path)
        other.kill()
    Store.open(tmp_path).close()


def test_a_refused_directory_is_let_go_of(tmp_path: Path) -> None:
    (tmp_path / "waypost.db").write_bytes(b"no database" * 100)
    for _ in range(2):
        with pytest.raises(StoreError, match="not a database"):
            Store.open(tmp_path)


def test_what_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "waypost.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"waypost\.db: it is damaged or not a database") as refused:
        Store.open(tmp_path)
    assert refused.value.hint == "put back a backup"
    assert (tmp_path / "waypost.db").read_bytes() == b"no database" * 1000


def test_a_damaged_page_is_a_store_error_when_it_is_read(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        store.commit([Commit(puts=tuple(Put("directory", b"%d" % i, bytes(1000)) for i in range(100)))])
    with (tmp_path / "waypost.db").open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(3 * 8192)  # the header and the schema stay whole
        file.write(b"\xa5" * (size - 3 * 8192))
    with closing(Store.open(tmp_path)) as store, pytest.raises(StoreError, match="damaged"):
        list(store.scan("directory"))


def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "waypost.db")) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    before = (tmp_path / "waypost.db").read_bytes()
    with pytest.raises(ConfigError, match="the database of another program"):
        Store.open(tmp_path)
    assert (tmp_path / "waypost.db").read_bytes() == before


def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    Store.open(tmp_path, migrations=(*MIGRATIONS, SECOND)).close()
    before = (tmp_path / "waypost.db").read_bytes()
    with pytest.raises(
        ConfigError, match=f"written by a newer Waypost: it has version {NOW + 1}, this one knows {NOW}"
    ):
        Store.open(tmp_path)
    assert (tmp_path / "waypost.db").read_bytes() == before


def test_a_file_in_the_place_of_the_directory_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot open .*: File exists"):
        Store.open(tmp_path / "state")


def test_a_file_system_without_shared_memory_is_refused(tmp_path: Path) -> None:
    def connect(database: Path) -> Connection:
        """SQLite's layer for file systems without locks cannot do write-ahead logs."""
        return sqlite3.connect(f"file:{database}?vfs=unix-dotfile", uri=True, isolation_level=None)

    with pytest.raises(ConfigError, match="cannot hold a write-ahead log") as refused:
        Store.open(tmp_path, connect=connect)
    assert refused.value.hint == "choose a directory on a local disk"


def test_the_first_migration_needs_no_backup(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["waypost.db", "waypost.lock"]


def test_a_database_is_backed_up_and_then_migrated(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        store.commit(ANNA)
    with closing(Store.open(tmp_path, migrations=(*MIGRATIONS, SECOND, THIRD))) as store:
        assert store.get("meta", b"name") == b"Anna!"
        store.commit([Commit(puts=(Put("third", b"key", b"value"),))])
    with closing(Store.open(tmp_path, migrations=(*MIGRATIONS, SECOND, THIRD))) as store:
        assert store.get("meta", b"name") == b"Anna!"
        assert store.get("third", b"key") == b"value"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["waypost.db", BACKUP, "waypost.lock"]
    assert (tmp_path / BACKUP).stat().st_mode & 0o777 == 0o600


def test_a_database_of_the_first_version_keeps_its_rows_and_gets_the_tables_of_the_mesh(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path, migrations=MIGRATIONS[:1])) as store:
        store.commit(ANNA)
    with closing(Store.open(tmp_path)) as store:
        assert store.get("meta", b"name") == b"Anna"
        for table in (NODE, RECORDS, HISTORY, INSTANCES, ROUNDS, ALARMS, GOSSIP):
            store.commit([Commit(puts=(Put(table, b"key", b"value"),))])
            assert store.get(table, b"key") == b"value"


@pytest.mark.parametrize("table", [RECORDS, HISTORY, INSTANCES, TAIL, MIRROR])
def test_long_rows_come_to_lie_as_they_are_written_and_are_found_by_their_keys(tmp_path: Path, table: str) -> None:
    """Of the third version they lay by their keys."""
    with closing(Store.open(tmp_path, migrations=MIGRATIONS[:3])) as store:
        store.commit([Commit(puts=(Put(table, b"m", b"old"), Put(table, b"c", b"older")))])
    with closing(Store.open(tmp_path)) as store:
        assert list(store.scan(table)) == [(b"c", b"older"), (b"m", b"old")]
        store.commit([Commit(puts=(Put(table, b"z", b"new"), Put(table, b"m", b"newer")))])
        store.commit([Commit(puts=(Put(table, b"a", b"newest"), Put(table, b"c", None)))])
        assert list(store.scan(table)) == [(b"a", b"newest"), (b"m", b"newer"), (b"z", b"new")]
        assert list(store.scan(table, b"a")) == [(b"m", b"newer"), (b"z", b"new")]
    with closing(sqlite3.connect(tmp_path / "waypost.db")) as opened:
        keys = [key for (key,) in opened.execute(f"SELECT key FROM {table} ORDER BY rowid")]
    assert keys == [b"m", b"z", b"a"]


def test_a_backup_put_back_is_what_was_there_before(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        store.commit(ANNA)
    Store.open(tmp_path, migrations=(*MIGRATIONS, SECOND)).close()
    (tmp_path / BACKUP).replace(tmp_path / "waypost.db")
    with closing(Store.open(tmp_path)) as store:
        assert store.get("meta", b"name") == b"Anna"


def test_a_migration_that_fails_leaves_the_database_as_it_was_and_can_be_done_again(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        store.commit(ANNA)
    with pytest.raises(StoreError, match="no such table: nowhere"):
        Store.open(tmp_path, migrations=(*MIGRATIONS, BROKEN))
    assert (tmp_path / BACKUP).exists()
    with closing(Store.open(tmp_path)) as store:
        assert store.get("meta", b"name") == b"Anna"
    with closing(Store.open(tmp_path, migrations=(*MIGRATIONS, SECOND))) as store:
        assert store.get("meta", b"name") == b"Anna!"


def test_a_backup_that_is_cut_short_never_has_the_name_of_one(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        store.commit(ANNA)

    def sync(descriptor: int) -> None:
        if any(tmp_path.glob("*.bak.new")):
            raise OSError("the disk is gone")

    with pytest.raises(StoreError):
        Store.open(tmp_path, migrations=(*MIGRATIONS, SECOND), sync=sync)
    assert not (tmp_path / BACKUP).exists()
    with closing(Store.open(tmp_path, migrations=(*MIGRATIONS, SECOND))) as store:
        assert store.get("meta", b"name") == b"Anna!"
    assert not any(tmp_path.glob("*.new"))
