"""The examples of RFC 9176, as they are printed but for the locations.

The answers are compared as links: their order, their quotes and their spaces do not matter.
"""

from collections.abc import Iterator

import pytest
from device import Device, location, option
from running import running

from waypost.coap.links import Link, parse
from waypost.coap.message import Message, uint
from waypost.coap.numbers import LINK_FORMAT, Code, Option, Type

NODE1 = b"""</sensors/temp>;rt=temperature-c;if=sensor,
<http://www.example.com/sensors/temp>;
  anchor="/sensors/temp";rel=describedby"""
PLATFORM = b"""</sensors>;ct=40;title="Sensor Index",
</sensors/temp>;rt="temperature-c";if="sensor",
</sensors/light>;rt="light-lux";if="sensor",
<http://www.example.com/sensors/t123>;anchor="/sensors/temp"
;rel="describedby",
</t>;anchor="/sensors/temp";rel="alternate\""""
LIGHTS = b"""</light/left>;rt="tag:example.com,2020:light",
</light/middle>;rt="tag:example.com,2020:light",
</light/right>;rt="tag:example.com,2020:light\""""


@pytest.fixture
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    with running(tmp_path_factory.mktemp("node")) as node, Device(node.port) as device:
        device.get("/.well-known/core")
        yield device


def links(document: bytes) -> list[Link]:
    """In one order, each with its attributes in one order."""
    return sorted(Link(link.href, tuple(sorted(link.attributes, key=str))) for link in parse(document))


def found(device: Device, path: str, *query: str) -> list[Link]:
    answer = device.get(path, *query)
    assert answer.code == Code.CONTENT
    return links(answer.payload)


def registered(device: Device, *query: str, payload: bytes) -> str:
    return location(device.register(*query, links=payload))


def test_discovery(device: Device) -> None:
    """4.3: the paths and types of the example, each of which says what it may say beyond."""
    there = {link.href: dict(link.attributes) for link in found(device, "/.well-known/core", "rt=core.rd*")}
    for path, kind in (
        ("/rd", "core.rd"),
        ("/rd-lookup/ep", "core.rd-lookup-ep"),
        ("/rd-lookup/res", "core.rd-lookup-res"),
    ):
        assert there[path]["rt"] == kind
        assert there[path]["ct"] == "40"


def test_registration_update_and_removal(device: Device) -> None:
    """5, 5.3.1 and 5.3.2: the lookup before and after the base has changed."""
    place = registered(device, "ep=endpoint1", "base=coap://local-proxy-old.example.com", payload=NODE1)
    assert device.ask(device.message(Code.POST, place)).code == Code.CHANGED
    assert found(device, "/rd-lookup/res", "ep=endpoint1") == links(
        b"""<coap://local-proxy-old.example.com/sensors/temp>;
            rt=temperature-c;if=sensor,
        <http://www.example.com/sensors/temp>;
            anchor="coap://local-proxy-old.example.com/sensors/temp";
            rel=describedby"""
    )
    assert device.ask(device.message(Code.POST, place, "base=coaps://new.example.com")).code == Code.CHANGED
    assert found(device, "/rd-lookup/res", "ep=endpoint1") == links(
        b"""<coaps://new.example.com/sensors/temp>;
            rt=temperature-c;if=sensor,
        <http://www.example.com/sensors/temp>;
            anchor="coaps://new.example.com/sensors/temp";
            rel=describedby"""
    )
    assert device.ask(device.message(Code.DELETE, place)).code == Code.DELETED
    assert found(device, "/rd-lookup/res", "ep=endpoint1") == []


def test_simple_registration(device: Device) -> None:
    """5.1: the links are asked for, then the answer comes."""
    message = device.message(Code.POST, "/.well-known/rd", "lt=6000", "ep=node1")
    device.socket.send(message.encode())
    question = device.receive()
    assert question.code == Code.GET
    assert [value for number, value in question.options if number == Option.URI_PATH] == [b".well-known", b"core"]
    assert option(question, Option.ACCEPT) == uint(LINK_FORMAT)
    form = [(int(Option.CONTENT_FORMAT), uint(LINK_FORMAT))]
    device.socket.send(Message(Type.NON, Code.CONTENT, 1, question.token, form, b"</sen/temp>").encode())
    answer = device.answer(message.token)
    assert (answer.code, answer.payload, option(answer, Option.LOCATION_PATH)) == (Code.CHANGED, b"", None)
    (link,) = found(device, "/rd-lookup/res", "ep=node1")
    assert link.href.endswith("/sen/temp")


def test_lookup_of_a_resource_type(device: Device) -> None:
    """6.3, first example."""
    base = "base=coap://[2001:db8:3::123]:61616"
    registered(device, "ep=a", base, payload=b'</temp>;rt="tag:example.org,2020:temperature",</x>;rt=y')
    assert found(device, "/rd-lookup/res", "rt=tag:example.org,2020:temperature") == links(
        b"""<coap://[2001:db8:3::123]:61616/temp>;
            rt="tag:example.org,2020:temperature\""""
    )


def test_observed_lookup(device: Device) -> None:
    """6.3, second example: empty at first, then the three lights."""
    first = device.ask(
        device.message(Code.GET, "/rd-lookup/res", "rt=tag:example.org,2020:light", more=((Option.OBSERVE, b""),))
    )
    assert (first.code, first.payload) == (Code.CONTENT, b"")
    number = option(first, Option.OBSERVE)
    assert number is not None
    lights = b",".join(b'</%s>;rt="tag:example.org,2020:light"' % side for side in (b"west", b"south", b"east"))
    registered(device, "ep=lights", "base=coap://[2001:db8:3::124]", payload=lights)
    news = device.answer(first.token)
    later = option(news, Option.OBSERVE)
    assert later is not None
    assert int.from_bytes(later, "big") > int.from_bytes(number, "big")
    assert links(news.payload) == links(lights.replace(b"</", b"<coap://[2001:db8:3::124]/"))


def test_lookup_by_pages(device: Device) -> None:
    """6.3, third example."""
    base = "coap://[2001:db8:3::123]:61616"
    registered(device, "ep=a", "base=" + base, payload=b",".join(b"</res/%d>;ct=60" % number for number in range(10)))
    for page in range(2):
        wanted = ",".join(f"<{base}/res/{number}>;ct=60" for number in range(5 * page, 5 * page + 5))
        assert found(device, "/rd-lookup/res", f"page={page}", "count=5") == links(wanted.encode())


def test_lookup_by_endpoint_type(device: Device) -> None:
    """6.3, fourth example: the document of RFC 6690, section 5, at two endpoints."""
    kind = "et=tag:example.com,2020:platform"
    wanted = b""
    for number in (b"1", b"2"):
        base = b"coap://sensor%s.example.com" % number
        registered(device, f"ep=sensor{number.decode()}", "base=" + base.decode(), kind, payload=PLATFORM)
        wanted += PLATFORM.replace(b"</", b"<%s/" % base).replace(b'anchor="/', b'anchor="%s/' % base) + b","
    registered(device, "ep=other", "base=coap://other.example.com", payload=PLATFORM)
    assert found(device, "/rd-lookup/res", kind) == links(wanted.rstrip(b","))


def test_endpoint_lookup(device: Device) -> None:
    """6.4."""
    kind = "et=tag:example.com,2020:platform"
    node5 = registered(device, "ep=node5", "base=coap://[2001:db8:3::127]:61616", kind, "ct=40", payload=b"</t>")
    node7 = registered(
        device, "ep=node7", "d=floor-3", "base=coap://[2001:db8:3::129]:61616", kind, "ct=40", payload=b"</t>"
    )
    wanted = f"""<{node5}>;base="coap://[2001:db8:3::127]:61616";ep=node5;
        et="tag:example.com,2020:platform";ct=40;rt=core.rd-ep,
    <{node7}>;base="coap://[2001:db8:3::129]:61616";ep=node7;
        et="tag:example.com,2020:platform";ct=40;d=floor-3;
        rt=core.rd-ep"""
    assert found(device, "/rd-lookup/ep", kind) == links(wanted.encode())


def test_lighting_installation(device: Device) -> None:
    """10.1: the group is in the sector that it is searched in, and of the type that its links have.

    As printed it is in no sector, and searched by a type that no link has: by the rules nothing would be found.
    """
    for ep, host in (("lm_R2-4-015_wndw", 1), ("lm_R2-4-015_door", 2)):
        registered(device, f"ep={ep}", f"base=coap://[2001:db8:4::{host}]", "d=R2-4-015", payload=LIGHTS)
    sensor = b'</ps>;rt="tag:example.com,2020:p-sensor"'
    registered(device, "ep=ps_R2-4-015_door", "base=coap://[2001:db8:4::3]", "d=R2-4-015", payload=sensor)
    group = registered(
        device, "ep=grp_R2-4-015", "et=core.rd-group", "base=coap://[ff05::1]", "d=R2-4-015", payload=LIGHTS
    )
    query = ("d=R2-4-015", "et=core.rd-group", "rt=tag:example.com,2020:light")
    wanted = f'<{group}>;ep=grp_R2-4-015;d=R2-4-015;et=core.rd-group;base="coap://[ff05::1]";rt=core.rd-ep'
    assert found(device, "/rd-lookup/ep", *query) == links(wanted.encode())


def test_group_of_lights(device: Device) -> None:
    """Appendix A."""
    base = "coap://[ff35:30:2001:db8:f1::8000:1]"
    payload = b"""</light>;rt="tag:example.com,2020:light";
         if="tag:example.net,2020:actuator",
    </color-temperature>;if="tag:example.net,2020:parameter";u=K"""
    place = registered(device, "ep=lights", "et=core.rd-group", f"base={base}", payload=payload)
    wanted = f'<{place}>;ep=lights;et=core.rd-group;base="{base}";rt=core.rd-ep'
    assert found(device, "/rd-lookup/ep", "et=core.rd-group") == links(wanted.encode())
    assert found(device, "/rd-lookup/res", "et=core.rd-group") == links(payload.replace(b"</", f"<{base}/".encode()))
