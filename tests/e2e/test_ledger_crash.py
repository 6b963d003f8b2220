"""The writer of a log with one system call that fails, or at which it is killed; then everything is looked at.

strace lets the n-th call of one kind fail, or kills the process as it begins: for each kind of call on files, for each
n, and for each of the faults.  Afterwards no head that was told is lost, no size has a second one, every tile gives the
root, and the log goes on.

Source: notes on the ledger, 1 (Tessera's fault test) and 5 (STORE-FIRST, ONE-HEAD).
"""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import Final

import pytest
from log_writer import BATCHES, BEGIN, append, entry, opened

from waypost.errors import StoreError
from waypost.storage import Store
from waypost.storage.files import read_file
from waypost.storage.store import DATABASE
from waypost.storage.tiles import Snapshot, logs_in

WRITER: Final = Path(__file__).with_name("log_writer.py")
CALLS: Final = (
    *("openat", "read", "pread64", "write", "pwrite64", "fsync", "fdatasync", "ftruncate"),
    *("rename", "mkdir", "unlink"),
)
FAULTS: Final = ("error=EIO", "error=ENOSPC", "signal=KILL")
BEFORE: Final = 250  # entries that are there already
CASES: Final = 60  # of the sample
WORKERS: Final = 4

pytestmark = pytest.mark.peer("strace", "trace:processes")


@dataclass(frozen=True)
class Case:
    """The `nth` call of that kind, counted from 1."""

    call: str
    nth: int
    fault: str

    def __str__(self) -> str:
        return f"{self.call} {self.nth} {self.fault}"


@dataclass(frozen=True)
class Ended:
    code: int
    told: dict[int, bytes]  # roots of heads, by size
    sentence: str


def run(directory: Path, *options: str, wrong: str = "") -> Ended:
    """The writer under strace."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    strace = ["strace", "--follow-forks", "--quiet=all", f"--trace={','.join((*CALLS, 'sendto'))}"]
    writer = [sys.executable, str(WRITER), str(directory), str(theirs.fileno()), wrong]
    with ours, theirs:
        ended = subprocess.run(
            [*strace, *options, *writer],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
            pass_fds=[theirs.fileno()],
            capture_output=True,
            check=False,
            timeout=60,
        )
        theirs.close()
        told = {}
        while (message := ours.recv(100)) != b"":
            size, _, root = message.partition(b" ")
            if message != BEGIN:
                told[int(size)] = root
    return Ended(ended.returncode, told, ended.stderr.decode())


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a log in it."""
    directory = tmp_path_factory.mktemp("begun") / "state"
    with closing(Store.open(directory)) as store:
        append(store, opened(store, directory), BEFORE)
    return directory


@pytest.fixture(scope="module")
def cases(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Each call that the writer makes once it has begun, with each fault."""
    folder = tmp_path_factory.mktemp("counting")
    for life in ("warm", "counted"):  # the first may compile what is imported
        shutil.copytree(begun, folder / life)
        ended = run(folder / life, f"--output={folder / 'trace'}")
        assert (ended.code, max(ended.told)) == (0, BEFORE + sum(BATCHES)), ended
    made = re.findall(r"^\d+ +(\w+)\((.*)", (folder / "trace").read_text(), re.MULTILINE)
    start = next(place for place, (call, rest) in enumerate(made) if call == "sendto" and BEGIN.decode() in rest)
    before, whole = (Counter(call for call, _ in calls) for calls in (made[:start], made))
    return [
        Case(call, nth, fault) for call in CALLS for nth in range(before[call] + 1, whole[call] + 1) for fault in FAULTS
    ]


def suffer(begun: Path, folder: Path, wrong: str, case: Case) -> Ended:
    """The writer meets the fault."""
    directory = shutil.copytree(begun, folder / str(case))
    inject = f"--inject={case.call}:{case.fault}:when={case.nth}"
    return run(directory, "--output=/dev/null", inject, wrong=wrong)


def examine(folder: Path, case: Case, ended: Ended) -> None:
    """Its end, and its directory."""
    assert ended.code in ((-SIGKILL, 128 + SIGKILL) if "KILL" in case.fault else (0, 3)), f"{case}: {ended}"
    if ended.code == 0:  # as when the database is tidied up at the end, and no more
        assert max(ended.told) == BEFORE + sum(BATCHES)
    assert "Traceback" not in ended.sentence, f"{case}: {ended.sentence}"
    look(folder / str(case), ended.told)
    shutil.rmtree(folder / str(case))


def look(directory: Path, told: dict[int, bytes]) -> None:
    """As fsck does; then the log goes on."""
    for more in (300, 0):
        with closing(Store.open(directory, durable=False)) as store:
            log = opened(store, directory)
            assert log.size >= max(told, default=BEFORE), "a head is lost"
            assert log.entries(0, log.size) == [entry(index) for index in range(log.size)]
            for size, root in told.items():
                assert log.tree.root(size) == root, f"size {size} has two heads"
            if more:
                append(store, log, more)
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        rows = Snapshot(connection)
        for kept in logs_in(rows):
            kept.check(rows, partial(read_file, directory))


def suffer_all(begun: Path, folder: Path, cases: Sequence[Case], wrong: str = "") -> dict[Case, Ended]:
    """First they run and then they are examined: a process that is about to begin holds the locks of all others."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip(cases, pool.map(partial(suffer, begun, folder, wrong), cases), strict=True))


def test_of_a_sample_of_faults_none_loses_or_forks_a_head(begun: Path, cases: list[Case], tmp_path: Path) -> None:
    ended = suffer_all(begun, tmp_path, Random(1).sample(cases, CASES))
    for case, end in ended.items():
        examine(tmp_path, case, end)
    assert len([end for end in ended.values() if end.code]) > CASES // 2, "most of the faults are noticed"
    stages = {max(end.told, default=0) for end in ended.values()}
    assert len(stages) == len(BATCHES) + 1, "at each stage of the writer's life"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_none_of_all_faults_loses_or_forks_a_head(begun: Path, cases: list[Case], tmp_path: Path) -> None:
    for start in range(0, len(cases), CASES):
        for case, end in suffer_all(begun, tmp_path, cases[start : start + CASES]).items():
            examine(tmp_path, case, end)
    print(f"{len(cases)} faults")


@pytest.mark.parametrize("wrong", ["early", "rows-first"])
def test_a_writer_that_is_wrong_is_caught(begun: Path, cases: list[Case], tmp_path: Path, wrong: str) -> None:
    """The control: a head that leaves too early, and rows before the tiles that they speak of."""
    kills = [case for case in cases if case.call in ("fdatasync", "rename") and "KILL" in case.fault]
    caught = 0
    for case, end in suffer_all(begun, tmp_path, kills, wrong).items():
        try:
            examine(tmp_path, case, end)
        except (AssertionError, StoreError):
            caught += 1
    assert caught >= 3
