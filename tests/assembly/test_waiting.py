"""What waits at a node for a quorum, in networks of whole nodes."""

from random import Random
from typing import ClassVar, Final

from parties import THREE, ask, party

from waypost.assembly.engine import Assembly
from waypost.assembly.installation import Installation
from waypost.drip.intents import TABLE
from waypost.drip.messages import Poll, VoteCall
from waypost.drip.outbox import Tell
from waypost.drip.outcome import Outcome, State
from waypost.drip.questions import Cancel, Claim, Settle, ShowVotes, Votes
from waypost.engine import Ask, Commit, Effect
from waypost.identity.policy import default
from waypost.rd.engine import Settings
from waypost.record import Record, Stamp
from waypost.record.hlc import Hlc
from waypost.sim.installed import Party
from waypost.sim.people import fast, public_of

PLACE: Final = ("names", "lamp")


def record(party: Party, value: str, before: Record | None = None, *, name: str = "anna", txid: int = 1) -> Record:
    """The operator's, made now on the node's clock."""
    operator = public_of("operator")
    unsigned = Record(
        namespace=PLACE[0],
        key=PLACE[1],
        version=before.version + 1 if before else 1,
        prev=before.hash(party.network) if before else "",
        holder=operator,
        home=name,
        value=value,
        author=operator,
        hlc=Stamp.of(Hlc(party.nodes[name].wall_ms(), 0)),
        txid=f"{txid:032x}",
        cites=(),
        signature="",
    )
    return unsigned.signed(party.network, fast("operator").sign)


def cut(party: Party, name: str = "anna") -> None:
    """Long enough that it knows."""
    party.world.network.partition([party.host(name)], [party.host(other) for other in party.names if other != name])
    party.run(40.0)


def state(answer: object) -> State:
    assert isinstance(answer, Outcome)
    return answer.state


def settled(party: Party, name: str, of: Record) -> State:
    return state(ask(party, name, Settle(of.place, of.version, of.txid), within=5.0))


def test_a_minority_keeps_what_it_is_asked_to_and_sends_it_after_the_heal() -> None:
    three = party()
    cut(three)
    lamp = record(three, "on")
    kept = ask(three, "anna", Claim(lamp, keeps=True))
    assert state(kept) is State.PENDING
    assert settled(three, "anna", lamp) is State.PENDING
    votes = ask(three, "anna", ShowVotes(), within=0.0)
    assert isinstance(votes, Votes)
    assert [(each.place, each.version, each.txid, each.is_sent) for each in votes.queued] == [
        (PLACE, 1, lamp.txid, False)
    ]
    three.run(60.0)
    assert settled(three, "anna", lamp) is State.PENDING
    three.world.network.heal()
    three.run(10.0)
    for name in three.names:
        assert settled(three, name, lamp) is State.COMMITTED
    votes = ask(three, "anna", ShowVotes(), within=0.0)
    assert isinstance(votes, Votes)
    assert (votes.queued, votes.waiting) == ((), 0)


def test_what_waits_outlives_a_crash() -> None:
    three = party()
    cut(three)
    lamp = record(three, "on")
    assert state(ask(three, "anna", Claim(lamp, keeps=True))) is State.PENDING
    three.nodes["anna"].crash()
    three.run(1.0)
    three.nodes["anna"].start()
    three.run(1.0)
    assert settled(three, "anna", lamp) is State.PENDING
    three.world.network.heal()
    three.run(10.0)
    assert settled(three, "berta", lamp) is State.COMMITTED


class Watched(Assembly):
    """Notes what goes to the disk about what waits, and what votes are called for, in this order."""

    noted: ClassVar[list[str]] = []

    def take_effects(self) -> list[Effect]:
        effects = super().take_effects()
        for effect in effects:
            if isinstance(effect, Commit):
                self.noted.extend("row" for put in effect.puts if put.table == TABLE)
            said = effect.then if isinstance(effect, Commit) else (effect,)
            self.noted.extend("call" for each in said if isinstance(each, Ask) and _calls(each.body))
        return effects


def _calls(body: object) -> bool:
    return isinstance(body, Tell) and isinstance(body.message, Poll | VoteCall)


def test_that_it_is_sent_is_on_disk_before_it_is() -> None:
    def make(rng: Random, settings: Settings, installation: Installation) -> Assembly:
        kind = Watched if installation.name == "anna" else Assembly
        return kind(rng, settings, default().decide, installation=installation)

    three = Party(1, THREE, make=make)
    three.run(5.0)
    cut(three)
    Watched.noted.clear()
    ask(three, "anna", Claim(record(three, "on"), keeps=True))
    three.world.network.heal()
    three.run(10.0)
    assert Watched.noted[:3] == ["row", "row", "call"]
    assert Watched.noted[-1] == "row"


def test_what_was_taken_back_is_never_sent() -> None:
    three = party()
    cut(three)
    lamp = record(three, "on")
    ask(three, "anna", Claim(lamp, keeps=True))
    assert state(ask(three, "anna", Cancel(PLACE, 1, lamp.txid))) is State.CANCELLED
    three.world.network.heal()
    three.run(10.0)
    assert settled(three, "anna", lamp) is State.CANCELLED
    assert settled(three, "berta", lamp) is State.UNKNOWN
    rival = record(three, "off", name="berta", txid=2)
    assert state(ask(three, "berta", Claim(rival), within=5.0)) is State.COMMITTED
    assert settled(three, "anna", lamp) is State.CANCELLED
    assert settled(three, "berta", lamp) is State.LOST


def test_what_was_taken_back_here_and_sent_elsewhere_is_committed() -> None:
    three = party()
    cut(three)
    lamp = record(three, "on")
    ask(three, "anna", Claim(lamp, keeps=True))
    ask(three, "anna", Cancel(PLACE, 1, lamp.txid))
    assert state(ask(three, "berta", Claim(lamp), within=5.0)) is State.COMMITTED
    three.world.network.heal()
    three.run(10.0)
    assert settled(three, "anna", lamp) is State.COMMITTED


def test_what_another_won_meanwhile_is_lost_and_says_to_whom() -> None:
    three = party()
    cut(three)
    lamp = record(three, "on")
    ask(three, "anna", Claim(lamp, keeps=True))
    rival = record(three, "off", name="berta", txid=2)
    assert state(ask(three, "berta", Claim(rival), within=5.0)) is State.COMMITTED
    three.world.network.heal()
    three.run(10.0)
    lost = ask(three, "anna", Settle(PLACE, 1, lamp.txid))
    assert state(lost) is State.LOST
    assert isinstance(lost, Outcome)
    assert lost.current is not None
    assert lost.current.record == rival
