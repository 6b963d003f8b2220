"""The store of gossiped records, call by call: who wins, what is refused, and when it is forgotten."""

from collections.abc import Iterator
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import key_of, public_of

from waypost.drip.gossip import (
    LIFETIME_MIN,
    SKEW_MAX,
    TOMBSTONE_MIN,
    WAITING_MAX,
    Applied,
    Author,
    Busy,
    Store,
    Verdict,
)
from waypost.engine import Apply, Commit, Put
from waypost.errors import StoreError
from waypost.identity.keys import verifies
from waypost.record import Change, Hlc, Kind
from waypost.record.feed import Feed
from waypost.record.gossiped import Gossiped, Moment

NETWORK = "ab" * 32
WALL_MS = 1_800_000_000_000
HOUR = 3_600_000
NODES = ("anna", "berta", "carla")


class Disk:
    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(row for row in self.tables.get(table, {}).items() if row[0] > after))

    def put(self, put: Put) -> None:
        table = self.tables.setdefault(put.table, {})
        if put.value is None:
            table.pop(put.key, None)
        else:
            table[put.key] = put.value


class Home:
    """A store, its disk, and the changes that were applied.  The wall clock is `WALL_MS` at time 0."""

    def __init__(
        self, name: str = "anna", disk: Disk | None = None, wall_ms: int = WALL_MS, records_max: int = 1000
    ) -> None:
        self.disk = disk or Disk()
        self.changes: list[Change] = []
        self.verified = 0
        self._feed = Feed(Random(1))
        self._feed.restore(self.disk)
        author = Author(NETWORK, name, 1, key_of(name).sign)
        self.store = Store(
            author,
            self._verify,
            self._key,
            self._feed,
            ("rd", "names"),
            single_writer=("nodes",),
            records_max=records_max,
        )
        self.store.restore(self.disk, 0.0)
        self.store.handle_clock(0.0, wall_ms)

    def _key(self, node: str, incarnation: int) -> str | None:
        return public_of(node) if node in NODES and incarnation == 1 else None

    def _verify(self, public: bytes, signature: bytes, message: bytes) -> bool:
        self.verified += 1
        return verifies(public, signature, message)

    def settle(self) -> list[Applied]:
        """Everything becomes durable and is applied."""
        applied = []
        for effect in self.store.take_effects():
            assert isinstance(effect, Commit)
            for put in effect.puts:
                self.disk.put(put)
            for then in effect.then:
                assert isinstance(then, Apply)
                self.changes.append(then.change)
                result = self.store.applied(then.change)
                if result is not None:
                    applied.append(result)
        self.store.check()
        return applied

    def announce(
        self, key: bytes, value: bytes | None, *, space: str = "rd", expires_ms: int = WALL_MS + HOUR, now: float = 0.0
    ) -> Gossiped:
        assert self.store.announce(1, space, key, value, expires_ms, now) is None
        (applied,) = self.settle()
        return applied.held.record

    def accept(self, record: Gossiped, now: float = 0.0) -> Verdict:
        verdict = self.store.accept(record, now)[0]
        self.settle()
        return verdict

    def root(self) -> list[bytes]:
        return [tree.root() for tree in self.store.trees().values()]


def signed(
    value: bytes | None = b"on",
    *,
    key: bytes = b"lamp",
    node: str = "berta",
    wall_ms: int = WALL_MS,
    count: int = 0,
    expires_ms: int = WALL_MS + HOUR,
    space: str = "rd",
    signer: str | None = None,
    incarnation: int = 1,
) -> Gossiped:
    unsigned = Gossiped(space, key, value, expires_ms, Moment(count, wall_ms), node, incarnation, "")
    return unsigned.signed(NETWORK, key_of(signer or node).sign)


def test_what_is_announced_counts_once_it_is_durable_and_not_before() -> None:
    home = Home()
    assert home.store.announce(7, "rd", b"lamp", b"on", WALL_MS + HOUR, 0.0) is None
    assert home.store.get("rd", b"lamp") is None, "nobody may pull what a crash could undo"
    assert len(home.store.records()) == 0
    (applied,) = home.settle()
    assert applied.question == 7
    assert applied.held.record.value == b"on"
    assert home.store.get("rd", b"lamp") == applied.held.record
    assert [(each.seq, each.kind, each.room, each.key, each.value) for each in home.changes] == [
        (1, Kind.PUT, "rd", b"lamp", b"on")
    ]


def test_every_change_has_the_next_number_of_the_feed_whoever_made_it() -> None:
    home = Home()
    home.announce(b"one", b"1")
    home.accept(signed(key=b"two"))
    home.announce(b"one", None)
    assert [(each.seq, each.kind) for each in home.changes] == [(1, Kind.PUT), (2, Kind.PUT), (3, Kind.REMOVE)]


def test_the_later_record_wins_and_the_earlier_one_changes_nothing() -> None:
    home = Home()
    assert home.accept(signed(b"new", wall_ms=WALL_MS + 1)) is Verdict.NEW
    root = home.root()
    assert home.accept(signed(b"old", node="carla")) is Verdict.KNOWN
    assert home.accept(signed(b"new", wall_ms=WALL_MS + 1)) is Verdict.KNOWN
    assert home.root() == root
    assert len(home.changes) == 1


def test_at_one_time_the_greater_node_wins_and_of_one_node_the_greater_hash() -> None:
    berta, carla = signed(b"b"), signed(b"c", node="carla")
    one, other = signed(b"1", key=b"x"), signed(b"2", key=b"x")
    results = []
    for records in ([berta, carla, one, other], [other, one, carla, berta]):
        home = Home()
        for record in records:
            home.accept(record)
        assert home.store.get("rd", b"lamp") == carla
        results.append(home.store.get("rd", b"x"))
    assert results[0] == results[1]


def test_a_write_is_later_than_whatever_it_replaces_though_our_clock_is_behind() -> None:
    home = Home()
    home.accept(signed(b"theirs", wall_ms=WALL_MS + SKEW_MAX))
    record = home.announce(b"lamp", b"ours")
    assert record.hlc.hlc > Hlc(WALL_MS + SKEW_MAX, 0)
    assert home.store.get("rd", b"lamp") == record


def test_what_comes_while_ours_is_on_its_way_to_the_disk_is_compared_with_it() -> None:
    home = Home()
    home.store.announce(1, "rd", b"lamp", b"ours", WALL_MS + HOUR, 1.0)
    assert home.store.accept(signed(b"older", wall_ms=WALL_MS + 999), 1.0)[0] is Verdict.KNOWN
    newer = signed(b"newer", wall_ms=WALL_MS + 2000)
    assert home.store.accept(newer, 1.0)[0] is Verdict.NEW
    between = signed(b"between", wall_ms=WALL_MS + 1500)
    assert home.store.accept(between, 1.0)[0] is Verdict.KNOWN
    assert [applied.held.record.value for applied in home.settle()] == [b"ours"], "it was accepted, and is answered"
    assert home.store.get("rd", b"lamp") == newer
    assert [change.value for change in home.changes] == [b"ours", b"newer"]
    assert Home(disk=home.disk).store.get("rd", b"lamp") == newer


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (signed(wall_ms=WALL_MS + SKEW_MAX), Verdict.NEW),
        (signed(wall_ms=WALL_MS + SKEW_MAX + 1), Verdict.FUTURE),
        (signed(expires_ms=WALL_MS + 1), Verdict.NEW),
        (signed(expires_ms=WALL_MS), Verdict.EXPIRED),
        (signed(signer="carla"), Verdict.FORGED),
        (msgspec.structs.replace(signed(), value=b"off"), Verdict.FORGED),
        (msgspec.structs.replace(signed(), expires_ms=WALL_MS + 2 * HOUR), Verdict.FORGED),
        (msgspec.structs.replace(signed(), signature=""), Verdict.FORGED),
        (signed(node="zoe"), Verdict.STRANGER),
        (signed(incarnation=2), Verdict.STRANGER),
        (signed(space="elsewhere"), Verdict.STRANGER),
        (signed(space="nodes", key=b"berta"), Verdict.NEW),
        (signed(space="nodes", key=b"berta/disk"), Verdict.NEW),
        (signed(space="nodes", key=b"bertas"), Verdict.NOT_ITS_OWN),
        (signed(space="nodes", key=b"carla"), Verdict.NOT_ITS_OWN),
    ],
)
def test_a_record_is_taken_only_if_it_is_signed_by_who_may_for_now(record: Gossiped, verdict: Verdict) -> None:
    home = Home()
    assert home.accept(record) is verdict
    assert (len(home.store.records()) == 1) == (verdict is Verdict.NEW)
    assert len(home.changes) == len(home.store.records())


def test_a_record_of_another_network_does_not_verify() -> None:
    record = msgspec.structs.replace(signed(), signature="")
    assert Home().accept(record.signed("cd" * 32, key_of("berta").sign)) is Verdict.FORGED


def test_a_signature_is_looked_at_once_and_only_for_what_would_be_new() -> None:
    home = Home()
    record = signed(b"new", wall_ms=WALL_MS + 1)
    for each in (record, record, signed(b"old"), signed(node="zoe"), signed(expires_ms=1)):
        home.accept(each)
    assert home.verified == 1


def test_another_node_s_clock_is_followed_only_to_replace_its_record() -> None:
    home = Home()
    home.accept(signed(wall_ms=WALL_MS + SKEW_MAX))
    assert home.announce(b"k", b"v").hlc.wall_ms == WALL_MS
    assert home.announce(b"lamp", b"v").hlc.wall_ms == WALL_MS + SKEW_MAX
    assert home.store.is_near(Hlc(WALL_MS + SKEW_MAX, 0), 0.0)
    assert not home.store.is_near(Hlc(WALL_MS + SKEW_MAX + 1, 0), 0.0)


def test_a_node_whose_clock_has_stepped_back_says_so_and_signs_nothing() -> None:
    home = Home()
    home.announce(b"lamp", b"on")
    home.store.handle_clock(1.0, WALL_MS - SKEW_MAX - 1_000)
    busy = home.store.announce(2, "rd", b"lamp", b"off", WALL_MS + HOUR, 1.0)
    assert isinstance(busy, Busy)
    assert "clock" in busy.detail
    home.store.handle_clock(1.0, WALL_MS - SKEW_MAX)
    assert home.store.announce(2, "rd", b"lamp", b"off", WALL_MS + HOUR, 1.0) is None


def test_everybody_forgets_a_record_when_it_expires_and_takes_it_no_more() -> None:
    home = Home()
    record = signed(expires_ms=WALL_MS + 5_000)
    home.accept(record)
    assert home.store.next_timer() == 5.0
    home.store.handle_timer(4.999)
    assert len(home.store.records()) == 1
    home.store.handle_timer(5.0)
    home.settle()
    assert len(home.store.records()) == 0
    assert home.changes[-1].kind is Kind.REMOVE
    assert home.accept(record, now=5.0) is Verdict.EXPIRED
    assert home.store.next_timer() is None
    assert home.disk.tables["gossip"] == {}
    assert home.root() == Home().root()


def test_expiry_follows_the_wall_clock_when_it_steps() -> None:
    home = Home()
    home.accept(signed(expires_ms=WALL_MS + 5_000))
    home.store.handle_clock(1.0, WALL_MS + 4_000)
    assert home.store.next_timer() == 2.0


def test_a_tombstone_lives_as_long_as_what_it_removed_and_a_day_at_least() -> None:
    home = Home()
    assert home.announce(b"new", None, expires_ms=0).expires_ms == WALL_MS + TOMBSTONE_MIN
    home.accept(signed(expires_ms=WALL_MS + 2 * TOMBSTONE_MIN))
    assert home.announce(b"lamp", None, expires_ms=0).expires_ms == WALL_MS + 2 * TOMBSTONE_MIN
    assert home.announce(b"short", b"v", expires_ms=0).expires_ms == WALL_MS + LIFETIME_MIN


def test_nothing_that_was_removed_or_shortened_comes_back() -> None:
    """Whoever still has the old record brings it at any time: it was replaced, or has expired itself."""
    old = signed(b"old", expires_ms=WALL_MS + 10_000)
    for value in (None, b"new"):
        home = Home()
        home.accept(old)
        record = home.announce(b"lamp", value, expires_ms=WALL_MS + 1)
        assert record.expires_ms >= old.expires_ms
        for second in range(20):
            home.store.handle_timer(float(second))
            home.settle()
            assert home.accept(old, now=float(second)) in (Verdict.KNOWN, Verdict.EXPIRED)


def test_a_tombstone_that_is_forgotten_is_no_change_of_the_feed() -> None:
    home = Home()
    home.announce(b"lamp", None)
    home.store.handle_timer(TOMBSTONE_MIN / 1000)
    home.settle()
    assert len(home.store.records()) == 0
    assert len(home.changes) == 1
    assert home.disk.tables["gossip"] == {}


def test_a_restart_keeps_what_is_on_disk_and_writes_later_than_before() -> None:
    home = Home()
    home.accept(signed(b"theirs", wall_ms=WALL_MS + SKEW_MAX))
    mine = home.announce(b"mine", b"1")
    home.store.announce(9, "rd", b"lost", b"1", WALL_MS + HOUR, 0.0)  # never durable
    again = Home(disk=home.disk, wall_ms=WALL_MS - 60)
    assert again.root() == home.root()
    assert again.store.get("rd", b"mine") == mine
    assert again.store.get("rd", b"lost") is None
    assert again.announce(b"other", b"2").hlc.hlc > mine.hlc.hlc
    assert again.changes[0].seq == 3


def test_a_row_that_cannot_be_read_is_told() -> None:
    disk = Disk()
    disk.put(Put("gossip", b"rd\0k", b"rubbish"))
    with pytest.raises(StoreError, match="cannot be read"):
        Home(disk=disk)


def test_a_node_signs_no_more_records_than_it_may() -> None:
    home = Home(records_max=3)
    for number in range(3):
        home.announce(b"%d" % number, b"v")
    assert isinstance(home.store.announce(1, "rd", b"more", b"v", WALL_MS + HOUR, 0.0), Busy)
    home.announce(b"0", b"again")
    assert home.accept(signed(key=b"theirs")) is Verdict.NEW


def test_of_one_node_the_latest_records_are_kept_whatever_their_order() -> None:
    records = [signed(key=b"%d" % number, wall_ms=WALL_MS + number) for number in range(12)]
    roots = []
    for seed in range(6):
        Random(seed).shuffle(records)
        home = Home(records_max=4)
        home.announce(b"mine", b"v")
        verdicts = [home.accept(record) for record in records]
        assert verdicts[:4] == [Verdict.NEW] * 4
        kept = {number for number in range(12) if home.store.get("rd", b"%d" % number)}
        assert kept == {8, 9, 10, 11}
        assert home.store.get("rd", b"mine") is not None, "others do not suffer for it"
        roots.append([leaf.digest for leaf in home.store.trees()["rd"].leaves()])
    assert all(root == roots[0] for root in roots)


def test_a_disk_that_is_behind_is_said_and_nothing_grows() -> None:
    home = Home(records_max=10_000)
    for number in range(WAITING_MAX):
        assert home.store.announce(number, "rd", b"%d" % number, b"v", WALL_MS + HOUR, 0.0) is None
    assert isinstance(home.store.announce(0, "rd", b"more", b"v", WALL_MS + HOUR, 0.0), Busy)
    assert home.store.accept(signed(), 0.0)[0] is Verdict.BUSY
    home.settle()
    assert home.accept(signed()) is Verdict.NEW


def test_records_are_given_in_order_as_many_as_fit_and_one_at_least() -> None:
    home = Home()
    for number in range(4):
        home.announce(b"%d" % number, b"x" * 3_000)
    digests = [leaf.digest for leaf in home.store.trees()["rd"].leaves()]
    assert len(home.store.give("rd", digests, 10_000, 0.0)) == 2
    assert len(home.store.give("rd", digests[1:], 1, 0.0)) == 1
    assert home.store.give("rd", [bytes(32)], 10_000, 0.0) == []
    assert home.store.give("elsewhere", digests, 10_000, 0.0) == []
    assert home.store.give("rd", digests, 10_000, HOUR / 1000) == [], "an expired one is not handed on"


RECORD = st.builds(
    signed,
    st.sampled_from([None, b"1", b"2"]),
    key=st.sampled_from([b"a", b"b", b"c"]),
    node=st.sampled_from(NODES[1:]),
    wall_ms=st.integers(WALL_MS, WALL_MS + 5),
    count=st.integers(0, 1),
    expires_ms=st.integers(WALL_MS + 1, WALL_MS + 5),
)


@given(st.lists(RECORD, max_size=12), st.randoms(use_true_random=False))
def test_the_same_records_in_any_order_and_number_leave_the_same(records: list[Gossiped], rng: Random) -> None:
    one, other = Home(), Home(name="carla")
    for record in records:
        one.accept(record)
    again = records + records[: len(records) // 2]
    rng.shuffle(again)
    for record in again:
        other.accept(record)
    assert one.root() == other.root()
    for key in (b"a", b"b", b"c"):
        assert one.store.get("rd", key) == other.store.get("rd", key)
    assert Home(disk=one.disk).root() == one.root()
