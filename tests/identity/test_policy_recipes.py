"""The policies that docs/policy.md shows are right, and do what is said of them there."""

import re
import tomllib
from pathlib import Path

import pytest

from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.policy import Action, Policy, Span, Target
from waypost.identity.rules import ROOMS, Written

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text()
SHOWN = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
NAMED = ("one rule", "own names", "tenants", "dashboards", "closed", "lab")
DEVICE = Identity("psk", "lamp", ("device",))
READER = Identity("token", "board", ("reader",))
RED = Identity("token", "red-ci")


@pytest.fixture
def recipes() -> dict[str, Policy]:
    return {name: Policy.read(tomllib.loads(text), "docs/policy.md") for name, text in zip(NAMED, SHOWN, strict=True)}


def one(sector: str, name: str, owner: str = "") -> Target:
    return Target("rd", Span(sector), Span(name), owner)


def test_the_recipes_do_what_they_say(recipes: dict[str, Policy]) -> None:
    cells = [
        ("own names", DEVICE, Action.REGISTER, one("", "lamp"), True),
        ("own names", DEVICE, Action.REGISTER, one("", "door"), False),
        ("own names", DEVICE, Action.REGISTER, one("", "lamp", "psk:door"), False),
        ("own names", ANONYMOUS, Action.REGISTER, one("", "lamp"), False),
        ("own names", ANONYMOUS, Action.LOOK_UP, Target("rd"), True),
        ("tenants", RED, Action.REGISTER, one("red", "x"), True),
        ("tenants", RED, Action.REGISTER, one("blue", "x"), False),
        ("tenants", RED, Action.LOOK_UP, Target("rd"), True),
        ("tenants", RED, Action.STATUS, Target("node"), False),
        ("tenants", ANONYMOUS, Action.LOOK_UP, Target("rd"), False),
        ("dashboards", READER, Action.WATCH, Target("rd"), True),
        ("dashboards", READER, Action.STATUS, Target("node"), True),
        ("dashboards", READER, Action.REGISTER, one("", "x"), False),
        ("dashboards", DEVICE, Action.LOOK_UP, Target("rd"), False),
        ("closed", DEVICE, Action.LOOK_UP, Target("rd"), True),
        ("closed", DEVICE, Action.REGISTER, one("", "lamp"), False),
        ("closed", ANONYMOUS, Action.DISCOVER, Target("node"), False),
        ("closed", OPERATOR, Action.REGISTER, one("", "x"), True),
        ("lab", ANONYMOUS, Action.RENEW, one("", "x", "psk:other"), True),
        ("lab", ANONYMOUS, Action.ADMINISTER, Target("node"), False),
        ("lab", ANONYMOUS, Action.PEER, Target("node"), False),
        ("lab", OPERATOR, Action.ADMINISTER, Target("node"), True),
    ]
    for name, who, action, target, allowed in cells:
        assert recipes[name].decide(who, action, target).allowed == allowed, (name, who, action, target)
    view = recipes["tenants"].decide(RED, Action.LOOK_UP, Target("rd")).view
    assert view is not None
    assert (view.shows("red", "x"), view.shows("blue", "x"), view.shows(None, "x")) == (True, False, False)


def test_the_page_tells_of_every_key_action_and_room() -> None:
    keys = ["who", "do", "in", "sector", "name", "owner"]
    assert list(Written.__struct_encode_fields__) == keys
    for word in (*keys, *(action.value for action in Action), *ROOMS):
        assert f"`{word}`" in PAGE
