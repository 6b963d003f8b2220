"""The client for programs on asyncio."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import ExitStack, aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, assert_never, overload

import aiohttp
from yarl import URL

from waypost.api import calls, claims, proofs
from waypost.api.calls import COUNT, TIMEOUT_S, Call, Page, Pairs
from waypost.api.logged import Entered, Entry, Log, Version
from waypost.api.resuming import ENDPOINTS, SILENCE_S, AnyEvent, Watch
from waypost.api.schemas import (
    Endpoint,
    Event,
    Eviction,
    Exported,
    GivenToken,
    Imported,
    Link,
    NodeStatus,
    Registered,
    Token,
)
from waypost.api.voted import Claimed, Peers, RecordEvent, Standing, Votes
from waypost.errors import RemoteError, StateError, UnreachableError
from waypost.record import Committed, Record
from waypost.runtime import local

if TYPE_CHECKING:
    from waypost.ledger.statement import Statement

T = TypeVar("T")
E = TypeVar("E", bound=AnyEvent)
P = TypeVar("P", bound=Page)


class Client:
    """Talks to the node at `url`, as in http://127.0.0.1:8480, https://… or unix:///PATH of its own socket.

    `token` says who asks.  `ca` is a PEM file with the roots that may certify the node; without it, the system's.
    Methods raise UnreachableError if there is no answer within `timeout_s`, and RemoteError, with the
    HTTP status as `code`, if the node refuses.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._origin = calls.origin(url)
        self._token = token
        self._context = calls.context(ca) if self._origin.secure else None
        self._undo = ExitStack()
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        # Nothing compressed is asked for, and so nothing can swell.
        self._session = aiohttp.ClientSession(
            self._origin.url,
            connector=self._connector(),
            timeout=self._timeout,
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._undo.close()

    def _connector(self) -> aiohttp.BaseConnector:
        if self._origin.socket:
            return aiohttp.UnixConnector(self._undo.enter_context(local.address_of(Path(self._origin.socket))))
        return aiohttp.TCPConnector(ssl=self._context or True)

    def _headers(self, call: Call[T]) -> dict[str, str]:
        return calls.headers(call, self._origin, self._token)

    async def register(
        self,
        ep: str,
        *,
        base: str,
        links: Iterable[Link] = (),
        lt: int | None = None,
        d: str | None = None,
        attributes: Pairs = (),
    ) -> Registered:
        """Register `ep`, or replace what it stands for.  `lt` seconds."""
        return await self._call(calls.register(ep, base=base, links=links, lt=lt, d=d, attributes=attributes))

    async def renew(
        self, id: str, *, lt: int | None = None, base: str | None = None, attributes: Pairs = ()
    ) -> Endpoint:
        """Start the lifetime anew, and change what is given."""
        return await self._call(calls.renew(id, lt=lt, base=base, attributes=attributes))

    async def unregister(self, id: str) -> None:
        await self._call(calls.unregister(id))

    async def evict(self, id: str, *, for_s: int) -> None:
        """Unregister, and keep the name out for so many seconds."""
        await self._call(calls.evict(id, for_s))

    async def evictions(self) -> tuple[Eviction, ...]:
        """The names that are kept out."""
        return (await self._call(calls.evictions())).evictions

    async def readmit(self, id: str) -> None:
        """Let the name back in that was evicted with this id."""
        await self._call(calls.readmit(id))

    async def create_token(
        self,
        name: str,
        *,
        roles: Iterable[str] = (),
        expires_s: int | None = None,
        actions: Iterable[str] = (),
        sectors: Iterable[str] = (),
        join: bool = False,
        hosts: Iterable[str] = (),
    ) -> GivenToken:
        """Give a token; its text is shown this once."""
        return await self._call(
            calls.create_token(
                name, roles=roles, expires_s=expires_s, actions=actions, sectors=sectors, join=join, hosts=hosts
            )
        )

    async def tokens(self) -> tuple[Token, ...]:
        """Those that were given and have not expired."""
        return (await self._call(calls.tokens())).tokens

    async def revoke_token(self, id: str) -> None:
        await self._call(calls.revoke_token(id))

    async def take(self, lines: bytes, *, dry_run: bool = False) -> Imported:
        """Import lines of an export: at most 1,000, in 256 KiB.  Those imported are on disk."""
        return await self._call(calls.take(lines, dry_run=dry_run))

    async def export(self, criteria: Pairs = (), **named: str) -> AsyncIterator[Exported]:
        """All registrations that meet the criteria, read as the iterator is drawn."""
        call, lines = calls.export((*criteria, *named.items())), calls.Lines()
        if self._session is None:
            raise StateError("the client is closed", hint="use it inside `async with`")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.total, sock_read=self._timeout.total)
        try:
            async with self._session.request(
                call.method, call.target, headers=self._headers(call), allow_redirects=False, timeout=timeout
            ) as response:
                if response.status != 200:
                    calls.read(call, response.status, response.headers, await response.content.read(calls.CHUNK))
                async for chunk in response.content.iter_chunked(calls.CHUNK):
                    for line in lines.feed(chunk):
                        yield line
        except (OSError, aiohttp.ClientError) as error:
            raise calls.unreachable(self._origin, error) from error

    async def get(self, id: str) -> Endpoint:
        return await self._call(calls.get(id))

    async def status(self) -> NodeStatus:
        return await self._call(calls.status())

    async def metrics(self) -> str:
        """All figures, in the words of Prometheus."""
        return await self._call(calls.metrics())

    @overload
    def find(
        self, kind: Literal["endpoints"] = ..., criteria: Pairs = ..., *, count: int = ..., **named: str
    ) -> AsyncIterator[Endpoint]: ...
    @overload
    def find(
        self, kind: Literal["links"], criteria: Pairs = ..., *, count: int = ..., **named: str
    ) -> AsyncIterator[Link]: ...
    def find(
        self, kind: calls.Found = "endpoints", criteria: Pairs = (), *, count: int = COUNT, **named: str
    ) -> AsyncIterator[Endpoint] | AsyncIterator[Link]:
        """What meets all criteria, read page by page, `count` at a time, as the iterator is drawn."""
        wanted = (*criteria, *named.items())
        match kind:
            case "endpoints":
                return (entry async for page in self._pages(calls.endpoints(wanted, count)) for entry in page.endpoints)
            case "links":
                return (link async for page in self._pages(calls.links(wanted, count)) for link in page.links)
            case _:
                assert_never(kind)

    async def watch(
        self, criteria: Pairs = (), *, since: str | None = None, **named: str
    ) -> AsyncGenerator[Event, None]:
        """Events without end: first all that is there, or what came after the token `since`, then what changes.

        Takes up a lost connection by itself.  Raises if the node refuses, or cannot be reached at first.
        """
        watch = Watch(ENDPOINTS, (*criteria, *named.items()), since)
        async with aclosing(self._watch(watch)) as events:
            async for event in events:
                yield event

    async def record(self, namespace: str, key: str, *, quorum: bool = False) -> Standing:
        """A voted record, and what its next version needs; `quorum`: as a majority of the voters knows it."""
        return await self._call(claims.record((namespace, key), quorum=quorum))

    async def claim(self, record: Record, *, queue: bool = False) -> Claimed:
        """Have a signed record voted on: see claims.next_version.  To send the same one again is safe.

        The answer is committed or unknown; lost (409, 412) and denied (403) are raised: see claims.contested.  `queue`:
        without a quorum in reach it waits at the node, and the answer is pending.
        """
        return await self._call(claims.claim(record, queue=queue))

    async def cancel(self, namespace: str, key: str, version: int, txid: str) -> None:
        """Take back a record that waits at the node; refused with 409 if it was sent."""
        await self._call(claims.cancel((namespace, key), version, txid))

    async def outcome(self, namespace: str, key: str, version: int, txid: str) -> Claimed:
        """What became of the record with that txid, which was to be that version: committed, lost or unknown."""
        return await self._call(claims.outcome((namespace, key), version, txid))

    async def history(self, namespace: str, key: str, *, count: int = COUNT) -> AsyncGenerator[Version, None]:
        """The versions of a key, oldest first, each with its entry of the node's log."""
        async for page in self._pages(claims.history((namespace, key), count)):
            for version in page.records:
                yield version

    async def records(
        self, namespace: str | None = None, prefix: str = "", *, count: int = COUNT
    ) -> AsyncGenerator[Committed, None]:
        """Voted records in the order of their keys."""
        async for page in self._pages(claims.records(namespace, prefix, count)):
            for committed in page.records:
                yield committed

    async def changes(
        self, namespace: str | None = None, prefix: str = "", *, since: str | None = None
    ) -> AsyncGenerator[RecordEvent, None]:
        """Voted records, without end, as watch() tells of endpoints."""
        watch = Watch(claims.STREAM, claims.within(namespace, prefix), since)
        async with aclosing(self._watch(watch)) as events:
            async for event in events:
                yield event

    async def record_at(self, namespace: str, key: str, at: int | str) -> Version:
        """A voted record as it stood at an index of the node's log, or a time as in 2026-11-21T12:00:00Z."""
        return (await self._call(proofs.stood((namespace, key), str(at)))).records[0]

    async def log(self) -> Log:
        """How the node's log is, and those that it witnesses."""
        return await self._call(proofs.log())

    async def entries(self, first: int = 0, *, count: int = COUNT) -> AsyncGenerator[Entry, None]:
        """The entries of the log from an index on, read page by page, `count` at a time."""
        async for page in self._pages(proofs.entries(first, count)):
            for entry in page.entries:
                yield entry

    async def prove(self, namespace: str, key: str, version: int | None = None) -> bytes:
        """A proof file, that a voted record is in the log; refused with 503 while no published head has it."""
        return (await self._call(proofs.record((namespace, key), version))).encode()

    async def prove_entry(self, index: int) -> bytes:
        """A proof file, that an entry is in the log; refused with 503 while no published head has it."""
        return (await self._call(proofs.entry(index))).encode()

    async def enter(self, statement: "Statement") -> Entered:
        """Have a signed statement entered in the log.  To send the same one again is safe."""
        return await self._call(proofs.enter(statement))

    async def evidence(self, digest: str) -> bytes:
        """The proof that a log, a witness or a signer has lied, by its SHA-256."""
        return (await self._call(proofs.evidence(digest))).encode()

    async def resume_log(self) -> Log:
        """The operator's word: sign, though no other node has said which head of the log it saw last."""
        return await self._call(proofs.resume())

    async def peers(self) -> Peers:
        """Who is in the network."""
        return await self._call(claims.peers())

    async def force(self, roster: Committed) -> Claimed:
        """Have the network go by a roster that its operator has forced; refused with 409 if it does not follow."""
        return await self._call(claims.force(roster))

    async def votes(self, *, voters: bool = False) -> Votes:
        """Which votes are under way, and where voting has stopped; `voters`: as each of them tells it."""
        return await self._call(claims.votes(voters=voters))

    async def _watch(self, watch: Watch[E]) -> AsyncGenerator[E, None]:
        while True:
            try:
                async with aclosing(self._events(watch)) as events:
                    async for event in events:
                        yield event
                wait_s = watch.lost(UnreachableError("the node has ended the stream"))
            except (RemoteError, UnreachableError) as error:
                wait_s = watch.lost(error)
            await asyncio.sleep(wait_s)

    async def _events(self, watch: Watch[E]) -> AsyncGenerator[E, None]:
        """Of one connection."""
        call = watch.call()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.total, sock_read=SILENCE_S)
        try:
            async with self._open().request(
                call.method, call.target, headers=self._headers(call), timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    calls.read(call, response.status, response.headers, await response.content.read(calls.PROBLEM_MAX))
                for event in watch.connected():
                    yield event
                async for chunk in response.content.iter_any():
                    for event in watch.read(chunk):
                        yield event
        except (OSError, aiohttp.ClientError) as error:
            raise calls.unreachable(self._origin, error) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise StateError("the client is closed", hint="use it inside `async with`")
        return self._session

    async def _pages(self, call: Call[P]) -> AsyncIterator[P]:
        next: Call[P] | None = call
        while next is not None:
            page = await self._call(next)
            yield page
            next = calls.following(next, page)

    async def _call(self, call: Call[T], *, again: bool = True) -> T:
        session = self._open()
        body = bytearray()
        timeout = aiohttp.ClientTimeout(total=(self._timeout.total or 0.0) + call.slow_s)
        try:
            async with session.request(
                call.method,
                URL(self._origin.url + call.target, encoded=True),
                data=call.body,
                headers=self._headers(call),
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > calls.ANSWER_MAX:
                        break
        except aiohttp.ServerDisconnectedError as error:
            if again and call.repeatable:
                # The node closed the idle connection.
                return await self._call(call, again=False)
            raise calls.unreachable(self._origin, error) from error
        except (OSError, aiohttp.ClientError) as error:
            raise calls.unreachable(self._origin, error) from error
        return calls.read(call, response.status, response.headers, bytes(body))
