"""Every verb's JSON is what its published schema says, and nothing more."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from msgspec import structs

from waypost.api.sync import SyncClient
from waypost.cli import schemas
from waypost.cli.claiming import Author, before
from waypost.cli.verbs import waypost
from waypost.identity.keys import make_ed25519, read_private_ed25519, write_private
from waypost.record import ROSTER, Member, roster_in

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"
FORMATS = ("json", "jsonl")


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


def closed(schema: Any) -> Any:
    """As `schema`, but a property that it does not name is wrong."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(item) for name, item in schema.items()}
    return {"additionalProperties": False} | inner if "properties" in schema else inner


def published(verb: str) -> Any:
    return closed(json.loads((FOLDER / f"{verb.replace(' ', '-')}.json").read_text()))


def alternatives(verb: str) -> list[Any]:
    """What a line may be: each verb's reports, each by itself."""
    schema = published(verb)
    line = schema["$defs"]["line"]
    return [{**part, "$defs": schema["$defs"]} for part in line.get("anyOf", [line])]


def texts(output: str) -> list[Any]:
    """The JSON texts that follow each other in `output`."""
    found: list[Any] = []
    decoder, rest = json.JSONDecoder(), output.lstrip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


class Story:
    """Calls each verb; `lines` has what each wrote, item by item."""

    def __init__(self, directory: Path, form: str) -> None:
        self.lines: dict[str, list[Any]] = {}
        self._form = form
        self.directory = directory
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
        self._environment["WAYPOST_DIR"] = str(directory)
        self.peers = self.http = ""  # of the node

    @contextmanager
    def running(self) -> Iterator[None]:
        """A node, which the verbs then talk to."""
        command = [sys.executable, "-m", "waypost", "run", "-o", self._form]
        listen = {f"WAYPOST_{name}_LISTEN": "127.0.0.1:0" for name in ("COAP", "COAPS", "HTTP", "PEERS")}
        listen["WAYPOST_LEDGER_ROUND_S"] = "1"
        with subprocess.Popen(
            command, env=self._environment | listen, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            try:
                ready = process.stdout.readline()
                self.take("run", ready)
                listeners = json.loads(ready)["listeners"]
                self.peers, self.http = f"https://{listeners['peers']}", listeners["http"]
                yield
            finally:
                process.terminate()

    def write(self, name: str, text: str) -> str:
        """A file beside the state directory; its name."""
        (self.directory / name).write_text(text)
        return name

    def secret(self, name: str, text: str) -> str:
        """A file for its owner alone, likewise."""
        (self.directory / self.write(name, text)).chmod(0o600)
        return name

    def call(self, verb: str, *arguments: str, code: int = 0, fails: bool = True) -> None:
        """`fails`: with another code than 0 it writes an error."""
        command = [sys.executable, "-m", "waypost", *verb.split(), *arguments, "-o", self._form]
        ended = subprocess.run(
            command, env=self._environment, cwd=self.directory, check=False, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == code, ended.stderr
        if code and fails:
            verb, ended.stdout = schemas.ERROR, ended.stderr
        self.take(verb, ended.stdout)

    def take(self, verb: str, output: str) -> None:
        """Judges all of it with -o json, and each line with -o jsonl."""
        schema = published(verb)
        line = {**schema["$defs"]["line"], "$defs": schema["$defs"]}
        lines = self.lines.setdefault(verb, [])
        if self._form == "json" and verb not in (schemas.ERROR, "run"):  # these write lines
            found = texts(output)
            assert len(found) == 1 or verb in schemas.STREAMS
            for text in found:
                jsonschema.validate(text, schema)
                lines += text if isinstance(text, list) else [text]
        else:
            lines += [json.loads(text) for text in output.splitlines()]
        assert output
        for item in lines:
            jsonschema.validate(item, line)


@pytest.fixture(scope="module", params=FORMATS)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    story = Story(tmp_path_factory.mktemp("story"), request.param)
    story.call("init")
    with story.running():
        lamp = ("--base", "coap://[2001:db8::1]", "--link", "</t>;rt=lamp", "--attribute", "et=lamp", "--d", "floor")
        story.call("register", "lamp", *lamp)
        story.call("register", "door", *lamp)
        story.call("renew", "lamp", "--lt", "600")
        story.call("find", "rt=lamp")
        story.call("find", "--endpoints", "rt=lamp")
        story.call("status")
        story.call("doctor", *(f"--{name}-listen=127.0.0.1:0" for name in ("coap", "coaps", "http", "peers")))
        story.call("report", "report.json")
        story.call("watch", "--once")
        story.call("export")
        story.call("export", "lines")
        story.call("import", "lines")
        story.call("backup create", "node.tar")
        story.call("unregister", "lamp")
        story.call("evict", "door", "--for", "1h")
        story.call("evict", "--list")
        story.call("evict", "--undo", "door")
        tell_of_tokens(story)
        tell_of_records(story)
        tell_of_the_log(story)
        story.call("find", "rt=*", "--url", "http://127.0.0.1:1", code=3)
    story.call("policy show")
    story.call("policy check")
    story.call("policy test", "--do", "look-up")
    story.call("config show")
    story.call("config check")
    story.call("config reference")
    story.call("completion", "bash")
    story.call("demo", "--once")
    story.call("backup verify", "node.tar")
    story.call("restore", "node.tar", "--dir", "restored")
    tell_of_keys(story)
    return story


def tell_of_tokens(story: Story) -> None:
    story.call("token create", "ci", "--role", "reader", "--scope", "look-up", "--scope", "sector=floor-1*")
    story.call("token create", "lamp-1", "--role", "device", "--join")
    story.call("token list")
    bearer, joining = story.lines["token create"]
    story.call("token revoke", bearer["id"])
    story.call("join", joining["token"], story.peers, "--out", "lamp-1-joined")


def tell_of_records(story: Story) -> None:
    key = story.secret("network.pem", story.lines["init"][0]["operator_key"])
    story.call("claim", "lamp", "coap://[2001:db8::1]", "--queue", "--key", key)
    story.call("claim", "lamp", "late", "--if-version", "0", "--key", key, code=4, fails=False)
    story.call("find", "--record", "lamp", "--quorum")
    heir = story.secret("heir.pem", write_private(make_ed25519()).decode())
    story.call("transfer", "lamp", "--accept", "lamp.taken", "--key", heir)
    story.call("transfer", "lamp", "--accepted", "lamp.taken", "--key", key)
    story.call("history", "lamp")
    story.call("peers list")
    story.call("votes")
    story.call("peers allow", "names/", "ab" * 32, "--key", key)
    let_in(story, key, "node-2", "node-3")
    story.call("peers remove", "node-3", "--key", key)
    story.call("peers promote", "node-2", "--key", key)  # which nobody ever started: nothing is committed any more
    story.call("peers force", story.lines["peers list"][0]["name"], "--accept-loss", "--key", key)


def tell_of_the_log(story: Story) -> None:
    key = ("--key", story.secret("speaker.pem", story.lines["init"][0]["operator_key"]))
    story.call("log status")
    story.call("log policy")
    policy = ("--policy", story.write("tlog-policy", story.lines["log policy"][0]["text"]))
    story.call("prove", "lamp", "lamp.proof")
    story.call("verify", "lamp.proof", *policy)
    story.call("find", "--at", "9999", "lamp")
    story.call("log diff", "0", str(story.lines["prove"][0]["index"]))
    story.call("log add", '{"says": "so"}', "--prev", "ab" * 32, *key)
    story.call("log prove", str(story.lines["log add"][0]["index"]), "said.proof")
    story.call("verify", "said.proof", *policy)
    story.call("log add", '{"says": "no"}', "--prev", "ab" * 32, *key, code=2)  # two at once, which proves itself
    story.call("log evidence")
    digest = story.lines["log evidence"][0]["digest"]
    story.call("log evidence", digest)
    story.write("evidence", next(line["text"] for line in story.lines["log evidence"] if line["text"]))
    story.call("verify", "evidence", *policy)
    story.call("log audit", f"http://{story.http}/log", "--key", story.lines["log status"][0]["key"])
    story.call("log fsck")
    story.call("log resume")


def let_in(story: Story, key: str, *names: str) -> None:
    """Make learners of nodes that are not there."""
    author = Author(read_private_ed25519((story.directory / key).read_bytes()))
    with SyncClient(f"unix://{story.directory}/waypost.sock") as node:
        next, current = before(node, ROSTER)
        assert current is not None
        roster = roster_in(current.record)
        learners = tuple(Member(name, 1, sha256(name.encode()).hexdigest(), "", "") for name in names)
        changed = structs.replace(roster, epoch=roster.epoch + 1, learners=learners)
        record = author.sign(next, ROSTER, changed.encode().decode(), current.record.holder)
        assert node.claim(record).state == "committed"


def tell_of_keys(story: Story) -> None:
    for place in ("ours", "theirs"):
        story.call("init", "--dir", place)
    key = story.write("operator.pem", story.lines["init"][1]["operator_key"])
    ours, signed = ("--dir", "ours"), ("--dir", "ours", "--operator-key", key)
    story.call("ca issue", "lamp-3", "--role", "device", "--out", "lamp-3", *ours)
    story.call("ca revoke", "lamp-3", *ours)
    story.call("ca rotate", *signed)
    story.call("ca renew", "--days", "30", *signed)
    story.call("ca trust add", "theirs/keys/ca.crt", "--as", "theirs", *signed)
    story.call("ca trust remove", "theirs", *signed)
    story.call("ca show", *ours)
    story.call("ca list", *ours)


def test_every_verb_has_a_schema_and_every_schema_a_verb() -> None:
    assert sorted(leaves(waypost)) == sorted(schemas.REPORTS)


def test_the_schemas_in_the_documentation_are_current() -> None:
    """`python -m waypost.cli.schemas docs/schemas` makes them so."""
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == schemas.files()


def test_the_page_for_operators_links_to_each_schema() -> None:
    page = (FOLDER.parent / "operating.md").read_text()
    assert sorted(re.findall(r"<schemas/(.+?)>", page)) == sorted(schemas.files())


@pytest.mark.parametrize("verb", [*schemas.REPORTS, schemas.ERROR])
def test_a_schema_is_json_schema(verb: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schemas.document(verb))


@pytest.mark.parametrize("verb", [*schemas.REPORTS, schemas.ERROR])
def test_a_verb_writes_what_its_schema_says_and_each_report_that_it_names(story: Story, verb: str) -> None:
    assert verb in story.lines, f"call {verb} in the story, so that what it writes is held to its schema"
    for report in alternatives(verb):
        judge = jsonschema.Draft202012Validator(report)
        assert any(judge.is_valid(line) for line in story.lines[verb]), f"nothing that {verb} wrote is {report}"
