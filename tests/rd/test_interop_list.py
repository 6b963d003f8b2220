"""The working group's interoperability tests, TD_CoRE_resource-directory_01 to 15, in their order.

The list was written between drafts -10 and -12.  Where RFC 9176 decided otherwise, ours follows it:
  03  the answer to a simple registration comes after the fetch, not before; and `rt-"light-lux"` is a slip
  04  anchors "sensors/temp" without a slash are outside the Limited Link Format (appendix C); here with one
  07, 08  resource lookups resolve targets and add neither anchors nor the endpoint's attributes (6.1)
  11  links are read resolved, so that they mean the same to whoever reads them
Locations are ours, and ct shows where the list has it.  Multicast in 01 and 02 is for the socket's tests.
"""

import pytest
from speaking import Device, Node, shown

from waypost.coap.numbers import LINK_FORMAT, Code

CLIENT = "2001:db8:9::9"
SENSORS = """</sensors/temp>;ct=41;rt="temperature-c";if="sensor";anchor="coap://spurious.example.com:5683",
    </sensors/light>;ct=41;rt="light-lux";if="sensor\""""
TEMP = """</temp>;rt="temperature";ct=0,
    </light>;rt="light-lux";ct=0,
    </t>;anchor="/sensors/temp";rel="alternate",
    <http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel="describedby\""""
LAMPS = """</light/left>;rt="light";ct=0,</light/middle>;rt="light";ct=0,</light/right>;rt="light";ct=0"""
GROUP = "coap://[ff35:30:2001:db8::1]"


class List:
    """The directory after tests 03 to 06."""

    def __init__(self) -> None:
        self.client: Device = Node().device(CLIENT)
        self.client.put(self.client.message(Code.POST, "/.well-known/core?lt=6000&ep=node1"))
        self.client.serve(SENSORS)
        self.simple = [message.code for message in self.client.inbox]
        self.yyy = self.client.register("/rd?ep=node2", TEMP)
        self.xyz = self.client.register("/rd?ep=node3&base=coap://[2001:db8:4::1]", LAMPS)
        self.zzz = self.client.register(
            f"/rd?ep=lights&et=core.rd-group&base={GROUP}",
            '</light>;rt="light";if="core.a",</color-temperature>;if="core.p";u="K"',
        )
        ((self.xxx, _),) = self.client.get("/rd-lookup/ep?ep=node1")


@pytest.fixture
def tests() -> List:
    return List()


def test_01_the_directory_is_discovered(tests: List) -> None:
    ((href, attributes),) = tests.client.get("/.well-known/core?rt=core.rd", accept=LINK_FORMAT)
    assert href == "/rd"
    assert attributes == {("rt", "core.rd"), ("ct", "40")}


def test_02_all_its_resources_are_discovered(tests: List) -> None:
    found = dict(tests.client.get("/.well-known/core?rt=core.rd*", accept=LINK_FORMAT))
    for href, kind in (
        ("/rd", "core.rd"),
        ("/rd-lookup/ep", "core.rd-lookup-ep"),
        ("/rd-lookup/res", "core.rd-lookup-res"),
        ("/rd-lookup/gp", "core.rd-lookup-gp"),
        ("/rd-group", "core.rd-group"),
    ):
        assert found[href] >= {("rt", kind), ("ct", "40")}


def test_03_a_simple_registration(tests: List) -> None:
    assert tests.simple == [Code.CHANGED]


def test_04_to_06_registrations_by_an_endpoint_by_a_third_party_and_of_a_group(tests: List) -> None:
    assert len({tests.xxx, tests.yyy, tests.xyz, tests.zzz}) == 4


def test_07_resources_of_groups(tests: List) -> None:
    assert tests.client.get("/rd-lookup/res?et=core.rd-group", accept=LINK_FORMAT) == shown(
        f'<{GROUP}/light>;rt="light";if="core.a",<{GROUP}/color-temperature>;if="core.p";u="K"'
    )


def test_08_a_resource_lookup(tests: List) -> None:
    found = tests.client.get("/rd-lookup/res?rt=temperature", accept=LINK_FORMAT)
    assert found == shown(f'<coap://[{CLIENT}]/temp>;rt="temperature";ct=0')


def test_09_and_14_a_group_is_removed_and_not_found(tests: List) -> None:
    assert tests.client.ask(Code.DELETE, tests.zzz).code == Code.DELETED
    assert tests.client.get("/rd-lookup/res?et=core.rd-group", accept=LINK_FORMAT) == []


def test_10_an_endpoint_lookup(tests: List) -> None:
    assert tests.client.get("/rd-lookup/ep?rt=temperature", accept=LINK_FORMAT) == shown(
        f'<{tests.yyy}>;base="coap://[{CLIENT}]";ep="node2";rt="core.rd-ep"'
    )


def test_11_the_links_of_an_endpoint_are_read(tests: List) -> None:
    assert tests.client.get(tests.xxx, accept=LINK_FORMAT) == shown(
        f"""<coap://[{CLIENT}]/sensors/temp>;ct=41;rt="temperature-c";if="sensor";
            anchor="coap://spurious.example.com:5683",
        <coap://[{CLIENT}]/sensors/light>;ct=41;rt="light-lux";if="sensor\""""
    )


def test_12_13_and_15_what_remains_after_a_removal_and_an_update(tests: List) -> None:
    assert tests.client.ask(Code.DELETE, tests.zzz).code == Code.DELETED
    assert tests.client.ask(Code.DELETE, tests.xxx).code == Code.DELETED
    assert tests.client.post(f"{tests.yyy}?base=coaps://new.example.com:5684").code == Code.CHANGED
    new, lamps = "coaps://new.example.com:5684", "coap://[2001:db8:4::1]"
    remaining = shown(
        f"""<{new}/temp>;rt="temperature";ct=0,
        <{new}/light>;rt="light-lux";ct=0,
        <{new}/t>;anchor="{new}/sensors/temp";rel="alternate",
        <http://www.example.com/sensors/t123>;anchor="{new}/sensors/temp";rel="describedby",
        <{lamps}/light/left>;rt="light";ct=0,
        <{lamps}/light/middle>;rt="light";ct=0,
        <{lamps}/light/right>;rt="light";ct=0"""
    )
    assert sorted(tests.client.get("/rd-lookup/res", accept=LINK_FORMAT), key=str) == sorted(remaining, key=str)
