"""Quotas: by source, and for the directory as a whole."""

from itertools import count

from carried import UNLIMITED, Carried, register, renew

from waypost.rd.admission import BUCKETS_MAX, Admission, prefix_of
from waypost.rd.engine import Settings
from waypost.rd.questions import Busy, Registered, Remove, Removed, Renewed


def test_a_burst_beyond_the_quota_is_told_when_to_come_back() -> None:
    """RFC 9176, 8.3."""
    carried = Carried(Settings(registrations_per_second=0.5, burst=3))
    outcomes = [carried.ask(register(f"n{i}")) for i in range(4)]
    assert all(isinstance(outcome, Registered) for outcome in outcomes[:3])
    assert isinstance(outcomes[3], Busy)
    assert outcomes[3].retry_s == 2
    assert isinstance(carried.ask(register("n3"), 1.9), Busy)
    assert isinstance(carried.ask(register("n3"), 4.0), Registered)


def test_refreshes_and_removals_are_free() -> None:
    carried = Carried(Settings(registrations_per_second=0.001, burst=1))
    location = carried.location(carried.ask(register(lt=1000)))
    for now in range(10):
        assert carried.ask(renew(location), now) == Renewed()
        assert carried.ask(register(lt=1000), now) == Registered(location, created=False)
    assert isinstance(carried.ask(register("b")), Busy)
    assert carried.ask(Remove(location)) == Removed()


def test_one_source_does_not_use_up_anothers_quota() -> None:
    carried = Carried(Settings(registrations_per_second=0.1, burst=1))
    assert isinstance(carried.ask(register("a", source="2001:db8::1")), Registered)
    assert isinstance(carried.ask(register("b", source="2001:db8::2")), Busy)
    assert isinstance(carried.ask(register("b", source="2001:db8:0:1::2")), Registered)
    assert isinstance(carried.ask(register("c", source="192.0.2.1")), Registered)
    assert isinstance(carried.ask(register("d", source="192.0.2.2")), Registered)


def test_a_source_is_an_ipv4_address_or_an_ipv6_64() -> None:
    assert prefix_of("2001:db8::1") == prefix_of("2001:db8::ffff:0:0:2") == "2001:db8::"
    assert prefix_of("::ffff:192.0.2.1") == prefix_of("192.0.2.1") == "192.0.2.1"
    assert prefix_of("fe80::1%eth0").startswith("fe80::")
    assert prefix_of("a name" * 99) == prefix_of("a name" * 98)


def test_the_buckets_are_bounded() -> None:
    admission = Admission(1.0, 5)
    for number in range(BUCKETS_MAX + 10):
        assert admission.take(str(number), 0.0) == 0
    assert len(admission) == BUCKETS_MAX


def test_a_full_directory_takes_no_new_name_but_keeps_those_it_has() -> None:
    carried = Carried(Settings(registrations_max=2))
    carried.put(register("a"))
    carried.put(register("b"))
    third = carried.put(register("c"))
    assert isinstance(carried.outcomes[third], Busy)
    carried.settle()
    assert isinstance(carried.ask(register("a", b"</new>")), Registered)
    assert isinstance(carried.ask(register("c")), Busy)


def test_links_are_bounded_for_one_and_for_all() -> None:
    carried = Carried(Settings(document_octets_max=20, octets_max=30))
    assert "20 octets" in getattr(carried.ask(register(links=b"</a>,</b>,</c>,</d>,</e>")), "detail", "")
    ids = count()
    while isinstance(outcome := carried.ask(register(f"n{next(ids)}", b"</%06d>" % next(ids))), Registered):
        pass
    assert isinstance(outcome, Busy)
    assert carried.directory.gauges()["document_octets"] <= 30
    assert isinstance(carried.ask(register("same", b"</000001>")), Registered)


def test_a_quota_of_nothing_is_none() -> None:
    carried = Carried(UNLIMITED)
    assert all(isinstance(carried.ask(register(f"n{i}")), Registered) for i in range(100))
