"""The verbs that ask a node, each against a real one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waypost.cli.verbs import call

NOBODY = "http://127.0.0.1:1"  # tcpmux: nobody listens there
BASE = "coap://192.0.2.7"

Ask = Callable[..., Any]


@pytest.fixture
def ask(url: str, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Carries out a line with -o json; returns what it printed, or the exit code if that is not 0."""

    def ask(*line: str) -> Any:
        code = call([*line, "--url", url, "-o", "json"])
        out = capsys.readouterr().out
        return json.loads(out) if code == 0 else code

    return ask


@pytest.fixture
def lamp(ask: Ask) -> Iterator[str]:
    """The id of a registered endpoint."""
    line = ["register", "lamp", "--base", BASE, "--attribute", "et=light", "--attribute", "spare"]
    id = ask(*line, "--link", '</on>;rt="switch";if="actuator"', "--link", "</watts>;rt=power;obs", "--lt", "500")["id"]
    yield id
    ask("unregister", id)


def test_what_was_registered_is_found_with_its_attributes(ask: Ask, lamp: str) -> None:
    (endpoint,) = ask("find", "--endpoints", "ep=lamp")
    assert endpoint.pop("expires_in") <= 500
    assert endpoint == {
        "id": lamp,
        "ep": "lamp",
        "d": None,
        "base": BASE,
        "lt": 500,
        "attributes": [["et", "light"], ["spare", None]],
    }


def test_links_are_found_by_two_criteria_and_by_a_wildcard(ask: Ask, lamp: str) -> None:
    assert [link["href"] for link in ask("find", "rt=power", "ep=lamp")] == [BASE + "/watts"]
    assert len(ask("find", "ep=la*")) == 2
    assert ask("find", "rt=power", "ep=other") == 1


def test_a_link_keeps_its_attributes_and_its_anchor(ask: Ask) -> None:
    ask("register", "anchored", "--base", BASE, "--link", '</t>;anchor="/sensor";rel="describedby";title="a, b"')
    (link,) = ask("find", "ep=anchored")
    assert link["anchor"] == BASE + "/sensor"
    assert ["title", "a, b"] in link["attributes"]
    ask("unregister", "anchored")


def test_registering_again_keeps_the_id_and_replaces_the_links(ask: Ask, lamp: str, tmp_path: Path) -> None:
    (tmp_path / "links").write_text("</new>;rt=power")
    again = ask("register", "lamp", "--base", BASE, "--file", str(tmp_path / "links"))
    assert again == {"id": lamp, "created": False}
    assert [link["href"] for link in ask("find", "ep=lamp")] == [BASE + "/new"]


def test_a_sector_makes_another_endpoint_of_the_same_name(ask: Ask, lamp: str) -> None:
    other = ask("register", "lamp", "--base", BASE, "--sector", "cellar")["id"]
    assert other != lamp
    assert ask("renew", "lamp") == 2  # which one?
    assert ask("find", "--endpoints", "ep=lamp", "d=cellar")[0]["id"] == other
    ask("unregister", other)


def test_renewing_by_name_changes_what_is_given(ask: Ask, lamp: str) -> None:
    renewed = ask("renew", "lamp", "--lt", "900", "--base", "coap://192.0.2.8")
    assert (renewed["id"], renewed["lt"], renewed["base"]) == (lamp, 900, "coap://192.0.2.8")
    assert ask("renew", lamp)["lt"] == 900


def test_what_was_unregistered_is_not_found(ask: Ask) -> None:
    id = ask("register", "guest", "--base", BASE)["id"]
    assert ask("unregister", "guest") == {"id": id, "removed": True}
    assert ask("unregister", "guest") == ask("unregister", id) == ask("renew", id) == 1
    assert ask("find", "--endpoints", "ep=guest") == 1


def test_nothing_found_is_an_empty_list_and_exit_code_one(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["find", "ep=nobody", "--url", url, "-o", "json"]) == 1
    assert capsys.readouterr() == ("[]\n", "")
    assert call(["find", "ep=nobody", "--url", url]) == 1
    assert capsys.readouterr() == ("", "nothing found\n")


def test_more_than_the_limit_is_told(url: str, lamp: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["find", "ep=lamp", "--limit", "1", "--url", url, "-o", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err == "there is more: --limit 10 shows more of it\n"


def test_status_says_that_the_node_is_ready(ask: Ask) -> None:
    status = ask("status")
    assert status["ready"] is True
    assert status["uptime_s"] > 0
    assert status["listeners"].keys() >= {"coap", "http"}
    assert status["last_error"] is None


def test_the_table_of_the_status_has_the_essentials(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["status", "--url", url]) == 0
    short = capsys.readouterr().out
    for name in (
        "ready",
        "registrations",
        "hidden",
        "held by the brake",
        "changes waiting",
        "listens coap",
        "last error",
    ):
        assert f"\n{name} " in short
    assert len(short.splitlines()) < 25
    assert call(["status", "--all", "--url", url]) == 0
    assert "\ncoap duplicates " in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        ["register", "a", "--base", "coap://h?query"],
        ["register", "a" * 64, "--base", BASE],
        ["register", "a", "--base", BASE, "--lt", "0"],
        ["register", "a", "--base", BASE, "--link", "</a"],
        ["register", "a", "--base", BASE, "--link", "<relative>"],
        ["register", "a"],
        ["find", "rt"],
        ["find", "=x"],
        ["renew", "la*"],
    ],
)
def test_what_is_wrong_ends_with_two_and_changes_nothing(ask: Ask, line: list[str]) -> None:
    assert ask(*line) == 2
    assert ask("find", "--endpoints", "ep=a*") == 1


LINES = [
    ["register", "a", "--base", BASE],
    ["renew", "a"],
    ["find", "ep=a"],
    ["find", "--endpoints", "ep=a"],
    ["status"],
    ["unregister", "a"],
]


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
def test_every_verb_takes_every_output(url: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line in [LINES[0] + ["--link", "</t>"], *LINES[1:]]:
        assert call([*line, "--url", url, "-o", output]) == 0
        out, err = capsys.readouterr()
        assert out
        assert err == ""
        if output == "json":
            json.loads(out)
        if output == "jsonl":
            assert [json.loads(text) for text in out.splitlines()]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_without_a_node_a_verb_ends_with_three(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call([*line, "--url", NOBODY]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: no answer from {NOBODY}: ")


def complete(url: str, *words: str) -> list[str]:
    """What bash would offer for the last of `words`."""
    environ = {"_WAYPOST_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    environ |= {"PATH": os.environ["PATH"], "WAYPOST_URL": url}
    run = subprocess.run([sys.executable, "-m", "waypost"], env=environ, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return [line.partition(",")[2] for line in run.stdout.splitlines() if line]


def test_completion_offers_names_from_the_running_node(url: str, lamp: str) -> None:
    assert complete(url, "waypost", "renew", "la") == ["lamp"]
    assert complete(url, "waypost", "renew", lamp[:6]) == [lamp]
    assert complete(url, "waypost", "find", "ep=l") == ["ep=lamp"]
    assert complete(url, "waypost", "find", "ep", "=", "l") == ["lamp"]  # as bash breaks it
    assert complete(url, "waypost", "find", "rt=") == ["rt=power", "rt=switch"]


def test_completion_is_silent_without_a_node() -> None:
    assert complete(NOBODY, "waypost", "renew", "la") == []
    assert complete(NOBODY, "waypost", "find", "e") == ["ep=", "et="]


def test_what_asks_a_node_imports_no_event_loop() -> None:
    """It would cost a quarter of a second before anything is asked."""
    heavy = ("aiohttp", "asyncio", "rich", "structlog", "waypost.config")
    program = f"import sys, waypost.cli.verbs as v; v.call(['status', '--url', '{NOBODY}'])\n"
    program += f"print(sorted(set({heavy}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
