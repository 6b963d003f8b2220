"""Who may change a registration."""

from speaking import Disk, Node, location

from waypost.coap.numbers import Code
from waypost.identity import OPERATOR
from waypost.identity.policy import default
from waypost.rd.questions import Register, Registered, Remove, Removed

ANNA, BORIS = "2001:db8::a", "2001:db8::b"


def operators(ep: str) -> Register:
    return Register(ep, None, 60, "coap://h", "", (), b"", "127.0.0.1", OPERATOR)


def test_nobody_else_changes_a_registration() -> None:
    """RFC 9176, 7.5: any operation, also a registration that leads to an existing resource."""
    node = Node(policy=default())
    anna, boris = node.device(ANNA), node.device(BORIS)
    location = anna.register("/rd?ep=a", "</a>")
    for answer in (boris.post("/rd?ep=a", "</b>"), boris.post(location), boris.ask(Code.DELETE, location)):
        assert answer.code == Code.FORBIDDEN
        assert answer.payload, "a diagnostic"
    assert boris.post("/.well-known/rd?ep=a").code == Code.FORBIDDEN, "and nothing is fetched"
    assert [href for href, _ in boris.get("/rd-lookup/res")] == [f"coap://[{ANNA}]/a"], "but everybody may look"
    assert node.device(ANNA, 61000).post(location).code == Code.CHANGED, "ports do not matter: devices change them"
    assert anna.ask(Code.DELETE, location).code == Code.DELETED
    assert boris.register("/rd?ep=a", "</b>")


def test_the_same_name_in_another_sector_is_free() -> None:
    """RFC 9176, 5: names are unique in a sector."""
    node = Node(policy=default())
    node.device(ANNA).register("/rd?ep=a&d=x")
    assert node.device(BORIS).register("/rd?ep=a&d=y")


def test_the_name_of_an_expired_registration_is_free_and_its_location_is_not() -> None:
    """RFC 9176, 7.5: a name that is not assigned to an active registration resource."""
    node = Node(policy=default())
    anna, boris = node.device(ANNA), node.device(BORIS)
    location = anna.register("/rd?ep=a&lt=60")
    node.advance(61)
    assert boris.post(location).code == Code.FORBIDDEN
    assert anna.post(location).code == Code.CHANGED, "revived by its owner"
    node.advance(61)
    boris.register("/rd?ep=a&lt=60")
    assert anna.post(location).code == Code.FORBIDDEN, "it is another's now"


def test_what_is_remembered_survives_a_restart() -> None:
    disk = Disk()
    location = Node(disk=disk, policy=default()).device(ANNA).register("/rd?ep=a")
    node = Node(disk=disk, policy=default())
    assert node.device(BORIS).post(location).code == Code.FORBIDDEN
    assert node.device(ANNA).post(location).code == Code.CHANGED


def test_operators_change_everything_and_keep_what_they_register() -> None:
    """The local API."""
    node = Node(policy=default())
    anna = node.device(ANNA)
    lamp = anna.register("/rd?ep=lamp")
    assert isinstance(node.ask(operators("lamp")), Registered)
    assert anna.post(lamp).code == Code.CHANGED, "it is still its own"
    assert node.ask(Remove(lamp.removeprefix("/reg/"), "127.0.0.1", OPERATOR)) == Removed()
    assert isinstance(node.ask(operators("fixed")), Registered)
    assert anna.post("/rd?ep=fixed").code == Code.FORBIDDEN


def test_an_unknown_location_is_not_found_whoever_asks() -> None:
    """RFC 9176, 5.3.2."""
    assert Node(policy=default()).device().post("/reg/00000000-0000-4000-8000-000000000000").code == Code.NOT_FOUND


def test_link_local_addresses_of_two_links_are_two_sources() -> None:
    """RFC 4291, 2.5.6: the same address may be another host there."""
    node = Node(policy=default())
    node.device("fe80::1", scope=2).register("/rd?ep=a")
    assert node.device("fe80::1", scope=3).post("/rd?ep=a").code == Code.FORBIDDEN


def test_under_the_open_policy_everybody_may() -> None:
    node = Node()
    held = node.device(ANNA).register("/rd?ep=a")
    assert location(node.device(BORIS).post("/rd?ep=a")) == held
    assert node.device(BORIS).ask(Code.DELETE, held).code == Code.DELETED
