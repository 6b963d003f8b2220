"""The feed of voted records: what a watcher is shown, of which keys, and from where on."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import msgspec
import pytest
from lone import Lone, made
from serving import Api, serving

from waypost.api.sights import Told, of_records
from waypost.api.voted import RecordEvent
from waypost.api.watching import Feed
from waypost.drip.questions import Claim
from waypost.identity import ANONYMOUS
from waypost.identity.policy import Policy, default

JSONL = {"Accept": "application/jsonl"}
FIRST = made("1")
SECOND = made("2", FIRST, txid=2)


@pytest.fixture
def node() -> Lone:
    return Lone()


@pytest.fixture
def api(node: Lone) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


def events(api: Api, query: str, count: int) -> list[RecordEvent]:
    answer, lines = api.stream("/v1/changes" + query, count, JSONL)
    assert answer.status == 200
    return [msgspec.json.decode(line, type=RecordEvent) for line in lines]


def test_first_comes_the_last_version_of_each_key_and_then_synced(api: Api, node: Lone) -> None:
    node.put(FIRST, SECOND, made("x", place=("names", "door")))
    *shown, synced = events(api, "", 3)
    assert [event.record and (event.record.key, event.record.value) for event in shown] == [
        ("door", "x"),
        ("lamp", "2"),
    ]
    assert [event.token for event in shown] == [None, None]
    assert (synced.event, synced.token is None) == ("synced", False)


def test_a_token_resumes_after_its_event_with_each_version(api: Api, node: Lone) -> None:
    node.put(FIRST)
    token = events(api, "", 2)[-1].token
    node.put(SECOND, made(None, SECOND, txid=3))
    told = events(api, f"?since={token}", 3)
    assert [event.record and event.record.version for event in told] == [2, 3, None]
    assert told[0].certificate is not None
    again = events(api, f"?since={told[0].token}", 2)
    assert again[0].record == told[1].record


def test_a_token_of_another_feed_begins_anew_and_says_so(api: Api, node: Lone) -> None:
    node.put(FIRST)
    reset, first, synced = events(api, "?since=ab.1", 3)
    assert (reset.event, first.record, synced.event) == ("reset", FIRST, "synced")
    assert reset.detail


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("?namespace=names", ["a", "a/b", "b"]),
        ("?namespace=names&prefix=a", ["a", "a/b"]),
        ("?namespace=names&prefix=a/", ["a/b"]),
        ("?namespace=name", []),
        ("?namespace=other", ["z"]),
    ],
)
def test_what_does_not_begin_so_is_neither_in_the_snapshot_nor_told_later(
    api: Api, node: Lone, query: str, keys: list[str]
) -> None:
    token = events(api, "", 1)[-1].token
    node.put(*(made("x", place=("names", key)) for key in ("a", "a/b", "b")))
    node.put(made("x", place=("other", "z"), author="operator"))
    for since in ("", f"&since={token}"):
        *shown, synced = events(api, query + since, len(keys) + 1)
        assert [event.record.key for event in shown if event.record] == keys
        assert synced.event == "synced"


def test_a_browser_is_sent_events_with_ids(api: Api, node: Lone) -> None:
    node.put(FIRST)
    _, lines = api.stream("/v1/changes", 6)
    assert lines[0] == "event: put"
    assert msgspec.json.decode(lines[1].removeprefix("data: "))["record"]["key"] == "lamp"
    assert lines[3] == "event: synced"
    assert lines[4].startswith("id: ")


@pytest.mark.parametrize("query", ["?prefix=a", "?since=x", "?ep=lamp", "?namespace=a&namespace=b"])
def test_a_watch_of_what_cannot_be_is_refused(api: Api, query: str) -> None:
    assert api.ask("GET", "/v1/changes" + query).status == 400


def test_a_claim_is_told_to_who_watches_already() -> None:
    async def tell() -> None:
        node, rules = Lone(), default()
        feed = Feed(node.ask, node, rules.decide)
        watcher = await feed.begin(of_records(rules.decide, ANONYMOUS, "names", ""), None, "")
        async with aclosing(watcher.events()) as told:
            assert (await anext(told)).kind == "synced"
            await node.ask(Claim(FIRST))
            event = await anext(told)
            assert event.committed is not None
            assert (event.kind, event.committed.record) == ("put", FIRST)
        await feed.close()

    asyncio.run(tell())


def test_who_may_not_watch_any_more_is_told_so_before_the_next_record() -> None:
    async def tell() -> list[Told]:
        node, rules = Lone(), default()
        feed = Feed(node.ask, node, rules.decide)
        watcher = await feed.begin(of_records(rules.decide, ANONYMOUS, None, ""), None, "")
        seen = []
        async with aclosing(watcher.events()) as told:
            seen.append(await anext(told))
            rules.adopt(Policy.read({"allow": [{"who": ["operator"], "do": ["*"]}]}, "closed"))
            await node.ask(Claim(FIRST))
            seen += [event async for event in told]
        await feed.close()
        return seen

    assert [event.kind for event in asyncio.run(tell())] == ["synced", "reset"]
