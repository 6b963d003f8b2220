"""The profile `drip-02` on the peers' port: the draft's calls, from peers that speak nothing else.

A peer shows a certificate with the role peer and its name, or in Authorization a JWT, bare as in the draft or after
`Bearer`.  200 means received.  Who has no listener is told everything in the answer to its own request to sync, a
commit on each line; with `Prefer: wait` (RFC 7240) the answer goes on with what is committed then.

Source: draft-wendt-modern-drip-02; notes on DRiP, 1.2, 1.7, 4.14 and 5.1; RFC 7519; RFC 7240, 4.3.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from aiohttp import web

from waypost.api.asking import Identify
from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.api.server import HEADERS
from waypost.drip import calls
from waypost.drip.calls import BODY_MAX
from waypost.drip.literal import OWN, TAKE_MAX, Batch, Declined, Heard, Leave, LiteralQuestion, Noted, Take
from waypost.errors import DeniedError, StateError, WireError
from waypost.identity import Identity, jwt
from waypost.identity.admission import Buckets, Gate, prefix_of
from waypost.identity.policy import THE_NODE, Action, Decide

WAIT_MAX_S: Final = 3_600
STALL_S: Final = 30.0  # for the reader of a stream to take some of it
BUSY_RETRY_S: Final = 1
FAILURES_PER_SECOND: Final = 1.0  # of one source, in the long run
FAILURES: Final = 20  # and at once
NDJSON: Final = "application/x-ndjson"


class Literal:
    """`name` is this node's; `peers` are those that are configured, each with the octets of its key, or None.

    `identify` says who shows a certificate; `ask` puts questions to the node.
    """

    def __init__(
        self,
        name: str,
        peers: Mapping[str, bytes | None],
        ask: Ask,
        identify: Identify,
        decide: Decide,
        gate: Gate,
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        stall_s: float = STALL_S,
    ) -> None:
        self._peers = frozenset(peers)
        self._tokens = jwt.Tokens(name, {peer: key for peer, key in peers.items() if key is not None})
        self._ask = ask
        self._identify = identify
        self._decide = decide
        self._gate = gate
        self._wall_ms = wall_ms
        self._stall_s = stall_s
        self._failures = Buckets(FAILURES_PER_SECOND, FAILURES)
        self._waiting: dict[asyncio.Timeout, None] = {}

    def serve_in(self, app: web.Application) -> None:
        for method, path in calls.ROUTES:
            app.router.add_route(method, path, self.serve)
        app.on_shutdown.append(self._close)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Any call of the draft.  Raises Refusal."""
        who, covers = await self._caller(request)
        retry_s = self._gate.take(who, request.remote or "", asyncio.get_running_loop().time())
        if retry_s:
            raise Refusal(429, "too many requests: come back later", retry_s=retry_s)
        if (request.content_length or 0) > BODY_MAX:
            raise Refusal(413, f"a body has {BODY_MAX} octets at most")
        path, _, _ = request.raw_path.partition("?")
        body = await request.read()
        if not covers(body):
            raise Refusal(401, "the JWT is for another body")
        try:
            call = calls.read_call(request.method, path, request.headers.items(), body)
        except WireError as error:
            raise Refusal(400, str(error)) from error
        answer = await self._put(Heard(who.name, call))
        if isinstance(answer, Declined):
            code = 429 if answer.reason == "early" else 403
            raise Refusal(code, answer.detail, retry_s=answer.retry_s or None)
        assert isinstance(answer, Noted)
        if isinstance(call, calls.SyncRequest) and answer.session != OWN:
            return await self._stream(request, who, answer.session)
        if isinstance(call, calls.AskState):
            return web.Response(body=calls.state_body(answer.state), content_type="application/json")
        return web.Response()

    # who calls

    async def _caller(self, request: web.Request) -> tuple[Identity, Callable[[bytes], bool]]:
        """And whether it called with this body.  Raises Refusal."""
        given = request.headers.getall("Authorization", ())
        covers: Callable[[bytes], bool] = _any
        if given:
            claims = self._bearer(given, request.remote or "")
            who, covers = Identity("token", claims.iss, ("peer",)), claims.covers
        else:
            who = await self._identify(request)
            if who.name not in self._peers or who.kind != "certificate" or "peer" not in who.roles:
                code = 403 if who.name else 401
                raise Refusal(code, "a peer of the profile drip-02 shows its certificate or its JWT, and is configured")
        self._require_allowed(who)
        return who, covers

    def _bearer(self, given: "tuple[str, ...] | list[str]", source: str) -> jwt.Claims:
        text = given[0].strip() if len(given) == 1 else ""
        scheme, _, rest = text.partition(" ")
        if scheme.lower() == "bearer":
            text = rest.strip()
        try:
            return self._tokens.take(text, self._wall_ms())
        except (WireError, DeniedError) as error:
            retry_s = self._failures.take(prefix_of(source), asyncio.get_running_loop().time())
            if retry_s:
                raise Refusal(429, "too many tokens that are not good: come back later", retry_s=retry_s) from error
            raise Refusal(401, f"the JWT is not good: {error}") from error

    def _require_allowed(self, who: Identity) -> None:
        decision = self._decide(who, Action.PEER, THE_NODE)
        if not decision.allowed:
            raise Refusal(403, decision.reason)

    async def _still(self, request: web.Request, who: Identity) -> None:
        """Raises Refusal once who asked may not any more; a JWT was looked at when the request came."""
        if who.kind == "certificate" and await self._identify(request) != who:
            raise Refusal(403, "the certificate is of somebody else")
        self._require_allowed(who)

    # what it is told

    async def _stream(self, request: web.Request, who: Identity, session: int) -> web.StreamResponse:
        """What breaks off ends without the last chunk, so that nobody takes it for the whole (RFC 9112, 8)."""
        wait_s = _wait_s(request)
        headers = {"Content-Type": NDJSON, **HEADERS}
        if wait_s:
            headers["Preference-Applied"] = f"wait={wait_s}"
        response = web.StreamResponse(headers=headers)
        try:
            await response.prepare(request)
            await self._tell_everything(request, response, who, session)
            if wait_s:
                await self._tell_changes(request, response, who, session, wait_s)
            await response.write_eof()
        except (ConnectionError, TimeoutError, StateError, Refusal):
            if request.transport is not None:
                request.transport.abort()
        finally:
            await self._leave(who.name, session)
        return response

    async def _tell_everything(
        self, request: web.Request, response: web.StreamResponse, who: Identity, session: int
    ) -> None:
        is_complete = False
        while not is_complete:
            is_complete = await self._tell(request, response, who, session)

    async def _tell_changes(
        self, request: web.Request, response: web.StreamResponse, who: Identity, session: int, wait_s: int
    ) -> None:
        """Until the time is over, or the server closes."""
        try:
            async with asyncio.timeout(wait_s) as until:
                self._waiting[until] = None
                while True:
                    await self._tell(request, response, who, session)
        except TimeoutError:
            if not until.expired():
                raise
        finally:
            del self._waiting[until]

    async def _tell(self, request: web.Request, response: web.StreamResponse, who: Identity, session: int) -> bool:
        """What there is, as soon as there is something; whether everything has been told."""
        batch = await self._put(Take(who.name, session, TAKE_MAX, arrived=True))
        assert isinstance(batch, Batch)
        if batch.is_over:
            raise StateError("it has fallen behind, or asked for everything again")
        await self._still(request, who)
        async with asyncio.timeout(self._stall_s):
            await response.write(b"".join(call.line for call in batch.calls))
        return batch.is_complete

    async def _leave(self, peer: str, session: int) -> None:
        with suppress(StateError, Refusal):  # the node stops, or is busy: the next request to sync ends it too
            await self._put(Leave(peer, session))

    async def _put(self, question: LiteralQuestion) -> object:
        answer = await self._ask(question)
        if not isinstance(answer, Noted | Declined | Batch):
            raise Refusal(503, "the disk is behind: say it again later", retry_s=BUSY_RETRY_S)
        return answer

    async def _close(self, _: web.Application) -> None:
        """End what waits, or the server would wait for it."""
        for until in self._waiting:
            until.reschedule(asyncio.get_running_loop().time())


def _any(body: bytes) -> bool:
    """A certificate vouches for the connection, whatever is said on it."""
    return True


def _wait_s(request: web.Request) -> int:
    """How long the answer is to go on; 0: it is not."""
    for item in ",".join(request.headers.getall("Prefer", ())).split(","):
        name, _, value = item.partition(";")[0].strip().partition("=")
        value = value.strip().strip('"')
        if name.strip().lower() != "wait":
            continue
        if not value:
            return WAIT_MAX_S
        if value.isascii() and value.isdigit() and len(value) <= 9:
            return min(int(value), WAIT_MAX_S)
    return 0
