"""Votes by way of others.  Signatures are real; time is a number we choose."""

import itertools
from random import Random
from typing import Final

import msgspec
import pytest
from handmade import yes
from people import FOUNDING, NETWORK, WALL_MS, key_of, record, roster

from waypost.drip import parcel
from waypost.drip.envelope import ENVELOPE_MAX, RELAYED, Envelope, Pass, Relayed
from waypost.drip.gossip import Author
from waypost.drip.messages import MESSAGES_MAX, PARCEL_MAX, Alarm, Commit, Message, Read, RosterNews, VoteCall
from waypost.drip.outbox import Tell
from waypost.drip.relay import CUT_S, DOUBT_S, FORGET_S, FRESH_MS, KIBIBYTES_MAX, RELAYS, WINDOW, Relay, Window
from waypost.drip.rumours import Probe, Whisper
from waypost.engine import Ask, Effect, Put
from waypost.engine import Commit as Write
from waypost.errors import WireError
from waypost.identity.keys import verifies
from waypost.record import Ballot

ROSTER: Final = roster("anna", "berta", "carla", learners=("dora", "emma"))
READ: Final = Read(1, "names", "lamp", 1)
CALL: Final = VoteCall(record("on"), Ballot(1, 0, "anna"), None)


class Post:
    """One node's relay; `alive` are the others that are there."""

    def __init__(self, name: str, *, incarnation: int = 1, network: str = NETWORK, signer: str = "") -> None:
        self.now = 1_000.0
        self.wall_ms = WALL_MS
        self.alive = [other for other in ROSTER.nodes if other != name]
        self.verified = 0
        author = Author(network, name, incarnation, key_of(signer or f"{name}/{incarnation}").sign)
        self.relay = Relay(Random(1), itertools.count(1), author, self.verify, lambda: self.alive)
        self.relay.set_roster(ROSTER)

    def verify(self, public: bytes, signature: bytes, message: bytes) -> bool:
        self.verified += 1
        return verifies(public, signature, message)

    def says(self, node: str, *messages: Message) -> list[Effect]:
        """What becomes of so many sentences to a node."""
        tells: list[Effect] = [Ask(0, Tell(node, message)) for message in messages]
        return self.relay.routed(tells, self.now, self.wall_ms)

    def envelopes(self, node: str, *messages: Message) -> list[Envelope]:
        """To one that cannot be reached; each of them once."""
        self.relay.reached(node, False, self.now)
        return list(dict.fromkeys(envelope for _, envelope in passes(self.says(node, *messages))))

    def envelope(self, node: str, *messages: Message) -> Envelope:
        (envelope,) = self.envelopes(node, *(messages or (READ,)))
        return envelope

    def takes(self, node: str, envelope: Envelope) -> tuple[Relayed, ...]:
        heard = self.relay.receive(node, envelope, self.now, self.wall_ms)
        self.relay.check()
        return heard

    def passes_on(self, node: str, envelope: Envelope) -> list[tuple[str, Envelope]]:
        assert self.takes(node, envelope) == ()
        return passes(self.relay.take_effects())


def passes(effects: list[Effect]) -> list[tuple[str, Envelope]]:
    bodies = [each.body for each in effects if isinstance(each, Ask)]
    return [(body.node, body.envelope) for body in bodies if isinstance(body, Pass)]


@pytest.fixture
def anna() -> Post:
    return Post("anna")


@pytest.fixture
def berta() -> Post:
    return Post("berta")


@pytest.fixture
def carla() -> Post:
    return Post("carla")


# Sending


def test_what_can_go_straight_goes_straight(anna: Post) -> None:
    anna.relay.reached("carla", False, anna.now)
    assert anna.says("berta", READ) == [Ask(0, Tell("berta", READ))]


def test_what_cannot_goes_to_two_others_in_one_envelope(anna: Post) -> None:
    anna.relay.reached("berta", False, anna.now)
    given = passes(anna.says("berta", READ, CALL))
    assert len({node for node, _ in given}) == len(given) == RELAYS == 2
    assert "berta" not in {node for node, _ in given}
    assert {envelope.messages for _, envelope in given} == {(READ, CALL)}
    assert len({envelope for _, envelope in given}) == 1


def test_nothing_goes_by_way_of_one_that_cannot_be_reached_either_or_is_not_there(anna: Post) -> None:
    anna.relay.reached("berta", False, anna.now)
    anna.relay.reached("carla", False, anna.now)
    anna.alive.remove("dora")
    anna.alive.append("greta")  # of a roster that is not known here yet, or of one that is past
    assert [node for node, _ in passes(anna.says("berta", READ))] == ["emma"]


def test_a_node_that_nobody_hears_of_is_down_and_not_looked_for_through_others(anna: Post) -> None:
    anna.relay.reached("berta", False, anna.now)
    anna.alive.remove("berta")
    assert anna.says("berta", READ) == [Ask(0, Tell("berta", READ))]


def test_with_nobody_to_pass_it_on_it_goes_straight_all_the_same(anna: Post) -> None:
    for node in ("berta", "carla", "dora", "emma"):
        anna.relay.reached(node, False, anna.now)
    (told,) = anna.says("berta", READ)
    assert isinstance(told, Ask)
    assert told.body == Tell("berta", READ)


def test_gossip_and_what_is_gossiped_anyway_are_not_relayed(anna: Post) -> None:
    anna.relay.reached("berta", False, anna.now)
    beat: Effect = Ask(1, Whisper("berta", (Probe("carla"),)))
    commit: Effect = Ask(2, Tell("berta", Commit(FOUNDING)))
    assert anna.relay.routed([beat, commit], anna.now, anna.wall_ms) == [beat, commit]
    assert not {Commit, Alarm, Probe} & RELAYED


def test_what_waits_for_the_disk_still_waits_in_its_envelope(anna: Post) -> None:
    """Durable before visible: design, Contracts 1."""
    anna.relay.reached("berta", False, anna.now)
    promise = Write(puts=(Put("table", b"key", b"value"),), then=(Ask(1, Tell("berta", READ)), Ask(2, "else")))
    (write,) = anna.relay.routed([promise], anna.now, anna.wall_ms)
    assert isinstance(write, Write)
    assert write.puts == promise.puts
    assert write.then[0] == Ask(2, "else")
    assert len(passes(list(write.then))) == RELAYS


def test_it_goes_straight_again_once_the_node_is_reached_or_after_a_while(anna: Post) -> None:
    anna.relay.reached("berta", False, anna.now)
    anna.relay.reached("carla", False, anna.now)
    anna.relay.reached("berta", True, anna.now)
    assert anna.relay.cut(anna.now) == ("carla",)
    assert anna.says("berta", READ) == [Ask(0, Tell("berta", READ))]
    assert anna.relay.cut(anna.now + CUT_S - 1) == ("carla",)
    assert anna.relay.cut(anna.now + CUT_S) == ()


def test_more_than_one_envelope_holds_goes_into_several_each_with_its_own_count(anna: Post) -> None:
    envelopes = anna.envelopes("berta", *(Read(number, "names", "lamp", 1) for number in range(MESSAGES_MAX + 1)))
    assert [len(envelope.messages) for envelope in envelopes] == [MESSAGES_MAX, 1]
    assert envelopes[1].count == envelopes[0].count + 1


def test_no_envelope_is_larger_than_a_parcel(anna: Post) -> None:
    news = RosterNews((msgspec.structs.replace(FOUNDING, record=record("x" * 30_000)),) * 8)
    envelopes = anna.envelopes("berta", news, news, news, news, news)
    assert len(envelopes) > 1
    for envelope in envelopes:
        (body,) = parcel.bodies([parcel.spell(envelope)])
        assert PARCEL_MAX // 2 < len(body) <= PARCEL_MAX or envelope is envelopes[-1]
        assert parcel.read(body) == (envelope,)
    assert len(parcel.spell(news)) < ENVELOPE_MAX


def test_a_node_that_starts_again_counts_on_from_where_it_was(anna: Post) -> None:
    before = anna.envelopes("berta", *(READ,) * (3 * MESSAGES_MAX))[-1].count
    again = Post("anna")
    again.wall_ms += 1
    assert again.envelope("berta").count > before


# Passing on


def test_a_relay_passes_an_envelope_on_as_it_is(anna: Post, carla: Post) -> None:
    envelope = anna.envelope("berta")
    assert carla.passes_on("anna", envelope) == [("berta", envelope)]
    assert carla.relay.counts == {"passed_on": 1}


def test_it_is_passed_on_once_and_never_again(anna: Post) -> None:
    """One hop: whoever has it from another than its sender keeps it."""
    envelope = anna.envelope("berta")
    dora = Post("dora")
    assert dora.passes_on("carla", envelope) == []
    assert dora.relay.counts == {"second_hand": 1}


def test_a_relay_that_does_not_reach_the_target_drops_it(anna: Post, carla: Post) -> None:
    carla.relay.reached("berta", False, carla.now)
    assert carla.passes_on("anna", anna.envelope("berta")) == []
    assert carla.relay.counts == {"out_of_reach": 1}


@pytest.mark.parametrize("target", ["nobody", "anna"])
def test_a_relay_passes_nothing_on_to_strangers_or_back(anna: Post, carla: Post, target: str) -> None:
    envelope = resigned(msgspec.structs.replace(anna.envelope("berta"), target=target))
    assert carla.passes_on("anna", envelope) == []


def test_a_relay_passes_on_nothing_that_is_forged_or_stale(anna: Post, carla: Post) -> None:
    """So whoever brings a forged one made it, or did not look."""
    envelope = anna.envelope("berta")
    assert carla.passes_on("anna", msgspec.structs.replace(envelope, messages=(CALL,))) == []
    carla.wall_ms += FRESH_MS + 1
    assert carla.passes_on("anna", envelope) == []
    assert carla.relay.counts == {"forged": 1, "stale": 1}


def test_a_relay_passes_on_so_many_octets_of_one_sender_and_those_of_others_still(anna: Post, carla: Post) -> None:
    large = anna.envelope("berta", RosterNews((msgspec.structs.replace(FOUNDING, record=record("x" * 30_000)),) * 8))
    passed = [carla.passes_on("anna", large) for _ in range(2 * KIBIBYTES_MAX // 200)]
    through = sum(map(len, passed))
    assert KIBIBYTES_MAX // 300 < through < KIBIBYTES_MAX // 200
    assert carla.relay.counts["flooded"] == len(passed) - through
    verified = carla.verified
    assert carla.passes_on("anna", large) == []
    assert carla.verified == verified, "what is over the allowance costs no signature"
    assert carla.passes_on("dora", Post("dora").envelope("berta"))
    carla.now += 1
    assert carla.passes_on("anna", large)


# Hearing


def test_its_target_hears_it_as_from_its_sender(anna: Post, berta: Post) -> None:
    assert berta.takes("carla", anna.envelope("berta", READ, CALL)) == (READ, CALL)
    assert berta.relay.counts == {"heard": 1}
    assert berta.relay.take_effects() == []


def test_it_is_heard_once_whoever_brings_it(anna: Post, berta: Post) -> None:
    envelope = anna.envelope("berta")
    assert berta.takes("carla", envelope)
    verified = berta.verified
    assert berta.takes("dora", envelope) == ()
    assert berta.takes("carla", envelope) == ()
    assert berta.relay.counts == {"heard": 1, "again": 2}
    assert berta.verified == verified, "a repetition costs no signature"


def test_envelopes_may_overtake_each_other(anna: Post, berta: Post) -> None:
    envelopes = [anna.envelope("berta") for _ in range(5)]
    assert all(berta.takes("carla", envelopes[number]) for number in (3, 0, 4, 2, 1))
    assert not any(berta.takes("carla", envelope) for envelope in envelopes)


@pytest.mark.parametrize("ahead_ms", [FRESH_MS + 1, -FRESH_MS - 1])
def test_what_is_not_fresh_is_not_heard(anna: Post, berta: Post, ahead_ms: int) -> None:
    anna.wall_ms += ahead_ms
    assert berta.takes("carla", anna.envelope("berta")) == ()
    assert berta.relay.counts == {"stale": 1}


@pytest.mark.parametrize("ahead_ms", [FRESH_MS, -FRESH_MS])
def test_clocks_may_differ_by_half_a_minute(anna: Post, berta: Post, ahead_ms: int) -> None:
    anna.wall_ms += ahead_ms
    assert berta.takes("carla", anna.envelope("berta"))


def test_what_is_forgotten_is_stale(anna: Post, berta: Post) -> None:
    """Of a sender whose clock is as far ahead as it may be: the memory lasts as long as the envelope is fresh."""
    anna.wall_ms += FRESH_MS
    envelope = anna.envelope("berta")
    assert berta.takes("carla", envelope)
    for seconds in range(0, int(FORGET_S) + 10, 5):
        berta.now, berta.wall_ms = 1_000.0 + seconds, WALL_MS + seconds * 1_000
        assert berta.takes("carla", envelope) == ()


def resigned(envelope: Envelope, signer: str = "anna/1", network: str = NETWORK) -> Envelope:
    return envelope.signed(network, key_of(signer).sign)


def test_forged_envelopes_are_dropped(anna: Post, berta: Post) -> None:
    good = anna.envelope("berta")
    forged = [
        msgspec.structs.replace(good, messages=(CALL,)),
        msgspec.structs.replace(good, count=good.count + 1),
        msgspec.structs.replace(good, sent_ms=good.sent_ms + 1),
        msgspec.structs.replace(good, sender="dora"),
        msgspec.structs.replace(good, signature=""),
        resigned(good, "carla/1"),
        resigned(good, network="0" * 64),
    ]
    assert not any(berta.takes("carla", envelope) for envelope in forged)
    assert berta.relay.counts == {"forged": len(forged)}
    assert berta.takes("carla", good), "and nothing of a forged one is remembered"


def test_whoever_hears_the_first_envelope_answers_both_ways_until_it_knows_better(anna: Post, berta: Post) -> None:
    berta.takes("carla", anna.envelope("berta"))
    straight, *around = berta.says("anna", READ)
    assert straight == Ask(0, Tell("anna", READ))
    assert {envelope.messages for _, envelope in passes(around)} == {(READ,)}
    berta.now += DOUBT_S - 0.1
    berta.takes("carla", anna.envelope("berta"))
    assert passes(berta.says("anna", READ))
    berta.now += 0.2
    assert berta.says("anna", READ) == [Ask(0, Tell("anna", READ))], "one way is cut, and the other is not"
    berta.relay.reached("anna", False, berta.now)
    assert len(passes(berta.says("anna", READ))) == len(berta.says("anna", READ)) == RELAYS


def test_an_answer_that_arrived_straight_ends_the_doubt(anna: Post, berta: Post) -> None:
    berta.takes("carla", anna.envelope("berta"))
    berta.relay.reached("anna", True, berta.now)
    assert berta.says("anna", READ) == [Ask(0, Tell("anna", READ))]
    carla = Post("carla")
    carla.alive = ["anna"]
    carla.takes("berta", anna.envelope("carla"))
    assert carla.says("anna", READ) == [Ask(0, Tell("anna", READ))], "there is nobody else to bring it"


def test_an_envelope_for_another_cannot_be_turned_to_us(anna: Post, berta: Post) -> None:
    """`target` is under the signature."""
    assert berta.takes("carla", msgspec.structs.replace(anna.envelope("carla"), target="berta")) == ()
    assert berta.relay.counts == {"forged": 1}


def test_strangers_past_installations_and_ourselves_send_nothing(anna: Post, berta: Post) -> None:
    good = anna.envelope("berta")
    strange = [
        Post("anna", incarnation=2).envelope("berta"),
        Post("greta").envelope("berta"),
        resigned(msgspec.structs.replace(good, sender="berta"), "berta/1"),
    ]
    assert not any(berta.takes("carla", envelope) for envelope in strange)
    assert berta.relay.counts == {"strangers": 3}


def test_who_left_the_roster_is_forgotten(anna: Post, berta: Post) -> None:
    berta.takes("carla", anna.envelope("berta"))
    berta.relay.reached("anna", False, berta.now)
    berta.relay.set_roster(roster("berta", "carla", epoch=2))
    berta.relay.check()
    assert berta.relay.cut(berta.now) == ()
    assert berta.takes("carla", anna.envelope("berta")) == ()


def test_an_envelope_holds_no_envelope_no_gossip_and_not_too_much(anna: Post) -> None:
    envelope = anna.envelope("berta")
    for inside in (envelope, Probe("carla"), Commit(FOUNDING)):
        body = msgspec.json.encode([{**fields(envelope), "messages": [fields(inside)]}])
        with pytest.raises(WireError):
            parcel.read(body)
    for number in (0, MESSAGES_MAX + 1):
        with pytest.raises(WireError):
            parcel.read(msgspec.json.encode([{**fields(envelope), "messages": [fields(READ)] * number}]))


def fields(message: msgspec.Struct) -> dict[str, object]:
    return msgspec.json.decode(parcel.spell(message), type=dict[str, object])


def test_unsound_records_in_an_envelope_are_refused(anna: Post) -> None:
    unsound = msgspec.structs.replace(CALL, record=msgspec.structs.replace(CALL.record, value="x" * 100_000))
    with pytest.raises(WireError):
        parcel.read(b"[" + parcel.spell(anna.envelope("berta", unsound)) + b"]")


def test_an_envelope_survives_the_wire_and_goes_where_votes_go(anna: Post) -> None:
    envelope = anna.envelope("berta", CALL, yes(CALL, "anna"), READ)
    (body,) = parcel.bodies([parcel.spell(envelope)])
    assert parcel.read(body) == (envelope,)
    assert parcel.call_of(envelope) == parcel.VOTING


# The window


def test_the_window_agrees_with_a_set_that_forgets_nothing() -> None:
    rng = Random(4)
    for _ in range(200):
        window, heard, last, now = Window(), set[int](), 0, 100.0
        for _ in range(300):
            count = max(1, last + rng.choice((-2 * WINDOW, -WINDOW, -3, -1, 0, 1, 2, WINDOW - 1, WINDOW, 3 * WINDOW)))
            expected = count in heard or (bool(heard) and max(heard) - count >= WINDOW)
            assert window.holds(count, now) == expected
            if not expected:
                window.add(count, now)
                heard.add(count)
                last = count
            now += rng.random()
