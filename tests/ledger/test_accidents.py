"""Forks that nobody wanted: an old backup, two machines with one key, a witness that does not look.

What an honest node can notice itself, it notices before it signs; what it cannot, the others prove.

Source: notes on the ledger, 5 (what a test of defection looks like; ONE-HEAD, MONOTONE-WITNESS).
"""

from copy import deepcopy

import pytest
from overseer import Violation
from trials import NAMES, Trial

from waypost.engine import Commit, Put
from waypost.ledger.checkpoint import cosign
from waypost.ledger.questions import Call, Enter, Entered, Reply, Resume, Serve, Shown
from waypost.ledger.submission import Submission
from waypost.sim.calls import Asked, OnReply
from waypost.sim.disk import Disk
from waypost.sim.notaries import ROUND_S, cosigner_key, entries_of, origin_of
from waypost.sim.people import fast

OTHERS = [name for name in NAMES if name != "anna"]


def put_back(trial: Trial, backup: Disk) -> None:
    """Anna's machine gets a disk that was saved earlier."""
    node = trial.party.nodes["anna"]
    node.crash(power_cut=False)
    node.disk = backup
    node.start()


def test_one_head_a_node_with_an_old_backup_takes_back_what_it_had_and_goes_on() -> None:
    trial = Trial()
    backup = deepcopy(trial.disk("anna"))
    trial.live(60.0)
    before = trial.party.log("anna")
    assert len(entries_of(backup)) < len(before)
    put_back(trial, backup)
    trial.live(60.0)
    shown = trial.shown("anna")
    assert shown.state == "signing"
    assert shown.size > len(before)
    witnessed = trial.overseer.sizes()[origin_of("anna")]
    assert trial.party.log("anna")[: len(before) - 8] == before[: len(before) - 8]
    assert shown.size >= witnessed
    trial.require_no_alarm()


def test_one_head_a_node_with_an_old_backup_signs_nothing_while_nobody_answers() -> None:
    trial = Trial()
    backup = deepcopy(trial.disk("anna"))
    trial.live(60.0)
    hosts = [trial.party.host(name) for name in OTHERS]
    trial.party.world.network.partition([trial.party.host("anna")], hosts)
    put_back(trial, backup)
    size = len(entries_of(backup))
    trial.live(60.0)
    assert trial.shown("anna").state != "signing"
    assert len(trial.party.log("anna")) == size
    statement = trial.party.statement("greta", says="hear me")
    answer = trial.party.ask("anna", Enter(statement.encode()))
    assert isinstance(answer, Reply)
    assert answer.status == 503
    trial.party.world.network.heal()
    trial.live(60.0)
    assert trial.shown("anna").state == "signing"
    trial.require_no_alarm()


def test_one_head_an_operator_who_gives_a_wrong_word_is_found_out() -> None:
    """The control: with the guard put aside, the same story ends with a proof."""
    trial = Trial("anna")
    backup = deepcopy(trial.disk("anna"))
    trial.live(60.0)
    hosts = [trial.party.host(name) for name in OTHERS]
    trial.party.world.network.partition([trial.party.host("anna")], hosts)
    put_back(trial, backup)
    trial.party.run(5.0)
    shown = trial.party.ask("anna", Resume())
    assert isinstance(shown, Shown)
    assert shown.state == "signing"
    for number in range(len(entries_of(backup)) + 100):
        statement = trial.party.statement(f"greta {number}", number=number)
        assert isinstance(trial.party.ask("anna", Enter(statement.encode())), Entered)
    trial.began = trial.party.world.now
    trial.party.world.network.heal()
    assert trial.rounds_until_proof() <= 4
    trial.require_only_guilty("anna")


@pytest.mark.parametrize("both", [True, False], ids=["at once", "one after the other"])
def test_one_head_two_machines_with_one_key_are_found_out_if_both_run(both: bool) -> None:
    trial = Trial("anna")
    copy = deepcopy(trial.disk("anna"))
    trial.began = trial.party.world.now
    if not both:
        trial.party.nodes["anna"].crash(power_cut=False)
    twin = trial.party.open("anna's twin", "anna", "2001:db8::a:2")
    twin.crash(power_cut=False)
    twin.disk = copy
    twin.start()
    trial.live(3 * ROUND_S)
    if both:
        trial.rounds_until_proof()
        assert {found.origin for found in trial.proofs()} == {origin_of("anna")}
    else:
        assert trial.shown("anna's twin").state == "signing"
        trial.require_no_alarm()


def test_one_head_two_processes_on_one_disk_end_with_one_of_them() -> None:
    """The head is compared with what it was: whoever comes second stops before anything of it leaves."""
    trial = Trial()
    node = trial.party.nodes["anna"]
    head = node.disk.get("ledger_node", b"head")
    assert head is not None
    older = head.replace(b"\n", b" \n", 1)  # another process has written meanwhile
    node.disk.begin([Commit(puts=(Put("ledger_node", b"head", older),))])
    node.disk.finish()
    size = len(trial.party.log("anna"))
    trial.party.commit("one more")
    trial.party.run(10.0)
    assert node.stops == 1
    assert len(trial.party.log("anna")) == size


class Careless:
    """A witness that cosigns what it was asked to, whatever it cosigned before."""

    def __init__(self, asked: Asked, name: str) -> None:
        self._asked = asked
        self._name = name

    @property
    def host(self) -> str:
        return self._asked.host

    def serve(self, question: Serve, on_reply: OnReply) -> None:
        def careless(reply: Reply | None) -> None:
            if reply is not None and reply.status == 409:
                head = Submission.decode(question.body).head
                line = cosign(head, cosigner_key(self._name), fast(f"{self._name}/cosigner").sign, 1)
                reply = Reply(200, line.encode().encode())
            on_reply(reply)

        self._asked.serve(question, careless)


@pytest.mark.parametrize("careless", [True, False])
def test_monotone_witness_one_that_does_not_compare_is_noticed(careless: bool) -> None:
    trial = Trial()
    if careless:
        trial.party.calls.servers["carla"] = Careless(Asked(trial.party.nodes["carla"]), "carla")
    published = trial.shown("anna").published
    assert published is not None
    trial.live(60.0)
    replayed = Call("carla", "POST", "add-checkpoint", Submission(0, (), published).encode())

    def replay() -> None:
        trial.party.calls.call("berta", trial.party.host("berta"), replayed, lambda reply: None)
        trial.party.run(5.0)

    if careless:
        with pytest.raises(Violation, match="MONOTONE-WITNESS"):
            replay()
    else:
        replay()
        trial.require_no_alarm()
