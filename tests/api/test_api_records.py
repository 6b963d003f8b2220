"""Voted records over HTTP, with a network of one voter that really votes."""

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lone import CREATOR, FOUNDERS, NETWORK, POLICY, Lone, made
from people import member, public_of
from serving import JSON, Answer, Api, serving

from waypost.drip.outcome import Outcome, State
from waypost.drip.questions import Claim, Consult, Open
from waypost.errors import StateError
from waypost.identity.keys import verifies
from waypost.rd.questions import Busy
from waypost.record import ROSTER, Ballot, Committed, Creator, Record, Roster
from waypost.record.vote import require_committed

LAMP: Final = "/v1/records/names/lamp"
FIRST: Final = made("coap://[2001:db8::1]")
SECOND: Final = made("coap://[2001:db8::2]", FIRST, txid=2)
WIDER: Final = Roster(2, (member("anna"), member("berta")), (), POLICY)


@pytest.fixture
def node() -> Lone:
    return Lone()


@pytest.fixture
def api(node: Lone) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


def path_of(record: Record) -> str:
    return f"/v1/records/{record.namespace}/{quote(record.key, safe='')}"


def put(api: Api, record: Record, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.ask("PUT", path_of(record), record.encode(), JSON | named)


def standing(value: Any) -> Record:
    """The record of a committed one, whose certificate anybody can check."""
    committed = msgspec.convert({"record": value["record"], "certificate": value["certificate"]}, Committed)
    require_committed(committed, FOUNDERS, NETWORK, verifies, 1)
    return committed.record


def test_a_claim_is_committed_and_answered_with_the_record_and_its_certificate(api: Api) -> None:
    answer = put(api, FIRST)
    assert answer.status == 200
    assert answer.headers["ETag"] == '"1"'
    assert answer.json["state"] == "committed"
    assert (answer.json["version"], answer.json["txid"]) == (1, FIRST.txid)
    assert standing(answer.json["current"]) == FIRST


def test_the_next_version_is_made_of_what_the_answer_to_a_read_says(api: Api, node: Lone) -> None:
    node.put(FIRST)
    answer = api.ask("GET", LAMP)
    assert answer.status == 200
    assert (answer.headers["ETag"], answer.headers["Age"], answer.json["age_s"]) == ('"1"', "0", 0.0)
    assert standing(answer.json) == FIRST
    assert answer.json["next"] == {
        "network": NETWORK,
        "version": 2,
        "prev": FIRST.hash(NETWORK),
        "home": "anna",
    }
    assert put(api, SECOND).status == 200


def test_the_home_of_the_next_version_is_a_voter_even_if_the_record_names_none(api: Api, node: Lone) -> None:
    node.put(made("x", home="gone"))
    assert api.ask("GET", LAMP).json["next"]["home"] == "anna"


def test_the_home_of_a_new_key_is_chosen_of_those_who_vote_now(api: Api, node: Lone) -> None:
    place = next(("names", f"k{number}") for number in range(99) if WIDER.home(("names", f"k{number}")) == "berta")
    path = f"/v1/records/names/{place[1]}"
    assert api.ask("GET", path).problem["next"]["home"] == "anna"
    founding = node.drip.committed(ROSTER)
    assert founding is not None
    node.put(made(WIDER.encode().decode(), founding.record, place=ROSTER, author="operator", holder="operator"))
    assert api.ask("GET", path).problem["next"]["home"] == "berta"


def test_a_key_that_was_never_voted_on_is_404_and_says_what_its_first_version_needs(api: Api) -> None:
    answer = api.ask("GET", LAMP)
    assert answer.status == 404
    assert answer.problem["next"] == {"network": NETWORK, "version": 1, "prev": "", "home": "anna"}


def test_the_age_of_an_answer_is_told_and_never_when_no_quorum_was_heard(api: Api, node: Lone) -> None:
    node.put(FIRST)
    node.age_s = 61.5
    answer = api.ask("GET", LAMP)
    assert (answer.headers["Age"], answer.json["age_s"]) == ("61", 61.5)
    node.age_s = None
    answer = api.ask("GET", LAMP)
    assert answer.json["age_s"] is None
    assert "Age" not in answer.headers


def test_a_quorum_is_asked_only_if_the_request_says_so(api: Api, node: Lone) -> None:
    node.put(FIRST)
    for query, quorum in (("", False), ("?quorum=false", False), ("?quorum=true", True), ("?quorum", True)):
        node.asked.clear()
        assert standing(api.ask("GET", LAMP + query).json) == FIRST
        assert Consult(FIRST.place, quorum) in node.asked
    assert api.ask("GET", LAMP + "?quorum=maybe").status == 400


def test_a_quorum_that_does_not_answer_is_503_with_a_time_to_come_back(api: Api, node: Lone) -> None:
    node.put(FIRST)
    node.silent = True
    answer = api.ask("GET", LAMP + "?quorum=true")
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "1"


def test_the_same_record_sent_again_is_committed_once(api: Api, node: Lone) -> None:
    for _ in range(3):
        assert put(api, FIRST).json["state"] == "committed"
    assert len(api.ask("GET", LAMP + "/history").json["records"]) == 1
    node.put(SECOND)
    late = put(api, FIRST)  # as a client does that never heard the answer
    assert (late.status, late.json["state"]) == (200, "committed")
    assert standing(late.json["current"]) == SECOND


def test_a_rival_that_was_outvoted_is_told_who_won(api: Api, node: Lone) -> None:
    current = Committed(FIRST, None)
    node.answers[Claim] = Outcome(State.LOST, current)
    answer = put(api, made("mine", txid=9))
    assert answer.status == 409
    assert answer.problem["state"] == "lost"
    assert answer.problem["current"]["record"]["holder"] == public_of(CREATOR)
    assert answer.problem["next"]["version"] == 2


@pytest.mark.parametrize(
    "late",
    [
        made("rival", txid=9),
        made("rival", made("other", txid=8), txid=9),
        msgspec.structs.replace(made("rival", FIRST, txid=9), version=5),
    ],
    ids=["a version that is over", "another version before it", "a version too far"],
)
def test_what_does_not_follow_the_committed_version_is_412_with_what_is(api: Api, node: Lone, late: Record) -> None:
    node.put(FIRST)
    answer = put(api, late)
    assert answer.status == 412
    assert standing(answer.problem["current"]) == FIRST
    assert answer.problem["next"]["version"] == 2


def test_if_match_must_agree_with_the_version_before_the_record(api: Api, node: Lone) -> None:
    node.put(FIRST)
    node.asked.clear()
    assert put(api, SECOND, If_Match='"2"').status == 412
    assert put(api, SECOND, If_None_Match="*").status == 412
    assert put(api, made("x", place=("names", "new")), If_Match="*").status == 412
    assert put(api, SECOND, If_Match="1").status == 400
    assert put(api, SECOND, If_None_Match='"1"').status == 400
    assert not any(isinstance(question, Claim) for question in node.asked)
    assert put(api, SECOND, If_Match='"1"').status == 200
    assert put(api, made("x", place=("names", "new")), If_None_Match="*").status == 200


def test_who_may_not_is_403_and_told_why(api: Api, node: Lone) -> None:
    answer = put(api, made("x", author="stranger", holder="stranger"))
    assert (answer.status, answer.problem["state"]) == (403, "denied")
    assert "policy" in answer.problem["detail"]
    node.put(FIRST)
    answer = put(api, made("x", FIRST, author="stranger"))
    assert (answer.status, answer.problem["detail"]) == (403, "only the holder may change it")


def test_a_forged_signature_and_a_foreign_network_are_403(api: Api) -> None:
    for record in (msgspec.structs.replace(FIRST, value="y"), made("x", network="0" * 64)):
        assert put(api, record).status == 403


def test_a_transfer_is_signed_by_the_old_holder_and_binds_the_new(api: Api, node: Lone) -> None:
    node.put(FIRST)
    given = made(FIRST.value, FIRST, holder="heir", txid=2)
    assert put(api, given).status == 200
    assert put(api, made("x", given, txid=3)).status == 403
    assert put(api, made("x", given, author="heir", holder="heir", txid=3)).status == 200


def test_a_tombstone_is_a_version(api: Api, node: Lone) -> None:
    node.put(FIRST)
    gone = made(None, FIRST, txid=2)
    assert put(api, gone).status == 200
    answer = api.ask("GET", LAMP)
    assert (answer.status, answer.json["record"]["value"], answer.json["next"]["version"]) == (200, None, 3)


def test_a_claim_without_an_outcome_is_202_and_says_where_to_ask(api: Api, node: Lone) -> None:
    node.silent = True
    answer = put(api, FIRST)
    assert (answer.status, answer.json["state"]) == (202, "unknown")
    status = answer.headers["Location"]
    assert answer.json["status"] == status
    assert answer.headers["Retry-After"] == "1"
    asked = api.ask("GET", status)
    assert (asked.status, asked.json["state"], asked.headers["Retry-After"]) == (200, "unknown", "1")
    node.silent = False
    assert put(api, FIRST).json["state"] == "committed"
    asked = api.ask("GET", status)
    assert asked.json["state"] == "committed"
    assert "Retry-After" not in asked.headers
    assert api.ask("GET", status[:-1] + "f").json["state"] == "lost"


def test_a_claim_whose_node_ends_before_the_vote_does_has_no_outcome(node: Lone) -> None:
    """503 would say that nothing was sent, and other voters may have it."""

    async def ask(question: object) -> object:
        if isinstance(question, Claim):
            raise StateError("the node ended before it could answer")
        return await node.ask(question)

    with serving(ask, rows=node) as api:
        answer = put(api, FIRST)
    assert (answer.status, answer.json["state"]) == (202, "unknown")
    assert answer.headers["Location"] == answer.json["status"] == f"{LAMP}/transactions/1/{FIRST.txid}"


def test_what_became_of_a_record_is_told_from_the_history_when_the_node_remembers_no_more(api: Api, node: Lone) -> None:
    record = node.put(FIRST)
    for txid in range(2, 40):
        record = node.put(made("x", record, txid=txid))
    assert api.ask("GET", f"{LAMP}/transactions/1/{FIRST.txid}").json["state"] == "committed"
    assert api.ask("GET", f"{LAMP}/transactions/1/{SECOND.txid}").json["state"] == "lost"


@pytest.mark.parametrize("answer", [Busy(7, "the disk is behind"), Outcome(State.DENIED, None, "busy")])
def test_a_node_that_is_busy_says_when_to_come_back(api: Api, node: Lone, answer: object) -> None:
    node.answers[Claim] = answer
    told = put(api, FIRST)
    assert told.status == 503
    assert told.headers["Retry-After"] in ("7", "1")


BAD: Final = {
    "no JSON": (b"{", 400),
    "bad UTF-8": (b'{"key":"\xff"}', 400),
    "no object": (b"[]", 422),
    "a field missing": (b"{}", 422),
    "a field too many": (json.dumps(json.loads(FIRST.encode()) | {"more": 1}).encode(), 422),
    "a key that is none": (json.dumps(json.loads(FIRST.encode()) | {"holder": "x"}).encode(), 422),
    "another key than the path": (made("x", place=("names", "other")).encode(), 422),
    "a version before the first": (msgspec.structs.replace(FIRST, prev="0" * 64).encode(), 422),
    "too large": (made("x" * 33_000).encode(), 422),
    "far too large": (b"[" + b"1," * 200_000 + b"1]", 413),
    "deep": (b"[" * 100_000, 400),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_record_of_the_key_is_refused_and_asked_of_nobody(api: Api, node: Lone, case: str) -> None:
    body, status = BAD[case]
    answer = api.ask("PUT", LAMP, body, JSON)
    assert (answer.status, answer.problem["status"]) == (status, status)
    assert node.asked == []


def test_a_record_need_not_be_in_its_canonical_spelling(api: Api) -> None:
    assert api.ask("PUT", LAMP, json.dumps(json.loads(FIRST.encode()), indent=2).encode(), JSON).status == 200


def test_the_networks_own_namespace_can_be_read_and_only_its_roster_written(api: Api) -> None:
    assert put(api, made("x", place=("_network", "other"), author="operator")).status == 403
    standing = api.ask("GET", "/v1/records/_network/roster").json
    assert (standing["certificate"], standing["next"]["version"]) == (None, 2)


KEYS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)
NODE = Lone()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Api]:
    with serving(NODE.ask, rows=NODE) as api:
        yield api


@settings(deadline=None, max_examples=60)
@given(KEYS)
def test_any_key_can_be_claimed_and_read(lasting: Api, key: str) -> None:
    record = made("x", place=("names", key))
    assert put(lasting, record).status == 200
    assert lasting.ask("GET", path_of(record)).json["record"]["key"] == key


@pytest.mark.parametrize("key", ["a/b", "%2F", "%", "{id}", "..", "a+b", "a b", "%FF", "é", "?", "#", "a%2Fb"])
def test_a_key_is_what_its_octets_say(lasting: Api, key: str) -> None:
    test_any_key_can_be_claimed_and_read.hypothesis.inner_test(lasting, key)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["/names/%FF", "/names/a%0Ab", "/Names/x", "/names/" + "x" * 256, "/%00/x"])
def test_a_key_that_can_be_none_is_refused(lasting: Api, path: str) -> None:
    assert lasting.ask("GET", "/v1/records" + path).status == 400


def test_the_list_is_paged_in_the_order_of_the_keys(api: Api, node: Lone) -> None:
    keys = ["a", "a/b", "ab", "b", "z"]
    node.put(*(made("x", place=("names", key)) for key in keys))
    node.put(made("x", place=("other", "a"), author="operator"))
    target, found = "/v1/records?namespace=names&count=2", []
    while target:
        page = api.ask("GET", target).json
        assert len(page["records"]) <= 2
        found += [standing(item).key for item in page["records"]]
        target = page["next"]
    assert found == keys
    places = [
        (item["record"]["namespace"], item["record"]["key"]) for item in api.ask("GET", "/v1/records").json["records"]
    ]
    assert places == [*(("names", key) for key in keys), ("other", "a")]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("namespace=names&prefix=a", ["a", "a/b", "ab"]),
        ("namespace=names&prefix=a/", ["a/b"]),
        ("namespace=name", []),
        ("namespace=names&prefix=c", []),
        ("namespace=names&after=names/a/b", ["ab"]),
        ("namespace=names&prefix=ab&after=names/a", ["ab"]),
    ],
)
def test_the_list_has_what_begins_so(api: Api, node: Lone, query: str, keys: list[str]) -> None:
    node.put(*(made("x", place=("names", key)) for key in ("a", "a/b", "ab")))
    page = api.ask("GET", f"/v1/records?{query}").json
    assert ([item["record"]["key"] for item in page["records"]], page["next"]) == (keys, None)


@pytest.mark.parametrize("query", ["prefix=a", "count=0", "count=1001", "more=1", "count=1&count=1"])
def test_a_list_of_what_cannot_be_is_refused(api: Api, query: str) -> None:
    assert api.ask("GET", f"/v1/records?{query}").status == 400


def test_a_page_of_large_records_ends_before_it_is_too_large(api: Api, node: Lone) -> None:
    node.put(*(made("x" * 30_000, place=("names", f"{number:03}")) for number in range(40)))
    page = api.ask("GET", "/v1/records?namespace=names")
    assert len(page.body) < 1_200_000
    assert len(page.json["records"]) + len(api.ask("GET", page.json["next"]).json["records"]) == 40


def test_the_history_has_each_version_once_and_can_be_read_on(api: Api, node: Lone) -> None:
    third = made(None, SECOND, txid=3)
    node.put(FIRST, SECOND, third, made("x", place=("names", "lamp2")))
    history = api.ask("GET", LAMP + "/history").json
    assert [standing(item) for item in history["records"]] == [FIRST, SECOND, third]
    assert history["next"] is None
    page = api.ask("GET", LAMP + "/history?count=2").json
    assert [item["record"]["version"] for item in page["records"]] == [1, 2]
    rest = api.ask("GET", page["next"]).json
    assert ([item["record"]["version"] for item in rest["records"]], rest["next"]) == ([3], None)
    assert api.ask("GET", LAMP + "/history?after=3").json["records"] == []
    assert api.ask("GET", "/v1/records/names/none/history").status == 404


def test_the_peers_are_shown_with_the_roster_and_its_record(api: Api) -> None:
    peers = api.ask("GET", "/v1/peers").json
    assert (peers["network"], peers["name"], peers["state"], peers["is_voting"]) == (NETWORK, "anna", "active", True)
    assert [(peer["name"], peer["voter"]) for peer in peers["peers"]] == [("anna", True)]
    creators = [Creator(**creator) for creator in peers["roster"]["policy"]["creators"]]
    assert creators == [Creator("names", "", public_of(CREATOR))]
    assert msgspec.json.decode(peers["committed"]["record"]["value"]) == peers["roster"]


def test_votes_under_way_are_shown_with_their_ballots(api: Api, node: Lone) -> None:
    node.open = (Open(FIRST.place, 1, Ballot(1, 2, "berta"), Ballot(1, 0, "anna"), FIRST.hash(NETWORK), FIRST),)
    votes = api.ask("GET", "/v1/votes").json
    assert (votes["total"], votes["alarms"]) == (1, [])
    (vote,) = votes["open"]
    assert (vote["promised"], vote["accepted"], vote["record"]["txid"]) == ([1, 2, "berta"], [1, 0, "anna"], FIRST.txid)
