"""Who asks over HTTP.

A request that says who it is, by `Authorization: Bearer wp_…`, is that token's holder or refused: nothing else is
looked at.  Otherwise whoever came by the node's own socket is the operator, whoever showed a certificate in the
handshake is whom it stands for, and the rest are strangers, wherever they come from.

What is refused is told alike, whatever was wrong with the token, and only so often to one source.

Source: design, Contracts, 8; RFC 6750, 2.1 and 3; RFC 9110, 11.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiohttp import web

from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.errors import DeniedError, WireError
from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.admission import Buckets, prefix_of
from waypost.identity.certificates import read_certificate
from waypost.identity.credentials import Credentials
from waypost.identity.keys import PublicKey
from waypost.identity.token import Authenticate, Shown
from waypost.runtime.tls import chain_of

Identify = Callable[[web.Request], Awaitable[Identity]]
Certified = Callable[[Any], Identity]  # whom an ssl.SSLObject's certificate stands for; raises DeniedError

WRONG: Final = "the token is not one of this node's, or is no more"
FAILURES_PER_SECOND: Final = 1.0  # of one source, in the long run
FAILURES: Final = 20  # and at once
CHAINS_MAX: Final = 1_024  # certificates that were looked at a moment ago
CHAIN_MS: Final = 1_000  # for which it need not be done again

log = logging.getLogger(__name__)


class Asking:
    """`ask` puts a question to the node; `credentials` says whose certificates are taken, and what is revoked.

    Unless it `decides`, another looks again at whom it refuses.
    """

    def __init__(
        self,
        ask: Ask,
        credentials: Callable[[], Credentials] | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        *,
        decides: bool = True,
    ) -> None:
        self._decides = decides
        self._ask = ask
        self._credentials = credentials
        self._wall_ms = wall_ms
        self._failures = Buckets(FAILURES_PER_SECOND, FAILURES)
        self._lines = Buckets(FAILURES_PER_SECOND, FAILURES)  # of the log
        self._chains: dict[tuple[bytes, ...], tuple[Credentials, int, Identity]] = {}
        self._shown: WeakKeyDictionary[Any, tuple[bytes, ...]] = WeakKeyDictionary()  # by connection: it stays

    async def identify(self, request: web.Request) -> Identity:
        """Raises Refusal for a token or a certificate that is not good."""
        given = request.headers.getall("Authorization", ())
        if given:
            return await self._bearer(given[0] if len(given) == 1 else "", request.remote or "")
        if is_local(request):
            return OPERATOR
        return self._certified(request)

    def newcomer(self, request: web.Request) -> tuple[Identity, PublicKey]:
        """Whom the certificate that it showed stands for, and its key, whatever the roster says of keys.

        Raises Refusal.
        """
        connection = request.get_extra_info("ssl_object")
        chain = chain_of(connection) if connection is not None else ()
        if self._credentials is None or not chain:
            raise Refusal(401, "here nodes are answered, by the certificate that they show")
        try:
            who = self._credentials().certified(chain, self._wall_ms(), is_pinned=False)
        except DeniedError as error:
            raise self._refusal(str(error), request.remote or "") from error
        return who, read_certificate(chain[0]).public

    async def _bearer(self, field: str, source: str) -> Identity:
        scheme, _, text = field.partition(" ")
        try:
            shown = Shown.read(text.strip() if scheme.lower() == "bearer" else "")
        except WireError:
            raise self._refusal(WRONG, source) from None
        revoked = self._credentials is not None and shown.id in self._credentials().trust.revoked.tokens
        who = None if revoked or shown.pin else await self._ask(Authenticate(shown))
        if who is None:
            raise self._refusal(WRONG, source)
        assert isinstance(who, Identity)
        return who

    def _certified(self, request: web.Request) -> Identity:
        try:
            return self.certified(request.get_extra_info("ssl_object"))
        except DeniedError as error:
            raise self._refusal(str(error), request.remote or "") from error

    def certified(self, connection: Any) -> Identity:
        """By the certificate that the other end of an ssl.SSLObject showed.  Raises DeniedError for one not good."""
        if connection is None or self._credentials is None:
            return ANONYMOUS
        chain = self._shown.get(connection)
        if chain is None:
            chain = self._shown[connection] = chain_of(connection)
        if not chain:
            return ANONYMOUS
        credentials, now_ms = self._credentials(), self._wall_ms()
        known = self._chains.get(chain)
        if known is not None and known[0] is credentials and 0 <= now_ms - known[1] < CHAIN_MS:
            return known[2]
        self._chains.pop(chain, None)
        who = credentials.certified(chain, now_ms, is_counted=self._decides)
        if len(self._chains) >= CHAINS_MAX:
            self._chains.clear()
        self._chains[chain] = (credentials, now_ms, who)
        return who

    def _refusal(self, reason: str, source: str) -> Refusal:
        now = asyncio.get_running_loop().time()
        if not self._lines.take("all", now):
            log.warning("refused %s: %s", source or "the local socket", reason)
        retry_s = self._failures.take(prefix_of(source) if source else "local", now)
        if retry_s:
            return Refusal(
                429, "too many requests that say who they are, and are not: come back later", retry_s=retry_s
            )
        return Refusal(401, reason)


async def only_peers(identify: Identify, request: web.Request) -> Identity:
    """On the listener for peers, whatever the policy says: nodes alone, but for who comes to join.  Raises Refusal."""
    who = await identify(request)
    if request.path == "/v1/join" or is_peer(who):
        return who
    if who == ANONYMOUS:
        raise Refusal(401, "here nodes are answered, by the certificate that they show")
    raise Refusal(403, f"here nodes are answered, and {who.subject} has not the role peer by a certificate")


def is_peer(who: Identity) -> bool:
    return who.kind == "certificate" and "peer" in who.roles


def shown_by(request: web.Request) -> bytes:
    """The certificate, DER, whose key the client has shown to have; empty if it showed none."""
    connection = request.get_extra_info("ssl_object")
    return (connection.getpeercert(binary_form=True) or b"") if connection is not None else b""


def is_local(request: web.Request) -> bool:
    """Whether it came by the socket in the state directory."""
    connection = request.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX
