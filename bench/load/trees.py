"""The tree of a log in one process: beside the SHA-256 that it needs at least, and beside pymerkle."""

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from waypost.ledger.tiles import WIDTH, Tile, tiles
from waypost.ledger.tree import Tree, leaf_hash, verify_consistency, verify_inclusion

OCTETS: Final = 256  # of an entry
SINGLE: Final = 1
BATCHES: Final = (SINGLE, 256, 1_024, 10_000)
PORTION: Final = 1_024  # leaves that a node adds at once at most

Figures = dict[str, Any]
Ways = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Sizes:
    """`leaves` of the trees that are compared, `proofs` of ours and of pymerkle's, `growth` in leaves."""

    appended: int
    rounds: int
    leaves: int
    proofs: int
    slow_proofs: int
    growth: tuple[int, ...]


def entries(start: int, stop: int) -> list[bytes]:
    rest = bytes(OCTETS - 12)
    return [b"%012d" % number + rest for number in range(start, stop)]


def portions(start: int, stop: int, size: int = PORTION) -> Iterator[tuple[int, int]]:
    return ((at, min(at + size, stop)) for at in range(start, stop, size))


def per_second(count: int, call: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    call()
    return count / (time.perf_counter() - started)


# Appends.


def appending(sizes: Sizes) -> Figures:
    """Rounds of everything in turn, so that what else the machine does befalls all; ratios are within a round."""
    every = entries(0, sizes.appended)
    rounds = []
    for _ in range(sizes.rounds):
        found = {"ceiling": per_second(sizes.appended, lambda: hash_only(every))}
        for batch in BATCHES:
            found[str(batch)] = per_second(sizes.appended, lambda batch=batch: grow(every, batch))  # type: ignore[misc]
        rounds.append(found)
    return {
        "rates": {name: median(each[name] for each in rounds) for name in rounds[0]},
        "shares": {str(batch): median(each[str(batch)] / each["ceiling"] for each in rounds) for batch in BATCHES},
    }


def hash_only(every: Sequence[bytes]) -> None:
    """One leaf and one node for each entry."""
    pair = bytes(64)
    for entry in every:
        sha256(b"\x00" + entry).digest()
        sha256(b"\x01" + pair).digest()


def grow(every: Sequence[bytes], batch: int) -> Tree:
    tree = Tree()
    if batch == SINGLE:
        for entry in every:
            tree.append(entry)
    else:
        for start in range(0, len(every), batch):
            tree.extend(every[start : start + batch])
    return tree


# Proofs.


def reading_tiles(sizes: Sizes, folder: Path) -> Figures:
    """Of a tree as a node keeps it: with its full tiles in files, and some of them at hand."""
    tree = of(sizes.leaves)
    for tile in tiles(0, tree.size):
        if tile.width == WIDTH:
            path = folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tree.tile(tile.level, tile.index, WIDTH))
    anywhere = Random(3).choices(range(sizes.leaves), k=sizes.slow_proofs)
    newest = Random(3).choices(range(max(0, sizes.leaves - 10_000), sizes.leaves), k=sizes.slow_proofs)

    def restored() -> Tree:
        reading = Tree(lambda level, index: (folder / Tile(level, index, WIDTH).path).read_bytes())
        reading.restore(sizes.leaves, [leaf_hash(entry) for entry in entries(full, sizes.leaves)])
        return reading

    def used() -> Tree:
        reading = restored()
        for index in anywhere:
            reading.inclusion(index)
        return reading

    full = sizes.leaves // WIDTH * WIDTH
    restore_ms = 1000 / per_second(1, restored)
    reading = restored()
    assert reading.root() == tree.root()
    return {
        "disk": per_second(len(anywhere), lambda: [reading.inclusion(index) for index in anywhere]),
        "newest": per_second(len(newest), lambda: [reading.inclusion(index) for index in newest]),
        "restore_ms": restore_ms,
        "octets": allocated(used),
    }


def proofs_of(tree: Tree, count: int) -> Figures:
    return {name: per_second(count, way) for name, way in ways(tree, count).items()}


def ways(tree: Tree, count: int) -> Ways:
    """So many proofs of the newest head, made and verified; as many roots that it had."""
    rng, size, root = Random(1), tree.size, tree.root()
    indexes, olds = rng.choices(range(size), k=count), rng.choices(range(1, size), k=count)
    leaves = {index: leaf_hash(entries(index, index + 1)[0]) for index in indexes}
    roots = {old: tree.root(old) for old in olds}
    included = [(index, tree.inclusion(index)) for index in indexes]
    grown = [(old, tree.consistency(old)) for old in olds]

    def verify() -> None:
        assert all(verify_inclusion(index, size, leaves[index], proof, root) for index, proof in included)

    def verify_growth() -> None:
        assert all(verify_consistency(old, size, roots[old], root, proof) for old, proof in grown)

    return {
        "inclusion": lambda: [tree.inclusion(index) for index in indexes],
        "consistency": lambda: [tree.consistency(old) for old in olds],
        "verify inclusion": verify,
        "verify consistency": verify_growth,
        "root": lambda: [tree.root(old) for old in olds],
    }


# Growth.


def growing(sizes: Sizes) -> dict[int, Figures]:
    """One tree, all of it in memory, from size to size: rates of what came since the one before."""
    tree, found = Tree(), {}
    for size in sizes.growth:
        seconds, count = 0.0, size - tree.size
        for start, stop in portions(tree.size, size):
            portion = entries(start, stop)
            started = time.perf_counter()
            tree.extend(portion)
            seconds += time.perf_counter() - started
        found[size] = {"append": count / seconds, **proofs_of(tree, sizes.slow_proofs)}
    return found


def memory(leaves: int) -> float:
    """Octets for each leaf of a tree that is in memory."""
    return allocated(lambda: of(leaves)) / leaves


def allocated(make: Callable[[], object]) -> int:
    """Octets that Python keeps for what is made, as tracemalloc counts them."""
    gc.collect()
    tracemalloc.start()
    try:
        made = make()
        gc.collect()
        octets, _ = tracemalloc.get_traced_memory()
        del made
    finally:
        tracemalloc.stop()
    return octets


# pymerkle.


def comparing(sizes: Sizes) -> Figures:
    """Ours and pymerkle's tree in memory, in turn; without "theirs" where it is not installed."""
    tree = of(sizes.leaves)
    try:
        pymerkle: Any = import_module("pymerkle")
    except ImportError:
        return {"ours": proofs_of(tree, sizes.proofs)}
    every = entries(0, sizes.appended)
    other = fill(pymerkle, entries(0, sizes.leaves), PORTION)
    assert other.get_state(sizes.leaves) == tree.root()
    both = {
        "ours": {
            "append": (sizes.appended, lambda: grow(every, SINGLE)),
            "extend": (sizes.appended, lambda: grow(every, PORTION)),
            **{name: (sizes.proofs, way) for name, way in ways(tree, sizes.proofs).items()},
        },
        "theirs": {
            "append": (sizes.appended, lambda: fill(pymerkle, every, SINGLE)),
            "extend": (sizes.appended, lambda: fill(pymerkle, every, PORTION)),
            **{name: (sizes.slow_proofs, way) for name, way in their_ways(pymerkle, other, sizes.slow_proofs).items()},
        },
    }
    rounds = [
        {who: {name: per_second(*job) for name, job in jobs.items()} for who, jobs in both.items()}
        for _ in range(sizes.rounds)
    ]
    found: Figures = {
        who: {name: median(each[who][name] for each in rounds) for name in jobs} for who, jobs in both.items()
    }
    times = {name: median(each["ours"][name] / each["theirs"][name] for each in rounds) for name in both["ours"]}
    octets = allocated(lambda: fill(pymerkle, every, PORTION)) / sizes.appended
    return found | {"times": times, "version": pymerkle.__version__, "octets": octets}


def fill(pymerkle: Any, every: Sequence[bytes], batch: int) -> Any:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    if batch == SINGLE:
        for entry in every:
            tree.append_entry(entry)
    else:
        for start in range(0, len(every), batch):
            tree.append_entries(every[start : start + batch])
    return tree


def their_ways(pymerkle: Any, tree: Any, count: int) -> Ways:
    """It counts leaves from one."""
    rng, size = Random(1), tree.get_size()
    indexes, olds = rng.choices(range(1, size + 1), k=count), rng.choices(range(1, size), k=count)
    included = [(tree.get_leaf(index), tree.prove_inclusion(index, size)) for index in indexes]
    grown = [(tree.get_state(old), tree.prove_consistency(old, size)) for old in olds]
    root = tree.get_state(size)

    def verify() -> None:
        for leaf, proof in included:
            pymerkle.verify_inclusion(leaf, root, proof)

    def verify_growth() -> None:
        for state, proof in grown:
            pymerkle.verify_consistency(state, root, proof)

    return {
        "inclusion": lambda: [tree.prove_inclusion(index, size) for index in indexes],
        "consistency": lambda: [tree.prove_consistency(old, size) for old in olds],
        "verify inclusion": verify,
        "verify consistency": verify_growth,
        "root": lambda: [tree.get_state(old) for old in olds],
    }


def of(size: int) -> Tree:
    tree = Tree()
    for start, stop in portions(0, size):
        tree.extend(entries(start, stop))
    return tree
