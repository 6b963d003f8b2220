"""Who is there: heartbeats, indirect probes, clocks and states.  Time is a number we choose."""

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import msgspec
import pytest

from waypost.drip.history import CAPABILITY as HISTORY
from waypost.drip.members import (
    ALL_MAX,
    BEAT_EVERY,
    CAPABILITIES,
    MISSES_MAX,
    PROBED_FOR_MAX,
    PROBERS,
    QUORUM_WITHIN,
    Members,
    Own,
    neighbours_of,
)
from waypost.drip.rumours import WIRE, Beat, Probe, Probed, Rumour
from waypost.record import Hlc, Member
from waypost.record.gossiped import Moment

WALL_MS = 1_800_000_000_000
ROOT = "00" * 32


def own(now: float) -> Own:
    return Own(WALL_MS + round(now * 1000), Hlc(WALL_MS, 0), ROOT)


class Watch:
    """One node's members; the others answer as they are told to."""

    def __init__(self, names: str = "abcdef", voters: str = "abc") -> None:
        self.members = Members(Random(1), "a", 1)
        self.members.set_members(1, names, voters, 0.0)
        self.deaf: set[str] = set()  # these do not answer us
        self.heard_by: set[str] = set()  # who hears the deaf all the same
        self.delay = 0.02
        self.ahead_ms: dict[str, int] = {}
        self.said: list[tuple[float, str, Rumour]] = []

    def run(self, until: float) -> None:
        members = self.members
        while (when := members.next_timer()) is not None and when <= until:
            members.handle_timer(own(when), when)
            for name, message in self._out(when):
                if name not in self.deaf:
                    self._answer(name, message, when)
            members.check()

    def _out(self, now: float) -> Iterator[tuple[str, Rumour]]:
        while self.members.out:
            name, message = self.members.out.pop(0)
            self.said.append((now, name, message))
            yield name, message

    def _answer(self, name: str, message: Rumour, now: float) -> None:
        if isinstance(message, Beat) and not message.answer:
            self.hear(name, now + self.delay, count=message.count)
        elif isinstance(message, Probe) and name in self.heard_by:
            self.members.receive_probed(Probed(message.target), now + self.delay)

    def hear(self, name: str, now: float, *, count: int = 0, answer: bool = True) -> None:
        wall_ms = WALL_MS + round((now - self.delay / 2) * 1000) + self.ahead_ms.get(name, 0)
        beat = Beat(count, answer, "active", 1, 1, wall_ms, Moment(0, wall_ms), ROOT, WIRE, ())
        assert self.members.hear(name, now)
        self.members.receive_beat(name, beat, own(now), now)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_who_can_do_what_is_known_of_the_living_by_their_beats(watch: Watch) -> None:
    watch.run(1.0)
    assert watch.members.capable(HISTORY) == ()
    for name in "cd":
        beat = Beat(9, True, "active", 1, 1, WALL_MS, Moment(0, WALL_MS), ROOT, WIRE, (HISTORY,))
        watch.members.receive_beat(name, beat, own(1.0), 1.0)
    assert watch.members.capable(HISTORY) == ("c", "d")
    assert HISTORY in CAPABILITIES


def test_everybody_that_is_watched_is_beaten_to_every_five_seconds(watch: Watch) -> None:
    watch.run(60.0)
    for name in "bcdef":
        times = [when for when, to, message in watch.said if to == name and isinstance(message, Beat)]
        gaps = [after - before for before, after in pairwise(times)]
        assert all(0.9 * BEAT_EVERY <= gap <= 1.1 * BEAT_EVERY for gap in gaps)
        assert len(times) > 10


def test_a_beat_is_answered_with_its_count(watch: Watch) -> None:
    watch.hear("b", 1.0, count=77, answer=False)
    ((name, answer),) = watch.members.out
    assert name == "b"
    assert isinstance(answer, Beat)
    assert (answer.answer, answer.count, answer.epoch, answer.root) == (True, 77, 1, ROOT)


def test_a_node_that_misses_three_beats_is_looked_for_by_three_others_and_then_inactive(watch: Watch) -> None:
    watch.run(10.0)
    watch.deaf = {"f"}
    watch.run(10.0 + MISSES_MAX * 0.9 * BEAT_EVERY)
    assert "f" in watch.members.alive
    assert not any(isinstance(message, Probe) for _, _, message in watch.said)
    watch.run(10.0 + (MISSES_MAX + 3) * 1.1 * BEAT_EVERY)
    probes = [(name, message) for _, name, message in watch.said if isinstance(message, Probe)]
    assert len(probes) == PROBERS
    assert all(message == Probe("f") and name != "f" for name, message in probes)
    assert watch.members.down == ["f"]
    assert set(watch.members.alive) == set("bcde")


def test_a_node_that_others_hear_stays_and_our_patience_grows(watch: Watch) -> None:
    watch.deaf, watch.heard_by = {"f"}, {"b", "c"}
    watch.run(100.0)
    assert watch.members.down == []
    assert "f" in watch.members.alive
    probes = sum(isinstance(message, Probe) for _, _, message in watch.said)
    assert watch.members.strain > 0
    assert probes < 100.0 / (MISSES_MAX * BEAT_EVERY) * PROBERS, "with more patience fewer probes"


def test_patience_comes_back_when_all_answer(watch: Watch) -> None:
    watch.deaf, watch.heard_by = {"f"}, {"b", "c"}
    watch.run(60.0)
    watch.deaf = set()
    watch.run(120.0)
    assert watch.members.strain == 0


def test_whom_the_transport_cannot_reach_is_looked_for_at_once_and_found_by_others(watch: Watch) -> None:
    watch.run(12.0)
    watch.deaf, watch.heard_by = {"f"}, set("bcde")
    watch.members.missed("f", 12.0)
    assert [type(message) for _, message in watch.members.out] == [Probe] * PROBERS
    watch.run(12.0 + BEAT_EVERY + 1.0)
    other = watch.members.other("f")
    assert other is not None
    assert other.heard_at is not None
    assert other.heard_at > 12.0
    assert "f" in watch.members.alive
    assert watch.members.strain == 0, "it is the way that is cut, and not we who are slow"


def test_whom_nobody_reaches_is_inactive_after_one_beat_more(watch: Watch) -> None:
    watch.run(12.0)
    watch.deaf = {"f"}
    watch.members.missed("f", 12.0)
    watch.members.missed("f", 12.5)
    watch.run(12.0 + BEAT_EVERY - 0.1)
    assert len([each for *_, each in watch.said if each == Probe("f")]) == PROBERS, "once is enough"
    assert "f" in watch.members.alive
    watch.run(12.0 + BEAT_EVERY + 0.1)
    assert "f" not in watch.members.alive
    watch.members.missed("f", 18.0)
    watch.members.missed("stranger", 18.0)
    assert watch.members.out == []


def test_a_probe_is_answered_only_if_the_target_answers(watch: Watch) -> None:
    members = watch.members
    members.hear("b", 1.0)
    members.receive_probe("b", Probe("c"), own(1.0), 1.0)
    ((target, beat),) = members.out
    assert target == "c"
    assert isinstance(beat, Beat)
    assert not beat.answer
    members.out.clear()
    watch.hear("c", 1.1, count=beat.count)
    assert members.out == [("b", Probed("c"))]
    members.out.clear()
    members.receive_probe("b", Probe("nobody"), own(2.0), 2.0)
    assert members.out == []


def test_who_asks_for_probes_is_remembered_up_to_a_limit_the_latest_of_them(watch: Watch) -> None:
    names = [f"n{number}" for number in range(3 * PROBED_FOR_MAX)]
    members = watch.members
    members.set_members(2, ["a", "b", *names], "a", 0.0)
    for name in names:
        members.receive_probe(name, Probe("b"), own(1.0), 1.0)
        members.check()
    members.out.clear()
    watch.hear("b", 1.1, count=1)
    assert members.out == [(name, Probed("b")) for name in names[-PROBED_FOR_MAX:]]


def test_a_probe_does_not_make_the_target_seem_far_or_its_clock_wrong(watch: Watch) -> None:
    watch.run(10.0)
    watch.members.receive_probe("b", Probe("c"), own(13.0), 13.0)
    ((_, beat),) = watch.members.out
    assert isinstance(beat, Beat)
    watch.hear("c", 13.0 + watch.delay, count=beat.count)
    other = watch.members.other("c")
    assert other is not None
    assert other.rtt == pytest.approx(watch.delay)
    assert other.offset_ms == pytest.approx(0, abs=1)


def test_the_clocks_of_nodes_that_are_gone_do_not_count(watch: Watch) -> None:
    watch.ahead_ms = dict.fromkeys("bcdef", 40_000)
    watch.run(20.0)
    watch.deaf = set("bcdef")
    watch.run(60.0)
    assert watch.members.skew_ms(60.0) == 0


def test_anything_that_comes_from_an_inactive_node_makes_it_active(watch: Watch) -> None:
    watch.deaf = {"f"}
    watch.run(60.0)
    assert watch.members.down == ["f"]
    watch.deaf = set()
    watch.run(70.0)
    assert watch.members.up == ["f"]
    assert "f" in watch.members.alive


def test_a_stranger_is_not_heard(watch: Watch) -> None:
    assert not watch.members.hear("zoe", 1.0)
    assert not watch.members.hear("a", 1.0)
    assert watch.members.other("zoe") is None


def test_a_node_is_in_sync_until_it_is_level_and_inactive_without_a_quorum(watch: Watch) -> None:
    members = watch.members
    watch.run(10.0)
    assert members.state(10.0) == "sync"
    members.repaired()
    assert members.state(10.0) == "active"
    watch.deaf = {"b"}
    watch.run(60.0)
    assert members.state(60.0) == "active", "two of three voters, ourselves among them"
    watch.deaf = {"b", "c"}
    watch.run(60.0 + QUORUM_WITHIN - BEAT_EVERY)
    assert members.state(60.0 + QUORUM_WITHIN - BEAT_EVERY) == "active"
    watch.run(60.0 + QUORUM_WITHIN + BEAT_EVERY)
    assert members.state(60.0 + QUORUM_WITHIN + BEAT_EVERY) == "inactive"
    watch.deaf = set()
    watch.run(110.0)
    assert members.state(110.0) == "active"


def test_a_learner_does_not_count_for_the_quorum() -> None:
    watch = Watch(names="abcdef", voters="bcd")
    watch.deaf = {"b", "c"}
    watch.run(60.0)
    watch.members.repaired()
    assert watch.members.state(60.0) == "inactive"


def test_the_skew_is_the_median_of_what_the_others_are_ahead(watch: Watch) -> None:
    watch.ahead_ms = {"b": 40_000}
    watch.run(20.0)
    assert abs(watch.members.skew_ms(20.0)) <= 1, "one of them is wrong, and not we"
    watch.ahead_ms = dict.fromkeys("bcdef", 40_000)
    watch.run(40.0)
    assert abs(watch.members.skew_ms(40.0) - 40_000) <= 1


def test_the_skew_is_told_through_a_long_link(watch: Watch) -> None:
    watch.delay = 0.4
    watch.ahead_ms = dict.fromkeys("bcdef", -7_000)
    watch.run(20.0)
    assert abs(watch.members.skew_ms(20.0) + 7_000) <= 1
    rtt = watch.members.rtt()
    assert rtt is not None
    assert abs(rtt - 0.4) < 0.001


def test_in_a_small_network_everybody_is_a_neighbour() -> None:
    names = "abcdefgh"
    assert len(names) == ALL_MAX
    assert sorted(neighbours_of("a", names)) == list("bcdefgh")


@pytest.mark.parametrize("size", [9, 30, 100, 300])
def test_links_have_two_ends_few_are_needed_and_all_are_reached_in_few_steps(size: int) -> None:
    names = [f"n{number}" for number in range(size)]
    links = {name: set(neighbours_of(name, names)) for name in names}
    assert all(name in links[other] for name in names for other in links[name])
    assert max(map(len, links.values())) <= 6
    reached, steps = {"n0"}, 0
    while len(reached) < size:
        reached |= {other for name in reached for other in links[name]}
        steps += 1
    assert steps <= 12


def test_who_is_gone_is_no_neighbour_and_is_still_watched() -> None:
    names = [f"n{number}" for number in range(30)]
    watch = Watch()
    watch.members.set_members(2, ["a", *names], "a", 0.0)
    gone = watch.members.neighbours[0]
    watch.deaf = {gone}
    watch.run(60.0)
    assert gone not in watch.members.neighbours
    assert len(watch.members.neighbours) == 6
    watch.deaf = set()
    watch.run(70.0)
    assert gone in watch.members.neighbours


def test_what_a_node_can_is_known_from_the_roster_until_it_says_so_itself(watch: Watch) -> None:
    """Notes, 3.3: what may be sent to it does not wait for its first heartbeat."""
    told = Member("b", 1, "aa" * 32, "", "", WIRE, ("painting",))
    for member in (told, msgspec.structs.replace(told, name="stranger")):
        watch.members.stated(member)
    assert watch.members.capable("painting") == ("b",)
    watch.hear("b", 1.0)
    assert watch.members.capable("painting") == ()
    watch.members.stated(told)
    assert watch.members.capable("painting") == (), "it has said since what it can"
