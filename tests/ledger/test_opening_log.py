"""Whether a node may sign: what others have seen of its log, and what it takes back from them."""

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256

import pytest
from keeping import WALL_MS, Disk, Kept, notary

from waypost.engine import Apply, Ask, Commit, Put
from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.entry import Kind, decode
from waypost.ledger.log import NODE, Log
from waypost.ledger.opening import ASKING, LONE, RESTORED, RETRY_S, SIGNING, STARTING, WAIT_S, Opening
from waypost.ledger.questions import Call, Reply

DIGEST = sha256(b"waypost/anna").hexdigest()
NOT_FOUND = Reply(404)

Answering = Callable[[Call], Reply | None]


def nothing_known(_: Call) -> Reply | None:
    return NOT_FOUND


def silence(_: Call) -> Reply | None:
    return None


def slow(_: Call) -> Reply | None:
    """Its answer never comes."""
    raise TimeoutError


class Peer:
    """Who witnessed and mirrors a log as `kept` has it; `size`: of the head that it saw last."""

    def __init__(self, kept: Kept, head: Head | None = None) -> None:
        self.kept = kept
        assert kept.log.head is not None
        self.head = head or kept.log.head
        self.bent: dict[str, bytes] = {}
        self.paths: list[str] = []

    def __call__(self, call: Call) -> Reply | None:
        self.paths.append(call.path)
        if call.path == f"witness/{DIGEST}/checkpoint":
            return Reply(200, self.head.note.encode())
        path = call.path.removeprefix(f"mirror/{DIGEST}/")
        assert path != call.path
        data = self.bent.get(path) or self.kept.log.serve(path)
        return NOT_FOUND if data is None else Reply(200, data)


class Waking:
    """Anna's log on a disk, and who answers her."""

    def __init__(self, disk: Disk, **others: Answering) -> None:
        self.disk, self.others, self.now = disk, others, 100.0
        self.log = Log(notary(disk.read), read=(b"read ",))
        self.log.restore(disk)
        self.opening = Opening(notary(disk.read), self.log, iter(range(10**6)))
        self.opening.restore(disk, self.now)

    def start(self) -> "Waking":
        self.opening.set_members(self.others, self.now)
        return self.settle()

    def settle(self) -> "Waking":
        while effects := [*self.opening.take_effects(), *self.log.take_effects(WALL_MS, 0.0)]:
            for effect in effects:
                if isinstance(effect, Ask):
                    assert isinstance(effect.body, Call)
                    with suppress(TimeoutError):
                        answer = self.others[effect.body.node](effect.body)
                        assert self.opening.answered(effect.id, answer, self.now)
                else:
                    assert isinstance(effect, Commit)
                    self.carry_out(effect)
        for entry in self.opening.take_entries():
            self.log.add(entry)
        return self

    def carry_out(self, commit: Commit) -> None:
        self.disk.write(commit)
        for effect in commit.then:
            assert isinstance(effect, Apply)
            assert self.log.applied(effect.change)
            self.log.check()
            self.opening.follow(self.now)

    def wait(self, seconds: float) -> "Waking":
        """Until then, timer by timer."""
        until = self.now + seconds
        while (when := self.opening.next_timer()) is not None and when <= until:
            self.now = when
            self.opening.handle_timer(when)
            self.settle()
        self.now = until
        return self

    @property
    def state(self) -> str:
        assert self.log.may_sign == (self.opening.state == SIGNING)
        return self.opening.state

    def enter(self, *entries: bytes) -> None:
        for entry in entries:
            self.log.add(entry)
        self.settle()


def entries(number: int, start: int = 0) -> list[bytes]:
    return [b"entry %d" % number for number in range(start, start + number)]


def filled(number: int) -> Kept:
    kept = Kept()
    kept.enter(*entries(number))
    return kept


def older(kept: Kept) -> Disk:
    """The disk as it is now, to be put back later."""
    return copy.deepcopy(kept.disk)


def restored(disk: Disk) -> Disk:
    disk.write(Commit(puts=(Put(NODE, RESTORED, b"1"),)))
    return disk


def forked(disk: Disk, *more: bytes) -> Kept:
    kept = Kept(copy.deepcopy(disk))
    kept.enter(*more)
    return kept


def test_nothing_is_signed_before_it_is_known_who_the_others_are() -> None:
    waking = Waking(Disk())
    waking.enter(b"entry")
    assert (waking.state, waking.log.size) == (STARTING, 0)
    waking.start()
    assert (waking.state, waking.log.entry(0)) == (SIGNING, b"entry")


def test_a_node_that_is_alone_signs_at_once_and_says_so_in_its_log() -> None:
    waking = Waking(Disk()).start().settle()
    assert waking.state == SIGNING
    first = waking.log.entry(0)
    assert first is not None
    assert decode(first).kind == Kind.KEY
    assert b"\nopened\n" in first
    again = Waking(waking.disk).start().settle()
    assert (again.state, again.log.size) == (SIGNING, 1), "it is said once"


@pytest.mark.parametrize("size", [0, 300])
def test_one_answer_that_there_is_no_head_is_enough(size: int) -> None:
    disk = filled(size).disk if size else Disk()
    waking = Waking(disk, berta=slow, carla=nothing_known).start()
    waking.wait(0.9 * WAIT_S)
    assert waking.state == ASKING, "all that come in time are looked at"
    waking.wait(0.1 * WAIT_S)
    assert waking.state == SIGNING
    assert Waking(disk, berta=silence, carla=nothing_known).start().state == SIGNING, "no more will come"


def test_where_all_have_answered_nothing_is_waited_for() -> None:
    kept = filled(3)
    assert Waking(older(kept), berta=Peer(kept), carla=nothing_known).start().state == SIGNING


def test_while_nobody_answers_nothing_is_signed() -> None:
    waking = Waking(filled(3).disk, berta=silence, carla=silence).start()
    waking.enter(b"entry")
    waking.wait(20 * RETRY_S)
    assert (waking.state, waking.log.size) == (ASKING, 3)
    waking.others["berta"] = nothing_known
    waking.wait(RETRY_S + WAIT_S)
    assert (waking.state, waking.log.size) == (SIGNING, 4)


@pytest.mark.parametrize("reply", [Reply(500), Reply(403), Reply(200, b"no note"), Reply(200, b"")])
def test_what_is_no_answer_does_not_count_as_one(reply: Reply) -> None:
    waking = Waking(filled(3).disk, berta=lambda _: reply).start().wait(5 * RETRY_S)
    assert waking.state == ASKING


@pytest.mark.parametrize("name", ["berta", "eve"])
def test_a_head_of_another_log_is_no_answer(name: str) -> None:
    other = notary(Disk().read, name)
    head = sign_head(Checkpoint("waypost/anna", 9, bytes(32)), other.key, other.sign)
    waking = Waking(filled(3).disk, berta=lambda _: Reply(200, head.note.encode())).start().wait(RETRY_S)
    assert waking.state == ASKING
    assert waking.opening.counters()["ledger_opening_wrong"] == 2
    own = notary(Disk().read)
    stranger = sign_head(Checkpoint("waypost/other", 9, bytes(32)), own.key, own.sign)
    waking = Waking(filled(3).disk, berta=lambda _: Reply(200, stranger.note.encode())).start()
    assert waking.state == ASKING


def test_the_operators_word_takes_the_place_of_an_answer() -> None:
    waking = Waking(filled(3).disk, berta=silence).start()
    waking.opening.resume(waking.now)
    waking.settle().settle()
    assert waking.state == SIGNING
    assert b"\nresumed\n" in (waking.log.entry(3) or b"")


def test_a_disk_from_a_backup_asks_even_where_nobody_is() -> None:
    waking = Waking(restored(filled(3).disk)).start()
    assert waking.state == LONE
    waking.opening.resume(waking.now)
    waking.settle()
    assert waking.state == SIGNING
    assert Waking(waking.disk).start().state == SIGNING, "it is asked once"


def test_a_disk_from_a_backup_signs_after_an_answer() -> None:
    waking = Waking(restored(filled(3).disk), berta=nothing_known).start()
    assert waking.state == SIGNING
    assert waking.disk.get(NODE, RESTORED) is None


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300])
@pytest.mark.parametrize("lost", [1, 100, 256, 700])
def test_what_others_have_and_this_disk_has_lost_is_taken_back_first(size: int, lost: int) -> None:
    kept = filled(size)
    disk = older(kept)
    kept.enter(*entries(lost, size))
    waking = Waking(disk, berta=Peer(kept), carla=nothing_known)
    waking.enter(b"new")
    waking.start().wait(WAIT_S)
    assert waking.state == SIGNING
    assert waking.log.entries(0, size + lost + 1) == [*entries(size + lost), b"new"]
    again = Log(notary(disk.read))
    again.restore(disk)
    assert again.size == size + lost + 1


def test_much_is_taken_back_in_portions_that_leave_memory() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(*entries(20_000, 10))
    waking = Waking(disk, berta=Peer(kept)).start()
    assert (waking.state, waking.log.size) == (SIGNING, 20_010)
    assert waking.log.head == kept.log.head
    again = Kept(disk)
    assert again.log.entries(0, 20_010) == entries(20_010)


def test_until_all_is_back_the_log_on_disk_is_the_old_one() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(*entries(20_000, 10))
    peer = Peer(kept)
    calls = 0

    def ends(call: Call) -> Reply | None:
        nonlocal calls
        calls += 1
        return peer(call) if calls < 40 else None

    waking = Waking(disk, berta=ends).start()
    assert "20010 entries" in waking.state
    assert waking.log.adopted > 4_000
    assert waking.log.size == 10
    assert Kept(copy.deepcopy(disk)).log.size == 10, "a crash now loses nothing and signs nothing"
    waking.others["berta"] = peer
    waking.wait(RETRY_S)
    assert (waking.state, waking.log.size) == (SIGNING, 20_010)


def test_what_is_taken_back_is_given_to_be_read() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(*entries(3_000, 10), b"read me", *entries(3_000, 3_011))
    waking = Waking(disk, berta=Peer(kept)).start()
    assert waking.state == SIGNING
    assert waking.log.take_read() == [(3_010, b"read me")]


def test_a_mirror_that_alters_an_entry_gives_nothing_and_another_is_asked() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(*entries(5, 10))
    liar = Peer(kept)
    bundle = kept.log.serve("tile/entries/000.p/15")
    assert bundle is not None
    liar.bent["tile/entries/000.p/15"] = bundle.replace(b"entry 12", b"entry 13")
    waking = Waking(disk, berta=liar).start()
    assert waking.state != SIGNING
    assert waking.log.adopted == 10
    waking = Waking(disk, berta=liar, carla=Peer(kept)).start()
    assert (waking.state, waking.log.entry(12)) == (SIGNING, b"entry 12")


def test_a_mirror_that_has_full_tiles_alone_by_now_is_enough() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(*entries(290, 10))
    head = kept.log.head
    kept.enter(*entries(400, 300))
    whole = Peer(kept, head)

    def without_parts(call: Call) -> Reply | None:
        return NOT_FOUND if ".p/" in call.path and not call.path.endswith("002.p/188") else whole(call)

    waking = Waking(disk, berta=without_parts).start()
    assert (waking.state, waking.log.entries(0, 300)) == (SIGNING, entries(300))


def test_after_the_first_answer_the_others_are_not_waited_for_long() -> None:
    waking = Waking(filled(3).disk, berta=silence, carla=slow).start()
    waking.others["berta"] = nothing_known
    waking.wait(WAIT_S)
    assert waking.state == ASKING
    waking.wait(WAIT_S)
    assert waking.state == SIGNING


def test_the_largest_head_that_somebody_saw_counts() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(*entries(5, 10))
    smaller = Peer(Kept(older(kept)))
    kept.enter(*entries(5, 15))
    waking = Waking(disk, berta=smaller, carla=Peer(kept)).start()
    assert (waking.state, waking.log.size) == (SIGNING, 20)


def test_while_no_mirror_has_what_is_missing_nothing_is_signed_not_even_by_the_operators_word() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(*entries(5, 10))

    def witness_alone(call: Call) -> Reply | None:
        return Peer(kept)(call) if call.path.startswith("witness/") else NOT_FOUND

    waking = Waking(disk, berta=witness_alone, carla=silence).start().wait(WAIT_S)
    assert waking.state == "other nodes have seen 15 entries of this log, and 10 are here: the rest is asked for"
    waking.opening.resume(waking.now)
    waking.enter(b"new")
    assert (waking.state != SIGNING, waking.log.size) == (True, 10)
    waking.others["carla"] = Peer(kept)
    waking.wait(RETRY_S)
    assert (waking.state, waking.log.size) == (SIGNING, 16)


def test_while_others_are_waited_for_the_operators_word_is_not_enough_beside_a_larger_head() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(b"lost")
    waking = Waking(disk, berta=Peer(kept), carla=slow).start()
    waking.opening.resume(waking.now)
    waking.enter(b"new")
    assert (waking.state, waking.log.size) == (ASKING, 10)
    waking.wait(WAIT_S)
    assert waking.log.entries(10, 12) == [b"lost", b"new"]


@pytest.mark.parametrize("more", [0, 1, 300])
def test_a_head_that_contradicts_what_is_here_ends_it_for_good(more: int) -> None:
    before = filled(10)
    here, there = forked(before.disk, *entries(5 + more)), forked(before.disk, *entries(5, 100))
    waking = Waking(here.disk, berta=Peer(there), carla=nothing_known).start()
    assert waking.state == "another node has a head of this log, of size 15, that contradicts what is here"
    waking.opening.resume(waking.now)
    waking.enter(b"new")
    waking.wait(100.0)
    assert waking.state != SIGNING
    assert waking.log.size == 15 + more


def test_a_larger_head_of_another_history_is_never_signed_beside() -> None:
    before = filled(10)
    here, there = forked(before.disk, b"here"), forked(before.disk, *entries(300, 100))
    waking = Waking(here.disk, berta=Peer(there)).start().wait(1_000.0)
    assert waking.state.startswith("other nodes have seen 310 entries")
    assert waking.log.size == 11


def test_two_heads_of_one_size_end_it_for_good() -> None:
    before = filled(10)
    one, other = forked(before.disk, b"one"), forked(before.disk, b"other")
    waking = Waking(before.disk, berta=Peer(one), carla=Peer(other)).start()
    assert "size 11" in waking.state
    assert waking.log.size == 10


def test_a_smaller_head_of_another_history_is_found_after_the_rest_was_taken_back() -> None:
    before = filled(10)
    disk = older(before)
    lie = forked(before.disk, b"lie")
    before.enter(*entries(5, 10))
    waking = Waking(disk, berta=Peer(before), carla=Peer(lie)).start()
    assert "contradicts" in waking.state


class TestLater:
    """Heads of this log that come while it signs."""

    def test_one_that_it_signed_itself_changes_nothing(self) -> None:
        kept = filled(10)
        head = kept.log.head
        assert head is not None
        kept.enter(b"more")
        waking = Waking(kept.disk).start()
        waking.opening.hear(head, waking.now)
        assert waking.state == SIGNING

    def test_one_that_contradicts_stops_it(self) -> None:
        before = filled(10)
        lie = forked(before.disk, b"lie").log.head
        assert lie is not None
        before.enter(b"truth")
        waking = Waking(before.disk).start()
        waking.opening.hear(lie, waking.now)
        assert "contradicts" in waking.state

    def test_one_that_another_signed_changes_nothing(self) -> None:
        kept = filled(10)
        other = notary(Disk().read, "eve")
        lie = sign_head(Checkpoint("waypost/anna", 10, bytes(32)), other.key, other.sign)
        waking = Waking(kept.disk).start()
        waking.opening.hear(lie, waking.now)
        assert waking.state == SIGNING

    def test_an_answer_that_comes_late_is_looked_at_all_the_same(self) -> None:
        kept = filled(10)
        disk = older(kept)
        kept.enter(b"lost")
        assert kept.log.head is not None
        waking = Waking(disk, berta=silence)
        waking.opening.set_members(["berta"], waking.now)
        (ask,) = waking.opening.take_effects()
        assert isinstance(ask, Ask)
        waking.opening.resume(waking.now)
        assert waking.state == SIGNING
        waking.others["berta"] = Peer(kept)
        waking.opening.answered(ask.id, Reply(200, kept.log.head.note.encode()), waking.now)
        waking.settle()
        assert waking.log.entry(10) == b"lost"

    def test_a_larger_one_while_it_writes_is_compared_when_that_is_done(self) -> None:
        before = filled(10)
        there = forked(before.disk, *entries(5, 100)).log.head
        assert there is not None
        waking = Waking(before.disk, berta=nothing_known).start()
        waking.log.add(b"here")
        (commit,) = waking.log.take_effects(WALL_MS, 0.0)
        assert isinstance(commit, Commit)
        waking.opening.hear(there, waking.now)
        assert waking.state != SIGNING
        waking.carry_out(commit)
        waking.settle().wait(100.0)
        assert (waking.state != SIGNING, waking.log.size) == (True, 11)

    def test_evidence_against_it_is_the_end(self) -> None:
        waking = Waking(filled(10).disk, berta=silence).start()
        waking.opening.stop("there is evidence")
        waking.opening.resume(waking.now)
        waking.wait(100.0)
        assert waking.state == "there is evidence"


def test_of_a_head_that_others_cosigned_only_the_own_line_is_kept() -> None:
    kept = filled(10)
    disk = older(kept)
    kept.enter(b"lost")
    head = kept.log.head
    assert head is not None
    line = replace(head.note.lines[0], name="waypost/berta/witness")
    waking = Waking(disk, berta=Peer(kept, replace(head, note=head.note.signed(line)))).start()
    assert waking.state == SIGNING
    assert waking.log.head == head


def test_what_a_damaged_disk_cannot_be_compared_with_contradicts_nothing() -> None:
    kept = filled(200)
    peer = Peer(kept, kept.log.head)
    kept.enter(*entries(2_000, 200))
    waking = Waking(kept.disk, berta=peer)
    kept.disk.files["tiles/log/tile/0/000"] = b"damaged"
    waking.start()
    assert waking.opening.counters()["ledger_opening_contradicted"] == 0
    assert "tile/0/000" in waking.log.damage
    assert not waking.log.may_sign
