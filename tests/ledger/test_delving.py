"""A head that is larger than what anybody mirrors, of a history that its log shows to some."""

import itertools
from dataclasses import replace

import pytest
from forking import Branch, log_key
from hypothesis import given, settings
from hypothesis import strategies as st
from trial import Trial

from waypost.ledger.delving import HEADS_MAX, TRIES_MAX, Delving, Doubt, consistency, tiles_between
from waypost.ledger.peaks import Place
from waypost.ledger.questions import Call, Reply
from waypost.ledger.tiles import WIDTH, Tile
from waypost.ledger.tree import Tree

ANNA = "waypost/anna"
ROUND_S = 10.0


def entries(number: int, salt: bytes = b"") -> list[bytes]:
    return [b"%d" % index + salt for index in range(number)]


def fork(common: int, one: int, other: int) -> tuple[Branch, Branch]:
    return Branch(entries(one)), Branch(entries(common) + entries(other, b"!")[common:])


def tile_of(tree: Tree, call: Call) -> Reply:
    tile = Tile.decode(call.path)
    if not tile.is_within(tree.size):
        return Reply(404)
    return Reply(200, tree.tile(tile.level, tile.index, tile.width))


def gets(trial: Trial) -> list[Call]:
    return [call for _, call in trial.asked if call.method == "GET"]


def serve(trial: Trial, tree: Tree, *, gone: str = "-") -> int:
    """Anna's node answers, as long as it is asked: how often it was.  Partial tiles of that folder are gone."""
    count = 0
    while calls := [(id, call) for id, call in trial.asked if call.method == "GET"]:
        for id, call in calls:
            assert call.node == "anna"
            trial.asked.remove((id, call))
            is_gone = ".p/" in call.path and call.path.startswith(gone)
            reply = Reply(404) if is_gone else tile_of(tree, call)
            assert trial.court.answered(id, reply, trial.now)
            count += 1
        trial.settle()
    return count


def waiting(one: Branch, other: Branch) -> Trial:
    """All of one history is here, and a larger head was seen."""
    return Trial().mirror(one).see(one.head(), other.head())


@settings(deadline=None)
@given(st.integers(1, 1_200), st.data())
def test_a_proof_is_made_of_the_tiles_that_are_asked_for(size: int, data: st.DataObject) -> None:
    tree = Tree()
    tree.extend(entries(size + 1))
    old = data.draw(st.integers(1, size))
    held = {tile: tree.tile(tile.level, tile.index, tile.width) for tile in tiles_between(old, size + 1)}

    def node(level: int, index: int) -> bytes:
        place = Place(level, index)
        return place.root(held[place.tile(size + 1)])

    assert consistency(old, size + 1, node) == tree.consistency(old)


def test_few_tiles_are_asked_for_however_large_the_log_is() -> None:
    assert len(tiles_between(33_333, 70_000)) == 4
    assert len(tiles_between((1 << 40) - 1, (1 << 41) + 12_345)) <= 12


@pytest.mark.parametrize("size", [9, 16, 300, 512])
def test_a_log_is_shown_by_its_own_tiles(size: int) -> None:
    """NO-LONE-DEFECTOR; of a size that is a power of two, no proof that a witness gets says where the head begins."""
    one, other = fork(3, size, 700)
    trial = waiting(one, other)
    for _ in range(2):
        assert gets(trial) == []
        trial.pass_time(ROUND_S)
    assert serve(trial, other.tree) == len(tiles_between(size, 700))
    assert trial.faults() == [("inconsistent growth", ANNA)]
    assert trial.is_frozen(ANNA, size)
    assert trial.court.false == {}


def test_an_honest_log_that_is_mirrored_late_is_shown_to_be_nothing() -> None:
    branch = Branch(entries(700))
    trial = waiting(Branch(branch.entries[:300]), branch)
    for _ in range(10):
        trial.pass_time(ROUND_S)
        serve(trial, branch.tree)
    assert trial.faults() == []
    assert trial.court.counters()["ledger_court_dropped"] == 0


def test_nothing_is_asked_if_the_copy_has_grown_meanwhile() -> None:
    branch = Branch(entries(700))
    trial = waiting(Branch(branch.entries[:300]), branch).pass_time(ROUND_S)
    trial.mirror(branch)
    for _ in range(5):
        assert gets(trial.pass_time(ROUND_S)) == []
    assert trial.court.next_timer() is None


@pytest.mark.parametrize("status", [200, 404, 503, None])
def test_what_does_not_connect_shows_nothing_and_is_tried_few_times(status: int | None) -> None:
    one, other = fork(3, 9, 700)
    trial, count = waiting(one, other), 0
    for _ in range(4 * TRIES_MAX):
        trial.pass_time(ROUND_S)
        if status == 200:
            count += bool(serve(trial, Branch(entries(700, b"?")).tree))
        else:
            count += len(gets(trial))
            while gets(trial):
                trial.reply(status)
    assert count == TRIES_MAX
    assert trial.faults() == []
    assert trial.court.counters()["ledger_court_dropped"] == 0
    assert trial.court.next_timer() is None


def test_a_tile_of_another_width_is_thrown_away() -> None:
    trial = waiting(*fork(3, 9, 700)).pass_time(ROUND_S).pass_time(ROUND_S)
    ((id, call),) = trial.asked
    trial.asked = []
    assert Tile.decode(call.path).width <= WIDTH
    assert trial.court.answered(id, Reply(200, bytes(32)), trial.now)
    assert trial.settle().asked == []


@pytest.mark.parametrize(("gone", "more"), [("tile/", 70_000), ("tile/0/", 100)])
def test_a_full_tile_does_where_the_partial_one_is_gone(gone: str, more: int) -> None:
    """And nowhere else: another may not be full yet."""
    one, other = fork(3, 600, 700)
    trial = waiting(one, other).pass_time(ROUND_S).pass_time(ROUND_S)
    grown = Branch([*other.entries, *entries(more, b"more")])
    assert serve(trial, grown.tree, gone=gone) > len(tiles_between(600, 700))
    assert trial.faults() == [("inconsistent growth", ANNA)]


def test_what_comes_meanwhile_puts_nothing_off() -> None:
    one, other = fork(3, 9, 700)
    trial = waiting(one, other)
    for size in range(1, 5):
        trial.pass_time(ROUND_S / 2).see(one.head(size))
    assert len(gets(trial)) == 1


def test_what_was_tried_is_forgotten_at_last() -> None:
    one, other = fork(3, 9, 700)
    delving = Delving(itertools.count())
    doubts = [Doubt("anna", one.log.key, one.head(), other.head(100 + number)) for number in range(HEADS_MAX + 1)]
    assert all(delving.doubt(doubt) for doubt in doubts)
    assert delving.doubt(doubts[0])
    assert delving.take_effects() == []
    assert delving.doubt(doubts[-1])
    assert len(delving.take_effects()) == 1


def test_a_node_is_asked_one_thing_at_a_time() -> None:
    one, other = fork(3, 9, 700)
    trial = waiting(one, other).see(other.head(500), other.head(600))
    for _ in range(5):
        trial.pass_time(ROUND_S)
    assert len(gets(trial)) == 1
    serve(trial, other.tree)
    assert trial.faults() == [("inconsistent growth", ANNA)]


def test_nobody_is_asked_about_a_log_that_is_frozen_or_is_no_nodes() -> None:
    one, other = fork(3, 9, 700)
    trial = waiting(one, other).see(Branch(entries(9, b"?")).head())
    assert trial.faults() == [("same size", ANNA)]
    trial.reply(200)
    for _ in range(5):
        assert trial.pass_time(ROUND_S).asked == []
    log = log_key("example.org/log")
    trial = Trial(noted=lambda notary: replace(notary, witnessed=(log.key,)))
    trial.logs.strangers[log.key.name] = log.key
    trial.mirror(Branch(one.entries, log)).see(Branch(one.entries, log).head(), Branch(other.entries, log).head())
    for _ in range(5):
        assert trial.pass_time(ROUND_S).asked == []
