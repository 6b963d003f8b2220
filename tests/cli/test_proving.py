"""The verbs that prove and verify: a proof is made by a log with real heads, and checked without it."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from logbook import COSIGNERS, KEY, ORIGIN, POLICY, Logbook, vkey
from lone import Lone, made
from people import key_of, public_of
from serving import Api, serving

from waypost.cli.keys import wall_ms
from waypost.cli.verbs import call
from waypost.drip.book import HISTORY
from waypost.ledger.checkpoint import Checkpoint, sign_head
from waypost.ledger.entry import commit
from waypost.ledger.evidence import of_heads, of_statements
from waypost.ledger.exhibit import encode
from waypost.ledger.note import Algorithm, from_base64, to_base64
from waypost.ledger.policy import Policy
from waypost.ledger.proof import ProofFile
from waypost.ledger.questions import Prove, ShowLog
from waypost.ledger.statement import Statement
from waypost.record import ROSTER, Committed, Record

Run = Callable[..., tuple[int, Any, str]]
FIRST: Final = made("1")
SECOND: Final = made("2", FIRST, txid=2)


@pytest.fixture
def node() -> Logbook:
    log = Logbook(Lone())
    log.wall_ms = wall_ms()
    return log


@pytest.fixture
def api(node: Logbook) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tlog-policy"
    path.write_bytes(POLICY.encode())
    monkeypatch.setenv("WAYPOST_TLOG_POLICY", str(path))
    return path


@pytest.fixture
def run(api: Api, capsys: pytest.CaptureFixture[str]) -> Run:
    """Carries out a line with -o json: its exit code, what it printed, and its remarks."""

    def run(*line: str) -> tuple[int, Any, str]:
        at = ("--url", api.url) if line[0] != "verify" else ()
        code = call([*line, *at, "-o", "json"])
        told = capsys.readouterr()
        return code, json.loads(told.out or "null"), told.err

    return run


@pytest.fixture
def proof(run: Run, node: Logbook, tmp_path: Path, policy: Path) -> Path:
    """Of the second version of the lamp."""
    node.put(FIRST, SECOND)
    file = tmp_path / "lamp.proof"
    assert run("prove", "lamp", str(file))[0] == 0
    return file


def test_a_record_is_proven_and_verified_without_the_node(run: Run, proof: Path, node: Logbook) -> None:
    asked = len(node.asked)
    code, verified, _ = run("verify", str(proof))
    assert code == 0
    assert (verified["origin"], verified["log"], verified["index"], verified["size"]) == (ORIGIN, KEY.encode(), 1, 2)
    assert verified["committed"]["record"]["value"] == "2"
    assert verified["committed"]["certificate"]["marks"][0]["voter"] == "anna"
    assert verified["cosigned"] == {key.name: node.wall_ms // 1000 for key in COSIGNERS.values()}
    assert len(node.asked) == asked


def test_an_older_version_is_proven_by_its_number(run: Run, node: Logbook, tmp_path: Path, policy: Path) -> None:
    node.put(FIRST, SECOND)
    file = str(tmp_path / "file")
    code, proven, _ = run("prove", "names/lamp", file, "--version", "1")
    assert (code, proven["index"], proven["size"], proven["origin"]) == (0, 0, 2, ORIGIN)
    assert proven["cosigners"] == [key.name for key in COSIGNERS.values()]
    assert run("verify", file)[1]["committed"]["record"]["value"] == "1"


def test_people_are_told_what_is_proven(proof: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["verify", str(proof)]) == 0
    told = capsys.readouterr()
    for shown in ("entry 1 of waypost/anna, which has 2", "names/lamp", "waypost/berta/witness (20", "voters", "anna"):
        assert shown in told.out
    assert told.err == ""


def test_what_nobody_voted_on_is_not_proven_and_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Counting(Logbook):
        asked_for = 0

        def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
            self.asked_for += table == HISTORY
            return super().after(table, key, limit)

    file, node = tmp_path / "file", Counting()
    with serving(node.ask, rows=node) as api:
        assert call(["prove", "lamp", str(file), "--wait", "2", "--url", api.url]) == 1
    assert "nothing was ever voted" in capsys.readouterr().err
    assert not file.exists()
    assert node.asked_for == 1


def test_a_file_that_is_there_is_not_written_over(run: Run, proof: Path) -> None:
    before = proof.read_bytes()
    assert run("prove", "lamp", str(proof))[0] == 2
    assert proof.read_bytes() == before


def test_a_proof_waits_for_a_published_head(run: Run, node: Logbook, tmp_path: Path) -> None:
    node.publishes = False
    node.put(FIRST)
    assert run("prove", "lamp", str(tmp_path / "early"), "--wait", "0")[0] == 3

    class Later(Logbook):
        async def ask(self, question: Any) -> object:
            if self.asked.count(question) == 2:
                self.publish()
            return await super().ask(question)

    later = Later()
    later.publishes = False
    later.put(FIRST)
    with serving(later.ask, rows=later) as api:
        assert call(["prove", "lamp", str(tmp_path / "late"), "--url", api.url]) == 0


def test_a_proof_waits_for_witnesses(tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Slow(Logbook):
        async def ask(self, question: Any) -> object:
            if isinstance(question, ShowLog):
                self.witnesses = (*COSIGNERS,)  # whom it wants
            elif isinstance(question, Prove) and question in self.asked:
                self.publish()
            return await super().ask(question)

    node = Slow()
    node.witnesses = ("berta",)
    node.put(FIRST)
    with serving(node.ask, rows=node) as api:
        assert call(["prove", "lamp", str(tmp_path / "file"), "--url", api.url, "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cosigners"]) == 4


def test_a_proof_without_the_witnesses_that_the_node_wants_is_told_to_be_weak(
    node: Logbook, api: Api, tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.put(FIRST)
    node.witnesses = ("berta", "carla")
    node.publish()
    node.witnesses = (*COSIGNERS,)
    file = str(tmp_path / "weak")
    assert call(["prove", "lamp", file, "--wait", "0", "--url", api.url]) == 0
    assert "3 witnesses should have cosigned" in capsys.readouterr().err
    assert call(["verify", file]) == 5
    assert "the quorum of witnesses is not met" in capsys.readouterr().err


def octets(file: Path) -> ProofFile:
    return ProofFile.decode(file.read_bytes())


def replaced(file: Path, old: str, new: str) -> bytes:
    text = file.read_text()
    assert old in text
    return text.replace(old, new, 1).encode()


def flipped(text: str) -> str:
    """The same number of octets, in base64, of which one bit is another."""
    data = bytearray(from_base64(text))
    data[-1] ^= 1
    return to_base64(bytes(data))


def damages(file: Path) -> dict[str, bytes]:
    proof = octets(file)
    hash, root = to_base64(proof.proof[0]), to_base64(proof.head.root)
    lines = proof.head.note.lines
    signatures = [to_base64(line.id + line.signature) for line in lines]
    return {
        "another entry": replaced(file, to_base64(proof.extra), flipped(to_base64(proof.extra))),
        "another index": replaced(file, "index 1\n", "index 0\n"),
        "an index past the end": replaced(file, "index 1\n", "index 2\n"),
        "another hash": replaced(file, hash, flipped(hash)),
        "a hash less": replaced(file, hash + "\n", ""),
        "another root": replaced(file, root, flipped(root)),
        "another size": replaced(file, f"{ORIGIN}\n2\n", f"{ORIGIN}\n3\n"),
        "another log": replaced(file, f"\n\n{ORIGIN}\n", "\n\nwaypost/berta\n"),
        "another signature": replaced(file, signatures[0], flipped(signatures[0])),
        "another cosignature": replaced(file, signatures[1], flipped(signatures[1])),
        "two cosignatures of four": replaced(file, "".join(line.encode() for line in lines[1:3]), ""),
        "no entry": replaced(file, f"extra {to_base64(proof.extra)}\n", ""),
        "a cut": file.read_bytes()[:-2],
        "nothing": b"",
        "a picture": b"\x89PNG",
    }


DAMAGES: Final = (
    "another entry", "another index", "an index past the end", "another hash", "a hash less", "another root",
    "another size", "another log", "another signature", "another cosignature", "two cosignatures of four", "no entry",
    "a cut", "nothing", "a picture",
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_proof_that_was_changed_fails(run: Run, proof: Path, damage: str) -> None:
    proof.write_bytes(damages(proof)[damage])
    code, verified, error = run("verify", str(proof))
    assert (code, verified) == (5, None), error
    assert json.loads(error)["exit_code"] == 5


def test_every_damage_is_tried(proof: Path) -> None:
    assert tuple(damages(proof)) == DAMAGES


def test_a_proof_may_leave_the_entry_to_whoever_verifies(run: Run, proof: Path, tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    entry.write_bytes(octets(proof).extra)
    proof.write_bytes(damages(proof)["no entry"])
    assert run("verify", str(proof), "--entry", str(entry))[0] == 0
    entry.write_bytes(b"x")
    assert run("verify", str(proof), "--entry", str(entry))[0] == 5


def proof_of(node: Logbook, index: int) -> bytes:
    data = asyncio.run(node.ask(Prove(index)))
    assert isinstance(data, bytes)
    return data


def logged(node: Logbook, committed: Committed, run: Run, tmp_path: Path) -> tuple[int, str]:
    """What becomes of the proof of an entry that is truly in the log, whatever it says."""
    index = node.add(commit(node.mesh.network, committed.encode()))
    file = tmp_path / f"{index}"
    file.write_bytes(proof_of(node, index))
    code, _, error = run("verify", str(file))
    return code, error


def test_a_record_that_its_author_did_not_sign_is_proven_by_no_log(
    node: Logbook, run: Run, tmp_path: Path, policy: Path
) -> None:
    node.put(FIRST)
    true = node.mesh.drip.committed(FIRST.place)
    assert true is not None
    assert logged(node, true, run, tmp_path)[0] == 0
    forged = Record(**{name: getattr(FIRST, name) for name in FIRST.__struct_fields__} | {"value": "mine"})
    code, error = logged(node, Committed(forged, true.certificate), run, tmp_path)
    assert code == 5
    assert "author" in error
    other = made("other")  # signed, and voted for by nobody
    code, error = logged(node, Committed(other, true.certificate), run, tmp_path)
    assert code == 5
    assert "another record" in error
    code, error = logged(node, Committed(FIRST, None), run, tmp_path)
    assert code == 5
    assert "nobody voted" in error


def test_the_first_roster_is_the_network_s_own(node: Logbook, run: Run, tmp_path: Path, policy: Path) -> None:
    founding = node.mesh.drip.committed(ROSTER)
    assert founding is not None
    assert logged(node, founding, run, tmp_path)[0] == 0
    assert founding.record.value is not None
    other = Record(
        **{name: getattr(founding.record, name) for name in FIRST.__struct_fields__}
        | {"value": founding.record.value.replace(public_of("operator"), public_of("heir"))}
    )
    assert logged(node, Committed(other, None), run, tmp_path)[0] == 5


def test_a_statement_is_verified_with_its_signature(node: Logbook, run: Run, tmp_path: Path, policy: Path) -> None:
    statement = Statement(node.wall_ms, {"says": "so"}, "example", "", public_of("heir"))
    for sign, expected in ((key_of("heir").sign, 0), (key_of("operator").sign, 5)):
        index = node.add(statement.signed(sign).encode())
        (tmp_path / "file").write_bytes(proof_of(node, index))
        code, verified, _ = run("verify", str(tmp_path / "file"))
        assert code == expected
        assert expected or (verified["statement"]["body"], verified["kind"]) == ({"says": "so"}, "waypost/statement@v1")


def test_an_old_head_is_refused_where_age_counts(run: Run, node: Logbook, tmp_path: Path, policy: Path) -> None:
    node.wall_ms -= 7_200_000
    node.put(FIRST)
    file = str(tmp_path / "old")
    run("prove", "lamp", file)
    assert run("verify", file)[0] == 0
    assert run("verify", file, "--max-age", "3h")[0] == 0
    code, _, error = run("verify", file, "--max-age", "1h")
    assert code == 5
    assert "seconds ago" in error


def test_who_trusts_nobody_is_told_what_to_do(
    proof: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WAYPOST_TLOG_POLICY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert call(["verify", str(proof)]) == 2
    assert "waypost log policy" in capsys.readouterr().err
    (tmp_path / "waypost").mkdir()
    (tmp_path / "waypost" / "tlog-policy").write_bytes(POLICY.encode())
    assert call(["verify", str(proof)]) == 0


def test_a_policy_that_is_wrong_is_named(run: Run, proof: Path, policy: Path) -> None:
    policy.write_bytes(POLICY.encode() + b"quorum none\n")
    code, _, error = run("verify", str(proof))
    assert code == 2
    assert "line" in error


def test_a_policy_of_another_log_proves_nothing(run: Run, proof: Path, policy: Path) -> None:
    other = Policy.of([vkey("stranger", ORIGIN, Algorithm.ED25519)], list(COSIGNERS.values()), 3)
    policy.write_bytes(other.encode())
    assert run("verify", str(proof))[0] == 5


def test_a_policy_without_witnesses_is_told_to_be_weak(
    proof: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_bytes(Policy.of([KEY], [], 0).encode())
    assert call(["verify", str(proof)]) == 0
    assert "asks for no witness" in capsys.readouterr().err


def heads(size: int, root: bytes) -> Any:
    return sign_head(Checkpoint(ORIGIN, size, root), KEY, key_of("log").sign)


def test_evidence_against_a_log_is_verified(run: Run, tmp_path: Path, policy: Path) -> None:
    evidence = of_heads(KEY, heads(7, b"a" * 32), heads(7, b"b" * 32), None)
    assert evidence is not None
    file = tmp_path / "evidence"
    file.write_bytes(encode(evidence))
    code, convicted, _ = run("verify", str(file))
    assert code == 0
    assert (convicted["fault"], convicted["accused"], convicted["origin"]) == ("same size", KEY.encode(), ORIGIN)
    assert convicted["conflict"] == 7
    policy.write_bytes(Policy.of([vkey("stranger", ORIGIN, Algorithm.ED25519)], [], 0).encode())
    assert run("verify", str(file))[0] == 5  # of keys that nobody here trusts
    file.write_bytes(encode(evidence)[:-1])
    assert run("verify", str(file))[0] == 5


def test_a_signer_who_said_two_things_is_shown(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [Statement(1, {"to": name}, "grant", "", public_of("heir")).signed(key_of("heir").sign) for name in "ab"]
    file = tmp_path / "evidence"
    file.write_bytes(encode(of_statements(*said)))
    assert call(["verify", str(file)]) == 0
    told = capsys.readouterr().out
    assert "double statement" in told
    assert public_of("heir") in told
