"""Whatever is sent, the answer is one that the API description promises, and never a fault of ours."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from embedded import Embedded
from hypothesis import given, settings
from hypothesis import strategies as st
from logbook import Logbook
from lone import Whole, made
from serving import Answer, Api, serving

from waypost.api import openapi
from waypost.api.route import Route
from waypost.api.routes import ROUTES

DOCUMENT = openapi.document()


@pytest.fixture(scope="module")
def embedded() -> Embedded:
    return Embedded()


@pytest.fixture(scope="module")
def api(embedded: Embedded) -> Iterator[Api]:
    with serving(Whole(embedded, Logbook()).ask) as api:
        yield api


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = st.sampled_from(["ep", "d", "lt", "base", "et", "rt", "href", "anchor", "page", "count", "con"]) | st.text(
    max_size=5
)
VALUES = st.sampled_from(["lamp", "*", "1", "90000", "coap://lamp", "/t", "/v1/endpoints/x", ""]) | st.text(max_size=20)
PAIRS = st.lists(st.tuples(NAMES, st.none() | VALUES), max_size=4)

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=15)
ATTRIBUTES = st.lists(
    st.tuples(st.sampled_from(["et", "on", "et", "x*", "a.b"]), st.none() | TEXT).map(list), max_size=4
)
RIGHT_LINK = st.fixed_dictionaries(
    {"href": st.sampled_from(["/t", "/h?x=1&y", "coap://elsewhere/x", "/"])},
    optional={"anchor": st.sampled_from(["/", None, "coap://x"]), "attributes": ATTRIBUTES},
)
RIGHT = st.fixed_dictionaries(
    {
        "ep": st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=15),
        "base": st.sampled_from(["coap://lamp", "coap://[2001:db8::1]/a", "coaps+tcp://x:1"]),
    },
    optional={
        "d": st.none() | st.sampled_from(["hall", "ü"]),
        "lt": st.integers(1, 2**32 - 1),
        "attributes": ATTRIBUTES,
        "links": st.lists(
            RIGHT_LINK, max_size=3, unique_by=lambda link: repr({"anchor": None, "attributes": []} | link)
        ),
    },
)


RECORD = made("x", place=("names", "lamp")).encode()


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """What is right but for one place, at most."""
    body: dict[str, Any] = draw(RIGHT | st.just(json.loads(RECORD)))
    place: dict[str, Any] = draw(st.sampled_from([body, *body.get("links", ())]))
    if draw(st.booleans()):
        place[draw(st.sampled_from([*place, "x"]))] = draw(JSON)
    return body


LINK_FORMAT = st.sampled_from([b"", b"</t>;rt=x", b'</t>;rt="a b";ct=40,</h>', b"<t>", b"</t>;"]) | st.binary(
    max_size=40
)
LINES = st.fixed_dictionaries(
    {"ep": st.text(max_size=5), "base": st.sampled_from(["coap://lamp", "lamp", "coap://[fe80::1]"])},
    optional={
        "id": st.none() | st.uuids().map(str) | st.text(max_size=5),
        "expires_in": st.none() | st.floats(allow_nan=False),
        "explicit": st.booleans(),
        "links": st.sampled_from(["", "</t>;rt=x", "<t", "\0"]),
        "members": st.lists(st.uuids().map(str) | st.text(max_size=5), max_size=2),
        "owner": st.text(max_size=70),
    },
).map(lambda line: json.dumps(line).encode())
CONTENT = st.one_of(
    st.tuples(st.just("application/json"), bodies().map(lambda body: json.dumps(body).encode())),
    st.tuples(st.just("application/link-format"), LINK_FORMAT),
    st.tuples(
        st.just("application/jsonl"),
        st.lists(bodies().map(lambda body: json.dumps(body).encode()) | LINES | st.binary(max_size=20), max_size=4).map(
            b"\n".join
        ),
    ),
    st.tuples(st.sampled_from(["application/json", "text/plain", "x"]), st.binary(max_size=40)),
)
ACCEPT = st.sampled_from(["*/*", "*/*;q=0.1, application/link-format", "application/json", "text/*", "x;q=9"])


def encoded(pairs: list[tuple[str, str | None]]) -> str:
    return "&".join(
        quote(name, safe="") + ("" if value is None else "=" + quote(value, safe="/:*")) for name, value in pairs
    )


def promised(route: Route, answer: Answer) -> None:
    """The answer has the status, the media type and the form that the description says."""
    response = DOCUMENT["paths"][route.path][route.method.lower()]["responses"][str(answer.status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    if "content" not in response:
        assert answer.body == b""
        return
    media = answer.headers["Content-Type"].partition(";")[0]
    body = answer.json if media.endswith("json") else answer.body.decode()
    jsonschema.validate(body, {"allOf": [response["content"][media]["schema"]], **DOCUMENT})


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ROUTES),
    st.just([]) | PAIRS,
    st.sampled_from(["lamp"]) | st.text(max_size=20),
    st.none() | CONTENT,
    ACCEPT,
    st.booleans(),
)
def test_every_answer_is_one_that_is_promised(
    api: Api,
    embedded: Embedded,
    route: Route,
    pairs: list[tuple[str, str | None]],
    id: str,
    content: tuple[str, bytes] | None,
    accept: str,
    registered: bool,
) -> None:
    if "{id}" in route.path and registered:
        known = api.ask(
            "POST", "/v1/endpoints?ep=lamp&base=coap://lamp", b"</t>", {"Content-Type": "application/link-format"}
        )
        id = known.json["id"]
    target = route.path.replace("{id}", quote(id, safe="") or "x").replace("{namespace}", "names")
    target = target.replace("{key}", quote(id, safe="") or "lamp").replace("{version}", "1").replace("{txid}", "0" * 32)
    if pairs:
        target += "?" + encoded(pairs)
    headers = {"Accept": accept} | ({} if content is None else {"Content-Type": content[0]})
    answer = api.ask(route.method, target, None if content is None else content[1], headers)
    assert answer.status != 500, answer
    promised(route, answer)
    embedded.assembly.check()


@settings(max_examples=200, deadline=None)
@given(RIGHT)
def test_what_is_registered_is_found_as_it_was_said(api: Api, body: dict[str, Any]) -> None:
    answer = api.ask("POST", "/v1/endpoints", json.dumps(body).encode(), {"Content-Type": "application/json"})
    assert answer.status in (200, 201), answer
    shown = api.ask("GET", answer.headers["Location"]).json
    assert (shown["ep"], shown["base"], shown["d"]) == (body["ep"], body["base"], body.get("d"))
    assert shown["attributes"] == body.get("attributes", [])
    given = [link.get("attributes", []) for link in body.get("links", [])]
    assert [link["attributes"] for link in shown["links"]] == given
    criterion = quote(body["ep"], safe="*")
    found = api.ask("GET", f"/v1/endpoints?ep={criterion}&count=1000").json["endpoints"]
    assert shown["id"] in [endpoint["id"] for endpoint in found]
    api.ask("DELETE", answer.headers["Location"])


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters=" #"), max_size=40))
def test_any_path_is_answered(api: Api, path: str) -> None:
    answer = api.ask("GET", "/" + path)
    assert answer.status in (200, 400, 404, 406), answer
    if answer.status != 200:
        assert answer.problem["detail"]
