"""The requests of draft-amsuess-core-rd-replication-00, sections 6 and 7, as far as one node answers them.

The draft builds on -12 of the resource directory; the answers here are those of RFC 9176: `base` where it
has `con`, targets resolved where it has anchors.  The attributes `provenance` (6.1) and `lt-age` (6.2) and
what several directories do together (7.2, 7.3) are not here yet; a client that asks for the plain form
gets it.
"""

import re

import pytest
from speaking import Node, option, shown

from waypost.coap.numbers import Code, Option

NAME = "endpoint1"
SECTOR = "facility23.eu.example.com"
UUID = re.compile(r"/reg/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LONG = "VGhhdCdzIHRoZSBLZXlJZENvbnRleHQgdXNlZCB3aXRoIHRoaXMgZGV2aWNl"


@pytest.fixture
def node() -> Node:
    return Node()


def test_6_1_a_registration_and_its_link(node: Node) -> None:
    """Section 6.1: the same link, without where it came from unless somebody asks."""
    node.device("2001:db8:23::1").register("/rd?ep=node1", '</sensors/temp>;if="core.s"')
    found = node.device().get("/rd-lookup/res?if=core.s")
    assert found == shown('<coap://[2001:db8:23::1]/sensors/temp>;if="core.s"')


def test_6_2_a_lookup_is_no_longer_fresh_than_a_minute(node: Node) -> None:
    """Section 6.2: only answers with a Max-Age of 60 or less may tell ages; the default is 60."""
    node.device().register("/rd?ep=node1")
    answer = node.device().ask(Code.GET, "/rd-lookup/ep")
    assert option(answer, Option.MAX_AGE) is None


def test_7_1_discovery(node: Node) -> None:
    """Section 7.1, first exchange."""
    found = dict(node.device().get("/.well-known/core?rt=core.rd*"))
    assert found["/rd"] >= {("rt", "core.rd")}
    assert found["/rd-lookup/res"] >= {("rt", "core.rd-lookup-res")}
    assert found["/rd-lookup/ep"] >= {("rt", "core.rd-lookup-ep")}


def test_7_1_a_registration_has_a_uuid_and_is_found_at_once(node: Node) -> None:
    """Section 7.1, second and third exchange."""
    location = node.device("2001:db8:23::1").register(f"/rd?ep={NAME}&d={SECTOR}", '</sensors/temp>;if="core.s"')
    assert UUID.fullmatch(location)
    assert node.device().get(f"/rd-lookup/ep?ep={NAME}&d={SECTOR}") == shown(
        f'<{location}>;ep="{NAME}";d="{SECTOR}";base="coap://[2001:db8:23::1]";rt="core.rd-ep"'
    )


def test_7_1_a_renewal(node: Node) -> None:
    """Section 7.1: "can update the shared database with renewed lifetime"."""
    device = node.device("2001:db8:23::1")
    assert device.post(device.register(f"/rd?ep={NAME}&d={SECTOR}")).code == Code.CHANGED


def test_7_2_resources_of_a_sector(node: Node) -> None:
    """Section 7.2, last exchange."""
    node.device("2001:db8:23::1").register(f"/rd?ep={NAME}&d={SECTOR}", '</sensors/temp>;if="core.s"')
    node.device("2001:db8:24::1").register(f"/rd?ep={NAME}&d=elsewhere", '</sensors/temp>;if="core.s"')
    found = node.device().get(f"/rd-lookup/res?if=core.s&d={SECTOR}")
    assert found == shown('<coap://[2001:db8:23::1]/sensors/temp>;if="core.s"')


def test_7_2_a_name_that_comes_again_replaces_what_was_there(node: Node) -> None:
    """Section 7.2: a duplicate name takes the place of the old registration."""
    first = node.device("2001:db8:23::1").register(f"/rd?ep={NAME}&d={SECTOR}", "</old>")
    second = node.device("2001:db8:23::2").register(f"/rd?ep={NAME}&d={SECTOR}", "</new>")
    assert second == first
    assert node.device().get("/rd-lookup/res") == shown("<coap://[2001:db8:23::2]/new>")


@pytest.mark.parametrize("query", ["href=/*", f"href=/*&d={SECTOR}"])
def test_7_2_local_registrations_are_found_by_their_paths(node: Node, query: str) -> None:
    """Sections 7.2 and 7.2.1: what a lookup proxy observes, to leave out what is foreign."""
    location = node.device("2001:db8:23::1").register(f"/rd?ep={NAME}&d={SECTOR}")
    proxy = node.device("2001:db8:23::9")
    answer = proxy.ask(Code.GET, f"/rd-lookup/ep?{query}", more=[(int(Option.OBSERVE), b"")])
    assert option(answer, Option.OBSERVE) is not None
    assert [href for href, _ in shown(answer.payload)] == [location]
    proxy.inbox.clear()
    node.device("2001:db8:23::1").ask(Code.DELETE, location)
    node.advance(3)
    assert [message.payload for message in proxy.inbox] == [b""]


def test_7_3_an_empty_registration_with_a_name_from_a_key(node: Node) -> None:
    """Section 7.3: a name made from a key, the parameter `proxy`, no payload, over TCP."""
    device = node.device("2001:db8:1:2::3", 10123, transport="tcp")
    location = device.register(f"/rd?proxy&ep={LONG}")
    ((href, attributes),) = node.device().get(f"/rd-lookup/ep?ep={LONG}")
    assert href == location
    assert attributes == {
        ("ep", LONG),
        ("proxy", None),
        ("base", "coap+tcp://[2001:db8:1:2::3]:10123"),
        ("rt", "core.rd-ep"),
    }
