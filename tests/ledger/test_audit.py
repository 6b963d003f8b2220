"""Audits of a log of files, whole and followed, sound, damaged and rewritten.

The log of 70,000 has tiles on three levels: 273 full ones and 112 hashes, one full one and 17 hashes, one hash.
"""

import pytest
from shelf import KEY, Shelf, numbered, sign, verify

from waypost.errors import StoreError, WireError
from waypost.ledger.audit import AHEAD, FAULTS_MAX, Audit, edge
from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.tiles import bundles, tiles

EDGE = ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]


@pytest.fixture(scope="module")
def large() -> Shelf:
    return Shelf(numbered(70_000))


@pytest.fixture
def shelf(large: Shelf) -> Shelf:
    """The same, to be damaged."""
    copy = Shelf([])
    copy.tree, copy.files = large.tree, dict(large.files)
    return copy


def audit(shelf: Shelf, head: Head | None = None, seen: Head | None = None, *, whole: bool = False) -> Audit:
    auditing = Audit((head or shelf.head()).note.encode(), [KEY], verify, seen, whole=whole)
    while paths := auditing.wanted():
        assert len(paths) <= AHEAD
        for path in paths:
            auditing.took(path, shelf.get(path))
    return auditing


def test_a_sound_log_is_read_once_and_nothing_is_found(shelf: Shelf) -> None:
    found = audit(shelf)
    assert found.faults == []
    assert (found.entries, found.tiles) == (70_000, 277)
    assert sorted(shelf.read) == sorted(shelf.files)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 512, 700])
def test_a_log_of_any_size_is_sound(size: int) -> None:
    shelf = Shelf(numbered(size))
    found = audit(shelf)
    assert found.faults == []
    assert found.entries == size
    assert sorted(shelf.read) == sorted(shelf.files)


@pytest.mark.parametrize("path", ["tile/2/000.p/1", "tile/1/001.p/17", "tile/0/273.p/112"])
def test_damage_at_the_edge_gives_another_root(shelf: Shelf, path: str) -> None:
    shelf.flip(path, 5)
    found = audit(shelf)
    assert found.faults[0] == "the head has another root than its tiles: " + ", ".join(EDGE)
    assert path in found.faults[1]
    assert " do not fit: " in found.faults[1]
    assert len(found.faults) == 2


@pytest.mark.parametrize("path", ["tile/1/000", "tile/0/000", "tile/0/255", "tile/0/256", "tile/0/272"])
def test_a_damaged_tile_is_named(shelf: Shelf, path: str) -> None:
    shelf.flip(path, 8191)
    assert audit(shelf).faults == [f"{path} is damaged: it has another hash"]


def test_a_damaged_entry_is_named_with_its_bundle(shelf: Shelf) -> None:
    shelf.flip("tile/entries/272", 2 + 11 + 2)
    assert audit(shelf).faults == ["tile/entries/272 is damaged: entry 69633 is another one"]


def test_a_damaged_entry_of_the_last_bundle_is_named(shelf: Shelf) -> None:
    shelf.flip("tile/entries/273.p/112", 3)
    assert audit(shelf).faults == ["tile/entries/273.p/112 is damaged: entry 69888 is another one"]


def test_a_bundle_that_breaks_the_format_is_named(shelf: Shelf) -> None:
    shelf.files["tile/entries/007"] += b"x"
    (fault,) = audit(shelf).faults
    assert fault.startswith("tile/entries/007 is damaged: ")


def test_a_tile_of_another_length_is_named(shelf: Shelf) -> None:
    shelf.files["tile/0/007"] += bytes(32)
    assert audit(shelf).faults == ["tile/0/007 is damaged: it has 8224 octets"]


def test_what_is_missing_is_named_and_the_rest_is_read(shelf: Shelf) -> None:
    shelf.drop(["tile/0/007", "tile/entries/009"])
    found = audit(shelf)
    assert sorted(found.faults) == ["tile/0/007 is missing", "tile/entries/009 is missing"]
    assert found.entries == 70_000 - 512


def test_nothing_below_a_missing_edge_is_asked_for(shelf: Shelf) -> None:
    shelf.drop(["tile/2/000.p/1"])
    found = audit(shelf)
    assert found.faults == ["tile/2/000.p/1 is missing"]
    assert found.entries == 0


def test_faults_are_counted_past_the_ones_that_are_told(shelf: Shelf) -> None:
    shelf.drop([tile.path for tile in bundles(0, 70_000)])
    found = audit(shelf)
    assert len(found.faults) == FAULTS_MAX
    assert found.more == 274 - FAULTS_MAX


def test_partial_tiles_that_have_become_full_meanwhile_are_read_instead(shelf: Shelf) -> None:
    """C2SP tlog-tiles: a partial tile may be dropped once the full one is there."""
    larger = Shelf(numbered(131_072))
    larger.drop([path for path in larger.files if ".p/" in path and not path.startswith("tile/2/")])
    larger.files["tile/2/000.p/1"] = shelf.files["tile/2/000.p/1"]
    found = audit(larger, head=shelf.head())
    assert found.faults == []
    assert found.entries == 70_000
    assert "tile/0/273" in larger.read


@pytest.mark.parametrize("old", [1, 255, 256, 257, 65_536, 65_537, 69_888, 69_999])
def test_from_the_head_before_only_what_came_since_is_read(shelf: Shelf, old: int) -> None:
    found = audit(shelf, seen=shelf.head(old))
    assert found.faults == []
    assert found.entries == 70_000 - old // 256 * 256
    assert set(shelf.read) == {tile.path for tile in (*tiles(old, 70_000), *bundles(old, 70_000))} | set(EDGE)


def test_nothing_is_read_when_nothing_came(shelf: Shelf) -> None:
    found = audit(shelf, seen=shelf.head())
    assert found.faults == []
    assert shelf.read == []


def test_all_is_read_when_that_is_asked_for(shelf: Shelf) -> None:
    found = audit(shelf, seen=shelf.head(69_000), whole=True)
    assert found.faults == []
    assert found.entries == 70_000


@pytest.mark.parametrize("old", [1, 256, 300, 512, 513, 699])
@pytest.mark.parametrize("whole", [False, True])
def test_a_log_that_was_rewritten_does_not_begin_as_before(old: int, whole: bool) -> None:
    before, after = Shelf(numbered(700)), Shelf([b"other", *numbered(700)[1:]])
    found = audit(after, seen=before.head(old), whole=whole)
    assert found.faults == [f"the log was rewritten: it does not begin with the {old} entries that it had before"]


def test_a_log_that_is_only_damaged_is_not_said_to_be_rewritten(shelf: Shelf) -> None:
    shelf.flip("tile/1/001.p/17", 5)
    assert not [fault for fault in audit(shelf, seen=shelf.head(69_000)).faults if "rewritten" in fault]


def test_two_roots_of_one_size_are_told() -> None:
    before, after = Shelf(numbered(9)), Shelf([*numbered(8), b"other"])
    assert audit(after, seen=before.head()).faults == ["the log shows two roots for its 9 entries"]


def test_a_log_that_has_become_smaller_is_told(shelf: Shelf) -> None:
    found = audit(shelf, head=shelf.head(9), seen=shelf.head(10))
    assert found.faults == ["the log has 9 entries, and had 10 before"]
    assert shelf.read == []


def test_the_head_before_must_be_of_the_same_log(shelf: Shelf) -> None:
    other = sign_head(Checkpoint("log.example/other", 9, shelf.tree.root(9)), KEY, sign)
    (fault,) = audit(shelf, seen=other).faults
    assert fault == "this is a log of log.example/shelf, and what was seen before one of log.example/other"


def test_no_entries_have_one_root() -> None:
    wrong = sign_head(Checkpoint(KEY.name, 0, bytes(32)), KEY, sign)
    assert audit(Shelf([]), head=wrong).faults == ["the log has no entries, and not the root of none"]


def test_a_head_that_the_log_did_not_sign_is_not_audited(shelf: Shelf) -> None:
    stranger = Key(KEY.name, Algorithm.ED25519, b"1" * 32)
    with pytest.raises(WireError, match="not signed by the log"):
        Audit(shelf.head().note.encode(), [stranger], verify)


def test_what_was_not_asked_for_is_ignored(shelf: Shelf) -> None:
    auditing = Audit(shelf.head().note.encode(), [KEY], verify)
    auditing.took("tile/0/001", b"anything")
    assert auditing.faults == []
    assert auditing.wanted() == EDGE[::-1]
    assert auditing.wanted() == EDGE[::-1]


# A log that keeps full tiles alone.


def audit_disk(shelf: Shelf) -> Audit:
    shelf.drop(shelf.partial())
    auditing = Audit(shelf.head().note.encode(), [KEY], verify)
    made = edge(auditing.head, shelf.files.get)
    while paths := auditing.wanted():
        for path in paths:
            auditing.took(path, made.get(path) or shelf.files.get(path))
    return auditing


def test_the_edge_is_made_of_the_full_tiles(shelf: Shelf) -> None:
    expected = {path: shelf.files[path] for path in EDGE}
    shelf.drop(shelf.partial())
    assert edge(shelf.head(), shelf.files.get) == expected
    assert audit_disk(shelf).faults == []


@pytest.mark.parametrize("path", ["tile/1/000", "tile/0/255", "tile/0/272", "tile/entries/000", "tile/entries/272"])
def test_damage_is_named_also_where_the_edge_is_made_of_it(shelf: Shelf, path: str) -> None:
    shelf.flip(path, 5)
    (fault,) = audit_disk(shelf).faults
    assert fault.startswith(f"{path} is damaged: ")


def test_a_missing_tile_is_named_also_where_the_edge_is_made_of_it(shelf: Shelf) -> None:
    shelf.drop(["tile/0/272"])
    assert audit_disk(shelf).faults == ["tile/0/272 is missing"]


def test_a_tile_of_another_length_is_named_also_where_the_edge_is_made_of_it(shelf: Shelf) -> None:
    shelf.files["tile/0/272"] = shelf.files["tile/0/272"][:-1]
    assert audit_disk(shelf).faults == ["tile/0/272 is damaged: it has 8191 octets"]


def test_damage_of_a_tile_and_of_an_entry_elsewhere_is_told_in_pairs(shelf: Shelf) -> None:
    shelf.flip("tile/0/272", 5)
    shelf.flip("tile/entries/270", 5)
    faults = audit_disk(shelf).faults
    assert faults[0].startswith("the head has another root than its tiles: ")
    assert faults[1:] == [
        "tile/entries/270 and tile/0/270 do not fit: entry 69120 is another one",
        "tile/entries/272 and tile/0/272 do not fit: entry 69632 is another one",
    ]


@pytest.mark.parametrize("octets", [b"", b"\xff"])
def test_without_the_last_bundle_there_is_no_edge(shelf: Shelf, octets: bytes) -> None:
    shelf.files["tile/entries/273.p/112"] = octets
    with pytest.raises(StoreError, match=r"tile/entries/273\.p/112 is damaged: "):
        audit_disk(shelf)


def test_where_nothing_has_the_root_what_is_missing_is_named(shelf: Shelf) -> None:
    shelf.drop(["tile/0/272", "tile/entries/270"])
    faults = audit_disk(shelf).faults
    assert faults[0].startswith("the head has another root than its tiles: ")
    assert faults[1:] == ["tile/entries/270 is missing", "tile/0/272 is missing"]
