"""What each route about the log does.

A log is whole or nothing: who may read some sectors or names of it alone is refused, but for the proof of a record that
they may read.

Source: notes on the ledger, 5; docs/ledger.md.
"""

from typing import Final

import msgspec

from waypost.api import indexed, logged, reading
from waypost.api.answers import put, require
from waypost.api.calls import query_text
from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.api.request import Reply, Request
from waypost.api.sights import RECORDS_ROOM
from waypost.api.watching import Feed
from waypost.errors import WireError
from waypost.identity.policy import Action, Decide, Span, Target
from waypost.ledger import entry as entries
from waypost.ledger import questions
from waypost.ledger.checkpoint import Head
from waypost.ledger.note import to_base64
from waypost.ledger.statement import Statement
from waypost.ledger.tiles import ENTRIES, WIDTH, Tile, decode_bundle
from waypost.record import Place

ANYTHING: Final = Target("log")
RETRY_S: Final = 1
PAGE_MAX: Final = 1 << 20  # octets of the entries on a page, which ends with the one that reaches it


class LogOperations:
    """`ask` puts a question to the node; `feed` has its rows."""

    def __init__(self, ask: Ask, decide: Decide, feed: Feed) -> None:
        self._ask = ask
        self._decide = decide
        self._feed = feed

    async def get_log(self, request: Request) -> Reply:
        reading.no_query(request.query)
        return Reply(200, shown(await put(self._ask, questions.ShowLog(), questions.Shown)))

    async def resume_log(self, request: Request) -> Reply:
        reading.no_query(request.query)
        return Reply(200, shown(await put(self._ask, questions.Resume(), questions.Shown)))

    async def list_entries(self, request: Request) -> Reply:
        _require_whole(request)
        named = reading.named(request.query, ("from", "count"))
        first, count = reading.number(named, "from", 0, 0), reading.count(named)
        size = await self._size()
        found: list[logged.Entry] = []
        octets = 0
        while (index := first + len(found)) < size and len(found) < count and octets < PAGE_MAX:
            for data in await self._bundle(index, size):
                found.append(entry(first + len(found), data))
                octets += len(data)
                if len(found) == count or octets >= PAGE_MAX:
                    break
        if first + len(found) >= size:
            return Reply(200, logged.Entries(tuple(found), None))
        pairs = (("from", str(first + len(found))), ("count", str(count)))
        return Reply(200, logged.Entries(tuple(found), f"{request.path}?{query_text(pairs)}"))

    async def prove_entry(self, request: Request) -> Reply:
        _require_whole(request)
        reading.no_query(request.query)
        index = reading.number({"index": request.id}, "index", 0, 0)
        if index >= await self._size():
            raise Refusal(404, f"the log has no entry {index}")
        return await self._proof(index)

    async def prove_record(self, request: Request) -> Reply:
        """Who may read the record may have it proven."""
        named = reading.named(request.query, ("namespace", "key", "version"))
        place: Place = named.get("namespace", ""), named.get("key", "")
        if not all(place):
            raise Refusal(400, "a proof needs a namespace and a key")
        require(self._decide, request.who, Action.READ, Target(RECORDS_ROOM, Span(place[0]), Span(place[1])))
        version = reading.number(named, "version", 0, 1)
        if version:
            found = await indexed.logged(self._feed.rows, place, version)
            found = found if found and found.version == version else None
        else:
            found = await indexed.newest(self._feed.rows, place)
        if found is not None:
            return await self._proof(found.index)
        if await indexed.is_known(self._feed.rows, place, version):
            raise Refusal(503, "it is voted, and not in the log yet", retry_s=RETRY_S)
        what = f"version {version} of {place[1]!r}" if version else repr(place[1])
        raise Refusal(404, f"nothing was ever voted as {what} in {place[0]!r}")

    async def get_evidence(self, request: Request) -> Reply:
        _require_whole(request)
        reading.no_query(request.query)
        reply = await put(self._ask, questions.Serve("GET", f"evidence/{request.id}"), questions.Reply)
        if reply.status != 200:
            raise Refusal(404, "there is no such evidence here")
        return Reply(200, reply.body)

    async def enter_statement(self, request: Request) -> Reply:
        _require_whole(request)
        reading.no_query(request.query)
        given = reading.json(request.body, logged.NewStatement)
        if not given.signature:
            raise Refusal(422, "the statement is not signed")
        try:
            encoded = msgspec.convert(given, Statement, from_attributes=True).encode()
            Statement.decode(encoded)  # in the one spelling that there is
        except (WireError, ValueError) as error:  # msgspec's errors are
            raise Refusal(422, f"it is no statement: {error}") from error
        shown = await put(self._ask, questions.ShowLog(), questions.Shown)
        known = await indexed.stated(self._feed.rows, encoded)
        if known is not None and shown.head is not None and known < shown.head.size:
            return Reply(201, logged.Entered(known, checkpoint(shown.head)))
        answer = await put(self._ask, questions.Enter(encoded), object)
        if isinstance(answer, questions.Reply):
            raise Refusal(answer.status, answer.body.decode().strip())
        assert isinstance(answer, questions.Entered)
        return Reply(201, logged.Entered(answer.index, checkpoint(answer.head)))

    async def _size(self) -> int:
        return (await put(self._ask, questions.ShowLog(), questions.Shown)).size

    async def _bundle(self, index: int, size: int) -> list[bytes]:
        """The entries from `index` on that are in one bundle with it: they are read together."""
        number = index // WIDTH
        tile = Tile(ENTRIES, number, min(WIDTH, size - number * WIDTH))
        reply = await put(self._ask, questions.Serve("GET", tile.path), questions.Reply)
        assert reply.status == 200, f"{tile.path} of a log of {size} entries"
        return decode_bundle(reply.body, tile.width)[index - number * WIDTH :]

    async def _proof(self, index: int) -> Reply:
        answer = await put(self._ask, questions.Prove(index), object)
        if answer is None:
            raise Refusal(503, f"entry {index} is under no head that is published yet", retry_s=RETRY_S)
        assert isinstance(answer, bytes)
        return Reply(200, answer)


def entry(index: int, data: bytes) -> logged.Entry:
    kind = entries.decode(data).kind
    return logged.Entry(index, kind and kind.value, data)


def shown(log: questions.Shown) -> logged.Log:
    return logged.Log(
        log.origin,
        log.key.encode(),
        log.cosigner.encode(),
        log.state,
        log.size,
        checkpoint(log.head) if log.head else None,
        checkpoint(log.published) if log.published else None,
        log.quorum,
        log.cosigners,
        tuple(map(_linked, log.links)),
        tuple(logged.OutsideWitness(each.key.encode(), each.url) for each in log.outside),
        log.evidence,
        log.day,
    )


def checkpoint(head: Head) -> logged.Checkpoint:
    return logged.Checkpoint(head.size, to_base64(head.root), head.note.encode().decode())


def _linked(log: questions.Linked) -> logged.LinkedLog:
    return logged.LinkedLog(
        log.node, log.origin, log.key.encode(), log.cosigner.encode(), log.size, log.mirrored, log.linked, log.frozen
    )


def _require_whole(request: Request) -> None:
    if request.view is not None:
        raise Refusal(403, f"the log is whole or nothing, and {request.who.subject} may read it in part only")
