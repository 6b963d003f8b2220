"""What members say of themselves in the roster, once all of them read it.  Notes on DRiP, 3.3 (versioning) and 5.1."""

import msgspec
import pytest
from handmade import Hand, committed, next_roster, promise, yes
from older import old_reads
from people import FOUNDERS, FOUNDING, NETWORK, key_of, member, record

from waypost.drip.judge import amends, follows
from waypost.drip.messages import Admit, Poll
from waypost.record import ROSTER, Ballot, Committed, Member, Roster
from waypost.record.roster import DETAILED
from waypost.record.wire import signed_bytes

replace = msgspec.structs.replace
URL = "https://node.example:8481"
OLD, NEW = "ab" * 32, "cd" * 32


def detailed(one: str | Member, *tls: str) -> Member:
    plain = member(one) if isinstance(one, str) else one
    return replace(plain, wire=DETAILED, capabilities=("gossip",), tls=tls)


ANNA, BERTA, CARLA, DORA, EMMA, FRIEDA = (
    detailed(name, OLD) for name in ("anna", "berta", "carla", "dora", "emma", "frieda")
)
ALL = Roster(2, (ANNA, BERTA, CARLA), (DORA, EMMA), FOUNDERS.policy)


def by_carla(roster: Roster, before: Committed = FOUNDING) -> Committed:
    return committed(record(roster.text, before.record, place=ROSTER), ballot=Ballot(1, 1, "carla"))


def signed(come: Member, by: str) -> Admit:
    return Admit(come, key_of(by).sign(signed_bytes("admit", NETWORK, come)).hex())


def polls(hand: Hand) -> list[Poll]:
    return [message for _, message in hand.told if isinstance(message, Poll) and message.key == ROSTER[1]]


def claimed(anna: Hand) -> Roster:
    """The next roster, if the others vote for what anna claims."""
    ballot, counter = polls(anna)[-1].ballot, anna.drip.epoch * 10
    held = anna.drip.committed(ROSTER)
    assert held is not None
    for name in ("berta", "carla"):
        anna.drip.hear(name, (promise(next_roster(held, ("anna",)), ballot, counter),), anna.now)
    anna.settle()
    call = anna.calls()
    for name in ("berta", "carla"):
        anna.hear(name, yes(call, name, counter=counter + 1))
    return anna.drip.roster


def speak(hand: Hand, *names: str, wire: int = DETAILED) -> None:
    for name in names:
        hand.drip.speaks(name, wire, hand.now)


def stated(anna: Hand) -> list[Poll]:
    anna.wait(5.0)
    return polls(anna)


def test_details_come_in_with_a_member_once_all_the_others_read_them() -> None:
    anna = Hand("anna")
    speak(anna, "berta", "carla", "dora", "emma")
    anna.hear("frieda", Admit(FRIEDA))
    assert claimed(anna).learners[-1] == FRIEDA


@pytest.mark.parametrize("old", ["berta", "emma"])
def test_while_one_does_not_read_them_a_member_comes_in_without(old: str) -> None:
    anna = Hand("anna")
    speak(anna, *({"berta", "carla", "dora", "emma"} - {old}))
    anna.hear("frieda", Admit(FRIEDA))
    roster = claimed(anna)
    assert roster.learners[-1] == FRIEDA.plain
    assert not roster.has_details
    assert old_reads(anna.stored[-1].record.value or ""), "a node one release older goes on beside this one"
    anna.hear("frieda", Admit(FRIEDA))
    assert polls(anna) == [], "it is in as well as it can be"
    assert anna.drip.applicants == ()


def test_a_voter_states_itself_once_the_last_of_the_others_reads_it() -> None:
    anna = Hand("anna")
    anna.drip.seek(ANNA, (), anna.now)
    speak(anna, "berta", "carla", "dora")
    assert stated(anna) == []
    speak(anna, "emma", wire=1)
    assert stated(anna) == []
    speak(anna, "emma")
    assert stated(anna)
    assert claimed(anna) == replace(FOUNDERS, epoch=2, voters=(ANNA, *FOUNDERS.voters[1:]))
    anna.told = []
    assert stated(anna) == []


def test_once_there_are_details_everybody_reads_them() -> None:
    """Who has just started has heard nobody yet."""
    anna = Hand("anna")
    first = by_carla(replace(FOUNDERS, epoch=2, voters=(*FOUNDERS.voters[:2], CARLA)))
    anna.learn(first)
    anna.hear("frieda", Admit(FRIEDA))
    assert claimed(anna).learners[-1] == FRIEDA


def test_who_does_not_read_them_comes_in_no_more() -> None:
    anna = Hand("anna")
    anna.learn(by_carla(ALL))
    anna.hear("frieda", Admit(FRIEDA.plain))
    assert polls(anna) == []
    assert anna.drip.applicants == (FRIEDA.plain,)


def test_a_voter_tells_its_details_as_it_lets_in_the_first_that_reads_them() -> None:
    """Alone it had nobody to tell them to, and the first roster of a network has none."""
    alone = replace(FOUNDERS, epoch=2, voters=(member("anna"),), learners=())
    anna = Hand("anna")
    anna.learn(by_carla(alone))
    anna.drip.seek(ANNA, (), anna.now)
    assert stated(anna) == []
    made = replace(alone, epoch=3, voters=(ANNA,), learners=(FRIEDA,))
    assert amends(alone, made, ANNA.key)


@pytest.mark.parametrize(
    ("new", "may"),
    [
        (replace(FOUNDERS, epoch=2, voters=(ANNA, *FOUNDERS.voters[1:]), learners=(*FOUNDERS.learners, FRIEDA)), True),
        (replace(FOUNDERS, epoch=2, voters=(FOUNDERS.voters[0], BERTA, FOUNDERS.voters[2])), False),
        (
            replace(
                FOUNDERS,
                epoch=2,
                voters=(replace(ANNA, url=URL), *FOUNDERS.voters[1:]),
                learners=(*FOUNDERS.learners, FRIEDA),
            ),
            False,
        ),
    ],
)
def test_a_voter_says_of_itself_alone_what_is_to_be_said(new: Roster, may: bool) -> None:
    assert amends(FOUNDERS, new, ANNA.key) is may


def test_what_a_member_with_keys_says_of_itself_is_signed_with_its_nodes_key() -> None:
    """Who has a certificate of the same name and another key cannot say it."""
    anna, moved = Hand("anna"), replace(DORA, tls=(OLD, NEW))
    anna.learn(by_carla(ALL))
    for wrong in (Admit(moved), signed(moved, "thief"), Admit(moved, signed(DORA, "dora/1").signature)):
        anna.hear("dora", wrong)
        assert polls(anna) == []
        assert anna.drip.applicants == (moved,)
    anna.hear("dora", signed(moved, "dora/1"))
    assert claimed(anna).learners == (EMMA, moved)
    assert anna.drip.applicants == ()


def test_another_installation_of_a_member_with_keys_waits_for_the_operator_unless_it_is_vouched_for() -> None:
    anna, back = Hand("anna"), detailed(member("dora", 2), NEW)
    anna.learn(by_carla(ALL))
    anna.hear("dora", signed(back, "dora/2"))
    assert polls(anna) == []
    assert anna.drip.applicants == (back,)
    assert anna.drip.admit(back, anna.now, is_vouched=True)
    anna.settle()
    assert claimed(anna).learners == (EMMA, back)


def test_a_member_without_keys_is_known_by_its_name_as_before() -> None:
    anna, moved = Hand("anna"), replace(member("dora"), url=URL)
    anna.hear("dora", Admit(moved))
    assert claimed(anna).learners[-1] == moved


def test_nobody_takes_a_members_keys_away() -> None:
    """An Admit without them is as good as one with others."""
    anna = Hand("anna")
    anna.learn(by_carla(ALL))
    for less in (replace(DORA, tls=()), DORA.plain):
        anna.hear("dora", Admit(less))
        assert polls(anna) == []
        assert anna.drip.roster.member("dora") == DORA


def test_who_seeks_signs_what_it_says_if_it_has_keys() -> None:
    frieda = Hand("frieda")
    frieda.drip.seek(FRIEDA, (), frieda.now)
    frieda.wait(1.0)
    told = [message for _, message in frieda.told if isinstance(message, Admit)]
    assert told
    assert set(told) == {signed(FRIEDA, "frieda/1")}


def test_a_roster_that_must_be_packed_waits_until_all_read_it() -> None:
    wide = tuple(replace(member(f"node-{number}"), url="u" * 255, organisation="o" * 64) for number in range(57))
    last = replace(detailed("greta"), url="u" * 255, organisation="o" * 64)
    anna = Hand("anna")
    anna.learn(by_carla(replace(FOUNDERS, epoch=2, learners=wide)))
    for number in range(20):
        anna.hear(f"late-{number}", Admit(replace(last, name=f"late-{number}").plain))
        if not polls(anna):
            break
        claimed(anna)
    assert anna.drip.epoch > 2
    assert not anna.drip.roster.is_packed
    assert anna.drip.applicants
    speak(anna, *anna.drip.roster.nodes)
    anna.hear("greta", Admit(last))
    assert claimed(anna).is_packed


def test_a_voter_with_another_key_is_not_heard_and_asks_for_the_operators_word() -> None:
    """Its calls for votes are refused with the new key: it claims, and asks others to be told of as well."""
    anna, told = Hand("anna"), replace(BERTA, tls=(NEW,))
    anna.learn(by_carla(ALL))
    assert not anna.drip.admit(told, anna.now, signed(told, "berta/1").signature)
    anna.settle()
    assert polls(anna) == []
    assert anna.drip.applicants == (told,)
    shared = replace(BERTA, tls=(OLD, NEW))
    assert not anna.drip.admit(shared, anna.now, signed(shared, "berta/1").signature)
    assert anna.drip.applicants == (told,), "with a key of before it claims the roster itself"

    berta = Hand("berta")
    berta.learn(by_carla(ALL))
    berta.drip.seek(told, (), berta.now)
    berta.wait(1.0)
    assert {node for node, message in berta.told if isinstance(message, Admit)} <= {"anna", "carla"}
    assert berta.says(Admit)


def test_a_voter_that_has_a_key_of_before_asks_nobody() -> None:
    berta, told = Hand("berta"), replace(BERTA, tls=(OLD, NEW))
    berta.learn(by_carla(ALL))
    berta.drip.seek(told, (), berta.now)
    berta.wait(1.0)
    assert berta.says(Admit) == []
    assert polls(berta)


def test_what_no_member_says_of_its_wire_is_forgotten() -> None:
    anna = Hand("anna")
    for number in range(1_000):
        speak(anna, f"stranger-{number}")
    anna.drip.check()


def test_an_applicant_is_shown_as_the_roster_may_name_it() -> None:
    """Whoever promotes it puts nothing into the roster that a member of before could not read."""
    anna, back = Hand("anna"), detailed(member("berta", 2), NEW)
    assert not anna.drip.admit(back, anna.now)
    assert anna.drip.applicants == (back.plain,)
    speak(anna, "carla", "dora", "emma")
    assert not anna.drip.admit(back, anna.now)
    assert anna.drip.applicants == (back,)


@pytest.mark.parametrize(
    ("before", "come", "may"),
    [
        (ALL, FRIEDA, True),
        (ALL, FRIEDA.plain, False),
        (replace(ALL, voters=(ANNA, *FOUNDERS.voters[1:]), learners=()), FRIEDA, True),  # the others said so themselves
        (FOUNDERS, FRIEDA.plain, True),
    ],
)
def test_nobody_votes_for_a_member_that_could_not_read_the_roster(before: Roster, come: Member, may: bool) -> None:
    """Not even on the operator's word: it would hear of no roster any more."""
    assert follows(before, replace(before, epoch=before.epoch + 1, learners=(*before.learners, come))) is may
