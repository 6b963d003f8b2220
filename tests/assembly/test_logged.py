"""Whole nodes that keep logs: what was voted on is an entry at each, once, whatever befalls them."""

import msgspec
import pytest

from waypost.drip.book import HISTORY
from waypost.drip.outcome import Outcome, State
from waypost.ledger import entry
from waypost.ledger.note import Verify
from waypost.ledger.policy import Policy
from waypost.ledger.proof import ProofFile, verify_proof
from waypost.ledger.questions import Prove, ShowLog, Shown
from waypost.record import Committed, Place
from waypost.record.feed import FEED
from waypost.sim.installed import Party
from waypost.sim.notaries import cosigner_key, entries_of, log_key
from waypost.sim.people import Fast

NAMES = ("anna", "berta", "carla")
BOAT = ("names", "boat")
verify: Verify = Fast.verify


@pytest.fixture
def party() -> Party:
    party = Party(7, NAMES, logs=True)
    party.run(2.0)
    return party


def claim(party: Party, name: str, value: str, before: Committed | None = None) -> Committed:
    heard: list[object] = []
    party.claim(name, BOAT, value, before, heard.append)
    party.run(2.0)
    (outcome,) = heard
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.COMMITTED
    assert outcome.current is not None
    return outcome.current


def commits(party: Party, name: str) -> list[tuple[Place, int]]:
    """What a node's log has of voted records, as it is on its disk."""
    found = [entry.decode(octets) for octets in entries_of(party.nodes[name].disk)]
    records = [entry.read_commit(each.body).committed.record for each in found if each.kind is entry.Kind.COMMIT]
    return [(record.place, record.version) for record in records]


def asked(party: Party, name: str, question: object) -> object:
    heard: list[object] = []
    party.nodes[name].ask(lambda engine, now: engine.ask(question, now), heard.append)
    party.run(0.1)
    return heard[0]


def test_each_version_is_an_entry_at_each_node(party: Party) -> None:
    first = claim(party, "anna", "hers")
    claim(party, "berta", "hers still", first)
    for name in NAMES:
        assert [each for each in commits(party, name) if each[0] == BOAT] == [(BOAT, 1), (BOAT, 2)]


def test_a_start_goes_on_in_the_feed_where_the_log_ended(party: Party) -> None:
    """The cursor is saved with the head: what is durable and was not entered is entered by the next start, once."""
    berta, committed = party.nodes["berta"], claim(party, "anna", "hers")
    for version in (2, 3):
        party.claim("anna", BOAT, f"version {version}", committed, lambda _: None)
        while not any(b"version %d" % version in row for row in party.rows("berta", HISTORY).values()):
            party.run(0.0001)
        assert commits(party, "berta")[-1] == (BOAT, version - 1)
        assert not any(b"version" in row for row in party.rows("berta", FEED).values()), "it is stored twice"
        berta.crash()
        berta.start()
        party.run(8.0)
        assert commits(party, "berta")[-2:] == [(BOAT, version - 1), (BOAT, version)]
        committed = max(map(committed_in, party.rows("anna", "drip_record").values()), key=version_of_boat)
    claim(party, "anna", "the last", committed)
    assert [version for place, version in commits(party, "berta") if place == BOAT] == [1, 2, 3, 4]


def committed_in(row: bytes) -> Committed:
    return msgspec.json.decode(row, type=Committed)


def version_of_boat(committed: Committed) -> int:
    return committed.record.version if committed.record.place == BOAT else 0


def test_a_reader_who_trusts_two_witnesses_is_shown_what_was_claimed(party: Party) -> None:
    claim(party, "carla", "hers")
    party.run(15.0)
    shown = asked(party, "anna", ShowLog())
    assert isinstance(shown, Shown)
    assert (shown.state, len(shown.cosigners)) == ("signing", 2)
    entries = entries_of(party.nodes["anna"].disk)
    (place,) = [index for index, octets in enumerate(entries) if b'"boat"' in octets]
    proof = asked(party, "anna", Prove(place))
    assert isinstance(proof, bytes)
    file = ProofFile.decode(proof)
    policy = Policy.of((log_key("anna"),), [cosigner_key(name) for name in NAMES], 2)
    wall_s = party.nodes["anna"].wall_ms() // 1000
    assert len(verify_proof(file, file.extra, policy, verify, wall_s).cosigned) == 2
