"""Entries of logs, a statement, and evidence of every form."""

from forking import Branch, cosigner, link, log_key, stated

from waypost.ledger import entry, exhibit
from waypost.ledger.entry import Kind
from waypost.ledger.evidence import of_date, of_heads, of_leaves, of_statements
from waypost.ledger.exhibit import Evidence, Leaf
from waypost.ledger.statement import SKEW_S, Statement
from waypost.ledger.tree import leaf_hash
from waypost.record import Ballot, Certificate, Committed, Mark, Matter, Record, Stamp

NETWORK = "ab" * 32
ANNA, WANDA = log_key("waypost/anna"), cosigner("wanda")


def a_statement_of_sue() -> Statement:
    return stated("sue", 1_800_000_000, "0" * 64, number="+1 212 555 0100", nested={"a": [1, None, True]}, x="ä")


def entries_of_logs() -> list[bytes]:
    record = Record("names", "anna", 2, "0" * 64, "1" * 64, "n0", "+1", "1" * 64, Stamp(0, 7), "2" * 32, (), "3" * 128)
    matter = Matter.of(record, Ballot(1, 0, "n0"), NETWORK)
    committed = Committed(record, Certificate(matter, tuple(Mark(f"n{n}", 1, n, "4" * 128) for n in range(3))))
    return [
        entry.commit(NETWORK, committed.encode()),
        a_statement_of_sue().encode(),
        link(Branch([b"a"], ANNA).head(None, WANDA)),
        entry.encode(Kind.DAY, b"a note\n"),
    ]


def evidence_of_lies() -> list[bytes]:
    one = Branch([b"%d" % index for index in range(9)], ANNA)
    other = Branch([b"%d" % index for index in range(5)] + [b"!%d" % index for index in range(9)], ANNA)
    leaves = [(branch.head(), Leaf(leaf_hash(branch.entries[6]), branch.tree.inclusion(6))) for branch in (one, other)]
    linked = link(Branch([b"a"], log_key("waypost/ben")).head(None, cosigner("anna"), time_s=SKEW_S * 9))
    dated = Branch([b"a", linked, stated("sue", 1).encode()], ANNA)
    made: list[Evidence | None] = [
        of_heads(ANNA.key, one.head(), other.head(9), None),
        of_heads(ANNA.key, one.head(), other.head(), other.tree),
        of_heads(WANDA.key, one.head(None, WANDA), other.head(None, WANDA), other.tree),
        of_leaves(ANNA.key, 6, *leaves),
        of_statements(stated("sue", 1), stated("sue", 2)),
        of_date(
            ANNA.key,
            [cosigner("anna").key],
            dated.head(),
            dated.tree,
            (1, dated.entries[1]),
            (2, dated.entries[2]),
        ),
    ]
    return [exhibit.encode(each) for each in made if each is not None]
