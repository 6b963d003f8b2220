"""The Merkle tree: against a plain recomputation, and two of them compared page by page."""

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.drip.merkle import BUCKET_MAX, LEAF_SIZE, NOTHING, PAGE_MAX, Leaf, Merkle, Summary, Walk, digest_of

DIGITS = "0123456789abcdef"


def plain(leaves: list[Leaf], depth: int = 0) -> bytes:
    """The root as the module's docstring defines it, from nothing."""
    if not leaves:
        return bytes(32)
    if len(leaves) <= BUCKET_MAX:
        return sha256(
            b"\x00" + b"".join(leaf.encode() for leaf in sorted(leaves, key=lambda leaf: leaf.digest))
        ).digest()
    parts = [[leaf for leaf in leaves if leaf.digest.hex()[depth] == digit] for digit in DIGITS]
    return sha256(b"\x01" + b"".join(plain(part, depth + 1) for part in parts)).digest()


def leaf(number: int, version: int = 1, crowded: bool = False) -> Leaf:
    """`crowded`: its digest begins as all the others' do."""
    digest = digest_of(b"%d" % number)
    return Leaf(b"\xab\xcd" + digest[2:] if crowded else digest, version, digest_of(b"%d %d" % (number, version)))


def tree_of(leaves: list[Leaf]) -> Merkle:
    tree = Merkle()
    for each in leaves:
        tree.put(each.digest, each.version, each.hash)
    return tree


def compare(mine: Merkle, theirs: Merkle) -> tuple[Walk, int, int]:
    """The walk, the questions it took, and the octets of the answers."""
    walk, questions, octets = Walk(mine), 0, 0
    while page := walk.page():
        questions += 1
        assert len(page) <= PAGE_MAX
        for prefix in page:
            summary = theirs.summary(prefix)
            octets += len(summary.leaves) + len(summary.children)
            assert walk.receive(summary)
    return walk, questions, octets


Step = tuple[int, int, bool]  # number, version (0: remove), crowded
SIZES = st.sampled_from([0, BUCKET_MAX - 1, BUCKET_MAX, BUCKET_MAX + 1, 40, 100])  # keys there are before
STEPS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 3), st.booleans()), max_size=100)


def walk_through(size: int, crowded: bool, steps: list[Step], *, ask: bool) -> tuple[Merkle, dict[bytes, Leaf]]:
    """A tree and its model after so many keys and then the steps; `ask`: for hashes, after each of them."""
    tree, model = Merkle(), dict[bytes, Leaf]()
    for number, version, crowd in [(number, 1, crowded) for number in range(size)] + steps:
        each = leaf(number, version, crowd)
        if version:
            tree.put(each.digest, each.version, each.hash)
            model[each.digest] = each
        else:
            tree.remove(each.digest)
            model.pop(each.digest, None)
        assert len(tree) == len(model)
        assert tree.get(each.digest) == model.get(each.digest)
        if ask:
            tree.root()
            tree.hash_at(each.digest.hex()[:2])
    return tree, model


@given(SIZES, st.booleans(), STEPS, st.booleans())
def test_the_root_is_that_of_a_plain_recomputation(size: int, crowded: bool, steps: list[Step], ask: bool) -> None:
    tree, model = walk_through(size, crowded, steps, ask=ask)
    assert tree.root() == plain(list(model.values()))
    assert list(tree.leaves()) == sorted(model.values(), key=lambda each: each.digest)


@pytest.mark.parametrize("crowded", [False, True])
def test_a_branch_is_a_bucket_again_as_soon_as_its_keys_fit_into_one(crowded: bool) -> None:
    tree, model = walk_through(BUCKET_MAX + 1, crowded, [], ask=True)
    assert tree.summary("").children
    for number in range(4):
        gone = leaf(number, 1, crowded)
        tree.remove(gone.digest)
        del model[gone.digest]
        assert tree.root() == plain(list(model.values()))
        assert not tree.summary("").children


def test_what_has_come_meanwhile_is_not_wanted_any_more() -> None:
    mine, theirs = Merkle(), tree_of([leaf(number, version=2) for number in range(20)])
    walk, _, _ = compare(mine, theirs)
    for number in range(10):
        each = leaf(number, version=2 + number % 2)
        mine.put(each.digest, each.version, each.hash)
    older = leaf(10, version=1)
    mine.put(older.digest, older.version, older.hash)
    walk.forget_arrived()
    assert set(walk.wanted) == {leaf(number).digest for number in range(10, 20)}


@given(st.sets(st.integers(0, 200), max_size=150), st.text(DIGITS, max_size=4))
def test_the_hash_at_a_prefix_is_that_of_a_tree_with_those_keys_alone(numbers: set[int], prefix: str) -> None:
    leaves = [leaf(number) for number in sorted(numbers)]
    below = [each for each in leaves if each.digest.hex().startswith(prefix)]
    assert tree_of(leaves).hash_at(prefix) == plain(below, len(prefix))


def test_one_version_or_one_hash_makes_another_root() -> None:
    leaves = [leaf(number) for number in range(100)]
    root = tree_of(leaves).root()
    first = leaves[0]
    assert tree_of([*leaves[1:], first]).root() == root, "the order does not matter"
    assert tree_of([Leaf(first.digest, 2, first.hash), *leaves[1:]]).root() != root
    assert tree_of([Leaf(first.digest, 1, leaves[1].hash), *leaves[1:]]).root() != root
    assert tree_of(leaves[1:]).root() != root
    assert Merkle().root() == NOTHING


@given(
    st.dictionaries(st.integers(0, 200), st.integers(1, 2), max_size=100),
    st.dictionaries(st.integers(0, 200), st.integers(1, 2), max_size=100),
    SIZES,
    SIZES,
)
def test_a_walk_wants_exactly_what_is_newer_on_the_other_side(
    mine: dict[int, int], theirs: dict[int, int], here: int, there: int
) -> None:
    mine = dict.fromkeys(range(here), 1) | mine
    theirs = dict.fromkeys(range(there), 1) | theirs
    trees = [tree_of([leaf(number, version) for number, version in each.items()]) for each in (mine, theirs)]
    walk, _, _ = compare(*trees)
    newer = {number for number, version in theirs.items() if version > mine.get(number, 0)}
    assert set(walk.wanted) == {leaf(number).digest for number in newer}


def test_records_of_one_version_that_differ_are_wanted() -> None:
    one = tree_of([Leaf(digest_of(b"k"), 1, digest_of(b"this"))])
    other = tree_of([Leaf(digest_of(b"k"), 1, digest_of(b"that"))])
    assert list(compare(one, other)[0].wanted) == [digest_of(b"k")]


@pytest.mark.parametrize("differing", [1, 10, 100])
def test_k_differences_among_n_keys_cost_k_log_n(differing: int) -> None:
    leaves = [leaf(number) for number in range(20_000)]
    mine, theirs = tree_of(leaves), tree_of(leaves)
    for number in range(differing):
        newer = leaf(number * 199, version=2)
        theirs.put(newer.digest, newer.version, newer.hash)
    walk, questions, octets = compare(mine, theirs)
    assert len(walk.wanted) == differing
    levels = 4  # 20,000 keys: 16^3 buckets below the root
    assert octets <= differing * levels * 512 + differing * BUCKET_MAX * LEAF_SIZE
    assert questions <= levels * (1 + differing // PAGE_MAX * 2)


def test_a_page_is_asked_again_until_it_is_answered_and_the_walk_goes_on_from_there() -> None:
    theirs = tree_of([leaf(number) for number in range(2000)])
    walk = Walk(Merkle())
    assert walk.page() == walk.page() == [""]
    walk.receive(theirs.summary(""))
    page = walk.page()
    assert len(page) == 16
    for prefix in page[:5]:
        assert walk.receive(theirs.summary(prefix))
    again = walk.page()
    assert set(page[5:]) <= set(again)
    while page := walk.page():
        for prefix in page:
            walk.receive(theirs.summary(prefix))
    assert len(walk.wanted) == 2000


@pytest.mark.parametrize(
    "summary",
    [
        Summary("a", b"", b""),  # was not asked
        Summary("", b"x" * (LEAF_SIZE - 1), b""),
        Summary("", b"", bytes(15 * 32)),
        Summary("", leaf(1).encode(), bytes(16 * 32)),
        Summary("", leaf(1).encode() * 2, b""),
        Summary("", b"".join(sorted(leaf(number).encode() for number in range(BUCKET_MAX + 1))), b""),
    ],
)
def test_an_answer_that_breaks_the_format_changes_nothing(summary: Summary) -> None:
    walk = Walk(Merkle())
    walk.page()
    assert not walk.receive(summary)
    assert walk.page() == [""]
    assert not walk.wanted


def test_leaves_that_do_not_lie_below_the_prefix_are_refused() -> None:
    walk = Walk(Merkle())
    walk.page()
    walk.receive(Summary("", b"", b"\x01" * 512))
    walk.page()
    wrong = next(leaf(number) for number in range(100) if not leaf(number).digest.hex().startswith("3"))
    assert not walk.receive(Summary("3", wrong.encode(), b""))


def test_the_shape_depends_on_the_keys_and_not_on_how_they_came() -> None:
    rng = Random(7)
    tree, keys = Merkle(), list(range(1500))
    for number in keys:
        each = leaf(number)
        tree.put(each.digest, each.version, each.hash)
    rng.shuffle(keys)
    for number in keys[20:]:
        tree.remove(leaf(number).digest)
    left = [leaf(number) for number in keys[:20]]
    assert tree.root() == tree_of(left).root()
    assert tree.summary("") == tree_of(left).summary("")
    for each in left:
        tree.remove(each.digest)
    assert tree.root() == NOTHING
