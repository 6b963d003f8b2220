"""Who may write a record, by default; what may follow a roster; signatures verified once.  Design, Contracts 6."""

import msgspec
import pytest
from people import FOUNDERS, WALL_MS, member, public_of, record, roster

from waypost.drip.judge import Holders, amends, follows
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
        (record("on"), record("off", record("on"), holder="lena", is_taken=False), False),  # nobody is given what he
        (record("on"), record("off", record("on"), holder="lena"), True),  # does not take: notes, 5.4
        (None, record("on", holder="lena"), True),
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


ANNA, BERTA, CARLA, DORA, EMMA = (member(name) for name in ("anna", "berta", "carla", "dora", "emma"))
MOVED = replace(ANNA, url="https://moved.example", organisation="another")


def after(**change: object) -> Roster:
    return replace(FOUNDERS, epoch=2, **change)


@pytest.mark.parametrize(
    ("new", "author", "may"),
    [
        (after(learners=(DORA, EMMA, member("frieda"))), "anna/1", True),
        (after(learners=(member("frieda"), DORA, EMMA)), "berta/1", True),
        (after(learners=(DORA, member("emma", 2))), "anna/1", True),
        (after(learners=(replace(DORA, url="https://moved.example"), EMMA)), "anna/1", True),
        (after(voters=(MOVED, BERTA, CARLA)), "anna/1", True),
        (after(), "anna/1", True),  # nothing
        (after(learners=(DORA, EMMA, member("frieda"))), "dora/1", False),
        (after(learners=(DORA, EMMA, member("frieda"))), "thief", False),
        (after(learners=(DORA, EMMA, member("frieda"), member("greta"))), "anna/1", False),  # one at a time
        (after(learners=(DORA,)), "anna/1", False),  # nobody is put out
        (after(learners=(DORA, member("frieda"))), "anna/1", False),
        (after(learners=(EMMA, DORA)), "anna/1", False),
        (after(learners=(DORA, replace(EMMA, key=public_of("thief")))), "anna/1", False),
        (after(voters=(MOVED, BERTA, CARLA)), "berta/1", False),
        (after(voters=(MOVED, BERTA, CARLA), learners=(DORA, EMMA, member("frieda"))), "anna/1", False),
        (after(voters=(member("anna", 2), BERTA, CARLA)), "anna/1", False),
        (after(voters=(BERTA, CARLA)), "anna/1", False),
        (after(voters=(BERTA, ANNA, CARLA)), "anna/1", False),
        (after(voters=(ANNA, BERTA, CARLA, DORA), learners=(EMMA,)), "anna/1", False),
        (after(voters=(ANNA, BERTA), learners=(DORA, EMMA, CARLA)), "anna/1", False),
        (after(policy=replace(FOUNDERS.policy, quorum=3)), "anna/1", False),
    ],
)
def test_a_voter_lets_in_a_learner_or_moves_itself_and_nothing_else(new: Roster, author: str, may: bool) -> None:
    assert amends(FOUNDERS, new, public_of(author)) is may


def test_a_learners_incarnation_never_goes_back() -> None:
    second = replace(FOUNDERS, learners=(DORA, member("emma", 2)))
    back = replace(FOUNDERS, epoch=2, learners=(DORA, EMMA))
    assert not amends(second, back, public_of("anna/1"))
    assert not follows(second, back)
    assert not follows(second, replace(back, voters=(ANNA, EMMA), learners=()))


def test_a_roster_that_is_none_amends_nothing() -> None:
    old = first_record(FOUNDERS)
    for value in (None, "", "{}"):
        new = record(value, old, place=ROSTER, author="anna/1")
        assert not Holders().judge(old, new, CITED, WALL_MS).allowed
