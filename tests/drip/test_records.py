"""Voted records, votes, certificates and rosters.  Notes on DRiP, 4.2."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import FOUNDERS, FOUNDING, NETWORK, key_of, member, public_of, record, roster

from waypost.errors import WireError
from waypost.identity.keys import verifies
from waypost.identity.signature import message_of
from waypost.record import NEVER, RECORD_MAX, Ballot, Certificate, Committed, Mark, Matter, Proof, Record, Roster
from waypost.record.roster import first_record, network_of, roster_in
from waypost.record.vote import cast, is_certified, is_marked, is_proof, require_committed

LAMP = record("on")
HOME = Ballot(1, 0, "anna")
replace = msgspec.structs.replace


def marks(matter: Matter, *voters: str, incarnation: int = 1) -> tuple[Mark, ...]:
    return tuple(
        cast(matter, name, incarnation, 1, NETWORK, key_of(f"{name}/{incarnation}").sign) for name in sorted(voters)
    )


def certificate(of: Record, *voters: str, ballot: Ballot = HOME) -> Certificate:
    matter = Matter.of(of, ballot, NETWORK)
    return Certificate(matter, marks(matter, *voters))


def require(committed: Committed) -> None:
    require_committed(committed, FOUNDERS, NETWORK, verifies, FOUNDERS.quorum)


def test_a_record_is_signed_as_any_document_is() -> None:
    """The bytes are those of identity.signature, so one tool checks both."""
    fields = msgspec.to_builtins(replace(LAMP, signature=""))
    assert LAMP.to_sign(NETWORK) == message_of("record", {"network": NETWORK, "value": fields})
    assert verifies(bytes.fromhex(public_of("operator")), bytes.fromhex(LAMP.signature), LAMP.to_sign(NETWORK))


def test_a_record_of_another_network_has_another_hash_and_signature() -> None:
    """Notes on DRiP, 5.1: the network's id is inside."""
    assert LAMP.hash(NETWORK) != LAMP.hash("0" * 64)
    assert LAMP.to_sign(NETWORK) != LAMP.to_sign("0" * 64)


def test_every_field_of_a_record_counts_in_its_hash() -> None:
    tombstone = replace(LAMP, value=None)
    assert len({LAMP.hash(NETWORK), tombstone.hash(NETWORK), replace(LAMP, home="berta").hash(NETWORK)}) == 3


def test_a_record_survives_the_wire() -> None:
    assert Record.decode(LAMP.encode()) == LAMP


@pytest.mark.parametrize(
    "change",
    [
        {"namespace": "Names"},
        {"namespace": ""},
        {"key": ""},
        {"key": "a\nb"},
        {"key": "k" * 256},
        {"version": 0},
        {"version": 1 << 53},
        {"version": 2},  # without a version before it
        {"prev": "0" * 64},  # a first version with one
        {"prev": "0"},
        {"holder": "A" * 64},
        {"home": "an na"},
        {"txid": "1"},
        {"signature": "00"},
        {"value": "x" * RECORD_MAX},
    ],
)
def test_a_record_outside_the_limits_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(WireError):
        Record.decode(replace(LAMP, **change).encode())


@given(st.binary())
def test_any_bytes_are_a_record_or_a_wire_error(data: bytes) -> None:
    try:
        decoded = Record.decode(data)
    except WireError:
        return
    assert decoded.encode() == data


@given(st.integers(0, len(LAMP.encode()) - 1), st.integers(0, 255))
def test_a_damaged_record_is_refused_or_another_record(place: int, octet: int) -> None:
    data = bytearray(LAMP.encode())
    data[place] = octet
    try:
        decoded = Record.decode(bytes(data))
    except WireError:
        return
    assert decoded.encode() == data


def test_another_spelling_of_the_same_record_is_refused() -> None:
    with pytest.raises(WireError):
        Record.decode(LAMP.encode().replace(b'"cites"', b' "cites"'))


def test_ballots_compare_by_epoch_then_round_then_node() -> None:
    ballots = [NEVER, Ballot(1, 0, "b"), Ballot(1, 1, "a"), Ballot(1, 1, "b"), Ballot(2, 0, "a")]
    assert sorted(ballots, reverse=True)[::-1] == ballots


def test_a_quorum_of_votes_certifies_a_record() -> None:
    require(Committed(LAMP, certificate(LAMP, "anna", "carla")))


@pytest.mark.parametrize("voters", [("anna",), ("anna", "dora"), ("anna", "anna"), ("anna", "berta", "carla")])
def test_any_other_set_of_voters_does_not(voters: tuple[str, ...]) -> None:
    """Distinct, of the roster, and no more than anybody must verify (invariant I3)."""
    with pytest.raises(WireError):
        require(Committed(LAMP, certificate(LAMP, *voters)))


def test_a_certificate_of_another_record_does_not() -> None:
    with pytest.raises(WireError):
        require(Committed(record("off"), certificate(LAMP, "anna", "berta")))


def test_a_certificate_of_an_epoch_that_is_not_the_rosters_does_not() -> None:
    with pytest.raises(WireError):
        require(Committed(LAMP, certificate(LAMP, "anna", "berta", ballot=Ballot(2, 0, "anna"))))


def test_a_vote_of_an_earlier_incarnation_does_not_count() -> None:
    """Notes on DRiP, 4.9, rule 6: who lost its disk is a new voter."""
    second = msgspec.structs.replace(FOUNDERS, voters=(member("anna", 2), member("berta"), member("carla")))
    matter = Matter.of(LAMP, HOME, NETWORK)
    assert not is_marked(matter, marks(matter, "anna")[0], second, NETWORK, verifies)
    assert is_marked(matter, marks(matter, "anna", incarnation=2)[0], second, NETWORK, verifies)


def test_nor_does_it_where_the_key_stayed_the_same() -> None:
    same_key = replace(member("anna"), incarnation=2)
    second = replace(FOUNDERS, voters=(same_key, member("berta"), member("carla")))
    matter = Matter.of(LAMP, HOME, NETWORK)
    assert not is_marked(matter, marks(matter, "anna")[0], second, NETWORK, verifies)


@pytest.mark.parametrize("change", [{"counter": 2}, {"voter": "berta"}, {"signature": "0" * 128}])
def test_a_changed_mark_is_no_vote(change: dict[str, object]) -> None:
    matter = Matter.of(LAMP, HOME, NETWORK)
    assert not is_marked(matter, replace(marks(matter, "anna")[0], **change), FOUNDERS, NETWORK, verifies)


def test_a_vote_is_of_its_ballot_alone() -> None:
    """Notes on DRiP, 5.1: an old vote is useless."""
    matter = Matter.of(LAMP, HOME, NETWORK)
    later = replace(matter, ballot=Ballot(1, 1, "anna"))
    assert not is_certified(Certificate(later, marks(matter, "anna", "berta")), FOUNDERS, NETWORK, verifies, 2)


def test_certificates_survive_the_wire() -> None:
    proof = certificate(LAMP, "anna", "berta")
    assert Certificate.decode(proof.encode()) == proof


@given(st.binary())
def test_any_bytes_are_a_certificate_or_a_roster_or_wire_errors(data: bytes) -> None:
    for kind in (Certificate, Roster):
        try:
            decoded = kind.decode(data)
        except WireError:
            continue
        assert decoded.encode() == data


def test_a_policy_may_ask_more_than_a_majority() -> None:
    """Notes on DRiP, 4.8: the quorum is the roster's policy."""
    assert [roster(*"abcdefg"[:size]).quorum for size in range(1, 8)] == [1, 2, 2, 3, 3, 4, 4]
    assert roster(*"abcd", quorum=4).quorum == 4
    assert roster(*"abcde", quorum=1).quorum == 3


@pytest.mark.parametrize(
    "bad",
    [
        roster("anna", "anna"),
        roster("anna", learners=("anna",)),
        replace(FOUNDERS, voters=(member("anna"), replace(member("berta"), key=member("anna").key))),
        roster("anna", quorum=2),
        replace(FOUNDERS, voters=()),
        replace(FOUNDERS, epoch=0),
    ],
)
def test_an_unsound_roster_is_refused(bad: Roster) -> None:
    with pytest.raises(WireError):
        Roster.decode(bad.encode())


def test_the_first_roster_founds_the_network() -> None:
    assert roster_in(first_record(FOUNDERS)) == FOUNDERS
    assert FOUNDING.record == first_record(FOUNDERS)
    assert network_of(FOUNDERS) == NETWORK != network_of(replace(FOUNDERS, learners=()))


def test_a_record_of_a_roster_has_its_epoch_for_a_version() -> None:
    with pytest.raises(WireError):
        roster_in(replace(first_record(FOUNDERS), version=2, prev="0" * 64))
    with pytest.raises(WireError):
        roster_in(LAMP)


def test_new_keys_are_spread_over_the_voters_and_move_only_with_them() -> None:
    """The home of a new key is chosen by rendezvous hash over the voters."""
    places = [("names", str(number)) for number in range(200)]
    homes = [FOUNDERS.home(place) for place in places]
    assert all(homes.count(name) > 40 for name in ("anna", "berta", "carla"))
    without = roster("anna", "berta")
    assert all(without.home(place) == home for place, home in zip(places, homes, strict=True) if home != "carla")


def known(epoch: int) -> Roster | None:
    return FOUNDERS if epoch == 1 else None


@pytest.mark.parametrize(
    ("first", "second", "proves"),
    [
        (certificate(LAMP, "anna", "berta"), certificate(record("off"), "berta", "carla"), True),
        (certificate(LAMP, "anna"), certificate(record("off"), "anna"), True),
        (certificate(LAMP, "anna"), certificate(record("off"), "berta"), False),
        (certificate(LAMP, "anna"), certificate(record("off"), "anna", ballot=Ballot(1, 1, "anna")), False),
        (
            certificate(LAMP, "anna", "berta"),
            certificate(record("off"), "berta", "carla", ballot=Ballot(1, 1, "carla")),
            True,
        ),
        (certificate(LAMP, "anna", "berta"), certificate(LAMP, "berta", "carla"), False),
        (certificate(LAMP, "dora"), certificate(record("off"), "dora"), False),
        (certificate(LAMP, "anna"), certificate(record("off", LAMP), "anna"), False),
    ],
)
def test_a_proof_is_two_certificates_or_two_votes_of_one_voter(
    first: Certificate, second: Certificate, proves: bool
) -> None:
    """Notes on DRiP, 4.4, rule 5, and 4.8: equivocation is provable."""
    assert is_proof(Proof(first, second), known, NETWORK, verifies) is proves
