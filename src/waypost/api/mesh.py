"""The draft's calls on the peers' port: what other nodes say, handed to the engine as soon as it is read.

200 means received, and never waits for a disk; what is to be said to it goes in requests of our own.  A request that
names no network is of the profile drip-02.

Source: notes on DRiP, 1.2, 1.3, 4.3 and 4.14.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from waypost.api.asking import Certified, Identify, is_peer
from waypost.api.problem import Refusal
from waypost.api.server import HEADERS, HOSTS, METRICS, is_served
from waypost.drip import parcel
from waypost.drip.parcel import Said
from waypost.errors import DeniedError, WireError
from waypost.identity import Identity
from waypost.identity.policy import THE_NODE, Action, Decide
from waypost.identity.requests import Message, Signatures
from waypost.runtime.brief import Head, Take
from waypost.runtime.nodes import NETWORK, NODE_ID, TO, WIRE, WIRE_VERSION

BUSY_RETRY_S: Final = 1

# The answer to what was heard, where no other header is asked for.
TAKEN: Final = (
    "HTTP/1.1 200 OK\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    + "Content-Length: 0\r\n\r\n"
).encode()

PATHS: Final = {call: re.compile(re.escape(call).replace(r"\{node\}", "[A-Za-z0-9._@-]+")) for call in parcel.CALLS}
PATHS_MAX: Final = 32  # of one connection that are not matched again, and hosts
_NETWORK, _WIRE, _NODE_ID = NETWORK.lower(), WIRE.lower(), NODE_ID.lower()

Hear = Callable[[str, Sequence[Said]], bool]
Field = Callable[[str], str | None]


class Hearing:
    """`hear` takes what a node says, False when it cannot now; `network` is the id of ours.

    `literal` answers who names no network; None, nobody does.  `signatures` takes signed requests in place of a
    certificate, for `name`, which is this node; None, nobody does.  `newcomers` takes who comes to join first.
    """

    def __init__(
        self,
        identify: Identify,
        decide: Decide,
        hear: Hear,
        network: str,
        literal: Handler | None = None,
        signatures: Signatures | None = None,
        name: str = "",
        newcomers: Callable[[web.Request, Handler], Awaitable[web.StreamResponse]] | None = None,
    ) -> None:
        self._newcomers = newcomers
        self._signatures = signatures
        self._name = name
        self._identify = identify
        self._decide = decide
        self._hear = hear
        self._network = network
        self._literal = literal

    async def identify(self, request: web.Request) -> Identity:
        """Who asks, by its certificate or by its signature.  Raises Refusal."""
        if self._signatures is None or "Signature-Input" not in request.headers:
            return await self._identify(request)
        fields = {name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers}
        message = Message(request.method, request.raw_path, fields)
        try:
            name = self._signatures.take(message, await request.read(), int(time.time()))
        except DeniedError as error:
            raise Refusal(401, str(error)) from error
        if fields[TO.lower()] != self._name:
            raise Refusal(403, "the request is for another node")
        return Identity("certificate", name, ("peer",))  # the roster vouches for its key as the authority would

    def serve_in(self, app: web.Application) -> None:
        for call in parcel.CALLS:
            app.router.add_post(call, self.join if call == parcel.JOINING else self.take)

    async def join(self, request: web.Request) -> web.StreamResponse:
        """Raises Refusal."""
        if self._newcomers is None or "Signature-Input" in request.headers:
            return await self.take(request)
        return await self._newcomers(request, self.take)

    def brief(self, app: web.Application, certified: Certified) -> Callable[[asyncio.BaseTransport], Take]:
        """For each connection to `app`, what answers its usual requests, of nodes that show a certificate."""

        def begin(transport: asyncio.BaseTransport) -> Take:
            return _Caller(self, app, certified, transport).take

        return begin

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Raises Refusal."""
        if request.headers.get(NETWORK) is None and self._literal is not None:
            return await self._literal(request)
        self.hear(await self.identify(request), request.headers.get, await request.read())
        return web.Response()

    def hear(self, who: Identity, field: Field, body: bytes) -> None:
        """What a node says in one request, whose header has these fields, in any case.  Raises Refusal."""
        decision = self._decide(who, Action.PEER, THE_NODE)
        if not decision.allowed:
            raise Refusal(403, decision.reason)
        if field(_NETWORK) != self._network:
            raise Refusal(403, f"this node is of the network {self._network[:16]}…, and the request is not")
        if field(_WIRE) not in (None, WIRE_VERSION):
            raise Refusal(400, f"messages of version {WIRE_VERSION} are understood here")
        if field(_NODE_ID) not in (None, who.name):
            raise Refusal(403, f"{who.name} speaks for itself alone: what others say it may relay in an envelope")
        try:
            messages = parcel.read(body)
        except WireError as error:
            raise Refusal(400, str(error)) from error
        if not self._hear(who.name, messages):
            raise Refusal(503, "the disk is behind: say it again later", retry_s=BUSY_RETRY_S)


class _Caller:
    """A connection whose other end showed a certificate; of what is refused aiohttp tells why."""

    def __init__(
        self, hearing: Hearing, app: web.Application, certified: Certified, transport: asyncio.BaseTransport
    ) -> None:
        self._hearing = hearing
        self._metrics, self._names = app[METRICS], app[HOSTS]
        self._certified = certified
        self._connection = transport.get_extra_info("ssl_object")
        self._sockname = transport.get_extra_info("sockname")
        self._hosts: set[str] = set()  # that were asked for
        self._calls: dict[str, str] = {}  # by path

    def take(self, head: Head, body: bytes) -> bytes | None:
        start = time.perf_counter()
        call = self._call_of(head.path)
        if call is None or not self._is_served(head.fields["host"]):
            return None
        try:
            who = self._certified(self._connection)
            if not is_peer(who):
                return None
            self._hearing.hear(who, head.fields.get, body)
        except (DeniedError, Refusal):
            return None
        self._metrics.count("POST", call, 200, time.perf_counter() - start)
        return TAKEN

    def _call_of(self, path: str) -> str | None:
        known = self._calls.get(path)
        if known is None:
            known = next((call for call, pattern in PATHS.items() if pattern.fullmatch(path)), None)
            if known is not None and len(self._calls) < PATHS_MAX:
                self._calls[path] = known
        return known

    def _is_served(self, host: str) -> bool:
        if host in self._hosts:
            return True
        if not is_served(host, self._names, self._sockname):
            return False
        if len(self._hosts) < PATHS_MAX:
            self._hosts.add(host)
        return True
