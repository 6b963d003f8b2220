"""The verbs about the log of a node, with a log that has real entries, heads and cosignatures."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from logbook import COSIGNERS, EVIDENCE, KEY, ORIGIN, Logbook, vkey
from lone import Lone, made
from people import WALL_MS, key_of, public_of
from serving import Api, serving

from waypost.api.logged import LinkedLog, Log, OutsideWitness
from waypost.cli.keys import wall_ms
from waypost.cli.quorum import write
from waypost.cli.verbs import call
from waypost.errors import RemoteError, StateError
from waypost.identity.keys import verifies, write_private
from waypost.ledger.note import Algorithm
from waypost.ledger.policy import Policy
from waypost.ledger.questions import Reply, ShowLog
from waypost.ledger.statement import Statement

Run = Callable[..., tuple[int, Any, str]]
FIRST: Final = made("1")
SECOND: Final = made("2", FIRST, txid=2)
THIRD: Final = made(None, SECOND, txid=3)
DOOR: Final = made("x", place=("names", "door"), txid=4)


@pytest.fixture
def node() -> Logbook:
    return Logbook(Lone())


@pytest.fixture
def api(node: Logbook) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


@pytest.fixture
def run(api: Api, capsys: pytest.CaptureFixture[str]) -> Run:
    """Carries out a line with -o json: its exit code, what it printed, and its remarks."""

    def run(*line: str) -> tuple[int, Any, str]:
        code = call([*line, "--url", api.url, "-o", "json"])
        told = capsys.readouterr()
        return code, json.loads(told.out or "null"), told.err

    return run


@pytest.fixture
def table(api: Api, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def table(*line: str) -> str:
        assert call([*line, "--url", api.url]) == 0
        told = capsys.readouterr()
        return told.out + told.err

    return table


# How the log is.


def test_the_log_is_shown_with_those_that_it_witnesses(run: Run, table: Callable[..., str], node: Logbook) -> None:
    node.put(FIRST)
    code, log, _ = run("log")
    assert (code, log["origin"], log["size"]) == (0, ORIGIN, 1)
    assert run("log", "status")[1] == log
    told = table("log")
    for sentence in ("of 1 entries", "by 4, wanted 3: waypost/berta/witness", "2026-11-20", "somebody has lied"):
        assert sentence in told
    assert [line.split() for line in told.splitlines() if line.startswith("waypost/berta ")] == [
        ["waypost/berta", "9", "8", "7", "followed"]
    ]


def test_a_log_that_does_not_sign_says_why_and_resumes_at_the_operator_s_word(
    table: Callable[..., str], node: Logbook
) -> None:
    node.state = "nobody has said which head was the last"
    assert node.state in table("log")
    assert "signing" in table("log", "resume")


def test_evidence_is_listed_and_written_out(run: Run, table: Callable[..., str], node: Logbook) -> None:
    assert run("log", "evidence")[1] == [{"digest": EVIDENCE, "text": None}]
    assert table("log", "evidence", EVIDENCE) == node.evidence[EVIDENCE].decode()
    assert run("log", "evidence", "e2" * 32)[0] == 1
    node.evidence = {}
    assert "nobody was found to lie" in table("log", "evidence")


def test_any_entry_is_proven_by_its_index(run: Run, node: Logbook, tmp_path: Path) -> None:
    node.put(FIRST, SECOND)
    code, proven, _ = run("log", "prove", "0", str(tmp_path / "file"))
    assert (code, proven["index"], proven["size"]) == (0, 0, 2)
    assert run("log", "prove", "9", str(tmp_path / "none"))[0] == 1


# Whom a reader trusts.


def logs(n: int, outside: int = 0, frozen: str = "") -> Log:
    """As a network of n nodes shows them."""
    names = [f"node-{number}" for number in range(1, n + 1)]
    links = tuple(
        LinkedLog(
            name,
            f"waypost/{name}",
            vkey(f"{name}'s", f"waypost/{name}", Algorithm.ED25519).encode(),
            vkey(name, f"waypost/{name}/witness").encode(),
            *(9, 9, 9),
            3 if name == frozen else None,
        )
        for name in names[1:]
    )
    return Log(
        "waypost/node-1",
        vkey("node-1's", "waypost/node-1", Algorithm.ED25519).encode(),
        vkey("node-1", "waypost/node-1/witness").encode(),
        *("signing", 0, None, None, 0, ()),
        links,
        tuple(OutsideWitness(vkey(f"out-{i}", f"example.com/{i}").encode(), "https://x") for i in range(outside)),
        *((), ""),
    )


@pytest.mark.parametrize(
    ("n", "witnesses", "quorum", "faulty", "down"),
    [(1, 0, 0, 0, 0), (2, 1, 1, 0, 0), (3, 2, 2, 1, 0), (4, 3, 3, 2, 0), (5, 4, 3, 1, 1), (8, 7, 5, 2, 2)],
)
def test_two_thirds_and_one_must_have_cosigned(n: int, witnesses: int, quorum: int, faulty: int, down: int) -> None:
    for name in (None, "node-1", f"waypost/node-{n}"):
        written = write(logs(n), name, None)
        assert (written.witnesses, written.quorum, written.faulty, written.down) == (witnesses, quorum, faulty, down)
        policy = Policy.decode(written.text.encode())
        assert [log.key.name for log in policy.logs] == list(written.logs)
        assert len(policy.logs) == (n if name is None else 1)
        if name is not None:
            assert len(policy.witnesses) == witnesses
            assert name.rpartition("/")[2] + "/witness" not in written.text
            if n > 1:
                assert (policy.faulty_max, policy.down_max) == (faulty, down)


def test_a_policy_says_how_many_may_lie_and_how_many_be_down() -> None:
    text = write(logs(5), None, None).text
    assert "# n = 4 witnesses, k = 3 must" in text
    assert "at most 1 of them lie (f < 2k - n)" in text
    assert "at most 1 of them are down (n - k)" in text
    assert "own node does not count" in text
    assert "own node does not count" not in write(logs(5), "node-2", None).text


def test_outside_witnesses_count() -> None:
    assert write(logs(2, outside=3), None, None).witnesses == 4
    assert "example.com/2" in write(logs(1, outside=3), "node-1", None).text


@pytest.mark.parametrize(("n", "k"), [(5, 2), (5, 1), (7, 3), (5, 5), (1, 1)])
def test_a_quorum_that_witnesses_nothing_is_refused(n: int, k: int) -> None:
    with pytest.raises(StateError):
        write(logs(n), None, k)


@pytest.mark.parametrize(("k", "faulty", "down"), [(3, 1, 1), (4, 3, 0)])
def test_a_quorum_can_be_chosen(k: int, faulty: int, down: int) -> None:
    written = write(logs(5), None, k)
    assert (written.quorum, written.faulty, written.down) == (k, faulty, down)


def test_who_was_proven_to_lie_is_not_trusted() -> None:
    written = write(logs(5, frozen="node-3"), None, None)
    assert (written.witnesses, written.quorum) == (3, 3)
    assert "waypost/node-3" not in written.logs
    assert "# Not trusted, there is evidence: waypost/node-3\n" in written.text
    with pytest.raises(RemoteError):
        write(logs(5, frozen="node-3"), "node-3", None)
    with pytest.raises(RemoteError):
        write(logs(5), "node-9", None)


def test_a_policy_of_a_node_is_one_that_its_proofs_meet(
    run: Run, table: Callable[..., str], node: Logbook, tmp_path: Path
) -> None:
    node.put(FIRST)
    file = tmp_path / "policy"
    file.write_text(table("log", "policy", "--node", "anna"))
    policy = Policy.decode(file.read_bytes())
    assert [log.key for log in policy.logs] == [KEY]
    assert COSIGNERS["berta"] in [witness.key for witness in policy.witnesses]
    assert node.published is not None
    assert list(policy.check(node.published, verifies, WALL_MS // 1000).cosigned) == [COSIGNERS["berta"].name]
    assert run("log", "policy", "--quorum", "1")[0] == 2
    assert run("log", "policy", "--node", "zoe")[0] == 1


# Statements.


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "heir.pem"
    path.write_bytes(write_private(key_of("heir")))
    path.chmod(0o600)
    return path


def said(node: Logbook) -> list[Statement]:
    return [Statement.decode(entry) for entry in node.entries]


def test_each_statement_names_the_one_before(run: Run, node: Logbook, key: Path, tmp_path: Path) -> None:
    (tmp_path / "body").write_text('{"says": "two"}')
    code, first, _ = run("log", "add", '{"says": "one"}', "--first", "--key", str(key))
    assert (code, first["index"], first["size"], first["prev"]) == (0, 0, 1, "")
    code, second, _ = run("log", "add", str(tmp_path / "body"), "--kind", "grant", "--key", str(key))
    assert (code, second["index"], second["prev"]) == (0, 1, first["hash"])
    statements = said(node)
    assert [(each.kind, each.body) for each in statements] == [("note", {"says": "one"}), ("grant", {"says": "two"})]
    assert statements[1].prev == statements[0].hash == first["hash"]
    assert abs(statements[0].at_ms - wall_ms()) < 60_000
    for each in statements:
        assert each.signer == public_of("heir")
        assert verifies(bytes.fromhex(each.signer), bytes.fromhex(each.signature), each.to_sign)


def test_nobody_makes_a_first_statement_by_mistake(run: Run, node: Logbook, key: Path) -> None:
    assert run("log", "add", "{}", "--key", str(key))[0] == 2
    assert node.entries == []
    assert run("log", "add", "{}", "--first", "--key", str(key))[0] == 0
    assert run("log", "add", '{"x":1}', "--first", "--key", str(key))[0] == 2
    assert len(node.entries) == 1


def test_a_key_that_was_used_elsewhere_says_what_it_stated_last(run: Run, node: Logbook, key: Path) -> None:
    assert run("log", "add", "{}", "--prev", "ab" * 32, "--key", str(key))[0] == 0
    assert said(node)[0].prev == "ab" * 32
    assert run("log", "add", "{}", "--prev", "lamp", "--key", str(key))[0] == 2


def test_what_was_refused_or_lost_is_sent_again_as_the_same_octets(run: Run, node: Logbook, key: Path) -> None:
    node.refusal = Reply(409, b"not now\n")
    assert run("log", "add", '{"a":1}', "--first", "--key", str(key))[0] == 2
    code, _, error = run("log", "add", '{"b":2}', "--first", "--key", str(key))
    assert code == 2
    assert "the statement before" in error
    assert call(["log", "add", '{"a":1}', "--first", "--key", str(key), "--url", "http://127.0.0.1:1"]) == 3
    node.refusal = None
    assert run("log", "add", '{"a":1}', "--first", "--key", str(key))[0] == 0
    sent = [question for question in node.asked if not isinstance(question, ShowLog)]
    assert sent[0] == sent[-1]
    assert len({*map(repr, sent)}) == 1
    assert run("log", "add", '{"b":2}', "--key", str(key))[0] == 0
    assert said(node)[1].prev == said(node)[0].hash


@pytest.mark.parametrize("body", ['{"x": 0.5}', "{", '{"x": 1} 2', "[]"])
def test_what_can_be_no_statement_is_not_sent(run: Run, node: Logbook, key: Path, body: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_text(body)
    assert run("log", "add", str(tmp_path / "body"), "--first", "--key", str(key))[0] == 2
    assert not node.asked
    assert not Path(f"{key}.sent").exists()


def test_the_memory_of_one_key_is_not_another_s(run: Run, key: Path) -> None:
    assert run("log", "add", "{}", "--first", "--key", str(key))[0] == 0
    key.write_bytes(write_private(key_of("stranger")))
    assert run("log", "add", "{}", "--key", str(key))[0] == 2


# What was, and what changed.


@pytest.fixture
def history(node: Logbook) -> Logbook:
    """0: lamp 1; 1: no record; 2: door; 3: lamp 2, an hour later; 4: lamp is gone, in two hours."""
    node.put(FIRST)
    node.add(b"something else")
    node.put(DOOR)
    node.wall_ms = WALL_MS + 3_600_000
    node.put(SECOND)
    node.wall_ms = WALL_MS + 7_200_000
    node.put(THIRD)
    return node


def changes(run: Run, a: str, b: str) -> list[tuple[str, Any, Any]]:
    code, found, error = run("log", "diff", a, b)
    assert code == 0, error
    return [
        (each["key"], each["before"] and each["before"]["version"], (each["after"]["version"], each["after"]["index"]))
        for each in found
    ]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("0", "4", [("door", None, (1, 2)), ("lamp", 1, (3, 4))]),
        ("1", "3", [("door", None, (1, 2)), ("lamp", 1, (2, 3))]),
        ("2", "3", [("lamp", 1, (2, 3))]),
        ("2", "2", []),
        ("0", "1", []),
        ("2027-01-14", "2027-01-16", [("lamp", None, (3, 4)), ("door", None, (1, 2))]),
        ("2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z", [("lamp", 1, (2, 3))]),
        ("2027-01-15T08:59", "2027-01-15T09:59", [("lamp", 1, (2, 3))]),
        ("2027-01-15T08:59", "2027-01-15T10:00", [("lamp", 1, (3, 4))]),
        ("2027-01-14", "0", [("lamp", None, (1, 0))]),
        ("2027-01-16", "2027-01-17", []),
    ],
)
def test_the_changes_between_two_moments_are_told(
    run: Run, history: Logbook, a: str, b: str, expected: list[tuple[str, Any, Any]]
) -> None:
    assert changes(run, a, b) == expected


def test_people_see_from_what_to_what(table: Callable[..., str], history: Logbook) -> None:
    told = table("log", "diff", "1", "4")
    assert "1 > 3" in told
    assert "1 > (nothing)" in told
    assert "- > x" in told
    assert "no record changed" in table("log", "diff", "4", "4")


@pytest.mark.parametrize(
    ("a", "b", "code"), [("4", "0", 2), ("0", "5", 1), ("yesterday", "4", 2), ("2027-01-16", "2027-01-14", 2)]
)
def test_a_moment_that_cannot_be_is_refused(run: Run, history: Logbook, a: str, b: str, code: int) -> None:
    assert run("log", "diff", a, b)[0] == code


def test_records_are_found_as_they_were(run: Run, history: Logbook) -> None:
    code, found, _ = run("find", "--at", "2", "lamp", "names/door")
    assert code == 0
    assert [(each["record"]["key"], each["record"]["value"], each["index"]) for each in found] == [
        ("lamp", "1", 0),
        ("door", "x", 2),
    ]
    code, found, error = run("find", "--at", "0", "lamp", "door")
    assert (code, len(found)) == (1, 1)
    assert "door was not in the log then" in error
    assert run("find", "--at", "2027-01-15T09:30:00Z", "lamp")[1][0]["record"]["value"] == "2"
    assert run("find", "--at", "4", "--record", "lamp")[0] == 1  # it is gone
    assert run("find", "--at", "4", "lamp")[1][0]["record"]["value"] is None
    for wrong in (
        ("--at", "4"),
        ("--at", "4", "lamp", "--quorum"),
        ("--at", "x", "lamp"),
        ("--at", "1", "a", "--record", "b"),
    ):
        assert run("find", *wrong)[0] == 2, wrong


def test_the_history_says_where_it_is_written(table: Callable[..., str], history: Logbook) -> None:
    lines = [line.split() for line in table("history", "lamp").splitlines()]
    assert lines[0][-2:] == ["ENTRY", "LOGGED"]
    assert [line[-3] for line in lines[1:]] == ["0", "3", "4"]
    assert lines[2][-2:] == ["2027-01-15", "09:00:00"]
