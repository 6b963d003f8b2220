"""Paths, methods and URIs: how clients may write what they mean."""

import pytest
from speaking import Device, Node, shown

from waypost.coap.numbers import Code, Option
from waypost.engine import Endpoint

LINKS = '</sensors/temp>;ct=41;rt="temperature-c";if="sensor",</sensors/light>;ct=41;rt="light-lux";if="sensor"'
BASE = "coap://[2001:db8::1]"


@pytest.fixture
def device() -> Device:
    return Node().device()


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_path_may_end_in_a_slash(device: Device, slash: str) -> None:
    location = device.register(f"/rd{slash}?ep=a", LINKS)
    assert device.post(f"{location}{slash}?lt=100").code == Code.CHANGED
    for path in (location, "/rd-lookup/ep", "/rd-lookup/res", "/rd-lookup/gp"):
        assert device.ask(Code.GET, path + slash).code == Code.CONTENT
    assert device.register(f"/rd-group{slash}?gp=g")
    device.put(device.message(Code.POST, f"/.well-known/rd{slash}?ep=b"))
    assert device.inbox[-1].code == Code.GET
    assert device.ask(Code.DELETE, location + slash).code == Code.DELETED


@pytest.mark.parametrize("method", [Code.PUT, Code.PATCH, Code.IPATCH, Code.FETCH])
@pytest.mark.parametrize("path", ["/rd", "/rd-lookup/ep", "/rd-lookup/res", "/rd-lookup/gp", "/rd-group", "/reg/x"])
def test_methods_that_are_not_there_are_refused_in_words(device: Device, method: Code, path: str) -> None:
    """RFC 7252, 5.8; RFC 9176, 5.3.3: out of scope."""
    answer = device.ask(method, path, "</a>")
    assert (answer.code, bool(answer.payload)) == (Code.METHOD_NOT_ALLOWED, True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["temp", "light"]),
        ("?rt=light-lux", ["light"]),
        ("?rt=light*", ["light"]),
        ("?if=sensor", ["temp", "light"]),
        ("?if=sensor&rt=temperature-c", ["temp"]),
        ("?ct=41", ["temp", "light"]),
        ("?ct=40", []),
        ("?href=/sensors/temp", ["temp"]),
        ("?href=/sensors/*", ["temp", "light"]),
        (f"?href={BASE}/sensors/light", ["light"]),
        ("?rt", ["temp", "light"]),
        ("?title=x", []),
    ],
)
def test_the_links_of_a_registration_are_read_and_filtered(device: Device, query: str, found: list[str]) -> None:
    """draft -12, 5.4.3; RFC 6690, 4.1.  None selected is an empty payload."""
    location = device.register("/rd?ep=a", LINKS)
    assert [href for href, _ in device.get(location + query)] == [f"{BASE}/sensors/{name}" for name in found]


def test_a_read_has_as_many_criteria_as_a_lookup(device: Device) -> None:
    """CRITERIA_MAX."""
    location = device.register("/rd?ep=a", LINKS)
    assert device.ask(Code.GET, location + "?" + "&".join(17 * ["rt=x"])).code == Code.BAD_REQUEST


@pytest.mark.parametrize("kind", ["ep", "res"])
def test_a_registration_is_found_by_its_path_and_by_its_uri(device: Device, kind: str) -> None:
    """RFC 9176, 6.2: path-absolute if possible; the directory SHOULD recognise either."""
    device.register("/rd?ep=a", "</a>;rt=x")
    location = device.register("/rd?ep=b", "</b>;rt=x")
    expected = device.get(f"/rd-lookup/{kind}?ep=b")
    assert len(expected) == 1
    for href in (location, f"coap://[2001:db8::ff]{location}", f"coap://[2001:db8::ff]{location}*"):
        assert device.get(f"/rd-lookup/{kind}?href={href}") == expected
        assert device.get(f"/rd-lookup/{kind}?href={href}&rt=x") == expected
    for href in (f"coap://[2001:db8::fe]{location}", f"coaps://[2001:db8::ff]{location}", location[:-1]):
        assert device.get(f"/rd-lookup/{kind}?href={href}") == []


def test_its_uri_is_the_one_that_the_client_asked() -> None:
    """RFC 7252, 6.4 and 6.5: the name in Uri-Host, and the port if it is not the default."""
    node = Node()
    device = node.device(local=Endpoint("192.0.2.1", 61616))
    location = device.register("/rd?ep=a")
    name = [(int(Option.URI_HOST), b"RD.example.com")]
    assert device.get(f"/rd-lookup/ep?href=coap://192.0.2.1:61616{location}")
    assert device.get(f"/rd-lookup/ep?href=coap://rd.example.com:61616{location}", more=name)
    assert device.get(f"/rd-lookup/ep?href=coap://192.0.2.1{location}") == []


def test_a_link_to_the_directory_itself_is_found_by_its_uri(device: Device) -> None:
    """RFC 9176, 6.2: href matches the resolved target."""
    device.register("/rd?ep=a&base=coap://[2001:db8::ff]", "</rd>;rt=x")
    assert len(device.get("/rd-lookup/res?href=coap://[2001:db8::ff]/rd")) == 1


@pytest.mark.parametrize(
    ("lookup", "found"),
    [
        ("res?anchor=coap://[2001:db8::1]/sensors/temp", ["t", "http"]),
        ("res?anchor=coap://[2001:db8::1]/*", ["t", "http"]),
        ("res?anchor=http://www.example.com/x", ["far"]),
        ("res?anchor=/sensors/temp", []),
        ("res?href=http://www.example.com/s", ["http"]),
        ("res?href=/t", []),
        ("res?rel=alternate", ["t"]),
        ("res?rel=alt", []),
        ("res?rt=two", ["far"]),
        ("res?rt=one two", []),
        ("res?et=b", ["t", "http", "far"]),
        ("res?et=a b", ["t", "http", "far"]),
        ("res?et=a", []),
    ],
)
def test_criteria_match_as_the_rfc_says(device: Device, lookup: str, found: list[str]) -> None:
    """RFC 9176, 6.2; notes L2 and L4: lists are lists, et is repeated and not one; references are URIs."""
    targets = {f"{BASE}/t": "t", "http://www.example.com/s": "http", f"{BASE}/far": "far"}
    device.register(
        "/rd?ep=a&et=a b&et=b",
        '</t>;rel=alternate;anchor="/sensors/temp",<http://www.example.com/s>;anchor="/sensors/temp";rel=describedby,'
        '</far>;anchor="http://www.example.com/x";rt="one two"',
    )
    assert [targets[href] for href, _ in device.get(f"/rd-lookup/{lookup}")] == found


@pytest.mark.parametrize(
    ("query", "found"),
    [("rt=core.rd-ep", 2), ("rt=core.rd*", 2), ("rt=core.rd-ep&ep=a", 1), ("rt=core.rd-ep&rt=x", 1), ("rt=core.rd", 0)],
)
def test_endpoints_have_a_type_of_their_own(device: Device, query: str, found: int) -> None:
    """RFC 9176, 6.4: a constant resource type."""
    device.register("/rd?ep=a", "</a>;rt=x")
    device.register("/rd?ep=b", "</b>;rt=y")
    assert len(device.get(f"/rd-lookup/ep?{query}")) == found
    assert device.get("/rd-lookup/res?rt=core.rd-ep") == [], "which no link has"


def test_an_empty_result_is_content(device: Device) -> None:
    """RFC 9176, 6.2: a payload of no links."""
    answer = device.ask(Code.GET, "/rd-lookup/res?rt=none")
    assert (answer.code, answer.payload, shown(answer.payload)) == (Code.CONTENT, b"", [])


@pytest.mark.parametrize(
    "query", ["page=1", "count=0", "count=x", "page=1&count=-1", "count=1&count=2", "page=4294967296&count=1"]
)
def test_pages_that_cannot_be_are_refused(device: Device, query: str) -> None:
    """RFC 9176, 6.2: page cannot be used without count."""
    assert device.ask(Code.GET, f"/rd-lookup/ep?{query}").code == Code.BAD_REQUEST
