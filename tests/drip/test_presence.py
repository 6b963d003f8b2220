"""Which voters have been heard of late: counted once for each moment, and right at each.  Notes on DRiP, 4.5."""

from people import roster

from waypost.drip.presence import HEARD_S, Presence

FIVE = roster("anna", "berta", "carla", "dora", "emma")


def test_who_is_heard_counts_at_once_and_for_a_while() -> None:
    presence = Presence("anna")
    assert presence.heard(FIVE, 10.0) == 1
    presence.hear("berta", 10.0)
    assert presence.heard(FIVE, 10.0) == 2
    presence.hear("berta", 10.0)
    presence.hear("carla", 10.0)
    assert presence.heard(FIVE, 10.0) == 3
    assert presence.heard(FIVE, 10.0 + HEARD_S) == 1


def test_another_roster_is_counted_by_itself() -> None:
    presence = Presence("anna")
    presence.hear("berta", 10.0)
    assert presence.heard(FIVE, 10.0) == 2
    assert presence.heard(roster("anna", "carla", "dora"), 10.0) == 1
    assert presence.heard(FIVE, 10.0) == 2


def test_who_was_missed_since_it_was_heard_does_not_count() -> None:
    presence = Presence("anna")
    presence.hear("berta", 10.0)
    assert presence.heard(FIVE, 12.0) == 2
    assert presence.heard(FIVE, 12.0, {"berta": 11.0}) == 1
    assert presence.heard(FIVE, 12.0) == 2
