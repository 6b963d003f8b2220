"""Policies: which lines are refused, what a head needs, and how many liars it bears."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signing import LOG, WITNESSES, Signer, cosigned, signer, witness

from waypost.errors import ProofError, WireError
from waypost.identity.keys import verifies
from waypost.ledger.checkpoint import Checkpoint, Head, read_head, sign_head
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.policy import EACH_MAX, LINES_MAX, POLICY_MAX, Group, Policy, Verdict, quorum_of, shown, tolerated
from waypost.ledger.policy import Log as LogLine
from waypost.ledger.policy import Witness as WitnessLine

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "tlog" / "own" / "policies.json").read_text(encoding="utf-8")
)
NOW_S = 1_800_000_000
W = [each.key.encode() for each in WITNESSES]
FOUR = "".join(f"witness w{number} {vkey}\n" for number, vkey in enumerate(W, 1))
HEAD = sign_head(Checkpoint("waypost/anna", 7, bytes(32)), LOG.key, LOG.sign)


def policy_of(text: str) -> Policy:
    return Policy.decode(f"log {LOG.key.encode()}\n{FOUR}{text}".encode())


def by(*witnesses: Signer, ago_s: int = 0) -> Head:
    return cosigned(HEAD, *witnesses, time_s=NOW_S - ago_s)


def judged(policy: Policy, head: Head, age_max_s: int | None = None) -> Verdict:
    return policy.check(head, verifies, NOW_S, age_max_s)


# Vectors


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_each_policy_of_our_vectors_gets_its_verdicts(case: dict[str, Any]) -> None:
    """Which another judge gives as well: tests/e2e/test_judges.py."""
    try:
        policy = Policy.decode(case["policy"].encode())
    except WireError:
        assert case["wrong"]
        return
    assert not case["wrong"]
    for number, one in enumerate(case["heads"]):
        try:
            verdict = policy.check(read_head(one["note"].encode()), verifies, one["now"], one["age"])
        except ProofError:
            assert one["verdict"] == "refused", number
        else:
            assert one["verdict"] == ("met" if verdict.met else "unmet"), number


# What is written


def test_a_policy_is_read_as_the_specification_writes_it() -> None:
    """C2SP tlog-policy: tabs, spaces around, comments, empty lines, URLs, and order between kinds is free."""
    text = (
        f"# ours\n\n  \t\nwitness\tX1 \t {W[0]}   https://w.example/x\t\nwitness X2 {W[1]}\n  # more\n"
        f"witness Y1 {W[2]}\n"
        f"group X any X1 X2\nlog {LOG.key.encode()} https://log.example/#1\nwitness Y2 {W[3]}\ngroup Y 1 Y1 Y2\n"
        " group both all X Y\nquorum both\n"
    )
    policy = Policy.decode(text.encode())
    assert policy.logs == (LogLine(LOG.key, "https://log.example/#1"),)
    assert [each.name for each in policy.witnesses] == ["X1", "X2", "Y1", "Y2"]
    assert [each.url for each in policy.witnesses] == ["https://w.example/x", "", "", ""]
    assert policy.groups == (
        Group("X", 1, ("X1", "X2")), Group("Y", 1, ("Y1", "Y2")), Group("both", 2, ("X", "Y"))
    )  # fmt: skip
    assert policy.quorum == "both"
    assert Policy.decode(policy.encode()) == policy


def test_a_policy_is_written_in_one_way() -> None:
    policy = policy_of("group g any w1 w2\nquorum g\n")
    lines = policy.encode().decode().splitlines()
    assert lines[0] == f"log {LOG.key.encode()}"
    assert lines[4:] == [f"witness w4 {W[3]}", "group g 1 w1 w2", "quorum g"]


def test_names_are_octets_and_not_text() -> None:
    """C2SP tlog-policy, Character set: a Kelvin sign is no K, and what is no UTF-8 is a name as well."""
    kelvin, latin = b"\xe2\x84\xaa", b"\xe9"
    data = b"witness %s %s\nwitness K %s\nwitness %s %s\ngroup g all K %s\nquorum %s\n" % (
        kelvin, W[0].encode(), W[1].encode(), latin, W[2].encode(), kelvin, latin
    )  # fmt: skip
    policy = Policy.decode(data)
    assert policy.encode().replace(b"g 2", b"g all") == data
    assert [shown(each.name) for each in policy.witnesses] == ["\u212a", "K", "\ufffd"]
    nbsp = "witness a\u00a0b " + W[0] + "\nquorum a\u00a0b\n"
    assert Policy.decode(nbsp.encode()).witnesses[0].name == "a\u00a0b"


def test_a_policy_may_name_no_log_or_no_witness() -> None:
    assert Policy.decode(b"quorum none\n") == Policy(())
    assert policy_of("quorum none\n").quorum == "none"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no quorum"),
        ("quorum w5\n", "line 6: the quorum is not defined"),
        ("quorum g\ngroup g any w1\n", "line 6: the quorum is not defined"),
        ("quorum w1\nquorum w1\n", "line 7: there is a quorum already"),
        ("quorum none\nquorum none\n", "line 7: there is a quorum already"),
        ("quorum\n", "has other parts"),
        ("quorum w1 w2\n", "has other parts"),
        ("quorum w1", "the last line has no end"),
        ("Quorum w1\n", "it is no log"),
        ("quorum w1\r\n", "control characters"),
        ("quorum w1\n\x7f", "control characters"),
        ("group g any\nquorum g\n", "has other parts"),
        ("group g 0 w1\n", "needs all, any"),
        ("group g 3 w1 w2\n", "needs all, any, or from 1 to 2"),
        ("group g 01 w1\n", "needs all, any"),
        ("group g +1 w1\n", "needs all, any"),
        ("group g \u0661 w1\n", "needs all, any"),
        ("group g ANY w1\n", "needs all, any"),
        ("group g any w1 w1\n", "a member is not defined before this line, or is a member already"),
        ("group g any w1\ngroup h any w1\n", "line 7: a member is"),
        ("group g any h\ngroup h any w1\n", "line 6: a member is"),
        ("group g any g\n", "line 6: a member is"),
        ("group g any none\n", "a member is"),
        ("group w1 any w2\n", "the name is taken"),
        ("group none any w2\n", "the name is taken"),
        ("group g any w1\ngroup g any w2\n", "the name is taken"),
        (f"witness none {W[0][:-1]}\n", "line 6"),
        (f"witness w5 {W[0]}\n", "the key is there already"),
        (f"witness w5 {witness('other', 11).key.encode()}\n", "the key is there already"),
        (f"witness w1 {witness('w5', 15).key.encode()}\n", "the name is taken"),
        (f"witness none {witness('w5', 15).key.encode()}\n", "the name is taken"),
        (f"witness w5 {signer('w5', 15).key.encode()}\n", "a key of that type does not sign that"),
        (f"log {witness('waypost/anna', 2).key.encode()}\n", "a key of that type does not sign that"),
        (f"log {signer('waypost/berta', 1).key.encode()}\n", "the key is there already"),
        (f"log {LOG.key.encode()} url url\n", "has other parts"),
        ("log\n", "has other parts"),
        ("witness w5\n", "has other parts"),
        ("log waypost/anna\n", "line 6: a key is written as"),
        ("log w\udce9ypost/anna+00000000+AAAA\n", "line 6: a key is written as"),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused_and_the_line_named(text: str, why: str) -> None:
    with pytest.raises(WireError, match=why):
        Policy.decode(f"log {LOG.key.encode()}\n{FOUR}".encode() + text.encode(errors="surrogateescape"))


def test_two_keys_that_cannot_be_told_apart_are_refused() -> None:
    """Four octets of an ID are soon the same: here for two of some 23,000 keys."""
    one, other = (Key("w", Algorithm.COSIGNATURE, number.to_bytes(32)) for number in (6_094, 23_356))
    assert one.id == other.id
    with pytest.raises(WireError, match="line 2: another key has the same name and ID"):
        Policy.decode(f"witness a {one.encode()}\nwitness b {other.encode()}\nquorum a\n".encode())


def test_a_policy_holds_so_many_of_each_and_no_more() -> None:
    """The specification wants 32 of each."""

    def of(logs: int, witnesses: int) -> bytes:
        return Policy(
            tuple(LogLine(signer(f"log{number}", number).key) for number in range(logs)),
            tuple(WitnessLine(f"w{number}", witness(f"w{number}", number).key) for number in range(witnesses)),
        ).encode()

    assert EACH_MAX >= 32
    assert len(Policy.decode(of(EACH_MAX, EACH_MAX)).witnesses) == EACH_MAX
    for counts in ((EACH_MAX + 1, 0), (0, EACH_MAX + 1)):
        with pytest.raises(WireError, match=f"line {EACH_MAX + 1}: there are more than {EACH_MAX}"):
            Policy.decode(of(*counts))
    chain = "".join(f"group g{number + 1} any g{number}\n" for number in range(EACH_MAX + 1)).replace("g0", "w0")
    many = of(0, 1).replace(b"quorum none\n", chain.encode()) + b"quorum w0\n"
    with pytest.raises(WireError, match=f"line {EACH_MAX + 2}: there are more than {EACH_MAX}"):
        Policy.decode(many)
    assert Policy.decode(many.replace(f"group g{EACH_MAX + 1} ".encode(), b"# ")).faulty_max == 0
    with pytest.raises(WireError, match=f"more than {LINES_MAX} lines"):
        Policy.decode(b"#\n" * LINES_MAX + b"quorum none\n")
    with pytest.raises(WireError, match="too large"):
        Policy.decode(b"#" * POLICY_MAX + b"\n")


@given(st.data())
def test_a_policy_survives_the_way_to_octets_and_back(data: st.DataObject) -> None:
    policy = data.draw(policies())
    assert Policy.decode(policy.encode()) == policy


# What is asked of a head


def test_a_quorum_is_as_many_witnesses_as_it_says() -> None:
    policy = policy_of("group g 3 w1 w2 w3 w4\nquorum g\n")
    a, b, c, d = WITNESSES
    few: list[tuple[Signer, ...]] = [(), (a,), (a, b), (b, d)]
    for witnesses in few:
        verdict = judged(policy, by(*witnesses))
        assert not verdict.met
        with pytest.raises(
            ProofError, match=r"the quorum of witnesses is not met: cosigned by (nobody|w1|w1, w2|w2, w4)$"
        ):
            verdict.require()
    enough: list[tuple[Signer, ...]] = [(a, b, c), (b, c, d), (a, b, c, d)]
    for witnesses in enough:
        verdict = judged(policy, by(*witnesses))
        assert verdict.met
        assert verdict.log == LOG.key
        assert verdict.cosigned == {each.key.name: NOW_S for each in witnesses}
        verdict.require()


def test_groups_within_groups_count_as_one_member_each() -> None:
    policy = policy_of("group X all w1 w2\ngroup Y any w3 w4\ngroup both all X Y\nquorum both\n")
    a, b, c, d = WITNESSES
    assert [judged(policy, by(*each)).met for each in ((a, b, c), (a, b, d), (a, b), (a, c, d), (b, c, d))] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_a_quorum_of_one_witness_or_of_none() -> None:
    assert judged(policy_of("quorum w2\n"), by(WITNESSES[1])).met
    assert not judged(policy_of("quorum w2\n"), by(WITNESSES[0])).met
    assert judged(policy_of("quorum none\n"), by()).met


def test_one_witness_is_one_however_often_it_signs() -> None:
    policy = policy_of("group g 2 w1 w2 w3 w4\nquorum g\n")
    assert not judged(policy, by(*[WITNESSES[0]] * 5)).met


def test_a_head_that_no_log_of_the_policy_has_signed_is_refused() -> None:
    berta = signer("waypost/berta", 2)
    other = sign_head(Checkpoint("waypost/berta", 7, bytes(32)), berta.key, berta.sign)
    borrowed = sign_head(Checkpoint("waypost/berta", 7, bytes(32)), LOG.key, LOG.sign)  # the key's name is the origin's
    for head in (other, borrowed, replace(HEAD, note=replace(HEAD.note, lines=by(WITNESSES[0]).note.lines[1:]))):
        with pytest.raises(ProofError, match="no log of the policy has signed this head of waypost/"):
            judged(policy_of("quorum none\n"), head)
    both = replace(policy_of("quorum none\n"), logs=(LogLine(LOG.key), LogLine(berta.key)))
    assert judged(both, other).log == berta.key
    assert judged(both, HEAD).log == LOG.key


def test_one_wrong_signature_by_a_key_of_the_policy_spoils_the_head() -> None:
    policy = policy_of("quorum w1\n")
    head = by(*WITNESSES[:2])
    for place, name in enumerate(("waypost/anna", "w1", "w2")):
        lines = list(head.note.lines)
        lines[place] = replace(lines[place], signature=bytes(8) + bytes(64))
        with pytest.raises(ProofError, match=f"signature of {name} is wrong"):
            judged(policy, replace(head, note=replace(head.note, lines=tuple(lines))))


def test_lines_by_strangers_say_nothing() -> None:
    stranger = witness("w1", 77)
    verdict = judged(policy_of("quorum w1\n"), by(stranger))
    assert not verdict.met
    assert (verdict.cosigned, verdict.refused) == ({}, {})


def test_a_cosignature_of_another_log_is_no_cosignature_of_this_one() -> None:
    berta = signer("waypost/berta", 2)
    other = cosigned(
        sign_head(Checkpoint("waypost/berta", 7, bytes(32)), berta.key, berta.sign), WITNESSES[0], time_s=1
    )
    replayed = replace(HEAD, note=HEAD.note.signed(other.note.lines[1]))
    with pytest.raises(ProofError, match="the cosignature of w1 is wrong"):
        judged(policy_of("quorum w1\n"), replayed)


def test_with_an_age_only_current_cosignatures_count() -> None:
    policy = policy_of("group g 2 w1 w2 w3 w4\nquorum g\n")
    head = cosigned(by(WITNESSES[0], ago_s=61), WITNESSES[1], time_s=NOW_S - 60)
    assert judged(policy, head).met
    verdict = judged(policy, head, 60)
    assert not verdict.met
    assert verdict.cosigned == {"w2": NOW_S - 60}
    assert verdict.refused == {"w1": "did so 61 seconds ago, 60 at most"}
    again = cosigned(head, WITNESSES[0], time_s=NOW_S)  # the latest of its cosignatures is what counts
    assert judged(policy, again, 60).met


def test_a_witness_whose_clock_is_far_ahead_would_never_be_old_and_does_not_count() -> None:
    policy = policy_of("quorum w1\n")
    assert judged(policy, by(WITNESSES[0], ago_s=-300), 60).met
    verdict = judged(policy, by(WITNESSES[0], ago_s=-301), 60)
    assert verdict.refused == {"w1": "did so 301 seconds from now"}
    assert judged(policy, by(WITNESSES[0], ago_s=-301)).met  # without an age no clock is asked


@pytest.mark.parametrize(
    "own", [witness("waypost/anna/witness", 20), witness("waypost/anna", 21), witness("elsewhere", 1)]
)
def test_the_logs_own_node_is_no_witness_of_it(own: Signer) -> None:
    policy = policy_of(f"witness own {own.key.encode()}\ngroup g any w1 own\nquorum g\n")
    verdict = judged(policy, by(own))
    assert not verdict.met
    assert verdict.refused == {"own": "is the log's own"}
    with pytest.raises(ProofError, match="cosigned by nobody; own is the log's own"):
        verdict.require()
    berta = signer("waypost/berta", 2)
    other = cosigned(sign_head(Checkpoint("waypost/berta", 7, bytes(32)), berta.key, berta.sign), own, time_s=NOW_S)
    assert judged(replace(policy, logs=(LogLine(berta.key),)), other).met


def test_logs_and_witnesses_may_sign_with_ml_dsa_44() -> None:
    log, quantum = signer("log.example", 30, Algorithm.MLDSA_44), signer("q", 31, Algorithm.MLDSA_44)
    text = f"log {log.key.encode()}\nwitness q {quantum.key.encode()}\nquorum q\n"
    policy = Policy.decode(text.encode())
    unsigned = replace(HEAD.note, text=Checkpoint("log.example", 7, bytes(32)).text, lines=())
    head = cosigned(Head(Checkpoint("log.example", 7, bytes(32)), unsigned), log, quantum, time_s=NOW_S)
    assert judged(policy, head, 60).cosigned == {"q": NOW_S}
    line = head.note.lines[0]
    spoilt = replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    with pytest.raises(ProofError, match=r"the cosignature of log\.example is wrong"):
        judged(policy, replace(head, note=replace(head.note, lines=(spoilt, *head.note.lines[1:]))))


def test_a_policy_is_made_from_keys() -> None:
    keys = [each.key for each in WITNESSES]
    policy = Policy.of([LOG.key], keys, 3)
    assert judged(policy, by(*WITNESSES[:3])).met
    assert not judged(policy, by(*WITNESSES[:2])).met
    assert Policy.of([LOG.key], [], 0) == Policy((LogLine(LOG.key),))
    for witnesses, needs in ((keys, 5), ([*keys, witness("w1", 70).key], 3), ([keys[0]] * 3, 3)):
        with pytest.raises(WireError):
            Policy.of([LOG.key], witnesses, needs)


# How many may lie, and how many be silent


def test_so_many_witnesses_are_asked_for_and_so_many_may_lie() -> None:
    """Notes on the ledger, 5: n = 4: k = 3 bears 1, n = 5: 4 bears 2, n = 7: 5 bears 2; 3 of 5 bears none (L6)."""
    assert [quorum_of(n) for n in range(11)] == [0, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7]
    assert [tolerated(n, quorum_of(n)) for n in range(1, 8)] == [0, 1, 2, 1, 2, 3, 2]
    assert tolerated(5, 3) == 0
    assert tolerated(5, 2) == tolerated(4, 2) == tolerated(0, 0) == -1


def flat(n: int, k: int) -> Policy:
    names = tuple(f"w{number}" for number in range(n))
    return Policy((), tuple(WitnessLine(name, WITNESSES[0].key) for name in names), (Group("g", k, names),), "g")


def test_what_a_group_bears_is_what_trying_all_liars_says() -> None:
    for n in range(1, 7):
        for k in range(1, n + 1):
            assert flat(n, k).faulty_max == tolerated(n, k) == bears(flat(n, k))
            assert flat(n, k).down_max == n - k == spares(flat(n, k))


def test_what_nested_groups_bear_is_what_trying_all_liars_says() -> None:
    example = policy_of("group X 2 w1 w2 w3\ngroup both all X w4\nquorum both\n")
    assert (example.faulty_max, example.down_max) == (1, 0)
    assert policy_of("quorum none\n").faulty_max == bears(policy_of("quorum none\n")) == -1
    assert policy_of("quorum none\n").down_max == 4
    assert policy_of("quorum w1\n").faulty_max == 0


@given(st.data())
def test_what_any_policy_bears_is_what_trying_all_liars_says(data: st.DataObject) -> None:
    policy = data.draw(policies())
    assert policy.faulty_max == bears(policy)
    assert policy.down_max == spares(policy)


def bears(policy: Policy) -> int:
    """As many as may lie, whichever they be: no two parts of the honest ones are a quorum with them."""
    names = [each.name for each in policy.witnesses]
    for count in range(len(names) + 1):
        if any(is_forked(policy, names, liars) for liars in itertools.combinations(names, count)):
            return count - 1
    return len(names)


def is_forked(policy: Policy, names: list[str], liars: tuple[str, ...]) -> bool:
    honest = [name for name in names if name not in liars]
    return any(
        policy.is_met((*liars, *part)) and policy.is_met((*liars, *(name for name in honest if name not in part)))
        for part in subsets(honest)
    )


def spares(policy: Policy) -> int:
    names = [each.name for each in policy.witnesses]
    silent = (part for part in subsets(names) if not policy.is_met(name for name in names if name not in part))
    return min(map(len, silent), default=len(names) + 1) - 1


def subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    return itertools.chain.from_iterable(itertools.combinations(names, count) for count in range(len(names) + 1))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Of at most six witnesses, in groups of groups."""
    names = [f"w{number}" for number in range(draw(st.integers(1, 6)))]
    witnesses = tuple(
        WitnessLine(name, WITNESS_KEYS[name], draw(st.sampled_from(["", "https://w.example/"]))) for name in names
    )
    free, groups = list(names), []
    for number in range(draw(st.integers(0, 4))):
        if free:
            members = draw(st.lists(st.sampled_from(free), min_size=1, max_size=len(free), unique=True))
            groups.append(Group(f"g{number}", draw(st.integers(1, len(members))), tuple(members)))
            free = [name for name in (*free, f"g{number}") if name not in members]
    quorum = draw(st.sampled_from([*names, *(group.name for group in groups), "none"]))
    return Policy((LogLine(LOG.key),), witnesses, tuple(groups), quorum)


WITNESS_KEYS = {f"w{number}": witness(f"w{number}", 40 + number).key for number in range(6)}
