"""Claims that wait at the node for a quorum, over HTTP: who asks for it, and what is told."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest
from lone import Lone, made
from people import member
from serving import JSON, Answer, Api, serving

from waypost import Client, SyncClient
from waypost.api.calls import RefusedError
from waypost.drip.outcome import Outcome, State
from waypost.drip.questions import Cancel, Claim, Open, Queued, Settle, ShowVotes, Unkept, VoterSaid, Votes
from waypost.record import Ballot, Mark, Matter, Record, Vote
from waypost.record.vote import NEVER

FIRST: Final = made("coap://[2001:db8::1]")
LAMP: Final = "/v1/records/names/lamp"
HERE: Final = f"{LAMP}/transactions/1/{FIRST.txid}"
UNTIL_MS: Final = 1_900_000_000_000
PENDING: Final = Outcome(State.PENDING, None, "", UNTIL_MS)


@pytest.fixture
def node() -> Lone:
    return Lone()


@pytest.fixture
def api(node: Lone) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


def put(api: Api, record: Record = FIRST, **headers: str) -> Answer:
    return api.ask("PUT", LAMP, record.encode(), JSON | headers)


def claims(node: Lone) -> list[Claim]:
    return [question for question in node.asked if isinstance(question, Claim)]


def test_what_is_kept_is_202_with_where_to_ask_and_until_when(api: Api, node: Lone) -> None:
    node.answers[Claim] = PENDING
    answer = put(api, Prefer="respond-async")
    assert answer.status == 202
    assert answer.headers["Location"] == answer.json["status"] == HERE
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert int(answer.headers["Retry-After"]) > 0
    assert (answer.json["state"], answer.json["expires_ms"]) == ("pending", UNTIL_MS)
    assert claims(node) == [Claim(FIRST, True)]


@pytest.mark.parametrize(
    ("prefer", "keeps"),
    [
        ("respond-async", True),
        ("Respond-Async, wait=10", True),
        ('return=minimal, respond-async; foo="bar"', True),
        ("wait=10", False),
        ("respond-asynchronously", False),
        ("return=respond-async", False),
        ("", False),
    ],
)
def test_who_wants_it_says_so(api: Api, node: Lone, prefer: str, keeps: bool) -> None:
    answer = put(api, Prefer=prefer)
    assert answer.status == 200, "with a quorum it is committed at once"
    assert "Preference-Applied" not in answer.headers
    assert [claim.keeps for claim in claims(node)] == [keeps]


def test_who_does_not_say_so_is_not_told_that_it_was(api: Api, node: Lone) -> None:
    node.answers[Claim] = Outcome(State.UNKNOWN, None, "no quorum of voters answered in time")
    answer = put(api, Prefer="respond-async")
    assert (answer.status, "Preference-Applied" in answer.headers) == (202, False)


@pytest.mark.parametrize(
    ("cause", "status", "waits"),
    [("taken", 409, False), ("order", 412, False), ("denied", 403, False), ("author", 429, True), ("node", 507, True)],
)
def test_what_is_not_kept_is_refused_with_a_sentence(
    api: Api, node: Lone, cause: Any, status: int, waits: bool
) -> None:
    node.answers[Claim] = Unkept(cause, "there is a reason")
    answer = put(api, Prefer="respond-async")
    assert (answer.status, answer.problem["detail"]) == (status, "there is a reason")
    assert ("Retry-After" in answer.headers) is waits
    assert answer.json["next"]["version"] == 1


@pytest.mark.parametrize("state", [State.PENDING, State.EXPIRED, State.CANCELLED])
def test_what_became_of_it_is_asked_where_it_was_left(api: Api, node: Lone, state: State) -> None:
    node.answers[Settle] = Outcome(state, None, "", UNTIL_MS)
    answer = api.ask("GET", HERE)
    assert (answer.status, answer.json["state"], answer.json["expires_ms"]) == (200, state.value, UNTIL_MS)
    assert ("Retry-After" in answer.headers) is (state is State.PENDING)


def test_what_was_committed_some_other_way_is_told_whatever_waited_here(api: Api, node: Lone) -> None:
    node.put(FIRST)
    node.answers[Settle] = Outcome(State.EXPIRED, None, "", UNTIL_MS)
    assert api.ask("GET", HERE).json["state"] == "committed"
    other = f"{LAMP}/transactions/1/{'0' * 32}"
    assert api.ask("GET", other).json["state"] == "expired"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome(State.CANCELLED, None), 204),
        (None, 404),
        (Outcome(State.PENDING, None, "it has been sent", UNTIL_MS), 409),
        (Outcome(State.COMMITTED, None), 409),
    ],
)
def test_it_can_be_taken_back_while_nothing_was_sent(
    api: Api, node: Lone, outcome: Outcome | None, status: int
) -> None:
    node.answers[Cancel] = outcome
    answer = api.ask("DELETE", HERE)
    assert answer.status == status
    assert node.asked == [Cancel(FIRST.place, 1, FIRST.txid)]
    if status == 409:
        assert outcome is not None
        assert outcome.state.value in answer.problem["detail"]


def test_both_clients_leave_a_claim_and_take_it_back(api: Api, node: Lone) -> None:
    node.answers |= {Claim: PENDING, Cancel: Outcome(State.CANCELLED, None)}

    async def tell() -> None:
        async with Client(api.url) as client:
            assert (await client.claim(FIRST, queue=True)).state == "pending"
            await client.cancel(*FIRST.place, 1, FIRST.txid)
            await client.claim(FIRST)

    asyncio.run(tell())
    with SyncClient(api.url) as client:
        assert client.claim(FIRST, queue=True).state == "pending"
        client.cancel(*FIRST.place, 1, FIRST.txid)
        client.claim(FIRST)
        node.answers[Cancel] = None
        with pytest.raises(RefusedError) as error:
            client.cancel(*FIRST.place, 1, FIRST.txid)
    assert error.value.code == 404
    assert [claim.keeps for claim in claims(node)] == [True, False, True, False]


def test_votes_show_what_waits_and_if_asked_who_voted_what(api: Api, node: Lone) -> None:
    ballot = Ballot(1, 0, "anna")
    vote = Vote(Matter.of(FIRST, ballot, node.network), Mark("anna", 1, 7, "5d" * 64))
    said = (VoterSaid("anna", ballot, ballot, vote.matter.hash, vote), VoterSaid("berta", ballot, NEVER, "", None))
    opened = Open(FIRST.place, 1, ballot, ballot, vote.matter.hash, FIRST, ("anna",), (("carla", "busy"),), said)
    queued = Queued(("names", "door"), 1, FIRST.txid, FIRST.author, 1, UNTIL_MS, True)
    node.answers[ShowVotes] = Votes((opened,), 1, {}, (queued,), 1, ("anna", "berta"), (member("carla").name,))
    for path, asks in (("/v1/votes", False), ("/v1/votes?voters=true", True)):
        told = api.ask("GET", path).json
        assert node.asked.pop() == ShowVotes(asks)
    assert (told["asked"], told["silent"], told["waiting"]) == (["anna", "berta"], ["carla"], 1)
    (open_,), (waiting,) = told["open"], told["queued"]
    assert (open_["yes"], open_["no"]) == (["anna"], [["carla", "busy"]])
    assert [voter["name"] for voter in open_["voters"]] == ["anna", "berta"]
    assert open_["voters"][0]["vote"]["mark"]["signature"] == "5d" * 64
    assert open_["voters"][1]["vote"] is None
    assert waiting == {
        "namespace": "names",
        "key": "door",
        "version": 1,
        "txid": FIRST.txid,
        "author": FIRST.author,
        "since_ms": 1,
        "expires_ms": UNTIL_MS,
        "sent": True,
    }
