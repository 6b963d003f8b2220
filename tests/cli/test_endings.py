"""How commands end: exit codes, sentences, and where they are written."""

import json
from pathlib import Path

import click
import pytest

from waypost import __version__
from waypost.cli.ending import Exit, code_of, end, wants_json
from waypost.cli.verbs import VERBS, call
from waypost.errors import ConfigError, RemoteError, StateError, StoreError, UnreachableError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RemoteError("no", code=404), 1),
        (click.UsageError("no"), 2),
        (click.BadParameter("no"), 2),
        (ConfigError("no"), 2),
        (StateError("no"), 2),
        (RemoteError("no", code=400), 2),
        (RemoteError("no", code=413), 2),
        (UnreachableError("no"), 3),
        (RemoteError("no", code=503), 3),
        (RemoteError("no", code=429), 3),
        (RemoteError("no", code=500), 3),
        (RemoteError("no", code=401), 4),
        (RemoteError("no", code=403), 4),
        (ZeroDivisionError("no"), 70),
        (StoreError("no"), 74),
        (OSError(28, "no"), 74),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert code_of(error) == code


def test_the_first_six_codes_do_not_move() -> None:
    assert [code.name for code in Exit if code < 6] == [
        "OK",
        "NOT_FOUND",
        "USAGE",
        "UNREACHABLE",
        "DENIED",
        "PROOF_FAILED",
    ]


def test_an_error_is_one_sentence_and_a_hint_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(ConfigError("the name is empty", hint="give one"), as_json=False) is Exit.USAGE
    assert capsys.readouterr() == ("", "error: the name is empty\nhint: give one\n")


def test_an_error_is_an_object_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(RemoteError("ä", code=403), as_json=True) is Exit.DENIED
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {"error": "ä", "hint": None, "exit_code": 4}


def test_an_error_of_a_peer_does_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    end(RemoteError("\x1b[2J", code=400), as_json=False)
    assert capsys.readouterr().err == "error: \\x1b[2J\n"


def test_a_bug_comes_with_its_traceback_and_a_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(ZeroDivisionError("oh"), as_json=False) is Exit.BUG
    assert "ZeroDivisionError: oh" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args", [["-o", "json"], ["-ojson"], ["--output", "json"], ["--output=jsonl"], ["-o", "jsonl"]]
)
def test_json_is_seen_in_a_line_that_could_not_be_read(args: list[str]) -> None:
    assert wants_json(["find", *args, "--nonsense"])
    assert not wants_json(["find", "-o", "table", "ep=json"])


def test_an_unknown_verb_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["confg"]) == 2
    assert capsys.readouterr().err == "error: there is no verb 'confg'; did you mean config?\nhint: waypost --help\n"


@pytest.mark.parametrize(
    "args", [["config", "show", "--nonsense"], ["completion"], ["completion", "cmd"], ["config", "x"]]
)
def test_a_wrong_command_line_is_a_usage_error_and_standard_output_stays_empty(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*args, "-o", "json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["exit_code"] == 2


def test_the_version_and_the_help_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["--version"]) == 0
    assert capsys.readouterr().out == f"waypost {__version__}\n"
    assert call(["--help"]) == 0
    help_text = capsys.readouterr().out
    assert all(f"  {verb} " in help_text for verb in VERBS)


def test_a_wrong_configuration_ends_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["config", "check", "--dir", str(tmp_path), "--http-listen", "0.0.0.0:80"]) == 2
    err = capsys.readouterr().err
    assert "error: http.listen: other machines can reach 0.0.0.0:80" in err
    assert "hint: " in err
