"""A log of 70,000 entries as our own code writes it, for judges that share no line with it, and ways to damage it."""

import json
import os
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from signing import LOG, WITNESSES, cosigned, signer

from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.note import Algorithm
from waypost.ledger.tiles import ENTRIES, WIDTH, bundles, encode_bundle, tiles
from waypost.ledger.tree import Tree

SIZE = 70_000
PROOFS = 200  # of either kind
TIME_S = 1_800_000_000
QUANTUM = signer("witness.example/q", 30, Algorithm.MLDSA_44)
COSIGNERS = (*WITNESSES[:3], QUANTUM)


@dataclass(frozen=True)
class Written:
    folder: Path
    head: Head
    tree: Tree
    entries: list[bytes]
    indexes: list[int]  # that an inclusion is proved of
    sizes: list[int]  # that consistency is proved with


def write_log(folder: Path) -> Written:
    """keys, checkpoint, proofs.json and tile/; entries have up to 600 octets, one none, and one as many as can be."""
    rng = Random(6)
    entries = [rng.randbytes(rng.randrange(600)) for _ in range(SIZE)]
    entries[3], entries[SIZE - 2] = b"", bytes(65_535)
    tree = Tree()
    tree.extend(entries)
    head = cosigned(
        sign_head(Checkpoint(LOG.key.name, SIZE, tree.root()), LOG.key, LOG.sign), *COSIGNERS, time_s=TIME_S
    )
    for tile in tiles(0, SIZE):
        _put(folder / tile.path, tree.tile(tile.level, tile.index, tile.width))
    for tile in bundles(0, SIZE):
        assert tile.level == ENTRIES
        _put(folder / tile.path, encode_bundle(entries[tile.index * WIDTH :][: tile.width]))
    indexes = [0, 1, 3, 255, 256, 65_535, 65_536, SIZE - 2, SIZE - 1]
    indexes += rng.sample(sorted({*range(SIZE)} - {*indexes}), PROOFS - len(indexes))
    sizes = [1, 2, 255, 256, 257, 65_536, 65_537, SIZE - 1, SIZE]
    sizes += rng.sample(sorted({*range(1, SIZE)} - {*sizes}), PROOFS - len(sizes))
    shown = {
        "Inclusion": [
            {"Index": index, "Entry": _text(entries[index]), "Proof": [_text(hash) for hash in tree.inclusion(index)]}
            for index in indexes
        ],
        "Consistency": [
            {"Size": size, "Root": _text(tree.root(size)), "Proof": [_text(hash) for hash in tree.consistency(size)]}
            for size in sizes
        ],
    }
    _put(folder / "proofs.json", json.dumps(shown).encode())
    _put(folder / "checkpoint", head.note.encode())
    keys = [LOG.key, *(each.key for each in COSIGNERS if each is not QUANTUM)]
    _put(folder / "keys", "".join(f"{key.encode()}\n" for key in keys).encode())
    return Written(folder, head, tree, entries, indexes, sizes)


def build_judge(folder: Path) -> Path:
    """The program; it is built without modules and without a network."""
    source = Path(__file__).with_name("judge")
    go = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    program = folder / "judge"
    command = ["go", "build", "-o", str(program), "."]
    done = subprocess.run(command, cwd=source, env=os.environ | go, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def verdict(judge: Path, what: str, folder: Path) -> tuple[bool, str]:
    """Whether the judge finds all as it should be, and what it says."""
    done = subprocess.run([judge, what, folder], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def flip(path: Path, octet: int, bit: int) -> None:
    """One bit of a file, which is a copy: flipped twice, it is whole again."""
    octets = bytearray(path.read_bytes())
    octets[octet % len(octets)] ^= 1 << bit
    path.unlink()  # the original has the same inode
    path.write_bytes(octets)


def damage(path: Path, kind: str, place: int) -> Iterator[bytes]:
    """proofs.json with one thing of one of its proofs changed, each time another."""
    whole = json.loads(path.read_bytes())
    one = whole[kind][place]
    for damaged in (0, len(one["Proof"]) - 1):
        hashes = [_flipped(hash) if at == damaged else hash for at, hash in enumerate(one["Proof"])]
        yield _with(whole, kind, place, Proof=hashes)
    yield _with(whole, kind, place, Proof=one["Proof"][:-1])
    yield _with(whole, kind, place, Proof=[*one["Proof"], _text(bytes(32))])
    for name in ("Root", "Entry"):
        if name in one:
            yield _with(whole, kind, place, **{name: _flipped(one[name])})
    for name in ("Index", "Size"):
        if name in one:
            yield _with(whole, kind, place, **{name: one[name] - 1})


def _with(whole: dict[str, list[dict[str, object]]], kind: str, place: int, **changed: object) -> bytes:
    proofs = list(whole[kind])
    proofs[place] = proofs[place] | changed
    return json.dumps(whole | {kind: proofs}).encode()


def _flipped(text: str) -> str:
    octets = bytearray(b64decode(text))
    octets[3] ^= 1
    return _text(bytes(octets))


def copy(source: Path, target: Path) -> Path:
    """Without copying what is in the files."""
    return Path(shutil.copytree(source, target, copy_function=_link))


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def _put(path: Path, octets: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)


def _text(octets: bytes) -> str:
    return b64encode(octets).decode()
