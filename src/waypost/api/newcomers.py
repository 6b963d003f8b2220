"""Who comes to join on the peers' port with another key for TLS than the roster has for the name in its certificate.

It may be the node itself, that was given new keys, or somebody who has the authority's: so it is heard to say that it
wants to be let in, and nothing else, and is no sign of the node's life.  What it says counts as the node's own where it
is signed with the node's key, or where the authority is here and certified that key; else it waits for the operator.

Source: notes on DRiP, 4.9 and 5.1.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.assembly.installation import LetIn
from waypost.drip import parcel
from waypost.drip.messages import Admit
from waypost.errors import ConfigError, WireError
from waypost.identity import Identity
from waypost.identity.admission import Buckets
from waypost.identity.keys import PublicKey, fingerprint
from waypost.identity.policy import THE_NODE, Action, Decide
from waypost.runtime.nodes import NETWORK
from waypost.storage.keyring import Keyring

PER_SECOND: Final = 0.2  # of one name, in the long run
AT_ONCE: Final = 5
BODY_MAX: Final = 16 << 10  # octets


class Newcomers:
    """`certified` says whom a request's certificate stands for, and with which key."""

    def __init__(
        self,
        certified: Callable[[web.Request], tuple[Identity, PublicKey]],
        ask: Ask,
        keyring: Keyring,
        decide: Decide,
        network: str,
    ) -> None:
        self._certified = certified
        self._ask = ask
        self._keyring = keyring
        self._decide = decide
        self._network = network
        self._requests = Buckets(PER_SECOND, AT_ONCE)

    async def take(self, request: web.Request, others: Handler) -> web.StreamResponse:
        """`others` takes the requests of everybody else.  Raises Refusal."""
        who, key = self._certified(request)
        if who.roles != ("peer",) or self._keyring.pins.fits(who.name, key):
            return await others(request)
        decision = self._decide(who, Action.PEER, THE_NODE)
        if not decision.allowed:
            raise Refusal(403, decision.reason)
        if request.headers.get(NETWORK) != self._network:
            raise Refusal(403, "the request is not of this node's network")
        retry_s = self._requests.take(who.name, asyncio.get_running_loop().time())
        if retry_s:
            raise Refusal(429, "it was asked for a moment ago", retry_s=retry_s)
        if (request.content_length or 0) > BODY_MAX:
            raise Refusal(413, f"who asks to be let in says so in {BODY_MAX} octets at most")
        try:
            messages = parcel.read(await request.read())
        except WireError as error:
            raise Refusal(400, str(error)) from error
        for message in messages:
            if not isinstance(message, Admit) or message.member.name != who.name:
                raise Refusal(403, f"the roster has another key for {who.name}: it may ask to be let in, no more")
        is_vouched = await asyncio.to_thread(self._vouches, who.name, fingerprint(key))
        for message in messages:
            assert isinstance(message, Admit)
            is_its_own = fingerprint(key) in message.member.tls
            await self._ask(LetIn(message.member, message.signature, is_vouched and is_its_own))
        return web.Response()

    def _vouches(self, name: str, key: str) -> bool:
        """Whether the authority is here, and has certified that key for that name."""
        if not self._keyring.has_authority:
            return False
        try:
            issued = self._keyring.issued()
        except ConfigError:
            return False
        now_ms = time.time_ns() // 1_000_000
        return any((one.name, one.role, one.key) == (name, "peer", key) and now_ms < one.not_after_ms for one in issued)
