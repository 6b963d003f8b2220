"""Older versions that a node lacks, and how it comes to have them.  Notes on DRiP, 4.4, 4.12; R11 of 2.2."""

from handmade import Hand, committed
from people import record

from waypost.drip.book import HISTORY, history_key
from waypost.drip.gaps import GAPS
from waypost.drip.history import EVERY_MAX
from waypost.drip.messages import History, HistoryRequest, Wanted
from waypost.record import Committed, Place, Record

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
