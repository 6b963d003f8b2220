"""Evictions over the mesh: whoever is kept out at one node is kept out at all, and a late refresh brings nobody back.

Source: design, Contracts, 5.
"""

from parties import THREE, ask, everywhere, found, party, register, remove, renew

from waypost.identity import OPERATOR
from waypost.rd.evictions import ROWS_MAX, Row, is_sound
from waypost.rd.questions import (
    Evict,
    Evicted,
    Evictions,
    Readmit,
    Reason,
    Refused,
    Registered,
    Removed,
    Renewed,
)
from waypost.rd.record import key_of
from waypost.sim.installed import Party


def location(outcome: object) -> str:
    assert isinstance(outcome, Registered), outcome
    return outcome.location


def split(party: Party, *groups: tuple[str, ...]) -> None:
    party.world.network.partition(*[[party.host(name) for name in group] for group in groups])


def kept_out(party: Party, name: str) -> list[str]:
    answer = ask(party, name, Evictions(OPERATOR), within=0.0)
    assert isinstance(answer, Evicted)
    return [entry.ep for entry in answer.evictions]


def is_refused(outcome: object) -> bool:
    return isinstance(outcome, Refused) and outcome.reason is Reason.FORBIDDEN


def test_who_is_evicted_at_one_node_is_kept_out_at_all() -> None:
    made = party()
    place = location(ask(made, "anna", register()))
    made.run(1.0)
    assert ask(made, "berta", Evict(place, 100, OPERATOR)) == Removed()
    made.run(1.0)
    assert everywhere(made) == {}
    for name in THREE:
        assert kept_out(made, name) == ["lamp"]
        assert is_refused(ask(made, name, register()))
        assert ask(made, name, renew(place)) != Renewed()
    made.run(100.0)
    again = location(ask(made, "carla", register()))
    made.run(1.0)
    assert everywhere(made) == {"lamp": again}


def test_who_is_let_back_in_is_let_in_at_all() -> None:
    made = party()
    place = location(ask(made, "anna", register()))
    ask(made, "berta", Evict(place, 1_000, OPERATOR))
    made.run(1.0)
    assert ask(made, "carla", Readmit(place, OPERATOR)) == Removed()
    made.run(1.0)
    assert [kept_out(made, name) for name in THREE] == [[], [], []]
    again = location(ask(made, "anna", register()))
    assert again != place
    made.run(1.0)
    assert everywhere(made) == {"lamp": again}


def test_a_refresh_at_a_node_that_has_not_heard_of_it_brings_nothing_back() -> None:
    made = party()
    place = location(ask(made, "carla", register(lt=600)))
    made.run(1.0)
    split(made, ("anna", "berta"), ("carla",))
    assert ask(made, "berta", Evict(place, 60, OPERATOR)) == Removed()
    made.run(10.0)
    assert ask(made, "carla", renew(place)) == Renewed(), "silently"
    made.run(5.0)
    made.world.network.heal()
    made.run(60.0)
    assert everywhere(made) == {}
    again = location(ask(made, "carla", register()))
    assert again != place
    made.run(1.0)
    assert everywhere(made) == {"lamp": again}


def test_a_registration_that_is_announced_after_the_eviction_is_ended_by_who_announced_it() -> None:
    """A change at a node that has not heard of the eviction is the later word, and all nodes would go by it."""
    made = party()
    place = location(ask(made, "anna", register(lt=600)))
    made.run(1.0)
    split(made, ("anna", "berta"), ("carla",))
    assert ask(made, "berta", Evict(place, 600, OPERATOR)) == Removed()
    made.run(10.0)
    assert location(ask(made, "carla", register(lt=900))) == place
    made.run(1.0)
    made.world.network.heal()
    made.run(60.0)
    assert everywhere(made) == {}
    assert [kept_out(made, name) for name in THREE] == [["lamp"]] * 3


def test_what_was_removed_and_not_evicted_comes_back_by_a_later_refresh() -> None:
    """The device's word is the later one."""
    made = party()
    place = location(ask(made, "carla", register(lt=600)))
    made.run(1.0)
    split(made, ("anna", "berta"), ("carla",))
    assert ask(made, "berta", remove(place)) == Removed()
    made.run(10.0)
    assert ask(made, "carla", renew(place)) == Renewed()
    made.run(5.0)
    made.world.network.heal()
    made.run(60.0)
    assert everywhere(made) == {"lamp": place}


def test_an_eviction_outlives_restarts_of_all_nodes() -> None:
    made = party()
    place = location(ask(made, "anna", register()))
    ask(made, "berta", Evict(place, 1_000, OPERATOR))
    made.run(1.0)
    for name in THREE:
        made.nodes[name].crash()
        made.nodes[name].start()
    made.run(5.0)
    assert [kept_out(made, name) for name in THREE] == [["lamp"]] * 3
    assert is_refused(ask(made, "anna", register()))


def test_a_node_that_was_down_hears_of_it() -> None:
    made = party()
    place = location(ask(made, "anna", register(lt=6_000)))
    made.run(1.0)
    made.nodes["anna"].crash()
    assert ask(made, "berta", Evict(place, 1_000, OPERATOR)) == Removed()
    made.run(5.0)
    made.nodes["anna"].start()
    made.run(60.0)
    assert kept_out(made, "anna") == ["lamp"]
    assert found(made, "anna") == {}


def test_only_a_sound_eviction_is_taken() -> None:
    row = Row(None, "lamp", "x", 1)
    assert is_sound(key_of(None, "lamp"), row.encode())
    assert not is_sound(key_of(None, "door"), row.encode())
    assert not is_sound(key_of(None, "lamp"), row.encode() + b" ")
    assert not is_sound(key_of(None, "lamp"), Row(None, "lamp", "x", 0).encode())
    assert not is_sound(key_of(None, "lamp"), b"{}")
    assert ROWS_MAX == 10_000


def test_a_crash_does_not_take_a_refresh_back_that_came_after_a_removal() -> None:
    """The refresh is known to its node alone, and on no disk; the removal, which is older, comes to the disk first."""
    made = party()
    place = location(ask(made, "carla", register(lt=600)))
    made.run(1.0)
    split(made, ("anna", "berta"), ("carla",))
    assert ask(made, "berta", remove(place)) == Removed()
    made.run(10.0)
    before = made.rows("carla", "gossip")
    assert ask(made, "carla", renew(place)) == Renewed()
    made.run(5.0)
    assert made.rows("carla", "gossip") == before, "it was silent"
    made.world.network.heal()
    while made.rows("carla", "gossip") == before:
        made.run(0.001)
    made.nodes["carla"].crash()
    made.nodes["carla"].start()
    made.run(60.0)
    assert everywhere(made) == {"lamp": place}
