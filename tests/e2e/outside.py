"""A witness that others wrote (aics-witness): a process of its own, on loopback."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients import environment

from waypost.ledger.note import Key

NAME = "witness.example/outside"
END_S = 10.0
PAUSE_S = 0.01


@dataclass(frozen=True)
class Witness:
    """`url` is what add-checkpoint follows; `key` is its cosigner's."""

    key: Key
    url: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def trust(self, log: Key, origin: str = "") -> None:
        """From now on it cosigns that log, whose origin is the key's name unless another is said."""
        _run(self.folder, "add-log", "--origin", origin or log.name, "--vkey", log.encode())
        said = len(_said(self.folder))
        self.process.send_signal(signal.SIGHUP)
        _wait(self.folder, self.process, r"reloaded .*: \d+ log", said)


@contextmanager
def outside_witness(folder: Path, *logs: Key) -> Iterator[Witness]:
    """What it says lies in `folder`/said."""
    folder.mkdir(exist_ok=True)
    key = _run(folder, "init", "--name", NAME, "--listen", "127.0.0.1:0").splitlines()[-1]
    for log in logs:
        _run(folder, "add-log", "--origin", log.name, "--vkey", log.encode())
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(_command(folder, "serve"), env=environment(), stderr=said)
    try:
        url = _wait(folder, process, r"listening on (\S+)", 0).group(1)
        yield Witness(Key.decode(key), url, folder, process)
    finally:
        process.terminate()
        process.wait(END_S)


def _command(folder: Path, verb: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "aics_witness", verb, f"--config={folder / 'witness.json'}", *options]


def _run(folder: Path, verb: str, *options: str) -> str:
    command = _command(folder, verb, *options)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=END_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _wait(folder: Path, process: "subprocess.Popen[bytes]", pattern: str, start: int) -> "re.Match[str]":
    """Until it says so, after the first `start` characters."""
    ends = time.monotonic() + END_S
    while (found := re.compile(pattern).search(_said(folder), start)) is None:
        assert process.poll() is None, _said(folder)
        assert time.monotonic() < ends, _said(folder)
        time.sleep(PAUSE_S)
    return found


def _said(folder: Path) -> str:
    return (folder / "said").read_text()
