"""Checkpoints and cosignatures, as C2SP tlog-checkpoint and tlog-cosignature have them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signing import LOG, WITNESSES, Signer, cosigned, signer, witness

from waypost.codec import u64
from waypost.errors import WireError
from waypost.identity.keys import verifies
from waypost.ledger.checkpoint import (
    CHECKPOINT_MAX,
    SIZE_MAX,
    TIME_MAX,
    Checkpoint,
    Head,
    cosign,
    cosigned_at,
    read_head,
    read_size,
    require_signed,
    sign_head,
    to_cosign,
)
from waypost.ledger.note import AGAIN_MAX, Algorithm, Key, Line, Note

TLOG = Path(__file__).parents[1] / "vectors" / "tlog"
OWN = json.loads((TLOG / "own" / "cosignatures.json").read_text(encoding="utf-8"))
ROOT = bytes(range(32))
HEAD = sign_head(Checkpoint("waypost/anna", 70_000, ROOT), LOG.key, LOG.sign)
TIME_S = 1_800_000_000
QUANTUM = signer("witness.example/q", 30, Algorithm.MLDSA_44)
COSIGNERS = [WITNESSES[0], QUANTUM]


# Vectors


def test_cosignatures_of_a_witness_and_of_a_mirror_that_others_wrote_verify() -> None:
    """Vectors of Sunlight, whose log signs in another way: its line is of an unknown key."""
    found = []
    for described in sorted(TLOG.glob("sunlight-witness/**/*.v0.json")):
        key = Key.decode(json.loads(described.read_text())["verifier_keys"][0])
        for checkpoint in described.parent.glob("*/checkpoint"):
            if checkpoint.parent.name != "mirror":
                head = read_head(checkpoint.read_bytes())
                assert head.note.encode() == checkpoint.read_bytes()
                found.append((key.name, head.origin, head.size, cosigned_at(head, key, verifies)))
    assert sorted(found) == [
        ("mirror.example.org", "rome2026h1.example.org", 300, 1_767_139_200),
        ("witness.example.org", "rome2026h1.example.org", 300, 1_767_139_200),
        ("witness2.example.org", "milan2026h1.example.org", 300, 1_767_139_200),
    ]


@pytest.mark.parametrize("case", OWN, ids=lambda case: case["name"])
def test_each_cosignature_of_our_vectors_gets_its_verdict(case: dict[str, Any]) -> None:
    """Which other judges give as well: tests/e2e/test_judges.py."""
    head = read_head(case["note"].encode())
    assert head.note.encode() == case["note"].encode()
    try:
        at = cosigned_at(head, Key.decode(case["vkey"]), verifies)
    except WireError:
        assert case["verdict"] == "wrong"
    else:
        assert ("absent" if at is None else "at", at or 0) == (case["verdict"], case["at"])


# Checkpoints


def test_a_checkpoint_is_an_origin_a_size_and_a_root() -> None:
    assert HEAD.note.text == "waypost/anna\n70000\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    assert read_head(HEAD.note.encode()) == HEAD
    assert (HEAD.origin, HEAD.size, HEAD.root) == ("waypost/anna", 70_000, ROOT)
    extended = replace(HEAD.checkpoint, extensions=("more", " and more "))
    assert Checkpoint.decode(extended.text) == extended


@given(
    origin=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
    size=st.integers(0, SIZE_MAX),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=3),
)
def test_a_checkpoint_survives_the_way_to_text_and_back(
    origin: str, size: int, root: bytes, extensions: list[str]
) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert read_head(sign_head(checkpoint, LOG.key, LOG.sign).note.encode()).checkpoint == checkpoint


@pytest.mark.parametrize("text", ["0", "1", "10", str(SIZE_MAX)])
def test_a_size_is_decimal(text: str) -> None:
    assert read_size(text) == int(text)


@pytest.mark.parametrize(
    "text", ["", "00", "01", "-1", "+1", " 1", "1 ", "1_0", "0x1", "1e3", "\u0661", str(SIZE_MAX + 1), "9" * 5_000]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="a size is decimal"):
        read_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "a\n1\n", "a\n1\n\n", "\n1\nAAAA\n", "a\n1\nAAAA\n",
        HEAD.note.text[:-1], HEAD.note.text + "\n", HEAD.note.text + "more", HEAD.note.text + "\nmore\n",
        HEAD.note.text.replace("8=", "8"), HEAD.note.text.replace("8=", "9="),
        HEAD.note.text.replace("8=\n", "8=AAAA\n"),
        HEAD.note.text.replace("70000", "070000"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Checkpoint.decode(text)


def test_a_checkpoint_with_its_signatures_has_a_largest_size() -> None:
    long = replace(HEAD.checkpoint, extensions=("x" * (CHECKPOINT_MAX - len(HEAD.note.encode()) - 1),))
    data = sign_head(long, LOG.key, LOG.sign).note.encode()
    assert len(data) == CHECKPOINT_MAX
    assert read_head(data).checkpoint == long
    with pytest.raises(WireError, match="too large"):
        read_head(data.replace(b"xxx", b"xxxx", 1))
    sixteen = cosigned(HEAD, *[QUANTUM] * 15, time_s=TIME_S)  # what the specification wants, and of the largest kind
    assert read_head(sixteen.note.encode()) == sixteen


def test_a_head_is_the_logs_if_its_key_has_signed_it() -> None:
    require_signed(HEAD, LOG.key, verifies)
    for key in (signer("waypost/berta", 2).key, signer("waypost/anna", 2).key, WITNESSES[0].key, QUANTUM.key):
        with pytest.raises(WireError, match=f"the checkpoint is not signed by {key.name}"):
            require_signed(HEAD, key, verifies)
    other = Head(replace(HEAD.checkpoint, size=70_001), Note(HEAD.note.text.replace("70000", "70001"), HEAD.note.lines))
    with pytest.raises(WireError, match="the signature of waypost/anna is wrong"):
        require_signed(other, LOG.key, verifies)


def test_a_log_may_sign_as_a_cosigner_does() -> None:
    """C2SP tlog-checkpoint, Signatures: logs should use ML-DSA-44."""
    unsigned = Head(HEAD.checkpoint, Note(HEAD.note.text, ()))
    require_signed(cosigned(unsigned, QUANTUM, time_s=TIME_S), QUANTUM.key, verifies)


# Cosignatures


def test_an_ed25519_cosigner_signs_two_lines_and_the_text() -> None:
    assert to_cosign(HEAD, WITNESSES[0].key, 1_679_315_147) == (
        b"cosignature/v1\ntime 1679315147\nwaypost/anna\n70000\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    )
    line = cosign(HEAD, WITNESSES[0].key, WITNESSES[0].sign, TIME_S)
    assert (line.name, line.id, len(line.signature)) == ("w1", WITNESSES[0].key.id, 72)
    assert line.signature[:8] == u64(TIME_S)


def test_an_ml_dsa_44_cosigner_signs_a_structure_with_its_name() -> None:
    """C2SP tlog-cosignature 1.1.0-rc.1, ML-DSA-44 signed message."""
    assert to_cosign(HEAD, QUANTUM.key, 5) == (
        b"subtree/v1\n\0\x11witness.example/q" + u64(5) + b"\x0cwaypost/anna" + u64(0) + u64(70_000) + ROOT
    )
    assert len(cosign(HEAD, QUANTUM.key, QUANTUM.sign, TIME_S).signature) == 8 + 2_420


@pytest.mark.parametrize("cosigner", COSIGNERS)
def test_a_cosignature_says_when(cosigner: Signer) -> None:
    assert cosigned_at(HEAD, cosigner.key, verifies) is None
    once = cosigned(HEAD, cosigner, time_s=TIME_S)
    assert cosigned_at(read_head(once.note.encode()), cosigner.key, verifies) == TIME_S
    assert cosigned_at(cosigned(once, cosigner, time_s=TIME_S - 9), cosigner.key, verifies) == TIME_S
    assert cosigned_at(cosigned(once, cosigner, time_s=TIME_S + 9), cosigner.key, verifies) == TIME_S + 9


def test_a_cosigner_that_signs_again_and_again_is_verified_a_few_times() -> None:
    cosigner, head = WITNESSES[0], HEAD
    for number in range(AGAIN_MAX):
        head = cosigned(head, cosigner, time_s=TIME_S - number)
    assert cosigned_at(cosigned(head, *[cosigner] * 50, time_s=TIME_S), cosigner.key, verifies) == TIME_S
    with pytest.raises(WireError, match="w1 has signed the note more than 4 times"):
        cosigned_at(cosigned(head, cosigner, time_s=TIME_S + 1), cosigner.key, verifies)


@pytest.mark.parametrize("cosigner", COSIGNERS)
def test_a_cosignature_of_any_time_there_is_verifies_and_of_no_other(cosigner: Signer) -> None:
    """C2SP tlog-cosignature, Format: at most 2^63 - 1."""
    for time_s in (0, TIME_MAX):
        assert cosigned_at(cosigned(HEAD, cosigner, time_s=time_s), cosigner.key, verifies) == time_s
    with pytest.raises(WireError, match=r"the cosignature of .* is wrong"):
        cosigned_at(cosigned(HEAD, cosigner, time_s=TIME_MAX + 1), cosigner.key, verifies)


@pytest.mark.parametrize("cosigner", COSIGNERS)
def test_a_cosignature_is_of_one_origin_size_root_and_time(cosigner: Signer) -> None:
    line = cosign(HEAD, cosigner.key, cosigner.sign, TIME_S)
    damaged = [
        u64(TIME_S + 1) + line.signature[8:],
        line.signature[:-1],
        line.signature + b"\0",
        line.signature[:8],
        b"x",
    ]
    heads = [replace(HEAD, note=HEAD.note.signed(replace(line, signature=octets))) for octets in damaged]
    for other in (
        replace(HEAD.checkpoint, origin="waypost/berta"),
        replace(HEAD.checkpoint, size=70_001),
        replace(HEAD.checkpoint, root=bytes(32)),
    ):
        signed = sign_head(other, LOG.key, LOG.sign)
        heads.append(replace(signed, note=signed.note.signed(line)))
    for head in heads:
        with pytest.raises(WireError, match=f"the cosignature of {cosigner.key.name} is wrong"):
            cosigned_at(head, cosigner.key, verifies)


def test_extension_lines_are_cosigned_with_ed25519_and_not_with_ml_dsa_44() -> None:
    more = sign_head(replace(HEAD.checkpoint, extensions=("more",)), LOG.key, LOG.sign)
    plain, quantum = (cosign(HEAD, each.key, each.sign, TIME_S) for each in COSIGNERS)
    assert cosigned_at(replace(more, note=more.note.signed(quantum)), QUANTUM.key, verifies) == TIME_S
    with pytest.raises(WireError, match="the cosignature of w1 is wrong"):
        cosigned_at(replace(more, note=more.note.signed(plain)), WITNESSES[0].key, verifies)


def test_an_ml_dsa_44_cosignature_holds_its_cosigners_name() -> None:
    renamed = signer("witness.example/r", 30, Algorithm.MLDSA_44)
    line = cosign(HEAD, QUANTUM.key, QUANTUM.sign, TIME_S)
    moved = Line(renamed.key.name, renamed.key.id, line.signature)
    with pytest.raises(WireError, match=r"the cosignature of witness\.example/r is wrong"):
        cosigned_at(replace(HEAD, note=HEAD.note.signed(moved)), renamed.key, verifies)


def test_a_signature_of_the_text_is_no_cosignature_nor_the_other_way_round() -> None:
    """One key, two types: the first lines keep them apart."""
    log_as_witness = witness("waypost/anna", 1)
    as_cosignature = Line("waypost/anna", log_as_witness.key.id, u64(TIME_S) + HEAD.note.lines[0].signature)
    with pytest.raises(WireError, match="the cosignature of waypost/anna is wrong"):
        cosigned_at(replace(HEAD, note=HEAD.note.signed(as_cosignature)), log_as_witness.key, verifies)
    cosignature = cosign(HEAD, log_as_witness.key, log_as_witness.sign, TIME_S)
    as_signature = Line("waypost/anna", LOG.key.id, cosignature.signature[8:])
    with pytest.raises(WireError, match="the signature of waypost/anna is wrong"):
        require_signed(replace(HEAD, note=Note(HEAD.note.text, (as_signature,))), LOG.key, verifies)


def test_a_key_of_another_type_is_no_cosigners() -> None:
    with pytest.raises(WireError, match="the key of waypost/anna is no cosigner's"):
        cosigned_at(HEAD, LOG.key, verifies)
    with pytest.raises(WireError, match="the key of waypost/anna is no cosigner's"):
        cosign(HEAD, LOG.key, LOG.sign, TIME_S)


def test_names_that_do_not_fit_an_ml_dsa_44_cosignature_are_refused() -> None:
    long = signer("w" * 256, 30, Algorithm.MLDSA_44)
    with pytest.raises(WireError, match="255 octets"):
        cosign(HEAD, long.key, long.sign, TIME_S)
    far = sign_head(Checkpoint("\u00e4" * 128, 1, ROOT), LOG.key, LOG.sign)
    with pytest.raises(WireError, match="255 octets"):
        cosign(far, QUANTUM.key, QUANTUM.sign, TIME_S)
    near = sign_head(Checkpoint("o" * 255, 1, ROOT), LOG.key, LOG.sign)
    assert cosigned_at(cosigned(near, QUANTUM, time_s=1), QUANTUM.key, verifies) == 1
