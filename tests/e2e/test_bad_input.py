"""What a node does with input that is wrong, over its real sockets: the code, a reason, and it serves on."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from device import Device, option
from running import Node, running
from streams import open_stream

from waypost.coap.message import Message
from waypost.coap.numbers import Code, Option, Type

ANSWER_S = 10.0
LINKS = b"</t>;rt=temperature"
NOWHERE = "/reg/00000000-0000-4000-8000-000000000000"
DOCUMENT_MAX = 64 << 10


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture
def udp(node: Node) -> Iterator[Device]:
    """Validated, so that no reason is cut short."""
    with Device(node.port) as device:
        device.get("/.well-known/core")
        device.get("/.well-known/core")
        yield device


@pytest.fixture(params=["coap", "coap+tcp", "coap+ws"])
def device(request: pytest.FixtureRequest, node: Node, udp: Device) -> Iterator[Device]:
    """By each transport."""
    if request.param == "coap":
        yield udp
        return
    there = node.over(request.param)
    with Device(there.port, own=open_stream(request.param, there.port, ANSWER_S)) as device:
        yield device


def registered(device: Device) -> list[bytes]:
    """The endpoint lookup's links; a lookup that works is also how a node shows that it serves."""
    found = device.get("/rd-lookup/ep")
    assert found.code == Code.CONTENT
    return found.payload.split(b",<")


def reason(answer: Message) -> str:
    """RFC 7252, 5.5.2: a diagnostic payload is UTF-8, for people, without Content-Format."""
    assert option(answer, Option.CONTENT_FORMAT) is None
    sentence = answer.payload.decode()
    assert len(sentence.split()) >= 2, sentence
    return sentence


@pytest.mark.parametrize(
    ("query", "links"),
    [
        pytest.param(("ep=" + "x" * 64,), LINKS, id="a name of 64 octets"),
        pytest.param(("ep=" + "\N{GREEK SMALL LETTER ALPHA}" * 32,), LINKS, id="a name of 32 letters, 64 octets"),
        pytest.param(("ep=a", "d=" + "x" * 64), LINKS, id="a sector of 64 octets"),
        pytest.param(("ep=a\x1fb",), LINKS, id="a control character in the name"),
        pytest.param(("ep=a\x7fb",), LINKS, id="a delete character in the name"),
        pytest.param(("ep=a\x9fb",), LINKS, id="a C1 control character in the name"),
        pytest.param(("ep=a", "d=\n"), LINKS, id="a control character in the sector"),
        pytest.param((), LINKS, id="no name"),
        pytest.param(("ep",), LINKS, id="a name without value"),
        pytest.param(("ep=",), LINKS, id="an empty name"),
        pytest.param(("ep=a", "ep=b"), LINKS, id="two names"),
        pytest.param(("ep=a", "lt=0"), LINKS, id="lifetime 0"),
        pytest.param(("ep=a", "lt=4294967296"), LINKS, id="lifetime 2^32"),
        pytest.param(("ep=a", "lt=-1"), LINKS, id="lifetime -1"),
        pytest.param(("ep=a", "lt=soon"), LINKS, id="a lifetime in words"),
        pytest.param(("ep=a", "lt="), LINKS, id="an empty lifetime"),
        pytest.param(("ep=a", "lt=\N{ARABIC-INDIC DIGIT SEVEN}0"), LINKS, id="a lifetime in other digits"),
        pytest.param(("ep=a", "base=coap://h?q"), LINKS, id="a base with a query"),
        pytest.param(("ep=a", "base=coap://h#f"), LINKS, id="a base with a fragment"),
        pytest.param(("ep=a", "base=coap://[fe80::1%25eth0]"), LINKS, id="a base with a zone"),
        pytest.param(("ep=a", "base=h"), LINKS, id="a base without scheme"),
        pytest.param(("ep=a", "base=coap://h>;x=<"), LINKS, id="a base that would end its link"),
        pytest.param(("ep=a", "page=1"), LINKS, id="a parameter of lookups"),
        pytest.param(("ep=a",), b"<t>", id="a relative target"),
        pytest.param(("ep=a",), b"<//h/t>", id="a target that starts with two slashes"),
        pytest.param(("ep=a",), b'</t>;anchor="x"', id="a relative anchor"),
        pytest.param(("ep=a",), b"</t", id="a target without end"),
        pytest.param(("ep=a",), b'</t>;rt="x', id="a string without end"),
        pytest.param(("ep=a",), b"</t> </u>", id="links without a comma"),
        pytest.param(("ep=a",), b"</\xff>", id="links that are not UTF-8"),
        pytest.param(("ep=a",), b"hello", id="no links at all"),
    ],
)
def test_a_registration_that_is_wrong_changes_nothing(device: Device, query: tuple[str, ...], links: bytes) -> None:
    """RFC 9176, 5 and 5.1; RFC 6690; 4.00 with the reason."""
    before = registered(device)
    answer = device.register(*query, links=links)
    assert answer.code == Code.BAD_REQUEST
    reason(answer)
    assert registered(device) == before


@pytest.mark.parametrize("path", ["/.well-known/rd", "/.well-known/core"])
@pytest.mark.parametrize(
    ("query", "links"),
    [
        pytest.param((), b"", id="no name"),
        pytest.param(("ep=" + "x" * 64,), b"", id="a name of 64 octets"),
        pytest.param(("ep=a", "lt=0"), b"", id="lifetime 0"),
        pytest.param(("ep=a", "base=coap://h"), b"", id="a base"),
        pytest.param(("ep=a",), LINKS, id="a payload"),
    ],
)
def test_a_simple_registration_that_is_wrong_is_refused_before_anything_is_fetched(
    device: Device, path: str, query: tuple[str, ...], links: bytes
) -> None:
    """RFC 9176, 5.1: what is fetched is never asked for here, so the refusal is the next that arrives."""
    message = device.message(Code.POST, path, *query, payload=links, content_format=40 if links else None)
    device.socket.send(message.encode())
    answer = device.receive()
    assert (answer.token, answer.code) == (message.token, Code.BAD_REQUEST)
    reason(answer)


def test_a_path_is_not_a_name(device: Device) -> None:
    """An option that is not UTF-8 makes the request a bad one (RFC 7252, 5.4 and 3.2)."""
    message = device.message(Code.POST, "rd", payload=LINKS, content_format=40, more=((Option.URI_QUERY, b"ep=\xff"),))
    assert Code(device.ask(message).code) in (Code.BAD_REQUEST, Code.BAD_OPTION)


@pytest.mark.parametrize(
    "query",
    [("page=0",), ("count=0",), ("count=-1",), ("count=ten",), ("page=-1", "count=5"), ("page=x", "count=5")],
    ids="&".join,
)
@pytest.mark.parametrize("lookup", ["/rd-lookup/ep", "/rd-lookup/res"])
def test_pages_that_are_none_are_refused(device: Device, lookup: str, query: tuple[str, ...]) -> None:
    """RFC 9176, 6.2: page needs count."""
    answer = device.ask(device.message(Code.GET, lookup, *query))
    assert answer.code == Code.BAD_REQUEST
    reason(answer)


def test_a_location_that_does_not_exist_is_not_found(device: Device) -> None:
    """RFC 9176, 5.3.1 and 5.3.2."""
    for place in (NOWHERE, "/reg/1", "/reg/" + "x" * 200):
        answer = device.ask(device.message(Code.POST, place))
        assert answer.code == Code.NOT_FOUND
        reason(answer)
        assert device.ask(device.message(Code.DELETE, place)).code == Code.NOT_FOUND


def test_another_format_than_links_is_refused(device: Device) -> None:
    """RFC 7252, 5.10.3, and RFC 9176, 5: only link-format is understood."""
    for content_format in (0, 50, 60, 65535):
        message = device.message(Code.POST, "rd", "ep=a", payload=LINKS, content_format=content_format)
        answer = device.ask(message)
        assert answer.code == Code.UNSUPPORTED_CONTENT_FORMAT
        reason(answer)


def test_a_document_beyond_the_limit_is_refused_while_it_comes(device: Device) -> None:
    """RFC 7959, 2.9.3: 4.13; the node keeps none of it."""
    before = registered(device)
    links = b",".join(b"</long/%d>" % number for number in range(8000))
    assert len(links) > DOCUMENT_MAX
    for number in range(len(links) // 1024):
        value = (number << 4 | 8 | 6).to_bytes(3, "big").lstrip(b"\0")
        part = links[1024 * number : 1024 * number + 1024]
        more = ((Option.BLOCK1, value),)
        answer = device.ask(device.message(Code.POST, "rd", "ep=a", payload=part, content_format=40, more=more))
        if answer.code != Code.CONTINUE:
            break
    assert answer.code == Code.REQUEST_ENTITY_TOO_LARGE
    assert registered(device) == before


def test_unknown_critical_options_are_named_or_passed_over(udp: Device) -> None:
    """RFC 7252, 5.4.1: 4.02 to a confirmable request, silence to the other kind."""
    more = ((9, b"oscore?"),)
    assert udp.ask(udp.message(Code.GET, "/rd-lookup/ep", more=more)).code == Code.BAD_OPTION
    assert udp.raw(udp.message(Code.GET, "/rd-lookup/ep", more=more, type=Type.NON).encode()) == []


@pytest.mark.parametrize("code", [Code.PUT, Code.FETCH, Code.PATCH, Code.IPATCH], ids=lambda code: code.name)
def test_methods_that_are_not_offered_are_refused(device: Device, code: Code) -> None:
    """RFC 7252, 5.8."""
    for path in ("/rd", "/rd-lookup/ep", "/.well-known/core"):
        assert device.ask(device.message(code, path)).code == Code.METHOD_NOT_ALLOWED


def test_damaged_and_random_datagrams_do_not_stop_it(node: Node) -> None:
    """Thousands of them, from a seed, of a source that is not validated: it gets three times as much at most."""
    rng = Random(20_26)
    with Device(node.port) as device:
        seeds = [
            device.message(Code.POST, "rd", "ep=fuzz", "lt=60", payload=LINKS, content_format=40).encode(),
            device.message(Code.GET, "/rd-lookup/res", "rt=temperature", "count=5").encode(),
            device.message(
                Code.GET, "/.well-known/core", more=((Option.OBSERVE, b""), (Option.BLOCK2, b"\6"))
            ).encode(),
            device.message(Code.POST, "rd", "ep=f", payload=b"x" * 16, more=((Option.BLOCK1, b"\x08"),)).encode(),
        ]
        sent = received = 0
        for count in range(4000):
            data = rng.randbytes(rng.randrange(60)) if count % 4 == 0 else damaged(rng, rng.choice(seeds))
            sent += len(data)
            received += sum(map(len, device.raw(data)))  # an answer that waits for the disk comes with a later one
            assert received <= 3 * sent, data.hex()
    with Device(node.port) as device:
        registered(device)


def damaged(rng: Random, data: bytes) -> bytes:
    """Cut short, or with some octets changed, or with some put in."""
    octets = bytearray(data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.5 else data)
    for _ in range(rng.randrange(4)):
        place = rng.randrange(len(octets))
        if rng.random() < 0.5:
            octets[place] = rng.randrange(256)
        else:
            octets[place:place] = rng.randbytes(rng.randrange(1, 5))
    return bytes(octets)


def test_a_burst_beyond_the_quota_is_told_when_to_come_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    """RFC 7252, 5.9.3.4: 5.03 with Max-Age; lookups go on.  HTTP: 503 with Retry-After (RFC 9110, 10.2.3)."""
    settings = {"rd__registrations_burst": 20, "rd__registrations_per_second": 1}
    with running(tmp_path_factory.mktemp("quota"), **settings) as node, Device(node.port) as device:
        answers = [device.register(f"ep=burst-{number}") for number in range(40)]
        codes = [answer.code for answer in answers]
        assert codes[:20] == [Code.CREATED] * 20
        assert Code.SERVICE_UNAVAILABLE in codes[20:]
        refused = next(answer for answer in answers if answer.code == Code.SERVICE_UNAVAILABLE)
        age = option(refused, Option.MAX_AGE)
        assert age is not None
        assert 1 <= int.from_bytes(age, "big") <= 60
        assert len(registered(device)) == codes.count(Code.CREATED)

        body = json.dumps({"ep": "late", "base": "coap://late.example.com"}).encode()
        late = Request(node.http + "/v1/endpoints", body, {"Content-Type": "application/json"})
        with until_refused(late) as error:
            assert error.code == 503
            assert int(error.headers["Retry-After"]) >= 1
            assert json.loads(error.read())["status"] == 503


def until_refused(request: Request) -> HTTPError:
    """Ask until it is: each second one more is admitted."""
    while True:
        try:
            urlopen(request, timeout=ANSWER_S).close()
        except HTTPError as error:
            return error


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/endpoints", {"ep": "x" * 64, "base": "coap://h"}, 400),
        ("POST", "/v1/endpoints", {"ep": "a\n", "base": "coap://h"}, 400),
        ("POST", "/v1/endpoints", {"ep": "a", "base": "coap://h", "lt": 0}, 400),
        ("POST", "/v1/endpoints", {"ep": "a", "base": "coap://h?q"}, 400),
        ("POST", "/v1/endpoints", {"ep": "a", "base": "coap://h", "links": [{"href": "t"}]}, 400),
        ("POST", "/v1/endpoints", {"ep": "a", "base": "coap://h", "color": "red"}, 400),
        ("POST", "/v1/endpoints", None, 400),
        ("GET", "/v1/endpoints?page=1", None, 400),
        ("GET", "/v1/endpoints?count=0", None, 400),
        ("GET", "/v1/links?count=none", None, 400),
        ("GET", "/v1/endpoints/00000000-0000-4000-8000-000000000000", None, 404),
        ("DELETE", "/v1/endpoints/00000000-0000-4000-8000-000000000000", None, 404),
        ("PATCH", "/v1/endpoints/00000000-0000-4000-8000-000000000000", {"lt": 60}, 404),
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/endpoints", None, 405),
    ],
)
def test_over_http_it_gets_a_problem_document(
    node: Node, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    """RFC 9457."""
    data = json.dumps(body).encode() if body is not None else b"{" if method == "POST" else None
    request = Request(node.http + path, data, {"Content-Type": "application/json"}, method=method)
    with pytest.raises(HTTPError) as caught, urlopen(request, timeout=ANSWER_S):
        pass
    with caught.value as error:
        assert error.code == status
        assert error.headers.get_content_type() == "application/problem+json"
        problem = json.loads(error.read())
    assert problem["status"] == status
    assert problem["title"]
    with urlopen(node.http + "/readyz", timeout=ANSWER_S) as ready:
        assert ready.status == 200
