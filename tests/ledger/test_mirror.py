"""Mirrors of others' logs, call by call: nothing is kept that does not have the root of a head that was signed."""

from collections.abc import Callable
from hashlib import sha256

import pytest
from mirroring import History, Stop, Story, digest_of, entries

from waypost.engine import Commit, Put
from waypost.ledger.mirror import READ_MAX, RETRY_S, UNDER_WAY_MAX, Mirror
from waypost.ledger.questions import Reply
from waypost.ledger.tiles import encode_bundle
from waypost.ledger.transfer import CHUNK_BUNDLES


def counted(wrong: int = 0, missing: int = 0, damaged: int = 0) -> dict[str, int]:
    return {"ledger_mirror_wrong": wrong, "ledger_mirror_missing": missing, "ledger_mirror_damaged": damaged}


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000, 256 * CHUNK_BUNDLES + 1, 70_000])
def test_a_log_of_any_size_is_mirrored_whole(count: int) -> None:
    berta = History("berta", entries(count))
    story = Story(berta)
    story.follow(berta.head())
    assert story.holds(berta)
    assert story.mirror.root_at(berta.origin, count) == berta.head().root
    assert story.mirror.root_at(berta.origin, count + 1) is None


def test_what_is_mirrored_is_not_fetched_again() -> None:
    berta = History("berta", entries(1000))
    story = Story(berta)
    story.follow(berta.head())
    before = len(berta.calls)
    berta.grow(entries(30, 1000))
    story.follow(berta.head())
    assert story.holds(berta)
    assert berta.calls[before:] == ["tile/entries/003", "tile/entries/004.p/6"]
    story.follow(berta.head())
    assert len(berta.calls) == before + 2


def test_a_mirror_goes_on_after_a_restart_where_it_was() -> None:
    berta = History("berta", entries(10_000))
    story = Story(berta)
    story.heads[berta.origin] = berta.head()
    story.mirror.follow(0.0)
    story.run(steps=15)  # one chunk and something
    story.disk.cut_power()
    story.start()
    size = story.mirror.size(berta.origin)
    assert size == 256 * CHUNK_BUNDLES
    berta.calls.clear()
    story.follow(berta.head())
    assert story.holds(berta)
    assert berta.calls[0] == f"tile/entries/{CHUNK_BUNDLES:03}"


def test_what_is_written_at_once_has_a_limit() -> None:
    berta = History("berta", [bytes(60_000) for _ in range(1024)])
    story = Story(berta)
    story.follow(berta.head())
    assert story.holds(berta)
    assert story.most_written < 16 << 20


@pytest.mark.parametrize("count", [300, 5000])
def test_a_wrong_entry_is_not_kept(count: int) -> None:
    berta = History("berta", entries(count))
    liar = History("berta", [*entries(200), b"another", *entries(count - 201, 201)])
    story = Story(berta)
    story.nodes["berta"] = liar.serve
    story.follow(berta.head())
    assert story.mirror.size(berta.origin) == 0
    assert story.disk.files == {}
    assert story.mirror.counters()["ledger_mirror_wrong"] == 1
    story.nodes["berta"] = berta.serve
    story.wait(RETRY_S)
    assert story.holds(berta)


def test_a_wrong_tile_of_hashes_lets_nothing_be_kept() -> None:
    berta = History("berta", entries(9000))
    story = Story(berta)

    def lie(path: str) -> Reply:
        reply = berta.serve(path)
        return reply if "entries" in path else Reply(reply.status, bytes(len(reply.body)))

    story.nodes["berta"] = lie
    story.follow(berta.head())
    assert story.mirror.size(berta.origin) == 0
    assert story.mirror.counters()["ledger_mirror_wrong"] == 1


def test_a_tile_of_hashes_has_the_width_that_its_name_says() -> None:
    berta = History("berta", entries(9000))
    story = Story(berta)

    def add(path: str) -> Reply:
        reply = berta.serve(path)
        return reply if "entries" in path else Reply(reply.status, reply.body + bytes(32))

    story.nodes["berta"] = add
    story.follow(berta.head())
    assert story.mirror.size(berta.origin) == 0
    assert story.mirror.counters()["ledger_mirror_wrong"] == 1


@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff\xff", bytes(8192), bytes(8193), encode_bundle(entries(257))])
def test_octets_that_are_no_bundle_are_counted(body: bytes) -> None:
    berta = History("berta", entries(300))
    story = Story(berta)
    story.nodes["berta"] = lambda path: Reply(200, body)
    story.follow(berta.head())
    assert story.mirror.size(berta.origin) == 0
    assert story.mirror.counters() == counted(wrong=1)


def test_another_mirror_is_asked_when_the_node_is_silent() -> None:
    berta = History("berta", entries(5000))
    story = Story(berta, others=("carla", "dora"))
    below = f"mirror/{digest_of(berta)}/"
    story.nodes["berta"] = lambda path: None
    story.nodes["dora"] = lambda path: berta.serve(path.removeprefix(below)) if path.startswith(below) else None
    story.follow(berta.head())
    assert story.holds(berta)
    assert [call.node for call in story.asked[:3]] == ["berta", "carla", "dora"]
    assert {call.node for call in story.asked[3:]} == {"dora"}, "who has it is asked for the rest"
    assert story.mirror.counters()["ledger_mirror_missing"] == 2


def test_another_mirror_is_asked_when_the_node_lies() -> None:
    berta = History("berta", entries(500))
    story = Story(berta, others=("carla",))
    story.nodes["berta"] = History("berta", entries(500, 1)).serve
    story.nodes["carla"] = lambda path: berta.serve(path.partition("/")[2].partition("/")[2])
    story.follow(berta.head())
    assert story.holds(berta)
    assert story.mirror.counters()["ledger_mirror_wrong"] == 1


def test_who_is_silent_is_asked_again_less_and_less_often() -> None:
    berta = History("berta", entries(5))
    story = Story(berta)
    story.nodes.clear()
    story.follow(berta.head())
    for _ in range(20):
        story.follow(berta.head())
    assert len(story.asked) == 1
    for _ in range(600):
        story.wait(6.0)
    assert 5 < len(story.asked) < 15


def test_a_partial_tile_that_is_gone_is_found_in_the_full_one() -> None:
    berta = History("berta", entries(1000))
    head = berta.head(300)
    berta.grow(entries(1000, 1000))
    berta.gone = {"tile/entries/001.p/44"}
    story = Story(berta)
    story.follow(head)
    assert story.mirror.size(berta.origin) == 300
    assert berta.calls[-2:] == ["tile/entries/001.p/44", "tile/entries/001"]
    assert story.mirror.counters() == counted()


def test_a_partial_tile_of_hashes_that_is_gone_is_found_in_the_full_one() -> None:
    berta = History("berta", entries(70_000))
    head = berta.head(5000)
    berta.gone = {"tile/0/019.p/136", "tile/1/000.p/19"}
    story = Story(berta)
    story.follow(head)
    assert story.mirror.size(berta.origin) == 5000
    assert {"tile/0/019", "tile/1/000"} <= set(berta.calls)


def test_a_frozen_origin_is_followed_no_further() -> None:
    berta = History("berta", entries(300))
    story = Story(berta)
    story.follow(berta.head())
    berta.grow(entries(300, 300))
    story.frozen[berta.origin] = Stop(200)
    asked = len(story.asked)
    story.follow(berta.head())
    assert story.mirror.size(berta.origin) == 300
    assert len(story.asked) == asked


def test_of_a_frozen_origin_is_served_what_lies_below() -> None:
    berta = History("berta", entries(700))
    story = Story(berta)
    story.follow(berta.head(300))
    story.follow(berta.head())
    story.frozen[berta.origin] = Stop(600)
    serve, digest = story.mirror.serve, digest_of(berta)
    assert serve(digest, "tile/entries/001").body == encode_bundle(berta.entries[256:512])
    assert serve(digest, "tile/0/002.p/88").body == berta.tree.tile(0, 2, 88)
    assert serve(digest, "tile/1/000.p/2").status == 200
    for path in ("tile/entries/002.p/89", "tile/0/002.p/188"):
        assert serve(digest, path).status == 403
    assert serve(digest, "checkpoint").status == 404, "the head that is whole here is above"


def test_a_freeze_ends_a_transfer() -> None:
    berta = History("berta", entries(9000))
    story = Story(berta)
    story.heads[berta.origin] = berta.head()
    story.mirror.follow(0.0)
    story.run(steps=3)
    story.frozen[berta.origin] = Stop(10)
    story.run()
    assert story.mirror.size(berta.origin) == 0


def test_a_mirror_serves_what_it_has() -> None:
    berta = History("berta", entries(1000))
    story = Story(berta)
    story.follow(berta.head())
    serve, digest = story.mirror.serve, digest_of(berta)
    assert serve(digest, "checkpoint").body == berta.head().note.encode()
    for path in ("tile/entries/000", "tile/entries/003.p/232", "tile/entries/003.p/1", "tile/0/003.p/232"):
        assert serve(digest, path) == Reply(200, berta.serve(path).body, "application/octet-stream")
    for path in ("tile/entries/003.p/233", "tile/entries/004", "tile/0/x", "", "keys", "tile/entries/000/"):
        assert serve(digest, path).status == 404
    assert serve("00" * 32, "checkpoint").status == 404


def test_a_head_is_served_once_all_of_it_is_there() -> None:
    berta = History("berta", entries(9000))
    story = Story(berta)
    story.heads[berta.origin] = berta.head()
    story.mirror.follow(0.0)
    story.run(steps=25)
    assert story.mirror.size(berta.origin) > 0
    assert story.mirror.serve(digest_of(berta), "checkpoint").status == 404
    story.run()
    assert story.mirror.serve(digest_of(berta), "checkpoint").body == berta.head().note.encode()
    story.start()
    assert story.mirror.serve(digest_of(berta), "checkpoint").body == berta.head().note.encode()


def test_nothing_is_served_that_is_not_on_the_disk() -> None:
    berta = History("berta", entries(300))
    story = Story(berta)
    story.is_slow = True
    story.follow(berta.head())
    serve, digest = story.mirror.serve, digest_of(berta)
    assert story.mirror.size(berta.origin) == 300
    assert {serve(digest, path).status for path in ("checkpoint", "tile/entries/000", "tile/0/001.p/44")} == {404}
    story.finish()
    assert {serve(digest, path).status for path in ("checkpoint", "tile/entries/000", "tile/0/001.p/44")} == {200}


def test_few_logs_are_fetched_at_once_and_all_in_turn() -> None:
    histories = [History(f"node{number}", entries(600)) for number in range(3 * UNDER_WAY_MAX)]
    story = Story(*histories)
    story.heads.update({history.origin: history.head() for history in histories})
    story.mirror.follow(0.0)
    story.carry_out()
    assert len(story.waiting) == UNDER_WAY_MAX
    story.run()
    assert all(story.holds(history) for history in histories)


def test_what_was_checked_is_given_to_be_read_a_few_at_a_time() -> None:
    berta = History("berta", entries(5000))
    story = Story(berta)
    story.follow(berta.head())
    assert [entry for _, some in story.read for _, entry in some] == berta.entries
    assert {origin for origin, _ in story.read} == {berta.origin}
    assert [index for _, some in story.read for index, _ in some] == list(range(5000))
    assert max(len(some) for _, some in story.read) == READ_MAX
    assert story.mirror.take_read() == []
    assert story.mirror.next_timer() is None


def test_of_what_nobody_reads_it_is_told_that_it_is_there() -> None:
    berta = History("berta", [*entries(700), b"read me", *entries(4000)])
    story = Story(berta, read=(b"read ", b"and "))
    story.follow(berta.head())
    assert story.holds(berta)
    assert story.read == [(berta.origin, [(700, b"read me")]), *[(berta.origin, [])] * 2], "once for each chunk"
    story.start()
    story.run()
    assert story.read[3:] == [(berta.origin, [])]


def test_no_more_is_fetched_of_a_log_than_is_read() -> None:
    berta = History("berta", entries(10_000))
    story = Story(berta)
    story.reads = False
    story.follow(berta.head())
    assert story.mirror.size(berta.origin) == 256 * CHUNK_BUNDLES
    assert story.mirror.next_timer() == story.now, "there is something to read"
    story.reads = True
    story.run()
    assert story.holds(berta)


def test_what_may_not_have_been_read_is_given_again_after_a_restart() -> None:
    berta = History("berta", entries(3000))
    story = Story(berta)
    story.reads = False
    story.follow(berta.head())
    story.mirror.take_read()
    story.disk.cut_power()
    story.start()
    story.reads = True
    story.follow(berta.head())
    assert [entry for _, some in story.read for _, entry in some] == berta.entries
    story.read.clear()
    story.start()
    story.run()
    assert [entry for _, some in story.read for _, entry in some] == berta.entries[256 * CHUNK_BUNDLES :]


# What the disk damages.


def mirrored(count: int) -> tuple[Story, History]:
    """After a restart, so that nothing is in memory but what has to be."""
    berta = History("berta", entries(count))
    story = Story(berta)
    story.follow(berta.head())
    story.start()
    story.run()
    berta.calls.clear()
    return story, berta


def damage(story: Story, tile: str, berta: History) -> None:
    story.disk.files[f"tiles/mirror/{digest_of(berta)}/{tile}"] = b"damaged"


@pytest.mark.parametrize("tile", ["tile/entries/001", "tile/0/001"])
def test_a_copy_that_turns_out_to_be_damaged_is_fetched_again(tile: str) -> None:
    story, berta = mirrored(3000)
    damage(story, tile, berta)
    assert story.mirror.serve(digest_of(berta), f"{tile}.p/3").status == 503
    assert story.mirror.serve(digest_of(berta), "tile/entries/000").status == 200, "what is whole is served"
    assert story.mirror.tree(berta.origin) is None
    story.follow(berta.head())
    assert story.holds(berta)
    assert len([path for path in berta.calls if "entries" in path]) == 12
    assert story.mirror.counters() == counted(damaged=1)
    story.start()
    story.run()
    assert story.holds(berta)
    assert story.mirror.serve(digest_of(berta), "checkpoint").status == 200


def test_whoever_asks_a_damaged_copy_is_told_that_there_is_none() -> None:
    asks: list[Callable[[Mirror, str], object]] = [
        lambda mirror, origin: mirror.root_at(origin, 300),
        lambda mirror, origin: mirror.entries(origin, 300, 310) or None,
    ]
    for ask in asks:
        story, berta = mirrored(3000)
        assert ask(story.mirror, berta.origin) is not None
        story, berta = mirrored(3000)
        damage(story, "tile/0/001", berta)
        assert ask(story.mirror, berta.origin) is None
        assert story.mirror.counters() == counted(damaged=1)
        story.follow(berta.head())
        assert ask(story.mirror, berta.origin) is not None


@pytest.mark.parametrize("row", [b"size", bytes(2), b"/head"])
def test_a_copy_that_is_damaged_at_the_start_is_fetched_again(row: bytes) -> None:
    story, berta = mirrored(3000)
    key = sha256(berta.origin.encode()).digest() + row
    value = story.disk.get("ledger_mirror", key)
    assert value is not None
    story.disk.begin([Commit(puts=(Put("ledger_mirror", key, b"\xff" + value[1:]),))])
    story.disk.finish()
    story.start()
    assert story.mirror.counters() == counted(damaged=1)
    story.follow(berta.head())
    assert story.holds(berta)


def test_a_transfer_to_a_damaged_copy_is_given_up() -> None:
    story, berta = mirrored(3000)
    berta.grow(entries(3000, 3000))
    story.heads[berta.origin] = berta.head()
    story.mirror.follow(story.now)
    story.run(steps=2)
    damage(story, "tile/entries/001", berta)
    assert story.mirror.entries(berta.origin, 300, 301) == []
    story.run()
    assert story.holds(berta)


def test_a_damaged_copy_is_kept_where_nobody_can_give_another_or_it_is_frozen() -> None:
    spoils: list[Callable[[Story, History], None]] = [
        lambda story, berta: story.logs.known.clear(),
        lambda story, berta: story.frozen.update({berta.origin: Stop(2000)}),
    ]
    for spoil in spoils:
        story, berta = mirrored(3000)
        spoil(story, berta)
        damage(story, "tile/entries/001", berta)
        assert story.mirror.serve(digest_of(berta), "tile/entries/001").status == 503
        story.follow(berta.head())
        assert story.mirror.size(berta.origin) == 3000
        assert story.mirror.serve(digest_of(berta), "tile/entries/000").status == 200
        assert story.mirror.serve(digest_of(berta), "tile/entries/001").status == 503
        assert story.mirror.counters() == counted(damaged=1)
        assert berta.calls == []


def test_a_copy_that_was_given_up_is_so_after_a_crash() -> None:
    story, berta = mirrored(3000)
    damage(story, "tile/entries/001", berta)
    assert story.mirror.entries(berta.origin, 300, 301) == []
    story.heads[berta.origin] = berta.head()
    story.mirror.follow(story.now)
    story.carry_out()
    story.disk.cut_power()
    story.start()
    assert story.mirror.size(berta.origin) == 0
    assert story.mirror.counters() == counted()
    story.follow(berta.head())
    assert story.holds(berta)


def test_a_log_of_nobody_in_the_network_is_not_followed() -> None:
    berta = History("berta", entries(10))
    story = Story()
    story.follow(berta.head())
    assert story.asked == []


def test_answers_to_others_questions_are_left_to_them() -> None:
    assert not Story().mirror.answered(7, Reply(200), 0.0)
