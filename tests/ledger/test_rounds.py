"""Rounds among nodes that witness each other.  Time is a number we choose.

Sections are of C2SP tlog-witness where nothing else is said; invariants of the notes on the ledger, 5.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from keeping import public_of, sign_as, verify
from seeing import POSIX, Eye, Scribe
from town import LATE, House, Town

from waypost.engine import Ask
from waypost.ledger.checkpoint import Checkpoint, Head, cosign, cosigned_at
from waypost.ledger.heads import OCTETS_MAX, TOLD_MAX
from waypost.ledger.note import Algorithm, Key, Note
from waypost.ledger.questions import Call, Outside, Reply
from waypost.ledger.rounds import WAIT_S, WITNESSES_MAX, Rounds
from waypost.ledger.submission import SIZE_MEDIA, Submission

NAMES = ("anna", "berta", "carla", "dora", "emma")
FAR = Key("far.example/w", Algorithm.COSIGNATURE, public_of("far"))
URL = "https://far.example/"


def far(call: Call) -> Reply:
    """An honest witness outside that believes everything."""
    assert call.url == URL
    head = Submission.decode(call.body).head
    line = cosign(head, FAR, lambda message: sign_as(FAR.public, message), POSIX)
    return Reply(200, line.encode().encode())


def with_far(*names: str) -> Town:
    town = Town(*names, outside={names[0]: (Outside(FAR, URL),)})
    town.strangers[URL] = far
    return town


def cosigners(*names: str) -> list[str]:
    return [f"waypost/{name}/witness" for name in names]


def published(rounds: Rounds) -> Head:
    assert rounds.published is not None
    return rounds.published


def counted(town: Town) -> dict[str, int]:
    return town.counted("anna")


# a round


def test_what_is_entered_is_cosigned_by_all_and_published_within_a_round() -> None:
    town = Town(*NAMES).calm()
    town["anna"].enter(3, town.now)
    town.run(9.9)
    rounds = town["anna"].rounds
    assert published(rounds).size == 1
    town.run(0.2)
    assert published(rounds).note.text == town["anna"].scribe.head(4).note.text
    assert sorted(rounds.cosigners) == cosigners(*NAMES[1:])
    assert rounds.is_met
    for name in NAMES[1:]:
        key = town[name].notary.cosigner
        assert cosigned_at(published(rounds), key, verify) is not None


def test_what_is_entered_while_a_round_is_awaited_goes_with_it() -> None:
    town = Town("anna", "berta").calm()
    for _ in range(9):
        town["anna"].enter(1, town.now)
        town.run(1.0)
    assert counted(town) == {}
    town.run(1.0)
    assert published(town["anna"].rounds).size == 10
    town.run(60.0)
    assert counted(town)["begun"] == 1


def test_a_node_that_is_alone_publishes_what_it_signs() -> None:
    town = Town("anna")
    town["anna"].enter(3, town.now)
    town.run(10.0)
    assert published(town["anna"].rounds).size == 3
    assert town["anna"].rounds.is_met
    assert counted(town) == {"begun": 1, "published": 1}


def test_who_writes_does_not_wait_for_a_quorum_but_says_that_there_is_none() -> None:
    town = Town(*NAMES).calm()
    town.down = {"dora", "emma"}
    town["anna"].enter(3, town.now)
    town.run(10.0)
    rounds = town["anna"].rounds
    assert published(rounds).size == 4
    assert sorted(rounds.cosigners) == cosigners("berta", "carla")
    assert rounds.quorum == 3
    assert not rounds.is_met
    assert counted(town) == {"begun": 1, "published": 1, "short": 1, "cosigned": 2, "silent": 2}
    town.down = {"emma"}
    town["anna"].enter(1, town.now)
    town.run(10.0)
    assert rounds.is_met
    assert counted(town)["short"] == 1


def test_the_operator_says_of_how_many_witnesses_a_quorum_is() -> None:
    assert [Town(*NAMES, quorum=quorum)["anna"].rounds.quorum for quorum in (1, 5)] == [1, 5]


def test_a_log_that_may_not_sign_asks_nobody_until_it_may() -> None:
    town = Town("anna", "berta")
    town["anna"].may_sign = False
    town["anna"].enter(3, town.now)
    town.run(100.0)
    assert town["anna"].rounds.published is None
    assert town.said("add-checkpoint") == []
    town["anna"].may_sign = True
    town.run(10.0)
    assert published(town["anna"].rounds).size == 3


def test_what_was_published_is_remembered_and_each_witness_is_asked_about_what_it_cosigned() -> None:
    town = Town("anna", "berta", "carla").calm()
    town["anna"].enter(3, town.now)
    town.down = {"carla"}
    town.run(12.0)
    before = published(town["anna"].rounds)
    town.down = set()
    anna = town.again("anna")
    assert published(anna.rounds) == before
    assert list(anna.rounds.cosigners) == cosigners("berta")
    anna.enter(2, town.now)
    town.said("")
    town.run(9.9)
    assert town.said("add-checkpoint") == []
    town.run(0.2)
    calls = town.said("add-checkpoint")
    assert [Submission.decode(call.body).old for call in calls if call.node == "carla"] == [0, 1]
    asked = [Submission.decode(call.body) for call in calls if call.node == "berta"]
    assert [(submission.old, submission.head.size) for submission in asked] == [(4, 6)]
    assert sorted(anna.rounds.cosigners) == cosigners("berta", "carla")


def test_what_is_published_is_cosigned_anew_soon_after_a_restart_and_ten_minutes_later() -> None:
    town = Town("anna", "berta").calm()
    before = published(town["anna"].rounds)
    anna = town.again("anna")
    town.run(10.0)
    after = published(anna.rounds)
    assert after.note.text == before.note.text
    assert after.note.lines != before.note.lines
    town.run(599.0)
    assert published(anna.rounds) == after
    town.run(2.0)
    assert published(anna.rounds) != after


def test_a_log_with_witnesses_outside_alone_is_cosigned_anew_after_a_restart_too() -> None:
    town = with_far("anna").calm()
    anna = town.again("anna")
    town.run(10.0)
    assert anna.rounds.counters()["ledger_rounds_cosigned"] == 1


def test_who_becomes_a_witness_is_asked_within_a_round() -> None:
    town = Town("anna", "berta", "carla")
    town["anna"].peers.set_members({"berta": public_of("berta").hex()}, town.now)
    town["anna"].enter(3, town.now)
    town.run(30.0)
    assert list(town["anna"].rounds.cosigners) == cosigners("berta")
    town.meet()
    town.run(11.0)
    assert sorted(town["anna"].rounds.cosigners) == cosigners("berta", "carla")


def test_who_is_no_member_any_more_does_not_count() -> None:
    town = Town("anna", "berta", "carla")
    town["anna"].enter(3, town.now)
    town.run(30.0)
    town["anna"].peers.set_members({"berta": public_of("berta").hex()}, town.now)
    assert list(town["anna"].rounds.cosigners) == cosigners("berta")
    assert town["anna"].rounds.ages_s(town.now).keys() == {"berta"}


# witnesses that hold something else


def test_a_witness_that_holds_another_size_is_asked_once_more_about_that() -> None:
    town = Town("anna", "berta").calm()
    anna = town["anna"]
    anna.scribe.grow(7)
    town["berta"].witness.add_checkpoint(1, anna.scribe.submission(1, 4).encode(), town.now, POSIX)
    town.settle()
    anna.rounds.entered(town.now)
    town.run(10.0)
    asked = [Submission.decode(call.body) for call in town.said("add-checkpoint", to="berta")]
    assert [submission.old for submission in asked] == [1, 4]
    assert list(anna.rounds.cosigners) == cosigners("berta")


@pytest.mark.parametrize("size", [b"0\n", b"2\n", b"3\n"])
def test_a_witness_that_changes_its_mind_is_asked_no_third_time(size: bytes) -> None:
    town = with_far("anna")
    town.strangers[URL] = lambda call: Reply(409, size, SIZE_MEDIA)
    town["anna"].enter(3, town.now)
    town.run(10.0)
    assert len(town.said("add-checkpoint")) == (1 if size == b"0\n" else 2)
    assert counted(town) == {"begun": 1, "published": 1, "short": 1, "wrong": 1}


def test_a_witness_that_tells_another_size_each_time_is_asked_twice() -> None:
    town = with_far("anna")
    town.strangers[URL] = lambda call: Reply(409, b"%d\n" % (Submission.decode(call.body).old + 1), SIZE_MEDIA)
    town["anna"].enter(5, town.now)
    town.run(10.0)
    assert [Submission.decode(call.body).old for call in town.said("add-checkpoint")] == [0, 1]


def test_a_witness_that_has_seen_more_of_our_log_than_there_is_is_counted() -> None:
    town = with_far("anna")
    town.strangers[URL] = lambda call: Reply(409, b"4\n", SIZE_MEDIA)
    town["anna"].enter(3, town.now)
    town.run(10.0)
    assert counted(town) == {"begun": 1, "published": 1, "short": 1, "ahead": 1}


# witnesses that lie


def another_key(call: Call) -> Reply:
    head = Submission.decode(call.body).head
    key = Key(FAR.name, FAR.algorithm, public_of("near"))
    return Reply(200, cosign(head, key, lambda message: sign_as(key.public, message), POSIX).encode().encode())


def of_another_log(call: Call) -> Reply:
    """Replayed: a true cosignature of a head of berta's log of that size."""
    head = Scribe("berta").grow(Submission.decode(call.body).head.size).head()
    return Reply(200, cosign(head, FAR, lambda message: sign_as(FAR.public, message), POSIX).encode().encode())


def of_an_older_head(call: Call) -> Reply:
    head = Scribe("anna").grow(1).head()
    return Reply(200, cosign(head, FAR, lambda message: sign_as(FAR.public, message), POSIX).encode().encode())


def with_another_text(call: Call) -> Reply:
    """Signs berta's head, and makes the answer look like a note of its own."""
    head = Scribe("berta").grow(3).head()
    line = cosign(head, FAR, lambda message: sign_as(FAR.public, message), POSIX)
    return Reply(200, head.note.text.encode() + b"\n" + line.encode().encode())


LIES: list[Callable[[Call], Reply]] = [
    another_key,
    of_another_log,
    of_an_older_head,
    with_another_text,
    lambda call: Reply(200),
    lambda call: Reply(200, b"\xff\xfe"),
    lambda call: Reply(200, b"<html>welcome</html>\n"),
    lambda call: Reply(200, far(call).body[:-1]),
    lambda call: Reply(200, far(call).body + b"and more\n"),
    lambda call: Reply(200, far(call).body.replace(b" far", b"  far")),
    lambda call: Reply(409, b"many\n", SIZE_MEDIA),
    lambda call: Reply(409, b"\xff\n", SIZE_MEDIA),
    lambda call: Reply(409, b"-1\n", SIZE_MEDIA),
    lambda call: Reply(409, b"", SIZE_MEDIA),
]


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_counted_and_nothing_else(lie: Callable[[Call], Reply]) -> None:
    town = with_far("anna", "berta")
    town.strangers[URL] = lie
    town["anna"].enter(3, town.now)
    town.run(30.0)
    rounds = town["anna"].rounds
    assert published(rounds).size == 3
    assert list(rounds.cosigners) == cosigners("berta")
    assert published(rounds).note.by(FAR) is None
    assert counted(town)["wrong"] > 0
    assert not rounds.is_met
    town.strangers[URL] = far
    town["anna"].enter(1, town.now)
    town.run(12.0)
    assert rounds.is_met


@pytest.mark.parametrize("status", [301, 400, 403, 404, 422, 429, 500, 503])
def test_a_refusal_is_counted_and_nothing_else(status: int) -> None:
    town = with_far("anna")
    town.strangers[URL] = lambda call: Reply(status, far(call).body)
    town["anna"].enter(3, town.now)
    town.run(10.0)
    assert counted(town) == {"begun": 1, "published": 1, "short": 1, "refused": 1}


def test_cosignatures_by_keys_that_are_not_known_are_passed_over() -> None:
    town = with_far("anna")
    town.strangers[URL] = lambda call: Reply(200, another_key(call).body + far(call).body)
    town["anna"].enter(3, town.now)
    town.run(10.0)
    note = published(town["anna"].rounds).note
    assert [line.name for line in note.lines] == ["waypost/anna", FAR.name]
    assert note.by(FAR) is not None


# witnesses that are slow


def test_who_is_slow_is_not_waited_for_and_added_when_it_comes() -> None:
    town = with_far("anna", "berta").calm()
    town.strangers[URL] = lambda call: LATE
    town["anna"].enter(3, town.now)
    town.run(10.0 + WAIT_S - 0.1)
    rounds = town["anna"].rounds
    assert published(rounds).size == 1
    town.run(0.2)
    assert published(rounds).size == 4
    assert list(rounds.cosigners) == cosigners("berta")
    town.run(5.0)
    town.answer_late(far)
    assert sorted(rounds.cosigners) == sorted([*cosigners("berta"), FAR.name])
    assert rounds.is_met
    assert counted(town) == {"begun": 1, "published": 1, "short": 1, "cosigned": 2}
    assert published(town.again("anna").rounds).note.by(FAR) is not None


def test_who_is_slow_and_lies_then_changes_nothing() -> None:
    town = with_far("anna", "berta").calm()
    town.strangers[URL] = lambda call: LATE
    town["anna"].enter(3, town.now)
    town.run(15.0)
    before, written = published(town["anna"].rounds), town["anna"].written
    town.answer_late(of_another_log)
    assert town.late == []
    assert town["anna"].written == written
    assert published(town["anna"].rounds) == before


def test_who_is_slow_is_asked_one_thing_at_a_time_and_a_late_word_about_an_older_head_is_not_added() -> None:
    town = with_far("anna", "berta").calm()
    town.strangers[URL] = lambda call: LATE
    for _ in range(4):
        town["anna"].enter(1, town.now)
        town.run(15.0)
    assert published(town["anna"].rounds).size == 5
    assert len(town.said("add-checkpoint", to=URL)) == 1
    town.answer_late(far)
    assert published(town["anna"].rounds).note.by(FAR) is None
    town.strangers[URL] = far
    town["anna"].enter(1, town.now)
    town.run(12.0)
    assert town["anna"].rounds.is_met
    assert Submission.decode(town.said("add-checkpoint", to=URL)[0].body).old == 2


def test_a_late_conflict_about_an_older_head_is_not_pursued() -> None:
    town = with_far("anna").calm()
    town.strangers[URL] = lambda call: LATE
    town["anna"].enter(3, town.now)
    town.run(12.0)
    town["anna"].enter(3, town.now)
    town.run(12.0)
    town.said("")
    town.answer_late(lambda call: Reply(409, b"2\n", SIZE_MEDIA))
    assert town.said("add-checkpoint") == []
    town.strangers[URL] = far
    town["anna"].enter(1, town.now)
    town.run(10.0)
    assert Submission.decode(town.said("add-checkpoint")[0].body).old == 2


# whose cosignature is missing


def test_who_was_away_is_asked_about_the_same_head_again_and_ever_less_often() -> None:
    town = Town("anna", "berta", "carla").calm()
    town.down = {"carla"}
    town["anna"].enter(3, town.now)
    entered_at, asked = town.now, []
    while town.now < entered_at + 600.0:
        town.run(1.0)
        asked += [(call.node, town.now - entered_at) for call in town.said("add-checkpoint") if call.node != "anna"]
    at = [round(when) for node, when in asked if node == "carla"]
    assert at[:6] == [10, 20, 40, 80, 160, 320]
    assert [node for node, when in asked if when < 500.0].count("berta") == 1
    town.down = set()
    town.run(320.0)
    assert town["anna"].rounds.is_met
    assert sorted(town["anna"].rounds.cosigners) == cosigners("berta", "carla")


def test_who_is_back_soon_makes_the_quorum_soon() -> None:
    town = Town("anna", "berta", "carla", "dora", enters_links=True).calm()
    town.down = {"carla"}
    town["anna"].enter(3, town.now)
    town.run(12.0)
    size = published(town["anna"].rounds).size
    assert not town["anna"].rounds.is_met
    town.down = set()
    town.run(10.0)
    assert town["anna"].rounds.is_met
    assert published(town["anna"].rounds).size == size
    town.said("")
    town.run(300.0)
    assert town.said("add-checkpoint") == []


def test_a_new_round_ends_what_was_asked_of_the_one_before() -> None:
    town = Town("anna", "berta", "carla").calm()
    town.down = {"carla"}
    for _ in range(5):
        town["anna"].enter(1, town.now)
        town.run(15.0)
    town.said("")
    town.down = set()
    town.run(600.0)
    sizes = {Submission.decode(call.body).head.size for call in town.said("add-checkpoint", to="carla")}
    assert 2 not in sizes
    assert town["anna"].rounds.is_met


# links, and silence


def test_link_fresh_every_node_that_answers_is_linked_within_a_round_or_two() -> None:
    town = Town(*NAMES, enters_links=True).calm()
    for _ in range(30):
        for name in NAMES[:-1]:
            town[name].enter(2, town.now)
        town.down = {"emma"}
        town.run(10.0)
        ages = town["anna"].rounds.ages_s(town.now)
        assert max(ages.values(), default=0) <= 25
    assert ages.keys() == {"berta", "carla", "dora"}
    assert town["anna"].rounds.gauges(town.now)["ledger_link_age_seconds"] == max(ages.values())
    for name in ("berta", "carla", "dora"):
        sizes = [head.size for head in town["anna"].links if head.origin == f"waypost/{name}"]
        assert len(sizes) >= 20
        assert sizes == sorted(set(sizes))


def test_link_fresh_a_node_that_is_not_linked_though_it_answers_grows_old() -> None:
    town = Town("anna", "berta")
    town["berta"].may_sign = False
    town["anna"].enter(1, town.now)
    town.run(500.0)
    assert town["anna"].rounds.ages_s(town.now) == {"berta": 500}
    assert town["berta"].rounds.ages_s(town.now) == {}


def test_an_idle_network_enters_nothing_in_a_day_but_what_its_idle_rounds_link() -> None:
    town = Town("anna", "berta", "carla", enters_links=True).calm()
    before = {name: house.scribe.tree.size for name, house in town.houses.items()}
    town.run(86_400.0)
    for name, house in town.houses.items():
        assert town.counted(name)["begun"] == 144
        assert house.scribe.tree.size - before[name] == len(house.links) == 2 * 144
        assert house.rounds.is_met


def test_a_node_whose_head_all_have_cosigned_sleeps_until_the_next_idle_round() -> None:
    town = Town("anna", "berta").calm()
    begun_at = [town.now - 60.0 + 10.0, town.now]
    when = town["anna"].rounds.next_timer()
    assert when is not None
    assert begun_at[0] + 600.0 <= when <= begun_at[1] + 600.0


def test_without_others_an_idle_log_enters_nothing_at_all() -> None:
    town = with_far("anna").calm()
    town.run(86_400.0)
    assert town["anna"].scribe.tree.size == 1
    assert counted(town) == {"begun": 144, "published": 144, "cosigned": 144}


# heads that nodes tell each other


def told(call: Call) -> list[Head]:
    notes = [Note.decode(text.encode()) for text in json.loads(call.body)]
    return [Head(Submission.decode(b"old 0\n\n" + note.encode()).head.checkpoint, note) for note in notes]


def test_complete_evidence_two_histories_shown_to_two_nodes_meet_within_a_round() -> None:
    town = Town("anna", "berta", "carla", "dora").calm()
    one, other = Scribe("anna").grow(3), Scribe("anna").grow(1).grow(4, "other")
    for name, scribe in (("berta", one), ("carla", other)):
        town[name].witness.add_checkpoint(1, scribe.submission(1).encode(), town.now, POSIX)
    town.settle()
    town.run(10.1)
    for name in ("berta", "carla", "dora"):
        texts = {head.note.text for head, _ in town[name].court if head.origin == "waypost/anna"}
        assert texts == {one.head().note.text, other.head().note.text}


def test_what_a_node_was_told_is_not_told_to_it_again() -> None:
    town = Town("anna", "berta", "carla").calm()
    town["anna"].enter(1, town.now)
    town.run(30.0)
    texts = [head.note.text for call in town.said("heads", to="carla") for head in told(call)]
    assert texts == [town["anna"].scribe.head().note.text] * 2  # by anna, as it was published, and by berta
    town.run(300.0)
    assert town.said("heads") == []


def test_a_node_is_not_told_of_its_own_log() -> None:
    town = Town("anna", "berta", "carla")
    for house in town.houses.values():
        house.enter(3, town.now)
    town.run(700.0)
    for name in town.houses:
        told_to = [
            head.origin for _, call in town.calls if call.path == "heads" and call.node == name for head in told(call)
        ]
        assert len(told_to) > 2
        assert f"waypost/{name}" not in told_to


def test_who_was_away_is_told_when_it_is_back() -> None:
    town = Town("anna", "berta", "carla").calm()
    town.down = {"carla"}
    town["anna"].enter(3, town.now)
    town.run(100.0)
    town.down = set()
    town["berta"].enter(1, town.now)
    town.said("")
    town.run(11.0)
    assert "waypost/anna" in {head.origin for call in town.said("heads", to="carla") for head in told(call)}


def test_who_was_away_is_told_also_when_nothing_else_happens() -> None:
    town = Town("anna", "berta", "carla").calm()
    town.down = {"carla"}
    for name in ("anna", "berta"):
        town[name].enter(3, town.now)
    town.run(35.0)
    town.down = set()
    town.said("")
    town.run(20.0)
    from_anna = [call for source, call in town.calls if (source, call.path, call.node) == ("anna", "heads", "carla")]
    assert {head.origin for call in from_anna for head in told(call)} >= {"waypost/berta"}


def test_all_are_told_how_far_a_quorum_agreed() -> None:
    town = Town(*NAMES).calm()
    town["anna"].enter(3, town.now)
    town.run(25.0)
    whole = published(town["anna"].rounds).note
    assert len(whole.lines) == 5
    for name in NAMES[1:]:
        assert (whole, "anna") in [(head.note, source) for head, source in town[name].court]


def test_many_heads_are_told_in_parts() -> None:
    scribes = [Scribe(f"{number:03}").grow(number + 1) for number in range(40)]
    town = Town("anna", "berta", witnessed=tuple(scribe.key for scribe in scribes)).calm()
    for number, scribe in enumerate(scribes):
        town["anna"].witness.add_checkpoint(number, scribe.submission(0).encode(), town.now, POSIX)
    town.settle()
    town.run(11.0)
    parts = [told(call) for call in town.said("heads", to="berta")]
    assert [len(part) for part in parts] == [TOLD_MAX, TOLD_MAX, 40 - 2 * TOLD_MAX]
    assert {head.origin for part in parts for head in part} == {scribe.key.name for scribe in scribes}


def test_large_heads_are_told_in_parts_that_are_heard() -> None:
    scribes = [Scribe(f"{number:03}").grow(1) for number in range(70)]
    town = Town("anna", "berta", witnessed=tuple(scribe.key for scribe in scribes)).calm()
    for number, scribe in enumerate(scribes):
        head = scribe.sign(Checkpoint(scribe.key.name, 1, scribe.tree.root(), ('"' * 8000,)))
        town["anna"].witness.add_checkpoint(number, Submission(0, (), head).encode(), town.now, POSIX)
    town.settle()
    town.run(11.0)
    calls = town.said("heads", to="berta")
    assert max(len(call.body) for call in calls) <= OCTETS_MAX
    assert len(calls) > 1
    assert {head.origin for head, _ in town["berta"].court} == {scribe.key.name for scribe in scribes}


def hear(town: Town, body: bytes, node: str) -> Reply:
    return town.hear("anna", body, node)


def test_heads_are_heard_from_nodes_of_the_network() -> None:
    town = Town("anna", "berta").calm()
    body = json.dumps([Scribe("berta").grow(3).head().note.encode().decode()]).encode()
    assert hear(town, body, "berta").status == 200
    for node in ("", "emma"):
        assert hear(town, body, node).status == 403
    assert len(town["anna"].court) == 1


def test_what_are_no_heads_is_refused() -> None:
    town = Town("anna", "berta").calm()
    good = Scribe("berta").grow(3).head().note.encode().decode()
    values: list[object] = [None, {}, "x", [1], [None], ["x"], [good, "x"], [good] * (TOLD_MAX + 1)]
    for value in values:
        assert hear(town, json.dumps(value).encode(), "berta").status == 400
    for body in (b"", b"[", b"\xff", b'["' + b"x" * (513 << 10) + b'"]', b'["\\ud800"]', b"[" * 100_000):
        assert hear(town, body, "berta").status == 400
    assert town["anna"].court == []


def test_behind_a_head_that_its_log_did_not_sign_nothing_is_looked_at() -> None:
    town = Town("anna", "berta", "carla").calm()
    scribe = Scribe("carla").grow(9)
    forged = [
        Head(scribe.head(size).checkpoint, Note(scribe.head(size).note.text, scribe.head(9).note.lines))
        for size in (1, 2)
    ]
    heads = [scribe.head(4), *forged, scribe.head(5)]
    body = json.dumps([head.note.encode().decode() for head in heads]).encode()
    assert hear(town, body, "berta").status == 400
    assert [head.size for head, _ in town["anna"].court] == [4]
    assert town["anna"].verified == 2


def test_a_node_that_was_told_something_by_another_does_not_tell_it_back() -> None:
    scribe = Scribe("far").grow(3)
    town = Town("anna", "berta", witnessed=(scribe.key,)).calm()
    body = json.dumps([scribe.head().note.encode().decode()]).encode()
    assert hear(town, body, "berta").status == 200
    town["anna"].witness.add_checkpoint(1, scribe.submission(0).encode(), town.now, POSIX)
    town.settle()
    town.said("")
    town.run(30.0)
    assert [head.origin for call in town.said("heads", to="berta") for head in told(call)] == []


def test_the_witness_of_this_story_would_have_refused_what_another_cosigned() -> None:
    anna = Scribe("anna").grow(3)
    eye = Eye({anna.key.name: anna.key})
    assert eye.submit(replace(anna.submission(0), old=1)).status == 409


def test_no_more_witnesses_are_asked_than_a_note_has_lines_for() -> None:
    keys = [Key(f"far/{number}", Algorithm.COSIGNATURE, public_of(f"far/{number}")) for number in range(70)]
    house = House("anna", outside=tuple(Outside(key, f"{URL}/{key.name}") for key in keys))
    house.restore(0.0)
    house.enter(1, 0.0)
    house.handle_timer(10.0)
    calls = [effect for effect in house.take_effects() if isinstance(effect, Ask)]
    assert len(calls) == len(house.rounds.witnesses) == WITNESSES_MAX
    assert house.rounds.quorum == 43


def test_a_witness_that_was_found_to_lie_counts_no_more() -> None:
    town = Town(*NAMES).calm()
    anna, berta = town["anna"], town["berta"]
    anna.enter(1, town.now)
    town.run(30.0)
    assert len(anna.rounds.cosigners) == 4
    anna.accused.append(berta.notary.cosigner)
    assert (len(anna.rounds.cosigners), anna.rounds.quorum) == (3, 3)
    anna.enter(1, town.now)
    town.run(30.0)
    assert anna.rounds.published is not None
    assert anna.rounds.published.note.by(berta.notary.cosigner) is None


def test_nobody_is_asked_about_a_head_that_cannot_be_proved_to_have_grown() -> None:
    town = Town("anna", "berta", "carla").calm()
    town["anna"].is_damaged = True
    town["anna"].enter(3, town.now)
    town["berta"].enter(3, town.now)
    town.run(60.0)
    assert {name for name, call in town.calls if call.path == "add-checkpoint"} == {"berta"}
