"""The node's part in its network, call by call: one feed, commits with their changes, and whom it is told to reach."""

import itertools
from random import Random
from typing import Final

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handmade import Rows

from waypost.assembly.founders import FOUNDING
from waypost.assembly.installation import Installation, Introduce, Introduced, Reach
from waypost.assembly.network import NO_QUORUM, VOTED, Network
from waypost.drip import calls
from waypost.drip.allowance import POINTS_MAX
from waypost.drip.guard import FORGED_COST
from waypost.drip.literal import Heard, Noted, Peer
from waypost.drip.members import CAPABILITIES
from waypost.drip.messages import Admit, No, Promise, RosterRequest
from waypost.drip.outbox import Tell
from waypost.drip.outcome import Outcome, Reading, State
from waypost.drip.questions import Claim, Consult, Peers, Settle, ShowPeers, ShowVotes, Votes
from waypost.drip.roster import EPOCHS, NODE, PAST, SELF
from waypost.drip.rumours import WIRE, Beat, Whisper
from waypost.engine import Answer, Apply, Ask, Commit, Effect
from waypost.errors import StoreError
from waypost.identity.keys import verifies
from waypost.rd.questions import Announce, Busy
from waypost.record import ROSTER, Change, Committed, Member, Record, Stamp, roster_in
from waypost.record.feed import Feed
from waypost.record.gossiped import Moment

WALL_MS: Final = 1_800_000_000_000
KEYS: Final = {name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in ("anna", "berta", "op")}


class House:
    """One network with its disk; what leaves is kept, what it says to itself it hears."""

    def __init__(
        self,
        name: str = "anna",
        rows: Rows | None = None,
        *,
        founding: Committed | None = None,
        contacts: dict[str, str] | None = None,
        carries: bool = True,
        literal: tuple[Peer, ...] = (),
    ) -> None:
        self.rows = rows or Rows()
        self.now = 100.0
        self.feed = Feed(Random(1))
        self.changes: list[Change] = []
        self.answers: dict[int, object] = {}
        self.asked: list[object] = []
        self.announced: list[int | None] = []
        key, operator = KEYS[name], KEYS["op"]
        self.installation = Installation(
            name,
            public(key),
            public(operator),
            "",
            WALL_MS,
            key.sign,
            verifies,
            founding,
            contacts or {},
            carries=carries,
            literal=literal,
        )
        self.network = Network(Random(2), itertools.count(1), self.feed, self.installation)
        puts, _ = self.feed.restore(self.rows)
        self.rows.write(Commit(puts=puts))
        self.network.restore(self.rows, self.now)
        self.network.handle_clock(self.now, WALL_MS)
        self.settle()

    def settle(self) -> None:
        while effects := self.network.take_effects():
            self._carry_out(effects)
            self.network.check()

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.network.next_timer()) is not None and when <= until:
            self.now = max(self.now, when)
            self.network.handle_timer(self.now)
            self.settle()
        self.now = until

    def ask(self, question: object) -> object:
        id = self.network.ask(question, self.now)
        self.settle()
        return self.answers.get(id)

    def claim(self, value: str | None, before: Record | None = None) -> tuple[Record, object]:
        record = next_record(self.network.id, value, before, home=self.installation.name)
        return record, self.ask(Claim(record))

    def _carry_out(self, effects: list[Effect] | tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Commit():
                    self.rows.write(effect)
                    self._carry_out(effect.then)
                case Apply():
                    self.changes.append(effect.change)
                    self.announced.append(self.network.applied(effect.change, self.now))
                case Answer():
                    self.answers[effect.id] = effect.result
                case Ask(body=Tell(node, message)) if node == self.installation.name:
                    self.network.hear(node, (message,), self.now)
                case Ask():
                    self.asked.append(effect.body)
                case _:
                    raise AssertionError(f"it sends no datagrams: {effect!r}")


def public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def next_record(network: str, value: str | None, before: Record | None = None, *, home: str = "anna") -> Record:
    operator = KEYS["op"]
    return Record(
        namespace="names",
        key="lamp",
        version=before.version + 1 if before else 1,
        prev=before.hash(network) if before else "",
        holder=public(operator),
        home=home,
        value=value,
        author=public(operator),
        hlc=Stamp(0, WALL_MS),
        txid=f"{before.version + 1 if before else 1:032x}",
        cites=(),
        signature="",
    ).signed(network, operator.sign)


@pytest.fixture
def house() -> House:
    return House()


def test_a_node_without_a_network_founds_one_and_decides_alone(house: House) -> None:
    roster = roster_in(msgspec.json.decode(house.rows.tables[NODE][FOUNDING], type=Committed).record)
    assert [voter.name for voter in roster.voters] == ["anna"]
    assert roster.policy.operator == public(KEYS["op"])
    record, outcome = house.claim("on")
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.COMMITTED
    assert outcome.current is not None
    assert outcome.current.record == record


def test_what_is_committed_is_a_change_of_the_feed_in_the_same_commit(house: House) -> None:
    record, _ = house.claim("on")
    house.claim(None, record)
    assert [(change.seq, change.room, change.key, change.version) for change in house.changes] == [
        (1, VOTED, b"names\0lamp", 1),
        (2, VOTED, b"names\0lamp", 2),
    ]
    assert house.changes[0].value is not None
    assert msgspec.json.decode(house.changes[0].value, type=Committed).record == record
    assert len(house.rows.tables["feed"]) == 2


def test_it_knows_its_network_and_its_votes_when_it_starts_again(house: House) -> None:
    house.claim("on")
    again = House(rows=house.rows)
    assert again.network.id == house.network.id
    reading = again.ask(Consult(("names", "lamp"), quorum=True))
    assert isinstance(reading, Reading)
    assert reading.is_known
    assert reading.current is not None
    assert reading.current.record.value == "on"
    peers = again.ask(ShowPeers())
    assert isinstance(peers, Peers)
    assert peers.is_voting


def test_a_lost_disk_makes_another_installation_which_does_not_vote(house: House) -> None:
    founding = msgspec.json.decode(house.rows.tables[NODE][FOUNDING], type=Committed)
    first = house.ask(ShowPeers())
    again = House(founding=founding)
    assert again.network.id == house.network.id
    peers = again.ask(ShowPeers())
    assert isinstance(first, Peers)
    assert isinstance(peers, Peers)
    assert not peers.is_voting or peers.incarnation == first.incarnation


@pytest.mark.parametrize("knows", [False, True])
def test_a_restored_node_is_another_installation_and_its_own_applicant(house: House, knows: bool) -> None:
    """Whether its keys are there with network.json or not, and though the clock says that no second has passed."""
    house.claim("on")
    first = house.ask(ShowPeers())
    assert isinstance(first, Peers)
    assert first.applicants == ()
    node = house.rows.tables[NODE]
    founding = msgspec.json.decode(node[FOUNDING], type=Committed) if knows else None
    del node[SELF], node[EPOCHS]
    node[PAST] = b"%d" % first.incarnation
    house.rows.tables["drip_instance"] = {}
    again = House(rows=house.rows, founding=founding)
    peers = again.ask(ShowPeers())
    assert isinstance(peers, Peers)
    assert not peers.is_voting
    assert peers.incarnation == first.incarnation + 1
    (voter,) = peers.roster.voters
    assert peers.applicants == (msgspec.structs.replace(voter, incarnation=peers.incarnation),)
    reading = again.ask(Consult(("names", "lamp"), quorum=False))
    assert isinstance(reading, Reading)
    assert reading.current is not None


def test_a_database_of_another_network_is_refused(house: House) -> None:
    other = House("berta")
    founding = msgspec.json.decode(other.rows.tables[NODE][FOUNDING], type=Committed)
    with pytest.raises(StoreError, match="another network"):
        House(rows=house.rows, founding=founding)


def test_who_joins_asks_the_founder_and_its_contacts_to_be_let_in(house: House) -> None:
    founding = msgspec.json.decode(house.rows.tables[NODE][FOUNDING], type=Committed)
    contacts = {"anna": "https://127.0.0.1:8481", "carla": "https://127.0.0.1:8482"}
    berta = House("berta", founding=founding, contacts=contacts)
    assert contacts in [body.urls for body in berta.asked if isinstance(body, Reach)]
    introduced = berta.ask(Introduce("https://127.0.0.1:8483"))
    assert introduced == Introduced(house.network.id, founding)
    berta.wait(10.0)
    told = [(body.node, type(body.message)) for body in berta.asked if isinstance(body, Tell)]
    assert {("anna", Admit), ("carla", Admit), ("anna", RosterRequest), ("carla", RosterRequest)} <= set(told)


def test_who_asks_to_be_let_in_is_reached_where_it_says_and_is_in_the_roster(house: House) -> None:
    url = "https://127.0.0.1:8483"
    berta = Member("berta", 7, public(KEYS["berta"]), url, "")
    house.network.hear("berta", (Admit(berta),), house.now)
    house.settle()
    assert {"berta": url} in [body.urls for body in house.asked if isinstance(body, Reach)]
    peers = house.ask(ShowPeers())
    assert isinstance(peers, Peers)
    assert berta in peers.roster.learners
    house.wait(2.0)
    assert any(
        isinstance(body, Whisper) and body.node == "berta" and isinstance(body.messages[0], Beat)
        for body in house.asked
    )


def test_who_founds_a_network_tells_its_own_details_with_those_of_the_first_that_comes(house: House) -> None:
    """Its first roster has none: any node reads that."""
    house.ask(Introduce("https://127.0.0.1:8481", ("ab" * 32,)))
    house.wait(120.0)
    peers = house.ask(ShowPeers())
    assert isinstance(peers, Peers)
    assert (peers.roster.voters[0].url, peers.roster.has_details) == ("https://127.0.0.1:8481", False)
    berta = Member("berta", 7, public(KEYS["berta"]), "https://127.0.0.1:8483", "", WIRE, ("gossip",), ("cd" * 32,))
    house.network.hear("berta", (Admit(berta),), house.now)
    house.settle()
    peers = house.ask(ShowPeers())
    assert isinstance(peers, Peers)
    assert peers.roster.learners == (berta,)
    (own,) = peers.roster.voters
    assert (own.wire, own.capabilities, own.tls) == (WIRE, CAPABILITIES, ("ab" * 32,))
    assert {"anna": ("ab" * 32,), "berta": ("cd" * 32,)} in [
        body.pins for body in house.asked if isinstance(body, Reach)
    ]
    assert [(seen.wire, seen.capabilities) for seen in peers.seen] == [(WIRE, CAPABILITIES), (WIRE, ("gossip",))]


def test_what_a_member_speaks_is_heard_in_its_heartbeats_and_then_the_roster_says_more(house: House) -> None:
    """It was updated where it stands: nothing else of it has changed."""
    house.ask(Introduce("https://127.0.0.1:8481", ("ab" * 32,)))
    house.wait(2.0)
    berta = Member("berta", 7, public(KEYS["berta"]), "https://127.0.0.1:8483", "")
    house.network.hear("berta", (Admit(berta),), house.now)
    house.settle()
    for wire in (1, WIRE):
        beat = Beat(1, True, "active", 7, 1, WALL_MS, Moment(0, WALL_MS), "00" * 32, wire, ())
        house.network.hear("berta", (beat,), house.now)
        house.wait(5.0)
        peers = house.ask(ShowPeers())
        assert isinstance(peers, Peers)
        assert [seen.wire for seen in peers.seen] == [WIRE if wire == WIRE else None, wire]
        assert peers.roster.learners == (berta,)
        (own,) = peers.roster.voters
        assert own.tls == (("ab" * 32,) if wire == WIRE else ())


def test_what_a_peer_of_the_draft_passes_on_is_learnt_if_the_votes_for_it_prove_it(house: House) -> None:
    """Between two nodes that do not reach each other it may carry what was committed.  Notes, 4.14."""
    record, _ = house.claim("on")
    found = house.ask(Introduce(""))
    assert isinstance(found, Introduced)
    other = House("berta", founding=found.founding, literal=(Peer("bell", has_listener=True),))
    told = house.network.voted()
    committed = next(each for each in told if each.record == record)
    assert committed.certificate is not None
    (mark,) = committed.certificate.marks
    forged = msgspec.structs.replace(mark, signature="00" * 64)
    origin = calls.Origin("anna", 1, False, False, False)
    learnt: list[int] = []
    for passed in (
        msgspec.structs.replace(committed, certificate=msgspec.structs.replace(committed.certificate, marks=(forged,))),
        msgspec.structs.replace(committed, record=msgspec.structs.replace(record, value="off")),
        committed,
        committed,
    ):
        assert isinstance(other.ask(Heard("bell", calls.Commit(origin, passed))), Noted)
        learnt.append(other.network.counters()["literal_commits_learnt"])
    assert learnt == [0, 0, 1, 1]
    reading = other.ask(Consult(record.place, quorum=False))
    assert isinstance(reading, Reading)
    assert reading.current == committed
    assert other.network.counters()["votes_forged"] == 1


def test_peers_of_the_draft_have_one_allowance_for_what_they_pass_on(house: House) -> None:
    """A signature that does not verify costs it, not the node."""
    record, _ = house.claim("on")
    committed = next(each for each in house.network.voted() if each.record == record)
    found = house.ask(Introduce(""))
    assert isinstance(found, Introduced)
    other = House("berta", founding=found.founding, literal=(Peer("bell", has_listener=True),))
    assert committed.certificate is not None
    (mark,) = committed.certificate.marks
    origin = calls.Origin("anna", 1, False, False, False)
    for number in range(POINTS_MAX // FORGED_COST + 10):
        marks = (msgspec.structs.replace(mark, signature=f"{number:0128x}"),)
        passed = msgspec.structs.replace(
            committed, certificate=msgspec.structs.replace(committed.certificate, marks=marks)
        )
        other.ask(Heard("bell", calls.Commit(origin, passed)))
    assert other.network.counters()["votes_forged"] < POINTS_MAX // FORGED_COST
    assert other.network.counters()["votes_flooded"] > 0


def test_nobody_is_let_in_by_another(house: House) -> None:
    berta = Member("berta", 7, public(KEYS["berta"]), "https://127.0.0.1:8483", "")
    house.network.hear("carla", (Admit(berta),), house.now)
    house.settle()
    peers = house.ask(ShowPeers())
    assert isinstance(peers, Peers)
    assert peers.roster.nodes == ("anna",)
    assert not [body for body in house.asked if isinstance(body, Reach) and body.urls]


def test_an_announcement_stands_in_the_directory_s_table_and_is_answered_once_applied(house: House) -> None:
    assert house.network.announce(77, Announce(b"key", b"value", WALL_MS + 3_600_000), house.now) is None
    house.settle()
    assert house.announced == [77]
    assert house.rows.tables["directory"] == {b"key": b"value"}
    assert house.network.announce(78, Announce(b"key", None, WALL_MS + 3_600_000), house.now) is None
    house.settle()
    assert house.announced == [77, 78]
    assert house.rows.tables["directory"] == {}
    assert [change.seq for change in house.changes] == [1, 2]


def test_without_a_quorum_in_reach_nothing_is_sent(house: House) -> None:
    berta = Member("berta", 7, public(KEYS["berta"]), "https://127.0.0.1:8483", "")
    peers = house.ask(ShowPeers())
    assert isinstance(peers, Peers)
    roster = msgspec.structs.replace(peers.roster, epoch=2, voters=(*peers.roster.voters, berta))
    operator = KEYS["op"]
    record = msgspec.structs.replace(
        peers.committed.record,
        version=2,
        prev=peers.committed.record.hash(house.network.id),
        value=roster.encode().decode(),
        author=public(operator),
        hlc=Stamp(0, WALL_MS),
    ).signed(house.network.id, operator.sign)
    outcome = house.ask(Claim(record))
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.COMMITTED
    house.asked.clear()
    _, refused = house.claim("on")
    assert isinstance(refused, Busy)
    again = house.ask(Claim(record))
    assert isinstance(again, Outcome)
    assert again.state is State.COMMITTED, "that is known already"
    passed = msgspec.structs.replace(record, txid="f" * 32).signed(house.network.id, operator.sign)
    late = house.ask(Claim(passed))
    assert isinstance(late, Outcome)
    assert late.state is State.LOST
    assert not house.asked
    reading = house.ask(Consult(ROSTER, quorum=True))
    assert isinstance(reading, Reading)
    assert not reading.is_known
    assert reading.current is not None
    assert reading.current.record == record
    settled = house.ask(Settle(("names", "lamp"), 1, "f" * 32))
    assert settled == Outcome(State.UNKNOWN, None, NO_QUORUM)
    decided = house.ask(Settle(ROSTER, 2, record.txid))
    assert isinstance(decided, Outcome)
    assert decided.state is State.COMMITTED
    house.network.hear("berta", (), house.now)
    assert house.ask(Consult(ROSTER, quorum=True)) is None  # the voters are asked
    assert house.claim("on")[1] is None  # a vote is under way
    votes = house.ask(ShowVotes())  # berta is its home, so anna has asked for promises
    assert isinstance(votes, Votes)
    house.network.hear("berta", (Promise("names", "lamp", 1, votes.open[0].promised, 1, None),), house.now)
    house.settle()
    votes = house.ask(ShowVotes())
    assert isinstance(votes, Votes)
    assert [(vote.place, vote.yes, vote.no) for vote in votes.open] == [(("names", "lamp"), ("anna",), ())]
    refusal = No("names", "lamp", 1, votes.open[0].accepted, "entitlement", "not here", None, ())
    house.network.hear("berta", (refusal,), house.now)
    house.settle()
    votes = house.ask(ShowVotes())
    assert isinstance(votes, Votes)
    assert votes.open[0].no == (("berta", "not here"),)
    house.network.reached("berta", False, house.now)
    assert isinstance(house.ask(Claim(next_record(house.network.id, "off"))), Busy)
    house.network.hear("berta", (), house.now + 1.0)
    house.now += 1.0
    assert house.ask(Claim(next_record(house.network.id, "off"))) is None


def test_what_became_of_a_claim_and_which_votes_are_under_way_can_be_asked(house: House) -> None:
    record, _ = house.claim("on")
    settled = house.ask(Settle(record.place, 1, record.txid))
    assert isinstance(settled, Outcome)
    assert settled.state is State.COMMITTED
    votes = house.ask(ShowVotes())
    assert votes == Votes((), 0, {})
    assert house.ask(Consult(ROSTER, quorum=False)) is not None
