"""What each route about voted records does, and about those who vote.

A record comes signed by its author and goes with the votes that committed it; the node adds nothing but what it knows.
The policy decides by namespace and key, which stand in the request, so that a refusal tells nothing.

Source: notes on DRiP, 4.4 (client contract, reads), 4.7 (answers) and 4.10.
"""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final
from urllib.parse import quote

import msgspec

from waypost.api import indexed, intents, lines, logged, paging, reading, voted
from waypost.api.answers import put, require
from waypost.api.calls import query_text
from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.api.request import Reply, Request
from waypost.api.schemas import EVENT_STREAM
from waypost.api.sights import RECORDS_ROOM, Told, of_records
from waypost.api.watching import Feed, Watcher
from waypost.drip.book import HISTORY, RECORDS, row_key
from waypost.drip.outcome import BUSY, Outcome, Reading, State
from waypost.drip.questions import (
    Cancel,
    Claim,
    Consult,
    Force,
    Open,
    Peers,
    Seen,
    Settle,
    ShowPeers,
    ShowVotes,
    Unkept,
    Votes,
)
from waypost.errors import StateError, WireError
from waypost.identity import Identity
from waypost.identity.policy import ALL, Action, Decide, Span, Target
from waypost.rd.questions import Busy
from waypost.record import ROSTER, Committed, Place, Record, Roster, roster_in
from waypost.record.wire import Name, Namespace, TransactionId, encode

ANYTHING: Final = Target(RECORDS_ROOM)
RETRY_S: Final = 1
TAG: Final = re.compile('"([0-9]{1,16})"')


class RecordOperations:
    """`ask` puts a question to the node; `feed` has its rows."""

    def __init__(self, ask: Ask, decide: Decide, feed: Feed) -> None:
        self._ask = ask
        self._decide = decide
        self._feed = feed
        self._network = ""
        self._roster: tuple[int, Roster] | None = None

    async def claim_record(self, request: Request) -> Reply:
        reading.no_query(request.query)
        place = _place(request)
        self._require(request.who, Action.CLAIM, place)
        record = _record(request.body, place)
        before = await self._consult(place, quorum=False)
        held = before.current.record.version if before.current else 0
        if unmet := _unmet(request, record):
            raise Refusal(412, unmet, more=await self._more("denied", place, before.current))
        outcome = await self._claim(record, before, keeps=intents.may_wait(request.prefer))
        if outcome.state is State.COMMITTED:
            return Reply(200, _claimed(record, outcome), _tag(record.version))
        if outcome.state in (State.UNKNOWN, State.PENDING):
            status = _path(place, f"/transactions/{record.version}/{record.txid}")
            headers = {"Location": status, "Retry-After": str(RETRY_S)}
            applied = intents.APPLIED if outcome.state is State.PENDING else {}
            return Reply(202, _claimed(record, outcome, status), headers | applied)
        raise await self._refusal(record, outcome, held)

    async def get_record(self, request: Request) -> Reply:
        place = _place(request)
        self._require(request.who, Action.READ, place)
        named = reading.named(request.query, ("quorum",))
        found = await self._consult(place, quorum=reading.flag(named, "quorum"))
        next = await self._next(place, found.current)
        if not found.is_known:
            raise Refusal(503, "no quorum of voters answered in time", retry_s=RETRY_S)
        if found.current is None:
            raise Refusal(404, f"nothing was ever voted on {place[1]!r} in {place[0]!r}", more={"next": next})
        record = found.current.record
        age = {} if found.age_s is None else {"Age": str(int(found.age_s))}
        standing = voted.Standing(record, found.current.certificate, _rounded(found.age_s), next)
        return Reply(200, standing, _tag(record.version) | age)

    async def get_history(self, request: Request) -> Reply:
        place = _place(request)
        self._require(request.who, Action.READ, place)
        named = reading.named(request.query, ("after", "count", "at"))
        after, count = reading.number(named, "after", 0, 0), reading.count(named)
        if "at" in named:
            return await self._history_at(place, named["at"])
        start = row_key(place) + b"\0"
        page = await paging.read(self._feed.rows, HISTORY, start, start + b"%016d" % after, count)
        if not page.items and not after:
            raise Refusal(404, f"nothing was ever voted on {place[1]!r} in {place[0]!r}")
        last = page.items[-1].record.version if page.more else 0
        versions = await indexed.with_index(self._feed.rows, page.items)
        return Reply(200, logged.Versions(versions, _following(request, str(last), count) if last else None))

    async def _history_at(self, place: Place, at: str) -> Reply:
        """The one version that stood then."""
        moment = indexed.moment(at)
        if moment is None:
            raise Refusal(400, "at is an index of the log, or a time as in 2026-11-21T12:00:00Z")
        version = await indexed.standing(self._feed.rows, place, moment)
        if version is None:
            raise Refusal(404, f"the log had no version of {place[1]!r} in {place[0]!r} then")
        return Reply(200, logged.Versions((version,), None))

    async def list_records(self, request: Request) -> Reply:
        named = reading.named(request.query, ("namespace", "prefix", "after", "count"))
        namespace, prefix, after = (named.get(name) for name in ("namespace", "prefix", "after"))
        count = reading.count(named)
        if prefix is not None and namespace is None:
            raise Refusal(400, "a prefix needs a namespace")
        target = Target(RECORDS_ROOM, ALL if namespace is None else Span(namespace), Span(prefix or "", True))
        view = require(self._decide, request.who, Action.LOOK_UP, target)
        start = b"" if namespace is None else f"{namespace}\0{prefix or ''}".encode()
        begin = None if after is None else after.replace("/", "\0", 1).encode()
        page = await paging.read(self._feed.rows, RECORDS, start, begin, count, view)
        following = _following(request, "/".join(page.last), count) if page.more else None
        return Reply(200, voted.Records(page.items, following))

    async def get_transaction(self, request: Request) -> Reply:
        place, version, txid = _transaction(request)
        self._require(request.who, Action.READ, place)
        outcome = await put(self._ask, Settle(place, version, txid), Outcome)
        if outcome.state not in (State.COMMITTED, State.LOST):
            start = row_key(place) + b"\0"
            page = await paging.read(self._feed.rows, HISTORY, start, start + b"%016d" % (version - 1), 1)
            if page.items and page.items[0].record.version == version:  # longer ago than the node remembers
                if page.items[0].record.txid == txid:
                    outcome = Outcome(State.COMMITTED, outcome.current)
                elif outcome.state is State.UNKNOWN:
                    outcome = Outcome(State.LOST, outcome.current)
        is_open = outcome.state in (State.UNKNOWN, State.PENDING)
        headers = {"Retry-After": str(RETRY_S)} if is_open else {}
        return Reply(200, _told(place, version, txid, outcome), headers)

    async def cancel_claim(self, request: Request) -> Reply:
        """Of a record that waits here, as long as nothing was sent."""
        place, version, txid = _transaction(request)
        self._require(request.who, Action.CLAIM, place)
        outcome = await self._ask(Cancel(place, version, txid))
        if outcome is None:
            raise Refusal(404, f"no record of transaction {txid} waits here")
        assert isinstance(outcome, Outcome)
        if outcome.state is not State.CANCELLED:
            reason = f": {outcome.reason}" if outcome.reason else ""
            raise Refusal(409, f"it is {outcome.state.value}{reason}, and cannot be cancelled")
        return Reply(204, b"")

    async def watch_records(self, request: Request) -> Reply:
        since, criteria = reading.since(request.query)
        named = reading.named(criteria, ("namespace", "prefix"))
        if "prefix" in named and "namespace" not in named:
            raise Refusal(400, "a prefix needs a namespace")
        watching = of_records(self._decide, request.who, named.get("namespace"), named.get("prefix", ""))
        watcher = await self._feed.begin(watching, request.last_event or since, request.source)
        encode = lines.server_sent_record if request.media == EVENT_STREAM else lines.json_line
        return Reply(200, _encoded(watcher, encode))

    async def get_peers(self, request: Request) -> Reply:
        reading.no_query(request.query)
        peers = await put(self._ask, ShowPeers(), Peers)
        shown = voted.Peers(
            peers.network,
            peers.name,
            peers.incarnation,
            peers.state,
            peers.is_voting,
            peers.has_quorum,
            _rounded(peers.age_s),
            peers.roster,
            peers.committed,
            tuple(map(_seen, peers.seen)),
            peers.applicants,
            dict(peers.restored),
        )
        return Reply(200, shown)

    async def force_roster(self, request: Request) -> Reply:
        reading.no_query(request.query)
        try:
            roster = msgspec.json.decode(request.body, type=Committed)
            roster.record.require_sound()
        except (msgspec.MsgspecError, WireError) as error:
            raise Refusal(422, f"it is no roster with the operator's mark: {error}") from None
        outcome = await put(self._ask, Force(roster), Outcome)
        if outcome.state is not State.COMMITTED:
            raise Refusal(409, outcome.reason, more=await self._more("denied", ROSTER, outcome.current))
        return Reply(200, _claimed(roster.record, outcome))

    async def get_votes(self, request: Request) -> Reply:
        """Whose records may not be read, of those no vote is shown."""
        named = reading.named(request.query, ("voters",))
        votes = await put(self._ask, ShowVotes(reading.flag(named, "voters")), Votes)
        decision = self._decide(request.who, Action.READ, ANYTHING)

        def shows(namespace: str, key: str) -> bool:
            return decision.allowed and (decision.view is None or decision.view.shows(namespace, key))

        some = tuple(_open(vote) for vote in votes.open if shows(*vote.place))
        alarms = tuple(voted.Alarm(*place, proof) for place, proof in votes.alarms.items() if shows(*place))
        hidden = len(votes.open) - len(some)
        queued = intents.shown(votes.queued, shows)
        waiting = votes.waiting if len(queued) == len(votes.queued) else len(queued)
        total = len(some) if hidden else votes.total
        return Reply(200, voted.Votes(some, total, alarms, queued, waiting, votes.asked, votes.silent))

    # what they share

    def _require(self, who: Identity, action: Action, place: Place) -> None:
        require(self._decide, who, action, Target(RECORDS_ROOM, Span(place[0]), Span(place[1])))

    async def _claim(self, record: Record, before: Reading, *, keeps: bool) -> Outcome:
        """Raises Refusal if it cannot be kept."""
        try:
            outcome = await self._ask(Claim(record, keeps))
        except StateError as error:  # the node ends, and what it has sent may yet be committed by others
            return Outcome(State.UNKNOWN, before.current, str(error))
        if isinstance(outcome, Busy):
            raise Refusal(503, outcome.detail, retry_s=outcome.retry_s)
        if isinstance(outcome, Unkept):
            code, more = intents.CODES[outcome.cause], await self._more("denied", record.place, before.current)
            raise Refusal(code, outcome.detail, retry_s=intents.LATER_S if code in (429, 507) else None, more=more)
        assert isinstance(outcome, Outcome)
        return outcome

    async def _consult(self, place: Place, *, quorum: bool) -> Reading:
        return await put(self._ask, Consult(place, quorum), Reading)

    async def _next(self, place: Place, current: Committed | None) -> voted.Next:
        """What the version after `current` needs."""
        if not self._network:
            self._network = (await put(self._ask, ShowPeers(), Peers)).network
        roster = await self._current_roster()
        if current is None:
            return voted.Next(self._network, 1, "", roster.home(place))
        record = current.record
        home = record.home if roster.voter(record.home) else roster.home(place)
        return voted.Next(self._network, record.version + 1, record.hash(self._network), home)

    async def _current_roster(self) -> Roster:
        current = (await self._consult(ROSTER, quorum=False)).current
        assert current is not None, "a node knows its network's roster"
        if self._roster is None or self._roster[0] != current.record.version:
            self._roster = current.record.version, roster_in(current.record)
        return self._roster[1]

    async def _more(self, state: voted.State, place: Place, current: Committed | None) -> dict[str, object]:
        """What a problem says beside the problem."""
        return {"state": state, "current": current, "next": await self._next(place, current)}

    async def _refusal(self, record: Record, outcome: Outcome, held: int) -> Refusal:
        current = outcome.current
        more = await self._more("lost" if outcome.state is State.LOST else "denied", record.place, current)
        next = more["next"]
        assert isinstance(next, voted.Next)
        version = next.version - 1
        if outcome.state is State.LOST:
            sentence = f"another record is version {record.version}: the next is {next.version}"
            return Refusal(409 if record.version > held else 412, sentence, more=more)
        if outcome.reason == BUSY:
            return Refusal(503, "too many votes are under way: nothing was sent", retry_s=RETRY_S, more=more)
        if record.version != next.version:
            sentence = f"version {version} is committed, and this would be {record.version}"
            return Refusal(412, sentence, more=more)
        if record.prev != next.prev:
            return Refusal(412, f"it does not follow version {version}: prev is not its hash", more=more)
        return Refusal(403, outcome.reason or "the voters refuse it", more=more)


def _place(request: Request) -> Place:
    """The namespace and key of a path under /v1/records.  Raises Refusal."""
    _, _, _, namespace, key, *_ = request.path.split("/")
    return (
        _valid(reading.segment(namespace), Namespace, "the namespace"),
        _valid(reading.segment(key), Name, "the key"),
    )


def _transaction(request: Request) -> tuple[Place, int, str]:
    """Raises Refusal."""
    reading.no_query(request.query)
    *_, number, txid = request.path.split("/")
    version = reading.number({"version": number}, "version", 0, 1)
    return _place(request), version, _valid(txid, TransactionId, "the transaction")


def _valid(text: str, kind: object, what: str) -> str:
    try:
        return msgspec.convert(text, kind)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise Refusal(400, f"{what} {text[:64]!r} cannot be one: {str(error)[:1].lower()}{str(error)[1:200]}") from None


def _record(body: bytes, place: Place) -> Record:
    """Raises Refusal: 400 for what is not JSON, 422 for what is no record of `place`."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {str(error)[:200]}") from None
    try:
        record = msgspec.convert(value, Record)
        if encode(record) != encode(value):
            raise Refusal(422, f"a record has the fields {', '.join(Record.__struct_fields__)}, and no other")
        record.require_sound()
    except msgspec.ValidationError as error:
        raise Refusal(422, f"it is no record: {str(error)[:1].lower()}{str(error)[1:300]}") from None
    except WireError as error:
        raise Refusal(422, str(error)) from error
    if record.place != place:
        raise Refusal(422, "the record is of another key than the path")
    return record


def _unmet(request: Request, record: Record) -> str:
    """What stands in If-Match or If-None-Match and is not what the record says of itself (RFC 9110, 13.1), if anything.

    Raises Refusal for what cannot stand there.
    """
    before = record.version - 1
    match, none = request.if_match, request.if_none_match
    named = None if match is None or match.strip() == "*" else TAG.fullmatch(match.strip())
    if match is not None and match.strip() != "*" and named is None:
        raise Refusal(400, 'If-Match has one version here, as in "3"')
    if none is not None and none.strip() != "*":
        raise Refusal(400, "If-None-Match is * here: the record must be the first version")
    if named is not None and int(named[1]) != before:
        return f"the record follows version {before}, and not {named[1]}"
    if match is not None and not before:
        return "the record would be the first version"
    return f"the record follows version {before}" if none is not None and before else ""


def _claimed(record: Record, outcome: Outcome, status: str = "") -> voted.Claimed:
    return _told(record.place, record.version, record.txid, outcome, status)


def _told(place: Place, version: int, txid: str, outcome: Outcome, status: str = "") -> voted.Claimed:
    reason, current = outcome.reason, outcome.current
    return voted.Claimed(outcome.state.value, *place, version, txid, reason, status, current, outcome.until_ms)


def _open(vote: Open) -> voted.OpenVote:
    said = tuple(voted.VoterSaid(each.node, each.promised, each.accepted, each.hash, each.vote) for each in vote.said)
    hash, record = vote.hash, vote.record
    return voted.OpenVote(
        *vote.place, vote.version, vote.promised, vote.accepted, hash, record, vote.yes, vote.no, said
    )


def _seen(seen: Seen) -> voted.PeerSeen:
    member = seen.member
    return voted.PeerSeen(
        member.name,
        member.organisation,
        member.url,
        member.incarnation,
        seen.is_voter,
        seen.state,
        _rounded(seen.heard_s),
        None if seen.rtt_s is None else round(seen.rtt_s, 6),
        seen.skew_ms,
        seen.wire,
        seen.capabilities,
    )


def _tag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _path(place: Place, below: str) -> str:
    namespace, key = (quote(part, safe="") for part in place)
    return f"/v1/records/{namespace}/{key}{below}"


def _following(request: Request, after: str, count: int) -> str:
    """The next page's URL, relative to this one's origin."""
    query = [pair for pair in request.query if pair[0] not in ("after", "count")]
    return f"{request.path}?{query_text((*query, ('after', after), ('count', str(count))))}"


async def _encoded(watcher: Watcher, encode: Callable[[voted.RecordEvent], bytes]) -> AsyncGenerator[bytes, None]:
    async with aclosing(watcher.events()) as events:
        async for told in events:
            yield encode(_event(told))


def _event(told: Told) -> voted.RecordEvent:
    kind = told.kind
    assert kind in ("put", "reset", "synced", "heartbeat")
    if told.committed is None:
        return voted.RecordEvent(kind, told.token, detail=told.reason)
    return voted.RecordEvent(kind, told.token, told.committed.record, told.committed.certificate)
