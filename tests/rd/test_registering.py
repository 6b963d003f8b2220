"""Registrations, updates, removals and the two timers, rule by rule."""

import re

import pytest
from carried import LINKS, UNLIMITED, Carried, register, renew

from waypost.rd.engine import Settings
from waypost.rd.questions import Entry, Kind, Read, Reason, Refused, Registered, Remove, Removed, Renewed


@pytest.fixture
def carried() -> Carried:
    return Carried()


def test_a_registration_has_a_uuid_for_its_location(carried: Carried) -> None:
    """RFC 9176, 5; R7; RFC 9562, 5.4."""
    location = carried.location(carried.ask(register()))
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", location)


def test_registering_again_replaces_all_but_the_location(carried: Carried) -> None:
    """RFC 9176, 5: idempotent in (ep, d); R8."""
    first = carried.ask(register(attributes=(("et", "lamp"),)))
    second = carried.ask(register(links=b"</new>", attributes=(("x", None),)))
    assert second == Registered(carried.location(first), created=False)
    assert carried.names("et=lamp") == carried.names("rt=temperature") == []
    assert carried.find(Kind.RESOURCES) == ["<coap://[2001:db8::1]/new>"]
    assert carried.names("x") == ["a"]


def test_one_name_in_two_sectors_is_two_registrations(carried: Carried) -> None:
    """RFC 9176, 5, d; R3."""
    locations = {carried.location(carried.ask(register(d=d))) for d in (None, "x", "y", "x")}
    assert len(locations) == 3
    assert carried.names("d=x") == ["a"]


def test_no_sector_is_the_empty_sector(carried: Carried) -> None:
    assert carried.location(carried.ask(register(d=""))) == carried.location(carried.ask(register()))


def test_a_default_sector_stands_in(carried: Carried) -> None:
    """RFC 9176, 5, d: the default may be configured; R3."""
    carried = Carried(Settings(default_sector="home"))
    carried.ask(register())
    assert carried.names("d=home") == ["a"]
    assert carried.location(carried.ask(register(d="home"))) == carried.location(carried.ask(register()))


def test_a_lifetime_of_1_second_and_of_136_years_is_kept(carried: Carried) -> None:
    """RFC 9176, 5, lt; R4."""
    carried.ask(register("short", lt=1))
    carried.ask(register("long", lt=2**32 - 1))
    carried.run(0.999)
    assert carried.names(now=0.999) == ["short", "long"]
    carried.run(1.0)
    assert carried.names(now=1.0) == ["long"]


def test_without_a_base_the_sender_is_the_base(carried: Carried) -> None:
    """RFC 9176, 5, base; R5."""
    carried.ask(register(sender="coap://[2001:db8::9]:61616"))
    assert carried.find(Kind.RESOURCES, "rt=humidity") == ['<coap://[2001:db8::9]:61616/h>;rt="humidity"']


def test_unknown_attributes_are_kept_with_all_their_values_and_shown(carried: Carried) -> None:
    """RFC 9176, 5, extra attributes; R6."""
    carried.ask(register(attributes=(("et", "a"), ("et", "b"), ("flag", None), ("q", 'say "hi"'))))
    (line,) = carried.find(Kind.ENDPOINTS)
    assert ';et="a";et="b";flag;q="say \\"hi\\"";rt="core.rd-ep"' in line


@pytest.mark.parametrize("links", [b"<a>", b"<../a>", b"<//h/a>", b'</a>;anchor="b"', b"nonsense", b"\xff"])
def test_what_is_not_limited_link_format_changes_nothing(carried: Carried, links: bytes) -> None:
    """RFC 9176, 5 and appendix C; R9."""
    outcome = carried.ask(register(links=links))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.BAD_REQUEST
    assert not carried.announced
    assert carried.directory.gauges()["documents"] == 0


def test_an_endpoint_may_have_no_links(carried: Carried) -> None:
    """RFC 9176, 5: an empty payload is legal; R9."""
    carried.ask(register(links=b""))
    assert carried.names() == ["a"]
    assert carried.find(Kind.RESOURCES) == []


def test_references_are_resolved_against_the_base(carried: Carried) -> None:
    """RFC 9176, 5; RFC 6690, 2.1; R10: a path of the base does not show in what has a leading slash."""
    links = b'</t>;anchor="/room",<coap://other/x>;anchor="http://web/y",</.well-known/core>'
    carried.ask(register(links=links, base="coap://h:1/a/b"))
    assert carried.find(Kind.RESOURCES) == [
        '<coap://h:1/t>;anchor="coap://h:1/room"',
        '<coap://other/x>;anchor="http://web/y"',
        "<coap://h:1/.well-known/core>",
    ]


def test_an_update_resets_the_timer(carried: Carried) -> None:
    """RFC 9176, 5.3.1; U1."""
    location = carried.location(carried.ask(register(lt=100)))
    for now in (20.0, 90.0, 180.0):
        assert carried.ask(renew(location), now) == Renewed()
        carried.run(now)
    carried.run(279.0)
    assert carried.names(now=279.0) == ["a"]
    carried.run(280.0)
    assert carried.names(now=280.0) == []


def test_an_update_may_change_the_lifetime_for_good(carried: Carried) -> None:
    """RFC 9176, 5.3.1, lt; U1."""
    location = carried.location(carried.ask(register(lt=100)))
    carried.ask(renew(location, lt=10), 1.0)
    carried.ask(renew(location), 2.0)
    carried.run(12.0)
    assert carried.names(now=12.0) == []


def test_an_explicit_base_sticks_and_an_implicit_one_follows_the_sender(carried: Carried) -> None:
    """RFC 9176, 5.3.1, base; U1."""
    location = carried.location(carried.ask(register(sender="coap://one")))
    carried.ask(renew(location, sender="coap://two"))
    assert carried.find(Kind.RESOURCES, "rt=humidity") == ['<coap://two/h>;rt="humidity"']
    carried.ask(renew(location, base="coap://three", sender="coap://two"))
    carried.ask(renew(location, sender="coap://four"))
    assert carried.find(Kind.RESOURCES, "rt=humidity") == ['<coap://three/h>;rt="humidity"']
    assert carried.names("base=coap://three") == ["a"]
    assert carried.names("base=coap://one") == carried.names("base=coap://two") == []


def test_attributes_are_overwritten_and_never_removed_by_an_update(carried: Carried) -> None:
    """RFC 9176, 5.3.1; U1."""
    location = carried.location(carried.ask(register(attributes=(("et", "a"), ("x", "1"), ("et", "b")))))
    carried.ask(renew(location, attributes=(("et", "c"), ("new", None))))
    entry = carried.ask(Read(location))
    assert isinstance(entry, Entry)
    assert entry.attributes == (("et", "c"), ("x", "1"), ("new", None))


def test_a_removed_registration_is_gone(carried: Carried) -> None:
    """RFC 9176, 5.3.2; U2."""
    location = carried.location(carried.ask(register()))
    assert carried.ask(Remove(location)) == Removed()
    assert carried.find(Kind.ENDPOINTS) == carried.find(Kind.RESOURCES) == []
    assert not carried.rows
    assert carried.directory.gauges()["links"] == 0


def test_an_unknown_location_is_not_found(carried: Carried) -> None:
    """RFC 9176, 5.3; U2."""
    for question in (renew("x" * 1000), Remove("nothing"), Read("")):
        outcome = carried.ask(question)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.NOT_FOUND
        assert len(outcome.detail) < 150


def test_an_expired_registration_is_hidden_and_can_be_revived_by_an_update(carried: Carried) -> None:
    """RFC 9176, 5.3: it should stay for a while; U3."""
    location = carried.location(carried.ask(register(lt=100)))
    carried.run(100.0)
    assert carried.find(Kind.ENDPOINTS, now=100.0) == carried.find(Kind.RESOURCES, now=100.0) == []
    assert isinstance(carried.ask(Read(location), 100.0), Refused)
    assert carried.ask(renew(location), 1000.0) == Renewed()
    assert carried.names("rt=temperature", now=1000.0) == ["a"]


def test_an_expired_registration_is_revived_where_it_was_by_registering_again(carried: Carried) -> None:
    """RFC 9176, 5; U3 and R8."""
    location = carried.location(carried.ask(register(lt=100)))
    carried.run(500.0)
    assert carried.ask(register(lt=100), 500.0) == Registered(location, created=False)
    assert carried.names(now=500.0) == ["a"]


def test_after_the_grace_an_expired_registration_is_forgotten(carried: Carried) -> None:
    """RFC 9176, 5.3; U3."""
    location = carried.location(carried.ask(register(lt=100)))
    carried.run(100.0)
    carried.run(100.0 + UNLIMITED.grace_s)
    assert not carried.rows
    assert isinstance(carried.ask(renew(location), 200_000.0), Refused)
    assert carried.directory.next_timer() is None
    assert carried.directory.gauges()["documents"] == 0


def test_many_that_expire_at_once_are_hidden_in_portions(carried: Carried) -> None:
    for i in range(500):
        carried.ask(register(f"n{i}"))
    carried.directory.handle_timer(100.0)
    assert 0 < carried.directory.gauges()["registrations"] < 500
    assert carried.directory.next_timer() == 100.0
    carried.run(100.0)
    assert carried.directory.gauges()["registrations"] == 0


def test_one_registration_can_be_read_with_its_links(carried: Carried) -> None:
    location = carried.location(carried.ask(register(d="x", attributes=(("et", "y"),))))
    entry = carried.ask(Read(location), 1.0)
    assert isinstance(entry, Entry)
    assert (entry.ep, entry.d, entry.base, entry.lt) == ("a", "x", "coap://[2001:db8::1]", 100)
    assert entry.expires_in == 99.0
    assert entry.links is not None
    assert [link.href for link in entry.links] == ["coap://[2001:db8::1]/t", "coap://[2001:db8::1]/h"]


def test_equal_documents_and_links_are_held_once(carried: Carried) -> None:
    for i in range(10):
        carried.ask(register(f"n{i}"))
    gauges = carried.directory.gauges()
    assert (gauges["registrations"], gauges["documents"], gauges["links"]) == (10, 1, 2)
    assert gauges["document_octets"] == len(LINKS)
