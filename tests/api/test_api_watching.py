"""The change feed: what a watcher is told, from where on, and how many may watch."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any, Final

import msgspec
import pytest
from embedded import Embedded
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import Api, serving

from waypost.api.changes import BATCH
from waypost.api.problem import Refusal
from waypost.api.sights import Told
from waypost.api.sync import SyncClient
from waypost.api.watching import WATCHERS_MAX, WATCHERS_PER_SOURCE_MAX, Feed
from waypost.assembly.questions import Review
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.policy import Policy, default
from waypost.rd.questions import Entry, Found, Kind, Lookup, Register, Registered, Remove, Renew

LINKS: Final = b'</t>;rt="temperature"'
Criteria = tuple[tuple[str, str | None], ...]


class Watched:
    """A directory whose feed is watched; time is a number we choose."""

    def __init__(self) -> None:
        self.node = Embedded()
        self.policy = default()
        self.who = ANONYMOUS
        self.feed = Feed(self.node.ask, self.node, self.policy.decide, self.node.wall_s)

    async def register(self, ep: str, links: bytes = LINKS, d: str | None = None, lt: int = 600) -> str:
        question = Register(ep, d, lt, "coap://h", "", (), links, "")
        outcome = await self.node.ask(question)
        assert isinstance(outcome, Registered)
        return outcome.location

    async def names(self, criteria: Criteria = ()) -> set[tuple[str | None, str]]:
        """By a lookup."""
        found = await self.node.ask(Lookup(Kind.ENDPOINTS, criteria, structured=True))
        assert isinstance(found, Found)
        return {(entry.d, entry.ep) for entry in found.entries if isinstance(entry, Entry)}

    async def caught_up(self, since: str | None = None, criteria: Criteria = ()) -> list[Told]:
        """What a watcher is told until it has all there is."""
        told = []
        async with self.watching(since, criteria) as events:
            async for event in events:
                told.append(event)
                if event.kind == "synced":
                    break
        return told

    @asynccontextmanager
    async def watching(self, since: str | None = None, criteria: Criteria = ()) -> AsyncIterator[AsyncIterator[Told]]:
        watcher = await self.feed.watch(criteria, self.who, since, "192.0.2.1")
        async with aclosing(watcher.events()) as events:
            yield events

    async def token(self) -> str:
        told = (await self.caught_up())[-1]
        assert told.token is not None
        return told.token


def story(tell: Callable[[Watched], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test on an event loop of its own, its feed closed at the end."""

    async def run() -> None:
        watched = Watched()
        try:
            await tell(watched)
        finally:
            await watched.feed.close()

    def test() -> None:
        asyncio.run(run())

    test.__name__, test.__doc__ = tell.__name__, tell.__doc__
    return test


def follow(names: set[tuple[str | None, str]], told: list[Told]) -> set[tuple[str | None, str]]:
    """What somebody who had `names` has after the events."""
    names = set(names)
    for event in told:
        match event:
            case Told(kind="put", entry=Entry(d=d, ep=ep)):
                names.add((d, ep))
            case Told(kind="expire", entry=Entry(d=d, ep=ep)) | Told(kind="remove", name=(d, ep)):
                names.discard((d, ep))
            case Told(kind="reset"):
                names.clear()
            case _:
                pass
    return names


def kinds(told: list[Told]) -> list[str]:
    return [event.kind for event in told]


@story
async def test_without_a_token_all_that_is_there_comes_first(watched: Watched) -> None:
    await watched.register("a")
    await watched.register("b", b"</u>")
    told = await watched.caught_up()
    assert kinds(told) == ["put", "put", "synced"]
    assert told[0].token is None, "a snapshot can only be resumed when it is whole"
    assert told[-1].token is not None
    entry = told[0].entry
    assert entry is not None
    assert entry.links is not None
    assert [link.href for link in entry.links] == ["coap://h/t"]


@story
async def test_a_change_is_told_when_it_is_durable(watched: Watched) -> None:
    async with watched.watching() as events:
        assert (await anext(events)).kind == "synced"
        id = await watched.register("a")
        told = await anext(events)
        assert (told.kind, told.entry and told.entry.location) == ("put", id)
        await watched.node.ask(Renew(id, None, "coap://other", None, ()))
        told = await anext(events)
        assert (told.kind, told.entry and told.entry.base) == ("put", "coap://other")
        await watched.node.ask(Remove(id))
        told = await anext(events)
        assert (told.kind, told.name) == ("remove", (None, "a"))


@story
async def test_an_expiry_is_told_as_one(watched: Watched) -> None:
    """RFC 9176, 5.3: it has left the lookups."""
    await watched.register("a", lt=10)
    token = await watched.token()
    watched.node.pass_time(11.0)
    assert kinds(await watched.caught_up(token)) == ["expire", "synced"]
    assert kinds(await watched.caught_up()) == ["synced"]


@story
async def test_a_token_resumes_where_it_was(watched: Watched) -> None:
    await watched.register("a")
    token = await watched.token()
    await watched.register("b")
    told = await watched.caught_up(token)
    assert kinds(told) == ["put", "synced"]
    assert told[0].token == told[1].token


@story
async def test_a_watcher_with_criteria_is_told_what_meets_them_and_what_meets_them_no_more(watched: Watched) -> None:
    async with watched.watching(criteria=(("rt", "temperature"), ("d", None))) as events:
        assert (await anext(events)).kind == "synced"
        await watched.register("a", d="hall")
        await watched.register("b")
        await watched.register("c", b"</u>", d="hall")
        await watched.register("a", b"</u>", d="hall")
        told = [await anext(events) for _ in range(2)]
        assert kinds(told) == ["put", "remove"]
        assert told[1].name == ("hall", "a")


@pytest.mark.parametrize(
    "token", ["x", "12", "ab.", ".5", "zz.1", "ab.1.2", "a" * 65 + ".1", "ab." + "9" * 20, "ab.-1"]
)
def test_a_malformed_token_is_refused(token: str) -> None:
    async def tell(watched: Watched) -> None:
        with pytest.raises(Refusal, match="token") as refused:
            await watched.feed.watch((), ANONYMOUS, token, "")
        assert refused.value.code == 400

    story(tell)()


@story
async def test_a_token_of_another_feed_or_of_the_future_gets_a_reset_and_a_snapshot(watched: Watched) -> None:
    await watched.register("a")
    feed = (await watched.token()).partition(".")[0]
    for token in ("ab.1", f"{feed}.2", f"{feed}.{2**60}"):
        assert kinds(await watched.caught_up(token)) == ["reset", "put", "synced"]
    assert watched.feed.counters()["watch_resets"] == 3


@story
async def test_a_token_that_is_too_old_gets_a_reset_and_a_snapshot(watched: Watched) -> None:
    token = await watched.token()
    for number in range(3):
        await watched.register(f"e{number}")
    watched.node.forget_changes(before=3)
    assert kinds(await watched.caught_up(token)) == ["reset", "put", "put", "put", "synced"]


@story
async def test_a_watcher_that_does_not_read_loses_nothing_and_keeps_nobody_waiting(watched: Watched) -> None:
    """It is a cursor and no more; what it is told is read when it reads."""
    async with watched.watching() as events:
        assert (await anext(events)).kind == "synced"
        for number in range(3 * BATCH):
            await watched.register(f"e{number}")
        told = [await anext(events) for _ in range(3 * BATCH)]
        assert follow(set(), told) == await watched.names()


@story
async def test_watchers_are_counted_in_all_and_for_each_source(watched: Watched) -> None:
    drawn = []
    for number in range(WATCHERS_MAX):
        watcher = await watched.feed.watch((), ANONYMOUS, None, f"192.0.2.{number // WATCHERS_PER_SOURCE_MAX}")
        drawn.append(watcher.events())
        await anext(drawn[-1])
        if number == WATCHERS_PER_SOURCE_MAX - 1:
            with pytest.raises(Refusal, match="too many") as refused:
                await watched.feed.watch((), ANONYMOUS, None, "192.0.2.0")
            assert refused.value.code == 503
    with pytest.raises(Refusal, match="too many"):
        await watched.feed.watch((), ANONYMOUS, None, "198.51.100.1")
    await drawn[0].aclose()
    assert watched.feed.gauges() == {"watchers": WATCHERS_MAX - 1}
    await watched.feed.watch((), ANONYMOUS, None, "198.51.100.1")
    for events in drawn:
        await events.aclose()


TENANT: Final = Identity("psk", "tenant")
MINE: Final = Policy.read({"allow": [{"who": ["anyone"], "do": ["watch"], "sector": ["mine"]}]}, "test")


@story
async def test_a_watcher_is_told_of_nothing_that_the_policy_hides(watched: Watched) -> None:
    """Neither that it comes nor that it goes; a token of another helps nobody."""
    since = await watched.token()
    hidden = await watched.register("safe", d="other")
    await watched.register("lamp", d="mine")
    watched.policy.adopt(MINE)
    for token in (None, since):
        async with watched.watching(token) as events:
            told = [await anext(events)]
            while told[-1].kind != "synced":
                told.append(await anext(events))
            assert {event.entry.ep for event in told if event.entry is not None} == {"lamp"}
            assert {event.kind for event in told} == {"put", "synced"}
            assert (await watched.node.ask(Remove(hidden))) is not None
            await watched.register("lamp", d="mine", links=f"</{token}>".encode())
            news = await anext(events)
            assert news.entry is not None
            assert news.entry.ep == "lamp"
            hidden = await watched.register("safe", d="other")


@story
async def test_a_watcher_whose_view_has_changed_is_told_to_begin_anew_and_nothing_else(watched: Watched) -> None:
    for change in ("view", "refused", "revoked"):
        watched.policy, watched.who = default(), TENANT
        watched.feed = Feed(watched.node.ask, watched.node, watched.policy.decide, watched.node.wall_s)
        async with watched.watching() as events:
            while (await anext(events)).kind != "synced":
                pass
            if change == "revoked":
                watched.policy.revoke("psk:tenant")
            else:
                watched.policy.adopt(MINE if change == "view" else Policy(()))
            await watched.register("new", d="other", links=f"</{change}>".encode())
            (last,) = [event async for event in events]
            assert (last.kind, last.token) == ("reset", None)
            assert "policy has changed" in (last.reason or "")
        if change != "view":
            with pytest.raises(Refusal) as refused:
                await watched.feed.watch((), TENANT, None, "")
            assert refused.value.code == 403
        await watched.feed.close()


@story
async def test_what_was_read_for_a_watcher_is_not_told_once_it_may_not_see_it(watched: Watched) -> None:
    for name in ("a", "b", "c"):
        await watched.register(name)
    watched.who = TENANT
    async with watched.watching() as events:
        assert (await anext(events)).kind == "put"
        watched.policy.revoke("psk:tenant")
        assert [event.kind async for event in events] == ["reset"]


@story
async def test_a_watcher_that_waits_hears_of_it_when_the_node_is_told_of_the_change(watched: Watched) -> None:
    watched.who = TENANT
    async with watched.watching() as events:
        assert (await anext(events)).kind == "synced"

        async def revoke() -> None:
            watched.policy.revoke("psk:tenant")
            await watched.node.ask(Review())

        async with asyncio.timeout(10):
            last, _ = await asyncio.gather(anext(events), revoke())
        assert last.kind == "reset"


def test_a_client_whose_view_has_changed_begins_anew_by_itself() -> None:
    """And forgets what it may not see any more: the reset says so."""
    node, policy = Embedded(), default()
    mine = Policy.read(
        {
            "allow": [
                {"who": ["operator"], "do": ["watch"], "sector": ["mine"]},
                {"who": ["operator"], "do": ["register"]},
            ]
        },
        "test",
    )
    with serving(node.ask, rows=node, decide=policy.decide) as api, SyncClient(api.url) as client:
        client.register("safe", d="other", base="coap://h")
        client.register("lamp", d="mine", base="coap://h")
        told: list[tuple[str, str | None]] = []
        with closing(client.watch()) as events:
            for event in events:
                told.append((event.event, event.ep))
                if event.event == "synced" and len(told) > 3:
                    break
                if event.event == "synced":
                    policy.adopt(mine)
                    client.register("safe", d="other", base="coap://moved")
    assert told == [
        ("put", "lamp"),
        ("put", "safe"),
        ("synced", None),
        ("reset", None),
        ("put", "lamp"),
        ("synced", None),
    ]


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(("temperature", "humidity", "remove", "short", "wait"))),
    max_size=10,
)
FILTERS: Final[list[Criteria]] = [(), (("rt", "temperature"),), (("ep", "a*"), ("rt", "*"))]


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_whoever_follows_from_any_token_ends_with_what_a_lookup_finds(steps: list[tuple[str, str]]) -> None:
    async def tell(watched: Watched) -> None:
        known = []
        ids: dict[str, str] = {}

        async def remember() -> None:
            token = await watched.token()
            known.append((token, [await watched.names(criteria) for criteria in FILTERS]))

        await remember()
        for ep, step in steps:
            match step:
                case "remove":
                    await watched.node.ask(Remove(ids.get(ep, "nowhere")))
                case "wait":
                    watched.node.pass_time(20.0)
                case "short":
                    ids[ep] = await watched.register(ep, lt=15)
                case _:
                    ids[ep] = await watched.register(ep, f'</x>;rt="{step}"'.encode())
            await remember()
        for token, sets in known:
            for criteria, names in zip(FILTERS, sets, strict=True):
                expected = await watched.names(criteria)
                assert follow(names, await watched.caught_up(token, criteria)) == expected
                assert follow(set(), await watched.caught_up(None, criteria)) == expected

    story(tell)()


# over HTTP


@pytest.fixture
def api() -> Iterator[Api]:
    node = Embedded()
    with serving(node.ask, rows=node) as api:
        api.ask("POST", "/v1/endpoints?ep=a&base=coap://h", b"</t>;rt=x", {"Content-Type": "application/link-format"})
        yield api


def test_a_browser_reads_events_with_their_ids(api: Api) -> None:
    """WHATWG HTML, 9.2."""
    answer, lines = api.stream("/v1/watch", 6)
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert lines[0] == "event: put"
    assert msgspec.json.decode(lines[1].removeprefix("data: "))["ep"] == "a"
    assert lines[3] == "event: synced"
    token = lines[4].removeprefix("id: ")
    _, lines = api.stream("/v1/watch?since=ab.1", 3, {"Last-Event-ID": token})
    assert lines[:2] == ["event: synced", f"id: {token}"], "the header goes before the parameter"
    _, lines = api.stream("/v1/watch?since=ab.1", 3)
    assert lines == ["event: reset", "id: ", 'data: {"detail":"the token is of another feed"}']


def test_a_program_reads_lines_of_json(api: Api) -> None:
    _, lines = api.stream("/v1/watch?rt=x", 2, {"Accept": "application/jsonl"})
    put, synced = map(msgspec.json.decode, lines)
    assert (put["event"], put["ep"], put["endpoint"]["links"][0]["href"]) == ("put", "a", "coap://h/t")
    assert synced.keys() == {"event", "token"}


@pytest.mark.parametrize("query", ["since=x", "since=a.1&since=a.1", "page=0&count=1", "count=5", "=x", "gp=g"])
def test_what_cannot_be_watched_is_a_problem(api: Api, query: str) -> None:
    answer = api.ask("GET", f"/v1/watch?{query}")
    assert answer.problem["status"] == 400


def test_the_figures_count_watchers_and_what_they_were_told(api: Api) -> None:
    api.stream("/v1/watch?since=ab.1", 3)
    text = api.ask("GET", "/metrics").body.decode()
    assert "waypost_watch_resets_total 1.0" in text
    assert "waypost_watchers " in text
    assert "waypost_watch_events_total" in text
