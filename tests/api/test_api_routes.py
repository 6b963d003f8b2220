"""Each route, good and bad: what is asked of the node, and what the answer becomes.

The node answers as the test says; `test_api_directory.py` asks the real one.
"""

import http.client
import logging
import socket
from collections.abc import Iterator

import pytest
from aiohttp import web
from serving import JSON, JSONL, LINKS, Api, serving

from waypost.assembly.questions import Report, Status
from waypost.errors import StateError
from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.rd.questions import (
    Busy,
    Entry,
    Found,
    Kind,
    LinkEntry,
    Lookup,
    Read,
    Reason,
    Refused,
    Register,
    Registered,
    Remove,
    Removed,
    Renew,
    Renewed,
)
from waypost.runtime.figures import Figures

LAMP = Entry("u-1", "lamp", None, "coap://lamp", 60, 59.1234, (("et", "x"), ("on", None)), None)
LIGHT = LinkEntry("coap://lamp/l", "coap://lamp", (("rt", "light"),))
LAMP_JSON = {
    "id": "u-1",
    "ep": "lamp",
    "d": None,
    "base": "coap://lamp",
    "lt": 60,
    "expires_in": 59.123,
    "attributes": [["et", "x"], ["on", None]],
}
LIGHT_JSON = {"href": "coap://lamp/l", "anchor": "coap://lamp", "attributes": [["rt", "light"]]}


class Script:
    """Answers every question with the next outcome, the last one for ever."""

    def __init__(self) -> None:
        self.outcomes: list[object] = []
        self.asked: list[object] = []
        self.ready = {"store": True, "coap": True}

    async def ask(self, question: object) -> object:
        self.asked.append(question)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def api(script: Script) -> Iterator[Api]:
    with serving(script.ask, lambda: script.ready, hosts={"Node.example"}) as api:
        yield api


def test_a_lookup_asks_for_its_criteria_and_shows_a_page_and_the_next(api: Api, script: Script) -> None:
    script.outcomes = [Found(b"", (LAMP,), more=True)]
    answer = api.ask("GET", "/v1/endpoints?et=x&rt=a%20b*&on&page=2&count=1")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "endpoints": [LAMP_JSON],
        "next": "/v1/endpoints?et=x&rt=a%20b*&on&page=3&count=1",
    }
    criteria = (("et", "x"), ("rt", "a b*"), ("on", None))
    assert script.asked == [Lookup(Kind.ENDPOINTS, criteria, 2, 1, structured=True, who=OPERATOR)]


def test_the_last_page_has_no_next(api: Api, script: Script) -> None:
    script.outcomes = [Found(b"", ())]
    assert api.ask("GET", "/v1/endpoints").json == {"endpoints": [], "next": None}
    assert script.asked == [Lookup(Kind.ENDPOINTS, (), 0, 100, structured=True, who=OPERATOR)]


def test_links_are_looked_up_as_resources(api: Api, script: Script) -> None:
    script.outcomes = [Found(b"", (LIGHT,))]
    assert api.ask("GET", "/v1/links?rt=light").json == {"links": [LIGHT_JSON], "next": None}
    assert script.asked == [Lookup(Kind.RESOURCES, (("rt", "light"),), 0, 100, structured=True, who=OPERATOR)]


def test_links_in_link_format_are_the_directorys_own(api: Api, script: Script) -> None:
    script.outcomes = [Found(b"<coap://lamp/l>", (), more=True)]
    answer = api.ask("GET", "/v1/links?count=1", headers={"Accept": "application/link-format"})
    assert (answer.body, answer.headers["Content-Type"]) == (b"<coap://lamp/l>", "application/link-format")
    assert answer.headers["Link"] == '</v1/links?page=1&count=1>; rel="next"'
    assert script.asked == [Lookup(Kind.RESOURCES, (), 0, 1, who=OPERATOR)]


def test_endpoints_in_link_format_have_their_paths_here(api: Api, script: Script) -> None:
    """RFC 9176, 6.4."""
    script.outcomes = [Found(b"", (LAMP,))]
    answer = api.ask("GET", "/v1/endpoints", headers={"Accept": "application/link-format"})
    assert answer.body == b'</v1/endpoints/u-1>;ep="lamp";base="coap://lamp";et="x";on;rt="core.rd-ep"'


def test_a_registration_is_sought_by_its_path_here(api: Api, script: Script) -> None:
    """RFC 9176, 6.2: href also matches the registration resource."""
    script.outcomes = [Found(b"", ())]
    api.ask("GET", "/v1/links?href=/v1/endpoints/u-1")
    assert script.asked == [Lookup(Kind.RESOURCES, (("href", "/reg/u-1"),), 0, 100, structured=True, who=OPERATOR)]


@pytest.mark.parametrize(("created", "status"), [(True, 201), (False, 200)])
def test_registering_in_json_tells_the_location(api: Api, script: Script, created: bool, status: int) -> None:
    script.outcomes = [Registered("u-1", created)]
    body = b"""{"ep": "lamp", "d": "hall", "lt": 60, "base": "coap://lamp", "attributes": [["et", "x"], ["on", null]],
        "links": [{"href": "/l", "anchor": "/", "attributes": [["rt", "a \\"b\\" c"], ["ct", "40"], ["obs", null]]}]}"""
    answer = api.ask("POST", "/v1/endpoints", body, JSON)
    assert (answer.status, answer.headers["Location"]) == (status, "/v1/endpoints/u-1")
    assert answer.json == {"id": "u-1", "created": created}
    links = rb'</l>;anchor="/";rt="a \"b\" c";ct=40;obs'
    attributes = (("et", "x"), ("on", None))
    assert script.asked == [Register("lamp", "hall", 60, "coap://lamp", "", attributes, links, "127.0.0.1", OPERATOR)]


def test_registering_in_link_format_has_the_rest_in_the_query(api: Api, script: Script) -> None:
    """RFC 9176, 5."""
    script.outcomes = [Registered("u-1", True)]
    answer = api.ask("POST", "/v1/endpoints?ep=lamp&base=coap://lamp&et=x&on", b"</l>;rt=light", LINKS)
    assert answer.status == 201
    attributes = (("et", "x"), ("on", None))
    assert script.asked == [
        Register("lamp", None, 90_000, "coap://lamp", "", attributes, b"</l>;rt=light", "127.0.0.1", OPERATOR)
    ]


def test_renewing_shows_the_endpoint_as_it_is_then(api: Api, script: Script) -> None:
    script.outcomes = [Renewed(), LAMP]
    answer = api.ask("PATCH", "/v1/endpoints/u-1", b'{"lt": 60, "attributes": [["et", "x"]]}', JSON)
    assert (answer.status, answer.json) == (200, LAMP_JSON)
    assert script.asked == [
        Renew("u-1", 60, None, None, (("et", "x"),), "127.0.0.1", OPERATOR),
        Read("u-1", who=OPERATOR),
    ]


def test_renewing_needs_no_body(api: Api, script: Script) -> None:
    script.outcomes = [Renewed(), LAMP]
    assert api.ask("PATCH", "/v1/endpoints/u-1").status == 200
    assert script.asked == [Renew("u-1", None, None, None, (), "127.0.0.1", OPERATOR), Read("u-1", who=OPERATOR)]


def test_one_endpoint_is_shown_with_its_links(api: Api, script: Script) -> None:
    script.outcomes = [Entry("u-1", "lamp", "hall", "coap://lamp", 60, -0.5, (), (LIGHT,))]
    assert api.ask("GET", "/v1/endpoints/u-1").json == LAMP_JSON | {
        "d": "hall",
        "expires_in": -0.5,  # held by the brake
        "attributes": [],
        "links": [LIGHT_JSON],
    }
    assert script.asked == [Read("u-1", who=OPERATOR)]


def test_unregistering_leaves_nothing_to_say(api: Api, script: Script) -> None:
    script.outcomes = [Removed()]
    answer = api.ask("DELETE", "/v1/endpoints/u%201", headers={"Accept": "text/html"})
    assert (answer.status, answer.body) == (204, b"")
    assert script.asked == [Remove("u 1", "127.0.0.1", OPERATOR)]


def test_the_status_has_the_nodes_figures(api: Api, script: Script) -> None:
    script.outcomes = [Report({"lookups": 3}, {"registrations": 2})]
    answer = api.ask("GET", "/v1/status").json
    assert answer.pop("version")
    assert answer == {
        "ready": True,
        "checks": {"store": True, "coap": True},
        "counters": {"lookups": 3, "watch_events": 0, "watch_resets": 0},
        "gauges": {"registrations": 2, "watchers": 0},
        "uptime_s": 0.0,
        "listeners": {},
        "last_error": None,
        "loop": "",
    }
    assert script.asked == [Status()]


@pytest.mark.parametrize(("who", "told"), [(OPERATOR, "the disk is full"), (ANONYMOUS, None)])
def test_what_went_wrong_is_told_to_those_who_administer(who: Identity, told: str | None) -> None:
    """Notes on reliability, D1: it may name anything, and figures name nothing."""
    script = Script()
    script.outcomes = [Report({}, {})]

    async def identify(request: web.Request) -> Identity:
        return who

    with serving(script.ask, identify=identify, measure=lambda: Figures(last_error="the disk is full")) as api:
        assert api.ask("GET", "/v1/status").json["last_error"] == told


def test_readiness_names_what_is_missing(api: Api, script: Script) -> None:
    assert api.ask("GET", "/livez").body == b"ok\n"
    assert api.ask("GET", "/readyz").body == b"ok\n"
    assert api.ask("GET", "/readyz?verbose").body == b"store ok\ncoap ok\n"
    script.ready["coap"] = False
    answer = api.ask("GET", "/readyz")
    assert (answer.status, answer.problem["detail"]) == (503, "not ready: coap")
    assert api.ask("GET", "/livez").status == 200


def test_a_head_is_a_get_without_its_body(api: Api, script: Script) -> None:
    answer = api.ask("HEAD", "/livez")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "3", b"")


def test_metrics_have_the_nodes_figures_and_labels_that_nobody_can_multiply(api: Api, script: Script) -> None:
    script.outcomes = [Report({"lookups": 3}, {"registrations": 2})]
    for method in ("PURGE", "LINK", "REPORT"):
        api.ask(method, f"/nowhere/{method}")
        api.ask("GET", f"/v1/endpoints/{method}", headers={"Accept": "x/x"})
    answer = api.ask("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert "waypost_lookups_total 3.0" in lines
    assert "waypost_registrations 2.0" in lines
    assert 'waypost_ready{check="coap"} 1.0' in lines
    assert 'waypost_http_requests_total{method="other",route="none",status="404"} 3.0' in lines
    assert 'waypost_http_requests_total{method="GET",route="/v1/endpoints/{id}",status="406"} 3.0' in lines
    assert sum(line.startswith("waypost_http_requests_total") for line in lines) == 2


def test_every_answer_forbids_guessing_and_keeping(api: Api) -> None:
    for target in ("/livez", "/nowhere"):
        headers = api.ask("GET", target).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "waypost"


@pytest.mark.parametrize(
    ("outcome", "status", "detail"),
    [
        (Refused(Reason.BAD_REQUEST, "that is wrong"), 400, "that is wrong"),
        (Refused(Reason.NOT_FOUND, "no such thing"), 404, "no such thing"),
        (Refused(Reason.TOO_LARGE, "ask for pages"), 413, "ask for pages"),
        (Busy(7, "over the quota"), 503, "over the quota"),
        (StateError("the node is not running"), 503, "the node is not running"),
    ],
)
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v1/endpoints", None),
        ("GET", "/v1/links", None),
        ("POST", "/v1/endpoints", b'{"ep": "lamp", "base": "coap://lamp"}'),
        ("GET", "/v1/endpoints/u-1", None),
        ("PATCH", "/v1/endpoints/u-1", b"{}"),
        ("DELETE", "/v1/endpoints/u-1", None),
        ("GET", "/v1/status", None),
        ("GET", "/metrics", None),
    ],
)
def test_what_the_node_refuses_is_a_problem(
    api: Api, script: Script, method: str, target: str, body: bytes | None, outcome: object, status: int, detail: str
) -> None:
    """RFC 9457."""
    script.outcomes = [outcome]
    answer = api.ask(method, target, body, JSON if body else None)
    assert answer.status == status
    assert answer.problem["detail"] == detail
    assert answer.problem["instance"] == target
    assert answer.problem["type"].startswith("/v1/openapi.json#/components/responses/")
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_busy_says_when_to_come_back(api: Api, script: Script) -> None:
    script.outcomes = [Busy(7, "over the quota")]
    assert api.ask("GET", "/v1/links").headers["Retry-After"] == "7"


OK = b'{"ep": "lamp", "base": "coap://lamp"}'


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "detail"),
    [
        ("GET", "/", None, {}, 404, "no such path"),
        ("GET", "/v1/endpoints/", None, {}, 404, "no such path"),
        ("GET", "/v1/endpoints/a/b", None, {}, 404, "no such path"),
        ("GET", "/%00%ff/<script>", None, {}, 404, "no such path"),
        ("PUT", "/v1/endpoints", None, {}, 405, "GET, HEAD, POST"),
        ("OPTIONS", "/v1/endpoints", None, {"Origin": "http://evil.example"}, 405, "GET, HEAD, POST"),
        ("POST", "/livez", None, {}, 405, "GET, HEAD"),
        ("GET", "/v1/links", None, {"Accept": "text/html"}, 406, "application/link-format"),
        ("GET", "/v1/status", None, {"Accept": "application/link-format"}, 406, "application/json"),
        ("GET", "/v1/links?page=1", None, {}, 400, "page needs count"),
        ("GET", "/v1/links?count=1001", None, {}, 400, "1 to 1000"),
        ("GET", "/v1/links?%FF", None, {}, 400, "percent-encoded"),
        ("GET", "/v1/endpoints/u-1?x=1", None, {}, 400, "no parameters here"),
        ("DELETE", "/v1/endpoints/u-1?x=1", None, {}, 400, "for_s is the one parameter here"),
        ("DELETE", "/v1/endpoints/u-1?for_s=60&x=1", None, {}, 400, "for_s is the one parameter here"),
        ("DELETE", "/v1/endpoints/u-1?for_s=0", None, {}, 400, "for_s must be 1 to"),
        ("DELETE", "/v1/endpoints/u-1?for_s=4294967296", None, {}, 400, "for_s must be 1 to"),
        ("DELETE", "/v1/endpoints/u-1?for_s=1h", None, {}, 400, "for_s must be a number"),
        ("DELETE", "/v1/evictions/u-1?x", None, {}, 400, "no parameters here"),
        ("GET", "/v1/export?count=5", None, {}, 400, "an export has no pages"),
        ("GET", "/v1/export", None, {"Accept": "text/html"}, 406, "application/jsonl"),
        ("POST", "/v1/import", b"{}", JSON, 415, "the body must be application/jsonl"),
        ("POST", "/v1/import?dry", b"{}", JSONL, 400, "dry_run"),
        ("POST", "/v1/import", b"{}\n" * 1_001, JSONL, 413, "1000 lines at once, not 1001; nothing was imported"),
        ("POST", "/v1/endpoints?ep=lamp", OK, JSON, 400, "no parameters here"),
        ("POST", "/v1/endpoints", OK, {}, 415, "must be application/json or application/link-format"),
        ("POST", "/v1/endpoints", OK, {"Content-Type": "text/plain"}, 415, "not text/plain"),
        ("POST", "/v1/endpoints?ep=lamp&base=coap://lamp", None, {}, 415, "of no stated type"),
        ("POST", "/v1/endpoints", OK, JSON | {"Content-Encoding": "gzip"}, 415, "compressed"),
        ("PATCH", "/v1/endpoints/u-1", b"</l>", LINKS, 415, "must be application/json"),
        ("POST", "/v1/endpoints", b"{", JSON, 400, "not application/json"),
        ("POST", "/v1/endpoints", b"", JSON, 400, "not application/json"),
        ("POST", "/v1/endpoints", b'{"ep": "lamp"}', JSON, 400, "a base is needed over HTTP"),
        ("POST", "/v1/endpoints?ep=lamp", b"", LINKS, 400, "a base is needed over HTTP"),
        ("POST", "/v1/endpoints?ep=a&ep=b", b"", LINKS, 400, "ep is given twice"),
        ("POST", "/v1/endpoints?ep=a&lt=soon", b"", LINKS, 400, "lt must be a number"),
        ("PATCH", "/v1/endpoints/u-1", b'{"lt": 0}', JSON, 400, "at `$.lt`"),
        ("PATCH", "/v1/endpoints/u-1", b'{"ep": "b"}', JSON, 400, "unknown field `ep`"),
        ("POST", "/v1/endpoints", b'{"ep": "' + b"a" * 2_000_000, JSON, 413, "262144 octets"),
        ("GET", "/livez", None, {"Host": "evil.example"}, 421, "none of this node's names"),
        ("POST", "/v1/endpoints", OK, JSON | {"Host": "evil.example:8480"}, 421, "none of this node's names"),
        ("GET", "/nowhere", None, {"Host": "evil.example"}, 421, "none of this node's names"),
    ],
)
def test_bad_input_gets_a_problem_and_nothing_is_asked(
    api: Api,
    script: Script,
    method: str,
    target: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    detail: str,
) -> None:
    answer = api.ask(method, target, body, headers)
    assert answer.status == status, answer
    assert detail in answer.problem["detail"]
    assert answer.problem["instance"].isascii()
    assert script.asked == []


@pytest.mark.parametrize(
    ("link", "detail"),
    [
        ('{"href": "/a>,</b"}', "at `$.links[1]`"),
        ('{"href": "/\\u0000"}', "at `$.links[1]`"),
        ('{"href": "/é"}', "at `$.links[1]`"),
        ('{"href": "/a", "anchor": "/", "attributes": [["anchor", "/b"]]}', "at `$.links[1]`"),
        ('{"href": "/a", "attributes": [["r t", "x"]]}', "at `$.links[1]`"),
        ('{"href": "/a", "attributes": [["rt", "x\\u0001"]]}', "at `$.links[1]`"),
        ('{"href": "/a", "attributes": [["", null]]}', "at `$.links[1]`"),
    ],
)
def test_a_link_that_link_format_cannot_say_is_refused(api: Api, script: Script, link: str, detail: str) -> None:
    body = f'{{"ep": "lamp", "base": "coap://lamp", "links": [{{"href": "/"}}, {link}]}}'
    answer = api.ask("POST", "/v1/endpoints", body.encode(), JSON)
    assert answer.status == 400
    assert detail in answer.problem["detail"]
    assert script.asked == []


@pytest.mark.parametrize("host", ["localhost:1", "[::1]", "node.example"])
def test_a_name_of_the_nodes_own_is_served(api: Api, host: str) -> None:
    assert api.ask("GET", "/livez", headers={"Host": host}).status == 200


def test_a_request_with_two_hosts_or_none_is_misdirected(api: Api) -> None:
    for hosts in ("", "Host: localhost\r\nHost: evil.example\r\n"):
        with socket.create_connection((api.host, api.port), timeout=20) as raw:
            raw.sendall(f"GET /livez HTTP/1.0\r\n{hosts}\r\n".encode())
            response = http.client.HTTPResponse(raw)
            response.begin()
            assert response.status in (400, 421)


def test_a_body_that_breaks_off_changes_nothing(api: Api, script: Script) -> None:
    head = b"POST /v1/endpoints HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection((api.host, api.port), timeout=20) as raw:
        raw.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{}\r\nnonsense\r\n")
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 400
    with socket.create_connection((api.host, api.port), timeout=20) as raw:
        raw.sendall(head + b"Content-Length: 100\r\n\r\n{")
    assert api.ask("GET", "/livez").status == 200
    assert script.asked == []


def test_a_fault_of_ours_is_logged_under_a_number_and_not_shown(
    api: Api, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    script.outcomes = [RuntimeError("the secret of the house")]
    with caplog.at_level(logging.ERROR):
        answer = api.ask("GET", "/v1/endpoints/u-1")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert answer.problem["request"] in caplog.text
    assert "the secret of the house" in caplog.text


def test_what_the_server_before_us_refuses_is_a_problem_too() -> None:
    """RFC 9110, 15.5.9: a body that takes too long."""

    async def late(question: object) -> object:
        raise web.HTTPRequestTimeout(reason="the body took too long")

    async def odd(question: object) -> object:
        raise web.HTTPPreconditionRequired(reason="odd")

    for ask, status, kind in (
        (late, 408, "/v1/openapi.json#/components/responses/RequestTimeout"),
        (odd, 428, "about:blank"),
    ):
        with serving(ask) as api:
            answer = api.ask("GET", "/v1/status")
        assert (answer.status, answer.problem["type"]) == (status, kind)
