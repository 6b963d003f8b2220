"""Proofs with verdicts of transparency-dev/merkle, and a log that Tessera wrote, made again octet for octet."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from waypost.identity.keys import verifies
from waypost.ledger.audit import Audit
from waypost.ledger.checkpoint import read_head
from waypost.ledger.note import Key
from waypost.ledger.tiles import Tile, bundles, decode_bundle, encode_bundle, tiles
from waypost.ledger.tree import Tree, verify_consistency, verify_inclusion

VECTORS = Path(__file__).parents[1] / "vectors" / "tlog"
MERKLE = VECTORS / "transparency-dev-merkle"
TESSERA = VECTORS / "tessera-log"
TESSERA_KEY = Key.decode("example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx")


def cases(folder: str) -> list[tuple[str, dict[str, Any]]]:
    found = sorted((MERKLE / folder).rglob("*.json"))
    return [(str(path.relative_to(MERKLE)), json.loads(path.read_text())) for path in found]


def octets(case: dict[str, Any], name: str) -> bytes:
    return b64decode(case[name] or "")


def proof(case: dict[str, Any]) -> list[bytes]:
    return [b64decode(hash) for hash in case["proof"] or []]


def test_each_inclusion_proof_gets_its_verdict() -> None:
    every = cases("inclusion")
    assert len(every) == 98
    for name, case in every:
        leaf, root = octets(case, "leafHash"), octets(case, "root")
        verdict = verify_inclusion(case["leafIdx"], case["treeSize"], leaf, proof(case), root)
        assert verdict is not case["wantErr"], name


def test_each_consistency_proof_gets_its_verdict() -> None:
    """Also those from size 0, which is no: a witness looks at old 0 before it asks for a proof."""
    every = cases("consistency")
    assert len(every) == 98
    assert all(case["wantErr"] for _, case in every if case["size1"] == 0)
    for name, case in every:
        roots = octets(case, "root1"), octets(case, "root2")
        verdict = verify_consistency(case["size1"], case["size2"], *roots, proof(case))
        assert verdict is not case["wantErr"], name


def test_each_inclusion_proof_in_a_subtree_gets_its_verdict() -> None:
    """A subtree that begins where one of its size may is a tree of its own."""
    every = cases("subtreeinclusion")
    assert len(every) == 204
    for name, case in every:
        start, end, leaf, root = case["start"], case["end"], octets(case, "leafHash"), octets(case, "root")
        is_subtree = start < end and start % (1 << (end - start - 1).bit_length()) == 0
        verdict = is_subtree and verify_inclusion(case["leafIdx"] - start, end - start, leaf, proof(case), root)
        assert verdict is not case["wantErr"], name


def test_each_consistency_proof_of_a_subtree_that_begins_a_tree_gets_its_verdict() -> None:
    """The others are for logs of certificates: we prove nothing of the kind."""
    every = [(name, case) for name, case in cases("subtreeconsistency") if case["start"] == 0 < case["end"]]
    assert len(every) > 80
    for name, case in every:
        roots = octets(case, "root1"), octets(case, "root2")
        verdict = verify_consistency(case["end"], case["size"], *roots, proof(case))
        assert verdict is not case["wantErr"], name


def test_tesseras_log_is_made_again_from_its_entries() -> None:
    entries = decode_bundle((TESSERA / "tile/entries/000.p/15").read_bytes(), 15)
    tree = Tree()
    for size in range(16):
        head = read_head((TESSERA / f"checkpoint.{size}").read_bytes())
        assert (tree.size, tree.root()) == (head.size, head.root)
        for tile in tiles(0, size):
            assert tree.tile(tile.level, tile.index, tile.width) == (TESSERA / tile.path).read_bytes()
        for tile in bundles(0, size):
            assert encode_bundle(entries[:size]) == (TESSERA / tile.path).read_bytes()
        tree.extend(entries[size : size + 1])


def test_tesseras_log_has_the_files_that_we_would_have() -> None:
    files = {str(path.relative_to(TESSERA)) for path in (TESSERA / "tile").rglob("*") if path.is_file()}
    ours = {tile.path for size in range(16) for tile in (*tiles(0, size), *bundles(0, size))}
    assert files == ours
    assert {Tile.decode(path).path for path in files} == files


@pytest.mark.parametrize("old", [None, 0, 1, 7, 14, 15])
def test_tesseras_log_is_audited(old: int | None) -> None:
    seen = None if old is None else read_head((TESSERA / f"checkpoint.{old}").read_bytes())
    audit = Audit((TESSERA / "checkpoint").read_bytes(), [TESSERA_KEY], verifies, seen)
    while paths := audit.wanted():
        for path in paths:
            audit.took(path, (TESSERA / path).read_bytes())
    assert audit.faults == []
    assert audit.entries == (0 if old == 15 else 15)
