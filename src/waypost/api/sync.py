"""The client for programs without an event loop, on the standard library alone."""

import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, assert_never, overload

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
from waypost.errors import RemoteError, UnreachableError
from waypost.record import Committed, Record
from waypost.runtime import local

if TYPE_CHECKING:
    from waypost.ledger.statement import Statement

T = TypeVar("T")
E = TypeVar("E", bound=AnyEvent)
P = TypeVar("P", bound=Page)


class SyncClient:
    """Talks to the node at `url`, as in http://127.0.0.1:8480, https://… or unix:///PATH of its own socket.

    `token` says who asks.  `ca` is a PEM file with the roots that may certify the node; without it, the system's.
    Methods raise UnreachableError if nothing answers within `timeout_s` (for each read and write),
    and RemoteError, with the HTTP status as `code`, if the node refuses.  One thread at a time.
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
        self._timeout_s = timeout_s
        self._connection = self._connect()

    def __enter__(self) -> "SyncClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def register(
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
        return self._call(calls.register(ep, base=base, links=links, lt=lt, d=d, attributes=attributes))

    def renew(self, id: str, *, lt: int | None = None, base: str | None = None, attributes: Pairs = ()) -> Endpoint:
        """Start the lifetime anew, and change what is given."""
        return self._call(calls.renew(id, lt=lt, base=base, attributes=attributes))

    def unregister(self, id: str) -> None:
        self._call(calls.unregister(id))

    def evict(self, id: str, *, for_s: int) -> None:
        """Unregister, and keep the name out for so many seconds."""
        self._call(calls.evict(id, for_s))

    def evictions(self) -> tuple[Eviction, ...]:
        """The names that are kept out."""
        return (self._call(calls.evictions())).evictions

    def readmit(self, id: str) -> None:
        """Let the name back in that was evicted with this id."""
        self._call(calls.readmit(id))

    def create_token(
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
        return self._call(
            calls.create_token(
                name, roles=roles, expires_s=expires_s, actions=actions, sectors=sectors, join=join, hosts=hosts
            )
        )

    def tokens(self) -> tuple[Token, ...]:
        """Those that were given and have not expired."""
        return (self._call(calls.tokens())).tokens

    def revoke_token(self, id: str) -> None:
        self._call(calls.revoke_token(id))

    def take(self, lines: bytes, *, dry_run: bool = False) -> Imported:
        """Import lines of an export: at most 1,000, in 256 KiB.  Those imported are on disk."""
        return self._call(calls.take(lines, dry_run=dry_run))

    def export(self, criteria: Pairs = (), **named: str) -> Iterator[Exported]:
        """All registrations that meet the criteria, read as the iterator is drawn, on a connection of its own."""
        call, lines = calls.export((*criteria, *named.items())), calls.Lines()
        connection = self._connect()
        try:
            connection.request(call.method, call.target, headers=self._headers(call))
            response = connection.getresponse()
            if response.status != 200:
                calls.read(call, response.status, dict(response.headers), response.read(calls.CHUNK))
            while chunk := response.read1(calls.CHUNK):
                yield from lines.feed(chunk)
        except (OSError, HTTPException) as error:
            raise calls.unreachable(self._origin, error) from error
        finally:
            connection.close()

    def get(self, id: str) -> Endpoint:
        return self._call(calls.get(id))

    def status(self) -> NodeStatus:
        return self._call(calls.status())

    def metrics(self) -> str:
        """All figures, in the words of Prometheus."""
        return self._call(calls.metrics())

    @overload
    def find(
        self, kind: Literal["endpoints"] = ..., criteria: Pairs = ..., *, count: int = ..., **named: str
    ) -> Iterator[Endpoint]: ...
    @overload
    def find(
        self, kind: Literal["links"], criteria: Pairs = ..., *, count: int = ..., **named: str
    ) -> Iterator[Link]: ...
    def find(
        self, kind: calls.Found = "endpoints", criteria: Pairs = (), *, count: int = COUNT, **named: str
    ) -> Iterator[Endpoint] | Iterator[Link]:
        """What meets all criteria, read page by page, `count` at a time, as the iterator is drawn."""
        wanted = (*criteria, *named.items())
        match kind:
            case "endpoints":
                return (entry for page in self._pages(calls.endpoints(wanted, count)) for entry in page.endpoints)
            case "links":
                return (link for page in self._pages(calls.links(wanted, count)) for link in page.links)
            case _:
                assert_never(kind)

    def watch(self, criteria: Pairs = (), *, since: str | None = None, **named: str) -> Generator[Event, None, None]:
        """Events without end: first all that is there, or what came after the token `since`, then what changes.

        Takes up a lost connection by itself.  Raises if the node refuses, or cannot be reached at first.  It has a
        connection of its own.
        """
        return self._watch(Watch(ENDPOINTS, (*criteria, *named.items()), since))

    def record(self, namespace: str, key: str, *, quorum: bool = False) -> Standing:
        """A voted record, and what its next version needs; `quorum`: as a majority of the voters knows it."""
        return self._call(claims.record((namespace, key), quorum=quorum))

    def claim(self, record: Record, *, queue: bool = False) -> Claimed:
        """Have a signed record voted on: see claims.next_version.  To send the same one again is safe.

        The answer is committed or unknown; lost (409, 412) and denied (403) are raised: see claims.contested.  `queue`:
        without a quorum in reach it waits at the node, and the answer is pending.
        """
        return self._call(claims.claim(record, queue=queue))

    def cancel(self, namespace: str, key: str, version: int, txid: str) -> None:
        """Take back a record that waits at the node; refused with 409 if it was sent."""
        self._call(claims.cancel((namespace, key), version, txid))

    def outcome(self, namespace: str, key: str, version: int, txid: str) -> Claimed:
        """What became of the record with that txid, which was to be that version: committed, lost or unknown."""
        return self._call(claims.outcome((namespace, key), version, txid))

    def history(self, namespace: str, key: str, *, count: int = COUNT) -> Iterator[Version]:
        """The versions of a key, oldest first, each with its entry of the node's log."""
        return (item for page in self._pages(claims.history((namespace, key), count)) for item in page.records)

    def records(self, namespace: str | None = None, prefix: str = "", *, count: int = COUNT) -> Iterator[Committed]:
        """Voted records in the order of their keys."""
        return (item for page in self._pages(claims.records(namespace, prefix, count)) for item in page.records)

    def changes(
        self, namespace: str | None = None, prefix: str = "", *, since: str | None = None
    ) -> Generator[RecordEvent, None, None]:
        """Voted records, without end, as watch() tells of endpoints."""
        return self._watch(Watch(claims.STREAM, claims.within(namespace, prefix), since))

    def record_at(self, namespace: str, key: str, at: int | str) -> Version:
        """A voted record as it stood at an index of the node's log, or a time as in 2026-11-21T12:00:00Z."""
        return (self._call(proofs.stood((namespace, key), str(at)))).records[0]

    def log(self) -> Log:
        """How the node's log is, and those that it witnesses."""
        return self._call(proofs.log())

    def entries(self, first: int = 0, *, count: int = COUNT) -> Iterator[Entry]:
        """The entries of the log from an index on, read page by page, `count` at a time."""
        return (entry for page in self._pages(proofs.entries(first, count)) for entry in page.entries)

    def prove(self, namespace: str, key: str, version: int | None = None) -> bytes:
        """A proof file, that a voted record is in the log; refused with 503 while no published head has it."""
        return (self._call(proofs.record((namespace, key), version))).encode()

    def prove_entry(self, index: int) -> bytes:
        """A proof file, that an entry is in the log; refused with 503 while no published head has it."""
        return (self._call(proofs.entry(index))).encode()

    def enter(self, statement: "Statement") -> Entered:
        """Have a signed statement entered in the log.  To send the same one again is safe."""
        return self._call(proofs.enter(statement))

    def evidence(self, digest: str) -> bytes:
        """The proof that a log, a witness or a signer has lied, by its SHA-256."""
        return (self._call(proofs.evidence(digest))).encode()

    def resume_log(self) -> Log:
        """The operator's word: sign, though no other node has said which head of the log it saw last."""
        return self._call(proofs.resume())

    def peers(self) -> Peers:
        """Who is in the network."""
        return self._call(claims.peers())

    def force(self, roster: Committed) -> Claimed:
        """Have the network go by a roster that its operator has forced; refused with 409 if it does not follow."""
        return self._call(claims.force(roster))

    def votes(self, *, voters: bool = False) -> Votes:
        """Which votes are under way, and where voting has stopped; `voters`: as each of them tells it."""
        return self._call(claims.votes(voters=voters))

    def _watch(self, watch: Watch[E]) -> Generator[E, None, None]:
        while True:
            try:
                yield from self._events(watch)
                wait_s = watch.lost(UnreachableError("the node has ended the stream"))
            except (RemoteError, UnreachableError) as error:
                wait_s = watch.lost(error)
            time.sleep(wait_s)

    def _events(self, watch: Watch[E]) -> Iterator[E]:
        """Of one connection."""
        call = watch.call()
        with closing(self._connect()) as connection:
            try:
                connection.connect()
                connection.sock.settimeout(SILENCE_S)
                connection.request(call.method, call.target, headers=self._headers(call))
                response = connection.getresponse()
                if response.status != 200:
                    calls.read(call, response.status, dict(response.headers), response.read(calls.PROBLEM_MAX))
                yield from watch.connected()
                while chunk := response.read1(calls.CHUNK):
                    yield from watch.read(chunk)
            except (OSError, HTTPException) as error:
                raise calls.unreachable(self._origin, error) from error

    def _connect(self) -> HTTPConnection:
        origin = self._origin
        if origin.socket:
            return _LocalConnection(origin.socket, self._timeout_s)
        if origin.secure:
            return HTTPSConnection(origin.host, origin.port, timeout=self._timeout_s, context=self._context)
        return HTTPConnection(origin.host, origin.port, timeout=self._timeout_s)

    def _headers(self, call: Call[T]) -> dict[str, str]:
        return calls.headers(call, self._origin, self._token)

    def _pages(self, call: Call[P]) -> Iterator[P]:
        next: Call[P] | None = call
        while next is not None:
            page = self._call(next)
            yield page
            next = calls.following(next, page)

    def _call(self, call: Call[T]) -> T:
        kept = self._connection.sock is not None
        self._connection.timeout = self._timeout_s + call.slow_s
        if kept:
            self._connection.sock.settimeout(self._connection.timeout)
        try:
            self._connection.request(call.method, call.target, call.body, self._headers(call))
            response = self._connection.getresponse()
            body = response.read(calls.ANSWER_MAX + 1)
        except (OSError, HTTPException) as error:
            self._connection.close()
            if kept and isinstance(error, ConnectionError) and call.repeatable:
                # The node closed the idle connection.
                return self._call(call)
            raise calls.unreachable(self._origin, error) from error
        return calls.read(call, response.status, dict(response.headers), body)


class _LocalConnection(HTTPConnection):
    """By the node's own socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = Path(path)

    def connect(self) -> None:
        assert self.timeout is not None
        self.sock = local.connect(self._path, self.timeout)
