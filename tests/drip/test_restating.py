"""A record restated by a node, such as when a lifetime has ended: no news, so whatever anybody has said since wins."""

from random import Random

from people import key_of, public_of
from test_gossip import HOUR, NETWORK, WALL_MS, Home

from waypost.drip.gossip import RECORDS, Author, Busy, Restated, Store, Verdict
from waypost.engine import Commit
from waypost.identity.keys import verifies
from waypost.record import Hlc
from waypost.record.feed import Feed
from waypost.record.gossiped import Gossiped

KEY = b"lamp"
ENDS = WALL_MS + HOUR


def restate(home: Home, value: bytes, restates: Restated, now: float) -> Gossiped | Busy:
    busy = home.store.announce(1, "rd", KEY, value, ENDS, now, restates=restates)
    if busy is not None:
        return busy
    (applied,) = home.settle()
    return applied.held.record


def restated(home: Home, value: bytes, restates: Restated, now: float) -> Gossiped:
    record = restate(home, value, restates, now)
    assert isinstance(record, Gossiped), record
    return record


def test_it_comes_right_after_what_it_restates() -> None:
    anna, berta, carla = Home("anna"), Home("berta"), Home("carla")
    first = anna.announce(KEY, b"on")
    assert berta.accept(first) is Verdict.NEW
    renewed = berta.announce(KEY, b"renewed", now=0.001)
    ended = restated(anna, b"ended", Restated(b"on", 1), now=50.0)
    assert ended.hlc.hlc == first.hlc.hlc.next()
    assert ended.hlc.hlc < renewed.hlc.hlc
    for order in ((ended, renewed), (renewed, ended)):
        last = Home("carla")
        for record in order:
            last.accept(record, 60.0)
        kept = last.store.get("rd", KEY)
        assert kept is not None
        assert kept.value == b"renewed"
    assert carla.accept(ended, 60.0) is Verdict.NEW


def test_it_says_nothing_of_what_is_newer_and_on_its_way_to_the_disk() -> None:
    anna, berta = Home("anna"), Home("berta")
    assert berta.accept(anna.announce(KEY, b"on")) is Verdict.NEW
    renewed = berta.announce(KEY, b"renewed", now=1.0)
    assert anna.store.accept(renewed, 2.0)[0] is Verdict.NEW
    assert isinstance(anna.store.announce(1, "rd", KEY, b"ended", ENDS, 2.0, restates=Restated(b"on", 1)), Busy)


def test_what_nobody_else_had_was_said_when_it_was_said() -> None:
    said_ms = WALL_MS - 5_000
    assert restated(Home(), b"on", Restated(b"on", said_ms), now=1.0).hlc.hlc == Hlc(said_ms, 0)


def test_what_was_said_since_a_removal_elsewhere_comes_at_its_own_time() -> None:
    home = Home()
    removed = home.announce(KEY, None)
    again = restated(home, b"on", Restated(b"", WALL_MS + 7_000), now=9.0)
    assert again.hlc.hlc == Hlc(WALL_MS + 7_000, 0)
    assert removed.hlc.hlc < again.hlc.hlc


def test_records_of_a_namespace_that_is_not_carried_any_more_are_not_kept() -> None:
    home = Home()
    home.announce(KEY, b"on")
    home.announce(b"x", b"kept", space="names")
    author = Author(NETWORK, "anna", 1, key_of("anna").sign)
    store = Store(author, verifies, lambda node, _: public_of(node), Feed(Random(1)), ("names",))
    store.restore(home.disk, 0.0)
    for effect in store.take_effects():
        assert isinstance(effect, Commit)
        for put in effect.puts:
            home.disk.put(put)
    assert list(home.disk.tables[RECORDS]) == [b"names\0x"]
