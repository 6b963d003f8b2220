"""Every verb that asks a node, by everybody: the command's part of the matrix."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from logbook import EVIDENCE
from people import key_of, public_of
from rights import ASKERS, SECTORS, THINGS, may
from serving import Api

from house import House, named, served
from waypost.cli.verbs import call, waypost
from waypost.identity import OPERATOR
from waypost.identity.keys import write_private
from waypost.rd.questions import Remove

HOUSE = House()


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with served(HOUSE) as one:
        yield one


# Verbs that ask a node, what that is to the policy, and how each is called about a thing.
VERBS: dict[str, tuple[str, Callable[[str], list[str]]]] = {
    "register": ("register", lambda thing: [thing, "--d", SECTORS[thing], "--base", "coap://h"]),
    "renew": ("renew", lambda thing: [HOUSE.locations[thing]]),
    "unregister": ("remove", lambda thing: [HOUSE.locations[thing]]),
    "find": ("look-up", lambda thing: ["--endpoints", f"ep={thing}"]),
    "watch": ("watch", lambda thing: ["--once", f"ep={thing}"]),
    "evict": ("evict", lambda thing: [HOUSE.locations[thing], "--for", "1h"]),
    "export": ("export", lambda thing: [f"ep={thing}"]),
}
# About a voted record; who claims reads first what there is.
VERBS_RECORD: dict[str, tuple[tuple[str, ...], Callable[[str], list[str]]]] = {
    "find": (("read",), lambda thing: ["--record", f"{SECTORS[thing]}/{thing}"]),
    "history": (("read",), lambda thing: [f"{SECTORS[thing]}/{thing}"]),
    "prove": (("read",), lambda thing: [f"{SECTORS[thing]}/{thing}", f"{thing}.proof"]),
    "claim": (("read", "claim"), lambda thing: [f"{SECTORS[thing]}/{thing}", thing]),
    "transfer": (("read", "claim"), lambda thing: [f"{SECTORS[thing]}/{thing}", public_of("operator")]),
}
# About the node as a whole; who changes the roster may claim everything, as an operator may.
ROSTER_KEY = "operator.pem"
VERBS_WHOLE = {
    "status": ("status", []),
    "peers list": ("status", []),
    "votes": ("status", []),
    "log status": ("status", []),
    "log policy": ("status", []),
    "log resume": ("administer", []),
    "peers promote": ("administer", ["node-2", "--key", ROSTER_KEY]),
    "peers remove": ("administer", ["node-2", "--key", ROSTER_KEY]),
    "peers force": ("administer", ["node-2", "--accept-loss", "--key", ROSTER_KEY]),
    "peers allow": ("administer", ["names/", "ab" * 32, "--key", ROSTER_KEY]),
    "token create": ("administer", ["x", "--role", "reader"]),
    "token list": ("administer", []),
}
# About the log: who may do it to all things may do it to the log.
VERBS_LOG = {
    "log prove": (("read",), ["0", "proof"]),
    "log diff": (("status", "read"), ["0", "2"]),
    "log evidence": (("read",), [EVIDENCE]),
    "log add": (("administer",), ["{}", "--first", "--key", ROSTER_KEY]),
}
# These ask nobody, or a node of their own; or say what they could not find out.
ALONE = {
    *(
        "run",
        "init",
        "demo",
        "completion",
        "doctor",
        "report",
        "join",
        "token revoke",
        "verify",
        "log fsck",
        "log audit",
    ),
    *("ca issue", "ca list", "ca renew", "ca revoke", "ca rotate", "ca show", "ca trust add", "ca trust remove"),
    *("backup create", "backup verify", "restore"),
    *("policy check", "policy show", "policy test", "config check", "config reference", "config show"),
}


def leaves(command: click.Command, *above: str) -> Iterator[str]:
    """The verbs, those of a group by both their names."""
    if not isinstance(command, click.Group):
        yield " ".join(above)
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, *above, name)


def test_every_verb_has_a_row() -> None:
    assert set(leaves(waypost)) == {*VERBS, *VERBS_RECORD, *VERBS_WHOLE, *VERBS_LOG, "import", *ALONE}


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("verb", VERBS)
def test_verbs_about_one_thing(api: Api, capsys: pytest.CaptureFixture[str], verb: str, asker: str) -> None:
    action, arguments = VERBS[verb]
    for thing in THINGS:
        HOUSE.begin()
        HOUSE.asker = asker
        if verb == "watch":  # who watched before is let go by and by
            with served(HOUSE) as fresh:
                code = call([verb, *arguments(thing), "--url", fresh.url, "-o", "json"])
        else:
            code = call([verb, *arguments(thing), "--url", api.url, "-o", "json"])
        told = capsys.readouterr()
        allowed = thing in may(asker, action)
        if verb in ("find", "watch", "export"):  # of a range: what may not be seen is not in it
            assert (thing in told.out) == allowed
            assert (code == 4) == (not may(asker, action)), told.err
        else:
            assert (code == 0) == allowed, told.err
            assert allowed or code in (1, 4)


@pytest.fixture
def signing(tmp_path: Path) -> str:
    """The key that holds the records, and may change the roster."""
    path = tmp_path / ROSTER_KEY
    path.write_bytes(write_private(key_of("operator")))
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("verb", VERBS_RECORD)
def test_verbs_about_one_record(
    api: Api,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signing: str,
    verb: str,
    asker: str,
) -> None:
    actions, arguments = VERBS_RECORD[verb]
    monkeypatch.chdir(tmp_path)
    key = ["--key", signing] if "claim" in actions else []
    for thing in THINGS:
        HOUSE.begin()
        HOUSE.asker = asker
        code = call([verb, *arguments(thing), *key, "--url", api.url, "-o", "json"])
        allowed = all(thing in may(asker, action) for action in actions)
        assert code == (0 if allowed else 4), capsys.readouterr()


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("verb", VERBS_WHOLE)
def test_verbs_about_the_node(
    api: Api, capsys: pytest.CaptureFixture[str], signing: str, verb: str, asker: str
) -> None:
    action, arguments = VERBS_WHOLE[verb]
    HOUSE.begin()
    HOUSE.asker = asker
    given = [signing if each == ROSTER_KEY else each for each in arguments]
    code = call([*verb.split(), *given, "--url", api.url, "-o", "json"])
    assert (code == 4) != bool(may(asker, action)), capsys.readouterr()


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("verb", VERBS_LOG)
def test_verbs_about_the_log(
    api: Api,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signing: str,
    verb: str,
    asker: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    actions, arguments = VERBS_LOG[verb]
    HOUSE.begin()
    HOUSE.asker = asker
    given = [signing if each == ROSTER_KEY else each for each in arguments]
    code = call([*verb.split(), *given, "--url", api.url, "-o", "json"])
    told = capsys.readouterr()
    if all(may(asker, action) == THINGS for action in actions):
        assert code == 0, told
    else:
        assert code != 0
        assert not named(told.out), told


@pytest.mark.parametrize("asker", ASKERS)
def test_the_verb_import(api: Api, capsys: pytest.CaptureFixture[str], tmp_path: Path, asker: str) -> None:
    HOUSE.begin()
    HOUSE.asker = "operator"
    file = tmp_path / "lines"
    assert call(["export", str(file), "--url", api.url]) == 0
    for location in HOUSE.locations.values():
        HOUSE.put(Remove(location, who=OPERATOR))
    capsys.readouterr()
    HOUSE.asker = asker
    code = call(["import", str(file), "--url", api.url, "-o", "json"])
    told = capsys.readouterr()
    if not (may(asker, "import") and may(asker, "status")):  # the verb asks first how the node is
        assert code == 4, told
    else:
        assert json.loads(told.out)["imported"] == len(may(asker, "import"))
