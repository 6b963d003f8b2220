"""Older versions that a node lacks, and how it comes to have them.  Notes on DRiP, 4.4, 4.12; R11 of 2.2."""

from itertools import pairwise

import msgspec
from handmade import Hand, Rows, committed, epoch_two
from people import record

from waypost.drip.book import BARE, HISTORY, RECENT_MAX, RECORDS, history_key, row_key
from waypost.drip.gaps import GAPS
from waypost.drip.history import ANSWER_S, EVERY, EVERY_MAX
from waypost.drip.messages import PARCEL_MAX, VERSIONS_MAX, WANTED_MAX, History, HistoryRequest, Past, Wanted
from waypost.drip.outcome import Outcome, State
from waypost.engine import Commit, Put
from waypost.record import ROSTER, Ballot, Committed, Place, Proof, Record

PLACE = ("names", "lamp")


def story(length: int, place: Place = PLACE, size: int = 1) -> list[Committed]:
    """The versions of a key, from the first on."""
    told: list[Committed] = []
    last: Record | None = None
    for number in range(1, length + 1):
        last = record(f"{number}" * size, last, place=place, txid=number)
        told.append(committed(last))
    return told


def versions(hand: Hand, place: Place = PLACE) -> list[int]:
    """Those that are on its disk."""
    start = history_key(place, 0)[:-16]
    return [int(key[-16:]) for key, _ in hand.rows.scan(HISTORY) if key.startswith(start)]


def late(told: list[Committed], *known: int) -> Hand:
    """Dora, who learnt some versions and not those between."""
    dora = Hand("dora")
    dora.peers = ("anna",)
    dora.learn(*(told[version - 1] for version in known))
    return dora


def request(hand: Hand) -> HistoryRequest:
    """What it asks anna next."""
    hand.wait(EVERY_MAX)
    asked = [message for node, message in hand.told if node == "anna" and isinstance(message, HistoryRequest)]
    return asked[-1]


def closed(hand: Hand, other: Hand) -> int:
    """In how many questions to the other it came to have all."""
    questions = 0
    while hand.drip.history.missing:
        answer = other.only("dora", request(hand))
        assert isinstance(answer, History)
        hand.hear("anna", answer)
        questions += 1
    return questions


def test_versions_that_were_missed_come_from_another_node() -> None:
    told = story(9)
    anna, dora = Hand("anna"), late(told, 3, 9)
    anna.learn(*told)
    assert dora.drip.history.missing == 7
    assert request(dora).wanted == (Wanted(*PLACE, 2, 1), Wanted(*PLACE, 8, 4))
    assert closed(dora, anna) == 1
    assert versions(dora) == list(range(1, 10))
    assert dora.rows.tables[HISTORY] == anna.rows.tables[HISTORY]
    assert not dora.rows.tables[GAPS]
    assert dora.drip.committed(PLACE) == told[8]
    dora.wait(100.0)
    assert dora.says(HistoryRequest) == []


def test_a_key_that_came_late_is_told_down_to_its_first_version() -> None:
    told = story(5)
    anna, dora = Hand("anna"), late(told, 5)
    anna.learn(*told)
    closed(dora, anna)
    assert versions(dora) == [1, 2, 3, 4, 5]


def test_gaps_are_closed_in_pages_the_oldest_first() -> None:
    told, other = story(300), story(200, ("names", "door"))
    anna, dora = Hand("anna"), late(told, 300)
    anna.learn(*told, *other)
    dora.learn(other[199])
    first = request(dora)
    assert [wanted.place for wanted in first.wanted] == [PLACE, ("names", "door")]
    page = anna.only("dora", first)
    assert isinstance(page, History)
    assert len(page.versions) == VERSIONS_MAX
    assert {past.certificate.matter.place for past in page.versions} == {PLACE}
    assert closed(dora, anna) == 4
    assert versions(dora) == list(range(1, 301))
    assert versions(dora, ("names", "door")) == list(range(1, 201))


def test_a_page_has_so_many_octets() -> None:
    told = story(40, size=10_000)
    anna, dora = Hand("anna"), late(told, 40)
    anna.learn(*told)
    page = anna.only("dora", request(dora))
    assert isinstance(page, History)
    assert 1 < len(page.versions) < 39
    assert len(msgspec.json.encode(page)) < PARCEL_MAX
    closed(dora, anna)
    assert versions(dora) == list(range(1, 41))


def test_what_is_left_to_be_brought_is_known_after_a_restart() -> None:
    told = story(300)
    anna, dora = Hand("anna"), late(told, 300)
    anna.learn(*told)
    dora.hear("anna", anna.only("dora", request(dora)))
    assert dora.drip.history.missing == 299 - VERSIONS_MAX
    again = dora.restarted()
    again.peers = ("anna",)
    assert again.drip.history.missing == 299 - VERSIONS_MAX
    assert request(again).wanted == (Wanted(*PLACE, 299 - VERSIONS_MAX, 1),)
    closed(again, anna)
    assert versions(again) == list(range(1, 301))


def test_a_disk_of_before_is_looked_through_once() -> None:
    """The migration leaves a mark where there is something to look at; rosters have no gaps."""
    told, other = story(9), story(3, ("names", "door"))
    rows = Rows()
    puts = [Put(HISTORY, history_key(PLACE, n), told[n - 1].encode()) for n in (2, 3, 4, 7, 8, 9)]
    puts += [Put(HISTORY, history_key(("names", "door"), 3), other[2].encode())]
    puts += [Put(HISTORY, history_key(ROSTER, 2), epoch_two("anna").encode())]
    puts += [
        Put(RECORDS, row_key(PLACE), told[8].encode()),
        Put(RECORDS, row_key(("names", "door")), other[2].encode()),
    ]
    rows.write(Commit(puts=(*puts, Put(GAPS, b"", b""))))
    dora = Hand("dora", rows=rows)
    dora.peers = ("anna",)
    assert request(dora).wanted == (Wanted("names", "door", 2, 1), Wanted(*PLACE, 1, 1), Wanted(*PLACE, 6, 5))
    assert b"" not in rows.tables[GAPS]
    assert dora.restarted().drip.history.missing == 5
    anna = Hand("anna")
    anna.learn(*told, *other)
    closed(dora, anna)
    assert versions(dora) == list(range(1, 10))
    assert not dora.drip.alarms


def test_only_the_record_whose_hash_the_next_one_names_is_taken() -> None:
    """Whoever brings it: I2."""
    told = story(3)
    dora = late(told, 3)
    other = committed(record("other", told[0].record, txid=7))
    assert other.certificate is not None
    question = request(dora)
    dora.hear("anna", History(question.id, (Past(other.certificate, other.record),)))
    assert versions(dora) == [3]
    assert dora.drip.history.counts["refused"] == 1


def test_a_record_is_taken_with_a_quorum_of_valid_votes_alone() -> None:
    """I3: also where the hash is right."""
    told = story(2)
    record_, certificate = told[0].record, told[0].certificate
    assert certificate is not None
    marks = certificate.marks
    forged = msgspec.structs.replace(marks[0], signature="00" * 64)
    other = committed(record_, ballot=Ballot(1, 7, "berta")).certificate
    within = committed(record_, ballot=Ballot(2, 1, "anna")).certificate  # that epoch begins no term
    assert other is not None
    assert within is not None
    goes_on = epoch_two("anna", "berta", "carla", learners=("dora", "emma", "frieda"))
    for bad in (
        within,
        msgspec.structs.replace(certificate, marks=marks[:1]),
        msgspec.structs.replace(certificate, marks=(forged, marks[1])),
        msgspec.structs.replace(other, marks=marks),
        msgspec.structs.replace(
            certificate, matter=msgspec.structs.replace(certificate.matter, ballot=Ballot(9, 0, "anna"))
        ),
    ):
        for kept in (record_, None):
            dora = late(told, 2)
            dora.learn(goes_on)
            assert dora.drip.epoch == 2
            dora.hear("anna", History(request(dora).id, (Past(bad, kept),)))
            assert versions(dora) == [2]
            assert BARE not in dora.rows.tables
            assert dora.drip.history.missing == 1


def test_a_certificate_stands_for_its_own_record_alone() -> None:
    told = story(2)
    other = record("other")
    assert told[0].certificate is not None
    dora = late(told, 2)
    dora.hear("anna", History(request(dora).id, (Past(told[0].certificate, other),)))
    assert versions(dora) == [2]


def test_what_was_not_asked_for_is_not_looked_at() -> None:
    told, other = story(4), story(2, ("names", "door"))
    dora = late(told, 4)
    anna = Hand("anna")
    anna.learn(*told, *other)
    question = request(dora)
    page = anna.only("dora", question)
    assert isinstance(page, History)
    dora.hear("berta", page)
    dora.hear("anna", msgspec.structs.replace(page, id=page.id + 1))
    assert versions(dora) == [4]
    certificate = other[0].certificate
    assert certificate is not None
    dora.hear("anna", History(page.id, (Past(certificate, other[0].record), *page.versions)))
    assert versions(dora) == [4]
    assert versions(dora, ("names", "door")) == []
    dora.hear("anna", page)  # that question is over
    assert versions(dora) == [4]
    assert dora.drip.history.counts["unasked"] == 4


def test_a_version_of_which_nobody_has_more_is_kept_as_its_certificate() -> None:
    """4.4: bulky values may be dropped, (version, hash) stays."""
    told = story(5)
    dora, emma = late(told, 5), late(told, 5)
    emma.peers = ("dora",)
    pasts = [Past(each.certificate, each.record) for each in reversed(told[:4]) if each.certificate]
    pasts[1] = msgspec.structs.replace(pasts[1], record=None)
    dora.hear("anna", History(request(dora).id, tuple(pasts)))
    assert versions(dora) == [1, 2, 4, 5]
    assert dora.drip.history.missing == 0
    emma.wait(EVERY_MAX)
    (question,) = [message for node, message in emma.told if isinstance(message, HistoryRequest)][-1:]
    page = dora.only("emma", question)
    assert isinstance(page, History)
    assert page.versions == tuple(pasts)
    emma.hear("dora", page)
    assert emma.rows.tables[BARE] == dora.rows.tables[BARE]
    assert versions(emma) == [1, 2, 4, 5]


def test_who_does_not_answer_is_asked_again_after_a_while() -> None:
    dora = late(story(3), 3)
    times = [when for when, _ in asks(dora, 40.0, answers=False)]
    assert {round(later - earlier) for earlier, later in pairwise(times)} == {round(ANSWER_S)}
    assert len(times) == 10


def test_answers_that_bring_nothing_make_the_pause_longer_and_one_that_brings_something_ends_that() -> None:
    told = story(3)
    dora, anna = late(told, 3), Hand("anna")
    times = [when for when, _ in asks(dora, 120.0, answers=True)]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[0] < 2 * EVERY + 0.2
    assert max(pauses) < EVERY_MAX + 0.2
    assert len(times) < 20
    anna.learn(*told)
    closed(dora, anna)
    assert versions(dora) == [1, 2, 3]
    dora.learn(committed(record("5", committed(record("4", told[2].record, txid=4)).record, txid=5)))
    assert asks(dora, 2 * EVERY, answers=False)


def asks(hand: Hand, seconds: float, *, answers: bool) -> list[tuple[float, HistoryRequest]]:
    """When it asked anna, who has nothing, and what."""
    asked: list[tuple[float, HistoryRequest]] = []
    until = hand.now + seconds
    while hand.now < until:
        hand.wait(0.1)
        for message in [message for _, message in hand.told if isinstance(message, HistoryRequest)]:
            asked.append((hand.now, message))
            if answers:
                hand.hear("anna", History(message.id, ()))
    return asked


def test_a_gap_that_nobody_can_close_leaves_the_others_their_turn() -> None:
    lost = [story(2, ("names", f"lost {number}"))[1] for number in range(WANTED_MAX)]
    told = story(2)
    dora, anna = late(told), Hand("anna")
    dora.learn(*lost, told[1])
    anna.learn(told[0])
    for _ in range(4):
        question = request(dora)
        answer = anna.only("dora", question)
        assert isinstance(answer, History)
        dora.hear("anna", answer)
    assert versions(dora) == [1, 2]
    assert dora.drip.history.missing == WANTED_MAX


def test_nobody_is_asked_where_nothing_is_missing_or_nobody_is_there() -> None:
    dora = late(story(3), 1, 2, 3)
    dora.wait(100.0)
    assert dora.says(HistoryRequest) == []
    assert dora.drip.next_timer() is None
    alone = late(story(3), 3)
    alone.peers = ()
    alone.wait(100.0)
    assert alone.says(HistoryRequest) == []


def test_only_what_is_there_without_a_gap_is_told_and_no_more_than_was_asked() -> None:
    told = story(9)
    anna = late(told, 2, 3, 5, 6, 7, 9)
    page = anna.only("dora", HistoryRequest(5, (Wanted(*PLACE, 8, 1), Wanted(*PLACE, 7, 6), Wanted(*PLACE, 3, 1))))
    assert isinstance(page, History)
    assert [past.certificate.matter.version for past in page.versions] == [7, 6, 3, 2]
    assert page.id == 5
    other = anna.only("dora", HistoryRequest(6, (Wanted("names", "lam", 3, 1), Wanted("names", "lampe", 3, 1))))
    assert other == History(6, ())


def test_what_comes_late_is_no_news() -> None:
    """Neither to the feed nor to the log: a Stored is what both are told of."""
    told = story(4)
    anna, dora = Hand("anna"), late(told, 1, 4)
    anna.learn(*told)
    closed(dora, anna)
    assert versions(dora) == [1, 2, 3, 4]
    assert dora.stored == [told[0], told[3]]
    assert dora.spread == []


def test_what_became_of_a_transaction_is_known_once_its_version_has_come() -> None:
    told = story(4)
    anna, dora = Hand("anna"), late(told, 4)
    anna.learn(*told)
    assert dora.drip.outcome(PLACE, 2, told[1].record.txid) is None
    closed(dora, anna)
    outcome = dora.drip.outcome(PLACE, 2, told[1].record.txid)
    assert outcome is not None
    assert outcome.state is State.COMMITTED
    lost = dora.drip.outcome(PLACE, 2, f"{99:032x}")
    assert lost is not None
    assert lost.state is State.LOST


def test_what_became_of_a_transaction_is_known_however_long_ago_it_was() -> None:
    told = story(RECENT_MAX + 10)
    dora = late(told, *range(1, len(told) + 1))
    outcome = dora.drip.outcome(PLACE, 2, told[1].record.txid)
    assert outcome is not None
    assert outcome.state is State.COMMITTED
    for again, state in ((told[2].record, State.COMMITTED), (record("other", told[1].record, txid=99), State.LOST)):
        answer = dora.answers[dora.claim(again)]
        assert isinstance(answer, Outcome)
        assert answer.state is state
    assert dora.drip.outcome(PLACE, len(told) + 1, told[1].record.txid) is None
    assert dora.drip.outcome(PLACE, 0, told[1].record.txid) is None


def test_a_version_that_another_follows_than_this_node_knew_is_an_alarm() -> None:
    """Two certificates that cannot both be honest: 4.4, rule 5."""
    mine = committed(record("mine"))
    told = story(3)
    dora = Hand("dora")
    dora.peers = ("anna",)
    dora.learn(mine, told[2])
    anna = Hand("anna")
    anna.learn(*told)
    dora.hear("anna", anna.only("dora", request(dora)))
    assert versions(dora) == [1, 2, 3]
    assert PLACE in dora.drip.alarms
    assert isinstance(dora.spread[0], Proof)


def test_an_own_vote_that_this_disk_does_not_know_is_noticed_in_the_past_too() -> None:
    """Design, Contracts 7."""
    first = record("1")
    told = [committed(first, "anna", "berta"), committed(record("2", first, txid=2), "anna", "carla")]
    berta = Hand("berta")
    berta.peers = ("anna",)
    berta.learn(told[1])
    assert berta.drip.is_voting
    past = Past(certificate, told[0].record) if (certificate := told[0].certificate) else None
    assert past is not None
    berta.hear("anna", History(request(berta).id, (past,)))
    assert not berta.drip.is_voting
