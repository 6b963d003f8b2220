"""Who may write a record, by default; what may follow a roster; signatures verified once.  Design, Contracts 6."""

import msgspec
import pytest
from people import FOUNDERS, WALL_MS, member, public_of, record, roster

from waypost.drip.judge import Holders, follows
from waypost.identity.keys import verifies
from waypost.record import ROSTER, Creator, Record, Roster
from waypost.record.roster import first_record
from waypost.record.verification import Remembering

replace = msgspec.structs.replace
CREATOR = Creator("names", "lena/", public_of("lena"))
POLICY = replace(FOUNDERS.policy, creators=(CREATOR,))
CITED = {ROSTER: first_record(replace(FOUNDERS, policy=POLICY))}


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        (None, record("on"), True),  # the operator's
        (None, record("on", author="lena"), False),
        (None, record("on", author="lena", place=("names", "lena/lamp")), True),
        (None, record("on", author="lena", place=("other", "lena/lamp")), False),
        (None, record("on", author="thief", place=("names", "lena/lamp")), False),
        (record("on", holder="lena"), record("off", record("on", holder="lena"), author="lena"), True),
        (record("on", holder="lena"), record("off", record("on", holder="lena")), False),  # not even the operator
    ],
)
def test_a_holder_changes_and_whom_the_policy_names_creates(old: Record | None, new: Record, allowed: bool) -> None:
    assert Holders().judge(old, new, CITED, WALL_MS).allowed is allowed


@pytest.mark.parametrize(
    ("new", "may"),
    [
        (roster("dora", "emma", epoch=2), True),  # any set may replace any set
        (replace(FOUNDERS, epoch=2, voters=(member("anna", 2),)), True),
        (replace(FOUNDERS, epoch=2, voters=(replace(member("anna"), key=public_of("other")),)), False),
        (replace(FOUNDERS, epoch=2, voters=(replace(member("anna"), url="https://elsewhere"),)), True),
    ],
)
def test_what_may_follow_a_roster(new: Roster, may: bool) -> None:
    assert follows(FOUNDERS, new) is may


def test_an_incarnation_never_goes_back() -> None:
    second = replace(FOUNDERS, epoch=2, voters=(member("anna", 2),))
    assert not follows(second, roster("anna", epoch=3))


def test_a_good_signature_is_verified_once_and_a_bad_one_each_time() -> None:
    lamp, remembering = record("on"), Remembering(verifies)
    public, message = bytes.fromhex(lamp.author), lamp.to_sign("0" * 64)
    good = bytes.fromhex(record("on", network="0" * 64).signature)
    for _ in range(3):
        assert remembering(public, good, record("on", network="0" * 64).to_sign("0" * 64))
    assert remembering.asked == 1
    for _ in range(3):
        assert not remembering(public, bytes(64), message)
    assert remembering.asked == 4


def test_what_is_remembered_is_bounded() -> None:
    remembering = Remembering(lambda public, signature, message: True, remembered_max=10)
    for number in range(100):
        assert remembering(b"key", b"signature", number.to_bytes(2, "big"))
    remembering(b"key", b"signature", b"\0\0")
    assert remembering.asked == 101
