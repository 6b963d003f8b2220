"""What each route does: a question to the node, and its outcome as a reply.

Nothing here knows HTTP's framing: `server.py` reads requests and writes replies.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Final, NoReturn
from urllib.parse import quote

from msgspec import to_builtins
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from waypost import __version__
from waypost.api import lines, moving, reading, schemas, tokens
from waypost.api.calls import query_text
from waypost.api.joining import Joining
from waypost.api.log import LogOperations
from waypost.api.metrics import Metrics
from waypost.api.moving import Ask, Exports
from waypost.api.problem import Refusal
from waypost.api.reading import Pairs
from waypost.api.records import RecordOperations
from waypost.api.request import Reply, Request
from waypost.api.schemas import EVENT_STREAM, JSON, LINK_FORMAT
from waypost.api.sights import Told
from waypost.api.watching import Feed, Watcher
from waypost.assembly.questions import Report, Status
from waypost.coap import links as linkformat
from waypost.errors import WireError
from waypost.identity.policy import THE_NODE, Action, Decide
from waypost.identity.token import Created, CreateToken, Declined, Listed, ListTokens, Revoked, RevokeToken
from waypost.rd.access import ANYTHING
from waypost.rd.questions import (
    Attributes,
    Busy,
    Entry,
    Evict,
    Evicted,
    Evictions,
    Found,
    Kind,
    LinkEntry,
    Lookup,
    Read,
    Readmit,
    Reason,
    Refused,
    Register,
    Registered,
    Remove,
    Removed,
    Renew,
    Renewed,
)
from waypost.runtime.figures import Figures

Ready = Callable[[], Mapping[str, bool]]
Measure = Callable[[], Figures]

STATUSES: Final = {Reason.BAD_REQUEST: 400, Reason.FORBIDDEN: 403, Reason.NOT_FOUND: 404, Reason.TOO_LARGE: 413}
DECLINED: Final = {"wrong": 400, "forbidden": 403, "not found": 404, "full": 503}  # of tokens
BASE_NEEDED: Final = (
    "a base is needed over HTTP, as in coap://[2001:db8::1]: "
    "the address an HTTP request comes from is not where CoAP resources are"
)


class Operations:
    """`ask` puts a question to the node; `ready` names what readiness depends on, and whether it is well.

    `measure` tells what the drivers measured; `joining` has the node's keys, and without it nobody joins.
    """

    def __init__(
        self,
        ask: Ask,
        ready: Ready,
        decide: Decide,
        measure: Measure,
        feed: Feed,
        metrics: Metrics,
        description: bytes,
        joining: Joining | None = None,
    ) -> None:
        self._ask = ask
        self._ready = ready
        self._decide = decide
        self._measure = measure
        self._feed = feed
        self._metrics = metrics
        self._description = description
        self._joining = joining
        self._exports = Exports(ask)
        self.records = RecordOperations(ask, decide, feed)
        self.log = LogOperations(ask, decide, feed)

    async def find_endpoints(self, request: Request) -> Reply:
        found, following = await self._find(Kind.ENDPOINTS, request, structured=True)
        entries = [entry for entry in found.entries if isinstance(entry, Entry)]
        if request.media == LINK_FORMAT:
            return _page(linkformat.serialise(map(_endpoint_link, entries)), following)
        return Reply(200, schemas.Endpoints(tuple(map(_endpoint, entries)), following))

    async def find_links(self, request: Request) -> Reply:
        structured = request.media == JSON
        found, following = await self._find(Kind.RESOURCES, request, structured=structured)
        if not structured:
            return _page(found.body, following)
        return Reply(200, schemas.Links(_links(found.entries), following))

    async def register_endpoint(self, request: Request) -> Reply:
        if request.body_media == LINK_FORMAT:
            wanted, links = reading.registration(request.query), request.body
        else:
            reading.no_query(request.query)
            wanted = reading.json(request.body, schemas.Registration)
            links = _document(wanted.links)
        if wanted.base is None:
            raise Refusal(400, BASE_NEEDED)
        register = Register(
            wanted.ep, wanted.d, wanted.lt, wanted.base, "", wanted.attributes, links, request.source, request.who
        )
        outcome = await self._ask(register)
        if not isinstance(outcome, Registered):
            _refuse(outcome)
        location = {"Location": _location(outcome.location)}
        return Reply(201 if outcome.created else 200, schemas.Registered(outcome.location, outcome.created), location)

    async def get_endpoint(self, request: Request) -> Reply:
        reading.no_query(request.query)
        outcome = await self._ask(Read(request.id, who=request.who))
        if not isinstance(outcome, Entry):
            _refuse(outcome)
        return Reply(200, _endpoint(outcome))

    async def renew_endpoint(self, request: Request) -> Reply:
        reading.no_query(request.query)
        wanted = reading.json(request.body or b"{}", schemas.Renewal)
        readable = self._decide(request.who, Action.READ, ANYTHING)
        if not readable.allowed:  # who may not read the answer changes nothing
            raise Refusal(403, readable.reason)
        renew = Renew(request.id, wanted.lt, wanted.base, None, wanted.attributes, request.source, request.who)
        outcome = await self._ask(renew)
        if not isinstance(outcome, Renewed):
            _refuse(outcome)
        return await self.get_endpoint(request)

    async def unregister_endpoint(self, request: Request) -> Reply:
        for_s = reading.seconds(request.query, "for_s")
        remove = Remove(request.id, request.source, request.who)
        outcome = await self._ask(remove if for_s is None else Evict(request.id, for_s, request.who))
        if not isinstance(outcome, Removed):
            _refuse(outcome)
        return Reply(204, b"")

    async def list_evictions(self, request: Request) -> Reply:
        reading.no_query(request.query)
        outcome = await self._ask(Evictions(request.who))
        assert isinstance(outcome, Evicted)
        entries = (schemas.Eviction(e.id, e.ep, e.d, round(e.remaining_s, 3)) for e in outcome.evictions)
        return Reply(200, schemas.Evictions(tuple(entries)))

    async def readmit(self, request: Request) -> Reply:
        reading.no_query(request.query)
        outcome = await self._ask(Readmit(request.id, request.who))
        if not isinstance(outcome, Removed):
            _refuse(outcome)
        return Reply(204, b"")

    async def export_endpoints(self, request: Request) -> Reply:
        lookup = reading.lookup(Kind.ENDPOINTS, request.query, structured=True)
        if any(name in ("page", "count") for name, _ in request.query):
            raise Refusal(400, "an export has no pages: leave out page and count")
        return Reply(200, self._exports.begin(_local(lookup.criteria), request.who))

    async def import_endpoints(self, request: Request) -> Reply:
        if any(name != "dry_run" for name, _ in request.query):
            raise Refusal(400, "an import knows the parameter dry_run and no other")
        return Reply(200, await moving.take(self._ask, request.body, request.who, dry=bool(request.query)))

    async def watch(self, request: Request) -> Reply:
        since, criteria = reading.since(request.query)
        watcher = await self._feed.watch(_local(criteria), request.who, request.last_event or since, request.source)
        encode = lines.server_sent if request.media == EVENT_STREAM else lines.json_line
        return Reply(200, _encoded(watcher, encode))

    async def create_token(self, request: Request) -> Reply:
        wanted = reading.json(request.body, schemas.NewToken)
        pin = self._keys().pin if wanted.join else ""
        if wanted.hosts and not wanted.join:
            raise Refusal(400, "only a token to join with has hosts")
        create = CreateToken(
            wanted.name, wanted.roles, request.who, wanted.expires_s, wanted.actions, wanted.sectors, pin, wanted.hosts
        )
        created = await self._ask(create)
        if not isinstance(created, Created):
            _refuse(created)
        shown = to_builtins(tokens.shown(created.token))
        return Reply(201, schemas.GivenToken(**shown, token=created.shown.text))

    async def list_tokens(self, request: Request) -> Reply:
        reading.no_query(request.query)
        listed = await self._ask(ListTokens(request.who))
        if not isinstance(listed, Listed):
            _refuse(listed)
        return Reply(200, schemas.Tokens(tuple(map(tokens.shown, listed.tokens))))

    async def revoke_token(self, request: Request) -> Reply:
        reading.no_query(request.query)
        revoked = await self._ask(RevokeToken(request.id, request.who))
        if not isinstance(revoked, Revoked):
            _refuse(revoked)
        return Reply(204, b"")

    async def get_root(self, request: Request) -> Reply:
        reading.no_query(request.query)
        return Reply(200, self._keys().root())

    async def join(self, request: Request) -> Reply:
        if not request.confidential:
            raise Refusal(403, "a token to join with is taken over TLS alone: https:// and the port of the peers")
        wanted = reading.json(request.body, schemas.Join)
        return Reply(201, await self._keys().join(wanted, request.source, request.who))

    async def get_peer(self, request: Request) -> Reply:
        reading.no_query(request.query)
        return Reply(200, self._keys().peer())

    async def renew_certificate(self, request: Request) -> Reply:
        wanted = reading.json(request.body, schemas.Recertify)
        return Reply(200, await self._keys().renew(wanted, request.who, request.certificate))

    async def get_trust(self, request: Request) -> Reply:
        reading.no_query(request.query)
        keys = self._keys()
        if request.if_none_match == (known := f'"{keys.version}"'):
            return Reply(304, b"", {"ETag": known})
        trust, version = await asyncio.to_thread(keys.trust)
        return Reply(200, trust, {"ETag": f'"{version}"'})

    def _keys(self) -> Joining:
        if self._joining is None:
            raise Refusal(503, "this node has no keys")
        return self._joining

    async def get_status(self, request: Request) -> Reply:
        report, checks, figures = await self._report(), dict(self._ready()), self._measure()
        # What went wrong may name anything; figures name nothing.
        operates = self._decide(request.who, Action.ADMINISTER, THE_NODE).allowed
        status = schemas.NodeStatus(
            version=__version__,
            ready=all(checks.values()),
            checks=checks,
            counters=dict(report.counters),
            gauges=dict(report.gauges),
            uptime_s=round(figures.uptime_s, 3),
            listeners=dict(figures.listeners),
            last_error=figures.last_error if operates else None,
            loop=figures.loop,
        )
        return Reply(200, status)

    async def get_description(self, request: Request) -> Reply:
        return Reply(200, self._description)

    async def is_live(self, request: Request) -> Reply:
        return Reply(200, b"ok\n")

    async def is_ready(self, request: Request) -> Reply:
        checks = self._ready()
        missing = [name for name, well in checks.items() if not well]
        if missing:
            raise Refusal(503, f"not ready: {', '.join(missing)}", retry_s=1)
        verbose = any(name == "verbose" for name, _ in request.query)
        return Reply(200, "".join(f"{name} ok\n" for name in checks).encode() if verbose else b"ok\n")

    async def get_metrics(self, request: Request) -> Reply:
        text = self._metrics.text(await self._report(), self._ready(), self._measure())
        return Reply(200, text, {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _find(self, kind: Kind, request: Request, *, structured: bool) -> tuple[Found, str | None]:
        """What was found, and the next page's URL."""
        lookup = reading.lookup(kind, request.query, structured=structured)
        lookup.criteria, lookup.who = _local(lookup.criteria), request.who
        outcome = await self._ask(lookup)
        if not isinstance(outcome, Found):
            _refuse(outcome)
        return outcome, _following(request, lookup) if outcome.more else None

    async def _report(self) -> Report:
        outcome = await self._ask(Status())
        if not isinstance(outcome, Report):
            _refuse(outcome)
        counters, gauges = self._feed.counters(), self._feed.gauges()
        return Report({**outcome.counters, **counters}, {**outcome.gauges, **gauges})


def _refuse(outcome: object) -> NoReturn:
    match outcome:
        case Refused(reason=reason, detail=detail, retry_s=retry_s):
            raise Refusal(STATUSES[reason], detail, retry_s=retry_s)
        case Declined(reason=why, detail=detail):
            raise Refusal(DECLINED[why], detail)
        case Busy(retry_s=retry_s, detail=detail):
            raise Refusal(503, detail, retry_s=retry_s)
        case _:
            raise AssertionError(f"{outcome!r} is no answer to what was asked")


def _location(id: str) -> str:
    return f"/v1/endpoints/{quote(id, safe='')}"


def _local(criteria: Pairs) -> Pairs:
    """The criteria as the directory knows its registrations: by their path on CoAP (RFC 9176, 6.2, href)."""
    prefix = "/v1/endpoints/"
    return tuple(
        (name, "/reg/" + value.removeprefix(prefix))
        if name == "href" and value is not None and value.startswith(prefix)
        else (name, value)
        for name, value in criteria
    )


def _following(request: Request, lookup: Lookup) -> str:
    """The next page's URL, relative to this one's origin."""
    query = [pair for pair in request.query if pair[0] not in ("page", "count")]
    query += [("page", str(lookup.page + 1)), ("count", str(lookup.count))]
    return f"{request.path}?{query_text(query)}"


def _page(body: bytes, following: str | None) -> Reply:
    return Reply(200, body, {"Link": f'<{following}>; rel="next"'} if following else {})  # RFC 8288


def _document(links: Iterable[schemas.NewLink]) -> bytes:
    """The links as link-format, which some texts do not fit."""
    document: list[linkformat.Link] = []
    for index, link in enumerate(links):
        anchor: Attributes = () if link.anchor is None else (("anchor", link.anchor),)
        written = linkformat.Link(link.href, anchor + link.attributes)
        try:
            same = linkformat.parse(linkformat.serialise([written])) == [written]
        except WireError as error:
            raise Refusal(400, f"{error} - at `$.links[{index}]`") from error
        if not same:
            raise Refusal(400, f"the link cannot be written as link-format - at `$.links[{index}]`")
        document.append(written)
    return linkformat.serialise(document)


def _endpoint_link(entry: Entry) -> linkformat.Link:
    """RFC 9176, 6.4; the target is the registration's path here."""
    sector: Attributes = () if entry.d is None else (("d", entry.d),)
    own: Attributes = (("ep", entry.ep), *sector, ("base", entry.base))
    return linkformat.Link(_location(entry.location), (*own, *entry.attributes, ("rt", "core.rd-ep")))


async def _encoded(watcher: Watcher, encode: Callable[[schemas.Event], bytes]) -> AsyncGenerator[bytes, None]:
    async with aclosing(watcher.events()) as events:
        async for told in events:
            yield encode(_event(told))


def _event(told: Told) -> schemas.Event:
    shown = None if told.entry is None else _endpoint(told.entry)
    d, ep = told.name or (None, None) if shown is None else (shown.d, shown.ep)
    return schemas.Event(told.kind, told.token, ep, d, shown, told.reason)


def _endpoint(entry: Entry) -> schemas.Endpoint:
    links = None if entry.links is None else _links(entry.links)
    expires_in = round(entry.expires_in, 3)
    return schemas.Endpoint(
        entry.location, entry.ep, entry.d, entry.base, entry.lt, expires_in, entry.attributes, links
    )


def _links(entries: Iterable[Entry | LinkEntry]) -> tuple[schemas.Link, ...]:
    return tuple(
        schemas.Link(link.href, link.anchor, link.attributes) for link in entries if isinstance(link, LinkEntry)
    )
