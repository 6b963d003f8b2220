"""Calls our peers of the profile drip-02: for each that listens, one call after the other, over mutual TLS.

Each call has a JWT for a peer that wants one: signed with the node's key, for that peer and for the body of that call.

200 says that a call has arrived; whatever else happens, it has not.  When and what is called again is the engine's to
say.

Source: draft-wendt-modern-drip-02; notes on DRiP, 1.2, 1.7, 4.14 and 5.1.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import aiohttp
from yarl import URL

from waypost.drip.calls import Outgoing
from waypost.drip.literal import OWN, Batch, Take
from waypost.errors import DeniedError, StateError
from waypost.identity import jwt
from waypost.identity.credentials import Credentials
from waypost.identity.requests import Sign
from waypost.runtime.nodes import CONNECT_S, REQUEST_S, Connector
from waypost.runtime.tls import Contexts, client_context

BUSY_S: Final = 1.0  # until the node is asked again when its disk is behind

Ask = Callable[[object], Awaitable[object]]

log = logging.getLogger(__name__)


@asynccontextmanager
async def calling(
    urls: Mapping[str, str], ask: Ask, credentials: Callable[[], Credentials], name: str, sign: Sign
) -> AsyncIterator[None]:
    """Call the peers at `urls`, by name, until the context ends; this node is `name`, and signs with its key."""
    origins = {name: URL(url).origin() for name, url in urls.items()}

    def expected(url: URL) -> frozenset[str]:
        return frozenset(name for name, origin in origins.items() if origin == url.origin())

    contexts = Contexts(credentials, client_context)
    async with aiohttp.ClientSession(
        connector=Connector(credentials, expected),
        timeout=aiohttp.ClientTimeout(total=REQUEST_S, connect=CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        issue = partial(_token, name, sign)
        callers = [_Caller(peer, url, ask, session, contexts, issue) for peer, url in urls.items()]
        tasks = [asyncio.create_task(caller.run()) for caller in callers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _token(name: str, sign: Sign, peer: str, body: bytes) -> str:
    """Bare in Authorization, as the draft has it."""
    return jwt.issued(name, peer, body, sign, secrets.token_hex(16), int(time.time()))


class _Caller:
    def __init__(
        self,
        peer: str,
        url: str,
        ask: Ask,
        session: aiohttp.ClientSession,
        contexts: Contexts,
        issue: Callable[[str, bytes], str],
    ) -> None:
        self._issue = issue
        self._peer = peer
        self._url = url
        self._ask = ask
        self._session = session
        self._contexts = contexts
        self._failing = False

    async def run(self) -> None:
        arrived = True
        while True:
            try:
                batch = await self._ask(Take(self._peer, OWN, 1, arrived))
            except StateError:  # the node has stopped
                return
            if not isinstance(batch, Batch):
                await asyncio.sleep(BUSY_S)
                continue
            arrived = True
            for call in batch.calls:
                arrived = arrived and await self._call(call)

    async def _call(self, call: Outgoing) -> bool:
        headers = dict(call.headers) | {"Authorization": self._issue(self._peer, call.body)}
        if call.body:
            headers["Content-Type"] = "application/json"
        target = URL(self._url.rstrip("/") + call.path, encoded=True)
        try:
            context = self._contexts.current()
            async with self._session.request(
                call.method, target, data=call.body, headers=headers, ssl=context, allow_redirects=False
            ) as answer:
                await answer.content.read(512)
                failure = "" if answer.status == 200 else f"it answers {answer.status} to {call.method} {call.path}"
        except (OSError, aiohttp.ClientError, TimeoutError, DeniedError) as error:
            failure = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if bool(failure) != self._failing:
            self._failing = bool(failure)
            log.info("%s at %s: %s", self._peer, self._url, failure or "it takes calls again")
        return not failure
