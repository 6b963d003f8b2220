"""Every route of the API and every verb that asks a node, by everybody: the API's part of the matrix."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from embedded import Embedded
from lone import NETWORK, Lone, Whole
from people import record as signed
from rights import ASKERS, SECTORS, THINGS, may, policy
from serving import JSON, JSONL, Answer, Api, serving

from waypost.api import moving
from waypost.api.problem import Refusal
from waypost.api.routes import PEER_ROUTES, ROUTES
from waypost.api.sights import of_records
from waypost.api.watching import Feed
from waypost.cli.verbs import call, waypost
from waypost.drip.questions import Open
from waypost.errors import StateError
from waypost.identity import OPERATOR, Identity
from waypost.identity.policy import Policy, default
from waypost.rd.questions import Evict, Register, Registered, Remove
from waypost.record import Ballot, Record

EVERY = tuple({(route.method, route.path): route for route in (*ROUTES, *PEER_ROUTES)}.values())


class House:
    """A node with the three things in it, made anew for each test, behind one server; `asker` is who asks next."""

    def __init__(self) -> None:
        self.policy = policy()
        self.asker = "operator"
        self.node = Embedded()
        self.mesh = Lone()
        self.records: dict[str, Record] = {}
        self.locations: dict[str, str] = {}
        self.begin()

    def begin(self) -> None:
        self.node = Embedded(self.policy.decide)
        for thing in sorted(THINGS):
            who = OPERATOR if thing == "safe" else ASKERS[thing]
            links = f"</{thing}>;rt=thing".encode()
            made = self.put(Register(thing, SECTORS[thing], 600, "coap://h", "", (), links, "192.0.2.1", who))
            assert isinstance(made, Registered)
            self.locations[thing] = made.location
        self.mesh = Lone()
        for thing in sorted(THINGS):
            self.records[thing] = self.mesh.put(self.record(thing))

    def record(self, thing: str, before: Record | None = None) -> Record:
        return signed(thing, before, place=(SECTORS[thing], thing), network=NETWORK)

    def put(self, question: Any) -> object:
        return asyncio.run(self.node.ask(question))

    async def ask(self, question: Any) -> object:
        return await Whole(self.node, self.mesh).ask(question)

    async def identify(self, _: object) -> Identity:
        return ASKERS[self.asker]

    def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return Whole(self.node, self.mesh).after(table, key, limit)

    def path(self, path: str, thing: str) -> str:
        """Of a route, about that thing."""
        made = self.records[thing]
        named = {
            "id": self.locations[thing],
            "namespace": SECTORS[thing],
            "key": thing,
            "version": "1",
            "txid": made.txid,
        }
        for name, value in named.items():
            path = path.replace(f"{{{name}}}", value)
        return path


HOUSE = House()


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with served() as one:
        yield one


@contextmanager
def served() -> Iterator[Api]:
    with serving(HOUSE.ask, rows=HOUSE, identify=HOUSE.identify, decide=HOUSE.policy.decide, routes=EVERY) as one:
        yield one


def named(text: str) -> frozenset[str]:
    return frozenset(thing for thing in THINGS if thing in text)


def refused(answer: Answer, asker: str) -> bool:
    """401 for strangers and 403 for all others; what is hidden is not there."""
    if answer.status in (401, 403):
        assert answer.status == (401 if asker == "anonymous" else 403)
        return True
    return answer.status == 404


# Routes about the node as a whole.
WHOLE = {
    ("GET", "/v1/status"): "status",
    ("GET", "/v1/peers"): "status",
    ("GET", "/metrics"): "status",
    ("GET", "/v1/openapi.json"): "discover",
    ("GET", "/livez"): "discover",
    ("GET", "/readyz"): "discover",
    ("GET", "/v1/peer"): "peer",
    ("GET", "/v1/trust"): "peer",
    ("POST", "/v1/renew"): "peer",
    ("GET", "/v1/join"): "join",
    ("POST", "/v1/join"): "join",
    ("POST", "/v1/tokens"): "administer",
    ("GET", "/v1/tokens"): "administer",
    ("DELETE", "/v1/tokens/{id}"): "administer",
}
RECORD = "/v1/records/{namespace}/{key}"
# About one thing, by its id or its name, and with which body.
ONE: dict[tuple[str, str], tuple[str, Callable[[str], Any]]] = {
    ("POST", "/v1/endpoints"): ("register", lambda thing: {"ep": thing, "d": SECTORS[thing], "base": "coap://h"}),
    ("GET", "/v1/endpoints/{id}"): ("read", lambda thing: None),
    ("PATCH", "/v1/endpoints/{id}"): ("renew", lambda thing: {"lt": 700}),
    ("DELETE", "/v1/endpoints/{id}"): ("remove", lambda thing: None),
    ("DELETE", "/v1/evictions/{id}"): ("evict", lambda thing: None),
    ("PUT", RECORD): ("claim", lambda thing: HOUSE.record(thing, HOUSE.records[thing])),
    ("GET", RECORD): ("read", lambda thing: None),
    ("GET", RECORD + "/history"): ("read", lambda thing: None),
    ("GET", RECORD + "/transactions/{version}/{txid}"): ("read", lambda thing: None),
}
# About a range, each in these forms.
FORMS: dict[str, Callable[[str, str], bool]] = {
    "": lambda name, thing: True,
    "rt=thing": lambda name, thing: True,
    "ep={0}": lambda name, thing: name == thing,
    "ep={0:.2}*": lambda name, thing: name[:2] == thing[:2],
    "d={1}": lambda name, thing: SECTORS[name] == SECTORS[thing],
}
RANGE = {
    ("GET", "/v1/endpoints"): "look-up",
    ("GET", "/v1/links"): "look-up",
    ("GET", "/v1/export"): "export",
    ("GET", "/v1/watch"): "watch",
    ("GET", "/v1/evictions"): "evict",
}
RECORDS = {
    ("GET", "/v1/records"): "look-up",
    ("GET", "/v1/changes"): "watch",
    ("GET", "/v1/votes"): "status",
}
BATCH = {("POST", "/v1/import"): "import"}
NOT_ROUTES = {"/.well-known/coap"}  # CoAP over WebSocket: who speaks it asks what the engine decides


def test_every_route_has_a_row() -> None:
    assert {(route.method, route.path) for route in EVERY} == {*WHOLE, *ONE, *RANGE, *RECORDS, *BATCH}


def test_no_other_method_does_anything(api: Api) -> None:
    HOUSE.asker = "operator"
    for path in {route.path for route in EVERY}:
        methods = {route.method for route in EVERY if route.path == path}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - methods:
            assert api.ask(method, HOUSE.path(path, "lamp")).status == 405, (method, path)


@pytest.mark.parametrize("asker", ASKERS)
def test_routes_about_the_node(api: Api, asker: str) -> None:
    HOUSE.begin()
    HOUSE.asker = asker
    for (method, path), action in WHOLE.items():
        for asked in (method, "HEAD") if method == "GET" else (method,):
            body = None if method == "GET" else b"{}"
            answer = api.ask(asked, path.replace("{id}", "none"), body, JSON if body else None)
            denied = answer.status == (401 if asker == "anonymous" else 403)
            if denied and path == "/v1/join" and asked == "POST":  # without a join token nobody joins
                denied = any(said in answer.problem["detail"] for said in ("policy allows", "revoked", "in part only"))
            assert denied != bool(may(asker, action)), (asked, path, answer)
            if path != "/v1/openapi.json":
                told = answer.body.decode().replace(ASKERS[asker].subject, "")
                assert not named(told), "what is registered is no figure of the node"


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("route", ONE)
def test_routes_about_one_thing(api: Api, route: tuple[str, str], asker: str) -> None:
    method, path = route
    action, body_of = ONE[route]
    for thing in THINGS:
        HOUSE.begin()
        HOUSE.asker = asker
        if "evictions" in path:
            HOUSE.put(Evict(HOUSE.locations[thing], 60, OPERATOR))
        body = body_of(thing)
        sent = None if body is None else msgspec.json.encode(body)
        answer = api.ask(method, HOUSE.path(path, thing), sent, JSON if sent else None)
        assert refused(answer, asker) != (thing in may(asker, action)), (thing, answer)
        assert refused(answer, asker) or answer.status < 300
        if method == "GET":
            assert api.ask("HEAD", HOUSE.path(path, thing)).status == answer.status


def test_a_renewal_whose_answer_may_not_be_read_changes_nothing(api: Api) -> None:
    HOUSE.begin()
    HOUSE.policy.adopt(
        Policy.read(
            {"allow": [{"who": ["role:device"], "do": ["renew"]}, {"who": ["operator"], "do": ["*"]}]}, "no reading"
        )
    )
    try:
        where = f"/v1/endpoints/{HOUSE.locations['lamp']}"
        HOUSE.asker = "lamp"
        assert api.ask("PATCH", where, b'{"lt":777}', JSON).status == 403
        HOUSE.asker = "operator"
        assert api.ask("GET", where).json["lt"] == 600
    finally:
        HOUSE.policy.adopt(policy())


@pytest.mark.parametrize("asker", ASKERS)
def test_evicting_one_thing(api: Api, asker: str) -> None:
    """To evict is more than to remove, and takes both."""
    for thing in THINGS:
        HOUSE.begin()
        HOUSE.asker = asker
        answer = api.ask("DELETE", f"/v1/endpoints/{HOUSE.locations[thing]}?for_s=60")
        assert refused(answer, asker) != (thing in may(asker, "evict")), (thing, answer)


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", [path for _, path in RANGE if path not in ("/v1/watch", "/v1/evictions")])
def test_routes_about_a_range(api: Api, path: str, form: str, asker: str) -> None:
    HOUSE.begin()
    HOUSE.asker = asker
    action = RANGE["GET", path]
    for thing in THINGS:
        answer = api.ask("GET", f"{path}?{form.format(thing, SECTORS[thing])}")
        assert refused(answer, asker) != bool(may(asker, action))
        expected = frozenset(name for name in may(asker, action) if FORMS[form](name, thing))
        if not refused(answer, asker):
            lines = answer.body.decode().splitlines() if path == "/v1/export" else [answer.body.decode()]
            assert named("".join(lines).partition('"next"')[0]) == expected
        assert api.ask("HEAD", f"{path}?{form.format(thing, SECTORS[thing])}").status == answer.status


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("form", ["", "namespace={1}", "namespace={1}&prefix={0}", "namespace={1}&prefix={0:.2}"])
def test_the_list_of_records(api: Api, form: str, asker: str) -> None:
    HOUSE.begin()
    HOUSE.asker = asker
    for thing in THINGS:
        answer = api.ask("GET", f"/v1/records?{form.format(thing, SECTORS[thing])}")
        expected = {name for name in may(asker, "look-up") if name == thing or not form}
        if "prefix" not in form and form:
            expected = {name for name in may(asker, "look-up") if SECTORS[name] == SECTORS[thing]}
        assert refused(answer, asker) or named(answer.body.decode().partition('"next"')[0]) == expected
        assert expected == set() or not refused(answer, asker)


@pytest.mark.parametrize("asker", ASKERS)
def test_the_votes_under_way(api: Api, asker: str) -> None:
    """Who may hear of votes hears of those on records that it may read."""
    HOUSE.begin()
    HOUSE.asker = asker
    ballot = Ballot(1, 0, "anna")
    HOUSE.mesh.open = tuple(
        Open(HOUSE.record(thing).place, 1, ballot, ballot, "", HOUSE.record(thing)) for thing in sorted(THINGS)
    )
    answer = api.ask("GET", "/v1/votes")
    assert refused(answer, asker) != bool(may(asker, "status"))
    if not refused(answer, asker):
        assert named(answer.body.decode()) == may(asker, "read")
        assert answer.json["total"] == len(may(asker, "read"))


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("since", [False, True], ids=["all", "history"])
def test_the_feed_of_records(asker: str, since: bool) -> None:
    HOUSE.begin()
    told: set[str] = set()

    async def tell() -> None:
        feed = Feed(HOUSE.mesh.ask, HOUSE.mesh, HOUSE.policy.decide)
        start = f"{(await feed.state()).feed_id.hex()}.0" if since else None
        try:
            watcher = await feed.begin(of_records(HOUSE.policy.decide, ASKERS[asker], None, ""), start, "")
            async for event in watcher.events():
                if event.kind == "synced":
                    break
                assert event.committed is not None
                told.add(event.committed.record.key)
        finally:
            await feed.close()

    if may(asker, "watch"):
        asyncio.run(tell())
    else:
        with pytest.raises(Refusal):
            asyncio.run(tell())
    assert told == may(asker, "watch")


@pytest.mark.parametrize("asker", ASKERS)
def test_the_list_of_evictions(api: Api, asker: str) -> None:
    HOUSE.begin()
    HOUSE.asker = asker
    for location in HOUSE.locations.values():
        HOUSE.put(Evict(location, 60, OPERATOR))
    answer = api.ask("GET", "/v1/evictions")
    assert refused(answer, asker) != bool(may(asker, "evict"))
    assert refused(answer, asker) or named(answer.body.decode()) == may(asker, "evict")


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("dry", ["", "?dry_run"])
def test_a_batch_is_decided_line_by_line(api: Api, dry: str, asker: str) -> None:
    HOUSE.begin()
    HOUSE.asker = asker
    for location in HOUSE.locations.values():
        HOUSE.put(Remove(location, who=OPERATOR))
    lines = [{"ep": thing, "d": SECTORS[thing], "base": "coap://h", "lt": 60, "links": ""} for thing in sorted(THINGS)]
    answer = api.ask("POST", "/v1/import" + dry, "\n".join(map(json.dumps, lines)).encode(), JSONL)
    assert refused(answer, asker) != bool(may(asker, "import"))
    if not refused(answer, asker):
        assert answer.json["imported"] == len(may(asker, "import"))
        assert len(answer.json["errors"]) == 3 - len(may(asker, "import"))
        assert not named(json.dumps(answer.json)), "an error names nothing"


def test_an_export_under_way_breaks_off_when_its_reader_is_revoked() -> None:
    async def tell() -> None:
        rules = default()
        node, admin = Embedded(rules.decide), ASKERS["admin"]
        for number in range(moving.PAGE + 1):
            await node.ask(Register(f"e{number}", None, 600, "coap://h", "", (), b"", "", admin))
        lines = moving.Exports(node.ask).begin((), admin)
        assert (await anext(lines)).count(b"\n") == moving.PAGE
        rules.revoke(admin.subject)
        with pytest.raises(StateError):
            await anext(lines)

    asyncio.run(tell())


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("since", [False, True], ids=["all", "history"])
def test_the_feed(asker: str, since: bool) -> None:
    """From the start, and from the token of one who saw all; each change afterwards, coming and going."""

    HOUSE.begin()
    told: set[str] = set()

    async def tell() -> None:
        feed = Feed(HOUSE.node.ask, HOUSE.node, HOUSE.policy.decide, HOUSE.node.wall_s)
        start = f"{(await feed.state()).feed_id.hex()}.0" if since else None
        try:
            watcher = await feed.watch((), ASKERS[asker], start, "")
            async for event in watcher.events():
                if event.kind == "synced":
                    break
                assert event.entry is not None
                told.add(event.entry.ep)
        finally:
            await feed.close()

    if may(asker, "watch"):
        asyncio.run(tell())
    else:
        with pytest.raises(Refusal):
            asyncio.run(tell())
    assert told == may(asker, "watch")


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
# About the node as a whole.
VERBS_WHOLE = {
    "status": ("status", []),
    "token create": ("administer", ["x", "--role", "reader"]),
    "token list": ("administer", []),
}
# These ask nobody, or a node of their own; or say what they could not find out.
ALONE = {
    *("run", "init", "demo", "completion", "doctor", "report", "join", "token revoke"),
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
    assert set(leaves(waypost)) == {*VERBS, *VERBS_WHOLE, "import", *ALONE}


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("verb", VERBS)
def test_verbs_about_one_thing(api: Api, capsys: pytest.CaptureFixture[str], verb: str, asker: str) -> None:
    action, arguments = VERBS[verb]
    for thing in THINGS:
        HOUSE.begin()
        HOUSE.asker = asker
        if verb == "watch":  # who watched before is let go by and by
            with served() as fresh:
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


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("verb", VERBS_WHOLE)
def test_verbs_about_the_node(api: Api, capsys: pytest.CaptureFixture[str], verb: str, asker: str) -> None:
    action, arguments = VERBS_WHOLE[verb]
    HOUSE.begin()
    HOUSE.asker = asker
    code = call([*verb.split(), *arguments, "--url", api.url, "-o", "json"])
    assert (code == 4) != bool(may(asker, action)), capsys.readouterr()


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
