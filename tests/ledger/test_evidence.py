"""What is evidence against a liar, and what never is against somebody honest (notes on the ledger, 5)."""

from dataclasses import replace

import pytest
from forking import Branch, Signer, cosigned, cosigner, found, link, log_key, signer_of, stated
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keeping import public_of, sign_as, verify
from signing import LOG, WITNESSES, signer
from signing import cosigned as really_cosigned

from waypost.errors import ProofError, WireError
from waypost.identity.keys import verifies
from waypost.ledger import entry, evidence, exhibit
from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.entry import ENTRY_MAX, Kind
from waypost.ledger.evidence import Fault, check, digest_of, of_date, of_heads, of_leaves, of_statements
from waypost.ledger.exhibit import BackDating, Doubled, Evidence, Growth, Leaf, Leaves, SameSize
from waypost.ledger.note import Key, Note
from waypost.ledger.statement import SKEW_S, STATEMENT_MAX, Statement
from waypost.ledger.tree import leaf_hash

ANNA, BEN = log_key("waypost/anna"), log_key("waypost/ben")
WANDA, WILL = cosigner("wanda"), cosigner("will")
OWN = cosigner("anna")
NOW_S = 1_800_000_000


def entries(number: int, salt: bytes = b"") -> list[bytes]:
    return [b"%d" % index + salt for index in range(number)]


def fork(common: int, one: int, other: int) -> tuple[Branch, Branch]:
    """Two histories of one log, of these sizes, that begin with the same entries."""
    return Branch(entries(one)), Branch(entries(common) + entries(other, b"!")[common:])


def of_fork(common: int, one: int, other: int, key: Signer = ANNA) -> Evidence:
    """From heads of those sizes that everybody has cosigned."""
    branches = fork(common, one, other)
    larger = max(branches, key=lambda branch: branch.tree.size)
    first, second = (branch.head(None, WANDA, WILL) for branch in branches)
    made = of_heads(key.key, first, second, larger.tree)
    assert made is not None
    return made


def split(common: int, one: int, other: int, index: int) -> Leaves:
    branches = fork(common, one, other)
    halves = [
        (branch.head(), Leaf(leaf_hash(branch.entries[index]), branch.tree.inclusion(index))) for branch in branches
    ]
    return of_leaves(ANNA.key, index, *halves)


def dated_back(
    *cosigners: Signer, back_s: int = SKEW_S + 1, order: tuple[int, int] = (3, 7), times: tuple[int, ...] = ()
) -> BackDating:
    """Anna's log has Ben's head, which each of these cosigned, and then a statement that is dated before."""
    head = Branch(entries(5), BEN).head()
    for each, time_s in zip(cosigners, times or (NOW_S,) * len(cosigners), strict=True):
        head = cosigned(head, each, time_s=time_s)
    whole = entries(9)
    whole[order[0]], whole[order[1]] = link(head), stated("sue", NOW_S - back_s).encode()
    branch = Branch(whole)
    placed = [(index, whole[index]) for index in order]
    return of_date(ANNA.key, [each.key for each in cosigners], branch.head(), branch.tree, placed[0], placed[1])


def two_statements() -> Doubled:
    return of_statements(stated("sue", 1, number="+1"), stated("sue", 2, number="+2"))


EACH = {
    "same size": (of_fork(3, 9, 9), Fault.SAME_SIZE, ANNA.key.encode(), 9),
    "growth": (of_fork(3, 9, 20), Fault.GROWTH, ANNA.key.encode(), 9),
    "leaves": (split(3, 9, 20, 5), Fault.GROWTH, ANNA.key.encode(), 6),
    "statements": (two_statements(), Fault.DOUBLE_STATEMENT, signer_of("sue"), 0),
    "witness, same size": (of_fork(3, 9, 9, WANDA), Fault.WITNESS, WANDA.key.encode(), 9),
    "witness, growth": (of_fork(3, 9, 20, WANDA), Fault.WITNESS, WANDA.key.encode(), 9),
    "back-dating": (dated_back(OWN), Fault.BACK_DATING, ANNA.key.encode(), 8),
}
KEYS = (ANNA, OWN, WANDA)


def refused(made: Evidence, *keys: Signer, quorum: int = 1) -> bool:
    """As what it says, or already as what it is."""
    try:
        found(made, keys or KEYS, quorum)
    except (ProofError, WireError):
        return True
    return False


@pytest.mark.parametrize("name", EACH)
def test_each_proof_holds(name: str) -> None:
    made, fault, accused, conflict = EACH[name]
    data = exhibit.encode(made)
    result = check(data, [each.key for each in KEYS], verify, 1)
    origin = "" if fault is Fault.DOUBLE_STATEMENT else "waypost/anna"
    assert result == evidence.Found(fault, accused, origin, conflict, digest_of(data))
    assert exhibit.decode(data) == made
    assert entry.decode(data).kind is Kind.EVIDENCE


@pytest.mark.parametrize("name", [name for name in EACH if name != "statements"])
def test_who_trusts_none_of_its_keys_is_shown_nothing(name: str) -> None:
    """SOUND-EVIDENCE: the file's own word about keys is worth nothing."""
    data = exhibit.encode(EACH[name][0])
    strangers = [log_key("waypost/carl").key, Key(ANNA.key.name, ANNA.key.algorithm, BEN.key.public)]
    for keys in ([], strangers):
        with pytest.raises(ProofError, match="trusted"):
            check(data, keys, verify, 1)


@pytest.mark.parametrize("name", EACH)
def test_a_file_has_one_spelling(name: str) -> None:
    data = exhibit.encode(EACH[name][0])
    for end in range(len(data)):
        with pytest.raises(WireError):
            exhibit.decode(data[:end])
    for damaged in (data + b"\n", data.replace(b"key ", b"key  ", 1) + b" ", b"\n" + data, data + data):
        with pytest.raises(WireError):
            exhibit.decode(damaged)


@settings(deadline=None)
@given(st.sampled_from(sorted(EACH)), st.data())
def test_an_octet_that_is_altered_ends_it(name: str, data: st.DataObject) -> None:
    whole = bytearray(exhibit.encode(EACH[name][0]))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((WireError, ProofError)):
        check(bytes(whole), [each.key for each in KEYS], verify, 1)


def test_a_line_too_many_is_not_looked_over() -> None:
    data = exhibit.encode(EACH["growth"][0])
    for line in (b"proof\n", b"key %s\n" % ANNA.key.encode().encode(), b"\n"):
        with pytest.raises(WireError):
            exhibit.decode(data + line)


def test_halves_have_one_order() -> None:
    """One digest for each proof."""
    for name in ("same size", "leaves"):
        made = EACH[name][0]
        assert isinstance(made, SameSize | Leaves)
        assert refused(replace(made, first=made.second, second=made.first))
    leaves = EACH["leaves"][0]
    assert isinstance(leaves, Leaves)
    swapped = replace(leaves, first=leaves.second, second=leaves.first, one=leaves.other, other=leaves.one)
    assert refused(swapped)
    doubled = two_statements()
    assert refused(Doubled(doubled.second, doubled.first))
    growth = EACH["growth"][0]
    assert isinstance(growth, Growth)
    assert refused(replace(growth, old=growth.new, new=growth.old))
    same = EACH["same size"][0]
    assert isinstance(same, SameSize)
    assert refused(Growth(same.key, same.first, same.second, same.second.root, ()))


def test_the_same_two_heads_are_told_in_one_way_whoever_tells_them() -> None:
    one, other = fork(3, 9, 9)
    assert of_heads(ANNA.key, one.head(), other.head(), None) == of_heads(ANNA.key, other.head(), one.head(), None)


# SOUND-EVIDENCE


def test_a_bogus_proof_between_genuine_heads_is_an_accusation_and_no_proof() -> None:
    """The notes' attempt to frame: heads of an honest log, and a fork that the accuser made."""
    honest, forged = fork(3, 20, 20)
    frame = Growth(ANNA.key, honest.head(9), honest.head(20), forged.tree.root(9), forged.tree.consistency(9, 20))
    assert refused(frame)
    assert refused(replace(frame, proof=honest.tree.consistency(9, 20)))
    assert refused(replace(frame, prefix=honest.tree.root(9), proof=honest.tree.consistency(9, 20)))
    assert refused(replace(frame, proof=()))


def test_heads_of_two_logs_or_by_two_keys_prove_nothing() -> None:
    one, other = fork(3, 9, 9)
    foreign = replace(other, log=BEN)
    assert refused(SameSize(ANNA.key, *sorted((one.head(), foreign.head()), key=lambda head: head.root)), ANNA, BEN)
    by_ben = sign_head(other.head().checkpoint, BEN.key, BEN.sign)
    for key in (ANNA.key, BEN.key):
        pair = sorted((one.head(), by_ben), key=lambda head: head.root)
        assert refused(SameSize(key, *pair), ANNA, BEN)


def test_no_log_speaks_for_another() -> None:
    """Nor does what its key signed that is no head, such as two notes about one day, speak against it."""
    other = replace(ANNA, key=replace(ANNA.key, name="waypost/day@v1"))
    days = [Branch(entries(3, salt), other) for salt in (b"a", b"b")]
    heads = [sign_head(day.head(3).checkpoint, ANNA.key, ANNA.sign) for day in days]
    assert refused(SameSize(ANNA.key, *sorted(heads, key=lambda head: head.root)))


def test_a_witness_is_accused_whoever_signed_as_the_log() -> None:
    """It cosigned two histories of one origin; of two origins it may."""
    one, other = fork(3, 9, 9)
    stranger = replace(other, log=replace(ANNA, key=replace(ANNA.key, public=BEN.key.public)))
    made = of_heads(WANDA.key, one.head(None, WANDA), stranger.head(None, WANDA), None)
    assert made is not None
    assert found(made, [WANDA]).fault is Fault.WITNESS
    foreign = replace(other, log=BEN)
    pair = [evidence.by_alone(branch.head(None, WANDA), [WANDA.key]) for branch in (one, foreign)]
    assert refused(SameSize(WANDA.key, *sorted(pair, key=lambda head: head.root)))


def test_a_cosignature_is_not_to_be_replayed() -> None:
    """On another head, or of another origin."""
    one, other = fork(3, 9, 9)
    line = one.head(None, WANDA).note.by(WANDA.key)
    assert line is not None
    for forged in (other.head(), Branch(entries(9), BEN).head()):
        replayed = Head(forged.checkpoint, Note(forged.note.text, (line,)))
        made = of_heads(WANDA.key, one.head(None, WANDA), replayed, None)
        if made is not None:
            assert refused(made)


def test_two_sizes_have_two_roots() -> None:
    branch = Branch(entries(20))
    for size in range(1, 20):
        for pair in ((branch.head(size), branch.head()), (branch.head(), branch.head(size))):
            assert refused(SameSize(ANNA.key, *pair))


def test_heads_of_nothing_prove_nothing() -> None:
    branch = Branch(entries(9))
    empty = branch.head(0)
    strange = sign_head(Checkpoint("waypost/anna", 0, bytes(32)), ANNA.key, ANNA.sign)
    assert refused(SameSize(ANNA.key, strange, empty))
    for old in (empty, strange):
        assert refused(Growth(ANNA.key, old, branch.head(), bytes([1]) * 32, ()))
        assert of_heads(ANNA.key, old, branch.head(), branch.tree) is None


def test_a_head_that_nobody_or_somebody_besides_signed_is_refused() -> None:
    made = EACH["same size"][0]
    assert isinstance(made, SameSize)
    bare = Head(made.second.checkpoint, Note(made.second.note.text, made.first.note.lines))
    assert refused(replace(made, second=bare))
    assert refused(replace(made, second=cosigned(made.second, WANDA)))


def test_the_same_head_with_other_words_below_is_no_fork() -> None:
    branch = Branch(entries(9))
    assert of_heads(ANNA.key, branch.head(), branch.head(extensions=["more"]), None) is None
    assert refused(SameSize(ANNA.key, branch.head(), branch.head(extensions=["more"])))


def test_a_leaf_is_at_its_own_index_alone() -> None:
    branch = Branch(entries(20))
    nine = [Leaf(leaf_hash(branch.entries[index]), branch.tree.inclusion(index, 9)) for index in (4, 5)]
    twenty = [Leaf(leaf_hash(branch.entries[index]), branch.tree.inclusion(index, 20)) for index in (4, 5)]
    for one, other in ((nine[0], twenty[1]), (nine[1], twenty[0]), (nine[0], twenty[0])):
        for index in (4, 5):
            assert refused(of_leaves(ANNA.key, index, (branch.head(9), one), (branch.head(20), other)))


def test_a_node_above_is_no_leaf() -> None:
    branch = Branch(entries(8))
    path = branch.tree.inclusion(4)
    above = Leaf(branch.tree.consistency(4)[-1], path[1:])
    whole = Leaf(leaf_hash(branch.entries[4]), path)
    assert refused(of_leaves(ANNA.key, 4, (branch.head(7), above), (branch.head(8), whole)))


SUE = stated("sue", 1, number="+1")


@pytest.mark.parametrize(
    "other",
    [
        SUE,
        stated("sue", 2, SUE.hash, number="+1"),
        stated("tom", 1, number="+2"),
        Statement(2_000, {}, "claim", "", signer_of("sue"), SUE.signature),
    ],
)
def test_statements_that_one_may_sign_both_prove_nothing(other: Statement) -> None:
    first, second = sorted((SUE, other), key=lambda each: each.hash)
    assert refused(Doubled(first, second))


def test_a_statement_signed_twice_is_one() -> None:
    """Ed25519 signatures of one message may differ."""
    again = Statement(SUE.at_ms, SUE.body, SUE.kind, SUE.prev, SUE.signer, "0" * 128)
    assert refused(Doubled(SUE, again))
    assert refused(Doubled(again, SUE))


@pytest.mark.parametrize("back_s", [0, SKEW_S, -SKEW_S])
def test_what_is_within_the_skew_was_not_dated_back(back_s: int) -> None:
    assert refused(dated_back(OWN, back_s=back_s))


def test_what_comes_before_the_link_may_be_older() -> None:
    assert refused(dated_back(OWN, order=(7, 3)))


def test_a_single_witness_of_the_future_frames_nobody() -> None:
    """Of others than the log's own cosigner as many are wanted as make a quorum, and the earliest counts."""
    trusted = (ANNA, OWN, WANDA, WILL)
    assert refused(dated_back(WANDA), *trusted, quorum=2)
    assert not refused(dated_back(WANDA, WILL), *trusted, quorum=2)
    assert refused(dated_back(WANDA, WILL, times=(NOW_S, NOW_S - 9)), *trusted, quorum=2)
    assert refused(dated_back(WANDA, WANDA), *trusted, quorum=2)
    padded = replace(dated_back(WANDA), cosigners=(WANDA.key, WILL.key))
    assert refused(padded, *trusted, quorum=2)
    assert refused(dated_back(), *trusted, quorum=0)
    assert not refused(dated_back(OWN), *trusted, quorum=9)


def test_the_cosigner_of_another_node_is_not_the_logs_own() -> None:
    assert refused(dated_back(cosigner("ben")), ANNA, BEN, cosigner("ben"), quorum=2)


def test_only_entries_of_that_log_show_that_it_dated_back() -> None:
    made = dated_back(OWN)
    for wrong in (
        replace(made, statement=replace(made.statement, index=8)),
        replace(made, link=replace(made.link, index=2)),
        replace(made, statement=replace(made.statement, data=stated("sue", 1).encode())),
        replace(made, link=replace(made.link, data=link(Branch(entries(4), BEN).head(None, OWN, time_s=NOW_S)))),
        replace(made, key=BEN.key),
        replace(made, key=OWN.key),
        replace(made, cosigners=(WANDA.key,)),
    ):
        assert refused(wrong, ANNA, BEN, OWN, WANDA)


def test_who_cosigned_a_log_that_dates_back_has_not_dated_back() -> None:
    made = dated_back(OWN)
    whole = [b""] * 9
    whole[3], whole[7] = made.link.data, made.statement.data
    branch = Branch(whole)
    head = branch.head(None, WANDA)
    accused = of_date(WANDA.key, [OWN.key], head, branch.tree, (3, whole[3]), (7, whole[7]))
    assert refused(accused, ANNA, OWN, WANDA)
    assert not refused(replace(accused, key=ANNA.key, head=branch.head()), ANNA, OWN, WANDA)


def test_a_statement_that_its_signer_did_not_sign_was_dated_by_nobody() -> None:
    whole = entries(9)
    forged = Statement(1, {}, "claim", "", signer_of("sue"), "0" * 128)
    whole[3], whole[7] = link(Branch(entries(5), BEN).head(None, OWN, time_s=NOW_S)), forged.encode()
    branch = Branch(whole)
    made = of_date(ANNA.key, [OWN.key], branch.head(), branch.tree, (3, whole[3]), (7, whole[7]))
    assert refused(made)
    day = entry.encode(Kind.DAY, whole[3].partition(b"\n")[2])
    whole[3], whole[7] = day, stated("sue", 1).encode()
    branch = Branch(whole)
    assert refused(of_date(ANNA.key, [OWN.key], branch.head(), branch.tree, (3, day), (7, whole[7])))


@settings(deadline=None)
@given(st.data())
def test_no_file_accuses_an_honest_log_or_an_honest_witness(data: st.DataObject) -> None:
    """SOUND-EVIDENCE: whatever genuine heads are put together with whatever proofs, of its own or of made-up trees."""
    draw = data.draw
    honest = Branch(entries(24))
    forged = Branch(entries(draw(st.integers(0, 23))) + entries(24, b"?"))
    sizes = st.integers(0, 24)
    trees = st.sampled_from([honest.tree, forged.tree])

    def head() -> Head:
        """Genuine; or made by somebody who has no key but his own."""
        size = draw(sizes)
        genuine = honest.head(size, WANDA, OWN, extensions=draw(st.sampled_from([[], ["x"]])))
        made_up = forged.head(size, WANDA).checkpoint
        lines = draw(
            st.sampled_from(
                [
                    genuine.note.lines[:1],
                    genuine.note.lines[1:2],
                    Branch(entries(9), BEN).head(None, WANDA).note.lines[1:],
                ]
            )
        )
        checkpoint = draw(st.sampled_from([genuine.checkpoint, genuine.checkpoint, made_up]))
        return Head(checkpoint, Note(checkpoint.text, lines))

    def leaf(index: int) -> Leaf:
        size = max(draw(sizes), index + 1)
        branch = draw(st.sampled_from([honest, forged]))
        return Leaf(leaf_hash(branch.entries[index]), branch.tree.inclusion(index, size))

    key = draw(st.sampled_from([ANNA.key, WANDA.key]))
    first, second = head(), head()
    old, new = sorted((draw(sizes), draw(sizes)))
    index = draw(st.integers(0, 23))
    forms: list[Evidence] = [
        SameSize(key, first, second),
        Growth(key, first, second, draw(trees).root(old), draw(trees).consistency(old, new)),
        Growth(key, first, second, draw(trees).root(min(first.size, 24)), draw(trees).consistency(old, new)),
        Leaves(key, first, second, index, leaf(index), leaf(draw(st.sampled_from([index, old % 24])))),
    ]
    for form in forms:
        assert refused(form)


# COMPLETE-EVIDENCE


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 80), st.integers(1, 80), st.sampled_from([ANNA, WANDA]))
def test_every_fork_is_proved(common: int, one: int, other: int, key: Signer) -> None:
    result = found(of_fork(common, common + one, common + other, key), KEYS)
    same = Fault.SAME_SIZE if one == other else Fault.GROWTH
    assert result.fault is (same if key is ANNA else Fault.WITNESS)
    assert result.conflict == common + min(one, other)


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(1, 40), st.integers(1, 40), st.integers(0, 39))
def test_every_fork_is_proved_by_two_leaves(common: int, one: int, other: int, past: int) -> None:
    assume(past < min(one, other))
    result = found(split(common, common + one, common + other, common + past), KEYS)
    assert (result.fault, result.conflict) == (Fault.GROWTH, common + past + 1)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 60))
def test_heads_of_one_history_are_no_fork(size: int, more: int) -> None:
    branch = Branch(entries(size + more))
    assert of_heads(ANNA.key, branch.head(size), branch.head(), branch.tree) is None


# What it costs.


def test_a_proof_is_about_as_large_as_the_notes_say_it_is() -> None:
    """506 octets of one size; 1,256 of two sizes near a million, without the vkey, which ours names in 77 octets."""
    log = signer("waypost.example/n0", 7)
    sizes = (1_000_000, 1_000_000, 900_000)
    heads = [
        sign_head(Checkpoint(log.key.name, size, bytes([n]) * 32), log.key, log.sign) for n, size in enumerate(sizes)
    ]
    data = exhibit.encode(SameSize(log.key, heads[0], heads[1]))
    assert len(data) == 506
    assert check(data, [log.key], verifies, 1).fault is Fault.SAME_SIZE
    growth = Growth(log.key, heads[2], heads[0], bytes(32), (bytes(32),) * 16)
    assert len(exhibit.encode(growth)) == 1_288


def test_real_signatures_hold_too() -> None:
    one, other = fork(3, 9, 20)
    heads = [
        really_cosigned(sign_head(branch.head().checkpoint, LOG.key, LOG.sign), WITNESSES[0], time_s=7)
        for branch in (one, other)
    ]
    for key, fault in ((LOG.key, Fault.GROWTH), (WITNESSES[0].key, Fault.WITNESS)):
        made = of_heads(key, heads[0], heads[1], other.tree)
        assert made is not None
        assert check(exhibit.encode(made), [key], verifies, 1).fault is fault
        with pytest.raises(ProofError):
            check(exhibit.encode(made), [WITNESSES[1].key], verifies, 1)


def test_the_largest_statements_make_evidence_still() -> None:
    room = STATEMENT_MAX - len(stated("sue", 1, x="").encode())
    data = exhibit.encode(of_statements(stated("sue", 1, x="x" * room), stated("sue", 1, x="y" * room)))
    assert len(data) <= ENTRY_MAX


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"waypost/evidence@v1\nsame-size\n" + data))
def test_any_octets_are_exactly_evidence_or_none(data: bytes) -> None:
    try:
        made = exhibit.decode(data)
    except WireError:
        return
    assert exhibit.encode(made) == data


def test_a_proof_of_many_hashes_is_refused() -> None:
    growth = EACH["growth"][0]
    assert isinstance(growth, Growth)
    with pytest.raises(WireError):
        exhibit.decode(exhibit.encode(replace(growth, proof=(bytes(32),) * 65)))
    with pytest.raises(WireError):
        exhibit.encode(replace(growth, proof=(bytes(32),) * 2_000))


def test_times_of_few_are_relied_on() -> None:
    keys = tuple(cosigner(f"w{number}").key for number in range(exhibit.KEYS_MAX))
    made = replace(dated_back(OWN), cosigners=keys[1:])
    assert exhibit.decode(exhibit.encode(made)) == made
    with pytest.raises(WireError):
        exhibit.decode(exhibit.encode(replace(made, cosigners=keys)))


def test_who_signs_here_is_who_is_meant() -> None:
    """The stand-in for signatures tells keys apart."""
    assert verify(public_of("a"), sign_as(public_of("a"), b"x"), b"x")
    assert not verify(public_of("b"), sign_as(public_of("a"), b"x"), b"x")
