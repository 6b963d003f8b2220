"""Is a backup whole, and can a node start from it?

First that no octet has changed (archive.py); then the database, page by page, and each row: that it can be read, that
it lies where it belongs, and that what was voted on is certified by the roster of its time.  A problem is a sentence;
what is checked after one may have it as its cause.

Raises ProofError for a file that is damaged or is no backup, ConfigError for one of a newer Waypost, OSError for the
disk.

Source: notes on DRiP, 4.12 (I2, I3); notes on reliability, A2.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from waypost.drip import book, gaps, gossip, intents
from waypost.drip.roster import EPOCHS, NODE, PAST, SELF, Self
from waypost.errors import ConfigError, StoreError, WaypostError, WireError
from waypost.identity import tokens
from waypost.identity.certificates import read_certificate
from waypost.identity.keys import verifies
from waypost.identity.oscore import SEQUENCE_FLOOR, SEQUENCE_ROW
from waypost.identity.token import Token
from waypost.rd import evictions
from waypost.rd import record as directory
from waypost.record import ROSTER, Certificate, Committed, Place, Proof, Roster, network_of, roster_in
from waypost.record.feed import FEED, FEED_ID, META, Get, read
from waypost.record.gossiped import Gossiped
from waypost.record.verification import Remembering
from waypost.record.vote import is_certified, require_committed
from waypost.storage.archive import Manifest, Taker, unpack
from waypost.storage.backup import FOUNDING
from waypost.storage.files import make_directory, read_file
from waypost.storage.keyring import FOLDER, Keyring
from waypost.storage.schema import MIGRATIONS, check_version, tables
from waypost.storage.store import DATABASE
from waypost.storage.tiles import Snapshot, logs_in, looks

PROBLEMS_MAX: Final = 100  # told; there may be more
DIRECTORY: Final = "directory"

Rows = Iterator[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Verified:
    """`rows` are those of each table."""

    manifest: Manifest
    rows: dict[str, int]
    problems: tuple[str, ...]


def verify(file: Path, *, wall_ms: int) -> Verified:
    """Needs room for what is in the backup, beside it or where temporary files go."""
    with _scratch(file) as scratch:
        place = Path(scratch)

        def take(name: str, _: int) -> Taker:
            make_directory((place / name).parent, lambda _: None)
            fd = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.close(fd)
            return lambda data: _append(place / name, data)

        manifest = unpack(file, take)
        judge = _Judge(manifest)
        judge.look_at_database(place / DATABASE)
        judge.look_at_logs(place)
        if manifest.keys:
            judge.look_at_keys(place, wall_ms)
    return Verified(manifest, judge.rows, tuple(judge.problems))


class _Judge:
    def __init__(self, manifest: Manifest) -> None:
        self.problems: list[str] = []
        self.rows: dict[str, int] = {}
        self._manifest = manifest
        self._rosters: dict[int, Roster] = {}
        self._network = ""
        self._verify = Remembering(verifies)
        self._newest: dict[Place, Committed] = {}
        self._hashes: dict[tuple[Place, int], str] = {}

    def look_at_keys(self, place: Path, wall_ms: int) -> None:
        if not (place / FOLDER / "operator.pub").exists():
            return  # its first start has not been
        try:
            keyring = Keyring.open_made(place)
            keyring.believed(wall_ms, expired=True)
            keyring.read("ca.crt", read_certificate)
        except ConfigError as error:
            self._tell(str(error).replace(f"{place}/", ""))

    def look_at_logs(self, place: Path) -> None:
        """Roots are made anew of every entry and every tile."""
        try:
            with closing(sqlite3.connect(f"{(place / DATABASE).absolute().as_uri()}?immutable=1", uri=True)) as opened:
                rows = Snapshot(opened)
                for log in logs_in(rows):
                    try:
                        log.check(rows, partial(read_file, place))
                    except StoreError as error:
                        self._tell(str(error))
        except sqlite3.Error as error:
            self._tell(f"{DATABASE}: {error}")

    def look_at_database(self, database: Path) -> None:
        try:
            with closing(sqlite3.connect(f"{database.absolute().as_uri()}?immutable=1", uri=True)) as connection:
                version = check_version(connection, Path(DATABASE), len(MIGRATIONS))
                if version != self._manifest.schema:
                    self._tell(f"the database has version {version}, the manifest says {self._manifest.schema}")
                for (told,) in connection.execute(f"PRAGMA integrity_check({PROBLEMS_MAX})"):
                    if told != "ok":
                        self._tell(f"{DATABASE}: {told}")
                there = tables(connection)
                for table, look in self._looks(Snapshot(connection).get):
                    if table in there:
                        # Names from our own schema, quoted; parameters cannot name a table.
                        self.rows[table] = look(connection.execute(f'SELECT key, value FROM "{table}" ORDER BY key'))  # noqa: S608
        except sqlite3.Error as error:
            self._tell(f"{DATABASE}: {error}")

    def _looks(self, get: Get) -> Iterator[tuple[str, Callable[[Rows], int]]]:
        """In this order: the rosters before what they certify."""
        yield META, self._each(META, self._meta)
        yield FEED, partial(self._feed, get)
        yield DIRECTORY, self._each(DIRECTORY, lambda key, value: directory.decode(key, value))
        yield NODE, self._each(NODE, self._node)
        yield book.HISTORY, self._rosters_of_history
        yield book.HISTORY, self._each(book.HISTORY, self._version)
        yield book.RECORDS, self._each(book.RECORDS, self._record)
        yield book.INSTANCES, self._each(book.INSTANCES, self._instance)
        yield book.ROUNDS, self._each(book.ROUNDS, _reads(book.Rounds))
        yield book.ALARMS, self._each(book.ALARMS, _reads(Proof))
        yield book.BARE, self._each(book.BARE, self._bare)
        yield gaps.GAPS, self._each(gaps.GAPS, lambda key, value: key == gaps.UNSEARCHED or gaps.read_row(key, value))
        yield intents.TABLE, self._each(intents.TABLE, intents.read_row)
        yield gossip.RECORDS, self._each(gossip.RECORDS, _gossiped)
        for table, look in looks():
            yield table, self._each(table, look)

    def _each(self, table: str, look: Callable[[bytes, bytes], object]) -> Callable[[Rows], int]:
        def all_of(rows: Rows) -> int:
            number = 0
            for key, value in rows:
                number += 1
                try:
                    look(key, value)
                except (WaypostError, msgspec.MsgspecError, ValueError, RecursionError) as error:
                    self._tell(f"{table} {key!r}: {error}")
            return number

        return all_of

    def _feed(self, get: Get, rows: Rows) -> int:
        """Numbered without a gap, up to what the manifest says, and each with its value."""
        number, last = 0, None
        for key, value in rows:
            number, seq = number + 1, int.from_bytes(key, "big")
            try:
                read(seq, value, get)
            except WireError as error:
                self._tell(f"{FEED} {seq}: {error}")
            if last is not None and seq != last + 1:
                self._tell(f"{FEED}: change {last + 1} is missing")
            last = seq
        if (last or 0) != self._manifest.seq:
            self._tell(f"{FEED}: its last change is {last}, the manifest says {self._manifest.seq}")
        return number

    def _meta(self, key: bytes, value: bytes) -> None:
        if key == FEED_ID and value.hex() != self._manifest.feed:
            raise WireError("it is not the feed of the manifest")
        if key.startswith(tokens.PREFIX):
            msgspec.json.decode(value, type=Token)
        elif key.startswith(evictions.PREFIX):
            msgspec.json.decode(value, type=evictions.Row)
        elif (key == SEQUENCE_FLOOR or key.startswith(SEQUENCE_ROW)) and len(value) != 8:
            raise WireError("it is no sequence number")

    def _node(self, key: bytes, value: bytes) -> None:
        if key == SELF:
            msgspec.json.decode(value, type=Self)
        elif key == EPOCHS:
            msgspec.json.decode(value, type=list[int])
        elif key == PAST:
            msgspec.json.decode(value, type=int)
        elif key == FOUNDING:
            first = roster_in(msgspec.json.decode(value, type=Committed).record)
            self._network, self._rosters[1] = network_of(first), first
            if self._network != self._manifest.network:
                raise WireError("it is not the network of the manifest")

    def _rosters_of_history(self, rows: Rows) -> int:
        """They do not lie before all that they certify."""
        start = book.row_key(ROSTER) + b"\0"
        return self._each(book.HISTORY, self._version)(row for row in rows if row[0].startswith(start))

    def _version(self, key: bytes, value: bytes) -> None:
        committed = msgspec.json.decode(value, type=Committed)
        record = committed.record
        if key != book.history_key(record.place, record.version):
            raise WireError("it lies under another's key")
        self._certify(committed)
        hash = record.hash(self._network)
        before = self._hashes.get((record.place, record.version - 1))
        if before is not None and record.prev != before:
            raise WireError("it does not follow the version before it")
        self._hashes[record.place, record.version] = hash
        self._newest[record.place] = committed
        if record.place == ROSTER and record.version > 1:
            self._rosters[record.version] = roster_in(record)

    def _bare(self, key: bytes, value: bytes) -> None:
        certificate = Certificate.decode(value)
        matter = certificate.matter
        if key != book.history_key(matter.place, matter.version):
            raise WireError("it lies under another's key")
        roster = self._rosters.get(matter.ballot.epoch)
        if roster is None or not is_certified(certificate, roster, self._network, self._verify, roster.quorum):
            raise WireError("it is not certified")

    def _record(self, key: bytes, value: bytes) -> None:
        committed = msgspec.json.decode(value, type=Committed)
        place = committed.record.place
        if key != book.row_key(place):
            raise WireError("it lies under another's key")
        newest = self._newest.get(place)
        if newest is None:
            self._certify(committed)
            self._newest[place] = committed
        elif newest != committed:
            raise WireError("it is not the last version in its history")

    def _instance(self, key: bytes, value: bytes) -> None:
        instance = msgspec.json.decode(value, type=book.Instance)
        held = self._newest.get(book.place_in(key))
        if instance.version != (held.record.version if held else 0) + 1:
            raise WireError("it is a vote for a version that is not the next")

    def _certify(self, committed: Committed) -> None:
        """Raises WireError if it is not."""
        if committed.certificate is None:
            if committed.record.place == ROSTER and self._rosters.get(1) == roster_in(committed.record):
                return
            raise WireError("there is no certificate")
        roster = self._rosters.get(committed.certificate.matter.ballot.epoch)
        if roster is None:
            raise WireError("the roster that voted on it is not here")
        require_committed(committed, roster, self._network, self._verify, roster.quorum)

    def _tell(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def _reads(kind: type) -> Callable[[bytes, bytes], object]:
    decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder(kind)

    def look(key: bytes, value: bytes) -> None:
        book.place_in(key)
        decoder.decode(value)

    return look


def _gossiped(key: bytes, value: bytes) -> None:
    record = msgspec.json.decode(value, type=Gossiped)
    if key != record.namespace.encode() + b"\0" + record.key:
        raise WireError("it lies under another's key")


def _append(path: Path, data: bytes) -> None:
    with open(path, "ab") as stream:
        stream.write(data)


def _scratch(file: Path) -> TemporaryDirectory[str]:
    """Beside the backup, for there is room for such files; elsewhere, where nothing may be written there."""
    if os.access(file.parent, os.W_OK):
        return TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent)
    return TemporaryDirectory()
