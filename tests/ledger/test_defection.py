"""Defection: a node that shows two histories, takes one back or lets others vouch for it, and what it leads to.

Five nodes in the simulator; each story names the invariant that it tries, says in how many rounds the first honest node
holds a proof, and is told of an honest node, too: then nobody is accused.

Source: notes on the ledger, 5 (what a test of defection looks like).
"""

import json

import pytest
from msgspec.structs import replace
from rogues import Rogue
from trials import NAMES, Trial

from waypost.errors import ProofError
from waypost.ledger import entry, evidence, exhibit
from waypost.ledger.checkpoint import Head, cosign, read_head
from waypost.ledger.entry import Kind
from waypost.ledger.evidence import Fault
from waypost.ledger.note import Note
from waypost.ledger.questions import Call, Enter, Entered, Reply
from waypost.sim.histories import History
from waypost.sim.notaries import ROUND_S, cosigner_key, entries_of, log_key, origin_of
from waypost.sim.people import fast, public_of

lies = pytest.mark.parametrize("lies", [True, False], ids=["it lies", "it is honest"])
LEFT, RIGHT = ("berta", "carla"), ("dora", "emma")
ANNA = origin_of("anna")


def show(trial: Trial, left: History, right: History) -> None:
    """Anna shows two halves what she likes, and goes on like that."""
    anna = trial.rogues["anna"]
    anna.views = {**dict.fromkeys(LEFT, left), **dict.fromkeys(RIGHT, right)}
    trial.submit(anna, *trial.honest)


@lies
def test_one_head_is_shown_to_be_broken_by_a_fork_of_one_size_within_a_round(lies: bool) -> None:
    trial = Trial("anna")
    anna = trial.turn("anna")
    left = anna.history.fork(anna.history.size, b"left")
    show(trial, left, anna.history.fork(anna.history.size, b"right") if lies else left)
    if not lies:
        trial.play(anna, 3)
        trial.require_no_alarm()
        return
    assert trial.rounds_until_proof() == 1
    assert {Fault.SAME_SIZE} == {found.fault for found in trial.proofs()}
    assert trial.rounds_until(trial.all_know) <= 2
    trial.require_only_guilty("anna")


@lies
def test_append_only_is_shown_to_be_broken_by_a_larger_fork_within_a_round(lies: bool) -> None:
    trial = Trial("anna")
    anna = trial.turn("anna")
    left = anna.history.fork(anna.history.size, b"left", b"more")
    show(trial, left, anna.history.fork(anna.history.size, *[b"right"] * 5) if lies else left)
    if not lies:
        trial.play(anna, 3)
        trial.require_no_alarm()
        return
    assert trial.rounds_until_proof() <= 2
    assert {Fault.GROWTH} == {found.fault for found in trial.proofs()}
    trial.require_only_guilty("anna")


@lies
def test_complete_evidence_comes_of_a_fork_that_two_honest_nodes_saw_and_nobody_else(lies: bool) -> None:
    trial = Trial("anna", "dora", "emma")
    trial.party.run(3 * ROUND_S)  # nobody has anything to say: heads are told all the same
    anna = trial.turn("anna")
    trial.turn("dora")
    trial.turn("emma")
    left = anna.history.fork(anna.history.size, b"left")
    right = anna.history.fork(anna.history.size, b"right", b"more") if lies else left
    anna.views = {"berta": left, "carla": right}
    trial.submit(anna, "berta", "carla")
    if not lies:
        trial.play(anna, 3)
        trial.require_no_alarm()
        return
    assert trial.rounds_until_proof() <= 2
    trial.require_only_guilty("anna")


@lies
def test_reader_quorum_is_not_met_by_a_fork_that_one_reader_alone_is_shown(lies: bool) -> None:
    """No node sees it, so there is no proof; nor does the reader believe it."""
    trial = Trial("anna")
    anna = trial.turn("anna")
    trial.play(anna, 1)
    shown = anna.history.fork(anna.history.size - 3, b"for you alone") if lies else anna.history
    head = shown.head()
    if not lies:
        for name in trial.honest:
            head = with_line(head, trial, name)
    head = Head(head.checkpoint, head.note.signed(cosign(head, anna.notary.cosigner, anna.notary.cosign, 1)))
    assert trial.overseer.read(head) is not lies
    trial.play(anna, 2)
    trial.require_no_alarm()


@lies
def test_reader_quorum_is_not_met_by_an_old_view_with_the_cosignatures_of_then(lies: bool) -> None:
    trial = Trial()
    published = trial.shown("anna").published
    assert published is not None
    assert trial.overseer.read(published)
    trial.party.run(600.0)
    trial.live(30.0)
    shown = published if lies else trial.shown("anna").published
    assert shown is not None
    now_s = trial.party.world.wall_ms() // 1000
    assert trial.overseer.read(shown, now_s, age_max_s=120) is not lies
    trial.require_no_alarm()


@lies
def test_reader_quorum_is_not_met_by_the_cosignatures_of_another_origin(lies: bool) -> None:
    trial = Trial()
    published = trial.shown("berta").published
    other = trial.shown("anna" if lies else "berta").published
    assert published is not None
    assert other is not None
    cosigners = [cosigner_key(name) for name in NAMES if name not in ("anna", "berta")]
    lines = [line for key in cosigners if (line := other.note.by(key)) is not None]
    own = published.note.by(log_key("berta"))
    assert own is not None
    replayed = Head(published.checkpoint, Note(published.note.text, (own, *lines)))
    if lies:
        with pytest.raises(ProofError):
            trial.overseer.read(replayed)
    else:
        assert trial.overseer.read(replayed)


@lies
def test_a_replayed_cosignature_is_not_published(lies: bool) -> None:
    """READER-QUORUM, at the node whose witness replays it."""
    trial = Trial("anna")
    anna = trial.turn("anna")
    old = anna.cosigned[origin_of("berta")].note.by(cosigner_key("anna"))
    assert old is not None
    if lies:
        replay = Reply(200, old.encode().encode())
        anna.answers = lambda question: replay if question.path == "add-checkpoint" else None
    trial.play(anna, 3)
    assert (cosigner_key("anna").name in trial.shown("berta").cosigners) is not lies
    trial.require_no_alarm()


@lies
@pytest.mark.parametrize("liars", [1, 2])
def test_reader_quorum_holds_with_as_many_lying_witnesses_as_are_borne_and_no_more(liars: int, lies: bool) -> None:
    """Of four witnesses three are wanted: one may lie.  With two, two readers can be shown two histories, and yet each
    that lied is found out within a round, for the two honest ones tell each other.
    """
    colluders = ("berta", "carla")[:liars]
    trial = Trial("anna", *colluders)
    anna = trial.turn("anna")
    for name in colluders:
        trial.turn(name)
    left = anna.history.fork(anna.history.size, b"left")
    right = anna.history.fork(anna.history.size, b"right") if lies else left
    anna.views = {"carla": left, "dora": left, "emma": right}
    trial.submit(anna, *trial.honest)
    of_left, of_right = [name for name in trial.honest if name != "emma"], ["emma"]
    heads = [vouched(trial, left, [*of_left, *colluders]), vouched(trial, right, [*of_right, *colluders])]
    accepted = [trial.overseer.read(head) for head in heads]
    assert accepted == [True, liars == 2]
    if not lies:
        trial.play(anna, 2)
        trial.require_no_alarm()
        return
    assert trial.rounds_until_proof() == 1
    trial.require_only_guilty("anna")


@lies
def test_a_witness_that_cosigned_both_halves_is_found_out_with_them(lies: bool) -> None:
    """COMPLETE-EVIDENCE, of witnesses, by whoever saw both cosignatures."""
    trial = Trial("anna", "berta")
    anna, berta = trial.turn("anna"), trial.turn("berta")
    left = anna.history.fork(anna.history.size, b"left")
    right = anna.history.fork(anna.history.size, b"right") if lies else left
    tell(trial, "carla", berta, vouched(trial, left, ["berta"]))
    tell(trial, "carla", berta, vouched(trial, right, ["berta"]))
    anna.views = {"carla": left, "dora": right, "emma": left}
    trial.submit(anna, *trial.honest)
    if not lies:
        trial.play(anna, 2)
        trial.require_no_alarm()
        return
    trial.rounds_until(lambda: Fault.WITNESS in {found.fault for found in trial.proofs()}, most=3)
    accused = {found.accused for found in trial.proofs() if found.fault is Fault.WITNESS}
    assert accused == {cosigner_key("berta").encode()}


@lies
def test_link_fresh_is_seen_to_be_broken_where_links_are_omitted(lies: bool) -> None:
    """Which proves nothing, and hurts nobody: what the others hold of it binds it all the same."""
    trial = Trial("anna")
    anna = trial.turn("anna")
    for _ in range(4):
        sizes = {origin: size for origin, size in trial.overseer.sizes().items() if origin != ANNA}
        trial.play(anna, 1)
        if not lies:
            links = [anna.cosigned[origin].note.encode() for origin in sizes]
            anna.history.add(*[entry.encode(Kind.PEER_HEAD, link) for link in links])
    trial.play(anna, 1)
    newest = dict.fromkeys(sizes, 0)
    for data in entries_of(trial.disk("berta"), ANNA):
        read = entry.decode(data)
        if read.kind is Kind.PEER_HEAD:
            head = read_head(read.body)
            newest[head.origin] = head.size
    assert all(newest[origin] >= size for origin, size in sizes.items()) is not lies
    trial.require_no_alarm()


@lies
def test_link_verified_a_head_that_nobody_signed_accuses_nobody_it_names(lies: bool) -> None:
    trial = Trial("anna")
    anna = trial.turn("anna")
    berta = History(log_key("berta"), fast("anna/log" if lies else "berta/log").sign, trial.party.log("berta"))
    if lies:
        berta.add(b"never said")
    anna.history.add(entry.encode(Kind.PEER_HEAD, berta.head().note.encode()))
    trial.play(anna, 3)
    trial.require_no_alarm()
    assert trial.shown("carla").state == "signing"


@lies
def test_altered_tiles_and_entries_are_not_mirrored(lies: bool) -> None:
    """APPEND-ONLY of a copy: nothing is kept but what has the root of the signed head."""
    trial = Trial("anna")
    anna = trial.turn("anna")
    before = entries_of(trial.disk("berta"), ANNA)
    if lies:
        others = anna.history.fork(1, *[b"another"] * 500)
        anna.answers = lambda question: others.serve(question.path) if question.path.startswith("tile/") else None
    trial.play(anna, 3)
    after = entries_of(trial.disk("berta"), ANNA)
    assert after == (before if lies else anna.history.entries[: len(after)])
    assert (len(after) > len(before)) is not lies
    wrong = sum(
        node.engine.ledger.counters()["ledger_mirror_wrong"] for node in trial.party.nodes.values() if node.engine
    )
    assert (wrong > 0) is lies
    trial.require_no_alarm()


@lies
def test_an_altered_proof_is_refused_and_proves_nothing(lies: bool) -> None:
    """MONOTONE-WITNESS: whoever holds a genuine head can send it with any proof."""
    trial = Trial("anna")
    anna = trial.turn("anna")
    anna.history.add(b"something new")
    anna.held = {name: trial.shown(name).links[0].size for name in trial.honest}
    replies = []
    for name in trial.honest:
        size = next(link.size for link in trial.shown(name).links if link.origin == ANNA)
        submission = anna.history.submission(size)
        body = submission.encode()
        if lies:
            first = body.split(b"\n")[1]
            body = body.replace(first, b"A" * 43 + b"=", 1)
        replies.append(trial.say(anna, Call(name, "POST", "add-checkpoint", body)))
    assert {reply.status for reply in replies if reply} == ({422} if lies else {200})
    trial.live(2 * ROUND_S)
    trial.require_no_alarm()


def test_sound_evidence_no_false_accusation_is_believed() -> None:
    trial = Trial("anna")
    anna = trial.turn("anna")
    berta = History(log_key("berta"), fast("berta/log").sign, trial.party.log("berta"))
    forged = History(log_key("berta"), fast("anna/log").sign, [*berta.entries[:-2], b"never", b"said"])
    fork = berta.fork(berta.size - 2, b"never", b"said")
    old, new = berta.head(berta.size - 1), berta.head()
    made = [
        evidence.of_heads(log_key("berta"), new, forged.head(), None),
        evidence.of_heads(log_key("berta"), old, new, fork.tree),
        evidence.of_heads(log_key("berta"), old, forged.head(), forged.tree),
    ]
    for each in made:
        assert each is not None
        reply = trial.say(anna, Call("carla", "POST", "evidence", exhibit.encode(each)))
        assert reply is not None
        assert reply.status >= 400
    trial.live(2 * ROUND_S)
    trial.require_no_alarm()


@lies
def test_double_statement_is_found_through_two_nodes_at_once(lies: bool) -> None:
    trial = Trial()
    trial.began = trial.party.world.now
    one = trial.party.statement("greta", prev="", says="this")
    other = trial.party.statement("greta", prev="" if lies else one.hash, says="that")
    indices = [trial.party.ask(name, Enter(each.encode())) for name, each in (("berta", one), ("dora", other))]
    assert all(isinstance(index, Entered) for index in indices)
    if not lies:
        trial.live(3 * ROUND_S)
        trial.require_no_alarm()
        return
    assert trial.rounds_until_proof() <= 2
    assert {(found.fault, found.accused) for found in trial.proofs()} == {
        (Fault.DOUBLE_STATEMENT, public_of("greta")),
    }
    assert all(trial.frozen(name) == {} for name in NAMES), "no log has lied"


@lies
def test_back_dating_is_found_in_the_log_that_took_the_statement(lies: bool) -> None:
    trial = Trial("anna")
    anna = trial.turn("anna")
    for name in trial.honest:  # what anna has cosigned now is an entry of hers, and then comes what is older
        anna.history.add(entry.encode(Kind.PEER_HEAD, anna.cosigned[origin_of(name)].note.encode()))
    statement = trial.party.statement("greta", says="long ago")
    if lies:
        statement = replace(statement, at_ms=statement.at_ms - 5 * 3_600_000, signature="").signed(fast("greta").sign)
    anna.history.add(statement.encode())
    trial.submit(anna, *trial.honest)
    if not lies:
        trial.play(anna, 2)
        trial.require_no_alarm()
        return
    assert trial.rounds_until_proof() <= 2
    assert {found.fault for found in trial.proofs()} == {Fault.BACK_DATING}
    trial.require_only_guilty("anna")


def with_line(head: Head, trial: Trial, witness: str) -> Head:
    """With that witness's cosignature, as if it had asked it."""
    time_s = trial.party.world.wall_ms() // 1000
    line = cosign(head, cosigner_key(witness), fast(f"{witness}/cosigner").sign, time_s)
    return Head(head.checkpoint, head.note.signed(line))


def vouched(trial: Trial, history: History, witnesses: list[str]) -> Head:
    head = history.head()
    for name in witnesses:
        head = with_line(head, trial, name)
    return head


def tell(trial: Trial, node: str, rogue: Rogue, head: Head) -> None:
    """As nodes tell each other what they have seen."""
    reply = trial.say(rogue, Call(node, "POST", "heads", json.dumps([head.note.encode().decode()]).encode()))
    assert reply == Reply(200)
