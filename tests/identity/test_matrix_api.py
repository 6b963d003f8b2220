"""Every route of the API, by everybody: the API's part of the matrix."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from embedded import Embedded
from logbook import EVIDENCE
from people import key_of, public_of
from rights import ASKERS, SECTORS, THINGS, may, policy
from serving import JSON, JSONL, Api

from house import EVERY, House, named, refused, served
from waypost.api import moving
from waypost.api.problem import Refusal
from waypost.api.sights import of_records
from waypost.api.watching import Feed
from waypost.cli.keys import wall_ms
from waypost.drip.outcome import Outcome, State
from waypost.drip.questions import Cancel, Open, Queued
from waypost.errors import StateError
from waypost.identity import OPERATOR
from waypost.identity.policy import Policy, default
from waypost.ledger.statement import Statement
from waypost.rd.questions import Evict, Register, Remove
from waypost.record import Ballot

HOUSE = House()


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with served(HOUSE) as one:
        yield one


# Routes about the node as a whole.
WHOLE = {
    ("GET", "/v1/status"): "status",
    ("GET", "/v1/peers"): "status",
    ("GET", "/v1/log"): "status",
    ("POST", "/v1/log/resume"): "administer",
    ("POST", "/v1/peers/forced"): "administer",
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
WAITING = ("DELETE", RECORD + "/transactions/{version}/{txid}")  # of a record that waits
# About the log, which has no parts: who may do it to all things may do it to the log.
LOG: dict[tuple[str, str], str] = {
    ("GET", "/v1/log/entries"): "read",
    ("GET", "/v1/log/entries/{id}/proof"): "read",
    ("GET", "/v1/log/evidence/{id}"): "read",
    ("POST", "/v1/log/statements"): "administer",
}
PROOF = ("GET", "/v1/log/proof")  # of a record
NOT_ROUTES = {"/.well-known/coap"}  # CoAP over WebSocket: who speaks it asks what the engine decides


def test_every_route_has_a_row() -> None:
    told = {*WHOLE, *ONE, *RANGE, *RECORDS, *BATCH, *LOG, PROOF, WAITING}
    assert {(route.method, route.path) for route in EVERY} == told


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
@pytest.mark.parametrize("route", LOG)
def test_the_log_is_for_those_who_may_see_all_of_it(api: Api, route: tuple[str, str], asker: str) -> None:
    HOUSE.begin()
    HOUSE.asker = asker
    method, path = route
    target = path.replace("evidence/{id}", f"evidence/{EVIDENCE}").replace("{id}", "0")
    signer = key_of("operator")
    statement = Statement(wall_ms(), {}, "example", "", public_of("operator")).signed(signer.sign)
    body = msgspec.json.encode(statement) if method == "POST" else None
    answer = api.ask(method, target, body, JSON if body else None)
    assert refused(answer, asker) != (may(asker, LOG[route]) == THINGS), answer
    assert refused(answer, asker) or answer.status < 300
    assert (len(HOUSE.log.entries) == 4) == (method == "POST" and not refused(answer, asker))
    if method == "GET":
        assert api.ask("HEAD", target).status == answer.status


@pytest.mark.parametrize("asker", ASKERS)
def test_a_record_is_proven_to_those_who_may_read_it(api: Api, asker: str) -> None:
    HOUSE.begin()
    HOUSE.asker = asker
    for thing in THINGS:
        for version in ("", "&version=1"):
            answer = api.ask("GET", f"{PROOF[1]}?namespace={SECTORS[thing]}&key={thing}{version}")
            assert refused(answer, asker) != (thing in may(asker, "read")), (thing, answer)
        answer = api.ask("GET", f"{PROOF[1]}?namespace={SECTORS[thing]}&key={thing}&version=7")
        hidden = thing not in may(asker, "read")
        assert answer.status == (404 if not hidden else 401 if asker == "anonymous" else 403)


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
def test_a_record_as_it_stood(api: Api, asker: str) -> None:
    """Who may read a record may know what it was."""
    HOUSE.begin()
    HOUSE.asker = asker
    for thing in THINGS:
        path = HOUSE.path(RECORD + "/history?at=2", thing)
        assert refused(api.ask("GET", path), asker) != (thing in may(asker, "read"))


@pytest.mark.parametrize("asker", ASKERS)
def test_the_votes_under_way(api: Api, asker: str) -> None:
    """Who may hear of votes hears of those on records that it may read."""
    HOUSE.begin()
    HOUSE.asker = asker
    ballot = Ballot(1, 0, "anna")
    HOUSE.mesh.open = tuple(
        Open(HOUSE.record(thing).place, 1, ballot, ballot, "", HOUSE.record(thing)) for thing in sorted(THINGS)
    )
    HOUSE.mesh.queued = tuple(
        Queued(HOUSE.record(thing).place, 1, HOUSE.record(thing).txid, "", 1, 2, False) for thing in sorted(THINGS)
    )
    answer = api.ask("GET", "/v1/votes")
    assert refused(answer, asker) != bool(may(asker, "status"))
    if not refused(answer, asker):
        assert named(answer.body.decode()) == may(asker, "read")
        assert answer.json["total"] == answer.json["waiting"] == len(may(asker, "read"))


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
def test_taking_back_what_waits(api: Api, asker: str) -> None:
    """Who may claim a thing may take back a claim to it."""
    HOUSE.begin()
    HOUSE.asker = asker
    HOUSE.mesh.answers[Cancel] = Outcome(State.CANCELLED, None)
    method, path = WAITING
    for thing in THINGS:
        HOUSE.mesh.asked.clear()
        answer = api.ask(method, HOUSE.path(path, thing))
        assert refused(answer, asker) != (thing in may(asker, "claim"))
        place, txid = HOUSE.records[thing].place, HOUSE.records[thing].txid
        assert HOUSE.mesh.asked == ([] if refused(answer, asker) else [Cancel(place, 1, txid)])


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
