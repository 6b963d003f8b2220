"""The log over HTTP, with a log that has real entries, heads and cosignatures."""

import base64
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from logbook import COSIGNERS, EVIDENCE, KEY, ORIGIN, POLICY, TIME_S, Logbook
from lone import made
from people import WALL_MS, key_of, public_of
from serving import JSON, Api, serving

from waypost.identity.keys import verifies
from waypost.ledger import questions
from waypost.ledger.checkpoint import read_head
from waypost.ledger.entry import Kind, decode, read_commit
from waypost.ledger.proof import ProofFile, verify_proof
from waypost.ledger.statement import Statement
from waypost.rd.questions import Busy

FIRST: Final = made("1")
SECOND: Final = made("2", FIRST, txid=2)
DOOR: Final = made("x", place=("names", "door"), txid=3)
THIRD: Final = made("3", SECOND, txid=4)
HISTORY: Final = "/v1/records/names/lamp/history"
PROOF: Final = "/v1/log/proof?namespace=names&key=lamp"
STATEMENT: Final = Statement(WALL_MS, {"says": "so"}, "example", "", public_of("operator")).signed(
    key_of("operator").sign
)


@pytest.fixture
def node() -> Logbook:
    return Logbook()


@pytest.fixture
def api(node: Logbook) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


def at(node: Logbook, seconds: int) -> None:
    node.wall_ms = WALL_MS + 1000 * seconds


def test_the_log_is_shown_with_heads_that_anybody_can_check(api: Api, node: Logbook) -> None:
    node.put(FIRST)
    log = api.ask("GET", "/v1/log").json
    assert (log["origin"], log["key"], log["state"], log["size"]) == (ORIGIN, KEY.encode(), "signing", 1)
    published = read_head(log["published"]["note"].encode())
    assert POLICY.check(published, verifies, TIME_S).met
    assert base64.b64decode(log["published"]["root"]) == published.root
    assert log["published"]["size"] == log["head"]["size"] == published.size == 1
    assert log["cosigners"] == [key.name for key in COSIGNERS.values()]
    assert log["links"][0]["cosigner"] == COSIGNERS["berta"].encode()
    (linked,) = log["links"]
    assert (linked["node"], linked["size"], linked["mirrored"], linked["linked"]) == ("berta", 9, 8, 7)
    assert (log["evidence"], log["day"], log["quorum"]) == ([EVIDENCE], "2026-11-20", 3)


def test_a_log_that_has_no_head_yet_shows_none(api: Api) -> None:
    log = api.ask("GET", "/v1/log").json
    assert (log["head"], log["published"], log["cosigners"]) == (None, None, [])


def test_the_operator_s_word_makes_it_sign(api: Api, node: Logbook) -> None:
    node.state = "nobody has said which head was the last"
    assert api.ask("POST", "/v1/log/resume").json["state"] == "signing"
    assert questions.Resume() in node.asked


def test_entries_are_read_page_by_page(api: Api, node: Logbook) -> None:
    node.put(FIRST, SECOND, DOOR)
    answer = api.ask("GET", "/v1/log/entries?count=2").json
    assert [entry["index"] for entry in answer["entries"]] == [0, 1]
    rest = api.ask("GET", answer["next"]).json
    assert rest["next"] is None
    (last,) = rest["entries"]
    assert (last["index"], last["kind"]) == (2, Kind.COMMIT.value)
    assert base64.b64decode(last["data"]) == node.entries[2]
    assert read_commit(decode(node.entries[2]).body).committed.record == DOOR
    assert api.ask("GET", "/v1/log/entries?from=3").json == {"entries": [], "next": None}


def test_a_page_goes_over_the_ends_of_bundles_and_each_is_read_once(api: Api, node: Logbook) -> None:
    node.publishes = False
    for number in range(600):
        node.add(b"%d" % number)
    for first, count in ((0, 1000), (250, 10), (255, 1), (256, 300), (599, 5)):
        page = api.ask("GET", f"/v1/log/entries?from={first}&count={count}").json
        expected = list(range(first, min(600, first + count)))
        assert [entry["index"] for entry in page["entries"]] == expected
        assert [int(base64.b64decode(entry["data"])) for entry in page["entries"]] == expected
        assert (page["next"] is None) == (first + count >= 600)
    read = [question for question in node.asked if isinstance(question, questions.Serve)]
    assert len(read) == 3 + 2 + 1 + 2 + 1


def test_an_entry_of_no_known_kind_is_one_all_the_same(api: Api, node: Logbook) -> None:
    node.add(b"\0\xff")
    assert api.ask("GET", "/v1/log/entries").json["entries"] == [{"index": 0, "kind": None, "data": "AP8="}]


def test_a_page_ends_with_the_entry_that_makes_it_too_large(api: Api, node: Logbook) -> None:
    for _ in range(40):
        node.add(bytes(60_000))
    page = api.ask("GET", "/v1/log/entries?count=40").json
    assert len(page["entries"]) == (1 << 20) // 60_000 + 1
    assert page["next"] == f"/v1/log/entries?from={len(page['entries'])}&count=40"


def prove(api: Api, target: str) -> ProofFile:
    answer = api.ask("GET", target)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"].startswith("text/plain")
    file = ProofFile.decode(answer.body)
    assert verify_proof(file, file.extra, POLICY, verifies, TIME_S).met
    return file


@pytest.mark.parametrize(
    ("target", "value"), [(PROOF, "2"), (PROOF + "&version=1", "1"), ("/v1/log/entries/1/proof", "2")]
)
def test_a_proof_needs_nobody_to_be_asked(api: Api, node: Logbook, target: str, value: str) -> None:
    node.put(FIRST, SECOND, DOOR)
    file = prove(api, target)
    assert read_commit(decode(file.extra).body).committed.record.value == value
    assert file.head.size == 3


def test_what_no_published_head_has_can_be_proven_later(api: Api, node: Logbook) -> None:
    node.publishes = False
    node.put(FIRST)
    for target in (PROOF, "/v1/log/entries/0/proof"):
        answer = api.ask("GET", target)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    node.publish()
    prove(api, PROOF)


def test_what_is_voted_and_not_in_the_log_can_be_proven_later(api: Api, node: Logbook) -> None:
    node.mesh.put(FIRST)
    assert api.ask("GET", PROOF).status == 503
    assert api.ask("GET", PROOF + "&version=1").status == 503
    assert api.ask("GET", PROOF + "&version=2").status == 404


def test_a_version_that_is_not_in_the_log_is_not_proven_by_the_next_one(api: Api, node: Logbook) -> None:
    node.mesh.put(FIRST)
    node.put(SECOND)
    assert api.ask("GET", PROOF + "&version=1").status == 503
    prove(api, PROOF + "&version=2")


def test_what_never_was_cannot_be_proven(api: Api, node: Logbook) -> None:
    assert api.ask("GET", PROOF).status == 404
    node.put(FIRST)
    for target in (PROOF + "&version=2", PROOF.replace("lamp", "lam"), "/v1/log/entries/1/proof"):
        assert api.ask("GET", target).status == 404, target
    for target in ("/v1/log/proof?namespace=names", "/v1/log/proof?key=lamp", "/v1/log/entries/x/proof"):
        assert api.ask("GET", target).status == 400, target


def test_a_statement_is_entered_and_answered_with_the_head_that_has_it(api: Api, node: Logbook) -> None:
    answer = api.ask("POST", "/v1/log/statements", msgspec.json.encode(STATEMENT), JSON)
    assert (answer.status, answer.json["index"], answer.json["head"]["size"]) == (201, 0, 1)
    assert Statement.decode(node.entries[0]) == STATEMENT


def test_a_statement_that_comes_again_is_the_entry_that_it_was(api: Api, node: Logbook) -> None:
    """Whoever lost the answer sends the same once more."""
    body = msgspec.json.encode(STATEMENT)
    first = api.ask("POST", "/v1/log/statements", body, JSON)
    node.add(b"something else")
    again = api.ask("POST", "/v1/log/statements", body, JSON)
    assert (again.status, again.json["index"]) == (201, first.json["index"])
    assert again.json["head"]["size"] == first.json["head"]["size"] + 1
    assert len(node.entries) == first.json["index"] + 2


@pytest.mark.parametrize(
    "changed", [{"signer": "me"}, {"signature": ""}, {"kind": "A B"}, {"body": {"x": 0.5}}, {"at_ms": -1}]
)
def test_what_is_no_statement_is_not_entered(api: Api, node: Logbook, changed: dict[str, Any]) -> None:
    body = msgspec.to_builtins(STATEMENT) | changed
    assert api.ask("POST", "/v1/log/statements", msgspec.json.encode(body), JSON).status == 422
    assert node.entries == []
    assert not node.asked


def test_a_statement_that_the_log_refuses_is_refused_with_its_reason(api: Api, node: Logbook) -> None:
    node.refusal = questions.Reply(409, b"its signer has said otherwise\n")
    answer = api.ask("POST", "/v1/log/statements", msgspec.json.encode(STATEMENT), JSON)
    assert (answer.status, answer.problem["detail"]) == (409, "its signer has said otherwise")


def test_evidence_is_given_to_whoever_asks(api: Api, node: Logbook) -> None:
    answer = api.ask("GET", f"/v1/log/evidence/{EVIDENCE}")
    assert (answer.status, answer.body) == (200, node.evidence[EVIDENCE])
    assert api.ask("GET", f"/v1/log/evidence/{'e2' * 32}").status == 404


def test_a_node_that_has_too_much_to_do_says_when_to_come_back(node: Logbook) -> None:
    async def busy(_: object) -> object:
        return Busy(2, "the disk is behind")

    with serving(busy, rows=node) as api:
        answer = api.ask("GET", "/v1/log")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")


def test_the_history_says_where_in_the_log_each_version_is(api: Api, node: Logbook) -> None:
    node.put(FIRST)
    node.put(DOOR)
    at(node, 60)
    node.put(SECOND)
    node.mesh.put(THIRD)
    versions = api.ask("GET", HISTORY).json["records"]
    assert [(each["record"]["value"], each["index"], each["logged_ms"]) for each in versions] == [
        ("1", 0, WALL_MS),
        ("2", 2, WALL_MS + 60_000),
        ("3", None, None),
    ]
    page = api.ask("GET", HISTORY + "?after=1&count=1").json
    assert [each["index"] for each in page["records"]] == [2]


def test_a_long_history_has_every_index(api: Api, node: Logbook) -> None:
    record = node.put(FIRST)
    for number in range(2, 251):
        record = node.put(made(str(number), record, txid=number))
    versions = api.ask("GET", HISTORY + "?count=1000").json["records"]
    assert [each["index"] for each in versions] == list(range(250))
    assert [each["index"] for each in api.ask("GET", HISTORY + "?at=137").json["records"]] == [137]


@pytest.fixture
def story(api: Api, node: Logbook) -> Api:
    """The lamp's versions are the entries 1, 3 and 4, a minute apart."""
    node.put(made("y", place=("names", "lam"), txid=9))
    node.put(FIRST)
    at(node, 60)
    node.put(DOOR, SECOND)
    at(node, 120)
    node.put(THIRD)
    node.put(made("z", place=("names", "lamp2"), txid=8))
    return api


@pytest.mark.parametrize(
    ("moment", "value"),
    [
        ("1", "1"),
        ("2", "1"),
        ("3", "2"),
        ("4", "3"),
        ("9999", "3"),
        ("2027-01-15T08:00:00Z", "1"),
        ("2027-01-15T08:00:59.999Z", "1"),
        ("2027-01-15T08:01", "2"),
        ("2027-01-15T09:01:30%2B01:00", "2"),
        ("2027-01-15T08:02:00Z", "3"),
        ("2027-01-16", "3"),
    ],
)
def test_a_record_is_found_as_it_stood(story: Api, moment: str, value: str) -> None:
    (version,) = story.ask("GET", f"{HISTORY}?at={moment}").json["records"]
    assert version["record"]["value"] == value


@pytest.mark.parametrize("moment", ["0", "2027-01-15T07:59:59.999Z", "2027-01-15", "0001-01-01T00:00%2B23:00"])
def test_before_its_first_version_there_is_none(story: Api, moment: str) -> None:
    assert story.ask("GET", f"{HISTORY}?at={moment}").status == 404


@pytest.mark.parametrize("moment", ["", "-1", "yesterday", "2027-13-01", "2027-01-15T25:00Z", "9" * 17])
def test_a_moment_is_an_index_or_a_time(story: Api, moment: str) -> None:
    assert story.ask("GET", f"{HISTORY}?at={moment}").status == 400
