"""tlog-scales as a judge, in a process of its own: `python scales.py log FOLDER KEY...` or `vectors FOLDER`.

It ends with 0 and says what it has seen, or falls over the first thing that is not so.
"""

import json
import sys
from base64 import b64decode
from pathlib import Path

from tlog_scales import backend, tiles
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey, VkeySet
from tlog_scales.tlog import Checkpoint, ConsistencyProof, InclusionProof


def judge_log(folder: Path, vkeys: list[str]) -> str:
    reader = TilesReader(backend.make_backend(str(folder)))
    head = reader.get_checkpoint()
    verified = VkeySet(*map(Vkey.from_string, vkeys)).verify(head.signatures, head)
    assert len(verified) == len(vkeys), f"{len(verified)} of {len(vkeys)} keys have signed the checkpoint"
    assert reader.calculate_root_hash() == head.root_hash, "the tiles have another root"
    shown = json.loads((folder / "proofs.json").read_text())
    for one in shown["Inclusion"]:
        hashes = [b64decode(hash) for hash in one["Proof"]]
        entry = b64decode(one["Entry"])
        InclusionProof(one["Index"], head.size, hashes).check(tiles.leaf_hash(entry), head.root_hash)
        assert reader.get_inclusion_proof(one["Index"], head.size).node_hashes == hashes
        assert reader.get_entry(one["Index"]) == entry
    for one in shown["Consistency"]:
        hashes = [b64decode(hash) for hash in one["Proof"]]
        ConsistencyProof(one["Size"], head.size, hashes).check(b64decode(one["Root"]), head.root_hash)
        assert reader.get_consistency_proof(one["Size"], head.size).node_hashes == hashes
    return (
        f"size {head.size}, signatures {len(verified)}, "
        f"inclusion {len(shown['Inclusion'])}, consistency {len(shown['Consistency'])}"
    )


def judge_vectors(folder: Path) -> str:
    """Those of ML-DSA-44 too.  It reads no extension lines, which only Ed25519 signs."""
    judged = 0
    for one in json.loads((folder / "cosignatures.json").read_text()):
        if "extension line" in one["name"]:
            continue
        vkey = Vkey.from_string(one["vkey"])
        head = Checkpoint.from_text(one["note"])
        lines = [line for line in head.signatures if vkey.match(line)]
        times = [int.from_bytes(line.payload[:8]) for line in lines]
        verdict = "at" if lines else "absent"
        if len(VkeySet(vkey).verify(lines, head)) < len(lines) or max(times, default=0) >= 1 << 63:
            verdict = "wrong"
        at = max(times) if verdict == "at" else 0
        assert (verdict, at) == (one["verdict"], one["at"]), one["name"]
        judged += 1
    return f"cosignatures {judged}"


if __name__ == "__main__":
    what, folder, *keys = sys.argv[1:]
    print(judge_log(Path(folder), keys) if what == "log" else judge_vectors(Path(folder)))
