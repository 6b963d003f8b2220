"""What docs/literal-rule.md says: the draft's rule leaves nodes different, and ours does not.  Notes on DRiP, 4.1."""

from collections import Counter

import pytest
from breakages import ReachableQuorum
from literal_rule import BEGIN, END, MESHES, PAGE, ballot, differs_in_order, literal


def total(*runs: Counter[str]) -> Counter[str]:
    return sum(runs, Counter[str]())


@pytest.mark.parametrize("mesh", MESHES)
def test_the_drafts_rule_loses_updates_without_any_fault(mesh: str) -> None:
    """Which of them is only the worse, the further nodes are from each other."""
    runs = total(*(literal(seed, mesh, cut=False) for seed in range(12)))
    assert runs["acknowledged"] > 12 * 20
    assert runs["missing"] > 0


def test_the_drafts_rule_leaves_nodes_different_in_sparse_meshes() -> None:
    runs = total(*(literal(seed, "line", cut=False) for seed in range(12)))
    assert runs["differ"] > 0
    assert runs["reordered"] > 6


@pytest.mark.parametrize("mesh", MESHES)
def test_by_the_drafts_rule_both_sides_of_a_partition_commit(mesh: str) -> None:
    runs = total(*(literal(seed, mesh, cut=True) for seed in range(4)))
    assert runs["missing"] == 4


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("mesh", MESHES)
def test_our_rule_leaves_nodes_alike(mesh: str, cut: bool) -> None:
    runs = total(*(ballot(seed, mesh, cut=cut) for seed in range(3)))
    assert runs["acknowledged"] > 3 * 10
    assert (runs["differ"], runs["missing"], runs["reordered"]) == (0, 0, 0)


def test_our_rule_with_the_quorum_of_the_draft_is_caught() -> None:
    """Else the zeros would show nothing."""
    runs = total(*(ballot(seed, "full", cut=True, rules=ReachableQuorum()) for seed in range(3)))
    assert runs["differ"] + runs["missing"] > 0


def test_one_seed_gives_one_run() -> None:
    assert literal(7, "ring", cut=True) == literal(7, "ring", cut=True)
    assert ballot(7, "ring", cut=True) == ballot(7, "ring", cut=True)


def test_orders_are_compared_key_by_key() -> None:
    assert differs_in_order([[("one", 1), ("one", 2)], [("one", 2), ("one", 1)]])
    assert not differs_in_order([[("one", 1), ("two", 2)], [("two", 2), ("one", 1)]])
    assert not differs_in_order([[("one", 1), ("one", 2), ("one", 3)], [("one", 1), ("one", 3)]])


def test_the_page_has_the_figures() -> None:
    figures = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line.strip("| ").split(" | ") for line in figures.splitlines() if line.startswith("| ")][2:]
    assert [(rule, mesh) for rule, mesh, *_ in rows] == [
        (rule, mesh) for rule in ("the draft's", "ballot") for mesh in MESHES
    ]
    for rule, _, *cells in rows:
        shares = [float(cell.removesuffix(" %")) for cell in cells if cell.endswith("%")]
        assert len(shares) == 4
        assert (sum(shares) == 0) == (rule == "ballot")
