"""How large a record may be: counted in octets of its spelling, whatever characters are in it.  Notes on DRiP, 4.2."""

import pytest

from waypost.errors import WireError
from waypost.record import RECORD_MAX, Cited, Matter, Record, Stamp
from waypost.record.record import CITED_MAX, SURELY_FITS
from waypost.record.vote import NEVER, to_sign
from waypost.record.wire import signed_bytes

KEY = "ab" * 32


def record(value: str, key: str = "lamp", cites: tuple[Cited, ...] = ()) -> Record:
    return Record("names", key, 1, "", KEY, "n" * 63, value, KEY, Stamp(0, 0), "0" * 32, cites, KEY * 2, KEY * 2)


@pytest.mark.parametrize("character", ["x", "\0", "\U0001f4a1", '"'])
def test_what_is_taken_without_a_look_fits(character: str) -> None:
    longest = record(character * SURELY_FITS, key='"' * 255)
    longest.require_sound()
    assert len(longest.encode()) <= RECORD_MAX


@pytest.mark.parametrize("character", ["x", "\0", "\U0001f4a1", '"'])
def test_what_is_one_octet_too_long_is_refused(character: str) -> None:
    octets = len(record(character).encode()) - len(record("").encode())
    whole, rest = divmod(RECORD_MAX - len(record("").encode()), octets)
    record(character * whole + "x" * rest).require_sound()
    with pytest.raises(WireError, match="octets at most"):
        record(character * whole + "x" * (rest + 1)).require_sound()


def test_what_it_cites_counts() -> None:
    cites = tuple(Cited("n" * 64, "\U0001f4a1" * 255, 2**53 - 1 - number) for number in range(CITED_MAX))
    value = "x" * (RECORD_MAX - len(record("", cites=cites).encode()))
    record(value, cites=cites).require_sound()
    with pytest.raises(WireError, match="octets at most"):
        record(value + "x", cites=cites).require_sound()
    with pytest.raises(WireError, match="octets at most"):
        record("\0" * SURELY_FITS, cites=cites).require_sound()


def test_a_mark_signs_the_one_spelling_of_what_it_says() -> None:
    matter = Matter.of(record("on", key='a "key"'), NEVER, KEY)
    said = {"counter": 7, "incarnation": 3, "matter": matter, "voter": "anna"}
    assert to_sign(matter, "anna", 3, 7, KEY) == signed_bytes("vote", KEY, said)
