"""Which node the verbs talk to, and what they show it; and the verbs about tokens."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from waypost.cli.node import place
from waypost.errors import ConfigError

END_S = 20.0
LISTEN = [f"--{name}-listen=127.0.0.1:0" for name in ("coap", "coaps", "http", "https", "peers")]


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}


@dataclass(frozen=True)
class Home:
    state: Path
    listeners: dict[str, str]
    said: str  # on standard error until it was ready

    @property
    def admin(self) -> str:
        return next(line for line in self.said.splitlines() if line.startswith("wp_"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A node at its first start."""
    state = tmp_path_factory.mktemp("home") / "state"
    said = state.parent / "said"
    command = [sys.executable, "-m", "waypost", "run", "--dir", str(state), *LISTEN]
    with (
        said.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=clean_environment()) as process,
    ):
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield Home(state, ready["listeners"], said.read_text())
        finally:
            process.terminate()
            assert process.wait(END_S) == 0
    assert not (state / "waypost.sock").exists(), "a node that ended leaves no socket"


def waypost(*line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "waypost", *line, "-o", "json"]
    return subprocess.run(
        command, env=clean_environment() | environment, capture_output=True, text=True, check=False, timeout=60
    )


def done(*line: str, **environment: str) -> Any:
    ended = waypost(*line, **environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_first_start_shows_an_administrators_token_once(home: Home) -> None:
    url = f"http://{home.listeners['http']}"
    assert done("evict", "--list", "--url", url, WAYPOST_TOKEN=home.admin) == []
    assert home.said.count("wp_") == 1
    assert home.admin.rpartition("_")[2].encode() not in b"".join(
        path.read_bytes() for path in home.state.rglob("*") if path.is_file()
    )


def test_verbs_use_the_socket_of_the_state_directory(home: Home) -> None:
    assert done("evict", "--list", "--dir", str(home.state)) == []
    assert done("evict", "--list", WAYPOST_DIR=str(home.state)) == []


def test_a_url_is_a_strangers_unless_a_token_is_shown(home: Home, tmp_path: Path) -> None:
    http, https = f"http://{home.listeners['http']}", f"https://{home.listeners['https']}"
    assert waypost("evict", "--list", "--url", http).returncode == 4
    file = tmp_path / "token"
    file.write_text(home.admin + "\n")
    root = str(home.state / "keys" / "ca.crt")
    assert done("evict", "--list", "--url", http, "--token-file", str(file)) == []
    assert done("evict", "--list", "--url", https, "--token-file", str(file), "--ca", root) == []
    assert done("evict", "--list", "--url", https, WAYPOST_TOKEN=home.admin, WAYPOST_CA=root) == []
    assert done("evict", "--list", "--url", https, WAYPOST_TOKEN=home.admin, WAYPOST_DIR=str(home.state)) == []
    assert waypost("evict", "--list", "--url", https, WAYPOST_TOKEN=home.admin).returncode == 3, "of an unknown root"


def test_a_token_is_given_listed_and_revoked(home: Home) -> None:
    at = {"WAYPOST_DIR": str(home.state)}
    line = ("ci", "--role", "admin", "--expires", "2h", "--scope", "evict", "--scope", "sector=floor-1*")
    given = done("token", "create", *line, **at)
    assert (given["actions"], given["sectors"]) == (["evict"], ["floor-1*"])
    (listed,) = (token for token in done("token", "list", **at) if token["name"] == "ci")
    assert listed == {name: value for name, value in given.items() if name != "token"}
    url = f"http://{home.listeners['http']}"
    assert done("evict", "--list", "--url", url, WAYPOST_TOKEN=given["token"]) == []
    assert waypost("export", "--url", url, WAYPOST_TOKEN=given["token"]).returncode == 4
    assert done("token", "revoke", given["id"], **at) == {"id": given["id"], "revoked": True}
    refused = waypost("evict", "--list", "--url", url, WAYPOST_TOKEN=given["token"])
    assert (refused.returncode, given["token"].rpartition("_")[2] in refused.stderr) == (4, False)
    assert waypost("token", "revoke", given["id"], **at).returncode == 1


def test_what_is_wrong_with_a_token_is_usage(home: Home) -> None:
    at = {"WAYPOST_DIR": str(home.state)}
    for line in (["a b"], ["x", "--role", "king"], ["x", "--scope", "fly"], ["x", "--expires", "0"], ["x", "--join"]):
        assert waypost("token", "create", *line, **at).returncode == 2, line


def test_the_place_is_the_socket_else_the_url_else_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WAYPOST_")]:
        monkeypatch.delenv(name)
    assert place(directory=tmp_path).url == "http://127.0.0.1:8480"
    (tmp_path / "waypost.sock").touch()
    assert place(directory=tmp_path).url == f"unix://{tmp_path}/waypost.sock"
    assert place("http://[::1]:1", tmp_path).url == "http://[::1]:1"
    monkeypatch.setenv("WAYPOST_TOKEN", "wp_x")
    assert place(directory=tmp_path).token is None, "the operator's socket needs none"
    assert place("http://[::1]:1", tmp_path).token == "wp_x"
    assert "wp_x" not in repr(place("http://[::1]:1", tmp_path))


def test_a_file_that_is_no_token_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file in (tmp_path / "nowhere", tmp_path / "binary"):
        with pytest.raises(ConfigError, match=file.name):
            place("http://127.0.0.1:1", tmp_path, file)
