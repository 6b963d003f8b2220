"""Tiles: their names, their widths, and what is in a bundle."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import WireError
from waypost.ledger.tiles import ENTRIES, ENTRY_MAX, WIDTH, Tile, bundles, decode_bundle, encode_bundle, tiles

anywhere = st.builds(Tile, st.integers(ENTRIES, 7), st.integers(0, (1 << 55) - 1), st.integers(1, WIDTH))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),  # C2SP tlog-tiles: the example
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(1, 999, 256), "tile/1/999"),
        (Tile(1, 1_000, 256), "tile/1/x001/000"),
        (Tile(2, 273, 1), "tile/2/273.p/1"),
        (Tile(7, 5, 255), "tile/7/005.p/255"),
        (Tile(ENTRIES, 1_234_067, 112), "tile/entries/x001/x234/067.p/112"),
    ],
)
def test_a_tile_has_one_name(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.decode(path) == tile


@settings(deadline=None)
@given(anywhere)
def test_a_tile_is_read_from_its_name(tile: Tile) -> None:
    assert Tile.decode(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/1",
        "tile/0/0001",
        "tile/0/x000/001",  # one group would do
        "tile/0/x001/x000/x000/000/",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/8/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",  # that is the full one
        "tile/0/000.p/257",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/data/000",
        "tile/0/x001/x001/x001/x001/x001/x001/000",
        "tile/0/٠٠١",  # digits, but not ASCII ones
        "tile/0/000\n",
        "/tile/0/000",
        "tile/0/../0/000",
    ],
)
def test_any_other_name_is_refused(path: str) -> None:
    with pytest.raises(WireError):
        Tile.decode(path)


def widths(found: list[Tile]) -> Counter[tuple[int, int]]:
    return Counter((tile.level, tile.width) for tile in found)


def test_a_log_of_70_000_has_the_tiles_of_the_notes() -> None:
    """C2SP tlog-tiles, the example."""
    assert widths(list(tiles(0, 70_000))) == {(0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}
    assert widths(list(bundles(0, 70_000))) == {(ENTRIES, 256): 273, (ENTRIES, 112): 1}


@settings(deadline=None)
@given(st.integers(0, 140_000), st.integers(0, 70_000))
def test_what_a_follower_lacks_is_every_tile_that_was_not_there_before(old: int, more: int) -> None:
    new = old + more
    before, after = {*tiles(0, old), *bundles(0, old)}, {*tiles(0, new), *bundles(0, new)}
    lacking = [*tiles(old, new), *bundles(old, new)]
    assert len(lacking) == len(set(lacking))
    assert set(lacking) == after - before


def test_nothing_is_lacking_of_a_log_that_did_not_grow() -> None:
    assert list(tiles(70_000, 70_000)) == list(bundles(70_000, 70_000)) == []
    assert list(tiles(70_000, 69_000)) == list(bundles(70_000, 69_000)) == []


@pytest.mark.parametrize(
    ("tile", "size"),
    [
        (Tile(0, 0, 1), 1),
        (Tile(0, 1, 256), 512),
        (Tile(0, 1, 7), 263),
        (Tile(1, 0, 1), 256),
        (Tile(1, 0, 256), 65_536),
        (Tile(2, 0, 1), 65_536),
        (Tile(ENTRIES, 1, 7), 263),
    ],
)
def test_a_log_has_a_tile_from_its_last_hash_on(tile: Tile, size: int) -> None:
    assert tile.is_within(size)
    assert tile.is_within(size + 1_000_000)
    assert not tile.is_within(size - 1)


def test_a_partial_tile_gives_way_to_the_full_one() -> None:
    assert Tile(1, 5, 17).full == Tile(1, 5, WIDTH)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=WIDTH))
def test_a_bundle_survives_the_wire(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), len(entries)) == entries


def test_an_entry_has_a_length_of_two_octets() -> None:
    assert encode_bundle([b"", b"ab"]) == b"\x00\x00\x00\x02ab"
    assert len(encode_bundle([bytes(ENTRY_MAX)])) == ENTRY_MAX + 2
    with pytest.raises(OverflowError):
        encode_bundle([bytes(ENTRY_MAX + 1)])


@pytest.mark.parametrize(
    ("data", "width"),
    [(b"", 1), (b"\x00", 1), (b"\x00\x01", 1), (b"\x00\x00\x00\x00", 1), (b"\x00\x00", 2), (b"\x00\x00", 0)],
)
def test_a_bundle_has_as_many_entries_as_its_name_says(data: bytes, width: int) -> None:
    with pytest.raises(WireError):
        decode_bundle(data, width)


@settings(deadline=None)
@given(st.binary(max_size=600), st.integers(0, WIDTH))
def test_any_octets_are_a_bundle_exactly_or_raise_wire_error(data: bytes, width: int) -> None:
    try:
        entries = decode_bundle(data, width)
    except WireError:
        return
    assert encode_bundle(entries) == data
