"""The change feed for programs: who watches it, what they are shown, and from where on.

A watcher is a cursor into the feed on disk and nothing more: what it has not read yet is not kept for
it, however slow it is.  One question to the node waits for the next change on behalf of all.

A token is "<feed id>.<number of the last change seen>".  Who comes without one, with one of another
feed or with one that the feed no longer reaches is shown all that is there, and then what changes.
A snapshot is read from the table row by row; what changes meanwhile comes again from the feed, so that
the end is right.

Source: design, Contracts, 3 and 5; RFC 9176, 6.2.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final

from waypost.api.changes import Changes, Rows
from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.api.sights import Told, Watching, of_endpoints
from waypost.assembly.questions import Follow, Followed
from waypost.errors import StateError
from waypost.identity import Identity
from waypost.identity.admission import prefix_of
from waypost.identity.policy import Decide
from waypost.rd.questions import Attributes, Busy

WATCHERS_MAX: Final = 128
WATCHERS_PER_SOURCE_MAX: Final = 16
HEARTBEAT_S: Final = 15.0  # of silence, after which the watcher is told that it is not forgotten
GATHER_S: Final = 0.05  # between two wakings: changes that come together are read together
CHANGED: Final = "the policy has changed: watch again for what you may see now"
RETRY_S: Final = 5
TOKEN: Final = re.compile(r"([0-9a-f]{1,64})\.([0-9]{1,19})")


class Watcher:
    """One stream of events."""

    def __init__(
        self,
        feed: "Feed",
        changes: Changes,
        watching: Watching,
        cursor: int | None,
        reset: str,
        source: str,
    ) -> None:
        self._feed = feed
        self._allowed = watching.allowed
        self._changes = changes
        self._sight = watching.sight
        self._cursor = cursor  # the last change seen; None: a snapshot comes first
        self._reset = reset  # why the watcher's own token is of no use, or empty
        self._sight.begin(resumes=cursor is not None)
        self.source = source

    async def events(self) -> AsyncGenerator[Told, None]:
        """Until the node stops, or the policy does not allow them any more.

        Raises StateError or StoreError if it cannot go on.
        """
        with self._feed.place(self.source):
            async with aclosing(self._events()) as events:
                async for told in events:
                    if not self._allowed():
                        break
                    self._feed.count(told)
                    yield told
            if not self._allowed():
                yield Told("reset", reason=CHANGED)

    async def _events(self) -> AsyncGenerator[Told, None]:
        synced = False
        while not self._feed.closed and self._allowed():
            if self._cursor is None:
                if self._reset:
                    yield Told("reset", reason=self._reset)
                async for shown in self._snapshot():
                    yield shown
            news = self._feed.news
            assert self._cursor is not None
            changes = await self._changes.after(self._cursor)
            if changes and changes[0].seq > self._cursor + 1:
                self._cursor, self._reset = None, "the feed has gone on: what was between is forgotten"
                continue
            for change in changes:
                self._cursor = change.seq
                told = self._sight.see(change, self._token)
                if told is not None:
                    yield told
            if changes:
                continue
            if not synced:
                synced = True
                yield Told("synced", self._token)
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await news.wait()
            except TimeoutError:
                yield Told("heartbeat", self._token)

    @property
    def _token(self) -> str:
        return f"{self._feed.id.hex()}.{self._cursor}"

    async def _snapshot(self) -> AsyncIterator[Told]:
        start = (await self._feed.state()).seq
        async for told in self._sight.snapshot(self._changes):
            yield told
        self._cursor, self._reset = start, ""


class Feed:
    """`ask` puts a question to the node; without `rows` there is nothing to watch.

    `decide` is asked before each event once more: a watcher stays for long.
    """

    def __init__(self, ask: Ask, rows: Rows | None, decide: Decide, wall_s: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._decide = decide
        self._changes = None if rows is None else Changes(rows)
        self._waiting: asyncio.Task[None] | None = None
        self._sources: Counter[str] = Counter()  # watchers by source
        self._told = 0
        self._resets = 0
        self.wall_s = wall_s
        self.id = b""
        self.news = asyncio.Event()
        self.closed = False

    async def watch(self, criteria: Attributes, who: Identity, since: str | None, source: str) -> Watcher:
        """Of the endpoints that `who` may see.  Raises Refusal as begin() does, and for criteria that cannot be."""
        return await self.begin(of_endpoints(self._decide, who, criteria, self.wall_s), since, source)

    async def begin(self, watching: Watching, since: str | None, source: str) -> Watcher:
        """Raises Refusal for a token that cannot be, and for one watcher too many."""
        if self._changes is None:
            raise Refusal(503, "there is no feed to watch here", retry_s=RETRY_S)
        match = TOKEN.fullmatch(since or "")
        if since and match is None:
            raise Refusal(400, "since must be a token as an event has it, or be left out")
        state = await self.state()
        cursor, reset = None, ""
        if match is not None:
            cursor = int(match[2])
            if match[1] != self.id.hex():
                cursor, reset = None, "the token is of another feed"
            elif cursor > state.seq:
                cursor, reset = None, "the token is of a change that has not been"
        source = prefix_of(source)
        if self._full(source):
            raise Refusal(503, "too many are watching: come back later", retry_s=RETRY_S)
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._wait(state.seq))
        return Watcher(self, self._changes, watching, cursor, reset, source)

    async def rows(self, table: str, after: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """The first `limit` of a table after a key, read beside the loop.  Raises Refusal, or StoreError."""
        if self._changes is None:
            raise Refusal(503, "there is nothing to read from here", retry_s=RETRY_S)
        return await self._changes.rows(table, after, limit)

    @contextmanager
    def place(self, source: str) -> Iterator[None]:
        """Taken for as long as events are drawn.  Raises StateError if there is none left."""
        if self._full(source):
            raise StateError("too many are watching")
        self._sources[source] += 1
        try:
            yield
        finally:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    async def close(self) -> None:
        """End all streams."""
        self._end()
        if self._waiting is not None:
            self._waiting.cancel()
        if self._changes is not None:
            await self._changes.close()

    def counters(self) -> dict[str, int]:
        return {"watch_events": self._told, "watch_resets": self._resets}

    def gauges(self) -> dict[str, int]:
        return {"watchers": self._sources.total()}

    # what watchers need

    async def state(self) -> Followed:
        """Which feed it is, and how far it goes."""
        state = await self._ask(Follow(-1))
        if isinstance(state, Busy):
            raise Refusal(503, state.detail, retry_s=state.retry_s)
        assert isinstance(state, Followed)
        self.id = state.feed_id
        return state

    def count(self, told: Told) -> None:
        self._resets += told.kind == "reset"
        self._told += told.kind != "heartbeat"

    # keeping count

    def _full(self, source: str) -> bool:
        return self._sources.total() >= WATCHERS_MAX or self._sources[source] >= WATCHERS_PER_SOURCE_MAX

    # waiting for changes

    async def _wait(self, seq: int) -> None:
        """Wake all watchers when there is a change."""
        try:
            while True:
                answer = await self._ask(Follow(seq))
                if isinstance(answer, Followed):
                    seq = answer.seq
                    self._wake()
                await asyncio.sleep(GATHER_S)
        except StateError:  # the node has stopped
            self._end()

    def _wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def _end(self) -> None:
        self.closed = True
        self._wake()
