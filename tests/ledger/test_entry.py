"""Entries of a log: their kinds, and what fits into one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import WireError
from waypost.ledger import entry
from waypost.ledger.entry import ENTRY_MAX, Entry, Kind
from waypost.record import RECORD_MAX, Ballot, Certificate, Committed, Mark, Matter, Record, Stamp
from waypost.record.vote import CERTIFICATE_MAX

NETWORK = "ab" * 32


def committed(value: str = "+1", marks: int = 3) -> Committed:
    record = Record("names", "anna", 2, "0" * 64, "1" * 64, "n0", value, "1" * 64, Stamp(0, 7), "2" * 32, (), "3" * 128)
    matter = Matter.of(record, Ballot(1, 0, "n0"), NETWORK)
    return Committed(record, Certificate(matter, tuple(Mark(f"n{n}", 1, n, "4" * 128) for n in range(marks))))


@settings(deadline=None)
@given(st.sampled_from(Kind), st.binary(max_size=300))
def test_an_entry_survives_the_log(kind: Kind, body: bytes) -> None:
    data = entry.encode(kind, body)
    assert entry.decode(data) == Entry(kind, body)
    assert entry.decode(data).encode() == data


@settings(deadline=None)
@given(st.binary() | st.sampled_from(Kind).map(lambda kind: kind.value.encode()))
def test_any_octets_are_an_entry(data: bytes) -> None:
    assert entry.decode(data).encode() == data


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"waypost/statement@v1", b"waypost/statement@v2\n", b"Waypost/statement@v1\n", b" waypost/day@v1\n"],
)
def test_what_has_no_line_of_ours_is_of_no_kind(data: bytes) -> None:
    assert entry.decode(data) == Entry(None, data)


def test_an_entry_that_no_bundle_can_hold_is_refused() -> None:
    room = ENTRY_MAX - len(Kind.DAY.line)
    assert len(entry.encode(Kind.DAY, bytes(room))) == ENTRY_MAX
    with pytest.raises(WireError):
        entry.encode(Kind.DAY, bytes(room + 1))


def test_a_commit_says_of_which_network_it_is() -> None:
    whole = committed()
    read = entry.decode(entry.commit(NETWORK, whole.encode()))
    assert read.kind is Kind.COMMIT
    assert entry.read_commit(read.body) == entry.Commit(whole, NETWORK)


def test_a_first_roster_has_no_certificate() -> None:
    whole = Committed(committed().record, None)
    assert entry.read_commit(entry.decode(entry.commit(NETWORK, whole.encode())).body).committed.certificate is None


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"committed":null,"network":"%b"}' % NETWORK.encode()])
def test_what_is_no_commit_is_refused(damage: bytes) -> None:
    with pytest.raises(WireError):
        entry.read_commit(damage)


def test_the_largest_record_with_the_largest_certificate_fits() -> None:
    """Issue: every record fits a log entry."""
    room = RECORD_MAX - len(committed("").record.encode())
    whole = committed("x" * room, marks=31)
    assert len(whole.record.encode()) == RECORD_MAX
    assert whole.certificate is not None
    room = CERTIFICATE_MAX - len(whole.certificate.encode())
    assert room >= 0
    assert len(entry.commit(NETWORK, whole.encode())) + room <= ENTRY_MAX
