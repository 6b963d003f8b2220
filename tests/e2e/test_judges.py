"""Judges that share no line with waypost take the log that we write, and refuse every damaged copy of it.

The first is Go's own code for notes and trees, from Debian's packages; the second is tlog-scales, in Python, which
knows ML-DSA-44 as well.
"""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from clients import environment
from judging import COSIGNERS, PROOFS, Written, build_judge, copy, damage, flip, verdict, write_log
from signing import LOG

from waypost.ledger.proof import ProofFile

GO = pytest.mark.peer("go", "path:/usr/share/gocode/src/golang.org/x/mod/sumdb")
SCALES = pytest.mark.peer("pip:tlog_scales")
OWN = Path(__file__).parents[1] / "vectors" / "tlog" / "own"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_log(tmp_path_factory.mktemp("judged") / "log")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture
def copied(log: Written, tmp_path: Path) -> Path:
    return copy(log.folder, tmp_path / "log")


# Go


@GO
def test_go_takes_a_log_that_we_wrote(log: Written, judge: Path) -> None:
    """Checkpoint, cosignatures, tiles, entries, 200 proofs of either kind: it makes the same ones from our tiles."""
    assert len(log.indexes) == len(log.sizes) == PROOFS == 200
    said = "size 70000, cosigners 3, tiles 277, inclusion 200, consistency 200, mutants refused 6640"
    assert verdict(judge, "log", log.folder) == (True, said)


@GO
@pytest.mark.parametrize(
    ("name", "octets", "why"),
    [
        ("tile/0/000", range(8_192), "tile/0/000 has other hashes"),
        ("tile/0/136", range(8_192), "tile/0/136 has other hashes"),
        ("tile/0/273.p/112", range(3_584), "tile/0/273.p/112 has other hashes"),
        ("tile/1/000", range(8_192), "tile/1/000 has other hashes"),
        ("tile/1/001.p/17", range(544), "tile/1/001.p/17 has other hashes"),
        ("tile/2/000.p/1", range(32), "tile/2/000.p/1 has other hashes"),
        ("tile/entries/000", range(2), "is cut short|is too long|the entries have another root"),  # a length
        ("tile/entries/099", range(2, 60_000), "is cut short|is too long|the entries have another root"),
        ("tile/entries/273.p/112", range(2, 60_000), "is cut short|is too long|the entries have another root"),
    ],
)
def test_go_refuses_a_log_with_one_bit_of_a_tile_flipped(
    copied: Path, judge: Path, name: str, octets: range, why: str
) -> None:
    """Four times, each another one."""
    rng = Random(name)
    for _ in range(4):
        octet, bit = rng.choice(octets), rng.randrange(8)
        flip(copied / name, octet, bit)
        good, said = verdict(judge, "log", copied)
        assert not good
        assert any(reason in said for reason in why.split("|")), said
        flip(copied / name, octet, bit)
    assert verdict(judge, "log", copied)[0]


@GO
def test_go_refuses_a_log_of_which_a_file_is_missing(copied: Path, judge: Path) -> None:
    for name in ("tile/0/100", "tile/entries/100", "tile/2/000.p/1", "checkpoint", "proofs.json"):
        (copied / name).rename(copied / "away")
        assert verdict(judge, "log", copied)[0] is False
        (copied / "away").rename(copied / name)
    assert verdict(judge, "log", copied)[0]


@GO
@pytest.mark.parametrize("place", range(11))
def test_go_refuses_a_checkpoint_with_one_bit_flipped(copied: Path, judge: Path, place: int) -> None:
    """Origin, size, root, the log's signature, three cosignatures and their times; not the line of ML-DSA-44, which it
    does not know."""
    octets = (copied / "checkpoint").read_bytes()
    known = octets[: octets.index("\u2014 witness.example/q".encode())]
    flip(copied / "checkpoint", place * len(known) // 11 + 2, 0)
    assert verdict(judge, "log", copied)[0] is False


@GO
@pytest.mark.parametrize("kind", ["Inclusion", "Consistency"])
def test_go_refuses_every_damaged_proof(copied: Path, judge: Path, kind: str) -> None:
    """One proof with each of its parts changed by turns, and others with one hash: the judge tries the rest itself."""
    damages = [*damage(copied / "proofs.json", kind, PROOFS - 1)]
    damages += [next(damage(copied / "proofs.json", kind, place)) for place in range(0, PROOFS, 50)]
    for damaged in damages:
        (copied / "proofs.json").unlink()
        (copied / "proofs.json").write_bytes(damaged)
        good, said = verdict(judge, "log", copied)
        assert not good
        assert f"{kind.lower()} " in said


@GO
def test_go_gives_the_verdicts_of_our_vectors(judge: Path) -> None:
    assert verdict(judge, "vectors", OWN) == (True, "cosignatures 27, left out 27, policies 44, heads 38")


# tlog-scales


def scales(*arguments: object) -> tuple[bool, str]:
    command = [sys.executable, str(Path(__file__).with_name("scales.py")), *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0, done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@SCALES
def test_tlog_scales_takes_the_same_log(log: Written) -> None:
    keys = [each.key.encode() for each in COSIGNERS]
    said = "size 70000, signatures 5, inclusion 200, consistency 200"
    assert scales("log", log.folder, LOG.key.encode(), *keys) == (True, said)


@SCALES
@pytest.mark.parametrize("name", ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"])
def test_tlog_scales_refuses_it_with_one_bit_flipped(copied: Path, name: str) -> None:
    flip(copied / name, 17, 3)
    assert scales("log", copied, LOG.key.encode())[0] is False


@SCALES
def test_tlog_scales_gives_the_verdicts_of_our_vectors_with_ml_dsa_44_too() -> None:
    assert scales("vectors", OWN) == (True, "cosignatures 50")


@SCALES
def test_tlog_scales_writes_the_same_proof_file(log: Written) -> None:
    for index in log.indexes[::50]:
        command = [sys.executable, "-m", "tlog_scales.cli", "gen-proof", str(log.folder), str(index)]
        done = subprocess.run(command, env=environment(), capture_output=True, check=True, timeout=60)
        file = ProofFile(index, log.tree.inclusion(index), log.head)
        assert done.stdout == file.encode()
        assert ProofFile.decode(done.stdout) == file
