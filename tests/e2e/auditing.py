"""What the disks of nodes that were stopped say of voted keys, all of them together.

Source: notes on DRiP, 4.12 (I1, I2, I3, I9).
"""

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from claiming import Memory

from waypost.identity.keys import verifies
from waypost.record import ROSTER, Committed, Place, Roster
from waypost.record.roster import roster_in
from waypost.record.vote import require_committed

_committed = msgspec.json.Decoder(Committed)


@dataclass(frozen=True)
class Disk:
    versions: dict[tuple[Place, int], Committed]
    last: dict[Place, Committed]


def read_disk(directory: Path) -> Disk:
    """From a copy: SQLite would look for the files of another namespace in ours, by their names there."""
    with TemporaryDirectory() as folder:
        for path in directory.glob("waypost.db*"):
            shutil.copy(path, folder)
        return read_database(Path(folder) / "waypost.db")


def read_database(path: Path) -> Disk:
    with closing(sqlite3.connect(path)) as database:
        (sound,) = database.execute("PRAGMA integrity_check").fetchone()
        assert sound == "ok", sound
        kept = [_committed.decode(value) for (value,) in database.execute("SELECT value FROM drip_history")]
        last = [_committed.decode(value) for (value,) in database.execute("SELECT value FROM drip_record")]
        first = database.execute("SELECT value FROM drip_node WHERE key = ?", (b"founding",)).fetchone()
    founding = [_committed.decode(first[0])]
    return Disk(
        {(one.record.place, one.record.version): one for one in kept + last + founding},
        {one.record.place: one for one in last},
    )


def audit(directories: Iterable[Path], network: str, memory: Memory) -> int:
    """Every version is the same everywhere, follows the one before, has its votes, and is what clients were told.

    How many versions there are.
    """
    disks = [read_disk(directory) for directory in directories]
    for disk in disks:
        assert disk.versions.keys() == disks[0].versions.keys(), disk.versions.keys() ^ disks[0].versions.keys()
    versions: dict[tuple[Place, int], Committed] = {}
    for disk in disks:
        for (place, version), committed in disk.versions.items():
            one = versions.setdefault((place, version), committed)
            assert one.record == committed.record, f"{place}: two records are version {version}"
        for place, committed in disk.last.items():
            highest = max(version for other, version in disk.versions if other == place)
            assert committed.record.version == highest, f"{place}: version {highest} was there, and went back"
    rosters = {version: roster_in(one.record) for (place, version), one in versions.items() if place == ROSTER}
    for (place, version), committed in versions.items():
        before = versions.get((place, version - 1))
        if before is not None:
            assert committed.record.prev == before.record.hash(network), f"{place}: {version} follows something else"
        if (place, version) != (ROSTER, 1):
            roster: Roster = rosters[committed.certificate.matter.ballot.epoch] if committed.certificate else rosters[1]
            require_committed(committed, roster, network, verifies, roster.quorum)
    for place, told in memory.committed.items():
        for version, value in told.items():
            assert (place, version) in versions, f"{place}: version {version} was acknowledged, and no disk has it"
            assert versions[place, version].record.value == value, f"{place}: version {version} is another"
    for place in memory.committed:
        last = {disk.last[place].record.version if place in disk.last else 0 for disk in disks}
        assert len(last) == 1, f"{place}: the disks have versions {last} at the end"
    return len(versions)
