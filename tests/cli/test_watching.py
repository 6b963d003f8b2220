"""`waypost watch`, against a real node."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from waypost.cli.verbs import call

BASE = "coap://192.0.2.9"


@pytest.fixture
def lamp(url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    call(["register", "watched", "--base", BASE, "--link", "</on>;rt=watched", "--url", url])
    capsys.readouterr()
    yield
    call(["unregister", "watched", "--url", url])


@pytest.mark.usefixtures("lamp")
def test_once_shows_what_is_there_and_ends(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["watch", "rt=watched", "--once", "--url", url]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:4] == ["put", "watched", "-", BASE]


@pytest.mark.usefixtures("lamp")
def test_a_token_resumes(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["watch", "rt=watched", "--once", "--url", url, "-o", "jsonl"]) == 0
    put, synced = map(json.loads, capsys.readouterr().out.splitlines())
    assert (put["event"], put["endpoint"]["links"][0]["href"]) == ("put", BASE + "/on")
    assert call(["watch", "--once", "--since", synced["token"], "--url", url, "-o", "jsonl"]) == 0
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["synced"]


def test_a_token_of_another_node_begins_anew_and_says_so(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["watch", "rt=nothing", "--once", "--since", "ab.1", "--url", url]) == 0
    assert capsys.readouterr().err == "from the beginning: the token is of another feed\n"


@pytest.mark.parametrize("line", [["rt"], ["--since", "nonsense"], ["page=1"]])
def test_what_cannot_be_watched_is_a_matter_of_usage(url: str, line: list[str]) -> None:
    assert call(["watch", *line, "--url", url]) == 2


def test_no_node_is_unreachable() -> None:
    assert call(["watch", "--url", "http://127.0.0.1:1"]) == 3


@pytest.mark.usefixtures("lamp")
def test_control_c_ends_it(url: str) -> None:
    command = [sys.executable, "-m", "waypost", "watch", "--url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("put"), "each line leaves at once"
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20.0) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
