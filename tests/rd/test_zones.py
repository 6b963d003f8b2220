"""Link-local addresses: taken from their own link, shown on it, and never with a zone."""

import pytest
from speaking import Disk, Node

from waypost.coap.numbers import Code
from waypost.engine import Endpoint
from waypost.rd.engine import Settings
from waypost.rd.zones import is_link_local

LOOKUPS = ("/rd-lookup/ep", "/rd-lookup/res", "/rd-lookup/ep?ep=a", "/rd-lookup/res?rt=x", "/rd-lookup/ep?count=1")


@pytest.mark.parametrize(
    ("base", "local"),
    [
        ("coap://[fe80::1]", True),
        ("coap://[FEBF::1]:61616", True),
        ("coap://user@[fe80::1]/path", True),
        ("coaps+tcp://[fe90::]", True),
        ("coap://169.254.3.4", True),
        ("coap://169.254.3.4:5684/", True),
        ("coap://[fec0::1]", False),
        ("coap://[fe8::1]", False),
        ("coap://[::fe80]", False),
        ("coap://[2001:db8::fe80]", False),
        ("coap://169.254.example.com", False),
        ("coap://fe80.example.com", False),
        ("coap://10.169.254.1", False),
        ("nonsense", False),
    ],
)
def test_a_link_local_base_is_told_by_its_address(base: str, local: bool) -> None:
    """RFC 4291, 2.5.6: fe80::/10; RFC 3927: 169.254/16."""
    assert is_link_local(base) == local


@pytest.fixture
def node() -> Node:
    """`a` is at fe80::1 on link 2, `b` everywhere."""
    node = Node()
    node.device("fe80::1", scope=2).register("/rd?ep=a", "</a>;rt=x")
    node.device("2001:db8::b").register("/rd?ep=b", "</b>;rt=x")
    return node


def names(node: Node, host: str, scope: int, query: str = "") -> set[str | None]:
    found = node.device(host, 40000, scope).get(f"/rd-lookup/ep{query}")
    return {value for _, attributes in found for name, value in attributes if name == "ep"}


def test_it_is_shown_to_those_on_its_link_alone(node: Node) -> None:
    """RFC 9176, 6.1 and 6.4: MUST NOT be shown unless the lookup was made from the same link."""
    assert names(node, "fe80::2", 2) == {"a", "b"}
    assert names(node, "fe80::2", 3) == {"b"}
    assert names(node, "2001:db8::2", 0) == {"b"}
    for query in ("?ep=a", "?rt=x&ep=a", "?href=coap://[fe80::1]/a", "?base=coap://[fe80::1]"):
        assert names(node, "2001:db8::2", 0, query) == set()
        assert names(node, "fe80::2", 2, query) == {"a"}
        assert names(node, "fe80::2", 3, query) == set(), "also when the answer was remembered"


def test_resources_and_pages_split_the_same(node: Node) -> None:
    """RFC 9176, 6.1."""
    inside, outside = node.device("fe80::2", 40000, 2), node.device("2001:db8::2")
    assert [href for href, _ in inside.get("/rd-lookup/res?rt=x")] == ["coap://[fe80::1]/a", "coap://[2001:db8::b]/b"]
    assert [href for href, _ in outside.get("/rd-lookup/res?rt=x")] == ["coap://[2001:db8::b]/b"]
    assert [href for href, _ in outside.get("/rd-lookup/res?count=1&page=0")] == ["coap://[2001:db8::b]/b"]


def test_no_output_has_a_zone(node: Node) -> None:
    """RFC 9176, 6.1: MUST NOT include zone identifiers."""
    device = node.device("fe80::2", 40000, 2)
    for lookup in LOOKUPS:
        assert b"%" not in device.ask(Code.GET, lookup).payload


def test_its_location_reads_as_not_found_elsewhere(node: Node) -> None:
    """RFC 9176, 6.1: its links are not shown by another way either."""
    ((location, _),) = node.device("fe80::2", 40000, 2).get("/rd-lookup/ep?ep=a")
    assert node.device("fe80::2", 40000, 2).ask(Code.GET, location).code == Code.CONTENT
    assert node.device("fe80::2", 40000, 3).ask(Code.GET, location).code == Code.NOT_FOUND
    assert node.device("2001:db8::2").ask(Code.GET, location).code == Code.NOT_FOUND


def test_a_link_local_base_is_taken_only_from_its_link() -> None:
    """RFC 9176, 5 (base)."""
    node = Node()
    outside = node.device("2001:db8::2")
    assert outside.post("/rd?ep=a&base=coap://[fe80::1]").code == Code.BAD_REQUEST
    assert outside.post("/rd?ep=a&base=coap://169.254.1.1").code == Code.BAD_REQUEST
    assert outside.post("/rd?ep=a&base=coap://[fe80::1%25eth0]").code == Code.BAD_REQUEST
    location = outside.register("/rd?ep=a")
    assert outside.post(f"{location}?base=coap://[fe80::1]").code == Code.BAD_REQUEST
    assert node.device("fe80::9", scope=4).register("/rd?ep=b&base=coap://[fe80::1]")
    assert names(node, "fe80::8", 4) == {"a", "b"}


def test_the_link_may_be_told_by_the_address_that_was_asked() -> None:
    """A host with a routable address may ask the node at its link-local one."""
    node = Node()
    local = Endpoint("fe80::ff", 5683, 5)
    node.device("2001:db8::7", local=local).register("/rd?ep=a&base=coap://[fe80::7]")
    assert names(node, "fe80::8", 5) == {"a"}
    assert names(node, "fe80::8", 6) == set()


def test_an_implicit_base_follows_the_sender_to_its_link(node: Node) -> None:
    """RFC 9176, 5.3.1."""
    ((location, _),) = node.device("fe80::2", 40000, 2).get("/rd-lookup/ep?ep=a")
    assert node.device("fe80::1", scope=3).post(location).code == Code.CHANGED
    assert names(node, "fe80::2", 2, "?ep=a") == set()
    assert names(node, "fe80::2", 3, "?ep=a") == {"a"}
    assert node.device("2001:db8::a").post(location).code == Code.CHANGED
    assert names(node, "fe80::2", 2, "?ep=a") == names(node, "2001:db8::9", 0, "?ep=a") == {"a"}


def test_an_explicit_base_stays_on_its_link_wherever_the_update_comes_from() -> None:
    """RFC 9176, 5.3.1: the previous base is kept."""
    node = Node()
    location = node.device("fe80::9", scope=4).register("/rd?ep=b&base=coap://[fe80::1]")
    assert node.device("2001:db8::9").post(f"{location}?lt=100").code == Code.CHANGED
    assert names(node, "fe80::8", 4) == {"b"}


def test_the_link_survives_a_restart() -> None:
    disk = Disk()
    Node(Settings(), disk).device("fe80::1", scope=2).register("/rd?ep=a")
    node = Node(Settings(), disk)
    assert names(node, "fe80::2", 2) == {"a"}
    assert names(node, "fe80::2", 3) == set()


def test_simple_registration_works_on_a_link() -> None:
    """RFC 9176, 5.1: what is fetched comes over the same link."""
    node = Node()
    device = node.device("fe80::1", scope=2, validated=False)
    device.put(device.message(Code.POST, "/.well-known/rd?ep=a"))
    device.serve("</a>")
    assert names(node, "fe80::2", 2) == {"a"}
    assert names(node, "2001:db8::2", 0) == set()


def test_ipv4s_link_local_hosts_see_each_other() -> None:
    """RFC 3927; they come without an interface, so they are taken to share one link."""
    node = Node()
    node.device("169.254.1.1").register("/rd?ep=a")
    assert names(node, "169.254.1.2", 0) == {"a"}
    assert names(node, "192.0.2.1", 0) == names(node, "fe80::1", 2) == set()


def test_observers_are_told_of_their_own_link() -> None:
    """RFC 9176, 6.1 and 6.2."""
    node = Node()
    inside, outside = node.device("fe80::2", 40000, 2), node.device("2001:db8::2", 40000)
    for device in (inside, outside):
        device.ask(Code.GET, "/rd-lookup/ep?ep=a", more=[(6, b"")])
        device.inbox.clear()
    node.device("fe80::1", scope=2).register("/rd?ep=a")
    node.advance(3)
    assert [b"fe80::1" in message.payload for message in inside.inbox] == [True]
    assert outside.inbox == []
