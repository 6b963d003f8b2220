"""What a node finds out about logs that lie, and what it does then (notes on the ledger, 5)."""

import itertools
from dataclasses import replace

import pytest
from forking import Branch, Signer, cosigned, cosigner, link, log_key, signer_of, stated
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import Disk, sign_as, verify
from trial import COSIGNERS, OTHERS, WANDA, Peer, Trial

from waypost.engine import Commit
from waypost.errors import StoreError
from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.court import DATED_MAX
from waypost.ledger.docket import AGREED_MAX, COUNTED_MAX, FORKS_MAX, KNOWN_MAX, WAITING_MAX, Docket, Signed
from waypost.ledger.evidence import check, of_heads, of_statements
from waypost.ledger.exhibit import Growth, encode
from waypost.ledger.note import Note
from waypost.ledger.pieces import PIECES_MAX, SIGNERS_MAX, Pieces, Trust
from waypost.ledger.questions import Reply
from waypost.ledger.sayings import Sayings
from waypost.ledger.statement import SKEW_S, Statement
from waypost.ledger.tree import Tree

ANNA, BEN, OURS = "waypost/anna", "waypost/ben", "waypost/wanda"
EVERYBODY = (WANDA, *COSIGNERS)
NOW_S = 1_800_000_000


def entries(number: int, salt: bytes = b"") -> list[bytes]:
    return [b"%d" % index + salt for index in range(number)]


def fork(common: int, one: int, other: int, origin: str = ANNA) -> tuple[Branch, Branch]:
    """Two histories of one log, of these sizes, that begin with the same entries."""
    log = log_key(origin)
    return Branch(entries(one), log), Branch(entries(common) + entries(other, b"!")[common:], log)


def of_fork(one: Branch, other: Branch, key: Signer | None = None) -> bytes:
    larger = max(one, other, key=lambda branch: len(branch.entries))
    made = of_heads((key or one.log).key, one.head(None, *EVERYBODY), other.head(None, *EVERYBODY), larger.tree)
    assert made is not None
    return encode(made)


def dropped(trial: Trial) -> int:
    """What was found and is no evidence."""
    return trial.court.counters()["ledger_court_dropped"]


# Heads.


def test_two_heads_of_one_size_are_shown_at_once_though_nothing_is_mirrored() -> None:
    one, other = fork(3, 9, 9)
    trial = Trial().see(one.head(), other.head())
    assert trial.faults() == [("same size", ANNA)]


@pytest.mark.parametrize("size", [4, 8, 9, 12, 20])
def test_a_head_of_another_history_is_shown_by_whoever_holds_the_entries(size: int) -> None:
    """COMPLETE-EVIDENCE."""
    one, other = fork(3, 20, size)
    trial = Trial().mirror(one).see(one.head())
    assert trial.faults() == []
    trial.see(other.head())
    assert trial.faults() == [("same size" if size == 20 else "inconsistent growth", ANNA)]


def test_it_holds_before_a_stranger() -> None:
    one, other = fork(3, 20, 9)
    (piece,) = Trial().mirror(one).see(one.head(), other.head()).pieces()
    assert check(piece.data, [one.log.key], verify, 1) == piece.found


def test_what_the_witness_made_of_a_refused_proof_is_evidence_like_any_other() -> None:
    one, other = fork(3, 9, 20)
    growth, made_up = (
        Growth(one.log.key, one.head(), other.head(), tree.root(9), tree.consistency(9, 20))
        for tree in (other.tree, Branch(entries(20, b"?")).tree)
    )
    trial = Trial()
    trial.court.found(made_up, "ben")
    assert trial.settle().faults() == []
    trial.court.found(growth, "ben")
    assert trial.settle().faults() == [("inconsistent growth", ANNA)]
    assert trial.told() == list(OTHERS)
    assert trial.court.false == {}


def test_a_head_that_is_larger_waits_until_the_copy_has_grown() -> None:
    one, other = fork(30, 40, 35)
    trial = Trial().mirror(Branch(one.entries[:20])).see(one.head(20), other.head())
    assert trial.court.gauges(0)["ledger_heads_waiting"] == 1
    assert trial.faults() == []
    trial.see(one.head()).mirror(one)
    assert trial.faults() == [("inconsistent growth", ANNA)]
    assert trial.court.gauges(0)["ledger_heads_waiting"] == 0


def test_a_fork_waits_for_a_signed_head_that_covers_it() -> None:
    """The copy may have grown beyond the heads that were seen."""
    one, other = fork(3, 20, 9)
    trial = Trial().mirror(one).see(other.head(), one.head(8))
    assert trial.faults() == []
    trial.see(one.head(9))
    assert trial.faults() == [("same size", ANNA)]


def test_a_smaller_head_that_comes_later_takes_nothing_away() -> None:
    one, other = fork(3, 20, 9)
    trial = Trial().mirror(one).see(one.head(), one.head(5), other.head())
    assert trial.faults() == [("inconsistent growth", ANNA)]


def test_two_forks_of_one_size_show_each_other() -> None:
    one, other = fork(3, 20, 9)
    third = Branch(entries(9, b"?"))
    trial = Trial().mirror(one).see(other.head(), third.head())
    assert trial.faults() == [("same size", ANNA)]


def test_the_halves_may_come_from_the_links_of_two_logs() -> None:
    one, other = fork(3, 9, 9)
    trial = Trial().mirror(Branch([link(one.head())], log_key(BEN)))
    trial.mirror(Branch([b"a", link(other.head())], log_key("waypost/carl")))
    assert trial.faults() == [("same size", ANNA)]


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 30), st.integers(1, 30), st.booleans(), st.booleans())
def test_of_two_honest_nodes_that_saw_two_histories_one_finds_out(
    common: int, one: int, other: int, heads_first: bool, swapped: bool
) -> None:
    """COMPLETE-EVIDENCE: the one with the longer history, whatever comes first."""
    branches = fork(common, common + one, common + other)
    shown = []
    for mine, theirs in (branches, branches[::-1]):
        trial = Trial()
        seen = (mine.head(), theirs.head()) if swapped else (theirs.head(), mine.head())
        trial = trial.see(*seen).mirror(mine) if heads_first else trial.mirror(mine).see(*seen)
        shown += trial.faults()
    assert shown
    assert {accused for _, accused in shown} == {ANNA}


@settings(deadline=None)
@given(st.data())
def test_no_order_of_what_an_honest_log_shows_raises_an_alarm(data: st.DataObject) -> None:
    """SOUND-EVIDENCE, the control."""
    draw = data.draw
    branch = Branch(entries(40))
    trial = Trial()
    for size in draw(st.lists(st.integers(0, 40), max_size=12)):
        signers = draw(st.sampled_from([(), (WANDA,), EVERYBODY]))
        trial.see(branch.head(size, *signers, extensions=draw(st.sampled_from([[], ["x"]]))))
        mirrored = len(trial.copies[ANNA].entries) if trial.copies else 0
        trial.mirror(Branch(branch.entries[: draw(st.integers(mirrored, 40))]))
    trial.mirror(branch).see(branch.head())
    assert trial.faults() == []
    assert trial.court.frozen == {}


def test_what_was_seen_before_costs_no_signature() -> None:
    branch = Branch(entries(9))
    trial = Trial().see(branch.head(None, *EVERYBODY))
    verified = trial.verified
    assert verified > 0
    for _ in range(100):
        trial.see(branch.head(None, *EVERYBODY))
    assert trial.verified == verified
    assert trial.court.counters()["ledger_court_considered"] == 1


def test_a_head_of_a_log_that_is_not_known_costs_nothing_at_all() -> None:
    trial = Trial().see(Branch(entries(9), log_key("waypost/emil")).head(), Branch(entries(9)).head(0))
    assert trial.verified == 0
    assert trial.court.counters()["ledger_court_considered"] == 0


def test_what_the_log_did_not_sign_says_nothing_about_it() -> None:
    one, other = fork(3, 9, 9)
    foreign = log_key(BEN)
    forged = sign_head(other.head().checkpoint, foreign.key, foreign.sign)
    borrowed = Head(other.head().checkpoint, Note(other.head().note.text, one.head().note.lines))
    trial = Trial().see(one.head(), forged, borrowed)
    assert trial.faults() == []
    assert trial.court.counters()["ledger_court_unsigned"] == 2


def test_a_wrong_cosignature_beside_does_not_hide_a_fork() -> None:
    one, other = fork(3, 9, 9)
    line = one.head(None, WANDA).note.lines[1]
    spoiled = Head(other.head().checkpoint, other.head().note.signed(line))
    trial = Trial().see(one.head(None, WANDA), spoiled)
    assert trial.faults() == [("same size", ANNA)]


def test_a_log_of_a_stranger_that_is_witnessed_is_judged_too() -> None:
    log = log_key("example.org/log")
    one, other = Branch(entries(5), log), Branch(entries(5, b"!"), log)
    trial = Trial(noted=lambda notary: replace(notary, witnessed=(log.key,)))
    trial.logs.strangers[log.key.name] = log.key
    trial.see(one.head(), other.head())
    assert trial.faults() == [("same size", "example.org/log")]


# Witnesses.


@pytest.mark.parametrize("size", [9, 20])
def test_a_witness_of_two_histories_is_shown_beside_the_log(size: int) -> None:
    one, other = fork(3, 20, size)
    trial = Trial().mirror(one).see(one.head(None, COSIGNERS[1]), other.head(None, COSIGNERS[1], COSIGNERS[2]))
    fault = "same size" if size == 20 else "inconsistent growth"
    assert trial.faults() == [(fault, ANNA), ("witness fault", "waypost/ben/witness")]
    assert trial.court.is_accused(COSIGNERS[1].key)
    assert not trial.court.is_accused(COSIGNERS[2].key)


def test_its_two_cosignatures_may_be_told_by_others_and_later() -> None:
    """The same heads again, with other signatures."""
    one, other = fork(3, 20, 9)
    trial = Trial().mirror(one).see(one.head(), other.head())
    trial.see(other.head(None, COSIGNERS[1])).see(one.head(None, COSIGNERS[1]))
    assert trial.faults()[1:] == [("witness fault", "waypost/ben/witness")]


def test_signatures_of_a_head_that_waits_are_put_together() -> None:
    one, other = fork(3, 9, 9)
    trial = Trial().see(one.head(None, COSIGNERS[1]), one.head(None, COSIGNERS[2]), other.head(None, COSIGNERS[1]))
    assert ("witness fault", "waypost/ben/witness") in trial.faults()
    assert trial.court.gauges(0)["ledger_heads_waiting"] == 2


def test_signatures_of_a_fork_are_put_together() -> None:
    one, other = fork(3, 20, 9)
    trial = Trial().mirror(one).see(other.head(None, COSIGNERS[1]), other.head(None, COSIGNERS[2]))
    trial.see(one.head(None, COSIGNERS[1]))
    assert ("witness fault", "waypost/ben/witness") in trial.faults()


def test_who_cosigned_one_of_them_is_no_liar() -> None:
    one, other = fork(3, 20, 20)
    trial = Trial().mirror(one).see(one.head(None, COSIGNERS[1]), other.head(None, COSIGNERS[2]))
    assert trial.faults() == [("same size", ANNA)]
    trial.see(one.head(12, COSIGNERS[2]))  # before they part? no: after
    assert trial.faults() == [("same size", ANNA)]


# Frozen.


def test_a_log_is_frozen_where_a_quorum_agreed_last() -> None:
    """Three of the four witnesses that are not its own; below the conflict."""
    one, other = fork(10, 40, 30)
    trial = Trial().mirror(one)
    trial.see(one.head(20, *COSIGNERS[1:]), one.head(25, WANDA, COSIGNERS[1]), one.head(30, *COSIGNERS[1:]))
    trial.see(one.head(26, COSIGNERS[0], WANDA, COSIGNERS[1]))
    trial.see(one.head(None, *EVERYBODY), other.head())
    (piece,) = trial.pieces()
    assert trial.court.frozen[ANNA].size == 20
    assert trial.court.frozen[ANNA].digest == piece.found.digest
    assert not trial.is_frozen(ANNA, 20)
    assert trial.is_frozen(ANNA, 21)
    assert not trial.is_frozen(BEN, 21)


def test_who_agreed_may_be_told_one_by_one() -> None:
    one, other = fork(10, 40, 30)
    trial = Trial().mirror(one)
    for signer in COSIGNERS[1:]:
        trial.see(one.head(20, signer))
    assert trial.see(one.head(), other.head()).court.frozen[ANNA].size == 20


def test_where_nobody_agreed_all_of_it_is_in_doubt() -> None:
    one, other = fork(10, 40, 30)
    assert Trial().mirror(one).see(one.head(), other.head()).court.frozen[ANNA].size == 0


def test_what_was_agreed_survives_a_restart() -> None:
    one, other = fork(10, 40, 30)
    trial = Trial().mirror(one).see(one.head(20, *COSIGNERS[1:])).again()
    trial.see(one.head(), other.head())
    assert trial.court.frozen[ANNA].size == 20
    assert trial.again().court.frozen == trial.court.frozen


def test_the_lower_of_two_sizes_holds() -> None:
    one, other = fork(10, 40, 30)
    trial = Trial().mirror(one).see(one.head(12, *COSIGNERS[1:]), one.head(20, *COSIGNERS[1:]))
    trial.tell(of_fork(one, other))
    assert trial.court.frozen[ANNA].size == 20
    trial.tell(of_fork(*fork(10, 15, 15)))
    assert trial.court.frozen[ANNA].size == 12
    trial.again().court.check()
    assert trial.again().court.frozen[ANNA].size == 12


def test_a_witness_fault_freezes_no_log() -> None:
    trial = Trial()
    assert trial.tell(of_fork(*fork(3, 9, 9), COSIGNERS[1])).status == 200
    assert trial.court.frozen == {}


# Our own log.


def test_our_own_key_on_a_head_that_is_not_of_our_log_is_the_end_of_signing() -> None:
    """A second instance, or a backup that was put back."""
    ours, other = fork(5, 20, 12, OURS)
    trial = Trial().mirror(ours).see(ours.head())
    assert not trial.court.is_doubled
    trial.see(other.head(), source="ben")
    assert trial.court.is_doubled
    assert trial.faults() == [("inconsistent growth", OURS)]
    assert trial.again().court.is_doubled
    assert trial.told() == list(OTHERS)


def test_it_is_so_before_we_can_show_it() -> None:
    ours, other = fork(5, 20, 12, OURS)
    trial = Trial().mirror(ours).see(other.head())
    assert trial.faults() == []
    assert trial.court.is_doubled


def test_what_this_node_has_signed_itself_shows_a_fork_without_being_verified() -> None:
    ours, other = fork(5, 20, 12, OURS)
    trial = Trial().mirror(ours)
    trial.court.signed(ours.head(), trial.now)
    trial.court.signed(ours.head(), trial.now)
    assert trial.verified == 0
    trial.see(other.head())
    assert trial.faults() == [("inconsistent growth", OURS)]


class Damaged(Tree):
    """A copy that the disk has damaged, be it in all of its tiles or in those for proofs."""

    def __init__(self, whole: Tree, *, has_roots: bool) -> None:
        super().__init__()
        self.size = whole.size
        self._whole = whole
        self._has_roots = has_roots

    def root(self, size: int | None = None) -> bytes:
        if not self._has_roots:
            raise StoreError("tile/0/000 is damaged")
        return self._whole.root(size)

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        raise StoreError("tile/0/000 is damaged")


def test_a_copy_that_is_damaged_is_told_of_and_what_it_could_not_show_is_shown_with_the_next() -> None:
    real, other = fork(5, 20, 12)
    trial = Trial().mirror(Branch(real.entries[:4], real.log))
    trial.see(real.head(), other.head())
    trial.copies[ANNA].tree = Damaged(real.tree, has_roots=False)
    trial.court.read(ANNA, (), trial.now)
    assert trial.damaged == [ANNA]
    trial.see(real.head(19))
    assert trial.damaged == [ANNA] * 3, "with the head, and with those that wait"
    assert trial.faults() == []
    del trial.copies[ANNA]
    trial.mirror(real)
    assert trial.faults() == [("inconsistent growth", ANNA)]


def test_a_fork_that_is_seen_while_the_copy_is_damaged_is_shown_with_the_next() -> None:
    real, other = fork(5, 20, 12)
    trial = Trial().mirror(Branch(real.entries, real.log)).see(real.head())
    trial.copies[ANNA].tree = Damaged(real.tree, has_roots=True)
    trial.see(other.head())
    assert set(trial.damaged) == {ANNA}
    assert trial.faults() == []
    del trial.copies[ANNA]
    trial.mirror(real)
    assert trial.faults() == [("inconsistent growth", ANNA)]


def test_others_may_show_it_to_us() -> None:
    trial = Trial().mirror(Branch(entries(3), log_key(OURS)))
    assert trial.tell(of_fork(*fork(5, 20, 12, OURS))).status == 200
    assert trial.court.is_doubled
    assert trial.is_frozen(OURS, 12)


def test_a_larger_head_of_our_own_waits_for_our_log() -> None:
    """What a restored log still has to adopt."""
    ours = Branch(entries(20), log_key(OURS))
    trial = Trial().mirror(Branch(ours.entries[:9], ours.log)).see(ours.head())
    assert not trial.court.is_doubled
    trial.mirror(ours)
    assert not trial.court.is_doubled


# Statements.


def log_of(name: str, *entries: bytes) -> Branch:
    return Branch(list(entries), log_key(f"waypost/{name}"))


def test_two_statements_at_once_are_shown_whichever_logs_they_are_in() -> None:
    one, other = stated("sue", 1, number="+1"), stated("sue", 2, number="+2")
    for trial in (
        Trial().mirror(log_of("anna", b"x", one.encode())).mirror(log_of("ben", other.encode())),
        Trial().mirror(log_of("anna", one.encode(), other.encode())),
        Trial().mirror(log_of("wanda", one.encode())).mirror(log_of("ben", other.encode())),
    ):
        assert trial.faults() == [("double statement", signer_of("sue"))]
        assert trial.court.frozen == {}


def test_a_chain_of_statements_in_many_logs_is_none() -> None:
    one = stated("sue", 1, number="+1")
    two, other = stated("sue", 2, one.hash), stated("tom", 2)
    trial = Trial()
    for name in OTHERS:
        trial.mirror(log_of(name, one.encode(), two.encode(), other.encode(), one.encode()))
    assert trial.faults() == []


def test_what_nobody_signed_accuses_nobody_and_hides_nothing() -> None:
    """A hostile log could fill the place of a statement."""
    one, other = stated("sue", 1, number="+1"), stated("sue", 2, number="+2")
    forged = Statement(3_000, {}, "claim", "", signer_of("sue"), "0" * 128)
    trial = Trial().mirror(log_of("anna", forged.encode(), one.encode(), forged.encode()))
    trial.mirror(log_of("carl", forged.encode()))
    assert trial.faults() == []
    assert dropped(trial) == 0
    trial.mirror(log_of("ben", other.encode()))
    assert trial.faults() == [("double statement", signer_of("sue"))]


def test_what_nobody_signed_keeps_no_statement_out() -> None:
    forged = Statement(1, {}, "claim", "", signer_of("sue"), "0" * 128)
    trial = Trial().mirror(log_of("carl", forged.encode()))
    assert trial.court.refusal(at("sue", NOW_S), NOW_S * 1000) is None
    assert dropped(trial) == 0


def test_what_logs_hold_is_remembered_through_a_restart() -> None:
    trial = Trial().mirror(log_of("anna", stated("sue", 1, number="+1").encode())).again()
    assert trial.court.gauges(0)["ledger_statements_remembered"] == 1
    trial.mirror(log_of("ben", stated("sue", 2, number="+2").encode()))
    assert trial.faults() == [("double statement", signer_of("sue"))]


def test_a_log_full_of_statements_makes_nobody_forget_what_is_in_another() -> None:
    held: dict[tuple[str, int], bytes] = {}
    disk = Disk()

    def sayings() -> Sayings:
        made = Sayings(lambda origin, index: held.get((origin, index)), verify, statements_max=10)
        made.restore(disk)
        return made

    def others(asked: Statement) -> list[Statement]:
        return list(sayings().others(asked, bytes.fromhex(asked.hash), ["a", "b"]))

    first = stated("sue", 1, number="+1")
    remembering = sayings()
    for origin, index, statement in [
        ("a", 0, first),
        *(("b", index, stated("tom", index, f"{index:064x}")) for index in range(30)),
    ]:
        held[origin, index] = statement.encode()
        disk.write(Commit(puts=remembering.remember(origin, index, statement, bytes.fromhex(statement.hash))))
    assert remembering.count() == sayings().count() == 11
    assert others(stated("sue", 2, number="+2")) == [first]
    assert others(stated("tom", 99, f"{19:064x}")) == []
    assert len(others(stated("tom", 99, f"{20:064x}"))) == 1
    held["a", 0] = stated("sue", 3, number="+3").encode()
    assert others(stated("sue", 2, number="+2")) == []  # what is there is not what was there
    held["a", 0] = b"no statement"
    assert others(stated("sue", 2, number="+2")) == []


def test_a_statement_that_is_signed_twice_is_one_statement() -> None:
    one = stated("sue", 1)
    again = Statement(one.at_ms, one.body, one.kind, one.prev, one.signer, "0" * 128)
    trial = Trial().mirror(log_of("anna", one.encode())).mirror(log_of("ben", again.encode()))
    assert trial.faults() == []


def at(name: str, at_s: int, prev: str = "", **body: object) -> bytes:
    return stated(name, at_s, prev, **body).encode()


def test_why_a_statement_may_not_enter() -> None:
    trial = Trial()
    wall_ms = NOW_S * 1000
    assert trial.court.refusal(at("sue", NOW_S), wall_ms) is None
    assert trial.court.refusal(at("sue", NOW_S - SKEW_S), wall_ms) is None
    assert trial.court.refusal(at("sue", NOW_S + SKEW_S), wall_ms) is None
    for wrong in (
        b"",
        at("sue", NOW_S)[:-1],
        Statement(wall_ms, {}, "claim", "", signer_of("sue"), "0" * 128).encode(),
        at("sue", NOW_S - SKEW_S - 1),
        at("sue", NOW_S + SKEW_S + 1),
    ):
        assert trial.court.refusal(wrong, wall_ms)
    assert trial.settle().faults() == []


def test_no_statement_enters_that_our_links_show_to_be_too_old() -> None:
    """Though our clock was put back since: or our log could be shown to hold one that was dated back."""
    link_then = link(Branch(entries(3), log_key(BEN)).head(None, WANDA, time_s=NOW_S))
    trial = Trial().mirror(log_of("wanda", link_then))
    late = NOW_S - SKEW_S - 1
    assert trial.court.refusal(at("sue", late), late * 1000)
    assert trial.again().court.refusal(at("sue", late), late * 1000)
    assert trial.court.refusal(at("sue", late + 1), late * 1000) is None
    assert Trial().court.refusal(at("sue", late), late * 1000) is None


def test_a_statement_that_is_refused_may_be_evidence() -> None:
    trial = Trial().mirror(log_of("ben", at("sue", NOW_S, number="+1")))
    assert trial.court.refusal(at("sue", NOW_S, number="+1"), NOW_S * 1000) is None
    assert trial.court.refusal(at("sue", NOW_S, number="+2"), NOW_S * 1000)
    assert trial.settle().faults() == [("double statement", signer_of("sue"))]


# Back-dating.


def dated_back(*signers: Signer, back_s: int = SKEW_S + 1) -> Branch:
    """Anna's log: two entries, a link that these cosigned, an entry, a statement, an entry."""
    head = Branch(entries(5), log_key(BEN)).head()
    linked = link(cosigned(head, *signers, time_s=NOW_S))
    return Branch([b"a", b"b", linked, b"c", at("sue", NOW_S - back_s), b"d"])


def test_a_statement_dated_before_a_link_is_shown() -> None:
    branch = dated_back(cosigner("anna"))
    trial = Trial().see(branch.head()).mirror(branch)
    assert trial.faults() == [("back-dating", ANNA)]
    assert trial.pieces()[0].found.conflict == 5


def test_one_of_the_same_hour_is_not() -> None:
    branch = dated_back(cosigner("anna"), back_s=SKEW_S)
    trial = Trial().see(branch.head()).mirror(branch)
    assert (trial.faults(), dropped(trial)) == ([], 0)


def test_what_the_logs_own_cosigner_says_of_the_time_is_not_overruled() -> None:
    branch = dated_back(cosigner("anna"))
    early = cosigned(Branch(entries(5), log_key(BEN)).head(None, cosigner("anna"), time_s=NOW_S), WANDA, time_s=1)
    branch = Branch([*branch.entries[:2], link(early), *branch.entries[3:]])
    assert Trial().see(branch.head()).mirror(branch).faults() == [("back-dating", ANNA)]


def test_statements_that_wait_for_a_head_are_bounded() -> None:
    late = [at("sue", 1, f"{number:064x}") for number in range(3 * DATED_MAX)]
    branch = Branch([*dated_back(cosigner("anna")).entries, *late])
    trial = Trial().mirror(branch).see(branch.head())
    assert trial.faults() == [("back-dating", ANNA)]
    assert trial.court.counters()["ledger_court_again"] == DATED_MAX - 1


def test_it_waits_for_a_head_that_covers_it() -> None:
    branch = dated_back(cosigner("anna"))
    trial = Trial().mirror(branch)
    assert trial.see(branch.head(4)).faults() == []
    assert trial.see(branch.head(5)).faults() == [("back-dating", ANNA)]


def test_the_time_of_a_link_survives_a_restart() -> None:
    branch = dated_back(cosigner("anna"))
    trial = Trial().mirror(Branch(branch.entries[:3])).again()
    assert trial.see(branch.head()).mirror(branch).faults() == [("back-dating", ANNA)]


def test_others_are_believed_about_the_time_when_they_are_a_quorum() -> None:
    """Four of five; one of them alone could frame a log."""
    few, many = dated_back(*COSIGNERS[1:]), dated_back(WANDA, *COSIGNERS[1:])
    assert Trial().see(few.head()).mirror(few).faults() == []
    assert Trial().see(many.head()).mirror(many).faults() == [("back-dating", ANNA)]


def test_the_latest_link_counts() -> None:
    early = link(Branch(entries(5), log_key(BEN)).head(None, cosigner("anna"), time_s=5 * SKEW_S))
    earlier = link(Branch(entries(6), log_key(BEN)).head(None, cosigner("anna"), time_s=1))
    branch = Branch([early, earlier, at("sue", 2 * SKEW_S)])
    assert Trial().see(branch.head()).mirror(branch).faults() == [("back-dating", ANNA)]


def test_what_its_signer_did_not_sign_was_not_dated_at_all() -> None:
    branch = dated_back(cosigner("anna"))
    forged = Statement(1, {}, "claim", "", signer_of("sue"), "0" * 128).encode()
    branch = Branch([*branch.entries[:4], forged])
    trial = Trial().see(branch.head()).mirror(branch)
    assert (trial.faults(), dropped(trial)) == ([], 0)


# What others tell.


def test_evidence_of_another_node_is_verified_and_kept() -> None:
    one, other = fork(3, 9, 20)
    trial = Trial()
    data = of_fork(one, other)
    assert trial.tell(data, "ben").status == 200
    (piece,) = trial.pieces()
    assert piece.data == data
    assert trial.is_frozen(ANNA, 9)
    assert trial.told() == ["anna", "carl", "dora"]
    assert trial.court.counters()["ledger_court_heard"] == 1


def test_a_false_accusation_is_refused_and_held_against_who_told_it() -> None:
    honest, made_up = fork(3, 20, 20)
    frame = Growth(
        honest.log.key, honest.head(9), honest.head(20), made_up.tree.root(9), made_up.tree.consistency(9, 20)
    )
    trial = Trial()
    assert trial.tell(encode(frame), "carl").status == 422
    assert trial.tell(b"waypost/evidence@v1\n", "carl").status == 400
    assert trial.tell(b"", "dora").status == 400
    assert trial.court.false == {"carl": 2, "dora": 1}
    assert (trial.pieces(), trial.told(), trial.court.frozen) == ([], [], {})


def test_a_key_that_is_not_pinned_yet_is_nobodys_fault() -> None:
    trial = Trial("ben", "carl")
    data = of_fork(*fork(3, 9, 9))
    assert trial.tell(data).status == 404
    assert trial.court.false == {}
    trial.logs.meet("anna")
    assert trial.tell(data).status == 200


def test_only_nodes_of_the_network_are_heard() -> None:
    trial = Trial()
    data = of_fork(*fork(3, 9, 9))
    assert trial.tell(data, "").status == 403
    assert trial.tell(data, "emil").status == 403
    assert trial.verified == 0


def test_evidence_in_a_log_is_heard_as_well() -> None:
    """Though the call that should have told it was lost."""
    trial = Trial().mirror(Branch([b"a", of_fork(*fork(3, 9, 9))], log_key(BEN)))
    assert trial.faults() == [("same size", ANNA)]
    trial = Trial().mirror(Branch([b"waypost/evidence@v1\nno"], log_key(BEN)))
    assert trial.court.false == {"ben": 1}


def test_one_piece_for_each_fault_of_each_is_enough() -> None:
    trial = Trial()
    trial.tell(of_fork(*fork(3, 9, 9)), "ben")
    trial.reply(200)
    assert trial.tell(of_fork(*fork(4, 9, 9)), "carl").status == 200
    assert trial.tell(of_fork(*fork(3, 9, 9)), "carl").status == 200
    assert len(trial.pieces()) == 1
    assert trial.told() == []
    assert trial.court.counters()["ledger_court_again"] == 2
    trial.tell(of_fork(*fork(3, 9, 12)), "ben")
    assert len(trial.pieces()) == 2


def test_signers_beyond_number_are_the_burden_of_who_tells_of_them() -> None:
    trial = Trial()
    for number in range(70):
        one, other = (at(f"signer {number}", second) for second in (1, 2))
        trial.mirror(Branch([*trial.copies.get(ANNA, Branch([])).entries, one, other]))
    assert len(trial.pieces()) == 64
    assert trial.court.counters()["ledger_court_dropped"] == 6
    assert trial.tell(of_fork(*fork(3, 9, 9)), "ben").status == 200
    trial.mirror(log_of("ben", at("sue", 1), at("sue", 2)))
    assert len(trial.pieces()) == 66
    trial = trial.again()
    trial.mirror(Branch([*trial.copies[ANNA].entries, at("tom", 1), at("tom", 2)]))
    assert len(trial.pieces()) == 66


def test_signers_are_bounded_whoever_tells_of_them_and_logs_are_not() -> None:
    anna = log_key(ANNA).key
    pieces = Pieces(
        itertools.count(), 10.0, verify, nodes=list, trust=lambda: Trust([anna], 1), agreed_below=lambda _, __: 0
    )
    for number in range(PIECES_MAX + 10):
        one, other = (stated(f"signer {number}", second) for second in (1, 2))
        assert pieces.hear(encode(of_statements(one, other)), f"node {number // SIGNERS_MAX}").status == 200
    assert len(pieces.all) == PIECES_MAX
    assert pieces.counters()["dropped"] == 10
    assert pieces.hear(of_fork(*fork(3, 9, 9)), "ben").status == 200
    assert len(pieces.all) == PIECES_MAX + 1
    pieces.check()


# Durable before visible.


def test_nothing_of_it_is_told_before_it_is_on_disk() -> None:
    one, other = fork(3, 9, 9)
    trial = Trial()
    trial.court.consider(one.head(), "ben", 1.0)
    trial.court.consider(other.head(), "ben", 1.0)
    id = trial.ask(of_fork(one, other), "carl")
    assert trial.hold() == []
    assert trial.is_frozen(ANNA, 9)
    assert trial.court.serve("evidence") == Reply(200, b"")
    assert trial.court.serve(f"evidence/{trial.pieces()[0].found.digest}").status == 404
    assert trial.court.take_entries() == []
    assert trial.again().pieces() == []
    trial.settle()
    assert trial.answers[id].status == 200
    assert trial.again().pieces() == trial.pieces()


def test_it_is_served_to_anybody() -> None:
    trial = Trial()
    trial.tell(of_fork(*fork(3, 9, 9)))
    trial.tell(of_fork(*fork(3, 9, 12)))
    one, other = trial.pieces()
    for each in (trial, trial.again()):
        assert sorted(each.court.serve("evidence").body.decode().split()) == sorted(
            [one.found.digest, other.found.digest]
        )
        assert each.court.serve(f"evidence/{one.found.digest}") == Reply(200, one.data)
        assert each.court.serve(f"evidence/{'0' * 64}").status == 404
        assert each.court.serve("evidence/").status == 404


def test_it_enters_our_log_once() -> None:
    trial = Trial()
    trial.tell(of_fork(*fork(3, 9, 9)))
    ((entry, puts),) = trial.court.take_entries()
    assert entry == trial.pieces()[0].data
    assert trial.court.take_entries() == []
    again = trial.again()
    assert [each for each, _ in again.court.take_entries()] == [entry]
    for put in puts:
        again.disk.tables[put.table][put.key] = put.value or b""
    assert again.again().court.take_entries() == []


# Everybody is told.


def found_one() -> Trial:
    return Trial().see(*(branch.head() for branch in fork(3, 9, 9)))


def test_every_node_is_told_at_once() -> None:
    trial = found_one()
    assert trial.told() == list(OTHERS)
    for _, call in trial.asked:
        assert (call.method, call.path, call.body) == ("POST", "evidence", trial.pieces()[0].data)
    trial.reply(200)
    assert trial.pass_time(1e6).told() == []
    assert trial.court.next_timer() is None
    assert trial.court.counters()["ledger_court_told"] == 4


def test_who_does_not_answer_is_told_again_each_round() -> None:
    trial = found_one().reply(200, to="anna")
    for _ in range(20):
        trial.reply(None)
        assert trial.court.next_timer() == trial.now + 10.0
        assert trial.pass_time(9.9).told() == []
        assert trial.pass_time(0.1).told() == ["ben", "carl", "dora"]
    assert trial.court.gauges(0)["ledger_evidence_untold"] == 3
    assert trial.reply(200).pass_time(1e6).told() == []


def test_who_refuses_is_asked_ever_more_seldom_and_who_fails_is_not() -> None:
    trial = found_one().reply(200, to="anna").reply(200, to="ben").reply(200, to="carl")
    waits = []
    for status in (503, 404, 404, 404, 422, 400, 404, 404, 404, 404):
        trial.reply(status)
        due = trial.court.next_timer()
        assert due is not None
        waits.append(due - trial.now)
        assert trial.pass_time(due - trial.now).told() == ["dora"]
    assert waits == [10, 10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_a_node_takes_one_piece_after_the_other() -> None:
    trial = Trial("anna", "ben")
    for common in (3, 4):
        trial.tell(of_fork(*fork(common, 9, 9 + common)), "ben")
        trial.tell(of_fork(*fork(common, 9, 9), COSIGNERS[0]), "ben")
    assert trial.told() == ["anna"]
    assert trial.reply(200).told() == ["anna"]
    assert trial.reply(200).told() == []


def test_who_takes_something_is_asked_again_about_what_it_refused() -> None:
    trial = Trial("anna", "ben")
    trial.tell(of_fork(*fork(3, 9, 9)), "ben")
    for wait in (10.0, 20.0, 40.0):
        trial.reply(404)
        assert trial.court.next_timer() == trial.now + wait
        trial.pass_time(wait)
    trial.reply(404)
    trial.tell(of_fork(*fork(3, 9, 12)), "ben")
    assert trial.reply(200).told() == ["anna"]
    trial.reply(404)
    assert trial.court.next_timer() == trial.now + 10.0


def test_what_is_new_comes_at_once_and_before_what_was_refused() -> None:
    trial = Trial("anna", "ben")
    bodies = [of_fork(*fork(3, 9, 9)), of_fork(*fork(3, 9, 12)), of_fork(*fork(3, 9, 9), COSIGNERS[1])]
    for body in bodies[:2]:
        trial.tell(body, "ben")
    order, waits = [], []
    for number in range(8):
        (call,) = (call for _, call in trial.asked)
        order.append(bodies.index(call.body))
        if number == 2:
            trial.tell(bodies[2], "ben")
        waits.append(trial.reply(404).told() == [])
        if waits[-1]:
            trial.pass_time(600.0)
    assert order == [0, 1, 0, 2, 1, 0, 2, 1]
    assert waits == [False, True, False, True, True, True, True, True]


def test_who_joins_is_told_and_who_left_is_not() -> None:
    trial = found_one().reply(200)
    trial.logs.meet("emil")
    assert trial.court.next_timer() is not None
    assert trial.pass_time(0.0).told() == ["emil"]
    del trial.logs.known["emil"]
    assert trial.reply(None).pass_time(1e6).told() == []
    assert trial.court.next_timer() is None


def test_all_are_told_again_after_a_restart() -> None:
    """Who has taken it already says so at once."""
    trial = found_one().reply(200).again()
    assert trial.settle().pass_time(0.0).told() == list(OTHERS)


def test_an_answer_to_another_question_is_not_ours() -> None:
    assert not found_one().court.answered(1, Reply(200), 1.0)


# Limits.


def test_heads_that_wait_are_bounded_and_the_smallest_stay() -> None:
    log = log_key(ANNA)
    trial = Trial()
    for size in range(1, 3 * WAITING_MAX):
        trial.see(sign_head(Checkpoint(ANNA, size, bytes(32)), log.key, log.sign))
    assert trial.court.gauges(0)["ledger_heads_waiting"] == WAITING_MAX
    one, other = fork(3, 20, 12)
    trial = Trial().see(other.head())
    for size in range(100, 100 + 2 * WAITING_MAX):
        trial.see(sign_head(Checkpoint(ANNA, size, bytes(32)), log.key, log.sign))
    assert trial.see(one.head()).mirror(one).faults() == [("inconsistent growth", ANNA)]


def test_what_is_remembered_of_a_log_is_bounded() -> None:
    docket = Docket(log_key(ANNA).key)
    branch = Branch(entries(400))
    for size in range(1, 400):
        head = branch.head(size, *COSIGNERS[1:])
        signed = Signed(head, (branch.log.key, *(each.key for each in COSIGNERS[1:])))
        assert list(docket.consider(signed, branch.tree, 3)) == []
        assert len(docket.agreed) <= AGREED_MAX
        assert docket.agreed_below(size + 1) == size
        assert docket.agreed_below(size) == size - 1
    assert docket.agreed_below(3) >= 1
    for number in range(2 * FORKS_MAX):
        fork_ = Branch(entries(number + 1, b"!"))
        list(docket.consider(Signed(fork_.head(), (branch.log.key,)), branch.tree, 3))
    assert len(docket.forks) == FORKS_MAX


def test_who_cosigned_is_counted_for_so_many_heads_and_no_more() -> None:
    docket, branch = Docket(log_key(ANNA).key), Branch(entries(COUNTED_MAX + 1))

    def tell(size: int, *signers: Signer) -> None:
        keys = (branch.log.key, *(each.key for each in signers))
        list(docket.consider(Signed(branch.head(size, *signers), keys), branch.tree, 3))

    for size in range(1, COUNTED_MAX + 2):
        tell(size, WANDA, COSIGNERS[1])
    tell(1, COSIGNERS[2])
    assert docket.agreed == []
    tell(COUNTED_MAX, COSIGNERS[2])
    assert docket.agreed == [COUNTED_MAX]


def test_what_was_seen_is_forgotten_at_last() -> None:
    docket = Docket(log_key(ANNA).key)
    marks = [b"%d" % number for number in range(KNOWN_MAX + 1)]
    assert not any(docket.is_known(mark) for mark in marks)
    assert all(docket.is_known(mark) for mark in marks[1:])
    assert not docket.is_known(marks[0])


def test_a_fork_is_shown_once() -> None:
    one, other = fork(3, 20, 9)
    trial = Trial().mirror(one).see(one.head(), other.head())
    before = trial.court.counters()
    for size in range(9, 20):
        trial.see(one.head(size))
    assert trial.court.counters()["ledger_court_again"] == before["ledger_court_again"]


def test_a_log_has_one_key() -> None:
    """After the operator named another origin or key, what the old one signed is judged no more."""
    one, other = fork(3, 9, 9)
    trial = Trial().see(one.head())
    stranger = replace(log_key(ANNA), key=replace(log_key(ANNA).key, public=log_key(BEN).key.public))
    trial.logs.known["anna"] = Peer("anna", ANNA, stranger.key, cosigner("anna").key)
    assert trial.see(other.head()).faults() == []
    assert dropped(trial) == 0
    trial.see(*(replace(branch, log=stranger).head() for branch in (one, other)))
    assert trial.faults() == [("same size", ANNA)]
    assert sign_as(stranger.key.public, b"") != sign_as(log_key(ANNA).key.public, b"")
