"""Parcels of messages on the wire.  Notes on DRiP, 4.3."""

import pytest
from handmade import HOME, committed, epoch_two, promise, vote
from hypothesis import given
from hypothesis import strategies as st
from people import member, record

from waypost.drip import parcel
from waypost.drip.messages import (
    MESSAGES_MAX,
    PARCEL_MAX,
    Admit,
    Alarm,
    Commit,
    Entry,
    Message,
    Nack,
    No,
    Poll,
    Promise,
    Proposal,
    Read,
    ReadAnswer,
    Restored,
    RosterNews,
    RosterRequest,
    SealRequest,
    SealSnapshot,
    VoteCall,
    Yes,
)
from waypost.errors import WireError
from waypost.record import Ballot, Proof

LAMP = record("on")
FIRST = committed(LAMP)
PROPOSAL = Proposal(HOME, LAMP)
SLOT = ("names", "lamp", 1)
SECOND = epoch_two("anna", "dora")
assert FIRST.certificate is not None
EVERY: tuple[Message, ...] = (
    Poll(*SLOT, HOME, None),
    Poll(*SLOT, HOME, FIRST),
    promise(LAMP, HOME),
    Promise(*SLOT, HOME, 7, PROPOSAL),
    Nack(*SLOT, HOME, Ballot(1, 2, "berta")),
    VoteCall(LAMP, HOME, None),
    Yes(vote(LAMP, HOME, "anna")),
    No(*SLOT, HOME, "stale", "", FIRST, ()),
    No(*SLOT, HOME, "epoch", "", None, (SECOND,)),
    Commit(FIRST),
    Read(1, "names", "lamp", 1),
    ReadAnswer(1, 1, FIRST, open=True),
    RosterRequest(1),
    RosterNews((SECOND,)),
    SealRequest(1, SECOND, ("", "")),
    SealSnapshot(1, ("", ""), (Entry(FIRST, PROPOSAL), Entry(None, None)), ("names", "lamp")),
    Alarm(Proof(FIRST.certificate, FIRST.certificate)),
    Restored(vote(LAMP, HOME, "anna")),
    Admit(member("frieda")),
)
ALL = parcel.body_of(EVERY)


def test_every_message_survives_the_wire() -> None:
    assert parcel.read(ALL) == EVERY


@pytest.mark.parametrize(
    "message",
    [
        VoteCall(record("x" * 33_000), HOME, None),
        Commit(committed(record("x" * 33_000))),
        Promise(*SLOT, HOME, 1, Proposal(HOME, record("x" * 33_000))),
        Poll(*SLOT, HOME, committed(record("x" * 33_000))),
        RosterNews((committed(record("x" * 33_000)),)),
        SealSnapshot(1, ("", ""), (Entry(committed(record("x" * 33_000)), None),), None),
        No("names", "lamp", 1, HOME, "stale", "x" * 256, None, ()),
        Poll("Names", "lamp", 1, HOME, None),
        Poll("names", "", 1, HOME, None),
        Poll("names", "lamp", 0, HOME, None),
        RosterNews((SECOND,) * 9),
    ],
)
def test_what_is_too_large_or_badly_named_is_refused(message: Message) -> None:
    with pytest.raises(WireError):
        parcel.read(parcel.body_of((message,)))


def test_a_parcel_has_its_limits() -> None:
    parcel.read(parcel.body_of((RosterRequest(1),) * MESSAGES_MAX))
    with pytest.raises(WireError):
        parcel.read(parcel.body_of((RosterRequest(1),) * (MESSAGES_MAX + 1)))
    with pytest.raises(WireError):
        parcel.read(ALL + b" " * PARCEL_MAX)


@given(st.binary())
def test_any_bytes_are_a_parcel_or_a_wire_error(data: bytes) -> None:
    require_sound(data)


@given(st.integers(0, len(ALL) - 1), st.integers(0, 255), st.integers(0, 3))
def test_a_damaged_parcel_is_refused_or_another_parcel(place: int, octet: int, size: int) -> None:
    require_sound(ALL[:place] + bytes([octet]) * size + ALL[place + 1 :])


def require_sound(data: bytes) -> None:
    try:
        messages = parcel.read(data)
    except WireError:
        return
    assert parcel.read(parcel.body_of(messages)) == messages
