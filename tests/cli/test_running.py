"""`waypost run` and `waypost demo` as processes: ready lines, banners, signals, and how they end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

END_S = 60.0
FREE = [
    "--coap-listen",
    "127.0.0.1:0",
    "--coaps-listen",
    "127.0.0.1:0",
    "--http-listen",
    "127.0.0.1:0",
    "--peers-listen",
    "127.0.0.1:0",
]


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")} | more


def command(*line: str) -> list[str]:
    return [sys.executable, "-m", "waypost", *line]


@contextmanager
def process(*line: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        command(*line), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


def finished(*line: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*line), capture_output=True, text=True, env=environment(**more), timeout=END_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_says_that_it_is_ready_and_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with process("run", "--dir", str(tmp_path), *FREE) as node:
        assert node.stdout is not None
        ready = json.loads(node.stdout.readline())
        assert ready["ready"] is True
        assert ready["node"]
        assert list(ready["listeners"]) == [
            "coap",
            "coap+tcp",
            "coaps",
            "coaps+tcp",
            "local",
            "http",
            "coap+ws",
            "peers",
        ]
        assert not any(address.endswith(":0") for address in ready["listeners"].values())
        node.send_signal(number)
        out, err = node.communicate(timeout=END_S)
    assert node.returncode == 0
    assert out == ""
    assert all(text in err for text in (str(tmp_path), *ready["listeners"].values(), "policy.toml", "stopped"))
    assert "\x1b" not in err


def test_a_second_signal_ends_a_node_at_once(tmp_path: Path) -> None:
    with process("run", "--dir", str(tmp_path), *FREE) as node:
        assert node.stdout is not None
        host, _, port = json.loads(node.stdout.readline())["listeners"]["http"].rpartition(":")
        with socket.create_connection((host, int(port))) as unfinished:
            # The node waits for this request before it stops.
            head = f"POST /v1/endpoints HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            unfinished.sendall(f"{head}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n".encode())
            assert unfinished.recv(100).startswith(b"HTTP/1.1 100")
            node.terminate()
            while _listens(host, int(port)):
                pass
            node.terminate()
            assert node.wait(END_S) == -signal.SIGTERM


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_a_node_keeps_its_name(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        with process("run", "--dir", str(tmp_path), *FREE) as node:
            assert node.stdout is not None
            names.append(json.loads(node.stdout.readline())["node"])
            node.terminate()
            node.communicate(timeout=END_S)
    assert names[0] == names[1]


def test_with_json_standard_error_is_json_lines(tmp_path: Path) -> None:
    with process("run", "--dir", str(tmp_path), *FREE, "-o", "json", "--log-level", "debug") as node:
        assert node.stdout is not None
        assert json.loads(node.stdout.readline())["ready"] is True
        node.terminate()
        _, err = node.communicate(timeout=END_S)
    assert all(json.loads(line)["level"] for line in err.splitlines())


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        (socket.SOCK_DGRAM, "--coap-listen"),
        (socket.SOCK_DGRAM, "--coaps-listen"),
        (socket.SOCK_STREAM, "--coaps-listen"),
        (socket.SOCK_STREAM, "--http-listen"),
    ],
)
def test_a_taken_port_is_named_with_the_flag_that_moves_it(tmp_path: Path, kind: socket.SocketKind, flag: str) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        run = finished("run", "--dir", str(tmp_path), *FREE, flag, f"127.0.0.1:{port}")
    assert run.returncode == 2
    assert run.stdout == ""
    assert str(port) in run.stderr
    assert flag in run.stderr
    assert "Traceback" not in run.stderr


def test_a_wrong_configuration_ends_with_two_before_anything_is_opened(tmp_path: Path) -> None:
    state = tmp_path / "state"
    run = finished("run", "--dir", str(state), "--http-listen", "0.0.0.0:0")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: http.listen: other machines can reach 0.0.0.0:0")
    assert not state.exists()


def test_a_variable_that_belongs_to_no_key_stops_a_node(tmp_path: Path) -> None:
    run = finished("run", WAYPOST_DIR=str(tmp_path), WAYPOST_RD_GRACE="1")
    assert run.returncode == 2
    assert run.stderr.endswith("hint: did you mean WAYPOST_RD_GRACE_S?\n")


@pytest.mark.parametrize("output", ["table", pytest.param("json", marks=pytest.mark.long), "jsonl"])
def test_the_demonstration_plays_to_its_end(tmp_path: Path, output: str) -> None:
    run = finished("demo", "--once", "-o", output, TMPDIR=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []  # nothing stays behind
    if output == "table":
        assert "nothing lost" in run.stdout
        assert max(map(len, run.stdout.splitlines())) <= 100
        return
    events = json.loads(run.stdout) if output == "json" else [json.loads(line) for line in run.stdout.splitlines()]
    names = [event["event"] for event in events]
    alone = ["started", "registered", "found", "left", "renewed", "restarted"]
    assert names == [*alone, "joined", "spread", "claimed", "rivals", "proven", "parted", "healed", "ready"]
    told = {event["event"]: event for event in events}
    assert len(told["joined"]["nodes"]) == 5
    assert told["spread"]["count"] == told["restarted"]["count"]
    assert len(told["claimed"]["voters"]) == 3
    assert {told["rivals"]["winner"], told["rivals"]["loser"]} == {"anna", "berta"}
    assert len(told["proven"]["witnesses"]) >= 3
    assert told["proven"]["key"] == "names/pier"
    assert "not" in told["proven"]["damaged"] or "wrong" in told["proven"]["damaged"]
    assert told["parted"]["refusal"].endswith("nothing was sent")
    assert (told["parted"]["known"], told["parted"]["version"], told["healed"]["version"]) == (1, 2, 2)


def test_the_demonstration_goes_on_until_it_is_told_to_end(tmp_path: Path) -> None:
    started = subprocess.Popen(
        command("demo", "-o", "jsonl"), stdout=subprocess.PIPE, text=True, env=environment(TMPDIR=str(tmp_path))
    )
    with started as demo:
        assert demo.stdout is not None
        assert any(json.loads(line)["event"] == "ready" for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(END_S) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(command("config", "reference"), stdout=write, stderr=subprocess.PIPE, env=environment())
    os.close(write)
    assert (run.returncode, run.stderr) == (141, b"")
