"""Rounds among nodes that witness each other.  Time is a number we choose."""

from town import Town

NAMES = ("anna", "berta", "carla", "dora", "emma")


def test_what_is_entered_is_cosigned_by_all_within_a_round() -> None:
    town = Town(*NAMES)
    town.run(5.0)
    town["anna"].enter(3, town.now)
    town.run(11.0)
    anna = town["anna"]
    assert anna.rounds.published is not None
    assert anna.rounds.published.size == 3
    assert sorted(anna.rounds.cosigners) == [f"waypost/{name}/witness" for name in NAMES[1:]]
    assert anna.rounds.is_met
    for name in NAMES[1:]:
        assert [head.size for head in town[name].links] == [3]
