"""Policies that are wrong: each is refused with the rule's number and what to do about it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from waypost.errors import ConfigError
from waypost.identity.policy import DEFAULT, RULES_MAX, Policy
from waypost.storage.policy import OCTETS_MAX, open_policy, read_policy

GOOD = '[[allow]]\nwho = ["anyone"]\ndo = ["look-up"]\n'


def asker(item: str) -> str:
    return f'[[allow]]\nwho = ["{item}"]\ndo = ["*"]'


def wrong(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Policy.read(tomllib.loads(text), "policy.toml")
    return caught.value


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        ('[[alow]]\nwho = ["anyone"]', "there is no key 'alow'", "did you mean allow?"),
        ("version = 1", "there is no key 'version'", "[[allow]] and [[deny]]"),
        ('[allow]\nwho = ["anyone"]', "allow is one table", "[[allow]]"),
        (GOOD + 'sectr = ["a"]', "[[allow]] 1: there is no key 'sectr'", "did you mean sector?"),
        (GOOD + 'rooms = ["rd"]', "[[allow]] 1: there is no key 'rooms'", "who, do, in, sector, name, owner"),
        (GOOD + GOOD + 'owner = "mine"', "[[allow]] 2: there is no owner 'mine'", "there are any, own"),
        (GOOD + '[[deny]]\ndo = ["*"]', "[[deny]] 1: Object missing required field `who`", "do ="),
        ('[[allow]]\nwho = "anyone"\ndo = ["*"]', "[[allow]] 1: Expected `array`, got `str` - at `$.who`", "as in"),
        ('[[allow]]\nwho = []\ndo = ["*"]', "[[allow]] 1: Expected `array` of length >= 1 - at `$.who`", "as in"),
        ('[[allow]]\nwho = ["anyone"]\ndo = []', "[[allow]] 1: Expected `array` of length >= 1 - at `$.do`", "as in"),
        ("allow = [1]", "[[allow]] 1: Expected `object`, got `int`", "as in"),
        (
            '[[allow]]\nwho = ["anyone"]\ndo = ["lookup"]',
            "[[allow]] 1: there is no action 'lookup'",
            "did you mean look-up?",
        ),
        ('[[deny]]\nwho = ["anyone"]\ndo = ["zap"]', "[[deny]] 1: there is no action 'zap'", "there are *, discover,"),
        (asker("role:devise"), "[[allow]] 1: there is no role 'devise'", "did you mean device?"),
        (asker("role:"), "[[allow]] 1: there is no role ''", "admin, device, peer, reader"),
        (asker("any"), "there is no kind of asker 'any'", "did you mean anyone?"),
        (asker("*"), "there is no kind of asker '*'", "anyone, role,"),
        (asker("device:lamp"), "there is no kind of asker 'device'", "anyone, role,"),
        (asker("psk"), "psk needs a name, and here is 'psk'", "psk:lamp-*"),
        (asker("operator:anna"), "operator has no name, and here is 'operator:anna'", "as in"),
        (asker("anyone:"), "anyone has no name, and here is 'anyone:'", "as in"),
        (asker("psk:"), "nobody can have the name ''", "1 to 64"),
        (asker("psk:lamp 3"), "nobody can have the name 'lamp 3'", "1 to 64"),
        (asker("psk:la*mp"), "nobody can have the name 'la*mp'", "1 to 64"),
        (GOOD + 'in = ["nod"]', "[[allow]] 1: there is no room 'nod'", "did you mean node?"),
        (GOOD + 'name = ["*-lamp"]', "[[allow]] 1: '*-lamp' has a * that is not its end", "as in lamp-*"),
        (GOOD + 'sector = ["a*b"]', "[[allow]] 1: 'a*b' has a * that is not its end", "as in lamp-*"),
        (
            GOOD + 'owner = "own"',
            "[[allow]] 1: only an [[allow]] of read, register, remove, renew can ask",
            "leave owner",
        ),
        (
            '[[deny]]\nwho = ["anyone"]\ndo = ["register"]\nowner = "own"',
            "[[deny]] 1: only an [[allow]] of read, register, remove, renew can ask for an owner",
            "leave owner out",
        ),
        (
            '[[allow]]\nwho = ["anyone"]\ndo = ["*"]\nowner = "own"',
            "[[allow]] 1: only an [[allow]] of",
            "leave owner out",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_what_to_do(text: str, sentence: str, hint: str) -> None:
    error = wrong(text)
    assert sentence in str(error)
    assert str(error).startswith("policy.toml: ")
    assert hint in (error.hint or "")


def test_what_could_be_meant_is_right() -> None:
    for who in ("anyone", "anonymous", "operator", "role:peer", "psk:*", "certificate:a@b.c-d_e*", "token:" + "x" * 64):
        Policy.read({"allow": [{"who": [who], "do": ["*"]}]}, "test")
    Policy.read({"allow": [{"who": ["anyone"], "do": ["read", "renew"], "owner": "own"}]}, "test")
    Policy.read({"deny": [{"who": ["anyone"], "do": ["*"], "in": ["*", "node"], "name": ["", "*", "a*"]}]}, "test")
    assert "1 to 64" in (wrong(asker("token:" + "x" * 65)).hint or "")


def test_a_policy_has_so_many_rules_and_no_more() -> None:
    rule: dict[str, Any] = {"who": ["anyone"], "do": ["*"]}
    Policy.read({"allow": [rule] * (RULES_MAX - 1), "deny": [rule]}, "test")
    with pytest.raises(ConfigError, match=f"test: a policy has {RULES_MAX} rules at most"):
        Policy.read({"allow": [rule] * RULES_MAX, "deny": [rule]}, "test")


def test_a_node_without_a_policy_gets_the_default_and_keeps_it(tmp_path: Path) -> None:
    open_policy(tmp_path)
    file = tmp_path / "policy.toml"
    assert file.read_text() == DEFAULT
    file.write_text(GOOD)
    open_policy(tmp_path)
    assert file.read_text() == GOOD


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[[allow]\n", "is not TOML: "),
        (b"\xff", "is not TOML: "),
        (b"#" * (OCTETS_MAX + 1), f"has more than {OCTETS_MAX} octets"),
        (b'[[allow]]\nwho = ["anyone"]\ndo = ["fly"]', "[[allow]] 1: there is no action 'fly'"),
    ],
)
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_policy(file)
    assert str(file) in str(caught.value)
    assert sentence in str(caught.value)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_policy(tmp_path / "none")
    file = tmp_path / "full"
    file.write_bytes(b"#" * OCTETS_MAX)
    read_policy(file)
