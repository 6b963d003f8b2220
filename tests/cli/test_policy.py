"""The verbs about the policy.  No node needs to run."""

import json
from pathlib import Path
from typing import Any

import pytest

from waypost.cli.verbs import call
from waypost.identity.policy import DEFAULT

RULES = """\
# of a house

[[allow]]
who = ["role:device"]
do = ["register", "renew"]
sector = ["floor-1", ""]
name = ["{name}"]
owner = "own"

[[deny]]
who = ["psk:lamp-9"]
do = ["*"]
"""
LAMP = ("--who", "psk:lamp-3", "--role", "device", "--do", "register", "--sector", "floor-1", "--name", "lamp-3")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "house.toml"
    place.write_text(RULES)
    return place


def asked(file: Path, capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> Any:
    assert call(["policy", "test", "--file", str(file), *args, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_what_is_allowed_is_so_with_the_rule_and_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(file, capsys, *LAMP)
    assert (report["allowed"], report["in_part"], report["reason"]) == (True, False, None)
    (rule,) = report["rules"]
    assert (rule["kind"], rule["number"], rule["line"]) == ("allow", 1, 3)
    assert report["asked"] == {
        "who": "psk:lamp-3",
        "roles": ["device"],
        "do": "register",
        "room": "rd",
        "sector": "floor-1",
        "name": "lamp-3",
        "owner": None,
        "source": None,
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("--name", "lamp-4"), "no rule"),
        (("--sector", "floor-2"), "no rule"),
        (("--owner", "psk:lamp-4"), "another's"),
        (("--do", "remove"), "no rule"),
        (("--in", "node"), None),
        (("--owner", "psk:lamp-3"), None),
        (("--sector", ""), None),
        (("--who", "anonymous"), "no rule"),
    ],
)
def test_what_is_asked_counts(
    file: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, ...], reason: str | None
) -> None:
    report = asked(file, capsys, *LAMP, *change, code=4 if reason else 0)
    assert report["allowed"] == (reason is None)
    assert (reason or "") in (report["reason"] or "")


def test_what_is_denied_comes_with_the_rule_that_denies_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(file, capsys, "--who", "psk:lamp-9", "--role", "device", "--do", "register", code=4)
    assert [(rule["kind"], rule["line"]) for rule in report["rules"]] == [("deny", 10)]


def test_a_range_is_allowed_in_part(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(file, capsys, "--who", "psk:lamp-3", "--role", "device", "--do", "register", "--name", "lamp*")
    assert (report["allowed"], report["in_part"]) == (True, True)


def test_an_anonymous_asker_is_known_by_its_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--do", "renew", "--name", "a", "--owner", "source:192.0.2.1", "--source")
    file = tmp_path / "policy.toml"
    file.write_text(DEFAULT)
    assert asked(file, capsys, *args, "192.0.2.1")["allowed"]
    assert not asked(file, capsys, *args, "192.0.2.2", code=4)["allowed"]


def test_people_read_a_verdict(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["policy", "test", "--file", str(file), *LAMP]) == 0
    told = capsys.readouterr().out
    assert "allowed" in told
    assert "[[allow]] 1 (line 3)" in told
    assert call(["policy", "test", "--file", str(file), *LAMP, "--name", "x"]) == 4
    told = capsys.readouterr().out
    assert "no rule of the policy allows register to psk:lamp-3 here" in told


@pytest.mark.parametrize("who", ["psk", "psk:", "operator:x", "lamp", "psk:lamp 3", "psk:lamp-*", "", "role:device"])
def test_who_cannot_be_is_refused(file: Path, capsys: pytest.CaptureFixture[str], who: str) -> None:
    assert call(["policy", "test", "--file", str(file), "--who", who, "--do", "read"]) == 2
    assert "is nobody" in capsys.readouterr().err


def test_a_wrong_file_is_said_to_be_wrong_by_each_verb(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(RULES.replace("renew", "renow"))
    for args in (["check", str(file)], ["show", "--file", str(file)], ["test", "--file", str(file), *LAMP]):
        assert call(["policy", *args]) == 2
        told = capsys.readouterr().err
        assert "[[allow]] 1: there is no action 'renow'" in told
        assert "did you mean renew?" in told


def test_a_right_file_is_said_to_be_right(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["policy", "check", str(file), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(file), "rules": 2, "ok": True}


def test_the_policy_of_a_state_directory_is_meant_where_no_file_is_given(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is none yet, the default, which the first start would write."""
    here = ["--dir", str(file.parent), "-o", "json"]
    assert call(["policy", "show", *here]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 6
    file.rename(file.with_name("policy.toml"))
    assert call(["policy", "show", *here]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(rule["kind"], rule["number"], rule["line"]) for rule in shown] == [("allow", 1, 3), ("deny", 1, 10)]
    assert call(["policy", "check", *here]) == 0


def test_rules_are_shown_for_people(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["policy", "show", "--file", str(file)]) == 0
    told = capsys.readouterr().out
    assert "2 rules; what none allows is denied" in told
    assert 'floor-1 ""' in told


def test_a_policy_without_tables_of_its_own_has_no_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "one.toml"
    file.write_text('allow = [{ who = ["anyone"], do = ["read"] }]')
    report = asked(file, capsys, "--do", "read")
    assert report["rules"][0]["line"] is None
