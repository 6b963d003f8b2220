"""Groups as clients of draft -12 know them."""

import pytest
from speaking import Device, Node, shown

from waypost.coap.numbers import Code
from waypost.rd.groups import MEMBERS_MAX

MULTICAST = "coap://[ff35:30:2001:db8::1]"


class House:
    def __init__(self) -> None:
        self.node = Node()
        self.tool: Device = self.node.device("2001:db8::c")
        self.one = self.tool.register("/rd?ep=node1&et=power-node&con=coap://[2001:db8::1]", "</l>;rt=light")
        self.two = self.tool.register("/rd?ep=node2&et=power-node&con=coap://[2001:db8::2]", "</l>;rt=light,</t>;rt=t")
        self.other = self.tool.register("/rd?ep=node3&et=power-node&con=coap://[2001:db8::3]", "</l>;rt=light")

    def group(self, query: str, *members: str) -> str:
        return self.tool.register(f"/rd-group?{query}", ",".join(f"<{member}>" for member in members))

    def names(self, uri: str, attribute: str = "ep") -> list[str | None]:
        return [value for _, pairs in self.tool.get(uri) for name, value in pairs if name == attribute]


@pytest.fixture
def house() -> House:
    return House()


def test_a_group_is_registered_and_listed(house: House) -> None:
    """draft -12, 6.1 and 7.4: its name, its domain, its multicast address, and no lt."""
    one = house.group(f"gp=lights1&d=example.com&con={MULTICAST}", house.one, house.two)
    two = house.group("gp=lights2")
    assert house.tool.get("/rd-lookup/gp") == shown(
        f'<{one}>;gp="lights1";d="example.com";con="{MULTICAST}",<{two}>;gp="lights2"'
    )


def test_endpoints_and_resources_of_a_group(house: House) -> None:
    """draft -12, 7.3 and 7.4: an endpoint matches if one of its groups does, a resource if its endpoint does."""
    house.group("gp=lights1", house.one, house.two)
    assert house.names("/rd-lookup/ep?gp=lights1") == ["node1", "node2"]
    assert house.names("/rd-lookup/ep?gp=lights*") == ["node1", "node2"]
    assert house.names("/rd-lookup/ep?gp=lights1&rt=t") == ["node2"]
    assert house.names("/rd-lookup/ep?gp=none") == []
    resources = house.tool.get("/rd-lookup/res?gp=lights1&rt=light")
    assert resources == shown("<coap://[2001:db8::1]/l>;rt=light,<coap://[2001:db8::2]/l>;rt=light")
    pages = [house.names(f"/rd-lookup/ep?gp=lights1&count=1&page={page}") for page in range(3)]
    assert pages == [["node1"], ["node2"], []]


@pytest.mark.parametrize(
    ("query", "groups"),
    [
        ("ep=node1", ["lights1", "lights2"]),
        ("ep=node2", ["lights1"]),
        ("ep=node3", []),
        ("ep=lights1", []),
        ("gp=lights2", ["lights2"]),
        ("gp=lights*", ["lights1", "lights2"]),
        ("d=example.com", ["lights1"]),
        (f"con={MULTICAST}", ["lights1"]),
        (f"base={MULTICAST}", ["lights1"]),
        ("rt=t", ["lights1"]),
        ("et=power-node&ep=node1&gp=lights2", ["lights2"]),
        ("href=coap://[2001:db8::2]/t", ["lights1"]),
        ("count=1&page=1", ["lights2"]),
        ("et=core.rd-group", ["lights1", "lights2"]),
        ("nothing=x", []),
    ],
)
def test_groups_are_found_by_what_they_or_their_members_say(house: House, query: str, groups: list[str]) -> None:
    """draft -12, 7.4: all groups that an endpoint belongs to."""
    house.group(f"gp=lights1&d=example.com&con={MULTICAST}", house.one, house.two)
    house.group("gp=lights2", house.one)
    assert house.names(f"/rd-lookup/gp?{query}", "gp") == groups


def test_a_group_is_a_registration(house: House) -> None:
    """RFC 9176, appendix A."""
    group = house.group(f"gp=lights1&con={MULTICAST}", house.one)
    assert house.tool.get("/rd-lookup/ep?et=core.rd-group") == shown(
        f'<{group}>;ep="lights1";base="{MULTICAST}";et="core.rd-group";rt="core.rd-ep"'
    )
    by_rfc = house.tool.register(f"/rd?ep=lights2&et=core.rd-group&base={MULTICAST}", "</l>;rt=light")
    assert house.tool.get("/rd-lookup/gp?gp=lights2") == shown(f'<{by_rfc}>;gp="lights2";con="{MULTICAST}"')


def test_a_group_is_replaced_and_removed_without_its_members(house: House) -> None:
    """draft -12, 6.1 and 6.2."""
    group = house.group("gp=lights", house.one)
    assert house.group("gp=lights", house.two) == group
    assert house.names("/rd-lookup/ep?gp=lights") == ["node2"]
    assert house.tool.ask(Code.DELETE, group).code == Code.DELETED
    assert house.tool.get("/rd-lookup/gp") == []
    assert house.names("/rd-lookup/ep?et=power-node") == ["node1", "node2", "node3"]


def test_members_that_are_gone_are_passed_over(house: House) -> None:
    house.group("gp=lights", house.one, house.two)
    house.tool.ask(Code.DELETE, house.one)
    assert house.names("/rd-lookup/ep?gp=lights") == ["node2"]
    assert house.names("/rd-lookup/gp?ep=node1", "gp") == []


def test_a_group_has_no_end(house: House) -> None:
    """draft -12, 6: it does not have a lifetime."""
    house.group("gp=lights")
    house.node.now += 10 * 365 * 86_400.0
    house.node.advance(1)
    assert house.names("/rd-lookup/gp", "gp") == ["lights"]


@pytest.mark.parametrize(
    ("query", "payload", "code"),
    [
        ("gp=g", "</reg/00000000-0000-4000-8000-000000000000>", Code.NOT_FOUND),
        ("gp=g", "</rd/4521>", Code.BAD_REQUEST),
        ("gp=g", "<coap://elsewhere/reg/1>", Code.BAD_REQUEST),
        ("gp=g", "no links", Code.BAD_REQUEST),
        ("gp=g", ",".join(f"</reg/{number}>" for number in range(MEMBERS_MAX + 1)), Code.BAD_REQUEST),
        ("", "", Code.BAD_REQUEST),
        ("gp=" + 64 * "x", "", Code.BAD_REQUEST),
        ("gp=g&lt=60", "", Code.BAD_REQUEST),
        ("gp=g&color=red", "", Code.BAD_REQUEST),
        ("gp=node1", "", Code.BAD_REQUEST),
        ("gp=g&con=nowhere", "", Code.BAD_REQUEST),
    ],
)
def test_what_is_wrong_is_refused_in_words(house: House, query: str, payload: str, code: Code) -> None:
    """draft -12, 6.1: 4.00, and 4.04 for an endpoint that is not registered."""
    answer = house.tool.post(f"/rd-group?{query}", payload)
    assert answer.code == code
    assert answer.payload
    assert house.tool.get("/rd-lookup/gp") == []


def test_the_members_attributes_do_not_matter(house: House) -> None:
    """draft -12, 6.1: SHOULD be ignored."""
    house.tool.register("/rd-group/?gp=lights", f"<{house.one}>;ep=else,<{house.one}/>")
    assert house.names("/rd-lookup/ep?gp=lights") == ["node1"]


def test_groups_are_read_by_get_and_made_by_post(house: House) -> None:
    assert house.tool.ask(Code.GET, "/rd-group?gp=x").code == Code.METHOD_NOT_ALLOWED
    assert house.tool.post("/rd-lookup/gp").code == Code.METHOD_NOT_ALLOWED
    assert house.tool.post("/rd-group?gp=x", "[]", content_format=50).code == Code.UNSUPPORTED_CONTENT_FORMAT


def test_an_attribute_that_is_named_gp_is_an_attribute(house: House) -> None:
    """RFC 9176, 5: unknown attributes are stored and found."""
    house.tool.register("/rd?ep=own&gp=lights")
    house.group("gp=lights", house.one)
    assert house.names("/rd-lookup/ep?gp=lights") == ["node1", "own"]


def test_the_paths_are_advertised(house: House) -> None:
    """draft -12, 5.2 and 9.1."""
    assert [href for href, _ in house.tool.get("/.well-known/core?rt=core.rd-group")] == ["/rd-group"]
    assert [href for href, _ in house.tool.get("/.well-known/core?rt=core.rd-lookup-gp")] == ["/rd-lookup/gp"]
