"""The directory over the mesh: what one node accepts, every node finds, and none says more than it must.

Source: design, Contracts, 5.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from parties import (
    FIVE,
    GRACE_S,
    LINKS,
    THREE,
    UNLIMITED,
    ask,
    everywhere,
    feed,
    found,
    gossip,
    party,
    register,
    remove,
    renew,
    request,
)

from waypost.assembly.questions import Follow, Followed, Report, Status
from waypost.coap.message import Message, decode
from waypost.coap.numbers import Code, Option, Type
from waypost.engine import Endpoint
from waypost.rd.brake import MINIMUM
from waypost.rd.questions import Busy, Cause, Reason, Refused, Registered, Remove, Removed, Renewed
from waypost.sim import Client, Device, Trace
from waypost.sim.installed import Party, describe

BAD = Reason.BAD_REQUEST


def location(outcome: object) -> str:
    assert isinstance(outcome, Registered), outcome
    return outcome.location


def gauge(party: Party, name: str, what: str) -> int:
    report = ask(party, name, Status(), within=0.0)
    assert isinstance(report, Report)
    return report.gauges[what]


def split(party: Party, *groups: tuple[str, ...]) -> None:
    party.world.network.partition(*[[party.host(name) for name in group] for group in groups])


def test_a_registration_at_one_node_is_found_at_another(golden: Callable[[str], None]) -> None:
    trace = Trace(describe=describe)
    made = Party(1, THREE, trace=trace)
    lamp = Device(made.world, "2001:db8:d::1", made.server("anna"), name="lamp")
    reader = Device(made.world, "2001:db8:d::2", made.server("berta"), name="reader")
    made.run(10.0)
    del trace.lines[:]
    created = request(made, lamp, Code.POST, "rd", "ep=lamp", "lt=60", payload=LINKS)
    answer = request(made, reader, Code.GET, "rd-lookup/ep", "ep=lamp")
    assert b"</" + "/".join(created.location).encode() + b">" in answer.payload
    golden("\n".join(line for line in trace.lines if " beat [" not in line) + "\n")


def test_who_follows_the_feed_of_another_node_hears_of_it() -> None:
    made, heard = party(), list[object]()
    made.nodes["berta"].ask(lambda engine, now: engine.ask(Follow(0), now), heard.append)
    ask(made, "anna", register())
    (followed,) = heard
    assert isinstance(followed, Followed)
    assert [change.seq for change in feed(made, "berta")] == [followed.seq]
    assert [change.value for change in feed(made, "berta")] == [change.value for change in feed(made, "anna")]


def test_who_observes_a_lookup_at_another_node_is_told() -> None:
    """RFC 9176, 6.2."""
    made = party()
    told: list[bytes] = []

    def on_datagram(client: Client, data: bytes, source: Endpoint) -> None:
        message = decode(data)
        told.append(message.payload)
        if message.type == Type.CON:
            client.send(Message(int(Type.ACK), 0, message.id, b"", []).encode(), source)

    reader = made.world.client("2001:db8:d::2", 5683, on_datagram, name="reader")
    options = [(int(Option.OBSERVE), b""), *[(int(Option.URI_PATH), part) for part in (b"rd-lookup", b"ep")]]
    reader.send(Message(int(Type.CON), int(Code.GET), 1, b"o", options, b"").encode(), made.server("berta"))
    made.run(1.0)
    place = location(ask(made, "anna", register()))
    made.run(2.0)
    assert ask(made, "carla", remove(place)) == Removed()
    made.run(2.0)
    empty, full, *_, last = told
    assert place[:8].encode() in full, "the first block, at least"
    assert empty == last == b""


def test_one_node_alone_says_that_a_lifetime_has_ended_and_nobody_that_a_grace_has() -> None:
    made, lamps = party(FIVE), [f"lamp-{number}" for number in range(6)]
    for lamp in lamps:
        ask(made, "anna", register(lamp, lt=60), within=0.01)
    made.run(59.0)
    assert list(everywhere(made)) == lamps
    made.run(2.0)
    assert everywhere(made) == {}, "though they are stored for 30 s more"
    assert [len(feed(made, name)) for name in FIVE] == [12] * 5
    made.run(GRACE_S)
    assert [gauge(made, name, "registrations_hidden") for name in FIVE] == [0] * 5
    made.run(160.0)
    for name in FIVE:
        for key in {change.key for change in feed(made, name)}:
            registered, ended, forgotten = [change.value for change in feed(made, name) if change.key == key]
            assert registered != ended is not None
            assert forgotten is None
        assert not made.rows(name, "gossip"), "no tombstone is left"
        assert not made.rows(name, "directory")


@pytest.mark.parametrize("name", THREE)
def test_an_expired_registration_is_revived_at_any_node(name: str) -> None:
    """RFC 9176, 5.3: an update may revive it."""
    made = party()
    place = location(ask(made, "anna", register(lt=60)))
    made.run(300.0)
    assert everywhere(made) == {}
    assert ask(made, name, renew(place)) == Renewed()
    assert everywhere(made) == {"lamp": place}
    made.run(58.0)
    assert everywhere(made) == {"lamp": place}
    made.run(2.0)
    assert everywhere(made) == {}


def test_what_a_dead_node_accepted_ends_with_what_is_stored_and_can_be_revived() -> None:
    made = party()
    place = location(ask(made, "anna", register(lt=60)))
    made.nodes["anna"].crash()
    made.run(70.0)
    assert everywhere(made) == {"lamp": place}, "who may have been told that it was renewed"
    made.run(20.0)
    assert everywhere(made) == {}
    assert [len(feed(made, name)) for name in ("berta", "carla")] == [1, 1]
    assert ask(made, "berta", renew(place)) == Renewed()
    assert everywhere(made) == {"lamp": place}


def test_a_renewal_elsewhere_is_known_to_whoever_would_end_the_lifetime() -> None:
    made = party()
    place = location(ask(made, "anna", register(lt=60)))
    made.run(9.0)
    assert ask(made, "berta", renew(place)) == Renewed()
    made.run(55.0)
    assert everywhere(made) == {"lamp": place}
    assert [len(feed(made, name)) for name in THREE] == [2] * 3, "it was never said to have ended"
    made.run(5.0)
    assert everywhere(made) == {}


def test_the_end_of_a_lifetime_is_never_later_than_a_renewal_that_nobody_had_heard_of() -> None:
    made = party()
    place = location(ask(made, "anna", register(lt=60)))
    split(made, ("anna",), ("berta", "carla"))
    made.run(30.0)
    assert ask(made, "berta", renew(place)) == Renewed()
    made.run(40.0)
    assert found(made, "anna") == {}
    assert found(made, "berta") == {"lamp": place}
    made.world.network.heal()
    made.run(10.0)
    assert everywhere(made) == {"lamp": place}


def test_a_renewal_that_only_its_node_knows_outlasts_what_was_said_before_it() -> None:
    """It was not announced, for what is stored lasted long enough."""
    made = party()
    place = location(ask(made, "anna", register(lt=200)))
    split(made, ("anna",), ("berta", "carla"))
    assert ask(made, "berta", remove(place)) == Removed()
    made.run(10.0)
    assert ask(made, "anna", renew(place)) == Renewed()
    assert len(feed(made, "anna")) == 1
    made.world.network.heal()
    made.run(20.0)
    assert everywhere(made) == {"lamp": place}
    made.run(170.0)
    assert everywhere(made) == {"lamp": place}
    made.run(10.0)
    assert everywhere(made) == {}
    assert max(len(feed(made, name)) for name in THREE) <= 4


def test_a_renewal_that_only_its_node_knows_is_undone_by_what_was_said_after_it() -> None:
    made = party()
    place = location(ask(made, "anna", register(lt=200)))
    split(made, ("anna",), ("berta", "carla"))
    made.run(10.0)
    assert ask(made, "anna", renew(place)) == Renewed()
    made.run(5.0)
    assert ask(made, "berta", remove(place)) == Removed()
    made.world.network.heal()
    made.run(20.0)
    assert everywhere(made) == {}


def test_nodes_do_not_repeat_one_another_for_ever() -> None:
    """Whatever clocks do, as many announcements as there are words of clients and steps of clocks."""
    made, rng = party(FIVE), Random(1)
    places = [location(ask(made, rng.choice(FIVE), register(f"lamp-{number}", lt=500))) for number in range(8)]
    steps = words = 0
    for _ in range(30):
        if rng.random() < 0.5:
            steps += 1
            made.nodes[rng.choice(FIVE)].step_clock(rng.randint(-5_000, 5_000))
        else:
            words += 1
            assert ask(made, rng.choice(FIVE), renew(rng.choice(places))) == Renewed()
        made.run(10.0)
    for name in FIVE:
        made.nodes[name].step_clock(-made.nodes[name].clock_offset_ms)
    made.run(60.0)
    counts = [len(feed(made, name)) for name in FIVE]
    made.run(40.0)
    assert [len(feed(made, name)) for name in FIVE] == counts, "nothing goes on"
    assert max(counts) <= len(places) * (1 + steps + len(FIVE)) + words
    made.run(450.0)
    assert everywhere(made) == {}
    assert max(len(feed(made, name)) for name in FIVE) <= max(counts) + len(places)


def test_what_does_not_fit_into_a_record_is_refused_with_a_clear_word() -> None:
    made = party()
    quotes = links_of(b"\\\\" * 500)
    refused = ask(made, "anna", register(links=quotes))
    assert refused == Refused(BAD, "it takes more than 65536 octets to store: register fewer links")
    fits = links_of(b"a" * 1_000)
    place = location(ask(made, "anna", register(links=fits)))
    assert everywhere(made) == {"lamp": place}


def links_of(title: bytes) -> bytes:
    return b",".join(b'</%d>;title="%s"' % (number, title) for number in range(60))


def test_the_later_of_two_registrations_made_on_both_sides_of_a_partition_wins() -> None:
    made = party()
    split(made, ("anna",), ("berta", "carla"))
    earlier = location(ask(made, "anna", register(links=b"</1>")))
    later = location(ask(made, "berta", register(links=b"</2>")))
    made.world.network.heal()
    made.run(10.0)
    assert everywhere(made) == {"lamp": later}
    for name in THREE:
        assert isinstance(ask(made, name, renew(earlier)), Refused), "its location answers 4.04"
        assert ask(made, name, renew(later)) == Renewed()


def test_a_removal_at_any_node_is_one_everywhere() -> None:
    made = party()
    place = location(ask(made, "anna", register()))
    assert ask(made, "carla", remove(place)) == Removed()
    assert everywhere(made) == {}
    assert all(isinstance(ask(made, name, renew(place)), Refused) for name in THREE)


def test_quotas_count_what_comes_from_others_and_refuse_none_of_it() -> None:
    made = party(settings=replace(UNLIMITED, registrations_per_source=3, registrations_max=5))
    split(made, ("anna",), ("berta", "carla"))
    for number in range(3):
        location(ask(made, "anna", register(f"a-{number}")))
        location(ask(made, "berta", register(f"b-{number}")))
    made.world.network.heal()
    made.run(10.0)
    assert len(everywhere(made)) == 6
    for name in THREE:
        refused = ask(made, name, register("one-more"))
        assert isinstance(refused, Busy)
        assert refused.cause is Cause.FULL
    for number in range(3):
        assert ask(made, "carla", remove(everywhere(made)[f"a-{number}"])) == Removed()
    refused = ask(made, "anna", register("one-more"))
    assert isinstance(refused, Busy)
    assert refused.cause is Cause.HOLDINGS
    location(ask(made, "anna", register("another's", source="2001:db8:e::1")))


def test_what_is_local_to_a_link_stays_on_its_node() -> None:
    """RFC 9176, 3.4: numbers of interfaces mean nothing elsewhere."""
    made = party()
    local = register(base="coap://[fe80::1]", zone=2)
    place = location(ask(made, "anna", local))
    assert found(made, "anna", zone=2) == {"lamp": place}
    assert found(made, "berta", zone=2) == {}
    assert not made.rows("anna", "gossip")
    made.nodes["anna"].crash()
    made.nodes["anna"].start()
    made.run(10.0)
    assert found(made, "anna", zone=2) == {"lamp": place}
    assert not made.rows("anna", "gossip")
    assert ask(made, "anna", register()) == Registered(place, created=False)
    assert everywhere(made) == {"lamp": place}, "it is local no more"
    assert ask(made, "anna", local) == Registered(place, created=False)
    assert found(made, "anna", zone=2) == {"lamp": place}
    assert found(made, "berta", zone=2) == {}, "it is local again"
    assert ask(made, "anna", remove(place)) == Removed()
    assert not made.rows("anna", "directory")
    location(ask(made, "anna", local))
    made.run(2 * GRACE_S)
    assert not made.rows("anna", "directory"), "it expires as it would on a node alone"


def test_what_is_remembered_by_a_link_local_address_stays_on_its_node() -> None:
    made = party()
    place = location(ask(made, "anna", register(base="coap://[2001:db8::99]", source="fe80::1%2")))
    assert found(made, "anna") == {"lamp": place}
    assert found(made, "berta") == {}
    assert ask(made, "anna", Remove(place, "fe80::1%2")) == Removed()
    assert found(made, "anna") == {}
    assert not any(made.rows(name, "gossip") for name in THREE), "nor is its removal news to others"


def test_a_node_that_joins_the_mesh_says_what_it_has_and_keeps_it_when_it_leaves() -> None:
    made = Party(1, THREE, settings=UNLIMITED, carries=lambda name: False)
    made.run(5.0)
    old = location(ask(made, "anna", register("both", b"</old>", lt=600)))
    made.run(5.0)
    new = location(ask(made, "berta", register("both", b"</new>", lt=600)))
    own = {f"lamp-{number}": location(ask(made, "anna", register(f"lamp-{number}", lt=600))) for number in range(300)}
    local = location(ask(made, "anna", register("local", base="coap://[fe80::1]", zone=2, lt=600)))
    assert not made.rows("anna", "gossip")
    made.carries = lambda name: True
    restart(made)
    made.run(0.15)
    assert 0 < len(made.rows("anna", "gossip")) < 300, "not all at once"
    made.run(20.0)
    assert everywhere(made) == own | {"both": new}, "the later one, whoever said it first here"
    assert isinstance(ask(made, "anna", renew(old)), Refused)
    assert found(made, "anna", zone=2)["local"] == local
    made.carries = lambda name: False
    restart(made)
    made.run(5.0)
    assert everywhere(made) == own | {"both": new}
    assert not made.rows("anna", "gossip")
    assert ask(made, "anna", remove(own["lamp-1"])) == Removed()
    assert ask(made, "berta", renew(own["lamp-2"], lt=50)) == Renewed()
    assert "lamp-1" in found(made, "berta")
    made.run(1000.0)
    assert everywhere(made) == {}
    made.run(2 * GRACE_S)
    assert not made.rows("berta", "directory"), "each forgets it as a node alone does"


def restart(party: Party) -> None:
    for node in party.nodes.values():
        node.crash()
        node.start()


def test_a_restart_loses_nothing_and_says_nothing_again() -> None:
    made = party()
    place = location(ask(made, "anna", register(lt=600)))
    restart(made)
    made.run(10.0)
    assert everywhere(made) == {"lamp": place}
    assert [len(feed(made, name)) for name in THREE] == [1, 1, 1]
    assert ask(made, "berta", renew(place)) == Renewed()
    assert [record.node for record in gossip(made, "carla")] == ["berta"]


def test_a_node_that_was_away_hears_of_what_it_missed() -> None:
    made = party()
    gone = location(ask(made, "carla", register("gone", lt=600)))
    made.nodes["carla"].crash()
    kept = location(ask(made, "anna", register("kept", lt=600)))
    assert ask(made, "anna", remove(gone)) == Removed()
    made.nodes["carla"].start()
    made.run(10.0)
    assert everywhere(made) == {"kept": kept}


def test_the_brake_counts_what_other_nodes_let_go() -> None:
    """Together three nodes let go of about as many as one would."""
    made = party(settings=replace(UNLIMITED, brake_share=0.15, brake_hold_s=60.0))
    for number in range(3 * MINIMUM):
        ask(made, THREE[number % 3], register(f"lamp-{number}"), within=0.01)
    made.run(56.0)
    assert len(everywhere(made)) == 3 * MINIMUM
    made.run(30.0)
    for name in THREE:
        assert MINIMUM <= 3 * MINIMUM - len(found(made, name)) <= 1.5 * MINIMUM
    made.run(1500.0)
    assert everywhere(made) == {}


def test_nodes_of_which_some_carry_no_directory_do_not_compare_for_ever() -> None:
    trace = Trace(describe=describe)
    made = Party(1, THREE, settings=UNLIMITED, carries=lambda name: name != "carla", trace=trace)
    made.run(5.0)
    place = location(ask(made, "anna", register(lt=9000)))
    made.run(60.0)
    del trace.lines[:]
    made.run(300.0)
    asked = sum(" > " in line and "roots-request" in line for line in trace.lines)
    assert asked <= 3 * (300 / 30 * 1.2 + 1), "each begins a comparison every 30 s, and no more"
    assert found(made, "berta") == {"lamp": place}
    assert found(made, "carla") == {}
