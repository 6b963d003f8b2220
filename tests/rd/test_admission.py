"""Quotas: by source, and for the directory as a whole."""

from dataclasses import replace
from itertools import count

from carried import UNLIMITED, WALL_MS, Carried, register, renew
from hypothesis import given
from hypothesis import strategies as st
from speaking import Node, option

from waypost.coap.numbers import Code, Option
from waypost.identity import ANONYMOUS, OPERATOR
from waypost.identity.admission import BUCKETS_MAX, Buckets, prefix_of
from waypost.rd.admission import holder
from waypost.rd.engine import Settings
from waypost.rd.questions import Busy, Cause, Evict, Import, Registered, Remove, Removed, Renewed


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
    admission = Buckets(1.0, 5)
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


TWO_EACH = replace(UNLIMITED, registrations_per_source=2, grace_s=50.0)
ANNA, BERTA = "2001:db8:a::1", "2001:db8:b::1"


def refused(carried: Carried, ep: str, source: str = ANNA, now: float = 0.0) -> bool:
    """Whether the limit of the source keeps it out."""
    outcome = carried.ask(register(ep, source=source), now)
    assert isinstance(outcome, Busy | Registered)
    return isinstance(outcome, Busy) and outcome.cause is Cause.HOLDINGS


def test_a_source_has_so_many_registrations_and_no_more() -> None:
    carried = Carried(TWO_EACH)
    assert not refused(carried, "a")
    assert not refused(carried, "b")
    third = carried.ask(register("c", source="2001:db8:a::2"))
    assert third == Busy(60, "2 registrations came from your address, and more may not: remove one, or let it end",
                         Cause.HOLDINGS)  # fmt: skip
    assert not refused(carried, "d", BERTA)
    assert carried.directory.counters()["busy_holdings"] == 1
    assert carried.directory.gauges()["holders"] == 2


def test_what_is_on_its_way_to_the_disk_counts() -> None:
    carried = Carried(TWO_EACH)
    ids = [carried.put(register(ep, source=ANNA)) for ep in "abc"]
    assert isinstance(carried.outcomes.get(ids[2]), Busy)
    carried.settle()
    assert refused(carried, "c")


def test_what_did_not_reach_the_disk_counts_no_more() -> None:
    carried = Carried(TWO_EACH)
    carried.put(register("a", source=ANNA))
    carried.refuse()
    assert not refused(carried, "b")
    assert not refused(carried, "c")


def test_over_the_limit_what_there_is_is_replaced_and_renewed() -> None:
    carried = Carried(TWO_EACH)
    location = carried.location(carried.ask(register("a", source=ANNA)))
    assert not refused(carried, "b")
    assert carried.ask(register("a", b"</new>", source=ANNA)) == Registered(location, created=False)
    assert carried.ask(replace(renew(location, base="coap://[2001:db8::9]"), source=ANNA)) == Renewed()
    assert refused(carried, "c")


def test_a_registration_counts_for_whoever_changed_it_last() -> None:
    carried = Carried(TWO_EACH)
    location = carried.location(carried.ask(register("a", source=ANNA)))
    assert not refused(carried, "b")
    assert isinstance(carried.ask(register("b", b"</new>", source=BERTA)), Registered)
    assert carried.ask(replace(renew(location, base="coap://[2001:db8::9]"), source=BERTA)) == Renewed()
    assert refused(carried, "c", BERTA)
    assert not refused(carried, "c", ANNA)
    assert not refused(carried, "d", ANNA)


def test_a_refresh_from_elsewhere_stays_free_and_counts_as_before() -> None:
    carried = Carried(TWO_EACH)
    assert not refused(carried, "a")
    assert not refused(carried, "b")
    announced = len(carried.announced)
    carried.ask(register("a", source=BERTA))
    assert len(carried.announced) == announced
    assert refused(carried, "c", ANNA)


def test_an_operators_change_leaves_it_with_its_holder() -> None:
    carried = Carried(TWO_EACH)
    location = carried.location(carried.ask(register("a", source=ANNA)))
    assert not refused(carried, "b")
    change = replace(renew(location, base="coap://[2001:db8::9]"), source="127.0.0.1", who=OPERATOR)
    assert carried.ask(change) == Renewed()
    assert refused(carried, "c")


def test_who_removes_one_may_register_another() -> None:
    carried = Carried(TWO_EACH)
    location = carried.location(carried.ask(register("a", source=ANNA)))
    assert not refused(carried, "b")
    carried.ask(Remove(location))
    assert not refused(carried, "c")
    assert refused(carried, "d")


def test_what_is_evicted_counts_no_more() -> None:
    carried = Carried(TWO_EACH)
    location = carried.location(carried.ask(register("a", source=ANNA)))
    assert not refused(carried, "b")
    carried.ask(Evict(location, 60))
    assert not refused(carried, "c")


def test_what_has_expired_counts_until_it_is_forgotten() -> None:
    carried = Carried(TWO_EACH)
    assert not refused(carried, "a")
    assert not refused(carried, "b")
    carried.run(140.0)
    assert carried.names() == []
    assert refused(carried, "c", now=140.0)
    carried.run(200.0)
    assert carried.directory.gauges()["holders"] == 0
    assert not refused(carried, "c", now=200.0)


def test_after_a_restart_the_source_is_still_known() -> None:
    before = Carried(TWO_EACH)
    assert not refused(before, "a")
    assert not refused(before, "b")
    after = Carried(TWO_EACH, rows=before.rows, seed=2)
    assert refused(after, "c")
    assert not refused(after, "c", BERTA)


def test_a_row_from_before_the_limit_is_read_and_counts_for_nobody() -> None:
    before = Carried(TWO_EACH)
    assert not refused(before, "a")
    assert not refused(before, "b")
    rows = {key: value.replace(b'"holder":"2001:db8:a::",', b"") for key, value in before.rows.items()}
    assert rows != before.rows
    after = Carried(TWO_EACH, rows=rows, seed=2)
    assert not refused(after, "c")
    assert after.directory.gauges()["holders"] == 1


def test_imports_and_operators_are_not_limited() -> None:
    carried = Carried(TWO_EACH)
    for number in range(5):
        carried.ask(Import(register(f"i{number}", source=""), None, 50.0))
        carried.ask(replace(register(f"o{number}", source=ANNA), who=OPERATOR))
    assert len(carried.names()) == 10
    assert not refused(carried, "a")
    assert not refused(carried, "b")
    assert refused(carried, "c")


def test_a_limit_of_nothing_is_none() -> None:
    carried = Carried(replace(UNLIMITED, registrations_per_source=0))
    assert not any(refused(carried, f"n{i}") for i in range(100))


def test_who_holds_it_is_the_source_unless_an_operator_asks() -> None:
    assert holder(ANONYMOUS, "2001:db8::1") == "2001:db8::"
    assert holder(ANONYMOUS, "") == ""
    assert holder(OPERATOR, "2001:db8::1") == ""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("register", "new links", "renew", "remove", "refuse", "wait", "restart")),
            st.sampled_from("abcde"),
            st.sampled_from((ANNA, BERTA)),
        ),
        max_size=30,
    )
)
def test_whatever_happens_the_counts_stay_right(steps: list[tuple[str, str, str]]) -> None:
    """The directory's own check() compares them with its registrations after each step."""
    carried, now, locations, links = Carried(TWO_EACH), 0.0, dict[str, str](), count()
    for what, ep, source in steps:
        match what:
            case "register" | "new links":
                document = b"</t>" if what == "register" else b"</%d>" % next(links)
                outcome = carried.ask(register(ep, document, source=source), now)
                if isinstance(outcome, Registered):
                    locations[ep] = outcome.location
            case "renew":
                base = f"coap://[2001:db8::{next(links)}]"
                carried.ask(replace(renew(locations.get(ep, ""), base=base), source=source), now)
            case "remove":
                carried.ask(Remove(locations.pop(ep, "")), now)
            case "refuse":
                carried.put(register(ep, b"</%d>" % next(links), source=source), now)
                if carried.held:
                    carried.refuse(now)
            case "wait":
                now += 60.0
                carried.run(now)
            case _:
                carried = Carried(
                    TWO_EACH, rows=carried.rows, wall_ms=WALL_MS + round(now * 1000), seed=next(links) + 2, now=now
                )


def test_a_device_over_the_limit_hears_when_to_come_back_and_nothing_is_fetched_from_it() -> None:
    device = Node(replace(Settings(), registrations_per_source=1)).device(ANNA)
    device.register("/rd?ep=a", "</t>")
    for uri in ("/rd?ep=b", "/.well-known/rd?ep=b"):
        answer = device.post(uri)
        assert answer.code == Code.SERVICE_UNAVAILABLE
        assert option(answer, Option.MAX_AGE) == b"\x3c"
        assert answer.payload.startswith(b"1 registrations came from your address")
