"""Every example of RFC 9176, in message bytes through a whole node.

Paths of registrations are ours (the RFC leaves them to the directory), and so is the order of attributes.
Not here: HTTP on the registration path (5), since ours is under /v1/, and formats that were never
registered (4.3, second example).
"""

import pytest
from speaking import Node, location, option, shown

from waypost.coap.message import uint
from waypost.coap.numbers import LINK_FORMAT, Code, Option
from waypost.rd.engine import Settings

PAYLOAD = """</sensors/temp>;rt=temperature-c;if=sensor,
<http://www.example.com/sensors/temp>;
  anchor="/sensors/temp";rel=describedby"""

# RFC 6690, 5, sixth example
RFC6690_6 = """</sensors>;ct=40;title="Sensor Index",
</sensors/temp>;rt="temperature-c";if="sensor",
</sensors/light>;rt="light-lux";if="sensor",
<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel="describedby",
</t>;anchor="/sensors/temp";rel="alternate\""""

LIGHTS = """</light/left>;rt="tag:example.com,2020:light",
</light/middle>;rt="tag:example.com,2020:light",
</light/right>;rt="tag:example.com,2020:light\""""


@pytest.fixture
def node() -> Node:
    return Node()


def test_discovery_tells_the_paths(node: Node) -> None:
    """RFC 9176, 4.3, figure 5; ours says that lookups can be observed, and has groups besides."""
    found = dict(node.device().get("/.well-known/core?rt=core.rd*"))
    for path, kind in (
        ("/rd", "core.rd"),
        ("/rd-lookup/ep", "core.rd-lookup-ep"),
        ("/rd-lookup/res", "core.rd-lookup-res"),
    ):
        assert found[path] >= {("rt", kind), ("ct", "40")}


def test_implementation_information_is_not_told(node: Node) -> None:
    """RFC 9176, 4.3, figure 7: an example of what a directory may say."""
    assert node.device().get("/.well-known/core?rel=impl-info") == []


def test_a_registration(node: Node) -> None:
    """RFC 9176, 5, figure 8."""
    answer = node.device().post("/rd?ep=node1", PAYLOAD)
    assert answer.code == Code.CREATED
    assert option(answer, Option.LOCATION_PATH)
    assert option(answer, Option.LOCATION_QUERY) is None


def test_a_simple_registration(node: Node) -> None:
    """RFC 9176, 5.1, figures 10 to 12: the links are fetched before the answer."""
    device = node.device("2001:db8:2::1")
    device.put(device.message(Code.POST, "/.well-known/rd?lt=6000&ep=node1"))
    (fetch,) = device.inbox
    assert fetch.code == Code.GET
    assert [value for number, value in fetch.options if number == Option.URI_PATH] == [b".well-known", b"core"]
    assert option(fetch, Option.ACCEPT) == uint(LINK_FORMAT)
    device.serve("</sen/temp>")
    (answer,) = device.inbox
    assert (answer.code, answer.payload, option(answer, Option.LOCATION_PATH)) == (Code.CHANGED, b"", None)
    assert device.get("/rd-lookup/res?ep=node1") == shown("<coap://[2001:db8:2::1]/sen/temp>")


def test_an_update_resets_the_lifetime(node: Node) -> None:
    """RFC 9176, 5.3.1, figure 13."""
    device = node.device()
    location = device.register("/rd?ep=node1&lt=500", PAYLOAD)
    node.advance(400)
    assert device.post(location).code == Code.CHANGED
    node.advance(400)
    assert len(device.get("/rd-lookup/ep?ep=node1")) == 1
    node.advance(101)
    assert device.get("/rd-lookup/ep?ep=node1") == []


def test_an_update_of_the_base_resolves_the_links_anew(node: Node) -> None:
    """RFC 9176, 5.3.1, figures 14 to 16."""
    device = node.device()
    location = device.register("/rd?ep=endpoint1&lt=500&base=coap://local-proxy-old.example.com", PAYLOAD)
    assert device.get("/rd-lookup/res?ep=endpoint1") == shown("""
        <coap://local-proxy-old.example.com/sensors/temp>;
            rt=temperature-c;if=sensor,
        <http://www.example.com/sensors/temp>;
            anchor="coap://local-proxy-old.example.com/sensors/temp";
            rel=describedby""")
    assert device.post(f"{location}?base=coaps://new.example.com").code == Code.CHANGED
    assert device.get("/rd-lookup/res?ep=endpoint1") == shown("""
        <coaps://new.example.com/sensors/temp>;
            rt=temperature-c;if=sensor,
        <http://www.example.com/sensors/temp>;
            anchor="coaps://new.example.com/sensors/temp";
            rel=describedby""")


def test_a_removal(node: Node) -> None:
    """RFC 9176, 5.3.2, figure 17."""
    device = node.device()
    location = device.register("/rd?ep=node1", PAYLOAD)
    assert device.ask(Code.DELETE, location).code == Code.DELETED
    assert device.ask(Code.DELETE, location).code == Code.NOT_FOUND


def test_freshness_by_echo() -> None:
    """RFC 9176, 5.3.4.2, figure 18; our values are good for a while, so a success brings no next one."""
    node = Node(Settings(freshness="echo"))
    device = node.device(validated=False)
    refused = device.post("/rd?ep=node1", PAYLOAD)
    echo = option(refused, Option.ECHO)
    assert refused.code == Code.UNAUTHORIZED
    assert echo
    fresh = [(int(Option.ECHO), echo)]
    here = location(device.post("/rd?ep=node1", PAYLOAD, more=fresh))
    again = device.post(f"{here}?lt=7200")
    assert (again.code, option(again, Option.ECHO)) == (Code.UNAUTHORIZED, echo), "though the source is validated"
    assert device.post(f"{here}?lt=7200", more=fresh).code == Code.CHANGED
    node.advance(600)
    assert device.post(f"{here}?lt=90000", more=fresh).code == Code.UNAUTHORIZED


def test_a_resource_lookup(node: Node) -> None:
    """RFC 9176, 6.3, figure 19."""
    device = node.device("2001:db8:3::123", 61616)
    device.register("/rd?ep=node1", '</temp>;rt="tag:example.org,2020:temperature",</other>;rt=x')
    assert device.get("/rd-lookup/res?rt=tag:example.org,2020:temperature") == shown("""
        <coap://[2001:db8:3::123]:61616/temp>;
            rt="tag:example.org,2020:temperature\"""")


def test_an_observed_resource_lookup(node: Node) -> None:
    """RFC 9176, 6.3, figure 20."""
    client, device = node.device(), node.device("2001:db8:3::124")
    first = client.ask(Code.GET, "/rd-lookup/res?rt=tag:example.org,2020:light", more=[(int(Option.OBSERVE), b"")])
    assert (first.code, first.payload, option(first, Option.OBSERVE) is not None) == (Code.CONTENT, b"", True)
    client.inbox.clear()
    links = ",".join(f'</{side}>;rt="tag:example.org,2020:light"' for side in ("west", "south", "east"))
    device.register("/rd?ep=lights", links)
    node.advance(2)
    (notification,) = client.inbox
    assert shown(notification.payload) == shown("""
        <coap://[2001:db8:3::124]/west>;rt="tag:example.org,2020:light",
        <coap://[2001:db8:3::124]/south>;rt="tag:example.org,2020:light",
        <coap://[2001:db8:3::124]/east>;rt="tag:example.org,2020:light\"""")


def test_pages(node: Node) -> None:
    """RFC 9176, 6.3, figure 21."""
    device = node.device("2001:db8:3::123", 61616)
    device.register("/rd?ep=node1", ",".join(f"</res/{number}>;ct=60" for number in range(10)))
    for page in range(2):
        numbers = range(5 * page, 5 * page + 5)
        expected = ",".join(f"<coap://[2001:db8:3::123]:61616/res/{number}>;ct=60" for number in numbers)
        assert device.get(f"/rd-lookup/res?page={page}&count=5") == shown(expected)


def test_resources_of_all_endpoints_of_a_type(node: Node) -> None:
    """RFC 9176, 6.3, figure 22."""
    tool = node.device()
    for name in ("sensor1", "sensor2"):
        tool.register(f"/rd?ep={name}&et=tag:example.com,2020:platform&base=coap://{name}.example.com", RFC6690_6)
    expected = ",".join(
        f"""
        <coap://{name}.example.com/sensors>;ct=40;title="Sensor Index",
        <coap://{name}.example.com/sensors/temp>;rt=temperature-c;if=sensor,
        <coap://{name}.example.com/sensors/light>;rt=light-lux;if=sensor,
        <http://www.example.com/sensors/t123>;rel=describedby;
            anchor="coap://{name}.example.com/sensors/temp",
        <coap://{name}.example.com/t>;rel=alternate;
            anchor="coap://{name}.example.com/sensors/temp\""""
        for name in ("sensor1", "sensor2")
    )
    assert tool.get("/rd-lookup/res?et=tag:example.com,2020:platform") == shown(expected)


def test_an_endpoint_lookup(node: Node) -> None:
    """RFC 9176, 6.4, figure 23."""
    et = "tag:example.com,2020:platform"
    node5 = node.device("2001:db8:3::127", 61616).register(f"/rd?ep=node5&et={et}&ct=40")
    node7 = node.device("2001:db8:3::129", 61616).register(f"/rd?ep=node7&et={et}&ct=40&d=floor-3")
    assert node.device().get(f"/rd-lookup/ep?et={et}") == shown(f"""
        <{node5}>;base="coap://[2001:db8:3::127]:61616";ep=node5;
            et="{et}";ct=40;rt=core.rd-ep,
        <{node7}>;base="coap://[2001:db8:3::129]:61616";ep=node7;
            et="{et}";ct=40;d=floor-3;rt=core.rd-ep""")


def test_a_lighting_installation(node: Node) -> None:
    """RFC 9176, 10.1.2, figures 24 to 26.

    The last figure asks for the group with the sector that its registration did not give, and for
    "light" where the links say "tag:example.com,2020:light"; here they agree.
    """
    tool = node.device("2001:db8:4::fe")
    tool.register("/rd?ep=lm_R2-4-015_wndw&base=coap://[2001:db8:4::1]&d=R2-4-015", LIGHTS)
    tool.register("/rd?ep=lm_R2-4-015_door&base=coap://[2001:db8:4::2]&d=R2-4-015", LIGHTS)
    tool.register("/rd?ep=ps_R2-4-015_door&base=coap://[2001:db8:4::3]&d=R2-4-015", '</ps>;rt="p-sensor"')
    group = tool.register("/rd?ep=grp_R2-4-015&et=core.rd-group&base=coap://[ff05::1]&d=R2-4-015", LIGHTS)
    lookup = "/rd-lookup/ep?d=R2-4-015&et=core.rd-group&rt=tag:example.com,2020:light"
    assert node.device("2001:db8:4::1").get(lookup) == shown(f"""
        <{group}>;ep=grp_R2-4-015;et=core.rd-group;d=R2-4-015;
          base="coap://[ff05::1]";rt=core.rd-ep""")


def test_a_group(node: Node) -> None:
    """RFC 9176, appendix A, figures 27 to 29."""
    tool = node.device()
    base = "coap://[ff35:30:2001:db8:f1::8000:1]"
    links = """</light>;rt="tag:example.com,2020:light";
        if="tag:example.net,2020:actuator",
        </color-temperature>;if="tag:example.net,2020:parameter";u=K"""
    group = tool.register(f"/rd?ep=lights&et=core.rd-group&base={base}", links)
    tool.register("/rd?ep=lamp&base=coap://[2001:db8::7]", links)
    assert tool.get("/rd-lookup/ep?et=core.rd-group") == shown(
        f'<{group}>;ep=lights;et=core.rd-group;base="{base}";rt=core.rd-ep'
    )
    assert tool.get("/rd-lookup/res?et=core.rd-group") == shown(f"""
        <{base}/light>;
            rt="tag:example.com,2020:light";
            if="tag:example.net,2020:actuator",
        <{base}/color-temperature>;
            if="tag:example.net,2020:parameter";u=K""")


def test_web_links_keep_their_meaning(node: Node) -> None:
    """RFC 9176, appendix B.3, figures 35 to 38."""
    links = """</sensors/temp>;rt=temperature;ct=0,
        </sensors/light>;rt=light-lux;ct=0,
        </t>;anchor="/sensors/temp";rel=alternate,
        <http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel=describedby"""
    host = node.device("2001:db8:f0::1")
    host.put(host.message(Code.POST, "/.well-known/rd?ep=simple-host1"))
    host.serve(links)
    assert [message.code for message in host.inbox] == [Code.CHANGED]
    client = node.device()
    base = "coap://[2001:db8:f0::1]"
    assert client.get("/rd-lookup/res?rt=temperature") == shown(f"<{base}/sensors/temp>;rt=temperature;ct=0")
    assert client.get("/rd-lookup/res?ep=simple-host1") == shown(f"""
        <{base}/sensors/temp>;rt=temperature;ct=0,
        <{base}/sensors/light>;rt=light-lux;ct=0,
        <{base}/t>;
            anchor="{base}/sensors/temp";rel=alternate,
        <http://www.example.com/sensors/t123>;
            anchor="{base}/sensors/temp";rel=describedby""")
    node.advance(90_000.5)
    assert client.get("/rd-lookup/ep?ep=simple-host1") == [], "after 25 hours"
    host.register("/rd?ep=simple-host1&base=coap%2Btcp://x".replace("%2B", "+"), links)
    assert client.get("/rd-lookup/res?rt=temperature") == shown("<coap+tcp://x/sensors/temp>;rt=temperature;ct=0")


@pytest.mark.parametrize("links", ["<sensors>", "<>", "<//host/a>", '</a>;anchor="sensors"', '</a>;anchor=""'])
def test_links_outside_the_limited_format_are_refused(node: Node, links: str) -> None:
    """RFC 9176, appendix C."""
    assert node.device().post("/rd?ep=a", links).code == Code.BAD_REQUEST
