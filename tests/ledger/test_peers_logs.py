"""Which keys are whose: what nodes tell about their logs.  Time is a number we choose."""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keeping import Disk, notary, public_of, sign_as, verify

from waypost.engine import Ask, Commit
from waypost.errors import StoreError, WireError
from waypost.identity.keys import verifies
from waypost.ledger import peers
from waypost.ledger.note import Algorithm, Key, Line, Note
from waypost.ledger.peers import PeerLog, Peers, make_keys, read_keys, read_text
from waypost.ledger.questions import Call, Notary, Outside, Reply

STRANGER = Key("far.example/log", Algorithm.ED25519, public_of("far"))
OUTSIDE = Key("far.example/w", Algorithm.COSIGNATURE, public_of("far/w"))


def node_key(name: str, number: int = 1) -> Key:
    return Key(name, Algorithm.ED25519, public_of(name if number == 1 else f"{name} {number}"))


def notary_of(name: str, origin: str = "", number: int = 1) -> Notary:
    """The node's, with a log of that origin, if it is not its first, and its node key of that number."""
    made = notary(Disk().read, name)
    if origin:
        key = Key(origin, Algorithm.ED25519, public_of(f"{origin} of {name}"))
        cosigner = Key(f"{origin}/witness", Algorithm.COSIGNATURE, public_of(f"{origin}/witness of {name}"))
        made = with_keys(made, key, cosigner)
    public = node_key(name, number).public
    return replace(made, sign_as_node=lambda message: sign_as(public, message))


def with_keys(made: Notary, key: Key, cosigner: Key) -> Notary:
    return replace(
        made,
        origin=key.name,
        key=key,
        sign=lambda message: sign_as(key.public, message),
        cosigner=cosigner,
        cosign=lambda message: sign_as(cosigner.public, message),
    )


def keys_of(name: str, origin: str = "", number: int = 1) -> bytes:
    return make_keys(notary_of(name, origin, number), node_key(name, number))


def log_of(name: str, origin: str = "") -> PeerLog:
    made = notary_of(name, origin)
    return PeerLog(name, made.origin, made.key, made.cosigner)


class Hand:
    """Anna's peers; `answers` are what each node says, nothing if it has none."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.now = 100.0
        self.frozen: dict[str, str] = {}
        self.asked: list[tuple[float, str]] = []
        self.answers: dict[str, bytes | Reply] = {}
        anna = replace(
            notary(self.disk.read), witnessed=(STRANGER,), outside=(Outside(OUTSIDE, "https://far.example/"),)
        )
        self.peers = Peers(Random(1), itertools.count(1), anna, node_key("anna"), self.frozen.get)
        self.peers.restore(self.disk, self.now)

    def again(self, *names: str) -> "Hand":
        other = Hand(self.disk)
        other.frozen.update(self.frozen)
        other.members(*names)
        return other

    def members(self, *names: str, number: int = 1) -> None:
        self.peers.set_members({name: node_key(name, number).public.hex() for name in names}, self.now)

    def says(self, name: str, data: bytes | Reply) -> None:
        """The next time that it is asked, which is now."""
        self.answers[name] = data
        self.run(peers.AGAIN_S)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.peers.next_timer()) is not None and when <= until:
            self.now = when
            self.peers.handle_timer(self.now)
            self.settle()
        self.now = until

    def settle(self) -> None:
        while effects := self.peers.take_effects():
            for effect in effects:
                if isinstance(effect, Commit):
                    self.disk.write(effect)
                    continue
                assert isinstance(effect, Ask)
                assert isinstance(effect.body, Call)
                assert (effect.body.method, effect.body.path) == ("GET", "keys")
                self.asked.append((self.now, effect.body.node))
                said = self.answers.get(effect.body.node)
                reply = Reply(200, said) if isinstance(said, bytes) else said
                assert self.peers.answered(effect.id, reply, self.now)

    @property
    def refused(self) -> int:
        return self.peers.counters()["ledger_keys_refused"]


@pytest.fixture
def hand() -> Hand:
    hand = Hand()
    hand.answers = {"berta": keys_of("berta"), "carla": keys_of("carla")}
    hand.members("berta", "carla")
    hand.run(1.0)
    return hand


def test_a_node_tells_the_keys_that_others_know_it_by(hand: Hand) -> None:
    reply = hand.peers.keys()
    assert reply.status == 200
    assert read_keys(reply.body, "anna", node_key("anna").public, verify) == log_of("anna")
    assert Note.decode(reply.body).text == (
        f"waypost/log-keys@v1\nanna\n{log_of('anna').key.encode()}\n{log_of('anna').cosigner.encode()}\n"
    )


def test_who_comes_in_is_asked_for_its_keys_at_once(hand: Hand) -> None:
    assert hand.asked == [(100.0, "berta"), (100.0, "carla")]
    assert hand.peers.known == {"berta": log_of("berta"), "carla": log_of("carla")}
    assert hand.peers.of_origin("waypost/berta") == log_of("berta")
    assert hand.peers.key_of("waypost/berta") == log_of("berta").key
    assert hand.refused == 0


def test_who_has_not_told_is_asked_again_and_ever_less_often() -> None:
    hand = Hand()
    hand.members("berta")
    hand.run(1000.0)
    waits = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(hand.asked)]
    for number, wait in enumerate(waits):
        assert min(2.0**number, peers.RETRY_MAX_S) * 0.5 <= wait <= min(2.0**number, peers.RETRY_MAX_S)
    assert 16 < len(waits) < 40
    hand.says("berta", keys_of("berta"))
    assert "berta" in hand.peers.known


def test_who_has_told_is_asked_now_and_then(hand: Hand) -> None:
    hand.asked = []
    hand.run(10 * peers.AGAIN_S)
    assert 20 <= len(hand.asked) <= 40
    assert hand.refused == 0


def test_what_was_told_is_remembered(hand: Hand) -> None:
    again = hand.again("berta")
    assert again.peers.known == {"berta": log_of("berta")}


def test_who_is_no_member_any_more_is_not_known_nor_asked(hand: Hand) -> None:
    hand.members("carla")
    assert hand.peers.known == {"carla": log_of("carla")}
    assert hand.peers.key_of("waypost/berta") is None
    hand.asked = []
    hand.run(3 * peers.AGAIN_S)
    assert {name for _, name in hand.asked} == {"carla"}
    hand.members("berta", "carla")
    assert hand.peers.known["berta"] == log_of("berta")


def test_what_a_node_says_after_it_was_put_out_is_not_heard() -> None:
    hand = Hand()
    hand.members("berta")
    hand.peers.handle_timer(hand.now)
    (ask,) = hand.peers.take_effects()
    assert isinstance(ask, Ask)
    hand.members()
    assert hand.peers.answered(ask.id, Reply(200, keys_of("berta")), hand.now)
    assert hand.peers.known == {}
    assert hand.peers.next_timer() is None
    assert not hand.peers.answered(ask.id, None, hand.now)


def test_a_stranger_that_the_configuration_names_is_witnessed_and_no_witness(hand: Hand) -> None:
    assert hand.peers.key_of(STRANGER.name) == STRANGER
    assert hand.peers.of_origin(STRANGER.name) is None
    assert hand.peers.key_of("waypost/emma") is None


def test_the_number_of_changes_is_told(hand: Hand) -> None:
    before = hand.peers.revision
    hand.run(2 * peers.AGAIN_S)
    assert hand.peers.revision == before
    hand.members("berta")
    assert hand.peers.revision == before + 1


# what is refused


def signed_by(notaries: Iterable[Key], note: Note) -> Note:
    return Note(note.text, tuple(line for line in note.lines if any(line.is_by(key) for key in notaries)))


BERTA = log_of("berta")
WHOLE = Note.decode(keys_of("berta"))


def as_cosigned_at(time_s: int) -> Note:
    line = WHOLE.lines[2]
    text = f"cosignature/v1\ntime {time_s}\n{WHOLE.text}".encode()
    signature = time_s.to_bytes(8, "big") + sign_as(BERTA.cosigner.public, text)
    return Note(WHOLE.text, (*WHOLE.lines[:2], Line(line.name, line.id, signature)))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nothing",
        keys_of("carla"),
        keys_of("berta", number=2),
        signed_by((BERTA.key, BERTA.cosigner), WHOLE).encode(),
        signed_by((node_key("berta"), BERTA.cosigner), WHOLE).encode(),
        signed_by((node_key("berta"), BERTA.key), WHOLE).encode(),
        as_cosigned_at(1).encode(),
        keys_of("berta").replace(b"@v1", b"@v2"),
        keys_of("berta").replace(b"\n\n", b"\nmore\n\n"),
        Note(WHOLE.text, (*WHOLE.lines, *(Line("x", b"1234", bytes(400)) for _ in range(40)))).encode(),
        keys_of("berta", "waypost/anna"),
        keys_of("berta", "waypost/carla"),
        keys_of("berta", "waypost/dora"),
        keys_of("berta", STRANGER.name),
    ],
)
def test_what_a_node_cannot_say_of_its_log_is_refused(said: bytes) -> None:
    hand = Hand()
    hand.members("carla", "dora")
    hand.answers = {"carla": keys_of("carla")}
    hand.run(1.0)
    hand.answers["berta"] = said
    hand.members("berta", "carla", "dora")
    hand.run(0.0)
    assert hand.peers.known.keys() == {"carla"}
    assert hand.refused == 1
    hand.says("berta", keys_of("berta"))
    assert hand.peers.known["berta"] == log_of("berta")


def test_no_key_signs_for_two(hand: Hand) -> None:
    own, cosigner = log_of("dora").key, log_of("dora").cosigner
    anna, berta = log_of("anna"), log_of("berta")
    publics = [each.public for log in (anna, berta) for each in (log.key, log.cosigner)]
    publics += [OUTSIDE.public, node_key("anna").public, node_key("dora").public]
    hand.members("berta", "carla", "dora")
    for public in publics:
        for key, other in ((replace(own, public=public), cosigner), (own, replace(cosigner, public=public))):
            hand.says("dora", make_keys(with_keys(notary_of("dora"), key, other), node_key("dora")))
            assert "dora" not in hand.peers.known
    hand.says(
        "dora", make_keys(with_keys(notary_of("dora"), own, replace(cosigner, public=own.public)), node_key("dora"))
    )
    assert "dora" not in hand.peers.known
    hand.says("dora", keys_of("dora"))
    assert "dora" in hand.peers.known


@pytest.mark.parametrize(
    ("key", "cosigner"),
    [
        (Algorithm.ED25519, Algorithm.ED25519),
        (Algorithm.COSIGNATURE, Algorithm.COSIGNATURE),
    ],
)
def test_a_log_has_a_key_that_signs_and_one_that_cosigns(key: Algorithm, cosigner: Algorithm) -> None:
    keys = Key("waypost/berta", key, bytes(32)), Key("waypost/berta/witness", cosigner, b"1" * 32)
    with pytest.raises(WireError):
        read_text("".join(f"{line}\n" for line in (peers.FIRST_LINE, "berta", *(each.encode() for each in keys))))


def test_the_cosigner_is_named_after_the_log() -> None:
    made = with_keys(notary_of("berta"), BERTA.key, replace(BERTA.cosigner, name="waypost/carla/witness"))
    with pytest.raises(WireError):
        read_keys(make_keys(made, node_key("berta")), "berta", node_key("berta").public, verify)


# keys that change


def test_other_keys_that_a_node_names_later_are_refused_and_counted(hand: Hand) -> None:
    other = with_keys(
        notary_of("berta"), replace(BERTA.key, public=b"1" * 32), replace(BERTA.cosigner, public=b"2" * 32)
    )
    for said in (make_keys(other, node_key("berta")), keys_of("berta", "waypost/berta-2")):
        before = hand.refused
        hand.says("berta", said)
        assert hand.refused > before
        assert hand.peers.known["berta"] == BERTA
        assert hand.again("berta").peers.known["berta"] == BERTA


def test_a_node_begins_another_log_when_there_is_evidence_against_the_one_before(hand: Hand) -> None:
    hand.frozen["waypost/berta"] = "evidence"
    hand.says("berta", keys_of("berta", "waypost/berta-2"))
    assert hand.refused == 0
    for each in (hand, hand.again("berta", "carla")):
        assert each.peers.known["berta"] == log_of("berta", "waypost/berta-2")
        assert each.peers.of_origin("waypost/berta") == BERTA  # what lies below is still served
        each.says("berta", keys_of("berta", "waypost/berta-3"))
        each.says("berta", keys_of("berta"))
        assert each.peers.known["berta"] == log_of("berta", "waypost/berta-2")


def test_another_key_of_the_same_log_is_refused_whatever_there_is_against_it(hand: Hand) -> None:
    hand.frozen["waypost/berta"] = "evidence"
    other = with_keys(
        notary_of("berta"), replace(BERTA.key, public=b"1" * 32), replace(BERTA.cosigner, public=b"2" * 32)
    )
    hand.says("berta", make_keys(other, node_key("berta")))
    assert hand.refused > 0
    assert hand.peers.known["berta"] == BERTA


def test_nobody_else_takes_the_name_or_the_keys_of_a_log_that_was(hand: Hand) -> None:
    hand.frozen["waypost/berta"] = "evidence"
    hand.says("berta", keys_of("berta", "waypost/berta-2"))
    hand.members("carla", "dora")
    hand.says("dora", keys_of("dora", "waypost/berta"))
    assert "dora" not in hand.peers.known


def test_a_node_whose_key_the_network_has_voted_anew_has_its_log_or_begins_another(hand: Hand) -> None:
    hand.answers["berta"] = keys_of("berta", number=2)
    hand.members("berta", "carla", number=2)
    hand.run(0.0)
    assert hand.peers.known["berta"] == BERTA
    hand.answers["berta"] = keys_of("berta", "waypost/berta-2", number=2)
    hand.run(peers.AGAIN_S)
    assert hand.peers.known["berta"] == BERTA  # the new key has said that it is the same log
    hand.members("berta", "carla", number=3)
    hand.says("berta", keys_of("berta", "waypost/berta-2", number=3))
    assert hand.peers.known["berta"] == log_of("berta", "waypost/berta-2")


def test_a_node_begins_so_many_logs_and_no_more(hand: Hand) -> None:
    for number in range(2, 2 * peers.FORMER_MAX):
        hand.frozen[hand.peers.known["berta"].origin] = "evidence"
        hand.says("berta", keys_of("berta", f"waypost/berta-{number}"))
    assert hand.peers.known["berta"].origin == f"waypost/berta-{peers.FORMER_MAX + 1}"


# the message


@given(
    st.binary() | st.text().map(lambda text: f"{peers.FIRST_LINE}\n{text}\n\n— a AAAAAAAA\n".encode(errors="replace"))
)
def test_any_bytes_are_keys_or_raise_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        read_keys(data, "berta", bytes(32), verifies)


def test_what_cannot_be_read_on_the_disk_stops_the_node() -> None:
    for key, value in ((b"berta", b"nothing"), (b"\xff", keys_of("berta"))):
        disk = Disk()
        disk.tables[peers.TABLE] = {key: value}
        with pytest.raises(StoreError):
            Hand(disk)
