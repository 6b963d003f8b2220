"""Rosters: what a member may say of itself, who can read it, and how many members have room.  Notes on DRiP, 4.2."""

import base64
import zlib
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from older import old_reads

from waypost.errors import WireError
from waypost.record import Member, Policy, Roster, network_of, roster_in
from waypost.record.record import ROSTER_RECORD_MAX, Record
from waypost.record.roster import DETAILED, LEARNERS_MAX, PACKED, ROSTER_MAX, TLS_KEYS_MAX, first_record
from waypost.record.wire import encode

replace = msgspec.structs.replace
POLICY = Policy("0f" * 32, 0, ())


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def member(number: int, *, keys: int = 0) -> Member:
    name = f"node-{number:03}"
    plain = Member(
        name, 1_795_000_000 + 7_919 * number, digest(name), f"https://{name}.example.org:8481", f"Example {number % 40}"
    )
    tls = tuple(digest(f"{name}/{each}") for each in range(keys))
    return replace(plain, wire=DETAILED, capabilities=("gossip", "repair"), tls=tls) if keys else plain


def roster(size: int, *, voters: int = 1, keys: int = 0) -> Roster:
    members = tuple(member(number, keys=keys) for number in range(size))
    return Roster(1, members[:voters], members[voters:], POLICY)


def test_a_roster_without_details_is_what_it_was_and_nodes_of_before_read_it() -> None:
    plain = roster(5, voters=3)
    assert old_reads(plain.text)
    assert network_of(plain).startswith("c8dd5d6f27daf0de")
    assert not plain.has_details


def test_details_are_nothing_for_nodes_of_before() -> None:
    """Why a roster has none until all read them."""
    for told in ({"wire": 2}, {"capabilities": ("gossip",)}, {"tls": ("ab" * 32,)}):
        detailed = replace(roster(1), voters=(replace(member(0), **told),))
        assert detailed.has_details
        assert not old_reads(detailed.text)
        assert old_reads(replace(detailed, voters=tuple(each.plain for each in detailed.voters)).text)


def test_what_a_later_version_says_of_a_member_is_passed_over() -> None:
    document = msgspec.json.decode(roster(2, keys=1).encode())
    document["voters"][0]["colour"] = "blue"
    document["wished"] = [1, 2]
    assert Roster.of(encode(document).decode()) == roster(2, keys=1)


@pytest.mark.parametrize("text", ['{"epoch": 1}', "", "[]", "deflate:", "deflate:====", "deflate:AAAA", "\ud800"])
def test_what_is_no_roster_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Roster.of(text)


def test_another_spelling_of_the_same_is_refused() -> None:
    text = roster(2).text
    for other in (text.replace(":", ": ", 1), text.replace("node-000", "node-\\u0030\\u0030\\u0030", 1)):
        with pytest.raises(WireError, match="canonical"):
            Roster.of(other)


@pytest.mark.parametrize(
    "told", [{"tls": ("ab" * 32,) * (TLS_KEYS_MAX + 1)}, {"tls": ("AB" * 32,)}, {"capabilities": ("a b",)}, {"wire": 0}]
)
def test_details_have_their_bounds(told: dict[str, object]) -> None:
    with pytest.raises(WireError):
        Roster.of(replace(roster(1), voters=(replace(member(0), **told),)).text)


def test_nine_voters_and_all_the_learners_have_room_with_two_keys_each() -> None:
    whole = roster(9 + LEARNERS_MAX, voters=9, keys=TLS_KEYS_MAX)
    record = first_record(whole)
    assert whole.is_packed
    assert len(record.encode()) <= ROSTER_RECORD_MAX
    assert roster_in(Record.decode(record.encode())) == whole


def test_only_a_roster_may_be_so_large() -> None:
    record = first_record(roster(9 + LEARNERS_MAX, voters=9, keys=TLS_KEYS_MAX))
    with pytest.raises(WireError, match="octets at most"):
        replace(record, key="lamp").require_sound()
    with pytest.raises(WireError, match="octets at most"):
        replace(record, value="x" * ROSTER_RECORD_MAX).require_sound()


def test_what_fits_is_not_packed() -> None:
    """People read it, and peers that know nothing of us."""
    assert not roster(100).is_packed
    assert old_reads(roster(100).text)
    assert roster(170).is_packed


def test_a_small_text_does_not_become_a_large_roster() -> None:
    deflate = zlib.compressobj(9, wbits=-15)
    octets = deflate.compress(b" " * 20 * ROSTER_MAX) + deflate.flush()
    assert len(octets) < ROSTER_MAX // 20
    with pytest.raises(WireError, match="too large"):
        Roster.of(PACKED + base64.b64encode(octets).decode())


def test_a_packed_roster_ends_where_it_ends() -> None:
    text = roster(170).text
    octets = base64.b64decode(text.removeprefix(PACKED))
    for wrong in (octets + b"more", octets[:-1]):
        with pytest.raises(WireError, match="cut short, or goes on"):
            Roster.of(PACKED + base64.b64encode(wrong).decode())


@given(st.binary(max_size=200))
def test_any_octets_are_a_packed_roster_or_refused(octets: bytes) -> None:
    with pytest.raises(WireError):
        Roster.of(PACKED + base64.b64encode(octets).decode())


def test_rosters_that_follow_each_other_share_their_members() -> None:
    """A node keeps those of all epochs: as they came, those in which 256 learners came in would take 31 MiB."""
    first = roster(20, voters=3, keys=1)
    second = replace(first, epoch=2, learners=first.learners[1:])
    records = [replace(first_record(each), version=each.epoch, prev="") for each in (first, second)]
    one, other = map(roster_in, records)
    assert (one, other) == (first, second)
    assert all(one.learners[index + 1] is each for index, each in enumerate(other.learners))
