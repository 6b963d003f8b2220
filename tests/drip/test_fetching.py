"""The newest version of one key, asked of others at once.  Design, Contracts 6."""

from waypost.drip.fetching import NUMBERS, WAITED_MAX, WAITED_S, Fetching
from waypost.drip.rumours import Pull, Pulled
from waypost.sim.gossiping import Party, Talker

PLACE = ("names", "roof")


def test_what_a_node_has_is_fetched_from_it() -> None:
    party = Party(1, 3)
    party.run(5.0)
    roof = party.committed("roof", 1)

    def learn(engine: Talker, now: float) -> None:
        engine.voted.learn(roof, "1", now)  # and tells nobody

    party.nodes["1"].call(learn)
    party.nodes["2"].call(lambda engine, now: engine.mesh.fetch("1", PLACE, now))
    party.run(0.2)
    assert [engine.voted.versions.get(PLACE) for engine in party.up.values()] == [1, 1, None]


def test_what_comes_unasked_or_twice_or_is_another_key_is_not_looked_at() -> None:
    fetching, party = Fetching(), Party(1, 1)
    roof, door = party.committed("roof", 1), party.committed("door", 1)
    fetching.ask("berta", PLACE, 0.0)
    ((peer, pull),) = fetching.out
    assert isinstance(pull, Pull)
    assert (peer, pull.id > NUMBERS, pull.space) == ("berta", True, "voted/names")
    answer = Pulled(pull.id, (), (door, roof))
    assert not fetching.is_asked("carla", pull.id)
    assert fetching.receive("carla", answer) == []
    assert fetching.receive("berta", answer) == [roof]
    assert fetching.receive("berta", answer) == []


def test_so_many_answers_are_waited_for_and_so_long() -> None:
    fetching = Fetching()
    for number in range(WAITED_MAX + 1):
        fetching.ask("berta", ("names", str(number)), 0.0)
        fetching.check()
    assert len(fetching.out) == WAITED_MAX
    fetching.ask("berta", PLACE, WAITED_S)
    assert len(fetching.out) == WAITED_MAX + 1
