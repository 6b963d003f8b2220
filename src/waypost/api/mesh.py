"""The draft's calls on the peers' port: what other nodes say, handed to the engine as soon as it is read.

200 means received, and never waits for a disk; what is to be said to it goes in requests of our own.  A request that
names no network is of the profile drip-02.

Source: notes on DRiP, 1.2, 1.3, 4.3 and 4.14.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from waypost.api.asking import Identify
from waypost.api.problem import Refusal
from waypost.drip import parcel
from waypost.drip.parcel import Said
from waypost.errors import DeniedError, WireError
from waypost.identity import Identity
from waypost.identity.policy import THE_NODE, Action, Decide
from waypost.identity.requests import Message, Signatures
from waypost.runtime.nodes import NETWORK, NODE_ID, TO, WIRE, WIRE_VERSION

BUSY_RETRY_S: Final = 1

Hear = Callable[[str, Sequence[Said]], bool]


class Hearing:
    """`hear` takes what a node says, False when it cannot now; `network` is the id of ours.

    `literal` answers who names no network; None, nobody does.  `signatures` takes signed requests in place of a
    certificate, for `name`, which is this node; None, nobody does.
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
    ) -> None:
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
            app.router.add_post(call, self.take)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Raises Refusal."""
        network = request.headers.get(NETWORK)
        if network is None and self._literal is not None:
            return await self._literal(request)
        who = await self.identify(request)
        decision = self._decide(who, Action.PEER, THE_NODE)
        if not decision.allowed:
            raise Refusal(403, decision.reason)
        if network != self._network:
            raise Refusal(403, f"this node is of the network {self._network[:16]}…, and the request is not")
        if request.headers.get(WIRE, WIRE_VERSION) != WIRE_VERSION:
            raise Refusal(400, f"messages of version {WIRE_VERSION} are understood here")
        if request.headers.get(NODE_ID, who.name) != who.name:
            raise Refusal(403, f"{who.name} speaks for itself alone: what others say it may relay in an envelope")
        try:
            messages = parcel.read(await request.read())
        except WireError as error:
            raise Refusal(400, str(error)) from error
        if not self._hear(who.name, messages):
            raise Refusal(503, "the disk is behind: say it again later", retry_s=BUSY_RETRY_S)
        return web.Response()
