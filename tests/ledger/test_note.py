"""Signed notes and keys, as C2SP signed-note has them.

What an Ed25519 signature is, tests/identity/test_keys.py holds with its 914 edge cases: `verifies` is what notes are
verified by here and in a node.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signing import LOG, signer, witness

from waypost.errors import WireError
from waypost.identity import mldsa
from waypost.identity.keys import verifies
from waypost.ledger.note import (
    AGAIN_MAX,
    LINES_MAX,
    NOTE_MAX,
    Algorithm,
    Key,
    Line,
    Note,
    from_base64,
    is_name,
    sign,
    signers,
    to_base64,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "tlog" / "extracted" / "signed-notes.json").read_text(encoding="utf-8")
)
TEXT = "If you think cryptography is the answer to your problem,\n\nthen you don't know what your problem is.\n"
NOTE = Note(TEXT, (sign(TEXT, LOG.key, LOG.sign),))
names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="+"), min_size=1)


def signed_by(note: Note, *keys: Key) -> list[str]:
    """Their names, or nothing for a note that is spoilt."""
    try:
        return [key.name for key in signers(note, keys, verifies)]
    except WireError:
        return []


# Vectors


@pytest.mark.parametrize("case", VECTORS["notes"], ids=lambda case: case["name"])
def test_each_note_of_the_vectors_gets_its_verdict(case: dict[str, object]) -> None:
    assert isinstance(case["note"], str)
    assert isinstance(case["vkeys"], list)
    try:
        note = Note.decode(case["note"].encode())
    except WireError:
        assert not case["ok"]
        return
    assert note.encode() == case["note"].encode()
    assert signed_by(note, *map(Key.decode, case["vkeys"])) == case.get("verified", [])


@pytest.mark.parametrize("vkey", VECTORS["bad_vkeys"])
def test_each_bad_key_of_the_vectors_is_refused(vkey: str) -> None:
    with pytest.raises(WireError):
        Key.decode(vkey)


# Notes


def test_a_note_is_a_text_an_empty_line_and_its_signatures() -> None:
    text, line = NOTE.encode().decode().rsplit("\n\n", 1)
    assert text + "\n" == TEXT
    assert line.startswith("\u2014 waypost/anna ")
    assert line.endswith("\n")
    assert Note.decode(NOTE.encode()) == NOTE
    assert signers(NOTE, [LOG.key], verifies) == (LOG.key,)


def test_the_last_empty_line_parts_the_text_from_the_signatures() -> None:
    """A text may hold lines that look like signatures: what is signed ends where the last empty line is."""
    text = NOTE.encode().decode()
    twice = Note(text, (sign(text, LOG.key, LOG.sign),))
    assert Note.decode(twice.encode()) == twice
    assert signed_by(Note.decode(twice.encode()), LOG.key) == ["waypost/anna"]
    cut = Note.decode(twice.encode().replace(b"\n\n\xe2", b"\n\xe2", 1))  # the first empty line is gone
    assert signed_by(cut, LOG.key) == []


def test_signatures_of_unknown_keys_say_nothing_even_with_a_known_name_or_id() -> None:
    berta = signer("waypost/berta", 2)
    assert signed_by(NOTE, berta.key) == []
    line = NOTE.lines[0]
    same_name = replace(line, id=bytes(4), signature=bytes(64))
    same_id = replace(line, name="waypost/carla", signature=bytes(64))
    for odd in (same_name, same_id):
        assert signed_by(replace(NOTE, lines=(odd, line)), LOG.key) == ["waypost/anna"]
        assert signed_by(replace(NOTE, lines=(odd,)), LOG.key) == []


def test_a_wrong_signature_of_a_known_key_spoils_the_note_wherever_it_stands() -> None:
    right = NOTE.lines[0]
    for wrong in (replace(right, signature=bytes(64)), replace(right, signature=right.signature[:-1])):
        for lines in ((wrong,), (right, wrong), (wrong, right)):
            with pytest.raises(WireError, match="the signature of waypost/anna is wrong"):
                signers(replace(NOTE, lines=lines), [signer("waypost/berta", 2).key, LOG.key], verifies)


def test_no_note_costs_more_than_a_few_verifications_of_each_key() -> None:
    """The same line a hundred times is one; another hundred of them spoil the note before any is verified."""
    verified: list[bytes] = []

    def counting(public: bytes, signature: bytes, message: bytes) -> bool:
        verified.append(signature)
        return True

    line = NOTE.lines[0]
    assert signers(replace(NOTE, lines=(line,) * LINES_MAX), [LOG.key], counting) == (LOG.key,)
    assert len(verified) == 1
    others = tuple(replace(line, signature=bytes([number]) * 64) for number in range(AGAIN_MAX + 1))
    assert signers(replace(NOTE, lines=others[:AGAIN_MAX]), [LOG.key], counting) == (LOG.key,)
    assert len(verified) == 1 + AGAIN_MAX
    with pytest.raises(WireError, match="waypost/anna has signed the note more than 4 times"):
        signers(replace(NOTE, lines=others), [LOG.key], counting)
    assert len(verified) == 1 + AGAIN_MAX


def test_a_line_that_two_known_keys_may_have_signed_spoils_the_note() -> None:
    with pytest.raises(WireError, match="two keys have the name waypost/anna"):
        signers(NOTE, [LOG.key, LOG.key], verifies)
    berta = signer("waypost/berta", 2)
    assert signed_by(NOTE, LOG.key, berta.key, berta.key) == ["waypost/anna"]


def test_all_signers_of_a_note_are_named_in_the_order_of_the_keys() -> None:
    berta = signer("waypost/berta", 2)
    both = NOTE.signed(sign(TEXT, berta.key, berta.sign))
    assert signed_by(both, berta.key, LOG.key) == ["waypost/berta", "waypost/anna"]
    assert both.by(berta.key) == both.lines[1]
    assert NOTE.by(berta.key) is None


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"\n\n\xe2", b"\n\xe2", "that is not base64"),  # the text's own empty line is the last one now
        (b"=\n", b"=", "the note has no signatures"),
        (b"=\n", b"=\n\n", "the note has no signatures"),
        (b"=\n", b"=\n \n", "a signature line is wrong"),
        (b"=\n", b"=\nmore\n", "a signature line is wrong"),
        (b"=\n", b"= \n", "a signature line is wrong"),
        (b"=\n", b"= more\n", "a signature line is wrong"),
        (b"=\n", b"\n", "that is not base64"),
        (b"=\n", b"=AAA\n", "base64"),
        (b"\xe2\x80\x94 ", b"- ", "a signature line is wrong"),
        (b"\xe2\x80\x94 ", b"\xe2\x80\x94", "a signature line is wrong"),
        (b"\xe2\x80\x94 ", b"\xe2\x80\x94  ", "a signature line is wrong"),
        (b" waypost/anna ", b" way+post ", "a signature line is wrong"),
        (b" waypost/anna ", b" way\xc2\xa0post ", "a signature line is wrong"),
        (b" waypost/anna ", b" way\xe2\x80\xa8post ", "a signature line is wrong"),
        (b"If", b"I\x00", "the note has control characters"),
        (b"If", b"I\t", "the note has control characters"),
        (b"problem,\n", b"problem,\r\n", "the note has control characters"),
        (b"If", b"I\xff", "the note is not UTF-8"),
        (b"If", b"I\xed\xa0\x80", "the note is not UTF-8"),
    ],
)
def test_what_is_no_note_is_refused(old: bytes, new: bytes, why: str) -> None:
    data = NOTE.encode()
    assert old in data
    with pytest.raises(WireError, match=why):
        Note.decode(new.join(data.rsplit(old, 1)))


def test_a_text_may_be_empty_but_for_its_newline_and_hold_what_is_no_ascii() -> None:
    for text in ("\n", "\n\n\n", "\u00e8 subito sera\x7f\u2028\ufeff\n"):
        note = Note(text, (sign(text, LOG.key, LOG.sign),))
        assert Note.decode(note.encode()) == note
    with pytest.raises(WireError, match="the note has no signatures"):
        Note.decode(b"\n" + NOTE.lines[0].encode().encode())


def test_a_note_has_a_hundred_signatures_and_an_octet_size_at_most() -> None:
    """The specification wants 16."""
    most = replace(NOTE, lines=NOTE.lines * LINES_MAX)
    assert Note.decode(most.encode()) == most
    with pytest.raises(WireError, match="more than 100 signatures"):
        Note.decode(most.signed(NOTE.lines[0]).encode())
    with pytest.raises(WireError, match="the note is too large"):
        Note.decode(b"x" * (NOTE_MAX + 1))


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])), number=st.integers(1, 5))
def test_a_note_survives_the_way_to_octets_and_back(text: str, number: int) -> None:
    text += "\n"
    note = Note(text, tuple(sign(text, each.key, each.sign) for each in [LOG] * number))
    assert Note.decode(note.encode()) == note


@given(st.data())
def test_no_mutation_of_a_note_says_something_else(data: st.DataObject) -> None:
    """It is refused, or spoilt, or says that the key signed what it did sign."""
    octets = bytearray(NOTE.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        note = Note.decode(bytes(octets))
    except WireError:
        return
    assert signed_by(note, LOG.key) == [] or note == NOTE


# Keys


def test_a_key_is_written_as_its_name_its_id_and_its_octets() -> None:
    """C2SP signed-note, Verifier keys, Example."""
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    key = Key.decode(vkey)
    assert (key.name, key.algorithm, key.id.hex()) == ("example.com/foo", Algorithm.ED25519, "530d903a")
    assert key.encode() == vkey


def test_a_plus_in_the_base64_of_a_key_is_no_separator() -> None:
    keys = [signer("n", number).key for number in range(64)]
    plus = [key for key in keys if key.encode().count("+") > 2]
    assert plus
    assert [Key.decode(key.encode()) for key in plus] == plus


@given(name=names, algorithm=st.sampled_from(Algorithm), public=st.binary(min_size=1312, max_size=1312))
def test_a_key_survives_the_way_to_text_and_back(name: str, algorithm: Algorithm, public: bytes) -> None:
    key = Key(name, algorithm, public if algorithm == Algorithm.MLDSA_44 else public[:32])
    assert Key.decode(key.encode()) == key


def test_the_same_octets_have_another_id_for_each_name_and_use() -> None:
    ids = {signer("a", 1).key.id, signer("b", 1).key.id, witness("a", 1).key.id}
    assert len(ids) == 3


def wrong_keys() -> list[str]:
    name, id, octets = LOG.key.encode().split("+")
    odd = [Key(name, 2, bytes(32)), Key(name, 5, bytes(32)), Key(name, 0, b""), Key(name, 255, b"more")]  # type: ignore[arg-type]
    sized = [Key(name, Algorithm.ED25519, bytes(31)), Key(name, Algorithm.COSIGNATURE, bytes(33))]
    quantum = Key(name, Algorithm.MLDSA_44, bytes(mldsa.PUBLIC_SIZE - 1))
    return [
        "", "+", "++", name, f"{name}+{id}", f"{name}+{id}+", f"+{id}+{octets}", f"{name}+{id}+{octets}+",
        f"{name}+{id.upper()}+{octets}", f"{name}+0{id}+{octets}", f"{name}+00000000+{octets}",
        f"{name}+{id}+{octets} ", f" {name}+{id}+{octets}", f"{name}+{id}+{octets}\n", f"{name}2+{id}+{octets}",
        *(key.encode() for key in (*odd, *sized, quantum)),
        *(replace(LOG.key, name=odd).encode() for odd in ("a b", "a\u2003b", "a\tb", "a\x01b")),
        f"\ud800+{id}+{octets}",
    ]  # fmt: skip


@pytest.mark.parametrize("vkey", wrong_keys())
def test_what_is_no_key_is_refused(vkey: str) -> None:
    with pytest.raises(WireError):
        Key.decode(vkey)


@pytest.mark.parametrize("name", ["", "a+b", "a b", "a\u00a0b", "a\u2028b", "a\nb", "a\x00b", "\udcff"])
def test_a_name_has_no_space_and_no_plus(name: str) -> None:
    assert not is_name(name)
    assert is_name("waypost/\u00e4\u6c34.example:8080")


# Base64


@pytest.mark.parametrize(
    "text", ["A", "AA", "AAA", "AA=", "AB==", "AAB=", "AA==\n", " AA==", "AA==AA==", "A-__", "\u0410A=="]
)
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(WireError, match="base64"):
        from_base64(text)


@given(st.binary())
def test_base64_gives_back_what_it_was_given(octets: bytes) -> None:
    assert from_base64(to_base64(octets)) == octets


@pytest.mark.parametrize("octets", [b"", bytes(4)])
def test_a_line_without_a_signature_is_none(octets: bytes) -> None:
    with pytest.raises(WireError, match="a signature line is wrong"):
        Line.decode(f"\u2014 n {to_base64(octets)}")
