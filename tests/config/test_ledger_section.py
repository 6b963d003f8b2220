"""The section [ledger]: whose keys are taken, and which are not."""

from pathlib import Path
from typing import Final

import pytest

from waypost.config import Config, Ledger, OutsideWitness
from waypost.config.settling import FILE_NAME, load
from waypost.errors import ConfigError
from waypost.ledger.note import Algorithm, Key, to_base64

PUBLIC: Final = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1
WITNESS: Final = Key("witness.example", Algorithm.COSIGNATURE, PUBLIC).encode()
LATTICE: Final = Key("lattice.example", Algorithm.MLDSA_44, bytes(1312)).encode()
LOG: Final = Key("log.example/2026", Algorithm.ED25519, PUBLIC).encode()
SMALL: Final = bytes([1]).ljust(32, b"\0")  # a point of small order


def read(directory: Path, text: str) -> Config:
    (directory / FILE_NAME).write_text(text, encoding="utf-8")
    return load({}, {"WAYPOST_DIR": str(directory)})


def test_a_log_needs_nothing_said(tmp_path: Path) -> None:
    assert read(tmp_path, "").ledger == Ledger(origin="", round_s=10, idle_round_s=600, quorum=0)


def test_witnesses_are_tables_and_logs_of_others_a_list_of_keys(tmp_path: Path) -> None:
    tables = "".join(
        f'[[ledger.witnesses]]\nkey = "{key}"\nurl = "{url}"\n'
        for key, url in ((WITNESS, "https://witness.example/a"), (LATTICE, "http://127.0.0.1:8080"))
    )
    config = read(tmp_path, f'[ledger]\norigin = "registry.example/log"\nwitnessed = ["{LOG}"]\n{tables}')
    assert config.ledger == Ledger(
        origin="registry.example/log",
        witnesses=(
            OutsideWitness(key=WITNESS, url="https://witness.example/a"),
            OutsideWitness(key=LATTICE, url="http://127.0.0.1:8080"),
        ),
        witnessed=(LOG,),
    )


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "a key is written as name"),
        (WITNESS[:-4], "the key of witness.example is of no type"),
        (WITNESS.replace("witness", "Witness"), "the ID of the key of Witness.example is not"),
        (LOG, "the key of log.example/2026 is not of the right kind"),
        (
            Key("small", Algorithm.COSIGNATURE, SMALL).encode(),
            "the key of small is not of the right kind, or not sound",
        ),
        ("odd+00000000+" + to_base64(b"\x09" + PUBLIC), "the key of odd is of no type"),
    ],
)
def test_a_witness_has_a_sound_key_of_a_witness(tmp_path: Path, key: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"ledger.witnesses: .*{sentence}"):
        read(tmp_path, f'[[ledger.witnesses]]\nkey = "{key}"\nurl = "https://a"\n')


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (WITNESS, "the key of witness.example is not of the right kind"),
        (LATTICE, "the key of lattice.example is not of the right kind"),
        (Key("small", Algorithm.ED25519, SMALL).encode(), "not sound"),
    ],
)
def test_a_log_of_others_has_a_sound_key_of_a_log(tmp_path: Path, key: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"ledger.witnessed: .*{sentence}"):
        read(tmp_path, f'[ledger]\nwitnessed = ["{key}"]\n')


def test_nobody_is_there_twice(tmp_path: Path) -> None:
    table = f'[[ledger.witnesses]]\nkey = "{WITNESS}"\nurl = "https://a"\n'
    with pytest.raises(ConfigError, match=r"ledger\.witnesses: witness\.example is there twice"):
        read(tmp_path, table * 2)
    with pytest.raises(ConfigError, match=r"ledger\.witnessed: log\.example/2026 is there twice"):
        read(tmp_path, f'[ledger]\nwitnessed = ["{LOG}", "{LOG}"]\n')


@pytest.mark.parametrize(
    "text",
    [
        '[ledger]\norigin = "a log"\n',
        '[ledger]\norigin = "a+log"\n',
        '[ledger]\norigin = "a\\u0007log"\n',
        "[ledger]\nround_s = 0\n",
        "[ledger]\nquorum = -1\n",
        '[[ledger.witnesses]]\nkey = "a"\nurl = "ftp://a"\n',
        '[[ledger.witnesses]]\nkey = "a"\nurl = "https://anna@a"\n',
        '[[ledger.witnesses]]\nkey = "a"\nurl = "https://a?b"\n',
        '[[ledger.witnesses]]\nkey = "a"\n',
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="must be"):
        read(tmp_path, text)
