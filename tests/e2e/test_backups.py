"""A node that is written to is backed up, and another goes on from there."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from running import Node, running

from waypost.api.sync import SyncClient


def waypost(*line: str, code: int = 0) -> Any:
    """What a verb writes as JSON; its error if it is to fail."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    command = [sys.executable, "-m", "waypost", *line, "-o", "json"]
    ended = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stdout if ended.stdout else ended.stderr)


@contextmanager
def registering(node: Node) -> Iterator[list[str]]:
    """Registers one after the other; the list has those that were acknowledged."""
    done: list[str] = []
    over = threading.Event()

    def register() -> None:
        with SyncClient(node.http) as client:
            while not over.is_set():
                client.register(f"lamp-{len(done)}", base="coap://192.0.2.1")
                done.append(f"lamp-{len(done)}")

    thread = threading.Thread(target=register)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def names(node: Node) -> list[str]:
    with SyncClient(f"unix://{node.listeners['local']}") as client:
        return sorted(entry.ep for entry in client.export())


def test_a_backup_of_a_node_under_load_is_restored_with_all_that_was_acknowledged_before(tmp_path: Path) -> None:
    state, file, new = tmp_path / "state", tmp_path / "file", tmp_path / "new"
    with running(state) as node:
        with registering(node) as done:
            while len(done) < 50:
                time.sleep(0.01)
            before = sorted(done)
            made = waypost("backup", str(file), "--dir", str(state))
            while len(done) < len(before) + 50:
                time.sleep(0.01)
        assert made["keys"] is True
        assert len(names(node)) >= len(done)
    checked = waypost("backup", "verify", str(file))
    assert (checked["ok"], checked["problems"], checked["network"]) == (True, [], made["network"])
    assert checked["rows"]["feed"] == made["seq"] >= len(before)
    told = waypost("restore", str(file), "--dir", str(new))
    assert told["feed"] != checked["feed"]
    with running(new) as node:
        found = names(node)
        assert len(found) == checked["rows"]["directory"]
        assert set(before) <= set(found)
    again = waypost("backup", str(tmp_path / "again"), "--dir", str(new))
    assert again["network"] == made["network"]
    assert waypost("backup", "verify", str(tmp_path / "again"))["ok"] is True


def test_a_node_is_not_restored_under_its_own_feet(tmp_path: Path) -> None:
    with running(tmp_path / "state") as node:
        waypost("backup", str(tmp_path / "file"), "--dir", str(tmp_path / "state"))
        told = waypost("restore", str(tmp_path / "file"), "--dir", str(tmp_path / "state"), "--replace", code=2)
        assert "a node runs in" in told["error"]
        assert names(node) == []
    waypost("restore", str(tmp_path / "file"), "--dir", str(tmp_path / "state"), "--replace")
    with running(tmp_path / "state"):
        pass


def test_a_damaged_backup_ends_with_5_and_restores_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "state"):
        pass
    file = tmp_path / "backups"
    file.mkdir()
    made = Path(waypost("backup", str(file), "--dir", str(tmp_path / "state"))["file"])
    assert made.parent == file
    data = bytearray(made.read_bytes())
    data[20_000] ^= 1
    made.write_bytes(data)
    assert "damaged" in waypost("backup", "verify", str(made), code=5)["error"]
    assert "damaged" in waypost("restore", str(made), "--dir", str(tmp_path / "new"), code=5)["error"]
    assert not (tmp_path / "new").exists()
