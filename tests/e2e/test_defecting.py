"""Five real nodes, of which one after the other defects, and what the others hold against it.

The stories go on from each other, in their order: who is still honest, and what is in the logs, is what the ones before
left.  Each names the invariant that it tries, and says how many rounds passed until the first honest node held a proof.

Source: notes on the ledger, 5 (what a test of defection looks like).
"""

import asyncio
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from daemons import Daemon, Federation
from lying import Liar, log_of
from reading import Keys, cosigners_of, head_of, keys_of, page, until
from rogues import rewritten

from waypost.errors import ProofError
from waypost.identity.keys import verifies
from waypost.ledger import evidence, exhibit
from waypost.ledger.checkpoint import Head, read_head
from waypost.ledger.evidence import Fault, Found
from waypost.ledger.policy import Policy, quorum_of
from waypost.ledger.questions import Call
from waypost.ledger.statement import Statement
from waypost.sim.histories import History

ROUND_S: Final = 2
ROUNDS_MAX: Final = 8  # on a machine that has other things to do
NODES: Final = 5


@dataclass
class Town:
    federation: Federation
    keys: dict[str, Keys]
    network: str
    liars: ExitStack
    bad: dict[str, Liar] = field(default_factory=dict)

    @property
    def honest(self) -> list[Daemon]:
        return [daemon for daemon in self.federation.daemons if daemon.name not in self.bad]

    def turn(self, number: int) -> Liar:
        """That node lies from now on."""
        daemon = self.federation[number]
        daemon.stop()
        urls = {other.name: f"https://{other.peers}" for other in self.federation.daemons if other is not daemon}
        liar = Liar(daemon, self.network, urls)
        self.bad[daemon.name] = liar
        return self.liars.enter_context(liar)

    def proofs(self, daemon: Daemon) -> list[Found]:
        """What that node shows everybody, judged by a stranger with all the public keys."""
        trusted = [key for each in self.keys.values() for key in (each.log, each.cosigner)]
        digests = page(http(daemon), "evidence").decode().split()
        files = [page(http(daemon), f"evidence/{digest}") for digest in digests]
        return [evidence.check(data, trusted, verifies, quorum_of(NODES - 1)) for data in files]

    def accused(self, daemon: Daemon) -> set[str]:
        return {found.origin or found.accused for found in self.proofs(daemon)}

    def rounds_until_proof(self, of: str, began: float) -> int:
        """Until the first of the honest nodes holds one."""

        def held() -> bool | None:
            return any(of in self.accused(daemon) for daemon in self.honest) or None

        until(held, ROUNDS_MAX * ROUND_S)
        rounds = math.ceil((time.monotonic() - began) / ROUND_S)
        print(f"{rounds} rounds until the first honest node held a proof against {of}")
        return rounds

    def all_hold(self, of: str) -> None:
        until(lambda: all(of in self.accused(daemon) for daemon in self.honest) or None, ROUNDS_MAX * ROUND_S)

    def origin(self, name: str) -> str:
        return self.keys[name].log.name

    def frozen(self, daemon: Daemon) -> dict[str, int]:
        shown = asyncio.run(daemon.ask("/v1/log"))
        return {link["origin"]: link["frozen"] for link in shown["links"] if link["frozen"] is not None}

    def require_no_alarm(self, *but: str) -> None:
        """Nobody is accused but of `but`, and who is honest signs."""
        for daemon in self.honest:
            assert self.accused(daemon) <= set(but)
            assert set(self.frozen(daemon)) <= set(but)
            assert asyncio.run(daemon.ask("/v1/log"))["state"] == "signing"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    federation = Federation(tmp_path_factory.mktemp("town"), NODES, ledger__round_s=ROUND_S)
    with ExitStack() as liars:
        liars.callback(federation.end)
        asyncio.run(federation.found())
        keys = {daemon.name: keys_of(http(daemon)) for daemon in federation.daemons}
        yield Town(federation, keys, federation.operator.network, liars)


def http(daemon: Daemon) -> str:
    assert daemon.node is not None
    return daemon.node.http


def stated(signer: Ed25519PrivateKey, prev: str = "", **body: object) -> Statement:
    public = signer.public_key().public_bytes_raw().hex()
    return Statement(time.time_ns() // 1_000_000, body, "story", prev, public).signed(signer.sign)


async def enter(daemon: Daemon, statement: Statement) -> tuple[int, Any]:
    body, headers = msgspec.json.encode(statement), {"Content-Type": "application/json"}
    async with daemon.session() as session, session.post("/v1/log/statements", data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


def say(daemon: Daemon) -> int:
    """Something is entered there; at which index."""
    status, answer = asyncio.run(enter(daemon, stated(Ed25519PrivateKey.generate(), says="something")))
    assert status == 201, answer
    index: int = answer["index"]
    return index


def all_cosigned(town: Town) -> None:
    """Something new is in every honest log, under a head with the cosignatures of all other honest nodes."""
    said = [(daemon, say(daemon)) for daemon in town.honest]
    for daemon, index in said:
        witnesses = {other.name: town.keys[other.name].cosigner for other in town.honest if other is not daemon}

        def cosigned(daemon: Daemon = daemon, witnesses: dict[str, Any] = witnesses, index: int = index) -> bool | None:
            head = head_of(http(daemon), town.keys[daemon.name])
            whole = head is not None and head.size > index and cosigners_of(head, witnesses) == witnesses.keys()
            return whole or None

        until(cosigned, 30.0)


def test_sound_evidence_nodes_that_are_honest_raise_no_alarm(town: Town) -> None:
    """The control of all that follow."""
    for _ in range(3):
        all_cosigned(town)
    town.require_no_alarm()


def test_one_head_a_node_with_an_old_backup_takes_back_what_it_had(town: Town, tmp_path: Path) -> None:
    second = town.federation[2]
    second.stop()
    shutil.copytree(second.files, tmp_path / "backup")
    second.start()
    index = [say(second) for _ in range(5)][-1]
    all_cosigned(town)
    second.stop()
    had = log_of(second.files)
    shutil.rmtree(second.files)
    shutil.copytree(tmp_path / "backup", second.files)
    assert len(log_of(second.files)) < len(had)
    second.start()

    def signs() -> bool | None:
        return asyncio.run(second.ask("/v1/log"))["state"] == "signing" or None

    until(signs, 30.0)
    all_cosigned(town)
    assert log_of(second.files)[: index + 1] == had[: index + 1]
    town.require_no_alarm()


def test_double_statement_is_found_through_two_nodes_at_once(town: Town) -> None:
    signer = Ed25519PrivateKey.generate()
    began = time.monotonic()

    async def both() -> tuple[tuple[int, Any], tuple[int, Any]]:
        one, other = stated(signer, says="this"), stated(signer, says="that")
        return await asyncio.gather(enter(town.federation[1], one), enter(town.federation[3], other))

    assert [status for status, _ in asyncio.run(both())] == [201, 201]
    public = signer.public_key().public_bytes_raw().hex()
    assert town.rounds_until_proof(public, began) <= ROUNDS_MAX
    town.all_hold(public)
    town.require_no_alarm(public)
    assert all(town.frozen(daemon) == {} for daemon in town.honest)


def test_sound_evidence_no_false_accusation_is_believed(town: Town) -> None:
    fifth = town.turn(5)
    before = {daemon.name: town.accused(daemon) for daemon in town.honest}
    victim = town.federation[1]
    true = log_of(victim.files)
    forged = History(town.keys[victim.name].log, fifth.rogue.notary.sign, [*true[:1], b"never said", *true[2:]])
    real = head_of(http(victim), town.keys[victim.name])
    assert real is not None
    made = evidence.of_heads(town.keys[victim.name].log, real, forged.head(), forged.tree)
    assert made is not None
    for daemon in town.honest:
        reply = fifth.call(Call(daemon.name, "POST", "evidence", exhibit.encode(made)))
        assert reply is not None
        assert reply.status >= 400
    time.sleep(ROUND_S)
    assert {daemon.name: town.accused(daemon) for daemon in town.honest} == before


def test_append_only_altered_entries_are_not_mirrored(town: Town) -> None:
    """Nor do they accuse anybody: whoever holds a tile can alter it."""
    fifth = town.bad[town.federation[5].name]
    first, hex = town.federation[1], town.keys[fifth.name].hex
    had = read_head(page(http(first), f"mirror/{hex}/checkpoint")).size
    altered = fifth.rogue.history.fork(1, *[b"altered"] * 2000)
    fifth.rogue.answers = lambda question: altered.serve(question.path) if "tile/" in question.path else None
    fifth.rogue.history.add(b"something new")
    fifth.submit(*[daemon.name for daemon in town.honest])
    size = fifth.rogue.history.size

    def cosigned() -> bool | None:
        return read_head(page(http(first), f"witness/{hex}/checkpoint")).size == size or None

    until(cosigned)
    until(lambda: any("tile/" in question.path for question in fifth.rogue.asked) or None)
    time.sleep(1.0)
    assert read_head(page(http(first), f"mirror/{hex}/checkpoint")).size == had
    fifth.rogue.answers = lambda question: None
    assert town.origin(fifth.name) not in town.accused(first)


def test_reader_quorum_is_not_met_by_a_fork_that_one_reader_alone_is_shown(town: Town) -> None:
    """The honest nodes cosigned another one, and what they signed of that does not fit."""
    fifth = town.bad[town.federation[5].name]
    name, history = fifth.name, fifth.rogue.history
    others = [key.cosigner for other, key in town.keys.items() if other != name]
    policy = Policy.of([town.keys[name].log], others, quorum_of(len(others)))
    now_s = int(time.time())
    shown = history.head()
    for daemon in town.honest:
        cosigned = read_head(page(http(daemon), f"witness/{town.keys[name].hex}/checkpoint"))
        assert cosigned.root == shown.root
        line = cosigned.note.by(town.keys[daemon.name].cosigner)
        assert line is not None
        shown = Head(shown.checkpoint, shown.note.signed(line))
    assert policy.check(shown, verifies, now_s, age_max_s=600).met
    forked = history.fork(history.size - 1, b"for you alone").head()
    assert not policy.check(forked, verifies, now_s).met
    replayed = Head(forked.checkpoint, forked.note.signed(shown.note.lines[1]))
    with pytest.raises(ProofError):
        policy.check(replayed, verifies, now_s)


def test_one_head_is_shown_to_be_broken_by_a_fork_of_one_size(town: Town) -> None:
    """COMPLETE-EVIDENCE: two of the nodes are shown the one, two the other."""
    fifth = town.bad[town.federation[5].name]
    fork(town, fifth, [b"left"], [b"right"])
    assert Fault.SAME_SIZE in {found.fault for found in town.proofs(town.federation[1])}


def test_append_only_is_shown_to_be_broken_by_a_larger_fork(town: Town) -> None:
    fourth = town.turn(4)
    fork(town, fourth, [b"left"], [b"right", b"more", b"and more"])
    origin = town.origin(fourth.name)
    assert {found.fault for found in town.proofs(town.federation[1]) if found.origin == origin} == {Fault.GROWTH}


@pytest.mark.parametrize("number", [3, 2])
def test_no_lone_defector_rewrites_history(town: Town, number: int) -> None:
    """With those that defected before it, three and then four of five: the last honest one holds the proof."""
    liar = town.turn(number)
    rogue = liar.rogue
    rogue.history = rewritten(rogue.history, [town.origin(name) for name in town.bad])
    rogue.history.add(*[b"and so on"] * 5)
    began = time.monotonic()
    liar.submit(*[daemon.name for daemon in town.honest])
    assert town.rounds_until_proof(town.origin(liar.name), began) <= ROUNDS_MAX
    town.all_hold(town.origin(liar.name))
    for daemon in town.honest:
        assert {town.origin(name) for name in town.bad} <= set(town.frozen(daemon))
        say(daemon)


def fork(town: Town, liar: Liar, left: list[bytes], right: list[bytes]) -> None:
    """Half of the honest nodes see the one history, half the other."""
    rogue, honest = liar.rogue, [daemon.name for daemon in town.honest]
    one, other = (rogue.history.fork(rogue.history.size, *more) for more in (left, right))
    middle = len(honest) // 2
    rogue.views = {**dict.fromkeys(honest[:middle], one), **dict.fromkeys(honest[middle:], other)}
    began = time.monotonic()
    liar.submit(*honest)
    assert town.rounds_until_proof(town.origin(liar.name), began) <= ROUNDS_MAX
    town.all_hold(town.origin(liar.name))
    for daemon in town.honest:
        assert town.origin(liar.name) in town.frozen(daemon)
        say(daemon)
