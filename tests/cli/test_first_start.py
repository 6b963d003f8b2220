"""The first `waypost run` in an empty folder, and what may go wrong with it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

FREE = [f"--{name}-listen=127.0.0.1:0" for name in ("coap", "coaps", "http", "peers")]
READY_S = 2.0  # from nothing to ready, as is promised; half of it is what Python takes to import everything
KEY = re.compile(r"-----BEGIN PRIVATE KEY-----(?:\n|\\n)[A-Za-z0-9+/=]{64}(?:\n|\\n)-----END PRIVATE KEY-----")


def started(state: Path, *line: str) -> tuple[float, str, str]:
    """Seconds until a node is ready, and all that it then says until it ends."""
    command = [sys.executable, "-m", "waypost", "run", "--dir", str(state), *FREE, *line]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    began = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        took = time.monotonic() - began
        process.terminate()
        out, err = process.communicate(timeout=60)
    return took, ready + out, err


def test_the_operator_s_key_is_shown_at_the_first_start_and_never_again(tmp_path: Path) -> None:
    best, out, err = started(tmp_path / "state")
    assert json.loads(out)["ready"] is True
    assert len(KEY.findall(err)) == 1
    assert not KEY.search(out)
    _, out, err = started(tmp_path / "state", "--log-level", "debug")
    assert "PRIVATE" not in out + err
    for number in range(3):  # the best of a few: the machine may be busy with something else
        best = min(best, started(tmp_path / str(number))[0])
        if best < READY_S:
            break
    assert best < READY_S


def test_with_json_the_key_is_a_line_of_json(tmp_path: Path) -> None:
    _, _, err = started(tmp_path, "-o", "json")
    (line,) = [json.loads(line) for line in err.splitlines() if "PRIVATE" in line]
    assert KEY.fullmatch(line["operator_key"].strip())
    assert line["level"] == "warning"


def test_a_first_start_that_fails_shows_the_key_it_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        _, out, err = started(tmp_path, "--http-listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert out == ""
    assert len(KEY.findall(err)) == 1
    assert "--http-listen" in err
    assert "PRIVATE" not in started(tmp_path)[2]


def test_keys_that_others_could_read_stop_a_node(tmp_path: Path) -> None:
    started(tmp_path)
    (tmp_path / "keys" / "node.pem").chmod(0o644)
    _, out, err = started(tmp_path)
    assert out == ""
    assert f"hint: chmod 600 {tmp_path / 'keys' / 'node.pem'}" in err
