"""Proof files: whoever has one, and a policy, asks nobody."""

from dataclasses import replace

import pytest
from signing import LOG, WITNESSES, cosigned, signer

from waypost.errors import ProofError, WireError
from waypost.identity.keys import verifies
from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.policy import Policy, Verdict
from waypost.ledger.proof import EXTRA_MAX, HASHES_MAX, PROOF_MAX, ProofFile, verify_proof
from waypost.ledger.tree import Tree

ENTRIES = [f"entry {number}".encode() for number in range(11)]
POLICY = Policy.of([LOG.key], [witness.key for witness in WITNESSES], 3)
TIME_S = 1_800_000_000


def head_of(tree: Tree, size: int, witnesses: int = 3) -> Head:
    head = sign_head(Checkpoint(LOG.key.name, size, tree.root(size)), LOG.key, LOG.sign)
    return cosigned(head, *WITNESSES[:witnesses], time_s=TIME_S)


def vouched(data: bytes) -> Verdict:
    file = ProofFile.decode(data)
    return verify_proof(file, file.extra, POLICY, verifies, TIME_S)


@pytest.fixture(scope="module")
def tree() -> Tree:
    tree = Tree()
    tree.extend(ENTRIES)
    return tree


@pytest.fixture(scope="module")
def file(tree: Tree) -> ProofFile:
    return ProofFile(5, tree.inclusion(5, 11), head_of(tree, 11), ENTRIES[5])


def test_a_proof_file_has_the_lines_of_the_specification(file: ProofFile) -> None:
    """C2SP tlog-proof, Format."""
    lines = file.encode().decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra ZW50cnkgNQ==", "index 5"]
    assert lines[7:10] == ["", "waypost/anna", "11"]
    assert len(lines[3:7]) == len(file.proof) == 4
    assert file.encode().endswith(file.head.note.encode())


def test_what_has_no_extra_octets_has_no_line_for_them(file: ProofFile) -> None:
    bare = replace(file, extra=b"")
    assert bare.encode().startswith(b"c2sp.org/tlog-proof@v1\nindex 5\n")
    assert ProofFile.decode(bare.encode()) == bare


def test_each_entry_is_proved_to_be_in_each_tree_that_has_it(tree: Tree) -> None:
    for size in range(1, 12):
        head = head_of(tree, size)
        for index in range(size):
            file = ProofFile(index, tree.inclusion(index, size), head, ENTRIES[index])
            assert ProofFile.decode(file.encode()) == file
            verdict = verify_proof(file, file.extra, POLICY, verifies, TIME_S)
            assert verdict.log == LOG.key
            assert len(verdict.cosigned) == 3


def test_another_entry_index_hash_or_tree_proves_nothing(file: ProofFile, tree: Tree) -> None:
    hashes = (bytes(32), *file.proof[1:])
    wrongs = [
        replace(file, extra=b"entry 6"),
        replace(file, index=6),
        replace(file, index=11),
        replace(file, proof=hashes),
        replace(file, proof=file.proof[:-1]),
        replace(file, proof=(*file.proof, bytes(32))),
        replace(file, head=head_of(tree, 10)),
    ]
    for wrong in wrongs:
        with pytest.raises(ProofError, match=f"the entry is not number {wrong.index} of the log waypost/anna"):
            verify_proof(wrong, wrong.extra, POLICY, verifies, TIME_S)


def test_the_extra_octets_prove_nothing_by_themselves(file: ProofFile) -> None:
    """C2SP tlog-proof, Format: they are not authenticated; what is proved is the entry that the reader has."""
    assert verify_proof(replace(file, extra=b""), ENTRIES[5], POLICY, verifies, TIME_S).met
    with pytest.raises(ProofError, match="the entry is not number 5"):
        verify_proof(file, b"another", POLICY, verifies, TIME_S)


def test_a_proof_without_a_quorum_proves_nothing(file: ProofFile, tree: Tree) -> None:
    with pytest.raises(ProofError, match=r"the quorum of witnesses is not met: cosigned by w1, w2$"):
        verify_proof(replace(file, head=head_of(tree, 11, witnesses=2)), file.extra, POLICY, verifies, TIME_S)


def test_a_proof_of_an_unknown_log_proves_nothing(file: ProofFile) -> None:
    with pytest.raises(ProofError, match="no log of the policy has signed this head of waypost/anna"):
        verify_proof(file, file.extra, replace(POLICY, logs=()), verifies, TIME_S)


def test_a_proof_whose_cosignatures_are_old_is_refused_where_an_age_is_asked_for(file: ProofFile) -> None:
    assert verify_proof(file, file.extra, POLICY, verifies, TIME_S + 60, 60).met
    with pytest.raises(ProofError, match="w1 did so 61 seconds ago, 60 at most; w2"):
        verify_proof(file, file.extra, POLICY, verifies, TIME_S + 61, 60)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"@v1", b"@v2", "the first line"),
        (b"extra ZW50cnkgNQ==", b"extra ", "the extra octets are none"),
        (b"extra ZW50cnkgNQ==", b"extra ZW50cnkgNR==", "one spelling"),
        (b"extra ", b"Extra ", "a line is missing: index"),
        (b"index 5\n", b"", "a line is missing: index"),
        (b"index 5\n", b"index 5\nindex 5\n", "base64"),
        (b"index 5", b"index 05", "decimal"),
        (b"index 5", b"index -5", "decimal"),
        (b"index 5", b"index 9223372036854775808", "decimal"),
        (b"index 5\n", b"index 5\nAAAA\n", "a hash has 32 octets"),
        (b"index 5\n", b"index 5\r\n", "decimal"),
        (b"index 5\n", b"index 5\n\n", "the note|a checkpoint|a size"),
        (b"\n\n", b"\n", "a hash has 32 octets"),
        (b"c2sp", b"c2sp\xc3\xa9", "a proof comes before"),
        (b"\n11\n", b"\n011\n", "a size is decimal"),
    ],
)
def test_what_is_no_proof_file_is_refused(file: ProofFile, old: bytes, new: bytes, why: str) -> None:
    data = file.encode()
    assert old in data
    with pytest.raises(WireError, match=why):
        ProofFile.decode(data.replace(old, new, 1))


def test_every_part_of_a_proof_file_has_a_limit(file: ProofFile) -> None:
    most = replace(file, extra=bytes(EXTRA_MAX), proof=(bytes(32),) * HASHES_MAX)
    assert ProofFile.decode(most.encode()) == most
    for wrong in (replace(file, extra=bytes(EXTRA_MAX + 1)), replace(file, proof=(bytes(32),) * (HASHES_MAX + 1))):
        with pytest.raises(WireError, match=r"65535|63 hashes"):
            ProofFile.decode(wrong.encode())
    with pytest.raises(WireError, match="the proof is too large"):
        ProofFile.decode(file.encode() + b"x" * PROOF_MAX)


def test_no_octet_of_a_proof_file_can_be_another(file: ProofFile) -> None:
    """What is shown to a reader is refused in every damaged form, or shows by whom it lacks a cosignature."""
    data = file.encode()
    for place in range(len(data)):
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises((WireError, ProofError)):
            vouched(damaged)


def test_a_key_signs_nothing_by_being_there(file: ProofFile) -> None:
    other = replace(POLICY, witnesses=(), groups=(), quorum="none")
    stranger = signer("waypost/anna", 99)
    with pytest.raises(ProofError, match="no log of the policy"):
        verify_proof(file, file.extra, replace(other, logs=Policy.of([stranger.key], [], 0).logs), verifies, TIME_S)
